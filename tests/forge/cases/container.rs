//! The archive itself: ends, beginnings, truncations, padding.

use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;

use super::super::draft::Draft;
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("tar");
    let good = Draft::tiny().archive();
    let bytes = good.bytes();
    let is = |ids: &'static str, code: Code| (ids, Some(code), "MB-FMT-02 MB-VER-01");

    // Truncations at each structural point.
    let layer = good.entries.last().unwrap().name.clone();
    let at = |name: &str| good.offset(name);
    let cuts = [
        ("after-first-header", 512),
        ("before-index", at(layout::INDEX)),
        ("in-index-header", at(layout::INDEX) + 100),
        ("in-index", at(layout::INDEX) + 600),
        ("in-index-padding", at(layout::SIGNATURE) - 1),
        ("before-signature", at(layout::SIGNATURE)),
        ("in-signature", at(layout::SIGNATURE) + 600),
        ("before-sums", at(layout::SUMS)),
        ("in-sums", at(layout::SUMS) + 700),
        ("before-files", at(layout::OCI_INDEX)),
        ("in-file", at("manifests/") + 530),
        ("before-blobs", at("blobs/")),
        ("before-layer", at(&layer)),
        ("in-layer", at(&layer) + 520),
        ("in-last-padding", at(&layer) + 1023),
        ("before-end", bytes.len() - 1024),
        ("one-zero-block", bytes.len() - 512),
        ("last-byte", bytes.len() - 1),
    ];
    for (name, length) in cuts {
        let what = format!("cut after {length} of {} bytes", bytes.len());
        out.add(&format!("cut-{name}"), &what, ("C2", Some(Code::Truncated), "MB-VER-04"), bytes[..length].to_vec());
    }
    for (name, length) in [("empty", 0), ("half-header", 300)] {
        out.add(
            &format!("cut-{name}"),
            "shorter than a tar header",
            is("C2", Code::NotABundle),
            bytes[..length].to_vec(),
        );
    }

    // What comes behind.
    let mut with = |name: &str, what: &str, tail: &[u8]| {
        let all = [&bytes[..], tail].concat();
        out.add(name, what, ("A3 C1 C13", Some(Code::UnlistedContent), "MB-FMT-02"), all).late = false;
    };
    with("tail-zero-byte", "one zero byte after the end", &[0]);
    with("tail-newline", "a line end after the end", b"\n");
    with("tail-zero-block", "a third zero block", &[0; 512]);
    with("tail-blocking-factor", "padded with zeros to 10 KiB, as tar does", &[0; 8704]);
    with("tail-second-tar", "a second good bundle behind the first", &bytes);
    with("tail-zip", "an empty zip file behind the end", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let mut open = good.clone();
    open.tail = vec![];
    let joined = [open.bytes(), bytes.clone()].concat();
    out.add(
        "tail-joined",
        "a second bundle in place of the end, as tar --concatenate does",
        is("A3 C1", Code::UnlistedContent),
        joined,
    );
    let mut broken = good.clone();
    broken.tail[700] = 1;
    out.add("end-not-zero", "the second zero block has a bit in it", is("C1", Code::UnlistedContent), broken);
    let mut broken = good.clone();
    broken.tail[100] = 1;
    out.add("end-first-not-zero", "the first zero block has a bit in it", is("C1 C14", Code::UnlistedContent), broken);

    // What comes before.
    for (name, what, prefix) in [
        ("prefix-byte", "one byte in front", vec![b' ']),
        ("prefix-zeros", "a zero block in front", vec![0; 512]),
        ("prefix-script", "a shell script of one block in front", {
            let mut script = b"#!/bin/sh\nexit 0\n".to_vec();
            script.resize(512, b'\n');
            script
        }),
    ] {
        out.add(name, what, is("C13", Code::NotABundle), [prefix, bytes.clone()].concat());
    }
    out.add("zeros", "nothing but zeros", is("C14", Code::NotABundle), vec![0; 4096]);
    out.add("text", "no tar at all", is("C13", Code::NotABundle), b"this is not a bundle\n".repeat(60));
    let mut gzip = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut gzip, &bytes).unwrap();
    out.add("gzip", "a good bundle, compressed", is("D1", Code::NotABundle), gzip.finish().unwrap());

    // Padding.
    for (name, member, late) in [
        ("oci-layout", layout::OCI_LAYOUT, false),
        ("index", layout::INDEX, false),
        ("signature", layout::SIGNATURE, false),
        ("sums", layout::SUMS, false),
        ("file", "manifests/", false),
        ("document", "blobs/", false),
        ("layer", layer.as_str(), true),
    ] {
        let mut broken = good.clone();
        broken.entry(member).padding = Some(b'x');
        let what = format!("padding of {name} that is not zero");
        let is = ("C1", Some(Code::UnlistedContent), "MB-FMT-02 MB-VER-05");
        out.add(&format!("padding-{name}"), &what, is, broken).late = late;
    }
}
