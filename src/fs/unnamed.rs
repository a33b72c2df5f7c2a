//! A file without a name: room for content that is needed for a while, which is gone however the program ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many names are tried on a file system that makes no file without one.
const TRIES: u32 = 100;

/// An empty file on the file system of `folder`, open for reading and writing.
pub(crate) fn unnamed(folder: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, Mode, OFlags, openat};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::io::retry_on_intr(|| openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR)) {
            return Ok(File::from(fd));
        }
    }
    named(folder)
}

/// For FAT, exFAT and others: the file has a name until it is open.
fn named(folder: &Path) -> io::Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..TRIES {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".mirror-bundle-{}-{count}.tmp", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_file_without_a_name_holds_content_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for make in [unnamed as fn(&Path) -> io::Result<File>, named] {
            let mut file = make(folder.path()).unwrap();
            file.write_all(b"content").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        assert!(unnamed(&folder.path().join("none")).is_err());
    }
}
