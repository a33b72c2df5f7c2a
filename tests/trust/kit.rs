//! A temporary host: a home, keys of `ssh-keygen`, bundles, and the program run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use crate::program::{PROGRAM, Ran as Ended, ran as ended};

/// The creation time of bundles: 2023-11-14T22:13:20Z.
pub(crate) const CREATED: &str = "1700000000";

/// The host.
pub(crate) struct Kit {
    dir: tempfile::TempDir,
}

impl Kit {
    /// A host without keys, with a folder `m` of Kubernetes files.
    pub(crate) fn new() -> Kit {
        let kit = Kit { dir: tempfile::tempdir().unwrap() };
        kit.write("m/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n");
        kit
    }

    /// A host with the keys `builder`, `reviewer` and `second`, and the bundle `b.tar`, number 5 of `app`, signed by
    /// `builder`.
    pub(crate) fn with_bundle() -> Kit {
        let kit = Kit::new();
        for name in ["builder", "reviewer", "second"] {
            kit.key(name);
        }
        kit.bundle("b.tar", 5);
        kit
    }

    /// A path below the working folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// Names in the working folder with this prefix, in order.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|n| n.starts_with(prefix));
        names.sort();
        names
    }

    /// A key pair `NAME`, `NAME.pub` made by `ssh-keygen`.
    pub(crate) fn key(&self, name: &str) {
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name];
        self.tool("ssh-keygen", &args).is(0);
    }

    /// The public half in one line.
    pub(crate) fn public(&self, name: &str) -> String {
        String::from_utf8(self.read(&format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    /// The fingerprint as printed by `ssh-keygen -l`.
    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let out = self.tool("ssh-keygen", &["-l", "-f", &format!("{name}.pub")]).is(0).out;
        out.split(' ').nth(1).unwrap().to_owned()
    }

    /// A bundle of the folder `m` called `app`, with this number, signed by `builder`.
    pub(crate) fn bundle(&self, file: &str, sequence: u64) {
        let sequence = sequence.to_string();
        let args = ["create", file, "-q", "--manifests", "m", "--name", "app", "--sequence", &sequence];
        self.run(&[&args[..], &["--sign-key", "builder"]].concat()).is(0);
    }

    /// A policy with these lines after `signers:` of builder, reviewer and second (a reviewer too).
    pub(crate) fn policy(&self, file: &str, rest: &str) {
        let signer =
            |name: &str, role: &str| format!("  - {{name: {name}, roles: [{role}], key: \"{}\"}}\n", self.public(name));
        let text = format!(
            "signers:\n{}{}{}{rest}\n",
            signer("builder", "builder"),
            signer("reviewer", "reviewer"),
            signer("second", "reviewer")
        );
        self.write(file, text);
    }

    /// A program in this host's environment, ready to run.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = crate::program::tool(program, self.dir.path());
        command.args(args).env("HOME", self.path("home")).env("SOURCE_DATE_EPOCH", CREATED);
        command
    }

    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Ended {
        ended(&mut self.command(program, args))
    }

    /// Runs the program.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.tool(PROGRAM, args)
    }

    /// Runs the program with this file as standard input.
    pub(crate) fn run_with_stdin(&self, args: &[&str], input: &str) -> Ended {
        self.run_tool_with_stdin(PROGRAM, args, input)
    }

    /// Runs another program with this file as standard input.
    pub(crate) fn run_tool_with_stdin(&self, program: &str, args: &[&str], input: &str) -> Ended {
        ended(self.command(program, args).stdin(fs::File::open(self.path(input)).unwrap()))
    }

    /// Verifies a file as a file and as a stream: both must have the same result. Returns that of the file.
    #[track_caller]
    pub(crate) fn verify_both(&self, file: &str, args: &[&str]) -> Ended {
        let as_file = self.run(&[&["verify", file], args].concat());
        let as_stream = self.run_with_stdin(&[&["verify", "-"], args].concat(), file);
        assert_eq!(as_file.code, as_stream.code, "file:\n{}\nstream:\n{}", as_file.err, as_stream.err);
        as_file
    }
}

/// Test data of the repository.
pub(crate) fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}
