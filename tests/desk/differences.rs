//! What `diff` finds between two bundles, and between a bundle and a registry.

use std::fs;

use crate::kit::{Desk, text};
use crate::layout::TAR;
use crate::support::schemas::valid;
use crate::tar::{file, link, tar};

/// `a.tar` and `b.tar`: one image changed, one the same, one only in each; and manifests.
fn desk() -> Desk {
    let mut desk = Desk::new();
    for (bundle, content, own) in [("a.tar", &b"old"[..], "only-a:1"), ("b.tar", b"new", "only-b:1")] {
        let first = desk.path().join("layout");
        fs::remove_dir_all(&first).unwrap();
        desk.layout = crate::layout::Layout::new(first);
        let same = tar(&[file("same", b"1")]);
        let app = tar(&[
            file("changed", content),
            file(std::str::from_utf8(content).unwrap(), b"1"),
            link(b'2', "l", "same"),
        ]);
        let (same, app) = (desk.layout.layer(TAR, &same, &same), desk.layout.layer(TAR, &app, &app));
        desk.layout.image("registry.example.com/app:1", &[same.clone(), app]);
        desk.layout.image("registry.example.com/same:1", &[same]);
        let lone = tar(&[file(own, b"1")]);
        let lone = desk.layout.layer(TAR, &lone, &lone);
        desk.layout.image(&format!("registry.example.com/{own}"), &[lone]);
        let manifests = desk.path().join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let label = std::str::from_utf8(content).unwrap();
        let space = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: demo\n  labels:\n    a/b: {label}\n");
        fs::write(manifests.join("namespace.yaml"), space).unwrap();
        desk.made_as(bundle, &["--manifests", "manifests"]);
    }
    desk
}

#[test]
fn images_layers_manifests_and_files_that_differ_are_listed_and_the_same_are_counted() {
    let desk = desk();
    let compared = desk.run(&["diff", "a.tar", "b.tar", "--files", "-o", "json"]);
    assert_eq!(compared.status.code(), Some(0), "{compared:?}");
    let document = valid("diff", &text(&compared.stdout));
    let images = &document["images"];
    assert_eq!(images["same"], 1);
    assert_eq!(images["changed"][0]["name"], "registry.example.com/app:1");
    assert_eq!(images["removed"][0]["name"], "registry.example.com/only-a:1");
    assert_eq!(images["added"][0]["name"], "registry.example.com/only-b:1");
    assert_eq!((&document["layers"]["same"], document["layers"]["added"].as_array().unwrap().len()), (&1.into(), 2));
    let object = &document["manifests"]["changed"][0];
    assert_eq!(
        (&object["name"], &object["places"]),
        (&"v1 Namespace demo".into(), &serde_json::json!(["/metadata/labels/a~1b"]))
    );
    let files = &document["files"][0];
    assert_eq!((&files["image"], &files["same"]), (&"registry.example.com/app:1".into(), &2.into()));
    assert_eq!(files["changed"][0]["name"], "/changed");
    assert_eq!((&files["removed"][0]["name"], &files["added"][0]["name"]), (&"/old".into(), &"/new".into()));
    assert_eq!(document["different"], true);
    let shown = text(&desk.run(&["diff", "a.tar", "b.tar"]).stdout);
    assert!(shown.contains("images    1 the same, 1 added, 1 removed, 1 changed\n"), "{shown}");
    assert!(!shown.contains("same:1"), "{shown}");
}

#[test]
fn the_exit_code_says_on_request_whether_there_is_a_difference() {
    let desk = desk();
    let code = |args: &[&str]| desk.run(&[&["diff"], args].concat()).status.code();
    assert_eq!(code(&["a.tar", "b.tar"]), Some(0));
    assert_eq!(code(&["a.tar", "b.tar", "--exit-code"]), Some(1));
    assert_eq!(code(&["a.tar", "a.tar", "--exit-code", "--files"]), Some(0));
    assert_eq!(code(&["a.tar"]), Some(2));
    assert_eq!(code(&["a.tar", "missing.tar", "--exit-code"]), Some(3), "no difference could be found out");
}

#[test]
fn a_signer_that_only_one_bundle_has_is_a_difference() {
    let desk = desk();
    assert!(desk.run(&["sign", "a.tar", "--signer", "k.pub", "--sign-key", "other"]).status.success());
    fs::copy(desk.path().join("a.tar"), desk.path().join("c.tar")).unwrap();
    let document = valid("diff", &text(&desk.run(&["diff", "a.tar", "b.tar", "-o", "json"]).stdout));
    assert_eq!(document["signers"]["removed"].as_array().unwrap().len(), 1, "{document}");
    assert_eq!(document["signers"]["same"], 1);
    assert_eq!(desk.run(&["diff", "a.tar", "c.tar", "--exit-code"]).status.code(), Some(0));
}

#[cfg(feature = "registry")]
#[test]
fn a_registry_is_asked_for_what_unpack_would_put_there() {
    let desk = desk();
    let registry = crate::support::registry::Registry::start();
    let target = format!("{}/mirror", registry.host());
    let compare = |bundle: &str| {
        let out =
            desk.run(&["diff", bundle, "--to", &target, "--plain-http", "127.0.0.1", "--exit-code", "-o", "json"]);
        (out.status.code(), valid("diff", &text(&out.stdout)))
    };
    let (code, empty) = compare("a.tar");
    assert_eq!((code, empty["images"]["removed"].as_array().unwrap().len()), (Some(1), 3), "{empty}");
    let unpacked = desk.run(&["unpack", "a.tar", "--signer", "k.pub", "--to", &target, "--plain-http", "127.0.0.1"]);
    assert!(unpacked.status.success(), "{unpacked:?}");
    let (code, same) = compare("a.tar");
    assert_eq!((code, &same["images"]["same"]), (Some(0), &3.into()), "{same}");
    let (code, other) = compare("b.tar");
    assert_eq!(code, Some(1));
    assert_eq!(
        (&other["images"]["same"], other["images"]["changed"].as_array().unwrap().len()),
        (&1.into(), 1),
        "{other}"
    );
}
