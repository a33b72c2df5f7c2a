//! The trust policy of the receiving host: whose signatures count, in which role, how many, and when.
//!
//! The policy comes from a file or a flag on this host and never from a bundle (rule 3 of the command line). Three
//! sources give one [`Policy`]: `trust.yaml` (`yaml`), OpenSSH `allowed_signers`, and the keys of
//! `--signer`. Parsing fails closed: an unknown field, an unreachable threshold or an unusable key is an error, not a
//! gap. `evaluate` evaluates signatures; rules about releases, images, ages and rollback are only stored here for the
//! checks that use them. Spec: `spec/signatures.md`, "Trust".

mod allowed_signers;
mod evaluate;
mod pattern;
mod time;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

pub use crate::report::signature::Outcome;
pub use evaluate::{EvaluatedSignature, Evaluation, MAX_SIGNATURES, Need};
pub use yaml::{BundleRules, ImageKey, Keyring, ReleaseRules, Removable, RemovalRules, RollbackRules};

use super::Role;
use super::key::PublicKey;
use crate::error::{Code, Error, Result};
use crate::kubernetes::Rule;
use crate::oci::Digest;

/// The longest policy file, in bytes.
pub const MAX_POLICY: usize = 1024 * 1024;

/// The most signers of one policy.
const MAX_SIGNERS: usize = 1000;

/// Whom this host trusts for what.
#[derive(Clone, Debug)]
pub struct Policy {
    signers: Vec<Signer>,
    revoked: BTreeSet<String>,
    require: BTreeMap<Role, usize>,
    /// The maximum age of a bundle, by its `created` time.
    pub max_age: Option<SignedDuration>,
    /// Requirements on the bundle itself.
    pub bundle: BundleRules,
    /// Whose release signatures count, and which releases are allowed.
    pub release: ReleaseRules,
    /// Keys for image signatures.
    pub image_keys: Vec<ImageKey>,
    /// Which images must have a good signature.
    pub image_require: crate::sign::cosign::Require,
    /// Manifests that may be applied beyond the default list.
    pub allow_kinds: Vec<Rule>,
    /// If set, the only manifests that may be applied.
    pub manifests: Option<Vec<Rule>>,
    /// What to do about older or much newer sequence numbers.
    pub rollback: RollbackRules,
    /// What reviewers may remove; `None`: nothing.
    pub removals: Option<RemovalRules>,
    /// The log of this host, to which every run appends a line.
    pub log: Option<PathBuf>,
    /// The digest of the policy file, if it is a file.
    pub digest: Option<Digest>,
}

/// One key with its name, roles and validity in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// This host's name for the holder of the key. One line.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// The roles in which the key may sign; never empty.
    pub roles: Vec<Role>,
    /// When the key may be used.
    pub valid: Validity,
}

/// The period in which a key may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub from: Option<Timestamp>,
    /// The first instant after the end.
    pub until: Option<Timestamp>,
}

impl Policy {
    /// Parses a policy file in either format.
    ///
    /// It is `allowed_signers` if the first line that is not blank or a comment contains a key type and a key as
    /// separate words, and `trust.yaml` otherwise.
    pub fn parse(bytes: &[u8]) -> Result<Policy> {
        let parsed = match allowed_signers::looks_like(bytes) {
            true => Policy::from_allowed_signers(bytes),
            false => Policy::from_yaml(bytes),
        };
        parsed.map(|policy| Policy { digest: Some(Digest::of(bytes)), ..policy })
    }

    /// Parses a `trust.yaml` of at most [`MAX_POLICY`] bytes.
    pub fn from_yaml(bytes: &[u8]) -> Result<Policy> {
        yaml::parse(text(bytes)?)?.checked()
    }

    /// Parses an OpenSSH `allowed_signers` file (`ssh-keygen(1)`, "ALLOWED SIGNERS"). It requires one signature as
    /// builder by any of its keys, and nothing else.
    pub fn from_allowed_signers(bytes: &[u8]) -> Result<Policy> {
        let signers = allowed_signers::parse(text(bytes)?)?;
        if signers.is_empty() {
            return Err(bad("no key in the allowed signers file may sign in a namespace of mirror-bundle")
                .fact("expected namespaces=\"mirror-bundle.v1.builder\", or no namespaces option"));
        }
        Policy::requiring_a_builder(signers).checked()
    }

    /// The policy of `--signer KEY.pub`: each key may sign as builder only, and one signature by any of them is
    /// required. Stronger requirements need a policy file.
    pub fn from_signer_keys(keys: &[PublicKey]) -> Result<Policy> {
        if keys.is_empty() {
            return Err(bad("no signer key was given"));
        }
        let signers = keys.iter().map(|key| Signer {
            name: if key.comment().is_empty() { key.fingerprint() } else { key.comment().to_owned() },
            key: key.clone(),
            roles: vec![Role::Builder],
            valid: Validity::default(),
        });
        Policy::requiring_a_builder(signers.collect()).checked()
    }

    /// All signers.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// The number of distinct keys that each role requires; never empty, never zero.
    pub fn required(&self) -> impl Iterator<Item = (Role, usize)> {
        self.require.iter().map(|(role, threshold)| (*role, *threshold))
    }

    /// Requires no signature of a reviewer from now on. Returns how many it did require; `None` if it required none, or
    /// nothing else, and is as it was.
    pub fn before_review(&mut self) -> Option<usize> {
        if self.require.keys().all(|role| *role == Role::Reviewer) {
            return None;
        }
        self.require.remove(&Role::Reviewer)
    }

    fn requiring_a_builder(signers: Vec<Signer>) -> Policy {
        Policy {
            signers,
            revoked: BTreeSet::new(),
            require: BTreeMap::from([(Role::Builder, 1)]),
            max_age: None,
            bundle: BundleRules::default(),
            release: ReleaseRules::default(),
            image_keys: Vec::new(),
            image_require: crate::sign::cosign::Require::Scoped,
            allow_kinds: Vec::new(),
            manifests: None,
            rollback: RollbackRules::default(),
            removals: None,
            log: None,
            digest: None,
        }
    }

    /// Refuses a policy without signers, or one that no set of signatures can satisfy.
    fn checked(self) -> Result<Policy> {
        if self.signers.is_empty() {
            return Err(bad("the trust policy has no signers"));
        }
        if self.signers.len() > MAX_SIGNERS {
            return Err(bad(format!("the trust policy has more than {MAX_SIGNERS} signers")));
        }
        for signer in &self.signers {
            if signer.valid.from.zip(signer.valid.until).is_some_and(|(from, until)| from >= until) {
                return Err(bad(format!(
                    "the key of `{}` is never valid: its end is not after its start",
                    signer.name
                )));
            }
        }
        if self.require.contains_key(&Role::Carrier) {
            return Err(bad("the trust policy requires signatures as carrier, and a carrier signs no index"));
        }
        let removals = self.removals.as_ref().map(|rules| (Role::Reviewer, rules.threshold));
        for (role, threshold) in self.required().chain(removals) {
            let keys = self.signers.iter().filter(|signer| signer.roles.contains(&role));
            let keys: BTreeSet<&[u8]> =
                keys.filter(|signer| !self.is_revoked(&signer.key)).map(|signer| signer.key.blob()).collect();
            if keys.len() < threshold {
                return Err(bad(format!("the trust policy requires {threshold} signatures as {role}"))
                    .fact(format!("and gives that role to {} different keys", keys.len())));
            }
        }
        Ok(self)
    }

    fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked.contains(&key.fingerprint())
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    if bytes.len() > MAX_POLICY {
        return Err(bad(format!("the trust policy is longer than {MAX_POLICY} bytes")));
    }
    std::str::from_utf8(bytes).map_err(|_| bad("the trust policy is not UTF-8 text"))
}

/// A signer's name on this host: one printable line.
fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return Err(bad(format!("`{name}` is not a signer's name: it must be one line of 1 to 256 bytes")));
    }
    Ok(())
}

/// A length of time as policies have it: `30d`, `12h`, `90m`, `45s` or `2w`.
pub fn length(text: &str) -> Option<SignedDuration> {
    time::age(text)
}

/// An error in a file or flag of this host; never a verdict about a bundle.
fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::SecretKey;
    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32], "").public().clone()
    }

    #[test]
    fn signer_keys_make_a_policy_that_needs_one_builder() {
        let policy = Policy::from_signer_keys(&[key(1), key(2)]).unwrap();
        assert_eq!(policy.required().collect::<Vec<_>>(), [(Role::Builder, 1)]);
        assert_eq!(policy.signers().len(), 2);
        assert_eq!(policy.signers()[0].name, key(1).fingerprint());
        assert!(Policy::from_signer_keys(&[]).is_err());
    }

    #[test]
    fn the_format_of_a_policy_file_is_recognised() {
        let line = key(1).to_line();
        for (file, good) in [
            (format!("# c\n\nalice {line}\n"), true),
            (format!("alice namespaces=\"mirror-bundle.v1.*\" {line}\n"), true),
            (format!("signers: [{{name: a, roles: [builder], key: \"{line}\"}}]\n"), true),
            (format!("signers: [{{name: a, roles: [builder], key: {line}}}]\n"), true),
            (format!("---\nsigners:\n- key: {line}\n  name: a\n  roles: [builder]\n"), true),
            (format!("{{\"signers\": [{{\"name\": \"a\", \"roles\": [\"builder\"], \"key\": \"{line}\"}}]}}"), true),
            (String::new(), false),
            ("# nothing\n".to_owned(), false),
            (line, false),
        ] {
            assert_eq!(Policy::parse(file.as_bytes()).is_ok(), good, "{file}: {:?}", Policy::parse(file.as_bytes()));
        }
    }

    #[test]
    fn a_policy_over_the_limit_is_refused_unread() {
        let long = vec![b'#'; MAX_POLICY + 1];
        assert!(Policy::parse(&long).unwrap_err().message().contains("longer"));
        assert!(Policy::from_allowed_signers(&long).unwrap_err().message().contains("longer"));
        assert!(Policy::parse(b"\xff").is_err());
    }
}
