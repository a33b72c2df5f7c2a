//! The content of a blob, for a receiver that writes it.

use super::report::Finding;
use super::{disguise, release};
use crate::bundle::set::{BlobContent, Replica, Set};
use crate::error::{Code, Error, Result};
use crate::parallel::Turn;

/// The content of a blob, hashed while it is read; nothing is read before the first request. The last read fails if
/// the content does not match.
#[derive(Debug)]
pub struct BlobReader<'a> {
    set: &'a Set,
    blob: usize,
    replica: &'a Replica,
    turn: Option<&'a Turn<'a>>,
    open: Option<BlobContent<'a>>,
    pub(super) bad: Option<Finding>,
    pub(super) tee: Option<release::Tee>,
    pub(super) capture: Option<Vec<u8>>,
    pub(super) look: Option<disguise::Look>,
}

impl<'a> BlobReader<'a> {
    pub(super) fn new(set: &'a Set, blob: usize, replica: &'a Replica, turn: Option<&'a Turn<'a>>) -> BlobReader<'a> {
        BlobReader { set, blob, replica, turn, open: None, bad: None, tee: None, capture: None, look: None }
    }

    /// Whether any of it was read.
    pub(super) fn is_touched(&self) -> bool {
        self.open.is_some()
    }

    /// Waits until the content may be moved: not more at once than gets more done.
    pub fn ready(&self) {
        self.turn.iter().for_each(|turn| turn.start());
    }

    /// Starts over and skips the first `offset` bytes, which are hashed again. A stream can only continue at its
    /// current position.
    pub fn reopen(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if self.open.as_ref().map_or(0, BlobContent::position) == offset {
            return Ok(());
        }
        if self.set.is_stream() {
            return Err(Error::new(
                Code::Destination,
                "the transfer was interrupted, and a stream cannot be read again",
            )
            .hint("run the same command again with the stream from its beginning, or unpack from a file"));
        }
        self.open = None;
        self.look = self.look.as_ref().map(disguise::Look::like);
        let mut left = offset;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            left -= self.next(&mut buffer[..want])? as u64;
        }
        Ok(())
    }

    /// Reads the rest, only to check its digest.
    pub fn drain(&mut self, buffer: &mut [u8]) -> Result<()> {
        while self.next(buffer)? > 0 {}
        Ok(())
    }

    /// Reads the next bytes; returns 0 only after everything was checked.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(bad) = &self.bad {
            return Err(Error::new(bad.code, bad.message.clone()));
        }
        let read = self.open.get_or_insert_with(|| self.set.open(self.blob, self.replica)).next(buffer);
        if let (Ok(n), Some(turn)) = (&read, self.turn) {
            turn.moved(*n as u64);
        }
        if let (Ok(n), Some(tee)) = (&read, &mut self.tee) {
            tee.send(&buffer[..*n]);
        }
        if let (Ok(n), Some(capture)) = (&read, &mut self.capture) {
            capture.extend_from_slice(&buffer[..*n]);
        }
        if let (Ok(n), Some(look)) = (&read, &mut self.look) {
            look.send(&buffer[..*n]);
        }
        let digest = self.set.index().blobs[self.blob].digest;
        read.inspect_err(|e| self.bad = Some(Finding::of(digest.to_string(), e)))
    }
}

impl std::io::Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        Ok(self.next(buffer)?)
    }
}
