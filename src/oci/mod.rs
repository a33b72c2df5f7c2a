//! OCI content as pure data: digests, descriptors, manifests, references. No I/O.
//!
//! Sources: OCI image-spec 1.1, distribution-spec 1.1. Stricter than both where input is hostile
//! (`spec/bundle-format.md`, "OCI documents").

mod descriptor;
mod digest;
pub mod json;
pub mod layout;
mod manifest;
pub mod media_type;
mod raw;
mod reference;
mod write;

pub use descriptor::{Descriptor, Platform, Role};
pub use digest::{ATTACHED, Digest, Hasher, attached_to};
pub use manifest::{Document, Index, Manifest, guess, parse};
pub(crate) use raw::Object as AsObject;
pub use reference::{Reference, Repository, Tag, without_registry};
pub use write::{IndexOf, ListOf, ManifestOf};

/// A document, reference or digest that violates the specification or this project's limits; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Invalid {
        Invalid(text.into())
    }
}
