//! The carriage: how a file carries the blobs of its bundle (`spec/carriage.md`, MB-CAR).
//!
//! The index says what the bundle is. A file that does not hold every blob as it is has a carriage in its head: the
//! blobs that are absent, because the receiver has them, and those that are there in another form. Index, identity and
//! signatures stay what they are. Nothing here decides whom to trust.

mod entry;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::index::{self, FORMAT, Features, Index};
use super::limits;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Role, json};

pub use entry::{As, Content, ContentForm, Encoder, Entry, Gzip, GzipForm, Tar};

/// Path of the carriage.
pub const CARRIAGE: &str = "mirror-bundle/carriage.json";
/// Path of the signature over it.
pub const SIGNATURE: &str = "mirror-bundle/carriage.json.sig";

/// A carriage and the signature over it, as bytes: nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCarriage {
    /// The carriage. Volumes share it.
    pub carriage: Arc<Document>,
    /// The armored signature over it.
    pub signature: Option<Vec<u8>>,
}

/// The bytes of a carriage, and what they say once somebody has read them: volumes share that too, since it may take
/// more memory than all else of them.
#[derive(Debug)]
pub struct Document {
    bytes: Vec<u8>,
    read: OnceLock<Arc<Carried>>,
}

/// What a carriage says.
#[derive(Debug, PartialEq, Eq)]
pub struct Carried {
    /// The carriage.
    pub carriage: Carriage,
    /// Positions of the blobs that are absent.
    pub absent: BTreeSet<usize>,
    /// The index with members in the place of the blobs that are restored from them, if there are any.
    pub members: Option<Index>,
}

impl std::ops::Deref for Document {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Document {}

impl From<Vec<u8>> for Document {
    fn from(bytes: Vec<u8>) -> Document {
        Document { bytes, read: OnceLock::new() }
    }
}

impl SignedCarriage {
    /// From the two documents.
    pub fn new(carriage: Vec<u8>, signature: Option<Vec<u8>>) -> SignedCarriage {
        SignedCarriage { carriage: Arc::new(carriage.into()), signature }
    }

    /// The content of the member with this path, if it is one of the two.
    pub(in crate::bundle) fn content(&self, member: &str) -> Option<&[u8]> {
        match member {
            CARRIAGE => Some(&self.carriage),
            SIGNATURE => self.signature.as_deref(),
            _ => None,
        }
    }

    /// The carriage, and the signature if there is one.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&**self.carriage).chain(self.signature.as_deref())
    }

    /// Digest of the carriage.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.carriage)
    }
}

/// How the blobs of one file are carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Carriage {
    /// Format version: 1.
    pub format: u32,
    /// Features that a reader must support beyond the version.
    pub features: Features,
    /// Digest of the bundle index.
    pub index: Digest,
    /// The bundles that the receiver is believed to have, by digest. For people, and for early refusal.
    pub bases: Vec<BaseName>,
    /// Digest of the receipt or inventory that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Digest>,
    /// Blobs that differences need and this bundle does not carry, by digest.
    pub references: Vec<Reference>,
    /// The blobs that are not carried as they are, by position.
    pub blobs: Vec<Entry>,
}

/// A bundle that the receiver is believed to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseName {
    /// Digest of its index.
    pub index: Digest,
    /// Its name.
    pub name: String,
    /// Its number in the series of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

impl BaseName {
    /// Its name with its number.
    pub fn title(&self) -> String {
        index::title(&self.name, self.sequence)
    }
}

/// A blob that the receiver has and differences need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it holds, uncompressed.
    pub tar: Tar,
    /// Where it was in the base.
    pub repositories: Vec<String>,
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

impl Carriage {
    /// The carriage of a bundle that leaves these blobs out.
    pub fn absent(index: Digest, bases: Vec<BaseName>, receipt: Option<Digest>, blobs: Vec<Entry>) -> Carriage {
        let (features, references) = (Features::default(), Vec::new());
        Carriage { format: FORMAT, features, index, bases, receipt, references, blobs }
    }

    /// Serialises the carriage in its one form: two-space indent, LF, a final LF (MB-CAR-03).
    ///
    /// # Errors
    /// [`Code::Usage`] for one that is over the limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(Code::Internal, "cannot write the carriage").source(e))?;
        bytes.push(b'\n');
        if bytes.len() as u64 > limits::CARRIAGE {
            let text =
                format!("the carriage would have {} bytes; at most {} are allowed", bytes.len(), limits::CARRIAGE);
            return Err(Error::new(Code::Usage, text).hint("create several bundles, each with some of the images"));
        }
        Ok(bytes)
    }

    /// Parses the carriage of this index strictly (MB-CAR-03 to MB-CAR-06): only what [`Carriage::to_bytes`] writes.
    ///
    /// # Errors
    /// [`Code::NotABundle`] for an unknown version or incompatible feature, [`Code::Malformed`] for everything else.
    pub fn parse(bytes: &[u8], index: &Index, digest: &Digest) -> Result<Carriage> {
        let malformed = |why: String| Error::new(Code::Malformed, format!("{CARRIAGE} is not acceptable: {why}"));
        if bytes.len() as u64 > limits::CARRIAGE {
            return Err(malformed(format!("{} bytes, over the limit of {}", bytes.len(), limits::CARRIAGE)));
        }
        json::check(bytes, &[]).map_err(|e| malformed(e.to_string()))?;
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if probe.format != u64::from(FORMAT) {
            return Err(newer(&format!("the carriage has format {}", probe.format)));
        }
        let probe: FeatureProbe = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if let Some(feature) = probe.features.incompatible.first() {
            return Err(newer(&format!("the carriage needs format feature `{feature}`")));
        }
        let carriage: Carriage = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if carriage.to_bytes().ok().as_deref() != Some(bytes) {
            return Err(malformed("it is not in the canonical form of format 1".to_owned()));
        }
        carriage.check(index, digest).map_err(malformed)?;
        Ok(carriage)
    }

    fn check(&self, index: &Index, digest: &Digest) -> Result<(), String> {
        if !self.features.compatible.is_empty() {
            return Err("`features.compatible` is not empty".to_owned());
        }
        if self.index != *digest {
            return Err(format!("it is about the bundle {}", self.index));
        }
        if self.bases.len() > limits::BASES || !self.bases.is_sorted_by(|a, b| a.index < b.index) {
            return Err(format!("`bases` is not sorted, or has more than {} entries", limits::BASES));
        }
        for base in &self.bases {
            index::text("bases", &base.name)?;
            if base.index == *digest {
                return Err("the bundle is a base of itself".to_owned());
            }
        }
        self.check_references()?;
        if self.blobs.is_empty() {
            return Err("it says nothing about any blob".to_owned());
        }
        if !self.blobs.is_sorted_by(|a, b| a.blob < b.blob) {
            return Err("`blobs` is not sorted, or names one twice".to_owned());
        }
        let absent: BTreeSet<usize> = self.absentees();
        let needed: HashSet<Digest> = self.references.iter().map(|one| one.digest).collect();
        let there =
            index.blobs.iter().enumerate().find(|(at, blob)| needed.contains(&blob.digest) && !absent.contains(at));
        if let Some((_, blob)) = there {
            return Err(format!("the reference {} is in the bundle itself", blob.digest));
        }
        let mut used = vec![false; self.references.len()];
        for entry in &self.blobs {
            let blob = index.blobs.get(entry.position()).ok_or_else(|| format!("there is no blob {}", entry.blob))?;
            if blob.role != Role::Layer {
                return Err(format!("{} is a {}, which every file carries", blob.digest, blob.role.as_str()));
            }
            if blob.size <= limits::SMALL_BLOB {
                return Err(format!("{} has {} bytes only, and every file carries it", blob.digest, blob.size));
            }
            entry.check(blob).map_err(|why| format!("{}: {why}", blob.digest))?;
            let Some(at) = entry.content.as_ref().and_then(|content| content.reference) else { continue };
            let reference = self.references.get(at as usize).ok_or_else(|| format!("there is no reference {at}"))?;
            if reference.digest == blob.digest {
                return Err(format!("{} is a difference to itself", blob.digest));
            }
            used[at as usize] = true;
        }
        match used.iter().position(|used| !used) {
            Some(at) => Err(format!("nothing needs the reference {}", self.references[at].digest)),
            None => Ok(()),
        }
    }

    fn check_references(&self) -> Result<(), String> {
        if self.references.len() > limits::REFERENCES || !self.references.is_sorted_by(|a, b| a.digest < b.digest) {
            return Err(format!("`references` is not sorted, or has more than {} entries", limits::REFERENCES));
        }
        for one in &self.references {
            if one.size == 0 || one.size > limits::BLOB {
                return Err(format!("the reference {} has {} bytes", one.digest, one.size));
            }
            one.tar.check(one.size).map_err(|why| format!("the reference {}: {why}", one.digest))?;
            entry::repositories(&one.repositories)?;
        }
        Ok(())
    }

    /// Positions of the blobs that are absent.
    pub fn absentees(&self) -> BTreeSet<usize> {
        self.blobs.iter().filter(|entry| entry.form == As::Absent).map(Entry::position).collect()
    }

    /// The entry of the blob at this position, if it is carried as a member from which it is restored.
    pub fn encoded(&self, blob: usize) -> Option<&Entry> {
        let at = self.blobs.binary_search_by_key(&blob, Entry::position).ok()?;
        self.blobs.get(at).filter(|entry| entry.form == As::Encoded)
    }

    /// What the blob of an entry is a difference to.
    pub fn reference(&self, entry: &Entry) -> Option<&Reference> {
        self.references.get(entry.content.as_ref()?.reference? as usize)
    }

    /// The index with members in the place of the blobs that are restored from them: what is in the file. `None`: it is
    /// the index itself.
    pub fn carried(&self, index: &Index) -> Option<Index> {
        let mut out = None;
        for entry in self.blobs.iter().filter(|entry| entry.form == As::Encoded) {
            let out: &mut Index = out.get_or_insert_with(|| index.clone());
            if let (Some(blob), Some(size), Some(digest)) =
                (out.blobs.get_mut(entry.position()), entry.size, entry.digest)
            {
                (blob.size, blob.digest) = (size, digest);
            }
        }
        out
    }
}

fn newer(what: &str) -> Error {
    Error::new(Code::NotABundle, format!("{what}, which this version does not know"))
        .fact(format!("this is mirror-bundle {}, format {FORMAT}", env!("CARGO_PKG_VERSION")))
        .hint("bring a newer mirror-bundle across with the bundle")
}

/// The carriage in the head of one file.
///
/// # Errors
/// As [`Carriage::parse`].
pub fn in_head(signed: Option<&SignedCarriage>, index: &Index, digest: &Digest) -> Result<Option<Arc<Carried>>> {
    let Some(signed) = signed else { return Ok(None) };
    // A digest names one index only.
    if let Some(read) = signed.carriage.read.get().filter(|read| read.carriage.index == *digest) {
        return Ok(Some(read.clone()));
    }
    let carriage = Carriage::parse(&signed.carriage, index, digest)?;
    let read = Arc::new(Carried { absent: carriage.absentees(), members: carriage.carried(index), carriage });
    Ok(Some(signed.carriage.read.get_or_init(|| read).clone()))
}

#[cfg(test)]
mod tests;
