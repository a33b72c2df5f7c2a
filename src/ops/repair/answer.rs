//! The options of `repair`, and its result.

use std::path::PathBuf;

use super::origin::Origin;
use super::work::Repaired;
use crate::verify::Report;

/// Where to take content from, and where to write the result.
pub struct Options {
    /// Files and directories to take content from.
    pub local: Vec<PathBuf>,
    /// Registries to take content from.
    pub origins: Vec<Origin>,
    /// Recovery data; if `None`, the file beside the bundle.
    pub recovery: Vec<PathBuf>,
    /// Write a repaired copy here; if `None`, repair the bundle in place.
    pub to: Option<PathBuf>,
    /// Threads.
    pub jobs: usize,
}

/// The outcome.
#[derive(Debug)]
pub enum Outcome {
    /// No trusted key vouches for this bundle: nothing was changed.
    Refused(Box<Report>),
    /// The bundle is intact now.
    Whole(Box<Summary>, Box<Report>),
}

/// Whether anything had to be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing was damaged.
    Intact,
    /// Damage was found and repaired.
    Repaired,
}

/// A report of the repair.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// The files, whether repaired or undamaged.
    pub bundle: Vec<String>,
    /// Digest of the index.
    pub index: String,
    /// Whether anything had to be repaired.
    pub result: Effect,
    /// Where the index and its signature came from, if they were damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_from: Option<String>,
    /// Every member that was damaged.
    pub mended: Vec<Repaired>,
    /// Addenda (countersignatures, review records) that the files have now.
    pub addenda: usize,
    /// The verdict on the repaired bundle.
    pub verdict: crate::verify::Verdict,
    /// What the bundle is complete except for, because reviewers removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except: Option<String>,
}
