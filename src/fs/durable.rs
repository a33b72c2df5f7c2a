//! Durable names: rename without replacing, remove, and sync the folder that holds a name.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::dir::folder_of;
use crate::error::{Code, Error, Result};

/// Renames a file. The new name is not yet durable.
///
/// # Errors
/// [`Code::Conflict`] when the new name exists and `force` is not set.
pub(crate) fn rename(from: &Path, to: &Path, force: bool) -> Result<()> {
    try_rename(from, to, force).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists if !force => already_exists(to),
        _ => Error::io("cannot name", to, e),
    })
}

/// The same, with the system's error: [`io::ErrorKind::AlreadyExists`] when the new name exists and `replace` is not
/// set.
pub(crate) fn try_rename(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::{Errno, retry_on_intr};
    if replace {
        return fs::rename(from, to);
    }
    match retry_on_intr(|| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)) {
        // No RENAME_NOREPLACE here: check, then rename (racy).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        done => Ok(done?),
    }
}

/// Removes a file that may not exist.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    try_remove(path).map_err(|e| Error::io("cannot remove", path, e))
}

/// The same, with the system's error.
pub(crate) fn try_remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes the name of a file durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    try_sync(folder_of(path)).map_err(|e| Error::io("cannot sync", folder_of(path), e))
}

/// Makes the names in a folder durable, where its file system can: some order renames by themselves.
pub(crate) fn try_sync(folder: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match File::open(folder)?.sync_all() {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)) => Ok(()),
        done => done,
    }
}

/// The error for a file that exists and may not be replaced.
pub(crate) fn already_exists(path: &Path) -> Error {
    Error::new(Code::Conflict, format!("`{}` already exists", path.display()))
        .state("it was not changed")
        .hint("choose another name, or replace it with --force")
}
