//! What was removed from a bundle, and by whom.

use serde::Serialize;

use super::{Report, Standing};

/// A statement about a removal, and the result of the signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemovalOutcome {
    /// Where it was found: a member of the head, an addendum, or a file beside the bundle.
    pub origin: String,
    /// The signer's name in the trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `reviewer`.
    pub role: &'static str,
    /// Full fingerprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it says that it was made.
    pub created: String,
    /// The reason that it gives.
    pub reason: String,
    /// The images that it names, as far as they are listed.
    pub images: Vec<String>,
    /// The files that it names, as far as they are listed.
    pub files: Vec<String>,
    /// How many more images and files it names.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub more: u64,
    /// How many blobs it names.
    pub blobs: u64,
    /// Whether it counts on this host: what it names is not part of the bundle here.
    pub obeyed: bool,
    /// As for a signature.
    pub outcome: Standing,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether it only lacks other keys that sign for the same.
    #[serde(skip)]
    pub short: bool,
    /// What it names, counted, for people.
    #[serde(skip)]
    pub words: String,
}

impl RemovalOutcome {
    /// `1 image, removed by NAME as reviewer: "REASON"`.
    pub fn sentence(&self) -> String {
        let name = self.name.as_deref().or(self.key.as_deref()).unwrap_or("?");
        format!("{}, removed by {name} as {}: \"{}\"", self.words, self.role, self.reason)
    }
}

impl Report {
    /// What the bundle is complete except for, if anything was removed.
    pub fn except(&self) -> Option<String> {
        let all: Vec<String> = self.removals.iter().filter(|r| r.obeyed).map(RemovalOutcome::sentence).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
