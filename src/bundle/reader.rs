//! Opens a bundle without believing it: raw head first, then, with an index that somebody judged, its members.
//!
//! A file is read by offset and from several threads, a stream in order; both go through [`Input`]. Every
//! header and every padding is compared with what the index demands, so nothing in the file goes unread
//! (MB-VER-01, MB-VER-04, MB-VER-05).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use super::index::Index;
use super::layout::{self, Layout, Member};
use super::{limits, name, tar};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// A bundle as it was opened: the raw head, nothing checked but its framing.
#[derive(Debug)]
pub struct Bundle {
    input: Input,
    head: Head,
}

/// The bytes in front of a bundle that are needed to judge it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Content of `mirror-bundle/index.json`: what is signed.
    pub index: Vec<u8>,
    /// Content of `mirror-bundle/index.json.sig`.
    pub signature: Option<Vec<u8>>,
    sums: Vec<u8>,
    marker: Vec<u8>,
    mtime: u64,
}

impl Head {
    /// An index and its signature from elsewhere: a copy that is to be judged like one that was read.
    pub fn of(index: Vec<u8>, signature: Option<Vec<u8>>) -> Head {
        Head { index, signature, sums: Vec::new(), marker: Vec::new(), mtime: 0 }
    }

    /// Digest of the index: the bundle's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index)
    }
}

impl Bundle {
    /// Opens a bundle file. It may lie on a read-only medium; nothing is written, locked or memory-mapped.
    ///
    /// # Errors
    /// [`Code::Io`] when it cannot be read or is no regular file, [`Code::NotABundle`], [`Code::Truncated`],
    /// [`Code::Malformed`] from its head.
    pub fn open(path: &Path) -> Result<Bundle> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|e| Error::io("cannot open", path, e))?;
        let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
        if !meta.is_file() {
            return Err(Error::new(Code::Io, format!("`{name}` is not a regular file"))
                .hint("to read a bundle from a pipe, write - and redirect it to standard input"));
        }
        Bundle::new(Input { name, kind: Kind::File { file, length: meta.len() } })
    }

    /// Opens a bundle that arrives as a stream, called `name` in messages.
    pub fn stream(name: &str, from: Box<dyn Read + Send>) -> Result<Bundle> {
        Bundle::new(Input { name: name.to_owned(), kind: Kind::Stream(Mutex::new(Stream { from, at: 0 })) })
    }

    fn new(input: Input) -> Result<Bundle> {
        let head = read_head(&input)?;
        Ok(Bundle { input, head })
    }

    /// The raw head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What the bundle is called in messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Goes on with the parsed index: fixes the layout, compares lengths (for a file at once), time and
    /// `SHA256SUMS`, and finds the addenda of a file.
    pub fn contents(self, index: Index) -> Result<Contents> {
        let Bundle { input, mut head } = self;
        let mut layout = Layout::new(&index, &head.index, head.signature.as_deref())?;
        let malformed = |what: &str| {
            Error::new(Code::Malformed, format!("{what} in `{}` is not what its index demands", input.name))
        };
        if let Some(length) = input.length()
            && length < layout.total()
        {
            return Err(truncated(&input.name, length, layout.total()));
        }
        if head.mtime != layout.mtime() {
            return Err(malformed("the time of the members"));
        }
        if head.sums != layout.sums() {
            return Err(malformed("mirror-bundle/SHA256SUMS"));
        }
        layout.forget_sums();
        head.sums = Vec::new();
        let marker = index.files.first().map(|f| (f.size, f.digest));
        let expected = (layout::OCI_LAYOUT_JSON.len() as u64, Digest::of(layout::OCI_LAYOUT_JSON));
        if marker != Some(expected) || head.marker != layout::OCI_LAYOUT_JSON {
            return Err(malformed("oci-layout"));
        }
        let mut contents = Contents { input, head, index, layout, addenda: Vec::new() };
        if contents.input.length().is_some() {
            contents.addenda = contents.read_tail()?;
        }
        Ok(contents)
    }
}

/// Something appended to a bundle after it was signed: a countersignature, a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addendum {
    /// Its name below `mirror-bundle/addenda/`.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A bundle with its index: members can be read, each checked as it is.
#[derive(Debug)]
pub struct Contents {
    input: Input,
    head: Head,
    index: Index,
    layout: Layout,
    addenda: Vec<Addendum>,
}

impl Contents {
    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The raw head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The members.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the bundle is called in messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Size in bytes, as far as it is known.
    pub fn length(&self) -> u64 {
        self.input.length().unwrap_or_else(|| self.layout.total())
    }

    /// Whether members can only be read in order, once.
    pub fn is_stream(&self) -> bool {
        matches!(self.input.kind, Kind::Stream(_))
    }

    /// The addenda. For a stream they are known after [`Contents::finish`].
    pub fn addenda(&self) -> &[Addendum] {
        &self.addenda
    }

    /// Position of the first member that is not part of the head.
    pub fn first(&self) -> usize {
        self.layout.members().iter().position(|m| m.path == layout::SUMS).map_or(0, |at| at + 1)
    }

    /// Opens a member; its header is compared first. Of a stream only the next member can be opened.
    pub fn open<'a>(&'a self, member: &'a Member) -> Result<MemberReader<'a>> {
        let mut block = [0u8; 512];
        self.input.read_exact_at(&mut block, member.header)?;
        if block != self.layout.header_of(member) {
            return Err(Error::new(
                Code::Malformed,
                format!("the tar header of `{}` in `{}` is not what the index demands", member.path, self.input.name),
            )
            .fact(format!("at offset {}", member.header)));
        }
        Ok(MemberReader { contents: self, member, at: 0, hasher: Hasher::new(), verdict: None })
    }

    /// Reads a member of at most `limit` bytes into memory, checked.
    pub fn read(&self, member: &Member, limit: u64) -> Result<Vec<u8>> {
        if member.size > limit {
            return Err(Error::new(
                Code::Malformed,
                format!("`{}` has {} bytes, over the limit of {limit}", member.path, member.size),
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(member.size).unwrap_or(0));
        self.open(member)?.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", &self.input.name, e))?;
        Ok(bytes)
    }

    /// Reads what follows the last member. For a file this was done when it was opened.
    pub fn finish(&mut self) -> Result<()> {
        if self.is_stream() {
            self.addenda = self.read_tail()?;
        }
        Ok(())
    }

    /// Addenda, two zero blocks, and then nothing.
    fn read_tail(&self) -> Result<Vec<Addendum>> {
        let mut addenda: Vec<Addendum> = Vec::new();
        let (mut at, mut total) = (self.layout.end(), 0u64);
        let mut block = [0u8; 512];
        loop {
            self.input.read_exact_at(&mut block, at)?;
            if block == [0; 512] {
                break;
            }
            let entry = tar::parse(&block).filter(|e| name::check(&e.name).is_ok());
            let Some((name, size)) = entry.as_ref().and_then(|e| Some((e.name.strip_prefix(layout::ADDENDA)?, e.size)))
            else {
                return Err(self.unlisted(at, "something that the index does not cover"));
            };
            if size > limits::ADDENDUM || addenda.len() == limits::ADDENDA || name.contains('/') {
                return Err(Error::new(
                    Code::Malformed,
                    format!("addendum `{name}` of `{}` is over a limit", self.input.name),
                ));
            }
            if addenda.iter().any(|a| a.name == name) {
                return Err(Error::new(
                    Code::Malformed,
                    format!("addendum `{name}` appears twice in `{}`", self.input.name),
                ));
            }
            total += size;
            if total > limits::ADDENDA_BYTES {
                return Err(Error::new(
                    Code::Malformed,
                    format!(
                        "the addenda of `{}` are over the limit of {} bytes",
                        self.input.name,
                        limits::ADDENDA_BYTES
                    ),
                ));
            }
            let mut bytes = vec![0; usize::try_from(tar::padded(size)).unwrap_or(0)];
            self.input.read_exact_at(&mut bytes, at + tar::BLOCK)?;
            let size = usize::try_from(size).unwrap_or(0);
            if bytes[size..].iter().any(|b| *b != 0) {
                return Err(self.unlisted(at, "padding that is not zero"));
            }
            bytes.truncate(size);
            addenda.push(Addendum { name: name.to_owned(), bytes });
            at += tar::BLOCK + tar::padded(size as u64);
        }
        self.input.read_exact_at(&mut block, at + tar::BLOCK)?;
        if block != [0; 512] || !self.input.ends_at(at + layout::END)? {
            let hint =
                "an interrupted `sign` leaves that, and running `sign` again mends it; else ask for another copy";
            return Err(self.unlisted(at + tar::BLOCK, "bytes after the end of the archive").hint(hint));
        }
        Ok(addenda)
    }

    fn unlisted(&self, at: u64, what: &str) -> Error {
        Error::new(Code::UnlistedContent, format!("`{}` holds {what}", self.input.name)).fact(format!("at offset {at}"))
    }
}

/// Reads one member and checks it on the way: after the last byte, padding and digest have been right, or the
/// read that would end the content fails.
#[derive(Debug)]
pub struct MemberReader<'a> {
    contents: &'a Contents,
    member: &'a Member,
    at: u64,
    hasher: Hasher,
    verdict: Option<Option<Digest>>,
}

impl MemberReader<'_> {
    /// Reads and checks all that is left, through `buffer`.
    pub fn drain(mut self, buffer: &mut [u8]) -> Result<()> {
        while self.next(buffer)? > 0 {}
        Ok(())
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Reads the next bytes; 0 only after everything was checked.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.member.size - self.at;
        if left == 0 {
            self.end()?;
            return Ok(0);
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.contents.input.read_exact_at(&mut buffer[..want], self.member.data() + self.at)?;
        if self.member.digest.is_some() {
            self.hasher.update(&buffer[..want]);
        }
        self.at += want as u64;
        Ok(want)
    }

    /// Wrong content is told before padding that is not zero: it is the more basic of the two.
    fn end(&mut self) -> Result<()> {
        if self.verdict.is_none() {
            let mut padding = [0u8; 512];
            let rest = usize::try_from(tar::padded(self.member.size) - self.member.size).unwrap_or(0);
            self.contents.input.read_exact_at(&mut padding[..rest], self.member.data() + self.member.size)?;
            let computed = self.hasher.clone().finish();
            let wrong = self.member.digest.is_some_and(|d| d != computed);
            if !wrong && padding != [0; 512] {
                return Err(self.contents.unlisted(self.member.data() + self.member.size, "padding that is not zero"));
            }
            self.verdict = Some(wrong.then_some(computed));
        }
        match self.verdict.flatten() {
            None => Ok(()),
            Some(computed) => Err(mismatch(self.contents.name(), self.member, &computed)),
        }
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        Ok(self.next(buffer)?)
    }
}

fn mismatch(bundle: &str, member: &Member, computed: &Digest) -> Error {
    let listed = member.digest.map(|d| d.to_string()).unwrap_or_default();
    Error::new(Code::BlobMismatch, format!("`{}` in `{bundle}` does not match its digest", member.path))
        .fact(format!("listed   {listed}"))
        .fact(format!("computed {computed}"))
        .fact(format!("{} bytes at offset {}", member.size, member.data()))
        .hint("one damaged blob is usually the medium: copy the bundle again, or fetch it anew")
}

fn truncated(name: &str, actual: u64, expected: u64) -> Error {
    Error::new(Code::Truncated, format!("`{name}` is truncated: {actual} of {expected} bytes"))
        .hint("the copy to this medium did not finish; copy it again and compare sizes")
}

fn not_a_bundle(name: &str, why: &str) -> Error {
    Error::new(Code::NotABundle, format!("`{name}` is not a mirror-bundle: {why}"))
}

fn read_head(input: &Input) -> Result<Head> {
    let mut reader = HeadReader { input, at: 0, mtime: None };
    let marker = reader.expect(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON.len() as u64)?;
    let index = reader.expect(layout::INDEX, limits::INDEX)?;
    let (mut next, mut size) = reader.header()?;
    let mut signature = None;
    if next == layout::SIGNATURE {
        signature = Some(reader.content(layout::SIGNATURE, size, limits::SIGNATURE)?);
        (next, size) = reader.header()?;
    }
    if next != layout::SUMS {
        return Err(Error::new(
            Code::Malformed,
            format!("`{}` has `{next}` where {} belongs", input.name, layout::SUMS),
        ));
    }
    let sums = reader.content(layout::SUMS, size, limits::SUMS)?;
    Ok(Head { index, signature, sums, marker, mtime: reader.mtime.unwrap_or(0) })
}

struct HeadReader<'a> {
    input: &'a Input,
    at: u64,
    mtime: Option<u64>,
}

impl HeadReader<'_> {
    fn expect(&mut self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let first = self.at == 0;
        let (name, size) = self.header()?;
        if name != path {
            return Err(not_a_bundle(&self.input.name, &format!("`{name}` stands where {path} belongs")));
        }
        if first && size != limit {
            return Err(not_a_bundle(&self.input.name, "its oci-layout file is another one"));
        }
        self.content(path, size, limit)
    }

    fn header(&mut self) -> Result<(String, u64)> {
        let mut block = [0u8; 512];
        let first = self.at == 0;
        match self.input.read_exact_at(&mut block, self.at) {
            Err(e) if first && e.code() == Code::Truncated => {
                return Err(not_a_bundle(&self.input.name, "it is shorter than a tar header"));
            }
            other => other?,
        }
        let entry = tar::parse(&block);
        let Some(entry) = entry.filter(|e| self.mtime.is_none_or(|m| m == e.mtime)) else {
            return Err(if first {
                not_a_bundle(&self.input.name, "it does not begin with the tar header of oci-layout")
            } else {
                Error::new(
                    Code::Malformed,
                    format!("`{}` has a tar header that format 1 does not write", self.input.name),
                )
                .fact(format!("at offset {}", self.at))
            });
        };
        self.mtime = Some(entry.mtime);
        self.at += tar::BLOCK;
        Ok((entry.name, entry.size))
    }

    fn content(&mut self, path: &str, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(Error::new(
                Code::Malformed,
                format!("{path} in `{}` has {size} bytes, over the limit of {limit}", self.input.name),
            ));
        }
        if let Some(length) = self.input.length()
            && length < self.at + size
        {
            return Err(Error::new(
                Code::Truncated,
                format!("`{}` is truncated: it ends inside {path}", self.input.name),
            )
            .fact(format!("{length} bytes"))
            .hint("the copy to this medium did not finish; copy it again and compare sizes"));
        }
        let mut bytes = vec![0; usize::try_from(tar::padded(size)).unwrap_or(0)];
        self.input.read_exact_at(&mut bytes, self.at)?;
        self.at += tar::padded(size);
        let size = usize::try_from(size).unwrap_or(0);
        if bytes[size..].iter().any(|b| *b != 0) {
            return Err(Error::new(
                Code::UnlistedContent,
                format!("`{}` holds padding that is not zero after {path}", self.input.name),
            ));
        }
        bytes.truncate(size);
        Ok(bytes)
    }
}

/// Where a bundle is read from.
#[derive(Debug)]
struct Input {
    name: String,
    kind: Kind,
}

enum Kind {
    File { file: File, length: u64 },
    Stream(Mutex<Stream>),
}

struct Stream {
    from: Box<dyn Read + Send>,
    at: u64,
}

impl Stream {
    /// Leaves out what is in front of `offset`: the rest of a member that was found to be bad.
    fn pass_to(&mut self, offset: u64) -> io::Result<()> {
        let mut left = offset - self.at;
        let mut buffer = [0u8; 4096];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.from.read_exact(&mut buffer[..want])?;
            left -= want as u64;
        }
        self.at = offset;
        Ok(())
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::File { .. } => "File",
            Kind::Stream(_) => "Stream",
        })
    }
}

impl Input {
    fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::File { length, .. } => Some(*length),
            Kind::Stream(_) => None,
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let done = match &self.kind {
            Kind::File { file, .. } => file.read_exact_at(buffer, offset),
            Kind::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if stream.at > offset {
                    return Err(Error::new(
                        Code::Internal,
                        format!("a stream was read at {offset}, not at {}", stream.at),
                    ));
                }
                stream.pass_to(offset).and_then(|()| {
                    stream.at += buffer.len() as u64;
                    stream.from.read_exact(buffer)
                })
            }
        };
        done.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::new(
                Code::Truncated,
                format!("`{}` is truncated: it ends before offset {}", self.name, offset + buffer.len() as u64),
            )
            .hint("the copy to this medium did not finish; copy it again and compare sizes"),
            _ => Error::io("cannot read", &self.name, e).fact(format!("at offset {offset}")),
        })
    }

    fn ends_at(&self, offset: u64) -> Result<bool> {
        match &self.kind {
            Kind::File { length, .. } => Ok(*length == offset),
            Kind::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let mut one = [0u8; 1];
                loop {
                    match stream.from.read(&mut one) {
                        Ok(n) => return Ok(n == 0),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(Error::io("cannot read", &self.name, e)),
                    }
                }
            }
        }
    }
}
