//! The updates that a carried update graph offers to the carried releases.

use serde::Serialize;

/// How clusters can come to a carried release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Updates {
    /// Version of the release.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The channels of the graph that it is in.
    pub channels: Vec<String>,
    /// The versions that one update leads from, oldest first.
    pub from: Vec<UpdateFrom>,
}

/// A version that an update leads from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateFrom {
    /// The version.
    pub version: String,
    /// Whether its release is in this bundle. The update service offers the update to clusters of another version only
    /// if its repository has that release already.
    pub carried: bool,
    /// The names of the risks that the graph knows for this update.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
}
