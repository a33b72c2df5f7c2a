//! `scrub`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Proof, Trust};

/// `scrub`
#[derive(Debug, ClapArgs)]
pub struct Scrub {
    /// The bundle, or a folder with all its volumes
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The bundle to write without what is removed; volumes get their numbers in their names
    #[arg(value_name = "OUT", required_unless_present_any = ["exclude", "out"], conflicts_with = "out")]
    pub to: Option<PathBuf>,
    /// The same as OUT.
    #[arg(long, value_name = "OUT", hide = true)]
    pub out: Option<PathBuf>,
    /// Take this out, with its signatures and all that only it needs (repeatable): an image by its name or digest,
    /// manifests/PATH, release:VERSION, or component:NAME
    #[arg(long, value_name = "WHAT", required_unless_present = "exclude", conflicts_with = "exclude")]
    pub remove: Vec<String>,
    /// Leave the file as it is, and add a signed statement that this does not count: for media that cannot be
    /// rewritten (repeatable)
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["to", "out"])]
    pub exclude: Vec<String>,
    /// Write the statement of --exclude beside the bundle (BUNDLE.removal-<16 hex>.json) instead of into it
    #[arg(long, requires = "exclude")]
    pub detach: bool,
    /// Why: everybody who reads the bundle is shown this
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Sign with this OpenSSH ed25519 private key, of a reviewer; it signs a receipt too
    #[arg(long, value_name = "FILE")]
    pub sign_key: PathBuf,
    /// Replace existing files
    #[arg(long)]
    pub force: bool,
    /// Verify, say what would be taken out, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Re-read everything from the medium before a file gets its final name
    #[arg(long)]
    pub read_back: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Proof.
    #[command(flatten)]
    pub proof: Proof,
}
