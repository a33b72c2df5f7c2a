//! Resolves a request into roots: images in registries and local sources, releases with everything that belongs to
//! them, Kubernetes manifests, and the attachments of any of them.
//!
//! Everything is resolved here, and no layer is fetched.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::kubernetes::Rule;
use crate::oci::{Platform, Reference};
use crate::openshift::openpgp::Keyring;
use crate::parallel::Pace;

pub mod base;
mod content;
mod files;
mod graph_data;
mod image_signatures;
mod mirrors;
mod release;
mod updates;
mod walk;

pub(crate) use content::{Content, gather};
pub(crate) use files::Carried;
#[cfg(feature = "cluster")]
pub(crate) use files::loose as manifests;
pub use graph_data::GraphInput;
pub use mirrors::Mirrors;
pub use release::Store;
pub(crate) use updates::Graphs;
pub use updates::{GraphSource, PUBLIC_GRAPH, Updates};
pub(crate) use walk::{Reachable, Root};

/// How to treat foreign (non-distributable) layers, which registries are not required to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignLayers {
    /// Fetch them from the image's own repository, like other layers.
    Fetch,
    /// Leave them out with a warning, and record this in the bundle.
    #[default]
    Skip,
    /// Refuse an image that has one.
    Refuse,
}

/// What to carry, and how its releases must be signed.
#[derive(Debug)]
pub struct Options {
    /// Release images.
    pub releases: Vec<Reference>,
    /// Releases of an update path.
    pub updates: Option<Updates>,
    /// Other images.
    pub images: Vec<Reference>,
    /// OCI layouts, archives of layouts or of `docker save`, skopeo `dir:` folders.
    pub layouts: Vec<PathBuf>,
    /// The folder for decompressing archives, into unnamed files.
    pub room: PathBuf,
    /// Folders that `oc` wrote.
    pub dirs: Vec<PathBuf>,
    /// Folders with Kubernetes manifests.
    pub manifests: Vec<PathBuf>,
    /// An update graph, to be carried as an image.
    pub graph_data: Option<GraphInput>,
    /// Locations of copies of repositories.
    pub mirrors: Mirrors,
    /// How to treat foreign layers.
    pub foreign: ForeignLayers,
    /// Carry only this platform of multi-arch images.
    pub platform: Option<Platform>,
    /// Manifests to carry beyond the default list.
    pub allow_kinds: Vec<Rule>,
    /// Signature stores; if empty, the stores that the payload names.
    pub stores: Vec<Store>,
    /// OpenPGP keys for releases: one of them must have signed.
    pub keyrings: Vec<Keyring>,
    /// Carry a release even if it cannot be verified.
    pub allow_unsigned_release: bool,
    /// Carry a release of 4.21 or later even without a cosign signature.
    pub allow_missing_image_signature: bool,
    /// The time at which release signatures must be valid.
    pub now: Timestamp,
    /// Do not look for attachments of images: signatures (except those of releases), attestations, referrers.
    pub without_referrers: bool,
    /// How much is fetched at once.
    pub pace: Arc<Pace>,
}
