//! Arguments. Help texts are part of the product; they name defaults and units.

#[cfg(feature = "cluster")]
mod apply;
mod desk;
mod form;
mod help;
#[cfg(feature = "registry")]
mod inventory;
mod kinds;
mod proof;
mod report;
pub mod sbom;
mod scan;
mod scrub;
mod shared;
mod sign;
mod updates;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args as ClapArgs, Parser, Subcommand};

#[cfg(feature = "cluster")]
pub use apply::{Apply, ApplyToo, Cluster};
pub use desk::{Cat, Diff, Extract, Inspect, Ls};
pub use form::{BaseTrust, Carrying, Expand, Shrink};
#[cfg(feature = "registry")]
pub use inventory::Inventory;
pub use kinds::{ForeignLayers, MirrorSet, Placement, SourcePolicy};
#[cfg(feature = "registry")]
pub use proof::Site;
pub use proof::{Check, Log, Proof, Receipt, SignedProof, SiteProof};
pub use report::Report;
pub use sbom::Sbom;
pub use scan::{Scan, Scanners};
pub use scrub::Scrub;
#[cfg(feature = "registry")]
pub use shared::Registry;
pub use shared::{Color, Global, Output, Progress, Trust, Volumes};
pub use sign::Sign;
#[cfg(feature = "registry")]
pub use updates::UpdatePath;
pub use updates::{List, Listed};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// The commands that are shown.
pub const COMMANDS: &[&str] = &[
    "create",
    "verify",
    "unpack",
    #[cfg(feature = "cluster")]
    "apply",
    "inspect",
    "ls",
    "cat",
    "extract",
    "diff",
    "sbom",
    "scan",
    "report",
    "list",
    "sign",
    "scrub",
    "recovery",
    "repair",
    "split",
    "join",
    "expand",
    "shrink",
    "keygen",
    "check-signature",
    "receipt",
    #[cfg(feature = "registry")]
    "inventory",
    "log",
    "explain",
    "completions",
    "man",
];

/// Carry OpenShift releases and Kubernetes manifests across an air gap, and prove nothing changed
#[derive(Debug, Parser)]
#[command(name = "mirror-bundle", version, styles = STYLES, help_template = help::text(), max_term_width = 100,
          arg_required_else_help = true, infer_long_args = false)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a bundle from a release, images or manifests
    Create(Box<Create>),
    /// Check a bundle: every byte, every signature
    Verify(Verify),
    /// Verify, then write to a registry or a directory
    Unpack(Box<Unpack>),
    /// Verify, then apply the manifests to the cluster of the kubeconfig
    #[cfg(feature = "cluster")]
    Apply(Box<Apply>),
    /// Show what a bundle says it contains (contents are not verified)
    Inspect(Inspect),
    /// List images, blobs, manifests or files, one per line
    Ls(Box<Ls>),
    /// Print one file of a bundle, or of an image in it
    Cat(Box<Cat>),
    /// Write the files of one image, or one image as an OCI archive
    Extract(Box<Extract>),
    /// Compare two bundles, or a bundle with a registry
    Diff(Box<Diff>),
    /// Write an SBOM of the packages in the images: SPDX or CycloneDX
    Sbom(Box<Sbom>),
    /// Hand everything in a bundle to virus scanners and other scanners
    Scan(Box<Scan>),
    /// Verify and scan, and write one sheet for a reviewer to file: HTML, Markdown or JSON
    Report(Box<Report>),
    /// List the channels and releases of an update graph
    List(Box<List>),
    /// Verify, then add a signature: a countersignature, or a signed review record
    Sign(Sign),
    /// Verify, then take images, releases or manifests out, under the signature of a reviewer
    Scrub(Box<Scrub>),
    /// Create recovery data, from which damaged parts of a bundle can be restored
    Recovery(Recovery),
    /// Repair a damaged bundle from recovery data, another copy, or a registry
    Repair(Repair),
    /// Divide a bundle into volumes, for media that are too small for it
    Split(Split),
    /// Put the volumes of a bundle back together
    Join(Join),
    /// Write a bundle in full from one that leaves out what the receiver has
    Expand(Expand),
    /// Write a bundle that leaves out what the receiver has
    Shrink(Shrink),
    /// Make a signing key, as ssh-keygen does
    Keygen(Keygen),
    /// Check one OpenShift release signature file
    CheckSignature(CheckSignature),
    /// Check a receipt or an inventory: its form, who signed it, and whether the registry still has everything
    Receipt(Box<Receipt>),
    /// Write down what a registry has that other tools filled, signed, for `create --base`
    #[cfg(feature = "registry")]
    Inventory(Box<Inventory>),
    /// Check a log: that its lines hold together, and that receipts are in it
    Log(Log),
    /// Explain an error code, or one of the topics exit-codes, environment, trust, receipts
    Explain(Explain),
    /// Print shell completions
    Completions(Completions),
    /// Show a manual page, or write all of them to a directory
    Man(Man),
    /// There is no push: it is `unpack --to`
    #[command(hide = true)]
    Push(Wrong),
}

/// `create`
#[derive(Debug, ClapArgs)]
pub struct Create {
    /// The bundle to write; - writes it to standard output
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,

    /// An OpenShift release: its image and every image that its payload names (repeatable)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REF", help_heading = "Content")]
    pub release: Vec<String>,
    /// An image, by tag or digest; all platforms unless --platform is given (repeatable)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REF", help_heading = "Content")]
    pub image: Vec<String>,
    /// Releases of an update path.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub path: UpdatePath,
    /// Every image in an OCI layout, an oci-archive file, a docker save archive or a skopeo dir: directory (repeatable)
    #[arg(long, value_name = "PATH", help_heading = "Content")]
    pub from_layout: Vec<PathBuf>,
    /// Every image in a directory written by `oc adm release mirror --to-dir` (repeatable)
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    pub from_dir: Vec<PathBuf>,
    /// Kubernetes manifests: a YAML or JSON file, or a folder of them (repeatable)
    #[arg(long, value_name = "FILE|DIR", help_heading = "Content")]
    pub manifests: Vec<PathBuf>,
    /// The update graph, for the update service of clusters: a folder laid out as cincinnati-graph-data, a tar archive of
    /// one, or its address; carried as a graph-data image
    #[arg(long, value_name = "FILE|DIR|URL", help_heading = "Content")]
    pub graph_data: Option<String>,
    /// Make the graph-data image on this image, which must have /bin/sh and cp [default: the component cli of the newest
    /// release]
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REF", requires = "graph_data", help_heading = "Content")]
    pub graph_base: Option<String>,
    /// Do not look for attachments of images: signatures (except those of releases), attestations, referrers
    #[arg(long, help_heading = "Content")]
    pub without_referrers: bool,
    /// Carry only the images for this platform, for example linux/amd64 or linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Content")]
    pub platform: Option<String>,
    /// Look first at the mirrors that this file names: an ImageDigestMirrorSet, ImageTagMirrorSet or
    /// ImageContentSourcePolicy, or a registries.conf (repeatable)
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "FILE", help_heading = "Content")]
    pub mirror_config: Vec<PathBuf>,
    /// Leave out the layers that the receiver has, according to this: an earlier bundle of any form, its
    /// NAME.index.json, the receipt of a site, an inventory, or a folder of these (repeatable)
    #[arg(long, value_name = "BASE", help_heading = "Content")]
    pub base: Vec<PathBuf>,
    /// Form.
    #[command(flatten)]
    pub carrying: Carrying,
    /// Whose receipts count.
    #[command(flatten)]
    pub base_trust: BaseTrust,
    /// What to do with foreign layers (Windows base layers), which a registry may lack: leave them out with a warning,
    /// fetch them from the registry of the image, or refuse images that have them
    #[arg(long, value_enum, default_value_t = ForeignLayers::Skip, value_name = "skip|fetch|refuse",
          hide_possible_values = true, help_heading = "Content")]
    pub foreign_layers: ForeignLayers,
    /// Also carry manifests of this kind: KIND, KIND:NAMESPACE/NAME, or KIND:NAME if it is cluster-wide; `*` and `?`
    /// are patterns (repeatable)
    #[arg(long, value_name = "KIND", help_heading = "Content")]
    pub allow_kind: Vec<String>,

    /// Look for release signatures here: a URL or a directory [default: the stores that the payload names]
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

    /// Sign the bundle with this OpenSSH ed25519 private key (required, unless --unsigned)
    #[arg(long, value_name = "FILE", help_heading = "Signing", conflicts_with = "unsigned")]
    pub sign_key: Option<PathBuf>,
    /// Do not sign; each receiver then has to accept that with --allow-unsigned
    #[arg(long, help_heading = "Signing")]
    pub unsigned: bool,

    /// Series this bundle belongs to; receivers refuse an older one of the same series [default: a release is in the
    /// series
    /// of its stream, such as ocp-4.16-x86_64; other content is in none]
    #[arg(long, value_name = "NAME", help_heading = "Bundle")]
    pub name: Option<String>,
    /// Position in the series; must increase [default: the creation time in seconds]
    #[arg(long, value_name = "N", requires = "name", help_heading = "Bundle")]
    pub sequence: Option<u64>,
    /// When the bundle expires, for example 2027-06-30 or 2027-06-30T12:00:00Z [default: never]
    #[arg(long, value_name = "TIME", help_heading = "Bundle")]
    pub expires: Option<String>,
    /// Also write BUNDLE.recovery: recovery data for this share of the bundle, for example 5%
    #[arg(long, value_name = "PERCENT", value_parser = shared::percent, help_heading = "Bundle")]
    pub recovery: Option<u8>,
    /// Replace an existing bundle
    #[arg(long, help_heading = "Bundle")]
    pub force: bool,
    /// Re-read everything from the medium, bypassing the page cache, before the bundle gets its final name
    #[arg(long, help_heading = "Bundle")]
    pub read_back: bool,
    /// Show what would be carried, its size and the free space; write nothing
    #[arg(long, help_heading = "Bundle")]
    pub dry_run: bool,
    /// The size of volumes.
    #[command(flatten)]
    pub volumes: Volumes,

    /// How registries are reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
}

/// `verify`
#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Do not read configurations and layers; the verdict is then NOT FULLY CHECKED
    #[arg(long)]
    pub quick: bool,
    /// Check the volumes at hand although others are missing; the verdict is then NOT FULLY CHECKED
    #[arg(long)]
    pub partial: bool,
    /// Add to the report what another program found in an image of this bundle (repeatable): JSON of grype or trivy,
    /// SARIF, OpenVEX or CSAF VEX
    #[arg(long, value_name = "FILE")]
    pub evidence: Vec<PathBuf>,
    /// The image that SARIF evidence is about: as in `ls`, or its digest
    #[arg(long, value_name = "IMAGE", requires = "evidence")]
    pub r#for: Option<String>,
    /// Rules that the bundle has to keep, and what is accepted of their findings (explain rules shows an example); the
    /// whole bundle is read for them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "partial"])]
    pub policy: Option<PathBuf>,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Proof.
    #[command(flatten)]
    pub proof: SignedProof,
}

/// `unpack`
#[derive(Debug, ClapArgs)]
pub struct Unpack {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Push every image to this registry and repository
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "REGISTRY/REPO", help_heading = "Destination")]
    pub to: Option<String>,
    /// With --to: use paths of at most N components, and join the rest with `-`
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "N", requires = "to", help_heading = "Destination",
          value_parser = clap::value_parser!(u8).range(1..))]
    pub max_nested_paths: Option<u8>,
    /// With --to: leave out attachments of images: signatures (except those of releases), attestations, referrers
    #[cfg(feature = "registry")]
    #[arg(long, requires = "to", help_heading = "Destination")]
    pub without_referrers: bool,
    /// Write every image to DIR/v2, the form that `oc image mirror --from-dir` reads, and manifests to
    /// DIR/manifests/NAME-DIGEST
    #[arg(long, value_name = "DIR", help_heading = "Destination")]
    pub to_dir: Option<PathBuf>,
    /// Write every image to an OCI layout (without links, so it works on FAT)
    #[arg(long, value_name = "DIR", help_heading = "Destination", conflicts_with = "to_dir")]
    pub to_layout: Option<PathBuf>,
    /// Write the manifests here [default: DIR/manifests/NAME-DIGEST, or ./NAME-DIGEST-manifests with --to alone]
    #[arg(long, value_name = "DIR", help_heading = "Destination", alias = "release-image-signature-to-dir")]
    pub manifests_to_dir: Option<PathBuf>,
    /// Where images other than releases go below the target: to their path, or to their path below the name of their
    /// registry
    #[arg(long, value_enum, default_value_t = Placement::Path, value_name = "path|host",
          hide_possible_values = true, help_heading = "Destination")]
    pub placement: Placement,
    /// Put images of the repository FROM, or of those below it, into the repository TO below the target; FROM may leave
    /// out the registry (repeatable)
    #[arg(long, value_name = "FROM=TO", help_heading = "Destination")]
    pub map: Vec<String>,
    /// Kinds of mirror configuration for the target registry, written beside the manifests, and applied only with
    /// --apply-mirror-sets: idms, itms, icsp or none [default: idms, and itms where images were asked for by tag]
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "KIND[,KIND]",
        hide_possible_values = true,
        ignore_case = true,
        alias = "print-mirror-instructions",
        help_heading = "Destination"
    )]
    pub mirror_set: Vec<MirrorSet>,
    /// What nodes do when the mirror lacks an image: NeverContactSource or AllowContactingSource, written into the
    /// mirror configuration [default: not written; nodes then ask the source]
    #[cfg(feature = "registry")]
    #[arg(
        long,
        value_enum,
        value_name = "POLICY",
        requires = "to",
        hide_possible_values = true,
        ignore_case = true,
        help_heading = "Destination"
    )]
    pub mirror_source_policy: Option<SourcePolicy>,
    /// Write what install-config.yaml needs to install from this mirror to this file: the list imageDigestSources
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "FILE", requires = "to", help_heading = "Destination")]
    pub install_config: Option<PathBuf>,
    /// Write what hosts need in /etc/containers/registries.d to read the signatures in this mirror to this file, or to
    /// a file in this folder
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "FILE", requires = "to", help_heading = "Destination")]
    pub registries_d: Option<PathBuf>,
    /// As `oc adm release mirror` has it: another place for the release image, REGISTRY/REPO or REGISTRY/REPO:TAG
    #[cfg(feature = "registry")]
    #[arg(long, value_name = "IMAGE", requires = "to", hide = true, help_heading = "Destination")]
    pub to_release_image: Option<String>,
    /// Write where each image went to this file: SRC=DST lines, as `oc image mirror -f` takes them
    #[arg(long, value_name = "FILE", help_heading = "Destination", conflicts_with = "to_layout")]
    pub mapping: Option<PathBuf>,
    /// Replace manifests, a mapping and snippets that exist with other content; with --apply-manifests also change
    /// objects on the cluster
    #[arg(long, help_heading = "Destination")]
    pub overwrite: bool,
    /// Verify, ask the destination what it has, and show what would be written; write nothing
    #[arg(long, help_heading = "Destination")]
    pub dry_run: bool,
    /// The cluster.
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub cluster: ApplyToo,
    /// Write the blobs of the volumes at hand although others are missing; manifests and tags follow with the
    /// last volume
    #[arg(long, help_heading = "Destination")]
    pub partial: bool,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Proof.
    #[command(flatten)]
    pub proof: SiteProof,
    /// How the registry is reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
}

/// `recovery`
#[derive(Debug, ClapArgs)]
pub struct Recovery {
    /// The bundle, or all its volumes: recovery data for all of them can restore a lost one
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// How much recovery data to create, as a share of the bundle
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = shared::percent)]
    pub percent: u8,
    /// File to write [default: BUNDLE.recovery, where repair looks for it]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Replace existing recovery data
    #[arg(long)]
    pub force: bool,
}

/// `repair`
#[derive(Debug, ClapArgs)]
pub struct Repair {
    /// The bundle, or its volumes; they are repaired in place, and named BUNDLE.partial until they verify. A missing
    /// volume is restored
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Get replacements for damaged parts from here (repeatable): another copy of the bundle, a layout, archive or
    /// directory with its images, or REGISTRY/REPO; REGISTRY alone means the repositories there that the images came
    /// from
    #[arg(long, value_name = "SOURCE")]
    pub from: Vec<String>,
    /// Recovery data (repeatable) [default: BUNDLE.recovery, if it exists]
    #[arg(long, value_name = "FILE")]
    pub recovery: Vec<PathBuf>,
    /// Write a repaired copy here and leave BUNDLE as it is: for read-only media
    #[arg(long, value_name = "NEW")]
    pub to: Option<PathBuf>,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
    /// How registries are reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: Registry,
}

/// `split`
#[derive(Debug, ClapArgs)]
pub struct Split {
    /// The bundle, in one file
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The folder to write the volumes to [default: the folder of the bundle]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The size of volumes.
    #[command(flatten)]
    pub volumes: Volumes,
    /// Write only this volume, to fill one medium after another (repeatable); volumes fit together when they are made
    /// from the same bundle with the same size
    #[arg(long, value_name = "N", help_heading = "Volumes")]
    pub only: Vec<u32>,
    /// Re-read everything from the medium, bypassing the page cache, before the volumes get their final names
    #[arg(long, help_heading = "Volumes")]
    pub read_back: bool,
    /// Replace existing volumes
    #[arg(long, help_heading = "Volumes")]
    pub force: bool,
    /// Show the volumes and the free space; write nothing
    #[arg(long, help_heading = "Volumes")]
    pub dry_run: bool,
}

/// `join`
#[derive(Debug, ClapArgs)]
pub struct Join {
    /// The bundle to write
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Its volumes, or folders of them, in any order
    #[arg(value_name = "VOLUME|DIR", required = true)]
    pub volumes: Vec<PathBuf>,
    /// Replace an existing bundle
    #[arg(long)]
    pub force: bool,
    /// Re-read everything from the medium, bypassing the page cache, before the bundle gets its final name
    #[arg(long)]
    pub read_back: bool,
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
    /// Do not ask for a passphrase: the private key is stored unencrypted
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `check-signature`
#[derive(Debug, ClapArgs)]
pub struct CheckSignature {
    /// The signature file, as downloaded from a signature store
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The release digest that must be signed: sha256:...
    #[arg(long, value_name = "DIGEST")]
    pub digest: String,
    /// OpenPGP keys to accept [default: redhat, built in]
    #[arg(long, value_name = "FILE")]
    pub release_keyring: Vec<PathBuf>,
    /// Evaluate validity at this time instead of now, for example 2027-06-30 or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// `explain`
#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// An error code (blob-missing), an exit code (30), exit-codes, environment, trust, receipts, or rules
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
    /// The command [default: the page of mirror-bundle itself]
    #[arg(value_name = "COMMAND", value_parser = clap::builder::PossibleValuesParser::new(COMMANDS),
          hide_possible_values = true)]
    pub command: Option<String>,
    /// Write every page to this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}

/// A verb that does not exist.
#[derive(Debug, ClapArgs)]
pub struct Wrong {
    /// Whatever was given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}
