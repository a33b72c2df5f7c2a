//! The unfinished files of a bundle, and how they get their final names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::journal::{Claim, Journal, Log};
use super::plan::{Archive, BlobPlace, Plan};
use super::{BUFFER, BlobWriter, journal_path, partial_path};
use crate::bundle::layout::{Layout, Member};
use crate::bundle::tar;
use crate::bundle::volume::{VOLUME, Volume};
use crate::error::{Code, Error, Result};
use crate::fs::direct::{Direct, window};
use crate::fs::durable::{already_exists, remove_if_there, rename, sync_parent};
use crate::fs::partial::{Own, allow_open_files, discard, lock, open_own};
use crate::fs::{dir, space};
use crate::oci::{Digest, Hasher};

/// A bundle being written.
#[derive(Debug)]
pub struct Partial<'a> {
    plan: &'a Plan,
    first: PathBuf,
    outputs: Vec<Output>,
    log: Log,
    claims: HashMap<Digest, Claim>,
    pieces: Mutex<HashMap<(usize, usize), Digest>>,
}

/// One file of it.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: File,
    /// The direct writer, if content bypasses the page cache.
    direct: Option<Direct>,
    /// The digests of its pieces, if this file is finished and already has its final name.
    complete: Option<Vec<Digest>>,
}

/// A file whose bytes are all known.
#[derive(Debug)]
pub struct Sealed {
    /// Its current path.
    pub path: PathBuf,
    archive: usize,
    pieces: Vec<Digest>,
}

impl Sealed {
    /// Its layout, with the digests of its pieces.
    pub fn layout<'p>(&self, plan: &'p Plan) -> Result<Cow<'p, Layout>> {
        let archive = &plan.archives()[self.archive];
        let known = plan.layout_with(archive, self.pieces.clone())?;
        Ok(known.map_or(Cow::Borrowed(&archive.layout), Cow::Owned))
    }
}

/// The state found where a bundle is to be written.
#[derive(Debug)]
pub enum Start<'a> {
    /// Partial files, new or resumed.
    Write(Partial<'a>),
    /// The finished files of exactly this plan, left by a run that was stopped after its last rename. The caller has to
    /// [`forget`] that run.
    Complete(Vec<Sealed>),
}

/// Forgets the run that wrote the bundle whose first file is `first`, after the rest is done that has to be done only once
/// all files have their names.
///
/// # Errors
/// [`Code::Io`], and those of `rest`: then the run is not forgotten.
pub fn forget(first: &Path, rest: &dyn Fn() -> Result<()>) -> Result<()> {
    rest()?;
    sync_parent(first)?;
    remove_if_there(&journal_path(first))?;
    sync_parent(first)
}

impl<'a> Partial<'a> {
    /// Opens the files of `plan` for a bundle called `bundle`: resumes partial files of the same plan, otherwise
    /// creates new ones. Files that an earlier run of this plan finished stay unchanged.
    ///
    /// # Errors
    /// [`Code::Conflict`] when a file exists and `force` is not given, or another process writes it; [`Code::Io`] when
    /// a file cannot be created or the disk is too small.
    pub fn start(bundle: &Path, plan: &'a Plan, journal: Option<&Journal>, force: bool) -> Result<Start<'a>> {
        let same = journal.filter(|j| j.is_of(plan));
        let first = plan.first(bundle);
        let mut found = Vec::with_capacity(plan.archives().len());
        for archive in plan.archives() {
            let path = plan.path(bundle, archive);
            let mut complete = None;
            if fs::symlink_metadata(&path).is_ok() {
                complete = if same.is_some() { finished(&path, plan, archive)? } else { None };
                match complete {
                    Some(_) => discard(&partial_path(&path))?,
                    None if force => {}
                    None => return Err(already_exists(&path)),
                }
            }
            found.push((path, complete));
        }
        if found.iter().all(|(_, complete)| complete.is_some()) {
            let sealed = |(archive, (path, complete)): (usize, (PathBuf, Option<Vec<Digest>>))| {
                complete.map(|pieces| Sealed { path, archive, pieces })
            };
            return Ok(Start::Complete(found.into_iter().enumerate().filter_map(sealed).collect()));
        }
        // Files written directly are opened twice.
        let twice = allow_open_files(2 * found.len());
        let outputs = plan.archives().iter().zip(found);
        let outputs = outputs.map(|(archive, (path, complete))| Output::open(plan, archive, path, complete, twice));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let mut there = true;
        for (archive, output) in plan.archives().iter().zip(&outputs).filter(|(_, o)| o.complete.is_none()) {
            there &= output.length()? == plan.bytes_of(archive);
        }
        let resumed = same.filter(|_| there);
        reserve(plan, &outputs, &first, resumed.is_none())?;
        for (archive, output) in plan.archives().iter().zip(&outputs) {
            output.write_parts(&plan.head(&archive.layout))?;
        }
        let claims = resumed.map(Journal::claims).unwrap_or_default();
        let log = if resumed.is_some() { Log::resume(&first)? } else { Log::begin(&first, plan)? };
        Ok(Start::Write(Partial { plan, first, outputs, log, claims, pieces: Mutex::default() }))
    }

    /// The plan.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The claim of the interrupted run about the blob at this position of the index.
    pub fn claim(&self, blob: usize) -> Claim {
        let there = blob < self.plan.index.blobs.len();
        let digest = there.then(|| self.plan.content(blob).digest);
        digest.and_then(|d| self.claims.get(&d).copied()).unwrap_or(Claim::Nothing)
    }

    /// Whether every place of a blob is in a finished file, so that nothing needs writing.
    pub fn is_finished(&self, blob: usize) -> bool {
        self.plan.places(blob).iter().all(|place| self.is_complete(place))
    }

    /// Starts or resumes the blob at this position of the index. Bytes that are claimed to be written are hashed
    /// first; [`BlobWriter::offset`] returns where content must continue. After a false claim it is 0.
    pub fn blob<'b>(&'b self, blob: usize, buffer: &mut [u8]) -> Result<BlobWriter<'b>> {
        BlobWriter::resume(self, blob, buffer)
    }

    /// Starts the blob at this position of the index from its beginning, without hashing it: its content was compared
    /// with its digest, or is by whoever reads it, and finishing it says so.
    pub fn proved_blob(&self, blob: usize) -> Result<BlobWriter<'_>> {
        BlobWriter::proved(self, blob)
    }

    /// Makes everything durable and renames the files to their final names. Call it only when every blob is finished.
    pub fn finish(self, force: bool) -> Result<()> {
        self.seal()?;
        self.publish(force)
    }

    /// Writes the remaining parts and makes everything durable. Call it only when every blob is finished. Returns all
    /// files, including those that an earlier run finished.
    ///
    /// # Errors
    /// [`Code::Io`]; when syncing failed nobody knows what is on the medium, and another try could succeed without
    /// writing it: then everything is forgotten, and the next run starts from the beginning.
    pub fn seal(&self) -> Result<Vec<Sealed>> {
        let mut sealed = Vec::with_capacity(self.outputs.len());
        for (archive, output) in self.outputs.iter().enumerate() {
            let path = output.now();
            if let Some(pieces) = &output.complete {
                sealed.push(Sealed { path, archive, pieces: pieces.clone() });
                continue;
            }
            let now = Sealed { path, archive, pieces: self.pieces_of(archive)? };
            let layout = now.layout(self.plan)?;
            // The size of the head does not depend on the digests of pieces.
            if matches!(layout, Cow::Owned(_)) {
                output.write_parts(&self.plan.head(&layout))?;
            }
            output.write(&self.plan.end(), layout.end())?;
            let length = self.plan.bytes_of(&self.plan.archives()[archive]);
            output.file.set_len(length).map_err(|e| Error::io("cannot write", &now.path, e))?;
            output.file.sync_all().map_err(|e| self.unsynced(Error::io("cannot sync", &now.path, e)))?;
            drop(layout);
            sealed.push(now);
        }
        Ok(sealed)
    }

    /// Renames sealed files to their final names.
    pub fn publish(self, force: bool) -> Result<()> {
        self.publish_and(force, &|| Ok(()))
    }

    /// Renames sealed files to their final names, and does what is left to do then. A run that is stopped in between is
    /// not forgotten: the next one finds [`Start::Complete`], and does the rest.
    pub fn publish_and(self, force: bool, rest: &dyn Fn() -> Result<()>) -> Result<()> {
        for output in self.unfinished() {
            rename(&partial_path(&output.path), &output.path, force)?;
        }
        sync_parent(&self.first)?;
        forget(&self.first, rest)
    }

    /// Discards everything that was written, because it did not reach the medium intact.
    pub fn discard(self) -> Result<()> {
        remove_if_there(&journal_path(&self.first))?;
        self.unfinished().try_for_each(|output| remove_if_there(&partial_path(&output.path)))
    }

    fn unfinished(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().filter(|output| output.complete.is_none())
    }

    fn unsynced(&self, e: Error) -> Error {
        match remove_if_there(&journal_path(&self.first)) {
            Ok(()) => e.state("how much of it is on the medium is unknown; the next run writes all of it again"),
            Err(_) => e.hint(format!("remove `{}` before the next run", journal_path(&self.first).display())),
        }
    }

    pub(super) fn is_complete(&self, place: &BlobPlace) -> bool {
        self.outputs[place.archive].complete.is_some()
    }

    /// Writes content at an offset of a place's archive, unless that file is finished.
    pub(super) fn write(&self, place: &BlobPlace, bytes: &[u8], at: u64) -> Result<()> {
        self.outputs[place.archive].write(bytes, at)
    }

    /// The part of a buffer to read bytes into that will be written at this offset of an archive.
    pub(super) fn window<'v>(&self, place: &BlobPlace, buffer: &'v mut [u8], at: u64) -> &'v mut [u8] {
        if self.outputs[place.archive].direct.is_some() { window(buffer, at) } else { buffer }
    }

    pub(super) fn read(&self, place: &BlobPlace, bytes: &mut [u8], at: u64) -> Result<()> {
        let output = &self.outputs[place.archive];
        output.file.read_exact_at(bytes, at).map_err(|e| Error::io("cannot read", output.now(), e))
    }

    pub(super) fn write_header(&self, place: &BlobPlace, member: &Member) -> Result<()> {
        self.write(place, &self.plan.archives()[place.archive].layout.header_of(member), member.header)
    }

    pub(super) fn note(&self, line: &str) -> Result<()> {
        self.log.note(line)
    }

    /// Stores the digest of a piece. A finished file must already have the same digest.
    pub(super) fn piece(&self, place: &BlobPlace, digest: Digest) -> Result<()> {
        if let Some(known) = &self.outputs[place.archive].complete {
            let extents = self.plan.archives()[place.archive].layout.extents();
            let before = extents[..place.at].iter().filter(|e| e.piece.is_some()).count();
            if known.get(before) != Some(&digest) {
                let path = self.outputs[place.archive].path.display();
                return Err(Error::new(Code::BlobMismatch, format!("`{path}`, from an earlier run, is damaged"))
                    .hint("remove it and run the same command again"));
            }
        }
        let mut pieces = self.pieces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pieces.insert((place.archive, place.at), digest);
        Ok(())
    }

    fn pieces_of(&self, archive: usize) -> Result<Vec<Digest>> {
        let pieces = self.pieces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let extents = self.plan.archives()[archive].layout.extents().iter().enumerate();
        let own = extents.filter(|(_, e)| e.piece.is_some()).map(|(at, _)| pieces.get(&(archive, at)).copied());
        own.collect::<Option<_>>().ok_or_else(|| Error::new(Code::Internal, "a piece of a blob was not written"))
    }
}

impl Output {
    fn open(
        plan: &Plan,
        archive: &Archive,
        path: PathBuf,
        complete: Option<Vec<Digest>>,
        twice: bool,
    ) -> Result<Output> {
        if complete.is_some() {
            let file = dir::regular(&path)?;
            return Ok(Output { path, file, direct: None, complete });
        }
        let partial = partial_path(&path);
        let file = open_own(&partial, Own::ExistingOrNew)?;
        lock(&file, &partial)?;
        let blobs = archive.layout.blobs().len();
        let direct = twice.then(|| Direct::open(&partial, &file, plan.bytes_of(archive), blobs)).flatten();
        Ok(Output { path, file, direct, complete })
    }

    /// Its current name.
    fn now(&self) -> PathBuf {
        if self.complete.is_some() { self.path.clone() } else { partial_path(&self.path) }
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("cannot read", self.now(), e))?.len())
    }

    /// Writes parts one after another from the beginning.
    fn write_parts(&self, parts: &[Cow<[u8]>]) -> Result<()> {
        let mut at = 0;
        for part in parts {
            self.write(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        if self.complete.is_some() {
            return Ok(());
        }
        match &self.direct {
            Some(direct) => direct.write(&self.file, bytes, at),
            None => self.file.write_all_at(bytes, at),
        }
        .map_err(|e| Error::io("cannot write", self.now(), e))
    }
}

/// Reserves the space for all partial files, including resumed ones, whose holes have none yet. With `empty_first`
/// they are truncated before.
fn reserve(plan: &Plan, outputs: &[Output], first: &Path, empty_first: bool) -> Result<()> {
    let new = || plan.archives().iter().zip(outputs).filter(|(_, output)| output.complete.is_none());
    if empty_first {
        for (_, output) in new() {
            output.file.set_len(0).map_err(|e| Error::io("cannot write", output.now(), e))?;
        }
        // If there is a finished file, the journal identifies it; claims about the others will be found false.
        if outputs.iter().all(|output| output.complete.is_none()) {
            remove_if_there(&journal_path(first))?;
        }
    }
    new().try_for_each(|(archive, output)| space::reserve(&output.file, plan.bytes_of(archive), &output.now()))
}

/// If `path` is a finished file of this plan, returns the digests of its pieces. The whole file is read: with
/// `--force` it can also be an older, damaged copy that an interrupted run was about to replace.
fn finished(path: &Path, plan: &Plan, archive: &Archive) -> Result<Option<Vec<Digest>>> {
    let file = dir::regular(path)?;
    let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
    if length != plan.bytes_of(archive) {
        return Ok(None);
    }
    let is = |expected: &[Cow<[u8]>], mut at: u64| {
        expected.iter().all(|expected| {
            let mut there = vec![0; expected.len()];
            let same = file.read_exact_at(&mut there, at).is_ok() && there[..] == expected[..];
            at += expected.len() as u64;
            same
        })
    };
    if !is(&[plan.end().into()], archive.layout.end()) {
        return Ok(None);
    }
    let Some(volume) = archive.volume.as_ref().filter(|v| v.own_pieces() > 0) else {
        let right = is(&plan.head(&archive.layout), 0) && blobs(&file, &archive.layout).unwrap_or(false);
        return Ok(right.then(Vec::new));
    };
    let Some(member) = archive.layout.members().iter().find(|m| m.path == VOLUME) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(member.size).unwrap_or(0)];
    let read = file.read_exact_at(&mut bytes, member.data()).is_ok();
    let digests = Volume::parse(&bytes).ok().filter(|there| read && there.is_with(volume)).map(|there| there.digests);
    let Some(digests) = digests.filter(|d| d.len() == volume.own_pieces()) else { return Ok(None) };
    let layout = plan.layout_with(archive, digests.clone())?;
    let right = |layout: &Layout| is(&plan.head(layout), 0) && blobs(&file, layout).unwrap_or(false);
    Ok(layout.filter(right).map(|_| digests))
}

/// Whether every blob and piece in a file matches its layout, including header and padding.
fn blobs(file: &File, layout: &Layout) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    for member in layout.blobs() {
        let padding = usize::try_from(tar::padded(member.size) - member.size).unwrap_or(0);
        let (mut header, mut rest) = ([0; 512], vec![0; padding]);
        file.read_exact_at(&mut header, member.header)?;
        file.read_exact_at(&mut rest, member.data() + member.size)?;
        let (mut hasher, mut at) = (Hasher::new(), 0);
        while at < member.size {
            let want = usize::try_from(member.size - at).unwrap_or(BUFFER).min(BUFFER);
            file.read_exact_at(&mut buffer[..want], member.data() + at)?;
            hasher.update(&buffer[..want]);
            at += want as u64;
        }
        let right = header == layout.header_of(member) && rest.iter().all(|b| *b == 0);
        if !right || member.digest != Some(hasher.finish()) {
            return Ok(false);
        }
    }
    Ok(true)
}
