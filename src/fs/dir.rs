//! A directory handle, and operations beneath it: names never lead out of it, and symbolic links are never followed.
//!
//! Sources read media through it and sinks write destinations through it. So the kernel, not string handling, confines
//! a hostile name or a planted link (security C3-C5, C10). It knows nothing of images. It does not protect against a
//! process that can rename directories above the handle.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::small::{self, Links};
use crate::error::{Code, Error, Result};

/// The most entries read from one directory.
pub const MAX_ENTRIES: usize = 1_000_000;

/// An open directory. Relative paths given to it are plain components joined by `/`.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    refusal: Code,
}

/// The type of a directory entry itself, not of a link's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

impl Dir {
    /// Opens a directory that the user named. Links on the path are followed, since the user chose it. `refusal` is
    /// the error code for a link, FIFO, device or wrong kind of file beneath it (`Malformed` for input, `Conflict` for
    /// a destination).
    pub fn open(path: &Path, refusal: Code) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|e| Error::io("cannot open the directory", path, e.into()))?;
        Ok(Dir { fd, path: path.to_owned(), refusal })
    }

    /// Creates a directory that the user named, with its missing parents (mode 0755 less the umask), and opens it.
    /// Each name is made durable before the next one is created, so a killed run leaves at most one name that is not
    /// durable; this function repairs that one.
    pub fn create(path: &Path, refusal: Code) -> Result<Dir> {
        let above = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Some(parent.to_owned()),
            Some(_) => Some(PathBuf::from(".")),
            None => None,
        };
        let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
        // This user may lack permission to open the parent of a directory that already existed.
        let there = missing.last().map_or(Some(path.to_owned()), |first| above(first));
        if let Some(dir) = there.and_then(|there| above(&there)).and_then(|above| Dir::open(&above, refusal).ok()) {
            dir.sync()?;
        }
        for dir in missing.into_iter().rev() {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
            // Recursive: it is no error if another process created it meanwhile.
            builder.recursive(true).create(dir).map_err(|e| Error::io("cannot create the directory", dir, e))?;
            Dir::open(&above(dir).unwrap_or_default(), refusal)?.sync()?;
        }
        Dir::open(path, refusal)
    }

    /// Another handle to the same directory, even if its path now leads elsewhere.
    pub fn again(&self) -> Result<Dir> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("cannot open the directory", &self.path, e))?;
        Ok(Dir { fd, path: self.path.clone(), refusal: self.refusal })
    }

    /// The path of this directory, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `rel`, for messages only: opening it by path would lose the protection of this type.
    pub fn at(&self, rel: &str) -> PathBuf {
        self.path.join(rel)
    }

    /// The directory `rel` beneath this one; `None` if it does not exist.
    pub fn dir(&self, rel: &str) -> Result<Option<Dir>> {
        check(rel)?;
        match open_beneath(&self.fd, rel, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
            Ok(fd) => Ok(Some(Dir { fd, path: self.at(rel), refusal: self.refusal })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.refused(rel, "a directory", e)),
        }
    }

    /// The directory `rel`, created with every missing parent (mode 0755 less the umask).
    pub fn make_dir(&self, rel: &str) -> Result<Dir> {
        check(rel)?;
        let mut here: Option<Dir> = None;
        for name in rel.split('/') {
            let parent = here.as_ref().unwrap_or(self);
            match rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(0o755)) {
                // Also sync an existing one: the process that created it may have been killed before its sync.
                Ok(()) | Err(Errno::EXIST) => parent.sync()?,
                Err(e) => return Err(Error::io("cannot create the directory", parent.at(name), e.into())),
            }
            let gone = || Error::io("cannot open the directory", parent.at(name), Errno::NOENT.into());
            let next = parent.dir(name)?.ok_or_else(gone)?;
            here = Some(next);
        }
        here.ok_or_else(|| Error::new(Code::Internal, "an empty directory name"))
    }

    /// The regular file `rel`, opened for reading without waiting for a FIFO's writer; `None` if it does not exist.
    pub fn file(&self, rel: &str) -> Result<Option<File>> {
        check(rel)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match open_beneath(&self.fd, rel, flags) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.refused(rel, "a regular file", e)),
        };
        let meta = file.metadata().map_err(|e| Error::io("cannot read", self.at(rel), e))?;
        if !meta.is_file() {
            return Err(self.wrong(rel, "a regular file"));
        }
        Ok(Some(file))
    }

    /// The type of `name` in this directory, without following it; `None` if it does not exist.
    pub fn kind(&self, name: &str) -> Result<Option<EntryKind>> {
        single(name)?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind_of(FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("cannot read", self.at(name), e.into())),
        }
    }

    /// Every entry of this directory, sorted by name. A name that is not UTF-8 is an error.
    pub fn entries(&self) -> Result<Vec<(String, EntryKind)>> {
        let failed = |e: Errno| Error::io("cannot list", &self.path, e.into());
        let mut out = Vec::new();
        for entry in retry_on_intr(|| rustix::fs::Dir::read_from(&self.fd)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let raw = entry.file_name().to_bytes();
            if matches!(raw, b"." | b"..") {
                continue;
            }
            let name = std::str::from_utf8(raw).map_err(|_| {
                let shown = String::from_utf8_lossy(raw).into_owned();
                Error::new(self.refusal, format!("`{}` has a name that is not UTF-8", self.at(&shown).display()))
            })?;
            let kind = match entry.file_type() {
                FileType::Unknown => match self.kind(name)? {
                    Some(kind) => kind,
                    None => continue,
                },
                known => kind_of(known),
            };
            out.push((name.to_owned(), kind));
            if out.len() > MAX_ENTRIES {
                return Err(Error::new(
                    self.refusal,
                    format!("`{}` has more than {MAX_ENTRIES} entries", self.path.display()),
                ));
            }
        }
        out.sort();
        Ok(out)
    }

    /// The target of the link `name`, exactly as stored; `None` if there is no such entry.
    pub fn read_link(&self, name: &str) -> Result<Option<String>> {
        single(name)?;
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => match target.into_string() {
                Ok(target) => Ok(Some(target)),
                Err(_) => Err(self.wrong(name, "a link with a UTF-8 target")),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) => Err(self.wrong(name, "a symbolic link")),
            Err(e) => Err(Error::io("cannot read the link", self.at(name), e.into())),
        }
    }

    /// Creates the file `name`, which must not exist in any form (`O_EXCL`); `None` if it does. Mode 0644 less the
    /// umask.
    pub fn create_new(&self, name: &str) -> Result<Option<File>> {
        single(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o644))) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::EXIST) => Ok(None),
            Err(e) => Err(Error::io("cannot make", self.at(name), e.into())),
        }
    }

    /// Creates the empty file `name`, and returns the system's error: callers find out which names a file system
    /// accepts.
    pub fn try_create(&self, name: &str) -> io::Result<()> {
        single(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)))?;
        Ok(())
    }

    /// Renames within this directory, replacing `to`.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        single(from)?;
        single(to)?;
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|e| Error::io("cannot rename to", self.at(to), e.into()))
    }

    /// Creates a hard link to `name` as `to_name` in `to`. Returns the system's error, since a caller may copy
    /// instead.
    pub fn hard_link(&self, name: &str, to: &Dir, to_name: &str) -> io::Result<()> {
        single(name).and_then(|()| single(to_name))?;
        Ok(rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty())?)
    }

    /// Creates a symbolic link `name` to `target`. Returns the system's error, so that callers recognise file systems
    /// without links.
    pub fn symlink(&self, target: &str, name: &str) -> io::Result<()> {
        single(name)?;
        Ok(rustix::fs::symlinkat(target, &self.fd, name)?)
    }

    /// Removes the file or link `name`, never a link's target. A missing name is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        single(name)?;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io("cannot remove", self.at(name), e.into())),
        }
    }

    /// Locks this directory for this process until the handle (and every [`Dir::again`] of it) is dropped. If another
    /// process holds it, the error is `Code::Conflict`; a file system without locks is accepted.
    pub fn lock(&self) -> Result<()> {
        match retry_on_intr(|| rustix::fs::flock(&self.fd, rustix::fs::FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => Err(Error::new(
                Code::Conflict,
                format!("`{}` is being written by another process", self.path.display()),
            )
            .hint("wait until it has ended, then run the same command again")),
            _ => Ok(()),
        }
    }

    /// The same, but waits until the lock is free. Returns the system's error: not every file system has locks.
    pub fn wait_lock(self) -> io::Result<LockedDir> {
        retry_on_intr(|| rustix::fs::flock(&self.fd, rustix::fs::FlockOperation::LockExclusive))?;
        Ok(LockedDir(self))
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> Result<()> {
        match retry_on_intr(|| rustix::fs::fsync(&self.fd)) {
            // Some FUSE and network file systems cannot sync a directory and say so.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(Error::io("cannot sync", &self.path, e.into())),
        }
    }

    /// The error for an entry at `rel` of an unexpected type.
    pub fn wrong(&self, rel: &str, wanted: &str) -> Error {
        let err = Error::new(self.refusal, format!("`{}` is not {wanted}", self.at(rel).display()));
        if self.refusal == Code::Conflict { err.hint("remove it, or choose another directory") } else { err }
    }

    fn refused(&self, rel: &str, wanted: &str, errno: Errno) -> Error {
        match errno {
            Errno::LOOP | Errno::XDEV => {
                self.wrong(rel, wanted).fact("the path contains a symbolic link; links are not followed")
            }
            Errno::NOTDIR | Errno::NXIO | Errno::NODEV => self.wrong(rel, wanted),
            other => Error::io("cannot open", self.at(rel), other.into()),
        }
    }
}

/// A locked directory. Dropping this value releases the lock, even if closing the directory fails: otherwise this
/// process would wait for itself the next time.
#[derive(Debug)]
pub struct LockedDir(Dir);

impl Drop for LockedDir {
    fn drop(&mut self) {
        // A failure has no remedy here: closing the descriptor unlocks it as well.
        let _ = retry_on_intr(|| rustix::fs::flock(&self.0.fd, rustix::fs::FlockOperation::Unlock));
    }
}

/// The contents of the folder at `path`, which a user named: names with their kinds, sorted.
///
/// Instead of [`std::fs::read_dir`], which panics when a folder of a bad medium cannot be closed, and gives up when a
/// signal interrupts it.
///
/// # Errors
/// Also for more than `limit` entries: what is left out would not be missed.
pub fn list(path: &Path, limit: usize) -> io::Result<Vec<(OsString, EntryKind)>> {
    let out = list_start(path, limit.saturating_add(1))?;
    match out.len() > limit {
        true => Err(io::Error::other(format!("it has more than {limit} entries"))),
        false => Ok(out),
    }
}

/// As [`list`], but at most the first `limit` entries of a longer folder: for what may be incomplete.
pub fn list_start(path: &Path, limit: usize) -> io::Result<Vec<(OsString, EntryKind)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::new(fd)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if out.len() == limit {
            break;
        }
        let kind = match entry.file_type() {
            _ if matches!(name.as_bytes(), b"." | b"..") => continue,
            FileType::Unknown => {
                let stat = rustix::fs::lstat(path.join(name))?;
                kind_of(FileType::from_raw_mode(stat.st_mode))
            }
            known => kind_of(known),
        };
        out.push((name.to_owned(), kind));
    }
    out.sort();
    Ok(out)
}

/// Opens the file at `path`, which the user named, for reading. Does not wait for a FIFO's writer.
///
/// # Errors
/// [`Code::Io`]; it has no source if the path is not a regular file.
pub fn regular(path: &Path) -> Result<File> {
    small::open(path, Links::Follow).map_err(|e| e.error("cannot open", path, Code::Io))
}

/// Whether this name exists. A link is not followed: it counts even if its target is missing.
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// `FILE` with an ending, such as that of its signature.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder that contains a file.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}

/// A relative path of plain components.
fn check(rel: &str) -> Result<()> {
    let plain = |c: &str| !matches!(c, "" | "." | "..") && !c.contains('\0');
    if rel.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::new(Code::Malformed, format!("`{rel}` is not a plain relative path")))
}

fn single(name: &str) -> Result<()> {
    if name.contains('/') {
        return Err(Error::new(Code::Malformed, format!("`{name}` is not a plain file name")));
    }
    check(name)
}

/// Opens `rel` in one call that follows no link at all, or step by step where the kernel (before 5.6) or a
/// container's filter does not allow that call.
fn open_beneath(fd: &OwnedFd, rel: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| rustix::fs::openat2(fd, rel, flags, Mode::empty(), resolve)) {
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
            done => return done,
        }
    }
    walk(fd, rel, flags)
}

fn walk(fd: &OwnedFd, rel: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (parents, last) = match rel.rsplit_once('/') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, rel),
    };
    let mut here: Option<OwnedFd> = None;
    for name in parents.into_iter().flat_map(|p| p.split('/')) {
        let next = retry_on_intr(|| rustix::fs::openat(here.as_ref().unwrap_or(fd), name, step, Mode::empty()))?;
        here = Some(next);
    }
    let dir = here.as_ref().unwrap_or(fd);
    retry_on_intr(|| rustix::fs::openat(dir, last, flags | OFlags::NOFOLLOW, Mode::empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tmp.path().join("d/a/b")).unwrap();
        std::fs::write(tmp.path().join("d/a/b/f"), "x").unwrap();
        std::fs::write(tmp.path().join("secret"), "s").unwrap();
        symlink("../secret", tmp.path().join("d/out")).unwrap();
        symlink("a", tmp.path().join("d/link")).unwrap();
        symlink("/etc", tmp.path().join("d/abs")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, tmp.path().join("d/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        tmp
    }

    #[test]
    fn a_folder_with_more_entries_than_the_limit_is_an_error_and_not_cut_off() {
        let tmp = tempfile::tempdir().unwrap();
        (0..3).for_each(|n| std::fs::write(tmp.path().join(n.to_string()), "").unwrap());
        assert_eq!(list(tmp.path(), 3).unwrap().len(), 3);
        assert!(list(tmp.path(), 2).unwrap_err().to_string().contains("more than 2 entries"));
        assert_eq!(list_start(tmp.path(), 2).unwrap().len(), 2);
    }

    #[test]
    fn nothing_outside_is_reached_by_name_or_link() {
        let tmp = tree();
        let dir = Dir::open(&tmp.path().join("d"), Code::Malformed).unwrap();
        assert!(dir.file("a/b/f").unwrap().is_some());
        assert!(dir.file("a/b/g").unwrap().is_none());
        for bad in ["../secret", "/etc/passwd", "out", "link/b/f", "abs/passwd", "a/../a/b/f", "a//b", "", ".", "a/"] {
            assert_eq!(dir.file(bad).unwrap_err().code(), Code::Malformed, "{bad}");
        }
        for bad in ["..", "link", "link/b", "abs", "a/b/f", "a/b/f/x"] {
            assert_eq!(dir.dir(bad).unwrap_err().code(), Code::Malformed, "{bad}");
            assert_eq!(dir.make_dir(bad).unwrap_err().code(), Code::Malformed, "{bad}");
        }
    }

    #[test]
    fn the_step_by_step_walk_refuses_the_same() {
        let tmp = tree();
        let dir = Dir::open(&tmp.path().join("d"), Code::Malformed).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        assert!(walk(&dir.fd, "a/b/f", flags).is_ok());
        for bad in ["out", "link/b/f", "abs/passwd"] {
            assert!(walk(&dir.fd, bad, flags).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fifo_a_directory_and_a_device_are_not_files_and_do_not_hang() {
        let tmp = tree();
        let dir = Dir::open(&tmp.path().join("d"), Code::Malformed).unwrap();
        assert_eq!(dir.file("fifo").unwrap_err().code(), Code::Malformed);
        assert_eq!(dir.file("a").unwrap_err().code(), Code::Malformed);
        let dev = Dir::open(Path::new("/dev"), Code::Malformed).unwrap();
        assert_eq!(dev.file("null").unwrap_err().code(), Code::Malformed);
    }

    #[test]
    fn create_new_does_not_write_through_a_planted_link() {
        let tmp = tree();
        let dir = Dir::open(&tmp.path().join("d"), Code::Conflict).unwrap();
        assert!(dir.create_new("out").unwrap().is_none());
        dir.remove("out").unwrap();
        assert_eq!(std::fs::read(tmp.path().join("secret")).unwrap(), b"s");
        assert!(dir.create_new("out").unwrap().is_some());
    }
}
