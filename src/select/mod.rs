//! What was asked for, as roots: images in registries and local sources, releases with all that belongs to them,
//! Kubernetes manifests, and what is attached to any of them.
//!
//! Everything is resolved here, and no layer is fetched.

mod content;
mod files;
mod release;
mod walk;

pub(crate) use content::{Content, gather};
pub(crate) use files::Carried;
pub use release::Store;
pub(crate) use walk::{Found, Root, labelled};
