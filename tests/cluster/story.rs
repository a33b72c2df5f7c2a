//! The whole way of a release into a disconnected network (the nine steps of the enhancement "mirroring manifests"): two
//! registries, two clusters, a reviewer between them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::*;
use crate::support::apiserver::{How, Server, Who};
use crate::support::registry::Registry;
use crate::support::release::{RELEASES, Release, world};

/// What the cluster-version operator looks for.
const LABEL: &str = "release.openshift.io/verification-signatures";

/// A policy that wants the builder and a reviewer.
fn policy(dir: &Path) -> PathBuf {
    let key = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
    let (builder, reviewer) = (key(world().public_key()), key(dir.join("reviewer.pub")));
    let text = format!(
        "signers:\n  - {{name: builder, roles: [builder], key: \"{builder}\"}}\n  - {{name: desk, roles: [reviewer], key: \"{reviewer}\"}}\n\
         require:\n  - {{role: builder, threshold: 1}}\n  - {{role: reviewer, threshold: 1}}\n\
         release:\n  keyrings: [\"{}\"]\n",
        world().keyring().display()
    );
    let path = dir.join("trust.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// Steps 1 to 5: the connected host fills a medium, the reviewer checks and signs it, somebody carries it.
fn carried(dir: &Path, name: &str, release: &[OsString], trust: &Path) -> PathBuf {
    let medium = dir.join("medium").join(name);
    let source = world().registry();
    let (wanted, more) = release.split_first().unwrap();
    let reference = format!("{}/{RELEASES}:{}", source.host(), wanted.display());
    let mut create = create_signed(&medium);
    create.extend(args!["--release", reference]);
    create.extend(args!["--signature-store", world().store()]);
    create.extend_from_slice(more);
    ok(&create);
    // Nothing is reachable from here on.
    drop(source);
    // Without the reviewer it does not enter.
    ends(22, &args!["verify", medium, "--trust", trust]);
    let keyring = args!["--release-keyring", world().keyring()];
    let sign = args!["sign", medium, "--signer", world().public_key(), "--sign-key", dir.join("reviewer")];
    ok(&[sign, args!["--role", "reviewer", "--note", "CHG-20417"], keyring].concat());
    ok(&args!["verify", medium, "--trust", trust]);
    medium
}

/// What the cluster has under the name of this release's digest.
fn signature(server: &Server, release: &Release) -> (u16, Value) {
    let name = release.digest().dashed();
    server.request("GET", &format!("/api/v1/namespaces/openshift-config-managed/configmaps/{name}"), None)
}

fn has_signature(server: &Server, release: &Release) {
    let (status, map) = signature(server, release);
    assert_eq!(status, 200, "{map}");
    assert!(map["metadata"]["labels"].get(LABEL).is_some(), "{map}");
    let key = format!("{}-1", release.digest().dashed());
    assert!(map["binaryData"].get(&key).is_some(), "{map}");
}

#[test]
fn a_release_crosses_the_gap_to_two_clusters_and_the_next_release_follows() {
    let (Some(first), Some(second)) = (Server::start(), Server::start()) else { return };
    let dir = folder();
    fs::create_dir(dir.path().join("medium")).unwrap();
    ok(&args!["keygen", dir.path().join("reviewer"), "--no-passphrase"]);
    let trust = policy(dir.path());
    let inside = Registry::start();
    let target = format!("{}/ocp/release", inside.host());
    let config = |server: &Server| server.kubeconfig(Who::Admin, How::Token);

    let releases = [
        ("one.tar", &world().release, args!["4.16.37-x86_64"]),
        ("two.tar", &world().later, args!["4.21.0-x86_64", "--allow-missing-image-signature"]),
    ];
    for (name, release, wanted) in &releases {
        let medium = carried(dir.path(), name, wanted, &trust);
        // Steps 6 to 8 in one command: images into the registry, the signature into the first cluster.
        assert_eq!(signature(&first, release).0, 404);
        let unpack = args!["unpack", medium, "--trust", trust, "--to", target, "--plain-http", "127.0.0.1"];
        let apply = args!["--apply-manifests", "--kubeconfig", config(&first)];
        let run =
            ok(&[unpack, apply, args!["--manifests-to-dir", dir.path().join(format!("{name}-manifests"))]].concat());
        has_signature(&first, release);
        let image = get(inside.port, &format!("/v2/ocp/release/manifests/{}", release.digest()));
        assert_eq!(image.0, 200);
        // Step 9 stays with the administrator: the line is printed, and nothing was started.
        let upgrade = format!("{target}@{}", release.digest());
        assert!(run.stderr.contains("oc adm upgrade") && run.stderr.contains(&upgrade), "{}", run.stderr);
        // The next cluster is one command.
        assert_eq!(signature(&second, release).0, 404);
        ok(&args!["apply", medium, "--trust", trust, "--kubeconfig", config(&second)]);
        has_signature(&second, release);
    }
    // The second release took nothing of the first away, on either cluster.
    for server in [&first, &second] {
        releases.iter().for_each(|(_, release, _)| has_signature(server, release));
    }
}
