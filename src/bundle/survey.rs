//! Finds the intact members of a damaged bundle. Unlike [`super::reader`] it does not stop at damage: it serves
//! repair, and says nothing about trust.
//!
//! A file is read once, in order. Unreadable or missing parts count as damaged (MB-REC-06).

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::index::Index;
use super::layout::{self, Layout, Member};
use super::reader::Addendum;
use super::volume::{self, Volume};
use super::{Head, limits, name, tar};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

const BUFFER: usize = 1 << 20;
/// The most offsets by which content may have moved.
const MOVES: usize = 8;
/// How much more than twice its length a file is searched for moved content, in bytes.
const SLACK: u64 = 64 << 20;
/// Bytes that are retried separately after a failed read.
const PIECE: usize = 4096;

/// The exact bytes that a bundle or volume must have, except for its addenda.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The index.
    pub index: Arc<Index>,
    /// The index and the signature as written.
    pub head: Head,
    /// The place of every member.
    pub layout: Layout,
    /// The volume, if it is one.
    pub volume: Option<Volume>,
    sums: Digest,
}

impl Blueprint {
    /// For the bundle or volume with this head.
    ///
    /// # Errors
    /// [`crate::Code::Malformed`] and others of [`Index::parse`] and [`Volume::parse`] for a head that is not acceptable.
    pub fn new(head: Head) -> Result<Blueprint> {
        let index = Arc::new(Index::parse(&head.index)?);
        Blueprint::with(index, head)
    }

    /// As [`Blueprint::new`], with this head's index, which is already parsed.
    pub fn with(index: Arc<Index>, head: Head) -> Result<Blueprint> {
        let volume = head.volume.as_deref().map(Volume::parse).transpose()?;
        if volume.as_ref().is_some_and(|volume| volume.index != head.digest()) {
            let text = format!("{} is of a volume of another bundle", volume::VOLUME);
            return Err(Error::new(Code::Malformed, text));
        }
        let layout = head.layout(&index)?;
        let sums = layout.sums_digest();
        Ok(Blueprint { index, head, layout, volume, sums })
    }

    /// Whether `SHA256SUMS` of this head is the one derived from the blueprint.
    pub fn agrees(&self, head: &Head) -> bool {
        head.sums == self.sums
    }

    /// Digest of a member's content.
    pub fn digest(&self, member: &Member) -> Digest {
        member.digest.or_else(|| self.layout.digest_in_head(&member.path)).unwrap_or(self.sums)
    }

    /// The content of a member, if it is derived from the index and the signature.
    pub fn derived(&self, member: &Member) -> Option<Vec<u8>> {
        let bytes = match member.path.as_str() {
            layout::INDEX => self.head.index.to_vec(),
            volume::VOLUME => self.head.volume.clone().unwrap_or_default(),
            layout::SIGNATURE => self.head.signature.clone().unwrap_or_default(),
            layout::SUMS => self.layout.sums(),
            layout::OCI_LAYOUT => layout::OCI_LAYOUT_JSON.to_vec(),
            layout::OCI_INDEX => layout::oci_index(&self.index).ok()?,
            path => {
                let removal = || self.head.removals.iter().zip(1..).find_map(|(one, n)| one.content(n, path));
                self.head.carriage.as_ref().and_then(|one| one.content(path)).or_else(removal)?.to_vec()
            }
        };
        (Digest::of(&bytes) == self.digest(member)).then_some(bytes)
    }
}

/// The damage of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Its header.
    pub header: bool,
    /// Its content: the only part that cannot be derived from the index.
    pub content: bool,
    /// Its zero padding.
    pub padding: bool,
}

impl Damage {
    /// Everything is damaged.
    pub const ALL: Damage = Damage { header: true, content: true, padding: true };

    /// Whether anything is damaged.
    pub fn any(self) -> bool {
        self.header || self.content || self.padding
    }
}

/// The result of surveying a file.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The damage of each member, in order.
    pub members: Vec<Damage>,
    /// Digest of each slice of the requested size, the last one padded with zeros; `None` for slices that could not be
    /// read or do not exist.
    pub slices: Vec<Option<Digest>>,
    /// Bytes that could not be read.
    pub unreadable: u64,
}

/// Reads the members of a file of `length` bytes, and computes digests of slices if `slice` gives their size.
///
/// # Errors
/// Only errors of `progress`, which receives the number of bytes done.
pub fn survey(
    file: &File,
    length: u64,
    blueprint: &Blueprint,
    slice: Option<u64>,
    progress: &mut (dyn FnMut(u64) -> Result<()> + Send),
) -> Result<Survey> {
    let end = blueprint.layout.end();
    let mut walker = Walker::new(blueprint);
    let mut slicer = slice.map(|size| Slicer { size, at: 0, hasher: Hasher::new(), bad: false, out: Vec::new() });
    let mut buffer = vec![0u8; BUFFER];
    let (mut at, mut unreadable) = (0u64, 0);
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        let bytes = &mut buffer[..want];
        let bad = read(file, length, bytes, at);
        let missing = (at + want as u64).saturating_sub(length.max(at));
        unreadable += (bad.iter().map(|r| r.len() as u64).sum::<u64>()).saturating_sub(missing);
        let bytes = &*bytes;
        let hash = || {
            if let Some(slicer) = &mut slicer {
                pieces(bytes.len(), &bad).for_each(|(range, bad)| slicer.feed(&bytes[range], bad));
            }
        };
        let mut walk = || pieces(bytes.len(), &bad).for_each(|(range, bad)| walker.feed(&bytes[range], bad));
        if slice.is_some() {
            rayon::join(hash, walk).0
        } else {
            walk()
        };
        at += want as u64;
        progress(want as u64)?;
    }
    Ok(Survey { members: walker.out, slices: slicer.map(Slicer::finish).unwrap_or_default(), unreadable })
}

/// Whether the content of one member is intact.
pub fn is_right(
    file: &File,
    member: &Member,
    digest: &Digest,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<bool> {
    let mut buffer = vec![0u8; BUFFER];
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < member.size {
        let want = usize::try_from(member.size - at).unwrap_or(BUFFER).min(BUFFER);
        if file.read_exact_at(&mut buffer[..want], member.data() + at).is_err() {
            return Ok(false);
        }
        hasher.update(&buffer[..want]);
        at += want as u64;
        progress(want as u64)?;
    }
    Ok(hasher.finish() == *digest)
}

/// The offsets by which displaced members have moved: headers of blobs are searched at every block of the file. So a
/// file with lost or inserted blocks can still be used. A file of any length may hold nothing, so it is searched only as
/// far as the content that belongs there could have moved by its own length.
pub fn moves(
    file: &File,
    length: u64,
    layout: &Layout,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<i64>> {
    let length = length.min(layout.total().saturating_mul(2).saturating_add(SLACK));
    let wanted: HashMap<&str, &Member> = layout.blobs().iter().map(|m| (m.path.as_str(), m)).collect();
    let mut out: Vec<i64> = Vec::new();
    let mut buffer = vec![0u8; BUFFER];
    let mut at = 0u64;
    while at < length && out.len() < MOVES {
        let want = usize::try_from(length - at).unwrap_or(BUFFER).min(BUFFER);
        read(file, length, &mut buffer[..want], at);
        for (n, block) in buffer[..want].chunks_exact(512).enumerate().filter(|(_, b)| b[257..262] == *b"ustar") {
            let entry = <&[u8; 512]>::try_from(block).ok().and_then(tar::parse);
            let found = entry.and_then(|e| wanted.get(e.name.as_str()).filter(|m| m.size == e.size));
            let here = at + n as u64 * 512;
            let delta = found.and_then(|m| i64::try_from(here).ok()?.checked_sub(i64::try_from(m.header).ok()?));
            out.extend(delta.filter(|d| *d != 0 && !out.contains(d)));
        }
        at += want as u64;
        progress(want as u64)?;
    }
    out.truncate(MOVES);
    Ok(out)
}

/// The bytes behind the last member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The readable addenda.
    pub addenda: Vec<Addendum>,
    /// Whether that, and the end of the archive, is all there is.
    pub whole: bool,
}

impl Tail {
    /// Reads the bytes behind the last member of a file of `length` bytes.
    pub fn read(file: &File, length: u64, layout: &Layout) -> Tail {
        let most = limits::ADDENDA_BYTES + (limits::ADDENDA as u64 + 2) * 2 * tar::BLOCK;
        let size = length.saturating_sub(layout.end()).min(most);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let readable = read(file, length, &mut bytes, layout.end()).is_empty();
        let mut addenda: Vec<Addendum> = Vec::new();
        let (mut at, mut total) = (0, 0);
        let mut gap = false;
        while let Some(block) = bytes.get(at..at + 512).and_then(|b| <&[u8; 512]>::try_from(b).ok()) {
            let entry = tar::parse(block).filter(|e| e.mtime == layout.mtime() && name::check(&e.name).is_ok());
            let found = entry.as_ref().and_then(|e| {
                let name = e.name.strip_prefix(layout::ADDENDA).filter(|n| !n.contains('/'))?;
                let size = usize::try_from(e.size).ok().filter(|s| *s as u64 <= limits::ADDENDUM)?;
                let content = bytes.get(at + 512..at + 512 + size)?;
                let fits = addenda.len() < limits::ADDENDA && total + e.size <= limits::ADDENDA_BYTES;
                (fits && addenda.iter().all(|a| a.name != name))
                    .then(|| Addendum { name: name.to_owned(), bytes: content.to_vec() })
            });
            match found {
                Some(addendum) => {
                    let size = addendum.bytes.len();
                    let padding = bytes.get(at + 512 + size..at + 512 + size.next_multiple_of(512)).unwrap_or_default();
                    gap |= padding.iter().any(|b| *b != 0);
                    at += 512 + size.next_multiple_of(512);
                    total += size as u64;
                    addenda.push(addendum);
                }
                None if *block == [0; 512] && !gap => break,
                None => {
                    gap = true;
                    at += 512;
                }
            }
        }
        let end = bytes.get(at..).is_some_and(|rest| rest.len() == 1024 && rest.iter().all(|b| *b == 0));
        Tail { addenda, whole: readable && !gap && end && length - layout.end() == size }
    }

    /// These addenda and the end of the archive, as bytes.
    pub fn to_bytes(&self, layout: &Layout) -> Vec<u8> {
        let mut out = Vec::new();
        for addendum in &self.addenda {
            let path = format!("{}{}", layout::ADDENDA, addendum.name);
            out.extend_from_slice(&tar::header(&path, addendum.bytes.len() as u64, layout.mtime()));
            out.extend_from_slice(&addendum.bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }
}

/// Fills `bytes` from `at` and returns the ranges that could not be read or do not exist; those are zero.
fn read(file: &File, length: u64, bytes: &mut [u8], at: u64) -> Vec<Range<usize>> {
    let there = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    let mut bad = Vec::new();
    if file.read_exact_at(&mut bytes[..there], at).is_err() {
        for from in (0..there).step_by(PIECE) {
            let piece = from..there.min(from + PIECE);
            if file.read_exact_at(&mut bytes[piece.clone()], at + from as u64).is_err() {
                bytes[piece.clone()].fill(0);
                bad.push(piece);
            }
        }
    }
    if there < bytes.len() {
        bytes[there..].fill(0);
        bad.push(there..bytes.len());
    }
    bad
}

/// All of `0..length` in order, cut where `bad` begins or ends.
fn pieces(length: usize, bad: &[Range<usize>]) -> impl Iterator<Item = (Range<usize>, bool)> {
    let mut at = 0;
    let mut out = Vec::with_capacity(2 * bad.len() + 1);
    for range in bad {
        out.push((at..range.start, false));
        out.push((range.clone(), true));
        at = range.end;
    }
    out.push((at..length, false));
    out.into_iter().filter(|(range, _)| !range.is_empty())
}

/// Tracks members while bytes arrive.
struct Walker<'a> {
    blueprint: &'a Blueprint,
    at: u64,
    hasher: Hasher,
    now: Damage,
    out: Vec<Damage>,
}

impl<'a> Walker<'a> {
    fn new(blueprint: &'a Blueprint) -> Walker<'a> {
        Walker { blueprint, at: 0, hasher: Hasher::new(), now: Damage::default(), out: Vec::new() }
    }

    fn feed(&mut self, mut bytes: &[u8], bad: bool) {
        let layout = &self.blueprint.layout;
        while let (false, Some(member)) = (bytes.is_empty(), layout.members().get(self.out.len())) {
            let (data, content) = (member.data(), member.data() + member.size);
            let stop = if self.at < data {
                data
            } else if self.at < content {
                content
            } else {
                member.end()
            };
            let n = usize::try_from(stop - self.at).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(n);
            if self.at < data {
                let from = usize::try_from(self.at - member.header).unwrap_or(0);
                self.now.header |= bad || layout.header_of(member)[from..from + n] != *now;
            } else if self.at < content {
                self.now.content |= bad;
                self.hasher.update(now);
            } else {
                self.now.padding |= bad || now.iter().any(|b| *b != 0);
            }
            self.at += n as u64;
            bytes = rest;
            if self.at == member.end() {
                let digest = std::mem::take(&mut self.hasher).finish();
                self.now.content |= digest != self.blueprint.digest(member);
                self.out.push(std::mem::take(&mut self.now));
            }
        }
    }
}

/// Hashes slices while bytes arrive.
struct Slicer {
    size: u64,
    at: u64,
    hasher: Hasher,
    bad: bool,
    out: Vec<Option<Digest>>,
}

impl Slicer {
    fn feed(&mut self, mut bytes: &[u8], bad: bool) {
        while !bytes.is_empty() {
            let n = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(bytes.len());
            self.hasher.update(&bytes[..n]);
            self.bad |= bad;
            self.at += n as u64;
            bytes = &bytes[n..];
            if self.at == self.size {
                self.push();
            }
        }
    }

    fn push(&mut self) {
        let digest = std::mem::take(&mut self.hasher).finish();
        self.out.push((!std::mem::take(&mut self.bad)).then_some(digest));
        self.at = 0;
    }

    fn finish(mut self) -> Vec<Option<Digest>> {
        let zeros = [0u8; 4096];
        while self.at > 0 {
            let n = (self.size - self.at).min(zeros.len() as u64);
            let bad = self.bad;
            self.feed(&zeros[..usize::try_from(n).unwrap_or(0)], bad);
        }
        self.out
    }
}

#[cfg(test)]
mod tests;
