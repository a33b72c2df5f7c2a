//! Destinations for verified content on the receiving host: directories of content-addressed files.
//!
//! Everything is hashed again while it is copied. A file gets its final name only when it is complete, correct and
//! synced: it is written as `.mirror-bundle-<32 hex>.partial` in the same folder (`O_EXCL`, 0600, locked), then
//! renamed. Another run rewrites nothing that is already right; after an interruption it resumes at the next blob.
//! Nothing is written through a symbolic link, and only files with these temporary names are ever removed.

pub mod destination;
pub mod files;
pub(crate) mod layout;
pub mod placement;
mod repository_needs;
pub(crate) mod room;
mod store;
pub(crate) mod tree;

use std::io::Read;

use crate::error::Result;
use crate::oci::Digest;

pub use destination::{Content, Counts, Delivery, Destination, FileFolder, Watch, Way};
pub(crate) use layout::LayoutSink;
pub(crate) use tree::{TreeRepository, TreeSink};

/// A store for blobs, each named by its digest. Different blobs may be written from several threads.
pub trait BlobSink: Send + Sync {
    /// Whether the blob exists: a file of its name and size **whose content was hashed now** and is right. A file of
    /// another size or content counts as missing, and [`BlobSink::put`] replaces it. A link, directory or device under
    /// the name is `Code::Conflict`.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// Whether a file of this name and size exists. Cheap, and never a proof: for estimates and progress only.
    fn has_size(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// The content of an existing blob, unchecked.
    fn read(&self, digest: &Digest) -> Result<Option<Box<dyn Read + '_>>>;

    /// Writes the blob from a reader, unless [`BlobSink::has`] it (then nothing is read). Content that does not match
    /// the digest, or is too short or too long, is `Code::BlobMismatch`, and nothing appears under its name.
    fn put(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()>;

    /// Removes files left by killed runs and makes the names of everything written durable. Success may only be
    /// reported after this call.
    fn finish(&self) -> Result<()>;
}

#[cfg(test)]
mod tests;
