//! The memory of this host: the bundles that it has unpacked (security A4, A7).

use crate::kit::{Ended, Kit, PROGRAM, ended};

fn unpack(kit: &Kit, bundle: &str, more: &[&str]) -> Ended {
    let args = ["unpack", bundle, "-q", "--to-dir", "out", "--overwrite", "--signer", "builder.pub"];
    kit.run(&[&args[..], more].concat())
}

fn remembered(kit: &Kit) -> Option<u64> {
    let text = std::fs::read(kit.path("state/unpacked.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["series"]["app"]["sequence"].as_u64()
}

#[test]
fn an_older_bundle_is_refused_after_a_newer_one_and_goes_back_only_on_purpose() {
    let kit = Kit::with_bundle();
    kit.bundle("old.tar", 4);
    kit.run(&["verify", "b.tar", "--signer", "builder.pub"]).is(0);
    assert_eq!(remembered(&kit), None, "verifying is not unpacking");
    unpack(&kit, "b.tar", &["--dry-run"]).is(0);
    assert_eq!(remembered(&kit), None, "nor is a dry run");
    unpack(&kit, "b.tar", &[]).is(0);
    assert_eq!(remembered(&kit), Some(5));
    kit.verify_both("old.tar", &["--signer", "builder.pub"]).is(23).says("app number 4 after number 5");
    unpack(&kit, "old.tar", &[]).is(23).says("nothing was written");
    assert_eq!(remembered(&kit), Some(5));
    let answer = unpack(&kit, "old.tar", &["--allow-rollback", "-o", "json"]).is(0).json();
    assert_eq!(answer["report"]["exceptions"][0], "--allow-rollback");
    assert_eq!(remembered(&kit), Some(4));
    unpack(&kit, "b.tar", &[]).is(0);
    assert_eq!(remembered(&kit), Some(5));
}

#[test]
fn two_bundles_of_one_number_are_refused_whatever_is_allowed() {
    let kit = Kit::with_bundle();
    unpack(&kit, "b.tar", &[]).is(0);
    unpack(&kit, "b.tar", &[]).is(0);
    kit.write("m/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: other\n");
    kit.bundle("twin.tar", 5);
    for args in [&[][..], &["--allow-rollback"]] {
        unpack(&kit, "twin.tar", args).is(23).says("another bundle of series app with number 5");
    }
    // Of another series the number says nothing.
    let args = ["create", "x.tar", "-q", "--manifests", "m", "--name", "x", "--sequence", "1", "--sign-key", "builder"];
    kit.run(&args).is(0);
    unpack(&kit, "x.tar", &[]).is(0);
}

#[test]
fn a_number_driven_up_with_a_stolen_key_is_taken_back_by_allow_rollback() {
    let kit = Kit::with_bundle();
    kit.bundle("max.tar", u64::MAX);
    unpack(&kit, "max.tar", &[]).is(0);
    assert_eq!(remembered(&kit), Some(u64::MAX));
    unpack(&kit, "b.tar", &[]).is(23);
    unpack(&kit, "b.tar", &["--allow-rollback"]).is(0);
    assert_eq!(remembered(&kit), Some(5));
}

#[test]
fn a_jump_over_the_step_of_the_policy_asks_for_a_flag() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "rollback: {maxStep: 10}");
    let trust = ["--trust", "t.yaml"];
    let go = |bundle: &str, more: &[&str]| {
        let args = ["unpack", bundle, "-q", "--to-dir", "out", "--overwrite"];
        kit.run(&[&args[..], &trust, more].concat())
    };
    go("b.tar", &[]).is(0);
    for (number, code) in [(15, 0), (26, 23)] {
        let file = format!("{number}.tar");
        kit.bundle(&file, number);
        go(&file, &[]).is(code);
    }
    go("26.tar", &["--allow-rollback"]).is(0);
    // A policy may allow going back; the report says so.
    kit.policy("t.yaml", "rollback: {allow: true}");
    go("b.tar", &[]).is(0).says("older than what this host has unpacked");
}

/// An image that nothing else is like, in a layout under this name.
fn layout(kit: &Kit, folder: &str, reference: &str, content: &str) {
    let blobs = |bytes: &[u8]| {
        let digest = mirror_bundle::oci::Digest::of(bytes);
        kit.write(&format!("{folder}/blobs/sha256/{}", digest.hex()), bytes);
        digest.to_string()
    };
    let config = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": blobs(config), "size": config.len() },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blobs(content.as_bytes()), "size": content.len()
        }],
    });
    let manifest = manifest.to_string();
    let entry = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blobs(manifest.as_bytes()),
        "size": manifest.len(), "annotations": { "org.opencontainers.image.ref.name": reference },
    });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    kit.write(&format!("{folder}/index.json"), index.to_string());
    kit.write(&format!("{folder}/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}");
}

/// A sequence of work as people do it: nothing of it goes back, so nothing of it is refused.
#[test]
fn no_sequence_of_work_with_default_options_is_taken_for_going_back() {
    let kit = Kit::new();
    kit.key("builder");
    for (folder, reference) in
        [("a", "quay.io/team-a/app:v1"), ("b", "quay.io/team-b/app:v1"), ("c", "v1"), ("a2", "quay.io/team-a/app:v2")]
    {
        layout(&kit, folder, reference, folder);
    }
    kit.write("m/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: one\n");
    kit.write("m2/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: two\n");
    // All within one second, as SOURCE_DATE_EPOCH has it; `later` a minute later.
    let create = |bundle: &str, epoch: &str, more: &[&str]| {
        let args = [&["create", bundle, "-q", "--sign-key", "builder"][..], more].concat();
        ended(kit.command(PROGRAM, &args).env("SOURCE_DATE_EPOCH", epoch)).is(0);
    };
    let (now, later) = ("1795305600", "1795305660");
    for folder in ["a", "b", "c", "a2"] {
        create(&format!("{folder}.tar"), now, &["--from-layout", folder]);
        create(&format!("{folder}-again.tar"), later, &["--from-layout", folder]);
        create(&format!("{folder}-ns.tar"), later, &["--from-layout", folder, "--manifests", "m2"]);
    }
    create("m.tar", now, &["--manifests", "m"]);
    create("m2.tar", now, &["--manifests", "m2"]);
    create("m3.tar", later, &["--manifests", "m", "--allow-kind", "ClusterRole"]);
    create("named.tar", now, &["--from-layout", "a", "--name", "team"]);
    create("named-same-second.tar", now, &["--from-layout", "b", "--name", "team"]);
    create("named-later.tar", later, &["--from-layout", "a", "--name", "team"]);
    create("numbered-7.tar", later, &["--from-layout", "a", "--name", "numbered", "--sequence", "7"]);
    create("numbered-8.tar", now, &["--from-layout", "b", "--name", "numbered", "--sequence", "8"]);
    create("other-1.tar", now, &["--from-layout", "b", "--name", "other", "--sequence", "1"]);
    let unpack = |n: usize, bundle: &str| {
        let to = format!("to-{n}");
        kit.run(&["unpack", bundle, "-q", "--to-layout", &to, "--signer", "builder.pub"])
    };
    let work = [
        "a.tar",
        "b.tar",
        "a.tar",
        "b-again.tar",
        "b.tar",
        "c.tar",
        "a2.tar",
        "a.tar",
        "c-ns.tar",
        "c.tar",
        "m.tar",
        "m2.tar",
        "m.tar",
        "a-ns.tar",
        "a-again.tar",
        "a.tar",
        "named.tar",
        "named-same-second.tar",
        "named.tar",
        "named-later.tar",
        "numbered-7.tar",
        "numbered-7.tar",
        "other-1.tar",
        "numbered-8.tar",
        "m2.tar",
        "a.tar",
    ];
    for (n, bundle) in work.iter().enumerate() {
        unpack(n, bundle).is(0);
    }
    let memory: serde_json::Value = serde_json::from_slice(&kit.read("state/unpacked.json")).unwrap();
    let names: Vec<&String> = memory["series"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["numbered", "other", "team"], "only what a person named is remembered");
    // What does go back is refused.
    unpack(100, "numbered-7.tar").is(23);
    unpack(101, "named.tar").is(23).says("team number 1795305600 after number 1795305660");
}

#[test]
fn an_old_memory_never_blocks_a_new_bundle() {
    let kit = Kit::with_bundle();
    let before =
        r#"{"bundles": {"app": {"sequence": 1795305600, "index": "sha256:x"}, "m": {"sequence": 9, "index": "y"}}}"#;
    kit.write("state/unpacked.json", before);
    unpack(&kit, "b.tar", &[]).is(0);
    assert_eq!(remembered(&kit), Some(5));
    kit.run(&["create", "u.tar", "-q", "--manifests", "m", "--sign-key", "builder"]).is(0);
    unpack(&kit, "u.tar", &[]).is(0);
    kit.run(&["create", "m.tar", "-q", "--manifests", "m", "--name", "m", "--sequence", "8", "--sign-key", "builder"])
        .is(0);
    unpack(&kit, "m.tar", &[]).is(23);
}

#[test]
fn a_number_without_a_name_is_a_mistake() {
    let kit = Kit::with_bundle();
    kit.run(&["create", "u.tar", "--manifests", "m", "--sequence", "9", "--unsigned"]).is(2).says("--name");
}

#[test]
fn a_memory_that_cannot_be_read_is_an_error_before_anything_is_written() {
    let kit = Kit::with_bundle();
    for bad in ["", "{", "{\"bundles\": {}} x", "{\"bundles\": {\"app\": {\"sequence\": -1, \"index\": \"\"}}}", "[]"] {
        kit.write("state/unpacked.json", bad);
        kit.run(&["verify", "b.tar", "--signer", "builder.pub"]).is(3).says("cannot be read, so");
        unpack(&kit, "b.tar", &[]).is(3);
        assert!(!kit.path("out").exists());
        assert_eq!(kit.read("state/unpacked.json"), bad.as_bytes(), "and it is left as it is");
    }
    std::fs::remove_file(kit.path("state/unpacked.json")).unwrap();
    std::fs::create_dir(kit.path("state/unpacked.json")).unwrap();
    kit.run(&["verify", "b.tar", "--signer", "builder.pub"]).is(3);
}

#[test]
fn a_memory_that_cannot_be_written_is_noticed_before_anything_is_unpacked() {
    let kit = Kit::with_bundle();
    kit.write("file", "");
    for folder in ["/proc/nowhere/x", "/sys/x"] {
        let args = ["unpack", "b.tar", "--to-dir", "out", "--signer", "builder.pub"];
        let answer = ended(kit.command(PROGRAM, &args).env("MIRROR_BUNDLE_STATE", folder));
        answer.is(3).says("MIRROR_BUNDLE_STATE");
        assert!(!kit.path("out").exists());
    }
    let args = ["verify", "b.tar", "--signer", "builder.pub"];
    ended(kit.command(PROGRAM, &args).env("MIRROR_BUNDLE_STATE", "/proc/nowhere/x")).is(0);
}

#[test]
fn a_bad_or_unsigned_bundle_is_not_remembered() {
    let kit = Kit::with_bundle();
    let mut bytes = kit.read("b.tar");
    let at = bytes.windows(9).rposition(|w| w == b"Namespace").unwrap();
    bytes[at] ^= 1;
    kit.write("bad.tar", bytes);
    let answer = unpack(&kit, "bad.tar", &[]);
    assert!((10..50).contains(&answer.code), "{answer:?}");
    assert_eq!(remembered(&kit), None);
    kit.run(&["create", "u.tar", "-q", "--manifests", "m", "--name", "app", "--sequence", "9", "--unsigned"]).is(0);
    kit.run(&["unpack", "u.tar", "-q", "--to-dir", "out", "--allow-unsigned"]).is(0);
    assert_eq!(remembered(&kit), None);
}

#[test]
fn a_memory_is_kept_where_xdg_says_and_never_in_a_relative_folder() {
    let kit = Kit::with_bundle();
    let args = ["unpack", "b.tar", "-q", "--to-dir", "out", "--overwrite", "--signer", "builder.pub"];
    let mut command = kit.command(PROGRAM, &args);
    ended(command.env_remove("MIRROR_BUNDLE_STATE").env("XDG_STATE_HOME", kit.path("xdg"))).is(0);
    assert!(kit.path("xdg/mirror-bundle/unpacked.json").exists());
    let mut command = kit.command(PROGRAM, &args);
    ended(command.env_remove("MIRROR_BUNDLE_STATE").env("XDG_STATE_HOME", "relative")).is(0);
    assert!(kit.path("home/.local/state/mirror-bundle/unpacked.json").exists());
    assert!(!kit.path("relative").exists());
}
