#![allow(clippy::unwrap_used)]
use super::*;
use crate::bundle::index::{Blob, tests::sample};

fn index() -> Index {
    let mut index = sample();
    let blob = |n: u8| Blob { digest: Digest::of(&[n]), size: 5000, role: Role::Layer };
    index.blobs = (0..4).map(blob).collect();
    index.sort();
    index
}

fn carriage(index: &Index) -> (Carriage, Digest) {
    let digest = Digest::of(&index.to_bytes().unwrap());
    let base = BaseName { index: Digest::of(b"base"), name: "sample".into(), sequence: Some(0) };
    let entries = vec![Entry::absent(0, vec!["a/b".into()]), Entry::absent(2, vec![])];
    (Carriage::absent(digest, vec![base], None, entries), digest)
}

fn encoded(index: &Index) -> (Carriage, Digest) {
    let (mut carriage, digest) = carriage(index);
    let tar = Tar { digest: Digest::of(b"tar"), size: 10_240 };
    carriage.references.push(Reference { digest: Digest::of(b"ref"), size: 4000, tar, repositories: vec!["a".into()] });
    let gzip = |method, encoder, level, block_size| Gzip {
        method,
        encoder,
        level,
        block_size,
        header: "1f8b08000000000000ff".into(),
    };
    let entry = |at, gzip, content| Entry {
        form: As::Encoded,
        size: Some(100),
        digest: Some(Digest::of(b"member")),
        tar: Some(tar),
        gzip: Some(gzip),
        content: Some(content),
        ..Entry::absent(at, vec![])
    };
    let delta = Content { method: ContentForm::Delta1, reference: Some(0) };
    let zstd = Content { method: ContentForm::Zstd, reference: None };
    carriage.blobs.push(entry(3, gzip(GzipForm::Gzip, Encoder::Go126, 6, None), zstd));
    carriage.blobs.insert(1, entry(1, gzip(GzipForm::Pgzip, Encoder::KlauspostA, 5, Some(262_144)), delta));
    (carriage, digest)
}

#[test]
fn only_the_one_form_of_a_carriage_is_read() {
    let index = index();
    let (carriage, digest) = carriage(&index);
    let bytes = carriage.to_bytes().unwrap();
    assert_eq!(Carriage::parse(&bytes, &index, &digest).unwrap(), carriage);
    let text = String::from_utf8(bytes.clone()).unwrap();
    for bad in [
        text.replacen("  \"index\"", " \"index\"", 1),
        text.replacen("\"absent\"", "\"abs\\u0065nt\"", 1),
        text.trim_end().to_owned(),
        format!("{text} "),
    ] {
        assert_eq!(Carriage::parse(bad.as_bytes(), &index, &digest).unwrap_err().code(), Code::Malformed, "{bad}");
    }
    assert!(Carriage::parse(&bytes, &index, &Digest::of(b"other")).is_err());
    let long = vec![b' '; usize::try_from(limits::CARRIAGE).unwrap() + 1];
    assert!(Carriage::parse(&long, &index, &digest).unwrap_err().message().contains("over the limit"));
    let many = (0..200_000).map(|at| Entry::absent(at, vec![])).collect();
    assert_eq!(Carriage::absent(digest, vec![], None, many).to_bytes().unwrap_err().code(), Code::Usage);
}

#[test]
fn every_form_can_be_written_and_read() {
    let index = index();
    let (carriage, digest) = encoded(&index);
    let bytes = carriage.to_bytes().unwrap();
    assert_eq!(Carriage::parse(&bytes, &index, &digest).unwrap(), carriage);
    let signed = SignedCarriage::new(bytes, None);
    let read = in_head(Some(&signed), &index, &digest).unwrap().unwrap();
    assert_eq!(read.carriage, carriage);
    let carried = read.members.as_ref().unwrap();
    assert_eq!((carried.blobs[1].size, carried.blobs[0].size), (100, 5000));
    assert_eq!(carriage.absentees(), [0, 2].into());
}
