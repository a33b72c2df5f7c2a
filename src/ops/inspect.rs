//! `inspect` and `ls`: read the index of a bundle without trusting it.

use std::sync::Arc;

use crate::bundle::index::Index;
use crate::bundle::reader::Bundle;
use crate::bundle::removal::{self, Removed};
use crate::bundle::set::Set;
use crate::bundle::{Inputs, Layout, volume::Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::report::{Attestation, Updates};
use crate::sign::cosign::ImageKey;

/// The contents of a bundle's head.
#[derive(Debug)]
pub struct Inspected {
    /// What the index lists and was not removed: well-formed, but not verified.
    pub index: Arc<Index>,
    /// Its digest.
    pub digest: Digest,
    /// What was removed according to statements in the head, in words; empty: nothing.
    pub removed: String,
    /// Whether there is a signature, good or bad.
    pub signed: bool,
    /// Expected size of the whole bundle without addenda, in bytes.
    pub bytes: u64,
    /// For a bundle in volumes: the volumes at hand (sorted), and their total number.
    pub volumes: Option<(Vec<u32>, u32)>,
    /// The attestations about its images, and how many more there are; `None` for a stream, of which only the head is
    /// read.
    pub attestations: Option<(Vec<Attestation>, u64)>,
    /// The updates that the update graph in the bundle offers; `None` if it has none, or is a stream.
    pub updates: Option<Vec<Updates>>,
}

/// Reads the head of a bundle and the attestations in it, which `keys` are tried on. With several files, the first that
/// is a bundle counts, and the others must have the same index.
pub fn inspect(inputs: Inputs, keys: &[ImageKey]) -> Result<Inspected> {
    let stream = inputs.is_stream();
    let mut opened = inputs.open()?.into_iter();
    let (first, bundle) = opened.next().ok_or_else(|| Error::new(Code::Usage, "no bundle is named"))?;
    let bundle = bundle?;
    let head = bundle.head().clone();
    let mut bundles = vec![bundle];
    let volume = |description: &Option<Vec<u8>>| description.as_deref().map(Volume::parse).transpose();
    let mut at_hand: Vec<Volume> = volume(&head.volume)?.into_iter().collect();
    for (path, other) in opened {
        let other = other?;
        if other.head().index != head.index {
            let text = format!("`{path}` belongs to another bundle than `{first}`");
            return Err(Error::new(Code::UnlistedContent, text).hint("look at one bundle at a time"));
        }
        at_hand.extend(volume(&other.head().volume)?);
        bundles.push(other);
    }
    let index = Arc::new(Index::parse(&head.index)?);
    let mut removed = Removed::default();
    for bundle in &bundles {
        removed.add(&removal::in_head(&bundle.head().removals, &index, &head.digest())?);
    }
    let layout = Layout::with(&index, &head.index, head.signature.as_deref(), &head.removals, None)?;
    let of = at_hand.first().map(|v| v.of);
    let mut numbers: Vec<u32> = at_hand.into_iter().map(|v| v.volume).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let volumes = of.map(|of| (numbers, of));
    let signed = head.signature.is_some();
    let (attestations, updates) = match stream {
        true => (None, None),
        false => attested(bundles, &index, keys).map(|(attested, updates)| (Some(attested), updates))?,
    };
    let signed_index = Arc::clone(&index);
    let index = Arc::new(removed.rest(&signed_index));
    let (digest, bytes, removed) = (head.digest(), layout.total(), removed.words(&signed_index));
    Ok(Inspected { digest, signed, bytes, index, removed, volumes, attestations, updates })
}

/// Attestations, how many more there are, and updates.
type Read = ((Vec<Attestation>, u64), Option<Vec<Updates>>);

/// What can be read of the attestations and of the update graph: damage is the business of `verify`.
fn attested(bundles: Vec<Bundle>, index: &Arc<Index>, keys: &[ImageKey]) -> Result<Read> {
    let mut parts = Vec::new();
    for bundle in bundles {
        match bundle.tolerant(Arc::clone(index)) {
            Ok(part) => parts.push(part),
            Err(e) if e.code().is_verdict() => {}
            Err(e) => return Err(e),
        }
    }
    if parts.is_empty() {
        return Ok(((Vec::new(), 0), None));
    }
    match Set::new(parts) {
        Ok(set) => Ok((crate::verify::cosign::attestations(&set, keys)?, crate::verify::graph_data::unverified(&set)?)),
        Err(e) if e.code().is_verdict() => Ok(((Vec::new(), 0), None)),
        Err(e) => Err(e),
    }
}
