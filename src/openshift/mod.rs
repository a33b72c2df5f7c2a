//! What OpenShift itself reads and writes: release signatures, the release payload, mirror sets, `oc`'s tag names.
//!
//! Bytes in, values out: no network, no bundle, and no clock (the time is an argument). Facts and sources:
//! openshift/oc, openshift/library-go `pkg/verify`, openshift/cluster-version-operator.

mod certificate;
mod framing;
pub mod image_policy;
mod image_references;
pub mod marks;
pub mod mirror_set;
pub mod openpgp;
pub mod payload;
pub mod release_signature;
pub mod signature_map;
pub mod tags;
pub mod update_graph;
pub mod update_service;
pub mod verification;
