//! Layers that tar readers read differently, that are damaged, or that never end.

use std::io::Write;

use mirror_bundle::Code;
use mirror_bundle::content::Merged;
use mirror_bundle::content::layer::{Bounds, Reading, Remarks, files, is_layer};

use crate::kit::{Desk, json_lines, text};
use crate::layout::{GZIP, TAR};
use crate::tar::{dir, entry, file, gzip, link, open, pax, tar};

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The paths and contents of one reading, and whether it is ambiguous.
fn read(layer: &[u8], reading: Reading) -> (Vec<(String, Vec<u8>)>, bool) {
    let (mut remarks, mut out) = (Remarks::default(), Vec::new());
    let bounds = Bounds::of(layer.len() as u64);
    let ended = files(TAR, Box::new(layer), bounds, reading, &mut remarks, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        out.push((String::from_utf8_lossy(&entry.path).into_owned(), bytes));
        Ok(())
    });
    ended.unwrap_or_else(|e| panic!("{e}: {out:?}"));
    (out, remarks.is_ambiguous())
}

fn names(layer: &[u8], reading: Reading) -> Vec<String> {
    read(layer, reading).0.into_iter().map(|(path, _)| path).collect()
}

/// Each with what the second reading sees and the first does not.
fn ambiguous() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let inner = tar(&[file("hidden", b"evil")]);
    let size = inner.len() as u64;
    let with = |mut first: Vec<u8>, more: &[u8]| {
        first.extend_from_slice(more);
        first
    };
    vec![
        (
            "a PAX size that contradicts its header",
            with(open(&[pax(b'x', &[("size", "0")]), file("a", &inner[..1024])]), &[0; 1024]),
            "",
        ),
        ("a global header that renames", tar(&[pax(b'g', &[("path", "b")]), file("a", b"1")]), "b"),
        ("a folder with content", with(open(&[dir("d/").size(size)]), &inner), "d"),
        (
            "a link with content",
            with(open(&[link(b'2', "l", "x").size(512)]), &with(open(&[file("in", b"")]), &[0; 1024])),
            "",
        ),
        ("an archive behind the end", with(tar(&[file("a", b"1")]), &tar(&[file("second", b"2")])), "second"),
        (
            "two PAX headers",
            tar(&[pax(b'x', &[("path", "one")]), pax(b'x', &[("mtime", "1")]), file("a", b"1")]),
            "one",
        ),
        (
            "a long name and a PAX name",
            tar(&[entry(b'L', "././@LongLink").with(b"gnu\0"), pax(b'x', &[("path", "pax")]), file("a", b"1")]),
            "pax",
        ),
        ("a file with a slash", tar(&[file("a/", b"1")]), ""),
        ("a type that nobody knows", tar(&[entry(b'V', "label")]), ""),
        ("a zero byte in a PAX name", tar(&[pax(b'x', &[("path", "a\0b")]), file("c", b"1")]), ""),
        ("a damaged PAX header", tar(&[entry(b'x', "p").with(b"99 path=zz\n"), file("a", b"1")]), ""),
        ("a name twice in one PAX header", tar(&[pax(b'x', &[("path", "a"), ("path", "b")]), file("c", b"1")]), ""),
        ("bytes behind the end", with(tar(&[file("a", b"1")]), b"something else"), ""),
    ]
}

#[test]
fn a_layer_that_tar_readers_read_differently_is_a_finding_and_both_readings_are_listed() {
    for (what, layer, other) in ambiguous() {
        let (first, found) = read(&layer, Reading::Runtime);
        assert!(found, "{what}: {first:?}");
        if !other.is_empty() {
            assert!(names(&layer, Reading::Other).iter().any(|name| name == other), "{what}");
        }
        let mut desk = Desk::new();
        let stored = desk.layout.layer(GZIP, &gzip(&layer), &layer);
        desk.layout.image("app:1", &[stored]);
        desk.made();
        let listed = desk.run(&["ls", "b.tar", "--files", "-o", "json"]);
        let lines = json_lines(&listed);
        let findings = lines.last().unwrap()["findings"].as_array().unwrap();
        assert!(
            findings.iter().any(|f| f["code"] == "ambiguous-layer" && f["severity"] == "error"),
            "{what}: {findings:?}"
        );
        assert_eq!(listed.status.code(), Some(12), "{what}");
        let second: Vec<_> = lines.iter().filter(|line| line["other_reading"] == true).collect();
        assert!(!second.is_empty(), "{what}: {lines:?}");
        assert!(other.is_empty() || second.iter().any(|row| row["path"] == other), "{what}: {second:?}");
    }
}

#[test]
fn cat_extract_and_diff_say_so_when_tar_readers_see_something_else() {
    let mut desk = Desk::new();
    let layers = [b"1", b"2"].map(|content| {
        let mut layer = tar(&[file("a", content)]);
        layer.extend(tar(&[file("second", b"2")]));
        layer
    });
    for (layer, bundle) in layers.iter().zip(["a.tar", "b.tar"]) {
        desk.layout = crate::layout::Layout::new(desk.path().join("layout"));
        let stored = desk.layout.layer(TAR, layer, layer);
        desk.layout.image("app:1", &[stored]);
        desk.made_as(bundle, &[]);
    }
    for verb in [
        &["cat", "b.tar", "app:1:/a"][..],
        &["extract", "b.tar", "app:1", "--to", "out"],
        &["extract", "b.tar", "app:1", "--to", "out2", "-o", "json"],
        &["diff", "a.tar", "b.tar", "--exit-code"],
        &["diff", "a.tar", "b.tar", "--files", "-o", "json"],
    ] {
        let done = desk.run(verb);
        assert_eq!(done.status.code(), Some(12), "{verb:?}: {done:?}");
        match verb.last() {
            Some(&"json") => {
                let document = crate::support::schemas::valid(verb[0], &text(&done.stdout));
                assert_eq!(document["findings"][0]["code"], "ambiguous-layer", "{document}");
            }
            _ => assert!(text(&done.stderr).contains("has data after the end of its archive"), "{done:?}"),
        }
    }
    assert_eq!(std::fs::read(desk.path().join("out/a")).unwrap(), b"2", "what container runtimes see is written");
}

#[test]
fn bytes_behind_an_end_are_content_of_their_own() {
    let mut layer = tar(&[file("a", b"1")]);
    layer.extend_from_slice(b"after");
    let (all, _) = read(&layer, Reading::Runtime);
    let (name, bytes) = all.last().unwrap();
    assert!(name.contains("behind the end of the archive") && bytes.starts_with(b"after"), "{all:?}");
    let mut packed = gzip(&tar(&[file("a", b"1")]));
    packed.extend_from_slice(b"trailing");
    let (all, found) = read(&packed, Reading::Runtime);
    assert!(found && all.last().unwrap().1 == b"trailing", "{all:?}");
    let mut packed = zstd::encode_all(&tar(&[file("a", b"1")])[..], 1).unwrap();
    packed.extend_from_slice(b"trailing");
    let (all, found) = read(&packed, Reading::Runtime);
    assert!(found && all.last().unwrap().1 == b"trailing", "{all:?}");
}

#[test]
fn what_container_runtimes_accept_is_read_and_is_no_finding() {
    let plain = tar(&[file("a", b"1"), file("b", &[7; 3000])]);
    let (first, second) = plain.split_at(700);
    let several = [gzip(first), gzip(b""), gzip(second), gzip(b"")].concat();
    let mut frames = Vec::new();
    for part in [first, second] {
        frames.extend_from_slice(&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        frames.extend(zstd::encode_all(part, 1).unwrap());
    }
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).unwrap();
    wide.write_all(&plain).unwrap();
    let wide = wide.finish().unwrap();
    let long = "x/".repeat(120) + "end";
    let base256 = file("a", b"1").set(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    for (what, layer, path) in [
        ("several gzip members, also empty ones", several, "b"),
        ("several frames, and skipped ones", frames, "b"),
        ("a window of 128 MiB", wide, "b"),
        ("a size in base 256", tar(&[base256]), "a"),
        ("a comment for all", tar(&[pax(b'g', &[("comment", "abc")]), file("a", b"1")]), "a"),
        ("a path that leads up", tar(&[file("x/../a", b"1")]), "a"),
        ("a hard link to a later entry", tar(&[link(b'1', "a", "b"), file("b", b"1")]), "a"),
        ("a long PAX name", tar(&[pax(b'x', &[("path", &long)]), file("short", b"1")]), &long),
        ("no end at all", open(&[file("a", b"1")]), "a"),
    ] {
        let (all, found) = read(&layer, Reading::Runtime);
        assert!(!found, "{what}");
        assert!(all.iter().any(|(name, _)| name == path), "{what}: {all:?}");
    }
}

#[test]
fn sparse_files_of_all_forms_have_their_holes() {
    let expected = [&[0; 1000][..], b"data", &[0; 96]].concat();
    let map = b"1\n1000\n4\n";
    let mut v1 = map.to_vec();
    v1.resize(512, 0);
    v1.extend_from_slice(b"data");
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "1100"),
    ];
    let new = tar(&[pax(b'x', &records), file("GNUSparseFile.0/s", &v1)]);
    let v01 = [
        ("GNU.sparse.size", "1100"),
        ("GNU.sparse.numblocks", "1"),
        ("GNU.sparse.map", "1000,4"),
        ("GNU.sparse.name", "s"),
    ];
    let middle = tar(&[pax(b'x', &v01), file("x", b"data")]);
    let old = entry(b'S', "s")
        .with(b"data")
        .set(257, b"ustar  \0")
        .set(386, format!("{:011o}", 1000).as_bytes())
        .set(398, format!("{:011o}", 4).as_bytes())
        .set(483, format!("{:011o}", 1100).as_bytes());
    for layer in [new, middle, tar(&[old])] {
        let (all, found) = read(&layer, Reading::Runtime);
        assert_eq!((all, found), (vec![("s".to_owned(), expected.clone())], false));
    }
}

#[test]
fn limits_stop_a_layer_and_what_came_before_was_handed_over() {
    let layer = tar(&[file("a", b"1"), file("b", &[1; 5000]), file("c", b"1")]);
    for (bounds, why) in [
        (Bounds { entries: 2, ..Bounds::of(0) }, "entries"),
        (Bounds { inflated: 3000, ..Bounds::of(0) }, "inflates to more"),
    ] {
        let mut seen = Vec::new();
        let ended =
            files(TAR, Box::new(layer.as_slice()), bounds, Reading::Runtime, &mut Remarks::default(), &mut |e, _| {
                seen.push(e.path.clone());
                Ok(())
            });
        let err = ended.unwrap_err();
        assert!(err.code() == Code::Malformed && err.message().contains(why), "{err:?}");
        assert_eq!(seen, [b"a", b"b"]);
    }
}

/// A bomb stops at its limit; the other layers are listed.
#[test]
fn a_bomb_stops_at_the_limit_and_other_layers_go_on() {
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    bomb.write_all(&open(&[file("zeros", b"").size(6 << 28)])).unwrap();
    let zeros = vec![0; 4 << 20];
    for _ in 0..(6 << 28) / zeros.len() {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let mut desk = Desk::new();
    let plain = tar(&[file("other", b"1")]);
    let bad = desk.layout.layer(ZSTD, &bomb, b"");
    let good = desk.layout.layer(TAR, &plain, &plain);
    // Of an image, `create` would refuse it: a release may hide in it.
    desk.layout.artifact("app:1", &[bad, good]);
    desk.made();
    let listed = desk.run(&["ls", "b.tar", "--files"]);
    assert_eq!(listed.status.code(), Some(12), "{listed:?}");
    assert!(
        text(&listed.stdout).contains("/other\n") && text(&listed.stderr).contains("inflates to more than"),
        "{listed:?}"
    );
}

#[test]
fn a_layer_that_cannot_be_inflated_to_its_end_is_listed_up_to_there() {
    let layer = tar(&[file("first", b"1"), file("second", &crate::support::noise(200_000, 3)), file("third", b"1")]);
    let mut packed = gzip(&layer);
    packed.truncate(packed.len() / 2);
    let mut desk = Desk::new();
    let stored = desk.layout.layer(GZIP, &packed, &layer);
    desk.layout.image("app:1", &[stored]);
    desk.made();
    let listed = desk.run(&["ls", "b.tar", "--files"]);
    assert_eq!(listed.status.code(), Some(12), "{listed:?}");
    assert!(text(&listed.stdout).contains("/first\n") && !text(&listed.stdout).contains("/third"), "{listed:?}");
}

#[test]
fn only_archives_are_layers() {
    for (media_type, is) in [
        (TAR, true),
        (GZIP, true),
        (ZSTD, true),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", false),
        ("application/vnd.dev.cosign.simplesigning.v1+json", false),
        ("application/wasm", false),
    ] {
        assert_eq!(is_layer(media_type), is, "{media_type}");
    }
}

/// What `fuzz/fuzz_targets/layer.rs` does for longer.
#[test]
fn mutants_of_layers_end_and_keep_to_the_limits() {
    let mut state = 0x0123_4567_89ab_cdef_u64;
    let mut dice = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n as u64).unwrap()
    };
    let seeds: Vec<Vec<u8>> = ambiguous().into_iter().map(|(_, layer, _)| layer).collect();
    let bounds = Bounds { entries: 50, inflated: 1 << 20, ..Bounds::of(0) };
    for round in 0..3000 {
        let mut layer = seeds[dice(seeds.len())].clone();
        for _ in 0..1 + dice(4) {
            let at = dice(layer.len());
            match dice(3) {
                0 => layer[at] = u8::try_from(dice(256)).unwrap(),
                1 => layer.truncate(at.max(1)),
                _ => layer[at] ^= 1 << dice(8),
            }
        }
        // A checksum that is right again lets the change through.
        for block in layer.chunks_exact_mut(512).filter(|block| block.iter().any(|b| *b != 0)) {
            if dice(2) == 0 {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        for stored in [layer.clone(), gzip(&layer)] {
            for reading in [Reading::Runtime, Reading::Other] {
                let (mut remarks, mut merged, mut count) = (Remarks::default(), Merged::default(), 0);
                let ended =
                    files(TAR, Box::new(stored.as_slice()), bounds, reading, &mut remarks, &mut |entry, content| {
                        count += 1;
                        let copied = std::io::copy(content, &mut std::io::sink());
                        assert!(
                            copied.is_err() || entry.size == 0 || copied.unwrap() == entry.size,
                            "{round}: {entry:?}"
                        );
                        merged.add(entry)
                    });
                merged.end_layer();
                merged
                    .visit(&mut |path, at, _| {
                        assert_eq!(merged.path(at), path);
                        Ok(())
                    })
                    .unwrap();
                assert!(count <= 52 && ended.map_or(true, |e| e.inflated <= bounds.inflated));
            }
        }
    }
}
