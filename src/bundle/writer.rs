//! Writes a bundle: every byte at its final offset in `NAME.partial`, renamed when all of it is right.
//!
//! Beside the partial file stands a small journal, `NAME.partial.journal`: which plan it belongs to, which
//! blobs are written, how far the others are. It saves transfers and is never believed: what it claims is
//! hashed again before it counts. Spec: MB-WRI.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::index::Index;
use super::layout::{self, Layout, Member};
use super::tar;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// Size of the buffers that content is copied with.
pub const BUFFER: usize = 1 << 20;
/// After how many bytes of one blob its progress is noted in the journal.
const NOTE_EVERY: u64 = 8 << 20;

/// Everything about a bundle except the blobs that are still to come.
#[derive(Debug)]
pub struct Plan {
    /// The index.
    pub index: Index,
    /// Its bytes, which are what is signed.
    pub index_bytes: Vec<u8>,
    /// The builder's armored signature.
    pub signature: Option<Vec<u8>>,
    /// Content of `index.files`, in their order.
    pub files: Vec<Vec<u8>>,
    /// Where everything goes.
    pub layout: Layout,
}

impl Plan {
    /// Fixes the layout of an index.
    pub fn new(index: Index, files: Vec<Vec<u8>>, signature: Option<Vec<u8>>) -> Result<Plan> {
        let index_bytes = index.to_bytes()?;
        let layout = Layout::new(&index, &index_bytes, signature.as_deref())?;
        index.check().map_err(|why| Error::new(Code::Malformed, format!("this bundle cannot be made: {why}")))?;
        Ok(Plan { index, index_bytes, signature, files, layout })
    }

    /// Digest of the index: the bundle's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index_bytes)
    }

    /// The bytes of the archive in front of the blobs.
    pub fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut files = self.files.iter();
        for member in &self.layout.members()[..self.layout.blob_range().start] {
            let content: &[u8] = match member.path.as_str() {
                layout::INDEX => &self.index_bytes,
                layout::SIGNATURE => self.signature.as_deref().unwrap_or_default(),
                layout::SUMS => self.layout.sums(),
                _ => files.next().map(Vec::as_slice).unwrap_or_default(),
            };
            out.extend_from_slice(&self.layout.header_of(member));
            out.extend_from_slice(content);
            out.resize(usize::try_from(member.end()).unwrap_or(usize::MAX), 0);
        }
        out
    }
}

/// What an earlier, interrupted run left: enough to make the same plan again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// `created` of the interrupted plan.
    pub created: String,
    index: String,
    total: u64,
    done: Vec<Digest>,
    at: HashMap<Digest, u64>,
}

impl Journal {
    /// Reads the journal of `bundle`, if there is one. Damage ends it early and is no error.
    pub fn read(bundle: &Path) -> Result<Option<Journal>> {
        let path = journal_path(bundle);
        let mut bytes = Vec::new();
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path) {
            Ok(file) => file.take(64 << 20).read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", &path, e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("cannot open", &path, e)),
        };
        Ok(Journal::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Whether this is the journal of exactly this plan.
    pub fn is_of(&self, plan: &Plan) -> bool {
        self.index == plan.digest().to_string() && self.total == plan.layout.total()
    }

    fn parse(text: &str) -> Option<Journal> {
        let end = text.rfind('\n')?;
        let mut lines = text[..end].lines();
        if lines.next()? != "mirror-bundle partial 1" {
            return None;
        }
        let created = lines.next()?.strip_prefix("created ")?.to_owned();
        let index = lines.next()?.strip_prefix("index ")?.to_owned();
        let total = lines.next()?.strip_prefix("bytes ")?.parse().ok()?;
        created.parse::<jiff::Timestamp>().ok()?;
        let mut journal = Journal { created, index, total, done: Vec::new(), at: HashMap::new() };
        for line in lines {
            let mut words = line.split(' ');
            match (words.next(), words.next().and_then(|d| d.parse().ok()), words.next()) {
                (Some("done"), Some(digest), None) => journal.done.push(digest),
                (Some("at"), Some(digest), Some(n)) => _ = n.parse().map(|n| journal.at.insert(digest, n)),
                _ => break,
            }
        }
        Some(journal)
    }
}

/// What an interrupted run claims about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Nothing,
    /// This many bytes are written.
    Partial(u64),
    /// All of it is written.
    Done,
}

/// A bundle that is being written.
#[derive(Debug)]
pub struct Partial {
    bundle: PathBuf,
    file: File,
    journal: Mutex<File>,
    claims: HashMap<Digest, Claim>,
    layout: Layout,
}

/// What stands where a bundle is to be written.
#[derive(Debug)]
pub enum Start {
    /// A partial file, new or continued.
    Write(Partial),
    /// The finished bundle of exactly this plan, from a run that was stopped after its last rename.
    Complete,
}

impl Partial {
    /// Opens `bundle` for writing `plan`: continues the partial file of the same plan, else starts a new one.
    ///
    /// # Errors
    /// [`Code::Conflict`] when the bundle exists and `force` is not given, or another process writes it;
    /// [`Code::Io`] when the file cannot be made or the disk is too small.
    pub fn start(bundle: &Path, plan: &Plan, journal: Option<&Journal>, force: bool) -> Result<Start> {
        let same = journal.filter(|j| j.is_of(plan));
        if fs::symlink_metadata(bundle).is_ok() {
            if same.is_some() && is_complete(bundle, plan)? {
                remove_if_there(&journal_path(bundle))?;
                sync_parent(bundle)?;
                return Ok(Start::Complete);
            }
            if !force {
                return Err(exists(bundle));
            }
        }
        let path = partial_path(bundle);
        let file = open_own(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        lock(&file, &path)?;
        let length = file.metadata().map_err(|e| Error::io("cannot read", &path, e))?.len();
        let resumed = same.filter(|j| length == j.total);
        let claims = resumed.map(claims).unwrap_or_default();
        if resumed.is_none() {
            file.set_len(0).map_err(|e| Error::io("cannot write", &path, e))?;
            remove_if_there(&journal_path(bundle))?;
            allocate(&file, plan.layout.total(), &path)?;
        }
        file.write_all_at(&plan.head(), 0).map_err(|e| Error::io("cannot write", &path, e))?;
        let journal = open_journal(bundle, plan, resumed.is_some())?;
        let layout = plan.layout.clone();
        Ok(Start::Write(Partial { bundle: bundle.to_owned(), file, journal: Mutex::new(journal), claims, layout }))
    }

    /// What the interrupted run claims about the blob of a member.
    pub fn claim(&self, member: &Member) -> Claim {
        member.digest.and_then(|d| self.claims.get(&d).copied()).unwrap_or(Claim::Nothing)
    }

    /// Begins or continues a blob. What is claimed to be there is hashed again first; the second value says
    /// from which offset content is wanted. A claim that all is there, and is not true, begins at 0.
    pub fn blob<'a>(&'a self, member: &'a Member, buffer: &mut [u8]) -> Result<BlobWriter<'a>> {
        let upto = match self.claim(member) {
            Claim::Nothing => 0,
            Claim::Partial(n) => n.min(member.size),
            Claim::Done => member.size,
        };
        let mut blob = BlobWriter { partial: self, member, hasher: Hasher::new(), written: 0, noted: 0 };
        while blob.written < upto {
            let want = usize::try_from(upto - blob.written).unwrap_or(usize::MAX).min(buffer.len());
            let path = partial_path(&self.bundle);
            self.file
                .read_exact_at(&mut buffer[..want], member.data() + blob.written)
                .map_err(|e| Error::io("cannot read", &path, e))?;
            blob.hasher.update(&buffer[..want]);
            blob.written += want as u64;
        }
        blob.noted = blob.written;
        if upto == member.size && upto > 0 && !blob.matches() {
            blob.restart();
        }
        self.write(&self.layout.header_of(member), member.header)?;
        Ok(blob)
    }

    /// Makes everything durable and gives the bundle its name. Call only when every blob is finished.
    pub fn finish(self, force: bool) -> Result<()> {
        let path = partial_path(&self.bundle);
        self.write(&[0; layout::END as usize], self.layout.end())?;
        self.file.set_len(self.layout.total()).map_err(|e| Error::io("cannot write", &path, e))?;
        self.file.sync_all().map_err(|e| Error::io("cannot write", &path, e))?;
        rename(&path, &self.bundle, force)?;
        sync_parent(&self.bundle)?;
        remove_if_there(&journal_path(&self.bundle))?;
        sync_parent(&self.bundle)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io("cannot write", partial_path(&self.bundle), e))
    }

    fn note(&self, line: &str) -> Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        journal.write_all(line.as_bytes()).map_err(|e| Error::io("cannot write", journal_path(&self.bundle), e))
    }
}

/// Writes one blob, hashing it on the way.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    partial: &'a Partial,
    member: &'a Member,
    hasher: Hasher,
    written: u64,
    noted: u64,
}

impl BlobWriter<'_> {
    /// Bytes that are there: the offset from which content is wanted.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Whether nothing is left to write.
    pub fn is_full(&self) -> bool {
        self.written == self.member.size
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] when the content is longer than its descriptor says.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.member.size - self.written {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the source sends more than the {} bytes of {}", self.member.size, self.name()),
            ));
        }
        self.partial.write(bytes, self.member.data() + self.written)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        if self.written - self.noted >= NOTE_EVERY && !self.is_full() {
            self.noted = self.written;
            self.partial.note(&format!("at {} {}\n", self.name(), self.written))?;
        }
        Ok(())
    }

    /// Forgets what is there and begins anew.
    pub fn restart(&mut self) {
        self.hasher = Hasher::new();
        self.written = 0;
        self.noted = 0;
    }

    /// Ends the blob: the right size, the right digest, or it does not count.
    ///
    /// # Errors
    /// [`Code::BlobMismatch`] with both digests; the journal then says that nothing is there.
    pub fn finish(self) -> Result<()> {
        if !self.is_full() {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the source sent {} of the {} bytes of {}", self.written, self.member.size, self.name()),
            ));
        }
        if !self.matches() {
            self.partial.note(&format!("at {} 0\n", self.name()))?;
            return Err(Error::new(
                Code::BlobMismatch,
                format!("the content of {} does not match its digest", self.name()),
            )
            .fact(format!("computed {}", self.hasher.clone().finish())));
        }
        let padding = [0u8; tar::BLOCK as usize];
        let rest = (tar::padded(self.member.size) - self.member.size) as usize;
        self.partial.write(&padding[..rest], self.member.data() + self.member.size)?;
        self.partial.note(&format!("done {}\n", self.name()))
    }

    fn matches(&self) -> bool {
        self.member.digest == Some(self.hasher.clone().finish())
    }

    fn name(&self) -> String {
        self.member.digest.map(|d| d.to_string()).unwrap_or_default()
    }
}

/// `NAME.partial`.
pub fn partial_path(bundle: &Path) -> PathBuf {
    with_suffix(bundle, ".partial")
}

/// `NAME.partial.journal`.
pub fn journal_path(bundle: &Path) -> PathBuf {
    with_suffix(bundle, ".partial.journal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The error for a bundle that is already there.
pub fn exists(bundle: &Path) -> Error {
    Error::new(Code::Conflict, format!("`{}` exists", bundle.display()))
        .state("it was left as it is")
        .hint("choose another name, or replace it with --force")
}

fn is_complete(bundle: &Path, plan: &Plan) -> Result<bool> {
    let file = File::open(bundle).map_err(|e| Error::io("cannot open", bundle, e))?;
    let length = file.metadata().map_err(|e| Error::io("cannot read", bundle, e))?.len();
    let head = plan.head();
    let mut there = vec![0; head.len()];
    Ok(length == plan.layout.total() && file.read_exact_at(&mut there, 0).is_ok() && there == head)
}

fn claims(journal: &Journal) -> HashMap<Digest, Claim> {
    let mut claims: HashMap<Digest, Claim> = journal.at.iter().map(|(d, n)| (*d, Claim::Partial(*n))).collect();
    claims.extend(journal.done.iter().map(|d| (*d, Claim::Done)));
    claims
}

pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display()))
                .hint("wait for it, or write under another name"))
        }
        // A file system without locks: carry on, as there is nothing to ask.
        Err(fs::TryLockError::Error(_)) => Ok(()),
    }
}

/// Reserves the whole size, so that a disk that is too small is found before the first transfer.
pub(crate) fn allocate(file: &File, total: u64, path: &Path) -> Result<()> {
    use rustix::io::Errno;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, total) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            file.set_len(total).map_err(|e| Error::io("cannot reserve room for", path, e))
        }
        Err(e) => Err(Error::io("cannot reserve room for", path, e.into())),
    }
}

fn open_journal(bundle: &Path, plan: &Plan, resumed: bool) -> Result<File> {
    let path = journal_path(bundle);
    let err = |e| Error::io("cannot write", &path, e);
    if resumed {
        let file = open_own(&path, OpenOptions::new().read(true).append(true))?;
        // A line torn by the interruption must not run into the next one.
        let length = file.metadata().map_err(err)?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1).map_err(err)?;
        }
        if last != *b"\n" {
            // Bytes: what a crash leaves need not be text.
            let mut there = Vec::new();
            (&file).read_to_end(&mut there).map_err(err)?;
            let whole = there.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
            file.set_len(whole).map_err(err)?;
        }
        return Ok(file);
    }
    let temporary = with_suffix(&path, ".new");
    let head = format!(
        "mirror-bundle partial 1\ncreated {}\nindex {}\nbytes {}\n",
        plan.index.created,
        plan.digest(),
        plan.layout.total()
    );
    remove_if_there(&temporary)?;
    let mut file = open_own(&temporary, OpenOptions::new().append(true).create_new(true))?;
    file.write_all(head.as_bytes()).map_err(err)?;
    fs::rename(&temporary, &path).map_err(err)?;
    Ok(file)
}

/// Opens a file of ours, for nobody else to write (security C11). A link, FIFO or device that somebody put under its
/// name is not followed or waited for, and a file that has another name too is not written through (security I2).
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    use std::os::unix::fs::MetadataExt;
    let foreign = || {
        Error::new(Code::Conflict, format!("`{}` is not a file of this program", path.display()))
            .state("it was left as it is")
            .hint("remove it, or write under another name")
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = options.mode(0o644).custom_flags(flags.bits().cast_signed()).open(path).map_err(|e| {
        use rustix::io::Errno;
        match Errno::from_io_error(&e) {
            Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => foreign(),
            _ => Error::io("cannot write", path, e),
        }
    })?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(foreign()) }
}

pub(crate) fn rename(from: &Path, to: &Path, force: bool) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    if force {
        return fs::rename(from, to).map_err(|e| Error::io("cannot name", to, e));
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists(to)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(exists(to));
            }
            fs::rename(from, to).map_err(|e| Error::io("cannot name", to, e))
        }
        Err(e) => Err(Error::io("cannot name", to, e.into())),
    }
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let dir = File::open(parent).map_err(|e| Error::io("cannot open", parent, e))?;
    match dir.sync_all() {
        // Some file systems cannot sync a directory; they order renames by themselves.
        Err(e) if matches!(e.raw_os_error(), Some(22 | 95)) => Ok(()),
        other => other.map_err(|e| Error::io("cannot write", parent, e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::{Blob, tests::sample};
    use crate::oci::Role;

    fn plan(blobs: &[&[u8]]) -> Plan {
        let mut index = sample();
        index.blobs =
            blobs.iter().map(|b| Blob { digest: Digest::of(b), size: b.len() as u64, role: Role::Layer }).collect();
        index.sort();
        Plan::new(index, vec![b"abc".to_vec(); 3], None).unwrap()
    }

    fn write_one(partial: &Partial, member: &Member, content: &[u8]) -> Result<()> {
        let mut blob = partial.blob(member, &mut vec![0; 4096])?;
        let from = blob.offset() as usize;
        blob.write(&content[from..])?;
        blob.finish()
    }

    fn start(path: &Path, plan: &Plan) -> Partial {
        let journal = Journal::read(path).unwrap();
        match Partial::start(path, plan, journal.as_ref(), false).unwrap() {
            Start::Write(partial) => partial,
            Start::Complete => panic!("complete"),
        }
    }

    #[test]
    fn a_journal_that_ends_in_bytes_that_are_no_text_is_continued() {
        let plan = plan(&[b"one"]);
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("b.tar");
        drop(start(&bundle, &plan));
        let torn = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz-regressions/journal-torn-bytes");
        let journal = [fs::read(journal_path(&bundle)).unwrap(), fs::read(torn).unwrap()].concat();
        fs::write(journal_path(&bundle), journal).unwrap();
        let partial = start(&bundle, &plan);
        write_one(&partial, &plan.layout.blobs()[0], b"one").unwrap();
        partial.finish(false).unwrap();
    }

    #[test]
    fn a_stopped_run_is_continued_and_ends_with_the_same_bytes() {
        let big = vec![7u8; 3 * NOTE_EVERY as usize];
        let plan = plan(&[b"one", &big]);
        let dir = tempfile::tempdir().unwrap();
        let content = |m: &Member| if m.size == 3 { b"one".to_vec() } else { big.clone() };

        let whole = dir.path().join("whole.tar");
        let partial = start(&whole, &plan);
        for member in plan.layout.blobs() {
            write_one(&partial, member, &content(member)).unwrap();
        }
        partial.finish(false).unwrap();

        let cut = dir.path().join("cut.tar");
        let partial = start(&cut, &plan);
        let large = plan.layout.blobs().iter().find(|m| m.size > 3).unwrap();
        let mut blob = partial.blob(large, &mut vec![0; 4096]).unwrap();
        for chunk in big[..20 << 20].chunks(1 << 20) {
            blob.write(chunk).unwrap();
        }
        drop(blob);
        drop(partial);
        let partial = start(&cut, &plan);
        assert_eq!(partial.claim(large), Claim::Partial(16 << 20));
        for member in plan.layout.blobs() {
            write_one(&partial, member, &content(member)).unwrap();
        }
        partial.finish(false).unwrap();
        assert!(fs::read(&whole).unwrap() == fs::read(&cut).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn claims_that_are_not_true_are_found_and_content_that_does_not_match_is_refused() {
        let plan = plan(&[b"first blob"]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar");
        let partial = start(&path, &plan);
        let member = &plan.layout.blobs()[0];
        assert_eq!(write_one(&partial, member, b"other blob").unwrap_err().code(), Code::BlobMismatch);
        write_one(&partial, member, b"first blob").unwrap();
        partial.write(b"X", member.data() + 2).unwrap();
        drop(partial);
        let partial = start(&path, &plan);
        assert_eq!(partial.claim(member), Claim::Done);
        assert_eq!(partial.blob(member, &mut [0; 64]).unwrap().offset(), 0);
        let mut blob = partial.blob(member, &mut [0; 64]).unwrap();
        assert_eq!(blob.write(b"far too many bytes").unwrap_err().code(), Code::BlobMismatch);
        assert!(!path.exists());
    }

    #[test]
    fn links_under_the_names_of_temporary_files_are_not_followed() {
        let plan = plan(&[]);
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for suffix in [".partial", ".partial.journal.new"] {
            let path = dir.path().join(format!("b{suffix}.tar"));
            std::os::unix::fs::symlink(&victim, with_suffix(&path, suffix)).unwrap();
            let _ = Partial::start(&path, &plan, None, false);
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
        }
    }

    #[test]
    fn two_writers_and_an_existing_bundle_are_conflicts() {
        let plan = plan(&[]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.tar");
        let first = start(&path, &plan);
        assert_eq!(Partial::start(&path, &plan, None, false).unwrap_err().code(), Code::Conflict);
        first.finish(false).unwrap();
        assert_eq!(Partial::start(&path, &plan, None, false).unwrap_err().code(), Code::Conflict);
        assert!(matches!(Partial::start(&path, &plan, None, true), Ok(Start::Write(_))));
    }
}
