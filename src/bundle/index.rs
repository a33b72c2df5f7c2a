//! The bundle index: describes the bundle and lists every byte that belongs to it (MB-IDX).
//!
//! It has one fixed form, so that its bytes can be signed and a reader can require exactly those bytes.

mod check;
mod exception;

use serde::{Deserialize, Serialize};

use self::check::place;
use super::limits;
use crate::error::{Code, Error, Result};
pub use crate::kubernetes::Object;
use crate::oci::{Descriptor, Digest, Role, json};

pub use self::check::is_repository;
pub(super) use self::check::{text, time};
pub use self::exception::Exception;

/// The format version that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The incompatible feature of a bundle that carries a graph-data image (MB-GRD-01): a reader must rebuild it.
pub const GRAPH_DATA: &str = "graph-data";

/// Incompatible features of format 1 that this version supports.
pub const KNOWN_INCOMPATIBLE: &[&str] = &[GRAPH_DATA];

/// The bundle index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Index {
    /// Format version: 1.
    pub format: u32,
    /// Features that a reader must support beyond the version.
    pub features: Features,
    /// What it is called. With `sequence` it is the name of its series.
    pub name: String,
    /// Its number in the series of its name, for a bundle that a person named. Grows with every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When the bundle was planned, `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// Expiry time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// SOURCE_DATE_EPOCH at creation in seconds: the time of every tar member (0 when absent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<u64>,
    /// For a differential bundle: the content that the destination must have already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The exceptions from checks at creation, sorted, in the form of [`Exception`].
    pub exceptions: Vec<String>,
    /// OpenShift releases.
    pub releases: Vec<Release>,
    /// Top-level images.
    pub images: Vec<Image>,
    /// Files other than blobs, in the order of the archive.
    pub files: Vec<File>,
    /// Every blob once, in the order of the archive.
    pub blobs: Vec<Blob>,
    /// What was asked for and is not included: foreign layers.
    pub missing: Vec<Missing>,
}

/// Feature lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Empty: nothing unknown is read, so an ignorable feature could carry no data.
    pub compatible: Vec<String>,
    /// Features that a reader must support.
    pub incompatible: Vec<String>,
}

/// The base of a differential bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Digest of the base's index.
    pub index: Digest,
    /// Blobs that the destination is expected to have.
    pub expects: Vec<Digest>,
}

/// An OpenShift release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// `metadata.name` of its image-references.
    pub version: String,
    /// Go's name of the architecture, or `multi`.
    pub architecture: String,
    /// Digest of the release image: signed by the vendor and given to a cluster.
    pub digest: Digest,
    /// How its authenticity was established at creation.
    pub trust: Trust,
    /// Fingerprints of the OpenPGP keys whose signatures were good at creation.
    pub signers: Vec<String>,
}

/// How a release's authenticity was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// An OpenPGP release signature was verified.
    Openpgp,
    /// No signature was verified, which a flag allowed.
    None,
}

/// A top-level image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Repository it came from, with the registry if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Its tag in that repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Digest of its manifest or index.
    pub digest: Digest,
    /// Media type of that document.
    pub media_type: String,
    /// Size of that document in bytes.
    pub size: u64,
    /// Its platforms, if known.
    pub platforms: Vec<String>,
    /// Why it is included.
    pub kind: Kind,
    /// Its name in the release payload, if it is a component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The release that it belongs to, if it is a release image or component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// The image that it is about, if it is a signature or referrer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// What it was made from, if whoever created the bundle made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
    /// The request that included it: `image REFERENCE`, `release REFERENCE`, `layout` or `directory`.
    pub requested_by: String,
}

/// What an image was made from, so that every reader can make it again and compare (MB-GRD-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// The image that it adds a layer to. It is in the bundle too.
    pub base: Digest,
    /// SHA-256 of the tar archive that the layer holds.
    pub input: Digest,
}

/// Why an image is in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An OpenShift release image.
    Release,
    /// An image named by a release payload.
    Component,
    /// An image requested by name.
    Additional,
    /// A cosign signature image (tag `sha256-<hex>.sig`).
    Signature,
    /// An OCI 1.1 referrer.
    Referrer,
    /// The update graph, as an image for the update service of a cluster (MB-GRD).
    GraphData,
}

impl Kind {
    /// The name used in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Release => "release",
            Kind::Component => "component",
            Kind::Additional => "additional",
            Kind::Signature => "signature",
            Kind::Referrer => "referrer",
            Kind::GraphData => "graph-data",
        }
    }
}

impl Image {
    /// The reference, as `org.opencontainers.image.ref.name` carries it: `repository:tag`,
    /// `repository@digest`, a bare tag, or nothing.
    pub fn reference(&self) -> Option<String> {
        match (&self.repository, &self.tag) {
            (Some(repository), Some(tag)) => Some(format!("{repository}:{tag}")),
            (Some(repository), None) => Some(format!("{repository}@{}", self.digest)),
            (None, Some(tag)) => Some(tag.clone()),
            (None, None) => None,
        }
    }

    /// The descriptor of its manifest or index.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.size)
    }

    /// The reference, or the digest if there is none.
    pub fn display(&self) -> String {
        self.reference().unwrap_or_else(|| self.digest.to_string())
    }

    /// What people call it: its reference, with its name in the release if it is a component.
    pub fn called(&self) -> String {
        match (&self.component, self.reference()) {
            (Some(component), reference) => {
                format!("{component} {}", reference.unwrap_or_else(|| self.digest.to_string()))
            }
            (None, Some(reference)) => reference,
            (None, None) => self.digest.to_string(),
        }
    }

    /// The sort key; images are strictly ascending by it.
    fn key(&self) -> impl Ord + '_ {
        let names = (self.repository.as_deref(), self.tag.as_deref(), self.component.as_deref());
        (self.kind, names, &self.digest, self.release.as_ref(), self.subject.as_ref())
    }
}

/// A file other than a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Path in the archive.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// The Kubernetes object in it, for a file under `manifests/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its first role in any image.
    pub role: Role,
}

impl Blob {
    /// The sort key; blobs are strictly ascending by it: documents, configurations, layers, each by digest.
    pub(crate) fn order(&self) -> (u8, Digest) {
        let class = match self.role {
            Role::Index | Role::Manifest => 0,
            Role::Config => 1,
            Role::Layer => 2,
        };
        (class, self.digest)
    }
}

/// The reason of an entry of `missing` for a foreign layer, whose digest is the reference (MB-IDX-06).
pub const FOREIGN_LAYER: &str = "foreign-layer";

/// Something asked for and not included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The requested reference.
    pub reference: String,
    /// Why it is missing.
    pub reason: String,
}

impl Index {
    /// Serialises the index in its one form: two-space indent, LF, a final LF (MB-IDX-01).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(Code::Internal, "cannot write the bundle index").source(e))?;
        bytes.push(b'\n');
        if bytes.len() as u64 > limits::INDEX {
            return Err(Error::new(
                Code::Malformed,
                format!("the bundle index would have {} bytes; at most {} are allowed", bytes.len(), limits::INDEX),
            )
            .hint("create several bundles, each with some of the images"));
        }
        Ok(bytes)
    }

    /// Parses an index strictly; version and features are checked first.
    ///
    /// # Errors
    /// [`Code::NotABundle`] for an unknown version or incompatible feature, [`Code::Malformed`] for anything that this
    /// version would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Index> {
        let malformed =
            |text: String| Error::new(Code::Malformed, format!("the bundle index is not acceptable: {text}"));
        if bytes.len() as u64 > limits::INDEX {
            return Err(malformed(format!("{} bytes, over the limit of {}", bytes.len(), limits::INDEX)));
        }
        json::check(bytes, &[]).map_err(|e| malformed(e.to_string()))?;
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if probe.format != u64::from(FORMAT) {
            return Err(Error::new(
                Code::NotABundle,
                format!("the bundle has format {}, which this version does not know", probe.format),
            )
            .fact(format!("this is mirror-bundle {}, format {FORMAT}", env!("CARGO_PKG_VERSION")))
            .hint("bring a newer mirror-bundle across with the bundle"));
        }
        let probe: FeatureProbe = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        for feature in &probe.features.incompatible {
            if !KNOWN_INCOMPATIBLE.contains(&feature.as_str()) {
                return Err(Error::new(
                    Code::NotABundle,
                    format!("the bundle needs format feature `{feature}`, which this version does not know"),
                )
                .fact(format!("this is mirror-bundle {}, format {FORMAT}", env!("CARGO_PKG_VERSION")))
                .hint("bring a newer mirror-bundle across with the bundle"));
            }
        }
        let index: Index = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        index.check().map_err(malformed)?;
        let mut rest = Expected(bytes);
        let same = serde_json::to_writer_pretty(&mut rest, &index).is_ok() && rest.0 == b"\n";
        if !same {
            return Err(malformed("it is not in the canonical form of format 1".to_owned()));
        }
        Ok(index)
    }

    /// What it is called, with its number in a series: `app #7`, or the name alone.
    pub fn title(&self) -> String {
        title(&self.name, self.sequence)
    }

    /// The time of every tar member, in seconds.
    pub fn mtime(&self) -> u64 {
        self.source_date_epoch.unwrap_or(0)
    }
}

/// A name with the number that goes with it, for a person.
pub fn title(name: &str, sequence: Option<u64>) -> String {
    sequence.map_or_else(|| name.to_owned(), |number| format!("{name} #{number}"))
}

/// Takes exactly these bytes, so that an index need not be held twice to be compared.
struct Expected<'a>(&'a [u8]);

impl std::io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Parsed loosely before anything else: only these two members are fixed in later formats (MB-IDX-02).
#[derive(Deserialize)]
struct Probe {
    format: u64,
}

#[derive(Deserialize)]
struct FeatureProbe {
    features: Incompatible,
}

#[derive(Deserialize)]
struct Incompatible {
    incompatible: Vec<String>,
}

impl Index {
    /// Sorts every list into the order that format 1 requires.
    pub fn sort(&mut self) {
        self.exceptions.sort();
        self.exceptions.dedup();
        self.releases
            .sort_by(|a, b| (&a.version, &a.architecture, &a.digest).cmp(&(&b.version, &b.architecture, &b.digest)));
        self.images.sort_by(|a, b| a.key().cmp(&b.key()));
        self.images.dedup_by(|a, b| a.key() == b.key());
        self.files.sort_by(|a, b| (place(&a.path), &a.path).cmp(&(place(&b.path), &b.path)));
        self.blobs.sort_by_key(Blob::order);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn sample() -> Index {
        let file = |path: &str| File { path: path.into(), size: 3, digest: Digest::of(b"abc"), objects: vec![] };
        Index {
            format: 1,
            features: Features::default(),
            name: "sample".into(),
            sequence: Some(1),
            created: "2026-11-22T00:00:00Z".into(),
            expires: None,
            source_date_epoch: None,
            base: None,
            exceptions: vec![],
            releases: vec![],
            images: vec![],
            files: vec![file("oci-layout"), file("index.json"), file("manifests/a.yaml")],
            blobs: vec![Blob { digest: Digest::of(b"x"), size: 1, role: Role::Layer }],
            missing: vec![],
        }
    }

    #[test]
    fn an_index_reads_back_only_from_its_one_form() {
        let index = sample();
        let bytes = index.to_bytes().unwrap();
        assert_eq!(Index::parse(&bytes).unwrap(), index);
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            text.replace("  \"name\"", "   \"name\""),
            text.replace("sample", "s\\u0061mple"),
            text.trim_end().to_owned(),
            text.replace("\"sequence\": 1,", "\"sequence\": 1.0,"),
            text.replace("\"missing\": []", "\"missing\": [], \"extra\": 1"),
            text.replace("\"sequence\": 1,", "\"sequence\": 1,\n  \"sequence\": 1,"),
        ] {
            assert_eq!(Index::parse(bad.as_bytes()).unwrap_err().code(), Code::Malformed, "{bad}");
        }
    }

    #[test]
    fn unknown_versions_and_features_are_refused_before_anything_else() {
        let mut index = sample();
        index.features.incompatible = vec!["sparse-index".into()];
        let err = Index::parse(&index.to_bytes().unwrap()).unwrap_err();
        assert_eq!(err.code(), Code::NotABundle);
        assert!(err.message().contains("sparse-index"));
        let next = r#"{"format": 2, "features": {"compatible": [], "incompatible": []}, "new": true}"#;
        assert_eq!(Index::parse(next.as_bytes()).unwrap_err().code(), Code::NotABundle);
    }

    #[test]
    fn a_repository_is_written_as_it_is_printed() {
        for (repository, good) in [("quay.io/a/b", true), ("a/b", true), ("QUAY.IO/a/b", false), ("y.ioJa/ba", false)] {
            let mut index = sample();
            index.images.push(Image {
                repository: Some(repository.into()),
                tag: None,
                digest: Digest::of(b"x"),
                media_type: crate::oci::media_type::OCI_MANIFEST.into(),
                size: 1,
                platforms: vec![],
                kind: Kind::Additional,
                component: None,
                release: None,
                subject: None,
                derived: None,
                requested_by: "x".into(),
            });
            assert_eq!(Index::parse(&index.to_bytes().unwrap()).is_ok(), good, "{repository}");
        }
    }

    /// Built by hand after fuzzing; comparing every release with every image would take minutes.
    #[test]
    fn an_index_with_as_many_releases_as_fit_is_read() {
        let mut index = sample();
        for n in 0..11_000u32 {
            let digest = Digest::of(&n.to_be_bytes());
            let (version, architecture) = (format!("4.{n}.0"), "amd64".to_owned());
            index.releases.push(Release { version, architecture, digest, trust: Trust::None, signers: vec![] });
            index.images.push(Image {
                repository: None,
                tag: None,
                digest,
                media_type: crate::oci::media_type::OCI_MANIFEST.into(),
                size: 1,
                platforms: vec![],
                kind: Kind::Release,
                component: None,
                release: Some(digest),
                subject: None,
                derived: None,
                requested_by: String::new(),
            });
        }
        index.sort();
        let bytes = index.to_bytes().unwrap();
        assert!(Index::parse(&bytes).is_ok());
    }

    #[test]
    fn hostile_paths_sizes_and_orders_are_refused() {
        type Change = fn(&mut Index);
        let changes: &[Change] = &[
            |i| i.files[2].path = "../../etc/cron.d/x\u{1b}[2J".into(),
            |i| i.files[2].path = "manifests/../x".into(),
            |i| i.files[2].path = "mirror-bundle/index.json".into(),
            |i| i.files[2].path = "blobs/sha256/ab".into(),
            |i| i.files[2].size = u64::MAX,
            |i| i.files.swap(0, 1),
            |i| i.files.truncate(1),
            |i| i.files.push(i.files[2].clone()),
            |i| i.blobs.push(i.blobs[0].clone()),
            |i| i.blobs[0].size = u64::MAX,
            |i| i.name = "a\nVERIFIED".into(),
            |i| i.created = "2026-11-22T00:00:00+01:00".into(),
            |i| i.expires = Some("2026-11-21T00:00:00Z".into()),
            |i| i.source_date_epoch = Some(1 << 40),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut index = sample();
            change(&mut index);
            let err = Index::parse(&index.to_bytes().unwrap()).unwrap_err();
            assert_eq!(err.code(), Code::Malformed, "change {at}");
        }
    }
}
