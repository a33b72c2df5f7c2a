//! What signatures over the index and over review records amount to on this host.

use serde::Serialize;

/// What one signature amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// By a trusted key, in a role that it has, now.
    Good,
    /// Not by a key of this policy, or by one of a kind that no policy can have.
    UnknownKey,
    /// Does not match what it should sign: tampering or damage.
    Bad,
    /// By a key of this policy whose time has not come.
    NotYetValid,
    /// By a key of this policy whose time is over.
    Expired,
    /// By a key that this policy revokes.
    Revoked,
    /// By a key of this policy, but not for a role that the key has.
    WrongRole,
    /// Not a signature in the form of this format.
    Malformed,
}

impl Outcome {
    /// The word used in JSON and in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::UnknownKey => "unknown-key",
            Outcome::Bad => "bad",
            Outcome::NotYetValid => "not-yet-valid",
            Outcome::Expired => "expired",
            Outcome::Revoked => "revoked",
            Outcome::WrongRole => "wrong-role",
            Outcome::Malformed => "malformed",
        }
    }
}

/// What a signature amounts to on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The trust policy was asked (MB-TRU-11).
    Evaluated(Outcome),
    /// This host has no trust policy.
    NotJudged,
}

impl Standing {
    /// The word used in JSON and in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Evaluated(outcome) => outcome.as_str(),
            Standing::NotJudged => "not-judged",
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Standing {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What became of one signature over the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureOutcome {
    /// Where it stands: `mirror-bundle/index.json.sig`, an addendum, a file.
    pub origin: String,
    /// The signer's name in the trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The role that the signature claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Full fingerprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `good`, or one of the other words of MB-TRU-11; `not-judged` when this host has no policy.
    pub outcome: Standing,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl SignatureOutcome {
    /// Whether it counts: by a trusted key, in a role that it has, now.
    pub fn is_good(&self) -> bool {
        self.outcome == Standing::Evaluated(Outcome::Good)
    }
}

/// A review record, and what became of the signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordOutcome {
    /// Where it stands: an addendum, or a file beside the bundle.
    pub origin: String,
    /// The signer's name in the trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The role that the record claims.
    pub role: String,
    /// Full fingerprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it says that it was made.
    pub created: String,
    /// Its note.
    pub note: String,
    /// What the reviewer wrote, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<crate::oci::json::Object>,
    /// As that of a signature.
    pub outcome: Standing,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An attestation that is attached to an image: listed, and no part of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attestation {
    /// The digest of the image.
    pub image: String,
    /// The digest of the manifest that attaches it.
    pub manifest: String,
    /// What kind of statement it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// Fingerprint of the key of the policy that signed it. Without one, everything in it is a claim of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
