//! Re-making gzip streams byte for byte: what the builders of images wrote, from the content and a recipe.
//!
//! A layer in a registry is a gzip stream; its digest is of the compressed bytes. Where the encoder that wrote it is
//! known, the stream need not be carried: the content is enough, and a [`Recipe`]. `spec/encoders.md` says what each
//! encoder does. The bytes of a [`Family`] never change: other bytes get another name.

mod beside;
mod bits;
mod blocks;
mod chunked;
mod find;
mod go_blocks;
mod go_fast;
mod go_lazy;
mod huffman;
mod search;
mod symbols;
mod write;

pub use find::{candidates, find, header_length};

use std::io::{self, Write};
use std::sync::Arc;

use beside::Beside;
use chunked::Chunked;
use flate2::Crc;
use go_fast::Fast;
use go_lazy::Lazy;

/// The longest header that is kept.
pub const MAX_HEADER: usize = 256;
/// The shortest header there is.
pub const MIN_HEADER: usize = 10;

/// Encoders that give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `klauspost-a`: klauspost/compress from 1.15.10 to 1.18.0.
    A,
    /// `klauspost-b`: klauspost/compress from 1.18.2, and Go from 1.27.
    B,
    /// `go126`: Go from 1.21 to 1.26.
    Go126,
}

/// A level that is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Level 1.
    L1,
    /// Level 5; `go126` has none.
    L5,
    /// Level 6.
    L6,
}

/// How the stream is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// One deflate stream of the whole content.
    Gzip,
    /// A fresh encoder for each block of so many bytes.
    Pgzip(BlockSize),
}

/// Size of the blocks of pgzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockSize {
    /// 1,048,576 bytes.
    MiB,
    /// 262,144 bytes.
    QuarterMiB,
}

impl BlockSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            BlockSize::MiB => 1 << 20,
            BlockSize::QuarterMiB => 1 << 18,
        }
    }

    /// The size of so many bytes, when there is one.
    #[must_use]
    pub const fn of(bytes: u64) -> Option<Self> {
        match bytes {
            1_048_576 => Some(BlockSize::MiB),
            262_144 => Some(BlockSize::QuarterMiB),
            _ => None,
        }
    }
}

impl Family {
    /// The name in a carriage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Family::A => "klauspost-a",
            Family::B => "klauspost-b",
            Family::Go126 => "go126",
        }
    }

    /// The family of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Family::A, Family::B, Family::Go126].into_iter().find(|f| f.name() == name)
    }
}

impl Level {
    /// As a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Level::L1 => 1,
            Level::L5 => 5,
            Level::L6 => 6,
        }
    }

    /// The level of this number.
    #[must_use]
    pub fn of(number: u64) -> Option<Self> {
        [Level::L1, Level::L5, Level::L6].into_iter().find(|l| l.number() == number)
    }
}

/// Why there is no such encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// `go126` has levels 1 and 6, and writes one stream.
    #[error("no encoder of this name has this level and method")]
    Encoder,
    /// Not one gzip header of 10 to 256 bytes.
    #[error("the header is not one gzip header of 10 to 256 bytes")]
    Header,
}

/// How a gzip stream is made from its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    family: Family,
    level: Level,
    method: Method,
    header: Vec<u8>,
}

impl Recipe {
    /// A recipe; refused where nothing is described by it.
    ///
    /// # Errors
    ///
    /// `go126` with level 5 or pgzip, and anything that is not exactly one gzip header.
    pub fn new(family: Family, level: Level, method: Method, header: &[u8]) -> Result<Self, Unknown> {
        if family == Family::Go126 && (level == Level::L5 || method != Method::Gzip) {
            return Err(Unknown::Encoder);
        }
        if header_length(header) != Some(header.len()) {
            return Err(Unknown::Header);
        }
        Ok(Self { family, level, method, header: header.to_vec() })
    }

    /// The encoder.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Its level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// How the stream is divided.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The header, as it stands before the stream.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }
}

/// Grants more threads.
pub trait Help: Send + Sync {
    /// A place for one thread more, if there is one now. It is dropped when that thread is done.
    fn place(&self) -> Option<Box<dyn Send>>;
}

enum Engine {
    Beside(Box<Beside>),
    Chunked(Box<Chunked>),
    Lazy(Box<Lazy>),
    Fast(Box<Fast>),
}

/// Makes the gzip stream of what is written to it. The sizes of the writes do not matter. About 3 MiB of memory; with
/// help, up to 5 MiB for each of at most 6 blocks.
pub struct Gzip<W: Write> {
    engine: Engine,
    /// Not written yet.
    header: Vec<u8>,
    crc: Crc,
    out: W,
}

impl<W: Write> Gzip<W> {
    /// Writes to `out` by this recipe.
    pub fn new(recipe: &Recipe, out: W) -> Self {
        let block = match recipe.method {
            Method::Gzip => None,
            Method::Pgzip(size) => Some(size.bytes()),
        };
        let engine = match (recipe.family, recipe.level) {
            (Family::Go126, Level::L1) => Engine::Fast(Box::new(Fast::new())),
            (Family::Go126, _) => Engine::Lazy(Box::new(Lazy::new())),
            (family, level) => Engine::Chunked(Box::new(Chunked::new(family, level, block))),
        };
        Self { engine, header: recipe.header.clone(), crc: Crc::new(), out }
    }

    /// The same, the blocks of pgzip in as many threads as there is help. The bytes are the same; they come block by
    /// block.
    pub fn with_help(recipe: &Recipe, out: W, help: Arc<dyn Help>) -> Self {
        let mut gzip = Self::new(recipe, out);
        if let Method::Pgzip(size) = recipe.method {
            gzip.engine = Engine::Beside(Box::new(Beside::new(recipe.family, recipe.level, size.bytes(), help)));
        }
        gzip
    }

    /// What it is written to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the stream, and gives back what it was written to.
    ///
    /// # Errors
    ///
    /// Those of the writer below.
    pub fn finish(mut self) -> io::Result<W> {
        self.begin()?;
        match &mut self.engine {
            Engine::Beside(e) => e.finish(&mut self.out)?,
            Engine::Chunked(e) => e.finish(&mut self.out)?,
            Engine::Lazy(e) => e.finish(&mut self.out)?,
            Engine::Fast(e) => e.finish(&mut self.out)?,
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.out.write_all(&std::mem::take(&mut self.header))
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        self.begin()?;
        self.crc.update(input);
        match &mut self.engine {
            Engine::Beside(e) => e.write(input, &mut self.out)?,
            Engine::Chunked(e) => e.write(input, &mut self.out)?,
            Engine::Lazy(e) => e.write(input, &mut self.out)?,
            Engine::Fast(e) => e.write(input, &mut self.out)?,
        }
        Ok(input.len())
    }

    /// Flushes the writer below. The stream itself is not flushed: that would change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
