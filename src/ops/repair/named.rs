//! The named files: those to repair, and the files and directories to repair from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::bundle::Head;
use crate::bundle::reader::Bundle;
use crate::bundle::repair::{self, RepairFile, RepairMode};
use crate::bundle::survey::Blueprint;
use crate::bundle::writer::partial_path;
use crate::error::{Code, Error, Result};
use crate::fs::dir;

/// A file to repair.
pub(super) struct Named {
    /// Its name.
    pub(super) path: PathBuf,
    /// Where its bytes are now.
    pub(super) place: PathBuf,
    /// `None`: the file does not exist.
    pub(super) file: Option<File>,
    pub(super) length: u64,
    before: Option<Meta>,
    /// Whether an earlier repair left it under another name.
    pub(super) left: Option<RepairMode>,
    pub(super) head: Result<Head>,
}

/// Identifies a file, to detect that it was replaced or changed.
#[derive(PartialEq, Eq)]
struct Meta {
    length: u64,
    id: (u64, u64),
    changed: (i64, i64),
}

impl Named {
    /// Opens the file at this name, or at the name that an earlier repair gave it.
    pub(super) fn open(path: &Path) -> Result<Named> {
        let path = real(path)?;
        let mut left = None;
        if let Err(e) = fs::symlink_metadata(&path) {
            if e.kind() != std::io::ErrorKind::NotFound {
                return Err(Error::io("cannot open", &path, e));
            }
            left = repair::left(&path)?;
            if left.is_none() {
                let head = Err(Error::io("cannot open", &path, e));
                return Ok(Named { place: path.clone(), path, file: None, length: 0, before: None, left, head });
            }
        }
        let place = if left.is_some() { partial_path(&path) } else { path.clone() };
        let file = dir::regular(&place)?;
        let before = meta(&file, &place)?;
        let head = Bundle::open(&place).map(|bundle| bundle.head().clone());
        Ok(Named { path, place, file: Some(file), length: before.length, before: Some(before), left, head })
    }

    /// Renames the file until it is repaired; creates it if it is lost.
    pub(super) fn take(&self, blueprint: &Blueprint) -> Result<RepairFile> {
        if let Some(kind) = self.left {
            return RepairFile::resume(&self.path, kind);
        }
        let index = blueprint.head.digest();
        if self.file.is_none() {
            return RepairFile::create(&self.path, blueprint.layout.total(), &index);
        }
        let mending = RepairFile::take(&self.path, &index)?;
        if Some(meta(mending.file(), &self.path)?) == self.before {
            return Ok(mending);
        }
        mending.restore_name()?;
        Err(Error::new(Code::Conflict, format!("`{}` changed while it was read", self.path.display())))
    }
}

/// A file or directory to repair from.
pub(super) struct Local {
    pub(super) path: PathBuf,
    /// `None`: a directory.
    pub(super) file: Option<File>,
    pub(super) head: Option<Head>,
}

impl Local {
    pub(super) fn open(path: &Path) -> Result<Local> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("cannot open", path, e))?;
        if meta.is_dir() {
            return Ok(Local { path: path.to_owned(), file: None, head: None });
        }
        let head = Bundle::open(path).ok().map(|bundle| bundle.head().clone());
        Ok(Local { path: path.to_owned(), file: Some(dir::regular(path)?), head })
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The head, if the file is a bundle with a readable head.
    pub(super) fn head(&self) -> Option<Head> {
        self.head.clone()
    }
}

/// The target of a link: links are not renamed.
fn real(path: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(|e| Error::io("cannot open", path, e)),
        _ => Ok(path.to_owned()),
    }
}

fn meta(file: &File, path: &Path) -> Result<Meta> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    Ok(Meta { length: meta.len(), id: (meta.dev(), meta.ino()), changed: (meta.mtime(), meta.mtime_nsec()) })
}
