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

/// A new, empty file at `path`. What has the name, from a killed run or from somebody else, loses it and is never opened:
/// it may be a link to something precious, which opening to write would empty (security I2).
///
/// # Errors
/// [`Code::Io`] when the name cannot be taken away, as of a folder, or somebody takes it meanwhile.
pub(crate) fn anew(path: &Path) -> Result<File> {
    remove_if_there(path)?;
    open_own(path, OpenOptions::new().read(true).write(true).create_new(true))
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

/// Allows as many open files as the system does, for a bundle in many volumes. Says whether that is enough.
pub(crate) fn allow_files(wanted: usize) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|most| most >= wanted as u64 + 64);
    if enough(limit.current) {
        return true;
    }
    // If not, opening them says what is wrong.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    raised.is_ok() && enough(limit.maximum)
}

pub(crate) fn rename(from: &Path, to: &Path, force: bool) -> Result<()> {
    name(from, to, force).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists if !force => exists(to),
        _ => Error::io("cannot name", to, e),
    })
}

/// Gives a file its name; [`io::ErrorKind::AlreadyExists`] when there is one of that name, and it is not to be replaced.
pub(super) fn name(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::{Errno, retry_on_intr};
    if replace {
        return fs::rename(from, to);
    }
    match retry_on_intr(|| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)) {
        // A file system that cannot refuse; asked as well as it goes.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        done => Ok(done?),
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
    remove(path).map_err(|e| Error::io("cannot remove", path, e))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    sync(folder(path)).map_err(|e| Error::io("cannot sync", folder(path), e))
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a folder durable, where its file system can: some order renames by themselves.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match File::open(folder)?.sync_all() {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_made_anew_whatever_was_planted_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        let plants: [(&str, fn(&Path, &Path)); 5] = [
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
            let file = anew(&new).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0, "{what}");
            assert!(fs::symlink_metadata(&new).unwrap().is_file(), "{what}");
            assert_eq!(fs::read(at("victim")).unwrap(), b"precious", "{what}");
            fs::remove_file(new).unwrap();
        }
        fs::create_dir(at("folder")).unwrap();
        assert!(anew(&at("folder")).is_err());
    }
}
