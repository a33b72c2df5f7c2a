//! Writes one blob to its places: a member of one file, the same member in several files, or pieces in several.

use super::NOTE_EVERY;
use super::journal::Claim;
use super::partial::Partial;
use super::plan::BlobPlace;
use crate::bundle::index::Blob;
use crate::bundle::tar;
use crate::error::{Code, Error, Result};
use crate::oci::Hasher;

/// Writes one blob and hashes it and each of its pieces.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    partial: &'a Partial<'a>,
    blob: &'a Blob,
    places: &'a [BlobPlace],
    hasher: Hasher,
    /// One hasher for each place that holds a piece.
    pieces: Vec<Hasher>,
    written: u64,
    noted: u64,
    /// Whether whoever hands the content over compares it with its digest.
    proved: bool,
}

impl<'a> BlobWriter<'a> {
    pub(super) fn resume(partial: &'a Partial<'a>, blob: usize, buffer: &mut [u8]) -> Result<BlobWriter<'a>> {
        let plan = partial.plan();
        let claim = partial.claim(blob);
        let places = plan.places(blob);
        let blob = plan.content(blob);
        let hashers = vec![Hasher::new(); places.len()];
        let hasher = Hasher::new();
        let mut writer =
            BlobWriter { partial, blob, places, hasher, pieces: hashers, written: 0, noted: 0, proved: false };
        let upto = match claim {
            // Pieces on volumes that are not written now cannot be read back.
            _ if !writer.is_whole() => 0,
            Claim::Nothing => 0,
            Claim::Partial(n) => n.min(blob.size),
            Claim::Done => blob.size,
        };
        if upto > 0 {
            writer.read_again(upto, buffer)?;
        }
        for place in places {
            partial.write_header(place, plan.member(place))?;
        }
        Ok(writer)
    }

    /// Starts a blob whose content is compared with its digest by whoever hands it over.
    pub(super) fn proved(partial: &'a Partial<'a>, blob: usize) -> Result<BlobWriter<'a>> {
        let (plan, places) = (partial.plan(), partial.plan().places(blob));
        let (hasher, pieces) = (Hasher::new(), vec![Hasher::new(); places.len()]);
        let blob = plan.content(blob);
        for place in places {
            partial.write_header(place, plan.member(place))?;
        }
        Ok(BlobWriter { partial, blob, places, hasher, pieces, written: 0, noted: 0, proved: true })
    }

    /// The number of bytes already written: the offset at which content must continue.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Whether nothing is left to write.
    pub fn is_full(&self) -> bool {
        self.written == self.blob.size
    }

    /// The part of a buffer that the next bytes should be read into, so that they can be written without a copy.
    pub fn window<'v>(&self, buffer: &'v mut [u8]) -> &'v mut [u8] {
        let plan = self.partial.plan();
        let extents = self.places.iter().map(|place| (place, plan.extent(place)));
        let next = extents.clone().find(|(_, e)| (e.offset..e.offset + e.size).contains(&self.written));
        match next {
            Some((place, extent)) => {
                self.partial.window(place, buffer, plan.member(place).data() + (self.written - extent.offset))
            }
            None => buffer,
        }
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] when the content is longer than its descriptor says.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.blob.size - self.written {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the source sends more than the {} bytes of {}", self.blob.size, self.blob.digest),
            ));
        }
        let end = self.written + bytes.len() as u64;
        for (place, hasher) in self.places.iter().zip(&mut self.pieces) {
            let (member, extent) = (self.partial.plan().member(place), self.partial.plan().extent(place));
            let from = self.written.max(extent.offset);
            let to = end.min(extent.offset + extent.size);
            if from < to {
                let part = &bytes[index(from - self.written)..index(to - self.written)];
                self.partial.write(place, part, member.data() + (from - extent.offset))?;
                if extent.piece.is_some() {
                    hasher.update(part);
                }
            }
        }
        if !self.proved {
            self.hasher.update(bytes);
        }
        self.written = end;
        if self.written - self.noted >= NOTE_EVERY && !self.is_full() {
            self.noted = self.written;
            self.partial.note(&format!("at {} {}\n", self.blob.digest, self.written))?;
        }
        Ok(())
    }

    /// Discards what was written and starts over.
    pub fn restart(&mut self) {
        self.hasher = Hasher::new();
        self.pieces = vec![Hasher::new(); self.places.len()];
        self.written = 0;
        self.noted = 0;
    }

    /// Finishes the blob; it only counts if size and digest are right.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] with both digests; the journal then records that nothing is written.
    pub fn finish(self) -> Result<()> {
        self.finish_if(|| Ok(()))
    }

    /// The same, but only if `approve` accepts the content. Otherwise the blob does not count.
    pub fn finish_if(self, approve: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.is_full() {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the source sent {} of the {} bytes of {}", self.written, self.blob.size, self.blob.digest),
            ));
        }
        let computed = if self.proved { self.blob.digest } else { self.hasher.finish() };
        if computed != self.blob.digest {
            self.partial.note(&format!("at {} 0\n", self.blob.digest))?;
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the content of {} does not match its digest", self.blob.digest),
            )
            .fact(format!("computed {computed}")));
        }
        approve()?;
        let padding = [0u8; tar::BLOCK as usize];
        for (place, hasher) in self.places.iter().zip(self.pieces) {
            let member = self.partial.plan().member(place);
            let rest = index(tar::padded(member.size) - member.size);
            self.partial.write(place, &padding[..rest], member.data() + member.size)?;
            if self.partial.plan().extent(place).piece.is_some() {
                self.partial.piece(place, hasher.finish())?;
            }
        }
        self.partial.note(&format!("done {}\n", self.blob.digest))
    }

    /// Whether the places hold every byte of the blob; false if only some volumes are written.
    fn is_whole(&self) -> bool {
        let mut upto = 0;
        for extent in self.places.iter().map(|place| self.partial.plan().extent(place)) {
            if extent.offset == upto {
                upto += extent.size;
            }
        }
        upto == self.blob.size
    }

    /// Hashes what an earlier run wrote, up to `upto`, in every place. Starts at 0 if it does not match.
    fn read_again(&mut self, upto: u64, buffer: &mut [u8]) -> Result<()> {
        for (at, place) in self.places.iter().enumerate() {
            let extent = self.partial.plan().extent(place);
            let size = upto.saturating_sub(extent.offset).min(extent.size);
            if extent.piece.is_some() || at == 0 {
                let (whole, piece) = (&mut self.hasher, &mut self.pieces[at]);
                read(self.partial, place, size, buffer, |bytes| {
                    whole.update(bytes);
                    if extent.piece.is_some() {
                        piece.update(bytes);
                    }
                })?;
                self.written += size;
            } else if !self.partial.is_complete(place) {
                // Another copy of the same bytes: it must be identical.
                let mut copy = Hasher::new();
                read(self.partial, place, size, buffer, |bytes| copy.update(bytes))?;
                if copy.finish() != self.hasher.clone().finish() {
                    self.restart();
                    return Ok(());
                }
            }
        }
        self.noted = self.written;
        if self.is_full() && self.hasher.clone().finish() != self.blob.digest {
            self.restart();
        }
        Ok(())
    }
}

/// Reads the first `size` bytes of a place.
fn read(
    partial: &Partial<'_>,
    place: &BlobPlace,
    size: u64,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> Result<()> {
    let from = partial.plan().member(place).data();
    let mut done = 0;
    while done < size {
        let want = index(size - done).min(buffer.len());
        partial.read(place, &mut buffer[..want], from + done)?;
        take(&buffer[..want]);
        done += want as u64;
    }
    Ok(())
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
