//! `inspect` and `ls`: read the index of a bundle without trusting it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::{self, ImageClaims};
use super::form::Form;
use super::shelf::Shelf;

use crate::bundle::carriage::{self, Carriage, Entry};
use crate::bundle::index::Index;
use crate::bundle::reader::Bundle;
use crate::bundle::removal::{self, Removed};
use crate::bundle::set::Set;
use crate::bundle::{Inputs, Layout, limits, volume::Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::report::{Attestation, Updates};
use crate::sign::cosign::ImageKey;

/// A member from which a blob is restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Encoded {
    /// How it holds the content of the blob: `delta-1` or `zstd`.
    pub content: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
}

fn members(carriage: &Carriage, index: &Index) -> BTreeMap<Digest, Encoded> {
    let one = |entry: &Entry| {
        let content = entry.content.as_ref()?.method.as_str();
        Some((index.blobs.get(entry.position())?.digest, Encoded { content, bytes: entry.size? }))
    };
    carriage.blobs.iter().filter_map(one).collect()
}

/// The contents of a bundle's head.
#[derive(Debug)]
pub struct Inspected {
    /// What the index lists and was not removed: well-formed, but not verified.
    pub index: Arc<Index>,
    /// Its digest.
    pub digest: Digest,
    /// What was removed according to statements in the head, in words; empty: nothing.
    pub removed: String,
    /// What is left out, because the receiver has it.
    pub form: Option<Form>,
    /// The blobs that are left out.
    pub absent: BTreeSet<Digest>,
    /// The blobs that the file carries as members from which they are restored.
    pub encoded: BTreeMap<Digest, Encoded>,
    /// Whether there is a signature, good or bad.
    pub signed: bool,
    /// Expected size of the whole bundle without addenda, in bytes.
    pub bytes: u64,
    /// For a bundle in volumes: the volumes at hand (sorted), and their total number.
    pub volumes: Option<(Vec<u32>, u32)>,
    /// The attestations about its images, and how many more there are; `None` for a stream, of which only the head is
    /// read.
    pub attestations: Option<(Vec<Attestation>, u64)>,
    /// What it says about each image; `None` for a stream, and for `ls`.
    pub images: Option<Vec<ImageClaims>>,
    /// The updates that the update graph in the bundle offers; `None` if it has none, or is a stream.
    pub updates: Option<Vec<Updates>>,
}

/// Reads the head of a bundle and the attestations in it, which `keys` are tried on. With several files, the first that
/// is a bundle counts, and the others must have the same index. `images`: also reads what it says about each image.
pub fn inspect(inputs: Inputs, keys: &[ImageKey], images: bool) -> Result<Inspected> {
    let stream = inputs.is_stream();
    let mut opened = inputs.open()?.into_iter();
    let (first, bundle) = opened.next().ok_or_else(|| Error::new(Code::Usage, "no bundle is named"))?;
    let bundle = bundle?;
    let head = bundle.head().clone();
    let mut bundles = vec![bundle];
    let volume = |description: &Option<Vec<u8>>| description.as_deref().map(Volume::parse).transpose();
    let mut numbered: Vec<Volume> = volume(&head.volume)?.into_iter().collect();
    for (path, other) in opened {
        let other = other?;
        if other.head().index != head.index {
            let text = format!("`{path}` belongs to another bundle than `{first}`");
            return Err(Error::new(Code::UnlistedContent, text).hint("look at one bundle at a time"));
        }
        numbered.extend(volume(&other.head().volume)?);
        bundles.push(other);
    }
    let index = Arc::new(Index::parse(&head.index)?);
    let mut removed = Removed::default();
    for bundle in &bundles {
        removed.add(&removal::in_head(&bundle.head().removals, &index, &head.digest())?);
    }
    let full = Layout::new(&index, &head.index, head.signature.as_deref())?.total();
    let layout = Layout::with(&index, &head.index, head.signature.as_deref(), head.form(), None)?;
    // What one of the files has is there.
    let mut absent: BTreeSet<Digest> = layout.absent().iter().map(|at| index.blobs[*at].digest).collect();
    let mut encoded: BTreeMap<Digest, Encoded> = layout.carriage().map(|one| members(one, &index)).unwrap_or_default();
    for other in bundles.iter().skip(1) {
        let carriage = carriage::in_head(other.head().carriage.as_ref(), &index, &head.digest())?;
        let own = carriage.as_ref().map(|carried| carried.absent.clone()).unwrap_or_default();
        let own: BTreeSet<Digest> = own.into_iter().map(|at| index.blobs[at].digest).collect();
        let restored = carriage.as_ref().map(|one| members(&one.carriage, &index)).unwrap_or_default();
        encoded.retain(|digest, _| own.contains(digest) || restored.contains_key(digest));
        encoded.extend(restored.into_iter().filter(|(digest, _)| absent.contains(digest)));
        absent.retain(|digest| own.contains(digest));
    }
    let form = Form::in_layout(&index, &layout, full).filter(|_| !(absent.is_empty() && encoded.is_empty()));
    let of = numbered.first().map(|v| v.of);
    let mut numbers: Vec<u32> = numbered.into_iter().map(|v| v.volume).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let volumes = of.map(|of| (numbers, of));
    let signed = head.signature.is_some();
    let bytes = layout.total();
    let mut seen = Inspected {
        digest: head.digest(),
        form,
        absent,
        encoded,
        signed,
        bytes,
        removed: removed.words(&index),
        index: Arc::new(removed.rest(&index)),
        volumes,
        attestations: None,
        images: None,
        updates: None,
    };
    if !stream {
        let set = at_hand(bundles, &index)?;
        seen.attestations =
            Some(set.as_ref().map_or(Ok((Vec::new(), 0)), |s| crate::verify::cosign::attestations(s, keys))?);
        seen.updates = set.as_ref().map(crate::verify::updates).transpose()?.flatten();
        seen.images = set.filter(|_| images).map(|set| claims(&set)).transpose()?;
    }
    Ok(seen)
}

/// What the bundle says about each image, as far as it can be read.
fn claims(set: &Set) -> Result<Vec<ImageClaims>> {
    let index = set.index();
    let read = |at: usize, limit: u64| match set.read(at, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.code().is_verdict() => Ok(None),
        Err(e) => Err(e),
    };
    let mut documents = BTreeMap::new();
    let places: BTreeMap<Digest, usize> = index.blobs.iter().zip(0..).map(|(blob, at)| (blob.digest, at)).collect();
    for (at, blob) in index.blobs.iter().enumerate().filter(|(_, blob)| blob.role.is_document()) {
        documents.extend(read(at, limits::DOCUMENT)?.map(|bytes| (blob.digest, bytes)));
    }
    let document = |digest: &Digest| documents.get(digest).map(Vec::as_slice);
    let shelf = Shelf::new(index, &document);
    let mut failed = None;
    let listed = claims::images(index, &shelf, &document, &mut |digest| {
        let at = *places.get(digest)?;
        (index.blobs[at].size <= claims::READ).then(|| {
            read(at, claims::READ).unwrap_or_else(|e| {
                failed.get_or_insert(e);
                None
            })
        })?
    });
    failed.map_or(Ok(listed), Err)
}

/// The parts that can be read: damage is the business of `verify`.
fn at_hand(bundles: Vec<Bundle>, index: &Arc<Index>) -> Result<Option<Set>> {
    let mut parts = Vec::new();
    for bundle in bundles {
        match bundle.tolerant(Arc::clone(index)) {
            Ok(part) => parts.push(part),
            Err(e) if e.code().is_verdict() => {}
            Err(e) => return Err(e),
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    match Set::new(parts) {
        Ok(set) => Ok(Some(set)),
        Err(e) if e.code().is_verdict() || e.code() == Code::Internal => Ok(None),
        Err(e) => Err(e),
    }
}
