//! The raw head of a bundle or volume: read before anything is verified.

use std::sync::Arc;

use super::carriage::{self, SignedCarriage};
use super::foreign;
use super::index::Index;
use super::input::Input;
use super::layout::{Form, Layout};
use super::removal::{self, SignedRemoval};
use super::volume::Volume;
use super::{layout, limits, tar, volume};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// The bytes at the front of a bundle that are needed to verify it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Content of `mirror-bundle/index.json`, the signed bytes. Volumes share it.
    pub index: Arc<Vec<u8>>,
    /// Content of `mirror-bundle/index.json.sig`.
    pub signature: Option<Vec<u8>>,
    /// Content of `mirror-bundle/volume.json`, in a volume. It is not signed.
    pub volume: Option<Vec<u8>>,
    /// How the file carries the blobs, if it does not hold each as it is.
    pub carriage: Option<SignedCarriage>,
    /// The statements about what was removed, and their signatures.
    pub removals: Vec<SignedRemoval>,
    /// Digest of `mirror-bundle/SHA256SUMS`.
    pub(super) sums: Digest,
    pub(super) marker: Vec<u8>,
    pub(super) mtime: u64,
}

impl Head {
    /// Builds a head from an index, its signature, and a volume's description, obtained elsewhere. It is verified like
    /// one that was read.
    pub fn of(index: Arc<Vec<u8>>, signature: Option<Vec<u8>>, volume: Option<Vec<u8>>) -> Head {
        let (carriage, removals, sums, marker) = (None, Vec::new(), Digest::of(b""), Vec::new());
        Head { index, signature, volume, carriage, removals, sums, marker, mtime: 0 }
    }

    /// The same with this carriage.
    pub fn with_carriage(self, carriage: Option<SignedCarriage>) -> Head {
        Head { carriage, ..self }
    }

    /// What the head says about the form of the file: how blobs are carried, and what was removed.
    pub fn form(&self) -> Form<'_> {
        Form { carriage: self.carriage.as_ref(), removals: &self.removals }
    }

    /// The same with these statements about removals.
    pub fn with_removals(self, removals: Vec<SignedRemoval>) -> Head {
        Head { removals, ..self }
    }

    /// The layout of the file with this head. A volume is checked against the index.
    ///
    /// # Errors
    /// As [`Layout::new`], and for a statement or description that is not acceptable.
    pub fn layout(&self, index: &Index) -> Result<Layout> {
        let volume = self.volume.as_deref().map(Volume::parse).transpose()?;
        Layout::with(index, &self.index, self.signature.as_deref(), self.form(), volume.as_ref())
    }

    /// Digest of the index: the bundle's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index)
    }
}

/// Reads the head only.
pub(super) fn read(input: &Input) -> Result<Head> {
    let mut reader = HeadReader { input, at: 0, mtime: None };
    let marker = reader.expect(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON.len() as u64)?;
    let index = reader.expect(layout::INDEX, limits::INDEX)?;
    let (mut next, mut size) = reader.header()?;
    let mut signature = None;
    if next == layout::SIGNATURE {
        signature = Some(reader.content(layout::SIGNATURE, size, limits::SIGNATURE)?);
        (next, size) = reader.header()?;
    }
    let mut description = None;
    if next == volume::VOLUME {
        description = Some(reader.content(volume::VOLUME, size, limits::VOLUME)?);
        (next, size) = reader.header()?;
    }
    let mut carried = None;
    if next == carriage::CARRIAGE {
        let bytes = reader.content(carriage::CARRIAGE, size, limits::CARRIAGE)?;
        (next, size) = reader.header()?;
        let mut signature = None;
        if next == carriage::SIGNATURE {
            signature = Some(reader.content(carriage::SIGNATURE, size, limits::SIGNATURE)?);
            (next, size) = reader.header()?;
        }
        carried = Some(SignedCarriage::new(bytes, signature));
    }
    let mut removals = Vec::new();
    while next == removal::path(removals.len() + 1) && removals.len() < limits::REMOVALS {
        let statement = reader.content(&next, size, limits::REMOVAL)?;
        let signature = format!("{next}.sig");
        (next, size) = reader.header()?;
        if next != signature {
            let text = format!("`{}` has `{next}` where {signature} belongs", input.name);
            return Err(Error::new(Code::Malformed, text));
        }
        let signature = reader.content(&signature, size, limits::SIGNATURE)?;
        removals.push(SignedRemoval { statement, signature });
        (next, size) = reader.header()?;
    }
    if next != layout::SUMS {
        return Err(Error::new(
            Code::Malformed,
            format!("`{}` has `{next}` where {} belongs", input.name, layout::SUMS),
        ));
    }
    let sums = reader.digest(layout::SUMS, size, limits::SUMS)?;
    let mtime = reader.mtime.unwrap_or(0);
    let (index, volume, carriage) = (Arc::new(index), description, carried);
    Ok(Head { index, signature, volume, carriage, removals, sums, marker, mtime })
}

struct HeadReader<'a> {
    input: &'a Input,
    at: u64,
    mtime: Option<u64>,
}

impl HeadReader<'_> {
    fn expect(&mut self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let first = self.at == 0;
        let (name, size) = self.header()?;
        if name != path {
            return Err(foreign::error(self.input, None, &format!("it has `{name}` where {path} belongs")));
        }
        if first && size != limit {
            return Err(foreign::error(self.input, None, "its oci-layout file is another one"));
        }
        self.content(path, size, limit)
    }

    fn header(&mut self) -> Result<(String, u64)> {
        let mut block = [0u8; 512];
        let first = self.at == 0;
        match self.input.read_exact_at(&mut block, self.at) {
            Err(e) if first && e.code() == Code::Truncated => {
                let why = match self.input.length() {
                    Some(0) => "it is empty",
                    _ => "it is shorter than a tar header",
                };
                return Err(foreign::error(self.input, None, why));
            }
            other => other?,
        }
        let entry = tar::parse(&block);
        let Some(entry) = entry.filter(|e| self.mtime.is_none_or(|m| m == e.mtime)) else {
            return Err(if first {
                foreign::error(self.input, Some(&block), "it does not begin with the tar header of oci-layout")
            } else {
                Error::new(
                    Code::Malformed,
                    format!("`{}` has a tar header that format 1 does not write", self.input.name),
                )
                .fact(format!("at offset {}", self.at))
            });
        };
        self.mtime = Some(entry.mtime);
        self.at += tar::BLOCK;
        Ok((entry.name, entry.size))
    }

    fn content(&mut self, path: &str, size: u64, limit: u64) -> Result<Vec<u8>> {
        self.fits(path, size, limit)?;
        let mut bytes = vec![0; usize::try_from(tar::padded(size)).unwrap_or(0)];
        self.input.read_exact_at(&mut bytes, self.at)?;
        self.at += tar::padded(size);
        let size = usize::try_from(size).unwrap_or(0);
        self.padding(path, &bytes[size..])?;
        bytes.truncate(size);
        Ok(bytes)
    }

    /// The digest of content that is too large to keep in memory for a comparison.
    fn digest(&mut self, path: &str, size: u64, limit: u64) -> Result<Digest> {
        self.fits(path, size, limit)?;
        let mut hasher = Hasher::new();
        let mut buffer = [0u8; 16 << 10];
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(tar::padded(left)).unwrap_or(usize::MAX).min(buffer.len());
            self.input.read_exact_at(&mut buffer[..want], self.at)?;
            self.at += want as u64;
            let content = usize::try_from(left).unwrap_or(usize::MAX).min(want);
            hasher.update(&buffer[..content]);
            self.padding(path, &buffer[content..want])?;
            left -= content as u64;
        }
        Ok(hasher.finish())
    }

    fn fits(&self, path: &str, size: u64, limit: u64) -> Result<()> {
        if size > limit {
            return Err(Error::new(
                Code::Malformed,
                format!("{path} in `{}` has {size} bytes, over the limit of {limit}", self.input.name),
            ));
        }
        if let Some(length) = self.input.length()
            && length < self.at + size
        {
            return Err(Error::new(
                Code::Truncated,
                format!("`{}` is truncated: it ends inside {path}", self.input.name),
            )
            .fact(format!("{length} bytes"))
            .hint("the copy to this medium did not finish; copy it again and compare sizes"));
        }
        Ok(())
    }

    fn padding(&self, path: &str, padding: &[u8]) -> Result<()> {
        if padding.iter().any(|b| *b != 0) {
            return Err(Error::new(
                Code::UnlistedContent,
                format!("`{}` holds padding that is not zero after {path}", self.input.name),
            ));
        }
        Ok(())
    }
}
