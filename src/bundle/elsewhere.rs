//! Other places than the parts of a bundle that may have its blobs.

use std::fmt::Debug;
use std::io::Read;

use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// Where one blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The place.
    pub(super) place: usize,
    pub(super) digest: Digest,
}

/// Places that may have what a bundle does not carry. Whoever reads from one compares the digest.
pub trait Elsewhere: Debug + Send + Sync {
    /// The places that have a blob of this digest and size, as far as can be found without reading it.
    fn find(&self, digest: &Digest, size: u64) -> Vec<Copy>;
    /// The name of the place of a copy, for messages.
    fn name(&self, copy: &Copy) -> &str;
    /// Opens a copy.
    fn open_copy(&self, copy: &Copy) -> Result<Box<dyn Read + '_>>;
    /// If a place is a bundle from which this blob was removed: the name of the place.
    fn removed_from(&self, digest: &Digest) -> Option<&str>;
}

/// No place.
#[derive(Debug)]
pub(super) struct Nowhere;

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

    fn removed_from(&self, _: &Digest) -> Option<&str> {
        None
    }
}
