//! The interface for scripts and people: exit codes, JSON, plain text.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::*;
use crate::support::registry::Registry;
use crate::support::release::{RELEASES, world};

fn bundle(dir: &Path) -> PathBuf {
    let source = world().registry();
    let bundle = dir.join("b.tar");
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    bundle
}

#[test]
fn the_exit_code_in_the_json_of_verify_is_that_of_the_process() {
    let dir = folder();
    let bundle = bundle(dir.path());
    let changed = dir.path().join("changed.tar");
    let mut bytes = fs::read(&bundle).unwrap();
    let at = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[at] ^= 1;
    fs::write(&changed, &bytes).unwrap();
    let cut = dir.path().join("cut.tar");
    fs::write(&cut, &bytes[..at]).unwrap();
    let redhat = args!["--signer", world().public_key()];
    let stranger = args!["--signer", world().other_public_key(), "--release-keyring", world().keyring()];
    for (what, verdict, args) in [
        ("good", "verified", verify(&bundle)),
        ("changed", "fail", verify(&changed)),
        ("cut", "fail", verify(&cut)),
        ("vendor's key", "fail", [args!["verify", bundle], redhat].concat()),
        ("stranger", "fail", [args!["verify", bundle], stranger].concat()),
        ("quick", "not-fully-checked", [verify(&bundle), args!["--quick"]].concat()),
        ("foreign", "fail", verify(&world().keyring())),
    ] {
        let text = finish(&mut command(&args));
        let run = finish(&mut command(&[args, args!["-o", "json"]].concat()));
        let json = run.json();
        assert_eq!(json["exit_code"], run.code, "{what}");
        assert_eq!(text.code, run.code, "{what}");
        assert_eq!(json["verdict"], verdict, "{what}: {json:#}");
        assert!(json["schema"].as_str().unwrap().starts_with("mirror-bundle/report/"), "{what}");
        assert!(run.stderr.is_empty(), "{what}: {}", run.stderr);
        let quiet = finish(&mut command(&[verify(&bundle), args!["-qq"]].concat()));
        assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
    }
}

#[test]
fn json_is_one_document_and_errors_are_one_line_on_the_other_stream() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    let json = args!["-o", "json"];
    let created = ok(&[create_release(&bundle, &source.host()), json.clone()].concat());
    assert_eq!(created.json()["releases"][0]["version"], "4.16.37");
    assert!(created.stderr.is_empty(), "{}", created.stderr);
    let unpacked = ok(&[unpack_to(&bundle, &target.host(), &dir.path().join("m")), json.clone()].concat());
    let upgrade = format!("{}/ocp/mirror@{}", target.host(), world.release.digest());
    assert_eq!(unpacked.json()["unpacked"]["upgrades"][0], upgrade);
    for verb in ["inspect", "ls"] {
        let listed = ok(&[args![verb, bundle], json.clone()].concat());
        assert!(listed.json().is_object(), "{verb}");
    }
    let failed = ends(52, &[create_release(&bundle, &source.host()), json].concat());
    assert!(failed.stdout.is_empty());
    let error: serde_json::Value = serde_json::from_str(failed.stderr.trim()).unwrap();
    assert_eq!(
        (&error["type"], &error["code"], &error["exit_code"]),
        (&"error".into(), &"conflict".into(), &52.into())
    );
}

#[test]
fn a_pipe_gets_plain_text_and_colour_is_given_when_asked_for() {
    let (source, dir) = (world().registry(), folder());
    let bundle = dir.path().join("b.tar");
    let plain = |run: &Run| {
        assert!(!run.stdout.contains(&0x1b) && !run.stderr.contains('\u{1b}'), "{run:?}");
        assert!(run.stderr.is_ascii(), "{}", run.stderr);
    };
    let create = create_release(&bundle, &source.host());
    plain(&ok(&create));
    plain(&ends(52, &create));
    let piped = finish(&mut command(&verify(&bundle)));
    plain(&piped);
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let run = finish(command(&verify(&bundle)).env(name, value));
        assert_eq!((run.text(), run.stderr), (piped.text(), piped.stderr.clone()), "{name}");
    }
    let colour = ends(52, &[create, args!["--color", "always"]].concat());
    assert!(colour.stderr.contains("\u{1b}["), "{}", colour.stderr);
}

#[test]
fn inspect_and_ls_say_that_nothing_was_verified_and_list_what_is_there() {
    let dir = folder();
    let bundle = bundle(dir.path());
    let inspected = ok(&args!["inspect", bundle]);
    let all = inspected.text() + &inspected.stderr;
    assert!(all.contains("not verified"), "{all}");
    assert!(all.contains("4.16.37") && all.contains(&world().release.digest().to_string()), "{all}");
    let images = ok(&args!["ls", bundle]);
    assert!((images.text() + &images.stderr).contains("not verified"));
    // The release, five components, two cosign signatures, two referrers, the list.
    assert_eq!(images.text().lines().count(), 1 + 5 + 2 + 2 + 1, "{}", images.text());
    assert!(images.text().contains(&format!("{RELEASES}:4.16.37-x86_64")), "{}", images.text());
    let blobs = ok(&args!["ls", bundle, "--blobs"]).text();
    assert_eq!(blobs.lines().count(), index_of(&bundle)["blobs"].as_array().unwrap().len());
    let manifests = ok(&args!["ls", bundle, "--manifests"]).text();
    assert!(manifests.contains(&world().release.digest().dashed()), "{manifests}");
    let streamed = fed(&mut command(&args!["inspect", "-"]), &fs::read(&bundle).unwrap());
    assert_eq!(streamed.code, 0, "{}", streamed.stderr);
}

#[test]
fn a_closed_pipe_does_not_turn_a_bad_verdict_into_a_good_one() {
    let dir = folder();
    let bundle = bundle(dir.path());
    for (signer, code) in [(world().public_key(), 0), (world().other_public_key(), 22)] {
        let args = args!["verify", bundle, "--signer", signer, "--release-keyring", world().keyring()];
        let mut child = command(&args).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn there_is_no_push_and_the_answer_says_what_to_use() {
    let run = ends(2, &args!["push", "b.tar"]);
    assert!(run.stderr.contains("unpack BUNDLE --to"), "{}", run.stderr);
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(&args!["completions", shell]).text().contains("mirror-bundle"));
    }
    let dir = folder();
    ok(&args!["man", "--dir", dir.path()]);
    assert!(files(dir.path()).keys().any(|p| p.to_string_lossy() == "mirror-bundle-create.1"));
}
