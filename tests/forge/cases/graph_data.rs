//! The graph-data image: what everybody can make again, and nothing else.

use mirror_bundle::bundle::index::{Derived, Kind};
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Descriptor, Digest, media_type};
use mirror_bundle::openshift::update_graph::image::{GraphImage, Made};

use super::super::draft::Draft;
use super::Vectors;

/// Stores other bytes in place of what fits, and everything above it that names them.
fn replace(made: &mut GraphImage, kind: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let at = made.others.iter().position(|one| one.descriptor.media_type.starts_with(kind)).unwrap();
    let bytes = change(&made.others[at].bytes);
    let old = made.others[at].descriptor.clone();
    let new = Descriptor::new(old.media_type.clone(), Digest::of(&bytes), bytes.len() as u64);
    made.others[at] = Made { descriptor: new.clone(), bytes };
    let named = |d: &Descriptor| format!("\"digest\":\"{}\",\"size\":{}", d.digest, d.size);
    let text = String::from_utf8(made.root.bytes.clone()).unwrap();
    let text = text.replace(&named(&old), &named(&new)).into_bytes();
    made.root.descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(&text), text.len() as u64);
    made.root.bytes = text;
}

pub fn list(out: &mut Vectors) {
    out.group("graph-data");
    let plain = |_: &mut GraphImage| {};
    out.add("image", "good: a graph-data image", ("", None, "MB-GRD"), Draft::with_graph(false, plain).archive());
    out.add(
        "list",
        "good: a graph-data image on a list",
        ("", None, "MB-GRD"),
        Draft::with_graph(true, plain).archive(),
    );
    let bad = ("A17", Some(Code::Malformed), "MB-GRD-02");
    let draft = Draft::with_graph(false, |made| {
        replace(made, media_type::OCI_CONFIG, |bytes| {
            String::from_utf8(bytes.to_vec()).unwrap().replace("exec cp", "exec rm").into_bytes()
        });
    });
    out.add("command", "a graph-data image with another command", bad, draft.archive());
    // A gzip frame of other blocks: the same archive inside.
    let draft = Draft::with_graph(false, |made| {
        replace(made, "application/vnd.oci.image.layer", |bytes| {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            std::io::Write::write_all(&mut gzip, &plain).unwrap();
            gzip.finish().unwrap()
        });
    });
    out.add("frame", "a graph-data image whose layer is in another gzip frame", bad, draft.archive());
    let draft = Draft::with_graph(false, |made| {
        replace(made, "application/vnd.oci.image.layer", |bytes| {
            let mut bytes = bytes.to_vec();
            let at = bytes.windows(6).position(|w| w == b"4.16.1").unwrap();
            bytes[at + 5] = b'2';
            bytes
        });
    });
    out.add("layer", "a graph-data image whose layer has another graph", bad, draft.archive());
    let mut draft = Draft::with_graph(false, plain);
    draft.images[0].kind = Kind::Additional;
    let base = draft.images[0].clone();
    draft.images[0].derived = None;
    let input = draft.images[1].derived.unwrap().input;
    draft.images[1].derived = Some(Derived { base: input, input });
    out.add("base", "a graph-data image on an image that is not there", bad, draft.archive());
    draft.images[1].derived = Some(Derived { base: base.digest, input: base.digest });
    out.add("input", "a graph-data image of another archive than it says", bad, draft.archive());
    let is = ("A17", Some(Code::Malformed), "MB-GRD-01");
    let draft = Draft::with_graph(false, plain);
    let archive = draft.archive_of(|index| index.features.incompatible.clear());
    out.add("no-feature", "a graph-data image without the feature", is, archive);
    let archive = Draft::tiny().archive_of(|index| index.features.incompatible.push("graph-data".into()));
    out.add("no-image", "the feature without a graph-data image", is, archive);
    let archive = draft.archive_of(|index| index.images[1].derived = None);
    out.add("not-derived", "a graph-data image that does not say what it was made from", is, archive);
    let archive = draft.archive_of(|index| index.images[0].derived = index.images[1].derived);
    out.add("additional", "another image that says it was made", is, archive);
    let archive = draft.archive_of(|index| index.images[1].repository = Some("registry.example.com/base".into()));
    out.add("name", "a graph-data image of another name", is, archive);
    let archive = draft.archive_of(|index| {
        let mut other = index.images[1].clone();
        other.tag = Some("other".into());
        index.images.push(other);
        index.sort();
    });
    out.add("two", "two graph-data images", is, archive);
}
