//! `sign`: on good, unsigned, damaged, read-only and full bundles; foreign signatures; records; `--detach`.

use std::os::unix::fs::PermissionsExt;

use crate::kit::{Ended, Kit, PROGRAM, ended};

const REVIEWED: &str = "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 1}";

fn sign(kit: &Kit, bundle: &str, key: &str, more: &[&str]) -> Ended {
    let args = ["sign", bundle, "--signer", "builder.pub", "--sign-key", key];
    kit.run(&[&args[..], more].concat())
}

/// A signature over the index of `b.tar` made by `ssh-keygen`, as file `index.sig`.
fn foreign(kit: &Kit, key: &str, namespace: &str) {
    kit.write("index", kit.run(&["sign", "b.tar", "--print-index", "--sign-key", "x"]).is(0).out);
    let _ = std::fs::remove_file(kit.path("index.sig"));
    kit.tool("ssh-keygen", &["-Y", "sign", "-f", key, "-n", namespace, "index"]).is(0);
}

#[test]
fn a_countersignature_is_appended_behind_what_was_there_and_ssh_keygen_accepts_it() {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    kit.policy("t.yaml", REVIEWED);
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(22);
    let answer = kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "-o", "json"]).is(0).json()
        ["signed"]
        .clone();
    assert_eq!((&answer["role"], &answer["key"]), (&"reviewer".into(), &kit.fingerprint("reviewer").into()));
    let after = kit.read("b.tar");
    assert_eq!(after[..before.len() - 1024], before[..before.len() - 1024], "nothing that was there has changed");
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    // With stock tools.
    let name = format!("mirror-bundle/addenda/{}", answer["written"][0].as_str().unwrap());
    for (member, file) in [("mirror-bundle/index.json", "index"), (name.as_str(), "sig")] {
        kit.write(file, kit.tool("tar", &["xOf", "b.tar", member]).is(0).out);
    }
    kit.write("allowed", format!("reviewer {}\n", kit.public("reviewer")));
    let args = ["-Y", "verify", "-f", "allowed", "-I", "reviewer", "-n", "mirror-bundle.v1.reviewer", "-s", "sig"];
    kit.run_tool_with_stdin("ssh-keygen", &args, "index").is(0);
    kit.tool("tar", &["tf", "b.tar"]).is(0).says("mirror-bundle/addenda/signature-reviewer-");
}

#[test]
fn signing_twice_with_one_key_and_role_adds_nothing() {
    let kit = Kit::with_bundle();
    sign(&kit, "b.tar", "reviewer", &["--note", "CHG-1", "--at", "2024-01-01"]).is(0);
    let once = kit.read("b.tar");
    sign(&kit, "b.tar", "reviewer", &["--note", "CHG-1", "--at", "2024-01-02"]).is(0).says("already signed it");
    sign(&kit, "b.tar", "builder", &["--role", "builder"]).is(0).says("already signed it");
    assert_eq!(kit.read("b.tar"), once);
    // Another role or another note makes a different record.
    sign(&kit, "b.tar", "reviewer", &["--role", "receiver"]).is(0).says("signature-receiver-");
    sign(&kit, "b.tar", "reviewer", &["--note", "CHG-2"]).is(0).says("record-");
    let answer = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "-o", "json"]).is(0).json();
    assert_eq!((answer["signatures"].as_array().unwrap().len(), answer["records"].as_array().unwrap().len()), (3, 2));
}

#[test]
fn an_unsigned_bundle_is_signed_only_when_that_is_asked_for() {
    let kit = Kit::with_bundle();
    kit.run(&["create", "u.tar", "-q", "--manifests", "m", "--name", "app", "--unsigned"]).is(0);
    let before = kit.read("u.tar");
    sign(&kit, "u.tar", "builder", &["--role", "builder"]).is(20).says("nothing was signed");
    assert_eq!(kit.read("u.tar"), before);
    sign(&kit, "u.tar", "builder", &["--role", "builder", "--allow-unsigned"]).is(0);
    kit.verify_both("u.tar", &["--signer", "builder.pub"]).is(0);
}

#[test]
fn a_bundle_by_a_stranger_is_not_signed() {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    kit.run(&["sign", "b.tar", "--signer", "second.pub", "--sign-key", "reviewer"]).is(22).says("nothing was signed");
    kit.run(&["sign", "b.tar", "--sign-key", "reviewer"]).is(2).says("no trusted key");
    assert_eq!(kit.read("b.tar"), before);
}

#[test]
fn a_damaged_bundle_is_refused_and_left_as_it_is() {
    let kit = Kit::with_bundle();
    let good = kit.read("b.tar");
    for at in (0..good.len()).step_by(good.len() / 23) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        kit.write("bad.tar", &bad);
        for more in [&[][..], &["--detach"]] {
            let answer = sign(&kit, "bad.tar", "reviewer", more);
            assert!((10..50).contains(&answer.code), "byte {at}: {answer:?}");
        }
        assert_eq!(kit.read("bad.tar"), bad);
    }
    kit.write("bad.tar", &good[..good.len() - 512]);
    sign(&kit, "bad.tar", "reviewer", &[]).is(11);
    assert_eq!(kit.names("bad.tar"), ["bad.tar"]);
}

#[test]
fn the_leftover_of_an_interrupted_sign_is_recognised_and_repaired_by_the_next() {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    sign(&kit, "b.tar", "reviewer", &[]).is(0);
    let after = kit.read("b.tar");
    let end = before.len() - 1024;
    let mut torn = after.clone();
    torn[end..end + 512].fill(0);
    for length in [end + 1024, end + 1300, after.len()] {
        kit.write("b.tar", &torn[..length]);
        kit.verify_both("b.tar", &["--signer", "builder.pub"]).is(32).says("interrupted `sign`");
        sign(&kit, "b.tar", "reviewer", &["--detach"]).is(32);
        sign(&kit, "b.tar", "reviewer", &[]).is(0).says("was removed");
        assert_eq!(kit.read("b.tar"), after, "length {length}");
    }
    // Torn and damaged: refused, and nothing is repaired.
    let mut bad = torn.clone();
    let at = bad.windows(9).rposition(|w| w == b"Namespace").unwrap();
    bad[at] ^= 1;
    kit.write("b.tar", &bad);
    let answer = sign(&kit, "b.tar", "reviewer", &[]);
    assert!((10..50).contains(&answer.code), "{answer:?}");
    assert_eq!(kit.read("b.tar"), bad);
    // Bytes that no append can leave are not removed.
    kit.write("b.tar", [&before[..], b"something else"].concat());
    sign(&kit, "b.tar", "reviewer", &[]).is(32);
    assert_eq!(kit.read("b.tar").len(), before.len() + 14);
}

#[test]
fn a_read_only_bundle_is_signed_beside() {
    let kit = Kit::with_bundle();
    for file in ["b.tar", "builder.pub"] {
        std::fs::set_permissions(kit.path(file), std::fs::Permissions::from_mode(0o444)).unwrap();
    }
    // As a user whom permissions restrict; the key must be that user's.
    let root = rustix::process::geteuid().is_root();
    let run = |args: &[&str]| match root {
        true => {
            ended(kit.command("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups", PROGRAM]).args(args))
        }
        false => kit.run(args),
    };
    if root {
        kit.tool("chown", &["-R", "65534:65534", "."]).is(0);
    }
    let before = kit.read("b.tar");
    let args = ["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "reviewer"];
    run(&args).is(3).says("--detach").says("nothing was signed");
    assert_eq!(kit.read("b.tar"), before);
    run(&[&args[..], &["--detach"]].concat()).is(0);
    let [_, loose] = &kit.names("b.tar")[..] else { panic!() };
    assert_eq!(kit.path(loose).metadata().unwrap().permissions().mode() & 0o777, 0o644);
    kit.policy("t.yaml", REVIEWED);
    run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0);
    // A folder that cannot be written: the error names an alternative.
    std::fs::set_permissions(kit.path(""), std::fs::Permissions::from_mode(0o555)).unwrap();
    run(&[&args[..], &["--detach", "--role", "receiver"]].concat()).is(3).says("--print-index");
    std::fs::set_permissions(kit.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_detached_signature_appears_once_and_over_nothing_else() {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    sign(&kit, "b.tar", "reviewer", &["--detach"]).is(0);
    sign(&kit, "b.tar", "reviewer", &["--detach"]).is(0).says("already signed it");
    let name = kit.names("b.tar.").pop().unwrap();
    assert_eq!(kit.names("").iter().filter(|n| n.starts_with('.') && *n != ".").count(), 0, "no temporary files stay");
    kit.write(&name, "something else");
    sign(&kit, "b.tar", "reviewer", &["--detach"]).is(52).says("exists with other content");
    assert_eq!(kit.read(&name), b"something else");
    // It does not make the bundle bad.
    kit.run(&["verify", "b.tar", "--signer", "builder.pub"]).is(0).says("signature malformed");
    assert_eq!(kit.read("b.tar"), before);
}

#[test]
fn a_signature_of_ssh_keygen_is_attached_when_it_is_one_over_this_index() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", REVIEWED);
    let before = kit.read("b.tar");
    let attach = |file: &str| kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--attach", file]);
    for namespace in ["file", "mirror-bundle.v1.record", "mirror-bundle.v2.reviewer"] {
        foreign(&kit, "reviewer", namespace);
        attach("index.sig").is(21).says("namespace");
    }
    kit.write("other", "other");
    kit.tool("ssh-keygen", &["-Y", "sign", "-f", "reviewer", "-n", "mirror-bundle.v1.reviewer", "other"]).is(0);
    attach("other.sig").is(21).says("--print-index");
    kit.write("long", vec![b'a'; 100_000]);
    for garbage in ["other", "long", "b.tar", "reviewer"] {
        attach(garbage).is(21);
    }
    attach("missing").is(3);
    foreign(&kit, "reviewer", "mirror-bundle.v1.reviewer");
    kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--attach", "index.sig", "--note", "x"]).is(2);
    assert_eq!(kit.read("b.tar"), before);
    attach("index.sig").is(0);
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    let once = kit.read("b.tar");
    attach("index.sig").is(0).says("already signed it");
    sign(&kit, "b.tar", "reviewer", &[]).is(0).says("already signed it");
    assert_eq!(kit.read("b.tar"), once);
}

#[test]
fn a_signature_of_an_ecdsa_key_differs_each_time_and_is_attached_once() {
    let kit = Kit::with_bundle();
    kit.tool("ssh-keygen", &["-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", "ec"]).is(0);
    for n in 0..2 {
        foreign(&kit, "ec", "mirror-bundle.v1.reviewer");
        let answer = kit.run(&["sign", "b.tar", "--signer", "builder.pub", "--attach", "index.sig"]).is(0);
        assert_eq!(answer.out.contains("already"), n == 1);
    }
}

#[test]
fn the_printed_index_is_the_signed_bytes_and_nothing_is_printed_of_what_is_no_index() {
    let kit = Kit::with_bundle();
    let printed = kit.run(&["sign", "b.tar", "--print-index", "--sign-key", "x"]).is(0).out;
    assert_eq!(printed, kit.tool("tar", &["xOf", "b.tar", "mirror-bundle/index.json"]).is(0).out);
    let mut bad = kit.read("b.tar");
    let at = bad.windows(8).position(|w| w == b"\"format\"").unwrap();
    bad[at + 1] = 0x1b;
    kit.write("bad.tar", bad);
    let answer = kit.run(&["sign", "bad.tar", "--print-index", "--sign-key", "x"]).is(12);
    assert!(answer.out.is_empty());
    kit.run(&["sign", "-", "--signer", "builder.pub", "--sign-key", "reviewer"])
        .is(2)
        .says("a stream cannot be signed");
}

#[test]
fn the_seventeenth_signature_is_refused_and_not_added() {
    let kit = Kit::with_bundle();
    for n in 0..15 {
        let key = format!("k{n}");
        kit.key(&key);
        sign(&kit, "b.tar", &key, if n % 2 == 0 { &[] } else { &["--detach"] }).is(0);
    }
    let before = kit.read("b.tar");
    for more in [&[][..], &["--detach"]] {
        sign(&kit, "b.tar", "reviewer", more).is(2).says("16 signatures");
    }
    sign(&kit, "b.tar", "k0", &[]).is(0).says("already signed it");
    assert_eq!(kit.read("b.tar"), before);
    let answer = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "-o", "json"]).is(0).json();
    assert_eq!(answer["signatures"].as_array().unwrap().len(), 16);
    // One more from elsewhere: none is evaluated.
    foreign(&kit, "second", "mirror-bundle.v1.reviewer");
    let answer = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "--signature", "index.sig"]);
    answer.is(12).says("more than 16 signatures");
}

#[test]
fn a_record_carries_note_role_and_details_signed_and_ssh_keygen_accepts_it() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "");
    kit.write("scan.json", r#"{"scanner": "grype 0.74", "findings": [], "verdict": "pass"}"#);
    let args = ["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "--note", "CHG-20417"];
    let answer =
        kit.run(&[&args[..], &["--record", "scan.json", "-o", "json"]].concat()).is(0).json()["signed"].clone();
    let names: Vec<&str> = answer["written"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(names.len(), 3);
    let answer = kit.run(&["verify", "b.tar", "--trust", "t.yaml", "-o", "json"]).is(0).json();
    let record = &answer["records"][0];
    assert_eq!((&record["note"], &record["role"]), (&"CHG-20417".into(), &"reviewer".into()));
    assert_eq!(record["details"]["scanner"], "grype 0.74");
    assert_eq!((&record["name"], &record["outcome"]), (&"reviewer".into(), &"good".into()));
    for (suffix, file) in [(".json", "record"), (".json.sig", "record.sig")] {
        let name = names.iter().find(|n| n.starts_with("record-") && n.ends_with(suffix)).unwrap();
        kit.write(file, kit.tool("tar", &["xOf", "b.tar", &format!("mirror-bundle/addenda/{name}")]).is(0).out);
    }
    kit.write("allowed", format!("reviewer {}\n", kit.public("reviewer")));
    let args = ["-Y", "verify", "-f", "allowed", "-I", "reviewer", "-n", "mirror-bundle.v1.record", "-s", "record.sig"];
    kit.run_tool_with_stdin("ssh-keygen", &args, "record").is(0);
    let statement: serde_json::Value = serde_json::from_slice(&kit.read("record")).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "urn:mirror-bundle:review:v1");
    let digest = answer["bundle"]["index"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
}

#[test]
fn a_record_that_is_no_object_or_too_long_is_refused_before_anything_is_written() {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    let lines: Vec<&str> = vec!["1"; 600_000];
    let long = format!("{{\"a\": [{}]}}", lines.join(","));
    for bad in ["", "[]", "{", "{\"a\": 1, \"a\": 2}", "{} {}", &long] {
        kit.write("r.json", bad);
        sign(&kit, "b.tar", "reviewer", &["--record", "r.json"]).is(2);
        sign(&kit, "b.tar", "reviewer", &["--record", "r.json", "--detach"]).is(2);
    }
    sign(&kit, "b.tar", "reviewer", &["--note", &"x".repeat(1025)]).is(2);
    sign(&kit, "b.tar", "reviewer", &["--note", "a\nVERIFIED"]).is(2);
    assert_eq!(kit.read("b.tar"), before);
    assert_eq!(kit.names("b.tar"), ["b.tar"]);
}

#[test]
fn a_record_beside_the_bundle_is_reported_like_one_inside_and_never_counted() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "");
    sign(&kit, "b.tar", "reviewer", &["--detach", "--note", "CHG-7"]).is(0);
    assert_eq!(kit.names("b.tar.").len(), 3);
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("record    good").says("CHG-7");
    // When changed, it is reported and does not count; it is not part of the bundle.
    let json = kit.names("b.tar.record-").into_iter().find(|n| n.ends_with(".json")).unwrap();
    let text = String::from_utf8(kit.read(&json)).unwrap();
    kit.write(&json, text.replace("CHG-7", "CHG-8"));
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("is not acceptable");
    std::fs::remove_file(kit.path(&format!("{json}.sig"))).unwrap();
    kit.write(&json, text);
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("it has no signature");
}

#[test]
fn a_record_in_a_role_that_its_key_does_not_have_does_not_count() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "");
    let args = ["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "--role", "builder", "--note", "x"];
    kit.run(&args).is(0).says("does not accept the signature: its key is not trusted as builder");
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("record    wrong-role").says("signature wrong-role");
}

#[test]
fn a_receiver_signs_what_was_taken_in() {
    let kit = Kit::with_bundle();
    sign(&kit, "b.tar", "second", &["--role", "receiver"]).is(0).says("signature-receiver-");
    sign(&kit, "b.tar", "second", &["--role", "owner"]).is(2);
    let key = |name: &str| kit.public(name);
    kit.write(
        "t.yaml",
        format!(
            "signers:\n  - {{name: b, roles: [builder], key: \"{}\"}}\n  - {{name: r, roles: [receiver], key: \"{}\"}}\nrequire:\n  - {{role: receiver, threshold: 1}}\n",
            key("builder"),
            key("second")
        ),
    );
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
}

#[test]
fn a_name_that_is_taken_is_a_conflict_and_the_way_around_is_said() {
    let kit = Kit::with_bundle();
    sign(&kit, "b.tar", "reviewer", &[]).is(0);
    // The signature was damaged; nothing else covers it.
    let mut bytes = kit.read("b.tar");
    let end = b"-----END SSH SIGNATURE-----";
    let at = bytes.windows(end.len()).rposition(|w| w == end).unwrap() - 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    kit.write("b.tar", &bytes);
    sign(&kit, "b.tar", "reviewer", &[]).is(52).says("--detach");
    assert_eq!(kit.read("b.tar"), bytes);
    sign(&kit, "b.tar", "reviewer", &["--detach"]).is(0);
    kit.policy("t.yaml", REVIEWED);
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("signature bad");
}

#[test]
fn two_that_sign_at_once_do_not_overwrite_each_other() {
    let kit = Kit::with_bundle();
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| kit.key(key));
    let args = |key: &str| ["sign", "b.tar", "--signer", "builder.pub", "--sign-key", key].map(str::to_owned);
    let children: Vec<_> = keys
        .iter()
        .map(|key| {
            let args = args(key);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            kit.command(PROGRAM, &args).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()
        })
        .collect();
    let mut signed = 0;
    for child in children {
        match child.unwrap().wait().unwrap().code() {
            Some(0) => signed += 1,
            other => assert_eq!(other, Some(52), "the lock is held"),
        }
    }
    let answer = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "-o", "json"]).is(0).json();
    let there = answer["signatures"].as_array().unwrap();
    assert_eq!(there.len(), signed + 1, "every one that said so has signed");
    assert!(there.iter().all(|s| s["outcome"] != "bad" && s["outcome"] != "malformed"));
}

#[test]
fn notes_and_details_cannot_speak_for_the_program() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "");
    let note = "x\u{202e}y";
    kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "--note", note]).is(0);
    let answer = kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0);
    assert!(!answer.out.contains('\u{202e}') && answer.out.contains("\\u{202e}"), "{}", answer.out);
}
