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
    #[arg(value_enum, value_name = "verify", hide_possible_values = true, required_unless_present = "check")]
    pub what: Option<Check>,
    /// The receipt of a run (its signature is FILE.sig), the receipt of a site (mbr1 ..., with its signature), or an
    /// inventory (its signature is FILE.sig)
    #[arg(value_name = "FILE", required_unless_present = "check")]
    pub file: Option<PathBuf>,
    /// The same as `verify FILE`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "file"])]
    pub check: Option<PathBuf>,
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
    /// Compare the receipt of a site with the index that it names: a bundle, its NAME.index.json, or a folder with one
    /// of them [default with --to: the folder of the receipt] (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    pub index: Vec<PathBuf>,
    /// Accept only a receipt of a site that is not older than this, for example 45d
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<String>,
    /// Evaluate validity at this time instead of now, for example 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// The site.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub site: Site,
}

impl Receipt {
    /// The file to check.
    pub fn path(&self) -> &std::path::Path {
        self.check.as_deref().or(self.file.as_deref()).unwrap_or(std::path::Path::new(""))
    }
}

/// The registry that the receipt of a site is about.
#[cfg(feature = "registry")]
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "At the site")]
pub struct Site {
    /// Ask this registry whether it still has everything that the receipt says
    #[arg(long, value_name = "REGISTRY/REPO")]
    pub to: Option<String>,
    /// With --to: as it was unpacked
    #[arg(long, value_enum, default_value_t = super::Placement::Path, value_name = "path|host", requires = "to",
          hide_possible_values = true)]
    pub placement: super::Placement,
    /// With --to: as it was unpacked (repeatable)
    #[arg(long, value_name = "FROM=TO", requires = "to")]
    pub map: Vec<String>,
    /// With --to: as it was unpacked
    #[arg(long, value_name = "N", requires = "to", value_parser = clap::value_parser!(u8).range(1..))]
    pub max_nested_paths: Option<u8>,
    /// How the registry is reached.
    #[command(flatten)]
    pub registry: super::Registry,
}
