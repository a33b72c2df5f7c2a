//! The command line as users and scripts see it.
//!
//! `tests/cmd/*.trycmd` hold the exact output (both streams together) and the exit codes; `TRYCMD=overwrite cargo test
//! --test cli` regenerates them, to be reviewed and committed. The tests here check which stream the output goes to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/program.rs"]
mod program;

use std::path::Path;
use std::process::{Command, Output};

use mirror_bundle::Code;

fn mirror_bundle(args: &[&str]) -> Output {
    program::program(Path::new(env!("CARGO_MANIFEST_DIR"))).args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

// Without network code some options are missing from the screens.
#[cfg(feature = "registry")]
#[test]
fn every_screen_and_message_is_word_for_word_as_recorded() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("XDG_STATE_HOME", "/nonexistent")
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .case("tests/cmd/*.trycmd");
}

#[test]
fn answers_go_to_standard_output_and_nothing_else_does() {
    for args in [&["-h"][..], &["create", "-h"], &["explain", "exit-codes"], &["explain", "30"], &["--version"]] {
        let out = mirror_bundle(args);
        assert_eq!((code(&out), out.stderr.is_empty(), out.stdout.is_empty()), (0, true, false), "{args:?}");
    }
}

#[test]
fn quiet_given_twice_prints_nothing_and_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("m")).unwrap();
    let map = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n";
    std::fs::write(dir.path().join("m/a.yaml"), map).unwrap();
    let run = |args: &[&str], quiet: &str| {
        let out = program::program(dir.path()).args(args).arg(quiet).output().unwrap();
        let said = String::from_utf8(out.stderr.clone()).unwrap();
        (code(&out), out.stdout.is_empty() && said.lines().all(|line| line.starts_with("warning:")))
    };
    for args in [
        &["keygen", "key", "--no-passphrase"][..],
        &["create", "b.tar", "--manifests", "m", "--sign-key", "key"],
        &["inspect", "b.tar"],
        &["ls", "b.tar"],
        &["verify", "b.tar", "--signer", "key.pub"],
        &["sign", "b.tar", "--sign-key", "key", "--role", "reviewer", "--signer", "key.pub"],
        &["split", "b.tar", "v", "--volume-size", "60kB"],
        &["join", "c.tar", "v"],
        &["recovery", "b.tar"],
        &["unpack", "b.tar", "--signer", "key.pub", "--manifests-to-dir", "out"],
    ] {
        assert_eq!(run(args, "-qq"), (0, true), "{args:?}");
    }
    assert!(dir.path().join("key.pub").exists() && dir.path().join("out/a.yaml").exists());
    assert_eq!(run(&["inspect", "key"], "-qq").0, 10, "an error is still said, and the exit code is the answer");
}

#[test]
fn as_a_plugin_it_calls_itself_what_the_user_typed() {
    let dir = tempfile::tempdir().unwrap();
    for host in ["kubectl", "oc"] {
        let plugin = dir.path().join(format!("{host}-mirror_bundle"));
        std::os::unix::fs::symlink(program::PROGRAM, &plugin).unwrap();
        let run = |args: &[&str]| {
            let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
            // The real kubectl, if it is here; there is no package of oc.
            let real = host == "kubectl" && Command::new("kubectl").args(["version", "--client"]).output().is_ok();
            let mut command = if real { program::tool("kubectl", dir.path()) } else { Command::new(&plugin) };
            command.args(real.then_some("mirror-bundle")).args(args).env("PATH", path).output().unwrap()
        };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(text(run(&["--version"]).stdout), format!("mirror-bundle {}\n", env!("CARGO_PKG_VERSION")));
        let usage = format!("Usage: {host} mirror-bundle verify");
        assert!(text(run(&["verify", "-h"]).stdout).contains(&usage));
        let wrong = run(&["verify"]);
        assert_eq!((code(&wrong), text(wrong.stderr).contains(&usage)), (2, true));
    }
}

#[test]
fn errors_go_to_standard_error_and_leave_standard_output_empty() {
    let cases: &[(&[&str], i32)] = &[
        (&[], 2),
        (&["push", "x"], 2),
        (&["frobnicate"], 2),
        (&["create", "x.tar"], 2),
        (&["verify", "x.tar"], 2),
        (&["verify", "nowhere.tar", "--allow-unsigned"], 3),
        (&["verify", "nowhere.tar", "--allow-unsigned", "-o", "json"], 3),
        (&["explain", "nope"], 2),
        (&["inspect", "LICENSE"], 10),
        (&["keygen", "Cargo.toml", "--no-passphrase"], 52),
        (&["check-signature", "LICENSE", "--digest", "sha256:12"], 2),
        (&["man", "nope"], 2),
    ];
    for (args, exit) in cases {
        let out = mirror_bundle(args);
        assert_eq!((code(&out), out.stdout.is_empty(), out.stderr.is_empty()), (*exit, true, false), "{args:?}");
    }
}

#[test]
fn with_json_the_last_line_on_standard_error_is_the_error() {
    let out = mirror_bundle(&["verify", "nowhere.tar", "--allow-unsigned", "-o", "json"]);
    let text = String::from_utf8(out.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&line["type"], &line["code"], &line["exit_code"]), (&"error".into(), &"io".into(), &3.into()));
}

#[test]
fn every_code_is_explained_by_name_and_number() {
    for known in Code::ALL {
        for name in [known.as_str().to_owned(), known.exit().to_string()] {
            let out = mirror_bundle(&["explain", &name]);
            let text = String::from_utf8(out.stdout).unwrap();
            assert!(text.contains(&format!("{known} (exit code {})", known.exit())), "{name}: {text}");
        }
    }
}

#[test]
fn text_is_the_same_in_a_pipe_without_colour_and_on_a_dumb_terminal() {
    let plain = mirror_bundle(&["push"]).stderr;
    assert!(!plain.contains(&0x1b));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = program::program(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(command.arg("push").env(name, value).output().unwrap().stderr, plain, "{name}");
    }
    assert!(mirror_bundle(&["--color", "always", "push"]).stderr.contains(&0x1b));
}

#[test]
fn a_closed_standard_output_does_not_change_the_exit_code() {
    let script = format!("{} explain exit-codes; echo $? >&2", program::PROGRAM);
    let out = Command::new("sh").arg("-c").arg(format!("( {script} ) | true")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr).trim(), "0");
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = mirror_bundle(&["completions", shell]);
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(out.status.code(), Some(0), "{shell}");
        assert!(text.contains("check-signature") && text.contains("allow-unsigned-release"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&mirror_bundle(&["man", "--dir", dir.path().to_str().unwrap()])), 0);
    for page in ["mirror-bundle.1", "mirror-bundle-create.1", "mirror-bundle-verify.1", "mirror-bundle-unpack.1"] {
        let text = std::fs::read_to_string(Path::new(dir.path()).join(page)).unwrap();
        assert!(text.contains(".SH"), "{page}");
    }
}
