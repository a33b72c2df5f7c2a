//! Arguments of `report`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::scan::{Rules, Scanners};
use super::{SignedProof, Trust};

/// `report`
#[derive(Debug, ClapArgs)]
pub struct Report {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Write the sheet as one HTML file, to be printed on A4 and filed
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the same as Markdown, for a ticket
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
    /// Compare with this older bundle, of which only the head and the manifests are read
    #[arg(long, value_name = "OLD")]
    pub since: Option<PathBuf>,
    /// Scanners.
    #[command(flatten)]
    pub scanners: Scanners,
    /// Rules.
    #[command(flatten)]
    pub rules: Rules,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Proof.
    #[command(flatten)]
    pub proof: SignedProof,
}
