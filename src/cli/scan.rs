//! `mirror-bundle scan`.

mod render;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Map;

use super::answer;
use super::args::{self, Global, Output};
use super::term::Terminal;
use super::{inputs, proof};
use crate::archive::Limits;
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::host::{environment, memory};
use crate::ops::review::Ask;
use crate::ops::scan::{self as verb, Done, Options, Scanned, no_scanner};
use crate::report::{CheckId, Severity};
use crate::scan::clamd::{Address, Clamd};
use crate::scan::program::{Rules, Settings};
use crate::scan::{self, Engine, Kind, Program, Scanner, Store};

/// The largest file of scanners, and the largest probe.
const FILE: u64 = 1 << 20;
const PROBE: u64 = 16 << 20;
/// The most sessions of a scanner, unless --jobs says otherwise.
const SESSIONS: usize = 8;
/// How many findings of rules are shown.
const SHOWN: usize = 64;

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
    scan::check_names(&engines)?;
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
    let evidence = inputs::evidence(&args.evidence, args.r#for.as_ref())?;
    let policy = inputs::policy(args.policy.as_deref(), basis.conditions.now)?;
    let facts = policy.is_some() && global.output != Output::Text;
    let ask = Ask {
        policy: policy.as_ref().map(|(policy, _)| policy),
        policy_file: policy.as_ref().map_or("", |(_, name)| name),
        packages: facts,
        files: facts,
        scanners,
        scan: options.scan,
        earlier: options.earlier,
        evidence: &evidence,
        jobs,
    };
    let books = proof::log_of("scan", args.log.as_deref(), basis.trust.as_ref())?;
    let scanned = Inputs::of(&args.bundle).and_then(|from| verb::scan_with(from, &basis, ask, term));
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
        Output::Json | Output::Jsonl => answer::json(global, &render::document(done, now)),
        Output::Text if global.quiet == 0 => answer::text(&render::text(done, now)),
        Output::Text if global.quiet == 1 => answer::text(&render::verdict(done)),
        Output::Text => {}
    }
    if global.quiet == 0 || global.output != Output::Text {
        done.layers.findings.iter().for_each(|finding| term.finding(finding, None));
        if !done.trusted || done.report.exit_code != 0 {
            done.report.errors().take(SHOWN).for_each(|finding| term.finding(finding, None));
        }
        let decided = done.report.checks.iter().filter(|check| check.id == CheckId::Policy);
        let mild = decided.flat_map(|check| &check.findings).filter(|finding| finding.severity != Severity::Error);
        mild.take(SHOWN).for_each(|finding| term.finding(finding, None));
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
        _ if done.is_found() => "found",
        42 => "not-fully-scanned",
        _ => "fail",
    }
}
