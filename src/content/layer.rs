//! One image layer as a stream of tar entries: decompressed and bounded. Nothing is extracted.
//!
//! Real layers have PAX and GNU headers, so the bundle's own strict tar subset is not enough. But tar readers disagree
//! on many things (security C1, C15). There is one walker, which interprets raw entries itself, and two policies:
//! [`walk`] refuses what readers are known to disagree on, for payloads that a cluster acts on; [`files`] reads what
//! container runtimes accept, for people and scanners, and remarks every such place. What readers disagree on can then be
//! read again the [other way](Reading::Other).
//!
//! An error about a layer calls it "a layer of" [`Bounds::whose`].

mod extension;
mod header;
mod inflate;
mod interpret;
mod remarks;
mod sparse;
mod tape;

use std::io::{self, Read};

pub use super::entry::{FileEntry, FileKind, Whiteout};
pub use remarks::{Remark, Remarks};

use crate::error::{Code, Error, Result};
use crate::oci::Invalid;
use extension::{Extension, How};
use header::Header;
use inflate::{Form, Inflate};
use interpret::{lenient, strict};
use tape::Tape;

/// The longest path, link target or PAX record that [`walk`] accepts, in bytes.
const MAX_PATH: usize = 4096;
/// The most zero bytes after the end of an archive: tar pads to its blocking factor.
const MAX_PADDING: u64 = 1 << 20;
/// The largest zstd window of [`walk`] and [`inflated`], as a power of two: 8 MiB.
const STRICT_WINDOW: u32 = 23;
/// The largest zstd window of [`files`], as a power of two: 128 MiB.
const LENIENT_WINDOW: u32 = 27;

/// The owner of a layer, for messages, and the limits for reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The image that the layer belongs to, for messages: `the release image`.
    pub whose: &'static str,
    /// The most entries.
    pub entries: usize,
    /// The most bytes after decompression.
    pub inflated: u64,
}

impl Bounds {
    /// For looking at a layer of this stored size: a million entries, and 1 GiB or 200 times its size, up to 64 GiB or 20
    /// times its size.
    pub fn of(stored: u64) -> Bounds {
        let most = (64 << 30).max(stored.saturating_mul(20));
        Bounds { whose: "an image", entries: 1_000_000, inflated: stored.saturating_mul(200).clamp(1 << 30, most) }
    }
}

/// Called for each entry, with its content. What it leaves unread is skipped.
pub type Visit<'v> = dyn FnMut(&FileEntry, &mut dyn Read) -> Result<()> + 'v;

/// Which of several readings of a layer, where tar readers disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// That of container runtimes (Go's `archive/tar`).
    Runtime,
    /// That of other readers: global PAX headers count, the size in the plain header counts, links and folders have
    /// content, of two names the first counts, and what stands behind an end of the archive goes on.
    Other,
}

/// How much was read of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The bytes after decompression.
    pub inflated: u64,
    /// The number of entries.
    pub entries: u64,
}

/// Whether a layer of this media type is a tar archive that [`files`] reads. Everything else is a blob as a whole.
pub fn is_layer(media_type: &str) -> bool {
    Form::named(media_type).is_some()
}

/// Reads a layer of type `media_type` strictly, to its end, and calls `visit` for every entry. Returns its decompressed
/// size in bytes.
///
/// # Errors
/// [`Code::Malformed`] for a layer that is damaged, exceeds a limit, or that tar readers could read differently; those
/// of `raw` and `visit`.
pub fn walk(media_type: &str, raw: Box<dyn Read + '_>, bounds: Bounds, visit: &mut Visit<'_>) -> Result<u64> {
    let Some(form) = Form::named(media_type).filter(|_| !crate::oci::media_type::is_foreign(media_type)) else {
        let whose = bounds.whose.strip_prefix("the ").unwrap_or(bounds.whose);
        let text = format!("{whose} has a layer of type `{media_type}`, which this program cannot read");
        return Err(Error::new(Code::Malformed, text));
    };
    let (data, _) = Inflate::new(Some(form), raw, STRICT_WINDOW).map_err(|e| broken(bounds.whose, e))?;
    Walker { tape: Tape::new(data, bounds), bounds, policy: Policy::Strict, ending: Ending::default() }
        .run(&mut Remarks::default(), visit)
        .map(|ending| ending.inflated)
}

/// The bytes of a layer without their compression, which their beginning shows: plain, gzip of several members, or zstd of
/// several frames with windows of at most 8 MiB: several layers are read at once.
///
/// # Errors
/// Those of reading the beginning.
pub(crate) fn inflated<'a>(raw: Box<dyn Read + 'a>) -> io::Result<impl Read + use<'a>> {
    Ok(Inflate::new(None, raw, STRICT_WINDOW)?.0)
}

/// Reads a layer as container runtimes do, whatever its media type says about its compression, and calls `visit` for
/// every entry and for the bytes behind an end. `remarks` gets what is unusual, also when the reading fails.
///
/// # Errors
/// [`Code::Malformed`] for a layer that is damaged or exceeds a limit; those of `raw` and `visit`.
pub fn files(
    media_type: &str,
    raw: Box<dyn Read + '_>,
    bounds: Bounds,
    reading: Reading,
    remarks: &mut Remarks,
    visit: &mut Visit<'_>,
) -> Result<Ending> {
    let (data, form) = Inflate::new(None, raw, LENIENT_WINDOW).map_err(|e| broken(bounds.whose, e))?;
    if let Some(named) = Form::named(media_type).filter(|named| *named != form) {
        remarks.notice(format!("is called {} and is {}", named.as_str(), form.as_str()));
    }
    let policy = Policy::Lenient { reading, global: Extension::default() };
    Walker { tape: Tape::new(data, bounds), bounds, policy, ending: Ending::default() }.run(remarks, visit)
}

#[expect(clippy::large_enum_variant, reason = "one value for each layer")]
enum Policy {
    Strict,
    Lenient { reading: Reading, global: Extension },
}

struct Walker<'a> {
    tape: Tape<'a>,
    bounds: Bounds,
    policy: Policy,
    ending: Ending,
}

impl Walker<'_> {
    fn run(mut self, remarks: &mut Remarks, visit: &mut Visit<'_>) -> Result<Ending> {
        let whose = self.bounds.whose;
        let bad = |e: Invalid| malformed(whose, e);
        let mut extension = Extension::default();
        let mut count = 0;
        while let Some(block) = self.tape.block().map_err(|e| broken(whose, e))? {
            if block.iter().all(|b| *b == 0) {
                match self.end(remarks, visit)? {
                    true => continue,
                    false => break,
                }
            }
            if count >= self.bounds.entries {
                return Err(malformed(whose, format!("has more than {} entries", self.bounds.entries)));
            }
            count += 1;
            let header = Header::new(block).map_err(bad)?;
            if self.extension(&header, &mut extension, remarks)? {
                continue;
            }
            self.entry(&header, std::mem::take(&mut extension), remarks, visit)?;
        }
        if !extension.is_empty() {
            match &self.policy {
                Policy::Strict => return Err(malformed(whose, "ends after an extension header")),
                Policy::Lenient { .. } => remarks.ambiguous("ends after an extension header"),
            }
        }
        remarks.about(self.ending.entries, b"");
        self.behind_compression(remarks, visit)?;
        self.ending.inflated = self.bounds.inflated - self.tape.left();
        Ok(self.ending)
    }

    /// Reads an extension header. False if it is an entry.
    fn extension(&mut self, header: &Header, next: &mut Extension, remarks: &mut Remarks) -> Result<bool> {
        let whose = self.bounds.whose;
        let bad = |e: Invalid| malformed(whose, e);
        let which = match (header.kind(), &self.policy) {
            (b'x', _) => Some(extension::PAX),
            (b'L', _) => Some(extension::LONG_PATH),
            (b'K', _) => Some(extension::LONG_LINK),
            (b'g', Policy::Strict) => return Err(bad(Invalid::new("has a global PAX header"))),
            (b'S', Policy::Strict) => return Err(bad(Invalid::new("has a sparse file"))),
            (b'g', Policy::Lenient { .. }) => None,
            _ => return Ok(false),
        };
        let size = header.size().map_err(bad)?;
        let mut how = match &self.policy {
            Policy::Strict => How::Strict,
            Policy::Lenient { .. } => How::Lenient(remarks),
        };
        if let Some(which) = which
            && std::mem::replace(&mut next.seen[which], true)
        {
            match &mut how {
                How::Strict => return Err(malformed(whose, "has two extension headers of one kind for one entry")),
                How::Lenient(remarks) => {
                    remarks.ambiguous("has two extension headers of one kind for one entry");
                    if which == extension::PAX
                        && matches!(self.policy, Policy::Lenient { reading: Reading::Runtime, .. })
                    {
                        next.forget_records();
                    }
                }
            }
        }
        if size > extension::MAX_EXTENSION {
            return Err(malformed(whose, format!("has an extension header of {size} bytes")));
        }
        self.tape.begin(size);
        let mut content = Vec::new();
        self.tape.read_to_end(&mut content).map_err(|e| broken(whose, e))?;
        match (which, &mut self.policy) {
            (Some(extension::PAX), _) => next.pax(&content, &mut how).map_err(bad)?,
            (Some(which), _) => next.long(which, &content),
            (None, Policy::Strict) => {}
            (None, Policy::Lenient { global, .. }) => {
                let had = (global.path.clone(), global.link.clone(), global.size);
                global.pax(&content, &mut how).map_err(bad)?;
                if had != (global.path.clone(), global.link.clone(), global.size) {
                    remarks.ambiguous("has a global PAX header that renames or resizes entries for some readers");
                }
            }
        }
        let twice = |one: &Option<Vec<u8>>, other: &Option<Vec<u8>>| one.is_some() && other.is_some();
        let strict = matches!(self.policy, Policy::Strict);
        if strict && (twice(&next.path, &next.long_path) || twice(&next.link, &next.long_link)) {
            return Err(malformed(whose, "names one entry twice in its extension headers"));
        }
        Ok(true)
    }

    fn entry(
        &mut self,
        header: &Header,
        extension: Extension,
        remarks: &mut Remarks,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let whose = self.bounds.whose;
        let bad = |e: Invalid| malformed(whose, e);
        let number = self.ending.entries;
        self.ending.entries += 1;
        let (mut entry, map) = match &self.policy {
            Policy::Strict => {
                let entry = strict(header, extension).map_err(bad)?;
                self.tape.begin(entry.size);
                (entry, None)
            }
            Policy::Lenient { reading, global } => {
                let sparse = extension.sparse.clone();
                let (mut entry, size) = lenient(header, extension, (*reading, global), remarks).map_err(bad)?;
                let old = match header.kind() {
                    b'S' => Some(
                        sparse::old_map(&header.0, &mut || {
                            self.tape.block()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
                        })
                        .map_err(|e| broken(whose, e))?,
                    ),
                    _ => None,
                };
                self.tape.begin(size);
                let map = match old {
                    None if sparse.is_sparse() && entry.kind == FileKind::File => {
                        Some(sparse.map(&mut self.tape).map_err(|e| broken(whose, e))?)
                    }
                    old => old.map(|map| (map, 0)),
                };
                if let Some((map, read)) = &map {
                    if map.stored.checked_add(*read) != Some(size) {
                        return Err(malformed(whose, "has a damaged sparse file"));
                    }
                    entry.size = map.size;
                }
                (entry, map.map(|(map, _)| map))
            }
        };
        entry.number = number;
        remarks.about(number, &entry.path);
        match map {
            Some(map) => visit(&entry, &mut self.tape.sparse(map))?,
            None => visit(&entry, &mut self.tape)?,
        }
        Ok(())
    }

    /// After a block of zeros. True if entries follow it in this reading.
    fn end(&mut self, remarks: &mut Remarks, visit: &mut Visit<'_>) -> Result<bool> {
        let whose = self.bounds.whose;
        let broken = |e| broken(whose, e);
        let reading = match &self.policy {
            Policy::Strict => {
                return if self.tape.only_zeros(MAX_PADDING).map_err(broken)? {
                    Ok(false)
                } else {
                    Err(malformed(whose, "has data after the end of its archive"))
                };
            }
            Policy::Lenient { reading, .. } => *reading,
        };
        let Some(first) = self.tape.after_zeros().map_err(broken)? else { return Ok(false) };
        remarks.ambiguous("has data after the end of its archive");
        if reading == Reading::Other && Header::new(first).is_ok() {
            self.tape.put_back(first);
            return Ok(true);
        }
        let number = self.ending.entries;
        remarks.about(number, b"");
        self.ending.entries += 1;
        let mut rest = first.chain(&mut self.tape.data);
        visit(&FileEntry::behind(number, "(behind the end of the archive)"), &mut rest)?;
        io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
        Ok(false)
    }

    /// What stands behind the last member or frame.
    fn behind_compression(&mut self, remarks: &mut Remarks, visit: &mut Visit<'_>) -> Result<()> {
        let whose = self.bounds.whose;
        self.tape.drain().map_err(|e| broken(whose, e))?;
        let number = self.ending.entries;
        let Some(rest) = self.tape.behind() else { return Ok(()) };
        if rest.peek().map_err(|e| broken(whose, e))?.is_empty() {
            return Ok(());
        }
        if matches!(self.policy, Policy::Strict) {
            return Err(malformed(whose, "has data after the end of its compressed content"));
        }
        remarks.ambiguous("has data after the end of its compressed content");
        remarks.about(number, b"");
        self.ending.entries += 1;
        visit(&FileEntry::behind(number, "(behind the end of the compressed content)"), rest)?;
        io::copy(rest, &mut io::sink()).map_err(|e| broken(whose, e)).map(|_| ())
    }
}

/// An error about a layer of `whose`; `what` completes "a layer of the release image ...".
pub fn malformed(whose: &str, what: impl std::fmt::Display) -> Error {
    Error::new(Code::Malformed, format!("a layer of {whose} {what}"))
}

/// A read error: the source's own error if there is one, an I/O error of the system, or damaged data.
pub fn broken(whose: &str, error: io::Error) -> Error {
    match Error::try_from(error) {
        Ok(ours) => ours,
        Err(error) => {
            let code = if error.raw_os_error().is_some() { Code::Io } else { Code::Malformed };
            Error::new(code, format!("a layer of {whose} cannot be read: {error}")).source(error)
        }
    }
}
