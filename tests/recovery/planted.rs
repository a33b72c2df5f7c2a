//! Files planted under the names that a verb will write (security I2): nothing is written through them, and nothing
//! hangs.

use std::fs;

use crate::kit::{Kit, PROGRAM, of_size};

const VICTIM: &[u8] = b"precious";

/// Types of files that may be planted under a final name while a verb works.
const SUFFIXES: [&str; 8] = [
    "",
    ".partial",
    ".partial.journal",
    ".partial.journal.new",
    ".partial.new",
    ".partial.blob",
    ".new",
    ".sig.partial",
];

fn plant(kit: &Kit, kind: &str, name: &str) {
    let path = kit.path(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).unwrap();
    }
    match kind {
        "hard" => fs::hard_link(kit.path("victim"), path).unwrap(),
        "symbolic" => std::os::unix::fs::symlink(kit.path("victim"), path).unwrap(),
        "fifo" => assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
        _ => {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("victim"), VICTIM).unwrap();
        }
    }
}

#[test]
fn no_verb_writes_through_what_was_planted_under_any_of_its_names() {
    // Its name follows from the key.
    let detached = {
        let kit = Kit::new();
        let words =
            ["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "builder", "--role", "receiver", "--detach"];
        kit.run(&words).is(0);
        kit.files("b.tar.receiver-").into_keys().next().expect("a signature beside the bundle")
    };
    // The verb, the final names that it writes, and whether the bundle is damaged before.
    let signed = ["--signer", "builder.pub"];
    let table: [(&[&str], &[&str], bool); 11] = [
        (
            &["create", "c.tar", "--from-layout", "layout", "--name", "c", "--sign-key", "builder", "--recovery", "5%"],
            &["c.tar", "c.tar.recovery"],
            false,
        ),
        (
            &[
                "create",
                "c.tar",
                "--from-layout",
                "layout",
                "--name",
                "c",
                "--sign-key",
                "builder",
                "--volume-size",
                "3MiB",
            ],
            &["c.01of02.tar", "c.tar"],
            false,
        ),
        (&["recovery", "b.tar"], &["b.tar.recovery"], false),
        (&["repair", "b.tar", "--recovery", "r"], &["b.tar"], true),
        (&["repair", "b.tar", "--recovery", "r", "--to", "n.tar"], &["n.tar"], true),
        (&["split", "b.tar", "s.tar", "--volume-size", "3MiB"], &["s.01of02.tar", "s.02of02.tar"], false),
        (&["sign", "b.tar", "--sign-key", "builder", "--role", "receiver", "--detach"], &[&detached], false),
        (&["keygen", "new"], &["new", "new.pub"], false),
        (
            &["unpack", "b.tar", "--to-dir", "out", "--manifests-to-dir", "man"],
            &["state/unpacked.json", "man/ns.yaml", "out/v2", "out/manifests"],
            false,
        ),
        (
            &["unpack", "b.tar", "--to-layout", "out"],
            &["out/index.json", "out/oci-layout", "state/unpacked.json.lock"],
            false,
        ),
        (&["verify", "b.tar"], &["b.tar.sig"], false),
    ];
    for (words, names, damaged) in table {
        for name in names {
            for (number, suffix) in SUFFIXES.into_iter().enumerate() {
                // Every kind under the names that all verbs write, one under the others; or all with this variable.
                let all = number < 2 || std::env::var_os("MIRROR_BUNDLE_TEST_FULL").is_some();
                let kinds = ["hard", "symbolic", "fifo", "folder"];
                for &kind in if all { &kinds[..] } else { &kinds[number % 4..][..1] } {
                    let planted = format!("{name}{suffix}");
                    // What is read, and a lock that is never written.
                    if planted == "b.tar" || planted.ends_with(".lock") && kind == "folder" {
                        continue;
                    }
                    let kit = Kit::new();
                    kit.write("victim", VICTIM);
                    if damaged {
                        kit.flip("b.tar", of_size(&kit.blueprint(), 4_500_000).data() + 5);
                    }
                    plant(&kit, kind, &planted);
                    let trusting = matches!(words[0], "repair" | "sign" | "unpack" | "verify");
                    let words = [&["60", PROGRAM][..], words, if trusting { &signed[..] } else { &[] }].concat();
                    let ran = kit.tool("timeout", &words);
                    let shown = format!("{words:?}, {kind} at {planted}: {ran:?}");
                    assert!(!matches!(ran.code, 4 | 101 | 124), "{shown}");
                    assert_eq!(kit.read("victim"), VICTIM, "{shown}");
                    if kind == "folder" {
                        assert_eq!(kit.read(&format!("{planted}/victim")), VICTIM, "{shown}");
                    }
                }
            }
        }
    }
}
