//! `delta-1`: one file as the difference from another one (MB-DLT).
//!
//! A member holds the magic `MBDELTA1`, the lengths of four zstd frames, and the frames: *control* (steps), *gaps*
//! (where added bytes differ), *values* (by how much) and *extra* (new bytes). [`Patched`] reads the reference by
//! position and everything else forward, in constant memory. [`encode`] finds the steps in a given amount of memory.

mod encode;
mod frame;
mod pages;
mod patch;
mod seeds;
mod steps;
mod stream;

pub use encode::{Options, encode};
pub use frame::{CONTENT_WINDOW, Fault, Frame, WINDOW};
pub use patch::Patched;

use std::io;
use std::sync::Arc;

/// The first bytes of a member.
pub const MAGIC: &[u8; 8] = b"MBDELTA1";
/// Magic and lengths.
pub const HEAD: u64 = 8 + 4 * 16;

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// Reads at `at`; fewer bytes than asked for only where they end.
    ///
    /// # Errors
    ///
    /// Those of the medium.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        (**self).read_at(buf, at)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        (**self).read_at(buf, at)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, at)
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, at)
    }
}

/// Fills `buf` from `at` on.
fn read_exact_at(from: &dyn ReadAt, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match from.read_at(buf, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = buf.get_mut(n..).unwrap_or_default();
                at = at.saturating_add(n as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A part of something that is read by position: a member of a bundle, for example.
#[derive(Clone)]
pub struct Part<'a> {
    /// What it is a part of.
    pub from: Arc<dyn ReadAt + Send + Sync + 'a>,
    /// Where it begins.
    pub start: u64,
    /// Its size.
    pub size: u64,
}

impl<'a> Part<'a> {
    /// The first `size` bytes.
    #[must_use]
    pub fn whole(from: impl ReadAt + Send + Sync + 'a, size: u64) -> Self {
        Part { from: Arc::new(from), start: 0, size }
    }

    /// Fills `buf` from `at` on, counted from the beginning of the part.
    fn read_exact(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_exact_at(&*self.from, buf, self.start.saturating_add(at))
    }
}

/// The streams of a member, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The steps.
    Control,
    /// Where added bytes are equal and differ.
    Gaps,
    /// By how much they differ.
    Values,
    /// New bytes.
    Extra,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stream::Control => "control",
            Stream::Gaps => "gaps",
            Stream::Values => "values",
            Stream::Extra => "extra",
        })
    }
}

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with the magic.
    #[error("does not begin with MBDELTA1")]
    Magic,
    /// The lengths of the frames do not make up the member.
    #[error("the lengths of the frames do not add up to the member")]
    Lengths,
    /// A frame is not as it has to be.
    #[error("{0}: {1}")]
    Frame(Stream, Fault),
    /// A number of more than 10 bytes or 64 bits.
    #[error("{0}: a number is too large")]
    Number(Stream),
    /// A stream ends before it may.
    #[error("{0}: ends too early")]
    Short(Stream),
    /// A stream has bytes that nothing asks for.
    #[error("{0}: bytes are left over")]
    LeftOver(Stream),
    /// A step lies outside the reference.
    #[error("a step lies outside the reference")]
    Outside,
    /// The steps do not give the size that the content has.
    #[error("the steps do not add up to the size of the content")]
    Sum,
    /// More steps than one per 8 bytes, plus 64.
    #[error("too many steps")]
    Steps,
    /// The gaps do not cover the added bytes exactly, or one is empty.
    #[error("the gaps do not add up to the added bytes")]
    Gap,
}

impl Error {
    /// The error in an error of reading, when it is about the member.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The largest number of steps for a content of this size.
fn most_steps(size: u64) -> u64 {
    size / 8 + 64
}
