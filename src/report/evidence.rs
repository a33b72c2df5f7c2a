//! What other programs found in images of a bundle.

use std::collections::BTreeMap;

use serde::Serialize;

/// What another program found in an image, from a file that the user named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its form: `grype`, `trivy`, `sarif`, `openvex` or `csaf-vex`.
    pub format: &'static str,
    /// The program that made it, or the author of statements.
    pub tool: String,
    /// The version of the program or document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the file says that it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When the data of the program was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The age of that data in days; without it, of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_days: Option<i64>,
    /// The images of the bundle that it is about.
    pub images: Vec<EvidenceImage>,
    /// How many findings or statements it has, by severity or status.
    pub counts: BTreeMap<String, u64>,
}

/// An image that evidence is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EvidenceImage {
    /// The image in the index: its reference, else its digest.
    pub image: String,
    /// The digest of its manifest or index.
    pub digest: String,
    /// How they belong together: `manifest`, `config` or `named` (`--for`).
    pub by: &'static str,
}
