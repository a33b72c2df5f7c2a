//! `scrub`: takes images, releases and Kubernetes files out of a bundle, under the signature of a reviewer (MB-RMV).
//!
//! The bundle is verified and written in one pass: each byte is hashed once, and what is written is what was hashed.

mod again;
mod select;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::append::Appender;
use crate::bundle::index::{Blob, Image, Kind};
use crate::bundle::reader::{Bundle, Contents};
use crate::bundle::removal::{self, Removed, SignedRemoval};
use crate::bundle::set::Set;
use crate::bundle::volume::Volume;
use crate::bundle::writer::{Partial, Plan, Start};
use crate::bundle::{Inputs, addendum, layout, limits};
use crate::error::{Code, Error, Result};
use crate::fs::partial::allow_open_files;
use crate::host::detached;
use crate::oci::{Digest, Document, parse};
use crate::ops::read_back::{self, ReadBack};
use crate::ops::{Observer, Task, observer, repack, room, sign, verify};
use crate::parallel::Pace;
use crate::report::signature::Outcome as Signed;
use crate::report::{Proof, Standing};
use crate::sign::{MessageHash, Namespace, SecretKey, cosign};
use crate::verify::{
    Admission, Admitted, BlobReader, Check, CheckId, Conditions, Extent, Finding, Receiver, Report, Settings, Trust,
    Visit, admit, removal as checks,
};

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A new file, or new volumes, without what is removed.
    File(PathBuf),
    /// A statement in the bundle, behind its last member.
    Bundle,
    /// A statement beside the bundle.
    Beside,
}

/// Options of `scrub`.
#[derive(Debug)]
pub struct Options {
    /// What to remove: references, digests, `manifests/PATH`, `release:VERSION`, `component:NAME`.
    pub what: Vec<String>,
    /// Why.
    pub reason: String,
    /// The reviewer's key.
    pub key: Arc<SecretKey>,
    /// Where the result goes.
    pub to: To,
    /// Replace an existing file.
    pub force: bool,
    /// Only report what would be removed.
    pub dry_run: bool,
    /// The current time.
    pub now: Timestamp,
    /// Threads.
    pub jobs: usize,
    /// Re-read everything from the medium before a file gets its final name.
    pub read_back: bool,
}

/// The outcome.
#[derive(Debug)]
pub enum Outcome {
    /// The bundle is bad; nothing was written.
    Refused(Box<Report>),
    /// Removed, or excluded; and what was found about the bundle before.
    Done(Box<Report>, Box<Summary>),
}

/// An image that was removed.
#[derive(Debug, Serialize)]
pub struct Gone {
    /// Its reference, or its digest if it has none.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its kind.
    pub kind: &'static str,
    /// Whether the user named it; otherwise it goes with what was named.
    pub asked: bool,
}

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Digest of the index, which is the same as before.
    pub index: String,
    /// The files that were written, or the names of the addenda.
    pub written: Vec<String>,
    /// The images.
    pub images: Vec<Gone>,
    /// The files.
    pub files: Vec<String>,
    /// How many blobs no other image needs.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The reason, as it is signed.
    pub reason: String,
    /// Fingerprint of the key.
    pub key: String,
    /// Whether what is named is still in the file, and only excluded.
    pub excluded: bool,
    /// Whether nothing was written because only a report was asked for.
    pub dry_run: bool,
    /// What was re-read from the medium, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// What this run left on this host.
    #[serde(skip_serializing_if = "Proof::is_empty")]
    pub proof: Proof,
}

/// Verifies a bundle, and removes or excludes what the options name.
///
/// Thresholds of the policy need not be met yet.
///
/// # Errors
/// Errors of reading or writing; [`Code::Usage`] and [`Code::Policy`] for what cannot be removed. A bad bundle is not
/// an error but [`Outcome::Refused`].
pub fn scrub(
    paths: &[PathBuf],
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let files = sign::files(paths)?;
    allow_open_files(3 * files.len());
    let appenders = sign::appenders(&files, options.to == To::Bundle && !options.dry_run)?;
    let admitted = match admit(Inputs::Paths(files.clone()), trust, conditions)? {
        Admission::Refused(report) => return Ok(Outcome::Refused(Box::new(report))),
        Admission::Admitted(admitted) => *admitted,
    };
    let asked = select::asked(&options.what, &admitted, matches!(options.to, To::File(_)))?;
    let all = select::expand(&asked, &admitted)?;
    allowed(&admitted, &all, trust, conditions, observer)?;
    let taken = Taken::new(&admitted, &asked, &all, options)?;
    let mut summary = taken.summary(&admitted, &asked, options);
    let report = match &options.to {
        To::File(target) if !options.dry_run => {
            let plan = taken.plan(&admitted)?;
            observer.say(
                "Scrubbing",
                &format!("{}, {}", taken.new.words(admitted.set().signed()), observer::size(plan.bytes())),
            );
            write(target, &plan, admitted, (trust, conditions), options, &mut summary, observer)?
        }
        To::File(_) => verify::rest(admitted, options.jobs, observer)?.into_report(),
        To::Bundle | To::Beside => {
            unconditional(admitted.report(), &options.key)?;
            let report = verify::rest(admitted, options.jobs, observer)?.into_report();
            if !refuses(&report, &all_paths(&summary), trust, conditions) && !options.dry_run {
                for (at, file) in files.iter().enumerate() {
                    summary.written.extend(exclude(file, appenders.get(at), &taken.signed)?);
                }
            }
            report
        }
    };
    if refuses(&report, &all_paths(&summary), trust, conditions) {
        return Ok(Outcome::Refused(Box::new(report)));
    }
    Ok(Outcome::Done(Box::new(report), Box::new(summary)))
}

fn all_paths(summary: &Summary) -> BTreeSet<&str> {
    summary.files.iter().map(String::as_str).collect()
}

/// Whether the statement at this place would count, if more keys signed for the same.
fn lacks_keys(report: &Report, origin: &str) -> bool {
    let good = Standing::Evaluated(Signed::Good);
    report.removals.iter().any(|one| one.origin == origin && one.outcome == good && one.short)
}

/// As for a signature; but a Kubernetes file that this host refuses may be the one that is removed, and a host that has
/// unpacked the bundle without something may take it out of the whole one again.
fn refuses(report: &Report, removed: &BTreeSet<&str>, trust: &Trust, conditions: &Conditions) -> bool {
    let mut rest = report.clone();
    for check in &mut rest.checks {
        check.findings.retain(|f| match f.code {
            Code::Policy => !removed.contains(f.subject.as_str()),
            // What was removed before may be removed again.
            Code::Rollback => f.subject != "removals",
            // Another key signs for it now.
            Code::Removed => !lacks_keys(report, &f.subject),
            _ => true,
        });
    }
    sign::refuses(&rest, trust, conditions)
}

/// What may be removed anywhere; by the rules of this host too, if it has any.
fn allowed(
    admitted: &Admitted<'_>,
    all: &Removed,
    trust: &Trust,
    conditions: &Conditions,
    observer: &dyn Observer,
) -> Result<()> {
    let index = admitted.set().signed();
    let rules = Settings::new(trust, conditions).policy.and_then(|policy| policy.removals.as_ref());
    let mut check = Check::new(CheckId::Removals);
    let rest = all.rest(index);
    checks::units(index, &rest, all, rules, &mut check);
    // A reader does not see what a referrer was that is not there any more.
    let there = |image: &&Image| image.subject.is_some_and(|s| rest.blobs.iter().any(|blob| blob.digest == s));
    let alone = all.images.iter().map(|at| &index.images[*at]).filter(|image| image.kind == Kind::Referrer);
    for image in alone.filter(there) {
        let document = admitted.document(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
        let Some(Document::Manifest(manifest)) = document else { continue };
        if let Some(what) = cosign::signature_referrer(&manifest) {
            let text = format!("`{}` cannot be removed without the image that it signs: it is {what}", image.display());
            check.find(Finding::new(Code::Policy, image.display(), text).hint("remove that image"));
        }
    }
    if let Some(found) = check.findings.into_iter().next() {
        let Finding { message, hint, .. } = found;
        let message = message.replace(" was removed,", " cannot be removed,");
        return Err(Error::new(Code::Policy, message).state("nothing was written").hint(hint.unwrap_or_default()));
    }
    if rules.is_none() {
        observer.warn("the trust policy of this host lets nobody remove anything: the receiving host needs `removals`");
    }
    Ok(())
}

/// A key that signed without condition vouches for what it would exclude (MB-RMV-09).
fn unconditional(report: &Report, key: &SecretKey) -> Result<()> {
    let key = key.public().fingerprint();
    let signed = report.signatures.iter().find(|one| {
        let removal = report.removals.iter().any(|removal| one.origin == format!("{}.sig", removal.origin));
        one.is_good() && !removal && one.role.as_deref() == Some("reviewer") && one.key.as_deref() == Some(&key)
    });
    match signed {
        None => Ok(()),
        Some(one) => Err(Error::new(
            Code::Usage,
            "this key has signed all of the bundle as reviewer, without condition",
        )
        .fact(format!("in {}", one.origin))
        .fact("whoever takes the new statement away would be left with that signature, and with all of the bundle")
        .state("nothing was written")
        .hint("write a bundle without it: mirror-bundle scrub BUNDLE OUT --remove ...")),
    }
}

/// What is new in this run, signed.
struct Taken {
    /// What the new statement names.
    new: Removed,
    /// The statements in the head of the files, and for a new file the new one behind them.
    removals: Vec<SignedRemoval>,
    signed: SignedRemoval,
}

impl Taken {
    fn new(admitted: &Admitted<'_>, asked: &select::Asked, all: &Removed, options: &Options) -> Result<Taken> {
        let set = admitted.set();
        let head = set.head();
        let mut removals = head.removals.clone();
        if set.parts().iter().any(|part| part.head().removals != removals) {
            return Err(Error::new(
                Code::Usage,
                "something was removed from some of the files, and not from the others",
            )
            .state("nothing was written")
            .hint("name the files from which it was removed only"));
        }
        let (index, digest) = (set.signed(), admitted.report().bundle.index.parse::<Digest>());
        let digest = digest.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        // A statement in the head adds to those before it; any other must be right beside the whole bundle too.
        let before = match options.to {
            To::File(_) => set.parts().first().map(|part| part.layout().removed().clone()).unwrap_or_default(),
            _ => Removed::default(),
        };
        let without = |all: &BTreeSet<usize>, before: &BTreeSet<usize>| all.difference(before).copied().collect();
        let mut new = Removed {
            images: without(&all.images, &before.images),
            files: without(&all.files, &before.files),
            blobs: without(&all.blobs, &before.blobs),
        };
        new.add(&again::again(admitted, asked, &before, &options.key.public().fingerprint())?);
        if new.images.is_empty() && new.files.is_empty() {
            return Err(Error::new(Code::Usage, "nothing is to be removed").hint("--remove IMAGE, and more"));
        }
        if removals.len() == limits::REMOVALS && matches!(options.to, To::File(_)) {
            let text =
                format!("the bundle has {} statements about removals, and no more are allowed", limits::REMOVALS);
            return Err(Error::new(Code::Usage, text)
                .state("nothing was written")
                .hint("remove everything at once, from the bundle as it was made"));
        }
        let created = Timestamp::from_second(options.now.as_second()).unwrap_or(options.now).to_string();
        let statement = removal::statement(index, &digest, &new, &options.reason, &created)?;
        let signature = crate::sign::sign(&options.key, Namespace::Removal, &MessageHash::of(&statement)).into_bytes();
        let signed = SignedRemoval { statement, signature };
        removals.push(signed.clone());
        Ok(Taken { new, removals, signed })
    }

    fn summary(&self, admitted: &Admitted<'_>, asked: &select::Asked, options: &Options) -> Summary {
        let index = admitted.set().signed();
        let gone = |at: &usize| {
            let image = &index.images[*at];
            let (name, kind) = (image.display(), image.kind.as_str());
            Gone { name, digest: image.digest, kind, asked: asked.images.contains(at) }
        };
        Summary {
            index: admitted.report().bundle.index.clone(),
            written: Vec::new(),
            images: self.new.images.iter().map(gone).collect(),
            files: self.new.files.iter().map(|at| index.files[*at].path.clone()).collect(),
            blobs: self.new.blobs.len(),
            bytes: self.new.blobs.iter().map(|at| index.blobs[*at].size).sum(),
            reason: options.reason.clone(),
            key: options.key.public().fingerprint(),
            excluded: !matches!(options.to, To::File(_)),
            dry_run: options.dry_run,
            read_back: None,
            proof: Proof::default(),
        }
    }

    /// Everything but blobs of the new files: in volumes, if the bundle is.
    fn plan(&self, admitted: &Admitted<'_>) -> Result<Plan> {
        let set = admitted.set();
        let index = set.signed();
        let mut removed = set.parts().first().map(|part| part.layout().removed().clone()).unwrap_or_default();
        removed.add(&self.new);
        let content: HashMap<&str, &[u8]> = admitted.files("").collect();
        let mut files = vec![layout::OCI_LAYOUT_JSON.to_vec()];
        for (_, file) in index.files.iter().enumerate().skip(1).filter(|(at, _)| !removed.files.contains(at)) {
            let bytes = content.get(file.path.as_str());
            let missing = || Error::new(Code::Internal, format!("`{}` was not read", file.path));
            files.push(bytes.ok_or_else(missing)?.to_vec());
        }
        let tail = repack::tail(set.parts())?;
        let plan = Plan::new(index.clone(), files, set.head().signature.clone())?.with_tail(tail);
        let plan = plan.with_removals(self.removals.clone())?;
        let volumes = volumes(set, &removed)?;
        if volumes.is_empty() { Ok(plan) } else { plan.divided(volumes, |_| true) }
    }
}

/// The volumes without what is removed; none for a bundle in one file.
fn volumes(set: &Set, removed: &Removed) -> Result<Vec<Volume>> {
    if set.division().is_some() || !set.doubled().is_empty() {
        return Err(Error::new(Code::Usage, "several copies of the bundle are named")
            .state("nothing was written")
            .hint("name one: a file, or the volumes of one division"));
    }
    let mut out: Vec<Volume> = set.parts().iter().filter_map(Contents::volume).cloned().collect();
    out.sort_by_key(|volume| volume.volume);
    match out.first() {
        Some(first) if first.of as usize != set.parts().len() => {
            return Err(Error::new(Code::Truncated, "not all volumes are here")
                .state("nothing was written")
                .hint("name all volumes, or their folders"));
        }
        _ => {}
    }
    out.iter_mut().for_each(|volume| volume.without(&removed.blobs));
    Ok(out)
}

/// Writes the new files while the old ones are verified. They get their names only after a verdict that allows it.
fn write(
    target: &Path,
    plan: &Plan,
    admitted: Admitted<'_>,
    (trust, conditions): (&Trust, &Conditions),
    options: &Options,
    summary: &mut Summary,
    observer: &dyn Observer,
) -> Result<Report> {
    room::writable(target)?;
    if !options.force {
        let there = plan.archives().iter().map(|a| plan.path(target, a)).find(|p| p.symlink_metadata().is_ok());
        if let Some(path) = there {
            return Err(crate::fs::durable::already_exists(&path).state("nothing was written"));
        }
    }
    room::check(target, plan, None)?;
    let partial = match Partial::start(target, plan, None, options.force)? {
        Start::Write(partial) => partial,
        Start::Complete(_) => {
            return Err(Error::new(Code::Internal, "a new bundle was complete before it was written"));
        }
    };
    let places: HashMap<Digest, usize> = plan.blobs().into_iter().map(|at| (plan.index.blobs[at].digest, at)).collect();
    let copy = Copy { partial: &partial, places: &places, done: Mutex::default(), observer };
    let (items, bytes) = admitted.content();
    observer.begin(Task::Write, items, bytes);
    let moved = copy.documents(&admitted).and_then(|()| admitted.blobs(&Pace::fixed(options.jobs), Extent::All, &copy));
    observer.end();
    let done = copy.done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).len() == places.len();
    let report = match moved {
        Err(e) if e.code().is_verdict() => admitted.conclude(false)?.into_report(),
        Err(e) => {
            partial.discard()?;
            return Err(room::with_space(e, target, plan).state("nothing was written"));
        }
        Ok(()) => admitted.conclude(false)?.into_report(),
    };
    if refuses(&report, &all_paths(summary), trust, conditions) {
        partial.discard()?;
        return Ok(report);
    }
    if !done {
        partial.discard()?;
        return Err(Error::new(Code::Internal, "not everything was written").state("nothing was written"));
    }
    let sealed = partial.seal()?;
    if options.read_back {
        match read_back::files(plan, &sealed, observer) {
            Ok(done) => summary.read_back = Some(done),
            Err(e) => {
                partial.discard()?;
                return Err(e.state("the written data was removed"));
            }
        }
    }
    partial.publish(options.force)?;
    summary.written = plan.archives().iter().map(|a| plan.path(target, a).display().to_string()).collect();
    Ok(report)
}

/// Writes each blob that stays once, from the first copy that matches; everything else is only verified.
struct Copy<'a> {
    partial: &'a Partial<'a>,
    places: &'a HashMap<Digest, usize>,
    done: Mutex<BTreeSet<usize>>,
    observer: &'a dyn Observer,
}

impl Copy<'_> {
    fn documents(&self, admitted: &Admitted<'_>) -> Result<()> {
        for (digest, at) in self.places {
            let Some(bytes) = admitted.document(digest) else { continue };
            let mut out = self.partial.proved_blob(*at)?;
            out.write(bytes)?;
            out.finish()?;
            self.mark(*at);
        }
        Ok(())
    }

    fn mark(&self, at: usize) {
        self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(at);
    }

    fn is_done(&self, at: usize) -> bool {
        self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&at)
    }
}

impl Receiver for Copy<'_> {
    fn has(&self, _: &Blob) -> Result<bool> {
        Ok(false)
    }

    fn receive(&self, blob: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit> {
        let at = self.places.get(&blob.digest).filter(|at| !self.is_done(**at));
        let mut out = at.map(|at| self.partial.proved_blob(*at)).transpose()?;
        loop {
            self.observer.check()?;
            let window = match &out {
                Some(out) => out.window(buffer),
                None => &mut *buffer,
            };
            let n = reader.next(window)?;
            if n == 0 {
                break;
            }
            if let Some(out) = &mut out {
                out.write(&window[..n])?;
            }
            self.observer.advance(n as u64);
        }
        if let (Some(out), Some(at)) = (out, at) {
            out.finish()?;
            self.mark(*at);
        }
        self.observer.item();
        Ok(Visit::Read)
    }
}

/// Adds the statement to one file, or beside it.
fn exclude(path: &Path, appender: Option<&Appender>, signed: &SignedRemoval) -> Result<Vec<String>> {
    let name = addendum::removal_name(&signed.statement);
    // An append begins with a signature.
    let pieces = vec![(format!("{name}.sig"), signed.signature.clone()), (name, signed.statement.clone())];
    let Some(appender) = appender else { return detached::write(path, &pieces) };
    let bundle = Bundle::open(path)?;
    let end = sign::members_end(bundle.head())?;
    let index = Arc::new(crate::bundle::Index::parse(&bundle.head().index)?);
    let addenda = bundle.contents(index.clone())?.addenda().to_vec();
    sign::inside(path, appender, &index, &addenda, end, pieces)
}
