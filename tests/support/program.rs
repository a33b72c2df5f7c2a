//! Runs the program, and other programs, as on an unconfigured host.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

/// The program under test.
pub const PROGRAM: &str = match option_env!("CARGO_BIN_EXE_mirror-bundle") {
    Some(path) => path,
    None => panic!("this test runs the program: it needs the feature `cli`"),
};

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub fn is(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "\n--- out\n{}\n--- err\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Asserts that standard output or error has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.out.contains(text) || self.err.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.out, self.err))
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program in `dir`, which also holds the memory of the host.
pub fn program(dir: &Path) -> Command {
    tool(PROGRAM, dir)
}

/// Another program in the same surroundings.
pub fn tool(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    clean(&mut command, dir);
    command
}

/// Gives a command an unconfigured environment: of this host's environment it gets only the search path, so no proxy,
/// no login, no trust file, no time and no language. It runs in `dir`, has no home and no standard input, and the
/// program's memory is in `dir/state`. The caller adds what its test needs.
pub fn clean(command: &mut Command, dir: &Path) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", "/nonexistent").env("MIRROR_BUNDLE_STATE", dir.join("state"));
    command.current_dir(dir).stdin(Stdio::null());
}
