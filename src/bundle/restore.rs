//! Blobs restored from members: the content out of a zstd frame or a difference, compressed as it was (MB-CAR-13).
//!
//! Nothing is believed: the member, the reference, the content and the blob each have a digest, and the sizes of all of
//! them are limits. Memory does not depend on them; a difference and its reference lie in files without names.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::carriage::{ContentForm, Encoder, Entry, Gzip as GzipEntry, GzipForm, Reference, Tar};
use crate::content::layer::inflated;
use crate::delta::{CONTENT_WINDOW, Frame, Part, Patched};
use crate::error::{Code, Error, Result};
use crate::fs::{space, unnamed};
use crate::oci::{Digest, Hasher};
use crate::regzip::{BlockSize, Family, Gzip, Help, Level, Method, Recipe};

/// How much of the content goes through at once, in bytes.
const STEP: usize = 64 << 10;
/// References that are kept for the next blob.
const KEPT: usize = 2;
/// Where room is, unless somebody says otherwise: on a disk, unlike `/tmp` of many hosts.
const ROOM: &str = "/var/tmp";

/// The content of a reference, in a file without a name.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    size: u64,
}

impl Spool {
    /// All of it, read by position.
    pub fn part(&self) -> Part<'static> {
        Part::whole(self.file.clone(), self.size)
    }

    /// Reads it from its beginning.
    pub fn read(&self) -> impl Read + use<> {
        Reading { file: self.file.clone(), at: 0 }
    }
}

/// Reads a file that others read too.
struct Reading {
    file: Arc<File>,
    at: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// As many blobs at once as there are processors: each takes up to 60 MiB of memory. Where fewer are at work, their
/// blocks are made beside each other.
#[derive(Debug)]
struct Gate {
    places: Mutex<Places>,
    free: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct Places {
    busy: usize,
    /// Blobs that wait for a place.
    waiting: usize,
}

/// The right to restore a blob, or to make a block of one.
#[derive(Debug)]
struct Permit(Arc<Gate>);

impl Gate {
    fn enter(self: &Arc<Gate>) -> Permit {
        let mut places = lock(&self.places);
        places.waiting += 1;
        while places.busy >= self.most {
            places = self.free.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        places.waiting -= 1;
        self.take(&mut places)
    }

    fn take(self: &Arc<Gate>, places: &mut Places) -> Permit {
        places.busy += 1;
        Permit(self.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.0.places).busy -= 1;
        self.0.free.notify_one();
    }
}

/// Places that no blob waits for.
struct Spare(Arc<Gate>);

impl Help for Spare {
    fn place(&self) -> Option<Box<dyn Send>> {
        let mut places = lock(&self.0.places);
        let free = places.busy < self.0.most && places.waiting == 0;
        free.then(|| Box::new(self.0.take(&mut places)) as Box<dyn Send>)
    }
}

/// Between 1 and 4.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).clamp(1, 4)
}

type Slot = Arc<Mutex<Weak<Spool>>>;

/// Where references are unpacked, and those that are.
pub struct Kitchen {
    room: PathBuf,
    gate: Arc<Gate>,
    slots: Mutex<HashMap<Digest, Slot>>,
    kept: Mutex<VecDeque<Arc<Spool>>>,
}

impl fmt::Debug for Kitchen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kitchen").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Default for Kitchen {
    fn default() -> Kitchen {
        Kitchen::new(PathBuf::from(ROOM))
    }
}

impl Kitchen {
    /// With files in this folder.
    pub fn new(room: PathBuf) -> Kitchen {
        let gate = Arc::new(Gate { places: Mutex::default(), free: Condvar::new(), most: processors() });
        Kitchen { room, gate, slots: Mutex::default(), kept: Mutex::default() }
    }

    /// The content of a reference: unpacked once while somebody holds it. `open` gives its bytes.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] if these are other bytes, or have another content; [`Code::Io`] without room.
    pub fn reference<'r>(
        &self,
        reference: &Reference,
        open: &mut dyn FnMut() -> Result<Box<dyn Read + 'r>>,
    ) -> Result<Arc<Spool>> {
        let slot = lock(&self.slots).entry(reference.digest).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(spool) = slot.upgrade() {
            return Ok(spool);
        }
        let spool = Arc::new(self.unpack(reference, open()?)?);
        *slot = Arc::downgrade(&spool);
        let mut kept = lock(&self.kept);
        kept.push_back(spool.clone());
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(spool)
    }

    /// A reference that is unpacked now.
    fn there(&self, reference: &Digest) -> Option<Arc<Spool>> {
        let slot = lock(&self.slots).get(reference)?.clone();
        let slot = lock(&slot);
        slot.upgrade()
    }

    fn unpack<'r>(&self, reference: &Reference, from: Box<dyn Read + 'r>) -> Result<Spool> {
        // So much is written, or it is refused.
        self.room_for(reference.tar.size)?;
        let (spool, tar) = self.content(&reference.digest, reference.size, reference.tar.size, from)?;
        if tar != reference.tar {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("{} does not hold what the carriage says", reference.digest),
            )
            .fact(format!("listed   {} bytes, {}", reference.tar.size, reference.tar.digest))
            .fact(format!("computed {} bytes, {}", tar.size, tar.digest)));
        }
        Ok(spool)
    }

    /// The content of a blob of this digest and size, which has at most `most` bytes, in a file.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] if these are other bytes or too many; [`Code::Io`] without room.
    pub fn content<'r>(&self, digest: &Digest, size: u64, most: u64, from: Box<dyn Read + 'r>) -> Result<(Spool, Tar)> {
        let wrong = |why: String| {
            Error::new(Code::BlobMismatch, format!("{digest} cannot be unpacked: {why}"))
                .hint("the base is damaged, not this bundle: give another copy of it with --base")
        };
        let mut file = self.file(most.min(size.saturating_mul(8)))?;
        let mut stored = Hashed { from, hasher: Hasher::new(), left: size + 1 };
        let mut hasher = Hasher::new();
        let (mut inflated_size, mut buffer) = (0u64, vec![0; STEP]);
        {
            let mut content = inflated(Box::new(&mut stored)).map_err(|e| unread(e, digest, wrong))?;
            loop {
                let n = match content.read(&mut buffer) {
                    Ok(n) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(unread(e, digest, wrong)),
                };
                if n == 0 {
                    break;
                }
                inflated_size += n as u64;
                if inflated_size > most {
                    return Err(wrong(format!("it holds more than {most} bytes")));
                }
                hasher.update(&buffer[..n]);
                file.write_all(&buffer[..n]).map_err(|e| self.unwritten(e))?;
            }
        }
        io::copy(&mut stored, &mut io::sink()).map_err(|e| unread(e, digest, wrong))?;
        let computed = stored.hasher.finish();
        if computed != *digest {
            return Err(wrong("these are other bytes".to_owned()).fact(format!("computed {computed}")));
        }
        let tar = Tar { digest: hasher.finish(), size: inflated_size };
        Ok((Spool { file: Arc::new(file), size: inflated_size }, tar))
    }

    /// Keeps a reference that was unpacked for another purpose.
    pub fn keep(&self, reference: &Digest, spool: &Arc<Spool>) {
        let slot = lock(&self.slots).entry(*reference).or_default().clone();
        *lock(&slot) = Arc::downgrade(spool);
    }

    /// Whether there is room for so many bytes.
    fn room_for(&self, size: u64) -> Result<()> {
        let free = space::of(&self.room)?.free;
        if free >= size {
            return Ok(());
        }
        let text = format!("`{}` has no room for {size} bytes, which restoring a blob needs", self.room.display());
        Err(Error::new(Code::Io, text).fact(format!("{free} bytes are free")).hint("set TMPDIR to a folder with more"))
    }

    /// A file with room for so many bytes.
    fn file(&self, size: u64) -> Result<File> {
        self.room_for(size)?;
        unnamed::unnamed(&self.room).map_err(|e| self.unwritten(e))
    }

    fn unwritten(&self, e: io::Error) -> Error {
        Error::io("cannot write in", &self.room, e).hint("set TMPDIR to a folder with room")
    }

    /// Whether a reference is unpacked now.
    pub(super) fn has(&self, reference: &Digest) -> bool {
        self.there(reference).is_some()
    }

    /// The folder of the files.
    pub fn room(&self) -> &Path {
        &self.room
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes as stored, hashed; more than there may be is an error.
struct Hashed<'r> {
    from: Box<dyn Read + 'r>,
    hasher: Hasher,
    left: u64,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.left = self.left.saturating_sub(n as u64);
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than it may be"));
        }
        Ok(n)
    }
}

/// Where the content comes from.
enum Source<'a> {
    Frame(Box<Frame<Box<dyn Read + 'a>>>),
    Difference(Box<Patched<'static>>),
}

/// A blob that is being restored.
pub struct Restoring<'a> {
    source: Source<'a>,
    /// `None` at the end.
    gzip: Option<Gzip<Vec<u8>>>,
    made: Vec<u8>,
    at: usize,
    buffer: Vec<u8>,
    hasher: Hasher,
    size: u64,
    tar: &'a Tar,
    blob: Digest,
    _permit: Permit,
}

impl fmt::Debug for Restoring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoring").field("blob", &self.blob).finish_non_exhaustive()
    }
}

impl<'a> Restoring<'a> {
    /// From a member, of which `member` gives the bytes and checks the digest; `unread`: these were not compared with it
    /// before, and go to a file first. The reference has to be unpacked.
    ///
    /// # Errors
    /// Those of reading the member; [`Code::BlobMismatch`] for one that is not what its entry says.
    pub fn new(
        blob: Digest,
        entry: &'a Entry,
        reference: Option<&Spool>,
        (member, unread): (Box<dyn Read + 'a>, bool),
        kitchen: &Kitchen,
    ) -> Result<Restoring<'a>> {
        let (Some(tar), Some(gzip), Some(content), Some(size)) = (&entry.tar, &entry.gzip, &entry.content, entry.size)
        else {
            return Err(Error::new(Code::Internal, format!("{blob} is not carried as a member to restore it from")));
        };
        let permit = kitchen.gate.enter();
        let recipe = recipe(gzip).ok_or_else(|| unrestorable(&blob, "no encoder is described so"))?;
        let source = match (content.method, reference) {
            (ContentForm::Zstd, _) => {
                let member: Box<dyn Read + 'a> = match unread {
                    true => Box::new(Reading { file: Arc::new(kitchen.spooled(member, size)?), at: 0 }),
                    false => member,
                };
                Source::Frame(Box::new(Frame::new(member, tar.size, CONTENT_WINDOW).map_err(|e| unrestored(e, &blob))?))
            }
            (ContentForm::Delta1, Some(reference)) => {
                let file = kitchen.spooled(member, size)?;
                let member = Part::whole(file, size);
                let patched = Patched::new(member, reference.part(), tar.size).map_err(|e| unrestored(e, &blob))?;
                Source::Difference(Box::new(patched))
            }
            (ContentForm::Delta1, None) => {
                return Err(Error::new(Code::Internal, "a difference without its reference"));
            }
        };
        let gzip = Some(Gzip::with_help(&recipe, Vec::new(), Arc::new(Spare(kitchen.gate.clone()))));
        let (made, buffer) = (Vec::new(), vec![0; STEP]);
        Ok(Restoring { source, gzip, made, at: 0, buffer, hasher: Hasher::new(), size: 0, tar, blob, _permit: permit })
    }

    /// The next bytes of the blob; 0 at its end.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] if the content is another one.
    pub fn next(&mut self, out: &mut [u8]) -> Result<usize> {
        while self.at == self.made.len() {
            let Some(gzip) = &mut self.gzip else { return Ok(0) };
            self.made.clear();
            self.at = 0;
            std::mem::swap(gzip.get_mut(), &mut self.made);
            if !self.made.is_empty() {
                break;
            }
            let read = match &mut self.source {
                Source::Frame(frame) => frame.read(&mut self.buffer),
                Source::Difference(patched) => patched.read(&mut self.buffer),
            };
            let n = match read {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(unrestored(e, &self.blob)),
            };
            let now = &self.buffer[..n];
            self.hasher.update(now);
            self.size += n as u64;
            if n > 0 {
                gzip.write_all(now).map_err(|e| unrestored(e, &self.blob))?;
                continue;
            }
            let computed = self.hasher.clone().finish();
            if (computed, self.size) != (self.tar.digest, self.tar.size) {
                return Err(unrestorable(&self.blob, "its content is not the one that is listed")
                    .fact(format!("listed   {} bytes, {}", self.tar.size, self.tar.digest))
                    .fact(format!("computed {} bytes, {computed}", self.size)));
            }
            if let Some(gzip) = self.gzip.take() {
                self.made = gzip.finish().map_err(|e| unrestored(e, &self.blob))?;
            }
        }
        let n = out.len().min(self.made.len() - self.at);
        out[..n].copy_from_slice(&self.made[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Kitchen {
    /// The bytes of a member in a file.
    fn spooled<'r>(&self, mut member: Box<dyn Read + 'r>, size: u64) -> Result<File> {
        let mut file = self.file(size)?;
        let mut buffer = vec![0; STEP];
        loop {
            match member.read(&mut buffer) {
                Ok(0) => return Ok(file),
                Ok(n) => file.write_all(&buffer[..n]).map_err(|e| self.unwritten(e))?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::try_from(e).unwrap_or_else(|e| Error::io("cannot read", "a member", e))),
            }
        }
    }
}

/// Why the bytes of a blob could not be read to their end: the system failed, or they are wrong.
fn unread(e: io::Error, blob: &Digest, wrong: impl FnOnce(String) -> Error) -> Error {
    match Error::try_from(e) {
        Ok(e) => e,
        Err(e) if e.raw_os_error().is_some() => Error::io("cannot read the content of", blob.to_string(), e),
        Err(e) => wrong(e.to_string()),
    }
}

fn unrestored(e: io::Error, blob: &Digest) -> Error {
    unread(e, blob, |why| unrestorable(blob, &why))
}

fn unrestorable(blob: &Digest, why: &str) -> Error {
    Error::new(Code::BlobMismatch, format!("{blob} cannot be restored: {why}"))
        .hint("ask for the bundle in full, or for another copy of this file")
}

/// How a blob is compressed, from its entry; `None` if nothing is described by it.
pub(crate) fn recipe(gzip: &GzipEntry) -> Option<Recipe> {
    let family = match gzip.encoder {
        Encoder::KlauspostA => Family::A,
        Encoder::KlauspostB => Family::B,
        Encoder::Go126 => Family::Go126,
    };
    let method = match (gzip.method, gzip.block_size) {
        (GzipForm::Gzip, None) => Method::Gzip,
        (GzipForm::Pgzip, Some(size)) => Method::Pgzip(BlockSize::of(size.into())?),
        _ => return None,
    };
    Recipe::new(family, Level::of(gzip.level.into())?, method, &gzip.header_bytes()?).ok()
}
