//! From a plan to bytes: every blob is fetched once and written where it belongs, or streamed in order.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::bundle::index::Blob;
use crate::bundle::tar;
use crate::bundle::writer::{BUFFER, BlobWriter, Claim, Journal, Partial, Plan, Sealed, Start, forget, partial_path};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::ops::advice::during_transfer;
use crate::ops::read_back::{self, ReadBack};
use crate::ops::{Observer, Task, room};
use crate::parallel::{Pace, Turn};
use crate::source::Source;
use crate::verify::disguise::Look;

/// Supplies the content of blobs.
pub(crate) trait Supply: Sync {
    /// The content of a small blob that is already in memory.
    fn here(&self, _: &Digest) -> Option<&[u8]> {
        None
    }

    /// The locations of the blob at this position of the index; the first that succeeds is used.
    fn origins<'a>(&'a self, at: usize, digest: &Digest) -> Vec<Box<dyn Origin + 'a>>;

    /// Where the document with this digest was found, and other documents may be.
    fn sources(&self, _: &Digest) -> Vec<Arc<dyn Source>> {
        Vec::new()
    }

    /// An observer that must see all of this blob as it passes.
    fn look(&self, _: &Digest) -> Option<Look> {
        None
    }

    /// Whether a blob may be carried after what was seen of it.
    fn seen(&self, _: &Digest, _: Look) -> Result<()> {
        Ok(())
    }
}

/// A location of a blob.
pub(crate) trait Origin {
    /// A description for messages.
    fn describe(&self) -> String;

    /// The bytes of the blob from `offset` on.
    fn read<'a>(&'a self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + 'a>>;
}

impl Origin for Arc<dyn Source> {
    fn describe(&self) -> String {
        self.as_ref().describe()
    }

    fn read<'a>(&'a self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + 'a>> {
        Ok(self.as_ref().blob(what, offset)?)
    }
}

/// Options for writing a bundle.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    /// Everything but blobs.
    pub(crate) plan: &'a Plan,
    /// The blobs.
    pub(crate) supply: &'a dyn Supply,
    /// What an interrupted run left behind.
    pub(crate) journal: Option<&'a Journal>,
    /// Replace existing files.
    pub(crate) force: bool,
    /// How much is written at once.
    pub(crate) pace: &'a Pace,
    /// Re-read everything from the medium before a file gets its final name.
    pub(crate) read_back: bool,
    /// What is left to do once every file has its final name. It may be done twice.
    pub(crate) rest: &'a dyn Fn() -> Result<()>,
}

/// Writes the files of a plan; `bundle` is the final path.
pub(crate) fn file(bundle: &Path, job: &Job<'_>, observer: &dyn Observer) -> Result<Option<ReadBack>> {
    let plan = job.plan;
    let read_back = |files: &[Sealed]| match job.read_back {
        true => read_back::files(plan, files, observer).map(Some),
        false => Ok(None),
    };
    let partial = match Partial::start(bundle, plan, job.journal, job.force)? {
        Start::Write(partial) => partial,
        Start::Complete(files) => {
            observer.say("Finished", "already: the bundle is complete");
            let done = read_back(&files)?;
            return forget(&plan.first(bundle), job.rest).map(|()| done);
        }
    };
    let size = |blob: &usize| plan.content(*blob).size;
    let (finished, blobs): (Vec<usize>, Vec<usize>) =
        plan.blobs().into_iter().partition(|blob| partial.is_finished(*blob));
    let all = finished.len() + blobs.len();
    let started = finished.len() + blobs.iter().filter(|blob| partial.claim(**blob) != Claim::Nothing).count();
    if started > 0 {
        observer.say("Resuming", &format!("{} ({started} of {all} blobs already started)", bundle.display()));
    }
    observer.begin(Task::Write, all as u64, blobs.iter().chain(&finished).map(size).sum());
    observer.resumed(finished.len() as u64, finished.iter().map(size).sum());
    let done = job.pace.sized(
        &blobs,
        size,
        || vec![0u8; BUFFER],
        |buffer, blob, turn| {
            write_blob(&partial, *blob, job.supply, buffer, &Moving { observer, turn })?;
            observer.item();
            Ok(())
        },
    );
    observer.end();
    if let Err(e) = done {
        let e = room::with_space(e, bundle, plan);
        let kept = plan.archives().first().map(|archive| partial_path(&plan.path(bundle, archive))).unwrap_or_default();
        let more = if plan.archives().len() > 1 { " and the other .partial files" } else { "" };
        let state = format!("the fetched data is kept in `{}`{more}", kept.display());
        return Err(during_transfer(e, &state));
    }
    let sealed = partial.seal()?;
    match read_back(&sealed) {
        Ok(done) => partial.publish_and(job.force, job.rest).map(|()| done),
        Err(e) if e.code() == Code::Io => {
            partial.discard()?;
            Err(e.state("the written data was removed; no bundle was made"))
        }
        Err(e) => Err(e.state("everything is written, but it was not read back").hint("run the same command again")),
    }
}

/// What moves: shown to the user, and counted for the pace.
struct Moving<'a> {
    observer: &'a dyn Observer,
    turn: &'a Turn<'a>,
}

impl Moving<'_> {
    fn advance(&self, bytes: u64) {
        self.observer.advance(bytes);
        self.turn.moved(bytes);
    }
}

fn write_blob(
    partial: &Partial<'_>,
    at: usize,
    supply: &dyn Supply,
    buffer: &mut [u8],
    moving: &Moving<'_>,
) -> Result<()> {
    let what = wanted(partial.plan().content(at));
    let mut blob = partial.blob(at, buffer)?;
    let mut look = supply.look(&what.digest);
    if partial.claim(at) == Claim::Done && blob.is_full() {
        // Only a blob that was observed completely is marked as finished.
        look = None;
    } else if look.is_some() {
        // This run did not observe the bytes that an earlier run left.
        blob.restart();
    }
    if let Some(bytes) = supply.here(&what.digest) {
        blob.restart();
        blob.write(bytes)?;
        moving.advance(bytes.len() as u64);
        return blob.finish();
    }
    moving.observer.resumed(0, blob.offset());
    let resumed = blob.offset() > 0;
    let origins = supply.origins(at, &what.digest);
    fetch(&mut blob, &what, &origins, &mut look, buffer, moving)?;
    let again = look.as_ref().map(Look::like);
    let approve = |look: Option<Look>| look.map_or(Ok(()), |look| supply.seen(&what.digest, look));
    match blob.finish_if(|| approve(look)) {
        // The bytes from an earlier run, or from the first location, did not match the digest: fetch the blob once
        // more.
        Err(e) if e.code() == Code::BlobMismatch && (resumed || origins.len() > 1) => {
            fetch_from_start(partial, at, &what, &origins, (again, &approve), buffer, moving)
        }
        other => other,
    }
    .map_err(|e| e.fact(format!("from {}", places(&origins))))
}

/// Fetches the missing rest of a blob from the first location that succeeds. A location retries temporary failures
/// itself; its error is final.
fn fetch(
    blob: &mut BlobWriter<'_>,
    what: &Descriptor,
    origins: &[Box<dyn Origin + '_>],
    look: &mut Option<Look>,
    buffer: &mut [u8],
    moving: &Moving<'_>,
) -> Result<()> {
    let mut failed = Error::new(Code::Internal, format!("no source for {}", what.digest));
    for origin in origins {
        if blob.is_full() {
            break;
        }
        match copy(origin.as_ref(), what, blob, look, buffer, moving) {
            Ok(()) => return Ok(()),
            Err(e) if elsewhere(&e) => failed = e,
            Err(e) => return Err(e),
        }
    }
    if blob.is_full() { Ok(()) } else { Err(failed) }
}

/// Fetches all of a blob from the first location that succeeds.
fn fetch_from_start(
    partial: &Partial<'_>,
    at: usize,
    what: &Descriptor,
    origins: &[Box<dyn Origin + '_>],
    (again, approve): (Option<Look>, &dyn Fn(Option<Look>) -> Result<()>),
    buffer: &mut [u8],
    moving: &Moving<'_>,
) -> Result<()> {
    let mut failed = Error::new(Code::Internal, format!("no source for {}", what.digest));
    for origin in origins {
        let mut blob = partial.blob(at, buffer)?;
        blob.restart();
        let mut look = again.as_ref().map(Look::like);
        let copied = copy(origin.as_ref(), what, &mut blob, &mut look, buffer, moving);
        match copied.and_then(|()| blob.finish_if(|| approve(look))) {
            Ok(()) => return Ok(()),
            Err(e) if elsewhere(&e) => failed = e,
            Err(e) => return Err(e),
        }
    }
    Err(failed)
}

/// Whether another location may succeed.
fn elsewhere(e: &Error) -> bool {
    matches!(e.code(), Code::Source | Code::BlobMissing | Code::BlobMismatch | Code::Auth)
}

fn copy(
    source: &dyn Origin,
    what: &Descriptor,
    blob: &mut BlobWriter<'_>,
    look: &mut Option<Look>,
    buffer: &mut [u8],
    moving: &Moving<'_>,
) -> Result<()> {
    moving.turn.start();
    let mut from = source.read(what, blob.offset())?;
    loop {
        moving.observer.check()?;
        let n =
            fill(from.as_mut(), blob.window(buffer), &|e| Error::io("cannot read", source.describe(), e), |bytes| {
                moving.advance(bytes.len() as u64);
                look.iter_mut().for_each(|look| look.send(bytes));
                blob.write(bytes)
            })?;
        if n == 0 {
            return match blob.is_full() {
                true => Ok(()),
                false => {
                    Err(Error::new(Code::BlobMismatch, format!("{} ended early in {}", what.digest, source.describe()))
                        .fact(format!("{} of {} bytes", blob.offset(), what.size)))
                }
            };
        }
    }
}

/// Fills the buffer as far as possible, passes it on, and returns the number of bytes. Bytes read before an error are
/// passed on too, so that they need not be fetched again.
fn fill(
    from: &mut dyn Read,
    buffer: &mut [u8],
    error: &dyn Fn(std::io::Error) -> Error,
    take: impl FnOnce(&[u8]) -> Result<()>,
) -> Result<usize> {
    let mut n = 0;
    let mut failed = None;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                failed = Some(error(e));
                break;
            }
        }
    }
    if n > 0 {
        take(&buffer[..n])?;
    }
    failed.map_or(Ok(n), Err)
}

/// Writes a whole bundle in order to a stream, where nothing can be undone: the first failure ends it.
pub(crate) fn stream(to: &mut dyn Write, plan: &Plan, supply: &dyn Supply, observer: &dyn Observer) -> Result<()> {
    let out = |e| Error::io("cannot write", "standard output", e);
    let [archive] = plan.archives() else {
        return Err(Error::new(Code::Internal, "several volumes cannot be written to one stream"));
    };
    let mut buffer = vec![0u8; BUFFER];
    let members = archive.layout.blobs();
    observer.begin(Task::Write, members.len() as u64, members.iter().map(|m| m.size).sum());
    plan.head(&archive.layout).iter().try_for_each(|part| to.write_all(part)).map_err(out)?;
    for (extent, member) in archive.layout.extents().iter().zip(members) {
        let at = extent.blob;
        to.write_all(&archive.layout.header_of(member)).map_err(out)?;
        stream_blob(to, at, &wanted(plan.content(at)), supply, &mut buffer, observer)
            .map_err(|e| e.state("the stream was cut off; the written data does not verify"))?;
        let padding = [0u8; tar::BLOCK as usize];
        to.write_all(&padding[..(tar::padded(member.size) - member.size) as usize]).map_err(out)?;
        observer.item();
    }
    to.write_all(&plan.end()).map_err(out)?;
    observer.end();
    to.flush().map_err(out)
}

fn stream_blob(
    to: &mut dyn Write,
    at: usize,
    what: &Descriptor,
    supply: &dyn Supply,
    buffer: &mut [u8],
    observer: &dyn Observer,
) -> Result<()> {
    let out = |e| Error::io("cannot write", "standard output", e);
    if let Some(bytes) = supply.here(&what.digest) {
        observer.advance(bytes.len() as u64);
        return to.write_all(bytes).map_err(out);
    }
    let mut hasher = Hasher::new();
    let mut look = supply.look(&what.digest);
    let mut done = 0u64;
    let mut failed = Error::new(Code::Internal, format!("no source for {}", what.digest));
    let origins = supply.origins(at, &what.digest);
    for source in &origins {
        if done == what.size {
            break;
        }
        let read = source.read(what, done).and_then(|mut from| {
            while done < what.size {
                observer.check()?;
                let want = usize::try_from(what.size - done).unwrap_or(usize::MAX).min(buffer.len());
                let error = |e| Error::io("cannot read", source.describe(), e);
                let n = fill(from.as_mut(), &mut buffer[..want], &error, |bytes| {
                    hasher.update(bytes);
                    look.iter_mut().for_each(|look| look.send(bytes));
                    done += bytes.len() as u64;
                    observer.advance(bytes.len() as u64);
                    to.write_all(bytes).map_err(out)
                })?;
                if n == 0 {
                    let text = format!("{} ended early in {}", what.digest, source.describe());
                    return Err(Error::new(Code::BlobMismatch, text));
                }
            }
            Ok(())
        });
        match read {
            Ok(()) => break,
            Err(e) if elsewhere(&e) => failed = e,
            Err(e) => return Err(e),
        }
    }
    if done < what.size {
        return Err(failed);
    }
    let computed = hasher.finish();
    if computed != what.digest {
        return Err(Error::new(
            Code::BlobMismatch,
            format!("the content of {} does not match its digest", what.digest),
        )
        .fact(format!("computed {computed}"))
        .fact(format!("from {}", places(&origins))));
    }
    look.map_or(Ok(()), |look| supply.seen(&what.digest, look))
}

fn wanted(blob: &Blob) -> Descriptor {
    Descriptor::new(String::new(), blob.digest, blob.size)
}

fn places(origins: &[Box<dyn Origin + '_>]) -> String {
    let names: Vec<String> = origins.iter().map(|o| o.describe()).collect();
    names.join(", ")
}
