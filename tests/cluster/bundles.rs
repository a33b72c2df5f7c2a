//! Bundles: verified before the first request, applied by one command, and by `unpack` before and after the transfer.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::*;
use crate::interrupted::Plain;
use crate::kit::{Applied, checked};
use crate::support::apiserver::{How, Server, Who};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::Registry;
use crate::support::release::world;
use crate::support::schemas::valid;

/// A bundle with the signed release and a mirror set of the user's own.
fn bundle(dir: &Path) -> PathBuf {
    let source = world().registry();
    let (bundle, own) = (dir.join("b.tar"), dir.join("own"));
    std::fs::create_dir(&own).unwrap();
    let set = json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": "ImageDigestMirrorSet",
        "metadata": { "name": "mine" },
        "spec": { "imageDigestMirrors": [{ "source": "example.com/a", "mirrors": ["m.example.com/a"] }] },
    });
    std::fs::write(own.join("set.yaml"), set.to_string()).unwrap();
    ok(&[create_release(&bundle, &source.host()), args!["--manifests", own]].concat());
    bundle
}

/// Where a server has the ConfigMap of the release.
fn signature() -> String {
    format!("/api/v1/namespaces/openshift-config-managed/configmaps/{}", world().release.digest().dashed())
}

const SETS: &str = "/apis/config.openshift.io/v1/imagedigestmirrorsets";

fn sets(server: &Server) -> Vec<String> {
    let all = server.get(SETS)["items"].as_array().unwrap().clone();
    all.iter().map(|set| set["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn apply(code: i32, bundle: &Path, config: &Path, more: &[&str]) -> Applied {
    let mut all = [args!["apply", bundle, "--kubeconfig", config, "-o", "json"], trust()].concat();
    all.extend(more.iter().map(std::ffi::OsString::from));
    checked(code, finish(&mut command(&all)))
}

#[test]
fn one_command_applies_a_bundle_on_the_first_cluster_and_on_the_next() {
    let Some(first) = Server::start() else { return };
    let Some(second) = Server::start() else { return };
    let dir = folder();
    let bundle = bundle(dir.path());
    let name = world().release.digest().dashed();
    for server in [&first, &second] {
        let config = server.kubeconfig(Who::Admin, How::Token);
        let run = apply(0, &bundle, &config, &["--dry-run"]);
        assert_eq!(run.outcomes(), format!("mine left-out, {name} created"));
        assert_eq!(server.request("GET", &signature(), None).0, 404);
        let run = apply(0, &bundle, &config, &[]);
        assert_eq!(run.outcomes(), format!("mine left-out, {name} created"));
        // What the cluster-version operator looks for.
        let label = "release.openshift.io/verification-signatures";
        let map = server.get(&signature());
        assert!(map["metadata"]["labels"].get(label).is_some(), "{map}");
        assert!(map["binaryData"].as_object().is_some_and(|data| !data.is_empty()), "{map}");
        assert!(sets(server).is_empty(), "mirror sets wait for their flag");
        let text = [args!["apply", bundle, "--kubeconfig", config, "--apply-mirror-sets"], trust()].concat();
        let run = ok(&[text.clone(), args!["--dry-run"]].concat());
        let nodes = "no node is drained for ImageDigestMirrorSet mine";
        assert!(run.stderr.contains(nodes), "{}", run.stderr);
        let run = ok(&text);
        let (before, after) = run.stderr.split_once(nodes).unwrap();
        assert!(!before.contains("Created") && after.contains("Created"), "{}", run.stderr);
        let run = apply(0, &bundle, &config, &["--apply-mirror-sets"]);
        assert_eq!(run.outcomes(), format!("mine unchanged, {name} unchanged"));
        assert_eq!(sets(server), ["mine"]);
    }
    // The first lines of the answer: where, and as whom.
    let text = [args!["apply", bundle, "--kubeconfig", first.kubeconfig(Who::Admin, How::Token)], trust()].concat();
    let run = ok(&text);
    let parts = [first.url(), "Kubernetes v".to_owned(), "as admin".to_owned()];
    let names_all = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(run.stderr.lines().any(names_all), "{}", run.stderr);
    assert!(run.text().lines().take(2).any(names_all), "{}", run.text());
}

#[test]
fn no_request_is_sent_before_the_bundle_is_verified() {
    let Some(server) = Server::shared() else { return };
    let dir = folder();
    let good = bundle(dir.path());
    let peer = Proxy::start(None);
    let config = server.kubeconfig_at(&format!("http://{}", peer.host()));
    let mut bytes = std::fs::read(&good).unwrap();
    let last = bytes.len() - 4096;
    bytes[last] ^= 1;
    let bad = dir.path().join("bad.tar");
    std::fs::write(&bad, bytes).unwrap();
    let base = |bundle: &Path| args!["apply", bundle, "--kubeconfig", config, "-o", "json"];
    for (bundle, more) in [
        (&bad, trust()),
        (&good, args!["--signer", world().other_public_key(), "--release-keyring", world().keyring()]),
        (&good, args!["--signer", world().public_key(), "--release-keyring", world().other_public_key()]),
    ] {
        let run = finish(&mut command(&[base(bundle), more].concat()));
        assert!((1..50).contains(&run.code), "{}: {}", run.code, run.stderr);
    }
    // A folder has no signature.
    let own = dir.path().join("own");
    let run = finish(&mut command(&base(&own)));
    assert_eq!(run.code, 20, "{}", run.stderr);
    assert_eq!(peer.total(), 0);
    finish(&mut command(&[base(&good), trust()].concat()));
    assert!(peer.total() > 0, "the peer counts");
}

#[test]
fn unpacking_asks_the_cluster_before_the_first_blob() {
    let Some(server) = Server::start() else { return };
    let dir = folder();
    let bundle = bundle(dir.path());
    let target = Registry::start();
    let unpack = |config: &Path, more: &[&str]| {
        let mut all = unpack_to(&bundle, &target.host(), &dir.path().join("m"));
        all.extend(args!["--apply-manifests", "--kubeconfig", config]);
        all.extend(more.iter().map(std::ffi::OsString::from));
        all
    };
    let admin = server.kubeconfig(Who::Admin, How::Token);
    let nothing_is_sent = |code: i32, config: &Path, says: &str| {
        let run = ends(code, &unpack(config, &[]));
        assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
        assert!(repositories(&target).is_empty(), "{says}");
        assert!(!dir.path().join("m").exists(), "{says}");
    };
    nothing_is_sent(50, &server.kubeconfig_dead(), "refused");
    nothing_is_sent(50, &server.kubeconfig_wrong_ca(), "certificate");
    nothing_is_sent(51, &server.kubeconfig_wrong_token(), "credentials");
    nothing_is_sent(51, &server.kubeconfig(Who::Nobody, How::Token), "cannot get");
    nothing_is_sent(51, &server.kubeconfig(Who::Reader, How::Token), "cannot patch");
    let Some(bare) = Server::bare() else { return };
    nothing_is_sent(53, &bare.kubeconfig(Who::Admin, How::Token), "does not exist");
    // A map of that name with other content.
    let name = world().release.digest().dashed();
    let other =
        json!({ "metadata": { "name": name }, "data": { "x": "y" }, "binaryData": { (format!("{name}-1")): "eA==" } });
    server.create("/api/v1/namespaces/openshift-config-managed/configmaps", &other);
    nothing_is_sent(52, &admin, "exists with other content");
    // Plain `unpack` asks nobody, and a dry run sends nothing.
    let run = ends(52, &unpack(&admin, &["--dry-run"]));
    assert!(repositories(&target).is_empty(), "{}", run.stderr);
    ok(&unpack(&admin, &["--overwrite", "--dry-run"]));
    assert_eq!(server.get(&signature())["binaryData"], other["binaryData"]);
    let run = ok(&[unpack(&admin, &["--overwrite"]), args!["-o", "json"]].concat());
    let applied = &valid("unpack", &run.text())["unpacked"]["applied"];
    assert_eq!(applied["objects"].as_array().unwrap().len(), 2, "{applied}");
    assert!(!repositories(&target).is_empty());
    let map = server.get(&signature());
    assert_eq!(map["data"], json!({ "x": "y" }), "what others wrote stays");
    assert_ne!(map["binaryData"], other["binaryData"]);
    assert!(sets(&server).is_empty());
    // With the mirror sets: carried ones and those for the target.
    let run = ok(&unpack(&admin, &["--apply-mirror-sets"]));
    assert!(run.stderr.contains("roll a new configuration over all nodes"), "{}", run.stderr);
    let there = sets(&server);
    assert!(there.len() >= 2 && there.contains(&"mine".to_owned()), "{there:?}");
}

#[test]
fn without_the_verb_or_the_flag_no_cluster_is_asked() {
    let dir = folder();
    let bundle = bundle(dir.path());
    let target = Registry::start();
    let peer = Proxy::start(None);
    let config = dir.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", peer.host()) } }],
        "users": [{ "name": "c", "user": { "token": "t" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let runs = [
        unpack_to(&bundle, &target.host(), &dir.path().join("m")),
        verify(&bundle),
        args!["inspect", bundle],
        [args!["unpack", bundle, "--to-layout", dir.path().join("layout")], trust()].concat(),
    ];
    for args in runs {
        let run = finish(command(&args).env("KUBECONFIG", &config));
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    }
    assert_eq!(peer.total(), 0);
}

/// The `yaml` block of the guide.
fn rights() -> String {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/apply.md")).unwrap();
    let (_, rest) = guide.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_rights_that_the_documentation_lists_are_enough() {
    let Some(server) = Server::start() else { return };
    if !have("kubectl") {
        return;
    }
    let dir = folder();
    let bundle = bundle(dir.path());
    let who = server.spare();
    let kubectl = |args: &[&str], input: &str| {
        let out = server.kubectl(Who::Admin, args, input.as_bytes());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let config = server.kubeconfig(who, How::Token);
    apply(51, &bundle, &config, &[]).says(&["cannot get", "docs/apply.md"]);
    kubectl(&["apply", "-f", "-"], &rights());
    let user = format!("--user={}", who.name());
    let inside = ["-n", "openshift-config-managed", "create", "rolebinding", "mb", "--role=mirror-bundle", &user];
    kubectl(&inside, "");
    until("the Role is bound", || server.send("GET", &signature(), "", b"", who).0 == 404);
    // Mirror sets need the ClusterRole.
    apply(51, &bundle, &config, &["--apply-mirror-sets"]).says(&["cannot get", "imagedigestmirrorsets"]);
    let name = world().release.digest().dashed();
    assert_eq!(apply(0, &bundle, &config, &["--dry-run"]).outcomes(), format!("mine left-out, {name} created"));
    assert_eq!(apply(0, &bundle, &config, &[]).outcomes(), format!("mine left-out, {name} created"));
    kubectl(&["create", "clusterrolebinding", "mb", "--clusterrole=mirror-bundle", &user], "");
    until("the ClusterRole is bound", || server.send("GET", &format!("{SETS}/mine"), "", b"", who).0 == 404);
    let run = apply(0, &bundle, &config, &["--apply-mirror-sets"]);
    assert_eq!(run.outcomes(), format!("mine created, {name} unchanged"));
    // Others change both; we change them back.
    let patch = |path: &str, body: serde_json::Value| {
        let (status, answer) =
            server.send("PATCH", path, "application/merge-patch+json", body.to_string().as_bytes(), Who::Admin);
        assert_eq!(status, 200, "{answer}");
    };
    patch(&signature(), json!({ "binaryData": { (format!("{name}-1")): "eA==" } }));
    patch(&format!("{SETS}/mine"), json!({ "spec": { "imageDigestMirrors": [] } }));
    apply(52, &bundle, &config, &["--apply-mirror-sets"]);
    let run = apply(0, &bundle, &config, &["--apply-mirror-sets", "--overwrite"]);
    assert_eq!(run.outcomes(), format!("mine changed, {name} changed"));
    // Nothing more.
    assert_eq!(server.send("GET", "/api/v1/namespaces/openshift-config/configmaps/x", "", b"", who).0, 403);
    assert_eq!(server.send("DELETE", &signature(), "", b"", who).0, 403);
}

#[test]
fn a_cluster_that_is_lost_during_the_transfer_leaves_complete_images_and_one_command() {
    let Some(server) = Server::start() else { return };
    if !have("kubectl") {
        return;
    }
    let dir = folder();
    let bundle = bundle(dir.path());
    let target = Registry::start();
    let plain = Plain::of(&server);
    let proxy = Proxy::start(Some(plain.port));
    proxy.on("GET", "/version", 1, Fault::Pass);
    proxy.on("GET", "/version", 99, Fault::Reset);
    let config = server.kubeconfig_at(&format!("http://{}", proxy.host()));
    let mut all = unpack_to(&bundle, &target.host(), &dir.path().join("m"));
    all.extend(args!["--apply-manifests", "--kubeconfig", config, "-o", "json"]);
    let run = ends(50, &all);
    let unpacked = valid("unpack", &run.text())["unpacked"].clone();
    let applied = &unpacked["applied"];
    assert_eq!(applied["error"]["code"], "destination");
    assert!(applied["state"].as_str().unwrap().contains("the images are complete"), "{applied}");
    assert!(applied["objects"].as_array().unwrap().iter().all(|object| object["outcome"] != "created"), "{applied}");
    assert!(tags(&target, "ocp/mirror").contains("4.16.37-x86_64"));
    assert_eq!(server.request("GET", &signature(), None).0, 404);
    proxy.clear();
    let name = world().release.digest().dashed();
    assert_eq!(apply(0, &bundle, &config, &[]).outcomes(), format!("mine left-out, {name} created"));
    // The same command again does nothing more.
    let run = ok(&all);
    assert_eq!(valid("unpack", &run.text())["unpacked"]["new_blobs"], 0);
}
