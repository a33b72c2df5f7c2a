//! Signatures over the raw index, and the statements of the index itself: MB-VER-02 and MB-VER-03.

use jiff::{SignedDuration, Timestamp};

use super::Settings;
use super::report::{Check, CheckId, Finding, RecordOutcome, Report, SignatureOutcome, Standing};
use super::rollback::{Leave, put_back, rollback};
use crate::bundle::Head;
use crate::bundle::addendum::{self, Review};
use crate::bundle::index::Index;
use crate::bundle::layout;
use crate::bundle::reader::Addendum;
use crate::bundle::removal::Removed;
use crate::bundle::series::places;
use crate::error::Code;
use crate::sign::policy::{EvaluatedSignature, Outcome};
use crate::sign::{MessageHash, Namespace};

/// How far ahead of this host's clock a bundle's creation time may be: clocks behind an air gap drift.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// All signatures over the index: inside the bundle, appended to it, beside it.
pub(super) fn gather<'a>(head: &'a Head, addenda: &'a [Addendum], settings: &Settings<'a>) -> Vec<(String, &'a [u8])> {
    let mut out: Vec<(String, &[u8])> =
        head.signature.iter().map(|s| (layout::SIGNATURE.to_owned(), s.as_slice())).collect();
    for addendum in addenda.iter().filter(|a| addendum::is_signature(&a.name)) {
        out.push((format!("{}{}", layout::ADDENDA, addendum.name), &addendum.bytes));
    }
    out.extend(settings.detached_signatures.iter().map(|(origin, bytes)| (origin.clone(), bytes.as_slice())));
    out
}

/// MB-VER-02: enough good signatures by trusted keys over exactly the bytes of the index.
///
/// `removals`: the signatures over statements about removals that count (MB-RMV-09).
pub(super) fn signatures(
    head: &Head,
    addenda: &[Addendum],
    removals: &[EvaluatedSignature],
    settings: &Settings,
    report: &mut Report,
) -> Check {
    let mut check = Check::new(CheckId::BundleSignature);
    let gathered = gather(head, addenda, settings);
    check.of = (gathered.len() + removals.len()) as u64;
    if gathered.is_empty() && settings.allow_unsigned {
        report.skip(CheckId::BundleSignature, false, "the bundle has no signature, which --allow-unsigned accepts");
        check.find(Finding::notice(
            Code::Unsigned,
            layout::SIGNATURE,
            "the bundle has no signature; anyone could have made it",
        ));
        return check;
    }
    let Some(policy) = settings.policy else {
        report.signatures = gathered.iter().map(|(origin, bytes)| not_evaluated(origin, bytes)).collect();
        let why = "no signer or trust policy was given (--allow-unsigned)";
        check.find(Finding::notice(
            Code::IncompleteCheck,
            layout::SIGNATURE,
            format!("the signature was not evaluated: {why}"),
        ));
        report.skip(CheckId::BundleSignature, false, why);
        return check;
    };
    let signatures: Vec<(&str, &[u8])> = gathered.iter().map(|(origin, bytes)| (origin.as_str(), *bytes)).collect();
    let hash = MessageHash::of(&head.index);
    let evaluation = policy.evaluate_hashed(&signatures, &hash, removals.to_vec(), settings.now);
    check.examined = evaluation.signatures.len() as u64;
    report.signatures = evaluation.signatures.iter().map(outcome).collect();
    for need in &evaluation.satisfied {
        check.details.push(format!("{} of {} required as {}", need.have, need.need, need.role));
    }
    for evaluated in &evaluation.signatures {
        if evaluated.outcome == Outcome::Good {
            let role = evaluated.role.map_or("?", |r| r.as_str());
            check.details.push(format!(
                "{} as {role} {}",
                evaluated.signer.as_deref().unwrap_or("?"),
                evaluated.key.as_deref().unwrap_or("?")
            ));
        } else if evaluation.verdict.is_ok() {
            let text = format!("ignored an additional signature: {} ({})", evaluated.detail, evaluated.origin);
            check.find(Finding::notice(Code::BadSignature, &evaluated.origin, text));
        }
    }
    if let Some(err) = evaluation.error(&report.bundle.path) {
        let mut finding = Finding::of(layout::SIGNATURE, &err);
        if err.code() == Code::BadSignature {
            finding = finding.fact(format!("index {}", head.digest()));
        }
        if err.code() == Code::Unsigned {
            finding = finding.fact("anyone could have made it").hint(format!(
                "{}; to accept it anyway, and have that recorded: --allow-unsigned",
                err.hint_text().unwrap_or_default()
            ));
        }
        check.find(finding);
    }
    check
}

/// Signed review records, inside and beside the bundle: reported, never counted toward a threshold.
///
/// Inside, an unacceptable record is an error: everything in a bundle is accounted for. Beside it, anyone can put
/// files, so a bad record there is only reported.
pub(super) fn records(head: &Head, addenda: &[Addendum], settings: &Settings, report: &mut Report, check: &mut Check) {
    report.records.clear();
    for addendum in addenda {
        match addendum::kind(&addendum.name) {
            addendum::AddendumKind::Signature
            | addendum::AddendumKind::RecordSignature
            | addendum::AddendumKind::Removal
            | addendum::AddendumKind::RemovalSignature => {}
            addendum::AddendumKind::Record => {
                let origin = format!("{}{}", layout::ADDENDA, addendum.name);
                match addendum::read_record(addendum, addenda, &head.digest()) {
                    Err(why) => check.find(Finding::new(Code::Malformed, origin, unacceptable(&addendum.name, &why))),
                    Ok(found) => record(origin, addendum, found, settings, report, check),
                }
            }
            addendum::AddendumKind::Unknown => check.find(Finding::new(
                Code::UnlistedContent,
                &addendum.name,
                format!("addendum `{}` is not one of format 1", addendum.name),
            )),
        }
    }
    for detached in
        settings.detached_records.iter().filter(|a| addendum::kind(&a.name) == addendum::AddendumKind::Record)
    {
        let origin = format!("{}.{}", report.bundle.path, detached.name);
        match addendum::read_record(detached, settings.detached_records, &head.digest()) {
            Err(why) => check.find(Finding::notice(Code::Malformed, origin, unacceptable(&detached.name, &why))),
            Ok(found) => record(origin, detached, found, settings, report, check),
        }
    }
}

fn unacceptable(name: &str, why: &str) -> String {
    format!("the review record `{name}` is not acceptable: {why}")
}

fn record(
    origin: String,
    addendum: &Addendum,
    (review, armored): (Review, &[u8]),
    settings: &Settings,
    report: &mut Report,
    check: &mut Check,
) {
    let hash = MessageHash::of(&addendum.bytes);
    let evaluated = settings
        .policy
        .as_ref()
        .map(|policy| policy.evaluate_record(&origin, armored, &hash, review.role, settings.now));
    let signature = match &evaluated {
        Some(evaluated) => outcome(evaluated),
        None => not_evaluated(&origin, armored),
    };
    match &evaluated {
        Some(evaluated) if evaluated.outcome == Outcome::Good => check.details.push(format!(
            "record by {} as {}: {}",
            evaluated.signer.as_deref().unwrap_or("?"),
            review.role,
            review.note
        )),
        Some(evaluated) => check.find(Finding::notice(
            Code::Untrusted,
            &origin,
            format!("ignored a review record: {}", evaluated.detail),
        )),
        None => {}
    }
    report.records.push(RecordOutcome {
        origin,
        name: signature.name,
        role: review.role.to_string(),
        key: signature.key,
        created: review.created,
        note: review.note,
        details: review.details,
        outcome: signature.outcome,
        detail: signature.detail,
    });
}

pub(super) fn outcome(evaluated: &EvaluatedSignature) -> SignatureOutcome {
    SignatureOutcome {
        origin: evaluated.origin.clone(),
        name: evaluated.signer.clone(),
        role: evaluated.role.map(|r| r.as_str().to_owned()),
        key: evaluated.key.clone(),
        outcome: Standing::Evaluated(evaluated.outcome),
        detail: (evaluated.outcome != Outcome::Good).then(|| evaluated.detail.clone()),
    }
}

/// A signature without a policy to evaluate it: only its own claims are reported.
fn not_evaluated(origin: &str, armored: &[u8]) -> SignatureOutcome {
    let signature = crate::sign::Signature::parse(armored).ok();
    let role = signature.as_ref().and_then(|s| match Namespace::parse(s.namespace()) {
        Some(Namespace::Index(role)) => Some(role.to_string()),
        _ => None,
    });
    SignatureOutcome {
        origin: origin.to_owned(),
        name: None,
        role,
        key: signature.map(|s| s.key().fingerprint()),
        outcome: Standing::NotEvaluated,
        detail: Some("this host has no trust policy".to_owned()),
    }
}

/// MB-VER-03: checks the index against the clock and the policy's requirements.
pub(super) fn index(index: &Index, digest: &str, removed: &Removed, settings: &Settings) -> Check {
    let mut check = Check::new(CheckId::Index);
    (check.examined, check.of) = (1, 1);
    let now = settings.now;
    // The index was validated: both times parse.
    let time = |text: &str| text.parse::<Timestamp>().unwrap_or(Timestamp::MIN);
    let created = time(&index.created);
    check.details.push(format!("{} of {}", index.title(), index.created));
    if created.duration_since(now) > TOLERANCE {
        check.find(
            Finding::new(
                Code::Expired,
                "created",
                format!("the bundle says it was created in the future: {}", index.created),
            )
            .fact(format!("evaluated at {now}"))
            .hint("wrong clock? give the time yourself with --at"),
        );
    }
    if let Some(expires) = &index.expires
        && time(expires) <= now
    {
        check.find(
            Finding::new(Code::Expired, "expires", format!("the bundle expired at {expires}"))
                .fact(format!("evaluated at {now}"))
                .hint("ask for a newer bundle; wrong clock? give the time yourself with --at"),
        );
    }
    for missing in &index.missing {
        let text = format!("{} was requested and is not in the bundle: {}", missing.reference, missing.reason);
        check.find(Finding::notice(Code::BlobMissing, "missing", text));
    }
    expectations(index, settings, &mut check);
    let rules = settings.policy.map(|policy| &policy.rollback);
    let leave = Leave {
        back: settings.allow_rollback || rules.is_some_and(|rules| rules.allow),
        step: rules.and_then(|rules| rules.max_step).filter(|_| !settings.allow_rollback),
    };
    rollback(index, digest, settings.seen, leave, &mut check);
    put_back(digest, removed, settings.seen, leave, &mut check);
    let Some(policy) = settings.policy else { return check };
    if let Some(max) = policy.max_age
        && now.duration_since(created) > max
    {
        check.find(
            Finding::new(
                Code::Expired,
                "created",
                format!("the bundle is older than the trust policy allows: {}", index.created),
            )
            .fact(format!("maxAge {} h", max.as_hours())),
        );
    }
    if let Some(name) = &policy.bundle.name
        && !places(index).iter().any(|place| place.series() == name)
    {
        check.find(
            Finding::new(Code::Policy, "name", format!("the bundle is called `{}`", index.name))
                .fact(format!("the trust policy requires the series `{name}`"))
                .hint("a bundle belongs to a series by `create --name`, or by its release"),
        );
    }
    for release in &index.releases {
        if !policy.release.allows_architecture(&release.architecture) {
            check.find(
                Finding::new(
                    Code::Policy,
                    release.digest.to_string(),
                    format!("release {} is for {}", release.version, release.architecture),
                )
                .fact("the trust policy does not allow that architecture"),
            );
        }
        if !policy.release.allows_version(&release.version) {
            check.find(Finding::new(
                Code::Policy,
                release.digest.to_string(),
                format!("release {} is not one that the trust policy allows", release.version),
            ));
        }
    }
    check
}

/// Checks what the user expects (security A10).
fn expectations(index: &Index, settings: &Settings, check: &mut Check) {
    if let Some(wanted) = settings.expect_release
        && !index.releases.iter().any(|r| r.version == wanted || format!("{}-{}", r.version, r.architecture) == wanted)
    {
        let there: Vec<String> = index.releases.iter().map(|r| format!("{}-{}", r.version, r.architecture)).collect();
        let there = if there.is_empty() { "no release".to_owned() } else { there.join(", ") };
        check.find(
            Finding::new(Code::Policy, "releases", format!("the bundle does not hold release {wanted}"))
                .fact(format!("it holds {there}")),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::{Release, tests::sample};
    use crate::oci::Digest;
    use crate::sign::{Policy, SecretKey};
    use crate::verify::{Conditions, Resolved, Trust};

    fn trust(rules: &str) -> Trust {
        let key = SecretKey::generate("").unwrap().public().to_line();
        let text = format!("signers: [{{name: b, roles: [builder], key: \"{key}\"}}]\n{rules}\n");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        Trust::Policy(Resolved { policy, keyrings: vec![], image_keys: vec![], image_require: Default::default() })
    }

    fn conditions() -> Conditions {
        Conditions::new("2026-11-22T00:00:00Z".parse().unwrap())
    }

    fn with_release() -> Index {
        let release = Release {
            version: "4.16.37".into(),
            architecture: "amd64".into(),
            digest: Digest::of(b"r"),
            trust: crate::bundle::index::Trust::Openpgp,
            signers: vec![],
        };
        Index { releases: vec![release], ..sample() }
    }

    fn codes(rules: &str, conditions: &Conditions) -> Vec<Code> {
        let trust = trust(rules);
        index(&with_release(), "sha256:x", &Removed::default(), &Settings::new(&trust, conditions))
            .findings
            .iter()
            .map(|f| f.code)
            .collect()
    }

    #[test]
    fn only_releases_of_the_versions_and_architectures_of_the_policy_come_in() {
        for (rules, good) in [
            ("", true),
            ("release: {architectures: [amd64]}", true),
            ("release: {architectures: [arm64, s390x]}", false),
            ("release: {versions: ['4.16.*']}", true),
            ("release: {versions: ['4.17.*', '4.16.3']}", false),
            ("bundle: {name: sample}", true),
            ("bundle: {name: Sample}", false),
        ] {
            assert_eq!(codes(rules, &conditions()), if good { vec![] } else { vec![Code::Policy] }, "{rules}");
        }
    }

    #[test]
    fn the_expected_release_must_be_there_in_its_architecture() {
        for (wanted, good) in
            [("4.16.37", true), ("4.16.37-amd64", true), ("4.16.37-arm64", false), ("4.16.3", false), ("", false)]
        {
            let mut conditions = conditions();
            conditions.expectations.release = Some(wanted.to_owned());
            assert_eq!(codes("", &conditions), if good { vec![] } else { vec![Code::Policy] }, "{wanted}");
        }
    }
}
