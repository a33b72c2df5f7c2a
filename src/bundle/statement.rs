//! What every in-toto Statement v1 about a bundle has.

use serde::{Deserialize, Serialize};

/// Type of the statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The subject of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Name of the bundle.
    pub name: String,
    /// Digest of its index.
    pub digest: SubjectDigest,
}

/// The digest of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// Hex.
    pub sha256: String,
}
