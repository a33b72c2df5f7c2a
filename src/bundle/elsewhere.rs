//! Other places than the parts of a bundle that may have its blobs.

use std::fmt::Debug;
use std::io::Read;
use std::sync::Arc;

use super::restore::Kitchen;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// Where one blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The place.
    pub(super) place: usize,
    pub(super) digest: Digest,
    /// Which copy of several that the place has.
    pub(super) replica: usize,
}

/// Places that may have what a bundle does not carry. Whoever reads from one compares the digest.
pub trait Elsewhere: Debug + Send + Sync {
    /// The places that have a blob of this digest and size, as far as can be found without reading it.
    fn find(&self, digest: &Digest, size: u64) -> Vec<Copy>;
    /// The name of the place of a copy, for messages.
    fn name(&self, copy: &Copy) -> &str;
    /// Opens a copy.
    fn open_copy(&self, copy: &Copy) -> Result<Box<dyn Read + '_>>;
    /// Where references are unpacked.
    fn kitchen(&self) -> &Kitchen;
    /// Adds a place, which is asked last.
    fn attach(&self, place: Arc<dyn Remote>);
    /// Whether a blob of this digest and size is in one of the places, or was unpacked from it.
    fn supplies(&self, digest: &Digest, size: u64) -> bool {
        self.kitchen().has(digest) || !self.find(digest, size).is_empty()
    }
    /// Opens a blob that a place has.
    ///
    /// # Errors
    /// [`Code::BlobMissing`] if none has it.
    fn open_blob(&self, digest: &Digest, size: u64) -> Result<Box<dyn Read + '_>> {
        let copy = self.find(digest, size).into_iter().next();
        let missing = || Error::new(Code::BlobMissing, format!("{digest} is in no place that was given"));
        self.open_copy(&copy.ok_or_else(missing)?)
    }
    /// If a place is a bundle from which this blob was removed: the name of the place.
    fn removed_from(&self, digest: &Digest) -> Option<&str>;
}

/// A registry that has blobs.
pub trait Remote: Debug + Send + Sync {
    /// Whether it has a blob of this digest and size.
    fn has(&self, digest: &Digest, size: u64) -> bool;
    /// The bytes of a blob, unchecked.
    ///
    /// # Errors
    /// Those of asking for it.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read>>;
}

/// No place.
#[derive(Debug, Default)]
pub(super) struct Nowhere(Kitchen);

impl Elsewhere for Nowhere {
    fn find(&self, _: &Digest, _: u64) -> Vec<Copy> {
        Vec::new()
    }

    fn name(&self, _: &Copy) -> &str {
        ""
    }

    fn open_copy(&self, copy: &Copy) -> Result<Box<dyn Read + '_>> {
        Err(Error::new(Code::BlobMissing, format!("{} is nowhere", copy.digest)))
    }

    fn kitchen(&self) -> &Kitchen {
        &self.0
    }

    fn attach(&self, _: Arc<dyn Remote>) {}

    fn removed_from(&self, _: &Digest) -> Option<&str> {
        None
    }
}
