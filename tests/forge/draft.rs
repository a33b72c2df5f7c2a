//! Content of a bundle without an index yet, and the steps from there to an archive.

use std::collections::BTreeMap;

use mirror_bundle::bundle::index::{
    Blob, Derived, Features, File, GRAPH_DATA, Image, Index, Kind, Object, Release, Trust,
};
use mirror_bundle::bundle::layout;
use mirror_bundle::kubernetes;
use mirror_bundle::oci::{Descriptor, Digest, Role, media_type};
use mirror_bundle::openshift::update_graph::image::{self, GraphImage};

use super::archive::{Archive, signed};
use super::openpgp;

/// SOURCE_DATE_EPOCH of every vector.
pub const EPOCH: u64 = 1_795_305_600;
/// `created` of every vector; the same instant.
pub const CREATED: &str = "2026-11-22T00:00:00Z";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Content of a bundle.
#[derive(Clone)]
pub struct Draft {
    pub name: String,
    pub expires: Option<String>,
    pub releases: Vec<Release>,
    pub images: Vec<Image>,
    /// Files below `manifests/` and `signatures/`.
    pub files: BTreeMap<String, Vec<u8>>,
    pub blobs: BTreeMap<Digest, (Role, Vec<u8>)>,
}

impl Draft {
    pub fn empty() -> Draft {
        Draft {
            name: "vectors".into(),
            expires: None,
            releases: vec![],
            images: vec![],
            files: BTreeMap::new(),
            blobs: BTreeMap::new(),
        }
    }

    /// One image and one Namespace: the smallest bundle that has everything but a release.
    pub fn tiny() -> Draft {
        let mut draft = Draft::empty();
        draft.files.insert("manifests/map.yaml".into(), namespace("map").into_bytes());
        let layer = draft.blob(Role::Layer, b"layer of the tiny image");
        let image = draft.image("amd64", &[(LAYER, layer)]);
        draft.top(Kind::Additional, "registry.example.com/tiny", Some("1"), &image);
        draft
    }

    /// A release with two components, its signature and ConfigMap, a multi-arch image with a cosign signature
    /// and a referrer, and a manifest.
    pub fn full() -> Draft {
        let mut draft = Draft::tiny();
        let shared = draft.blob(Role::Layer, &noise(700));
        let cli = draft.image("amd64", &[(LAYER, shared.clone())]);
        let own = draft.blob(Role::Layer, &noise(1500));
        let etcd = draft.image("amd64", &[(LAYER, shared), (LAYER, own)]);
        draft.release("4.16.1", &[("cli", &cli), ("etcd", &etcd)], |_| {});
        draft.multi_arch();
        draft
    }

    /// A release with one component and nothing else.
    pub fn small_release() -> Draft {
        let mut draft = Draft::empty();
        let layer = draft.blob(Role::Layer, b"layer of cli");
        let cli = draft.image("amd64", &[(LAYER, layer)]);
        draft.release("4.16.1", &[("cli", &cli)], |_| {});
        draft
    }

    /// A base and a graph-data image on it. `change` may edit what is made before it is stored.
    pub fn with_graph(list: bool, change: impl FnOnce(&mut GraphImage)) -> Draft {
        let mut draft = Draft::empty();
        let layer = draft.blob(Role::Layer, b"layer of the base");
        let mut base = draft.image("amd64", &[(LAYER, layer.clone())]);
        if list {
            let arm = draft.image("arm64", &[(LAYER, layer)]);
            base = draft.list(&[(&base, "amd64"), (&arm, "arm64")]);
        }
        draft.top(Kind::Additional, "registry.example.com/base", Some("1"), &base);
        let files = [
            ("version", "1.1.0\n"),
            ("channels/stable-4.16.yaml", "name: stable-4.16\nversions: [4.16.1]\n"),
            ("raw/metadata.json", "{}"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
        let descriptor = Descriptor::new(base.media_type.clone(), base.digest, base.size);
        let mut read = |what: &Descriptor| Ok(draft.blobs[&what.digest].1.clone());
        let mut made = image::make(&descriptor, &files, &mut read).unwrap();
        change(&mut made);
        for one in made.others.iter().chain([&made.root]) {
            let role = match one.descriptor.media_type.as_str() {
                media_type::OCI_INDEX => Role::Index,
                media_type::OCI_MANIFEST => Role::Manifest,
                media_type::OCI_CONFIG => Role::Config,
                _ => Role::Layer,
            };
            draft.blob(role, &one.bytes);
        }
        let root = Stored {
            digest: made.root.descriptor.digest,
            size: made.root.descriptor.size,
            media_type: made.root.descriptor.media_type.clone(),
        };
        draft.top(Kind::GraphData, GRAPH_DATA, Some("graph"), &root);
        draft.images.last_mut().unwrap().derived = Some(Derived { base: base.digest, input: made.input });
        draft
    }

    /// Adds a list of two images with a signature and a referrer.
    pub fn multi_arch(&mut self) {
        let shared = self.blob(Role::Layer, b"shared by both architectures");
        let amd = self.image("amd64", &[(LAYER, shared.clone())]);
        let arm = self.image("arm64", &[(LAYER, shared)]);
        let list = self.list(&[(&amd, "amd64"), (&arm, "arm64")]);
        self.top(Kind::Additional, "registry.example.com/app", Some("1.0"), &list);
        let payload = self.blob(Role::Layer, b"{\"simple\":\"signing\"}");
        let signature = self.image("", &[("application/vnd.dev.cosign.simplesigning.v1+json", payload)]);
        let tag = format!("{}.sig", list.digest.dashed());
        self.top(Kind::Signature, "registry.example.com/app", Some(&tag), &signature);
        self.images.last_mut().unwrap().subject = Some(list.digest);
        let sbom = self.blob(Role::Layer, b"{\"an\":\"sbom\"}");
        let referrer = self.document(Role::Manifest, media_type::OCI_MANIFEST, |d| {
            let config = d.blob(Role::Config, b"{}");
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/spdx+json","config":{},"layers":[{}],"subject":{}}}"#,
                media_type::OCI_MANIFEST,
                config.json("application/vnd.oci.empty.v1+json"),
                sbom.json("application/spdx+json"),
                list.json(media_type::OCI_INDEX),
            )
        });
        self.top(Kind::Referrer, "registry.example.com/app", None, &referrer);
        self.images.last_mut().unwrap().subject = Some(list.digest);
    }

    /// Adds a release with these components; `change` may edit the files of the payload's layer.
    pub fn release(&mut self, version: &str, components: &[(&str, &Stored)], change: impl FnOnce(&mut Payload)) {
        let mut payload = Payload::new(version, components);
        change(&mut payload);
        let layer = self.blob(Role::Layer, &payload.layer());
        let image = self.image("amd64", &[(LAYER, layer)]);
        self.release_of(version, &image, components);
    }

    /// The same around a release image that is there already.
    pub fn release_of(&mut self, version: &str, image: &Stored, components: &[(&str, &Stored)]) {
        self.top(Kind::Release, "quay.io/openshift-release-dev/ocp-release", Some(&format!("{version}-x86_64")), image);
        self.images.last_mut().unwrap().release = Some(image.digest);
        for (name, component) in components {
            self.top(Kind::Component, "quay.io/openshift-release-dev/ocp-v4.0-art-dev", None, component);
            let entry = self.images.last_mut().unwrap();
            (entry.component, entry.release) = (Some((*name).into()), Some(image.digest));
        }
        self.releases.push(Release {
            version: version.into(),
            architecture: "amd64".into(),
            digest: image.digest,
            trust: Trust::Openpgp,
            signers: vec![],
        });
        self.signature(&image.digest, 1, &openpgp::sign(&image.digest));
        let map = self.signature_map(&image.digest, &openpgp::sign(&image.digest));
        self.files.insert("manifests/release.yaml".into(), map);
    }

    pub fn signature(&mut self, digest: &Digest, n: usize, bytes: &[u8]) {
        self.files.insert(format!("signatures/sha256={}/signature-{n}", digest.hex()), bytes.to_vec());
    }

    /// The ConfigMap in which a cluster finds a release signature.
    pub fn signature_map(&self, digest: &Digest, signature: &[u8]) -> Vec<u8> {
        mirror_bundle::openshift::signature_map::config_map(digest, &[signature.to_vec()]).unwrap()
    }

    /// The digest of the first release.
    pub fn release_digest(&self) -> Digest {
        self.releases[0].digest
    }

    pub fn blob(&mut self, role: Role, bytes: &[u8]) -> Stored {
        let digest = Digest::of(bytes);
        let entry = self.blobs.entry(digest).or_insert((role, bytes.to_vec()));
        entry.0 = entry.0.min(role);
        Stored { digest, size: bytes.len() as u64, media_type: String::new() }
    }

    /// A manifest with a configuration for this architecture and these layers.
    pub fn image(&mut self, architecture: &str, layers: &[(&str, Stored)]) -> Stored {
        let config = self.config(architecture, layers.len());
        let layers: Vec<String> = layers.iter().map(|(kind, layer)| layer.json(kind)).collect();
        self.document(Role::Manifest, media_type::OCI_MANIFEST, |_| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
                media_type::OCI_MANIFEST,
                config.json(media_type::OCI_CONFIG),
                layers.join(",")
            )
        })
    }

    pub fn config(&mut self, architecture: &str, layers: usize) -> Stored {
        let ids: Vec<String> = (0..layers).map(|n| format!("\"{}\"", Digest::of(&[n as u8]))).collect();
        let text = format!(
            r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        self.blob(Role::Config, text.as_bytes())
    }

    pub fn list(&mut self, images: &[(&Stored, &str)]) -> Stored {
        let entries: Vec<String> = images
            .iter()
            .map(|(image, architecture)| {
                let plain = image.json(&image.media_type);
                let plain = plain.strip_suffix('}').unwrap();
                format!(r#"{plain},"platform":{{"architecture":"{architecture}","os":"linux"}}}}"#)
            })
            .collect();
        self.document(Role::Index, media_type::OCI_INDEX, |_| {
            let kind = media_type::OCI_INDEX;
            format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#, entries.join(","))
        })
    }

    /// A document with any text.
    pub fn document(&mut self, role: Role, kind: &str, text: impl FnOnce(&mut Draft) -> String) -> Stored {
        let text = text(self);
        Stored { media_type: kind.into(), ..self.blob(role, text.as_bytes()) }
    }

    /// Lists a stored document as a top-level image.
    pub fn top(&mut self, kind: Kind, repository: &str, tag: Option<&str>, image: &Stored) {
        self.images.push(Image {
            repository: Some(repository.into()),
            tag: tag.map(str::to_owned),
            digest: image.digest,
            media_type: image.media_type.clone(),
            size: image.size,
            platforms: vec![],
            kind,
            component: None,
            release: None,
            subject: None,
            derived: None,
            requested_by: "layout".into(),
        });
    }

    /// The index of the content, sorted.
    pub fn index(&self) -> Index {
        let mut index = Index {
            format: 1,
            features: Features {
                incompatible: self.images.iter().filter_map(|i| i.derived.map(|_| GRAPH_DATA.to_owned())).collect(),
                ..Features::default()
            },
            name: self.name.clone(),
            sequence: Some(7),
            created: CREATED.into(),
            expires: self.expires.clone(),
            source_date_epoch: Some(EPOCH),
            base: None,
            exceptions: vec![],
            releases: self.releases.clone(),
            images: self.images.clone(),
            files: vec![layout::file(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON)],
            blobs: vec![],
            missing: vec![],
        };
        index.sort();
        index.files.push(layout::file(layout::OCI_INDEX, &layout::oci_index(&index).unwrap()));
        for (path, bytes) in &self.files {
            let objects: Vec<Object> = match path.starts_with("manifests/") {
                // What a bad file holds is named as `create` would name it: nothing else is wrong with the bundle.
                true => match kubernetes::read(bytes) {
                    Ok(manifest) => vec![manifest.object],
                    Err(_) => kubernetes::parse(bytes).unwrap_or_default().into_iter().map(|m| m.object).collect(),
                },
                false => vec![],
            };
            index.files.push(File { objects, ..layout::file(path, bytes) });
        }
        index.blobs = self
            .blobs
            .iter()
            .map(|(digest, (role, bytes))| Blob { digest: *digest, size: bytes.len() as u64, role: *role })
            .collect();
        index.sort();
        index
    }

    fn content(&self, oci_index: Vec<u8>) -> impl Fn(&str, &Digest) -> Vec<u8> {
        move |path, digest| match path {
            layout::OCI_LAYOUT => layout::OCI_LAYOUT_JSON.to_vec(),
            layout::OCI_INDEX => oci_index.clone(),
            _ => {
                let by_digest = || self.files.values().find(|bytes| Digest::of(bytes) == *digest).cloned();
                let file = self.files.get(path).cloned().or_else(by_digest);
                file.or_else(|| self.blobs.get(digest).map(|b| b.1.clone())).unwrap_or_default()
            }
        }
    }

    /// The good archive, signed by the builder.
    pub fn archive(&self) -> Archive {
        self.archive_of(|_| {})
    }

    /// The archive of a changed index, signed by the builder: correctly signed, but malformed.
    pub fn archive_of(&self, change: impl FnOnce(&mut Index)) -> Archive {
        let mut index = self.index();
        let oci_index = layout::oci_index(&index).unwrap();
        change(&mut index);
        let bytes = index.to_bytes().unwrap();
        Archive::new(&index, &bytes, Some(&signed(&bytes)), &self.content(oci_index))
    }

    /// The same for an index that is changed as text, and may be invalid.
    pub fn archive_of_text(&self, change: impl FnOnce(String) -> Vec<u8>) -> Archive {
        let index = self.index();
        let oci_index = layout::oci_index(&index).unwrap();
        let text = String::from_utf8(index.to_bytes().unwrap()).unwrap();
        let bytes = change(text.clone());
        assert_ne!(bytes, text.as_bytes(), "nothing was changed");
        Archive::new(&index, &bytes, Some(&signed(&bytes)), &self.content(oci_index))
    }

    /// The good archive with another signature, or none.
    pub fn archive_signed(&self, sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Archive {
        let index = self.index();
        let oci_index = layout::oci_index(&index).unwrap();
        let bytes = index.to_bytes().unwrap();
        Archive::new(&index, &bytes, sign(&bytes).as_deref(), &self.content(oci_index))
    }
}

/// A blob that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

impl Stored {
    /// Its descriptor.
    pub fn json(&self, kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, self.digest, self.size)
    }
}

/// The files of `release-manifests/` in a layer.
pub struct Payload {
    pub entries: Vec<(tar::EntryType, String, Vec<u8>)>,
}

impl Payload {
    pub fn new(version: &str, components: &[(&str, &Stored)]) -> Payload {
        let mut payload = Payload { entries: vec![(tar::EntryType::Directory, "release-manifests/".into(), vec![])] };
        payload.file("release-manifests/image-references", references(version, components).as_bytes());
        let metadata = format!(r#"{{"kind":"cincinnati-metadata-v0","version":"{version}"}}"#);
        payload.file("release-manifests/release-metadata", metadata.as_bytes());
        payload
    }

    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.entries.push((tar::EntryType::Regular, path.into(), bytes.to_vec()));
    }

    /// For links, the bytes are the target.
    pub fn layer(&self) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (kind, path, bytes) in &self.entries {
            let link = matches!(kind, tar::EntryType::Link | tar::EntryType::Symlink);
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o444);
            header.set_size(if link { 0 } else { bytes.len() as u64 });
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            if link {
                header.set_link_name(std::str::from_utf8(bytes).unwrap()).unwrap();
            }
            header.set_cksum();
            out.append(&header, if link { &[] } else { bytes.as_slice() }).unwrap();
        }
        out.into_inner().unwrap()
    }
}

/// The text of `image-references`.
pub fn references(version: &str, components: &[(&str, &Stored)]) -> String {
    let tags: Vec<String> = components
        .iter()
        .map(|(name, image)| {
            format!(
                r#"{{"name":"{name}","from":{{"kind":"DockerImage","name":"quay.io/openshift-release-dev/ocp-v4.0-art-dev@{}"}}}}"#,
                image.digest
            )
        })
        .collect();
    format!(
        r#"{{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{{"name":"{version}"}},"spec":{{"tags":[{}]}}}}"#,
        tags.join(",")
    )
}

/// An object of this name that is accepted without being named.
pub fn namespace(name: &str) -> String {
    manifest(&format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {{\"name\": \"{name}\", \"labels\": {{\"a\": \"b\"}}}}}}"
    ))
}

/// This object in canonical form.
pub fn manifest(text: &str) -> String {
    String::from_utf8(kubernetes::parse(text.as_bytes()).unwrap()[0].to_bytes()).unwrap()
}

/// Bytes that are reproducible and do not repeat.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
