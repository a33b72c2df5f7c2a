//! A folder of named files as a destination: manifests to apply, mirror sets.

use std::sync::Mutex;

use super::{Content, Counts, Destination, Watch, Way};
use crate::bundle::index::{Blob, Index};
use crate::error::Result;
use crate::sink::files::{self, Folder, Rules, Written};
use crate::verify::{Verified, Visit};

/// A folder for files only: it never reports having a blob, so everything verified for it is read to its end.
#[derive(Debug)]
pub struct FileFolder {
    folder: Folder,
    files: Vec<(String, Vec<u8>)>,
    rules: Rules,
    written: Mutex<Written>,
}

impl FileFolder {
    /// A destination that writes these files (names and contents) to a folder; `rules` say which other files may stay
    /// there.
    pub fn new(folder: Folder, files: Vec<(String, Vec<u8>)>, rules: Rules) -> FileFolder {
        FileFolder { folder, files, rules, written: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What was written.
    pub fn written(&self) -> Written {
        *self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Destination for FileFolder {
    fn describe(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn task(&self) -> Way {
        Way::Write
    }

    fn check(&self, _: &Index) -> Result<()> {
        files::check(&self.folder, &self.files, self.rules)
    }

    fn has(&self, _: &Blob) -> Result<bool> {
        Ok(false)
    }

    fn blob(&self, _: &Blob, _: &dyn Content) -> Result<Visit> {
        Ok(Visit::Read)
    }

    fn images(&self, _: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        if self.files.is_empty() {
            return Ok(Counts::default());
        }
        watch.check()?;
        let written = files::write(&self.folder, &self.files, self.rules)?;
        *self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = written;
        Ok(Counts { documents: (written.new + written.replaced) as u64, ..Counts::default() })
    }
}
