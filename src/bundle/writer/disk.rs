//! Files of ours on a disk that others use too: opened for us alone, locked, reserved, named, made durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::exists;
use crate::error::{Code, Error, Result};

/// Opens a file of ours, for nobody else to write (security C11). A link, FIFO or device that somebody put under its
/// name is not followed or waited for, and a file that has another name too is not written through (security I2).
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    use std::os::unix::fs::MetadataExt;
    let foreign = || {
        Error::new(Code::Conflict, format!("`{}` is not a file of this program", path.display()))
            .state("it was left as it is")
            .hint("remove it, or write under another name")
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = options.mode(0o644).custom_flags(flags.bits().cast_signed()).open(path).map_err(|e| {
        use rustix::io::Errno;
        match Errno::from_io_error(&e) {
            Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => foreign(),
            _ => Error::io("cannot write", path, e),
        }
    })?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(foreign()) }
}

/// Locks a file against other processes that write it.
pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    let busy = match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => true,
        // Who had the lock may have finished, and this is the finished bundle: not to be written any more.
        // (A file system without locks: carry on, as there is nothing to ask.)
        _ => !fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())),
    };
    if busy {
        return Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display()))
            .hint("wait for it, or write under another name"));
    }
    Ok(())
}

/// Reserves the whole size, so that a disk that is too small is found before the first transfer.
pub(crate) fn allocate(file: &File, total: u64, path: &Path) -> Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, total)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            file.set_len(total).map_err(|e| Error::io("cannot reserve room for", path, e))
        }
        Err(e) => Err(Error::io("cannot reserve room for", path, e.into())),
    }
}

/// Allows as many open files as the system does, for a bundle in many volumes.
pub(crate) fn allow_files(wanted: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|now| now < wanted as u64 + 64) {
        // If not, opening them says what is wrong.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

pub(crate) fn rename(from: &Path, to: &Path, force: bool) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    if force {
        return fs::rename(from, to).map_err(|e| Error::io("cannot name", to, e));
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists(to)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(exists(to));
            }
            fs::rename(from, to).map_err(|e| Error::io("cannot name", to, e))
        }
        Err(e) => Err(Error::io("cannot name", to, e.into())),
    }
}

/// Removes a partial file that nobody writes any more.
pub(crate) fn discard(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        lock(&open_own(path, OpenOptions::new().read(true).write(true))?, path)?;
    }
    remove_if_there(path)
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let dir = File::open(parent).map_err(|e| Error::io("cannot open", parent, e))?;
    match dir.sync_all() {
        // Some file systems cannot sync a directory; they order renames by themselves.
        Err(e) if matches!(e.raw_os_error(), Some(22 | 95)) => Ok(()),
        other => other.map_err(|e| Error::io("cannot write", parent, e)),
    }
}
