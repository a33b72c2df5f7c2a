//! A file that only grows: appended to under a lock, in one write, durable on return.
//!
//! Unlike other files of this program it is shared: several processes append, and a person chose its name, so a link is
//! followed. It is a regular file; a FIFO, device or folder in its place is refused without waiting.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use super::durable::try_sync;
use super::small::Unread;
use super::{dir, small};

/// How often a lock that another process holds is tried, and the pause in between: ten seconds. Holders need
/// milliseconds.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// An open file to append to.
#[derive(Debug)]
pub(crate) struct Appended {
    file: File,
    path: PathBuf,
}

/// The lock on it, until this is dropped.
pub(crate) struct Locked<'a>(&'a Appended);

impl Appended {
    /// Opens the regular file at `path`, or creates it. Mode 0644 less the umask.
    pub(crate) fn open(path: &Path) -> Result<Appended, Unread> {
        // A FIFO or device is refused before it is opened for writing.
        match fs::metadata(path) {
            Ok(meta) if !meta.is_file() => return Err(Unread::NotRegular),
            _ => {}
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o644).custom_flags(flags.bits().cast_signed());
        let file = options.open(path)?;
        if file.metadata()?.is_file() { Ok(Appended { file, path: path.to_owned() }) } else { Err(Unread::NotRegular) }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process does not release it; [`io::ErrorKind::NotFound`] when `path`
    /// no longer names this file; the system's error where files cannot be locked.
    pub(crate) fn lock(&self) -> io::Result<Locked<'_>> {
        for _ in 0..TRIES {
            match self.file.try_lock() {
                Ok(()) => {
                    let locked = Locked(self);
                    let own = self.file.metadata()?;
                    let there = fs::metadata(&self.path)?;
                    return match (there.dev(), there.ino()) == (own.dev(), own.ino()) {
                        true => Ok(locked),
                        false => Err(io::ErrorKind::NotFound.into()),
                    };
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Locked<'_> {
    /// All of it, at most `limit` bytes.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, Unread> {
        let (mut bytes, mut file) = (Vec::new(), &self.0.file);
        file.seek(SeekFrom::Start(0))?;
        small::read_open(file, limit, &mut bytes)?;
        Ok(bytes)
    }

    /// Fails if the disk has no room for `bytes` more, where its file system can tell.
    pub(crate) fn room_for(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            use rustix::io::{Errno, retry_on_intr};
            let end = self.0.file.metadata()?.len();
            match retry_on_intr(|| fallocate(&self.0.file, FallocateFlags::KEEP_SIZE, end, bytes)) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let _ = bytes;
        Ok(())
    }

    /// Appends these bytes in one write, and makes them and the name of the file durable. After a failure the file is as
    /// it was, unless that fails too.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.0.file;
        let before = file.metadata()?.len();
        let written = loop {
            match file.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let done = written.and_then(|n| match n == bytes.len() {
            true => file.sync_all(),
            false => Err(io::ErrorKind::StorageFull.into()),
        });
        if let Err(e) = done {
            let _ = file.set_len(before).and_then(|()| file.sync_all());
            return Err(e);
        }
        if before == 0 { try_sync(dir::folder_of(&self.0.path)) } else { Ok(()) }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = self.0.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_several_append_at_once_is_all_there_and_in_one_piece_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let one = |who: usize| {
            for _ in 0..50 {
                let file = Appended::open(&path).unwrap();
                let locked = file.lock().unwrap();
                let lines = locked.read(1 << 20).unwrap().iter().filter(|b| **b == b'\n').count();
                locked.append(format!("{lines} {who}\n").as_bytes()).unwrap();
            }
        };
        let one = &one;
        std::thread::scope(|s| (0..4).for_each(|who| _ = s.spawn(move || one(who))));
        let text = fs::read_to_string(&path).unwrap();
        let numbers: Vec<usize> = text.lines().map(|l| l.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn only_a_regular_file_is_appended_to_and_one_that_was_moved_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, fifo) = (dir.path().join("f"), dir.path().join("fifo"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for other in [fifo.as_path(), Path::new("/dev/full"), dir.path()] {
            assert!(matches!(Appended::open(other), Err(Unread::NotRegular)), "{}", other.display());
        }
        let file = Appended::open(&path).unwrap();
        file.lock().unwrap().append(b"1\n").unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert_eq!(file.lock().err().unwrap().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "other").unwrap();
        assert_eq!(file.lock().err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
