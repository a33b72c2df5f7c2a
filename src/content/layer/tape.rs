//! The decompressed bytes of a layer, in blocks and contents.

use std::io::{self, BufRead, BufReader, Read};

use super::header::BLOCK;
use super::inflate::{Ahead, Inflate};
use super::sparse::Map;
use super::{Bounds, malformed};

/// The blocks of an archive, and the content of the current entry.
pub(super) struct Tape<'a> {
    pub(super) data: BufReader<Bounded<Inflate<'a>>>,
    /// Bytes of content and of padding that were not read yet.
    content: u64,
    padding: u64,
    /// A block to read again.
    back: Option<[u8; BLOCK]>,
}

impl<'a> Tape<'a> {
    pub(super) fn new(inner: Inflate<'a>, bounds: Bounds) -> Tape<'a> {
        let data = BufReader::with_capacity(128 << 10, Bounded { inner, left: bounds.inflated, bounds });
        Tape { data, content: 0, padding: 0, back: None }
    }

    /// The bytes that may still be inflated.
    pub(super) fn left(&self) -> u64 {
        self.data.get_ref().left
    }

    /// The next block, after what is left of the current entry; `None` at the end.
    pub(super) fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        if let Some(block) = self.back.take() {
            return Ok(Some(block));
        }
        self.skip()?;
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.data.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within a header")),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(block))
    }

    /// Gives a block back, to be read next.
    pub(super) fn put_back(&mut self, block: [u8; BLOCK]) {
        self.back = Some(block);
    }

    /// The content of an entry follows.
    pub(super) fn begin(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> io::Result<()> {
        let mut left = self.content.checked_add(self.padding).ok_or(io::ErrorKind::InvalidData)?;
        (self.content, self.padding) = (0, 0);
        while left > 0 {
            let there = match self.data.fill_buf() {
                Ok(there) => there.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if there == 0 {
                return Err(short());
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            self.data.consume(now);
            left -= now as u64;
        }
        Ok(())
    }

    /// The content of a sparse file.
    pub(super) fn sparse(&mut self, map: Map) -> Sparse<'_, 'a> {
        Sparse { tape: self, map }
    }

    /// Whether only zeros follow, and not more than this.
    pub(super) fn only_zeros(&mut self, most: u64) -> io::Result<bool> {
        let mut seen = 0;
        loop {
            let there = match self.data.fill_buf() {
                Ok(there) => there,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let count = there.len();
            seen += count as u64;
            if count == 0 {
                return Ok(true);
            }
            if seen > most || there.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            self.data.consume(count);
        }
    }

    /// The first block that is not zero; `None` if there is none. A shorter rest is filled with zeros.
    pub(super) fn after_zeros(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        loop {
            let mut filled = 0;
            while filled < BLOCK {
                match self.data.read(&mut block[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            block[filled..].fill(0);
            match (filled, block.iter().any(|b| *b != 0)) {
                (0, _) => return Ok(None),
                (_, true) => return Ok(Some(block)),
                (_, false) => {}
            }
        }
    }

    /// Reads to the end of what is compressed.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.data, &mut io::sink()).map(|_| ())
    }

    /// What stands behind the compressed content, after [`Tape::drain`].
    pub(super) fn behind(&mut self) -> Option<&mut Ahead<'a>> {
        self.data.get_mut().inner.behind()
    }
}

/// The content of the current entry.
impl Read for Tape<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let n = self.data.read(&mut buffer[..room])?;
        if n == 0 {
            return Err(short());
        }
        self.content -= n as u64;
        Ok(n)
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within an entry")
}

/// The content of a sparse file, with its holes as zeros. They count as inflated bytes.
pub(super) struct Sparse<'t, 'a> {
    tape: &'t mut Tape<'a>,
    map: Map,
}

impl Read for Sparse<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((hole, most)) = self.map.next(buffer.len()) else { return Ok(0) };
        let n = match hole {
            true => {
                self.tape.data.get_mut().charge(most as u64)?;
                buffer[..most].fill(0);
                most
            }
            false => self.tape.read(&mut buffer[..most])?,
        };
        self.map.passed(hole, n);
        Ok(n)
    }
}

/// Fails, rather than ends, when the limit is exceeded.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
    bounds: Bounds,
}

impl<R> Bounded<R> {
    fn charge(&mut self, bytes: u64) -> io::Result<()> {
        let more = || malformed(self.bounds.whose, format!("inflates to more than {} bytes", self.bounds.inflated));
        self.left = self.left.checked_sub(bytes).ok_or_else(|| io::Error::from(more()))?;
        Ok(())
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            // What fits was handed over; one more byte is too many.
            let count = self.inner.read(&mut [0])?;
            return self.charge(count as u64).map(|()| 0);
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        self.charge(count as u64)?;
        Ok(count)
    }
}
