//! Arguments about a cluster: `apply`, and `unpack --apply-manifests`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Trust;

/// `apply`
#[derive(Debug, ClapArgs)]
pub struct Apply {
    /// The bundle, or its volumes or copies; or a folder of manifests, or one manifest (with --allow-unsigned); - reads
    /// a bundle from standard input
    #[arg(value_name = "BUNDLE|DIR", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Compare only: show what would be created and changed, as the server answers a dry run; change nothing
    #[arg(long, help_heading = "Cluster")]
    pub dry_run: bool,
    /// Change objects that exist with other content; what others have added to them stays
    #[arg(long, help_heading = "Cluster")]
    pub overwrite: bool,
    /// After a failure apply the rest
    #[arg(long, help_heading = "Cluster")]
    pub continue_on_error: bool,
    /// Also apply mirror sets (nodes get a new configuration)
    #[arg(long, help_heading = "Cluster")]
    pub apply_mirror_sets: bool,
    /// How the cluster is reached.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// `unpack --apply-manifests`
#[derive(Clone, Debug, ClapArgs)]
pub struct ApplyToo {
    /// Apply the manifests to the cluster of the kubeconfig: compared before the first blob is sent, applied when all
    /// images are complete
    #[arg(long, help_heading = "Cluster", alias = "apply-release-image-signature")]
    pub apply_manifests: bool,
    /// With --apply-manifests: also apply the mirror sets, carried ones and those written for the target (nodes get a
    /// new configuration)
    #[arg(long, requires = "apply_manifests", help_heading = "Cluster")]
    pub apply_mirror_sets: bool,
    /// How the cluster is reached.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// How a cluster is reached.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// The kubeconfig [default: KUBECONFIG, then ~/.kube/config, then the service account of the pod]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}
