//! Archives within files: gzip, bzip2, xz, zstd, tar, cpio, ar, rpm and zip, opened in memory and within limits.
//!
//! One call opens one level: the caller gets each member as a stream, and decides whether it opens that too. A [`Budget`]
//! goes with a file through all its levels. Forms are recognised by their content, never by a name.
//!
//! What an archive says about itself is never believed: sizes only bound what is read, a member that ends early or is
//! not what its checksum says is damaged, and bytes that no member covers are a member of their own.
//! Spec: `spec/scan.md`, "Archives".

mod ar;
mod cpio;
mod form;
mod inflate;
mod rpm;
mod tar;
mod zip;

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use crate::error::Error;

pub use form::{Form, HEAD, TAIL, detect, ends_as_zip};

/// The name of a member that holds what no reader of the archive sees.
pub const BEHIND: &[u8] = b"(behind the end)";
/// The name of the content of a compressed file.
pub const CONTENT: &[u8] = b"(content)";

/// Why something was not opened to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It needs a password.
    Encrypted,
    /// It is not what its form demands.
    Damaged,
    /// It is nested more deeply than the limit.
    TooDeep,
    /// It exceeds a limit of size, count or ratio.
    TooLarge,
    /// It has a form or a method that this program does not open.
    UnknownForm,
    /// No file at hand has it.
    Missing,
}

impl Reason {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Encrypted => "encrypted",
            Reason::Damaged => "damaged",
            Reason::TooDeep => "too-deep",
            Reason::TooLarge => "too-large",
            Reason::UnknownForm => "unknown-form",
            Reason::Missing => "missing",
        }
    }
}

/// Something that was not opened, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind.
    pub reason: Reason,
    /// One clause: `inflates to more than 4 GiB`.
    pub text: String,
}

impl Trouble {
    /// A trouble of this kind.
    pub fn new(reason: Reason, text: impl Into<String>) -> Trouble {
        Trouble { reason, text: text.into() }
    }

    pub(crate) fn damaged(text: impl Into<String>) -> Trouble {
        Trouble::new(Reason::Damaged, text)
    }

    pub(crate) fn too_large(text: impl Into<String>) -> Trouble {
        Trouble::new(Reason::TooLarge, text)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Trouble {}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> io::Error {
        io::Error::other(trouble)
    }
}

/// Why the walk over an archive ended early.
#[derive(Debug)]
pub enum Stop {
    /// The archive cannot be read further; others can.
    Trouble(Trouble),
    /// What it is read from failed, or the run was stopped.
    Fatal(Error),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::Trouble(trouble)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Fatal(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        let error = match Error::try_from(error) {
            Ok(ours) => return Stop::Fatal(ours),
            Err(error) => error,
        };
        let trouble = error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>()).cloned();
        Stop::Trouble(trouble.unwrap_or_else(|| match error.kind() {
            io::ErrorKind::OutOfMemory => Trouble::too_large("needs too much memory to be inflated"),
            io::ErrorKind::UnexpectedEof => Trouble::damaged("ends too early"),
            _ => Trouble::damaged(format!("is damaged: {error}")),
        }))
    }
}

/// The limits of one file and everything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most levels of archives in archives.
    pub depth: usize,
    /// The most bytes that come out of all decoders.
    pub inflated: u64,
    /// The most members.
    pub members: u64,
    /// The most bytes out for one byte in, for each decoder.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { depth: 8, inflated: 4 << 30, members: 100_000, ratio: 1000 }
    }
}

/// The most memory of the dictionaries of all open decoders of a file.
const DICTIONARIES: u64 = 68 << 20;
/// Bytes out that no decoder is held to a ratio for.
const RATIO_FREE: u64 = 1 << 20;

/// What is left of the limits of a file.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    inflated: Cell<u64>,
    members: Cell<u64>,
    dictionaries: Cell<u64>,
    odd: Cell<bool>,
}

impl Budget {
    /// All of it.
    pub fn new(limits: Limits) -> Budget {
        Budget {
            limits,
            inflated: Cell::new(0),
            members: Cell::new(0),
            dictionaries: Cell::new(DICTIONARIES),
            odd: false.into(),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes that came out of decoders so far.
    pub fn inflated(&self) -> u64 {
        self.inflated.get()
    }

    /// Members so far.
    pub fn members(&self) -> u64 {
        self.members.get()
    }

    /// Notes that the archive is not of the plain kind that every reader of its form sees alike.
    fn odd(&self) {
        self.odd.set(true);
    }

    /// Whether something odd was noted since the last call, which gave `before`.
    pub fn replace_odd(&self, before: bool) -> bool {
        self.odd.replace(before)
    }

    fn member(&self) -> Result<(), Trouble> {
        self.members.set(self.members.get() + 1);
        match self.members.get() > self.limits.members {
            true => Err(Trouble::too_large(format!("has more than {} members", self.limits.members))),
            false => Ok(()),
        }
    }

    /// Counts bytes that a decoder made of `consumed` bytes; `made` is the sum of this decoder.
    fn made(&self, bytes: u64, made: u64, consumed: u64) -> Result<(), Trouble> {
        self.inflated.set(self.inflated.get().saturating_add(bytes));
        if self.inflated.get() > self.limits.inflated {
            return Err(Trouble::too_large(format!("inflates to more than {} bytes", self.limits.inflated)));
        }
        if made > RATIO_FREE && made / self.limits.ratio > consumed {
            return Err(Trouble::too_large(format!("inflates to more than {} times its size", self.limits.ratio)));
        }
        Ok(())
    }
}

/// Content that can be read at any place.
pub trait Source {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Reads at an offset; 0 only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// A stream over a part of a source.
pub struct Part<'a> {
    source: &'a dyn Source,
    at: u64,
    end: u64,
}

impl<'a> Part<'a> {
    /// The bytes from `at` up to `end`.
    pub fn new(source: &'a dyn Source, at: u64, end: u64) -> Part<'a> {
        Part { source, at, end: end.min(source.size()) }
    }

    /// All of it.
    pub fn whole(source: &'a dyn Source) -> Part<'a> {
        Part::new(source, 0, u64::MAX)
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.source.read_at(self.at, &mut buffer[..room])?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A member of an archive: its content, or why there is none.
pub enum Member<'a> {
    /// Its content. What the visitor leaves unread is skipped; a member of a zip file of which it reads nothing is not even
    /// inflated.
    Content(&'a mut dyn Read),
    /// It cannot be opened.
    Closed(Trouble),
}

/// Called for each member with its name.
pub type Visit<'v> = dyn FnMut(&[u8], Member<'_>) -> Result<(), Stop> + 'v;

/// Opens an archive that is read as a stream: every form but zip.
///
/// # Errors
/// [`Stop::Trouble`] if it cannot be read to its end; the members before were visited.
pub fn open(form: Form, input: &mut dyn Read, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    match form {
        Form::Gzip | Form::Bzip2 | Form::Xz | Form::Zstd => inflate::open(form, &mut input, budget, visit)?,
        Form::Tar => tar::open(&mut input, budget, visit)?,
        Form::Cpio => cpio::open(&mut input, budget, visit)?,
        Form::Ar => ar::open(&mut input, budget, visit)?,
        Form::Rpm => rpm::open(&mut input, budget, visit)?,
        Form::Zip | Form::Other(_) => return Err(Trouble::new(Reason::UnknownForm, unopened(form)).into()),
    }
    behind(&mut input, budget, visit)
}

/// Opens a zip file.
///
/// # Errors
/// As [`open`].
pub fn open_zip(source: &dyn Source, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    zip::open(source, budget, visit)
}

/// Whether content of no form ends as a zip file, with a directory: readers of zip begin at the end.
pub fn is_zip(source: &dyn Source, tail: &[u8]) -> bool {
    ends_as_zip(tail) && zip::is_zip(source)
}

/// What is said of a form that nothing here opens.
pub fn unopened(form: Form) -> String {
    format!("is {}, which this program does not open", form.title())
}

const BUFFER: usize = 32 << 10;

/// What stands behind the end of an archive, unless it is zeros.
fn behind(input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    if skip_zeros(input)? {
        return Ok(());
    }
    budget.odd();
    budget.member()?;
    visit(BEHIND, Member::Content(&mut &mut *input))?;
    drain(input)
}

/// Skips zeros; true at the end.
fn skip_zeros(input: &mut dyn BufRead) -> Result<bool, Stop> {
    loop {
        let buffer = match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            filled => filled?,
        };
        if buffer.is_empty() {
            return Ok(true);
        }
        let zeros = buffer.iter().take_while(|b| **b == 0).count();
        let all = zeros == buffer.len();
        input.consume(zeros);
        if !all {
            return Ok(false);
        }
    }
}

/// Passes a member of a known length, and skips what was left of it.
fn pass(input: &mut dyn BufRead, size: u64, name: &[u8], budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    budget.member()?;
    let mut content = Exact { inner: input, left: size };
    visit(name, Member::Content(&mut content))?;
    drain(&mut content)
}

/// Reads to the end.
fn drain(input: &mut (impl Read + ?Sized)) -> Result<(), Stop> {
    let mut buffer = [0; 16 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e.into()),
            _ => {}
        }
    }
}

/// Exactly so many bytes: the end before is an error.
struct Exact<'a> {
    inner: &'a mut dyn BufRead,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(Trouble::damaged("ends within a member").into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Reads a block of a header: `None` at the end of the input.
fn block<const N: usize>(input: &mut dyn BufRead) -> Result<Option<[u8; N]>, Stop> {
    let mut block = [0; N];
    let mut filled = 0;
    while filled < N {
        match input.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Trouble::damaged("ends within a header").into()),
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Some(block))
}

/// Skips up to `count` bytes.
fn skip(input: &mut dyn BufRead, count: u64) -> Result<(), Stop> {
    drain(&mut Exact { inner: input, left: count })
}

/// Reads a text of a header: at most `most` bytes.
fn text(input: &mut dyn BufRead, size: u64, most: u64) -> Result<Vec<u8>, Stop> {
    if size > most {
        return Err(Trouble::damaged(format!("has a header of {size} bytes")).into());
    }
    let mut out = Vec::new();
    Exact { inner: input, left: size }.read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
