//! Images made by the tests: gzip layers, configurations, manifests, lists; pushed with the crate's own client.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use mirror_bundle::oci::{Digest, Repository};
use mirror_bundle::registry::{Client, Options, Side, Wanted};
use serde_json::{Value, json};

pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Bytes with the type they have in a manifest.
#[derive(Clone)]
pub struct Blob {
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// Digest of the content before compression, where that is a layer.
    pub diff_id: Option<Digest>,
    pub annotations: Value,
}

impl Blob {
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Blob {
        Blob { media_type: media_type.to_owned(), bytes, diff_id: None, annotations: Value::Null }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        let mut out = json!({ "mediaType": media_type, "size": self.bytes.len(), "digest": self.digest() });
        if !self.annotations.is_null() {
            out["annotations"] = self.annotations.clone();
        }
        out
    }
}

/// A gzip-compressed tar of these files.
pub fn layer(files: &[(&str, &[u8])]) -> Blob {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o444);
        header.set_mtime(0);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    Blob { diff_id: Some(Digest::of(&plain)), ..Blob::new(media_type, gzip.finish().unwrap()) }
}

/// A manifest or list with what it needs.
#[derive(Clone)]
pub struct Image {
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub blobs: Vec<Blob>,
    pub children: Vec<Image>,
    pub platform: (String, String),
}

impl Image {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "size": self.bytes.len(), "digest": self.digest() })
    }

    /// The tag of the cosign signature of this image.
    pub fn sig_tag(&self) -> String {
        format!("sha256-{}.sig", self.digest().hex())
    }

    /// A Docker schema 2 image for linux, as OpenShift's are.
    pub fn docker(architecture: &str, labels: Value, layers: &[Blob]) -> Image {
        Image::with_config(DOCKER_MANIFEST, architecture, labels, layers)
    }

    /// An OCI image for linux.
    pub fn oci(architecture: &str, layers: &[Blob]) -> Image {
        Image::with_config(OCI_MANIFEST, architecture, json!({}), layers)
    }

    fn with_config(media_type: &str, architecture: &str, labels: Value, layers: &[Blob]) -> Image {
        let docker = media_type == DOCKER_MANIFEST;
        let config_type = if docker { "application/vnd.docker.container.image.v1+json" } else { OCI_CONFIG };
        let layer_type = if docker { &layers[0].media_type } else { "application/vnd.oci.image.layer.v1.tar+gzip" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Labels": labels },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| l.diff_id.unwrap()).collect::<Vec<_>>() },
        });
        let config = Blob::new(config_type, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config.descriptor(config_type),
            "layers": layers.iter().map(|l| l.descriptor(layer_type)).collect::<Vec<_>>(),
        });
        Image {
            media_type: media_type.to_owned(),
            bytes: serde_json::to_vec_pretty(&manifest).unwrap(),
            blobs: [&[config][..], layers].concat(),
            children: Vec::new(),
            platform: ("linux".to_owned(), architecture.to_owned()),
        }
    }

    /// A list of images for several platforms.
    pub fn list(children: Vec<Image>) -> Image {
        let manifests: Vec<Value> = children
            .iter()
            .map(|child| {
                let mut entry = child.descriptor();
                entry["platform"] = json!({ "os": child.platform.0, "architecture": child.platform.1 });
                entry
            })
            .collect();
        let bytes = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string();
        Image {
            media_type: OCI_INDEX.to_owned(),
            bytes: bytes.into_bytes(),
            blobs: Vec::new(),
            children,
            platform: (String::new(), String::new()),
        }
    }

    /// What cosign stores beside an image: a simple-signing document with a signature over it. (The signature is
    /// noise: nothing here checks it.)
    pub fn cosign(subject: &Image, reference: &str) -> Image {
        Image::cosign_by(subject, reference, &|_| b"not checked here".to_vec())
    }

    /// The same with a signature that `sign` makes.
    pub fn cosign_by(subject: &Image, reference: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>) -> Image {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": reference },
                "image": { "docker-manifest-digest": subject.digest() },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let mut layer = Blob::new("application/vnd.dev.cosign.simplesigning.v1+json", payload.to_string().into_bytes());
        let signature = base64::engine::general_purpose::STANDARD.encode(sign(payload.to_string().as_bytes()));
        layer.annotations = json!({ "dev.cosignproject.cosign/signature": signature });
        layer.diff_id = Some(layer.digest());
        let config = json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
        });
        Image::artifact(Blob::new(OCI_CONFIG, config.to_string().into_bytes()), layer, Value::Null, Value::Null)
    }

    /// A software bill of materials that refers to `subject`.
    pub fn referrer(subject: &Image) -> Image {
        let sbom = Blob::new("application/spdx+json", format!("{{\"about\":\"{}\"}}", subject.digest()).into_bytes());
        let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        Image::artifact(empty, sbom, subject.descriptor(), "application/spdx+json".into())
    }

    /// Something of this type that refers to `subject`: what cosign 3 and newer modes of cosign 2 attach.
    pub fn attached(subject: &Image, kind: &str, layer: &str, content: &[u8]) -> Image {
        let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        Image::artifact(empty, Blob::new(layer, content.to_vec()), subject.descriptor(), kind.into())
    }

    fn artifact(config: Blob, layer: Blob, subject: Value, artifact_type: Value) -> Image {
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.descriptor(&config.media_type),
            "layers": [layer.descriptor(&layer.media_type)],
        });
        if !subject.is_null() {
            manifest["subject"] = subject;
            manifest["artifactType"] = artifact_type;
        }
        Image {
            media_type: OCI_MANIFEST.to_owned(),
            bytes: manifest.to_string().into_bytes(),
            blobs: vec![config, layer],
            children: Vec::new(),
            platform: (String::new(), String::new()),
        }
    }

    /// The first child of a list; an image itself.
    pub fn first(&self) -> &Image {
        self.children.first().unwrap_or(self)
    }

    /// Every manifest of this image, children first.
    pub fn documents(&self) -> Vec<&Image> {
        let mut out: Vec<&Image> = self.children.iter().flat_map(Image::documents).collect();
        out.push(self);
        out
    }
}

/// Pushes images to one registry.
pub struct Pusher {
    client: Client,
    host: String,
}

impl Pusher {
    pub fn new(host: &str) -> Pusher {
        let client = Client::new(Options {
            side: Side::Destination,
            auth_file: Some("/dev/null".into()),
            plain_http: vec!["127.0.0.1".to_owned()],
            backoff: Duration::from_millis(5),
            ..Options::default()
        });
        Pusher { client: client.unwrap(), host: host.to_owned() }
    }

    pub fn push(&self, repository: &str, image: &Image, tag: Option<&str>) {
        let to: Repository = format!("{}/{repository}", self.host).parse().unwrap();
        for document in image.documents() {
            for blob in &document.blobs {
                let (digest, size) = (blob.digest(), blob.bytes.len() as u64);
                if self.client.head_blob(&to, &digest).unwrap().is_none() {
                    let mut open = |offset: u64| Ok(Box::new(&blob.bytes[offset as usize..]) as Box<dyn std::io::Read>);
                    self.client.push_blob(&to, &digest, size, &mut open).unwrap();
                }
            }
            let wanted = Wanted::Digest(document.digest());
            self.client.put_manifest(&to, &wanted, &document.media_type, &document.bytes).unwrap();
        }
        if let Some(tag) = tag {
            let wanted = Wanted::Tag(tag.parse().unwrap());
            self.client.put_manifest(&to, &wanted, &image.media_type, &image.bytes).unwrap();
        }
    }

    /// Pushes `referrer`, and the list of referrers under the fallback tag of its subject.
    pub fn refer(&self, repository: &str, subject: &Image, referrer: &Image) {
        self.push(repository, referrer, None);
        let mut entry = referrer.descriptor();
        entry["artifactType"] = "application/spdx+json".into();
        let list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        let list = Image { children: Vec::new(), bytes: list.to_string().into_bytes(), ..Image::list(Vec::new()) };
        self.push(repository, &list, Some(&subject.digest().dashed()));
    }
}
