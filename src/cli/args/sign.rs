//! Arguments of `sign`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Trust;

/// `sign`
#[derive(Debug, ClapArgs)]
pub struct Sign {
    /// The bundle, or all its volumes, or folders of them
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Sign with this OpenSSH ed25519 private key
    #[arg(long, value_name = "FILE", required_unless_present_any = ["attach", "print_index"], conflicts_with = "attach")]
    pub sign_key: Option<PathBuf>,
    /// Add this signature, made with `ssh-keygen -Y sign -n mirror-bundle.v1.<role>` (see --print-index)
    #[arg(long, value_name = "SIG")]
    pub attach: Option<PathBuf>,
    /// Role to sign in
    #[arg(long, value_name = "builder|reviewer|receiver", default_value = "reviewer")]
    pub role: String,
    /// Also add a signed review record with this text: a change number, a sentence
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Also add a signed review record with this JSON object: scans, verdicts, removals
    #[arg(long, value_name = "FILE", conflicts_with = "report")]
    pub record: Option<PathBuf>,
    /// Also add a signed review record about this report, which `verify -o json` or `scan -o json` wrote for this bundle:
    /// its verdict, counts, scanners, policies, evidence and digest
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub report: Option<PathBuf>,
    /// With --report: refuse a report that is older than this, for example 12h or 7d
    #[arg(long, value_name = "AGE", default_value = "1d", requires = "report")]
    pub max_age: String,
    /// With --report: sign although the report has open errors; the reason is recorded
    #[arg(long, value_name = "REASON", requires = "report")]
    pub despite: Option<String>,
    /// Write to files beside the bundle (BUNDLE.<role>-<key>.sig) instead of into it: for read-only media
    #[arg(long)]
    pub detach: bool,
    /// Print the index, which is what gets signed, and stop: for `ssh-keygen -Y sign`
    #[arg(long, conflicts_with_all = ["attach", "detach", "note", "record", "report"])]
    pub print_index: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}
