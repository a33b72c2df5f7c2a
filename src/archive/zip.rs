//! zip: the members that the directory at the end lists, and those that only have a header of their own. Two with one
//! name are two members.

use std::io::{self, BufReader, Read};

use super::{BEHIND, Budget, Member, Part, Reason, Source, Stop, TAIL, Trouble, Visit, drain};

/// The largest directory that is read, in bytes.
const DIRECTORY: u64 = 32 << 20;
/// Memory that an LZMA dictionary may take, in bytes.
const LZMA: u32 = 32 << 20;

pub(super) fn open(source: &dyn Source, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    let directory = Directory::find(source)?;
    if directory.length > DIRECTORY {
        return Err(Trouble::too_large("has a directory that is too large").into());
    }
    let mut bytes = vec![0; usize::try_from(directory.length).unwrap_or(0)];
    exact(source, directory.at, &mut bytes)?;
    let mut rest = bytes.as_slice();
    // Places of members, to see what no entry covers.
    let mut covered: Vec<(u64, u64)> = Vec::new();
    let (mut entries, mut odd) = (0, directory.odd || directory.shift > 0);
    while let Some(after) = rest.strip_prefix(b"PK\x01\x02") {
        let (entry, more) = Entry::parse(after).ok_or_else(|| Trouble::damaged("has a damaged directory"))?;
        rest = more;
        budget.member()?;
        entries += 1;
        match entry.place(source, directory.shift) {
            Ok((start, at, end, plain)) => {
                odd |= !plain;
                covered.push((start, end));
                entry.visit(source, (at, end), budget, visit)?;
            }
            Err(Stop::Trouble(trouble)) => {
                odd = true;
                visit(&entry.name, Member::Closed(trouble))?;
            }
            Err(fatal) => return Err(fatal),
        }
    }
    if !rest.is_empty() && !rest.starts_with(b"PK\x05\x05") && !rest.starts_with(b"PK\x06\x06") {
        return Err(Trouble::damaged("has a damaged directory").into());
    }
    if odd || entries != directory.entries {
        budget.odd();
    }
    uncovered(source, covered, directory.at, budget, visit)?;
    if directory.end < source.size() {
        budget.odd();
        budget.member()?;
        visit(BEHIND, Member::Content(&mut Part::new(source, directory.end, u64::MAX)))?;
    }
    Ok(())
}

/// Whether there is a directory where the end of the content says.
pub(super) fn is_zip(source: &dyn Source) -> bool {
    let mut mark = [0; 4];
    let found = Directory::find(source).ok().filter(|directory| directory.length >= 46);
    found.is_some_and(|directory| exact(source, directory.at, &mut mark).is_ok() && mark == *b"PK\x01\x02")
}

/// Where the directory is.
struct Directory {
    at: u64,
    length: u64,
    /// Bytes before the first member that offsets do not count.
    shift: u64,
    /// How many entries it says that it has.
    entries: u64,
    /// Behind the record at the end, with its comment.
    end: u64,
    /// There are two records at the end, or a long one.
    odd: bool,
}

impl Directory {
    fn find(source: &dyn Source) -> Result<Directory, Stop> {
        let none = || Trouble::damaged("has no directory at its end");
        let from = source.size().saturating_sub(TAIL as u64);
        let mut tail = vec![0; usize::try_from(source.size() - from).unwrap_or(0)];
        exact(source, from, &mut tail)?;
        let ends: Vec<usize> = memchr::memmem::find_iter(&tail, b"PK\x05\x06").collect();
        let several = ends.len() > 1;
        let end = ends.into_iter().rev().find(|at| {
            let comment = tail.get(at + 20..at + 22).and_then(|two| two.first_chunk::<2>());
            comment.is_some_and(|two| at + 22 + usize::from(u16::from_le_bytes(*two)) <= tail.len())
        });
        let end = end.ok_or_else(none)?;
        let (mut length, mut offset) = (le32(&tail, end + 12), le32(&tail, end + 16));
        let mut before = from + end as u64;
        // A longer record stands before it if a number does not fit.
        let long = length == 0xffff_ffff || offset == 0xffff_ffff || le16(&tail, end + 10) == 0xffff;
        let locator = end.checked_sub(20).filter(|at| long && tail[*at..].starts_with(b"PK\x06\x07"));
        if let Some(locator) = locator {
            let record_at = le64(&tail, locator + 8);
            let mut record = [0; 56];
            exact(source, record_at, &mut record)?;
            if !record.starts_with(b"PK\x06\x06") {
                return Err(none().into());
            }
            (length, offset, before) = (le64(&record, 40), le64(&record, 48), record_at);
        }
        // Programs put something before a zip file and leave its offsets as they are.
        let at = before.checked_sub(length).ok_or_else(none)?;
        let shift = at.checked_sub(offset).ok_or_else(none)?;
        let entries = le16(&tail, end + 10);
        let end = from + end as u64 + 22 + le16(&tail, end + 20);
        Ok(Directory { at, length, shift, entries, end, odd: several || long })
    }
}

/// An entry of the directory.
struct Entry {
    name: Vec<u8>,
    flags: u64,
    method: u64,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

impl Entry {
    /// Parses an entry behind its mark; returns the rest.
    fn parse(bytes: &[u8]) -> Option<(Entry, &[u8])> {
        let (head, rest) = bytes.split_at_checked(42)?;
        let length = |at: usize| usize::try_from(le16(head, at)).ok();
        let (name, rest) = rest.split_at_checked(length(24)?)?;
        let (extra, rest) = rest.split_at_checked(length(26)?)?;
        let (_, rest) = rest.split_at_checked(length(28)?)?;
        let mut entry = Entry {
            name: name.to_vec(),
            flags: le16(head, 4),
            method: le16(head, 6),
            crc: u32::try_from(le32(head, 12)).ok()?,
            packed: le32(head, 16),
            size: le32(head, 20),
            offset: le32(head, 38),
        };
        entry.long(extra);
        Some((entry, rest))
    }

    /// Numbers that did not fit.
    fn long(&mut self, mut extra: &[u8]) {
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let Some((field, rest)) = rest.split_at_checked(usize::try_from(le16(head, 2)).unwrap_or(0)) else {
                return;
            };
            extra = rest;
            if le16(head, 0) != 1 {
                continue;
            }
            let mut at = 0;
            for number in [&mut self.size, &mut self.packed, &mut self.offset] {
                if *number == 0xffff_ffff && at + 8 <= field.len() {
                    *number = le64(field, at);
                    at += 8;
                }
            }
        }
    }

    /// Where its header begins, and its content begins and ends.
    /// And whether every reader of zip sees the same: the header says what the directory says, and it is stored or deflated.
    fn place(&self, source: &dyn Source, shift: u64) -> Result<(u64, u64, u64, bool), Stop> {
        let bad = || Trouble::damaged("has no content where the directory says");
        let start = self.offset.checked_add(shift).ok_or_else(bad)?;
        let mut header = [0; 30];
        if start.checked_add(30).is_none_or(|end| end > source.size()) {
            return Err(bad().into());
        }
        exact(source, start, &mut header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(bad().into());
        }
        let at = start + 30 + le16(&header, 26) + le16(&header, 28);
        let end = at.checked_add(self.packed).filter(|end| *end <= source.size()).ok_or_else(bad)?;
        // With this flag the sizes stand behind the content.
        let later = self.flags & 8 != 0;
        let sizes = (le32(&header, 18), le32(&header, 22));
        let same = (le16(&header, 6), le16(&header, 8)) == (self.flags, self.method);
        let sized = sizes == (self.packed, self.size) || later && sizes == (0, 0) && self.method == 8;
        Ok((start, at, end, same && sized && matches!(self.method, 0 | 8)))
    }

    fn visit(
        &self,
        source: &dyn Source,
        (at, end): (u64, u64),
        budget: &Budget,
        visit: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        if self.name.ends_with(b"/") && self.packed == 0 {
            return Ok(());
        }
        // A flag, or the marker of WinZip's AES.
        if self.flags & 1 != 0 || self.method == 99 {
            let trouble = Trouble::new(Reason::Encrypted, "is encrypted");
            return visit(&self.name, Member::Closed(trouble));
        }
        let packed = BufReader::new(Part::new(source, at, end));
        let inner: Box<dyn Read + '_> = match self.method {
            0 => Box::new(packed),
            8 => Box::new(Deflated { packed: Some(packed), decoder: None }),
            12 => Box::new(bzip2::bufread::BzDecoder::new(packed)),
            14 => match lzma(packed, self.size) {
                Ok(decoder) => Box::new(decoder),
                Err(trouble) => return visit(&self.name, Member::Closed(trouble)),
            },
            93 => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(23)?;
                Box::new(decoder)
            }
            95 => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, LZMA >> 10)),
            other => {
                let text = format!("is packed by method {other}, which this program does not open");
                return visit(&self.name, Member::Closed(Trouble::new(Reason::UnknownForm, text)));
            }
        };
        let mut content = Checked { inner, entry: self, budget, begun: false, made: 0, sum: flate2::Crc::new() };
        let visited = visit(&self.name, Member::Content(&mut content));
        // What was begun is checked to its end.
        match visited.and_then(|()| if content.begun { drain(&mut content) } else { Ok(()) }) {
            // Others can be read.
            Err(Stop::Trouble(trouble)) if trouble.reason == Reason::Damaged => {
                visit(&self.name, Member::Closed(trouble))
            }
            other => other,
        }
    }
}

fn lzma<R: Read>(mut packed: R, size: u64) -> Result<lzma_rust2::LzmaReader<R>, Trouble> {
    let bad = |_| Trouble::damaged("is damaged");
    let mut head = [0; 9];
    packed.read_exact(&mut head).map_err(|_| Trouble::damaged("is damaged"))?;
    let dictionary = u32::try_from(le32(&head, 5)).unwrap_or(u32::MAX);
    if dictionary > LZMA {
        return Err(Trouble::too_large("needs more memory to be inflated than is allowed"));
    }
    lzma_rust2::LzmaReader::new_with_props(packed, size, head[4], dictionary, None).map_err(bad)
}

/// A deflated member: the decoder is made when it is read, as a jar has thousands that nobody reads.
struct Deflated<'a> {
    packed: Option<BufReader<Part<'a>>>,
    decoder: Option<flate2::bufread::DeflateDecoder<BufReader<Part<'a>>>>,
}

impl Read for Deflated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(packed) = self.packed.take() {
            self.decoder = Some(flate2::bufread::DeflateDecoder::new(packed));
        }
        self.decoder.as_mut().map_or(Ok(0), |decoder| decoder.read(buffer))
    }
}

/// The content of a member, with its sum checked at the end.
struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    entry: &'a Entry,
    budget: &'a Budget,
    begun: bool,
    made: u64,
    sum: flate2::Crc,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.begun = true;
        let count = self.inner.read(buffer)?;
        if count == 0 {
            let right = self.made == self.entry.size && self.sum.sum() == self.entry.crc;
            return if right { Ok(0) } else { Err(Trouble::damaged("does not match its checksum").into()) };
        }
        self.made += count as u64;
        self.sum.update(&buffer[..count]);
        self.budget.made(count as u64, self.made, self.entry.packed)?;
        Ok(count)
    }
}

/// Members that have a header between the others, and no entry in the directory: streaming readers see them.
fn uncovered(
    source: &dyn Source,
    mut covered: Vec<(u64, u64)>,
    end: u64,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<(), Stop> {
    covered.sort_unstable();
    covered.push((end, end));
    let mut at = 0;
    for (start, stop) in covered {
        // Descriptors and signing blocks are smaller or have no header.
        if start > at {
            let mut mark = [0; 4];
            let gap = start - at;
            if gap >= 30 && source.read_at(at, &mut mark)? == 4 && mark == *b"PK\x03\x04" {
                budget.member()?;
                visit(BEHIND, Member::Closed(Trouble::damaged("has a member that its directory does not list")))?;
            }
        }
        at = at.max(stop);
    }
    Ok(())
}

fn exact(source: &dyn Source, mut at: u64, mut buffer: &mut [u8]) -> Result<(), Stop> {
    while !buffer.is_empty() {
        let count = source.read_at(at, buffer)?;
        if count == 0 {
            return Err(Trouble::damaged("ends too early").into());
        }
        at += count as u64;
        buffer = &mut buffer[count..];
    }
    Ok(())
}

fn le16(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from(u16::from_le_bytes(*b)))
}

fn le32(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from(u32::from_le_bytes(*b)))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}
