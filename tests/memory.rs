//! Memory does not grow with the bundle (security D6): at most 64 MiB, and 1 MiB for each worker.
//!
//! The bundle is sparse: one layer of zeros. Layers that are restored may take more (issue 15): `memory/`. What is large
//! takes minutes:
//! `cargo test --profile sweep --test memory -- --ignored --nocapture`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

#[path = "memory/bombs.rs"]
mod bombs;
mod forge;
#[path = "memory/layer.rs"]
mod layer;
#[path = "support/program.rs"]
mod program;

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use forge::draft::{Draft, LAYER, Stored};
use mirror_bundle::bundle::index::{Blob, Kind};
use mirror_bundle::oci::{Digest, Hasher, Role};

const MIB: u64 = 1 << 20;
const WORKERS: u64 = 4;

#[test]
fn a_bundle_of_256_mib_is_verified_in_little_memory() {
    let mut hasher = Hasher::new();
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| hasher.update(&zeros));
    measure(256 * MIB, hasher.finish());
}

#[test]
#[ignore = "hashes 100 GiB, twice"]
fn a_bundle_of_100_gib_is_verified_in_little_memory() {
    // SHA-256 of 100 GiB of zeros: `head -c 107374182400 /dev/zero | sha256sum`
    let zeros = "f0b14a8da7f1c48a0846647a078b97956edd8df451a62fc4b466879aa24d4fd7";
    measure(100 * 1024 * MIB, Digest::from_hex(zeros).unwrap());
}

#[test]
fn a_bundle_at_the_limit_of_its_index_is_verified_in_little_memory() {
    let mut draft = Draft::tiny();
    for part in 0..3u32 {
        let layers: Vec<(&str, Stored)> =
            (0..12_600u32).map(|n| (LAYER, draft.blob(Role::Layer, &(part * 12_600 + n).to_le_bytes()))).collect();
        let image = draft.image("amd64", &layers[..]);
        draft.top(Kind::Additional, "registry.example.com/many", Some(&part.to_string()), &image);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    std::fs::write(&path, draft.archive().bytes()).unwrap();
    verified_within((64 + WORKERS) * MIB, &path);
}

/// Writes a bundle with a sparse layer of this size.
fn sparse(path: &Path, size: u64, digest: Digest) {
    let mut draft = Draft::tiny();
    let image = draft.image("amd64", &[(LAYER, Stored { digest, size, media_type: String::new() })]);
    draft.top(Kind::Additional, "registry.example.com/huge", Some("1"), &image);
    let archive = draft.archive_of(|index| {
        index.blobs.push(Blob { digest, size, role: Role::Layer });
        index.sort();
    });
    let file = std::fs::File::create(path).unwrap();
    let mut at = 0;
    for entry in &archive.entries {
        let is_huge = entry.listed == digest;
        let length = if is_huge { size } else { entry.bytes.len() as u64 };
        let header = mirror_bundle::bundle::tar::header(&entry.name, length, archive.mtime);
        file.write_all_at(&header, at).unwrap();
        file.write_all_at(&entry.bytes, at + 512).unwrap();
        at += 512 + length.next_multiple_of(512);
    }
    file.set_len(at + 1024).unwrap();
}

fn measure(size: u64, digest: Digest) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    sparse(&path, size, digest);
    verified_within((64 + WORKERS) * MIB, &path);
}

fn verified_within(most: u64, path: &Path) {
    let size = path.metadata().unwrap().len();
    for stream in [false, true] {
        let mut command = program::program(path.parent().unwrap());
        command.current_dir(forge::folder()).arg("verify").arg(if stream { Path::new("-") } else { path });
        command.args(forge::vector::ARGS).args(["--jobs", &WORKERS.to_string(), "--quiet"]);
        command.stdin(if stream { std::fs::File::open(path).unwrap().into() } else { Stdio::null() });
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (exit, peak) = watch(child);
        println!("{size} bytes, stream {stream}: peak {} KiB", peak >> 10);
        assert_eq!(exit, Some(0));
        assert!(peak > MIB && peak < most, "peak {peak}, at most {most}");
    }
}

/// The most memory that a process has had so far.
fn peak_of(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// What the program itself takes beyond the 13 MiB of an optimised one, when it waits for its first byte: the code and
/// the tables of a debug build are several times as large.
fn debug_build() -> u64 {
    static MORE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *MORE.get_or_init(|| {
        let mut command = program::program(&forge::folder());
        command.current_dir(forge::folder()).args(["verify", "-", "--quiet"]).args(forge::vector::ARGS);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut peak = 0;
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let now = peak_of(&child);
            if now > 0 && now == peak {
                break;
            }
            peak = now;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        peak.saturating_sub(13 * MIB)
    })
}

/// The exit code of a process, and the most memory that it ever had, without what a debug build adds.
fn watch(mut child: Child) -> (Option<i32>, u64) {
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(&child));
        if let Some(exit) = child.try_wait().unwrap() {
            return (exit.code(), peak - debug_build().min(peak));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn recovery_data_is_made_and_used_in_little_memory() {
    let mut hasher = Hasher::new();
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| hasher.update(&zeros));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    sparse(&path, 256 * MIB, hasher.finish());
    let bundle = path.to_str().unwrap();
    let run = |args: &[&str]| {
        let mut command = program::program(dir.path());
        command.current_dir(forge::folder()).args(args).args(["--jobs", &WORKERS.to_string(), "--quiet"]);
        let (exit, peak) = watch(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        println!("{}: {} MiB", args[0], peak / MIB);
        assert_eq!(exit, Some(0), "{args:?}");
        assert!(peak <= (64 + WORKERS) * MIB, "{args:?}: {peak} bytes");
    };
    run(&["recovery", bundle]);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&vec![7; 9 << 20], 100 * MIB).unwrap();
    file.set_len(255 * MIB).unwrap();
    run(&[&["repair", bundle][..], forge::vector::ARGS].concat());
}

#[test]
fn hostile_findings_take_little_memory_and_a_short_report() {
    let mut draft = Draft::tiny();
    for part in 0..4u32 {
        let layers: Vec<(&str, Stored)> = (0..19_000u32)
            .map(|n| {
                let digest = Digest::of(&(part * 19_000 + n).to_le_bytes());
                (LAYER, Stored { digest, size: 1, media_type: String::new() })
            })
            .collect();
        let image = draft.image("amd64", &layers[..]);
        let home = format!("registry.example.com/{}", "a".repeat(230));
        draft.top(Kind::Additional, &home, Some(&part.to_string()), &image);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    std::fs::write(&path, draft.archive().bytes()).unwrap();
    let (exit, report) = reported("findings", &path);
    assert_eq!(exit, Some(30));
    assert!(report.len() < MIB as usize, "{} bytes", report.len());
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let graph = report["checks"].as_array().unwrap().iter().find(|c| c["id"] == "image-graph").unwrap();
    assert_eq!(graph["more"], 4 * 19_000 - 256);
}

/// The exit code and the JSON report of one worker, which may take 64 MiB and one more.
fn reported(what: &str, path: &Path) -> (Option<i32>, Vec<u8>) {
    let out = path.with_extension("out");
    let mut command = program::program(path.parent().unwrap());
    command.current_dir(forge::folder()).arg("verify").arg(path).args(forge::vector::ARGS);
    command.args(["--jobs", "1", "-o", "json"]).stdout(std::fs::File::create(&out).unwrap()).stderr(Stdio::null());
    let (exit, peak) = watch(command.spawn().unwrap());
    println!("{what}: peak {} KiB", peak >> 10);
    assert!(peak > MIB && peak <= 65 * MIB, "{what}: peak {} KiB", peak >> 10);
    (exit, std::fs::read(&out).unwrap())
}

/// A little less than 4 MiB: the small image of the draft has to fit too.
const DOCUMENT: usize = (4 << 20) - 2048;
/// What every document here begins with: a configuration that is there.
const CONFIG: &[u8] = b"{}";

/// A list that fills what is left of a document, up to `most` entries.
fn fill(before: &str, after: &str, most: usize, entry: impl Fn(usize) -> String) -> String {
    let mut text = before.to_owned();
    for n in 0..most {
        let entry = entry(n);
        if text.len() + entry.len() + after.len() + 1 > DOCUMENT {
            break;
        }
        if n > 0 {
            text.push(',');
        }
        text.push_str(&entry);
    }
    text + after
}

/// Four documents of 4 MiB each, which is all that a bundle may have (MB-LIM-02, MB-LIM-03), full of what grows most
/// when it is read.
#[test]
fn hostile_documents_at_the_limit_take_little_memory() {
    let config = format!("\"mediaType\":\"\",\"digest\":\"{}\",\"size\":2", Digest::of(CONFIG));
    let begin = format!("{{\"schemaVersion\":2,\"config\":{{{config}");
    let layers = format!("{begin}}},\"layers\":[");
    let absent =
        |n: usize| format!("{{\"mediaType\":\"\",\"digest\":\"{}\",\"size\":1}}", Digest::of(&n.to_le_bytes()));
    type Make<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, i32, Make); 8] = [
        ("urls", 0, &|k| fill(&format!("{begin},\"urls\":["), "]},\"layers\":[]}", 1_390_000 + k, |_| "\"\"".into())),
        ("missing", 30, &|k| fill(&layers, "]}", 100_000, |n| absent(n + k * 100_000))),
        ("annotated layers", 0, &|k| {
            fill(&layers, "]}", 30_000 + k, |_| format!("{{{config},\"annotations\":{{\"\":\"\"}},\"urls\":[\"\"]}}"))
        }),
        ("annotations", 0, &|k| {
            fill(&format!("{begin}}},\"layers\":[],\"annotations\":{{"), "}}", 100_000, |n| {
                format!("\"{:x}\":\"\"", n + k)
            })
        }),
        ("too many annotations", 12, &|k| {
            fill(&layers, "]}", 10, |_| {
                fill(&format!("{{{config},\"annotations\":{{"), "}}", 40_000, |n| format!("\"{:x}\":\"\"", n + k))
            })
        }),
        ("names in open objects", 0, &|k| {
            let object = fill("", "", 99_990, |n| format!("\"{:x}\":0", n + k));
            fill(
                &format!("{begin}}},\"layers\":[],\"x\":{{{object},\"x\":{{{object},\"x\":{{{object},\"x\":{{"),
                "}}}}}",
                99_990,
                |n| format!("\"{n:x}\":0"),
            )
        }),
        ("one blob many times", 0, &|k| fill(&layers, "]}", 30_000 + k, |_| format!("{{{config}}}"))),
        ("small values", 0, &|k| {
            fill(&format!("{begin}}},\"layers\":[],\"x\":["), "]}", 1_900_000 + k, |_| "0".into())
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (what, exit, make) in cases {
        let mut draft = Draft::tiny();
        draft.blob(Role::Config, CONFIG);
        for k in 0..4 {
            let text = make(k);
            assert!(text.len() <= DOCUMENT, "{what}: {}", text.len());
            let image = draft.document(Role::Manifest, mirror_bundle::oci::media_type::OCI_MANIFEST, |_| text);
            draft.top(
                Kind::Additional,
                &format!("registry.example.com/{}", "a".repeat(230)),
                Some(&k.to_string()),
                &image,
            );
        }
        let path = dir.path().join("bundle.tar");
        std::fs::write(&path, draft.archive().bytes()).unwrap();
        assert_eq!(reported(what, &path).0, Some(exit), "{what}");
    }
}

/// Manifests of 3 MiB each, as many as a bundle may have (MB-LIM-07, MB-LIM-09), full of what grows most when it is read.
#[test]
fn hostile_manifests_at_the_limit_take_little_memory() {
    type Entry = fn(usize) -> String;
    let kinds: [(&str, &str, Entry, &str); 3] = [
        ("members", "{", |n| format!("\"{n:06}\":\"\""), "}"),
        ("objects", "[", |n| format!("{{\"{n:06}\":0}}"), "]"),
        ("texts", "[", |n| format!("\"{n:06}\""), "]"),
    ];
    for (what, open, entry, close) in kinds {
        let object = "\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"}";
        let text = |most: usize, count: usize| {
            let mut text = format!("{{{object},\"x\":{open}");
            for n in 0..count {
                let entry = entry(n);
                if text.len() + entry.len() + 100 > most {
                    break;
                }
                if n > 0 {
                    text.push(',');
                }
                text.push_str(&entry);
            }
            let rest = most - text.len() - 50;
            text + close + &format!(",\"y\":\"{}\"}}\n", "z".repeat(rest))
        };
        let mut draft = Draft::tiny();
        let count = if what == "objects" { 99_000 } else { 199_000 };
        for (n, size) in [3 << 20, 3 << 20, (2 << 20) - 4096].into_iter().enumerate() {
            draft.files.insert(format!("manifests/{n}.yaml"), text(size, count).into_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.tar");
        std::fs::write(&path, draft.archive().bytes()).unwrap();
        assert_eq!(reported(what, &path).0, Some(0), "{what}");
    }
}

/// One image with a long name leads to as many small documents as the index can list.
#[test]
fn many_small_documents_below_one_name_take_little_memory() {
    let mut draft = Draft::tiny();
    let config = draft.blob(Role::Config, CONFIG);
    let mut children = Vec::new();
    for n in 0..30_000u32 {
        let kind = mirror_bundle::oci::media_type::OCI_MANIFEST;
        let text = format!("{{\"schemaVersion\":2,\"config\":{},\"layers\":[],\"x\":{n}}}", config.json("a"));
        children.push(draft.document(Role::Manifest, kind, |_| text).json(kind));
    }
    for (n, half) in children.chunks(15_000).enumerate() {
        let kind = mirror_bundle::oci::media_type::OCI_INDEX;
        let text = format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", half.join(","));
        let list = draft.document(Role::Index, kind, |_| text);
        draft.top(Kind::Additional, &format!("registry.example.com/{}", "a".repeat(230)), Some(&n.to_string()), &list);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    std::fs::write(&path, draft.archive().bytes()).unwrap();
    assert_eq!(reported("small documents", &path).0, Some(0));
}

/// Four review records of 1 MiB, which is all that may be there (MB-LIM-11), of the smallest values there are.
#[test]
fn hostile_records_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    let archive = Draft::tiny().archive();
    std::fs::write(&path, archive.bytes()).unwrap();
    let index = archive.entries.iter().find(|e| e.name == "mirror-bundle/index.json").unwrap();
    for (n, value) in ["0", "{}", "[]", "{\"\":0}"].iter().enumerate() {
        let head = format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"a\",\"digest\":{{\"sha256\":\"{}\"}}}}],\"predicateType\":\"urn:mirror-bundle:review:v1\",\"predicate\":{{\"role\":\"reviewer\",\"note\":\"n{n}\",\"created\":\"2026-01-01T00:00:00Z\",\"details\":{{\"a\":[",
            Digest::of(&index.bytes).hex()
        );
        let count = ((1 << 20) - head.len() - 10) / (value.len() + 1);
        let record = format!("{head}{}]}}}}}}", vec![*value; count].join(","));
        let name = format!("bundle.tar.record-{}.json", &Digest::of(record.as_bytes()).hex()[..16]);
        std::fs::write(dir.path().join(&name), record).unwrap();
        std::fs::write(dir.path().join(name + ".sig"), "x").unwrap();
    }
    let (exit, report) = reported("records", &path);
    assert_eq!(exit, Some(0));
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["records"].as_array().unwrap().len(), 4);
    assert!(report["records"][0]["details"]["a"].as_array().unwrap().len() > 100_000);
}
