//! The folder of the members of a bundle that is being made: whoever can write beside the bundle can write there, too.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::fs::dir;
use crate::fs::durable::try_remove;
use crate::fs::small::{self, Links};

/// The most bytes of a note.
const NOTE: u64 = 64 << 10;

/// The most files in it: a few for each layer of a bundle.
const MOST: usize = 4_000_000;

/// Its path.
pub(super) fn folder(bundle: &Path) -> PathBuf {
    let mut name = bundle.file_name().unwrap_or_default().to_owned();
    name.push(".partial.work");
    bundle.with_file_name(name)
}

/// Makes it, or takes the one of an earlier run.
pub(super) fn begin(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(folder).map_err(|e| Error::io("cannot read", folder, e))?;
            match there.is_dir() {
                true => Ok(()),
                false => Err(Error::new(Code::Conflict, format!("`{}` is not a folder", folder.display()))
                    .state("nothing was written")
                    .hint("remove it, or choose another name for the bundle")),
            }
        }
        done => done.map_err(|e| Error::io("cannot create", folder, e)),
    }
}

/// Removes it with all files in it, which it alone has.
pub(super) fn remove(folder: &Path) -> Result<()> {
    let failed = |e| Error::io("cannot remove", folder, e);
    let listed = match dir::list(folder, MOST) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(failed)?,
    };
    listed.iter().try_for_each(|(name, _)| try_remove(&folder.join(name))).map_err(failed)?;
    fs::remove_dir(folder).map_err(failed)
}

/// A file that was not there: what lies under its name is removed, and nothing is written through a link.
pub(super) fn fresh(path: &Path) -> io::Result<File> {
    try_remove(path)?;
    File::options().read(true).write(true).create_new(true).open(path)
}

/// Writes a small file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = fresh(path).and_then(|mut file| file.write_all(bytes));
    made.map_err(|e| Error::io("cannot write", path, e))
}

/// A regular file that an earlier run left.
pub(super) fn open(path: &Path) -> Option<File> {
    small::open(path, Links::Refuse).ok()
}

/// A note that an earlier run left.
pub(super) fn note(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    small::read_open(&open(path)?, NOTE, &mut bytes).ok()?;
    Some(bytes)
}
