//! `mirror-bundle scan`, and its answer.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answer::{self, Table};
use super::args::{self, Global, Output};
use super::escape::{escape, name as named};
use super::term::Terminal;
use super::{inputs, proof};
use crate::archive::Limits;
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::host::{environment, memory};
use crate::ops::observer::{count_of, size};
use crate::ops::scan::{self as verb, Done, Options, Scanned, no_scanner};
use crate::scan::clamd::{Address, Clamd};
use crate::scan::program::{Rules, Settings};
use crate::scan::{self, Engine, Kind, Outcome, Program, Scanner, Spot, Store, Used};

/// The largest file of scanners, and the largest probe.
const FILE: u64 = 1 << 20;
const PROBE: u64 = 16 << 20;
/// The most sessions of a scanner, unless --jobs says otherwise.
const SESSIONS: usize = 8;
/// How many findings are shown in full.
const SHOWN: usize = 200;
/// How many images and places are shown for one finding.
const NAMED: usize = 4;

pub(super) fn run(args: &args::Scan, global: &Global, term: &Terminal) -> Result<u8> {
    let now = Timestamp::now();
    let limits = Limits {
        depth: args.depth.into(),
        inflated: args.max_inflated,
        members: args.max_members,
        ratio: args.max_ratio,
    };
    let basis = inputs::basis(&args.trust, &args.bundle)?;
    let engines = engines(args, term)?;
    if engines.is_empty() {
        return Err(no_scanner());
    }
    if engines.len() > scan::MOST {
        return Err(Error::new(Code::Usage, format!("more than {} scanners", scan::MOST)));
    }
    scan::names(&engines)?;
    let state = memory::folder();
    let text = format!("{limits:?} {}", args.max_memory_file);
    let with_store = |engine: Box<dyn Engine>| -> Result<Scanner> {
        let store = Store::open(&state, engine.identity(), &text).map_err(|e| {
            e.fact("verdicts are kept there, so that a run that was stopped can go on")
                .hint("name a folder that can be written in MIRROR_BUNDLE_STATE")
        })?;
        Ok((engine, store))
    };
    let scanners = engines.into_iter().map(with_store).collect::<Result<Vec<_>>>()?;
    let jobs = inputs::processors(global.jobs);
    let options = Options {
        scan: scan::Options {
            limits,
            memory_file: args.max_memory_file,
            sessions: if global.jobs.is_some() { jobs } else { jobs.min(SESSIONS) },
            now: u64::try_from(now.as_second()).unwrap_or(0),
        },
        earlier: !args.rescan,
        jobs,
    };
    let books = proof::log_of("scan", args.log.as_deref(), basis.trust.as_ref())?;
    let scanned = Inputs::of(&args.bundle).and_then(|from| verb::scan(from, &basis, scanners, &options, term));
    match scanned.map_err(|e| proof::failed(&books, e, &args.bundle, term))? {
        Scanned::Refused(mut report) => {
            report.proof = proof::note(&books, &report, "fail", report.exit_code, Map::new())?;
            super::verify::refused(&report, global, term, "nothing was scanned", ("scan", "scan"));
            Ok(report.exit_code)
        }
        Scanned::Done(mut done) => {
            done.report.proof = proof::note(&books, &done.report, log_word(&done), done.exit_code, Map::new())?;
            show(&done, global, term, now);
            Ok(done.exit_code)
        }
    }
}

/// The scanners that the arguments name.
fn engines(args: &args::Scan, term: &Terminal) -> Result<Vec<Box<dyn Engine>>> {
    let limit = Duration::from_secs(args.time_limit);
    let usage = |why: String| Error::new(Code::Usage, why);
    let mut out: Vec<Box<dyn Engine>> = Vec::new();
    let clamd = |address: &str, name: &str| -> Result<Box<dyn Engine>> {
        let address = Address::parse(address).map_err(usage)?;
        Ok(Box::new(Clamd::connect(address, limit, term)?.named(name)))
    };
    for (at, address) in args.clamd.iter().enumerate() {
        let name = if at == 0 { "clamd".to_owned() } else { format!("clamd-{}", at + 1) };
        out.push(clamd(address, &name)?);
    }
    for text in &args.scanner {
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| usage(format!("--scanner `{text}` has no name")).hint("write --scanner NAME=COMMAND"))?;
        scan::check_name(name).map_err(|why| usage(format!("--scanner {why}")))?;
        let settings = Settings {
            name: name.to_owned(),
            command: command.to_owned(),
            rules: Rules::default(),
            version: None,
            probe: Some(scan::eicar()),
            limit,
            search: environment("PATH"),
        };
        out.push(Box::new(Program::new(settings, term)?));
    }
    if let Some(path) = &args.scanners {
        let bytes = inputs::read(path, FILE)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for one in scan::parse_scanners(&bytes, limit)? {
            out.push(match one.kind {
                Kind::Clamd(address) => clamd(&address, &one.name)?,
                Kind::Program(mut settings, probe) => {
                    settings.search = environment("PATH");
                    if let Some(probe) = probe {
                        settings.probe = Some(inputs::read(&folder.join(probe), PROBE)?);
                    }
                    Box::new(Program::new(*settings, term)?)
                }
            });
        }
    }
    Ok(out)
}

fn show(done: &Done, global: &Global, term: &Terminal, now: Timestamp) {
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, &document(done, now)),
        Output::Text if global.quiet == 0 => answer::text(&render(done, now)),
        Output::Text if global.quiet == 1 => answer::text(&verdict(done)),
        Output::Text => {}
    }
    if global.quiet == 0 || global.output != Output::Text {
        done.layers.findings.iter().for_each(|finding| term.finding(finding, None));
        if !done.trusted || done.report.exit_code != 0 {
            done.report.errors().for_each(|finding| term.finding(finding, None));
        }
        if let Some(why) = &done.summary.ended {
            let error = Error::new(Code::IncompleteCheck, format!("the run ended early: {why}"))
                .state("the verdicts so far are kept")
                .hint("when the scanner works again, run the same command again: it goes on");
            term.finding(
                &crate::verify::Finding::of("scan", &error).hint(error.hint_text().unwrap_or_default()),
                Some("the verdicts so far are kept"),
            );
        }
    }
}

/// The verdict as the log has it.
fn log_word(done: &Done) -> &'static str {
    match done.exit_code {
        0 => "clean",
        _ if done.summary.found > 0 => "found",
        42 => "not-fully-scanned",
        _ => "fail",
    }
}

fn verdict(done: &Done) -> String {
    let word = match done.exit_code {
        0 => "CLEAN",
        35 => "FOUND",
        _ if done.summary.found > 0 => "FOUND",
        42 => "NOT FULLY SCANNED",
        _ => "FAILED",
    };
    format!("verdict   {word}  {}\n", named(&done.report.bundle.path))
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
            out.push_str(&format!(", database {database} of {day}, {age} days old"));
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

fn render(done: &Done, now: Timestamp) -> String {
    let summary = &done.summary;
    let mut out = verdict(done);
    let mut head = Table::default();
    head.row(
        "bundle",
        match done.trusted {
            true if done.report.exit_code == 0 => "verified in the same reading".to_owned(),
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
        out.push_str(&line(finding.outcome.as_str(), &format!("{what}{by}")));
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
    out.push_str(&proof::lines(&done.report.proof));
    out
}

fn line(word: &str, text: &str) -> String {
    format!("{word:9} {}\n", escape(text))
}

fn document(done: &Done, now: Timestamp) -> answer::Object<15> {
    let summary = &done.summary;
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
        })
    };
    let notices: Vec<Value> = summary
        .notices
        .iter()
        .map(|(fact, (places, more))| json!({"fact": fact.as_str(), "places": places.concat(), "more": more}))
        .collect();
    let time = |at: u64| i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string());
    answer::Object([
        ("schema", "mirror-bundle/scan/v1".into()),
        ("exit_code", done.exit_code.into()),
        ("verified", (done.trusted && done.report.exit_code == 0).into()),
        ("scanned_at", now.to_string().into()),
        ("bundle", json!(done.report.bundle)),
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
        (
            "layers",
            json!({
                "findings": done.layers.findings,
                "more": done.layers.more,
            }),
        ),
        ("ended", json!(summary.ended)),
        ("report", json!(done.trusted.then_some(&done.report))),
        ("log", json!(done.report.proof.log)),
    ])
}
