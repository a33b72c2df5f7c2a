//! The releases of a bundle, and who signed them.

use serde::Serialize;

/// An OpenShift release of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedRelease {
    /// Its version.
    pub version: String,
    /// Go's name of its architecture, or `multi`.
    pub architecture: String,
    /// The digest of the release image.
    pub digest: String,
    /// Whether a key that is pinned on this host signed that digest.
    pub signed: bool,
    /// The OpenPGP fingerprint of that primary key, in upper-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The user id of that key, as the keyring of this host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// When it was signed, as the signature says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<String>,
}

impl SignedRelease {
    /// Version, key and user id for a person.
    pub fn title(&self) -> String {
        let parts = [Some(self.version.as_str()), self.key.as_deref(), self.user_id.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
