//! A damaged bundle during its repair: named `NAME.partial`, and marked.
//!
//! The mark, `NAME.partial.journal`, records that the partial file is the damaged bundle itself (`in-place`) or a
//! repaired copy of one (`copy`). It is written before the rename, so the next repair finds an interrupted one, and
//! `create` does not take the file for one of its own (MB-REC-08).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::writer::{journal_path, partial_path};
use crate::error::{Code, Error, Result};
use crate::fs::AtomicFile;
use crate::fs::dir::exists;
use crate::fs::durable::{remove_if_there, rename, sync_parent};
use crate::fs::partial::{Own, lock, open_existing, open_own};
use crate::fs::small::{self, Links};
use crate::fs::space::reserve;
use crate::oci::Digest;

const MARK: &str = "mirror-bundle repair 1\n";

/// What the partial file is, according to the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// The damaged bundle itself.
    InPlace,
    /// A copy of a bundle elsewhere.
    Copy,
}

/// The leftover of an earlier repair at `bundle`, if any.
pub fn left(bundle: &Path) -> Result<Option<RepairMode>> {
    Ok(read_mark(bundle)?.filter(|_| exists(&partial_path(bundle))))
}

/// Removes the mark of a repair that was interrupted before or after its rename.
pub fn forget(bundle: &Path) -> Result<()> {
    if read_mark(bundle)?.is_some() && !exists(&partial_path(bundle)) {
        remove_if_there(&journal_path(bundle))?;
        return sync_parent(bundle);
    }
    // The process that removed it may have been killed before that was durable. A read-only medium needs no sync.
    let _ = sync_parent(bundle);
    Ok(())
}

/// Reads the mark, if there is one. A link is not followed, a FIFO not waited for.
fn read_mark(bundle: &Path) -> Result<Option<RepairMode>> {
    let path = journal_path(bundle);
    let Ok(file) = small::open(&path, Links::Refuse) else { return Ok(None) };
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text).map_err(|e| Error::io("cannot read", &path, e))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let word = text.strip_prefix(MARK).and_then(|rest| rest.lines().next().map(str::to_owned));
    Ok(match word.as_deref() {
        Some("in-place") => Some(RepairMode::InPlace),
        Some("copy") => Some(RepairMode::Copy),
        _ => None,
    })
}

/// A bundle under repair, locked.
#[derive(Debug)]
pub struct RepairFile {
    bundle: PathBuf,
    file: File,
    kind: RepairMode,
}

impl RepairFile {
    /// Renames the bundle to its partial name until it is repaired.
    ///
    /// # Errors
    /// [`Code::Io`] when it cannot be written; [`Code::Conflict`] when it has a second hard link, or when a partial
    /// file or another process prevents it. After an error nothing has changed.
    pub fn take(bundle: &Path, index: &Digest) -> Result<RepairFile> {
        let elsewhere = "write a repaired copy elsewhere: --to NEW";
        let file = open_existing(bundle, Links::Refuse);
        let file = file.map_err(|e| e.error("cannot write", bundle, Code::Io).hint(elsewhere))?;
        if file.metadata().map_err(|e| Error::io("cannot read", bundle, e))?.nlink() != 1 {
            let text = format!("`{}` has a second hard link, which would be changed with it", bundle.display());
            return Err(Error::new(Code::Conflict, text).state("nothing was changed").hint(elsewhere));
        }
        lock(&file, bundle)?;
        let partial = partial_path(bundle);
        if exists(&partial) {
            return Err(Error::new(Code::Conflict, format!("`{}` already exists", partial.display()))
                .state("nothing was changed")
                .hint("an interrupted run left it; finish that, or remove it"));
        }
        mark(bundle, RepairMode::InPlace, index)?;
        rename(bundle, &partial, false)?;
        sync_parent(bundle)?;
        Ok(RepairFile { bundle: bundle.to_owned(), file, kind: RepairMode::InPlace })
    }

    /// Resumes an earlier repair (see [`left`]).
    pub fn resume(bundle: &Path, kind: RepairMode) -> Result<RepairFile> {
        let path = partial_path(bundle);
        let file = open_own(&path, Own::Existing)?;
        lock(&file, &path)?;
        Ok(RepairFile { bundle: bundle.to_owned(), file, kind })
    }

    /// Creates a copy of `total` bytes.
    ///
    /// # Errors
    /// [`Code::Conflict`] when the name already exists, [`Code::Io`] when there is no space.
    pub fn create(bundle: &Path, total: u64, index: &Digest) -> Result<RepairFile> {
        let path = partial_path(bundle);
        if exists(bundle) {
            // It may be left by a run that was stopped after its rename.
            forget(bundle)?;
            return Err(crate::fs::durable::already_exists(bundle));
        }
        if exists(&path) {
            return Err(Error::new(Code::Conflict, format!("`{}` already exists", path.display()))
                .state("nothing was written")
                .hint("remove it, or choose another name"));
        }
        mark(bundle, RepairMode::Copy, index)?;
        let made = open_own(&path, Own::New).and_then(|file| {
            lock(&file, &path)?;
            reserve(&file, total, &path)?;
            Ok(file)
        });
        if made.is_err() {
            remove_if_there(&path)?;
            remove_if_there(&journal_path(bundle))?;
        }
        Ok(RepairFile { bundle: bundle.to_owned(), file: made?, kind: RepairMode::Copy })
    }

    /// The current path of the bytes under repair.
    pub fn path(&self) -> PathBuf {
        partial_path(&self.bundle)
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its size in bytes.
    pub fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("cannot read", self.path(), e))?.len())
    }

    /// Makes the file at least this long, and reserves the disk space.
    pub fn reserve(&self, length: u64) -> Result<()> {
        if self.length()? < length { reserve(&self.file, length, &self.path()) } else { Ok(()) }
    }

    /// Writes `bytes` at an offset.
    pub fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io("cannot write", self.path(), e))
    }

    /// Truncates the file.
    pub fn cut(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(|e| Error::io("cannot write", self.path(), e))
    }

    /// Makes the file exactly this long and durable.
    pub fn sync(&self, length: u64) -> Result<()> {
        let done = self.file.set_len(length).and_then(|()| self.file.sync_all());
        done.map_err(|e| {
            // The next run must read from the medium, not from the cache.
            crate::fs::direct::forget(&self.file);
            let e = Error::io("cannot sync", self.path(), e);
            if self.kind == RepairMode::InPlace {
                return e;
            }
            // A copy can be created again.
            match remove_if_there(&journal_path(&self.bundle)).and_then(|()| remove_if_there(&self.path())) {
                Ok(()) => e.state("the state of the copy on the medium is unknown; it was removed"),
                Err(_) => e.hint(format!("remove `{}` before the next run", self.path().display())),
            }
        })
    }

    /// Renames the repaired and synced bundle to its final name.
    pub fn finish(self) -> Result<()> {
        rename(&self.path(), &self.bundle, false)?;
        sync_parent(&self.bundle)?;
        remove_if_there(&journal_path(&self.bundle))?;
        sync_parent(&self.bundle)
    }

    /// Gives an unrepairable bundle its name back. A copy keeps its partial name, to be resumed.
    pub fn restore_name(self) -> Result<()> {
        match self.kind {
            RepairMode::InPlace => {
                let _ = self.file.sync_all();
                self.finish()
            }
            RepairMode::Copy => Ok(()),
        }
    }
}

fn mark(bundle: &Path, kind: RepairMode, index: &Digest) -> Result<()> {
    let path = journal_path(bundle);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let word = if kind == RepairMode::InPlace { "in-place" } else { "copy" };
    let text = format!("{MARK}{word}\nindex {index}\n");
    let made = AtomicFile::begin(&PathBuf::from(temporary)).and_then(|new| new.commit(text.as_bytes(), &path, true));
    made.map_err(|e| match e.kind() {
        ErrorKind::WouldBlock => {
            Error::new(Code::Conflict, format!("another mirror-bundle is repairing `{}`", bundle.display()))
                .hint("wait for it")
        }
        _ => Error::io("cannot write", &path, e),
    })
    .map_err(|e| e.state("nothing was changed"))
}
