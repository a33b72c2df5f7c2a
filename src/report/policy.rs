//! Which rules were evaluated, and what was accepted.

use serde::Serialize;

/// The policy of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyUsed {
    /// The file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// How many rules it has.
    pub rules: u64,
    /// How many entries under `accept` it has.
    pub accept: u64,
}

/// Why something that was found is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// The last day on which it counts.
    pub until: String,
}

/// An entry of a policy that accepts what a rule or a scanner found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The scanner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanner: Option<String>,
    /// A digest, a purl or a path.
    pub subject: String,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// How many findings it closes.
    pub findings: u64,
    /// What they say: the first of them.
    pub closed: Vec<String>,
}
