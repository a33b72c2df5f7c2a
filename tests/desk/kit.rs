//! A bundle of layers as they are, on a desk of its own.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::layout::Layout;
use crate::support::program::program;

/// A folder with a layout, then with a bundle `b.tar` that `k` signed.
pub struct Desk {
    dir: tempfile::TempDir,
    /// What goes into the bundle.
    pub layout: Layout,
}

impl Desk {
    /// Without a bundle.
    pub fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("layout"));
        let desk = Desk { dir, layout };
        for key in ["k", "other"] {
            assert!(desk.run(&["keygen", key, "--no-passphrase", "-q"]).status.success());
        }
        desk
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the bundle.
    pub fn made(&self) {
        self.made_as("b.tar", &[]);
    }

    /// Makes a bundle of this name, with further arguments.
    pub fn made_as(&self, name: &str, more: &[&str]) {
        self.layout.end();
        let create = ["create", name, "--from-layout", "layout", "--sign-key", "k", "-q"];
        let made = self.run(&[&create, more].concat());
        assert!(made.status.success(), "{made:?}");
    }

    /// Runs the program.
    pub fn run(&self, args: &[&str]) -> Output {
        program(self.path()).args(args).output().unwrap()
    }

    /// Runs the program with this standard input.
    pub fn piped(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = program(self.path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || to.write_all(&input).ok());
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        out
    }
}

/// As text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Each line as JSON.
pub fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
