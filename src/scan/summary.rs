//! What a run tells at its end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Identity;
use super::proof::Proof;
use crate::archive::{Reason, Trouble};
use crate::content::facts::Fact;
use crate::report::Decision;

/// The most findings that are named of each kind; all are counted.
pub(super) const NAMED: usize = 10_000;
/// A blob, document or file of a bundle that contents come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `layer`, `blob`, `document`, `file`, `signature`.
    pub kind: &'static str,
    /// Its digest, or its path in the bundle.
    pub what: String,
    /// The images that have it.
    pub images: Vec<String>,
}

/// Verdicts of earlier runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How many contents.
    pub count: u64,
    /// The earliest and the latest time, in seconds since 1970.
    pub times: Option<(u64, u64)>,
}

impl Earlier {
    pub(super) fn note(&mut self, time: u64) {
        self.count += 1;
        self.times = Some(self.times.map_or((time, time), |(from, to)| (from.min(time), to.max(time))));
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Something was found.
    Found,
    /// A scanner gave no answer.
    Failed,
    /// Nobody looked at all of it.
    NotOpened,
    /// Something to know of.
    Warning,
}

impl Outcome {
    pub(super) fn rank(self) -> u8 {
        match self {
            Outcome::Found => 3,
            Outcome::Failed => 2,
            Outcome::NotOpened => 1,
            Outcome::Warning => 0,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Found => "found",
            Outcome::Failed => "failed",
            Outcome::NotOpened => "not-opened",
            Outcome::Warning => "warning",
        }
    }
}

/// A place with its images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// The layer, blob or file.
    #[serde(flatten)]
    pub origin: Origin,
    /// The path in it; `outer!member` within archives.
    pub path: String,
}

/// A content that is not clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub outcome: Outcome,
    /// The names of what was found.
    pub names: Vec<String>,
    /// The kind of what was not opened.
    pub reason: Option<Reason>,
    /// Why there is no answer.
    pub why: Option<String>,
    /// The scanner; `None`: it is about opening.
    pub scanner: Option<String>,
    /// The digest of the content.
    pub sha256: Option<String>,
    /// Its size.
    pub size: Option<u64>,
    /// Where it lies, in all images.
    pub places: Vec<Spot>,
    /// How many more places there are.
    pub more_places: u64,
    /// Why it is accepted, if it is.
    pub accepted: Option<Decision>,
}

impl Finding {
    /// One with nothing but its places.
    pub(super) fn at(outcome: Outcome, places: Vec<Spot>) -> Finding {
        Finding {
            outcome,
            names: Vec::new(),
            reason: None,
            why: None,
            scanner: None,
            sha256: None,
            size: None,
            places,
            more_places: 0,
            accepted: None,
        }
    }

    pub(super) fn because(self, trouble: &Trouble) -> Finding {
        Finding { reason: Some(trouble.reason), why: Some(trouble.text.clone()), ..self }
    }
}

/// A scanner as it was used.
#[derive(Clone, Debug)]
pub struct Used {
    /// What it is.
    pub identity: Identity,
    /// What it has shown; `None`: it was not asked in this run.
    pub proof: Option<Proof>,
    /// What it writes to a disk.
    pub writes: Option<&'static str>,
    /// Whether its verdicts are kept.
    pub kept: bool,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The scanners.
    pub scanners: Vec<Used>,
    /// Different contents of the bundle.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Contents within them that were scanned on their own.
    pub members: u64,
    /// Clean contents.
    pub clean: u64,
    /// Contents in which something was found, also within archives.
    pub found: u64,
    /// Contents without an answer.
    pub failed: u64,
    /// Contents that were not opened to their end.
    pub not_opened: u64,
    /// Contents that were not scanned because the run ended.
    pub left: u64,
    /// Verdicts of earlier runs.
    pub earlier: Earlier,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more_findings: u64,
    /// Facts that need no scanner, and how many more of each there are.
    pub notices: BTreeMap<Fact, (Vec<Vec<Spot>>, u64)>,
    /// Why the run ended early.
    pub ended: Option<String>,
}

impl Summary {
    pub(super) fn add(&mut self, kind: Outcome, finding: impl FnOnce() -> Finding) {
        // What was found is never pushed out by what was not opened.
        let most = if kind == Outcome::Found { 2 * NAMED } else { NAMED };
        match self.findings.len() < most {
            true => self.findings.push(finding()),
            false => self.more_findings += 1,
        }
    }

    /// `within`: it is within another, or something in it is counted on its own.
    pub(super) fn count(&mut self, worst: u8, within: bool, pending: bool) {
        match worst {
            3 => self.found += 1,
            2 => self.failed += 1,
            1 => self.not_opened += 1,
            _ if pending => self.left += 1,
            _ if !within => self.clean += 1,
            _ => {}
        }
    }

    /// Whether every content is clean by every scanner.
    pub fn is_clean(&self) -> bool {
        self.found + self.failed + self.not_opened + self.left == 0 && self.ended.is_none()
    }
}
