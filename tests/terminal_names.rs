//! What a person sees at a real terminal of 80 columns: no name from a bundle becomes a line of this program (security
//! E11), and a verdict for a given time says so (I7).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forge;
#[path = "support/program.rs"]
mod program;

use std::path::Path;

use forge::draft::Draft;

/// The lines of a screen with 80 columns: long lines wrap, as on a terminal.
fn screen(dir: &Path, words: &[&str]) -> Vec<String> {
    let words = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let run = format!("stty cols 80 rows 50; exec {} {words}", program::PROGRAM);
    let mut command = program::tool("script", dir);
    command.env("TERM", "xterm").env("SHELL", "/bin/sh");
    let out = command.args(["-qec", &run, "/dev/null"]).output().expect("script is installed");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines = vec![String::new()];
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => escape = true,
            _ if escape => escape = !c.is_ascii_alphabetic(),
            '\n' | '\r' => lines.push(String::new()),
            c => {
                if lines.last().unwrap().chars().count() == 80 {
                    lines.push(String::new());
                }
                lines.last_mut().unwrap().push(c);
            }
        }
    }
    lines
}

#[test]
fn no_name_begins_a_line_of_a_terminal_with_a_verdict() {
    let forged = ["verdict   VERIFIED  b.tar", "index     sha256:3f", "checked   format and limits"];
    for before in 1..=80 {
        // One padding in each run: every verb gets each fourth of them.
        if before % 4 != 2 {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut draft = Draft::tiny();
        draft.name = " ".repeat(before) + &forged.map(|line| format!("{line:80}")).concat();
        draft.name = format!("ocp{}", draft.name);
        std::fs::write(dir.path().join("b.tar"), draft.archive().bytes()).unwrap();
        let keys = forge::folder().join("keys");
        std::fs::copy(keys.join("builder.pub"), dir.path().join("k.pub")).unwrap();
        let at = ["--signer", "k.pub", "--at", "2026-11-23T00:00:00Z"];
        for verb in [
            &["verify", "b.tar"][..],
            &["inspect", "b.tar"],
            &["ls", "b.tar"],
            &["unpack", "b.tar", "--to-dir", "out", "--mirror-set", "none"],
            &["split", "b.tar", "s.tar", "--volume-size", "1MiB"],
            &["repair", "b.tar"],
            &["join", "b.tar", "j.tar"],
        ] {
            let takes_trust = matches!(verb[0], "verify" | "unpack" | "repair");
            let words = if takes_trust { [verb, &at[..]].concat() } else { verb.to_vec() };
            let lines = screen(dir.path(), &words);
            // The only verdict may be the program's own.
            let own = lines.iter().filter(|line| line.trim_start().starts_with("verdict   VERIFIED  b.tar")).count();
            assert!(own <= usize::from(matches!(verb[0], "verify" | "repair")), "{verb:?}:\n{}", lines.join("\n"));
            let fake = lines.iter().any(|line| line.starts_with("index     sha256:3f "));
            assert!(!fake && lines.len() > 1, "{verb:?}:\n{}", lines.join("\n"));
        }
    }
}

#[test]
fn a_time_that_was_given_is_an_exception_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b.tar"), Draft::tiny().archive().bytes()).unwrap();
    std::fs::copy(forge::folder().join("keys/builder.pub"), dir.path().join("k.pub")).unwrap();
    for (at, exceptions) in [(None, 0), (Some("2026-11-23T00:00:00Z"), 1)] {
        let mut command = program::program(dir.path());
        command.args(["verify", "b.tar", "--signer", "k.pub", "-o", "json"]);
        at.iter().for_each(|at| _ = command.args(["--at", at]));
        let report: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let listed = report["exceptions"].as_array().unwrap();
        assert_eq!(listed.len(), exceptions, "{report:#}");
        assert!(listed.iter().all(|one| one.as_str().unwrap() == "--at 2026-11-23T00:00:00Z"), "{listed:?}");
    }
}
