//! Arguments shared by several commands: output, registries, volumes and trust.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, ValueEnum};

use crate::bundle::volume::Media;
use crate::cli::size;

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// Output format: text, one JSON document, or JSON lines (progress, then the document)
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "text|json|jsonl",
          hide_possible_values = true)]
    pub output: Output,
    /// Print only the result (verify: only the verdict); -qq: print nothing but errors, use the exit code
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
    /// Verbose: also show the causes of errors; progress as lines
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Show progress as a bar on a terminal and as lines elsewhere, as lines, or not at all
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "auto|plain|none",
          hide_possible_values = true)]
    pub progress: Progress,
    /// Write progress as JSON lines to this file descriptor
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1023))]
    pub progress_fd: Option<u16>,
    /// Append every message, with the time, to this file [default: MIRROR_BUNDLE_LOG]
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Use colour; auto also obeys NO_COLOR and TERM=dumb
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "auto|always|never",
          hide_possible_values = true)]
    pub color: Color,
    /// The most transfers at once; how many of them pay is found out [default: 32]. For hashing: threads [default: one
    /// per processor]
    #[arg(long, short, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text
    Text,
    /// One JSON document
    Json,
    /// JSON lines: progress and findings as they happen, and the document at the end
    Jsonl,
}

/// When to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// A bar on a terminal, else a line for every 10 % or 30 seconds
    Auto,
    /// Lines
    Plain,
    /// Nothing
    None,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How registries are reached.
#[cfg(feature = "registry")]
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Registries")]
pub struct Registry {
    /// File with credentials [default: REGISTRY_AUTH_FILE, then where podman and docker keep them]
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Also trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Use plain HTTP for this host[:port] (repeatable); digests are still checked
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,
    /// Give up when a connection has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Retry a request this many times after a temporary failure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
}

/// The size of volumes: shared by `create` and `split`.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Volumes")]
pub struct Volumes {
    /// Write volumes of at most this size: 4GiB, 4.7GB or a number of bytes
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "media")]
    pub volume_size: Option<u64>,
    /// Write volumes that fit this medium, and leave 1 MiB for countersignatures
    #[arg(long, value_name = "fat32|dvd|bd25|bd50|bd100", value_parser = media(), hide_possible_values = true)]
    pub media: Option<Media>,
}

impl Volumes {
    /// The maximum size of a volume, if volumes are requested.
    pub fn size(&self) -> Option<u64> {
        self.volume_size.or(self.media.map(Media::volume))
    }
}

fn media() -> impl TypedValueParser<Value = Media> {
    let of = |word: String| Media::ALL.into_iter().find(|m| m.as_str() == word).unwrap_or(Media::Fat32);
    PossibleValuesParser::new(Media::ALL.map(Media::as_str)).map(of)
}

/// Whom to trust: shared by `verify` and `unpack`.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Trust")]
pub struct Trust {
    /// Accept a bundle signed by this OpenSSH public key (repeatable: any one of them)
    #[arg(long, value_name = "KEY.pub", conflicts_with = "trust")]
    pub signer: Vec<PathBuf>,
    /// Trust policy: trust.yaml, or an OpenSSH allowed_signers file [default: MIRROR_BUNDLE_TRUST, then
    /// ~/.config/mirror-bundle/trust.yaml, then /etc/mirror-bundle/trust.yaml]
    #[arg(long, value_name = "POLICY")]
    pub trust: Option<PathBuf>,
    /// Accept an unsigned bundle; recorded in the report
    #[arg(long)]
    pub allow_unsigned: bool,
    /// OpenPGP keys that releases must be signed by [default: the policy's, else redhat, built in]
    #[arg(long, value_name = "FILE")]
    pub release_keyring: Vec<PathBuf>,
    /// Accept a release whose signature is missing or bad; recorded in the report
    #[arg(long)]
    pub allow_unsigned_release: bool,
    /// Accept manifests of this kind: KIND, KIND:NAMESPACE/NAME, or KIND:NAME if it is cluster-wide; `*` and `?` are
    /// patterns (repeatable)
    #[arg(long, value_name = "KIND")]
    pub allow_kind: Vec<String>,
    /// Evaluate validity at this time instead of now, for example 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Also evaluate this signature over the index (repeatable); BUNDLE.<role>-<key>.sig beside it is always evaluated
    #[arg(long, value_name = "FILE")]
    pub signature: Vec<PathBuf>,
    /// Accept only a bundle with this release, for example 4.16.37 or 4.16.37-amd64
    #[arg(long, value_name = "VERSION")]
    pub expect_release: Option<String>,
    /// Accept only the bundle with this index digest
    #[arg(long, value_name = "DIGEST")]
    pub expect_index: Option<String>,
    /// Read what the bundle does not carry from here: a bundle of any form, its volumes, an OCI layout, a
    /// mirror directory, or a folder of blobs (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    pub base: Vec<PathBuf>,
    /// Do not require that what the bundle does not carry is checked; recorded in the report
    #[arg(long)]
    pub as_carried: bool,
    /// Accept a bundle that is older than one already unpacked on this host; recorded in the report
    #[arg(long)]
    pub allow_rollback: bool,
}

/// `5%` or `5`.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let valid = number.parse::<u8>().ok().filter(|n| (1..=100).contains(n));
    valid.ok_or_else(|| "not a share from 1% to 100%".to_owned())
}
