//! The trust of this host: where the policy is found, what it requires, and what `verify` reports about every
//! signature.

use crate::kit::{Kit, PROGRAM, ended};

const REVIEWED: &str = "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 1}";
const REVIEWED_TWICE: &str = "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 2}";

#[test]
fn the_policy_is_found_by_flag_then_environment_then_in_the_configuration_folder() {
    let kit = Kit::with_bundle();
    kit.run(&["verify", "b.tar"]).is(2).says("no trusted key").says("/etc/mirror-bundle/trust.yaml");
    kit.policy("home/.config/mirror-bundle/trust.yaml", "");
    kit.run(&["verify", "b.tar"]).is(0);
    // XDG_CONFIG_HOME beats HOME, the environment variable beats both, the flag beats all.
    kit.policy("xdg/mirror-bundle/trust.yaml", REVIEWED);
    let with = |name: &str, value: &str| {
        let mut command = kit.command(PROGRAM, &["verify", "b.tar"]);
        ended(command.env("XDG_CONFIG_HOME", kit.path("xdg")).env(name, value))
    };
    with("X", "").is(22);
    kit.policy("good.yaml", "");
    with("MIRROR_BUNDLE_TRUST", "good.yaml").is(0);
    with("MIRROR_BUNDLE_TRUST", "").is(22);
    with("MIRROR_BUNDLE_TRUST", "missing.yaml").is(3);
    kit.run(&["verify", "b.tar", "--trust", "xdg/mirror-bundle/trust.yaml"]).is(22);
}

#[test]
fn trust_is_never_taken_from_the_folder_of_the_medium() {
    let kit = Kit::with_bundle();
    kit.policy("mirror-bundle/trust.yaml", "");
    kit.policy(".config/mirror-bundle/trust.yaml", "");
    for (name, value) in [("XDG_CONFIG_HOME", ""), ("XDG_CONFIG_HOME", "."), ("HOME", ""), ("HOME", ".")] {
        let found = ended(kit.command(PROGRAM, &["verify", "b.tar"]).env(name, value));
        found.is(2).says("no trusted key");
    }
}

#[test]
fn a_default_policy_that_cannot_be_looked_at_is_an_error_and_not_passed_over() {
    let kit = Kit::with_bundle();
    kit.write("home/.config", "a file where a folder belongs");
    kit.run(&["verify", "b.tar"]).is(3);
}

#[test]
fn an_allowed_signers_file_is_a_policy() {
    let kit = Kit::with_bundle();
    kit.write("allowed", format!("who@example.com {}\n", kit.public("builder")));
    let answer = kit.run(&["verify", "b.tar", "--trust", "allowed", "-o", "json"]).is(0).json();
    assert_eq!(answer["signatures"][0]["name"], "who@example.com");
    kit.write("allowed", format!("x namespaces=\"mirror-bundle.v1.reviewer\" {}\n", kit.public("builder")));
    kit.run(&["verify", "b.tar", "--trust", "allowed"]).is(2);
    kit.write(
        "allowed",
        format!("x namespaces=\"mirror-bundle.v1.reviewer\" {}\ny {}\n", kit.public("builder"), kit.public("reviewer")),
    );
    kit.run(&["verify", "b.tar", "--trust", "allowed"]).is(22);
    kit.write("allowed", format!("x valid-before=\"20230101Z\" {}\n", kit.public("builder")));
    kit.run(&["verify", "b.tar", "--trust", "allowed"]).is(23);
    kit.run(&["verify", "b.tar", "--trust", "allowed", "--at", "2022-12-31"]).is(23).says("in the future");
}

#[test]
fn a_threshold_counts_distinct_keys_over_embedded_appended_and_loose_signatures() {
    let kit = Kit::with_bundle();
    kit.policy("two.yaml", REVIEWED_TWICE);
    kit.verify_both("b.tar", &["--trust", "two.yaml"]).is(22);
    let sign = ["sign", "b.tar", "--trust", "two.yaml", "--sign-key"];
    kit.run(&[&sign[..], &["reviewer"]].concat()).is(0);
    // The same key once more, beside the bundle under another name: still one.
    kit.copy("b.tar", "copy.tar");
    kit.verify_both("b.tar", &["--trust", "two.yaml"]).is(22).says("1 of 2 required signatures as reviewer");
    let mut command = kit.command("ssh-keygen", &["-Y", "sign", "-f", "reviewer", "-n", "mirror-bundle.v1.reviewer"]);
    kit.write("index", kit.run(&["sign", "b.tar", "--print-index", "--sign-key", "reviewer"]).is(0).out);
    ended(command.arg("index")).is(0);
    kit.verify_both("b.tar", &["--trust", "two.yaml", "--signature", "index.sig"]).is(22);
    // Another key, beside.
    kit.run(&[&sign[..], &["second", "--detach"]].concat()).is(0);
    kit.run(&["verify", "b.tar", "--trust", "two.yaml"]).is(0);
    kit.run(&["verify", "copy.tar", "--trust", "two.yaml"]).is(22);
    let loose = kit.names("b.tar.reviewer-").pop().unwrap();
    kit.verify_both("copy.tar", &["--trust", "two.yaml", "--signature", &loose]).is(0);
}

#[test]
fn a_revoked_key_counts_for_nothing_at_once_in_old_bundles_too() {
    let kit = Kit::with_bundle();
    kit.key("builder2");
    let signers = format!(
        "signers:\n  - {{name: builder, roles: [builder], key: \"{}\"}}\n  - {{name: b2, roles: [builder], key: \"{}\"}}\n",
        kit.public("builder"),
        kit.public("builder2")
    );
    kit.write("t.yaml", &signers);
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    for entry in [kit.fingerprint("builder"), kit.public("builder")] {
        kit.write("t.yaml", format!("{signers}revoked: [\"{entry}\"]\n"));
        kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(22).says("its key is revoked");
    }
    // The holder of the other key vouches for it: good again, and the revoked signature is still reported.
    kit.run(&["sign", "b.tar", "--sign-key", "builder2", "--role", "builder", "--signer", "builder.pub"]).is(0);
    let answer = kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0);
    answer.says("signature revoked").says("its key is revoked").says("signature good");
}

#[test]
fn a_key_counts_within_its_time_only() {
    let kit = Kit::with_bundle();
    let key = kit.public("builder");
    kit.write(
        "t.yaml",
        format!(
            "signers:\n  - {{name: b, roles: [builder], key: \"{key}\", validFrom: 2024-01-01, validUntil: 2024-06-30}}\n"
        ),
    );
    for (at, code) in [
        ("2023-12-31T23:59:59Z", 23),
        ("2024-01-01", 0),
        ("2024-06-30T23:59:59Z", 0),
        ("2024-07-01", 23),
        ("2024-07-01T00:00:00Z", 23),
    ] {
        kit.verify_both("b.tar", &["--trust", "t.yaml", "--at", at]).is(code);
    }
    kit.run(&["verify", "b.tar", "--trust", "t.yaml", "--at", "tomorrow"]).is(2);
}

#[test]
fn a_bundle_has_an_age_and_an_end() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "maxAge: 30d");
    for (at, code) in [
        ("2023-11-12T22:13:20Z", 23),
        ("2023-11-13T22:13:20Z", 0),
        ("2023-12-14T22:13:20Z", 0),
        ("2023-12-14T22:13:21Z", 23),
    ] {
        kit.verify_both("b.tar", &["--trust", "t.yaml", "--at", at]).is(code);
    }
    let args = ["create", "e.tar", "-q", "--manifests", "m", "--name", "app", "--sign-key", "builder", "--expires"];
    kit.run(&[&args[..], &["2023-12-01"]].concat()).is(0);
    for (at, code) in [("2023-11-30T23:59:59Z", 0), ("2023-12-01", 23), ("2023-12-01T00:00:01Z", 23)] {
        kit.verify_both("e.tar", &["--signer", "builder.pub", "--at", at]).is(code);
    }
}

#[test]
fn what_was_expected_must_be_there() {
    let kit = Kit::with_bundle();
    let index = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "-o", "json"]).is(0).json();
    let index = index["bundle"]["index"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0".repeat(64));
    for (args, code) in [
        (["--expect-index", index.as_str()], 0),
        (["--expect-index", other.as_str()], 41),
        (["--expect-index", "sha256:12"], 2),
        (["--expect-release", "4.16.37"], 41),
    ] {
        kit.verify_both("b.tar", &[&args[..], &["--signer", "builder.pub"]].concat()).is(code);
    }
    kit.policy("t.yaml", "bundle: {name: app}");
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    kit.policy("t.yaml", "bundle: {name: other}");
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(41).says("requires the series `other`");
}

#[test]
fn every_signature_is_reported_with_name_role_fingerprint_and_verdict() {
    let kit = Kit::with_bundle();
    kit.key("stranger");
    kit.run(&["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "reviewer", "--note", "CHG-1"]).is(0);
    kit.run(&["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "stranger", "--detach"]).is(0);
    kit.policy("t.yaml", REVIEWED);
    let text = kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).out;
    let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}:\n{text}"));
    for (verdict, role, name, key) in [
        ("signature good ", "builder", "builder", "builder"),
        ("signature unknown-key", "reviewer", "?", "stranger"),
        ("record    good ", "reviewer", "reviewer", "reviewer"),
    ] {
        let found = line(verdict);
        let words: Vec<&str> = found.split_whitespace().collect();
        assert_eq!((words[2], words[3], words[4]), (role, name, kit.fingerprint(key).as_str()), "{found}");
    }
    assert!(text.contains("CHG-1"));
    let json = kit.run(&["verify", "b.tar", "--trust", "t.yaml", "-o", "json"]).is(0).json();
    let answer: Vec<(&str, &str, &str)> = json["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["outcome"].as_str().unwrap(), s["role"].as_str().unwrap(), s["key"].as_str().unwrap()))
        .collect();
    let (builder, reviewer, stranger) =
        (kit.fingerprint("builder"), kit.fingerprint("reviewer"), kit.fingerprint("stranger"));
    assert_eq!(
        answer,
        [
            ("good", "builder", builder.as_str()),
            ("good", "reviewer", reviewer.as_str()),
            ("unknown-key", "reviewer", stranger.as_str())
        ]
    );
    assert_eq!(json["records"][0]["note"], "CHG-1");
    assert_eq!(json["records"][0]["outcome"], "good");
    // Without a policy the signatures are reported all the same.
    let json = kit.run(&["verify", "b.tar", "--allow-unsigned", "-o", "json"]).is(0).json();
    assert_eq!(json["signatures"][0]["outcome"], "not-judged");
    assert_eq!(json["records"][0]["outcome"], "not-judged");
}

#[test]
fn a_bad_signature_by_a_known_key_among_good_ones_is_reported_and_does_not_undo_them() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", REVIEWED);
    kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer"]).is(0);
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    // A true signature by a reviewer over something else.
    kit.write("other", "other bytes");
    kit.tool("ssh-keygen", &["-Y", "sign", "-f", "second", "-n", "mirror-bundle.v1.reviewer", "other"]).is(0);
    let answer = kit.verify_both("b.tar", &["--trust", "t.yaml", "--signature", "other.sig"]).is(0);
    let answer = answer.says("signature bad").says(&kit.fingerprint("second"));
    // Once, in the line of the signature.
    assert_eq!(answer.err, "", "{}", answer.out);
    // With the threshold not met, it is the reason.
    kit.bundle("c.tar", 6);
    kit.verify_both("c.tar", &["--trust", "t.yaml", "--signature", "other.sig"]).is(21);
}

#[test]
fn a_threshold_that_only_addenda_meet_lets_a_stream_be_verified_and_not_unpacked() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", REVIEWED);
    kit.copy("b.tar", "plain.tar");
    kit.run(&["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer"]).is(0);
    kit.verify_both("b.tar", &["--trust", "t.yaml"]).is(0);
    let unpack = ["unpack", "-", "-q", "--trust", "t.yaml", "--to-dir", "out"];
    kit.run_with_stdin(&unpack, "b.tar").is(22).says("nothing was written");
    assert!(!kit.path("out").exists());
    // With the signature beside it, the threshold is met in time.
    kit.run(&["sign", "plain.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "--detach"]).is(0);
    let loose = kit.names("plain.tar.reviewer-").pop().unwrap();
    kit.run_with_stdin(&[&unpack[..], &["--signature", &loose]].concat(), "b.tar").is(0);
}
