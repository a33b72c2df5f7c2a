//! A bundle with something for each selector of a rule, signed by a key of the folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

use crate::support::program::{Ran, program, ran};

/// A folder with a key `k`, bundles, and the state of the host.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// An image to be made.
pub(crate) struct Image<'i> {
    pub(crate) reference: &'i str,
    pub(crate) architecture: &'i str,
    pub(crate) user: &'i str,
    /// When its newest layer was made.
    pub(crate) made: Option<&'i str>,
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Default for Image<'_> {
    fn default() -> Self {
        let made = Some("2026-11-01T00:00:00Z");
        Image { reference: "quay.io/good/app:1", architecture: "amd64", user: "1001", made, layers: vec![] }
    }
}

/// A file of a layer.
pub(crate) fn file(path: &str, mode: u32, content: &[u8]) -> (tar::Header, Vec<u8>) {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    (header, content.to_vec())
}

/// A device of a layer.
pub(crate) fn device(path: &str) -> (tar::Header, Vec<u8>) {
    let (mut header, content) = file(path, 0o666, b"");
    header.set_entry_type(tar::EntryType::Char);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    (header, content)
}

/// A layer of these entries; a capability is an extended attribute of the file before it.
pub(crate) fn layer(entries: Vec<(tar::Header, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (mut header, content) in entries {
        if header.path().unwrap().ends_with("with-capability") {
            tar.append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01\0\0\x02"[..])]).unwrap();
        }
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The database of dpkg with these packages: name, version, licence is not known there.
pub(crate) fn dpkg(packages: &[(&str, &str)]) -> (tar::Header, Vec<u8>) {
    let paragraph = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    file("var/lib/dpkg/status", 0o644, packages.iter().map(paragraph).collect::<String>().as_bytes())
}

/// A Python distribution.
pub(crate) fn python(name: &str, version: &str, licence: &str) -> (tar::Header, Vec<u8>) {
    let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: {licence}\n\n");
    file(&format!("usr/lib/python3/{name}-{version}.dist-info/METADATA"), 0o644, text.as_bytes())
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let lab = Lab { dir: tempfile::tempdir().unwrap() };
        lab.run(&["keygen", "k", "--no-passphrase", "-q"]).is(0);
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command(&self) -> Command {
        program(self.path())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command().args(args))
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Makes `name.tar` of images and Kubernetes objects. Returns the digests of the images.
    pub(crate) fn bundle(&self, name: &str, images: &[Image<'_>], objects: Option<&str>) -> Vec<String> {
        let layout = self.path().join(name);
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let made: Vec<Value> = images.iter().map(|image| descriptor(&layout, image)).collect();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": made });
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        let bundle = format!("{name}.tar");
        let mut args = vec!["create", &bundle, "--sign-key", "k", "-q", "--from-layout", name];
        if let Some(text) = objects {
            self.write("objects.yaml", text);
            args.extend(["--manifests", "objects.yaml"]);
            args.extend(["--allow-kind", "Namespace", "--allow-kind", "apps/v1/Deployment", "--allow-kind", "Secret"]);
        }
        self.run(&args).is(0);
        made.iter().map(|one| one["digest"].as_str().unwrap().to_owned()).collect()
    }

    /// Verifies `b.tar` with these rules, with the answer in JSON.
    pub(crate) fn verify(&self, policy: &str) -> Ran {
        self.verify_with(policy, &[])
    }

    pub(crate) fn verify_with(&self, policy: &str, more: &[&str]) -> Ran {
        self.write("p.yaml", policy);
        let args = ["verify", "b.tar", "--signer", "k.pub", "--policy", "p.yaml", "-o", "json"];
        let kinds = ["--allow-kind", "Namespace", "--allow-kind", "apps/v1/Deployment", "--allow-kind", "Secret"];
        self.run(&[&args[..], &kinds, more].concat())
    }
}

/// The check `policy` of a report.
pub(crate) fn check(report: &Value) -> &Value {
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    checks.iter().find(|check| check["id"] == "policy").unwrap_or_else(|| panic!("{report:#}"))
}

/// The findings of rules: `RULE SUBJECT`, sorted.
pub(crate) fn found(report: &Value) -> Vec<String> {
    let all = check(report)["findings"].as_array().unwrap().iter();
    let rules = all.filter_map(|one| Some(format!("{} {}", one["rule"].as_str()?, one["subject"].as_str()?)));
    let mut rules: Vec<String> = rules.collect();
    rules.sort();
    rules
}

fn descriptor(layout: &Path, image: &Image<'_>) -> Value {
    let blob = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        let path: PathBuf = layout.join("blobs/sha256").join(digest.hex());
        std::fs::write(path, bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let layers: Vec<Value> = image.layers.iter().map(|layer| blob(layer, LAYER)).collect();
    let diff_ids: Vec<Digest> = image.layers.iter().map(|layer| Digest::of(layer)).collect();
    let mut config = json!({
        "architecture": image.architecture, "os": "linux", "config": { "User": image.user },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    if let Some(made) = image.made {
        let history: Vec<Value> = image.layers.iter().map(|_| json!({ "created": made })).collect();
        config["history"] = history.into();
        config["created"] = made.into();
    }
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    let mut descriptor = blob(manifest.to_string().as_bytes(), MANIFEST);
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": image.reference });
    descriptor["platform"] = json!({ "os": "linux", "architecture": image.architecture });
    descriptor
}
