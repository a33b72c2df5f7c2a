//! The update service: applied with the manifests, on the one cluster that has its operator.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;
use crate::support::apiserver::{How, Server, Who};
use crate::support::registry::Registry;
use crate::support::release::world;

const OBJECT: &str = "/apis/updateservice.operator.openshift.io/v1/namespaces/openshift-update-service/updateservices/update-service-mirror-bundle";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/updateservices.updateservice.operator.openshift.io";

/// A graph with this one channel.
fn graph(dir: &Path, versions: &str) -> std::path::PathBuf {
    let graph = dir.join("graph");
    for folder in ["channels", "raw"] {
        fs::create_dir_all(graph.join(folder)).unwrap();
    }
    fs::write(graph.join("version"), "1.1.0\n").unwrap();
    fs::write(graph.join("raw/metadata.json"), "{}").unwrap();
    fs::write(graph.join("channels/stable-4.16.yaml"), format!("name: stable-4.16\nversions: [{versions}]\n")).unwrap();
    graph
}

/// The entry of the update service in an answer.
fn entry(run: &Run) -> Value {
    let answer = run.json();
    let objects = answer["unpacked"]["applied"]["objects"].as_array().unwrap().clone();
    objects.into_iter().find(|object| object["kind"] == "UpdateService").unwrap()
}

#[test]
fn the_update_service_is_applied_where_its_kind_exists_and_left_out_elsewhere() {
    let Some(server) = Server::start() else { return };
    let dir = folder();
    let source = world().registry();
    let inside = Registry::start();
    let target = format!("{}/ocp/release", inside.host());
    let run = |name: &str, versions: &str, code: i32, more: &[&str]| {
        let bundle = dir.path().join(name);
        let mut create = create_release(&bundle, &source.host());
        create.extend(args!["--graph-data", graph(dir.path(), versions), "--force"]);
        ok(&create);
        let config = server.kubeconfig(Who::Admin, How::Token);
        let mut unpack = args!["unpack", &bundle, "--to", &target, "--plain-http", "127.0.0.1", "-o", "json"];
        unpack.extend(args!["--manifests-to-dir", dir.path().join(format!("{name}-m"))]);
        unpack.extend(args!["--apply-manifests", "--kubeconfig", config]);
        unpack.extend(more.iter().map(std::ffi::OsString::from));
        ends(code, &[unpack, trust()].concat())
    };
    let first = run("a.tar", "4.16.37", 0, &[]);
    assert_eq!(entry(&first)["outcome"], "created");
    let made = server.get(OBJECT);
    assert_eq!(made["spec"]["releases"], format!("{target}/release-images"));
    assert_eq!(made["spec"]["replicas"], 2);
    let image = made["spec"]["graphDataImage"].as_str().unwrap().to_owned();
    let (repository, digest) = image.split_once('@').unwrap();
    assert_eq!(repository, format!("{target}/graph-data"));
    let (status, _) = get(inside.port, &format!("/v2/ocp/release/graph-data/manifests/{digest}"));
    assert_eq!(status, 200);
    // The trusted CAs and the upstream of the cluster are the administrator's.
    assert_eq!(entry(&run("a.tar", "4.16.37", 0, &[]))["outcome"], "unchanged");
    // The next graph changes the same object, and only when asked to.
    let differs = run("b.tar", "4.16.37, 4.16.38", 52, &[]);
    assert!(differs.stderr.contains("--overwrite"), "{}", differs.stderr);
    assert_eq!(server.get(OBJECT)["spec"]["graphDataImage"], image);
    assert_eq!(entry(&run("b.tar", "4.16.37, 4.16.38", 0, &["--overwrite"]))["outcome"], "changed");
    assert_ne!(server.get(OBJECT)["spec"]["graphDataImage"], image);

    // A cluster without the operator asks another one for updates.
    server.request("DELETE", DEFINITION, Some(&json!({ "propagationPolicy": "Background" })));
    for _ in 0..100 {
        if server.request("GET", DEFINITION, None).0 == 404 && server.request("GET", OBJECT, None).0 == 404 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let without = run("b.tar", "4.16.37, 4.16.38", 0, &[]);
    let left = entry(&without);
    assert_eq!(left["outcome"], "left-out");
    assert!(left["reason"].as_str().unwrap().contains("cincinnati-operator"), "{left}");
    let (_, body) = get(inside.port, "/v2/ocp/release/release-images/tags/list");
    assert!(String::from_utf8(body).unwrap().contains("4.16.37-x86_64"));
}
