//! Memory does not grow with the bundle (security D6): at most 64 MiB, and 1 MiB for each worker.
//!
//! The bundle is sparse: one layer of zeros. The large one takes minutes:
//! `cargo test --profile sweep --test memory -- --ignored --nocapture`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

mod forge;
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

/// The exit code of a process, and the most memory that it ever had.
fn watch(mut child: Child) -> (Option<i32>, u64) {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        if let Some(exit) = child.try_wait().unwrap() {
            return (exit.code(), peak);
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
    let mut command = program::program(dir.path());
    command.current_dir(forge::folder()).arg("verify").arg(&path).args(forge::vector::ARGS);
    let out = std::fs::File::create(dir.path().join("out")).unwrap();
    command.args(["--jobs", &WORKERS.to_string(), "-o", "json"]).stdin(Stdio::null()).stdout(out);
    let (exit, peak) = watch(command.stderr(Stdio::null()).spawn().unwrap());
    println!("peak {} KiB", peak >> 10);
    assert_eq!(exit, Some(30));
    assert!(peak < (64 + WORKERS) * MIB, "peak {peak}");
    let report = std::fs::read(dir.path().join("out")).unwrap();
    assert!(report.len() < MIB as usize, "{} bytes", report.len());
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let graph = report["checks"].as_array().unwrap().iter().find(|c| c["id"] == "image-graph").unwrap();
    assert_eq!(graph["more"], 4 * 19_000 - 256);
}
