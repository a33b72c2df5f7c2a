//! The content of one blob: from the parts, from another place, or restored from a member.

use std::io::{self, Read};
use std::sync::Arc;

use super::super::carriage::{Entry, Reference};
use super::super::elsewhere::{Copy, Elsewhere};
use super::super::layout::Member;
use super::super::reader::{Contents, MemberReader};
use super::super::restore::{Restoring, Spool};
use super::super::volume::Extent;
use crate::codec::{Decoder, StoredReader};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// A blob in another place than the parts.
pub(super) struct Outside<'a> {
    pub(super) stock: &'a dyn Elsewhere,
    pub(super) copy: Copy,
    pub(super) size: u64,
    pub(super) from: Option<Box<dyn Read + 'a>>,
}

impl std::fmt::Debug for Outside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.stock.name(&self.copy))
    }
}

impl Outside<'_> {
    /// Reads the next bytes of at most `left`. Nothing comes before the end: an error.
    fn next(&mut self, digest: &Digest, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let stock = self.stock;
        let name = stock.name(&self.copy);
        let from = match &mut self.from {
            Some(from) => from,
            None => self.from.insert(stock.open_copy(&self.copy)?),
        };
        let left = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(buffer.len());
        loop {
            match from.read(&mut buffer[..left]) {
                Ok(0) if left > 0 => {
                    let text = format!("{digest} in `{name}` ends after {at} of {} bytes", self.size);
                    return Err(Error::new(Code::BlobMismatch, text).hint(OTHER_BASE));
                }
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("cannot read", name, e)),
            }
        }
    }
}

/// A blob that is restored from a member.
pub(super) struct Dish<'a> {
    pub(super) stock: &'a dyn Elsewhere,
    pub(super) entry: &'a Entry,
    pub(super) reference: Option<&'a Reference>,
    /// Read before anything is decoded; a stream has none, and its members go to a file first.
    pub(super) check: Option<Box<BlobContent<'a>>>,
    pub(super) member: Option<Box<BlobContent<'a>>>,
    pub(super) size: u64,
    pub(super) open: Option<Box<Restoring<'a>>>,
}

impl std::fmt::Debug for Dish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entry.fmt(f)
    }
}

impl Dish<'_> {
    fn next(&mut self, digest: &Digest, at: u64, buffer: &mut [u8]) -> Result<usize> {
        if self.open.is_none() {
            let lost = || Error::new(Code::Internal, format!("{digest} is restored twice"));
            let stream = self.check.is_none();
            if let Some(mut check) = self.check.take() {
                while check.next(buffer)? > 0 {}
            }
            let member: Box<dyn Read> = self.member.take().ok_or_else(lost)?;
            let (stock, kitchen) = (self.stock, self.stock.kitchen());
            let reference = self.reference.map(|one| unpacked(stock, one)).transpose()?;
            self.open =
                Some(Box::new(Restoring::new(*digest, self.entry, reference.as_deref(), (member, stream), kitchen)?));
        }
        let Some(open) = &mut self.open else { return Ok(0) };
        let n = open.next(buffer)?;
        if at + n as u64 > self.size || n == 0 && at < self.size {
            let text = format!("{digest} is restored to another size than the {} bytes that it has", self.size);
            return Err(Error::new(Code::BlobMismatch, text).hint(OTHER_FORM));
        }
        Ok(n)
    }
}

/// The content of a reference, from the first place that has it as it should be.
fn unpacked(stock: &dyn Elsewhere, one: &Reference) -> Result<Arc<Spool>> {
    let kitchen = stock.kitchen();
    let mut failed = None;
    for copy in stock.find(&one.digest, one.size) {
        match kitchen.reference(one, &mut || stock.open_copy(&copy)) {
            Err(e) if matches!(e.code(), Code::BlobMismatch | Code::BlobMissing) => failed = failed.or(Some(e)),
            other => return other,
        }
    }
    match failed {
        Some(e) => Err(e),
        // It is unpacked already, or nowhere.
        None => kitchen.reference(one, &mut || stock.open_blob(&one.digest, one.size)),
    }
}

/// What to do about a member from which a blob does not come out.
const OTHER_FORM: &str = "ask for the bundle in full, or for another copy of this file";

/// What to do about a base that is damaged.
const OTHER_BASE: &str = "the base is damaged, not this bundle: give another copy of it with --base";

/// A member that stores a blob or a piece of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredPiece<'a> {
    pub(super) contents: &'a Contents,
    pub(super) member: &'a Member,
    pub(super) extent: &'a Extent,
}

/// The content of a blob, read piece by piece, decoded and hashed. The last read fails if the content does not match.
#[derive(Debug)]
pub struct BlobContent<'a> {
    pub(super) pieces: Vec<StoredPiece<'a>>,
    pub(super) next: usize,
    pub(super) open: Option<Decoder<MemberReader<'a>>>,
    /// Where it is read from, if not from parts.
    pub(super) outside: Option<Outside<'a>>,
    /// What it is restored from, if the parts have it as a member of another form.
    pub(super) dish: Option<Dish<'a>>,
    pub(super) whole: Option<Hasher>,
    pub(super) digest: Digest,
    pub(super) at: u64,
}

impl BlobContent<'_> {
    /// The number of bytes read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The name of the archive that provided the last bytes.
    pub fn place(&self) -> &str {
        if let Some(member) = self.dish.as_ref().and_then(|dish| dish.member.as_ref()) {
            return member.place();
        }
        if let Some(outside) = &self.outside {
            return outside.stock.name(&outside.copy);
        }
        let at = self.next.saturating_sub(1).min(self.pieces.len().saturating_sub(1));
        self.pieces.get(at).map_or("", |piece| piece.contents.name())
    }

    /// Reads the next bytes; returns 0 only after everything was checked.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(outside) = &mut self.outside {
            if outside.size == self.at {
                return self.end();
            }
            let n = outside.next(&self.digest, self.at, buffer)?;
            self.whole.iter_mut().for_each(|whole| whole.update(&buffer[..n]));
            self.at += n as u64;
            return Ok(n);
        }
        if let Some(dish) = &mut self.dish {
            let n = dish.next(&self.digest, self.at, buffer)?;
            if n == 0 {
                return self.end();
            }
            self.whole.iter_mut().for_each(|whole| whole.update(&buffer[..n]));
            self.at += n as u64;
            return Ok(n);
        }
        loop {
            if self.open.is_none() {
                let Some(piece) = self.pieces.get(self.next).copied() else { return self.end() };
                self.next += 1;
                let stored = piece.contents.open(piece.member)?;
                self.open = Some(piece.extent.stored.codec.decode(stored));
            }
            let Some(open) = &mut self.open else { continue };
            match open.next(buffer)? {
                0 => self.open = None,
                n => {
                    if let Some(whole) = &mut self.whole {
                        whole.update(&buffer[..n]);
                    }
                    self.at += n as u64;
                    return Ok(n);
                }
            }
        }
    }

    fn end(&self) -> Result<usize> {
        let Some(whole) = &self.whole else { return Ok(0) };
        let computed = whole.clone().finish();
        if computed == self.digest {
            return Ok(0);
        }
        if let Some(outside) = &self.outside {
            let text = format!("`{}` has other bytes for {}", outside.stock.name(&outside.copy), self.digest);
            return Err(Error::new(Code::BlobMismatch, text).fact(format!("computed {computed}")).hint(OTHER_BASE));
        }
        if self.dish.is_some() {
            let text = format!("{} does not come out of the member that carries it", self.digest);
            return Err(Error::new(Code::BlobMismatch, text).fact(format!("computed {computed}")).hint(OTHER_FORM));
        }
        Err(Error::new(Code::BlobMismatch, format!("the pieces of {} do not match its digest", self.digest))
            .fact(format!("listed   {}", self.digest))
            .fact(format!("computed {computed}"))
            .hint(
                "one damaged blob is usually the medium: copy the volumes again, or repair them: mirror-bundle repair",
            ))
    }
}

impl Read for BlobContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        Ok(self.next(buffer)?)
    }
}
