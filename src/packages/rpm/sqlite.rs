//! SQLite, `rpmdb.sqlite` (RHEL 9 and later, Fedora), with its write-ahead log: the table `Packages(hnum, blob)`.
//!
//! SQLite applies a log that lies beside a database whatever the database says, so this reader does too.

use std::collections::HashMap;

use crate::packages::bytes::{Once, be16, be32, index, u32_in};
use crate::packages::{MAX_PACKAGES, Reading, Unreadable};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The deepest tree: of pages with two children each, 32 levels hold more than a file can have.
const MAX_DEPTH: usize = 32;
/// The longest row: a header of rpm.
const MAX_ROW: usize = 256 << 20;

/// The packages of `rpmdb.sqlite`, after its write-ahead log `rpmdb.sqlite-wal`, if there is one.
pub fn read(data: &[u8], log: Option<&[u8]>) -> Reading {
    let opened = Pages::open(data, log.filter(|log| !log.is_empty()));
    super::headers(|take| rows(&opened?, take))
}

fn rows(pages: &Pages<'_>, take: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
    let mut once = Once::new(pages.count + 1);
    let mut root = None;
    pages.table(1, &mut once, &mut |record| {
        let columns = columns(record)?;
        // type, name, tbl_name, rootpage, sql
        let [Value::Text(b"table"), Value::Text(name), _, Value::Number(page), ..] = columns[..] else { return Ok(()) };
        if name.eq_ignore_ascii_case(b"Packages") {
            root = Some(page);
        }
        Ok(())
    })?;
    let root = root.ok_or_else(|| Unreadable::new("has no table `Packages`"))?;
    let root = usize::try_from(root).map_err(|_| Unreadable::new("has a table `Packages` without a page"))?;
    let mut count = 0;
    pages.table(root, &mut once, &mut |record| {
        count += 1;
        if count > MAX_PACKAGES {
            return Err(Unreadable(format!("has more than {MAX_PACKAGES} rows")));
        }
        match columns(record)?[..] {
            [_, Value::Blob(blob), ..] => take(blob),
            _ => return Err(Unreadable::new("has a row of `Packages` without a header")),
        }
        Ok(())
    })
}

/// The pages of a database, those of the log before those of the file.
struct Pages<'a> {
    data: &'a [u8],
    size: usize,
    /// Bytes of a page that hold content.
    usable: usize,
    count: usize,
    logged: HashMap<usize, &'a [u8]>,
}

impl<'a> Pages<'a> {
    fn open(data: &'a [u8], log: Option<&'a [u8]>) -> Result<Pages<'a>, Unreadable> {
        let (logged, committed) = log.map(frames).transpose()?.unwrap_or_default();
        // A database that was never written to the file has all of its pages in the log.
        let head = logged.get(&1).copied().unwrap_or(data);
        if !head.starts_with(MAGIC) {
            return Err(Unreadable::new("is no SQLite database"));
        }
        let size = match be16(head, 16) {
            Some(1) => 65536,
            other => usize::from(other.unwrap_or_default()),
        };
        if !size.is_power_of_two() || size < 512 {
            return Err(Unreadable(format!("has pages of {size} bytes")));
        }
        if logged.values().any(|page| page.len() != size) {
            return Err(Unreadable::new("has a write-ahead log with pages of another size"));
        }
        let reserved = usize::from(head.get(20).copied().unwrap_or_default());
        let usable = size.checked_sub(reserved).filter(|usable| *usable >= 480);
        let usable = usable.ok_or_else(|| Unreadable(format!("reserves {reserved} bytes of each page")))?;
        if !matches!(be32(head, 56), Some(0 | 1)) {
            return Err(Unreadable::new("has a text encoding other than UTF-8"));
        }
        let there = data.len() / size;
        let says = be32(head, 28).map(index).unwrap_or_default();
        // The number in the header counts if the last writer knew it.
        let says = if says > 0 && be32(head, 24) == be32(head, 92) { says } else { there };
        let count = committed.unwrap_or(says);
        if committed.is_none() && count > there {
            return Err(Unreadable(format!("is cut off: it says that it has {count} pages, and has {there}")));
        }
        // Pages that are neither in the file nor in the log cannot be followed.
        let last = logged.keys().copied().max().unwrap_or_default().max(there);
        Ok(Pages { data, size, usable, count: count.min(last), logged })
    }

    fn page(&self, number: usize) -> Result<&'a [u8], Unreadable> {
        let page = match self.logged.get(&number) {
            _ if number == 0 || number > self.count => None,
            Some(page) => Some(*page),
            None => self.data.get((number - 1) * self.size..number * self.size),
        };
        page.ok_or_else(|| Unreadable(format!("refers to page {number}, which it does not have")))
    }

    /// Gives the record of each row of the table whose tree begins on page `root`.
    fn table(
        &self,
        root: usize,
        once: &mut Once,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        // The pages that are still to be read, the next one last.
        let mut todo = vec![(root, 0)];
        while let Some((number, depth)) = todo.pop() {
            if depth > MAX_DEPTH {
                return Err(Unreadable(format!("has a tree that is deeper than {MAX_DEPTH} pages")));
            }
            let page = self.page(number)?;
            if !once.first(number) {
                return Err(Unreadable(format!("has a loop: page {number} is referred to twice")));
            }
            let bad = |what: &str| Unreadable(format!("has {what} on page {number}"));
            let at = if number == 1 { 100 } else { 0 };
            let cells = usize::from(be16(page, at + 3).ok_or_else(|| bad("no cells"))?);
            let head = at + if page[at] == 5 { 12 } else { 8 };
            let cell = |n: usize| {
                let from = usize::from(be16(page, head + 2 * n)?);
                page.get(from..self.usable).filter(|_| from >= head + 2 * cells)
            };
            match page[at] {
                5 => {
                    let right = be32(page, at + 8).ok_or_else(|| bad("no last child"))?;
                    todo.push((index(right), depth + 1));
                    for n in (0..cells).rev() {
                        let child = cell(n).and_then(|cell| be32(cell, 0)).ok_or_else(|| bad("a damaged cell"))?;
                        todo.push((index(child), depth + 1));
                    }
                    if todo.len() > self.count {
                        return Err(bad("more children than the database has pages"));
                    }
                }
                13 => {
                    for n in 0..cells {
                        let cell = cell(n).ok_or_else(|| bad("a damaged cell"))?;
                        let (length, cell) = varint(cell).ok_or_else(|| bad("a damaged cell"))?;
                        let (_, cell) = varint(cell).ok_or_else(|| bad("a damaged cell"))?;
                        take(&self.payload(length, cell, once, number)?)?;
                    }
                }
                other => return Err(bad(&format!("a page of type {other} where a table has its rows"))),
            }
        }
        Ok(())
    }

    /// The record of a cell: as much as fits on the page, the rest on a chain of pages.
    fn payload(
        &self,
        length: u64,
        cell: &'a [u8],
        once: &mut Once,
        number: usize,
    ) -> Result<std::borrow::Cow<'a, [u8]>, Unreadable> {
        let bad = |what: &str| Unreadable(format!("has a row that {what}, on page {number}"));
        let whole = self.count.saturating_mul(self.size).min(MAX_ROW);
        let length = usize::try_from(length).ok().filter(|length| *length <= whole);
        let length = length.ok_or_else(|| bad("is longer than the database"))?;
        let most = self.usable - 35;
        if length <= most {
            return cell.get(..length).map(Into::into).ok_or_else(|| bad("is cut off"));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (self.usable - 4);
        let here = if here <= most { here } else { least };
        let mut out = cell.get(..here).ok_or_else(|| bad("is cut off"))?.to_vec();
        let mut next = index(be32(cell, here).ok_or_else(|| bad("is cut off"))?);
        while out.len() < length {
            let page = self.page(next)?;
            if !once.first(next) {
                return Err(Unreadable(format!("has a loop: page {next} is referred to twice")));
            }
            let part = &page[4..self.usable];
            out.extend_from_slice(&part[..part.len().min(length - out.len())]);
            next = index(be32(page, 0).unwrap_or_default());
        }
        Ok(out.into())
    }
}

/// The pages of a log, by number, and the number of pages of the database after its last commit.
type Frames<'a> = (HashMap<usize, &'a [u8]>, Option<usize>);

/// Reads a write-ahead log up to its last commit.
///
/// SQLite ends at the first frame with other salts (the rest of an older log) or a wrong checksum (a write that was
/// not finished). A frame with these salts and a wrong checksum may be damage, so it is no silent end here.
fn frames(log: &[u8]) -> Result<Frames<'_>, Unreadable> {
    let bad = |what: &str| Unreadable(format!("has a write-ahead log {what}"));
    let head = log.get(..32).ok_or_else(|| bad("that is cut off"))?;
    let word = |at| be32(head, at).unwrap_or_default();
    let big = match word(0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Err(bad("that is none")),
    };
    if word(4) != 3_007_000 {
        return Err(bad("of an unknown version"));
    }
    let size = index(word(8));
    if !size.is_power_of_two() || !(512..=65536).contains(&size) {
        return Err(bad(&format!("with pages of {size} bytes")));
    }
    let mut sum = checksum((0, 0), &head[..24], big);
    if sum != (word(24), word(28)) {
        return Err(bad("with a wrong checksum in its header"));
    }
    let (mut committed, mut count) = (HashMap::new(), None);
    let mut open: Vec<(usize, &[u8])> = Vec::new();
    for (n, frame) in log[32..].chunks_exact(24 + size).enumerate() {
        let (head_of, page) = frame.split_at(24);
        let part = |at| be32(head_of, at).unwrap_or_default();
        if (part(8), part(12)) != (word(16), word(20)) {
            break;
        }
        sum = checksum(checksum(sum, &head_of[..8], big), page, big);
        if sum != (part(16), part(20)) {
            return Err(bad(&format!("with a wrong checksum in frame {}", n + 1)));
        }
        if part(0) == 0 {
            return Err(bad(&format!("with page 0 in frame {}", n + 1)));
        }
        open.push((index(part(0)), page));
        if part(4) != 0 {
            committed.extend(open.drain(..));
            count = Some(index(part(4)));
        }
    }
    Ok((committed, count))
}

/// SQLite's checksum over words of 4 bytes, two at a time.
fn checksum(start: (u32, u32), data: &[u8], big: bool) -> (u32, u32) {
    data.chunks_exact(8).fold(start, |(a, b), eight| {
        let (x, y) = (u32_in(eight, 0, big).unwrap_or_default(), u32_in(eight, 4, big).unwrap_or_default());
        let a = a.wrapping_add(x).wrapping_add(b);
        (a, b.wrapping_add(y).wrapping_add(a))
    })
}

/// A column of a record.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Other,
    Number(u64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// The first columns of a record; what follows is not needed.
fn columns(record: &[u8]) -> Result<Vec<Value<'_>>, Unreadable> {
    let bad = || Unreadable::new("has a damaged record");
    let (length, mut types) = varint(record).ok_or_else(bad)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= record.len()).ok_or_else(bad)?;
    types = &record[record.len() - types.len()..length.max(record.len() - types.len())];
    let mut body = &record[length..];
    let mut out = Vec::new();
    while !types.is_empty() && out.len() < 5 {
        let (kind, rest) = varint(types).ok_or_else(bad)?;
        types = rest;
        let size = match kind {
            0 | 8 | 9 | 10 | 11 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            _ => (kind - 12) / 2,
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= body.len()).ok_or_else(bad)?;
        let (value, rest) = body.split_at(size);
        body = rest;
        out.push(match kind {
            8 => Value::Number(0),
            9 => Value::Number(1),
            1..=6 => Value::Number(value.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))),
            12.. if kind % 2 == 0 => Value::Blob(value),
            13.. => Value::Text(value),
            _ => Value::Other,
        });
    }
    Ok(out)
}

/// A number of 1 to 9 bytes, and what follows it.
fn varint(data: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (n, byte) in data.iter().take(9).enumerate() {
        if n == 8 {
            return Some((number << 8 | u64::from(*byte), &data[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &data[n + 1..]));
        }
    }
    None
}
