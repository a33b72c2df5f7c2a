//! `mirror-bundle verify`, and the report as text.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Map;

use super::answer::{self, Table};
use super::args::{Global, Output, Verify};
use super::escape::{escape, name as named, title};
use super::term::Terminal;
use super::{inputs, proof};
use crate::bundle::Inputs;
use crate::bundle::index;
use crate::error::{Code, Error, Result};
use crate::ops::evidence::Files;
use crate::ops::observer;
use crate::ops::reading::Basis;
use crate::ops::review::{Ask, Outcome as Reviewed, review};
use crate::ops::verify::{Options, verify_with};
use crate::policy::{Facts, Policy};
use crate::report::{Attestation, Evidence, SignedRelease, Updates};
use crate::verify::{CheckId, Finding, Outcome, Report, Severity, Verdict};

/// How many problems are shown in full.
const SHOWN: usize = 8;
/// How many notices are shown.
const NOTICES: usize = 64;

pub(super) fn run(args: &Verify, global: &Global, term: &Terminal) -> Result<u8> {
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, args.partial)?;
    let options = Options { quick: args.quick, jobs: inputs::processors(global.jobs) };
    let evidence = inputs::evidence(&args.evidence, args.r#for.as_ref())?;
    if let Some((policy, name)) = inputs::policy(args.policy.as_deref(), conditions.now)? {
        return by_rules(args, (policy, &name), Basis { trust: Some(trust), conditions }, &evidence, global, term);
    }
    let books =
        proof::open("verify", &args.proof.proof, proof::key(args.proof.sign_key.as_deref(), term)?, &trust, false)?;
    let verified =
        Inputs::of(&args.bundle).and_then(|from| verify_with(from, &trust, &conditions, &options, &evidence, term));
    let mut report = verified.map_err(|e| proof::failed(&books, e, &args.bundle, term))?;
    report.proof = proof::close(&books, &report, report.exit_code, Map::new())?;
    show(&report, global, term, None);
    Ok(report.exit_code)
}

/// `--policy`: the same reading evaluates rules.
fn by_rules(
    args: &Verify,
    (policy, name): (Policy, &str),
    basis: Basis,
    evidence: &Files,
    global: &Global,
    term: &Terminal,
) -> Result<u8> {
    let ask = Ask {
        policy: Some(&policy),
        policy_file: name,
        packages: global.output != Output::Text,
        files: global.output != Output::Text,
        scanners: Vec::new(),
        scan: crate::scan::Options::default(),
        earlier: false,
        evidence,
        jobs: inputs::processors(global.jobs),
    };
    let Some(trust) = &basis.trust else { return Err(Error::new(Code::Internal, "no trust")) };
    let books =
        proof::open("verify", &args.proof.proof, proof::key(args.proof.sign_key.as_deref(), term)?, trust, false)?;
    let read = Inputs::of(&args.bundle).and_then(|from| review(from, &basis, ask, term));
    let (mut report, facts) = match read.map_err(|e| proof::failed(&books, e, &args.bundle, term))? {
        Reviewed::Refused(report) => (*report, None),
        Reviewed::Done(mut done) => {
            // What is only unusual in layers is for `ls` and `scan`.
            done.layers.findings.retain(|finding| finding.severity == Severity::Error);
            let done = done.with_layers();
            (done.report, Some(done.facts))
        }
    };
    report.proof = proof::close(&books, &report, report.exit_code, Map::new())?;
    match (facts, global.output) {
        (Some(facts), Output::Json | Output::Jsonl) => {
            problems(&report, term, None);
            answer::json(global, &WithFacts { report: &report, facts: &facts });
        }
        _ => show(&report, global, term, None),
    }
    Ok(report.exit_code)
}

/// A report with the facts that the rules saw.
#[derive(Serialize)]
struct WithFacts<'a> {
    #[serde(flatten)]
    report: &'a Report,
    facts: &'a Facts,
}

/// Shows why a command did nothing.
pub(super) fn refused(
    report: &Report,
    global: &Global,
    term: &Terminal,
    state: &str,
    (verb, did): (&str, &'static str),
) {
    match global.output {
        Output::Text => show(report, global, term, Some(state)),
        Output::Json | Output::Jsonl => {
            problems(report, term, Some(state));
            answer::verified::<()>(global, verb, did, None, Some(report), report.exit_code);
        }
    }
}

/// Shows a report: the result on standard output, problems on standard error.
pub(super) fn show(report: &Report, global: &Global, term: &Terminal, state: Option<&str>) {
    match global.output {
        Output::Json | Output::Jsonl => {
            // The document is the last line.
            problems(report, term, state);
            return answer::json(global, report);
        }
        Output::Text if global.quiet == 0 => answer::text(&render(report)),
        Output::Text if global.quiet == 1 => answer::text(&verdict_line(report, true)),
        Output::Text => {}
    }
    if global.quiet == 0 {
        some_problems(report, term, state, true);
    }
}

/// Every problem, the worst first.
pub(super) fn problems(report: &Report, term: &Terminal, state: Option<&str>) {
    some_problems(report, term, state, false);
}

/// Like [`problems`]; if the `listed` lines of signatures and records say why one is ignored, no notice repeats it.
fn some_problems(report: &Report, term: &Terminal, state: Option<&str>, listed: bool) {
    let mut seen = BTreeSet::new();
    // A problem that two checks found is shown once.
    let mut errors: Vec<_> = report.errors().filter(|f| seen.insert((f.code, f.message.as_str()))).collect();
    errors.sort_by_key(|f| (f.code.exit() < 10, f.code.exit()));
    let shown = errors.len().min(SHOWN);
    for (at, finding) in errors.iter().take(shown).enumerate() {
        term.finding(finding, state.filter(|_| at + 1 == shown));
    }
    // Counted but unnamed findings belong to checks that found errors, except for notices of the others.
    let counted: u64 = report.checks.iter().map(|check| check.more).sum();
    let more = (errors.len() - shown) as u64 + if errors.is_empty() { 0 } else { counted };
    if more > 0 {
        let all = if counted > 0 { "lists those that the report holds" } else { "lists all" };
        term.note(&format!("and {} more; -o json {all}", observer::count_of(more)));
    }
    let signed = report.signatures.iter().map(|one| (&one.origin, &one.detail));
    let reasons: Vec<_> = signed.chain(report.records.iter().map(|one| (&one.origin, &one.detail))).collect();
    let repeats = |finding: &Finding| {
        let same = |(origin, why): &(&String, &Option<String>)| {
            **origin == finding.subject && why.as_ref().is_some_and(|why| finding.message.contains(why.as_str()))
        };
        listed && reasons.iter().any(same)
    };
    let notices: Vec<_> = report.findings().filter(|f| f.severity != Severity::Error && !repeats(f)).collect();
    notices.iter().take(NOTICES).for_each(|notice| term.finding(notice, None));
    let more = notices.len().saturating_sub(NOTICES) as u64 + if errors.is_empty() { counted } else { 0 };
    if more > 0 && term.shows(Severity::Notice) {
        term.note(&format!("and {} more notices", observer::count_of(more)));
    }
}

/// What is missing, and how to continue.
pub(super) fn still_missing(report: &Report, term: &Terminal) {
    let mut lines = vec!["run the same command again with the missing volumes:".to_owned()];
    lines.extend(report.not_checked.iter().filter(|n| n.required).map(|n| format!("  {}", n.reason)));
    term.next(&lines);
}

/// The verdict; if requested, with the code of the worst finding.
pub(super) fn verdict_line(report: &Report, with_code: bool) -> String {
    let word = match report.verdict {
        Verdict::Verified => "VERIFIED",
        Verdict::NotFullyChecked => "NOT FULLY CHECKED",
        Verdict::Failed => "FAILED",
    };
    let code = match report.worst() {
        Some(finding) if with_code => format!("  {}", finding.code),
        None if with_code && report.verdict != Verdict::Verified => format!("  {}", Code::IncompleteCheck),
        _ => String::new(),
    };
    format!("verdict   {word}  {}{}{code}\n", named(&report.bundle.path), but(report))
}

/// What stands behind a verdict: what was removed, and that there are exceptions.
pub(super) fn but(report: &Report) -> String {
    let except = report.except().map(|text| format!("  complete except {}", named(&text))).unwrap_or_default();
    let others = report.exceptions.len() > report.removals.iter().filter(|one| one.obeyed).count();
    format!("{except}{}", if others { "  with exceptions" } else { "" })
}

fn render(report: &Report) -> String {
    let mut head = Table::default();
    if !report.bundle.index.is_empty() {
        head.row("index", &report.bundle.index);
    }
    if let (Some(name), Some(created)) = (&report.bundle.name, &report.bundle.created) {
        let name = index::title(&title(name), report.bundle.sequence);
        head.row("bundle", format!("{name}, created {created}"));
    }
    for exception in &report.exceptions {
        head.row("exception", named(exception));
    }
    let mut out = verdict_line(report, false) + &head.render() + "\n";
    let mut word = "checked";
    for check in &report.checks {
        let result = match check.outcome {
            Outcome::Fail => "FAILED",
            Outcome::Pass => "",
        };
        let count = if check.of > 0 { format!("{} of {}", check.examined, check.of) } else { "none".to_owned() };
        let signed = report.releases.iter().filter(|r| r.signed && check.id == CheckId::ReleaseSignatures);
        let details = check.details.iter().cloned().chain(signed.map(SignedRelease::title));
        let details: Vec<String> = details.map(|d| named(&d)).collect();
        let details = details.join("; ");
        out.push_str(format!("{word:9} {:22} {result:6} {count:12} {details}", check.id.title()).trim_end());
        out.push('\n');
        word = "";
    }
    let mut word = "unchecked";
    for skipped in &report.not_checked {
        out.push_str(&format!("{word:9} {:22} {}\n", skipped.id.title(), escape(&skipped.reason)));
        word = "";
    }
    updates(&report.updates, &mut out);
    objects(report, &mut out);
    signers(report, &mut out);
    found_elsewhere(&report.evidence, &mut out);
    decided(report, &mut out);
    out.push_str(&proof::lines(&report.proof));
    out
}

/// `1 day`, `2 days`.
pub(super) fn days_of(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// What other programs found: tool, age, counts, and the images that it is about.
fn found_elsewhere(all: &[Evidence], out: &mut String) {
    for one in all {
        let version = one.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
        let age = match (one.age_days, one.database.is_some()) {
            (Some(days), _) if days < 0 => ", of the future".to_owned(),
            (Some(days), true) => format!(", database {} old", days_of(days)),
            (Some(days), false) => format!(", {} old", days_of(days)),
            (None, _) => ", of unknown age".to_owned(),
        };
        let counts: Vec<String> = one.counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
        let counts = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
        let format = if one.format == one.tool { String::new() } else { format!("{} ", one.format) };
        let line = format!("{format}{}{version}{age}: {counts}", named(&one.tool));
        out.push_str(&format!("{:9} {}\n", "evidence", escape(&line)));
        out.push_str(&format!("{:9} {} sha256 {}\n", "", named(&one.file), one.sha256));
        closed(one, out);
        for image in &one.images {
            out.push_str(&format!("{:9} about {} {}\n", "", named(&image.image), image.digest));
        }
    }
}

/// The policy, and what it accepts. `scan` shows them too.
pub(super) fn decided(report: &Report, out: &mut String) {
    let Some(policy) = &report.policy else { return };
    out.push_str(&format!(
        "{:9} {}, {} rule{}\n",
        "policy",
        named(&policy.file),
        policy.rules,
        if policy.rules == 1 { "" } else { "s" }
    ));
    out.push_str(&format!("{:9} sha256 {}\n", "", policy.sha256));
    for one in &report.accepted {
        let by = match (&one.rule, &one.scanner) {
            (Some(rule), _) => format!("rule {rule}"),
            (None, scanner) => format!("scanner {}", scanner.as_deref().map(named).unwrap_or_default()),
        };
        let count = if one.findings == 1 { String::new() } else { format!(" ({} findings)", one.findings) };
        out.push_str(&format!("{:9} {}\n", "accepted", escape(&format!("{by}: {}{count}", named(&one.subject)))));
        let decision = &one.decision;
        let line = format!("until {} by {}: {}", decision.until, named(&decision.by), named(&decision.reason));
        out.push_str(&format!("{:9} {}\n", "", escape(&line)));
    }
}

/// The most closed vulnerabilities that are shown by name.
const CLOSED: usize = 8;

/// What the statements of VEX files leave open and close.
fn closed(evidence: &Evidence, out: &mut String) {
    let Some(open) = &evidence.open else { return };
    let open: Vec<String> = open.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
    let all = evidence.closed.len() as u64 + evidence.more_closed;
    out.push_str(&format!("{:9} open {open}; {all} closed by VEX\n", ""));
    for one in evidence.closed.iter().take(CLOSED) {
        let package = one.purl.as_deref().map(|purl| format!(" in {purl}")).unwrap_or_default();
        let status = one.status.replace('_', " ");
        let line = format!("closed {}{package}: {status}, says {} ({})", one.id, named(&one.author), named(&one.file));
        out.push_str(&format!("{:9} {}\n", "", escape(&line)));
    }
    let more = all.saturating_sub(CLOSED as u64);
    if more > 0 {
        out.push_str(&format!("{:9} and {more} more closed, see -o json\n", ""));
    }
}

/// The most versions before a release that are shown by name.
const VERSIONS: usize = 10;

/// The updates that the carried graph offers: to which release, from which versions, and with which risks. `inspect`
/// shows them too.
pub(super) fn updates(all: &[Updates], out: &mut String) {
    let mut word = "updates";
    for release in all {
        let mut sources: Vec<String> = Vec::new();
        for from in release.from.iter().rev().take(VERSIONS) {
            let mut text = from.version.clone();
            if !from.carried {
                text.push_str(" (not carried)");
            }
            if !from.risks.is_empty() {
                text.push_str(&format!(" (risk {})", from.risks.join(", ")));
            }
            sources.push(text);
        }
        let more = release.from.len().saturating_sub(VERSIONS);
        let from = match (sources.is_empty(), release.channels.is_empty(), more) {
            (_, true, _) => "in no channel of the update graph".to_owned(),
            (true, ..) => "from no version".to_owned(),
            (false, _, 0) => format!("from {}", sources.join(", ")),
            (false, ..) => format!("from {} and {more} older", sources.join(", ")),
        };
        let line = format!("{word:9} {} {} {from}", release.version, release.architecture);
        out.push_str(&format!("{}\n", escape(&line)));
        word = "";
    }
}

/// The most objects that are shown by name.
const OBJECTS: usize = 20;

/// The Kubernetes objects: kind, namespace and name.
fn objects(report: &Report, out: &mut String) {
    let mut word = "manifest";
    for one in report.objects.iter().take(OBJECTS) {
        let place = one.namespace.as_deref().map(|n| format!("{}/", named(n))).unwrap_or_default();
        let line = format!("{word:9} {} {place}{}", named(&one.kind), named(&one.name));
        out.push_str(&format!("{}\n", line.trim_end()));
        word = "";
    }
    let more = report.objects.len().saturating_sub(OBJECTS) as u64 + report.more_objects;
    if more > 0 {
        out.push_str(&format!("{:9} and {} more\n", "", observer::count_of(more)));
    }
}

/// Every signature and every record: outcome, role, name, full fingerprint, location, and why it is ignored.
fn signers(report: &Report, out: &mut String) {
    let unknown = || "?".to_owned();
    for one in &report.signatures {
        let (role, name) = (one.role.clone().unwrap_or_else(unknown), one.name.as_deref().map_or_else(unknown, named));
        let key = one.key.clone().unwrap_or_else(unknown);
        let why = one.detail.as_deref().map(|d| format!(": {}", named(d))).unwrap_or_default();
        let line = format!("{:13} {role:8} {name} {key} {}{why}", one.outcome, named(&one.origin));
        out.push_str(&format!("{:9} {}\n", "signature", escape(&line)));
    }
    for one in &report.records {
        let (name, key) = (one.name.as_deref().map_or_else(unknown, named), one.key.clone().unwrap_or_else(unknown));
        let why = one.detail.as_deref().map(|d| format!(": {}", named(d))).unwrap_or_default();
        let line = format!("{:13} {:8} {name} {key} {}{why}", one.outcome, one.role, named(&one.origin));
        out.push_str(&format!("{:9} {}\n", "record", escape(&line)));
        let more =
            one.details.as_ref().map(|d| format!(" (and {} details, see -o json)", d.members())).unwrap_or_default();
        out.push_str(&format!("{:9} {} {}{more}\n", "", named(&one.created), named(&one.note)));
    }
    attested(&report.attestations, report.more_attestations, out);
}

/// The attestations: what kind of statement, about which image, and who vouches for it. `inspect` shows them too.
pub(super) fn attested(listed: &[Attestation], more: u64, out: &mut String) {
    for one in listed {
        let kind = one.predicate_type.as_deref().map_or_else(|| "?".to_owned(), named);
        let by = match (&one.key, &one.detail) {
            (Some(key), _) => format!("signed by the key {key} of the policy"),
            (None, Some(why)) => format!("not usable: {}", named(why)),
            (None, None) => "a claim: no key of the policy signed it".to_owned(),
        };
        out.push_str(&format!("{:9} {}\n", "attested", escape(&format!("{kind} {}", one.image))));
        out.push_str(&format!("{:9} {}\n", "", escape(&by)));
    }
    if more > 0 {
        out.push_str(&format!("{:9} and {more} more\n", "attested"));
    }
}
