//! Named, bounded reads from a folder or from a tar file; the layout reader uses them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::error::{Code, Error, Result};
use crate::fs::Dir;

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
        let mut region = Region { file, at, end: at.saturating_add(len), place: self.place(name) };
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

    /// The open file that holds `name`, the offset of `name` in it, and its size in bytes.
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

    fn place(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

/// A part of an open file. A premature end is an error, never a short read that looks complete.
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
