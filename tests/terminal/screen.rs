//! On a real terminal: progress, Ctrl-C and passphrases. `on_terminal.py` opens the terminal and types.

use std::path::Path;

use crate::{bundle, large, program, run, skip};

/// Runs the program on a terminal with this many columns; when `wait` (a regular expression) appears, types `keys`, one
/// after the other. Returns the exit code, and everything the terminal received.
fn on_terminal(dir: &Path, columns: u16, steps: &[(&str, &str)], args: &[&str]) -> (i32, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/on_terminal.py");
    let mut command = program::tool("python3", dir);
    command.arg(script).arg(columns.to_string()).arg(steps.len().to_string());
    command.args(steps.iter().flat_map(|(wait, keys)| [wait, keys])).arg(program::PROGRAM).args(args);
    let out = command.env("TERM", "xterm").output().unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn progress_is_one_line_that_fits_the_terminal_and_is_cleared_at_the_end() {
    if !skip::have("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    large(dir.path(), &[48 << 20]);
    for columns in [60, 80, 100] {
        let create = ["create", "b.tar", "--force", "--unsigned", "--from-layout", "large", "--color", "never"];
        let (code, screen) = on_terminal(dir.path(), columns, &[], &create);
        assert_eq!(code, 0, "{screen}");
        // A progress line starts at the first column, or clears the line before.
        let drawn: Vec<&str> = screen.split("\r\u{1b}[K").collect();
        assert!(drawn.len() > 1, "no progress at {columns}: {screen:?}");
        let lines = drawn.iter().flat_map(|d| d.lines()).filter(|l| l.contains(" %  "));
        let lines: Vec<&str> = lines.collect();
        assert!(!lines.is_empty() && lines.iter().all(|l| l.chars().count() < usize::from(columns)), "{lines:?}");
        assert!(columns < 80 || lines.iter().any(|l| l.contains("of 3 blobs")), "{lines:?}");
        // The last operation on the line clears it.
        assert!(!drawn.last().unwrap().contains(" %  "), "{screen:?}");
    }
}

#[test]
fn ctrl_c_at_the_passphrase_ends_with_130_and_a_terminal_that_echoes() {
    if !skip::have("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (code, screen) = on_terminal(dir.path(), 80, &[("new key: ", "\u{3}")], &["keygen", "k"]);
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("interrupted") && screen.contains("ECHO is on"), "{screen}");
    assert!(!dir.path().join("k").exists());
}

#[test]
fn a_wrong_passphrase_may_be_tried_three_times_and_is_never_echoed() {
    if !skip::have("python3") {
        return;
    }
    let dir = bundle();
    let twice = [("new key: ", "right\n"), ("again: ", "right\n")];
    let (code, screen) = on_terminal(dir.path(), 80, &twice, &["keygen", "k"]);
    assert_eq!(code, 0, "{screen}");
    let sign = ["sign", "b.tar", "--sign-key", "k", "--allow-unsigned"];
    let ask = "Passphrase for k: ";
    let (code, screen) = on_terminal(dir.path(), 80, &[(ask, "a\n"), (ask, "b\n"), (ask, "right\n")], &sign);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.matches("wrong passphrase; try again").count() == 2 && !screen.contains("right"), "{screen}");
    let (code, screen) = on_terminal(dir.path(), 80, &[(ask, "a\n"), (ask, "b\n"), (ask, "c\n")], &sign);
    assert_eq!(code, 2, "{screen}");
    assert!(screen.contains("wrong passphrase for the private key"), "{screen}");
}

#[test]
fn progress_goes_to_a_file_descriptor_and_everything_said_to_the_log() {
    let dir = bundle();
    let line =
        format!("{} verify b.tar --allow-unsigned -qq --progress-fd 7 --log-file log 7>events", program::PROGRAM);
    let out = program::tool("sh", dir.path()).args(["-c", &line]).output().unwrap();
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(), "{out:?}");
    let events = std::fs::read_to_string(dir.path().join("events")).unwrap();
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["task"]), (&"progress".into(), &"verify".into()), "{events}");
    assert!(last["bytes"] == last["bytes_of"] && last["done"] == last["of"], "{events}");
    let (code, ..) = run(dir.path(), &["verify", "nowhere", "--allow-unsigned", "-qq", "--log-file", "log"]);
    assert_eq!(code, 3);
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    for said in ["started: ", "ended with exit code 0", "error: cannot open `nowhere`", "ended with exit code 3"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    let (code, _, err) = run(dir.path(), &["ls", "b.tar", "--log-file", "nowhere/log"]);
    assert!(code == 3 && err.contains("cannot write `nowhere/log`"), "{err}");
    let (code, _, err) = run(dir.path(), &["ls", "b.tar", "--progress-fd", "99"]);
    assert!(code == 3 && err.contains("/dev/fd/99"), "{err}");
}

#[test]
fn lists_have_a_heading_on_a_terminal_only() {
    if !skip::have("python3") {
        return;
    }
    let dir = bundle();
    let (code, screen) = on_terminal(dir.path(), 200, &[], &["ls", "b.tar"]);
    assert!(code == 0 && screen.contains("KIND") && screen.contains("REFERENCE"), "{screen}");
    let (_, text, _) = run(dir.path(), &["ls", "b.tar"]);
    assert!(!text.contains("KIND") && text.lines().count() == 1, "{text}");
}

#[test]
fn cat_writes_only_text_to_a_terminal_unless_forced_and_lists_have_columns_and_a_picture() {
    if !skip::have("python3") {
        return;
    }
    let dir = bundle();
    let (code, screen) = on_terminal(dir.path(), 200, &[], &["cat", "b.tar", "oci-layout"]);
    assert!(code == 0 && screen.contains("imageLayoutVersion"), "{screen}");
    large(dir.path(), &[5000]);
    assert_eq!(run(dir.path(), &["create", "c.tar", "--unsigned", "--from-layout", "large"]).0, 0);
    let (_, blobs, _) = run(dir.path(), &["ls", "c.tar", "--blobs"]);
    let layer = blobs.lines().find(|line| line.starts_with("layer ")).unwrap().split(' ').nth(1).unwrap();
    let (code, screen) = on_terminal(dir.path(), 200, &[], &["cat", "c.tar", layer]);
    assert!(code == 2 && screen.contains("could control this terminal") && screen.contains("--force"), "{screen}");
    assert_eq!(run(dir.path(), &["cat", "c.tar", layer]).0, 0, "a pipe gets anything");
    let (code, _) = on_terminal(dir.path(), 200, &[], &["extract", "b.tar", "nothing", "--to-archive", "-"]);
    assert_eq!(code, 2, "no archive on a terminal");
    for (args, words) in [
        (&["ls", "b.tar", "--color", "never"][..], &["KIND", "PICTURE", "###"][..]),
        (&["inspect", "b.tar", "--color", "never"], &["IMAGE", "SHARED LAYERS", "PICTURE", "###"]),
    ] {
        let (code, screen) = on_terminal(dir.path(), 200, &[], args);
        assert!(code == 0 && words.iter().all(|word| screen.contains(word)), "{args:?}: {screen}");
        let (_, piped, _) = run(dir.path(), args);
        assert!(!piped.contains("PICTURE") && !piped.contains("##"), "{piped}");
    }
}
