#![allow(clippy::unwrap_used)]
use std::io::Write;

use super::*;

fn tar(entries: &[(&str, u8)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(0);
        if path.len() <= 100 {
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        } else {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_cksum();
            builder.append_data(&mut header, path, &b""[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn found(bytes: &[u8], step: usize) -> Layer {
    let mut probe = Probe::new(1 << 30);
    bytes.chunks(step).for_each(|part| probe.send(part));
    probe.finish().0
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_payload_is_found_however_its_path_is_written_and_the_layer_is_compressed() {
    let long = format!("./release-manifests/{}", "x".repeat(120));
    let paths = [
        ("release-manifests/image-references", b'0'),
        ("./release-manifests//image-references", b'0'),
        ("/release-manifests/release-metadata", b'0'),
        ("a/../release-manifests/release-metadata", b'7'),
        ("a/release-manifests/./image-references", b'0'),
        ("release-manifests/", b'5'),
        ("release-manifests", b'2'),
        ("a/release-manifests", b'2'),
        ("a/release-manifests", b'1'),
        (long.as_str(), b'0'),
    ];
    for (path, kind) in paths {
        let layer = tar(&[("etc/", b'5'), (path, kind), ("z", b'0')]);
        let twice = [gzip(&tar(&[("a", b'0')])), gzip(&layer)].concat();
        for bytes in [layer.clone(), gzip(&layer), twice, zstd::encode_all(&layer[..], 1).unwrap()] {
            for step in [1, 7, 512, 1 << 20] {
                assert_eq!(found(&bytes, step), Layer::Payload, "{path} {step}");
            }
        }
    }
}

#[test]
fn a_path_that_only_an_extension_header_or_a_prefix_gives_is_found() {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..16].copy_from_slice(b"image-references");
    header.as_mut_bytes()[345..345 + 17].copy_from_slice(b"release-manifests");
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    assert_eq!(found(header.as_bytes(), 512), Layer::Payload);
    for kind in [b'x', b'g'] {
        let record = b"41 path=release-manifests/image-references\n";
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..1].copy_from_slice(b"p");
        header.set_size(record.len() as u64);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(record);
        bytes.resize(1024, 0);
        assert_eq!(found(&bytes, 100), Layer::Payload);
    }
}

#[test]
fn other_layers_and_bytes_that_are_no_archive_are_no_release() {
    let text = b"release-manifests/image-references".repeat(100);
    for bytes in [
        tar(&[("usr/bin/oc", b'0'), ("manifests/image-references", b'0'), ("my-release-manifests/x", b'0')]),
        tar(&[(".wh.release-manifests", b'0'), ("a/release-manifests/", b'5'), ("a/release-manifests/b", b'0')]),
        text.clone(),
        gzip(&text),
        vec![],
        vec![0; 4096],
        vec![0x1f, 0x8b, 8, 0, 1],
    ] {
        assert_eq!(found(&bytes, 300), Layer::Other);
    }
}

#[test]
fn what_is_compressed_otherwise_or_inflates_without_end_is_opaque() {
    assert_eq!(found(b"BZh91AY&SY", 3), Layer::Opaque);
    assert_eq!(found(b"\xfd7zXZ\0\0", 3), Layer::Opaque);
    let mut probe = Probe::new(1 << 20);
    probe.send(&gzip(&vec![0; 2 << 20]));
    let (found, cost) = probe.finish();
    assert_eq!(found, Layer::Opaque);
    assert!(cost < 2 << 20, "{cost}");
}

#[test]
fn what_this_decoder_refuses_and_another_one_reads_is_opaque() {
    let layer = tar(&[("release-manifests/image-references", b'0')]);
    // Go's gzip ignores the reserved flags.
    let mut reserved = gzip(&layer);
    reserved[3] |= 0x20;
    assert_eq!(found(&reserved, 100), Layer::Opaque);
    // A frame with a window of 256 MiB and one raw block, alone and behind a good frame.
    let size = u32::try_from((layer.len() << 3) | 1).unwrap().to_le_bytes();
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3][..], &size[..3], &layer].concat();
    assert_eq!(found(&frame, 100), Layer::Opaque);
    let good = zstd::encode_all(&b"x"[..], 1).unwrap();
    assert_eq!(found(&[good, frame].concat(), 100), Layer::Opaque);
}

/// A header of this name, kind and size.
fn header(name: &[u8], kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    header
}

#[test]
fn odd_headers_and_headers_after_false_ones_are_noticed() {
    let payload = header(b"release-manifests/image-references", b'0', 0);
    // Go trims zero bytes in front of the sum, too.
    let mut odd = payload.as_bytes().to_vec();
    odd.copy_within(148..155, 149);
    odd[148] = 0;
    assert_eq!(found(&odd, 512), Layer::Payload);
    // An extension header needs no name.
    let record = b"41 path=release-manifests/image-references\n";
    let mut bytes = [&header(b"", b'x', record.len() as u64).as_bytes()[..], record].concat();
    bytes.resize(1024, 0);
    assert_eq!(found(&bytes, 512), Layer::Payload);
    // The content of a file that claims what follows for itself.
    for (size, seen) in [(1 << 10, Layer::Payload), (1 << 20, Layer::Payload), ((1 << 20) + 1, Layer::Opaque)] {
        let file = header(b"a", b'0', 512);
        let claim = header(b"b", b'x', size);
        let bytes = [&file.as_bytes()[..], claim.as_bytes(), payload.as_bytes()].concat();
        assert_eq!(found(&bytes, 512), seen, "{size}");
    }
    // The content of an extension header that claims the rest of it for itself.
    let claim = header(b"b", b'x', 1 << 20);
    let outer = header(b"c", b'x', 512 + record.len() as u64);
    let bytes = [&outer.as_bytes()[..], claim.as_bytes(), record].concat();
    assert_eq!(found(&bytes, 512), Layer::Opaque);
}

#[test]
fn the_label_is_found_however_json_writes_it() {
    for config in [
        r#"{"config":{"Labels":{"io.openshift.release":"4.16.37"}}}"#,
        r#"{"config":{"Labels":{"io.openshift.release":""}}}"#,
        r#"{"config":{"Labels":{"io.openshift.release" : null}}}"#,
        r#"{"CONFIG":{"labels":{"io.openshift.\u0072elease":"4"}}}"#,
        r#"{"a":"\ud800","n":1e999,"config":{"Labels":{"io.openshift.release":"4"}}}"#,
        r#"{"a":"\\","config":{"Labels":{"io.openshift.release":"4"}}}"#,
    ] {
        assert!(has_label(config.as_bytes()), "{config}");
    }
    assert!(has_label(b"{\"a\":\"\xff\",\"config\":{\"Labels\":{\"io.openshift.release\":\"\"}}}"));
    for config in [
        r#"{"config":{"Labels":{"io.openshift.release.operator":"true"}}}"#,
        r#"{"config":{"Labels":{"a":"io.openshift.release"}}}"#,
        r#"{"history":[{"created_by":"LABEL \"io.openshift.release\":\"x\""}]}"#,
        "{",
        "",
    ] {
        assert!(!has_label(config.as_bytes()), "{config}");
    }
}

#[test]
fn tags_of_releases_are_known_where_releases_lie_and_nowhere_else() {
    let home = place(None);
    for tag in [
        "4.16.37-x86_64",
        "4.16.37",
        "v4.16.37",
        "4.16.37-X86_64",
        "4.16.37-multi",
        "4.17.0-rc.1-aarch64",
        "4.16.37-x86_64-etcd",
        "4.17.0-0.nightly-2026-01-01",
        "5.0.0",
        "04.16.37",
        "99999999999999999999.1.1",
        "1.2.3-x86_64",
    ] {
        assert!(is_release_tag(home, tag), "{tag}");
        assert!(is_release_tag(place(Some("x/openshift/release")), tag), "{tag}");
        assert!(!is_release_tag(place(Some("team/app")), tag), "{tag}");
    }
    let attached = format!("sha256-{}.sig", "a".repeat(64));
    for tag in ["latest", "4.16", "1.2.3", "v1.2.3", "4", "x4.16.37", "2026.1", attached.as_str()] {
        assert!(!is_release_tag(home, tag), "{tag}");
    }
    let among = place(Some("openshift-release-dev/ocp-release"));
    assert!(is_release_tag(among, "latest") && !is_release_tag(among, &attached));
    for other in ["myopenshift/release", "openshift/release/x", "openshift/releases", "release"] {
        assert_eq!(place(Some(other)), ReleaseHome::Elsewhere, "{other}");
    }
}

#[test]
fn a_release_may_have_the_tags_of_its_own_version_only() {
    for tag in ["4.16.37-x86_64", "4.16.37-amd64", "4.16.37", "v4.16.37-x86_64", "4.16.37-x86_64-etcd"] {
        assert!(is_tag_of("4.16.37", "amd64", tag), "{tag}");
    }
    for tag in ["4.16.38-x86_64", "4.16.370", "4.16.37-aarch64", "4.16.37-rc.1-x86_64", "latest", "4.16.37-x86_640"] {
        assert!(!is_tag_of("4.16.37", "amd64", tag), "{tag}");
    }
}

/// Layers are full of compressed files. A block of one had the sum that a checksum field without digits was read as, and
/// the kind and size of an enormous extension: the image was refused.
#[test]
fn a_block_of_compressed_content_is_not_taken_for_a_header() {
    let mut block = [0u8; 512];
    block[148..156].copy_from_slice(b"\xc5\x98\x9e\xc3g6\xa1\xaf");
    block[156] = b'x';
    (block[124], block[130]) = (0x80, 0x7f);
    (block[200], block[201], block[202]) = (0x80, 0x88, 0x81);
    assert_eq!(found(&block.repeat(3), 512), Layer::Other);
}
