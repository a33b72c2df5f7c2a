//! Opens a bundle without trusting it: the raw head first, then its members by a verified index.
//!
//! Every header and all padding is compared with what the index requires, so no byte of the file goes unread
//! (MB-VER-01, MB-VER-04, MB-VER-05). Several volumes or copies together are a [`super::set::Set`].

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::carriage::Document;
use super::head::{self, Head};
use super::index::Index;
use super::input::Input;
use super::layout::{self, Layout, Member};
use super::removal::Removed;
use super::volume::{VOLUME, Volume};
use super::{limits, name, tar};
use crate::codec::StoredReader;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// An opened bundle or volume: the raw head, of which only the framing is checked.
#[derive(Debug)]
pub struct Bundle {
    input: Input,
    head: Head,
}

impl Bundle {
    /// Opens a bundle file, which may be on a read-only medium: nothing is written, locked or memory-mapped.
    ///
    /// # Errors
    /// [`Code::Io`] when it cannot be read or is not a regular file, [`Code::NotABundle`], [`Code::Truncated`],
    /// [`Code::Malformed`] from its head.
    pub fn open(path: &Path) -> Result<Bundle> {
        Bundle::new(Input::open(path)?)
    }

    /// Opens a bundle from a stream, called `name` in messages.
    pub fn stream(name: &str, from: Box<dyn Read + Send>) -> Result<Bundle> {
        Bundle::new(Input::stream(name, from))
    }

    fn new(input: Input) -> Result<Bundle> {
        let head = head::read(&input)?;
        Ok(Bundle { input, head })
    }

    /// The raw head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The bundle's name in messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Shares the index with another part that has the same bytes.
    pub(super) fn share(&mut self, known: &mut Vec<Arc<Vec<u8>>>) {
        share(&mut self.head.index, known);
    }

    /// Shares the carriage in the same way. Returns how many bytes of it are new.
    pub(super) fn share_carriage(&mut self, known: &mut Vec<Arc<Document>>) -> usize {
        let Some(signed) = &mut self.head.carriage else { return 0 };
        if share(&mut signed.carriage, known) { signed.carriage.len() } else { 0 }
    }

    /// Continues with the parsed index: derives the layout, compares lengths (for a file immediately), time and
    /// `SHA256SUMS`, and finds a file's addenda.
    pub fn contents(self, index: Arc<Index>) -> Result<Contents> {
        let mut contents = self.tolerant(index)?;
        match contents.damage.is_empty() {
            true => Ok(contents),
            false => Err(contents.damage.swap_remove(0)),
        }
    }

    /// As [`Bundle::contents`], but damage around the members is collected in [`Contents::damage`], because intact
    /// members can still be read.
    pub fn tolerant(self, index: Arc<Index>) -> Result<Contents> {
        let Bundle { input, head } = self;
        let malformed =
            |what: &str| Error::new(Code::Malformed, format!("{what} in `{}` is not what its index says", input.name));
        let whose = |e: Error| e.fact(format!("in `{}`", input.name));
        let volume = head.volume.as_deref().map(Volume::parse).transpose().map_err(whose)?;
        if let Some(volume) = volume.as_ref().filter(|volume| volume.index != head.digest()) {
            return Err(malformed(VOLUME).fact(format!("it is about the bundle {}", volume.index)));
        }
        let mut damage = Vec::new();
        let signature = head.signature.as_deref();
        let layout = Layout::with(&index, &head.index, signature, head.form(), volume.as_ref()).map_err(whose)?;
        if let Some(err) = still_there(&input, &index, &layout)? {
            return Err(err);
        }
        if let Some(length) = input.length()
            && length < layout.total()
        {
            damage.push(truncated(&input.name, length, layout.total()));
        }
        if head.mtime != layout.mtime() {
            damage.push(malformed("the time of the members"));
        }
        if head.sums != layout.sums_digest() {
            damage.push(malformed("mirror-bundle/SHA256SUMS"));
        }
        let marker = index.files.first().map(|f| (f.size, f.digest));
        let expected = (layout::OCI_LAYOUT_JSON.len() as u64, Digest::of(layout::OCI_LAYOUT_JSON));
        if marker != Some(expected) || head.marker != layout::OCI_LAYOUT_JSON {
            damage.push(malformed("oci-layout"));
        }
        let mut contents = Contents { input, head, index, layout, volume, addenda: Vec::new(), damage };
        if !contents.is_stream() && contents.damage.is_empty() {
            match contents.read_tail() {
                Ok(addenda) => contents.addenda = addenda,
                Err(e) => contents.damage.push(e),
            }
        }
        Ok(contents)
    }
}

/// Uses the bytes of another part, if it has the same. Returns whether they are new.
fn share<T: PartialEq>(bytes: &mut Arc<T>, known: &mut Vec<Arc<T>>) -> bool {
    match known.iter().find(|other| *other == bytes) {
        Some(other) => {
            *bytes = other.clone();
            false
        }
        None => {
            known.push(bytes.clone());
            true
        }
    }
}

/// The error if a file holds a member that its own statements say is not there. Whatever follows such a member is not
/// where it should be, and that would be reported instead.
fn still_there(input: &Input, index: &Index, layout: &Layout) -> Result<Option<Error>> {
    let (removed, absent) = (layout.removed(), layout.absent());
    let less = !removed.is_empty() || !absent.is_empty();
    let Some(length) = input.length().filter(|length| less && *length > layout.total()) else {
        return Ok(None);
    };
    let member = |at: &usize| format!("blobs/sha256/{}", index.blobs[*at].digest.hex());
    let left_out: BTreeSet<String> = absent.difference(&removed.blobs).map(member).collect();
    let gone: BTreeSet<String> =
        removed.files.iter().map(|at| index.files[*at].path.clone()).chain(removed.blobs.iter().map(member)).collect();
    let start = layout.members().iter().find(|m| m.path == layout::SUMS).map_or(0, |m| m.header);
    let (mut at, mut block) = (start, [0u8; 512]);
    // As many members as there can be: the removed ones are of the index.
    for _ in 0..layout.members().len() + gone.len() + left_out.len() {
        if at + tar::BLOCK > length {
            break;
        }
        input.read_exact_at(&mut block, at)?;
        let Some(entry) = tar::parse(&block) else { break };
        let name = entry.name.split(".p").next().unwrap_or_default();
        if left_out.contains(name) {
            let text = format!("`{}` is in `{}`, although its carriage says that it is not", entry.name, input.name);
            let hint = "do not use this file; ask whoever made it for another copy";
            return Ok(Some(Error::new(Code::UnlistedContent, text).fact(format!("at offset {at}")).hint(hint)));
        }
        if gone.contains(name) {
            let text = format!("`{}` is in `{}`, although it was removed", entry.name, input.name);
            let hint = "do not use this file; ask whoever removed it for another copy";
            return Ok(Some(Error::new(Code::UnlistedContent, text).fact(format!("at offset {at}")).hint(hint)));
        }
        let Some(next) = at.checked_add(tar::BLOCK).and_then(|data| data.checked_add(tar::padded(entry.size))) else {
            break;
        };
        at = next;
    }
    Ok(None)
}

/// A member appended to a bundle after it was signed: a countersignature or a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addendum {
    /// Its name below `mirror-bundle/addenda/`.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A bundle or volume with its index. Members can be read; each is checked as it is read.
#[derive(Debug)]
pub struct Contents {
    input: Input,
    head: Head,
    index: Arc<Index>,
    layout: Layout,
    volume: Option<Volume>,
    addenda: Vec<Addendum>,
    damage: Vec<Error>,
}

impl Contents {
    /// A file with a damaged head, read as the copy of one of these that it resembles: the whole bundle (`None`), or a
    /// volume. `why` is the damage. `None` when fewer than half of the sampled headers match: then it is unrelated.
    pub fn damaged(
        path: &Path,
        head: &Head,
        index: &Arc<Index>,
        candidates: &mut dyn Iterator<Item = Option<Volume>>,
        why: Error,
    ) -> Option<Contents> {
        /// The number of headers to sample.
        const SAMPLE: usize = 64;
        let mut best: Option<(usize, Contents)> = None;
        for volume in candidates {
            let signature = head.signature.as_deref();
            let layout = Layout::with(index, &head.index, signature, head.form(), volume.as_ref()).ok()?;
            let contents = Contents {
                input: Input::open(path).ok()?,
                head: head.clone(),
                index: index.clone(),
                layout,
                volume,
                addenda: Vec::new(),
                damage: Vec::new(),
            };
            let blobs = contents.layout.blobs();
            let looked = blobs.iter().step_by(blobs.len().div_ceil(SAMPLE).max(1));
            let right = looked.clone().filter(|member| contents.open(member).is_ok()).count();
            if right * 2 > looked.count() && best.as_ref().is_none_or(|(most, _)| right > *most) {
                best = Some((right, contents));
            }
        }
        best.map(|(_, contents)| Contents { damage: vec![why], ..contents })
    }

    /// Drops the raw index, after everything signed over it was evaluated.
    pub(super) fn forget_index(&mut self) {
        self.head.index = Arc::default();
    }

    /// Leaves what is removed out of the description of the volume, so that volumes with and without it are of one
    /// division.
    pub(super) fn without(&mut self, removed: &Removed) {
        if let Some(volume) = &mut self.volume {
            volume.without(&removed.blobs);
        }
    }

    /// Records additional damage.
    pub fn with_damage(mut self, err: Error) -> Contents {
        self.damage.push(err);
        self
    }

    /// The index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The volume, if the bundle is divided.
    pub fn volume(&self) -> Option<&Volume> {
        self.volume.as_ref()
    }

    /// Damage around the members. Only in a [`super::set::Set`] of several parts.
    pub fn damage(&self) -> &[Error] {
        &self.damage
    }

    /// The raw head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The members.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bundle's name in messages.
    pub fn name(&self) -> &str {
        &self.input.name
    }

    /// Size in bytes, as far as known.
    pub fn length(&self) -> u64 {
        self.input.length().unwrap_or_else(|| self.layout.total())
    }

    /// Whether members can only be read once, in order.
    pub fn is_stream(&self) -> bool {
        self.input.is_stream()
    }

    /// The addenda. A stream's addenda are known after [`Contents::finish`].
    pub fn addenda(&self) -> &[Addendum] {
        &self.addenda
    }

    /// The addenda of a file as members: header, content and padding of each, in order.
    pub fn addendum_members(&self) -> Result<Vec<Vec<u8>>> {
        let mut at = self.layout.end();
        let one = |addendum: &Addendum| {
            let size = tar::BLOCK + tar::padded(addendum.bytes.len() as u64);
            let mut member = vec![0; usize::try_from(size).unwrap_or(0)];
            self.input.read_exact_at(&mut member, at)?;
            at += size;
            Ok(member)
        };
        self.addenda.iter().map(one).collect()
    }

    /// Position of the first member after the head.
    pub fn first(&self) -> usize {
        self.layout.members().iter().position(|m| m.path == layout::SUMS).map_or(0, |at| at + 1)
    }

    /// Opens a member after comparing its header. In a stream only the next member can be opened.
    pub fn open<'a>(&'a self, member: &'a Member) -> Result<MemberReader<'a>> {
        let mut block = [0u8; 512];
        self.input.read_exact_at(&mut block, member.header)?;
        if block != self.layout.header_of(member) {
            return Err(Error::new(
                Code::Malformed,
                format!("the tar header of `{}` in `{}` is not what the index says", member.path, self.input.name),
            )
            .fact(format!("at offset {}", member.header)));
        }
        Ok(MemberReader { contents: self, member, at: 0, hasher: Hasher::new(), verdict: None })
    }

    /// Reads a member of at most `limit` bytes into memory and checks it.
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

    /// Reads what follows the last member. For a file, opening it did this.
    pub fn finish(&mut self) -> Result<()> {
        if self.is_stream() {
            self.addenda = self.read_tail()?;
        }
        Ok(())
    }

    /// Reads addenda and two zero blocks; nothing may follow.
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
                "an interrupted `sign` leaves that, and running `sign` again repairs it; else ask for another copy";
            return Err(self.unlisted(at + tar::BLOCK, "bytes after the end of the archive").hint(hint));
        }
        Ok(addenda)
    }

    fn unlisted(&self, at: u64, what: &str) -> Error {
        Error::new(Code::UnlistedContent, format!("`{}` holds {what}", self.input.name)).fact(format!("at offset {at}"))
    }
}

/// Reads one member and checks it: the last read fails unless content, padding and digest are right.
#[derive(Debug)]
pub struct MemberReader<'a> {
    contents: &'a Contents,
    member: &'a Member,
    at: u64,
    hasher: Hasher,
    verdict: Option<Option<Digest>>,
}

impl MemberReader<'_> {
    /// Reads and checks the rest through `buffer`.
    pub fn drain(mut self, buffer: &mut [u8]) -> Result<()> {
        while self.next(buffer)? > 0 {}
        Ok(())
    }

    /// The number of bytes read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Reads the next bytes; returns 0 only after everything was checked.
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

    /// Wrong content is reported before non-zero padding: it is the more basic error.
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

impl StoredReader for MemberReader<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        MemberReader::next(self, buffer)
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
        .hint("one damaged blob is usually the medium: copy the bundle again, or repair it: mirror-bundle repair")
}

fn truncated(name: &str, actual: u64, expected: u64) -> Error {
    Error::new(Code::Truncated, format!("`{name}` is truncated: {actual} of {expected} bytes"))
        .hint("the copy to this medium did not finish; copy it again, or repair it: mirror-bundle repair")
}
