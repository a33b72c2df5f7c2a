//! OCI layouts of layers as they are.

use std::fs;
use std::path::PathBuf;

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

/// Media types of layers.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// See [`TAR`].
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layout that is being written.
pub struct Layout {
    /// Its folder.
    pub path: PathBuf,
    images: Vec<Value>,
}

/// A layer: its descriptor and the digest of its archive.
#[derive(Clone)]
pub struct Layer(pub Value, pub Digest);

impl Layer {
    /// Its digest.
    pub fn digest(&self) -> String {
        self.0["digest"].as_str().unwrap().to_owned()
    }
}

impl Layout {
    /// An empty one.
    pub fn new(path: PathBuf) -> Layout {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { path, images: Vec::new() }
    }

    /// Adds a blob, and returns its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Adds a layer: its stored bytes, and its archive.
    pub fn layer(&mut self, media_type: &str, stored: &[u8], archive: &[u8]) -> Layer {
        Layer(self.blob(media_type, stored), Digest::of(archive))
    }

    /// Adds a manifest for a processor.
    pub fn manifest(&mut self, architecture: &str, layers: &[Layer]) -> Value {
        let ids: Vec<Digest> = layers.iter().map(|layer| layer.1).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-03-01T12:00:00Z", "config": {},
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.0).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Adds an image with a name.
    pub fn image(&mut self, name: &str, layers: &[Layer]) -> Value {
        let manifest = self.manifest("amd64", layers);
        self.name(name, &manifest);
        manifest
    }

    /// Adds with a name what no container runtime runs.
    pub fn artifact(&mut self, name: &str, layers: &[Layer]) {
        let config = self.blob("application/vnd.example.config", b"{}");
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.0).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let manifest = self.blob(MANIFEST, manifest.to_string().as_bytes());
        self.name(name, &manifest);
    }

    /// Adds a list of images with a name.
    pub fn list(&mut self, name: &str, children: &[(&str, Value)]) -> Value {
        let with = |(architecture, manifest): &(&str, Value)| {
            let mut manifest = manifest.clone();
            manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
            manifest
        };
        let manifests: Vec<Value> = children.iter().map(with).collect();
        let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let list = self.blob(INDEX, list.to_string().as_bytes());
        self.name(name, &list);
        list
    }

    /// Names a manifest.
    pub fn name(&mut self, name: &str, manifest: &Value) {
        let mut manifest = manifest.clone();
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.images.push(manifest);
    }

    /// Writes the list of images.
    pub fn end(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.images });
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }
}
