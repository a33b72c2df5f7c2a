//! What is kept of the layers while they are read: what each wanted file says, and the names of all entries, which the
//! merged images need.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::content::layer::{FileEntry, FileKind, Remarks, Whiteout};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::reading::{Content, Visitor, Way};
use crate::ops::shelf::Carried;
use crate::packages::collect::{self, Fact, Kept, Source};
use crate::packages::{Reading, program};

/// The most bytes of databases that are kept whole, compressed, for a write-ahead log in another layer.
const KEPT: usize = 64 << 20;
/// The largest file that each thread reads by itself; larger ones one at a time.
pub(in crate::ops) const HELD: u64 = 8 << 20;
/// The most facts of a layer.
const FACTS: usize = 500_000;

/// One layer that was read.
pub(in crate::ops) struct Layer {
    facts: BTreeMap<u32, Fact>,
    /// The entries, compressed.
    entries: Vec<u8>,
    problems: Vec<String>,
}

/// The layers, as they are read.
#[derive(Default)]
pub(in crate::ops) struct Layers {
    done: Mutex<BTreeMap<Digest, Layer>>,
    kept: AtomicUsize,
    large: Mutex<()>,
}

impl Layers {
    /// The layers, when everything was read.
    pub(in crate::ops) fn finish(self) -> BTreeMap<Digest, Layer> {
        self.done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a layer that is about to be read.
    pub(in crate::ops) fn gathering(&self) -> Result<Gathering<'_>> {
        let layer = Layer { facts: BTreeMap::new(), entries: Vec::new(), problems: Vec::new() };
        let entries = zstd::stream::write::Encoder::new(Vec::new(), 1).map_err(internal)?;
        Ok(Gathering { layers: self, layer, entries, buffer: Vec::new() })
    }

    /// The turn of a large file: they are read one at a time.
    pub(in crate::ops) fn turn(&self) -> MutexGuard<'_, ()> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a layer was read.
    pub(in crate::ops) fn has(&self, digest: &Digest) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    /// Says what a file says; `None` for one that says nothing about packages.
    /// `head` is a buffer that is used again, so that the memory of thousands of files is that of one.
    fn fact(&self, entry: &FileEntry, content: &mut dyn Read, head: &mut Vec<u8>, turn: bool) -> Result<Option<Fact>> {
        let failed = |e: io::Error| Error::try_from(e).unwrap_or_else(damaged);
        head.clear();
        content.take(collect::FIRST as u64).read_to_end(head).map_err(failed)?;
        let Some(source) = collect::wants(&entry.path, head) else { return Ok(None) };
        if entry.size > source.limit() {
            return Ok(Some(collect::too_large(source)));
        }
        let _turn = (entry.size > HELD && !turn).then(|| self.turn());
        if entry.size > program::MAX_HELD && source == Source::Program {
            content.take(program::head_size() - head.len() as u64).read_to_end(head).map_err(failed)?;
            if let Some(reading) = program::large_elf(head, content).map_err(failed)? {
                return Ok(Some(Fact::Packages(source, reading)));
            }
            if entry.size > Source::Java.limit() {
                let text = format!("is a program of {} MiB, which is too large to be read", entry.size >> 20);
                return Ok(Some(Fact::Packages(source, Reading::unreadable(text))));
            }
        }
        // A size that is a lie takes no more than this at first.
        head.reserve_exact(usize::try_from(entry.size.min(program::MAX_HELD)).unwrap_or_default());
        content.take(entry.size).read_to_end(head).map_err(failed)?;
        let mut fact = collect::read(source, &entry.path, head);
        if let Fact::Sqlite(_, kept) | Fact::Log(kept) = &mut fact {
            let all = self.kept.fetch_add(kept.size(), Ordering::Relaxed);
            if all + kept.size() > KEPT {
                *kept = Kept::Dropped;
            }
        }
        head.clear();
        head.shrink_to(usize::try_from(HELD).unwrap_or_default());
        Ok(Some(fact))
    }
}

/// What stands in a layer that cannot be inflated, or is cut off.
fn damaged(error: io::Error) -> Error {
    Error::new(Code::Malformed, format!("a layer of an image cannot be read: {error}"))
}

impl Visitor for Layers {
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        if !blob.is_layer() {
            return Ok(());
        }
        let mut gathering = self.gathering()?;
        let end = content.files(&mut |way, entry, content| match way {
            Way::Runtime => gathering.entry(entry, content),
            Way::Other => Ok(()),
        })?;
        gathering.finish(blob.digest, &end.remarks, end.broken)
    }
}

/// One layer while it is read.
pub(in crate::ops) struct Gathering<'l> {
    layers: &'l Layers,
    layer: Layer,
    entries: zstd::stream::write::Encoder<'static, Vec<u8>>,
    buffer: Vec<u8>,
}

impl<'l> Gathering<'l> {
    /// The next entry, as container runtimes see it.
    pub(in crate::ops) fn entry(&mut self, entry: &FileEntry, content: &mut dyn Read) -> Result<()> {
        self.turn(entry, content, false)
    }

    /// As [`Gathering::entry`]; `turn`: the caller has the [`Layers::turn`].
    pub(in crate::ops) fn turn(&mut self, entry: &FileEntry, content: &mut dyn Read, turn: bool) -> Result<()> {
        if entry.kind == FileKind::Behind {
            return Ok(());
        }
        write_entry(entry, &mut self.entries).map_err(internal)?;
        let file = matches!(entry.kind, FileKind::File | FileKind::Other(_)) && entry.whiteout.is_none();
        // An empty file says nothing, unless it is a database.
        if !file || entry.size == 0 && !Source::named(&entry.path).is_some_and(Source::is_database) {
            return Ok(());
        }
        let number = u32::try_from(entry.number).unwrap_or(u32::MAX);
        if self.layer.facts.len() >= FACTS {
            if self.layer.problems.is_empty() {
                let text = format!("has more than {FACTS} files that say something about packages");
                self.layer.problems.push(text);
            }
        } else if let Some(fact) = self.layers.fact(entry, content, &mut self.buffer, turn)? {
            self.layer.facts.insert(number, fact);
        }
        Ok(())
    }

    /// The layers that this one belongs to.
    pub(in crate::ops) fn layers(&self) -> &'l Layers {
        self.layers
    }

    /// The layer was read, up to its end or to what is broken in it.
    pub(in crate::ops) fn finish(mut self, digest: Digest, remarks: &Remarks, broken: Option<Error>) -> Result<()> {
        self.layer.entries = self.entries.finish().map_err(internal)?;
        if let Some(broken) = broken {
            let message = broken.message();
            self.layer.problems.push(message.strip_prefix("a layer of an image ").unwrap_or(message).to_owned());
        }
        if remarks.is_ambiguous() {
            self.layer.problems.push("is an archive that tar readers read differently".to_owned());
        }
        self.layers.done.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, self.layer);
        Ok(())
    }
}

fn internal(error: io::Error) -> Error {
    Error::new(Code::Internal, format!("cannot compress in memory: {error}"))
}

impl Layer {
    /// What the file of this entry says.
    pub(in crate::ops) fn fact(&self, entry: u32) -> Option<&Fact> {
        self.facts.get(&entry)
    }

    /// Why not all of it is known.
    pub(in crate::ops) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Calls `take` for each entry, with what a merged image needs of it.
    ///
    /// # Errors
    /// Those of `take`.
    pub(in crate::ops) fn entries(&self, take: &mut dyn FnMut(&FileEntry) -> Result<()>) -> Result<()> {
        let decoder = zstd::stream::read::Decoder::new(&self.entries[..]).map_err(internal)?;
        let mut from = io::BufReader::new(decoder);
        while let Some(entry) = read_entry(&mut from).map_err(internal)? {
            take(&entry)?;
        }
        Ok(())
    }
}

/// The kinds of entries, as numbers.
const KINDS: [FileKind; 9] = [
    FileKind::File,
    FileKind::Dir,
    FileKind::Symlink,
    FileKind::HardLink,
    FileKind::Char,
    FileKind::Block,
    FileKind::Fifo,
    FileKind::Behind,
    FileKind::Other(0),
];

fn write_entry(entry: &FileEntry, to: &mut impl Write) -> io::Result<()> {
    let kind = match entry.kind {
        FileKind::Other(_) => 8,
        kind => KINDS.iter().position(|k| *k == kind).unwrap_or(8),
    };
    let (mark, whiteout) = match &entry.whiteout {
        None => (0, None),
        Some(Whiteout::Name(path)) => (1, Some(path)),
        Some(Whiteout::Opaque(path)) => (2, Some(path)),
    };
    to.write_all(&[u8::try_from(kind).unwrap_or(8), mark])?;
    to.write_all(&entry.number.to_le_bytes())?;
    to.write_all(&entry.size.to_le_bytes())?;
    for text in [Some(&entry.path), whiteout, entry.target.as_ref()] {
        let length = text.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
        to.write_all(&length.to_le_bytes())?;
        to.write_all(text.map(Vec::as_slice).unwrap_or_default())?;
    }
    Ok(())
}

/// The next entry; `None` at the end.
fn read_entry(from: &mut impl Read) -> io::Result<Option<FileEntry>> {
    let mut head = [0; 18];
    if from.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
    let mut text = || -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length == u32::MAX {
            return Ok(None);
        }
        let mut out = Vec::new();
        from.take(length.into()).read_to_end(&mut out)?;
        Ok(Some(out))
    };
    let (path, whiteout, target) = (text()?.unwrap_or_default(), text()?, text()?);
    let whiteout = match (head[1], whiteout) {
        (1, Some(path)) => Some(Whiteout::Name(path)),
        (2, Some(path)) => Some(Whiteout::Opaque(path)),
        _ => None,
    };
    Ok(Some(FileEntry {
        number: number(2),
        path,
        leaves: false,
        hidden_path: None,
        kind: KINDS.get(usize::from(head[0])).copied().unwrap_or(FileKind::Other(0)),
        slash: false,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        size: number(10),
        target,
        device: None,
        xattrs: Vec::new(),
        whiteout,
    }))
}
