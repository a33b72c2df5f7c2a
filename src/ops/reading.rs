//! One reading of a bundle for those who look into it: every layer, other blob, document and file is handed to a visitor
//! once, checked against its digest, by several threads. With trust, the bundle is verified in the same reading.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::shelf::{Carried, Shelf};
use crate::bundle::index::{Blob, Index};
use crate::bundle::reader::{Addendum, Contents};
use crate::bundle::volume::VOLUME;
use crate::bundle::{Inputs, carriage, layout, removal};
use crate::content::layer::{self, Bounds, Ending, FileEntry, Remarks};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::evidence::Files;
use crate::ops::{Observer, Task};
use crate::parallel::Pace;
use crate::report::{Evidence, Finding};
use crate::verify::{
    Admission, Admitted, BlobReader, Conclusion, Conditions, Extent, Receiver, Report, Trust, Verified, Visit, admit,
    look,
};

pub use crate::content::layer::Reading as Way;

/// What a reading is based on.
#[derive(Debug)]
pub struct Basis {
    /// Whom to trust; `None`: the contents are not verified, only compared with their digests.
    pub trust: Option<Trust>,
    /// The conditions of the verification.
    pub conditions: Conditions,
}

/// An opened bundle.
#[derive(Debug)]
pub enum Opened<'a> {
    /// Its head is bad: nothing in it is shown.
    Refused(Box<Report>),
    /// It can be read.
    Reading(Box<Reading<'a>>),
}

/// Opens a bundle: a file, volumes and copies, folders of them, or a stream.
///
/// # Errors
/// Only failures that prevent the checks.
pub fn open(inputs: Inputs, basis: &Basis) -> Result<Opened<'_>> {
    let admission = match &basis.trust {
        Some(trust) => admit(inputs, trust, &basis.conditions)?,
        None => look(inputs, &basis.conditions)?,
    };
    Ok(match admission {
        Admission::Refused(report) => Opened::Refused(Box::new(report)),
        Admission::Admitted(admitted) => {
            let shelf = Shelf::new(admitted.index(), &|digest| admitted.document(digest));
            Opened::Reading(Box::new(Reading { admitted: *admitted, shelf, trusted: basis.trust.is_some() }))
        }
    })
}

/// A bundle that was opened and not read yet.
#[derive(Debug)]
pub struct Reading<'a> {
    admitted: Admitted<'a>,
    shelf: Shelf,
    trusted: bool,
}

/// Which configurations and layers a visitor wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    #[default]
    All,
    /// These.
    Some(BTreeSet<Digest>),
    /// These, begun in this order (a stream: in its own).
    InOrder(Vec<Digest>),
}

impl Wanted {
    fn includes(&self, digest: &Digest) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Some(these) => these.contains(digest),
            Wanted::InOrder(these) => these.contains(digest),
        }
    }
}

/// Gets what is in a bundle. Called from several threads for different blobs.
///
/// What it got counts only when its call has returned `Ok` and `Content` was read to its end without an error: the
/// last read fails for content that does not match.
pub trait Visitor: Sync {
    /// A layer or other blob that a manifest names.
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()>;

    /// A manifest or index.
    fn document(&self, _digest: &Digest, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// A file other than a blob: a Kubernetes manifest, a release signature.
    fn file(&self, _path: &str, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// A configuration or layer that no file at hand has.
    fn absent(&self, _blob: &Carried) -> Result<()> {
        Ok(())
    }

    /// What describes and signs the bundle itself, with its path in the archive: the index, volume descriptions,
    /// statements about removals, signatures, addenda.
    fn own(&self, _path: &str, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl<'a> Reading<'a> {
    /// Says which of these blobs nobody here has, because the bundle leaves them out for a receiver that has them.
    pub(super) fn say_left_out(&self, of: &dyn Fn(&Digest) -> bool, observer: &dyn Observer) {
        say_left_out(&self.admitted, of, observer);
    }

    /// The index.
    pub fn index(&self) -> &Index {
        self.admitted.index()
    }

    /// Its contents by name.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Whether it is verified in this reading.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether it can be read only once, in order.
    pub fn is_stream(&self) -> bool {
        self.admitted.is_stream()
    }

    /// Whether a file at hand has this configuration or layer.
    pub fn has(&self, digest: &Digest) -> bool {
        let at = self.index().blobs.iter().position(|blob| blob.digest == *digest);
        at.is_some_and(|at| self.admitted.set().has(at))
    }

    /// A manifest or index.
    pub fn document(&self, digest: &Digest) -> Option<&[u8]> {
        self.admitted.document(digest)
    }

    /// The files below a folder: path and content.
    pub fn files(&self, folder: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.admitted.files(folder)
    }

    /// What is known before the content is read.
    pub fn report(&self) -> &Report {
        self.admitted.report()
    }

    /// The evidence of other programs, bound to the images.
    pub(super) fn evidence(&self, files: &Files, now: jiff::Timestamp) -> Result<Vec<Evidence>> {
        files.bind(&self.admitted, now)
    }

    /// Reads what is wanted, and with trust everything else too, and draws the verdict.
    ///
    /// # Errors
    /// Those of `visitor`, and failures that prevent the checks.
    pub fn read(
        self,
        wanted: &Wanted,
        visitor: &dyn Visitor,
        jobs: usize,
        observer: &dyn Observer,
    ) -> Result<Finished<'a>> {
        let Reading { admitted, shelf, trusted } = self;
        for blob in admitted.index().blobs.iter().filter(|blob| blob.role.is_document()) {
            if let Some(bytes) = admitted.document(&blob.digest) {
                visitor.document(&blob.digest, bytes)?;
            }
        }
        admitted.files("").try_for_each(|(path, bytes)| visitor.file(path, bytes))?;
        own(&admitted, visitor)?;
        say_left_out(&admitted, &|digest| wanted.includes(digest), observer);
        let absent = admitted.absent().into_iter().filter(|blob| wanted.includes(&blob.digest));
        absent.filter_map(|blob| shelf.get(&blob.digest)).try_for_each(|blob| visitor.absent(blob))?;
        let blobs = admitted.index().blobs.iter().enumerate().filter(|(_, blob)| !blob.role.is_document());
        let mut content: Vec<(usize, &Blob)> = blobs.filter(|(_, b)| trusted || wanted.includes(&b.digest)).collect();
        let in_order = match wanted {
            Wanted::InOrder(order) => {
                let place: std::collections::HashMap<&Digest, usize> = order.iter().zip(0..).collect();
                content.sort_by_key(|(_, blob)| place.get(&blob.digest).copied().unwrap_or(usize::MAX));
                true
            }
            _ => false,
        };
        observer.begin(Task::Verify, content.len() as u64, content.iter().map(|(_, blob)| blob.size).sum());
        let receiver =
            Handing { admitted: &admitted, shelf: &shelf, wanted, visitor, observer, done: Mutex::default() };
        let pace = Pace::fixed(jobs);
        let excluded = if trusted { admitted.excluded(&pace, Extent::All) } else { Ok(()) };
        let read = excluded.and_then(|()| admitted.some_blobs(&pace, Extent::All, content, in_order, &receiver));
        observer.end();
        let mut ended = None;
        let mut tolerate = |read: Result<()>| match read {
            Err(e) if e.code().is_verdict() => {
                ended.get_or_insert(e.code());
                Ok(())
            }
            other => other.map_err(|e| e.interrupted("not everything was read")),
        };
        tolerate(read)?;
        let conclusion = admitted.conclude_with(false, &mut |late| tolerate(addendum(late, visitor)))?;
        Ok(Finished { conclusion, shelf, trusted, ended })
    }

    /// For reading single blobs in any order: with trust, everything is verified first.
    ///
    /// # Errors
    /// [`Code::Usage`] for a stream; those of [`Reading::read`].
    pub fn library(
        self,
        jobs: usize,
        observer: &dyn Observer,
    ) -> Result<std::result::Result<Library<'a>, Box<Report>>> {
        if self.is_stream() {
            let text = "standard input cannot be read twice, which this needs";
            return Err(Error::new(Code::Usage, text).hint("write the bundle to a file, and name that"));
        }
        let Reading { admitted, shelf, trusted } = self;
        if !trusted {
            return Ok(Ok(Library { inner: Inner::Looked(Box::new(admitted)), shelf, found: Mutex::default() }));
        }
        Ok(match super::verify::rest(admitted, jobs, observer)? {
            Conclusion::Verified(verified) => {
                Ok(Library { inner: Inner::Verified(verified), shelf, found: Mutex::default() })
            }
            Conclusion::Unverified(report) => Err(report),
        })
    }
}

/// Says what of this is not read, because the bundle is in a form for somebody who has it.
fn say_left_out(admitted: &Admitted<'_>, of: &dyn Fn(&Digest) -> bool, observer: &dyn Observer) {
    let left_out = admitted.not_carried().into_iter().filter(|blob| of(&blob.digest)).count();
    if left_out > 0 {
        let (blobs, bases) = (crate::observer::count(left_out, "blob"), admitted.set().bases());
        observer.warn(&format!(
            "not read here: {blobs} that the bundle does not carry, since its receiver has {bases}; give what has them with --base"
        ));
    }
}

/// Hands over what describes and signs the bundle. The addenda of a stream are behind its content.
fn own(admitted: &Admitted<'_>, visitor: &dyn Visitor) -> Result<()> {
    // Of a file it is no longer in memory.
    match admitted.is_stream() {
        true => visitor.own(layout::INDEX, &admitted.set().head().index)?,
        false => admitted.member(layout::INDEX)?.iter().try_for_each(|index| visitor.own(layout::INDEX, index))?,
    }
    for head in admitted.set().parts().iter().map(Contents::head) {
        head.signature.iter().try_for_each(|signature| visitor.own(layout::SIGNATURE, signature))?;
        head.volume.iter().try_for_each(|volume| visitor.own(VOLUME, volume))?;
        if let Some(signed) = &head.carriage {
            let paths = [carriage::CARRIAGE, carriage::SIGNATURE];
            paths.into_iter().zip(signed.documents()).try_for_each(|(path, bytes)| visitor.own(path, bytes))?;
        }
        for (n, removal) in head.removals.iter().enumerate() {
            let path = removal::path(n + 1);
            visitor.own(&path, &removal.statement)?;
            visitor.own(&format!("{path}.sig"), &removal.signature)?;
        }
    }
    admitted.set().addenda().iter().try_for_each(|one| addendum(one, visitor))
}

fn addendum(addendum: &Addendum, visitor: &dyn Visitor) -> Result<()> {
    visitor.own(&format!("{}{}", layout::ADDENDA, addendum.name), &addendum.bytes)
}

/// A reading that has ended.
#[derive(Debug)]
pub struct Finished<'a> {
    conclusion: Conclusion<'a>,
    shelf: Shelf,
    trusted: bool,
    /// Why not everything was read.
    ended: Option<Code>,
}

impl Finished<'_> {
    /// The report. Without trust, its verdict is never good.
    pub fn report(&self) -> &Report {
        self.conclusion.report()
    }

    /// Its contents by name.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The exit code of the verdict; without trust, only that of what was found to be wrong. Never 0 if the reading
    /// ended early.
    pub fn exit_code(&self) -> u8 {
        let report = self.report();
        let code = match self.trusted {
            true => report.exit_code,
            false => report.worst().map_or(0, |finding| finding.code.exit()),
        };
        if code == 0 { self.ended.map_or(0, Code::exit) } else { code }
    }
}

/// A bundle whose blobs can be read one by one, each checked as it is read.
#[derive(Debug)]
pub struct Library<'a> {
    inner: Inner<'a>,
    shelf: Shelf,
    /// What was found in layers that were read.
    pub(super) found: Mutex<BTreeMap<Digest, Vec<Finding>>>,
}

#[derive(Debug)]
enum Inner<'a> {
    Verified(Box<Verified<'a>>),
    Looked(Box<Admitted<'a>>),
}

impl Library<'_> {
    /// The index.
    pub fn index(&self) -> &Index {
        match &self.inner {
            Inner::Verified(verified) => verified.index(),
            Inner::Looked(admitted) => admitted.index(),
        }
    }

    /// Its contents by name.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The report so far.
    pub fn report(&self) -> &Report {
        match &self.inner {
            Inner::Verified(verified) => verified.report(),
            Inner::Looked(admitted) => admitted.report(),
        }
    }

    /// Whether it is verified.
    pub fn is_verified(&self) -> bool {
        matches!(self.inner, Inner::Verified(_))
    }

    /// What was found in the layers that were read: places that tar readers read differently.
    pub fn findings(&self) -> Vec<Finding> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }

    /// A manifest or index.
    pub fn document(&self, digest: &Digest) -> Option<&[u8]> {
        match &self.inner {
            Inner::Verified(verified) => verified.document(digest),
            Inner::Looked(admitted) => admitted.document(digest),
        }
    }

    /// The files below a folder: path and content.
    pub fn files(&self, folder: &str) -> Vec<(&str, &[u8])> {
        match &self.inner {
            Inner::Verified(verified) => verified.files(folder).collect(),
            Inner::Looked(admitted) => admitted.files(folder).collect(),
        }
    }

    /// A member of the bundle other than a blob, by its path; `None` if there is none.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn member(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match &self.inner {
            Inner::Verified(verified) => verified.member(path),
            Inner::Looked(admitted) => admitted.member(path),
        }
    }

    /// The bytes of a blob. The last read fails if they do not match its digest.
    ///
    /// # Errors
    /// [`Code::BlobMissing`] if no file at hand has it.
    pub fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>> {
        if let Some(bytes) = self.document(digest) {
            return Ok(Box::new(bytes));
        }
        Ok(match &self.inner {
            Inner::Verified(verified) => Box::new(verified.open(digest)?),
            Inner::Looked(admitted) => Box::new(admitted.open(digest)?),
        })
    }
}

/// The content of a blob, as a visitor gets it.
pub struct Content<'r, 'a> {
    reader: Watched<'r, 'a>,
    admitted: &'r Admitted<'r>,
    digest: Digest,
    size: u64,
    media_type: &'r str,
    again: bool,
}

impl std::fmt::Debug for Content<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("digest", &self.digest).finish_non_exhaustive()
    }
}

struct Watched<'r, 'a> {
    reader: &'r mut BlobReader<'a>,
    observer: &'r dyn Observer,
    failed: bool,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.observer.check()?;
        let read = self.reader.read(buffer);
        self.failed |= read.is_err();
        let n = read?;
        self.observer.advance(n as u64);
        Ok(n)
    }
}

/// How the reading of a layer ended.
#[derive(Debug, Default)]
pub struct LayerEnd {
    /// How much there was; `None` if the layer could not be read to its end.
    pub ending: Option<Ending>,
    /// Why not: it is damaged, or exceeds a limit.
    pub broken: Option<Error>,
    /// What is unusual in it.
    pub remarks: Remarks,
    /// For an ambiguous layer: whether its other reading was handed over too. It ends where it makes no more sense.
    pub both: bool,
}

impl Content<'_, '_> {
    /// Whether the visitor got this blob before, and its end was bad: another copy is being read.
    pub fn again(&self) -> bool {
        self.again
    }

    /// The bytes as stored.
    pub fn bytes(&mut self) -> &mut dyn Read {
        &mut self.reader
    }

    /// The entries of a layer, as container runtimes see them. If tar readers see different things, then all entries of
    /// the other reading follow ([`Way::Other`]); a stream cannot be read again.
    ///
    /// # Errors
    /// Those of the blob and of `visit`. A layer that is damaged or exceeds a limit is no error: see [`LayerEnd`].
    pub fn files(&mut self, visit: &mut dyn FnMut(Way, &FileEntry, &mut dyn Read) -> Result<()>) -> Result<LayerEnd> {
        let (bounds, mut end) = (Bounds::of(self.size), LayerEnd::default());
        let media_type = self.media_type;
        let one = |raw: Box<dyn Read + '_>,
                   way,
                   remarks: &mut Remarks,
                   visit: &mut dyn FnMut(Way, &FileEntry, &mut dyn Read) -> Result<()>| {
            let mut own = false;
            let read = layer::files(media_type, raw, bounds, way, remarks, &mut |entry, content| {
                visit(way, entry, content).inspect_err(|_| own = true)
            });
            (read, own)
        };
        let (read, _) = one(Box::new(&mut self.reader), Way::Runtime, &mut end.remarks, visit);
        match read {
            Ok(ending) => end.ending = Some(ending),
            // Damage inside shows in what the visitor reads as well as between entries.
            Err(e) if e.code() == Code::Malformed && !self.reader.failed => end.broken = Some(e),
            Err(e) => return Err(e),
        }
        if end.remarks.is_ambiguous() && !self.admitted.is_stream() {
            let mut again = self.admitted.open(&self.digest)?;
            let (read, own) = one(Box::new(&mut again), Way::Other, &mut Remarks::default(), visit);
            match read {
                Err(e) if own && e.code() != Code::Malformed => return Err(e),
                _ => end.both = true,
            }
        }
        Ok(end)
    }
}

/// Hands each blob to the visitor once.
struct Handing<'r> {
    admitted: &'r Admitted<'r>,
    shelf: &'r Shelf,
    wanted: &'r Wanted,
    visitor: &'r dyn Visitor,
    observer: &'r dyn Observer,
    /// Blobs that were handed over, and whether their content was good.
    done: Mutex<std::collections::HashMap<Digest, bool>>,
}

impl Receiver for Handing<'_> {
    fn has(&self, _: &Blob) -> Result<bool> {
        Ok(false)
    }

    fn receive(&self, blob: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit> {
        let done = || self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let before = done().get(&blob.digest).copied();
        let carried = self.shelf.get(&blob.digest).filter(|_| self.wanted.includes(&blob.digest));
        let mut watched = Watched { reader, observer: self.observer, failed: false };
        if let Some(carried) = carried.filter(|_| before != Some(true)) {
            let (digest, size, media_type) = (blob.digest, blob.size, carried.media_type.as_str());
            let again = before.is_some();
            done().insert(digest, false);
            let mut content = Content { reader: watched, admitted: self.admitted, digest, size, media_type, again };
            self.visitor.blob(carried, &mut content)?;
            watched = content.reader;
        }
        loop {
            self.observer.check()?;
            match watched.reader.next(buffer)? {
                0 => break,
                n => self.observer.advance(n as u64),
            }
        }
        done().insert(blob.digest, true);
        self.observer.item();
        Ok(Visit::Read)
    }
}
