//! A layer of 1 GiB is restored in little memory: issue 15 allows 256 MiB for all layers that are unpacked at once.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use mirror_bundle::oci::Digest;
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe};

use crate::{MIB, program, watch};

/// The layer of an update, compressed: lines of which one in a thousand has the number of the update.
fn layer(size: u64, number: u64) -> Vec<u8> {
    let recipe = Recipe::new(Family::B, Level::L5, Method::Pgzip(BlockSize::MiB), &HEADER).unwrap();
    let mut gzip = Gzip::new(&recipe, Vec::new());
    gzip.write_all(&mirror_bundle::bundle::tar::header("usr/lib/large", size, 0)).unwrap();
    let (mut left, mut seed, mut line) = (usize::try_from(size).unwrap(), 7u64, 0u64);
    while left > 0 {
        let mut lines = String::new();
        while lines.len() < MIB as usize {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line += 1;
            let own = if line % 1000 == 0 { number } else { 0 };
            lines.push_str(&format!(
                "{:x} mirror {:x} bundle {:x} {own}\n",
                seed >> 56,
                seed >> 44 & 0xfff,
                seed >> 60
            ));
        }
        let n = lines.len().min(left);
        gzip.write_all(&lines.as_bytes()[..n]).unwrap();
        left -= n;
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap()
}

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];

/// An OCI layout of an image with this layer.
fn layout(path: &Path, number: u64, layer: &[u8]) {
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        let media_type = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let layer = put(layer, "layer.v1.tar+gzip");
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "n": number }).to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(config.as_bytes(), "config.v1+json"), "layers": [layer],
    });
    let mut entry = put(manifest.to_string().as_bytes(), "manifest.v1+json");
    entry["annotations"] =
        serde_json::json!({ "org.opencontainers.image.ref.name": format!("registry.example.com/large:{number}") });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    std::fs::write(path.join("index.json"), index).unwrap();
    std::fs::write(path.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
}

#[test]
#[ignore = "makes and restores a layer of 1 GiB, several times"]
fn a_layer_of_1_gib_is_made_and_restored_in_little_memory() {
    let dir = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = |most: u64, words: &[&str]| {
        let mut command = program::program(dir.path());
        command
            .args(words)
            .args(["--quiet", "--jobs", "2"])
            .env("TMPDIR", dir.path())
            .env("SOURCE_DATE_EPOCH", "1700000000");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let (exit, peak) = watch(child);
        println!("{}: peak {} MiB", words[..2].join(" "), peak / MIB);
        assert_eq!(exit, Some(0), "{words:?}");
        assert!(peak > 0 && peak <= most, "{words:?}: {} MiB", peak / MIB);
    };
    let made = program::program(dir.path()).args(["keygen", "key", "--no-passphrase", "-q"]).output().unwrap();
    assert!(made.status.success());
    for number in [1, 2] {
        layout(&dir.path().join(number.to_string()), number, &layer(1 << 30, number));
    }
    let create = |bundle: &'static str, from: &'static str, number: &'static str| {
        vec!["create", bundle, "--from-layout", from, "--sign-key", "key", "--name", "large", "--sequence", number]
    };
    run(256 * MIB, &create("1.tar", "1", "1"));
    let gib = 1024 * MIB;
    run(gib, &[&create("2.tar", "2", "2")[..], &["--base", "1.tar"]].concat());
    run(gib, &[&create("compact.tar", "2", "2")[..], &["--compact"]].concat());
    assert!(dir.path().join("2.tar").metadata().unwrap().len() < 4 * MIB);
    let (trust, base) = (["--signer", "key.pub"], ["--base", "1.tar"]);
    let most = 256 * MIB;
    run(most, &[&["verify", "2.tar"], &trust[..], &base].concat());
    run(most, &[&["unpack", "2.tar", "--to-dir", "tree"], &trust[..], &base].concat());
    run(most, &[&["unpack", "compact.tar", "--to-dir", "other"], &trust[..]].concat());
    run(most, &[&["expand", "2.tar", "full.tar"], &trust[..], &base].concat());
}
