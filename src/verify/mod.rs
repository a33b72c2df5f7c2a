//! Verifies a bundle: what it contains, and who signed it. One function per requirement of `spec/verification.md`.
//!
//! `Err` means that a check could not run; a [`Report`] is the result of the checks, good or bad. Time, trust and
//! limits are arguments. Only [`admit`] creates an [`Admitted`] bundle, and only that can be read into a sink:
//! unpacking without verifying does not compile.

mod admit;
mod blob;
mod carriage;
mod closure;
pub mod cosign;
pub(crate) mod disguise;
mod elsewhere;
mod graph_data;
mod kept;
#[cfg(feature = "cluster")]
mod loose;
mod manifests;
mod release;
pub(crate) mod removal;
pub mod rollback;
mod settings;
mod trust;
mod updates;
mod verified;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::bundle::Head;
use crate::bundle::index::{Blob, Index};
use crate::bundle::limits;
use crate::bundle::reader::Addendum;
use crate::bundle::set::Set;
use crate::bundle::writer::BUFFER;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::parallel::{Pace, Turn};
use crate::sign::policy::EvaluatedSignature;

pub use crate::report;
pub use admit::{admit, look};
pub use blob::BlobReader;
pub use carriage::vouches;
pub(crate) use carriage::{read_whole, read_whole_of};
#[cfg(feature = "cluster")]
pub use loose::loose;
pub use report::{Check, CheckId, Finding, Outcome, Report, Severity, SignatureOutcome, Verdict};
pub(crate) use settings::Settings;
pub use settings::{Conditions, Detached, Exceptions, Expectations, Resolved, Trust};
pub(crate) use updates::updates;
pub use verified::{Conclusion, Receiver, Verified, Visit};
pub(crate) use volumes::Needs;

/// The result of admission.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value for each run")]
pub enum Admission<'a> {
    /// Its head, documents or files are bad: nothing in it may be used.
    Refused(Report),
    /// Everything before the content is verified; blobs are checked as they are read.
    Admitted(Box<Admitted<'a>>),
}

/// Whether an index is signed by a trusted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endorsement {
    /// A trusted key signed it.
    Signed,
    /// No signature is required (`allow_unsigned`).
    NotRequired,
    /// No trusted key signed it.
    None,
}

/// The endorsement of this head's index. This is less than a verdict: [`admit`] checks thresholds, times and the
/// content of the index.
pub fn endorsement(head: &Head, trust: &Trust, conditions: &Conditions) -> Endorsement {
    let settings = &Settings::new(trust, conditions);
    let mut report = Report::new(report::Subject::default(), settings.now.to_string());
    let check = trust::signatures(head, &[], &[], settings, &mut report);
    if settings.expect_index.is_some_and(|wanted| wanted != head.digest()) {
        return Endorsement::None;
    }
    if report.signatures.iter().any(SignatureOutcome::is_good) {
        return Endorsement::Signed;
    }
    let not_required = settings.allow_unsigned && (settings.policy.is_none() || check.of == 0);
    if not_required { Endorsement::NotRequired } else { Endorsement::None }
}

/// A bundle whose head, documents and files are verified.
#[derive(Debug)]
pub struct Admitted<'a> {
    settings: Settings<'a>,
    set: Set,
    report: Report,
    /// Documents with verified digests.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Files other than blobs, by path, with verified digests.
    files: BTreeMap<String, Vec<u8>>,
    /// Blobs whose bytes were read and match.
    good: Mutex<BTreeSet<Digest>>,
    /// Blobs that were skipped because the destination has them.
    left_out: Mutex<BTreeSet<Digest>>,
    digests: Mutex<Check>,
    /// Blobs that cannot be restored here, and whose members are the ones that are signed.
    members: Mutex<BTreeSet<usize>>,
    payloads: Mutex<release::Payloads>,
    unlisted: Mutex<disguise::Unlisted>,
    /// Signatures over statements about removals that count.
    counted: Vec<EvaluatedSignature>,
    /// Small blobs that the checks need whole, once read and verified.
    kept: Mutex<kept::Kept>,
}

/// How much of the content is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Each blob until one copy matches; stops at the first blob without a matching copy.
    Needed,
    /// Every copy of every blob, whatever is found.
    All,
}

impl<'a> Admitted<'a> {
    fn new(set: Set, report: Report, settings: Settings<'a>, counted: Vec<EvaluatedSignature>) -> Admitted<'a> {
        let mut digests = Check::new(CheckId::BlobDigests);
        digests.of = (set.index().blobs.len() - set.absent().count() + set.apart().count()) as u64;
        Admitted {
            settings,
            set,
            report,
            documents: BTreeMap::new(),
            files: BTreeMap::new(),
            good: Mutex::default(),
            left_out: Mutex::default(),
            members: Mutex::default(),
            digests: Mutex::new(digests),
            payloads: Mutex::default(),
            unlisted: Mutex::default(),
            counted,
            kept: Mutex::default(),
        }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        self.set.index()
    }

    /// The volumes or copies of the bundle.
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// The report so far. Before [`Admitted::conclude`] it does not cover configurations and layers.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the bundle can only be read once, in order.
    pub fn is_stream(&self) -> bool {
        self.set.is_stream()
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

    /// Whether the findings so far allow writing anything.
    pub fn may_unpack(&self) -> bool {
        self.report.errors().next().is_none() && lock(&self.digests).outcome == Outcome::Pass
    }

    /// Whether any blob that was read did not match.
    pub fn is_bad(&self) -> bool {
        lock(&self.digests).outcome == Outcome::Fail
    }

    /// The configurations and layers that are on no available volume.
    pub(crate) fn absent(&self) -> Vec<&Blob> {
        let blobs = self.index().blobs.iter().enumerate();
        blobs.filter(|(at, blob)| !blob.role.is_document() && !self.set.has(*at)).map(|(_, blob)| blob).collect()
    }

    /// The number and bytes of available configurations and layers, counting each copy.
    pub fn content(&self) -> (u64, u64) {
        let blobs = self.index().blobs.iter().enumerate().filter(|(_, b)| !b.role.is_document());
        let copies = blobs.map(|(at, blob)| (self.set.replicas(at).len() as u64, blob.size));
        copies.fold((0, 0), |(items, bytes), (copies, size)| (items + copies, bytes + copies * size))
    }

    /// Reads files and documents, then runs all checks that need only them. `unrelated` are findings about named files
    /// that do not belong to the bundle.
    fn read_head(&mut self, unrelated: Vec<Finding>) -> Result<()> {
        let settings = &{ self.settings };
        let mut check = Check::new(CheckId::Format);
        let mut bad = BTreeSet::new();
        if !self.read_files(&mut check)? || !self.read_documents(&mut bad)? {
            // The stream ended or cannot resume: the rest is unknown, and the findings so far are enough.
            self.report.add(check);
            let digests = std::mem::replace(&mut *lock(&self.digests), Check::new(CheckId::BlobDigests));
            self.report.add(digests);
            return Ok(());
        }
        self.removals();
        let index = self.set.index();
        closure::oci_index(self.set.signed(), &self.files, &mut check);
        if !check.findings.is_empty() {
            self.report.add(check);
        }
        volumes::check(&self.set, unrelated, &self.documents, settings, &mut self.report);
        let graph = closure::graph(index, &self.documents, &bad);
        self.report.add(graph);
        if settings.look {
            return Ok(());
        }
        // Everything that can be signed or referred to; bad documents are reported elsewhere.
        let listed: BTreeSet<Digest> = self.documents.keys().chain(&bad).copied().collect();
        let (mut releases, signed) = release::signatures(index, &listed, &self.files, settings);
        let mut unlisted = disguise::Unlisted::new(index, &|digest| self.documents.get(digest).map(Vec::as_slice));
        if !self.set.is_stream() {
            unlisted.read_configs(&self.set)?;
            disguise::names(index, &unlisted, settings, &mut releases);
        }
        unlisted.conclude(settings, &mut releases);
        self.report.add(releases);
        self.report.releases = signed;
        self.unlisted = Mutex::new(unlisted);
        let manifests = manifests::check(index, &listed, &self.files, settings, &mut self.report);
        self.report.add(manifests);
        let mut payloads = release::Payloads::new(index, &self.documents, &bad).without(&self.set);
        if !self.set.is_stream() {
            payloads.read_ahead(&self.set)?;
            payloads.conclude(self.set.index(), &mut self.report);
        }
        let mut kept = kept::Kept::new(index, &self.documents);
        if !self.set.is_stream() {
            kept.read_ahead(&self.set)?;
            let kept = std::mem::take(&mut kept).into_bytes();
            self.with_kept(&kept, &payloads);
        }
        self.kept = Mutex::new(kept);
        self.payloads = Mutex::new(payloads);
        Ok(())
    }

    /// The checks that need content of small blobs.
    fn with_kept(&mut self, kept: &BTreeMap<Digest, Vec<u8>>, payloads: &release::Payloads) {
        let (settings, index) = (&{ self.settings }, self.set.index());
        cosign::check(index, &self.documents, kept, settings, &mut self.report);
        cosign::default_policy::check(index, &self.documents, kept, &payloads.policies, &mut self.report);
        graph_data::check(index, &self.documents, kept, &payloads.metadata, &mut self.report);
    }

    /// Reads the files that are not part of the head, from every part. False when a stream cannot be read further.
    fn read_files(&mut self, check: &mut Check) -> Result<bool> {
        let mut failed = Vec::new();
        let gone = self.set.removed_files();
        for part in self.set.parts() {
            let members = part.layout().members();
            for member in &members[part.first()..part.layout().blob_range().start] {
                match part.read(member, limits::INDEX) {
                    Ok(_) if gone.contains(member.path.as_str()) => {}
                    Ok(bytes) => _ = self.files.insert(member.path.clone(), bytes),
                    Err(e) => {
                        let lost = self.cannot_resume(&e);
                        failed.push((member.path.clone(), e));
                        if lost {
                            return fail_all(check, failed, |_| false).map(|()| false);
                        }
                    }
                }
            }
        }
        fail_all(check, failed, |path| self.files.contains_key(path)).map(|()| true)
    }

    /// Reads the documents from every part; those without a matching copy are `bad`. False when a stream cannot be
    /// read further.
    fn read_documents(&mut self, bad: &mut BTreeSet<Digest>) -> Result<bool> {
        let mut digests = lock(&self.digests);
        let mut failed: Vec<(String, Error)> = Vec::new();
        let mut wrong = BTreeSet::new();
        let blobs = &self.set.signed().blobs;
        for part in self.set.parts() {
            for (extent, member) in part.layout().extents().iter().zip(part.layout().blobs()) {
                let blob = &blobs[extent.blob];
                if !blob.role.is_document() {
                    break;
                }
                match part.read(member, limits::DOCUMENT) {
                    Ok(_) if self.set.position(extent.blob).is_none() => {}
                    Ok(bytes) => {
                        if self.documents.insert(blob.digest, bytes).is_none() {
                            digests.examined += 1;
                            lock(&self.good).insert(blob.digest);
                        }
                    }
                    Err(e) => {
                        wrong.insert(blob.digest);
                        let lost = self.cannot_resume(&e);
                        failed.push((blob.digest.to_string(), e));
                        if lost {
                            bad.append(&mut wrong);
                            return fail_all(&mut digests, failed, |_| false).map(|()| false);
                        }
                    }
                }
            }
        }
        bad.extend(wrong.into_iter().filter(|digest| !self.documents.contains_key(digest)));
        fail_all(&mut digests, failed, |digest| {
            digest.parse().is_ok_and(|digest: Digest| self.documents.contains_key(&digest))
        })
        .map(|()| true)
    }

    /// Whether a stream is not at a member boundary after this error. After wrong content it is at one.
    fn cannot_resume(&self, e: &Error) -> bool {
        self.set.is_stream() && !matches!(e.code(), Code::BlobMismatch | Code::UnlistedContent)
    }

    /// Passes every available configuration and layer to `receiver`, at this pace (a stream: in order, one after the other).
    ///
    /// Content that does not match is a finding. If another copy has the blob, that copy is passed next, from its
    /// beginning, and the finding becomes a remark. An error of `receiver` itself ends this and is returned.
    pub fn blobs(&self, pace: &Pace, extent: Extent, receiver: &dyn Receiver) -> Result<()> {
        let content = self.index().blobs.iter().enumerate().filter(|(_, b)| !b.role.is_document()).collect();
        self.excluded(pace, extent)?;
        self.some_blobs(pace, extent, content, false, receiver)
    }

    /// Like [`Admitted::blobs`], for these configurations and layers of the index, given with their positions;
    /// `in_order`: begun in this order. A stream passes what it has, in its own order.
    pub(crate) fn some_blobs(
        &self,
        pace: &Pace,
        extent: Extent,
        mut content: Vec<(usize, &Blob)>,
        in_order: bool,
        receiver: &dyn Receiver,
    ) -> Result<()> {
        if self.set.is_stream() {
            let mut buffer = vec![0u8; BUFFER];
            content.sort_by_key(|(at, _)| *at);
            let apart: BTreeSet<usize> = self.set.apart().collect();
            content.retain(|(at, _)| self.set.has(*at) || apart.contains(at));
            return content.iter().try_for_each(|(at, blob)| match apart.contains(at) && !self.set.has(*at) {
                true => self.drain_member(*at, &mut buffer),
                false => self.visit(*at, blob, extent, receiver, (&mut buffer, None)),
            });
        }
        if in_order {
            let work = |buffer: &mut Vec<u8>, (at, blob): &(usize, &Blob)| {
                self.visit(*at, blob, extent, receiver, (buffer, None))
            };
            return pace.map(&content, || vec![0u8; BUFFER], work).map(|_| ());
        }
        let size = |(_, blob): &(usize, &Blob)| blob.size;
        let work = |buffer: &mut Vec<u8>, (at, blob): &(usize, &Blob), turn: &Turn<'_>| {
            self.visit(*at, blob, extent, receiver, (buffer, Some(turn)))
        };
        pace.sized(&content, size, || vec![0u8; BUFFER], work)
    }

    fn visit(
        &self,
        at: usize,
        blob: &Blob,
        extent: Extent,
        receiver: &dyn Receiver,
        (buffer, turn): (&mut [u8], Option<&Turn<'_>>),
    ) -> Result<()> {
        let mut remarks: Vec<Finding> = Vec::new();
        let mut seen = false;
        let replicas = self.set.replicas(at);
        for (n, replica) in replicas.iter().enumerate() {
            if seen && extent == Extent::Needed {
                break;
            }
            let mut reader = BlobReader::new(&self.set, at, replica, turn);
            if self.is_stream() {
                reader.tee = lock(&self.payloads).tee(&blob.digest);
                reader.capture = lock(&self.kept).wants(&blob.digest, blob.size).then(Vec::new);
            }
            reader.look = lock(&self.unlisted).look(&blob.digest);
            let visited = receiver.receive(blob, &mut reader, buffer);
            let ended = match &visited {
                // The destination's claim to have a blob does not verify it: blobs that must be searched are read
                // anyway.
                Ok(Visit::LeftOut) if !self.is_stream() && !reader.is_touched() && reader.look.is_none() => {
                    lock(&self.left_out).insert(blob.digest);
                    return Ok(());
                }
                Ok(_) => reader.drain(buffer),
                Err(_) => Ok(()),
            };
            if let Some(look) = reader.look.take()
                && ended.is_ok()
                && visited.is_ok()
            {
                lock(&self.unlisted).seen(&blob.digest, look);
            }
            if let Some(tee) = reader.tee.take() {
                lock(&self.payloads).seen(&blob.digest, tee.finish(ended.is_ok() && visited.is_ok()));
            }
            if let Some(bad) = reader.bad.take() {
                let tolerable = matches!(
                    bad.code,
                    Code::BlobMismatch | Code::UnlistedContent | Code::Malformed | Code::Truncated | Code::Io
                );
                if !tolerable {
                    return Err(Error::new(bad.code, bad.message));
                }
                remarks.push(bad);
                if n + 1 < replicas.len() || seen {
                    continue;
                }
                return self.all_bad(remarks, extent);
            }
            visited?;
            ended?;
            seen = true;
            if let Some(bytes) = reader.capture.take() {
                lock(&self.kept).keep(blob.digest, bytes);
            }
        }
        let mut digests = lock(&self.digests);
        if seen {
            digests.examined += u64::from(!self.set.is_absent(at));
            lock(&self.good).insert(blob.digest);
        }
        for bad in remarks {
            digests.find(Finding { severity: Severity::Notice, ..bad }.fact("another copy has it"));
        }
        Ok(())
    }

    /// No copy of a blob matches: the verdict is bad.
    fn all_bad(&self, found: Vec<Finding>, extent: Extent) -> Result<()> {
        let mut digests = lock(&self.digests);
        let go_on = |f: &Finding| matches!(f.code, Code::BlobMismatch | Code::UnlistedContent | Code::Io);
        let fatal = found.iter().find(|f| extent == Extent::Needed || !go_on(f));
        let result = fatal.map_or(Ok(()), |f| Err(Error::new(f.code, f.message.clone())));
        found.into_iter().for_each(|finding| digests.find(finding));
        result
    }

    /// Reads what follows the blobs of a stream and draws the verdict. Only a complete and good verdict yields the
    /// [`Verified`] that opens destinations.
    pub fn conclude(self, quick: bool) -> Result<Conclusion<'a>> {
        self.conclude_with(quick, &mut |_| Ok(()))
    }

    /// Like [`Admitted::conclude`]; the addenda of a stream, which come last, are handed to `late`.
    pub(crate) fn conclude_with(
        mut self,
        quick: bool,
        late: &mut dyn FnMut(&Addendum) -> Result<()>,
    ) -> Result<Conclusion<'a>> {
        let unrestored = self.unrestored();
        let unread = self.unread() - unrestored;
        let settings = &{ self.settings };
        let mut digests = std::mem::replace(&mut *lock(&self.digests), Check::new(CheckId::BlobDigests));
        let carried = self.index().blobs.iter().enumerate().filter(|(at, _)| !self.set.is_absent(*at));
        digests.details.push(report::size(carried.map(|(_, b)| b.size).sum::<u64>()));
        let left_out = lock(&self.left_out).len() as u64;
        if left_out > 0 {
            digests.details.push(format!("{left_out} not read, since the destination has them"));
        }
        let clean = digests.outcome == Outcome::Pass;
        if unread > 0 && (quick || clean) {
            let why = if quick { "--quick: " } else { "" };
            self.report.skip(
                CheckId::BlobDigests,
                true,
                format!("{why}{unread} of {} blobs were not read", digests.of),
            );
        }
        self.restored(unrestored);
        let everywhere = self.on_volumes().all(|blob| lock(&self.left_out).contains(&blob.digest));
        if everywhere {
            // Volumes that are missing here are at the destination.
            self.report.not_checked.retain(|n| n.id != CheckId::Volumes);
        }
        let length = match self.set.finish() {
            Ok(()) => None,
            Err(_) if !clean => None,
            Err(e) => Some(e),
        };
        if self.set.is_stream() {
            self.set.addenda().iter().try_for_each(late)?;
        }
        self.report.add(digests);
        if let Some(e) = length {
            let id = if e.code() == Code::Truncated { CheckId::Length } else { CheckId::Format };
            let mut check = Check::new(id);
            fail(&mut check, &self.report.bundle.path.clone(), e)?;
            self.report.add(check);
        }
        // For a stream now, after its releases were read: their findings are the better explanation.
        let index = self.set.is_stream().then(|| self.set.index());
        if !settings.look {
            lock(&self.unlisted).conclude_content(index, settings, &mut self.report);
        }
        if self.set.is_stream() && !settings.look {
            lock(&self.payloads).conclude(self.set.index(), &mut self.report);
            let payloads = std::mem::take(&mut *lock(&self.payloads));
            let kept = std::mem::take(&mut *lock(&self.kept)).into_bytes();
            self.with_kept(&kept, &payloads);
            if !self.set.addenda().is_empty() {
                self.evaluate_again(settings);
            }
        }
        self.report.checks.sort_by_key(|c| c.id);
        self.report.conclude();
        let complete = !quick
            && unread + unrestored == 0
            && self.report.verdict == Verdict::Verified
            && self.report.exit_code == 0;
        Ok(match complete {
            true => Conclusion::Verified(Box::new(Verified::new(self))),
            false => Conclusion::Unverified(Box::new(self.report)),
        })
    }

    /// The number of blobs that were not verified and that no receiver has.
    fn unread(&self) -> usize {
        let (good, left_out) = (lock(&self.good), lock(&self.left_out));
        let blobs = self.index().blobs.iter();
        blobs.filter(|blob| !good.contains(&blob.digest) && !left_out.contains(&blob.digest)).count()
    }

    /// For a stream: evaluates signatures again, with the addenda that came after the content.
    fn evaluate_again(&mut self, settings: &Settings) {
        self.counted = removal::too_late(&self.set, settings, &mut self.report);
        let (head, addenda) = (self.set.head(), self.set.addenda());
        self.report.checks.retain(|c| c.id != CheckId::BundleSignature);
        self.report.not_checked.retain(|n| n.id != CheckId::BundleSignature);
        let mut signature = trust::signatures(head, addenda, &self.counted, settings, &mut self.report);
        trust::records(head, addenda, settings, &mut self.report, &mut signature);
        self.report.add(signature);
    }

    /// The current report, for ending early: unread content is not checked.
    pub fn interim_report(&self) -> Report {
        let mut report = self.report.clone();
        report.add(lock(&self.digests).clone());
        report.skip(CheckId::BlobDigests, true, "not everything was read");
        report.checks.sort_by_key(|c| c.id);
        report.conclude();
        report
    }
}

/// A failure in one part is only a remark if another part has the content.
fn fail_all(check: &mut Check, failed: Vec<(String, Error)>, good: impl Fn(&str) -> bool) -> Result<()> {
    for (subject, err) in failed {
        if good(&subject) {
            let finding = Finding::of(subject, &err).fact("another copy has it");
            check.find(Finding { severity: Severity::Notice, ..finding });
        } else {
            fail(check, &subject, err)?;
        }
    }
    Ok(())
}

fn fail(check: &mut Check, subject: &str, err: Error) -> Result<()> {
    if !err.code().is_verdict() {
        return Err(err);
    }
    check.find(Finding::of(subject, &err));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
