//! Arguments of `scan`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Trust;
use crate::cli::size;

/// `scan`
#[derive(Debug, ClapArgs)]
pub struct Scan {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,

    /// A clamd: its Unix socket, or host and port (repeatable)
    #[arg(long, value_name = "SOCKET|HOST:PORT", help_heading = "Scanners")]
    pub clamd: Vec<String>,
    /// A program: {} in its command stands for a path to the content, {...} for up to 100 paths; without, it reads standard
    /// input. Exit code 0 means clean, 1 found; what a program says that is silent about clean content means found
    /// (repeatable)
    #[arg(long, value_name = "NAME=COMMAND", help_heading = "Scanners")]
    pub scanner: Vec<String>,
    /// A YAML file that names scanners, how they answer, and what they have to find
    #[arg(long, value_name = "FILE", help_heading = "Scanners")]
    pub scanners: Option<PathBuf>,
    /// The most seconds for one content
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600),
          help_heading = "Scanners")]
    pub time_limit: u64,
    /// Scan all contents, also those that an earlier run on this host found to be clean
    #[arg(long, help_heading = "Scanners")]
    pub rescan: bool,

    /// Open archives in archives so many levels deep
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=32),
          help_heading = "Limits")]
    pub depth: u8,
    /// The most that one file inflates to, with everything in it
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = size::parse, help_heading = "Limits")]
    pub max_inflated: u64,
    /// The most members of one file, with everything in it
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Limits")]
    pub max_members: u64,
    /// The most that a compressed file inflates to, for each of its bytes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Limits")]
    pub max_ratio: u64,
    /// The largest file that is held in memory; one of more than 32 MiB at a time
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size::parse, help_heading = "Limits")]
    pub max_memory_file: u64,

    /// Rules that the bundle has to keep, and what is accepted of what they and the scanners find (explain rules shows an
    /// example)
    #[arg(long, value_name = "FILE", help_heading = "Rules")]
    pub policy: Option<PathBuf>,
    /// What another program found in an image of this bundle, for rules that ask for it (repeatable): JSON of grype or
    /// trivy, SARIF, OpenVEX or CSAF VEX
    #[arg(long, value_name = "FILE", help_heading = "Rules")]
    pub evidence: Vec<PathBuf>,
    /// The image that SARIF evidence is about: as in `ls`, or its digest
    #[arg(long, value_name = "IMAGE", requires = "evidence", help_heading = "Rules")]
    pub r#for: Option<String>,

    /// Append a line about this run to this file, chained to the line before [default: `log` of the trust policy]
    #[arg(long, value_name = "FILE", help_heading = "Proof")]
    pub log: Option<PathBuf>,

    /// Trust: with it, the bundle is verified in the same reading.
    #[command(flatten)]
    pub trust: Trust,
}
