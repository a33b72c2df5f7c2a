//! Appends an addendum to a finished bundle without rewriting it.
//!
//! The content is written behind the end of the archive and synced; only then does its header replace the first
//! zero block, in one write of one sector. A crash before that leaves a bundle that says what happened and that
//! the next append puts right (MB-ADD-03).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::layout::{ADDENDA, END};
use super::{limits, name, tar};
use crate::error::{Code, Error, Result};

/// Removes what an interrupted append left behind the end of the archive at `end`. Returns whether there was
/// something. Nothing is touched when the archive does not end there.
pub fn recover(path: &Path, end: u64) -> Result<bool> {
    let file = open(path)?;
    let err = |e| Error::io("cannot write", path, e);
    let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
    let mut block = [0u8; 512];
    file.read_exact_at(&mut block, end).map_err(|e| Error::io("cannot read", path, e))?;
    let mut second = [0u8; 512];
    let torn = length < end + END || length > end + END || {
        file.read_exact_at(&mut second, end + tar::BLOCK).map_err(|e| Error::io("cannot read", path, e))?;
        second != [0; 512]
    };
    if block != [0; 512] || !torn {
        return Ok(false);
    }
    file.set_len(end + END).map_err(err)?;
    file.write_all_at(&[0; 512], end + tar::BLOCK).map_err(err)?;
    file.sync_all().map_err(err)?;
    Ok(true)
}

/// Appends `bytes` as addendum `addendum` at `end`, where the archive now ends.
///
/// # Errors
/// [`Code::Malformed`] for a name or size over a limit; [`Code::Io`] when the file cannot be written.
pub fn append(path: &Path, end: u64, mtime: u64, addendum: &str, bytes: &[u8]) -> Result<u64> {
    let full = format!("{ADDENDA}{addendum}");
    if bytes.len() as u64 > limits::ADDENDUM || addendum.contains('/') || name::check(&full).is_err() {
        return Err(Error::new(Code::Malformed, format!("`{addendum}` cannot be an addendum")));
    }
    let file = open(path)?;
    lock(&file, path)?;
    let err = |e| Error::io("cannot write", path, e);
    let size = bytes.len() as u64;
    let mut content = bytes.to_vec();
    content.resize(usize::try_from(tar::padded(size) + END).unwrap_or(usize::MAX), 0);
    file.write_all_at(&content, end + tar::BLOCK).map_err(err)?;
    file.sync_all().map_err(err)?;
    file.write_all_at(&tar::header(&full, size, mtime), end).map_err(err)?;
    file.sync_all().map_err(err)?;
    Ok(end + tar::BLOCK + tar::padded(size))
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|e| {
        let read_only =
            matches!(e.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem);
        let err = Error::io("cannot write", path, e);
        if read_only { err.hint("on a read-only medium, write the signature beside the bundle: --detach") } else { err }
    })
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display())))
        }
        _ => Ok(()),
    }
}
