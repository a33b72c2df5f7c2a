#![allow(clippy::unwrap_used)]
use super::*;
use crate::bundle::index::tests::sample;

#[test]
fn only_the_one_form_is_read() {
    let index = sample();
    let digest = Digest::of(b"index");
    let removed = Removed { files: BTreeSet::from([2]), blobs: BTreeSet::from([0]), ..Removed::default() };
    let good = statement(&index, &digest, &removed, "because", "2026-11-22T00:00:00Z").unwrap();
    let read = Removal::parse(&good, &index, &digest).unwrap();
    assert_eq!((read.removed, read.reason.as_str()), (removed.clone(), "because"));
    let rest = removed.rest(&index);
    assert_eq!((rest.files.len(), rest.blobs.len()), (2, 0));
    let text = String::from_utf8(good).unwrap();
    for (from, to) in [
        ("\":", "\": "),
        ("\n", ""),
        ("manifests/a.yaml", "oci-layout"),
        ("because", ""),
        ("because", "be\\u0063ause"),
        ("because", "\\u202e"),
        ("reviewer", "receiver"),
        ("\"images\":[]", "\"images\":[{}]"),
        ("\"files\":[\"manifests/a.yaml\"]", "\"files\":[]"),
        ("\"files\":[\"manifests/a.yaml\"]", "\"files\":[\"manifests/a.yaml\",\"manifests/a.yaml\"]"),
        ("\"role\"", "\"more\":1,\"role\""),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(Removal::parse(bad.as_bytes(), &index, &digest).is_err(), "{bad}");
    }
    assert!(Removal::parse(text.as_bytes(), &index, &Digest::of(b"other")).is_err());
}
