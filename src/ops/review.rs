//! The one reading of a reviewer: it verifies, gathers facts, evaluates rules as contents stream by, and hands contents
//! to scanners if there are any. `verify --policy`, `scan` and `report` share it.

mod contents;
mod gather;
mod handing;
mod objects;
mod scanners;

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use self::gather::{Gathered, Gatherer, Visiting};
use self::handing::{Handing, LAYERS, Scanning, at_once, names};
use super::evidence::Files;
use super::reading::{self, Basis, Opened, Wanted};
use crate::bundle::Inputs;
use crate::error::{Code, Result};
use crate::ops::Observer;
use crate::policy::{Facts, Policy};
use crate::report::{Check, CheckId, Finding, Severity};
use crate::scan::{self, Scanner, Summary, start};
use crate::verify::Report;

pub(in crate::ops) use self::handing::codes;

/// What is asked of a reading.
pub struct Ask<'a> {
    /// The rules.
    pub policy: Option<&'a Policy>,
    /// The file that they are from.
    pub policy_file: &'a str,
    /// Whether the packages of images go into the facts. Rules about packages read them anyway.
    pub packages: bool,
    /// Whether notable files go into the facts: every layer is read for them.
    pub files: bool,
    /// Scanners that get every content.
    pub scanners: Vec<Scanner>,
    /// Limits and sessions of the scanners.
    pub scan: scan::Options,
    /// Whether verdicts of earlier runs count.
    pub earlier: bool,
    /// What other programs found.
    pub evidence: &'a Files,
    /// Threads that read.
    pub jobs: usize,
}

/// What came of a reading.
#[derive(Debug)]
pub enum Outcome {
    /// The head of the bundle is bad: nothing in it was looked at.
    Refused(Box<Report>),
    /// It was read.
    Done(Box<Review>),
}

/// A bundle that was reviewed.
#[derive(Debug)]
pub struct Review {
    /// The report, with the check `policy`, what was accepted, and the evidence.
    pub report: Report,
    /// The facts.
    pub facts: Facts,
    /// What scanners found, if there were any.
    pub scan: Option<Summary>,
    /// Layers that are damaged, or that tar readers read differently.
    pub layers: Check,
    /// Whether the bundle was verified in the same reading.
    pub trusted: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// Reads a bundle once.
///
/// # Errors
/// [`crate::Code::Usage`] when evidence is about other images; [`crate::Code::IncompleteCheck`] if a scanner cannot be
/// used; failures that prevent the checks.
pub fn review(inputs: Inputs, basis: &Basis, ask: Ask<'_>, observer: &dyn Observer) -> Result<Outcome> {
    let reading = match reading::open(inputs, basis)? {
        Opened::Refused(report) => return Ok(Outcome::Refused(report)),
        Opened::Reading(reading) => *reading,
    };
    let now: Timestamp = basis.conditions.now;
    let evidence = reading.evidence(ask.evidence, now)?;
    let trusted = reading.is_trusted();
    let gatherer = Gatherer::new(&reading, &ask, now);
    let (policy, jobs) = (ask.policy, ask.jobs);
    let (finished, mut summary, scanned) = match ask.scanners.is_empty() {
        true => {
            let visiting = Visiting { gatherer: &gatherer, handing: None };
            (reading.read(&Wanted::All, &visiting, jobs, observer)?, None, None)
        }
        false => {
            let names = names(reading.shelf(), reading.index());
            let layers = Mutex::new(Check::new(LAYERS));
            let told = |found: &scan::Finding| observer.found(&at_once(found));
            let (fed, summary) = start(ask.scanners, ask.earlier, ask.scan, observer, &told, |scan| {
                let handing = Handing { scan, names: &names, layers: &layers };
                let visiting = Visiting { gatherer: &gatherer, handing: Some(&handing) };
                reading.read(&Wanted::All, &visiting, jobs, &Scanning(observer))
            })?;
            let finished = fed.map_err(|e| {
                e.interrupted("not everything was scanned; the verdicts so far are kept, and the same command goes on")
            })?;
            (finished, Some(summary), Some(layers.into_inner().unwrap_or_else(PoisonError::into_inner)))
        }
    };
    let mut report = finished.report().clone();
    report.evidence = evidence;
    let gathered = gatherer.finish(&report, summary.as_mut(), observer)?;
    let Gathered { facts, layers, check, accepted, missing } = gathered;
    let mut codes = vec![finished.exit_code()];
    report.policy = policy.map(|policy| policy.used(ask.policy_file));
    report.accepted = accepted;
    if let Some(check) = check {
        codes.extend(check.findings.iter().filter(|one| one.severity == Severity::Error).map(|one| one.code.exit()));
        report.add(check);
    }
    for (required, why) in missing {
        codes.extend(required.then(|| Code::IncompleteCheck.exit()));
        report.skip(CheckId::Policy, required, why);
    }
    if policy.is_some() {
        report.conclude();
    }
    let layers = scanned.unwrap_or(layers);
    let bad = |one: &&Finding| one.severity == Severity::Error;
    codes.extend(layers.findings.iter().filter(bad).map(|finding| finding.code.exit()));
    codes.extend(summary.iter().flat_map(handing::codes));
    codes.retain(|code| *code != 0);
    let exit_code = codes.into_iter().min_by_key(|code| (!(10..50).contains(code), *code)).unwrap_or(0);
    Ok(Outcome::Done(Box::new(Review { report, facts, scan: summary, layers, trusted, exit_code })))
}

impl Review {
    /// Adds what was found in layers to the report, and draws its verdict again.
    pub fn with_layers(mut self) -> Review {
        if !self.layers.findings.is_empty() {
            self.report.add(std::mem::replace(&mut self.layers, Check::new(LAYERS)));
            self.report.conclude();
        }
        self
    }
}
