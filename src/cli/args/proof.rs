//! Arguments that prove what was done: `--receipt` and `--log`, and the commands that check them.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// Proof of what a run did: shared by `verify`, `unpack` and `scrub`.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Proof")]
pub struct Proof {
    /// Write a receipt to this new file: what was checked and found, and where content went; also for a refused bundle
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Append a line about this run to this file, chained to the line before [default: `log` of the trust policy]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// The same with a key of its own: `verify` signs nothing else.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Proof")]
pub struct SignedProof {
    /// Receipt and log.
    #[command(flatten)]
    pub proof: Proof,
    /// Sign the receipt with this OpenSSH ed25519 private key; the signature goes to FILE.sig beside it
    #[arg(long, value_name = "FILE", requires = "receipt", help_heading = "Proof")]
    pub sign_key: Option<PathBuf>,
}

/// Proof of what `unpack` did, for this site and for whoever makes the next bundle for it.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Proof")]
pub struct SiteProof {
    /// Receipt and log.
    #[command(flatten)]
    pub proof: Proof,
    /// With --to: also write the receipt of this site to this new file, for `create --base` on the other side
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "FILE", requires = "to", help_heading = "Proof")]
    pub site_receipt: Option<PathBuf>,
    /// With --to: draw the receipt of this site as a QR code
    #[cfg(feature = "registry")]
    #[arg(long, requires = "to", help_heading = "Proof")]
    pub qr: bool,
    /// Sign receipts with this OpenSSH ed25519 private key, of a receiver
    #[arg(long, value_name = "FILE", help_heading = "Proof")]
    pub sign_key: Option<PathBuf>,
}

/// What is done with a log or a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Check it
    Verify,
}

/// `log`
#[derive(Debug, ClapArgs)]
pub struct Log {
    /// What to do
    #[arg(value_enum, value_name = "verify", hide_possible_values = true)]
    pub what: Check,
    /// The log
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Also check that this receipt is in it (repeatable)
    #[arg(long, value_name = "FILE")]
    pub receipt: Vec<PathBuf>,
    /// Also check the line that a sheet or an answer names, for example --sheet '41 0123456789abcdef' (repeatable)
    #[arg(long, value_name = "N HEX")]
    pub sheet: Vec<String>,
}

/// `receipt`
#[derive(Debug, ClapArgs)]
pub struct Receipt {
    /// What to do
    #[arg(value_enum, value_name = "verify", hide_possible_values = true)]
    pub what: Check,
    /// The receipt; its signature is FILE.sig
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Accept a receipt signed by this OpenSSH public key (repeatable: any one of them)
    #[arg(long, value_name = "KEY.pub", conflicts_with = "trust")]
    pub signer: Vec<PathBuf>,
    /// Trust policy with the keys that may sign as receiver [default: MIRROR_BUNDLE_TRUST, then
    /// ~/.config/mirror-bundle/trust.yaml, then /etc/mirror-bundle/trust.yaml]
    #[arg(long, value_name = "POLICY")]
    pub trust: Option<PathBuf>,
    /// Accept a receipt without a signature: it then proves nothing about who wrote it
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Accept only a receipt about the bundle with this index digest
    #[arg(long, value_name = "DIGEST")]
    pub expect_index: Option<String>,
    /// Evaluate validity at this time instead of now, for example 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}
