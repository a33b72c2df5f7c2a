//! What a bundle says about its images, one by one: when they were made, how large they are, what they share, and what
//! is attached to them. Nothing of it is verified: it is what the sender claims.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use serde::Serialize;
use serde_json::Value;

use super::shelf::{Member, Shelf, called};
use crate::bundle::index::{Image, Index, Kind};
use crate::oci::{Digest, Document, Manifest, parse};

/// The largest configuration or attached document that is read.
pub const READ: u64 = 4 << 20;
/// The most bytes of all attached documents that are read.
const READ_ALL: u64 = 64 << 20;
/// The most characters of a claim.
const TEXT: usize = 200;

/// Something that is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Attached {
    /// `signature`, `attestation`, `sbom` or `other`.
    pub kind: &'static str,
    /// The type that it says it has: a predicate type, or a media type.
    pub r#type: String,
    /// Who it says made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The digest of its manifest.
    pub manifest: Digest,
}

/// What the bundle says about one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageClaims {
    /// Its name.
    pub name: String,
    /// Its platform, for an image of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// When it says it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its layers and configuration in bytes.
    pub size: u64,
    /// The number of layers.
    pub layers: u64,
    /// How many of them other images of the bundle have too.
    pub shared_layers: u64,
    /// The bytes of those.
    pub shared_size: u64,
    /// What is attached to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<Attached>,
}

/// Reads a blob of at most [`READ`] bytes; `None` if it is not at hand.
pub type Blobs<'b> = dyn FnMut(&Digest) -> Option<Vec<u8>> + 'b;

/// What a bundle says about each image.
pub fn images<'d>(
    index: &Index,
    shelf: &Shelf,
    documents: &dyn Fn(&Digest) -> Option<&'d [u8]>,
    blobs: &mut Blobs<'_>,
) -> Vec<ImageClaims> {
    let attached = attached(index, shelf, documents, blobs);
    let mut out = Vec::new();
    for member in shelf.members().iter().filter(|member| member.runs) {
        let layers: BTreeMap<Digest, u64> = member.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        let elsewhere = |digest: &Digest| {
            let carriers = shelf.get(digest).map(|carried| carried.carriers.as_slice()).unwrap_or_default();
            carriers.iter().any(|(other, _)| shelf.members()[*other].digest != member.digest)
        };
        let shared: Vec<u64> = layers.iter().filter(|(digest, _)| elsewhere(digest)).map(|(_, size)| *size).collect();
        let config = blobs(&member.config.digest).filter(|_| member.config.size <= READ);
        let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let created = config.as_ref().and_then(|config| config["created"].as_str()).map(short);
        let tops = member.images.iter().filter_map(|at| index.images.get(*at)).map(|image| image.digest);
        let about: BTreeSet<Digest> = tops.chain([member.digest]).collect();
        let mut own: Vec<Attached> =
            about.iter().filter_map(|digest| attached.get(digest)).flatten().cloned().collect();
        own.sort();
        own.dedup();
        out.push(ImageClaims {
            name: shelf.name(index, member),
            platform: member.platform.as_ref().map(ToString::to_string),
            digest: member.digest,
            created,
            size: layers.values().sum::<u64>() + member.config.size,
            layers: member.layers.len() as u64,
            shared_layers: shared.len() as u64,
            shared_size: shared.iter().sum(),
            attached: own,
        });
    }
    out
}

/// What is attached, by the image that it is about.
fn attached<'d>(
    index: &Index,
    shelf: &Shelf,
    documents: &dyn Fn(&Digest) -> Option<&'d [u8]>,
    blobs: &mut Blobs<'_>,
) -> BTreeMap<Digest, Vec<Attached>> {
    let mut out: BTreeMap<Digest, Vec<Attached>> = BTreeMap::new();
    let mut left = READ_ALL;
    for member in shelf.members() {
        let image = member.images.first().and_then(|at| index.images.get(*at));
        let Some(about) = member.about.or_else(|| image.and_then(subject)) else { continue };
        let parsed = documents(&member.digest).and_then(|bytes| parse(bytes, &member.media_type).ok());
        let Some(Document::Manifest(manifest)) = parsed else { continue };
        let name = image.map(called).unwrap_or_default();
        let found = statements(member, &manifest, &name, &mut |digest, size| {
            left = left.checked_sub(size).filter(|_| size <= READ)?;
            blobs(digest)
        });
        out.entry(about).or_default().extend(found);
    }
    out
}

/// The image that an image of the index is about: its signature, attestation or SBOM.
pub(super) fn subject(image: &Image) -> Option<Digest> {
    let tagged = || image.tag.as_deref().and_then(crate::oci::attached_to);
    image.subject.or_else(tagged).filter(|_| matches!(image.kind, Kind::Signature | Kind::Referrer))
}

/// What a manifest attaches: mostly one thing in each layer.
fn statements(
    member: &Member,
    manifest: &Manifest,
    name: &str,
    read: &mut dyn FnMut(&Digest, u64) -> Option<Vec<u8>>,
) -> Vec<Attached> {
    let mut out = Vec::new();
    for layer in &manifest.layers {
        let noted = |key: &str| layer.annotations.get(key).or_else(|| manifest.annotations.get(key)).cloned();
        let predicate = noted("predicateType")
            .or_else(|| noted("in-toto.io/predicate-type"))
            .or_else(|| noted("dev.sigstore.bundle.predicateType"));
        let content = match layer.size <= READ {
            true => read(&layer.digest, layer.size).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()),
            false => None,
        };
        let statement = content.as_ref().map(statement);
        let stated = statement.as_ref().and_then(|s| s["predicateType"].as_str()).map(str::to_owned);
        let of_artifact = manifest.artifact_type.clone().filter(|kind| !kind.is_empty());
        let bare = of_artifact.unwrap_or_else(|| layer.media_type.clone());
        let kind = stated.or(predicate).unwrap_or(bare);
        let author = statement.as_ref().and_then(author).or_else(|| noted("org.opencontainers.image.authors"));
        let kind = short(&kind);
        let class = class(&kind, &layer.media_type, name);
        out.push(Attached { kind: class, r#type: kind, author: author.map(|a| short(&a)), manifest: member.digest });
    }
    out.dedup();
    out
}

fn class(kind: &str, media_type: &str, name: &str) -> &'static str {
    let of = |words: &[&str]| words.iter().any(|word| kind.contains(word) || media_type.contains(word));
    if of(&["spdx", "cyclonedx", "syft"]) || name.ends_with(".sbom") {
        "sbom"
    } else if of(&["simplesigning", "cosign.sign", "notary.signature"]) || name.ends_with(".sig") {
        "signature"
    } else if of(&["in-toto", "slsa", "dsse", "vuln", "attestation", "openvex", "scout"]) || name.ends_with(".att") {
        "attestation"
    } else {
        "other"
    }
}

/// The statement in an envelope or a Sigstore bundle; else the document itself.
fn statement(document: &Value) -> Value {
    let envelope = if document["dsseEnvelope"].is_object() { &document["dsseEnvelope"] } else { document };
    let payload = envelope["payload"].as_str().and_then(|p| base64::engine::general_purpose::STANDARD.decode(p).ok());
    payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| document.clone())
}

/// Who made it, as SPDX, CycloneDX, SLSA and VEX say it.
fn author(statement: &Value) -> Option<String> {
    let predicate = if statement["predicate"].is_object() { &statement["predicate"] } else { statement };
    let list = |value: &Value| -> Option<String> {
        let words: Vec<&str> =
            value.as_array()?.iter().filter_map(|one| one.as_str().or(one["name"].as_str())).collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    list(&predicate["creationInfo"]["creators"])
        .or_else(|| list(&predicate["metadata"]["authors"]))
        .or_else(|| list(&predicate["metadata"]["tools"]))
        .or_else(|| list(&predicate["metadata"]["tools"]["components"]))
        .or_else(|| text(&predicate["builder"]["id"]))
        .or_else(|| text(&predicate["runDetails"]["builder"]["id"]))
        .or_else(|| text(&predicate["scanner"]["uri"]))
        .or_else(|| text(&predicate["author"]))
}

fn short(text: &str) -> String {
    text.chars().take(TEXT).collect()
}
