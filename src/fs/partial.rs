//! Unfinished files, under names that others could guess: created new, or checked before they are resumed.
//!
//! [`open_own`] and [`lock`] are for a partial file that a later run resumes. A [`TempFile`] is always new, lies in
//! the folder where it will stay, and is removed unless it is committed. A planted link, FIFO, device or second hard
//! link is never written through (security C11, I2).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::dir::{Dir, EntryKind, exists};
use super::durable::remove_if_there;
use super::small::{self, Links, Unread};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

const PREFIX: &str = ".mirror-bundle-";
const SUFFIX: &str = ".partial";

/// Which file [`open_own`] opens, always for reading and writing. It never truncates: the file could be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// An existing file.
    Existing,
    /// An existing file, opened for appending.
    ExistingAppend,
    /// An existing file, or a new one.
    ExistingOrNew,
    /// A new file; the name must not exist.
    New,
    /// A new file, opened for appending.
    NewAppend,
}

/// Opens one of our own files; no other user may write it (security C11). A link, FIFO or device planted under its
/// name is not followed or waited for, and a file with a second hard link is not written through (security I2).
pub(crate) fn open_own(path: &Path, which: Own) -> Result<File> {
    let foreign = || {
        Error::new(Code::Conflict, format!("`{}` is not a file of this program", path.display()))
            .state("it was not changed")
            .hint("remove it, or write under another name")
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).append(matches!(which, Own::ExistingAppend | Own::NewAppend));
    options.create(which == Own::ExistingOrNew).create_new(matches!(which, Own::New | Own::NewAppend));
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file =
        options.mode(0o644).custom_flags(flags.bits().cast_signed()).open(path).map_err(
            |e| match Errno::from_io_error(&e) {
                Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => foreign(),
                _ => Error::io("cannot write", path, e),
            },
        )?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(foreign()) }
}

/// Creates a new, empty file at `path`. Whatever has the name, from a killed run or from somebody else, is unlinked
/// and never opened: it may be a link to a precious file, which opening for writing would truncate (security I2).
///
/// # Errors
/// [`Code::Io`] when the name cannot be removed (a folder), or another process takes it meanwhile.
pub(crate) fn replace_own(path: &Path) -> Result<File> {
    remove_if_there(path)?;
    open_own(path, Own::New)
}

/// Opens the regular file at `path`, which the user named, for changing it.
pub(crate) fn open_existing(path: &Path, links: Links) -> Result<File, Unread> {
    small::open_as(path, links, OFlags::RDWR)
}

/// Creates the file at `path` for writing. The name must not exist: a planted link is not followed.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Whether `path` still names this open file.
pub(crate) fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    Ok(fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
}

/// Locks a file against other writing processes.
pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    let busy = match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => true,
        // The previous holder of the lock may have finished, and this is now the finished bundle, which must not be
        // written. On a file system without locks, carry on.
        _ => !has_name(file, path).map_err(|e| Error::io("cannot read", path, e))?,
    };
    if busy {
        return Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display()))
            .hint("wait for it, or write under another name"));
    }
    Ok(())
}

/// Removes a partial file that no process writes any more.
pub(crate) fn discard(path: &Path) -> Result<()> {
    if exists(path) {
        lock(&open_own(path, Own::Existing)?, path)?;
    }
    remove_if_there(path)
}

/// Raises the limit of open files as far as the system allows, for reading or writing many at once. Returns whether
/// that is enough.
pub(crate) fn allow_open_files(wanted: usize) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|most| most >= wanted as u64 + 64);
    if enough(limit.current) {
        return true;
    }
    // If this fails, opening the files reports it.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    raised.is_ok() && enough(limit.maximum)
}

/// The temporary name for the content with this digest.
pub(crate) fn temp_name(digest: &Digest) -> String {
    format!("{PREFIX}{}{SUFFIX}", &digest.hex()[..32])
}

/// Whether [`temp_name`] makes such names.
pub(crate) fn is_temp_name(name: &str) -> bool {
    let middle = name.strip_prefix(PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
    middle.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// An unfinished file in the directory it will stay in.
pub(crate) struct TempFile<'a> {
    dir: &'a Dir,
    name: String,
    file: File,
    mode: u32,
    committed: bool,
}

impl<'a> TempFile<'a> {
    /// Creates an empty file. A leftover of a killed run is removed first; if another process is still writing it, the
    /// error is `Code::Conflict`.
    pub(crate) fn create(dir: &'a Dir, digest: &Digest) -> Result<TempFile<'a>> {
        let name = temp_name(digest);
        remove_leftover(dir, &name)?;
        let file = dir.create_new(&name)?.ok_or_else(|| busy(dir, &name))?;
        // The effect on mode 0644 reveals the umask. Until the content is verified, no other user reads the file.
        let mode =
            file.metadata().map_err(|e| Error::io("cannot read", dir.at(&name), e))?.permissions().mode() & 0o777;
        let temp = TempFile { dir, name, file, mode, committed: false };
        temp.chmod(0o600)?;
        match retry_on_intr(|| rustix::fs::flock(&temp.file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => Err(busy(dir, &temp.name)),
            _ => Ok(temp),
        }
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("cannot write", self.dir.at(&self.name), e))
    }

    /// Syncs the content and renames the file to its final name, replacing an existing one. The directory is not
    /// synced.
    pub(crate) fn commit(mut self, name: &str) -> Result<()> {
        self.chmod(self.mode)?;
        self.file.sync_all().map_err(|e| Error::io("cannot sync", self.dir.at(&self.name), e))?;
        self.dir.rename(&self.name, name)?;
        self.committed = true;
        Ok(())
    }

    /// FAT has no modes, and reports that with various errors.
    fn chmod(&self, mode: u32) -> Result<()> {
        match retry_on_intr(|| rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode as _))) {
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(Error::io("cannot change the mode of", self.dir.at(&self.name), e.into())),
        }
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if !self.committed {
            let _ = self.dir.remove(&self.name);
        }
    }
}

/// Removes a leftover of ours, unless its writer is alive. A link is removed, not its target.
pub(crate) fn remove_leftover(dir: &Dir, name: &str) -> Result<()> {
    match dir.kind(name)? {
        None => Ok(()),
        Some(EntryKind::File) => {
            if let Some(file) = dir.file(name)?
                && retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared))
                    == Err(Errno::WOULDBLOCK)
            {
                return Err(busy(dir, name));
            }
            dir.remove(name)
        }
        Some(EntryKind::Symlink) => dir.remove(name),
        Some(EntryKind::Directory | EntryKind::Other) => Err(dir.wrong(name, "a temporary file of this program")),
    }
}

/// Removes what killed runs left in a directory, except files that are being written now.
pub(crate) fn remove_leftovers(dir: &Dir) -> Result<()> {
    for (name, kind) in dir.entries()? {
        if is_temp_name(&name) && matches!(kind, EntryKind::File | EntryKind::Symlink) {
            match remove_leftover(dir, &name) {
                Err(e) if e.code() == Code::Conflict => {}
                done => done?,
            }
        }
    }
    Ok(())
}

fn busy(dir: &Dir, name: &str) -> Error {
    Error::new(Code::Conflict, format!("`{}` is being written by another process", dir.at(name).display()))
        .hint("wait until it has ended, then run the same command again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_whatever_was_planted_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        type Plant = fn(&Path, &Path);
        let plants: [(&str, Plant); 5] = [
            ("nothing", |_, _| {}),
            ("a file", |_, new| fs::write(new, "left").unwrap()),
            ("a hard link", |victim, new| fs::hard_link(victim, new).unwrap()),
            ("a symbolic link", |victim, new| std::os::unix::fs::symlink(victim, new).unwrap()),
            ("a FIFO", |_, new| {
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(rustix::fs::CWD, new, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }),
        ];
        for (what, plant) in plants {
            let new = at("new");
            plant(&at("victim"), &new);
            let file = replace_own(&new).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0, "{what}");
            assert!(fs::symlink_metadata(&new).unwrap().is_file(), "{what}");
            assert_eq!(fs::read(at("victim")).unwrap(), b"precious", "{what}");
            fs::remove_file(new).unwrap();
        }
        fs::create_dir(at("folder")).unwrap();
        assert!(replace_own(&at("folder")).is_err());
    }
}
