//! A release in disguise (MB-VER-14) whose layers reach a destination in parts: blobs that the destination already has
//! are searched too.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forge;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use forge::draft::{Draft, LAYER, Payload, noise};
use mirror_bundle::bundle::index::Kind;
use mirror_bundle::oci::Role;
use support::program::program;
use support::registry::Registry;

/// `b.tar` and its two volumes, with one layer on each: noise, and either more noise or the payload of a release.
fn bundle(dir: &Path, payload: bool) -> Vec<PathBuf> {
    let mut draft = Draft::empty();
    let mut hidden = Payload { entries: vec![] };
    hidden.file("etc/x", &noise(30_000));
    if payload {
        hidden.file("release-manifests/image-references", b"{}");
    }
    let layers = [draft.blob(Role::Layer, &hidden.layer()), draft.blob(Role::Layer, &noise(31_000))];
    let image = draft.image("amd64", &layers.map(|layer| (LAYER, layer)));
    draft.top(Kind::Additional, "quay.io/team/app", Some("1"), &image);
    fs::write(dir.join("b.tar"), draft.archive().bytes()).unwrap();
    fs::create_dir(dir.join("volumes")).unwrap();
    assert_eq!(run(dir, &["split", "b.tar", "volumes", "--volume-size", "60kB", "-qq"]), 0);
    let mut volumes: Vec<PathBuf> = fs::read_dir(dir.join("volumes")).unwrap().map(|e| e.unwrap().path()).collect();
    volumes.sort();
    assert_eq!(volumes.len(), 2, "{volumes:?}");
    volumes
}

fn run(dir: &Path, args: &[&str]) -> i32 {
    let out = program(dir).args(args).output().unwrap();
    let code = out.status.code().unwrap();
    if ![0, 40, 42].contains(&code) {
        panic!("{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    code
}

fn unpack(dir: &Path, input: &Path, to: &[&str]) -> i32 {
    let signer = forge::folder().join("keys/builder.pub");
    let first = ["unpack", "--partial", "--signer", signer.to_str().unwrap(), "--at", "2026-11-23T00:00:00Z"];
    run(dir, &[&first[..], to, &[input.to_str().unwrap()]].concat())
}

#[test]
fn what_a_destination_has_is_looked_at_there() {
    let registry = Registry::start();
    for payload in [true, false] {
        for order in [[0, 1], [1, 0]] {
            let dir = tempfile::tempdir().unwrap();
            let volumes = bundle(dir.path(), payload);
            let target = format!("{}/{payload}{}", registry.host(), order[0]);
            for to in [
                &["--to-layout", "layout"][..],
                &["--to-dir", "tree"],
                &["--to", &target, "--plain-http", "127.0.0.1", "--mirror-set", "none"],
            ] {
                let first = unpack(dir.path(), &volumes[order[0]], to);
                let second = unpack(dir.path(), &volumes[order[1]], to);
                let (wanted, last) = if payload { ([42, 40], 40) } else { ([42, 42], 0) };
                assert!(wanted.contains(&first), "{to:?} {order:?}: {first}");
                assert_eq!(second, last, "{payload} {to:?} {order:?}");
                // Both volumes are available, and the destination has everything.
                assert_eq!(unpack(dir.path(), &dir.path().join("b.tar"), to), last, "{payload} {to:?} {order:?}");
            }
            let index = fs::read_to_string(dir.path().join("layout/index.json")).unwrap_or_default();
            assert_eq!(index.contains("sha256:"), !payload, "{index}");
        }
    }
}
