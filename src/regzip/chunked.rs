//! The stream of klauspost and of Go from 1.27 on: chunks of 65,535 bytes, searched and written (MB-ENC-02).

use std::io::{Result, Write};

use super::blocks::Blocks;
use super::search::{Buffer, Chunk, FAR, Tables, buffer};
use super::symbols::Tokens;
use super::{Family, Level};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 65_535;
/// Bytes of the input before a block of pgzip that its encoder knows.
const DICTIONARY: usize = 16_384;
/// Room for input that one stream holds, beside what it looks back to.
const ROOM: usize = 8 * CHUNK;

/// An encoder of one stream, or of the blocks of pgzip.
pub(super) struct Chunked {
    level: Level,
    /// Size of the blocks of pgzip.
    block: Option<usize>,
    blocks: Blocks,
    tables: Tables,
    found: Tokens,
    buf: Box<Buffer>,
    /// Where the input in the buffer ends.
    filled: usize,
    /// As [`Chunk::first`].
    first: usize,
    /// Where the chunk begins that is not encoded yet.
    next: usize,
    /// Where the block began.
    began: usize,
}

impl Chunked {
    pub(super) fn new(family: Family, level: Level, block: Option<usize>) -> Self {
        Self {
            level,
            block,
            blocks: Blocks::new(family),
            tables: Tables::new(),
            found: Tokens::default(),
            buf: buffer(),
            filled: FAR,
            first: FAR,
            next: FAR,
            began: FAR,
        }
    }

    /// Takes input and writes what is encoded by now.
    pub(super) fn write(&mut self, mut input: &[u8], out: &mut dyn Write) -> Result<()> {
        while !input.is_empty() {
            let room = match self.block {
                Some(size) => self.began + size,
                None => FAR + ROOM,
            } - self.filled;
            let (now, later) = input.split_at(input.len().min(room));
            let filled = self.filled + now.len();
            self.buf[self.filled..filled].copy_from_slice(now);
            self.filled = filled;
            input = later;
            while self.filled - self.next > CHUNK {
                self.chunk(self.next + CHUNK, false);
                self.give(out)?;
            }
            match self.block {
                Some(size) if self.filled == self.began + size => {
                    self.flush();
                    self.give(out)?;
                    self.begin();
                }
                None if self.filled == FAR + ROOM => self.slide(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Encodes the rest and ends the stream.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        if self.block.is_some() {
            self.flush();
        } else {
            self.chunk(self.filled, true);
        }
        self.blocks.finish();
        self.give(out)
    }

    fn give(&mut self, out: &mut dyn Write) -> Result<()> {
        out.write_all(self.blocks.bits.whole())?;
        self.blocks.bits.clear();
        Ok(())
    }

    /// Encodes the last chunk of a block, and an empty stored block behind it.
    fn flush(&mut self) {
        self.chunk(self.filled, true);
        self.blocks.stored(&[]);
    }

    /// Begins another block: a fresh encoder that knows the last bytes of the block before.
    fn begin(&mut self) {
        let from = self.filled - DICTIONARY;
        self.buf.copy_within(from..self.filled, FAR);
        self.began = FAR + DICTIONARY;
        self.filled = self.began;
        self.restart();
    }

    /// Forgets all but what is in the buffer before the block, and searches that.
    fn restart(&mut self) {
        self.tables.clear();
        self.blocks.restart();
        self.next = FAR;
        if self.began > FAR {
            self.search(self.began);
        }
        self.next = self.began;
    }

    /// Moves the buffer down, so that there is room behind it.
    fn slide(&mut self) {
        let by = self.next - FAR;
        self.buf.copy_within(by..self.filled, 0);
        self.filled -= by;
        self.tables.shift(by);
        self.first = self.first.saturating_sub(by);
        self.next = FAR;
    }

    fn search(&mut self, end: usize) {
        self.found.clear();
        let chunk = Chunk { buf: &self.buf, first: self.first, start: self.next, end };
        match self.level {
            Level::L1 => self.tables.level_1(chunk, &mut self.found),
            Level::L5 => self.tables.levels_5_6::<false>(chunk, &mut self.found),
            Level::L6 => self.tables.levels_5_6::<true>(chunk, &mut self.found),
        }
    }

    /// Begins one block of pgzip behind the end of the block before; [`Chunked::fill`] and [`Chunked::end`] follow. An
    /// encoder does either this or [`Chunked::write`].
    pub(super) fn behind(&mut self, before: &[u8]) {
        self.began = FAR + before.len();
        self.filled = self.began;
        self.buf[FAR..self.began].copy_from_slice(before);
    }

    /// Takes input of the block, which has room for it.
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        let filled = self.filled + bytes.len();
        self.buf[self.filled..filled].copy_from_slice(bytes);
        self.filled = filled;
    }

    /// Bytes of the block.
    pub(super) fn held(&self) -> usize {
        self.filled - self.began
    }

    /// What the next block is to know of this one, and of what is before it.
    pub(super) fn tail(&self) -> &[u8] {
        self.buf.get(FAR.max(self.filled.saturating_sub(DICTIONARY))..self.filled).unwrap_or_default()
    }

    /// Encodes the block; `last`: nothing comes behind it.
    pub(super) fn end(&mut self, last: bool, out: &mut Vec<u8>) {
        self.restart();
        while self.filled - self.next > CHUNK {
            self.chunk(self.next + CHUNK, false);
        }
        self.flush();
        if last {
            self.blocks.finish();
        }
        out.extend_from_slice(self.blocks.bits.whole());
        self.blocks.bits.clear();
    }

    /// Encodes a chunk; `last`: of the stream or of the block.
    fn chunk(&mut self, end: usize, last: bool) {
        let n = end - self.next;
        let start = self.next;
        if last && n < 128 {
            let bytes = self.buf.get(start..end).unwrap_or_default();
            match n {
                0 => {}
                1..=32 => self.blocks.stored(bytes),
                _ => self.blocks.literals(bytes, true),
            }
        } else {
            self.search(end);
            let bytes = self.buf.get(start..end).unwrap_or_default();
            if self.found.seqs.is_empty() {
                self.blocks.stored(bytes);
            } else if self.found.count() > n - n / 16 {
                self.blocks.literals(bytes, last);
            } else {
                self.blocks.tokens(&self.found, bytes, last);
            }
        }
        self.next = end;
    }
}
