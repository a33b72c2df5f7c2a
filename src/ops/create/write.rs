//! Plan to bytes: every blob fetched once and written where it belongs, or streamed in order.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::walk::Found;
use super::{Options, space};
use crate::bundle::layout::{self, Member};
use crate::bundle::tar;
use crate::bundle::writer::{BUFFER, BlobWriter, Claim, Journal, Partial, Plan, Start};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Hasher};
use crate::ops::read_back::{self, ReadBack};
use crate::ops::{Observer, Task, parallel};
use crate::source::Source;

/// Writes `plan` to the file `bundle`, and reads it back from the medium if that is wanted.
pub(crate) fn file(
    bundle: &Path,
    plan: &Plan,
    found: &Found,
    journal: Option<&Journal>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Option<ReadBack>> {
    let (force, jobs) = (options.force, options.jobs);
    let read_back = |path: &Path| match options.read_back {
        true => read_back::read_back(path, read_back::pieces(plan), observer).map(Some),
        false => Ok(None),
    };
    let partial = match Partial::start(bundle, plan, journal, force)? {
        Start::Write(partial) => partial,
        Start::Complete => {
            observer.say("Finished", "before: the bundle is complete");
            return read_back(bundle);
        }
    };
    let mut members: Vec<&Member> = plan.layout.blobs().iter().collect();
    let there = members.iter().filter(|m| partial.claim(m) != Claim::Nothing).count();
    if there > 0 {
        observer.say(
            "Continuing",
            &format!("{} (at least {there} of {} blobs begun before)", bundle.display(), members.len()),
        );
    }
    // The largest first, so that no thread is left alone with a large one at the end.
    members.sort_by_key(|m| std::cmp::Reverse(m.size));
    observer.begin(Task::Write, members.len() as u64, members.iter().map(|m| m.size).sum());
    let done = parallel::map(
        jobs,
        &members,
        || vec![0u8; BUFFER],
        |buffer, member| {
            one(&partial, member, found, buffer, observer)?;
            observer.item();
            Ok(())
        },
    );
    observer.end();
    let unfinished = crate::bundle::writer::partial_path(bundle);
    if let Err(e) = done {
        let e = space::told(e, bundle, plan.layout.total());
        let state = format!("what was fetched is kept in `{}`", unfinished.display());
        let e = if e.state_text().is_none() { e.state(state) } else { e };
        return Err(if e.hint_text().is_none() { e.hint("run the same command again to continue") } else { e });
    }
    partial.seal()?;
    match read_back(&unfinished) {
        Ok(done) => partial.publish(force).map(|()| done),
        Err(e) if e.code() == Code::Io => {
            partial.discard()?;
            Err(e.state("it was removed; no bundle was made"))
        }
        Err(e) => Err(e.state("everything is written, and not read back").hint("run the same command again")),
    }
}

fn one(partial: &Partial, member: &Member, found: &Found, buffer: &mut [u8], observer: &dyn Observer) -> Result<()> {
    let mut blob = partial.blob(member, buffer)?;
    observer.advance(blob.offset());
    let Some(digest) = member.digest else { return Ok(()) };
    if let Some(bytes) = found.bytes.get(&digest) {
        blob.restart();
        blob.write(bytes)?;
        observer.advance(bytes.len() as u64);
        return blob.finish();
    }
    let resumed = blob.offset() > 0;
    fetch(&mut blob, member, found, buffer, observer)?;
    match blob.finish() {
        // The part that an earlier run left was not what it said: once more, all of it.
        Err(e) if resumed && e.code() == Code::BlobMismatch => {
            let mut blob = partial.blob(member, buffer)?;
            blob.restart();
            fetch(&mut blob, member, found, buffer, observer)?;
            blob.finish()
        }
        other => other,
    }
    .map_err(|e| e.fact(format!("from {}", places(found, member))))
}

/// Fetches what a blob still lacks, from the first place that gives it. A source tries again by itself what may
/// succeed then; its error is final.
fn fetch(
    blob: &mut BlobWriter<'_>,
    member: &Member,
    found: &Found,
    buffer: &mut [u8],
    observer: &dyn Observer,
) -> Result<()> {
    let what = wanted(member);
    let mut failed = Error::new(Code::Internal, format!("no source for {}", what.digest));
    for source in origins(found, member) {
        if blob.is_full() {
            break;
        }
        match copy(source.as_ref(), &what, blob, buffer, observer) {
            Ok(()) => return Ok(()),
            Err(e) if elsewhere(&e) => failed = e,
            Err(e) => return Err(e),
        }
    }
    if blob.is_full() { Ok(()) } else { Err(failed) }
}

/// Whether another source may do better.
fn elsewhere(e: &Error) -> bool {
    matches!(e.code(), Code::Source | Code::BlobMissing | Code::BlobMismatch | Code::Auth)
}

fn copy(
    source: &dyn Source,
    what: &Descriptor,
    blob: &mut BlobWriter<'_>,
    buffer: &mut [u8],
    observer: &dyn Observer,
) -> Result<()> {
    let mut from = source.blob(what, blob.offset())?;
    loop {
        observer.check()?;
        let n = fill(from.as_mut(), buffer, &|e| Error::io("cannot read", source.describe(), e), |bytes| {
            observer.advance(bytes.len() as u64);
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

/// Fills the buffer as far as it goes, hands it on, and says how much that was. What was read before an error
/// is handed on too: it need not be fetched again.
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

/// Writes `plan` in order to a stream. Nothing can be taken back there, so the first failure ends it.
pub(crate) fn stream(to: &mut dyn Write, plan: &Plan, found: &Found, observer: &dyn Observer) -> Result<()> {
    let out = |e| Error::io("cannot write", "standard output", e);
    let mut buffer = vec![0u8; BUFFER];
    let members = plan.layout.blobs();
    observer.begin(Task::Write, members.len() as u64, members.iter().map(|m| m.size).sum());
    to.write_all(&plan.head()).map_err(out)?;
    for member in members {
        to.write_all(&plan.layout.header_of(member)).map_err(out)?;
        stream_one(to, member, found, &mut buffer, observer)
            .map_err(|e| e.state("the stream was cut off; what was written does not verify"))?;
        let padding = [0u8; tar::BLOCK as usize];
        to.write_all(&padding[..(tar::padded(member.size) - member.size) as usize]).map_err(out)?;
        observer.item();
    }
    to.write_all(&[0; layout::END as usize]).map_err(out)?;
    observer.end();
    to.flush().map_err(out)
}

fn stream_one(
    to: &mut dyn Write,
    member: &Member,
    found: &Found,
    buffer: &mut [u8],
    observer: &dyn Observer,
) -> Result<()> {
    let out = |e| Error::io("cannot write", "standard output", e);
    let what = wanted(member);
    if let Some(bytes) = found.bytes.get(&what.digest) {
        observer.advance(bytes.len() as u64);
        return to.write_all(bytes).map_err(out);
    }
    let origins = origins(found, member);
    let mut hasher = Hasher::new();
    let mut done = 0u64;
    let mut failed = Error::new(Code::Internal, format!("no source for {}", what.digest));
    for source in origins {
        if done == member.size {
            break;
        }
        let read = source.blob(&what, done).and_then(|mut from| {
            while done < member.size {
                observer.check()?;
                let want = usize::try_from(member.size - done).unwrap_or(usize::MAX).min(buffer.len());
                let error = |e| Error::io("cannot read", source.describe(), e);
                let n = fill(from.as_mut(), &mut buffer[..want], &error, |bytes| {
                    hasher.update(bytes);
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
    if done < member.size {
        return Err(failed);
    }
    let computed = hasher.finish();
    if computed != what.digest {
        return Err(Error::new(
            Code::BlobMismatch,
            format!("the content of {} does not match its digest", what.digest),
        )
        .fact(format!("computed {computed}"))
        .fact(format!("from {}", places(found, member))));
    }
    Ok(())
}

fn wanted(member: &Member) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: member.digest.unwrap_or_else(|| crate::oci::Digest::of(b"")),
        size: member.size,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
        artifact_type: None,
    }
}

fn origins<'a>(found: &'a Found, member: &Member) -> &'a [Arc<dyn Source>] {
    member.digest.and_then(|d| found.origins.get(&d)).map(Vec::as_slice).unwrap_or_default()
}

fn places(found: &Found, member: &Member) -> String {
    let names: Vec<String> = origins(found, member).iter().map(|o| o.describe()).collect();
    names.join(", ")
}
