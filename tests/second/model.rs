//! A small bundle with one of everything that `verify.py` checks, open to edits before it is signed and packed.

use mirror_bundle::bundle::index::{Blob, Features, File, Image, Index, Kind, Missing, Object, Release, Trust};
use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::oci::{Digest, Role, media_type};
use mirror_bundle::sign::{self, MessageHash, Namespace, SecretKey};

const MANIFEST: &[u8] = b"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}\n";

/// A bundle in parts.
pub(crate) struct Model {
    pub(crate) index: Index,
    /// Contents of `index.files` and `index.blobs`, found by digest.
    pub(crate) contents: Vec<Vec<u8>>,
    /// The index as text, where it is no longer what `index` says.
    pub(crate) text: Option<Vec<u8>>,
    /// Keep `index.json` as it follows from the index.
    pub(crate) derive: bool,
}

/// The bundle without a fault.
pub(crate) fn good() -> Model {
    with_documents(&mut |_, text| text)
}

/// The same with a release, whose payload this crate finds bad and `verify.py` does not read. Errors in configurations
/// and layers are not comparable then: this crate stops before them.
pub(crate) fn with_release() -> Model {
    let mut model = good();
    let index = &mut model.index;
    let Some(of) = index.images.iter().find(|i| i.kind == Kind::Additional && i.tag.as_deref() == Some("amd")) else {
        return model;
    };
    let digest = of.digest;
    index.releases.push(Release {
        version: "4.18.1".into(),
        architecture: "amd64".into(),
        digest,
        trust: Trust::None,
        signers: vec![],
    });
    for image in &mut index.images {
        match image.tag.as_deref() {
            Some("amd") => (image.kind, image.release) = (Kind::Release, Some(digest)),
            Some("arm") => {
                (image.kind, image.release, image.component) = (Kind::Component, Some(digest), Some("arm".into()));
                image.repository = None;
            }
            _ => {}
        }
    }
    index.images.sort_by_key(|i| i.kind);
    model
}

/// The bundle after `edit` was applied to its documents, by name; references to them are updated.
pub(crate) fn with_documents(edit: &mut dyn FnMut(&str, String) -> String) -> Model {
    let mut parts = Parts { blobs: Vec::new(), contents: Vec::new() };
    let config = parts.add(Role::Config, br#"{"architecture":"amd64","os":"linux"}"#.to_vec());
    let other = parts.add(Role::Config, br#"{"architecture":"arm64","os":"linux"}"#.to_vec());
    let low = parts.add(Role::Layer, vec![7; 700]);
    let high = parts.add(Role::Layer, Vec::new());
    let note = parts.add(Role::Layer, b"{\"note\":1}".to_vec());

    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}],"annotations":{{"a":"\u00e9"}}}}"#,
        media_type::OCI_MANIFEST,
        config.descriptor(media_type::OCI_CONFIG),
        low.descriptor("application/vnd.oci.image.layer.v1.tar"),
        high.descriptor("application/vnd.oci.image.layer.v1.tar"),
    );
    let amd64 = parts.add(Role::Manifest, edit("amd64", text).into_bytes());
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        media_type::DOCKER_MANIFEST,
        other.descriptor(media_type::DOCKER_CONFIG),
        low.descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip"),
    );
    let arm64 = parts.add(Role::Manifest, edit("arm64", text).into_bytes());
    let platform = |d: String, arch: &str| {
        format!(r#"{},"platform":{{"os":"linux","architecture":"{arch}"}}}}"#, d.trim_end_matches('}'))
    };
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media_type::OCI_INDEX,
        platform(amd64.descriptor(media_type::OCI_MANIFEST), "amd64"),
        note.descriptor("application/json"),
    );
    let inner = parts.add(Role::Index, edit("inner", text).into_bytes());
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        platform(arm64.descriptor(media_type::DOCKER_MANIFEST), "arm64"),
        inner.descriptor(media_type::OCI_INDEX),
    );
    let list = parts.add(Role::Index, edit("list", text).into_bytes());
    let attached = |subject: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]{subject}}}"#,
            config.descriptor(media_type::OCI_CONFIG),
            note.descriptor("application/vnd.dev.cosign.simplesigning.v1+json")
        )
    };
    let signature = parts.add(Role::Manifest, edit("signature", attached("")).into_bytes());
    let subject = format!(r#","subject":{}"#, list.descriptor(media_type::DOCKER_LIST));
    let referrer = parts.add(Role::Manifest, edit("referrer", attached(&subject)).into_bytes());

    let image = |kind, tag: Option<&str>, what: &Part, media: &str| Image {
        repository: Some("registry.example.com:5000/team/app".into()),
        tag: tag.map(str::to_owned),
        digest: what.digest,
        media_type: media.into(),
        size: what.size,
        platforms: vec!["linux/amd64".into()],
        kind,
        component: None,
        release: None,
        subject: None,
        derived: None,
        requested_by: "image x".into(),
    };
    let about = |digest: Digest, image: Image| Image { subject: Some(digest), ..image };
    let dashed = format!("sha256-{}.sig", list.digest.hex());
    let images = vec![
        image(Kind::Additional, Some("1.0"), &list, media_type::DOCKER_LIST),
        image(Kind::Additional, Some("amd"), &amd64, media_type::OCI_MANIFEST),
        image(Kind::Additional, Some("arm"), &arm64, media_type::DOCKER_MANIFEST),
        about(list.digest, image(Kind::Signature, Some(&dashed), &signature, media_type::OCI_MANIFEST)),
        about(list.digest, image(Kind::Referrer, None, &referrer, media_type::OCI_MANIFEST)),
    ];
    let mut blobs = parts.blobs;
    blobs.sort_by_key(|b| (b.role.max(Role::Manifest), b.digest));
    blobs.dedup();
    let file = |path: String, content: &[u8]| File {
        path,
        size: content.len() as u64,
        digest: Digest::of(content),
        objects: vec![],
    };
    let object = Object { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: "a".into() };
    let mut contents = parts.contents;
    contents.extend([layout::OCI_LAYOUT_JSON.to_vec(), MANIFEST.to_vec(), b"not OpenPGP".to_vec()]);
    let index = Index {
        format: 1,
        features: Features::default(),
        name: "größe".into(),
        sequence: Some(u64::MAX),
        created: "2026-11-22T00:00:00Z".into(),
        expires: Some("2027-11-22T00:00:00Z".into()),
        source_date_epoch: Some(1_795_305_600),
        base: None,
        exceptions: vec!["unsigned-release".into()],
        releases: vec![],
        images,
        files: vec![
            file("oci-layout".into(), layout::OCI_LAYOUT_JSON),
            file("index.json".into(), b""),
            File { objects: vec![object], ..file("manifests/a/b.yaml".into(), MANIFEST) },
            file(format!("signatures/sha256={}/signature-1", amd64.digest.hex()), b"not OpenPGP"),
        ],
        blobs,
        missing: vec![Missing { reference: "quay.io/x\"\\y".into(), reason: String::new() }],
    };
    Model { index, contents, text: None, derive: true }
}

struct Part {
    digest: Digest,
    size: u64,
}

impl Part {
    fn descriptor(&self, media: &str) -> String {
        format!(r#"{{"mediaType":"{media}","digest":"{}","size":{}}}"#, self.digest, self.size)
    }
}

struct Parts {
    blobs: Vec<Blob>,
    contents: Vec<Vec<u8>>,
}

impl Parts {
    fn add(&mut self, role: Role, bytes: Vec<u8>) -> Part {
        let part = Part { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        self.blobs.push(Blob { digest: part.digest, size: part.size, role });
        self.contents.push(bytes);
        part
    }
}

impl Model {
    /// The index, with the entry of `index.json` updated.
    pub(crate) fn settle(&mut self) {
        if self.derive
            && let Ok(bytes) = layout::oci_index(&self.index)
            && let Some(file) = self.index.files.iter_mut().find(|f| f.path == "index.json")
        {
            (file.size, file.digest) = (bytes.len() as u64, Digest::of(&bytes));
            self.contents.push(bytes);
        }
    }

    /// The bytes of the index as it is signed.
    pub(crate) fn index_bytes(&mut self) -> Vec<u8> {
        self.settle();
        self.text.clone().unwrap_or_else(|| self.index.to_bytes().unwrap())
    }

    /// The bundle, signed.
    pub(crate) fn archive(mut self, key: &SecretKey) -> Vec<u8> {
        let raw = self.index_bytes();
        let builder = Namespace::Index(sign::Role::Builder);
        let signature = sign::sign(key, builder, &MessageHash::of(&raw)).into_bytes();
        self.pack(&raw, Some(&signature))
    }

    /// Packs the content of the index text, as far as it can be parsed, even if it makes no sense.
    pub(crate) fn pack(&self, raw: &[u8], signature: Option<&[u8]>) -> Vec<u8> {
        let entries = entries(raw).unwrap_or_else(|| entries(&self.index.to_bytes().unwrap()).unwrap());
        let value: serde_json::Value = serde_json::from_slice(raw).unwrap_or_default();
        let time = value["sourceDateEpoch"].as_u64().unwrap_or(0);
        let content = |digest: &str| self.contents.iter().find(|c| Digest::of(c).to_string() == digest);
        let mut sums = String::new();
        let mut line = |digest: &str, path: &str| {
            sums.push_str(&format!("{}  {path}\n", digest.strip_prefix("sha256:").unwrap_or(digest)));
        };
        let head = [(layout::INDEX, Some(raw)), (layout::SIGNATURE, signature)];
        for (at, (path, digest, _)) in entries.iter().enumerate() {
            line(digest, path);
            if at == 0 {
                for (path, bytes) in head {
                    bytes.into_iter().for_each(|b| line(&Digest::of(b).to_string(), path));
                }
            }
        }
        let mut out = Vec::new();
        member(&mut out, "oci-layout", 30, layout::OCI_LAYOUT_JSON, time);
        for (path, bytes) in head.into_iter().chain([(layout::SUMS, Some(sums.as_bytes()))]) {
            bytes.into_iter().for_each(|b| member(&mut out, path, b.len() as u64, b, time));
        }
        for (path, digest, size) in entries.iter().skip(1) {
            member(&mut out, path, *size, content(digest).map_or(&[][..], Vec::as_slice), time);
        }
        out.resize(out.len() + 1024, 0);
        out
    }
}

/// Path, digest and size of the files and blobs of an index.
fn entries(raw: &[u8]) -> Option<Vec<(String, String, u64)>> {
    let value: serde_json::Value = serde_json::from_slice(raw).ok()?;
    let mut out = Vec::new();
    for file in value["files"].as_array()? {
        out.push((file["path"].as_str()?.to_owned(), file["digest"].as_str()?.to_owned(), file["size"].as_u64()?));
    }
    for blob in value["blobs"].as_array()? {
        let digest = blob["digest"].as_str()?.to_owned();
        out.push((format!("blobs/sha256/{}", digest.strip_prefix("sha256:")?), digest, blob["size"].as_u64()?));
    }
    Some(out)
}

/// A member of the given size; its content is truncated or padded to it, unless that would be much.
fn member(out: &mut Vec<u8>, path: &str, size: u64, content: &[u8], time: u64) {
    out.extend_from_slice(&tar::header(path, size, time));
    let start = out.len();
    out.extend_from_slice(content);
    if size < 1 << 16 {
        out.resize(start + size as usize, 0);
    }
    out.resize(out.len().next_multiple_of(512), 0);
}
