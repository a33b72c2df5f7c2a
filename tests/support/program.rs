//! Runs the program, and other programs, as on an unconfigured host.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

/// The program under test.
pub const PROGRAM: &str = match option_env!("CARGO_BIN_EXE_mirror-bundle") {
    Some(path) => path,
    None => panic!("this test runs the program: it needs the feature `cli`"),
};

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
