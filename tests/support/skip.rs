//! Tests that cannot run everywhere report it in one way, which tests/run.sh counts.

#![allow(dead_code, unreachable_pub)]

use std::io::Write;

/// Reports that the test of this thread, or a part of it, cannot run here. The caller then returns.
///
/// With `MIRROR_BUNDLE_TESTS=complete`, as in CI, that is a failure.
#[track_caller]
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a thread of a test");
    let complete = std::env::var_os("MIRROR_BUNDLE_TESTS").is_some_and(|value| value == "complete");
    assert!(!complete, "cannot run here, and MIRROR_BUNDLE_TESTS=complete: {reason}");
    // Not `eprintln!`: the output of tests that pass is not shown.
    let line = format!("SKIPPED {test}: {}\n", reason.trim().replace('\n', " / "));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether a program is installed; a test that needs it returns otherwise.
#[track_caller]
pub fn have(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    if !there {
        skip(&format!("no {name} on this machine"));
    }
    there
}
