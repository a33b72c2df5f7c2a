//! The answer of `scan`, as text and in JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::answer::{self, Table};
use crate::cli::escape::{escape, name as named};
use crate::cli::proof;
use crate::error::Code;
use crate::ops::observer::{count_of, size};
use crate::ops::scan::Done;
use crate::report::CheckId;
use crate::scan::{self, Outcome, Spot, Summary, Used};

/// How many findings are shown in full.
const SHOWN: usize = 200;
/// How many images and places are shown for one finding.
const NAMED: usize = 4;

pub(super) fn verdict(done: &Done) -> String {
    let word = match done.exit_code {
        0 => "CLEAN",
        35 => "FOUND",
        _ if done.is_found() => "FOUND",
        42 => "NOT FULLY SCANNED",
        _ => "FAILED",
    };
    let accepted = done.summary.findings.iter().filter(|finding| finding.accepted.is_some()).count();
    let except = if accepted > 0 { format!("  except {accepted} accepted") } else { String::new() };
    let but = if done.trusted { super::super::verify::but(&done.report) } else { String::new() };
    format!("verdict   {word}  {}{except}{but}\n", named(&done.report.bundle.path))
}

/// A time as a date, and its age.
fn aged(seconds: i64, now: Timestamp) -> Option<(String, i64)> {
    let time = Timestamp::from_second(seconds).ok()?;
    Some((time.strftime("%Y-%m-%d").to_string(), (now.as_second() - seconds).max(0) / 86_400))
}

fn scanner_line(used: &Used, now: Timestamp) -> String {
    let id = &used.identity;
    let mut out = id.name.clone();
    if !id.version.is_empty() {
        out.push_str(&format!(" {}", id.version));
    }
    match (&id.database, id.database_time.and_then(|time| aged(time, now))) {
        (Some(database), Some((day, age))) => {
            out.push_str(&format!(", database {database} of {day}, {} old", super::super::verify::days_of(age)));
        }
        (Some(database), None) => out.push_str(&format!(", database {database}")),
        (None, _) => out.push_str(", database without a version"),
    }
    format!("{out}, {}", id.how)
}

fn proof_line(used: &Used) -> String {
    match &used.proof {
        None => "not asked in this run".to_owned(),
        Some(proof) if !proof.made => "no proof was asked of it: no OK of it counts".to_owned(),
        Some(proof) => {
            let forms: Vec<String> = proof.forms.iter().map(|(form, depth)| format!("{form} {depth}")).collect();
            let forms = if forms.is_empty() {
                "opens no archive".to_owned()
            } else {
                format!("opens (levels) {}", forms.join(", "))
            };
            format!("proved up to {}; {forms}; {} members", size(proof.size), count_of(proof.members))
        }
    }
}

fn where_is(spot: &Spot) -> String {
    let path =
        if spot.path.is_empty() || spot.path.starts_with('!') { spot.path.clone() } else { format!("/{}", spot.path) };
    format!("{} {} {path}", spot.origin.kind, spot.origin.what).trim_end().to_owned()
}

fn images(spots: &[Spot]) -> Vec<String> {
    let mut all: Vec<String> = spots.iter().flat_map(|spot| spot.origin.images.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

pub(super) fn text(done: &Done, now: Timestamp) -> String {
    let summary = &done.summary;
    let mut out = verdict(done);
    let mut head = Table::default();
    head.row(
        "bundle",
        match done.trusted {
            true if done.report.exit_code == 0 => "verified in the same reading".to_owned(),
            true if done.report.errors().all(|finding| finding.code == Code::Policy && finding.rule.is_some())
                && done.report.exit_code == Code::Policy.exit() =>
            {
                "verified in the same reading; rules do not hold: see below".to_owned()
            }
            true => "NOT verified: see below".to_owned(),
            false => "contents not verified (--signer or --trust verifies them in the same reading)".to_owned(),
        },
    );
    head.row("index", &done.report.bundle.index);
    head.row(
        "scanned",
        format!(
            "{} different contents, {}; {} members of archives on their own",
            count_of(summary.contents),
            size(summary.bytes),
            count_of(summary.members)
        ),
    );
    head.row(
        "outcome",
        format!(
            "{} clean, {} found, {} not opened, {} failed{}",
            count_of(summary.clean),
            count_of(summary.found),
            count_of(summary.not_opened),
            count_of(summary.failed),
            if summary.left > 0 { format!(", {} left", count_of(summary.left)) } else { String::new() }
        ),
    );
    if let Some((from, to)) = summary.earlier.times {
        let time = |at: u64| {
            let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok());
            at.map_or_else(|| "?".to_owned(), |at| at.to_string())
        };
        let span = if from == to { format!("of {}", time(from)) } else { format!("of {} to {}", time(from), time(to)) };
        head.row("verdicts", format!("{} from earlier runs, {span}", count_of(summary.earlier.count)));
    }
    for used in &summary.scanners {
        head.row("scanner", scanner_line(used, now));
        head.row("", proof_line(used));
        if let Some(writes) = used.writes.filter(|_| used.proof.is_some()) {
            head.row("", writes);
        }
        if !used.kept {
            head.row("", "its verdicts are not kept: another run of it goes on, or its database has no version");
        }
    }
    out.push_str(&head.render());
    for finding in summary.findings.iter().take(SHOWN) {
        let what = match (finding.names.is_empty(), finding.reason, &finding.why) {
            (false, _, _) => finding.names.join(", "),
            (true, Some(reason), Some(why)) => format!("{}: {why}", reason.as_str()),
            (true, _, why) => why.clone().unwrap_or_default(),
        };
        let by = finding.scanner.as_deref().map(|scanner| format!(" ({scanner})")).unwrap_or_default();
        let word = if finding.accepted.is_some() { "accepted" } else { finding.outcome.as_str() };
        out.push_str(&line(word, &format!("{what}{by}")));
        if let Some(one) = &finding.accepted {
            let text = format!("until {} by {}: {}", one.until, named(&one.by), named(&one.reason));
            out.push_str(&line("", &text));
        }
        if let (Some(sha256), Some(bytes)) = (&finding.sha256, finding.size) {
            out.push_str(&line("", &format!("sha256 {sha256}, {}", size(bytes))));
        }
        for spot in finding.places.iter().take(NAMED) {
            out.push_str(&line("", &where_is(spot)));
        }
        let more = finding.places.len().saturating_sub(NAMED) as u64 + finding.more_places;
        if more > 0 {
            out.push_str(&line("", &format!("and {} more places", count_of(more))));
        }
        for image in images(&finding.places) {
            out.push_str(&line("", &format!("in {image}")));
        }
    }
    let more = summary.findings.len().saturating_sub(SHOWN) as u64 + summary.more_findings;
    if more > 0 {
        out.push_str(&line("", &format!("and {} more findings, see -o json", count_of(more))));
    }
    for (fact, (places, more)) in &summary.notices {
        for spots in places.iter().take(NAMED) {
            let at = spots.first().map(where_is).unwrap_or_default();
            out.push_str(&line("notice", &format!("{}: {at} {}", fact.as_str(), fact.sentence())));
        }
        let more = places.len().saturating_sub(NAMED) as u64 + more;
        if more > 0 {
            out.push_str(&line("", &format!("and {} more: {}", count_of(more), fact.as_str())));
        }
    }
    crate::cli::verify::decided(&done.report, &mut out);
    for missing in done.report.not_checked.iter().filter(|one| one.id == CheckId::Policy) {
        out.push_str(&line("unchecked", &missing.reason));
    }
    out.push_str(&proof::lines(&done.report.proof));
    out
}

fn line(word: &str, text: &str) -> String {
    format!("{word:9} {}\n", escape(text))
}

/// What rules found and missed. With trust it is in the report, too.
fn rules(done: &Done) -> Option<Value> {
    let check = done.report.checks.iter().find(|check| check.id == CheckId::Policy)?;
    let missing = done.report.not_checked.iter().filter(|one| one.id == CheckId::Policy).collect::<Vec<_>>();
    // Counted once by those who read both.
    (!done.trusted).then(|| json!({ "checks": [check], "not_checked": missing }))
}

/// What scanners found: members of the document.
pub(in crate::cli) fn found(summary: &Summary, now: Timestamp) -> answer::Object<7> {
    let scanner = |used: &Used| {
        let id = &used.identity;
        json!({
            "name": id.name,
            "how": id.how,
            "version": id.version,
            "database": id.database,
            "database_time": id.database_time.and_then(|t| Timestamp::from_second(t).ok()).map(|t| t.to_string()),
            "database_age_days": id.database_time.map(|t| (now.as_second() - t).max(0) / 86_400),
            "proof": used.proof,
            "verdicts_kept": used.kept,
            "writes": used.writes,
        })
    };
    let find = |name: &Option<String>| summary.scanners.iter().find(|used| Some(&used.identity.name) == name.as_ref());
    let finding = |finding: &scan::Finding| {
        let used = find(&finding.scanner);
        let severity = match finding.outcome {
            Outcome::Warning => "warning",
            _ => "error",
        };
        json!({
            "outcome": finding.outcome,
            "severity": severity,
            "names": finding.names,
            "reason": finding.reason.map(|reason| reason.as_str()),
            "why": finding.why,
            "scanner": finding.scanner,
            "version": used.map(|used| &used.identity.version),
            "database": used.and_then(|used| used.identity.database.as_ref()),
            "database_age_days": used.and_then(|u| u.identity.database_time).map(|t| (now.as_second() - t).max(0) / 86_400),
            "sha256": finding.sha256,
            "size": finding.size,
            "images": images(&finding.places),
            "places": finding.places,
            "more_places": finding.more_places,
            "accepted": finding.accepted,
        })
    };
    let notices: Vec<Value> = summary
        .notices
        .iter()
        .map(|(fact, (places, more))| json!({"fact": fact.as_str(), "places": places.concat(), "more": more}))
        .collect();
    let time = |at: u64| i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string());
    answer::Object([
        (
            "contents",
            json!({
                "different": summary.contents,
                "bytes": summary.bytes,
                "members": summary.members,
                "clean": summary.clean,
                "found": summary.found,
                "not_opened": summary.not_opened,
                "failed": summary.failed,
                "left": summary.left,
            }),
        ),
        (
            "earlier",
            json!({
                "verdicts": summary.earlier.count,
                "from": summary.earlier.times.and_then(|(from, _)| time(from)),
                "to": summary.earlier.times.and_then(|(_, to)| time(to)),
            }),
        ),
        ("scanners", summary.scanners.iter().map(scanner).collect()),
        ("findings", summary.findings.iter().map(finding).collect()),
        ("more_findings", summary.more_findings.into()),
        ("notices", notices.into()),
        ("ended", json!(summary.ended)),
    ])
}

pub(super) fn document(done: &Done, now: Timestamp) -> answer::Object<19> {
    let [contents, earlier, scanners, findings, more, notices, ended] = found(&done.summary, now).0;
    answer::Object([
        ("schema", "mirror-bundle/scan/v1".into()),
        ("exit_code", done.exit_code.into()),
        ("verified", (done.trusted && done.report.exit_code == 0).into()),
        ("scanned_at", now.to_string().into()),
        ("bundle", json!(done.report.bundle)),
        contents,
        earlier,
        scanners,
        findings,
        more,
        notices,
        (
            "layers",
            json!({
                "findings": done.layers.findings,
                "more": done.layers.more,
            }),
        ),
        ended,
        ("report", json!(done.trusted.then_some(&done.report))),
        ("policy", json!(done.report.policy)),
        ("accepted", json!(done.report.accepted)),
        ("rules", json!(rules(done))),
        ("facts", json!(done.report.policy.as_ref().map(|_| &done.facts))),
        ("log", json!(done.report.proof.log)),
    ])
}
