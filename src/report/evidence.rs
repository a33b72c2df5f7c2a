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
    /// With statements of VEX files: how many vulnerabilities they leave open, by severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<BTreeMap<String, u64>>,
    /// The first vulnerabilities that such statements close.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Closed>,
    /// How many more they close.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub more_closed: u64,
}

/// A vulnerability that is closed by what somebody says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The id that the scanner gives it.
    pub id: String,
    /// The package that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// As the scanner has it.
    pub severity: String,
    /// `not_affected` or `fixed`.
    pub status: &'static str,
    /// Who says so.
    pub author: String,
    /// The file with the statement.
    pub file: String,
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
