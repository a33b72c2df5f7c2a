//! The one reading of a reviewer: it verifies, gathers facts, evaluates rules as contents stream by, and hands contents
//! to scanners if there are any. `verify --policy`, `scan` and `report` share it.

mod gather;

use jiff::Timestamp;

use super::evidence::Files;
use super::reading::{self, Basis, Opened, Wanted};
use crate::bundle::Inputs;
use crate::bundle::index::Index;
use crate::error::Result;
use crate::ops::Observer;
use crate::policy::{Facts, Policy};
use crate::report::Check;
use crate::scan::{self, Scanner, Summary};
use crate::verify::Report;

/// What is asked of a reading.
pub struct Ask<'a> {
    /// The rules.
    pub policy: Option<&'a Policy>,
    /// Whether the packages of images go into the facts. Rules about packages read them anyway.
    pub packages: bool,
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
    /// The index.
    pub index: Index,
    /// The Kubernetes files: path and content.
    pub manifests: Vec<(String, Vec<u8>)>,
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
    let index = reading.index().clone();
    let manifests = reading.files("manifests/").map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    let gatherer = gather::Gatherer::new(&reading, &ask);
    let finished = reading.read(&Wanted::All, &gatherer, ask.jobs, observer)?;
    let mut report = finished.report().clone();
    report.evidence = evidence;
    let exit_code = finished.exit_code();
    let (facts, layers) = gatherer.finish(&report, observer)?;
    Ok(Outcome::Done(Box::new(Review { report, facts, scan: None, index, manifests, layers, trusted, exit_code })))
}
