//! What `repair` is asked for, and what it answers.

use std::path::PathBuf;

use super::origin::Origin;
use super::work::Repaired;
use crate::verify::Report;

/// What may be used, and where the result goes.
pub struct Options {
    /// Files and directories to take content from.
    pub local: Vec<PathBuf>,
    /// Registries to take content from.
    pub origins: Vec<Origin>,
    /// Recovery data; none: what is beside the bundle.
    pub recovery: Vec<PathBuf>,
    /// Write a repaired copy here; else the bundle is mended in place.
    pub to: Option<PathBuf>,
    /// Threads.
    pub jobs: usize,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// Nobody who is trusted vouches for this bundle: nothing was touched.
    Refused(Box<Report>),
    /// It is whole now.
    Whole(Box<Summary>, Box<Report>),
}

/// Whether anything had to be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing was damaged.
    Intact,
    /// What was damaged is right now.
    Repaired,
}

/// What was done.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// The files, repaired or whole before.
    pub bundle: Vec<String>,
    /// Digest of the index.
    pub index: String,
    /// Whether anything had to be repaired.
    pub result: Effect,
    /// Where the index and its signature came from, when they were damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_from: Option<String>,
    /// Every member that was damaged.
    pub mended: Vec<Repaired>,
    /// Addenda (countersignatures, review records) that the files have now.
    pub addenda: usize,
    /// The verdict of the verification of all of it.
    pub verdict: crate::verify::Verdict,
}
