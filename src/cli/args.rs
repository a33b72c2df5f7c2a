//! Arguments. Help texts are part of the product; defaults and units stand in them.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  mirror-bundle create ocp.tar --release quay.io/openshift-release-dev/ocp-release:4.16.37-x86_64 --sign-key builder.key
  mirror-bundle verify ocp.tar --signer builder.key.pub
  mirror-bundle unpack ocp.tar --signer builder.key.pub --to registry.example.com/ocp/release

More: mirror-bundle explain CODE, mirror-bundle explain exit-codes";

/// Carry OpenShift releases and Kubernetes manifests across an air gap, and prove nothing changed
#[derive(Debug, Parser)]
#[command(name = "mirror-bundle", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 100,
          disable_help_subcommand = true, infer_long_args = false)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// How the answer on standard output is written
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub output: Output,
    /// Print the verdict only; twice: nothing, the exit code is the answer
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
    /// Say more about what happens
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Progress: a bar on a terminal (auto), lines (plain), none
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "WHEN")]
    pub progress: Progress,
    /// Colour; NO_COLOR and TERM=dumb are honoured
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Threads for transfers and hashing [default: 8 for transfers, the number of processors for hashing]
    #[arg(long, short, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
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

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a bundle from a release, images or manifests
    Create(Box<Create>),
    /// Check a bundle: every byte, every signature
    Verify(Verify),
    /// Verify, then write to a registry or a directory
    Unpack(Unpack),
    /// Show what a bundle says it holds (contents not verified)
    Inspect(Inspect),
    /// List images, blobs and manifests, one a line (contents not verified)
    Ls(Ls),
    /// Verify, then add a signature: a countersignature, or a review record
    Sign(Sign),
    /// Make a signing key, as ssh-keygen does
    Keygen(Keygen),
    /// Check one OpenShift release signature file
    CheckSignature(CheckSignature),
    /// Explain an error code, or the exit codes
    Explain(Explain),
    /// Print shell completions
    Completions(Completions),
    /// Write the manual pages to a directory
    #[command(hide = true)]
    Man(Man),
    /// There is no push: it is `unpack --to`
    #[command(hide = true)]
    Push(Wrong),
}

/// How registries are reached.
#[cfg(feature = "registry")]
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Registries")]
pub struct Registry {
    /// Credentials [default: REGISTRY_AUTH_FILE, then where podman and docker keep them]
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Also trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Use plain HTTP for this host[:port] (repeatable; recorded in no report, as digests are checked anyway)
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,
    /// Give up on a connection that is silent for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Try a request again so often when the failure may pass
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
}

/// `create`
#[derive(Debug, ClapArgs)]
pub struct Create {
    /// The bundle to write; - streams it to standard output
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,

    /// An OpenShift release image: itself and every image its payload names (repeatable)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REF", help_heading = "Content")]
    pub release: Vec<String>,
    /// An image, by tag or digest; all platforms unless --platform is given (repeatable)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REF", help_heading = "Content")]
    pub image: Vec<String>,
    /// Every image of an OCI layout directory, an oci-archive tar, or a skopeo dir: directory (repeatable)
    #[arg(long, value_name = "PATH", help_heading = "Content")]
    pub from_layout: Vec<PathBuf>,
    /// Every image of a directory written by `oc adm release mirror --to-dir` (repeatable)
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    pub from_dir: Vec<PathBuf>,
    /// Kubernetes YAML and JSON files to carry as they are (repeatable)
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    pub manifests: Vec<PathBuf>,
    /// Of multi-arch images, take only the image for this platform, for example linux/amd64
    #[arg(long, value_name = "OS/ARCH", help_heading = "Content")]
    pub platform: Option<String>,
    /// Also carry manifests of this kind (Kind or group/version/Kind; repeatable)
    #[arg(long, value_name = "KIND", help_heading = "Content")]
    pub allow_kind: Vec<String>,

    /// Where release signatures are: a URL or a directory [default: the stores that the payload names]
    #[arg(long, value_name = "URL|DIR", help_heading = "Release authenticity")]
    pub signature_store: Vec<String>,
    /// OpenPGP keys that releases must be signed by [default: redhat, built in]
    #[arg(long, value_name = "FILE", help_heading = "Release authenticity")]
    pub release_keyring: Vec<PathBuf>,
    /// Carry a release whose signature is missing or bad; recorded in the bundle
    #[arg(long, help_heading = "Release authenticity")]
    pub allow_unsigned_release: bool,
    /// Carry a release of 4.21 or later without its cosign signature image; recorded in the bundle
    #[arg(long, help_heading = "Release authenticity")]
    pub allow_missing_image_signature: bool,

    /// Sign the bundle with this OpenSSH ed25519 key
    #[arg(long, value_name = "FILE", help_heading = "Signing", required_unless_present_any = ["unsigned", "dry_run"], conflicts_with = "unsigned")]
    pub sign_key: Option<PathBuf>,
    /// Do not sign; every receiver will have to ask for that with --allow-unsigned
    #[arg(long, help_heading = "Signing")]
    pub unsigned: bool,

    /// The line of bundles that this one belongs to [default: from what it holds]
    #[arg(long, value_name = "NAME", help_heading = "Bundle")]
    pub name: Option<String>,
    /// Number in that line; must grow [default: the creation time in seconds]
    #[arg(long, value_name = "N", help_heading = "Bundle")]
    pub sequence: Option<u64>,
    /// Not to be used from this time on, as 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME", help_heading = "Bundle")]
    pub expires: Option<String>,
    /// Replace an existing bundle
    #[arg(long, help_heading = "Bundle")]
    pub force: bool,
    /// Show what would be carried, its size and the room there is, and stop
    #[arg(long, help_heading = "Bundle")]
    pub dry_run: bool,

    /// How registries are reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
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
    /// Accept a bundle that nobody signed; shows in the report
    #[arg(long)]
    pub allow_unsigned: bool,
    /// OpenPGP keys that releases must be signed by [default: the policy's, else redhat, built in]
    #[arg(long, value_name = "FILE")]
    pub release_keyring: Vec<PathBuf>,
    /// Accept a release whose signature is missing or bad; shows in the report
    #[arg(long)]
    pub allow_unsigned_release: bool,
    /// Accept manifests of this kind (Kind or group/version/Kind; repeatable)
    #[arg(long, value_name = "KIND")]
    pub allow_kind: Vec<String>,
    /// Judge validity at this time instead of now
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Also take this signature over the index into account (repeatable); BUNDLE.*.sig beside the bundle are anyway
    #[arg(long, value_name = "FILE")]
    pub signature: Vec<PathBuf>,
    /// The bundle must hold this release, as 4.16.37 or 4.16.37-amd64
    #[arg(long, value_name = "VERSION")]
    pub expect_release: Option<String>,
    /// The bundle must have this index digest
    #[arg(long, value_name = "DIGEST")]
    pub expect_index: Option<String>,
    /// Accept a bundle older than one that this host has unpacked; shows in the report
    #[arg(long)]
    pub allow_rollback: bool,
}

/// `verify`
#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// The bundle; - reads it from standard input
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Check everything but the bytes of configurations and layers; the verdict is never VERIFIED
    #[arg(long)]
    pub quick: bool,
}

/// `unpack`
#[derive(Debug, ClapArgs)]
pub struct Unpack {
    /// The bundle; - reads it from standard input
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Push every image to this registry and repository
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REGISTRY/REPO", help_heading = "Destination")]
    pub to: Option<String>,
    /// Write every image to DIR/v2, as `oc image mirror --from-dir` reads it, and manifests to DIR/manifests
    #[arg(long, value_name = "DIR", help_heading = "Destination")]
    pub to_dir: Option<PathBuf>,
    /// Write every image to an OCI layout (no links: works on FAT)
    #[arg(long, value_name = "DIR", help_heading = "Destination", conflicts_with = "to_dir")]
    pub to_layout: Option<PathBuf>,
    /// Write the manifests here [default: DIR/manifests, or ./NAME-manifests with --to alone]
    #[arg(long, value_name = "DIR", help_heading = "Destination")]
    pub manifests_to_dir: Option<PathBuf>,
    /// Mirror configuration for the target registry, written beside the manifests and never applied
    #[arg(long, value_enum, default_value_t = MirrorSet::Idms, value_name = "KIND", help_heading = "Destination")]
    pub mirror_set: MirrorSet,
    /// Replace manifests that exist with other content
    #[arg(long, help_heading = "Destination")]
    pub overwrite: bool,
    /// Verify and show what would be written, and stop
    #[arg(long, help_heading = "Destination")]
    pub dry_run: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// How the registry is reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
}

/// Kind of mirror configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MirrorSet {
    /// ImageDigestMirrorSet
    Idms,
    /// ImageContentSourcePolicy (clusters before 4.13)
    Icsp,
    /// None
    None,
}

/// `inspect`
#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// The bundle; - reads it from standard input
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
}

/// `ls`
#[derive(Debug, ClapArgs)]
pub struct Ls {
    /// The bundle; - reads it from standard input
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// List images (the default when nothing is chosen)
    #[arg(long)]
    pub images: bool,
    /// List blobs
    #[arg(long)]
    pub blobs: bool,
    /// List the objects in the manifests
    #[arg(long)]
    pub manifests: bool,
}

/// `sign`
#[derive(Debug, ClapArgs)]
pub struct Sign {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Sign with this OpenSSH ed25519 key
    #[arg(long, value_name = "FILE", required_unless_present = "attach", conflicts_with = "attach")]
    pub sign_key: Option<PathBuf>,
    /// Add this signature, made by `ssh-keygen -Y sign -n mirror-bundle.v1.<role>` over the index (see `--print-index`)
    #[arg(long, value_name = "SIG")]
    pub attach: Option<PathBuf>,
    /// Sign as builder, reviewer or receiver
    #[arg(long, value_name = "ROLE", default_value = "reviewer")]
    pub role: String,
    /// A short text for the record: a change number, a sentence
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// A JSON object to sign with the bundle's digest: what was scanned with what, verdicts, removals
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write the signature beside the bundle (BUNDLE.<role>-<key>.sig) instead of into it
    #[arg(long)]
    pub detach: bool,
    /// Print the index, exactly as it is signed, and stop: for `ssh-keygen -Y sign`
    #[arg(long, conflicts_with_all = ["attach", "detach", "note", "record"])]
    pub print_index: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// `keygen`
#[derive(Debug, ClapArgs)]
pub struct Keygen {
    /// The private key to write; the public key goes to FILE.pub
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Comment in the key
    #[arg(long, short = 'C', value_name = "TEXT", default_value = "mirror-bundle")]
    pub comment: String,
    /// Do not ask for a passphrase: the private key is stored in the clear
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `check-signature`
#[derive(Debug, ClapArgs)]
pub struct CheckSignature {
    /// The signature file, as a signature store holds it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The release digest that must be signed, sha256:...
    #[arg(long, value_name = "DIGEST")]
    pub digest: String,
    /// OpenPGP keys to accept [default: redhat, built in]
    #[arg(long, value_name = "FILE")]
    pub release_keyring: Vec<PathBuf>,
    /// Judge validity at this time instead of now
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// `explain`
#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// An error code such as blob-missing, an exit code such as 30, or `exit-codes`
    #[arg(value_name = "CODE")]
    pub code: String,
}

/// `completions`
#[derive(Debug, ClapArgs)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, ClapArgs)]
pub struct Man {
    /// The directory
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// A verb that does not exist.
#[derive(Debug, ClapArgs)]
pub struct Wrong {
    /// Whatever was given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}
