//! The small blobs that are needed whole: signed payloads, and what a graph-data image is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::{cosign, graph_data};
use crate::bundle::index::Index;
use crate::bundle::set::Set;
use crate::error::Result;
use crate::oci::Digest;

/// Blobs by digest, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Kept {
    wanted: BTreeMap<Digest, u64>,
    bytes: BTreeMap<Digest, Vec<u8>>,
}

impl Kept {
    /// The blobs that the checks of this bundle need, and none of their bytes yet.
    pub(super) fn new(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> Kept {
        let signed = cosign::payloads(index, documents).into_iter().map(|digest| (digest, cosign::LARGEST));
        let mut wanted: BTreeMap<Digest, u64> = signed.collect();
        for (digest, limit) in graph_data::wanted(index, documents) {
            let old = wanted.entry(digest).or_default();
            *old = limit.max(*old);
        }
        Kept { wanted, bytes: BTreeMap::new() }
    }

    /// The digests of all of them.
    pub(super) fn wanted(&self) -> BTreeSet<Digest> {
        self.wanted.keys().copied().collect()
    }

    /// For a file: reads them now.
    ///
    /// # Errors
    /// Only failures that prevent the checks: damage is reported with all other digests.
    pub(super) fn read_ahead(&mut self, set: &Set) -> Result<()> {
        for (at, blob) in set.index().blobs.iter().enumerate() {
            let Some(limit) = self.wanted.get(&blob.digest) else { continue };
            match set.read(at, *limit) {
                Ok(bytes) => _ = self.bytes.insert(blob.digest, bytes),
                Err(e) if e.code().is_verdict() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether the bytes of a blob of this size are to be kept as they pass.
    pub(super) fn wants(&self, digest: &Digest, size: u64) -> bool {
        self.wanted.get(digest).is_some_and(|limit| size <= *limit)
    }

    /// Keeps a blob that passed, and matched its digest.
    pub(super) fn keep(&mut self, digest: Digest, bytes: Vec<u8>) {
        self.bytes.insert(digest, bytes);
    }

    /// What was read.
    pub(super) fn into_bytes(self) -> BTreeMap<Digest, Vec<u8>> {
        self.bytes
    }
}
