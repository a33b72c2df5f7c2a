//! `scan`: hands everything in a bundle to scanners, in one reading that also verifies.

use super::evidence::Files;
use super::reading::Basis;
use super::review::{self, Ask, Review, review};
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::policy::Facts;
use crate::report::Check;
use crate::scan::{self, Scanner, Summary};
use crate::verify::Report;

/// Options of `scan`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Limits and time.
    pub scan: scan::Options,
    /// Verdicts of earlier runs count.
    pub earlier: bool,
    /// Threads that read.
    pub jobs: usize,
}

/// What came of it.
#[derive(Debug)]
pub enum Scanned {
    /// The head of the bundle is bad: nothing was scanned.
    Refused(Box<Report>),
    /// It was scanned.
    Done(Box<Done>),
}

/// A bundle that was scanned.
#[derive(Debug)]
pub struct Done {
    /// What was found.
    pub summary: Summary,
    /// The report of the reading; with what rules found, if there are any.
    pub report: Report,
    /// The facts that rules saw.
    pub facts: Facts,
    /// Layers that are damaged, or that tar readers read differently.
    pub layers: Check,
    /// Whether the bundle was verified in the same reading.
    pub trusted: bool,
    /// The exit code.
    pub exit_code: u8,
}

impl Done {
    /// Whether something was found that nobody has accepted.
    pub fn is_found(&self) -> bool {
        review::codes(&self.summary).contains(&Code::Found.exit())
    }
}

/// Scans a bundle.
///
/// # Errors
/// [`Code::IncompleteCheck`] if a scanner cannot be used; failures that prevent the checks.
pub fn scan(
    inputs: Inputs,
    basis: &Basis,
    scanners: Vec<Scanner>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Scanned> {
    let ask = Ask {
        policy: None,
        policy_file: "",
        packages: false,
        files: false,
        scanners,
        scan: options.scan,
        earlier: options.earlier,
        evidence: &Files::default(),
        jobs: options.jobs,
    };
    scan_with(inputs, basis, ask, observer)
}

/// As [`scan()`], with rules.
///
/// # Errors
/// Also those of [`review()`].
pub fn scan_with(inputs: Inputs, basis: &Basis, ask: Ask<'_>, observer: &dyn Observer) -> Result<Scanned> {
    Ok(match review(inputs, basis, ask, observer)? {
        review::Outcome::Refused(report) => Scanned::Refused(report),
        review::Outcome::Done(done) => {
            let Review { report, facts, scan, layers, trusted, exit_code, .. } = *done;
            let summary = scan.unwrap_or_default();
            Scanned::Done(Box::new(Done { summary, report, facts, layers, trusted, exit_code }))
        }
    })
}

/// That no scanner was named.
pub fn no_scanner() -> Error {
    Error::new(Code::Usage, "no scanner is named")
        .hint("--clamd /run/clamav/clamd.ctl, or --scanner yara='yara -w RULES {}', or --scanners FILE")
}
