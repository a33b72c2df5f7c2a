#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;
use crate::bundle::index::Blob;
use crate::bundle::index::tests::sample;
use crate::bundle::writer::Plan;
use crate::oci::Role;

const SLICE: u64 = 4096;

/// A bundle with two blobs, one larger than a buffer.
fn bundle() -> (Blueprint, Vec<u8>) {
    let contents: Vec<Vec<u8>> = vec![b"one".to_vec(), (0..BUFFER + 5000).map(|n| n as u8).collect()];
    let mut index = sample();
    let blob = |bytes: &Vec<u8>| Blob { digest: Digest::of(bytes), size: bytes.len() as u64, role: Role::Layer };
    index.blobs = contents.iter().map(blob).collect();
    index.images.clear();
    index.releases.clear();
    let files = vec![layout::OCI_LAYOUT_JSON.to_vec(), layout::oci_index(&index).unwrap(), b"abc".to_vec()];
    for (file, bytes) in index.files.iter_mut().zip(&files) {
        (file.size, file.digest) = (bytes.len() as u64, Digest::of(bytes));
    }
    index.files.truncate(3);
    index.sort();
    let plan = Plan::new(index, files, Some(b"sig".to_vec())).unwrap();
    let layout = plan.archives()[0].layout.clone();
    let mut bytes = plan.head(&layout).concat();
    for member in layout.blobs() {
        bytes.extend_from_slice(&layout.header_of(member));
        bytes.extend_from_slice(contents.iter().find(|c| Some(Digest::of(c)) == member.digest).unwrap());
        bytes.resize(member.end() as usize, 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    let blueprint = Blueprint::new(Head::of(Arc::new(plan.index_bytes.clone()), plan.signature.clone(), None)).unwrap();
    (blueprint, bytes)
}

fn look(blueprint: &Blueprint, bytes: &[u8]) -> (Survey, Tail) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let length = bytes.len() as u64;
    let found = survey(&file, length, blueprint, Some(SLICE), &mut |_| Ok(())).unwrap();
    let right = |m: &Member| is_right(&file, m, &blueprint.digest(m), &mut |_| Ok(())).unwrap();
    let wrong: Vec<bool> = blueprint.layout.members().iter().map(|m| !right(m)).collect();
    assert_eq!(wrong, found.members.iter().map(|d| d.content).collect::<Vec<_>>());
    (found, Tail::read(&file, length, &blueprint.layout))
}

#[test]
fn a_whole_bundle_is_right_in_every_part_and_each_flipped_byte_is_found_where_it_is() {
    let (blueprint, bytes) = bundle();
    let (found, tail) = look(&blueprint, &bytes);
    assert!(found.members.iter().all(|d| !d.any()) && tail.whole && tail.addenda.is_empty());
    let slices: Vec<_> = bytes[..blueprint.layout.end() as usize]
        .chunks(SLICE as usize)
        .map(|c| Some(Digest::of(&[c, &vec![0; SLICE as usize - c.len()]].concat())))
        .collect();
    assert_eq!(found.slices, slices);
    for (at, member) in blueprint.layout.members().iter().enumerate() {
        let places = [
            (member.header + 10, Damage { header: true, ..Damage::default() }),
            (member.data() + member.size / 2, Damage { content: true, ..Damage::default() }),
            (member.end() - 1, Damage { padding: true, ..Damage::default() }),
        ];
        for (place, expected) in places {
            let mut bad = bytes.clone();
            bad[place as usize] ^= 1;
            let (found, _) = look(&blueprint, &bad);
            let expected =
                if place < member.data() + member.size { expected } else { Damage { padding: true, ..expected } };
            for (n, damage) in found.members.iter().enumerate() {
                assert_eq!(*damage, if n == at { expected } else { Damage::default() }, "{} {place}", member.path);
            }
            let wrong: Vec<_> = (0..slices.len()).filter(|n| found.slices[*n] != slices[*n]).collect();
            assert_eq!(wrong, [(place / SLICE) as usize]);
        }
    }
}

#[test]
fn what_is_cut_off_is_damaged_and_no_slice_of_it_counts() {
    let (blueprint, bytes) = bundle();
    let last = blueprint.layout.members().last().unwrap();
    for cut in [0, 100, last.header as usize + 700, bytes.len() - 1025, bytes.len() - 1] {
        let (found, tail) = look(&blueprint, &bytes[..cut]);
        for (damage, member) in found.members.iter().zip(blueprint.layout.members()) {
            assert_eq!(damage.any(), member.end() > cut as u64, "{cut} {}", member.path);
        }
        assert!(!tail.whole);
        let whole = cut.min(blueprint.layout.end() as usize) / SLICE as usize;
        assert!(found.slices[..whole].iter().all(Option::is_some), "{cut}");
        if cut < blueprint.layout.end() as usize {
            assert!(found.slices[whole..].iter().all(Option::is_none), "{cut}");
        }
    }
}

#[test]
fn addenda_that_can_be_read_are_found_around_damage() {
    let (blueprint, bytes) = bundle();
    let end = blueprint.layout.end() as usize;
    let addendum = |name: &str, n: usize| Addendum { name: name.to_owned(), bytes: vec![n as u8 + 1; n] };
    let all = Tail { addenda: vec![addendum("a", 700), addendum("b", 3), addendum("c", 512)], whole: true };
    let mut whole = bytes[..end].to_vec();
    whole.extend(all.to_bytes(&blueprint.layout));
    assert_eq!(look(&blueprint, &whole).1, all);
    // The header of the second.
    let mut bad = whole.clone();
    bad[end + 512 + 1024 + 5] ^= 1;
    let names = |bytes: &[u8]| {
        let tail = look(&blueprint, bytes).1;
        assert!(!tail.whole);
        tail.addenda.iter().map(|a| a.name.clone()).collect::<String>()
    };
    assert_eq!(names(&bad), "ac");
    assert_eq!(names(&whole[..whole.len() - 1024 - 100]), "ab");
    assert_eq!(names(&[&whole[..], b"more"].concat()), "abc");
    let mut padding = whole;
    padding[end + 512 + 700] = 1;
    assert_eq!(names(&padding), "abc");
}

#[test]
fn what_has_moved_is_looked_for_as_far_as_it_could_have_and_not_to_the_end_of_any_file() {
    let (blueprint, bytes) = bundle();
    let first = blueprint.layout.blobs()[0].header as usize;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[&bytes[..first], &[7; 1024], &bytes[first..]].concat()).unwrap();
    file.set_len(1 << 43).unwrap();
    let mut read = 0;
    let found = moves(&file, 1 << 43, &blueprint.layout, &mut |n| {
        read += n;
        Ok(())
    });
    assert_eq!(found.unwrap(), [1024]);
    assert_eq!(read, 2 * blueprint.layout.total() + SLACK);
}
