//! Named, bounded reads from a folder or from a tar file; the layout reader uses them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::bundle::limits;
use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind};

/// The most files beside the images that are read.
const MAX_BESIDE: usize = 20_000;
/// The maximum depth of folders.
const MAX_DEPTH: usize = 50;

fn is_manifest(name: &str) -> bool {
    [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end))
}

/// A set of named files. Names are relative, plain, joined by `/`.
pub(super) trait Files: Send + Sync {
    /// Reads a whole small file of at most `limit` bytes. `None`: it does not exist.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((file, at, len)) = self.region(name)? else { return Ok(None) };
        if len > limit {
            let text = format!("`{}` has {len} bytes; at most {limit} are read", self.place(name));
            return Err(Error::new(Code::Malformed, text));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let mut region = Region::new(file, at, len, self.place(name));
        region.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", self.place(name), e))?;
        Ok(Some(bytes))
    }

    /// Opens a file of exactly `size` bytes at `offset`. `None`: it does not exist. Another size:
    /// `Code::BlobMismatch`.
    fn open(&self, name: &str, offset: u64, size: u64) -> Result<Option<Region>> {
        let Some((file, at, len)) = self.region(name)? else { return Ok(None) };
        if len != size {
            return Err(Error::new(Code::BlobMismatch, format!("`{}` has {len} of {size} bytes", self.place(name)))
                .hint("the copy is incomplete or was changed; copy it again from its source"));
        }
        let end = at.saturating_add(len);
        Ok(Some(Region { file, at: at.saturating_add(offset.min(len)), end, place: self.place(name) }))
    }

    /// The names of files below a folder, sorted; empty if the folder does not exist. Anything but a file or folder is
    /// refused.
    fn below(&self, folder: &str) -> Result<Vec<String>>;

    /// The folders that a bundle has beside its images, and those that `oc` puts into `config/`.
    fn beside(&self, folders: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let (mut out, mut total) = (Vec::new(), 0u64);
        for folder in folders {
            let known = |name: &String| match *folder {
                "signatures" => name.split('/').count() == 3,
                _ => is_manifest(name) && !name.contains("/."),
            };
            for name in self.below(folder)?.into_iter().filter(known) {
                let Some(bytes) = self.read(&name, limits::KUBERNETES_FILE)? else { continue };
                total += bytes.len() as u64;
                if total > limits::FILES || out.len() == MAX_BESIDE {
                    let text = format!("there is more beside the images than a bundle holds: `{}`", self.place(folder));
                    return Err(Error::new(Code::Malformed, text));
                }
                out.push((name, bytes));
            }
        }
        Ok(out)
    }

    /// The open file that holds `name`, the offset of `name` in it, and its length.
    fn region(&self, name: &str) -> Result<Option<(File, u64, u64)>>;

    /// The location of `name`, for messages.
    fn place(&self, name: &str) -> String;
}

impl Files for Dir {
    fn region(&self, name: &str) -> Result<Option<(File, u64, u64)>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let meta = file.metadata().map_err(|e| Error::io("cannot read", self.at(name), e))?;
        Ok(Some((file, 0, meta.len())))
    }

    fn below(&self, folder: &str) -> Result<Vec<String>> {
        fn look(dir: &Dir, at: &str, depth: usize, out: &mut Vec<String>) -> Result<()> {
            for (name, kind) in dir.entries()? {
                let full = format!("{at}/{name}");
                match kind {
                    EntryKind::File if out.len() < MAX_BESIDE => out.push(full),
                    EntryKind::Directory if depth < MAX_DEPTH => {
                        if let Some(inner) = dir.dir(&name)? {
                            look(&inner, &full, depth + 1, out)?;
                        }
                    }
                    _ if is_manifest(&name) || at.starts_with("signatures") => {
                        return Err(dir.wrong(&name, "a regular file"));
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        let mut out = Vec::new();
        if self.kind(folder)? == Some(EntryKind::Directory)
            && let Some(dir) = self.dir(folder)?
        {
            look(&dir, folder, 0, &mut out)?;
        }
        out.sort();
        Ok(out)
    }

    fn place(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

impl Region {
    /// `len` bytes of a file from `at` on.
    pub(super) fn new(file: File, at: u64, len: u64, place: String) -> Region {
        Region { file, at, end: at.saturating_add(len), place }
    }
}

/// A stretch of an open file. Ending early is an error, never a short read that looks complete.
#[derive(Debug)]
pub(super) struct Region {
    file: File,
    at: u64,
    end: u64,
    place: String,
}

impl Read for Region {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        if want == 0 {
            return Ok(0);
        }
        let got = match self.file.read_at(&mut buf[..want], self.at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            done => done.map_err(|e| Error::io("cannot read", &self.place, e))?,
        };
        if got == 0 {
            let text = format!("`{}` ended {left} bytes early while it was read", self.place);
            return Err(Error::new(Code::BlobMismatch, text).into());
        }
        self.at += got as u64;
        Ok(got)
    }
}
