//! One image layer as a stream of tar entries: decompressed, bounded, and unambiguous.
//!
//! Real layers have PAX and GNU headers, so the bundle's own strict tar subset is not enough. But tar readers disagree
//! on many things, and this reader must see what a cluster sees. So it walks raw entries, interprets extension headers
//! itself, and refuses what readers are known to disagree on (security C1, C15). Nothing is extracted.
//!
//! An error about a layer calls it "a layer of" [`Bounds::whose`].

use std::io::{self, Read};

use tar::EntryType;

use crate::error::{Code, Error, Result};
use crate::oci::Invalid;

/// The longest path, link target or PAX record, in bytes.
const MAX_PATH: usize = 4096;
/// The largest extension header, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most zero bytes after the end of an archive: tar pads to its blocking factor.
const MAX_PADDING: u64 = 1 << 20;
/// The largest zstd window, as a power of two: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

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

/// One file, directory or link of a layer.
pub struct Entry {
    /// The path without leading, doubled or trailing slashes and `.`; never with `..`.
    pub path: Vec<u8>,
    /// The path in the plain header, if an extension header gave a different one.
    pub hidden_path: Option<Vec<u8>>,
    /// The type in the header.
    pub kind: EntryType,
    /// Whether the name ended in a slash, which some readers take for a directory whatever the type is.
    pub slash: bool,
    /// The target of a hard link.
    pub hard_link: Option<Vec<u8>>,
    /// Size of the content in bytes.
    pub size: u64,
}

impl Entry {
    /// Whether every reader sees a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == EntryType::Regular && !self.slash
    }
}

/// Called for each entry, with its content.
pub type Visit<'v> = dyn FnMut(&Entry, &mut dyn Read) -> Result<()> + 'v;

/// Reads a layer of type `media_type` to its end and calls `visit` for every entry. Returns its decompressed size in
/// bytes.
///
/// # Errors
/// [`Code::Malformed`] for a layer that is damaged, exceeds a limit, or that tar readers could read differently; those
/// of `raw` and `visit`.
pub fn walk(media_type: &str, raw: Box<dyn Read + '_>, bounds: Bounds, visit: &mut Visit<'_>) -> Result<u64> {
    let whose = bounds.whose;
    let broken = |e| broken(whose, e);
    let bad = |e: Invalid| malformed(whose, e);
    let mut data = Bounded { inner: decompressor(media_type, raw, whose)?, left: bounds.inflated, bounds };
    let mut archive = tar::Archive::new(&mut data);
    let mut extension = Extension::default();
    for (count, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count >= bounds.entries {
            return Err(malformed(whose, format!("has more than {} entries", bounds.entries)));
        }
        if let Some(which) = extension.announced(&entry).map_err(bad)? {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            extension.take(which, &content).map_err(bad)?;
            continue;
        }
        let shown = interpret(&entry, std::mem::take(&mut extension)).map_err(bad)?;
        visit(&shown, &mut entry)?;
    }
    if !extension.is_empty() {
        return Err(malformed(whose, "ends after an extension header"));
    }
    only_padding(archive.into_inner(), whose)?;
    Ok(bounds.inflated - data.left)
}

fn decompressor<'a>(media_type: &str, raw: Box<dyn Read + 'a>, whose: &str) -> Result<Box<dyn Read + 'a>> {
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    let form = media_type.strip_prefix(OCI).or_else(|| media_type.strip_prefix(DOCKER));
    match form {
        Some("") => Ok(raw),
        Some("+gzip" | ".gzip") => Ok(Box::new(flate2::read::MultiGzDecoder::new(raw))),
        Some("+zstd" | ".zstd") => {
            let broken = |e| broken(whose, e);
            let mut decoder = zstd::stream::read::Decoder::new(raw).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
            Ok(Box::new(decoder))
        }
        _ => {
            let whose = whose.strip_prefix("the ").unwrap_or(whose);
            let text = format!("{whose} has a layer of type `{media_type}`, which this program cannot read");
            Err(Error::new(Code::Malformed, text))
        }
    }
}

fn interpret<R: Read>(entry: &tar::Entry<'_, R>, extension: Extension) -> Result<Entry, Invalid> {
    let header = entry.header();
    let kind = header.entry_type();
    let regular = kind == EntryType::Regular;
    if !(regular || matches!(header.as_bytes()[156], b'1'..=b'7')) {
        return Err(Invalid::new(format!("has an entry of type {:?}", char::from(header.as_bytes()[156]))));
    }
    // Go treats such entries as empty, others read content: they would disagree on the rest of the archive.
    if !regular && entry.size() != 0 {
        return Err(Invalid::new("has a link, directory or device with content"));
    }
    if extension.size.is_some_and(|size| size != entry.size()) {
        return Err(Invalid::new("has a PAX size that contradicts its header"));
    }
    // star limits the prefix to fewer bytes and sets a mark here; other readers see a longer prefix.
    if header.as_ustar().is_some() && header.as_bytes()[500..].iter().any(|b| *b != 0) {
        return Err(Invalid::new("has a header that tar implementations read differently"));
    }
    let plain = header.path_bytes();
    let effective = extension.path.as_deref().unwrap_or(&plain);
    let (path, plain_path) = (normal(effective)?, normal(&plain)?);
    let hard_link = match kind {
        EntryType::Link => {
            let plain = header.link_name_bytes().unwrap_or_default();
            Some(normal(extension.link.as_deref().unwrap_or(&plain))?)
        }
        _ => None,
    };
    Ok(Entry {
        hidden_path: (plain_path != path).then_some(plain_path),
        path,
        kind,
        slash: effective.ends_with(b"/"),
        hard_link,
        size: entry.size(),
    })
}

/// Kinds of extension header, as positions in [`Extension::seen`].
const PAX: usize = 0;
const LONG_PATH: usize = 1;
const LONG_LINK: usize = 2;

/// The statements of extension headers about the next entry.
#[derive(Default)]
struct Extension {
    seen: [bool; 3],
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    fn is_empty(&self) -> bool {
        self.seen == [false; 3]
    }

    /// The type of this extension header; `None` if it is an entry.
    fn announced<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<Option<usize>, Invalid> {
        let which = match entry.header().as_bytes()[156] {
            b'x' => PAX,
            b'L' => LONG_PATH,
            b'K' => LONG_LINK,
            b'g' => return Err(Invalid::new("has a global PAX header")),
            b'S' => return Err(Invalid::new("has a sparse file")),
            _ => return Ok(None),
        };
        if std::mem::replace(&mut self.seen[which], true) {
            return Err(Invalid::new("has two extension headers of one kind for one entry"));
        }
        if entry.size() > MAX_EXTENSION {
            return Err(Invalid::new(format!("has an extension header of {} bytes", entry.size())));
        }
        Ok(Some(which))
    }

    /// Adds the content of an extension header.
    fn take(&mut self, which: usize, content: &[u8]) -> Result<(), Invalid> {
        let name = || content.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        match which {
            PAX => self.pax(content),
            LONG_PATH => set(&mut self.path, name()),
            _ => set(&mut self.link, name()),
        }
    }

    /// PAX records: `<length> <key>=<value>\n`, to the last byte.
    fn pax(&mut self, mut rest: &[u8]) -> Result<(), Invalid> {
        let bad = || Invalid::new("has a damaged PAX header");
        while !rest.is_empty() {
            let space = rest.iter().take(8).position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize =
                std::str::from_utf8(&rest[..space]).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
            let (record, tail) = rest.split_at_checked(length).ok_or_else(bad)?;
            rest = tail;
            let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => set(&mut self.path, value.to_vec())?,
                b"linkpath" => set(&mut self.link, value.to_vec())?,
                b"size" => {
                    let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                    set(&mut self.size, digits.and_then(|v| v.parse().ok()).ok_or_else(bad)?)?;
                }
                _ if key.starts_with(b"GNU.sparse.") => return Err(Invalid::new("has a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Invalid> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Invalid::new("names one entry twice in its extension headers")),
    }
}

/// The path as a file system sees it below the image's root.
fn normal(path: &[u8]) -> Result<Vec<u8>, Invalid> {
    if path.len() > MAX_PATH || path.contains(&0) {
        return Err(Invalid::new("has a path that is too long or holds a zero byte"));
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(Invalid::new("has a path with `..`"));
    }
    Ok(parts.join(&b'/'))
}

fn only_padding(data: &mut dyn Read, whose: &str) -> Result<()> {
    let mut buffer = [0; 32 << 10];
    let mut seen = 0;
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                seen += count as u64;
                if seen > MAX_PADDING || buffer[..count].iter().any(|b| *b != 0) {
                    return Err(malformed(whose, "has data after the end of its archive"));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(whose, e)),
        }
    }
}

/// Fails, rather than ends, when the limit is exceeded.
struct Bounded<R> {
    inner: R,
    left: u64,
    bounds: Bounds,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        let more = || malformed(self.bounds.whose, format!("inflates to more than {} bytes", self.bounds.inflated));
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::from(more()))?;
        Ok(count)
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
