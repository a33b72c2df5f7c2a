//! Arguments of `inventory`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Output, Registry};

/// `inventory`
///
/// As with `sbom`, `-o` names the file; the format of the answer is `--output`.
#[derive(Debug, ClapArgs)]
pub struct Inventory {
    /// The registry; with a path, only that repository and those below it
    #[arg(value_name = "REGISTRY[/PATH]")]
    pub registry: String,
    /// Look at this repository, for a registry that does not list what it has (repeatable)
    #[arg(long, value_name = "REPO")]
    pub repository: Vec<String>,
    /// Write the inventory to this file; its signature goes to FILE.sig
    #[arg(short = 'o', value_name = "FILE")]
    pub file: PathBuf,
    /// Sign it with this OpenSSH ed25519 private key, of a receiver (required, unless --unsigned)
    #[arg(long, value_name = "FILE", conflicts_with = "unsigned", required_unless_present = "unsigned")]
    pub sign_key: Option<PathBuf>,
    /// Do not sign: whoever uses it cannot know who wrote it
    #[arg(long)]
    pub unsigned: bool,
    /// Replace an existing inventory
    #[arg(long)]
    pub force: bool,
    /// The format of the answer, which -o FILE leaves on standard output: text, one JSON document, or JSON lines
    #[arg(long, id = "output", value_enum, default_value_t = Output::Text, value_name = "text|json|jsonl",
          hide_possible_values = true, help_heading = "Output")]
    pub output: Output,
    /// How the registry is reached.
    #[command(flatten)]
    pub registries: Registry,
}
