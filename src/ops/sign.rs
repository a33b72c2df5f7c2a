//! `sign`: verifies first, then adds a signature over the index, or a signed record about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::addendum::{self, PREDICATE, Review, STATEMENT, Statement, Subject, SubjectDigest};
use crate::bundle::append::Appender;
use crate::bundle::layout::END;
use crate::bundle::reader::{Addendum, Bundle};
use crate::bundle::{Head, Index, Inputs, limits};
use crate::error::{Code, Error, Result};
use crate::fs::partial::allow_open_files;
use crate::host::detached::{self, Listing, Signatures};
use crate::oci::Digest;
use crate::ops::reviewed::statement;
use crate::ops::{Observer, verify};
use crate::sign::policy::Outcome as Judge;
use crate::sign::{MessageHash, Namespace, Role, SecretKey, Signature};
use crate::verify::{Conditions, Report, SignatureOutcome, Trust};

/// The namespace of records.
const RECORD: &str = Namespace::Record.as_str();

/// What to add to a bundle.
#[derive(Debug)]
pub enum What {
    /// A signature by this key in this role.
    Sign(Box<SecretKey>, Role),
    /// This armored signature, made by `ssh-keygen -Y sign`.
    Attach(Vec<u8>),
}

/// Options of `sign`.
#[derive(Debug)]
pub struct Options {
    /// What to add.
    pub what: What,
    /// A note for a record.
    pub note: Option<String>,
    /// Details for a record: any JSON object.
    pub details: Option<crate::oci::json::Object>,
    /// The index that the details are about, and the removals that counted, if they are those of a report.
    pub about: Option<(Digest, BTreeSet<String>)>,
    /// Write beside the bundle instead of into it.
    pub detach: bool,
    /// The current time, for the record.
    pub now: Timestamp,
    /// Threads.
    pub jobs: usize,
}

/// The outcome.
#[derive(Debug)]
pub enum Outcome {
    /// The bundle is bad; nothing was signed.
    Refused(Box<Report>),
    /// Signed.
    Signed(Summary),
}

/// The result: what was added.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// Digest of the index that was signed.
    pub index: String,
    /// The role.
    pub role: String,
    /// Fingerprint of the key.
    pub key: String,
    /// Names of the addenda, or paths of the files beside the bundle.
    pub written: Vec<String>,
}

/// Reads the index of a bundle, exactly as it is signed: text in the canonical form of format 1, not verified.
pub fn index_bytes(paths: &[PathBuf]) -> Result<Vec<u8>> {
    let files = files(paths)?;
    let bytes = Bundle::open(&files[0])?.head().index.clone();
    Index::parse(&bytes)?;
    Ok(bytes.to_vec())
}

/// The files to sign: for a folder, every bundle and volume in it.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let inputs = Inputs::of(paths)?;
    if inputs.is_stream() {
        return Err(Error::new(Code::Usage, "a stream cannot be signed").hint("name a file"));
    }
    inputs.open()?.into_iter().map(|(path, bundle)| bundle.map(|_| path.into())).collect()
}

/// What appends to these files, if something is to be appended.
pub(super) fn appenders(files: &[PathBuf], wanted: bool) -> Result<Vec<Appender>> {
    files.iter().filter(|_| wanted).map(|file| Appender::open(file)).collect()
}

/// Verifies a bundle and adds what the options say to each of its files, so that every volume can be verified alone.
///
/// The thresholds of the policy need not be met yet: the second signer cannot wait for the third. Everything else must
/// be right.
///
/// # Errors
/// Errors of checking or writing the bundle; [`Code::BadSignature`] when the signature to attach is not over this
/// index; [`Code::Conflict`] when the name of the signature is taken. A bad bundle is not an error but
/// [`Outcome::Refused`].
pub fn sign(
    paths: &[PathBuf],
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let recorded = options.note.is_some() || options.details.is_some();
    if recorded && matches!(options.what, What::Attach(_)) {
        return Err(Error::new(Code::Usage, "a record is signed with --sign-key").state("nothing was added"));
    }
    let files = files(paths)?;
    // Each file is opened twice: to verify it, and to append to it.
    allow_open_files(2 * files.len());
    // Held to the end: no other process can append between the check and the write.
    let appenders = appenders(&files, !options.detach)?;
    let head = Bundle::open(&files[0])?.head().clone();
    if let Some(about) = options.about.as_ref().map(|(about, _)| about).filter(|about| **about != head.digest()) {
        return Err(Error::new(Code::Usage, format!("the report is not about `{}`", files[0].display()))
            .fact(format!("the report is about {about}"))
            .fact(format!("the bundle has     {}", head.digest()))
            .state("nothing was signed"));
    }
    let whole = verify::Options { quick: false, jobs: options.jobs };
    let again = || {
        verify::verify(Inputs::Paths(files.clone()), trust, conditions, &whole, observer)
            .map_err(|e| e.interrupted("nothing was signed"))
    };
    let mut report = again()?;
    let torn = torn(&files, &appenders, &report)?;
    if let ([file], [(_, end)]) = (files.as_slice(), torn.as_slice()) {
        report = verify_front(file, *end, (trust, conditions), options.jobs, observer)?;
    }
    if !refuses(&report, trust, conditions) || files.len() > 1 {
        for (at, end) in &torn {
            appenders[*at].repair(*end)?;
            observer.warn(&format!("what an interrupted sign had left behind `{}` was removed", files[*at].display()));
        }
        if files.len() > 1 && !torn.is_empty() {
            report = again()?;
        }
    }
    if refuses(&report, trust, conditions) {
        return Ok(Outcome::Refused(Box::new(report)));
    }
    if report.bundle.index != head.digest().to_string() {
        return Err(Error::new(Code::Conflict, format!("`{}` changed while it was read", files[0].display()))
            .state("nothing was signed"));
    }
    if let Some((_, removals)) = &options.about {
        reviewed_less(&report, removals)?;
    }
    observer.say("Verified", &report.bundle.path);

    let index = Arc::new(Index::parse(&head.index)?);
    let hash = MessageHash::of(&head.index);
    let (armored, signature) = signature(&files[0], &options.what, &hash)?;
    let role = role_of(&signature)?;
    beside_removals(&report, &signature, role, observer)?;
    advise(trust, conditions, &armored, &head.index, observer);
    let review = recorded.then(|| review(role, options)).transpose()?;
    let new = Addition {
        options,
        index: &index,
        hash: &hash,
        armored,
        signature,
        role,
        review,
        alone: files.len() == 1,
        beside: Listing::list(&files),
    };

    let mut written = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let names = new.add_to(file, appenders.get(at), conditions)?;
        written.extend(names.into_iter().map(|name| match files.len() {
            1 => name,
            _ if options.detach => name,
            _ => format!("{} in {}", name, file.display()),
        }));
    }
    let key = new.signature.key().fingerprint();
    match written.is_empty() {
        true => observer.say("Unchanged", &format!("signed as {role} by this key already ({key})")),
        false => observer.say("Signed", &format!("as {role} ({key})")),
    }
    Ok(Outcome::Signed(Summary { index: head.digest().to_string(), role: role.to_string(), key, written }))
}

/// Whoever reviewed a bundle without something has not reviewed the bundle that has it.
///
/// # Errors
/// [`Code::Usage`] when the report is about less than what is here.
fn reviewed_less(report: &Report, removals: &BTreeSet<String>) -> Result<()> {
    let here: BTreeSet<String> = report
        .removals
        .iter()
        .filter(|one| one.obeyed)
        .map(|one| statement(one.key.as_deref().unwrap_or_default(), &one.created, &one.reason))
        .collect();
    let mut missing = removals.difference(&here).peekable();
    if missing.peek().is_none() {
        return Ok(());
    }
    let text = format!("the report is about less than what `{}` has: something was removed there", report.bundle.path);
    let error = Error::new(Code::Usage, text).state("nothing was signed");
    let error = missing.take(8).fold(error, |error, one| error.fact(format!("removed by {one}")));
    Err(error.hint("make a report about this file, or sign the one that was reviewed"))
}

/// A signature over the index is for all of the bundle, also for what was removed.
///
/// # Errors
/// [`Code::Usage`] when the key has signed for the rest only (MB-RMV-09).
fn beside_removals(report: &Report, signature: &Signature, role: Role, observer: &dyn Observer) -> Result<()> {
    let mut removals = report.removals.iter().filter(|one| one.obeyed).peekable();
    if role != Role::Reviewer || removals.peek().is_none() {
        return Ok(());
    }
    let key = signature.key().fingerprint();
    if let Some(own) = removals.find(|one| one.key.as_deref() == Some(&key)) {
        return Err(Error::new(Code::Usage, "this key has signed for the bundle without what it removed")
            .fact(format!("in {}", own.origin))
            .fact("that counts as its signature; another one would be for all of the bundle")
            .state("nothing was added"));
    }
    observer.warn("something was removed from this bundle, and a signature over its index is for all of it");
    Ok(())
}

/// The files at whose end an interrupted append left a remainder, and where their members end.
fn torn(files: &[PathBuf], appenders: &[Appender], report: &Report) -> Result<Vec<(usize, u64)>> {
    let mut out = Vec::new();
    if !only_unlisted(report) {
        return Ok(out);
    }
    for (at, appender) in appenders.iter().enumerate() {
        let end = appender.end(members_end(Bundle::open(&files[at])?.head())?)?;
        if appender.is_torn(end)? {
            out.push((at, end));
        }
    }
    Ok(out)
}

/// What to add to each file.
struct Addition<'a> {
    options: &'a Options,
    index: &'a Arc<Index>,
    hash: &'a MessageHash,
    armored: Vec<u8>,
    signature: Signature,
    role: Role,
    review: Option<Review>,
    /// Whether there is only one file: then all named signatures are about it.
    alone: bool,
    /// The files beside the bundle.
    beside: Listing,
}

impl Addition<'_> {
    /// Adds whatever one file lacks, to it or beside it. Returns the names of what was written.
    fn add_to(&self, path: &Path, appender: Option<&Appender>, conditions: &Conditions) -> Result<Vec<String>> {
        let bundle = Bundle::open(path)?;
        let head = bundle.head().clone();
        let end = members_end(&head)?;
        let addenda = bundle.contents(self.index.clone())?.addenda().to_vec();
        let mut beside = self.beside.of(path)?;
        for (path, bytes) in conditions.detached.signatures.iter().filter(|_| self.alone) {
            beside.add_signature(path.clone(), bytes.clone())?;
        }
        let existing = Existing { head: &head, addenda: &addenda, detached: &beside, detach: self.options.detach };
        let mut pieces = Vec::new();
        if !existing.has_signature(&self.signature, self.hash) {
            existing.room_for_signature(path)?;
            pieces.push((addendum::signature_name(self.role, self.signature.key().blob()), self.armored.clone()));
        }
        if let (What::Sign(key, _), Some(review)) = (&self.options.what, &self.review)
            && !existing.has_record(review, key, &head.digest())
        {
            pieces.extend(record(key, review.clone(), self.index, &head.digest())?);
        }
        match appender {
            None => detached::write(path, &pieces),
            Some(appender) => inside(path, appender, self.index, &addenda, end, pieces),
        }
    }
}

/// Whether this verdict prevents signing: anything bad except a threshold that is not met yet, a check that did not
/// run, or no known key vouching for the bundle.
pub(super) fn refuses(report: &Report, trust: &Trust, conditions: &Conditions) -> bool {
    let unsigned = conditions.exceptions.unsigned || matches!(trust, Trust::Unsigned { .. });
    report.errors().any(|f| f.code != Code::Untrusted)
        || report.not_checked.iter().any(|n| n.required)
        || !report.signatures.iter().any(SignatureOutcome::is_good) && !unsigned
}

/// The only fault is data after the archive, perhaps left by an interrupted append.
fn only_unlisted(report: &Report) -> bool {
    report.errors().next().is_some()
        && report.errors().all(|f| matches!(f.code, Code::UnlistedContent | Code::Untrusted | Code::Unsigned))
}

/// Where the members of a bundle end and its addenda begin.
pub(super) fn members_end(head: &Head) -> Result<u64> {
    let index = Index::parse(&head.index)?;
    let layout = head.layout(&index)?;
    Ok(layout.end())
}

/// Verifies the bundle as if it ended at `end`.
fn verify_front(
    path: &Path,
    end: u64,
    (trust, conditions): (&Trust, &Conditions),
    jobs: usize,
    observer: &dyn Observer,
) -> Result<Report> {
    use std::io::Read;
    let file = crate::fs::dir::regular(path)?;
    let front = file.take(end).chain(std::io::repeat(0).take(END));
    verify::verify(
        Inputs::stream(Box::new(front)),
        trust,
        conditions,
        &verify::Options { quick: false, jobs },
        observer,
    )
}

/// Returns the signature to add, checked.
fn signature(path: &Path, what: &What, hash: &MessageHash) -> Result<(Vec<u8>, Signature)> {
    match what {
        What::Sign(key, role) => {
            let armored = crate::sign::sign(key, Namespace::Index(*role), hash).into_bytes();
            let signature =
                crate::sign::verify(hash, &armored).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            Ok((armored, signature))
        }
        What::Attach(armored) => {
            let signature = crate::sign::verify(hash, armored).map_err(|e| {
                Error::new(
                    Code::BadSignature,
                    format!("the signature does not hold for the index of `{}`: {e}", path.display()),
                )
                .state("nothing was added")
                .hint("sign what `mirror-bundle sign BUNDLE --print-index` prints")
            })?;
            Ok((armored.clone(), signature))
        }
    }
}

/// Warns if the policy of this host knows the key but would not count its signature.
fn advise(trust: &Trust, conditions: &Conditions, armored: &[u8], index: &[u8], observer: &dyn Observer) {
    let Some(policy) = trust.policy() else { return };
    for judged in policy.evaluate(&[("", armored)], index, conditions.now).signatures {
        if !matches!(judged.outcome, Judge::Good | Judge::UnknownKey) && judged.signer.is_some()
            || judged.outcome == Judge::Revoked
        {
            observer.warn(&format!("the trust policy of this host does not accept the signature: {}", judged.detail));
        }
    }
}

/// What a bundle already has, inside and beside it.
struct Existing<'a> {
    head: &'a Head,
    addenda: &'a [Addendum],
    detached: &'a Signatures,
    detach: bool,
}

impl Existing<'_> {
    fn inside(&self) -> impl Iterator<Item = &[u8]> {
        let appended = self.addenda.iter().filter(|a| addendum::is_signature(&a.name)).map(|a| a.bytes.as_slice());
        self.head.signature.as_deref().into_iter().chain(appended)
    }

    /// A good signature by the same key for the same purpose: inside the bundle or, with `--detach`, beside it.
    fn has_signature(&self, new: &Signature, hash: &MessageHash) -> bool {
        let beside = self.detached.signatures.iter().map(|(_, bytes)| bytes.as_slice()).filter(|_| self.detach);
        self.inside().chain(beside).any(|armored| {
            crate::sign::verify(hash, armored)
                .is_ok_and(|old| old.key().blob() == new.key().blob() && old.namespace() == new.namespace())
        })
    }

    /// One signature above the limit would make the bundle unacceptable to every receiver.
    fn room_for_signature(&self, path: &Path) -> Result<()> {
        let count = self.inside().count() + self.detached.signatures.len();
        if count < limits::SIGNATURES {
            return Ok(());
        }
        Err(Error::new(Code::Usage, format!("`{}` has {count} signatures, and more are not evaluated", path.display()))
            .state("nothing was added")
            .hint("remove signature files beside it that are not needed, or have the bundle made again"))
    }

    /// The same review by the same key.
    fn has_record(&self, review: &Review, key: &SecretKey, index: &Digest) -> bool {
        let records = match self.detach {
            false => self.addenda.to_vec(),
            true => [self.addenda, &self.detached.records].concat(),
        };
        records.iter().filter(|a| addendum::kind(&a.name) == addendum::AddendumKind::Record).any(|one| {
            addendum::read_record(one, &records, index).is_ok_and(|(old, armored)| {
                let signed = crate::sign::verify(&MessageHash::of(&one.bytes), armored);
                Review { created: review.created.clone(), ..old } == *review
                    && signed.is_ok_and(|s| s.key().blob() == key.public().blob() && s.namespace() == RECORD)
            })
        })
    }
}

fn role_of(signature: &Signature) -> Result<Role> {
    match Namespace::parse(signature.namespace()) {
        Some(Namespace::Index(role)) => Ok(role),
        _ => Err(Error::new(Code::BadSignature, format!("the signature has namespace `{}`", signature.namespace()))
            .state("nothing was added")
            .hint("sign with -n mirror-bundle.v1.<role>")),
    }
}

fn review(role: Role, options: &Options) -> Result<Review> {
    let note = options.note.clone().unwrap_or_default();
    if note.len() > limits::TEXT || note.chars().any(char::is_control) {
        let text = format!("a note is one line of at most {} bytes", limits::TEXT);
        return Err(Error::new(Code::Usage, text)
            .state("nothing was added")
            .hint("longer texts go into --record FILE"));
    }
    let created = Timestamp::from_second(options.now.as_second()).unwrap_or(options.now).to_string();
    Ok(Review { role, note, created, details: options.details.clone() })
}

fn record(key: &SecretKey, review: Review, index: &Index, digest: &Digest) -> Result<Vec<(String, Vec<u8>)>> {
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![Subject { name: index.name.clone(), digest: SubjectDigest { sha256: digest.hex() } }],
        predicate_type: PREDICATE.to_owned(),
        predicate: review,
    };
    let mut bytes = serde_json::to_vec_pretty(&statement)
        .map_err(|e| Error::new(Code::Internal, "cannot write the record").source(e))?;
    bytes.push(b'\n');
    if bytes.len() as u64 > limits::ADDENDUM {
        let text = format!("the record has {} bytes, over the limit of {}", bytes.len(), limits::ADDENDUM);
        return Err(Error::new(Code::Usage, text).state("nothing was added"));
    }
    let signature = crate::sign::sign(key, Namespace::Record, &MessageHash::of(&bytes)).into_bytes();
    let name = addendum::record_name(&bytes);
    // The signature first: a record never exists without it.
    Ok(vec![(format!("{name}.sig"), signature), (name, bytes)])
}

pub(super) fn inside(
    path: &Path,
    appender: &Appender,
    index: &Index,
    addenda: &[Addendum],
    members_end: u64,
    pieces: Vec<(String, Vec<u8>)>,
) -> Result<Vec<String>> {
    if let Some((name, _)) = pieces.iter().find(|(name, _)| addenda.iter().any(|a| a.name == *name)) {
        return Err(Error::new(Code::Conflict, format!("`{}` has another addendum `{name}`", path.display()))
            .fact("it is no good signature by this key")
            .state("nothing was added")
            .hint("write the signature beside the bundle: --detach"));
    }
    if addenda.len() + pieces.len() > limits::ADDENDA {
        let text = format!("`{}` has {} addenda, and {} are allowed", path.display(), addenda.len(), limits::ADDENDA);
        return Err(Error::new(Code::Usage, text).state("nothing was added").hint("write beside the bundle: --detach"));
    }
    if pieces.is_empty() {
        // All files exist; the run that wrote them may have been killed before they were durable.
        appender.sync()?;
    } else {
        appender.append(appender.end(members_end)?, index.mtime(), &pieces)?;
    }
    Ok(pieces.into_iter().map(|(name, _)| name).collect())
}
