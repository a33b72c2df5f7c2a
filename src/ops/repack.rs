//! An existing bundle, in one file or in volumes, as the source for writing it in another form (`split`, `join`).
//!
//! Nothing is trusted and no trust is configured: the output has the same index and signature as the input, and no byte
//! that they do not prove. Whether to trust them is for `verify` to decide.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::bundle::reader::{Bundle, Contents};
use crate::bundle::set::{BlobContent, Replica, Set, Tally};
use crate::bundle::writer::{Journal, Plan};
use crate::bundle::{Index, Inputs, Stock, inputs, layout, limits};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest};
use crate::ops::read_back::ReadBack;
use crate::ops::write::{self, Job, Origin, Supply};
use crate::ops::{Observer, observer, room};
use crate::parallel::Pace;
use crate::verify::Needs;

/// How many images an error names for missing volumes.
const NAMED: usize = 8;

/// The original bundle.
pub(crate) struct Original(Set);

impl Original {
    /// Opens the named files, except the one at `target`. All of them must belong to one bundle, and have one form.
    ///
    /// # Errors
    /// [`Code::UnlistedContent`] naming what belongs to another bundle; the errors of every invalid file.
    pub(crate) fn open(inputs: Inputs, target: Option<&Path>) -> Result<Original> {
        let original = Original::with(inputs, target, &Arc::default())?;
        let forms: Vec<_> = original.0.parts().iter().map(|part| (part.name(), &part.head().carriage)).collect();
        match forms.iter().find(|(_, form)| *form != forms[0].1) {
            None => Ok(original),
            Some((path, _)) => Err(Error::new(
                Code::Conflict,
                format!("`{path}` carries the bundle in another form than `{}`", forms[0].0),
            )
            .state("nothing was written")
            .hint("name the files of one form only; for the bundle in full: mirror-bundle expand")),
        }
    }

    /// Opens the named files, of any form; what they do not carry is read from `stock`.
    ///
    /// # Errors
    /// As [`Original::open`].
    pub(crate) fn with(inputs: Inputs, target: Option<&Path>, stock: &Arc<Stock>) -> Result<Original> {
        if inputs.is_stream() {
            return Err(Error::new(Code::Usage, "a stream cannot be taken apart or put together")
                .hint("write it to a file first"));
        }
        let target = target.and_then(|path| path.canonicalize().ok());
        let mut bundles: Vec<(String, Bundle)> = Vec::new();
        for (path, bundle) in inputs.open()? {
            if target.is_none() || Path::new(&path).canonicalize().ok() != target {
                bundles.push((path, bundle.map_err(|e| e.state("nothing was written"))?));
            }
        }
        let same = |a: &Bundle, b: &Bundle| a.head().index == b.head().index;
        let count = |bundle: &Bundle| bundles.iter().filter(|(_, other)| same(bundle, other)).count();
        // The most frequent index counts; in a tie, the first.
        let Some((_, main)) = bundles.iter().rev().max_by_key(|(_, bundle)| count(bundle)) else {
            return Err(Error::new(Code::Usage, "no volume is named"));
        };
        let head = main.head().clone();
        let index = Arc::new(Index::parse(&head.index)?);
        let (mut parts, mut tally) = (Vec::new(), Tally::default());
        for (path, bundle) in bundles {
            if bundle.head().index != head.index {
                let err = inputs::foreign(&bundle, &path, &index, &head.digest());
                return Err(err.state("nothing was written"));
            }
            if bundle.head().signature != head.signature {
                let text = format!("the signature in `{path}` is not the one in the other volumes");
                return Err(Error::new(Code::BadSignature, text).state("nothing was written"));
            }
            if bundle.head().removals != head.removals {
                let text = format!("what was removed from `{path}` is not what was removed from the other volumes");
                return Err(Error::new(Code::Removed, text)
                    .state("nothing was written")
                    .hint("name the files of one division only, all with the same removals"));
            }
            let opened = bundle.contents(index.clone()).and_then(|part| tally.add(part.layout()).map(|()| part));
            parts.push(opened.map_err(|e| e.state("nothing was written"))?);
        }
        parts.sort_by_key(|part: &Contents| part.volume().map(|v| v.volume));
        let mut set = Set::new(parts)?;
        set.supply(stock.clone());
        Ok(Original(set))
    }

    /// Notes that somebody trusted signed how the blobs are carried.
    pub(crate) fn trust_carriages(&mut self) {
        self.0.trust_carriages();
    }

    /// The files as one.
    pub(crate) fn set(&self) -> &Set {
        &self.0
    }

    /// Checks that what no file carries is in one of the places given.
    ///
    /// # Errors
    /// [`Code::BlobMissing`] naming blobs, the images that need them, and the bundle that had them.
    pub(crate) fn restorable(&self) -> Result<()> {
        let lacking: Vec<usize> = self.0.absent().filter(|at| !self.0.has(*at)).collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => {
                let err = crate::ops::form::lacking(&self.0, &lacking, &self.all_documents()?);
                Err(err.state("nothing was written").hint("give what has them: --base BUNDLE"))
            }
        }
    }

    /// The index.
    pub(crate) fn index(&self) -> &Index {
        self.0.index()
    }

    /// Warns about volumes that were named twice.
    pub(crate) fn mention_doubled(&self, observer: &dyn Observer) {
        for (first, again) in self.0.doubled() {
            let (first, again) = (self.0.parts()[first].name(), self.0.parts()[again].name());
            observer.say("Note", &format!("`{again}` has the same content as `{first}`; either can replace the other"));
        }
    }

    /// Checks that every blob is at hand.
    ///
    /// # Errors
    /// [`Code::Truncated`] naming the missing volumes and the images that need them.
    pub(crate) fn complete(&self) -> Result<()> {
        let blobs = &self.index().blobs;
        let absent: BTreeMap<Digest, Vec<u32>> = (0..blobs.len())
            .filter(|at| !self.0.has(*at) && !self.0.is_absent(*at))
            .map(|at| (blobs[at].digest, self.0.volumes_of(at)))
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let (missing, of) = self.0.missing().unwrap_or_default();
        let numbers: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let text = match numbers.as_slice() {
            [one] => format!("volume {one} of {of} is not here"),
            several => format!("volumes {} of {of} are not here", several.join(", ")),
        };
        let needing = Needs::new(self.index(), &self.all_documents()?, &absent).any();
        let (lacking, images) = (observer::count(absent.len(), "blob"), observer::count(needing.len(), "image"));
        let mut err = Error::new(Code::Truncated, text).fact(format!("{lacking} in them, needed by {images}"));
        for image in needing.iter().take(NAMED) {
            err = err.fact(image.display());
        }
        if needing.len() > NAMED {
            err = err.fact(format!("and {} more", needing.len() - NAMED));
        }
        Err(err.state("nothing was written").hint("name all volumes, or their folders, at once"))
    }

    /// Everything but the blobs, for a bundle in one file and in the same form; with every addendum once.
    pub(crate) fn plan(&self) -> Result<Plan> {
        self.full_plan()?.with_carriage(self.0.head().carriage.clone())
    }

    /// The same for the bundle in full: every blob is carried as it is.
    pub(crate) fn full_plan(&self) -> Result<Plan> {
        // The whole index is what is signed; what was removed stays removed.
        let (index, removed) = (self.0.signed(), self.0.removed());
        let mut files = Vec::with_capacity(index.files.len());
        for (_, file) in index.files.iter().enumerate().filter(|(at, _)| !removed.files.contains(at)) {
            files.push(match file.path.as_str() {
                layout::OCI_LAYOUT => layout::OCI_LAYOUT_JSON.to_vec(),
                path => self.file(path)?,
            });
        }
        let signature = self.0.head().signature.clone();
        let plan = Plan::new(index.clone(), files, signature)?.with_tail(tail(self.0.parts())?);
        let plan = plan.with_removals(self.0.head().removals.clone())?;
        match plan.index_bytes == *self.0.head().index {
            true => Ok(plan),
            false => Err(Error::new(Code::Internal, "the index would not be the same")),
        }
    }

    /// Reads a document of the bundle by its digest.
    pub(crate) fn documents(&self) -> impl Fn(&Digest) -> Result<Option<Vec<u8>>> + '_ {
        let positions: HashMap<Digest, usize> =
            self.index().blobs.iter().enumerate().map(|(at, blob)| (blob.digest, at)).collect();
        move |digest| positions.get(digest).map(|at| self.0.read(*at, limits::DOCUMENT)).transpose()
    }

    pub(crate) fn all_documents(&self) -> Result<BTreeMap<Digest, Vec<u8>>> {
        let blobs = self.index().blobs.iter().enumerate().filter(|(_, blob)| blob.role.is_document());
        blobs.map(|(at, blob)| Ok((blob.digest, self.0.read(at, limits::DOCUMENT)?))).collect()
    }

    /// A file other than a blob, from the first part that has it intact.
    fn file(&self, path: &str) -> Result<Vec<u8>> {
        let mut failed = Error::new(Code::Internal, format!("`{path}` is nowhere"));
        for part in self.0.parts() {
            let members = &part.layout().members()[part.first()..part.layout().blob_range().start];
            match members.iter().find(|m| m.path == path).map(|member| part.read(member, limits::INDEX)) {
                Some(Ok(bytes)) => return Ok(bytes),
                Some(Err(e)) => failed = e.state("nothing was written"),
                None => {}
            }
        }
        Err(failed)
    }
}

/// The addenda of all parts, in the order of the volumes, without duplicates.
pub(super) fn tail(parts: &[Contents]) -> Result<Vec<u8>> {
    let mut seen: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut tail = Vec::new();
    for part in parts {
        for (addendum, member) in part.addenda().iter().zip(part.addendum_members()?) {
            match seen.insert(&addendum.name, &addendum.bytes) {
                None => tail.extend(member),
                Some(other) if other == addendum.bytes => {}
                Some(_) => {
                    let text = format!("addendum `{}` of `{}` differs between the volumes", addendum.name, part.name());
                    return Err(Error::new(Code::Conflict, text).state("nothing was written"));
                }
            }
        }
    }
    let size: usize = seen.values().map(|bytes| bytes.len()).sum();
    if seen.len() > limits::ADDENDA || size as u64 > limits::ADDENDA_BYTES {
        return Err(Error::new(Code::Malformed, "the volumes have more addenda together than a bundle may have")
            .state("nothing was written"));
    }
    Ok(tail)
}

impl Supply for Original {
    fn origins<'a>(&'a self, at: usize, digest: &Digest) -> Vec<Box<dyn Origin + 'a>> {
        // A plan is about the whole index.
        let Some(at) = self.0.position(at) else { return Vec::new() };
        let origin = |replica| Box::new(ReplicaOrigin { set: &self.0, at, replica }) as Box<dyn Origin>;
        // Another digest is that of the member which carries the blob.
        let of = if self.0.index().blobs[at].digest == *digest { self.0.replicas(at) } else { self.0.members(at) };
        of.into_iter().map(origin).collect()
    }
}

/// One location to read one blob from.
struct ReplicaOrigin<'a> {
    set: &'a Set,
    at: usize,
    replica: Replica,
}

impl Origin for ReplicaOrigin<'_> {
    fn describe(&self) -> String {
        if let Some(name) = self.replica.copy().map(|copy| self.set.name_of(&copy)) {
            return format!("`{name}`");
        }
        let names: Vec<String> = self.replica.parts().map(|p| format!("`{}`", self.set.parts()[p].name())).collect();
        names.join(" and ")
    }

    /// Also reads what precedes `offset`, because the digest covers the whole.
    fn read<'a>(&'a self, _: &Descriptor, offset: u64) -> Result<Box<dyn Read + 'a>> {
        let mut content: BlobContent<'a> = self.set.open(self.at, &self.replica);
        let mut buffer = vec![0; 256 << 10];
        while content.position() < offset {
            let want = usize::try_from(offset - content.position()).unwrap_or(usize::MAX).min(buffer.len());
            if content.next(&mut buffer[..want])? == 0 {
                break;
            }
        }
        Ok(Box::new(content))
    }
}

/// Writes a plan from an original, or from what else has its blobs; `target` is the path of the new bundle. `rest` is done
/// once it has this name.
pub(crate) fn write(
    target: &Path,
    plan: &Plan,
    (supply, rest): (&dyn Supply, &dyn Fn() -> Result<()>),
    force: bool,
    jobs: usize,
    read_back: bool,
    observer: &dyn Observer,
) -> Result<Option<ReadBack>> {
    room::writable(target)?;
    let mut journal = Journal::read(&plan.first(target))?;
    if journal.as_ref().is_some_and(|j| !j.is_of(plan)) {
        observer.warn("an interrupted run left something for other content or another division; starting over");
        journal = None;
    }
    if journal.is_none() && !force {
        let there = plan.archives().iter().map(|a| plan.path(target, a)).find(|p| p.symlink_metadata().is_ok());
        if let Some(path) = there {
            return Err(crate::fs::durable::already_exists(&path));
        }
    }
    room::check(target, plan, journal.as_ref())?;
    let pace = &Pace::fixed(jobs);
    let job = Job { plan, supply, journal: journal.as_ref(), force, pace, read_back, rest };
    write::file(target, &job, observer)
}
