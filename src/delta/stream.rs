//! A stream of a member: the content of its frame, byte by byte and number by number.

use std::io::{self, Read};

use super::{Error, Fault, Frame, Part, Stream, WINDOW};

const BUFFER: usize = 1 << 14;

/// Reads a part forward.
pub(super) struct Forward<'a> {
    part: Part<'a>,
    at: u64,
}

impl Read for Forward<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.part.size - self.at;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..n).unwrap_or_default();
        self.part.read_exact(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// One of the four streams.
pub(super) struct Source<'a> {
    which: Stream,
    frame: Frame<Forward<'a>>,
    buf: Box<[u8]>,
    from: usize,
    to: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(which: Stream, part: Part<'a>, size: u64) -> io::Result<Self> {
        let frame = Frame::new(Forward { part, at: 0 }, size, WINDOW)?;
        Ok(Self { which, frame, buf: vec![0; BUFFER].into_boxed_slice(), from: 0, to: 0 })
    }

    /// Bytes that were not taken yet.
    pub(super) fn left(&self) -> u64 {
        self.frame.left() + (self.to - self.from) as u64
    }

    fn named(&self, error: io::Error) -> io::Error {
        Fault::of(&error).map_or(error, |fault| Error::Frame(self.which, fault).into())
    }

    /// Takes exactly as many bytes as `out` has.
    pub(super) fn take(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        if self.left() < out.len() as u64 {
            return Err(Error::Short(self.which).into());
        }
        while !out.is_empty() {
            if self.from == self.to {
                // Large pieces go past the buffer.
                if out.len() >= BUFFER {
                    let n = self.frame.read(out).map_err(|e| self.named(e))?;
                    out = out.get_mut(n..).unwrap_or_default();
                    continue;
                }
                self.from = 0;
                self.to = self.frame.read(&mut self.buf).map_err(|e| self.named(e))?;
            }
            let here = self.buf.get(self.from..self.to).unwrap_or_default();
            let n = here.len().min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(here.get(..n).unwrap_or_default());
            self.from += n;
            out = later;
        }
        Ok(())
    }

    /// Takes a number: LEB128 of at most 10 bytes and 64 bits.
    pub(super) fn number(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for i in 0..10 {
            let mut byte = [0];
            self.take(&mut byte)?;
            let [byte] = byte;
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 127) << (7 * i);
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Error::Number(self.which).into())
    }

    /// Nothing may be left, and the frame has to end here.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.left() > 0 {
            return Err(Error::LeftOver(self.which).into());
        }
        self.frame.end().map_err(|e| self.named(e))
    }
}

/// A number with its sign, from one without: 0, -1, 1, -2, 2 ...
pub(super) fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// The reverse.
pub(super) fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

/// Adds a number as LEB128.
pub(super) fn put(mut v: u64, out: &mut Vec<u8>) {
    while v >= 128 {
        out.push(v as u8 | 128);
        v >>= 7;
    }
    out.push(v as u8);
}
