//! Signatures over the raw index, and what the index itself says: MB-VER-02 and MB-VER-03.

use jiff::{SignedDuration, Timestamp};

use super::Settings;
use super::report::{Check, CheckId, Finding, Report, SignatureOutcome};
use crate::bundle::index::Index;
use crate::bundle::layout;
use crate::bundle::reader::Head;
use crate::error::Code;
use crate::sign::policy::{Judgement, Outcome};

/// How far ahead of this host's clock a bundle may say it was created: clocks behind an air gap drift.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// MB-VER-02: enough good signatures by trusted keys over exactly the bytes of the index.
pub(super) fn signatures(head: &Head, settings: &Settings, report: &mut Report) -> Check {
    let mut check = Check::new(CheckId::BundleSignature);
    let signatures: Vec<(&str, &[u8])> = head.signature.iter().map(|s| (layout::SIGNATURE, s.as_slice())).collect();
    check.of = signatures.len() as u64;
    if signatures.is_empty() {
        unsigned(&mut check, settings, report);
        return check;
    }
    let Some(policy) = &settings.policy else {
        let why = "no signer or trust policy was given (--allow-unsigned)";
        check.find(Finding::notice(
            Code::IncompleteCheck,
            layout::SIGNATURE,
            format!("the signature was not judged: {why}"),
        ));
        report.skip(CheckId::BundleSignature, false, why);
        return check;
    };
    let judgement = policy.judge(&signatures, &head.index, settings.now);
    check.examined = judgement.signatures.len() as u64;
    report.signatures = judgement.signatures.iter().map(outcome).collect();
    for need in &judgement.satisfied {
        check.details.push(format!("{} of {} required as {}", need.have, need.need, need.role));
    }
    for judged in &judgement.signatures {
        if judged.outcome == Outcome::Good {
            check.details.push(format!(
                "{} {}",
                judged.signer.as_deref().unwrap_or("?"),
                judged.key.as_deref().unwrap_or("?")
            ));
        } else if judgement.verdict.is_ok() {
            check.find(Finding::notice(
                Code::BadSignature,
                &judged.origin,
                format!("a further signature does not count: {}", judged.detail),
            ));
        }
    }
    if let Err(code) = judgement.verdict {
        check.find(explain(code, &judgement, settings, head, report));
    }
    check
}

fn unsigned(check: &mut Check, settings: &Settings, report: &mut Report) {
    if settings.allow_unsigned {
        report.skip(CheckId::BundleSignature, false, "the bundle has no signature, which --allow-unsigned accepts");
        check.find(Finding::notice(
            Code::Unsigned,
            layout::SIGNATURE,
            "the bundle has no signature; anyone could have made it",
        ));
        return;
    }
    check.find(
        Finding::new(Code::Unsigned, layout::SIGNATURE, format!("`{}` has no signature", report.bundle.path))
            .fact("anyone could have made it")
            .hint("ask the builder for a bundle made with --sign-key; to accept it anyway, and have that recorded: --allow-unsigned"),
    );
}

fn outcome(judged: &crate::sign::policy::Judged) -> SignatureOutcome {
    SignatureOutcome {
        origin: judged.origin.clone(),
        name: judged.signer.clone(),
        role: judged.role.map(|r| r.as_str().to_owned()),
        key: judged.key.clone(),
        outcome: match judged.outcome {
            Outcome::Good => "good".to_owned(),
            other => format!("{}: {}", other.as_str(), judged.detail),
        },
    }
}

fn explain(code: Code, judgement: &Judgement, settings: &Settings, head: &Head, report: &Report) -> Finding {
    let path = &report.bundle.path;
    let mut finding = match code {
        Code::BadSignature => Finding::new(code, layout::SIGNATURE, format!("the index of `{path}` does not match its signature"))
            .fact(format!("found    {}", head.digest()))
            .fact("the bundle was changed after it was signed")
            .hint("do not use this copy; compare the index digest with the builder before asking for another"),
        Code::Expired => Finding::new(code, layout::SIGNATURE, format!("the signature of `{path}` is by a key that is not valid now"))
            .fact(format!("judged at {}", settings.now))
            .hint("wrong clock? give the time yourself with --at; otherwise ask the builder for a bundle signed with a valid key"),
        Code::Untrusted => Finding::new(code, layout::SIGNATURE, format!("`{path}` is signed, but not by enough keys that you trust"))
            .hint("if the builder changed keys, get the new public key by another way than this medium"),
        other => Finding::new(other, layout::SIGNATURE, format!("the signature of `{path}` is not acceptable")),
    };
    for judged in &judgement.signatures {
        let key = judged.key.as_deref().unwrap_or("an unreadable key");
        finding = finding.fact(format!("signed by {key}: {}", judged.detail));
    }
    if let Some(policy) = &settings.policy
        && code == Code::Untrusted
    {
        for signer in policy.signers().iter().take(8) {
            finding = finding.fact(format!("you trust {} {}", signer.key.fingerprint(), signer.name));
        }
    }
    for need in judgement.satisfied.iter().filter(|n| n.have < n.need) {
        finding = finding.fact(format!("{} of {} required as {}", need.have, need.need, need.role));
    }
    finding
}

/// MB-VER-03: the index against the clock and the policy's expectations.
pub(super) fn index(index: &Index, settings: &Settings) -> Check {
    let mut check = Check::new(CheckId::Index);
    (check.examined, check.of) = (1, 1);
    let now = settings.now;
    // The index was checked: both times parse.
    let time = |text: &str| text.parse::<Timestamp>().unwrap_or(Timestamp::MIN);
    let created = time(&index.created);
    check.details.push(format!("{} #{} of {}", index.name, index.sequence, index.created));
    if created.duration_since(now) > TOLERANCE {
        check.find(
            Finding::new(
                Code::Expired,
                "created",
                format!("the bundle says it was created in the future: {}", index.created),
            )
            .fact(format!("judged at {now}"))
            .hint("wrong clock? give the time yourself with --at"),
        );
    }
    if let Some(expires) = &index.expires
        && time(expires) <= now
    {
        check.find(
            Finding::new(Code::Expired, "expires", format!("the bundle expired at {expires}"))
                .fact(format!("judged at {now}"))
                .hint("ask for a newer bundle; wrong clock? give the time yourself with --at"),
        );
    }
    let Some(policy) = &settings.policy else { return check };
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
        && *name != index.name
    {
        check.find(
            Finding::new(Code::Policy, "name", format!("the bundle is called `{}`", index.name))
                .fact(format!("the trust policy wants `{name}`")),
        );
    }
    for release in &index.releases {
        if let Some(allowed) = &policy.release.architectures
            && !allowed.contains(&release.architecture)
        {
            check.find(
                Finding::new(
                    Code::Policy,
                    release.digest.to_string(),
                    format!("release {} is for {}", release.version, release.architecture),
                )
                .fact(format!("the trust policy allows {}", allowed.join(", "))),
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
