//! One image layer as a stream of tar entries: decompressed, bounded, and read in one way only.
//!
//! Below [`super::payload`]. Real layers have PAX and GNU headers, so the bundle's own strict tar subset does not do;
//! but tar readers disagree on many things, and what is read here must be what a cluster sees. So entries are walked
//! raw, extension headers are interpreted here, and whatever readers are known to disagree on is refused (security C1,
//! C15). Nothing is extracted.

use std::io::{self, Read};

use tar::EntryType;

use super::payload::Limits;
use crate::error::{Code, Error, Result};

/// The longest path, link target or PAX record, in bytes.
const MAX_PATH: usize = 4096;
/// The largest extension header, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most zero bytes after the end of an archive: tar pads to its blocking factor.
const MAX_PADDING: u64 = 1 << 20;
/// The largest zstd window, as a power of two: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// One file, directory or link of a layer.
pub(super) struct Entry {
    /// Without leading, doubled or trailing slashes and `.`; never with `..`.
    pub(super) path: Vec<u8>,
    /// The path in the plain header, where an extension header gave another one.
    pub(super) hidden_path: Option<Vec<u8>>,
    pub(super) kind: EntryType,
    /// Whether the name ended in a slash, which some readers take for "directory" whatever the type says.
    pub(super) slash: bool,
    /// The target of a hard link.
    pub(super) hard_link: Option<Vec<u8>>,
    pub(super) size: u64,
}

impl Entry {
    /// A regular file for every reader.
    pub(super) fn is_file(&self) -> bool {
        self.kind == EntryType::Regular && !self.slash
    }
}

/// What is called for each entry, with its content.
pub(super) type Visit<'v> = dyn FnMut(&Entry, &mut dyn Read) -> Result<()> + 'v;

/// Reads a layer of type `media_type` to its end and shows every entry to `visit`. Returns how many bytes it
/// inflated to.
pub(super) fn walk(media_type: &str, raw: Box<dyn Read + '_>, limits: &Limits, visit: &mut Visit<'_>) -> Result<u64> {
    let mut data = Bounded { inner: decompressor(media_type, raw)?, left: limits.inflated, limit: limits.inflated };
    let mut archive = tar::Archive::new(&mut data);
    let mut extension = Extension::default();
    for (count, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count >= limits.entries {
            return Err(malformed(format!("has more than {} entries", limits.entries)));
        }
        if extension.take(&mut entry)? {
            continue;
        }
        let shown = interpret(&entry, std::mem::take(&mut extension))?;
        visit(&shown, &mut entry)?;
    }
    if !extension.is_empty() {
        return Err(malformed("ends after an extension header"));
    }
    only_padding(archive.into_inner())?;
    Ok(data.limit - data.left)
}

fn decompressor<'a>(media_type: &str, raw: Box<dyn Read + 'a>) -> Result<Box<dyn Read + 'a>> {
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    let form = media_type.strip_prefix(OCI).or_else(|| media_type.strip_prefix(DOCKER));
    match form {
        Some("") => Ok(raw),
        Some("+gzip" | ".gzip") => Ok(Box::new(flate2::read::MultiGzDecoder::new(raw))),
        Some("+zstd" | ".zstd") => {
            let mut decoder = zstd::stream::read::Decoder::new(raw).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
            Ok(Box::new(decoder))
        }
        _ => {
            let text = format!("release image has a layer of type `{media_type}`, which this program cannot read");
            Err(Error::new(Code::Malformed, text))
        }
    }
}

fn interpret<R: Read>(entry: &tar::Entry<'_, R>, extension: Extension) -> Result<Entry> {
    let header = entry.header();
    let kind = header.entry_type();
    let regular = kind == EntryType::Regular;
    if !(regular || matches!(header.as_bytes()[156], b'1'..=b'7')) {
        return Err(malformed(format!("has an entry of type {:?}", char::from(header.as_bytes()[156]))));
    }
    // Go takes such entries as empty, others as having content: the rest of the archive would be read differently.
    if !regular && entry.size() != 0 {
        return Err(malformed("has a link, directory or device with content"));
    }
    if extension.size.is_some_and(|size| size != entry.size()) {
        return Err(malformed("has a PAX size that contradicts its header"));
    }
    // star keeps a shorter prefix and marks it here; other readers see a longer one.
    if header.as_ustar().is_some() && header.as_bytes()[500..].iter().any(|b| *b != 0) {
        return Err(malformed("has a header that tar implementations read differently"));
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

/// What extension headers said about the entry that follows them.
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

    /// Takes an extension header in; false if the entry is none.
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool> {
        let which = match entry.header().as_bytes()[156] {
            b'x' => 0,
            b'L' => 1,
            b'K' => 2,
            b'g' => return Err(malformed("has a global PAX header")),
            b'S' => return Err(malformed("has a sparse file")),
            _ => return Ok(false),
        };
        if std::mem::replace(&mut self.seen[which], true) {
            return Err(malformed("has two extension headers of one kind for one entry"));
        }
        let mut content = Vec::new();
        if entry.size() > MAX_EXTENSION {
            return Err(malformed(format!("has an extension header of {} bytes", entry.size())));
        }
        entry.read_to_end(&mut content).map_err(broken)?;
        match which {
            0 => self.pax(&content)?,
            _ => {
                let name = content.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                let slot = if which == 1 { &mut self.path } else { &mut self.link };
                set(slot, name)?;
            }
        }
        Ok(true)
    }

    /// PAX records: `<length> <key>=<value>\n`, to the last byte.
    fn pax(&mut self, mut rest: &[u8]) -> Result<()> {
        let bad = || malformed("has a damaged PAX header");
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
                _ if key.starts_with(b"GNU.sparse.") => return Err(malformed("has a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("names one entry twice in its extension headers")),
    }
}

/// The path as a file system sees it below the image's root.
fn normal(path: &[u8]) -> Result<Vec<u8>> {
    if path.len() > MAX_PATH || path.contains(&0) {
        return Err(malformed("has a path that is too long or holds a zero byte"));
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(malformed("has a path with `..`"));
    }
    Ok(parts.join(&b'/'))
}

fn only_padding(data: &mut dyn Read) -> Result<()> {
    let mut buffer = [0; 32 << 10];
    let mut seen = 0;
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                seen += count as u64;
                if seen > MAX_PADDING || buffer[..count].iter().any(|b| *b != 0) {
                    return Err(malformed("goes on after the end of its archive"));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(e)),
        }
    }
}

/// Fails, rather than ends, when there is more than the limit.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::from(malformed(format!("inflates to more than {} bytes", self.limit))))?;
        Ok(count)
    }
}

/// What a layer does wrong, as an error about the release image.
pub(super) fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Malformed, format!("a layer of the release image {what}"))
}

/// A read error: the source's own error if there is one, an I/O error of the system, or damaged data.
pub(super) fn broken(error: io::Error) -> Error {
    match Error::try_from(error) {
        Ok(ours) => ours,
        Err(error) => {
            let code = if error.raw_os_error().is_some() { Code::Io } else { Code::Malformed };
            Error::new(code, format!("a layer of the release image cannot be read: {error}")).source(error)
        }
    }
}
