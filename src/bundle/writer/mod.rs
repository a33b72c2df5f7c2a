//! Writes a bundle, whole or in volumes: every byte at its final offset in `NAME.partial`, renamed when complete.
//!
//! [`plan`] determines every byte except the blobs, [`partial`] holds the unfinished files, [`blob`] writes a blob to
//! its places in them. [`crate::fs`] opens, locks, reserves, syncs and renames files. One small [`journal`] beside the
//! partial files saves transfers. It is not trusted: what it claims is hashed again. Spec: MB-WRI, MB-VOL.

mod blob;
mod journal;
mod partial;
mod plan;

use std::path::{Path, PathBuf};

pub use blob::BlobWriter;
pub use journal::{Claim, Journal};
pub use partial::{Partial, Sealed, Start};
pub use plan::{Archive, BlobPlace, Plan, addendum};

/// Size of copy buffers in bytes.
pub const BUFFER: usize = 1 << 20;
/// The journal records the progress of a blob every so many bytes.
const NOTE_EVERY: u64 = 8 << 20;

/// `NAME.partial`: the name of an unfinished file.
pub fn partial_path(file: &Path) -> PathBuf {
    with_suffix(file, ".partial")
}

/// `NAME.partial.journal`, of the file that [`Plan::first`] names.
pub fn journal_path(first: &Path) -> PathBuf {
    with_suffix(first, ".partial.journal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
