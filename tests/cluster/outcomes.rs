//! What becomes of an object that is absent, the same or other on the cluster, whoever made it.

use serde_json::{Value, json};

use crate::harness::*;
use crate::kit::{Ground, arguments};
use crate::support::apiserver::{How, Who};

/// Everything that could change when something is written.
fn whole(ground: &Ground, name: &str) -> Value {
    ground.server.get(&ground.at(name))["metadata"]["resourceVersion"].clone()
}

#[test]
fn an_absent_object_is_created_and_then_unchanged() {
    let Some(ground) = Ground::new() else { return };
    let objects = [ground.map("a", json!({ "key": "1" })), ground.map("b", json!({ "key": "2" }))];
    let first = ground.apply(0, &objects, &[]);
    assert_eq!(first.outcomes(), "a created, b created");
    assert_eq!(ground.data("a"), json!({ "key": "1" }));
    let about = &first.document["applied"]["cluster"];
    assert_eq!((about["server"].as_str(), about["user"].as_str()), (Some(ground.server.url().as_str()), Some("admin")));
    assert!(about["version"].as_str().unwrap().starts_with("v1."));
    let before = whole(&ground, "a");
    assert_eq!(ground.apply(0, &objects, &[]).outcomes(), "a unchanged, b unchanged");
    assert_eq!(whole(&ground, "a"), before, "nothing was sent");
}

#[test]
fn an_object_that_somebody_else_made_the_same_is_unchanged_and_nothing_is_sent() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let ways: [&[&str]; 4] = [
        &["apply", "-f", "-"],
        &["create", "-f", "-"],
        &["apply", "--server-side", "-f", "-"],
        &["apply", "--server-side", "--field-manager=oc", "-f", "-"],
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let name = format!("same-{n}");
        let object = ground.map(&name, json!({ "key": "value" }));
        ground.kubectl(way, &object);
        let before = whole(&ground, &name);
        for more in [&[][..], &["--overwrite"]] {
            assert_eq!(ground.apply(0, std::slice::from_ref(&object), more).outcomes(), format!("{name} unchanged"));
        }
        assert_eq!(whole(&ground, &name), before, "{way:?}");
    }
}

/// How another owner makes an object: kubectl's arguments, and the name of the owner.
const OWNERS: [(&[&str], &str); 4] = [
    (&["apply", "-f", "-"], "kubectl-client-side-apply"),
    (&["apply", "--server-side", "--field-manager=oc", "-f", "-"], "oc"),
    (&["create", "--field-manager=argocd-controller", "-f", "-"], "argocd-controller"),
    (&["apply", "--server-side", "--field-manager=oc-mirror", "-f", "-"], "oc-mirror"),
];

#[test]
fn an_object_that_differs_is_left_alone_and_its_owner_named() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    for (n, (way, owner)) in OWNERS.into_iter().enumerate() {
        let name = format!("other-{n}");
        ground.kubectl(way, &ground.map(&name, json!({ "key": "theirs", "extra": "kept" })));
        let before = whole(&ground, &name);
        let ours = [ground.map(&name, json!({ "key": "ours" }))];
        for more in [&[][..], &["--dry-run"]] {
            let run = ground.apply(52, &ours, more);
            assert_eq!(run.outcomes(), format!("{name} differs"));
            let object = run.object(&name);
            assert_eq!(object["changes"], json!([{ "field": ".data.key", "from": "\"theirs\"", "to": "\"ours\"" }]));
            let conflict = &object["conflicts"][0];
            assert_eq!(conflict["field"], ".data.key");
            assert!(conflict["owner"].as_str().unwrap().contains(&format!("\"{owner}\"")), "{object}");
            run.says(&[".data.key", owner]);
        }
        assert_eq!(whole(&ground, &name), before, "{owner}");
    }
}

#[test]
fn overwriting_changes_our_fields_and_keeps_those_of_others() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    for (n, (way, owner)) in OWNERS.into_iter().enumerate() {
        let name = format!("over-{n}");
        let mut theirs = ground.map(&name, json!({ "key": "theirs", "extra": "kept" }));
        theirs["metadata"]["labels"] = json!({ "team": "blue" });
        theirs["metadata"]["annotations"] = json!({ "why": "because" });
        ground.kubectl(way, &theirs);
        let ours = [ground.map(&name, json!({ "key": "ours" }))];
        assert_eq!(ground.apply(0, &ours, &["--overwrite", "--dry-run"]).outcomes(), format!("{name} changed"));
        assert_eq!(ground.data(&name)["key"], "theirs", "a dry run");
        assert_eq!(ground.apply(0, &ours, &["--overwrite"]).outcomes(), format!("{name} changed"), "{owner}");
        let after = ground.server.get(&ground.at(&name));
        assert_eq!(after["data"], json!({ "key": "ours", "extra": "kept" }), "{owner}");
        assert_eq!(after["metadata"]["labels"]["team"], "blue", "{owner}");
        assert_eq!(after["metadata"]["annotations"]["why"], "because", "{owner}");
        assert_eq!(ground.apply(0, &ours, &[]).outcomes(), format!("{name} unchanged"));
    }
}

#[test]
fn what_others_added_to_our_object_stays_and_is_no_difference() {
    let Some(ground) = Ground::new() else { return };
    let ours = [ground.map("ours", json!({ "key": "1" }))];
    ground.apply(0, &ours, &[]);
    let patch = json!({ "metadata": { "labels": { "team": "blue" } }, "data": { "theirs": "2" } });
    let merge = "application/merge-patch+json";
    let (status, _) = ground.server.send(
        "PATCH",
        &format!("{}?fieldManager=somebody", ground.at("ours")),
        merge,
        patch.to_string().as_bytes(),
        Who::Admin,
    );
    assert_eq!(status, 200);
    for more in [&[][..], &["--overwrite"]] {
        assert_eq!(ground.apply(0, &ours, more).outcomes(), "ours unchanged");
    }
    let next = [ground.map("ours", json!({ "key": "3" }))];
    ground.apply(52, &next, &[]);
    ground.apply(0, &next, &["--overwrite"]);
    let after = ground.server.get(&ground.at("ours"));
    assert_eq!(after["data"], json!({ "key": "3", "theirs": "2" }));
    assert_eq!(after["metadata"]["labels"], json!({ "team": "blue" }));
}

#[test]
fn a_dry_run_creates_nothing_and_plans_what_comes_with_its_namespace() {
    let Some(ground) = Ground::new() else { return };
    let space = format!("{}-new", ground.space);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": space } });
    // The namespace is applied first, wherever it is in the folder.
    let objects = [crate::kit::map(&space, "inside", json!({ "a": "b" })), namespace];
    let run = ground.apply(0, &objects, &["--dry-run", "--allow-kind", "Namespace"]);
    assert_eq!(run.outcomes(), format!("{space} created, inside created"));
    assert!(run.object("inside")["after"].as_str().unwrap().contains(&space));
    assert_eq!(run.document["applied"]["dry_run"], true);
    let path = format!("/api/v1/namespaces/{space}");
    assert_eq!(ground.server.request("GET", &path, None).0, 404);
    let run = ground.apply(0, &objects, &["--allow-kind", "Namespace"]);
    assert_eq!(run.outcomes(), format!("{space} created, inside created"));
    assert_eq!(ground.server.get(&format!("{path}/configmaps/inside"))["data"], json!({ "a": "b" }));
    let run = ground.apply(0, &objects, &["--allow-kind", "Namespace"]);
    assert_eq!(run.outcomes(), format!("{space} unchanged, inside unchanged"));
}

#[test]
fn a_kind_that_comes_with_its_definition_is_applied_when_it_can_be_used() {
    let Some(ground) = Ground::new() else { return };
    let group = format!("{}.example.com", ground.space);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("widgets.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": { "size": { "type": "integer" } } },
                } } },
            }],
        },
    });
    let widget = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Widget",
        "metadata": { "name": "one", "namespace": ground.space },
        "spec": { "size": 1 },
    });
    let objects = [widget, definition];
    let more = ["--allow-kind", "CustomResourceDefinition", "--allow-kind", "Widget"];
    let name = format!("widgets.{group}");
    let run = ground.apply(0, &objects, &[&more[..], &["--dry-run"]].concat());
    assert_eq!(run.outcomes(), format!("{name} created, one created"));
    assert!(run.object("one")["after"].as_str().unwrap().contains(&name));
    let run = ground.apply(0, &objects, &more);
    assert_eq!(run.outcomes(), format!("{name} created, one created"));
    let there = ground.server.get(&format!("/apis/{group}/v1/namespaces/{}/widgets/one", ground.space));
    assert_eq!(there["spec"], json!({ "size": 1 }));
    let run = ground.apply(0, &objects, &more);
    assert_eq!(run.outcomes(), format!("{name} unchanged, one unchanged"));
}

#[test]
fn a_dry_run_shows_each_field_that_differs_and_who_owns_it() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let mut theirs = ground.map("shown", json!({ "same": "1", "other": "theirs" }));
    theirs["metadata"]["labels"] = json!({ "app": "theirs" });
    ground.kubectl(&["apply", "-f", "-"], &theirs);
    let mut ours = ground.map("shown", json!({ "same": "1", "other": "ours", "new": "x" }));
    ours["metadata"]["labels"] = json!({ "app": "ours" });
    let config = ground.server.kubeconfig(Who::Admin, How::Token);
    let run = finish(&mut command(&arguments(&config, &ground.folder(&[ours]), &["--dry-run"])));
    assert_eq!(run.code, 52, "{}", run.stderr);
    for line in [
        ".data.new: (absent) -> \"x\"",
        ".data.other: \"theirs\" -> \"ours\"",
        ".metadata.labels.app: \"theirs\" -> \"ours\"",
        "kubectl-client-side-apply",
        "nothing was changed on the cluster",
    ] {
        assert!(run.text().contains(line), "{line}: {}", run.text());
    }
    assert!(!run.text().contains(".data.same"), "{}", run.text());
}

#[test]
fn empty_members_that_old_tools_write_are_no_difference() {
    let Some(ground) = Ground::new() else { return };
    let object = json!({
        "apiVersion": "updateservice.operator.openshift.io/v1",
        "kind": "UpdateService",
        "metadata": { "name": "service", "namespace": ground.space, "creationTimestamp": null },
        "spec": { "replicas": 1, "releases": "m.example.com/a", "graphDataImage": "m.example.com/g:1" },
        "status": {},
    });
    let more = ["--allow-kind", "UpdateService"];
    assert_eq!(ground.apply(0, std::slice::from_ref(&object), &more).outcomes(), "service created");
    assert_eq!(ground.apply(0, &[object], &more).outcomes(), "service unchanged");
}
