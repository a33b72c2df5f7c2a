//! The result of each signature over the index and over review records on this host.

use serde::Serialize;

/// The result of evaluating one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Good: by a trusted key, in a role that the key has, at a valid time.
    Good,
    /// By a key that is not in this policy, or of a kind that no policy can contain.
    UnknownKey,
    /// Does not match the signed data: tampering or damage.
    Bad,
    /// By a key of this policy that is not valid yet.
    NotYetValid,
    /// By a key of this policy that has expired.
    Expired,
    /// By a key that this policy revokes.
    Revoked,
    /// By a key of this policy, in a role that the key does not have.
    WrongRole,
    /// Not a valid SSHSIG signature as this format requires.
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

/// The state of a signature on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Evaluated against the trust policy (MB-TRU-11).
    Evaluated(Outcome),
    /// Not evaluated: this host has no trust policy.
    NotEvaluated,
}

impl Standing {
    /// The word used in JSON and in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Evaluated(outcome) => outcome.as_str(),
            Standing::NotEvaluated => "not-judged",
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

/// The result of one signature over the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureOutcome {
    /// Where it was found: `mirror-bundle/index.json.sig`, an addendum, a file.
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
    /// Whether it counts: by a trusted key, in a role that the key has, at a valid time.
    pub fn is_good(&self) -> bool {
        self.outcome == Standing::Evaluated(Outcome::Good)
    }
}

/// A review record, and the result of the signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordOutcome {
    /// Where it was found: an addendum, or a file beside the bundle.
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
    /// The reviewer's data, unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<crate::oci::json::Object>,
    /// As for a signature.
    pub outcome: Standing,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether anyone who is known here vouches for an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vouched {
    /// A key of the policy signed it.
    Verified,
    /// No key of the policy signed it: everything in it is a claim of the sender.
    UnknownKey,
    /// It cannot be used.
    Unusable,
}

/// An attestation that is attached to an image: listed, and no part of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attestation {
    /// The digest of the image.
    pub image: String,
    /// The digest of the manifest that attaches it.
    pub manifest: String,
    /// What kind of statement it is. Of one that cannot be used: what an annotation says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// Whether a key of the policy signed it.
    pub signature: Vouched,
    /// Fingerprint of the key of the policy that signed it. Without one, everything in it is a claim of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
