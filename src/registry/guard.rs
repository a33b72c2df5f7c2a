//! The reader for an upload: limits its size, enforces a minimum speed, and gives the last byte only after a clean end.

use std::io::{self, Read};
use std::time::Instant;

use super::body::Pace;

/// The most bytes returned at once: speed is checked in between.
const PIECE: usize = 16 * 1024;

/// Returns exactly `left` bytes, and the last one only after the inner reader has ended cleanly.
pub(super) struct Guard<'r> {
    inner: Box<dyn Read + 'r>,
    pub(super) left: u64,
    pace: Pace,
    /// The size and time of the last read.
    given: Option<(usize, Instant)>,
    pub(super) failure: Option<Broken>,
}

/// Why this client stopped an upload.
pub(super) enum Broken {
    Content(io::Error),
    Slow,
}

impl<'r> Guard<'r> {
    pub(super) fn new(inner: Box<dyn Read + 'r>, left: u64, patience: std::time::Duration) -> Guard<'r> {
        Guard { inner, left, pace: Pace::new(patience), given: None, failure: None }
    }

    /// Call before each request: the time since the last read is not transfer time.
    pub(super) fn pause(&mut self) {
        self.given = None;
    }

    fn next(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if self.left == 1 {
            self.inner.read_exact(&mut buf[..1])?;
            self.expect_end()?;
            self.left = 0;
            return Ok(1);
        }
        let room = usize::try_from(self.left - 1).unwrap_or(usize::MAX).min(buf.len()).min(PIECE);
        match self.inner.read(&mut buf[..room])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ended {} bytes early", self.left))),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }

    pub(super) fn expect_end(&mut self) -> io::Result<()> {
        match self.inner.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("it is longer than it should be")),
        }
    }
}

impl Read for Guard<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let stopped = || Err(io::Error::other("the upload is given up"));
        if self.failure.is_some() {
            return stopped();
        }
        if let Some((n, since)) = self.given.take()
            && !self.pace.keeps(n, since.elapsed())
        {
            self.failure = Some(Broken::Slow);
            return stopped();
        }
        match self.next(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                self.failure = Some(Broken::Content(e));
                stopped()
            }
            Ok(n) => {
                self.given = Some((n, Instant::now()));
                Ok(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Returns `data`, and then an end or an error.
    struct Source(Vec<u8>, bool);

    impl Read for Source {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && self.1 {
                return Err(io::Error::other("digest"));
            }
            let n = self.0.len().min(buf.len()).min(3);
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn pass(data: &[u8], bad_end: bool, size: u64) -> (Vec<u8>, bool) {
        let pace = Pace::new(std::time::Duration::from_secs(60));
        let inner = Box::new(Source(data.to_vec(), bad_end));
        let mut guard = Guard { inner, left: size, pace, given: None, failure: None };
        let mut out = Vec::new();
        let ok = guard.read_to_end(&mut out).is_ok();
        assert_eq!(ok, guard.failure.is_none());
        (out, ok)
    }

    #[test]
    fn the_last_byte_waits_for_a_clean_end() {
        assert_eq!(pass(b"0123456789", false, 10), (b"0123456789".to_vec(), true));
        assert_eq!(pass(b"0123456789", true, 10), (b"012345678".to_vec(), false));
        assert_eq!(pass(b"0123456789x", false, 10), (b"012345678".to_vec(), false));
        assert_eq!(pass(b"01234", false, 10), (b"01234".to_vec(), false));
        assert_eq!(pass(b"x", true, 1), (Vec::new(), false));
        assert_eq!(pass(b"", false, 0), (Vec::new(), true));
    }
}
