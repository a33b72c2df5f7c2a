//! Exactly one zstd frame of a known content size, in bounded memory.

use std::io::{self, Read};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

/// The largest window of a stream of a difference, of which four are read at once.
pub const WINDOW: u64 = 1 << 23;
/// The largest window of a frame that holds a whole content.
pub const CONTENT_WINDOW: u64 = 1 << 25;
/// The longest header of a frame (RFC 8878, 3.1.1.1) with its magic.
const HEADER: usize = 18;
const BUFFER: usize = 1 << 15;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin as a zstd frame, or is damaged within.
    #[error("not a sound zstd frame")]
    Damaged,
    /// Its window is above the limit.
    #[error("the window of the zstd frame is larger than it may be")]
    Window,
    /// It needs a dictionary.
    #[error("the zstd frame needs a dictionary")]
    Dictionary,
    /// It gives fewer bytes than it has to.
    #[error("the zstd frame holds fewer bytes than it has to")]
    Short,
    /// It gives more bytes than it may.
    #[error("the zstd frame holds more bytes than it may")]
    Long,
    /// It is cut off.
    #[error("the zstd frame is cut off")]
    Cut,
    /// Something follows it.
    #[error("bytes follow the zstd frame")]
    Trailing,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

impl Fault {
    /// The fault in an error of reading.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Reads the content of one frame. The content is right only when a read gives 0 bytes: before that, nobody knows
/// whether the frame ends where it has to.
pub struct Frame<R> {
    input: R,
    decoder: Decoder<'static>,
    buf: Box<[u8]>,
    from: usize,
    to: usize,
    /// Bytes that still have to come out.
    left: u64,
    window: u64,
    begun: bool,
    /// The frame is complete.
    complete: bool,
    ended: bool,
}

impl<R: Read> Frame<R> {
    /// A frame that is all of `input`, gives `size` bytes, and has a window of at most `window` bytes, a power of two.
    ///
    /// # Errors
    ///
    /// The decoder cannot be made.
    pub fn new(input: R, size: u64, window: u64) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window.ilog2()))?;
        let buf = vec![0; BUFFER].into_boxed_slice();
        Ok(Self {
            input,
            decoder,
            buf,
            from: 0,
            to: 0,
            left: size,
            window,
            begun: false,
            complete: false,
            ended: false,
        })
    }

    /// Bytes that still have to come out.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads on into the buffer when it is empty, or until it holds `least` bytes.
    fn fill(&mut self, least: usize) -> io::Result<usize> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        while self.to - self.from < least {
            match self.input.read(self.buf.get_mut(self.to..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => self.to += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.to - self.from)
    }

    /// Decodes into `out`, which is not empty; 0: the frame is complete.
    fn decode(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.fill(HEADER)?;
            header(self.buf.get(self.from..self.to).unwrap_or_default(), self.left, self.window)?;
            self.begun = true;
        }
        while !self.complete {
            self.fill(1)?;
            let mut input = InBuffer::around(self.buf.get(self.from..self.to).unwrap_or_default());
            let empty = input.src.is_empty();
            let mut output = OutBuffer::around(&mut *out);
            let rest = self.decoder.run(&mut input, &mut output).map_err(|_| Fault::Damaged)?;
            let (read, made) = (input.pos(), output.pos());
            self.from += read;
            self.complete = rest == 0;
            if made > 0 {
                return Ok(made);
            }
            if empty && !self.complete {
                return Err(Fault::Cut.into());
            }
        }
        Ok(0)
    }

    /// Checks that the frame ends here, and nothing follows.
    ///
    /// # Errors
    ///
    /// It gives more, it is cut off, or bytes follow.
    pub fn end(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.left > 0 || self.decode(&mut [0])? > 0 {
            return Err(Fault::Long.into());
        }
        if self.fill(1)? > 0 {
            return Err(Fault::Trailing.into());
        }
        self.ended = true;
        Ok(())
    }
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        if n == 0 {
            if self.left == 0 {
                self.end()?;
            }
            return Ok(0);
        }
        let made = self.decode(out.get_mut(..n).unwrap_or_default())?;
        if made == 0 {
            return Err(Fault::Short.into());
        }
        self.left -= made as u64;
        Ok(made)
    }
}

/// Checks the header of a frame that has to give `size` bytes (RFC 8878, 3.1.1.1).
fn header(bytes: &[u8], size: u64, limit: u64) -> Result<(), Fault> {
    let cut = if bytes.is_empty() { Fault::Cut } else { Fault::Damaged };
    let Some((&[0x28, 0xb5, 0x2f, 0xfd, flags], rest)) = bytes.split_first_chunk() else { return Err(cut) };
    if flags & 8 != 0 {
        return Err(Fault::Damaged);
    }
    if flags & 3 != 0 {
        return Err(Fault::Dictionary);
    }
    let single = flags & 0x20 != 0;
    let (window, rest) = if single {
        (None, rest)
    } else {
        let (byte, rest) = rest.split_first().ok_or(Fault::Cut)?;
        let base = 1u64 << (10 + u32::from(byte >> 3));
        (Some(base + base / 8 * u64::from(byte & 7)), rest)
    };
    let width = match (flags >> 6, single) {
        (0, false) => 0,
        (0, true) => 1,
        (1, _) => 2,
        (2, _) => 4,
        _ => 8,
    };
    let field = rest.get(..width).ok_or(Fault::Cut)?;
    let value = field.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let content = (width > 0).then(|| if width == 2 { value + 256 } else { value });
    if window.or(content).is_some_and(|w| w > limit) {
        return Err(Fault::Window);
    }
    match content {
        Some(c) if c < size => Err(Fault::Short),
        Some(c) if c > size => Err(Fault::Long),
        _ => Ok(()),
    }
}
