//! Where verified content goes on the receiving host: directories of content-addressed files.
//!
//! Everything is hashed again while it is copied. A file appears under its final name only whole, correct and
//! synced: it is written as `.mirror-bundle-<32 hex>.partial` beside it (`O_EXCL`, 0600, locked), then renamed.
//! Running again writes nothing that is already right; an interrupted run continues at the blob.
//! Nothing is written through a symbolic link, and only files of these temporary names are ever removed.

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

/// A place for blobs, each named by its digest. Safe to use from several threads for different blobs.
pub trait BlobSink: Send + Sync {
    /// Whether the blob is here: a file of its name and size **whose content was hashed now** and is right.
    /// A file of another size or content counts as not here, and [`BlobSink::put`] replaces it.
    /// A link, directory or device under the name is `Code::Conflict`.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// Whether a file of this name and size is here. Cheap, and never a proof: for forecasts and progress only.
    fn has_size(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// The content of a blob that is here, not checked.
    fn read(&self, digest: &Digest) -> Result<Option<Box<dyn Read + '_>>>;

    /// Writes the blob from a reader, unless [`BlobSink::has`] it (then nothing is read). Other bytes than the
    /// digest says, too few or too many: `Code::BlobMismatch`, and nothing appears under its name.
    fn put(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()>;

    /// Removes left-overs of killed runs and makes the names of everything written durable. Only after it may
    /// success be reported.
    fn finish(&self) -> Result<()>;
}

#[cfg(test)]
mod tests;
