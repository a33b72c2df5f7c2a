//! Layers carried as differences, or in another compression: made, proved, and kept until the bundle is assembled
//! (MB-CAR-14, MB-CAR-15).
//!
//! A layer is carried so only if this run restored it from its member with the code of the reader. Everything else is
//! carried as it is.

mod alike;
mod files;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::write::{Origin, Supply};
use super::{Observer, Task};
use crate::bundle::carriage::{As, Content, ContentForm, Entry, Gzip, Reference, Tar};
use crate::bundle::index::Blob;
use crate::bundle::restore::{Restoring, Spool};
use crate::bundle::writer::Plan;
use crate::bundle::{Elsewhere as _, Stock, limits};
use crate::delta;
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Hasher, Role};
use crate::parallel::Pace;
use crate::regzip::{self, Recipe};
use crate::select::base::Bases;
use alike::Alike;
use streams::{Hashing, Seen, UpToDamage, frame, gzip};

/// A member is used if it is smaller than so many percent of the blob.
const WORTH: u64 = 90;
/// How much of a blob is needed to recognise its encoder, in bytes.
const BEGINNING: usize = 3 << 20;
/// Part of the names of kept members: another way of making them has another one.
const WAY: &str = "v2";

/// How layers are carried.
#[derive(Clone, Debug)]
pub struct Options {
    /// As differences to layers of the bases.
    pub differences: bool,
    /// In zstd, where there is no difference.
    pub compact: bool,
    /// 1: quick, 2, 3: small.
    pub effort: u8,
    /// Memory for all that is done at once, in bytes.
    pub memory: u64,
    /// How much is done at once.
    pub jobs: usize,
    /// Places of the layers of the bases.
    pub stock: Arc<Stock>,
}

impl Options {
    fn level(&self) -> i32 {
        match self.effort {
            0 | 1 => 5,
            2 => 9,
            _ => 19,
        }
    }

    /// For a whole content: what a difference leaves to compress is less.
    fn content_level(&self) -> i32 {
        match self.effort {
            0 | 1 => 5,
            2 => 12,
            _ => 19,
        }
    }
}

/// The members that were made.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// The entries of the carriage, without their references.
    pub(crate) entries: Vec<(Entry, Option<Reference>)>,
    members: HashMap<Digest, PathBuf>,
    folder: PathBuf,
}

impl Encoded {
    /// Entries with positions of references, and these, as a carriage has them.
    pub(crate) fn into_parts(self) -> (Vec<Entry>, Vec<Reference>, Members) {
        let mut all: BTreeMap<Digest, Reference> = BTreeMap::new();
        let of = self.entries.iter().filter_map(|(_, reference)| reference.clone());
        all.extend(of.map(|reference| (reference.digest, reference)));
        let at: BTreeMap<Digest, u32> = all.keys().copied().zip(0..).collect();
        let placed = |(mut entry, reference): (Entry, Option<Reference>)| {
            if let (Some(content), Some(reference)) = (&mut entry.content, reference) {
                content.reference = at.get(&reference.digest).copied();
            }
            entry
        };
        let entries = self.entries.into_iter().map(placed).collect();
        (entries, all.into_values().collect(), Members { members: self.members, folder: self.folder })
    }
}

/// Where the members are until the bundle is complete.
#[derive(Debug)]
pub(crate) struct Members {
    members: HashMap<Digest, PathBuf>,
    folder: PathBuf,
}

impl Members {
    /// Their folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Forgets them: the bundle has them now.
    pub(crate) fn discard(&self) -> Result<()> {
        files::remove(&self.folder)
    }
}

/// Blobs, and members in the place of some.
pub(crate) struct WithMembers<'a> {
    pub(crate) supply: &'a dyn Supply,
    pub(crate) members: &'a Members,
}

impl Supply for WithMembers<'_> {
    fn here(&self, digest: &Digest) -> Option<&[u8]> {
        self.supply.here(digest)
    }

    fn origins<'a>(&'a self, at: usize, digest: &Digest) -> Vec<Box<dyn Origin + 'a>> {
        match self.members.members.get(digest) {
            Some(path) => vec![Box::new(path.as_path())],
            None => self.supply.origins(at, digest),
        }
    }

    fn look(&self, digest: &Digest) -> Option<crate::verify::disguise::Look> {
        self.supply.look(digest)
    }

    fn seen(&self, digest: &Digest, look: crate::verify::disguise::Look) -> Result<()> {
        self.supply.seen(digest, look)
    }
}

impl Origin for &Path {
    fn describe(&self) -> String {
        format!("`{}`", self.display())
    }

    fn read<'a>(&'a self, _: &Descriptor, offset: u64) -> Result<Box<dyn Read + 'a>> {
        let failed = |e| Error::io("cannot read", self, e);
        let mut file = File::open(self).map_err(failed)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Box::new(file))
    }
}

/// What is kept of a member that was proved.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    entry: Entry,
    reference: Option<Reference>,
}

/// Makes members of the layers of a plan, in `folder`. What an earlier run has proved is used again.
///
/// # Errors
/// Those of reading and writing. A layer that cannot be carried so is none.
pub(crate) fn encode(
    plan: &Plan,
    supply: &dyn Supply,
    document: &dyn Fn(&Digest) -> Option<Vec<u8>>,
    bases: &Bases,
    (skip, bundle): (&BTreeSet<Digest>, &Path),
    options: &Options,
    observer: &dyn Observer,
) -> Result<Encoded> {
    let folder = files::folder(bundle);
    let removed = plan.removed();
    let absent = plan.absent();
    let wanted = |(at, blob): &(usize, &Blob)| {
        blob.role == Role::Layer
            && blob.size > limits::SMALL_BLOB
            && !skip.contains(&blob.digest)
            && !removed.blobs.contains(at)
            && !absent.contains(at)
    };
    let blobs: Vec<(usize, &Blob)> = plan.index.blobs.iter().enumerate().filter(wanted).collect();
    if blobs.is_empty() {
        return Ok(Encoded::default());
    }
    files::begin(&folder)?;
    let wanted: BTreeSet<Digest> = blobs.iter().map(|(_, blob)| blob.digest).collect();
    let alike = match options.differences {
        true => alike::find(plan, document, &wanted, supply, (bases, options), observer)?,
        false => Alike::default(),
    };
    let work = Work { supply, options, bases, folder: &folder, alike, observer };
    observer.begin(Task::Encode, blobs.len() as u64, blobs.iter().map(|(_, blob)| blob.size).sum());
    let out = Mutex::new(Vec::new());
    let each = |(): &mut (), (at, blob): &(usize, &Blob)| {
        observer.check()?;
        if let Some(kept) = work.one(*at, blob)? {
            out.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        observer.advance(blob.size);
        observer.item();
        Ok(())
    };
    let done = Pace::fixed(options.jobs).map(&blobs, || (), each);
    observer.end();
    done.map_err(|e| e.state(format!("what was made is kept in `{}`", folder.display())))?;
    let mut all = out.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|kept: &Kept| kept.entry.blob);
    let path = |kept: &Kept| {
        Some((kept.entry.digest?, work.path(plan.index.blobs.get(kept.entry.position())?, kept.reference.as_ref())))
    };
    let members = all.iter().filter_map(path).collect();
    Ok(Encoded { entries: all.into_iter().map(|kept| (kept.entry, kept.reference)).collect(), members, folder })
}

struct Work<'a> {
    supply: &'a dyn Supply,
    options: &'a Options,
    bases: &'a Bases,
    folder: &'a Path,
    alike: Alike,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    fn path(&self, blob: &Blob, reference: Option<&Reference>) -> PathBuf {
        self.file(blob, reference.map(|one| &one.digest), "member")
    }

    fn file(&self, blob: &Blob, reference: Option<&Digest>, ending: &str) -> PathBuf {
        let to = reference.map_or_else(|| "zstd".to_owned(), |digest| digest.hex()[..32].to_owned());
        self.folder.join(format!("{}.{to}.{WAY}-{}.{ending}", blob.digest.hex(), self.options.effort))
    }

    /// The member of one layer, if it is worth it.
    fn one(&self, at: usize, blob: &Blob) -> Result<Option<Kept>> {
        let candidates = self.alike.of(&blob.digest);
        let ways = candidates.iter().map(Some).chain(self.options.compact.then_some(None));
        for way in ways.clone() {
            if let Some(kept) = self.kept(at, blob, way)? {
                return Ok(Some(kept));
            }
        }
        let note = self.plain(blob, candidates);
        if candidates.is_empty() && !self.options.compact || note.exists() {
            return Ok(None);
        }
        if !self.is_recognised(at, blob)? {
            return hopeless(&note);
        }
        let Some(new) = self.fetched(at, blob)? else { return hopeless(&note) };
        let mut lost = false;
        for way in ways {
            self.observer.check()?;
            if let Some(kept) = self.made(at, blob, &new, way, &mut lost)? {
                return Ok(Some(kept));
            }
        }
        // With another copy of the base there may be a way.
        if lost { Ok(None) } else { hopeless(&note) }
    }

    /// What notes that a layer is carried as it is after all of this was tried: a later run may have other bases.
    fn plain(&self, blob: &Blob, candidates: &[Descriptor]) -> PathBuf {
        let mut tried = Hasher::new();
        candidates.iter().for_each(|layer| tried.update(layer.digest.hex().as_bytes()));
        tried.update(if self.options.compact { b"zstd" } else { b"" });
        self.file(blob, Some(&tried.finish()), "plain")
    }

    /// What an earlier run has made, proved again: whoever can write beside the bundle may have left it.
    fn kept(&self, at: usize, blob: &Blob, layer: Option<&Descriptor>) -> Result<Option<Kept>> {
        let reference = layer.map(|layer| &layer.digest);
        let (note, path) = (self.file(blob, reference, "json"), self.file(blob, reference, "member"));
        let (Some(bytes), Some(mut file)) = (files::note(&note), files::open(&path)) else { return Ok(None) };
        let Ok(Kept { entry: Entry { size, digest, tar: Some(tar), gzip: Some(gzip), .. }, .. }) =
            serde_json::from_slice(&bytes)
        else {
            return Ok(None);
        };
        let failed = |e: io::Error| Error::io("cannot read", &path, e);
        let mut hasher = Hasher::new();
        let there = io::copy(&mut file, &mut Hashing(&mut hasher)).map_err(failed)?;
        let is_same = (size, digest) == (Some(there), Some(hasher.clone().finish()));
        if !is_same || there == 0 || there > most(blob) {
            return Ok(None);
        }
        let both = match layer.map(|layer| self.reference(layer)).transpose()? {
            Some(None) => return Ok(None),
            other => other.flatten(),
        };
        let (reference, spool) = both.unzip();
        let entry = entry(at, (there, hasher.finish()), tar, gzip, spool.is_some());
        let member = Box::new(File::open(&path).map_err(failed)?);
        let kitchen = self.options.stock.kitchen();
        let proved = match Restoring::new(blob.digest, &entry, spool.as_deref(), (member, false), kitchen) {
            Ok(restoring) => self.proved(blob, restoring)?,
            Err(e) if e.code() == Code::BlobMismatch => false,
            Err(e) => return Err(e),
        };
        Ok(proved.then_some(Kept { entry, reference }))
    }

    /// Whether the beginning of a layer is one that can be made again. What cannot is fetched once, by the writer.
    fn is_recognised(&self, at: usize, blob: &Blob) -> Result<bool> {
        let what = Descriptor::new(String::new(), blob.digest, blob.size);
        let mut failed = Error::new(Code::Internal, format!("no source for {}", blob.digest));
        for origin in self.supply.origins(at, &blob.digest) {
            let mut beginning = Vec::new();
            let read = origin.read(&what, 0).and_then(|from| {
                let read = from.take(BEGINNING as u64).read_to_end(&mut beginning);
                read.map_err(|e| Error::io("cannot read", origin.describe(), e))
            });
            match read {
                Ok(_) => {
                    let mut content = UpToDamage(flate2::read::GzDecoder::new(beginning.as_slice()));
                    let mut all = regzip::candidates(&beginning, &mut content)
                        .map_err(|e| Error::io("cannot read", origin.describe(), e))?;
                    return Ok(all.next().is_some());
                }
                Err(e) if matches!(e.code(), Code::Source | Code::BlobMissing | Code::Auth) => failed = e,
                Err(e) => return Err(e),
            }
        }
        Err(failed)
    }

    /// The content of a layer, if it is gzip by an encoder that can be made again.
    fn fetched(&self, at: usize, blob: &Blob) -> Result<Option<New>> {
        let kitchen = self.options.stock.kitchen();
        let origins = self.supply.origins(at, &blob.digest);
        let what = Descriptor::new(String::new(), blob.digest, blob.size);
        let mut failed = Error::new(Code::Internal, format!("no source for {}", blob.digest));
        let most = blob.size.saturating_mul(limits::RATIO).saturating_add(64 << 10).min(limits::TAR);
        for origin in &origins {
            let mut look = self.supply.look(&blob.digest);
            let mut beginning = Vec::new();
            let from = match origin.read(&what, 0) {
                Ok(from) => from,
                Err(e) => {
                    failed = e;
                    continue;
                }
            };
            let seen = Seen { from, beginning: &mut beginning, look: &mut look };
            match kitchen.content(&blob.digest, blob.size, most, Box::new(seen)) {
                Ok((spool, tar)) => {
                    if let Some(look) = look {
                        self.supply.seen(&blob.digest, look)?;
                    }
                    let recipes: Vec<Recipe> = match beginning.starts_with(&[0x1f, 0x8b]) && tar.size > 0 {
                        true => regzip::candidates(&beginning, &mut spool.read())
                            .map_err(|e| Error::io("cannot read", kitchen.room(), e))?
                            .collect(),
                        false => Vec::new(),
                    };
                    return Ok((!recipes.is_empty()).then(|| New { spool: Arc::new(spool), tar, recipes }));
                }
                // Not gzip, or damaged: the writer finds out, and says so.
                Err(e) if e.code() == Code::BlobMismatch => return Ok(None),
                Err(e) if matches!(e.code(), Code::Source | Code::BlobMissing | Code::Auth) => failed = e,
                Err(e) => return Err(e),
            }
        }
        Err(failed)
    }

    /// Makes a member and proves it. `lost`: the layer of the base could not be read.
    fn made(
        &self,
        at: usize,
        blob: &Blob,
        new: &New,
        layer: Option<&Descriptor>,
        lost: &mut bool,
    ) -> Result<Option<Kept>> {
        let kitchen = self.options.stock.kitchen();
        let mut reference = None;
        let mut spool = None;
        if let Some(layer) = layer {
            let Some((one, content)) = self.reference(layer)? else {
                *lost = true;
                return Ok(None);
            };
            (reference, spool) = (Some(one), Some(content));
        }
        let path = self.path(blob, reference.as_ref());
        let failed = |e: io::Error| Error::io("cannot write", &path, e);
        let mut file = files::fresh(&path).map_err(failed)?;
        let most = most(blob);
        let made = match &spool {
            Some(spool) => {
                let memory = self.options.memory / self.options.jobs.max(1) as u64;
                let options = delta::Options { level: self.options.level(), memory, most };
                delta::encode(spool.part(), new.spool.part(), &options, &mut file)
            }
            None => frame(new, self.options.content_level(), most, &mut file),
        };
        let size = match made {
            Ok(size) if size > 0 && size <= most => size,
            Ok(_) => return discarded(&path),
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => return discarded(&path),
            Err(e) => return Err(failed(e)),
        };
        let mut hasher = Hasher::new();
        let mut again = File::open(&path).map_err(failed)?;
        io::copy(&mut again, &mut Hashing(&mut hasher)).map_err(failed)?;
        for recipe in &new.recipes {
            let entry = entry(at, (size, hasher.clone().finish()), new.tar, gzip(recipe), spool.is_some());
            let member = Box::new(File::open(&path).map_err(failed)?);
            let restoring = Restoring::new(blob.digest, &entry, spool.as_deref(), (member, false), kitchen)?;
            if self.proved(blob, restoring)? {
                let kept = Kept { entry, reference };
                let note = self.file(blob, layer.map(|layer| &layer.digest), "json");
                let bytes = serde_json::to_vec(&kept).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
                files::write(&note, &bytes)?;
                return Ok(Some(kept));
            }
        }
        discarded(&path)
    }

    /// Whether the blob comes out.
    fn proved(&self, blob: &Blob, mut restoring: Restoring<'_>) -> Result<bool> {
        let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0u64, vec![0; 256 << 10]);
        loop {
            match restoring.next(&mut buffer) {
                Ok(0) => return Ok(size == blob.size && hasher.finish() == blob.digest),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    size += n as u64;
                    if size > blob.size {
                        return Ok(false);
                    }
                }
                Err(e) if e.code() == Code::BlobMismatch => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    /// A layer of the base, unpacked.
    fn reference(&self, layer: &Descriptor) -> Result<Option<(Reference, Arc<Spool>)>> {
        let stock = &self.options.stock;
        let most = layer.size.saturating_mul(limits::RATIO).saturating_add(64 << 10).min(limits::TAR);
        let content = |from| stock.kitchen().content(&layer.digest, layer.size, most, from);
        let nowhere = || Error::new(Code::BlobMissing, format!("{} is in no base", layer.digest));
        let mut unpacked = Err(nowhere());
        for copy in stock.find(&layer.digest, layer.size) {
            if unpacked.is_ok() {
                break;
            }
            unpacked = stock.open_copy(&copy).and_then(content);
        }
        for source in self.alike.sources(&layer.digest) {
            if unpacked.is_ok() {
                break;
            }
            self.observer.check()?;
            unpacked = source.blob(layer, 0).and_then(|from| content(from));
        }
        let (spool, tar) = match unpacked {
            Ok(both) => both,
            Err(e) if alike::is_lost(&e) => {
                self.observer.warn(&format!("{} of a base is not used: {}", layer.digest, e.message()));
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if tar.size == 0 {
            return Ok(None);
        }
        let mut repositories: Vec<String> =
            self.bases.repositories(&layer.digest).into_iter().map(str::to_owned).collect();
        repositories.sort();
        Ok(Some((Reference { digest: layer.digest, size: layer.size, tar, repositories }, Arc::new(spool))))
    }
}

/// A layer that may be carried in another form.
struct New {
    spool: Arc<Spool>,
    tar: Tar,
    recipes: Vec<Recipe>,
}

/// The most bytes of a member that is used.
fn most(blob: &Blob) -> u64 {
    blob.size / 100 * WORTH
}

/// The entry of a layer with this member.
fn entry(at: usize, (size, digest): (u64, Digest), tar: Tar, gzip: Gzip, difference: bool) -> Entry {
    let method = if difference { ContentForm::Delta1 } else { ContentForm::Zstd };
    Entry {
        form: As::Encoded,
        size: Some(size),
        digest: Some(digest),
        tar: Some(tar),
        gzip: Some(gzip),
        content: Some(Content { method, reference: difference.then_some(0) }),
        ..Entry::absent(at, Vec::new())
    }
}

/// Notes that a layer is carried as it is.
fn hopeless(note: &Path) -> Result<Option<Kept>> {
    files::write(note, b"")?;
    Ok(None)
}

fn discarded(path: &Path) -> Result<Option<Kept>> {
    fs::remove_file(path).map_err(|e| Error::io("cannot remove", path, e))?;
    Ok(None)
}
