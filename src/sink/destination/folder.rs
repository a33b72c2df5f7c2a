//! A folder of named files as a destination: manifests to apply, mirror sets.

use std::sync::Mutex;

use super::{Content, Counts, Destination, Watch, Way};
use crate::bundle::index::{Blob, Index};
use crate::error::{Code, Error, Result};
use crate::sink::files::{self, Folder, Rules, Written};
use crate::verify::{Verified, Visit};

/// The folder of the manifests in a bundle.
const MANIFESTS: &str = "manifests/";

fn below(path: &str) -> &str {
    path.strip_prefix(MANIFESTS).unwrap_or(path)
}

/// A folder for files only: it never reports having a blob, so everything verified for it is read to its end.
#[derive(Debug)]
pub struct FileFolder {
    folder: Folder,
    files: Vec<(String, Vec<u8>)>,
    rules: Rules,
    /// Whether they are the manifests of the bundle, and not derived from it.
    carried: bool,
    written: Mutex<Written>,
}

impl FileFolder {
    /// A destination for the manifests of a bundle, which are below `manifests/` there. They are given in advance to find
    /// conflicts early; only those of the verified bundle are written.
    pub fn manifests<'f>(folder: Folder, files: impl Iterator<Item = (&'f str, &'f [u8])>, rules: Rules) -> FileFolder {
        let files = files.map(|(path, bytes)| (below(path).to_owned(), bytes.to_vec())).collect();
        FileFolder { folder, files, rules, carried: true, written: Mutex::default() }
    }

    /// Files (names and contents) that this program derives from a bundle.
    pub(crate) fn derived(folder: Folder, files: Vec<(String, Vec<u8>)>, rules: Rules) -> FileFolder {
        FileFolder { folder, files, rules, carried: false, written: Mutex::default() }
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

    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        let ours = self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        if self.carried && !verified.files(MANIFESTS).map(|(path, bytes)| (below(path), bytes)).eq(ours) {
            let text = format!("the manifests for `{}` are not those of the verified bundle", self.describe());
            return Err(Error::new(Code::Internal, text).state("no manifest was written"));
        }
        if self.files.is_empty() {
            return Ok(Counts::default());
        }
        watch.check()?;
        let written = files::write(&self.folder, &self.files, self.rules)?;
        *self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = written;
        Ok(Counts { documents: (written.new + written.replaced) as u64, ..Counts::default() })
    }
}
