//! Writes a bundle, whole or in volumes: every byte at its final offset in `NAME.partial`, renamed when complete.
//!
//! `plan` fixes every byte but the blobs', `partial` holds the files that are being written, `blob` writes a
//! blob to the one or more places that it has in them. Files are opened, locked, reserved, synced and named by
//! [`crate::fs`]. Beside the partial files there is one small `journal`, which saves transfers and is never believed:
//! what it claims is hashed again before it counts. Spec: MB-WRI, MB-VOL.

mod blob;
mod journal;
mod partial;
mod plan;

use std::path::{Path, PathBuf};

pub use blob::BlobWriter;
pub use journal::{Claim, Journal};
pub use partial::{Partial, Sealed, Start, forget};
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
