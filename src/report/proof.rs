//! What is left of a run on this host: its receipt, and its line in the log.

use serde::Serialize;

/// A place in the log of a host: what is printed as `log 41 <first 16 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The number of the line.
    pub n: u64,
    /// SHA-256 of the line, with its end.
    pub sha256: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log {} {}", self.n, self.sha256.get(..16).unwrap_or_default())
    }
}

/// What a run left on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Digest of the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The line in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Place>,
}

impl Proof {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Proof::default()
    }
}
