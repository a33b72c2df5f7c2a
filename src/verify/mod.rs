//! Is this bundle what it says, and by whom? One function per requirement of `spec/verification.md`.
//!
//! `Err` means "could not check"; a [`Report`] means "checked", good or bad. Time, trust and limits are
//! arguments. Only [`admit`] makes an [`Admitted`] bundle, and only that one can be read into a sink: unpacking
//! without verifying does not compile.

mod closure;
pub mod cosign;
mod manifests;
mod release;
pub mod report;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::bundle::index::{Blob, Index};
use crate::bundle::reader::{Addendum, Bundle, Contents, Head, MemberReader};
use crate::bundle::writer::BUFFER;
use crate::bundle::{Member, limits};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::openshift::openpgp::Keyring;
use crate::sign::policy::Policy;
use rayon::iter::{ParallelBridge, ParallelIterator};

pub use report::{Check, CheckId, Finding, Outcome, Report, Severity, Verdict};

/// Whom and what this host trusts, and when.
#[derive(Debug, Default)]
pub struct Settings {
    /// Who must have signed. `None` only together with `allow_unsigned`.
    pub policy: Option<Policy>,
    /// Accept a bundle without a signature.
    pub allow_unsigned: bool,
    /// OpenPGP keys that releases must be signed by: any one of them.
    pub keyrings: Vec<Keyring>,
    /// Accept a release without a good signature.
    pub allow_unsigned_release: bool,
    /// Kinds of manifests accepted beyond [`crate::kubernetes::ALLOWED_KINDS`].
    pub allow_kinds: Vec<String>,
    /// The time that validity is judged at.
    pub now: Timestamp,
    /// Signatures over the index that came beside the bundle: where from, and the armored text.
    pub loose: Vec<(String, Vec<u8>)>,
    /// Review records, and signatures over them, that came beside the bundle.
    pub loose_records: Vec<Addendum>,
    /// The release that must be in the bundle: `version` or `version-architecture`.
    pub expect_release: Option<String>,
    /// The index digest that the bundle must have.
    pub expect_index: Option<Digest>,
    /// The newest bundle of each name that this host has unpacked.
    pub seen: BTreeMap<String, Seen>,
    /// Accept a bundle older than that.
    pub allow_rollback: bool,
    /// Keys for cosign image signatures.
    pub image_keys: Vec<cosign::ImageKey>,
}

/// A bundle that this host has unpacked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its number.
    pub sequence: u64,
    /// Digest of its index.
    pub index: String,
}

impl Settings {
    /// Nobody trusted, nothing excepted, judged at `now`.
    pub fn new(now: Timestamp) -> Settings {
        Settings {
            policy: None,
            allow_unsigned: false,
            keyrings: Vec::new(),
            allow_unsigned_release: false,
            allow_kinds: Vec::new(),
            now,
            loose: Vec::new(),
            loose_records: Vec::new(),
            expect_release: None,
            expect_index: None,
            seen: BTreeMap::new(),
            allow_rollback: false,
            image_keys: Vec::new(),
        }
    }

    /// The flags that make an exception from a check, as they are written.
    fn exceptions(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.allow_unsigned.then(|| "--allow-unsigned".to_owned()));
        out.extend(self.allow_unsigned_release.then(|| "--allow-unsigned-release".to_owned()));
        out.extend(self.allow_rollback.then(|| "--allow-rollback".to_owned()));
        out.extend(self.allow_kinds.iter().map(|k| format!("--allow-kind {k}")));
        out
    }
}

/// What became of a bundle at the door.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value for each run")]
pub enum Admission {
    /// Its head, documents or files are bad: nothing of it may be used.
    Refused(Report),
    /// Everything in front of the content is right; blobs are checked as they are read.
    Admitted(Box<Admitted>),
}

/// Who stands behind an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// Somebody trusted signed it.
    Signer,
    /// Nobody is asked to (`allow_unsigned`).
    Nobody,
    /// Nobody who is trusted.
    Missing,
}

/// Who vouches for the index of this head. This is less than a verdict: thresholds, times and what the index says are
/// judged by [`admit`].
pub fn voucher(head: &Head, settings: &Settings) -> Voucher {
    let mut report = Report::new(report::Subject::default(), settings.now.to_string());
    let check = trust::signatures(head, &[], settings, &mut report);
    if settings.expect_index.is_some_and(|wanted| wanted != head.digest()) {
        return Voucher::Missing;
    }
    if report.signatures.iter().any(|s| s.outcome == "good") {
        return Voucher::Signer;
    }
    let nobody = settings.allow_unsigned && (settings.policy.is_none() || check.of == 0);
    if nobody { Voucher::Nobody } else { Voucher::Missing }
}

/// Opens the bundle at `path` (`-` for `stdin`) and checks everything but the bytes of configurations and layers.
///
/// # Errors
/// Only what kept the checks from being made: an unreadable medium. Everything found is in the report.
pub fn admit(path: &Path, stdin: Option<Box<dyn std::io::Read + Send>>, settings: &Settings) -> Result<Admission> {
    let subject = report::Subject { path: path.display().to_string(), ..Default::default() };
    let mut report = Report::new(subject, settings.now.to_string());
    report.exceptions = settings.exceptions();
    let opened = match stdin {
        Some(stdin) => Bundle::stream("standard input", stdin),
        None => Bundle::open(path),
    };
    let bundle = match opened {
        Ok(bundle) => bundle,
        Err(e) => return refused(report, CheckId::Format, e),
    };
    report.bundle.index = bundle.head().digest().to_string();

    if let Some(wanted) = settings.expect_index
        && wanted != bundle.head().digest()
    {
        let err = Error::new(Code::Policy, format!("`{}` is another bundle than the one expected", report.bundle.path))
            .fact(format!("expected {wanted}"))
            .fact(format!("found    {}", bundle.head().digest()));
        return refused(report, CheckId::Index, err);
    }
    // Before anything in the index is parsed: what was tampered with goes no further. Where somebody trusted vouches
    // for these very bytes, a bad signature among the others is no tampering (E7).
    let early = trust::signatures(bundle.head(), &[], settings, &mut report);
    let stops = |f: &Finding| matches!(f.code, Code::BadSignature | Code::Malformed) && f.severity == Severity::Error;
    if early.findings.iter().any(stops) && report.signatures.iter().all(|s| s.outcome != "good") {
        report.add(early);
        return Ok(Admission::Refused(concluded(report)));
    }
    report.not_checked.clear();

    let index = match Index::parse(&bundle.head().index) {
        Ok(index) => index,
        Err(e) => {
            report.add(early);
            return refused(report, CheckId::Index, e);
        }
    };
    report.bundle.name = Some(index.name.clone());
    report.bundle.sequence = Some(index.sequence);
    report.bundle.created = Some(index.created.clone());
    report.exceptions.extend(index.exceptions.iter().map(|e| format!("{e} (at creation)")));
    report.add(trust::index(&index, &report.bundle.index, settings));

    let contents = match bundle.contents(index) {
        Ok(contents) => contents,
        Err(e) => {
            report.add(early);
            let id = if e.code() == Code::Truncated { CheckId::Length } else { CheckId::Format };
            return refused(report, id, e);
        }
    };
    // With the addenda, which are found by the index: countersignatures count towards thresholds.
    let mut signature = trust::signatures(contents.head(), contents.addenda(), settings, &mut report);
    trust::records(contents.head(), contents.addenda(), settings, &mut report, &mut signature);
    report.add(signature);
    report.bundle.bytes = contents.length();
    let mut format = Check::new(CheckId::Format);
    format.examined = contents.layout().members().len() as u64;
    format.of = format.examined;
    report.checks.insert(0, format);

    let mut admitted = Admitted::new(contents, report);
    admitted.read_head(settings)?;
    admitted.report.conclude();
    let useless = admitted.report.errors().any(|f| !harmless(f));
    Ok(if useless { Admission::Refused(admitted.so_far()) } else { Admission::Admitted(Box::new(admitted)) })
}

/// A bad verdict after which the content is still worth looking at, although nothing may be unpacked.
fn harmless(finding: &Finding) -> bool {
    matches!(
        finding.code,
        Code::Unsigned
            | Code::BadSignature
            | Code::Untrusted
            | Code::Expired
            | Code::Rollback
            | Code::ReleaseUnverified
            | Code::ImageUnverified
            | Code::Policy
            | Code::BlobMismatch
            | Code::BlobMissing
            | Code::UnlistedContent
    )
}

fn concluded(mut report: Report) -> Report {
    report.conclude();
    report
}

/// A bad verdict from an error that says so; other errors go on as errors.
fn refused(mut report: Report, id: CheckId, err: Error) -> Result<Admission> {
    if !(10..50).contains(&err.code().exit()) {
        return Err(err);
    }
    let mut check = Check::new(id);
    check.find(Finding::of(report.bundle.path.clone(), &err));
    report.add(check);
    Ok(Admission::Refused(concluded(report)))
}

/// A bundle whose head, documents and files were checked.
#[derive(Debug)]
pub struct Admitted {
    contents: Contents,
    report: Report,
    /// Documents, whose digests are right.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Files other than blobs, by path, whose digests are right.
    files: BTreeMap<String, Vec<u8>>,
    /// Blobs whose bytes were seen and right.
    good: Mutex<BTreeSet<Digest>>,
    /// Blobs that were left out because the destination has them.
    left_out: Mutex<BTreeSet<Digest>>,
    digests: Mutex<Check>,
    payloads: Mutex<release::Payloads>,
    /// What cosign signatures are over, once it was seen and right.
    signed: Mutex<BTreeMap<Digest, Option<Vec<u8>>>>,
}

/// What a visitor did with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Read it to its checked end.
    Read,
    /// Did not need it.
    LeftOut,
}

impl Admitted {
    fn new(contents: Contents, report: Report) -> Admitted {
        let mut digests = Check::new(CheckId::BlobDigests);
        digests.of = contents.index().blobs.len() as u64;
        Admitted {
            contents,
            report,
            documents: BTreeMap::new(),
            files: BTreeMap::new(),
            good: Mutex::default(),
            left_out: Mutex::default(),
            digests: Mutex::new(digests),
            payloads: Mutex::default(),
            signed: Mutex::default(),
        }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        self.contents.index()
    }

    /// The report so far. Before [`Admitted::conclude`] it says nothing about configurations and layers.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the bundle can only be read in order, once.
    pub fn is_stream(&self) -> bool {
        self.contents.is_stream()
    }

    /// A manifest or index of the bundle.
    pub fn document(&self, digest: &Digest) -> Option<&[u8]> {
        self.documents.get(digest).map(Vec::as_slice)
    }

    /// The files below a folder of the bundle: path and content.
    pub fn files(&self, folder: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(folder))
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Whether every finding so far allows to write anything.
    pub fn may_unpack(&self) -> bool {
        self.report.errors().next().is_none() && lock(&self.digests).outcome == Outcome::Pass
    }

    /// Whether a blob that was read did not match.
    pub fn is_bad(&self) -> bool {
        lock(&self.digests).outcome == Outcome::Fail
    }

    /// Files and documents, then everything that can be said with them.
    fn read_head(&mut self, settings: &Settings) -> Result<()> {
        let mut check = Check::new(CheckId::Format);
        let mut bad = BTreeSet::new();
        if !self.read_files(&mut check)? || !self.read_documents(&mut bad)? {
            // The stream broke off or lost its way: what is behind cannot be judged, and what was found is enough.
            self.report.add(check);
            let digests = std::mem::replace(&mut *lock(&self.digests), Check::new(CheckId::BlobDigests));
            self.report.add(digests);
            return Ok(());
        }
        let index = self.contents.index();
        closure::oci_index(index, &self.files, &mut check);
        if !check.findings.is_empty() {
            self.report.add(check);
        }
        let graph = closure::graph(index, &self.documents, &bad);
        self.report.add(graph);
        // What can be signed or signed for; that a document is bad is said elsewhere.
        let listed: BTreeSet<Digest> = self.documents.keys().chain(&bad).copied().collect();
        self.report.add(release::signatures(index, &listed, &self.files, settings));
        self.report.add(manifests::check(index, &listed, &self.files, settings));
        let mut payloads = release::Payloads::new(index, &self.documents, &bad);
        if !self.contents.is_stream() {
            payloads.read_ahead(&self.contents)?;
            payloads.conclude(self.contents.index(), &mut self.report);
        }
        self.signed = Mutex::new(cosign::payloads(index, &self.documents).into_keys().map(|d| (d, None)).collect());
        if !self.contents.is_stream() {
            self.read_signed()?;
            let signed = signed_contents(&self.signed);
            cosign::check(self.contents.index(), &self.documents, &signed, &settings.image_keys, &mut self.report);
        }
        self.payloads = Mutex::new(payloads);
        Ok(())
    }

    /// Of a file: what cosign signatures are over, read now.
    fn read_signed(&mut self) -> Result<()> {
        let mut signed = lock(&self.signed);
        for member in self.contents.layout().blobs() {
            let Some(slot) = member.digest.and_then(|d| signed.get_mut(&d)) else { continue };
            match self.contents.read(member, cosign::PAYLOAD) {
                Ok(bytes) => *slot = Some(bytes),
                // Reported with all other digests.
                Err(e) if (10..50).contains(&e.code().exit()) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads the files that are not part of the head. False when a stream cannot be read on.
    fn read_files(&mut self, check: &mut Check) -> Result<bool> {
        let members = self.contents.layout().members();
        for member in &members[self.contents.first()..self.contents.layout().blob_range().start] {
            match self.contents.read(member, limits::INDEX) {
                Ok(bytes) => _ = self.files.insert(member.path.clone(), bytes),
                Err(e) => {
                    let lost = self.loses_its_way(&e);
                    fail(check, &member.path, e)?;
                    if lost {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads the documents; those that do not match are `bad`. False when a stream cannot be read on.
    fn read_documents(&mut self, bad: &mut BTreeSet<Digest>) -> Result<bool> {
        let mut digests = lock(&self.digests);
        for (blob, member) in self.contents.index().blobs.iter().zip(self.contents.layout().blobs()) {
            if !blob.role.is_document() {
                break;
            }
            match self.contents.read(member, limits::DOCUMENT) {
                Ok(bytes) => {
                    digests.examined += 1;
                    lock(&self.good).insert(blob.digest);
                    self.documents.insert(blob.digest, bytes);
                }
                Err(e) => {
                    bad.insert(blob.digest);
                    let lost = self.loses_its_way(&e);
                    fail(&mut digests, &blob.digest.to_string(), e)?;
                    if lost {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether a stream is not where the next member begins after this error. After wrong content it is.
    fn loses_its_way(&self, e: &Error) -> bool {
        self.contents.is_stream() && !matches!(e.code(), Code::BlobMismatch | Code::UnlistedContent)
    }

    /// Hands every configuration and layer to `visit`, from `jobs` threads (a stream: in order, by one).
    ///
    /// Content that does not match is a finding; with `go_on` the other blobs are looked at all the same. What
    /// `visit` itself fails with ends it and is returned.
    pub fn blobs(&self, jobs: usize, go_on: bool, visit: &Visitor<'_>) -> Result<()> {
        let content: Vec<(&Blob, &Member)> = self
            .index()
            .blobs
            .iter()
            .zip(self.contents.layout().blobs())
            .filter(|(b, _)| !b.role.is_document())
            .collect();
        if self.contents.is_stream() {
            let mut buffer = vec![0u8; BUFFER];
            return content.iter().try_for_each(|(blob, member)| self.visit(blob, member, go_on, visit, &mut buffer));
        }
        let mut largest_first = content;
        largest_first.sort_by_key(|(blob, _)| std::cmp::Reverse(blob.size));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(jobs.clamp(1, largest_first.len().max(1)))
            .build()
            .map_err(|e| Error::new(Code::Io, "cannot start threads").source(e))?;
        pool.install(|| {
            let queue = largest_first.into_iter().par_bridge();
            queue.try_for_each_init(
                || vec![0u8; BUFFER],
                |buffer, (blob, member)| self.visit(blob, member, go_on, visit, buffer),
            )
        })
    }

    fn visit(&self, blob: &Blob, member: &Member, go_on: bool, visit: &Visitor<'_>, buffer: &mut [u8]) -> Result<()> {
        let tee = if self.is_stream() { lock(&self.payloads).tee(&blob.digest) } else { None };
        let wanted = self.is_stream() && blob.size <= cosign::PAYLOAD && lock(&self.signed).contains_key(&blob.digest);
        let capture = wanted.then(Vec::new);
        let mut reader = BlobReader { contents: &self.contents, member, open: None, bad: None, tee, capture };
        let visited = visit(blob, &mut reader, buffer);
        let ended = match &visited {
            Ok(Visit::LeftOut) if !self.is_stream() && reader.open.is_none() => {
                lock(&self.left_out).insert(blob.digest);
                return Ok(());
            }
            Ok(_) => reader.drain(buffer),
            Err(_) => Ok(()),
        };
        if let Some(tee) = reader.tee.take() {
            lock(&self.payloads).seen(&blob.digest, tee.finish(ended.is_ok() && visited.is_ok()));
        }
        let mut digests = lock(&self.digests);
        if let Some(bad) = reader.bad.take() {
            let fatal = !go_on || !matches!(bad.code, Code::BlobMismatch | Code::UnlistedContent | Code::Io);
            let err = Error::new(bad.code, bad.message.clone());
            digests.find(Finding { subject: blob.digest.to_string(), ..bad });
            return if fatal { Err(err) } else { Ok(()) };
        }
        visited?;
        ended?;
        digests.examined += 1;
        lock(&self.good).insert(blob.digest);
        if let Some(bytes) = reader.capture.take() {
            lock(&self.signed).insert(blob.digest, Some(bytes));
        }
        Ok(())
    }

    /// Reads what follows the blobs of a stream and draws the verdict.
    pub fn conclude(&mut self, quick: bool, settings: &Settings) -> Result<Report> {
        let mut digests = std::mem::replace(&mut *lock(&self.digests), Check::new(CheckId::BlobDigests));
        let total = self.index().blobs.iter().map(|b| b.size).sum::<u64>();
        digests.details.push(report::size(total));
        let left_out = lock(&self.left_out).len() as u64;
        if left_out > 0 {
            digests.details.push(format!("{left_out} not read: the destination has them"));
        }
        let unread = digests.of - digests.examined - left_out;
        let clean = digests.outcome == Outcome::Pass;
        if unread > 0 && (quick || clean) {
            let why = if quick { "--quick: " } else { "" };
            self.report.skip(
                CheckId::BlobDigests,
                true,
                format!("{why}{unread} of {} blobs were not read", digests.of),
            );
        }
        let length = match self.contents.finish() {
            Ok(()) => None,
            Err(_) if !clean => None,
            Err(e) => Some(e),
        };
        self.report.add(digests);
        if let Some(e) = length {
            let id = if e.code() == Code::Truncated { CheckId::Length } else { CheckId::Format };
            let mut check = Check::new(id);
            fail(&mut check, &self.report.bundle.path.clone(), e)?;
            self.report.add(check);
        }
        if self.contents.is_stream() {
            lock(&self.payloads).conclude(self.contents.index(), &mut self.report);
            let signed = signed_contents(&self.signed);
            cosign::check(self.contents.index(), &self.documents, &signed, &settings.image_keys, &mut self.report);
            if !self.contents.addenda().is_empty() {
                self.judge_again(settings);
            }
        }
        self.report.checks.sort_by_key(|c| c.id);
        self.report.conclude();
        Ok(self.report.clone())
    }

    /// Of a stream: signatures once more, with the addenda that came after the content.
    fn judge_again(&mut self, settings: &Settings) {
        let (head, addenda) = (self.contents.head(), self.contents.addenda());
        self.report.checks.retain(|c| c.id != CheckId::BundleSignature);
        self.report.not_checked.retain(|n| n.id != CheckId::BundleSignature);
        let mut signature = trust::signatures(head, addenda, settings, &mut self.report);
        trust::records(head, addenda, settings, &mut self.report, &mut signature);
        self.report.add(signature);
    }

    /// The report as it stands, for ending early: what was not read is not checked.
    pub fn so_far(&self) -> Report {
        let mut report = self.report.clone();
        report.add(lock(&self.digests).clone());
        report.skip(CheckId::BlobDigests, true, "not everything was read");
        report.checks.sort_by_key(|c| c.id);
        report.conclude();
        report
    }
}

/// Is handed every configuration and layer: reads it, or leaves it out. The buffer is the thread's own.
pub type Visitor<'a> = dyn Fn(&Blob, &mut BlobReader<'_>, &mut [u8]) -> Result<Visit> + Sync + 'a;

/// The content of a blob, hashed while it is read; nothing is read before it is asked for. The read that would
/// end content which does not match fails instead.
#[derive(Debug)]
pub struct BlobReader<'a> {
    contents: &'a Contents,
    member: &'a Member,
    open: Option<MemberReader<'a>>,
    bad: Option<Finding>,
    tee: Option<release::Tee>,
    capture: Option<Vec<u8>>,
}

impl BlobReader<'_> {
    /// Begins anew and passes over the first `offset` bytes (they are hashed again). Of a stream: only the
    /// place where it is.
    pub fn reopen(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if self.open.as_ref().map_or(0, MemberReader::position) == offset {
            return Ok(());
        }
        if self.contents.is_stream() {
            return Err(Error::new(Code::Destination, "the transfer broke off, and a stream cannot be read again")
                .hint("run the same command again with the stream from its beginning, or unpack from a file"));
        }
        self.open = None;
        let mut left = offset;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            left -= self.next(&mut buffer[..want])? as u64;
        }
        Ok(())
    }

    /// Reads all that is left, for its digest only.
    pub fn drain(&mut self, buffer: &mut [u8]) -> Result<()> {
        while self.next(buffer)? > 0 {}
        Ok(())
    }

    /// Reads the next bytes; 0 only after everything was right.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(bad) = &self.bad {
            return Err(Error::new(bad.code, bad.message.clone()));
        }
        let read = match &mut self.open {
            Some(open) => open.next(buffer),
            None => self.contents.open(self.member).and_then(|open| self.open.insert(open).next(buffer)),
        };
        if let (Ok(n), Some(tee)) = (&read, &mut self.tee) {
            tee.send(&buffer[..*n]);
        }
        if let (Ok(n), Some(capture)) = (&read, &mut self.capture) {
            capture.extend_from_slice(&buffer[..*n]);
        }
        read.inspect_err(|e| self.bad = Some(Finding::of(self.member.path.clone(), e)))
    }
}

impl std::io::Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        Ok(self.next(buffer)?)
    }
}

fn fail(check: &mut Check, subject: &str, err: Error) -> Result<()> {
    if !(10..50).contains(&err.code().exit()) {
        return Err(err);
    }
    check.find(Finding::of(subject, &err));
    Ok(())
}

fn signed_contents(signed: &Mutex<BTreeMap<Digest, Option<Vec<u8>>>>) -> BTreeMap<Digest, Vec<u8>> {
    lock(signed).iter().filter_map(|(digest, bytes)| bytes.clone().map(|bytes| (*digest, bytes))).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
