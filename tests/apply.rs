//! `apply` where no cluster answers: what is refused before a request is sent. `tests/cluster.rs` has the real server.
#![cfg(all(feature = "cluster", feature = "cli"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

#[path = "support/program.rs"]
mod program;

const MAP: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "openshift-config-managed"LABELS}, "binaryData": {DATA}}"#;

/// Exit code, and what was said.
fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let named = ["--allow-kind", "ConfigMap"];
    let out = program::program(dir).args(args).args(named).env("HOME", dir).output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

/// A folder with one manifest, and a kubeconfig of a server that counts who comes.
fn desk(labels: &str, data: &str) -> (tempfile::TempDir, TcpListener) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("m")).unwrap();
    fs::write(dir.path().join("m/a.json"), MAP.replace("LABELS", labels).replace("DATA", data)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    kubeconfig(dir.path(), "config", &format!("http://{}", listener.local_addr().unwrap()));
    (dir, listener)
}

fn kubeconfig(dir: &Path, name: &str, server: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         current-context: x\n"
    );
    fs::write(dir.join(name), text).unwrap();
}

fn nobody_came(listener: &TcpListener) -> bool {
    listener.accept().is_err()
}

#[test]
fn a_folder_of_manifests_needs_allow_unsigned_and_no_request_is_sent_before() {
    let (dir, listener) = desk("", "");
    let (code, said) = run(dir.path(), &["apply", "m", "--kubeconfig", "config"]);
    assert_eq!(code, 20, "{said}");
    assert!(said.contains("nobody signed the files in `m`") && said.contains("--allow-unsigned"), "{said}");
    assert!(nobody_came(&listener));
    // The listener answers nothing, so the request is cut when it goes.
    let comes = std::thread::spawn(move || {
        let come = (0..600).find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            listener.accept().ok()
        });
        come.is_some()
    });
    let (code, said) = run(dir.path(), &["apply", "m", "--kubeconfig", "config", "--allow-unsigned"]);
    assert_eq!((code, comes.join().unwrap()), (50, true), "{said}");
    assert!(said.contains("cannot be reached") && said.contains("nothing was changed on the cluster"), "{said}");
}

#[test]
fn release_signatures_in_a_folder_are_verified() {
    let digest = "0".repeat(64);
    let label = r#", "labels": {"release.openshift.io/verification-signatures": ""}"#;
    let (dir, listener) = desk(label, &format!(r#""sha256-{digest}-1": "AAAA""#));
    let args = ["apply", "m", "--kubeconfig", "config", "--allow-unsigned"];
    let (code, said) = run(dir.path(), &args);
    assert_eq!(code, 40, "{said}");
    assert!(said.contains("nothing was applied"), "{said}");
    assert!(nobody_came(&listener));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_a_wrong_argument() {
    let (dir, listener) = desk("", "");
    let dir = dir.path();
    fs::write(dir.join("broken"), "apiVersion: [\nusers: secret-token").unwrap();
    let apply = ["apply", "m", "--allow-unsigned"];
    for (more, code, says) in [
        (&["--kubeconfig", "nowhere"][..], 2, "no such file"),
        (&["--kubeconfig", "broken"], 2, "cannot be used"),
        (&["--kubeconfig", "config", "--context", "y"], 2, "choose one with --context: x"),
        // Without any, there is nobody to be.
        (&[], 51, "no kubeconfig was found"),
    ] {
        let (ended, said) = run(dir, &[&apply[..], more].concat());
        assert_eq!(ended, code, "{more:?}: {said}");
        assert!(said.contains(says) && !said.contains("secret-token"), "{more:?}: {said}");
    }
    let (code, said) = run(dir, &["unpack", "b.tar", "--to-dir", "o", "--signer", "k.pub", "--context", "x"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--apply-manifests"), "{said}");
    assert!(nobody_came(&listener));
}

#[test]
fn mirror_sets_are_applied_only_together_with_manifests() {
    let (code, said) =
        run(Path::new("."), &["unpack", "b.tar", "--to-dir", "o", "--allow-unsigned", "--apply-mirror-sets"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--apply-manifests"), "{said}");
}
