//! Offline bundles of OCI images and Kubernetes manifests: one signed, content-addressed tar file that is
//! created on a connected host, verified and unpacked behind an air gap.
//!
//! The library fails closed. [`verify::admit`] and every verb of [`ops`] that verifies want a [`verify::Trust`], which has
//! no default; and only a complete and good verdict hands out a [`verify::Verified`], without which no destination writes
//! a manifest, a tag or a file. `examples/embed.rs` shows a program that verifies and unpacks.
//!
//! ```
//! use mirror_bundle::{Result, sink::{Counts, Destination, Watch}, verify::Verified};
//!
//! fn publish(bundle: &Verified<'_>, to: &dyn Destination, watch: &dyn Watch) -> Result<Counts> {
//!     to.images(bundle, watch)
//! }
//! ```
//!
//! A bundle that was only admitted (its head is right, its content was not read) is not one:
//!
//! ```compile_fail,E0308
//! use mirror_bundle::{Result, sink::{Counts, Destination, Watch}, verify::Admitted};
//!
//! fn publish(bundle: &Admitted<'_>, to: &dyn Destination, watch: &dyn Watch) -> Result<Counts> {
//!     to.images(bundle, watch)
//! }
//! ```
//!
//! Nobody but the verifier makes one:
//!
//! ```compile_fail,E0423
//! use mirror_bundle::verify::{Admitted, Verified};
//!
//! fn forged(bundle: Admitted<'_>) -> Verified<'_> {
//!     Verified(bundle)
//! }
//! ```
//!
//! Data flows one way: `source -> graph -> bundle` on the connected side, `bundle -> verify -> sink` on the other.

pub mod beneath;
pub mod bundle;
pub mod cli;
pub mod error;
pub mod graph;
pub mod kubernetes;
pub mod oci;
pub mod openshift;
pub mod ops;
pub mod parallel;
pub mod recovery;
#[cfg(feature = "registry")]
pub mod registry;
pub mod sign;
pub mod sink;
pub mod source;
pub mod verify;

pub use error::{Code, Error, Result};
