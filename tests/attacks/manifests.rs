//! Manifests that a cluster must not get: what sets trust, what belongs elsewhere, what belongs to one cluster.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::lab::{Lab, Ran, files};

const LABEL: &str = "release.openshift.io/verification-signatures";

/// A lab with a folder `m` for one manifest.
fn lab() -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("m")).unwrap();
    lab
}

/// An object as JSON.
fn object(api_version: &str, kind: &str, metadata: Value) -> Value {
    serde_json::json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

/// Bundles this manifest.
fn create(lab: &Lab, manifest: &Value, more: &[&str]) -> Ran {
    fs::write(lab.path("m/a.yaml"), manifest.to_string()).unwrap();
    let mut args = vec!["create", "m.tar", "--force", "--manifests", "m", "--sign-key", "key", "--name", "m"];
    args.extend(more);
    lab.run(&args)
}

#[track_caller]
fn refused(lab: &Lab, manifest: &Value, more: &[&str], code: i32) {
    let _ = fs::remove_file(lab.path("m.tar"));
    create(lab, manifest, more).ends(&[code]).says("nothing was written");
    assert!(!lab.path("m.tar").exists(), "{manifest}");
}

fn report(lab: &Lab, more: &[&str]) -> Value {
    let mut args = vec!["verify", "m.tar", "--signer", "key.pub", "-o", "json"];
    args.extend(more);
    serde_json::from_str(&lab.run(&args).out).unwrap()
}

/// G7
#[test]
fn what_sets_trust_or_is_elsewhere_is_carried_only_by_name() {
    let lab = lab();
    let map = |namespace: &str| object("v1", "ConfigMap", serde_json::json!({ "name": "x", "namespace": namespace }));
    let labelled = |namespace: &str| {
        object("v1", "ConfigMap", serde_json::json!({ "name": "x", "namespace": namespace, "labels": { "a": "b" } }))
    };
    const CONFIG: &str = "config.openshift.io/v1";
    for (manifest, rule, other) in [
        (map("kube-system"), "ConfigMap:kube-system/x", "ConfigMap:default/x"),
        (map("openshift-config"), "ConfigMap:openshift-config/*", "ConfigMap:x"),
        (labelled("openshift-config-managed"), "v1/ConfigMap:*/x", "Secret"),
        (
            object(CONFIG, "ClusterImagePolicy", serde_json::json!({ "name": "x" })),
            "ClusterImagePolicy:x",
            "ImagePolicy",
        ),
        (
            object(CONFIG, "ImagePolicy", serde_json::json!({ "name": "x", "namespace": "ns" })),
            "ImagePolicy",
            "ClusterImagePolicy",
        ),
    ] {
        refused(&lab, &manifest, &[], 41);
        refused(&lab, &manifest, &["--allow-kind", other], 41);
        create(&lab, &manifest, &["--allow-kind", rule]).ends(&[0]);
        // What the sender allowed does not bind the receiver.
        lab.run(&["verify", "m.tar", "--signer", "key.pub"]).ends(&[41]);
        lab.run(&["unpack", "m.tar", "--signer", "key.pub", "--to-dir", "out"]).ends(&[41]);
        assert!(!lab.path("out").exists(), "{manifest}");
        lab.run(&["verify", "m.tar", "--signer", "key.pub", "--allow-kind", other]).ends(&[41]);
        let report = report(&lab, &["--allow-kind", rule]);
        assert_eq!(report["exit_code"], 0, "{report}");
        let wanted = serde_json::json!([format!("--allow-kind {rule}"), format!("kind:{rule} (at creation)")]);
        assert_eq!(report["exceptions"], wanted);
    }
    let mut signatures = labelled("openshift-config-managed");
    signatures["metadata"]["labels"] = serde_json::json!({ LABEL: "" });
    signatures["data"] = serde_json::json!({ "config": "x" });
    refused(&lab, &signatures, &[], 12);
    refused(&lab, &signatures, &["--allow-kind", "ConfigMap"], 12);
}

/// G7
#[test]
fn what_the_cluster_owns_is_not_carried_whatever_flag() {
    let lab = lab();
    let policy = |version: &str| {
        object(
            &format!("config.openshift.io/{version}"),
            "ClusterImagePolicy",
            serde_json::json!({ "name": "openshift" }),
        )
    };
    let map = |name: &str| {
        let metadata =
            serde_json::json!({ "name": name, "namespace": "openshift-config-managed", "labels": { LABEL: "" } });
        object("v1", "ConfigMap", metadata)
    };
    for manifest in [policy("v1"), policy("v1alpha1"), map("signatures-managed"), map("mirrored-release-signatures")] {
        let exact = match manifest["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("ConfigMap:{namespace}/{}", manifest["metadata"]["name"].as_str().unwrap()),
            None => "ClusterImagePolicy:openshift".to_owned(),
        };
        for more in
            [&[][..], &["--allow-kind", "ClusterImagePolicy", "--allow-kind", "ConfigMap"], &["--allow-kind", &exact]]
        {
            refused(&lab, &manifest, more, 41);
        }
    }
}

/// G8
#[test]
fn what_belongs_to_one_cluster_or_to_no_namespace_is_not_carried() {
    let lab = lab();
    let all = ["ConfigMap", "ConfigMap:*", "Secret", "Deployment", "Widget"];
    let all: Vec<&str> = all.into_iter().flat_map(|kind| ["--allow-kind", kind]).collect();
    for (api_version, kind) in [("v1", "ConfigMap"), ("v1", "Secret"), ("apps/v1", "Deployment")] {
        refused(&lab, &object(api_version, kind, serde_json::json!({ "name": "x" })), &all, 12);
    }
    let widget = object("example.com/v1", "Widget", serde_json::json!({ "name": "x" }));
    refused(&lab, &widget, &all, 41);
    create(&lab, &widget, &["--allow-kind", "Widget:*"]).ends(&[0]);
    lab.run(&["verify", "m.tar", "--signer", "key.pub", "--allow-kind", "Widget"]).ends(&[41]).says("cluster-wide");
    lab.run(&["verify", "m.tar", "--signer", "key.pub", "--allow-kind", "Widget:x"]).ends(&[0]);
    for (member, value) in [
        ("uid", serde_json::json!("0")),
        ("resourceVersion", serde_json::json!("1")),
        ("managedFields", serde_json::json!([{ "manager": "x" }])),
        ("ownerReferences", serde_json::json!([{ "uid": "0" }])),
        ("finalizers", serde_json::json!(["x"])),
        ("generateName", serde_json::json!("x")),
        ("deletionTimestamp", serde_json::json!("2026-01-01T00:00:00Z")),
    ] {
        let mut manifest = object("v1", "Namespace", serde_json::json!({ "name": "x" }));
        manifest["metadata"][member] = value;
        refused(&lab, &manifest, &[], 12);
        // In a list it is hidden, so that is refused, too.
        refused(&lab, &serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [manifest] }), &[], 12);
    }
    let mut manifest = object("v1", "Namespace", serde_json::json!({ "name": "x" }));
    manifest["status"] = serde_json::json!({ "phase": "Active" });
    refused(&lab, &manifest, &[], 12);
    manifest["status"] = serde_json::json!({});
    manifest["metadata"]["creationTimestamp"] = Value::Null;
    create(&lab, &manifest, &[]).ends(&[0]);
    assert_eq!(report(&lab, &[])["exit_code"], 0);
}

/// G7
#[test]
fn the_list_of_a_host_narrows_what_verify_and_unpack_accept() {
    let lab = lab();
    let manifest = object("config.openshift.io/v1", "ImageDigestMirrorSet", serde_json::json!({ "name": "x" }));
    create(&lab, &manifest, &[]).ends(&[0]);
    let key = fs::read_to_string(lab.path("key.pub")).unwrap();
    let policy = |rules: &str| {
        let text = format!("signers: [{{name: b, roles: [builder], key: \"{}\"}}]\n{rules}\n", key.trim());
        fs::write(lab.path("trust.yaml"), text).unwrap();
    };
    for rules in [
        "manifests: {allow: []}",
        "manifests: {allow: [{kind: ConfigMap, namespace: openshift-config-managed, name: \"sha256-*\"}]}",
        "manifests: {allow: [{kind: ImageDigestMirrorSet, name: z}]}",
        "manifests: {allow: [{kind: ImageDigestMirrorSet, namespace: default}]}",
    ] {
        policy(rules);
        for more in [&[][..], &["--allow-kind", "ImageDigestMirrorSet"]] {
            let run = |args: &[&str]| lab.run(&[args, &["--trust", "trust.yaml"], more].concat());
            run(&["verify", "m.tar"]).ends(&[41]).says("does not list");
            run(&["unpack", "m.tar", "--to-dir", "out"]).ends(&[41]).says("does not list");
            assert!(!lab.path("out").exists(), "{rules}");
        }
    }
    for rules in ["", "manifests: {allow: [{kind: ImageDigestMirrorSet, name: \"?\"}]}", "manifests: {}"] {
        policy(rules);
        lab.run(&["unpack", "m.tar", "--to-dir", "out", "--trust", "trust.yaml"]).ends(&[0]);
        assert!(!files(&lab.path("out")).is_empty());
    }
    // A list can also accept what is not on the default list.
    let secret = object("v1", "Secret", serde_json::json!({ "name": "x", "namespace": "ns" }));
    create(&lab, &secret, &["--allow-kind", "Secret"]).ends(&[0]);
    lab.run(&["verify", "m.tar", "--trust", "trust.yaml"]).ends(&[41]);
    policy("manifests: {allow: [{kind: v1/Secret, namespace: \"n*\"}]}");
    lab.run(&["verify", "m.tar", "--trust", "trust.yaml"]).ends(&[0]);
}

/// G9
#[test]
fn a_config_map_is_carried_up_to_the_size_that_a_cluster_takes() {
    let lab = lab();
    let map = |bytes: usize| {
        let metadata = serde_json::json!({ "name": "x", "namespace": "ns" });
        let mut map = object("v1", "ConfigMap", metadata);
        map["binaryData"] = serde_json::json!({ "a": STANDARD.encode(vec![7; bytes]) });
        map
    };
    let all = ["--allow-kind", "ConfigMap"];
    create(&lab, &map(1 << 20), &all).ends(&[0]).says("oc apply --server-side");
    let unpack = ["unpack", "m.tar", "--signer", "key.pub", "--to-dir", "out", "--allow-kind", "ConfigMap"];
    lab.run(&unpack).ends(&[0]).says("oc apply --server-side").says("oc apply --server-side -Rf");
    lab.run(&["verify", "m.tar", "--signer", "key.pub", "--allow-kind", "ConfigMap"]).ends(&[0]).says("--server-side");
    refused(&lab, &map((1 << 20) + 1), &all, 12);
    let small = create(&lab, &map(100_000), &all);
    assert!(!small.ends(&[0]).err.contains("server-side"), "{}", small.err);
    // More than a server takes in a request, as text that counts for no value.
    let mut large = map(1);
    large["metadata"]["annotations"] = serde_json::json!({ "a": "x".repeat(3 << 20) });
    refused(&lab, &large, &all, 12);
}

/// G7
#[test]
fn kinds_namespaces_and_names_are_in_the_index_the_report_and_inspect() {
    let lab = lab();
    let secret = object("v1", "Secret", serde_json::json!({ "name": "x.y", "namespace": "ns" }));
    create(&lab, &secret, &["--allow-kind", "Secret:ns/*"]).ends(&[0]);
    let wanted = serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "namespace": "ns", "name": "x.y" });
    let inspected: Value = serde_json::from_str(&lab.run(&["inspect", "m.tar", "-o", "json"]).out).unwrap();
    let files = inspected["index"]["files"].as_array().unwrap();
    let objects: Vec<&Value> = files.iter().filter_map(|f| f.get("objects")).collect();
    assert_eq!(objects, [&serde_json::json!([wanted])]);
    lab.run(&["inspect", "m.tar"]).says("Secret ns/x.y").says("kind:Secret:ns/*");
    for more in [&[][..], &["--allow-kind", "Secret"]] {
        let mut object = report(&lab, more)["objects"][0].clone();
        assert_eq!(object.as_object_mut().unwrap().remove("file").unwrap(), "manifests/a.yaml");
        assert_eq!(object, wanted, "also of a bundle that is refused");
    }
    lab.run(&["verify", "m.tar", "--signer", "key.pub", "--allow-kind", "Secret"]).ends(&[0]).says("Secret ns/x.y");
}
