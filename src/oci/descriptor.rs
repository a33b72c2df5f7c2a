//! Descriptors: a manifest's statements about the content it points to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::{Digest, Document, Invalid};

/// Points to content: media type, digest, size in bytes. `urls` are dropped on purpose: content is never fetched from
/// an address in a document.
///
/// Members are written in the order of the image specification; absent ones are omitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Artifact type, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Platform, in an entry of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations; their order does not matter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The content itself in base64, as the document says. Never written; [`Descriptor::embedded`] checks it.
    #[serde(skip)]
    pub data: Option<Box<str>>,
}

impl Descriptor {
    /// A descriptor with the required members only. `size` is in bytes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        let (platform, annotations, artifact_type, data) = (None, BTreeMap::new(), None, None);
        Descriptor { media_type: media_type.into(), digest, size, platform, annotations, artifact_type, data }
    }

    /// The content that the descriptor carries itself (`data`), if it has the digest and the size that it should have.
    pub fn embedded(&self) -> Option<Vec<u8>> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.data.as_deref()?).ok()?;
        (bytes.len() as u64 == self.size && Digest::of(&bytes) == self.digest).then_some(bytes)
    }

    /// The entry for `document` in a list of referrers: with its artifact type, or else its configuration's media
    /// type, and its annotations (distribution-spec 1.1, "Listing Referrers").
    pub fn of_referrer(media_type: impl Into<String>, digest: Digest, size: u64, document: &Document) -> Descriptor {
        let mut entry = Descriptor::new(media_type, digest, size);
        if let Document::Manifest(manifest) = document {
            entry.artifact_type = manifest.artifact_type.clone().or_else(|| Some(manifest.config.media_type.clone()));
            entry.annotations = manifest.annotations.clone();
        }
        entry
    }
}

/// The role of a blob, in the order of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An image index.
    Index,
    /// An image manifest.
    Manifest,
    /// An image configuration.
    Config,
    /// A layer, or other content of a manifest.
    Layer,
}

impl Role {
    /// Whether blobs of this role are JSON documents that name other blobs.
    pub fn is_document(self) -> bool {
        matches!(self, Role::Index | Role::Manifest)
    }

    /// The word used in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Index => "index",
            Role::Manifest => "manifest",
            Role::Config => "config",
            Role::Layer => "layer",
        }
    }
}

/// An operating system and processor, written `os/architecture[/variant]` with Go's names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Platform {
    /// `linux`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Whether an image for `other` satisfies a request for this platform (any variant, if none was requested).
    pub fn accepts(&self, other: &Platform) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || self.variant() == other.variant())
    }

    /// The variant, also where an image may leave it out: arm64 is v8, arm is v7.
    fn variant(&self) -> Option<&str> {
        let usual = match self.architecture.as_str() {
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            _ => None,
        };
        self.variant.as_deref().filter(|v| !v.is_empty()).or(usual)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Platform, Invalid> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(good) {
            return Err(Invalid::new(format!(
                "`{text}` is not a platform; write os/architecture, for example linux/amd64"
            )));
        }
        Ok(Platform {
            os: parts[0].to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).map(|v| (*v).to_owned()),
        })
    }
}
