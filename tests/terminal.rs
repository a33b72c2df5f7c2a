//! The program before a person: completion in real shells, a real terminal, and documents against their schemas.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;

#[path = "terminal/completion.rs"]
mod completion;
#[path = "terminal/newcomers.rs"]
mod newcomers;
#[path = "terminal/pty.rs"]
mod pty;
#[path = "terminal/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};

/// What is needed to make a small bundle.
fn flow() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/flow.in")
}

/// Runs the program in `dir`: exit code, standard output, standard error.
fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let out = program::program(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// A folder with a small bundle that nobody signed, `b.tar`.
fn bundle() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (layout, manifests) = (flow().join("layout"), flow().join("manifests"));
    let sources = ["--from-layout", layout.to_str().unwrap(), "--manifests", manifests.to_str().unwrap()];
    let made = run(dir.path(), &[&["create", "b.tar", "--unsigned"], &sources[..]].concat());
    assert_eq!(made.0, 0, "{}", made.2);
    dir
}
