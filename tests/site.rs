//! What a site says about its registry: the receipt at the end of `unpack`, `receipt --check`, `inventory`; against a
//! real `docker-registry`, and against registries that lie.
#![cfg(all(feature = "registry", feature = "cli"))]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

#[path = "site/base.rs"]
mod base;
#[path = "site/inventory.rs"]
mod inventory;
#[path = "site/receipt.rs"]
mod receipt;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::image::{Image, Pusher, layer};
use support::program::{Ran, program, ran, tool};
use support::registry::Registry;
use support::stub::{Answer, Rule, Stub};

/// A host with keys `builder` and `site`, and the bundle `b.tar`, number 7 of `app`, of two images from `origin`.
struct Host {
    dir: tempfile::TempDir,
    origin: Registry,
    images: Vec<Image>,
}

impl Host {
    fn new() -> Host {
        let host = Host::empty();
        host.bundle("b.tar", 7, &["team/one:1", "team/two:1"]);
        host
    }

    fn empty() -> Host {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Registry::start());
        let shared = layer(&[("base", &support::noise(20_000, 1))]);
        let image = |n: u64| {
            let own = layer(&[("own", &support::noise(5_000, 10 + n))]);
            Image::oci("amd64", &[shared.clone(), own])
        };
        let images = vec![image(1), Image::list(vec![image(2), image(3)])];
        let pusher = Pusher::new(&origin.host());
        pusher.push("team/one", &images[0], Some("1"));
        pusher.push("team/two", &images[1], Some("1"));
        let host = Host { dir, origin, images };
        for name in ["builder", "site", "other"] {
            host.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]).is(0);
        }
        host
    }

    fn bundle(&self, file: &str, sequence: u64, images: &[&str]) {
        let sequence = sequence.to_string();
        let mut args = vec!["create", file, "-q", "--name", "app", "--sequence", &sequence, "--sign-key", "builder"];
        let named: Vec<String> = images.iter().map(|image| format!("{}/{image}", self.origin.host())).collect();
        named.iter().for_each(|image| args.extend(["--image", image]));
        self.run(&[&args[..], &PLAIN].concat()).is(0);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    fn tool(&self, name: &str, args: &[&str]) -> Ran {
        ran(tool(name, self.dir.path()).args(args))
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(program(self.dir.path()).args(args))
    }

    /// `unpack b.tar` to this place, with more arguments.
    fn unpack(&self, to: &str, more: &[&str]) -> Ran {
        let args = ["unpack", "b.tar", "--signer", "builder.pub", "--to", to, "--retries", "0"];
        self.run(&[&args[..], &PLAIN, more].concat())
    }

    /// `receipt --check` of a file, with the key of the site.
    fn check(&self, file: &str, more: &[&str]) -> Ran {
        self.run(&[&["receipt", "--check", file, "--signer", "site.pub"], more].concat())
    }

    /// The same, which asks the registry there.
    fn ask(&self, file: &str, to: &str, more: &[&str]) -> Ran {
        self.check(file, &[&["--to", to, "--retries", "0"], &PLAIN[..], more].concat())
    }

    /// The digest of the index of a bundle.
    fn index(&self, bundle: &str) -> String {
        let seen = self.run(&["inspect", bundle, "-o", "json"]).is(0).json();
        seen["index_digest"].as_str().unwrap().to_owned()
    }
}

const PLAIN: [&str; 2] = ["--plain-http", "127.0.0.1"];

/// Asserts that a document is as its schema says.
#[track_caller]
fn fits(document: &Value, schema: &str) {
    let mut wrong = Vec::new();
    support::schemas::violations(document, &support::schemas::schema(schema), "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}\n{document:#}");
}

/// Whether this file is what another program wrote, in this folder.
fn exists(dir: &Path, name: &str) -> bool {
    dir.join(name).exists()
}
