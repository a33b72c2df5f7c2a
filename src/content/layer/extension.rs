//! The extension headers of tar: PAX records, and the long names of GNU.

use super::remarks::Remarks;
use super::sparse::Notes;
use crate::oci::Invalid;

/// The largest extension header, in bytes.
pub(super) const MAX_EXTENSION: u64 = 1 << 20;

/// Kinds of extension header, as positions in [`Extension::seen`].
pub(super) const PAX: usize = 0;
pub(super) const LONG_PATH: usize = 1;
pub(super) const LONG_LINK: usize = 2;

/// The statements of extension headers about the next entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Extension {
    pub(super) seen: [bool; 3],
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) long_path: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Notes,
}

/// How strictly records are read.
pub(super) enum How<'r> {
    /// Whatever readers are known to disagree on is an error.
    Strict,
    /// It is remarked.
    Lenient(&'r mut Remarks),
}

impl Extension {
    /// Whether there was none.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == [false; 3]
    }

    /// Adds the content of a long name.
    pub(super) fn long(&mut self, which: usize, content: &[u8]) {
        let name = content.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        let slot = if which == LONG_PATH { &mut self.long_path } else { &mut self.long_link };
        *slot = Some(name);
    }

    /// Forgets the records of an earlier PAX header, as Go does.
    pub(super) fn forget_records(&mut self) {
        let (seen, long_path, long_link) = (self.seen, self.long_path.take(), self.long_link.take());
        *self = Extension { seen, long_path, long_link, ..Extension::default() };
    }

    /// Adds PAX records: `<length> <key>=<value>\n`, to the last byte. Records that come first stay.
    pub(super) fn pax(&mut self, mut rest: &[u8], how: &mut How<'_>) -> Result<(), Invalid> {
        let bad = || Invalid::new("has a damaged PAX header");
        while !rest.is_empty() {
            match (record(rest), &mut *how) {
                (Some((key, value, tail)), how) => {
                    rest = tail;
                    self.record(key, value, how)?;
                }
                (None, How::Strict) => return Err(bad()),
                (None, How::Lenient(remarks)) => {
                    remarks.ambiguous("has a damaged PAX header, which some readers pass over");
                    break;
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8], how: &mut How<'_>) -> Result<(), Invalid> {
        let bad = || Invalid::new("has a damaged PAX header");
        let number = |value: &[u8]| -> Option<u64> {
            let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|v| v.parse().ok())
        };
        match key {
            b"path" => text(&mut self.path, value, how),
            b"linkpath" => text(&mut self.link, value, how),
            b"size" => match (number(value), how) {
                (Some(size), How::Strict) => once(&mut self.size, size),
                (Some(size), How::Lenient(remarks)) => {
                    if self.size.is_some_and(|before| before != size) {
                        remarks.ambiguous("names one entry twice in its extension headers");
                    }
                    self.size = Some(size);
                    Ok(())
                }
                (None, How::Lenient(remarks)) if value.is_empty() => {
                    remarks.ambiguous("has an empty size in its PAX header");
                    Ok(())
                }
                (None, _) => Err(bad()),
            },
            _ if key.starts_with(b"GNU.sparse.") => match how {
                How::Strict => Err(Invalid::new("has a sparse file")),
                How::Lenient(_) => self.sparse.record(&key[b"GNU.sparse.".len()..], value),
            },
            b"uid" => {
                self.uid = number(value).or(self.uid);
                Ok(())
            }
            b"gid" => {
                self.gid = number(value).or(self.gid);
                Ok(())
            }
            b"mtime" => {
                let whole = value.split(|b| *b == b'.').next().unwrap_or_default();
                self.mtime = std::str::from_utf8(whole).ok().and_then(|v| v.parse().ok()).or(self.mtime);
                Ok(())
            }
            _ => {
                let schily = key.strip_prefix(b"SCHILY.xattr.").map(|name| (name.to_vec(), value.to_vec()));
                let libarchive = || Some((unquoted(key.strip_prefix(b"LIBARCHIVE.xattr.")?), unbase64(value)));
                if let Some((name, value)) = schily.or_else(libarchive)
                    && !self.xattrs.iter().any(|(known, _)| *known == name)
                {
                    self.xattrs.push((name, value));
                }
                Ok(())
            }
        }
    }
}

/// The first record, and what follows it.
fn record(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = rest.iter().take(8).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
    let (record, tail) = rest.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], tail))
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Invalid> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Invalid::new("names one entry twice in its extension headers")),
    }
}

/// A path or link target of a record.
fn text(slot: &mut Option<Vec<u8>>, value: &[u8], how: &mut How<'_>) -> Result<(), Invalid> {
    let How::Lenient(remarks) = how else { return once(slot, value.to_vec()) };
    if value.is_empty() {
        // A record without a value takes an earlier one back; Go keeps the plain name.
        remarks.ambiguous("has an empty name in its PAX header");
        return Ok(());
    }
    let mut value = value.to_vec();
    if let Some(end) = value.iter().position(|b| *b == 0) {
        remarks.ambiguous("has a name with a zero byte in its PAX header");
        value.truncate(end);
    }
    if slot.as_ref().is_some_and(|before| *before != value) {
        remarks.ambiguous("names one entry twice in its extension headers");
    }
    *slot = Some(value);
    Ok(())
}

/// `%3D` is `=`.
fn unquoted(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut at = 0;
    while at < name.len() {
        let hex = name.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|_| name[at] == b'%') {
            Some(byte) => (out.push(byte), at += 3).1,
            None => (out.push(name[at]), at += 1).1,
        }
    }
    out
}

fn unbase64(value: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let plain = base64::engine::general_purpose::STANDARD_NO_PAD;
    let end = value.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    plain.decode(&value[..end]).unwrap_or_else(|_| value.to_vec())
}
