//! What the server refuses, and what the program then says: rights, namespaces, kinds, content, log in.

use serde_json::{Value, json};

use crate::harness::*;
use crate::kit::{Ground, apply, map};
use crate::support::apiserver::{How, Who};

/// The right to do this with ConfigMaps.
fn may(verbs: &[&str]) -> Value {
    json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": verbs }])
}

#[test]
fn each_missing_right_is_named_and_nothing_is_changed() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    server.create(&ground.maps(), &ground.map("there", json!({ "key": "theirs" })));
    let same = ground.map("there", json!({ "key": "theirs" }));
    let new = ground.map("new", json!({ "key": "ours" }));
    let other = ground.map("there", json!({ "key": "ours" }));
    // Rights, object, the verb that the server names.
    for (verbs, object, verb) in [
        (&["create", "patch"][..], &new, "cannot get"),
        (&["get", "patch"], &new, "cannot create"),
        (&["get", "create"], &new, "cannot patch"),
        (&["get", "create"], &other, "cannot patch"),
        (&["get", "create"], &same, "cannot patch"),
        (&[], &new, "cannot get"),
    ] {
        let who = server.spare();
        if !verbs.is_empty() {
            server.grant(who, Some(&ground.space), &may(verbs));
            let probe = |path: &str| server.send("GET", path, "", b"", who).0;
            // Rights take a moment.
            if verbs.contains(&"get") {
                until("the rights are there", || probe(&ground.at("there")) == 200);
            } else {
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
        }
        let run = ground.apply_as(51, who, std::slice::from_ref(object), &["--overwrite"]);
        run.says(&[verb, &format!("User \"{}\"", who.name()), "403"]);
        assert!(!ground.is_there("new"), "{verbs:?}");
        assert_eq!(ground.data("there"), json!({ "key": "theirs" }), "{verbs:?}");
    }
    // A reader may compare nothing either: the dry run needs `patch`.
    let run = ground.apply_as(51, Who::Reader, std::slice::from_ref(&new), &["--dry-run"]);
    run.says(&["cannot patch"]);
}

#[test]
fn log_in_works_by_token_certificate_and_plugin() {
    let Some(ground) = Ground::new() else { return };
    for how in [How::Token, How::Certificate, How::Exec] {
        let name = format!("{how:?}").to_lowercase();
        let objects = [ground.map(&name, json!({ "key": "1" }))];
        let run = apply(0, &ground.server.kubeconfig(Who::Admin, how), &ground.folder(&objects), &[]);
        assert_eq!(run.outcomes(), format!("{name} created"));
        assert_eq!(run.document["applied"]["cluster"]["user"], "admin");
        let config = ground.server.kubeconfig(Who::Nobody, how);
        apply(51, &config, &ground.folder(&objects), &[]).says(&["nobody", "cannot get"]);
    }
}

#[test]
fn a_namespace_that_does_not_exist_is_said_before_anything_is_written() {
    let Some(ground) = Ground::new() else { return };
    let nowhere = format!("{}-nowhere", ground.space);
    let objects = [ground.map("first", json!({ "a": "b" })), map(&nowhere, "second", json!({ "a": "b" }))];
    for more in [&["--dry-run"][..], &[]] {
        let run = ground.apply(53, &objects, more);
        run.says(&[&format!("namespace `{nowhere}` does not exist"), "404"]);
        assert_eq!(run.object("second")["outcome"], "failed");
    }
    assert!(!ground.is_there("first"), "it was known before");
    let run = ground.apply(53, &objects, &["--continue-on-error"]);
    assert_eq!(run.outcomes(), "first created, second failed");
}

#[test]
fn a_namespace_that_is_being_deleted_is_not_called_a_missing_right() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    assert_eq!(server.request("DELETE", &format!("/api/v1/namespaces/{}", ground.space), None).0, 200);
    let run = ground.apply(53, &[ground.map("late", json!({ "a": "b" }))], &[]);
    run.says(&["is being deleted", "because it is being terminated"]);
    assert!(!run.said().contains("no right"), "{}", run.said());
}

#[test]
fn a_kind_that_the_cluster_lacks_is_said_before_anything_is_written() {
    let Some(ground) = Ground::new() else { return };
    let metadata = json!({ "name": "odd", "namespace": ground.space });
    for (version, kind) in [("example.com/v1", "Widget"), ("config.openshift.io/v9", "Widget"), ("v1", "Widget")] {
        let odd = json!({ "apiVersion": version, "kind": kind, "metadata": metadata });
        let objects = [ground.map("first", json!({ "a": "b" })), odd];
        // A kind of our own needs a rule for its scope too.
        let rule = format!("{version}/{kind}");
        let run = ground.apply(53, &objects, &["--allow-kind", &rule]);
        run.says(&[kind, version]);
        assert!(!ground.is_there("first"), "{version}");
    }
}

#[test]
fn what_the_schema_refuses_is_an_error_of_the_manifest() {
    let Some(ground) = Ground::new() else { return };
    let first = ground.map("first", json!({ "a": "b" }));
    let set = |name: &str, spec: Value| {
        json!({
            "apiVersion": "config.openshift.io/v1",
            "kind": "ImageDigestMirrorSet",
            "metadata": { "name": format!("{}-{name}", ground.space) },
            "spec": spec,
        })
    };
    let mirrors =
        |source: &str, mirrors: Value| json!({ "imageDigestMirrors": [{ "source": source, "mirrors": mirrors }] });
    // An object, and what the server says: by type, pattern, list type; a field that the schema does not have.
    let mut typed = ground.map("typed", json!({ "a": "b" }));
    typed["datta"] = json!({ "a": "b" });
    for (object, says) in [
        (typed, ".datta"),
        (
            set("pattern", mirrors("https://example.com", json!(["a.example.com/b"]))),
            "spec.imageDigestMirrors[0].source",
        ),
        (set("mirror", mirrors("example.com/a", json!(["UPPER/b:tag"]))), "spec.imageDigestMirrors[0].mirrors[0]"),
        (set("twice", mirrors("example.com/a", json!(["m.example.com/b", "m.example.com/b"]))), "duplicate entries"),
    ] {
        let run = ground.apply(53, &[first.clone(), object], &["--apply-mirror-sets"]);
        run.says(&[says, "a retry does not help"]);
        assert!(!ground.is_there("first"), "{says}");
    }
    // CEL.
    let policy = json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": "ImagePolicy",
        "metadata": { "name": "cel", "namespace": ground.space },
        "spec": {
            "scopes": ["*.example.com/with/a/path"],
            "policy": { "rootOfTrust": { "policyType": "PublicKey", "publicKey": { "keyData": "bm90IGEga2V5" } } },
        },
    });
    let run = ground.apply(53, &[first, policy], &["--allow-kind", "ImagePolicy"]);
    run.says(&["422", "spec."]);
    assert!(!ground.is_there("first"));
}

#[test]
fn what_cannot_be_changed_any_more_is_said_before_anything_is_written() {
    let Some(ground) = Ground::new() else { return };
    let mut fixed = ground.map("fixed", json!({ "key": "theirs" }));
    fixed["immutable"] = json!(true);
    ground.server.create(&ground.maps(), &fixed);
    let objects = [ground.map("first", json!({ "a": "b" })), ground.map("fixed", json!({ "key": "ours" }))];
    for more in [&["--overwrite"][..], &[], &["--overwrite", "--dry-run"]] {
        ground.apply(53, &objects, more).says(&["immutable", "422"]);
        assert!(!ground.is_there("first"));
    }
}

#[test]
fn a_policy_of_the_cluster_stops_half_way_or_with_continue_on_error_does_not() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    let api = "/apis/admissionregistration.k8s.io/v1";
    let name = format!("no-{}", ground.space);
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"] }]);
    // Dry runs pass: only the write is refused, as by a webhook that is asked then.
    server.create(
        &format!("{api}/validatingadmissionpolicies"),
        &json!({
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": rules },
                "validations": [{
                    "expression": format!("object.metadata.name != 'b' || object.metadata.namespace != '{}' || request.dryRun", ground.space),
                    "message": "b is not wanted here",
                }],
            },
        }),
    );
    server.create(
        &format!("{api}/validatingadmissionpolicybindings"),
        &json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] } }),
    );
    let refused = || {
        let (status, _) = server.request("POST", &ground.maps(), Some(&ground.map("b", json!({}))));
        if status == 201 {
            server.request("DELETE", &ground.at("b"), None);
        }
        status == 422
    };
    until("the policy holds", refused);
    let objects = ["a", "b", "c"].map(|name| ground.map(name, json!({ "key": "1" })));
    assert_eq!(ground.apply(0, &objects, &["--dry-run"]).outcomes(), "a created, b created, c created");
    let run = ground.apply(53, &objects, &[]);
    assert_eq!(run.outcomes(), "a created, b failed, c not-applied");
    run.says(&["b is not wanted here", "1 of 3 objects", "run the same command again"]);
    let run = ground.apply(53, &objects, &["--continue-on-error"]);
    assert_eq!(run.outcomes(), "a unchanged, b failed, c created");
    // The same command does the rest, once the cause is gone.
    server.request("DELETE", &format!("{api}/validatingadmissionpolicybindings/{name}"), None);
    until("the policy is gone", || {
        server.request("POST", &format!("{}?dryRun=All", ground.maps()), Some(&ground.map("x", json!({})))).0 == 201
    });
    let again = || {
        let run = finish(&mut command(&crate::kit::arguments(
            &server.kubeconfig(Who::Admin, How::Token),
            &ground.folder(&objects),
            &[],
        )));
        run.code == 0
    };
    until("the rest is applied", again);
    assert_eq!(ground.apply(0, &objects, &[]).outcomes(), "a unchanged, b unchanged, c unchanged");
}

#[test]
fn a_cluster_that_cannot_be_asked_is_told_from_one_that_does_not_know_the_user() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    let dir = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    for (code, config, says) in [
        (50, server.kubeconfig_dead(), "refused"),
        (50, server.kubeconfig_wrong_ca(), "certificate"),
        (51, server.kubeconfig_wrong_token(), "does not accept these credentials"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let run = apply(code, &config, &dir, more);
            run.says(&[says, "nothing was changed on the cluster"]);
            assert!(run.document.is_null());
        }
    }
    assert!(!ground.is_there("a"));
}

#[test]
fn the_worst_failure_gives_the_exit_code() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    server.create(&ground.maps(), &ground.map("differs", json!({ "key": "theirs" })));
    let differs = ground.map("differs", json!({ "key": "ours" }));
    let mut bad = ground.map("bad", json!({ "a": "b" }));
    bad["datta"] = json!({});
    let good = ground.map("good", json!({ "a": "b" }));
    let run = ground.apply(53, &[differs.clone(), bad, good.clone()], &["--continue-on-error"]);
    assert_eq!(run.outcomes(), "differs differs, bad failed, good created");
    // What differs is no failure: the rest is applied.
    let other = ground.map("other", json!({ "a": "b" }));
    let run = ground.apply(52, &[differs, other], &[]);
    assert_eq!(run.outcomes(), "differs differs, other created");
}
