//! `--channel`: releases of an update path, from an update service and from saved graphs.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::*;
use crate::support::image::Image;
use crate::support::release::{RELEASES, world};
use crate::support::schemas::valid;
use crate::support::stub::{Answer, Rule, Stub};

/// A node of a graph: the image is at `place`.
fn node(version: &str, place: &str, image: &Image, multi: bool) -> Value {
    let mut metadata = json!({ "url": format!("https://errata.invalid/{version}") });
    if multi {
        metadata["release.openshift.io/architecture"] = "multi".into();
    }
    json!({ "version": version, "payload": format!("{place}@{}", image.digest()), "metadata": metadata })
}

/// 4.16.37 -> 4.21.0, as no real graph has it.
fn graph(place: &str) -> Value {
    let world = world();
    let nodes = [node("4.16.37", place, &world.release.image, false), node("4.21.0", place, &world.later.image, false)];
    json!({ "version": 1, "nodes": nodes, "edges": [[0, 1]], "conditionalEdges": [] })
}

/// An update service that has these graphs, by channel.
fn service(graphs: Vec<(&'static str, Value)>) -> Stub {
    let rule: Rule = Box::new(move |request, _| {
        let found = graphs.iter().find(|(channel, _)| request.query.starts_with(&format!("channel={channel}&")));
        let empty = json!({ "version": 1, "nodes": [], "edges": [], "conditionalEdges": [] });
        let body = found.map_or(&empty, |(_, graph)| graph).to_string();
        let kind = vec![("Content-Type", "application/json".to_owned())];
        (request.path == "/api/upgrades_info/v1/graph").then(|| Answer(200, kind, body.into_bytes()))
    });
    Stub::start(false, vec![rule])
}

fn address(service: &Stub) -> String {
    format!("http://{}/api/upgrades_info/v1/graph", service.host())
}

fn create(bundle: &Path, more: Vec<OsString>) -> Vec<OsString> {
    let fixed = args!["--signature-store", world().store(), "--allow-missing-image-signature", "--retries", "0"];
    [create_signed(bundle), fixed, more].concat()
}

fn run(code: i32, args: &[OsString]) -> Run {
    let run = finish(command(args).env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_eq!(run.code, code, "{args:?}\n{}\n{}", run.text(), run.stderr);
    run
}

#[test]
fn the_releases_of_a_path_are_carried_as_if_each_was_named() {
    let (world, dir, source) = (world(), folder(), world().registry());
    let place = format!("{}/{RELEASES}", source.host());
    let service = service(vec![("stable-4.21", graph(&place))]);
    let (one, two) = (dir.path().join("one.tar"), dir.path().join("two.tar"));
    let path = args!["--channel", "stable-4.21", "--from", "4.16.37", "--to", "4.21.0"];
    let from_service = args!["--update-graph", address(&service)];
    let made = run(0, &create(&one, [path.clone(), from_service.clone()].concat()));
    assert!(made.stderr.contains("4.16.37 -> 4.21.0, 1 update") && made.stderr.contains("in stable-4.21"), "{made:?}");
    let asked = service.with(|state| state.seen.clone());
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, "channel=stable-4.21&arch=amd64");
    assert_eq!(asked[0].header("accept"), Some("application/json"));
    assert_eq!(asked[0].header("authorization"), None);

    let named: Vec<OsString> = [&world.release, &world.later]
        .into_iter()
        .flat_map(|release| args!["--release", format!("{place}@{}", release.digest())])
        .collect();
    run(0, &create(&two, named));
    assert_eq!(index_of(&one), index_of(&two));
    assert!(run(0, &verify(&one)).text().starts_with("verdict   VERIFIED"));

    // Without --to the newest, without --from only that.
    let last =
        run(0, &create(&one, [args!["--force", "--channel", "stable-4.21", "-o", "json"], from_service].concat()));
    let releases = last.json()["releases"].clone();
    assert_eq!((releases.as_array().unwrap().len(), releases[0]["version"].as_str()), (1, Some("4.21.0")));

    // A dry run shows the path.
    let saved = dir.path().join("graph.json");
    std::fs::write(&saved, graph(&place).to_string()).unwrap();
    let dry = run(0, &create(&dir.path().join("no.tar"), [path, args!["--update-graph", saved, "--dry-run"]].concat()));
    assert!(dry.stderr.contains("4.16.37 -> 4.21.0") && dry.text().contains("4.21.0 amd64 sha256:"), "{dry:?}");
}

#[test]
fn a_path_can_lead_through_several_channels() {
    let (world, dir, source) = (world(), folder(), world().registry());
    let place = format!("{}/{RELEASES}", source.host());
    let last = json!({ "nodes": [node("4.21.0", &place, &world.later.image, false)], "edges": null });
    let service = service(vec![("stable-4.20", graph(&place)), ("stable-4.21", last)]);
    let args = args!["--channel", "stable-4.21", "--from", "4.16.37", "--update-graph", address(&service)];
    let made = run(0, &create(&dir.path().join("b.tar"), args));
    assert!(made.stderr.contains("4.16.37 -> 4.21.0 in stable-4.20"), "{made:?}");
    let asked: Vec<String> = service.with(|state| state.seen.iter().map(|r| r.query.clone()).collect());
    assert_eq!(asked, ["channel=stable-4.21&arch=amd64", "channel=stable-4.20&arch=amd64"]);
}

#[test]
fn a_release_for_all_architectures_is_resolved_with_arch_multi() {
    let (world, dir, source) = (world(), folder(), world().registry());
    let place = format!("{}/{RELEASES}", source.host());
    let graph = json!({ "nodes": [node("4.16.38", &place, &world.several.image, true)] });
    let service = service(vec![("eus-4.16", graph)]);
    let args = args!["--channel", "eus-4.16", "--arch", "multi", "--update-graph", address(&service)];
    let bundle = dir.path().join("b.tar");
    run(0, &create(&bundle, args));
    assert_eq!(index_of(&bundle)["releases"][0]["architecture"], "multi");
    assert_eq!(service.with(|state| state.seen[0].query.clone()), "channel=eus-4.16&arch=multi");
}

#[test]
fn releases_come_from_the_mirror_that_a_configuration_names() {
    let (dir, source) = (folder(), world().registry());
    let graph = graph("quay.io/openshift-release-dev/ocp-release");
    let (saved, config) = (dir.path().join("graph.json"), dir.path().join("idms.yaml"));
    std::fs::write(&saved, graph.to_string()).unwrap();
    let mirrors = json!({ "source": "quay.io/openshift-release-dev/ocp-release",
                          "mirrors": [format!("{}/{RELEASES}", source.host())] });
    let parts = json!({ "source": "quay.io/openshift-release-dev/ocp-v4.0-art-dev",
                        "mirrors": [format!("{}/{RELEASES}", source.host())] });
    let set = json!({ "apiVersion": "config.openshift.io/v1", "kind": "ImageDigestMirrorSet",
                      "metadata": { "name": "x" }, "spec": { "imageDigestMirrors": [mirrors, parts] } });
    std::fs::write(&config, set.to_string()).unwrap();
    let args = args!["--channel", "stable-4.21", "--update-graph", saved, "--mirror-config", config];
    let bundle = dir.path().join("b.tar");
    run(0, &create(&bundle, args));
    assert_eq!(index_of(&bundle)["releases"][0]["version"], "4.21.0");
}

#[test]
fn a_release_that_is_not_what_the_graph_says_is_refused() {
    let (world, dir, source) = (world(), folder(), world().registry());
    let place = format!("{}/{RELEASES}", source.host());
    // An old release, well signed, is offered as a new one; and one for another architecture.
    let old = node("4.21.9", &place, &world.release.image, false);
    let other = node("4.16.37", &place, &world.release.image, false);
    for (node, arch, said) in
        [(old, "amd64", "graph   4.21.9 for amd64"), (other, "arm64", "graph   4.16.37 for arm64")]
    {
        let service = service(vec![("stable-4.21", json!({ "nodes": [node] }))]);
        let args = args!["--channel", "stable-4.21", "--arch", arch, "--update-graph", address(&service)];
        let bundle = dir.path().join("b.tar");
        let refused = run(40, &create(&bundle, args));
        assert!(
            refused.stderr.contains("not what the update graph says") && refused.stderr.contains(said),
            "{refused:?}"
        );
        assert!(!bundle.exists() && !dir.path().join("b.tar.partial").exists());
    }
}

#[test]
fn an_update_service_that_fails_or_misbehaves_is_an_error_with_a_way_on() {
    let dir = folder();
    let bundle = dir.path().join("b.tar");
    let answers: Vec<(&str, u16, Vec<u8>, &str)> = vec![
        ("gone", 404, b"{}".to_vec(), "has no release for amd64"),
        ("broken", 500, b"oops".to_vec(), "500"),
        ("denied", 403, b"{}".to_vec(), "403"),
        ("login", 401, b"{}".to_vec(), "401"),
        ("params", 400, br#"{"kind":"invalid_params"}"#.to_vec(), "400"),
        ("page", 200, b"<html>".to_vec(), "not acceptable JSON"),
        ("twice", 200, br#"{"nodes":[{"version":"4.18.1"},{"version":"4.18.1"}]}"#.to_vec(), "appears twice"),
        ("empty", 200, b"{}".to_vec(), "has no release for amd64"),
    ];
    for (name, status, body, why) in answers {
        let rule: Rule = Box::new(move |_, _| Some(Answer(status, Vec::new(), body.clone())));
        let service = Stub::start(false, vec![rule]);
        let args = args!["--channel", "stable-4.18", "--update-graph", address(&service)];
        let failed = run(50, &create(&bundle, args));
        assert!(failed.stderr.contains(why) && failed.stderr.contains("hint:"), "{name}: {}", failed.stderr);
        assert!(!bundle.exists());
    }
}

#[test]
fn listings_are_as_the_schema_says() {
    let (dir, source) = (folder(), world().registry());
    let place = format!("{}/{RELEASES}", source.host());
    let service = service(vec![("stable-4.21", graph(&place))]);
    let asked = args!["--update-graph", address(&service), "--plain-http", "127.0.0.1", "-o", "json"];
    for more in [args!["--channel", "stable-4.21"], args!["--channel", "stable-4.21", "--from", "4.16.37"]] {
        let listed = run(0, &[args!["list", "releases"], asked.clone(), more].concat());
        valid("list-releases", &listed.text());
    }
    let mut graph = graph(&place);
    graph["nodes"][0]["metadata"]["io.openshift.upgrades.graph.release.channels"] = "stable-4.21".into();
    graph["conditionalEdges"] = json!([{ "edges": [{ "from": "4.16.37", "to": "4.21.0" }],
        "risks": [{ "name": "A", "message": "m", "url": "u", "matchingRules": [{ "type": "PromQL", "promql": { "promql": "up" } }] }] }]);
    let saved = dir.path().join("graph.json");
    std::fs::write(&saved, graph.to_string()).unwrap();
    let channels = run(0, &args!["list", "releases", "--update-graph", saved, "-o", "json"]);
    assert_eq!(valid("list-releases", &channels.text())["channels"][0]["name"], "stable-4.21");
    graph["nodes"][1]["metadata"]["io.openshift.upgrades.graph.release.channels"] = "stable-4.21".into();
    std::fs::write(&saved, graph.to_string()).unwrap();
    let risky = args!["list", "releases", "--update-graph", saved, "--channel", "stable-4.21", "--from", "4.16.37"];
    let risky = valid("list-releases", &run(0, &[risky, args!["-o", "json"]].concat()).text());
    assert_eq!(risky["releases"][0]["reached"]["risks"][0]["name"], "A");
}
