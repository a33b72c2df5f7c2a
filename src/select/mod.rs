//! What was asked for, as roots: images in registries and local sources, releases with all that belongs to them,
//! Kubernetes manifests, and what is attached to any of them.
//!
//! Everything is resolved here, and no layer is fetched.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::oci::{Platform, Reference};
use crate::openshift::openpgp::Keyring;

mod content;
mod files;
mod mirrors;
mod release;
mod walk;

pub(crate) use content::{Content, gather};
pub(crate) use files::Carried;
pub use mirrors::Mirrors;
pub use release::Store;
pub(crate) use walk::{Reachable, Root};

/// What is done with foreign (non-distributable) layers, which registries need not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignLayers {
    /// They are taken from where the image is, as other layers are.
    Fetch,
    /// They are left out, with a warning, and the bundle says so.
    #[default]
    Skip,
    /// An image that has one is refused.
    Refuse,
}

/// What to carry, and how its releases have to be signed.
#[derive(Debug)]
pub struct Options {
    /// Release images.
    pub releases: Vec<Reference>,
    /// Other images.
    pub images: Vec<Reference>,
    /// OCI layouts, archives of them and of `docker save`, skopeo `dir:` folders.
    pub layouts: Vec<PathBuf>,
    /// The folder that compressed archives are decompressed in, into files without a name.
    pub room: PathBuf,
    /// Folders that `oc` wrote.
    pub dirs: Vec<PathBuf>,
    /// Folders with Kubernetes manifests.
    pub manifests: Vec<PathBuf>,
    /// Where copies of repositories are.
    pub mirrors: Mirrors,
    /// What is done with foreign layers.
    pub foreign: ForeignLayers,
    /// Of multi-arch images, only this platform.
    pub platform: Option<Platform>,
    /// Kinds of manifests carried beyond the usual ones.
    pub allow_kinds: Vec<String>,
    /// Signature stores; empty: those that the payload names.
    pub stores: Vec<Store>,
    /// OpenPGP keys that releases must be signed by: any one of them.
    pub keyrings: Vec<Keyring>,
    /// Carry a release that is not verified.
    pub allow_unsigned_release: bool,
    /// Carry a release of 4.21 or later without cosign signature.
    pub allow_missing_image_signature: bool,
    /// The moment at which release signatures have to be good.
    pub now: Timestamp,
    /// Do not look for what is attached to images: signatures (but of releases), attestations, referrers.
    pub without_referrers: bool,
    /// Threads.
    pub jobs: usize,
}
