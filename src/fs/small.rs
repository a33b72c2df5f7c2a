//! The one reader of small files: whole, bounded, and from regular files only.
//!
//! It does not wait for a FIFO, refuses devices and directories, and reads no more than the limit. A pipe that the
//! shell made for this process (`<(command)`, which becomes `/dev/fd/N`) is accepted like a file, since secrets are
//! passed that way.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;

use crate::error::{Code, Error};

/// Whether a symbolic link in place of the file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Yes: the user chose the path.
    Follow,
    /// No: the name is ours, and others could have planted a link there.
    Refuse,
}

/// Why a file was not opened or read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The system's error.
    System(io::Error),
    /// It is a FIFO, socket, device or directory.
    NotRegular,
    /// It has more bytes than this limit.
    TooLong(u64),
}

impl Unread {
    /// Whether the file does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Unread::System(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// The error for the file at `path`. `what` is the operation (`cannot read`) for a system error; `code` is for a
    /// file of the wrong type or size.
    pub(crate) fn error(self, what: &str, path: &Path, code: Code) -> Error {
        match self {
            Unread::System(e) => Error::io(what, path, e),
            Unread::NotRegular => Error::new(code, format!("`{}` is not a regular file", path.display()))
                .hint("give a file, or a pipe made by the shell: <(COMMAND)"),
            Unread::TooLong(limit) => Error::new(code, format!("`{}` is larger than {limit} bytes", path.display())),
        }
    }
}

impl From<io::Error> for Unread {
    fn from(e: io::Error) -> Unread {
        Unread::System(e)
    }
}

/// Opens the regular file at `path` for reading.
pub(crate) fn open(path: &Path, links: Links) -> Result<File, Unread> {
    open_as(path, links, OFlags::RDONLY)
}

/// Opens the regular file at `path` with `access`, without waiting.
pub(super) fn open_as(path: &Path, links: Links, access: OFlags) -> Result<File, Unread> {
    let mut flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let file = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(io::Error::from)?;
    let file = File::from(file);
    if file.metadata()?.is_file() { Ok(file) } else { Err(Unread::NotRegular) }
}

/// As [`open`], following links. It also accepts a pipe if the path is one of this process's own descriptors, which no
/// other process can have planted. Reading waits for the end of the pipe.
pub(crate) fn open_input(path: &Path) -> Result<File, Unread> {
    let refused = match open(path, Links::Follow) {
        Err(Unread::NotRegular) if is_own(path) => Unread::NotRegular,
        other => return other,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(io::Error::from)?);
    if !file.metadata()?.file_type().is_fifo() {
        return Err(refused);
    }
    // The descriptor is new, so other holders of the pipe are not affected.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from)?;
    Ok(file)
}

/// Whether this is the name of an open descriptor: `/dev/fd/N`, `/proc/self/fd/N` or `/dev/stdin`.
fn is_own(path: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(text) = path.to_str() else { return false };
    let number = text.strip_prefix("/dev/fd/").or_else(|| text.strip_prefix("/proc/self/fd/"));
    number.is_some_and(is_number) || text == "/dev/stdin"
}

/// Reads the whole file at `path`, of at most `limit` bytes. Links are followed.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    read_open(&open_input(path)?, limit, &mut bytes)?;
    Ok(bytes)
}

/// Reads the beginning of the file at `path`: all of it, or `limit` + 1 bytes, so that the caller notices a longer
/// file. Links are followed.
pub(crate) fn read_start(path: &Path, limit: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    open_input(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads an open file from its position to its end into `bytes`. A vector with room for `limit + 1` bytes does not
/// grow, so no copies of a secret stay in memory.
pub(crate) fn read_open(file: &File, limit: u64, bytes: &mut Vec<u8>) -> Result<(), Unread> {
    file.take(limit.saturating_add(1)).read_to_end(bytes)?;
    if bytes.len() as u64 > limit { Err(Unread::TooLong(limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(Unread::TooLong(4))));
        assert_eq!(read_start(&path, 3).unwrap(), b"1234");
        assert_eq!(read_start(&path, u64::MAX).unwrap(), b"12345");
        assert!(read(&dir.path().join("missing"), 5).unwrap_err().is_missing());
    }

    #[test]
    fn a_fifo_a_device_and_a_directory_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), dir.path()] {
            assert!(matches!(read(path, 10), Err(Unread::NotRegular)), "{}", path.display());
            assert!(matches!(read_start(path, 10), Err(Unread::NotRegular)), "{}", path.display());
        }
    }

    #[test]
    fn a_pipe_of_this_process_is_read_to_its_bound_and_nothing_else_that_is_not_regular() {
        use std::os::fd::AsRawFd as _;
        for (content, limit) in [("12345", 5), ("123456", 5), ("", 5)] {
            let (out, mut into) = io::pipe().unwrap();
            io::Write::write_all(&mut into, content.as_bytes()).unwrap();
            drop(into);
            for folder in ["/dev/fd", "/proc/self/fd"] {
                let path = format!("{folder}/{}", out.as_raw_fd());
                match read(Path::new(&path), limit) {
                    Ok(bytes) => assert!(bytes == content.as_bytes() || bytes.is_empty(), "read before"),
                    Err(e) => assert!(matches!(e, Unread::TooLong(5)) && content.len() > 5),
                }
            }
        }
        let zero = File::open("/dev/zero").unwrap();
        for path in [format!("/dev/fd/{}", zero.as_raw_fd()), "/dev/fd/".into()] {
            assert!(matches!(read(Path::new(&path), 5), Err(Unread::NotRegular)), "{path}");
        }
        // `/dev/fd` is a link to a folder of `/proc`, which has no such file.
        assert!(read(Path::new("/dev/fd/../zero"), 5).is_err());
    }

    #[test]
    fn a_link_is_followed_only_where_the_user_chose_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&link, 5).unwrap(), b"x");
        assert!(open(&link, Links::Refuse).is_err());
        assert!(open(&file, Links::Refuse).is_ok());
    }
}
