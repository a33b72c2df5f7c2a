//! The files of a bundle while they are written, and how they get their names.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::disk::{allocate, allow_files, lock, open_own, remove_if_there, rename, sync_parent};
use super::journal::{Claim, Journal, Log};
use super::plan::{Archive, Place, Plan};
use super::{BlobWriter, exists, journal_path, partial_path};
use crate::bundle::layout::Member;
use crate::bundle::volume::{VOLUME, Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// A bundle that is being written.
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
    /// The digests of its pieces, if this file is finished and has its name already.
    complete: Option<Vec<Digest>>,
}

/// What stands where a bundle is to be written.
#[derive(Debug)]
pub enum Start<'a> {
    /// Partial files, new or continued.
    Write(Partial<'a>),
    /// The finished files of exactly this plan, from a run that was stopped after its last rename.
    Complete,
}

impl<'a> Partial<'a> {
    /// Opens the files of `plan`, for a bundle called `bundle`: continues partial files of the same plan, else starts
    /// new ones. Files that a run of this plan finished before it was stopped stay as they are.
    ///
    /// # Errors
    /// [`Code::Conflict`] when a file exists and `force` is not given, or another process writes it;
    /// [`Code::Io`] when a file cannot be made or the disk is too small.
    pub fn start(bundle: &Path, plan: &'a Plan, journal: Option<&Journal>, force: bool) -> Result<Start<'a>> {
        let same = journal.filter(|j| j.is_of(plan));
        let first = plan.first(bundle);
        let mut found = Vec::with_capacity(plan.archives().len());
        for archive in plan.archives() {
            let path = plan.path(bundle, archive);
            let mut complete = None;
            if fs::symlink_metadata(&path).is_ok() {
                complete = if same.is_some() { finished(&path, plan, archive)? } else { None };
                if complete.is_none() && !force {
                    return Err(exists(&path));
                }
            }
            found.push((path, complete));
        }
        if found.iter().all(|(_, complete)| complete.is_some()) {
            remove_if_there(&journal_path(&first))?;
            sync_parent(&first)?;
            return Ok(Start::Complete);
        }
        allow_files(found.len());
        let outputs =
            found.into_iter().map(|(path, complete)| Output::open(path, complete)).collect::<Result<Vec<_>>>()?;
        let mut there = true;
        for (archive, output) in plan.archives().iter().zip(&outputs).filter(|(_, o)| o.complete.is_none()) {
            there &= output.length()? == plan.bytes_of(archive);
        }
        let resumed = same.filter(|_| there);
        if resumed.is_none() {
            reserve(plan, &outputs, &first)?;
        }
        for (archive, output) in plan.archives().iter().zip(&outputs) {
            output.write(&plan.head(&archive.layout), 0)?;
        }
        let claims = resumed.map(Journal::claims).unwrap_or_default();
        let log = if resumed.is_some() { Log::resume(&first)? } else { Log::begin(&first, plan)? };
        Ok(Start::Write(Partial { plan, first, outputs, log, claims, pieces: Mutex::default() }))
    }

    /// The plan.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What the interrupted run claims about the blob at this position of the index.
    pub fn claim(&self, blob: usize) -> Claim {
        let digest = self.plan.index.blobs.get(blob).map(|b| b.digest);
        digest.and_then(|d| self.claims.get(&d).copied()).unwrap_or(Claim::Nothing)
    }

    /// Whether every place of a blob is in a file that is finished: then there is nothing to write.
    pub fn is_finished(&self, blob: usize) -> bool {
        self.plan.places(blob).iter().all(|place| self.is_complete(place))
    }

    /// Begins or continues the blob at this position of the index. What is claimed to be there is hashed again first;
    /// [`BlobWriter::offset`] says from where content is wanted. A claim that is not true begins at 0.
    pub fn blob<'b>(&'b self, blob: usize, buffer: &mut [u8]) -> Result<BlobWriter<'b>> {
        BlobWriter::resume(self, blob, buffer)
    }

    /// Makes everything durable and gives the files their names. Call only when every blob is finished.
    pub fn finish(self, force: bool) -> Result<()> {
        let unfinished = || self.outputs.iter().enumerate().filter(|(_, output)| output.complete.is_none());
        for (at, output) in unfinished() {
            let archive = &self.plan.archives()[at];
            // The size of the head does not depend on the digests of pieces.
            if let Some(layout) = self.plan.layout_with(archive, self.pieces_of(at)?)? {
                output.write(&self.plan.head(&layout), 0)?;
            }
            output.write(&self.plan.end(), archive.layout.end())?;
            let durable = output.file.set_len(self.plan.bytes_of(archive)).and_then(|()| output.file.sync_all());
            durable.map_err(|e| Error::io("cannot write", partial_path(&output.path), e))?;
        }
        for (_, output) in unfinished() {
            rename(&partial_path(&output.path), &output.path, force)?;
        }
        sync_parent(&self.first)?;
        remove_if_there(&journal_path(&self.first))?;
        sync_parent(&self.first)
    }

    pub(super) fn is_complete(&self, place: &Place) -> bool {
        self.outputs[place.archive].complete.is_some()
    }

    /// Writes content at an offset of the archive that a place is in, unless that is finished.
    pub(super) fn write(&self, place: &Place, bytes: &[u8], at: u64) -> Result<()> {
        self.outputs[place.archive].write(bytes, at)
    }

    pub(super) fn read(&self, place: &Place, bytes: &mut [u8], at: u64) -> Result<()> {
        let output = &self.outputs[place.archive];
        output.file.read_exact_at(bytes, at).map_err(|e| Error::io("cannot read", output.now(), e))
    }

    pub(super) fn write_header(&self, place: &Place, member: &Member) -> Result<()> {
        self.write(place, &self.plan.archives()[place.archive].layout.header_of(member), member.header)
    }

    pub(super) fn note(&self, line: &str) -> Result<()> {
        self.log.note(line)
    }

    /// Keeps the digest of a piece. One in a file that is finished has to be what that file says.
    pub(super) fn piece(&self, place: &Place, digest: Digest) -> Result<()> {
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
    fn open(path: PathBuf, complete: Option<Vec<Digest>>) -> Result<Output> {
        if complete.is_some() {
            let file = File::open(&path).map_err(|e| Error::io("cannot open", &path, e))?;
            return Ok(Output { path, file, complete });
        }
        let partial = partial_path(&path);
        let file = open_own(&partial, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        lock(&file, &partial)?;
        Ok(Output { path, file, complete })
    }

    /// The name that it has now.
    fn now(&self) -> PathBuf {
        if self.complete.is_some() { self.path.clone() } else { partial_path(&self.path) }
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("cannot read", self.now(), e))?.len())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        if self.complete.is_some() {
            return Ok(());
        }
        self.file.write_all_at(bytes, at).map_err(|e| Error::io("cannot write", self.now(), e))
    }
}

/// Empties the partial files and reserves all the room that they need.
fn reserve(plan: &Plan, outputs: &[Output], first: &Path) -> Result<()> {
    let new = || plan.archives().iter().zip(outputs).filter(|(_, output)| output.complete.is_none());
    for (_, output) in new() {
        output.file.set_len(0).map_err(|e| Error::io("cannot write", output.now(), e))?;
    }
    // With a finished file the journal says whose that is; what it claims of the others will be found untrue.
    if outputs.iter().all(|output| output.complete.is_none()) {
        remove_if_there(&journal_path(first))?;
    }
    new().try_for_each(|(archive, output)| allocate(&output.file, plan.bytes_of(archive), &output.now()))
}

/// Whether `path` is a finished file of this plan: its length, and every byte but those of blobs. If so, the digests of
/// its pieces.
fn finished(path: &Path, plan: &Plan, archive: &Archive) -> Result<Option<Vec<Digest>>> {
    let file = File::open(path).map_err(|e| Error::io("cannot open", path, e))?;
    let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
    if length != plan.bytes_of(archive) {
        return Ok(None);
    }
    let is = |expected: &[u8], at: u64| {
        let mut there = vec![0; expected.len()];
        file.read_exact_at(&mut there, at).is_ok() && there == expected
    };
    if !is(&plan.end(), archive.layout.end()) {
        return Ok(None);
    }
    let Some(volume) = archive.volume.as_ref().filter(|v| v.own_pieces() > 0) else {
        return Ok(is(&plan.head(&archive.layout), 0).then(Vec::new));
    };
    let Some(member) = archive.layout.members().iter().find(|m| m.path == VOLUME) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(member.size).unwrap_or(0)];
    let read = file.read_exact_at(&mut bytes, member.data()).is_ok();
    let digests = Volume::parse(&bytes).ok().filter(|there| read && there.is_with(volume)).map(|there| there.digests);
    let Some(digests) = digests.filter(|d| d.len() == volume.own_pieces()) else { return Ok(None) };
    let layout = plan.layout_with(archive, digests.clone())?;
    Ok(layout.filter(|layout| is(&plan.head(layout), 0)).map(|_| digests))
}
