//! rpm's own database, `Packages.db` (SUSE): pages of slots, and blobs with a checksum.

use crate::packages::bytes::{index, le32};
use crate::packages::{MAX_PACKAGES, Reading, Unreadable};

const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");
const BLOB_END: u32 = u32::from_le_bytes(*b"BlbE");
const PAGE: usize = 4096;
const BLOCK: usize = 16;
const BLOB_HEAD: usize = 16;
const BLOB_TAIL: usize = 12;

/// The packages of an ndb database.
pub fn read(data: &[u8]) -> Reading {
    super::headers(|take| blobs(data, take))
}

fn blobs(data: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
    let bad = |reason: String| Unreadable(reason);
    let word = |at| le32(data, at).ok_or_else(|| Unreadable::new("is cut off"));
    if word(0)? != MAGIC {
        return Err(Unreadable::new("is no ndb database of rpm"));
    }
    if word(4)? != 0 {
        return Err(bad(format!("has version {} of ndb, which this program does not know", word(4)?)));
    }
    let pages = index(word(12)?);
    let slots = pages.checked_mul(PAGE).and_then(|end| data.get(2 * BLOCK..end));
    let slots = slots.ok_or_else(|| bad(format!("is cut off: it says that it has {pages} pages of slots")))?;
    let (mut left, mut count) = (data.len(), 0);
    for slot in slots.chunks_exact(BLOCK) {
        let part = |at| le32(slot, at).unwrap_or_default();
        if part(0) != SLOT {
            return Err(Unreadable::new("has a damaged slot"));
        }
        let (number, block, blocks) = (part(4), index(part(8)), index(part(12)));
        if block == 0 {
            continue;
        }
        count += 1;
        if count > MAX_PACKAGES {
            return Err(bad(format!("has more than {MAX_PACKAGES} rows")));
        }
        let (from, size) = (block.checked_mul(BLOCK), blocks.checked_mul(BLOCK));
        let whole = from.zip(size).and_then(|(from, size)| data.get(from..from.checked_add(size)?));
        let whole = whole.ok_or_else(|| bad(format!("is cut off at package {number}")))?;
        // Blobs do not overlap in a sound database; so all of them together are no longer than the file.
        left = left.checked_sub(whole.len()).ok_or_else(|| Unreadable::new("has packages that overlap"))?;
        take(blob(whole, number)?);
    }
    Ok(())
}

/// The content of a blob: head (mark, number, generation, length), content, zeros, tail (checksum, length, mark).
fn blob(whole: &[u8], number: u32) -> Result<&[u8], Unreadable> {
    let bad = |reason: &str| Unreadable(format!("has a package with {reason} ({number})"));
    let head = |at| le32(whole, at);
    let length = index(head(12).ok_or_else(|| bad("no content"))?);
    let (Some(BLOB), Some(of)) = (head(0), head(4)) else { return Err(bad("a damaged head")) };
    if of != number {
        return Err(bad("the number of another"));
    }
    let end = whole.len().checked_sub(BLOB_TAIL).ok_or_else(|| bad("no tail"))?;
    let tail = |at| le32(whole, end + at);
    let content = whole.get(BLOB_HEAD..end).and_then(|c| c.get(..length)).ok_or_else(|| bad("a wrong length"))?;
    if tail(4).map(index) != Some(length) || tail(8) != Some(BLOB_END) {
        return Err(bad("a damaged tail"));
    }
    if tail(0) != Some(adler32(&whole[..end])) {
        return Err(bad("a wrong checksum"));
    }
    Ok(content)
}

fn adler32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    // As many bytes as a sum of 32 bits takes.
    for chunk in data.chunks(5552) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65521, b % 65521);
    }
    b << 16 | a
}
