//! Admission: everything that is checked before the first configuration or layer is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::report::{self, Check, CheckId, Finding, Report, Severity};
use super::{Admission, Admitted, Conditions, Settings, Trust, carriage, removal, trust};
use crate::bundle::reader::{Bundle, Contents};
use crate::bundle::removal::Removed;
use crate::bundle::set::{Set, Tally};
use crate::bundle::volume::Volume;
use crate::bundle::{Head, Index, Inputs, inputs, limits};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// Opens a bundle (one file, or volumes and copies together) and checks everything except the bytes of configurations
/// and layers.
///
/// # Errors
/// Only failures that prevent the checks, such as an unreadable medium. Findings are in the report.
pub fn admit<'a>(inputs: Inputs, trust: &'a Trust, conditions: &'a Conditions) -> Result<Admission<'a>> {
    with(inputs, &Settings::new(trust, conditions))
}

/// Opens a bundle to look into it: what is read is checked against its digests, and nothing else is evaluated. The
/// verdict is never good.
///
/// # Errors
/// As [`admit`].
pub fn look(inputs: Inputs, conditions: &Conditions) -> Result<Admission<'_>> {
    static NOBODY: Trust = Trust::Unsigned { keyrings: Vec::new() };
    let settings = Settings::new(&NOBODY, conditions);
    with(inputs, &Settings { look: true, partial: true, allow_rollback: true, ..settings })
}

fn with<'a>(inputs: Inputs, settings: &Settings<'a>) -> Result<Admission<'a>> {
    let subject = report::Subject { path: inputs.display(), ..Default::default() };
    let mut report = Report::new(subject, settings.now.to_string());
    report.trust_policy = settings.policy.and_then(|policy| policy.digest).map(|digest| digest.to_string());
    report.exceptions = settings.exceptions();
    let opened = match choose(inputs.open()?, settings) {
        Ok(opened) => opened,
        Err(e) => return refused(report, CheckId::Format, e),
    };
    let head = opened.main.head();
    report.bundle.index = head.digest().to_string();

    if let Some(wanted) = settings.expect_index
        && wanted != head.digest()
    {
        let err = Error::new(Code::Policy, format!("`{}` is not the expected bundle", report.bundle.path))
            .fact(format!("expected {wanted}"))
            .fact(format!("found    {}", head.digest()));
        return refused(report, CheckId::Index, err);
    }
    // Before anything in the index is parsed: a tampered index goes no further. If a trusted key vouches for these
    // very bytes, a bad signature among the others is not tampering (E7).
    let early = trust::signatures(head, &[], &[], settings, &mut report);
    let stops = |f: &Finding| matches!(f.code, Code::BadSignature | Code::Malformed) && f.severity == Severity::Error;
    if early.findings.iter().any(stops) && report.signatures.iter().all(|s| !s.is_good()) {
        report.add(early);
        return Ok(Admission::Refused(concluded(report)));
    }
    report.not_checked.clear();

    let index = match Index::parse(&head.index) {
        Ok(index) => Arc::new(index),
        Err(e) => {
            report.add(early);
            return refused(report, CheckId::Index, e);
        }
    };
    report.bundle.name = Some(index.name.clone());
    report.bundle.sequence = index.sequence;
    report.bundle.created = Some(index.created.clone());
    report.exceptions.extend(index.exceptions.iter().map(|e| format!("{e} (at creation)")));
    let digest = head.digest();
    let stated = trust::index(&index, &report.bundle.index, &Removed::default(), settings);
    let (mut set, unrelated) = match opened.together(index) {
        Ok(parts) => parts,
        Err(e) => {
            report.add(stated);
            report.add(early);
            let id = if e.code() == Code::Truncated { CheckId::Length } else { CheckId::Format };
            return refused(report, id, e);
        }
    };
    let removal::Accepted { removed, counted, check, listed } = removal::evaluate(&set, &digest, settings, &report);
    set.restrict(&removed);
    set.supply(settings.stock.clone());
    // From here on the index says what counts.
    report.add(trust::index(set.index(), &report.bundle.index, set.removed(), settings));
    report.exceptions.extend(listed.iter().filter(|one| one.obeyed).map(|one| one.sentence()));
    report.checks.extend(check);
    report.checks.extend(carriage::check(&set, settings, &mut report.not_checked));
    report.removals = listed;
    // Evaluate again with the addenda, which the index locates: countersignatures count toward thresholds.
    let mut signature = trust::signatures(set.head(), set.addenda(), &counted, settings, &mut report);
    trust::records(set.head(), set.addenda(), settings, &mut report, &mut signature);
    if settings.look {
        signature.findings.clear();
    }
    report.add(signature);
    if settings.look {
        // Without this, an unsigned bundle could become a verified one.
        report.skip(CheckId::BundleSignature, true, "contents not verified: name a signer or a trust policy");
    }
    report.bundle.bytes = set.length();
    if !set.is_stream() {
        // A stream may still deliver countersignatures.
        set.forget_index();
    }
    let mut format = Check::new(CheckId::Format);
    format.examined = set.parts().iter().map(|p| p.layout().members().len() as u64).sum();
    format.of = format.examined;
    report.checks.insert(0, format);

    let mut admitted = Admitted::new(set, report, *settings, counted);
    admitted.read_head(unrelated)?;
    admitted.report.conclude();
    let unusable = admitted.report.errors().any(|f| !content_still_readable(f));
    Ok(if unusable { Admission::Refused(admitted.interim_report()) } else { Admission::Admitted(Box::new(admitted)) })
}

/// The opened files, and the one whose index counts.
struct Opened {
    main: Bundle,
    /// Others with the same index.
    same: Vec<Bundle>,
    /// Files that could not be opened, or have a different index.
    unrelated: Vec<(String, Result<Bundle>)>,
}

/// Chooses the index that counts: the expected one, else one signed by a trusted key, else the most frequent.
fn choose(mut opened: Vec<(String, Result<Bundle>)>, settings: &Settings) -> Result<Opened> {
    if opened.len() == 1
        && let Some((_, only)) = opened.pop()
    {
        return Ok(Opened { main: only?, same: Vec::new(), unrelated: Vec::new() });
    }
    let good = |bundle: &Bundle| {
        let mut scratch = Report::new(report::Subject::default(), String::new());
        trust::signatures(bundle.head(), &[], &[], settings, &mut scratch);
        scratch.signatures.iter().any(report::SignatureOutcome::is_good)
    };
    let bundles: Vec<&Bundle> = opened.iter().filter_map(|(_, o)| o.as_ref().ok()).collect();
    let same = |a: &Bundle, b: &Bundle| Arc::ptr_eq(&a.head().index, &b.head().index);
    let rank = |bundle: &&Bundle| {
        let expected = settings.expect_index.is_some_and(|wanted| wanted == bundle.head().digest());
        (expected, good(bundle), bundles.iter().filter(|other| same(other, bundle)).count())
    };
    // Among equals, the first one.
    let best = bundles.iter().copied().rev().max_by_key(rank).map(|b| (b.name().to_owned(), b.head().index.clone()));
    let Some((name, index)) = best else {
        let first = opened.into_iter().find_map(|(_, o)| o.err());
        return Err(first.unwrap_or_else(|| Error::new(Code::Usage, "no bundle is named")));
    };
    let (mut main, mut same, mut unrelated) = (None, Vec::new(), Vec::new());
    for (path, one) in opened {
        match one {
            Ok(bundle) if main.is_none() && path == name => main = Some(bundle),
            Ok(bundle) if Arc::ptr_eq(&bundle.head().index, &index) => same.push(bundle),
            other => unrelated.push((path, other)),
        }
    }
    let main = main.ok_or_else(|| Error::new(Code::Internal, "the chosen bundle is lost"))?;
    Ok(Opened { main, same, unrelated })
}

impl Opened {
    /// The parts that belong together, and findings about the others.
    fn together(self, index: Arc<Index>) -> Result<(Set, Vec<Finding>)> {
        if self.same.is_empty() && self.unrelated.is_empty() {
            return Ok((Set::new(vec![self.main.contents(index)?])?, Vec::new()));
        }
        let head = self.main.head().clone();
        let main_name = self.main.name().to_owned();
        let (mut tally, mut parts) = (Tally::default(), Vec::new());
        let mut unrelated: Vec<(String, Error)> = Vec::new();
        // Parts that claim to be of this bundle but fit nowhere in it: the others may be complete.
        let mut unplaced: BTreeSet<String> = BTreeSet::new();
        for bundle in std::iter::once(self.main).chain(self.same) {
            let name = bundle.name().to_owned();
            let differs = differs(bundle.head(), &name, &head, &main_name);
            let opened = bundle.tolerant(index.clone());
            opened.iter().try_for_each(|part| tally.add(part.layout()))?;
            match (opened, differs) {
                (Ok(part), Some(err)) => parts.push(part.with_damage(err)),
                (Ok(part), None) => parts.push(part),
                (Err(e), _) => {
                    unplaced.insert(name.clone());
                    unrelated.push((name, e));
                }
            }
        }
        if parts.is_empty() {
            return Err(unrelated.swap_remove(0).1);
        }
        let mut findings = Vec::new();
        for (path, one) in self.unrelated {
            let err = match one {
                Err(e) => e,
                Ok(bundle) => inputs::foreign(&bundle, &path, &index, &head.digest()),
            };
            unrelated.push((path, err));
        }
        let divisions = divisions(&parts);
        let mut tries = limits::TRIES;
        for (path, err) in unrelated {
            let mut finding = Finding::of(path.clone(), &err);
            if unplaced.contains(&path) {
                finding.message = format!("`{path}` cannot be used: {}", err.message());
            }
            let mut candidates = candidates(&divisions).take(tries).inspect(|_| tries = tries.saturating_sub(1));
            match Contents::damaged(path.as_ref(), &head, &index, &mut candidates, err) {
                Some(part) => {
                    tally.add(part.layout())?;
                    parts.push(part);
                }
                None => findings.push(finding),
            }
        }
        let set = Set::new(parts)?;
        if (0..set.index().blobs.len()).all(|blob| set.has(blob)) {
            let unneeded = findings.iter_mut().filter(|f| unplaced.contains(&f.subject));
            unneeded.for_each(|f| f.severity = Severity::Notice);
        }
        Ok((set, findings))
    }
}

/// The difference between the signature in a file's head and the one that counts.
fn differs(head: &Head, name: &str, main: &Head, main_name: &str) -> Option<Error> {
    let text = match (&head.signature, &main.signature) {
        (own, main) if own == main => return None,
        (None, _) => format!("`{name}` has no signature, but `{main_name}` has one"),
        (_, None) => format!("`{name}` has a signature, but `{main_name}` has none"),
        _ => format!("the signature in `{name}` is not the one in `{main_name}`"),
    };
    Some(Error::new(Code::BadSignature, text))
}

/// One volume of each available division.
fn divisions(parts: &[Contents]) -> Vec<Volume> {
    let mut out: Vec<Volume> = Vec::new();
    for volume in parts.iter().filter_map(Contents::volume) {
        if !out.iter().any(|known| known.is_with(volume)) {
            out.push(volume.clone());
        }
    }
    out
}

/// The parts that a file with a damaged head may be: the whole bundle, or any volume of the known divisions.
fn candidates(divisions: &[Volume]) -> impl Iterator<Item = Option<Volume>> + '_ {
    let volumes = divisions.iter().flat_map(|volume| {
        (1..=volume.of).map(|n| {
            let mut other = Volume { volume: n, ..volume.clone() };
            // A lost head includes the digests of its pieces, so those pieces cannot be read.
            other.digests = vec![Digest::of(b""); other.own_pieces()];
            Some(other)
        })
    });
    std::iter::once(None).chain(volumes)
}

/// Whether the content is still worth checking after this finding, although nothing may be unpacked.
fn content_still_readable(finding: &Finding) -> bool {
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
            | Code::Removed
    )
}

fn concluded(mut report: Report) -> Report {
    report.conclude();
    report
}

/// Turns an error that is a verdict into a bad report; passes other errors on.
fn refused<'a>(mut report: Report, id: CheckId, err: Error) -> Result<Admission<'a>> {
    if !err.code().is_verdict() {
        return Err(err);
    }
    let mut check = Check::new(id);
    check.find(Finding::of(report.bundle.path.clone(), &err));
    report.add(check);
    Ok(Admission::Refused(concluded(report)))
}
