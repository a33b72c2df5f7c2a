//! Writes a bundle, whole or in volumes: every byte at its final offset in `NAME.partial`, renamed when all is right.
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
pub use partial::{Partial, Sealed, Start};
pub use plan::{Archive, BlobPlace, Plan, addendum};

/// Size of the buffers that content is copied with.
pub const BUFFER: usize = 1 << 20;
/// After how many bytes of one blob its progress is noted in the journal.
const NOTE_EVERY: u64 = 8 << 20;

/// `NAME.partial`: what a file is called until it is finished.
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
