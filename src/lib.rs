//! Offline bundles of OCI images and Kubernetes manifests: one signed, content-addressed tar file that is
//! created on a connected host, verified and unpacked behind an air gap.
//!
//! Data flows one way: `source -> graph -> bundle` on the connected side, `bundle -> verify -> sink` on the other.

pub mod bundle;
#[cfg(feature = "cli")]
pub mod cli;
pub mod content;
pub mod error;
pub mod fs;
pub mod graph;
pub mod kubernetes;
pub mod oci;
pub mod openshift;
pub mod ops;
pub mod recovery;
#[cfg(feature = "registry")]
pub mod registry;
pub mod report;
pub mod sign;
pub mod sink;
pub mod source;
pub mod verify;

pub use error::{Code, Error, Result};
