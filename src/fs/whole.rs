//! A small file written whole or not at all. A killed run leaves nothing that the next one does not remove.
//!
//! It is written under one temporary name, so that the next run finds the leftover of a killed one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::dir::folder_of;
use super::durable::{try_remove, try_rename, try_sync};
use super::partial::{create_new, has_name};

/// An unfinished file. It is removed when dropped uncommitted.
pub(crate) struct AtomicFile {
    file: File,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Creates an empty, locked file at `temporary`; a killed run's leftover is removed. Mode 0644 less the umask.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when another process is writing it; otherwise the system's error.
    pub(crate) fn begin(temporary: &Path) -> io::Result<AtomicFile> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flags).open(temporary) {
            Ok(left) => {
                if matches!(left.try_lock(), Err(TryLockError::WouldBlock)) {
                    return Err(ErrorKind::WouldBlock.into());
                }
                // The previous holder of the lock may have finished, and the name may now belong to another process.
                if has_name(&left, temporary)? {
                    try_remove(temporary)?;
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            // A link, or another file that is not ours: it is never opened, only unlinked.
            Err(_) if !temporary.is_dir() => try_remove(temporary)?,
            Err(e) => return Err(e),
        }
        let file = match create_new(temporary, 0o644) {
            // Another process took the name after the check above: it is writing.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(ErrorKind::WouldBlock.into()),
            made => made?,
        };
        let whole = AtomicFile { file, path: temporary.to_owned(), committed: false };
        let locked = !matches!(whole.file.try_lock(), Err(TryLockError::WouldBlock));
        // Another process may have taken the name between creating and locking.
        if locked && whole.has_its_name()? {
            return Ok(whole);
        }
        let mut whole = whole;
        whole.committed = true;
        Err(ErrorKind::WouldBlock.into())
    }

    /// Writes the content and renames the file to `to`; both are durable on return.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when `to` exists and `replace` is not set.
    pub(crate) fn commit(mut self, bytes: &[u8], to: &Path, replace: bool) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        try_rename(&self.path, to, replace)?;
        self.committed = true;
        try_sync(folder_of(to))
    }

    fn has_its_name(&self) -> io::Result<bool> {
        has_name(&self.file, &self.path)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_appears_whole_and_what_a_killed_run_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (new, to) = (dir.path().join("f.partial"), dir.path().join("f"));
        fs::write(&new, "half").unwrap();
        AtomicFile::begin(&new).unwrap().commit(b"one", &to, false).unwrap();
        let second = AtomicFile::begin(&new).unwrap().commit(b"two", &to, false);
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"one");
        AtomicFile::begin(&new).unwrap().commit(b"two", &to, true).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_another_process_writes_is_left_alone_and_a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("f.partial");
        let first = AtomicFile::begin(&new).unwrap();
        assert_eq!(AtomicFile::begin(&new).err().unwrap().kind(), ErrorKind::WouldBlock);
        assert!(new.exists());
        drop(first);
        assert!(!new.exists());
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &new).unwrap();
        AtomicFile::begin(&new).unwrap().commit(b"x", &dir.path().join("f"), false).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn what_one_has_begun_no_other_takes_away() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("f.partial");
        let begin = || {
            for _ in 0..5_000 {
                let Ok(begun) = AtomicFile::begin(&new) else { continue };
                (0..3).for_each(|_| std::thread::yield_now());
                assert!(begun.has_its_name().unwrap());
            }
        };
        std::thread::scope(|s| (0..4).for_each(|_| _ = s.spawn(begin)));
    }

    #[test]
    fn concurrent_writers_of_a_temporary_file_cause_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("f.partial");
        let begin = || {
            for _ in 0..2_000 {
                let begun = AtomicFile::begin(&new).map(drop);
                assert!(begun.is_ok() || begun.is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
            }
        };
        std::thread::scope(|s| (0..4).for_each(|_| _ = s.spawn(begin)));
    }
}
