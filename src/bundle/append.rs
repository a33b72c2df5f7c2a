//! Appends addenda to a finished bundle without rewriting it.
//!
//! An append first replaces the second of the two zero blocks with the beginning of the first signature and syncs it,
//! so the next append can recognise its own leftovers after a power loss. Then it writes everything except the first
//! new header behind the end of the archive and syncs. Only then does that header replace the first zero block. Each
//! of these two replacements is one write of one sector, so the appended members appear all together or not at all.
//! After an earlier crash the bundle reports the leftover, and the next append repairs it (MB-ADD-05, MB-ADD-06).
//! Nothing before the end is ever written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::layout::{ADDENDA, END};
use super::{limits, name, tar};
use crate::error::{Code, Error, Result};
use crate::fs::partial::open_existing;
use crate::fs::small::{Links, Unread};

/// The first bytes of an append. A leftover of an interrupted append begins with them, or with zeros.
const ARMOR: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";
/// The most bytes one append writes: a signature, and a record with its signature.
const MOST: u64 = 3 * (tar::BLOCK + limits::ADDENDUM) + END;

/// A bundle opened for appending, locked against other appenders.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
}

impl Appender {
    /// Opens and locks the bundle at `path`. Nothing is written yet.
    ///
    /// # Errors
    /// [`Code::Io`] when it is not a writable regular file; [`Code::Conflict`] when another process appends.
    pub fn open(path: &Path) -> Result<Appender> {
        let file = open_existing(path, Links::Follow).map_err(|why| {
            let Unread::System(e) = why else { return why.error("cannot open", path, Code::Io) };
            use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
            match e.kind() {
                NotFound => Error::io("cannot open", path, e),
                kind @ (PermissionDenied | ReadOnlyFilesystem) => {
                    let what = if kind == PermissionDenied { "file" } else { "medium" };
                    Error::io("cannot write", path, e)
                        .state("nothing was signed")
                        .hint(format!("on a read-only {what}, write the signature beside the bundle: --detach"))
                }
                _ => Error::io("cannot write", path, e),
            }
        })?;
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display()))
                .state("nothing was signed"));
        }
        Ok(Appender { file, path: path.to_owned() })
    }

    /// The end of the archive: after the last addendum behind the members, which end at `members`.
    pub fn end(&self, members: u64) -> Result<u64> {
        let length = self.length()?;
        let mut at = members;
        for _ in 0..=limits::ADDENDA {
            if length < at.saturating_add(tar::BLOCK) {
                break;
            }
            let entry = tar::parse(&self.block(at)?);
            let Some(entry) = entry.filter(|e| e.name.starts_with(ADDENDA) && e.size <= limits::ADDENDUM) else {
                break;
            };
            at += tar::BLOCK + tar::padded(entry.size);
        }
        Ok(at)
    }

    /// Whether the bytes behind `end` can be the leftover of an interrupted append: the archive ends there, and the
    /// rest begins like a signature or is zero, and is not longer than one append.
    pub fn is_torn(&self, end: u64) -> Result<bool> {
        let length = self.length()?;
        if length < end + END || length > end + MOST || self.block(end)? != [0; 512] {
            return Ok(false);
        }
        if self.block(end + tar::BLOCK)?.starts_with(ARMOR) {
            return Ok(true);
        }
        let mut rest = vec![0; usize::try_from(length - end).unwrap_or(0)];
        self.file.read_exact_at(&mut rest, end).map_err(|e| Error::io("cannot read", &self.path, e))?;
        Ok(length > end + END && rest.iter().all(|b| *b == 0))
    }

    /// Removes the bytes behind `end`; call it only if [`Appender::is_torn`] returned true.
    pub fn repair(&self, end: u64) -> Result<()> {
        let repair = || {
            // The bytes by which a leftover is recognised go last.
            self.file.set_len(end + END)?;
            self.file.sync_all()?;
            self.file.write_all_at(&[0; 512], end + tar::BLOCK)?;
            self.file.sync_all()
        };
        repair().map_err(|e| Error::io("cannot write", &self.path, e))
    }

    /// Appends `pieces` (names and contents) at `end`, the current end of the archive; `mtime` is the time of its
    /// members. The first piece must be an armored signature, by which [`Appender::is_torn`] recognises a leftover.
    ///
    /// # Errors
    /// [`Code::Malformed`] for a name or size that format 1 does not allow; [`Code::Io`] when the file cannot be
    /// written: then the bundle is unchanged.
    pub fn append(&self, end: u64, mtime: u64, pieces: &[(String, Vec<u8>)]) -> Result<()> {
        let mut tail = Vec::new();
        for (name, bytes) in pieces {
            let path = format!("{ADDENDA}{name}");
            if bytes.len() as u64 > limits::ADDENDUM || name.contains('/') || name::check(&path).is_err() {
                return Err(Error::new(Code::Malformed, format!("`{name}` cannot be an addendum")));
            }
            tail.extend_from_slice(&tar::header(&path, bytes.len() as u64, mtime));
            tail.extend_from_slice(bytes);
            tail.resize(tail.len().next_multiple_of(512), 0);
        }
        if !tail.get(512..).is_some_and(|rest| rest.starts_with(ARMOR)) || tail.len() as u64 + END > MOST {
            return Err(Error::new(Code::Internal, "an append must begin with a signature and keep to its limit"));
        }
        tail.resize(tail.len() + 1024, 0);
        let (header, rest) = tail.split_at(512);
        let err = |e| Error::io("cannot write", &self.path, e);
        let (mark, behind) = rest.split_at(512);
        let content = || {
            self.file.write_all_at(mark, end + tar::BLOCK)?;
            self.file.sync_all()?;
            self.file.write_all_at(behind, end + END)?;
            self.file.sync_all()
        };
        let named = content().and_then(|()| self.file.write_all_at(header, end).and_then(|()| self.file.sync_all()));
        // A failed sync is never retried: the append is undone, and the next run writes it again.
        named.map_err(|e| match self.file.write_all_at(&[0; 512], end).map(|()| self.repair(end)) {
            Ok(Ok(())) => err(e).state("the bundle is unchanged"),
            _ => err(e)
                .state("nothing was signed")
                .hint("run the same command again: it repairs the bundle; on a read-only medium: --detach"),
        })
    }

    /// Makes the content durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("cannot write", &self.path, e))
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("cannot read", &self.path, e))?.len())
    }

    fn block(&self, at: u64) -> Result<[u8; 512]> {
        let mut block = [0u8; 512];
        self.file.read_exact_at(&mut block, at).map_err(|e| Error::io("cannot read", &self.path, e))?;
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pieces() -> Vec<(String, Vec<u8>)> {
        vec![("signature-x".to_owned(), [ARMOR, &[b'a'; 700]].concat()), ("record-x".to_owned(), vec![b'b'; 20])]
    }

    /// An archive whose only member is its first block.
    fn archive() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar");
        std::fs::write(&path, [vec![7u8; 512], vec![0; 1024]].concat()).unwrap();
        (dir, path)
    }

    #[test]
    fn what_was_appended_is_read_by_the_tar_crate_and_what_was_there_stays() {
        let (_dir, path) = archive();
        let appender = Appender::open(&path).unwrap();
        appender.append(512, 9, &pieces()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..512], &[7; 512]);
        let mut tar = ::tar::Archive::new(&bytes[512..]);
        let names: Vec<_> = tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["mirror-bundle/addenda/signature-x", "mirror-bundle/addenda/record-x"]);
        let end = appender.end(512).unwrap();
        assert_eq!(end + END, bytes.len() as u64);
        assert!(!appender.is_torn(end).unwrap());
    }

    #[test]
    fn every_cut_of_the_content_is_recognised_as_torn_and_repaired() {
        let (_dir, path) = archive();
        let before = std::fs::read(&path).unwrap();
        Appender::open(&path).unwrap().append(512, 9, &pieces()).unwrap();
        let after = std::fs::read(&path).unwrap();
        for cut in (1024 + 64..after.len()).step_by(37) {
            // Content up to the cut without a header, as a killed process leaves it.
            let mut torn = after[..cut.max(before.len())].to_vec();
            torn[512..1024].fill(0);
            torn[cut.min(before.len())..before.len()].fill(0);
            std::fs::write(&path, &torn).unwrap();
            let appender = Appender::open(&path).unwrap();
            assert_eq!(appender.end(512).unwrap(), 512);
            assert!(appender.is_torn(512).unwrap(), "cut at {cut}");
            appender.repair(512).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn content_of_others_behind_the_end_is_left_alone() {
        let (_dir, path) = archive();
        let before = std::fs::read(&path).unwrap();
        let long = vec![0u8; usize::try_from(MOST).unwrap() + 1024];
        for more in [&b"notes of somebody"[..], &[&[0; 512], &b"notes"[..]].concat(), &long] {
            std::fs::write(&path, [&before[..1024], more].concat()).unwrap();
            assert!(!Appender::open(&path).unwrap().is_torn(512).unwrap());
        }
        std::fs::write(&path, &before).unwrap();
        assert!(!Appender::open(&path).unwrap().is_torn(512).unwrap());
    }

    #[test]
    fn two_cannot_append_at_once() {
        let (_dir, path) = archive();
        let first = Appender::open(&path).unwrap();
        assert_eq!(Appender::open(&path).unwrap_err().code(), Code::Conflict);
        drop(first);
        assert!(Appender::open(&path).is_ok());
    }
}
