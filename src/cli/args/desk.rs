//! Arguments of those who look into a bundle: `inspect`, `ls`, `cat`, `extract`, `diff`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

#[cfg(feature = "registry")]
use super::Registry;
use super::Trust;

/// The help of `--trust` where nothing is verified without it.
const TRUST: &str = "Trust policy: trust.yaml, or an OpenSSH allowed_signers file [default: none; without a signer or a \
                     policy the contents are not verified]";

/// `inspect`
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Say which attestations a key of this trust policy signed; nothing else is verified
    #[arg(long, value_name = "POLICY")]
    pub trust: Option<PathBuf>,
}

/// `ls`
#[derive(Debug, ClapArgs)]
#[command(mut_arg("trust", |arg| arg.help(TRUST)))]
pub struct Ls {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required_unless_present = "files")]
    pub bundle: Vec<PathBuf>,
    /// List images (the default when nothing is chosen)
    #[arg(long)]
    pub images: bool,
    /// List blobs
    #[arg(long)]
    pub blobs: bool,
    /// List the objects in the manifests
    #[arg(long)]
    pub manifests: bool,
    /// List every file in every layer, or in those of one image or layer, with its SHA-256; -o json writes one object a
    /// line. Reads the whole bundle
    #[arg(long, value_name = "IMAGE|DIGEST", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["images", "blobs", "manifests"])]
    pub files: Option<String>,
    /// With --files: of lists only the images for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", requires = "files")]
    pub platform: Option<String>,
    /// Trust: for --files.
    #[command(flatten)]
    pub trust: Trust,
}

/// `cat`
#[derive(Debug, ClapArgs)]
#[command(mut_arg("trust", |arg| arg.help(TRUST)))]
pub struct Cat {
    /// The bundle, or its volumes or copies, or folders of them
    #[arg(value_name = "BUNDLE", required = true, num_args = 1..)]
    pub bundle: Vec<PathBuf>,
    /// A digest, the path of a member of the bundle, or IMAGE:/path/in/image (as a container sees it)
    #[arg(value_name = "WHAT", required = true)]
    pub what: String,
    /// Take IMAGE:/path from this layer alone
    #[arg(long, value_name = "DIGEST")]
    pub layer: Option<String>,
    /// Of a list take the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Write to a terminal also what could control it
    #[arg(long)]
    pub force: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// `extract`
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("destination").required(true), mut_arg("trust", |arg| arg.help(TRUST)))]
pub struct Extract {
    /// The bundle, or its volumes or copies, or folders of them
    #[arg(value_name = "BUNDLE", required = true, num_args = 1..)]
    pub bundle: Vec<PathBuf>,
    /// The image: its reference, the end of it (app:1), a component's name, or a digest
    #[arg(value_name = "IMAGE", required = true)]
    pub image: String,
    /// Write its merged files to this new folder, without links, devices, owners and setuid; what was left out is listed
    /// in DIR.map.jsonl
    #[arg(long, value_name = "DIR", group = "destination")]
    pub to: Option<PathBuf>,
    /// Write it as an OCI archive for scanners, skopeo and podman; - writes it to standard output
    #[arg(long, value_name = "FILE", group = "destination")]
    pub to_archive: Option<PathBuf>,
    /// With --to-archive: also its signatures, attestations and SBOMs
    #[arg(long, requires = "to_archive")]
    pub attached: bool,
    /// Of a list take the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// `diff`
#[derive(Debug, ClapArgs)]
#[command(mut_arg("trust", |arg| arg.help(TRUST)))]
pub struct Diff {
    /// The bundle, or a folder of its volumes
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The bundle to compare it with
    #[cfg_attr(feature = "registry", arg(value_name = "B", required_unless_present = "to", conflicts_with = "to"))]
    #[cfg_attr(not(feature = "registry"), arg(value_name = "B", required = true))]
    pub b: Option<PathBuf>,
    /// Compare with what a registry has below this repository
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REGISTRY/REPO")]
    pub to: Option<String>,
    /// Also compare the files of images that differ
    #[arg(long)]
    pub files: bool,
    /// Exit with 1 if there is a difference
    #[arg(long)]
    pub exit_code: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// How the registry is reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
}
