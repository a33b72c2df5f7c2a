//! One header of rpm, as a database stores it: number of entries, size of the store, entries, store.

use crate::packages::bytes::{be32, index};
use crate::packages::{Kind, Package, Unreadable};

/// The most entries, as rpm has it.
const MAX_ENTRIES: usize = 0xffff;
/// The longest licence that is kept.
const MAX_LICENCE: usize = 16 << 10;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENCE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;

/// The package of a header; `None` for a key (`gpg-pubkey`), which is no package.
pub(super) fn package(blob: &[u8]) -> Result<Option<Package>, Unreadable> {
    let bad = |reason: &str| Unreadable::new(format!("a header {reason}"));
    let short = || bad("is shorter than it says");
    let entries = index(be32(blob, 0).ok_or_else(short)?);
    let size = index(be32(blob, 4).ok_or_else(short)?);
    if entries == 0 || entries > MAX_ENTRIES {
        return Err(bad(&format!("has {entries} entries")));
    }
    let (table, rest) = blob.get(8..).and_then(|b| b.split_at_checked(entries * 16)).ok_or_else(short)?;
    let store = rest.get(..size).ok_or_else(short)?;
    let find = |tag: u32| {
        let entry = table.chunks_exact(16).find(|entry| be32(entry, 0) == Some(tag))?;
        Some((be32(entry, 4)?, index(be32(entry, 8)?), be32(entry, 12)?))
    };
    // A string, or the first of an array of strings (types 6, 8 and 9).
    let text = |tag: u32, longest: usize| -> Result<Option<String>, Unreadable> {
        let Some((6 | 8 | 9, offset, 1..)) = find(tag) else { return Ok(None) };
        let from = store.get(offset..).ok_or_else(|| bad(&format!("has tag {tag} outside of its store")))?;
        let from = &from[..from.len().min(longest + 1)];
        let end = from.iter().position(|b| *b == 0).ok_or_else(|| bad(&format!("has an endless string, tag {tag}")))?;
        Ok(Some(String::from_utf8_lossy(&from[..end]).into_owned()).filter(|text| !text.is_empty() && text != "(none)"))
    };
    let short_text = |tag| text(tag, crate::packages::MAX_TEXT);
    let name = short_text(NAME)?.ok_or_else(|| bad("has no name"))?;
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let version = short_text(VERSION)?.ok_or_else(|| bad(&format!("has no version ({name})")))?;
    let version = match short_text(RELEASE)? {
        Some(release) => format!("{version}-{release}"),
        None => version,
    };
    let epoch = match find(EPOCH) {
        Some((4, offset, 1..)) => Some(be32(store, offset).ok_or_else(|| bad("has an epoch outside of its store"))?),
        _ => None,
    };
    Ok(Some(Package {
        arch: short_text(ARCH)?,
        epoch,
        source: short_text(SOURCE_RPM)?,
        licence: text(LICENCE, MAX_LICENCE)?,
        supplier: short_text(VENDOR)?,
        ..Package::new(Kind::Rpm, name, version)
    }))
}
