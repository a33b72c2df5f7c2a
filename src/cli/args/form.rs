//! `expand` and `shrink`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// How layers that the receiver lacks are carried.
#[derive(Debug, ClapArgs)]
pub struct Carrying {
    /// Carry layers that the receiver lacks as they are, not as differences to those of --base
    #[arg(long, help_heading = "Bases")]
    pub blobs_only: bool,
    /// Carry layers in zstd where there is no difference: a quarter smaller than gzip, and restored byte for byte
    #[arg(long, help_heading = "Bases")]
    pub compact: bool,
    /// How much time is spent to make differences small: 1, 2 or 3
    #[arg(long, value_name = "1..3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3), help_heading = "Bases")]
    pub effort: u8,
    /// Memory for making differences, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=1 << 20), help_heading = "Bases")]
    pub memory: u64,
}

/// `expand`
#[derive(Debug, ClapArgs)]
pub struct Expand {
    /// The bundle, or a folder with its volumes
    #[arg(value_name = "IN")]
    pub bundle: PathBuf,
    /// The bundle to write, in full
    #[arg(value_name = "OUT")]
    pub to: PathBuf,
    /// Read what the bundle does not carry from here: a bundle of any form, its volumes, an OCI layout, a
    /// mirror directory, or a folder of blobs (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    pub base: Vec<PathBuf>,
    /// Where blobs have to be restored: accept how they are carried from this OpenSSH public key (repeatable: any one of
    /// them)
    #[arg(long, value_name = "KEY.pub", conflicts_with = "trust")]
    pub signer: Vec<PathBuf>,
    /// The same from whom this trust policy names
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Replace an existing bundle
    #[arg(long)]
    pub force: bool,
    /// Re-read everything from the medium, bypassing the page cache, before the bundle gets its final name
    #[arg(long)]
    pub read_back: bool,
}

/// `shrink`
#[derive(Debug, ClapArgs)]
pub struct Shrink {
    /// The bundle in full, or a folder with its volumes
    #[arg(value_name = "FULL")]
    pub bundle: PathBuf,
    /// The bundle to write
    #[arg(value_name = "OUT")]
    pub to: PathBuf,
    /// Leave out the layers that the receiver has, according to this: an earlier bundle of any form, its
    /// NAME.index.json, the receipt of a site, an inventory, or a folder of these (repeatable)
    #[arg(long, value_name = "BASE", required_unless_present = "compact")]
    pub base: Vec<PathBuf>,
    /// Form.
    #[command(flatten)]
    pub carrying: Carrying,
    /// Whose receipts count.
    #[command(flatten)]
    pub base_trust: BaseTrust,
    /// Sign how it is carried with this OpenSSH ed25519 private key: of the builder, or of a carrier whom the receiver's
    /// trust policy names
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    /// Do not sign it: the receiver must accept that with --allow-unsigned
    #[arg(long, conflicts_with = "sign_key")]
    pub unsigned: bool,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Replace an existing bundle
    #[arg(long)]
    pub force: bool,
    /// Re-read everything from the medium, bypassing the page cache, before the bundle gets its final name
    #[arg(long)]
    pub read_back: bool,
}

/// Whose receipts and inventories count as bases.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct BaseTrust {
    /// With --base: take receipts and inventories only if they are signed by this OpenSSH public key (repeatable: any one
    /// of them)
    #[arg(long, value_name = "KEY.pub", requires = "base", conflicts_with = "base_policy", help_heading = "Bases")]
    pub base_signer: Vec<PathBuf>,
    /// With --base: take receipts and inventories only if somebody signed them who has the role receiver in this trust
    /// policy
    #[arg(long = "base-trust", value_name = "POLICY", requires = "base", help_heading = "Bases")]
    pub base_policy: Option<PathBuf>,
}
