//! A folder with keys, a layout of images, a signed bundle `b.tar` of it, and ways to damage files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mirror_bundle::bundle::survey::Blueprint;
use mirror_bundle::bundle::{Bundle, Member};
use mirror_bundle::oci::Digest;
use serde_json::json;

use crate::support::noise;

pub(crate) use crate::support::program::{PROGRAM, Ran, ran};

/// What all kits begin with.
fn original() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        // Nobody drops what is static: the next run removes it, unless it is in use.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for old in fs::read_dir(base).unwrap().map(Result::unwrap).map(|e| e.path()) {
            let pid =
                old.file_name().and_then(|n| n.to_str()?.strip_prefix("recovery-")?.split('-').next()?.parse().ok());
            if pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
                fs::remove_dir_all(old).unwrap();
            }
        }
        let prefix = format!("recovery-{}-", std::process::id());
        let kit = Kit { dir: tempfile::Builder::new().prefix(&prefix).tempdir_in(base).unwrap() };
        for name in ["builder", "reviewer"] {
            kit.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]).is(0);
        }
        layout(&kit.path("layout"), 0);
        layout(&kit.path("newer"), 1);
        fs::create_dir(kit.path("m")).unwrap();
        fs::write(kit.path("m/ns.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n").unwrap();
        kit.create("b.tar", "layout", &["--sequence", "5"]);
        kit.run(&["recovery", "b.tar", "--percent", "10%"]).is(0);
        kit.dir.keep()
    })
}

/// Two images; some layers are small, one is larger than what is held in memory.
fn layout(dir: &Path, version: u64) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
        json!({"digest": Digest::of(bytes), "size": bytes.len()})
    };
    let kind = |mut of: serde_json::Value, kind: &str| {
        of["mediaType"] = kind.into();
        of
    };
    let mut manifests = Vec::new();
    for (name, sizes) in [("app", &[4_500_000usize, 70_001, 10][..]), ("db", &[300_000, 70_001, 4096])] {
        let config =
            put(format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{}},"n":"{name}{version}"}}"#).as_bytes());
        let layers = sizes.iter().map(|n| put(&noise(*n, *n as u64 + if *n == 70_001 { version } else { 0 })));
        let layers: Vec<_> = layers.map(|l| kind(l, "application/vnd.oci.image.layer.v1.tar")).collect();
        let config = kind(config, "application/vnd.oci.image.config.v1+json");
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        let mut entry = kind(put(document.to_string().as_bytes()), media_type);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": format!("quay.example/src/{name}:v1")});
        manifests.push(entry);
    }
    fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "manifests": manifests}).to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

pub(crate) struct Kit {
    dir: tempfile::TempDir,
}

impl Kit {
    /// With `b.tar`, and recovery data for 10 % of it in `r`.
    pub(crate) fn new() -> Kit {
        let kit = Kit { dir: tempfile::tempdir().unwrap() };
        for name in ["builder", "builder.pub", "reviewer", "reviewer.pub", "b.tar"] {
            fs::copy(original().join(name), kit.path(name)).unwrap();
        }
        fs::copy(original().join("b.tar.recovery"), kit.path("r")).unwrap();
        fs::create_dir(kit.path("m")).unwrap();
        fs::copy(original().join("m/ns.yaml"), kit.path("m/ns.yaml")).unwrap();
        for name in ["layout", "newer"] {
            std::os::unix::fs::symlink(original().join(name), kit.path(name)).unwrap();
        }
        kit
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
    pub(crate) fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// Files here that begin so, with their bytes.
    pub(crate) fn files(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let all = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        all.filter(|n| n.starts_with(prefix)).map(|n| (n.clone(), self.read(&n))).collect()
    }

    pub(crate) fn create(&self, bundle: &str, layout: &str, more: &[&str]) -> Ran {
        let args = ["create", bundle, "-q", "--from-layout", layout, "--manifests", "m", "--name", "app"];
        self.run(&[&args[..], &["--sign-key", "builder"], more].concat()).is(0)
    }

    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = crate::support::program::tool(program, self.dir.path());
        command.args(args).env("HOME", self.path("home")).env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }

    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Ran {
        ran(&mut self.command(program, args))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.tool(PROGRAM, args)
    }

    /// `repair b.tar` for the builder's bundles.
    pub(crate) fn repair(&self, more: &[&str]) -> Ran {
        self.run(&[&["repair", "b.tar", "--signer", "builder.pub"], more].concat())
    }

    #[track_caller]
    pub(crate) fn verifies(&self, bundle: &str) {
        self.run(&["verify", bundle, "--signer", "builder.pub"]).is(0).says("VERIFIED");
    }

    /// What `b.tar` has to be; ask before it is damaged.
    pub(crate) fn blueprint(&self) -> Blueprint {
        Blueprint::new(Bundle::open(&self.path("b.tar")).unwrap().head().clone()).unwrap()
    }

    /// Changes a file.
    pub(crate) fn damage(&self, name: &str, how: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        how(&mut bytes);
        self.write(name, &bytes);
    }

    pub(crate) fn flip(&self, name: &str, at: u64) {
        self.damage(name, |bytes| bytes[at as usize] ^= 0x10);
    }

    pub(crate) fn zero(&self, name: &str, at: u64, n: usize) {
        self.damage(name, |bytes| bytes[at as usize..][..n].fill(0));
    }
}

/// The member with content of this size.
pub(crate) fn of_size(blueprint: &Blueprint, size: u64) -> &Member {
    blueprint.layout.members().iter().find(|m| m.size == size).unwrap()
}
