//! Update graphs: which release a cluster may update to, as Cincinnati (the update service) has it.
//!
//! [`Graph`] is what the service answers. [`GraphData`] is the tree of files that it is computed from, together with
//! the releases that a repository has: channels and blocked edges are in the files, edges in the releases. It is read
//! as the service reads it, and each file that the service would skip, and all that makes it fail, is a [`Remark`].
//!
//! Facts: openshift/cincinnati 49c914f, openshift/cincinnati-graph-data, openshift/cluster-version-operator.

mod build;
mod carried;
mod graph;
mod graph_data;
pub mod image;
mod net;
mod yaml;

pub use build::{Origin, ReleaseNode, Served, Whole};
pub use graph::{Conditional, ConditionalEdge, Graph, MAX_BYTES, MAX_NODES, Node, Query, Risk, Rule};
pub use graph_data::{Effect, GraphData, MAX_FILE, MAX_FILES, Refused, Remark};
pub use net::{Net, NoPath, Reached, Step};

use crate::version::Version;

/// Architectures as the service names them; `multi` is that of releases that are lists.
pub const ARCHITECTURES: [&str; 5] = ["amd64", "arm64", "multi", "ppc64le", "s390x"];

/// In the metadata of a node: the channels it is in, separated by commas.
pub const CHANNELS: &str = "io.openshift.upgrades.graph.release.channels";
/// In the metadata of a node: the digest of the release.
pub const MANIFEST_REFERENCE: &str = "io.openshift.upgrades.graph.release.manifestref";
/// In the metadata of a node: what was removed from the edges to it.
const REMOVE_REGEX: &str = "io.openshift.upgrades.graph.previous.remove_regex";

/// A version of a release: semantic, of plain characters, at most 128 of them.
pub fn version(text: &str) -> Option<Version> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
    let leading_zero = |part: &str| part.len() > 1 && part.starts_with('0');
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let good = text.len() <= 128 && text.bytes().all(plain) && !core.split('.').any(leading_zero);
    good.then(|| Version::parse(text)).flatten()
}

/// Whether a cluster can ask for a channel of this name: lower case letters, digits, `-` and `.`.
pub fn is_channel(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    !name.is_empty() && name.len() <= 128 && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
