//! The order of requests to a registry (MB-UNP-12, MB-UNP-13).

use crate::support::program::program;
use crate::support::stub::{Repository, Request, Stub};
use crate::{app, bundle, run, unpack};

/// What a request writes, in the order of the specification; `None`: it only asks.
fn rank(request: &Request) -> Option<usize> {
    let about_blobs = request.path.contains("/blobs/uploads/");
    match (request.method.as_str(), request.below("manifests")) {
        ("POST" | "PUT" | "PATCH", _) if about_blobs => Some(0),
        ("PUT", Some((_, what))) if what.starts_with("sha256:") => Some(1),
        ("PUT", Some((_, what))) if what.starts_with("sha256-") && what.len() == 71 => Some(2),
        ("PUT", Some(_)) => Some(3),
        _ => None,
    }
}

/// MB-UNP-13.
#[test]
fn writes_at_a_registry_are_blobs_then_manifests_then_lists_then_tags() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let stub = Stub::start(false, Vec::new());
    assert_eq!(unpack(dir.path(), &stub, &["-j", "8"]).0, 0);
    stub.with(|state| {
        let ranks: Vec<usize> = state.seen.iter().filter_map(rank).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert!((0..4).all(|rank| ranks.contains(&rank)), "{ranks:?}");
    });
}

/// MB-UNP-12.
#[test]
fn nothing_is_asked_of_a_registry_before_the_head_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let stub = Stub::start(false, Vec::new());
    let to = format!("{}/org/mir", stub.host());
    let made = program(dir.path()).args(["keygen", "key", "--no-passphrase", "-q"]).output().unwrap();
    assert!(made.status.success());
    let (code, _, err) = run(dir.path(), &stub, &["unpack", "b.tar", "--signer", "key.pub", "--to", &to]);
    assert_eq!(code, 20, "{err}");
    stub.with(|state| assert!(state.seen.is_empty(), "{:?}", state.seen));
}

/// MB-UNP-12.
#[test]
fn a_blob_that_does_not_match_is_never_complete_at_a_registry_and_nothing_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let mut bytes = std::fs::read(dir.path().join("b.tar")).unwrap();
    let layer = &app().blobs[1];
    let at = bytes.windows(layer.bytes.len()).position(|window| window == layer.bytes).unwrap();
    bytes[at + 20] ^= 1;
    std::fs::write(dir.path().join("b.tar"), bytes).unwrap();
    let stub = Stub::start(false, Vec::new());
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert_eq!(code, 31, "{err}");
    stub.with(|state| {
        assert!(state.seen.iter().any(|request| rank(request) == Some(0)), "blobs were being sent");
        assert!(!state.seen.iter().any(|request| rank(request) > Some(0)), "{:?}", state.seen);
        let stored = |r: &Repository| r.blobs.contains_key(&layer.digest().to_string());
        assert!(!state.repositories.values().any(stored));
    });
}
