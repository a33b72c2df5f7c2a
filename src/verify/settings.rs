//! The trust of this host, and the conditions of a verification. Both are arguments, and neither has a default value.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::cosign::ImageKey;
use super::rollback::Memory;
use crate::bundle::Stock;
use crate::bundle::reader::Addendum;
use crate::error::{Code, Error, Result};
use crate::kubernetes::{Admission, Rule};
use crate::oci::{Digest, Repository};
use crate::openshift::openpgp::Keyring;
use crate::sign::cosign::Require;
use crate::sign::policy::{self, Policy};

/// The trust of this host. There is no default: every caller must write one.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value for each run")]
pub enum Trust {
    /// Bundles that this policy accepts.
    Policy(Resolved),
    /// Any bundle, whoever created it (`--allow-unsigned` without a policy). This is an exception, and every report
    /// records it.
    Unsigned {
        /// OpenPGP keys for releases: one of them must have signed each.
        keyrings: Vec<Keyring>,
    },
}

/// A trust policy with the key files that it names.
#[derive(Debug)]
pub struct Resolved {
    /// Who must have signed, and what is allowed.
    pub policy: Policy,
    /// OpenPGP keys for releases: one of them must have signed each.
    pub keyrings: Vec<Keyring>,
    /// Keys for cosign image signatures.
    pub image_keys: Vec<ImageKey>,
    /// Which images must have a good signature.
    pub image_require: Require,
}

impl Resolved {
    /// Loads the keyrings and image keys that a policy names; `read` returns a file by path.
    ///
    /// # Errors
    /// The error of reading or using one of them.
    pub fn new(policy: Policy, read: &dyn Fn(&Path) -> Result<Vec<u8>>) -> Result<Resolved> {
        let builtin =
            |e: crate::oci::Invalid| Error::new(Code::Internal, format!("the built-in keyring cannot be read: {e}"));
        let mut keyrings = Vec::new();
        for named in &policy.release.keyrings {
            keyrings.push(match named {
                policy::Keyring::Redhat => Keyring::redhat().map_err(builtin)?,
                policy::Keyring::File(path) => Keyring::parse(&path.display().to_string(), &read(path)?)
                    .map_err(|e| Error::new(Code::Usage, e.to_string()))?,
            });
        }
        let mut image_keys = Vec::new();
        for key in &policy.image_keys {
            let pem = String::from_utf8_lossy(&read(&key.key_file)?).into_owned();
            image_keys.push(
                ImageKey::new(&key.scope, key.signed_identity.clone(), &pem)
                    .map_err(|e| e.fact(format!("in {}", key.key_file.display())))?,
            );
        }
        let image_require = policy.image_require;
        Ok(Resolved { policy, keyrings, image_keys, image_require })
    }
}

impl Trust {
    /// The policy, if there is one.
    pub fn policy(&self) -> Option<&Policy> {
        match self {
            Trust::Policy(resolved) => Some(&resolved.policy),
            Trust::Unsigned { .. } => None,
        }
    }

    /// The trust of this host before the review: no signature of a reviewer is required. Returns how many were.
    pub fn before_review(&mut self) -> Option<usize> {
        match self {
            Trust::Policy(resolved) => resolved.policy.before_review(),
            Trust::Unsigned { .. } => None,
        }
    }

    /// OpenPGP keys for releases.
    pub fn keyrings(&self) -> &[Keyring] {
        match self {
            Trust::Policy(resolved) => &resolved.keyrings,
            Trust::Unsigned { keyrings } => keyrings,
        }
    }

    /// Which images must have a good signature.
    pub fn image_require(&self) -> Require {
        match self {
            Trust::Policy(resolved) => resolved.image_require,
            Trust::Unsigned { .. } => Require::default(),
        }
    }

    /// Keys for image signatures.
    pub fn image_keys(&self) -> &[ImageKey] {
        match self {
            Trust::Policy(resolved) => &resolved.image_keys,
            Trust::Unsigned { .. } => &[],
        }
    }
}

/// The conditions under which a bundle is verified.
#[derive(Debug)]
pub struct Conditions {
    /// The time at which validity is evaluated.
    pub now: Timestamp,
    /// The destination repository of the images, if known: names and image signatures are checked for it too.
    pub target: Option<Repository>,
    /// Exceptions from the requirements, made by the user.
    pub exceptions: Exceptions,
    /// The user's expectations of the bundle.
    pub expectations: Expectations,
    /// Signatures and records beside the bundle.
    pub detached: Detached,
    /// What this host has unpacked last, of each series.
    pub seen: Memory,
    /// Where blobs are that the bundle does not carry.
    pub stock: Arc<Stock>,
}

impl Conditions {
    /// At this time, without exceptions: the strictest conditions. Nothing is expected, remembered or detached.
    pub fn new(now: Timestamp) -> Conditions {
        Conditions {
            now,
            target: None,
            exceptions: Exceptions::default(),
            expectations: Expectations::default(),
            detached: Detached::default(),
            seen: Memory::default(),
            stock: Arc::default(),
        }
    }
}

impl Conditions {
    /// What may be carried and applied on this host: by its policy, and by the exceptions of this run.
    pub fn admission(&self, trust: &Trust) -> Admission {
        Settings::new(trust, self).admission()
    }
}

/// Exceptions from the requirements. By default there are none; the report names each one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// The time was given by the user instead of this host's clock.
    pub at: bool,
    /// Accept a bundle without a signature, although there is a policy. An existing signature is still checked.
    pub unsigned: bool,
    /// Accept a release without a good signature.
    pub unsigned_release: bool,
    /// Accept a bundle older than one this host has unpacked.
    pub rollback: bool,
    /// Continue although volumes are missing: the available ones are checked, and the verdict says that it is
    /// incomplete.
    pub partial: bool,
    /// Accept that what the bundle does not carry is not checked.
    pub as_carried: bool,
    /// Manifests accepted beyond the default list.
    pub kinds: Vec<Rule>,
}

/// Requirements on the bundle beyond the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The release that must be in the bundle: `version` or `version-architecture`.
    pub release: Option<String>,
    /// The index digest that the bundle must have.
    pub index: Option<Digest>,
}

/// Files beside the bundle about its index.
#[derive(Clone, Debug, Default)]
pub struct Detached {
    /// Signatures: where each was found, and its armored text.
    pub signatures: Vec<(String, Vec<u8>)>,
    /// Review records, and signatures over them.
    pub records: Vec<Addendum>,
}

/// Trust and conditions as the checks use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) allow_unsigned: bool,
    pub(crate) keyrings: &'a [Keyring],
    pub(crate) allow_unsigned_release: bool,
    pub(crate) allow_kinds: &'a [Rule],
    pub(crate) now: Timestamp,
    pub(crate) at_given: bool,
    pub(crate) detached_signatures: &'a [(String, Vec<u8>)],
    pub(crate) detached_records: &'a [Addendum],
    pub(crate) expect_release: Option<&'a str>,
    pub(crate) expect_index: Option<Digest>,
    pub(crate) seen: &'a Memory,
    pub(crate) allow_rollback: bool,
    pub(crate) image_keys: &'a [ImageKey],
    pub(crate) image_require: Require,
    pub(crate) target: Option<&'a Repository>,
    pub(crate) partial: bool,
    pub(crate) as_carried: bool,
    pub(crate) stock: &'a Arc<Stock>,
    /// Only whether contents are what the index says: nobody's trust is evaluated.
    pub(crate) look: bool,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(trust: &'a Trust, conditions: &'a Conditions) -> Settings<'a> {
        let Conditions { now, target, exceptions, expectations, detached, seen, stock } = conditions;
        Settings {
            policy: trust.policy(),
            allow_unsigned: exceptions.unsigned || matches!(trust, Trust::Unsigned { .. }),
            keyrings: trust.keyrings(),
            allow_unsigned_release: exceptions.unsigned_release,
            allow_kinds: &exceptions.kinds,
            // In whole seconds, as the report has it.
            now: Timestamp::from_second(now.as_second()).unwrap_or(*now),
            at_given: exceptions.at,
            detached_signatures: &detached.signatures,
            detached_records: &detached.records,
            expect_release: expectations.release.as_deref(),
            expect_index: expectations.index,
            seen,
            allow_rollback: exceptions.rollback,
            image_keys: trust.image_keys(),
            image_require: trust.image_require(),
            target: target.as_ref(),
            partial: exceptions.partial,
            as_carried: exceptions.as_carried,
            stock,
            look: false,
        }
    }

    /// What may be in `manifests/`.
    pub(super) fn admission(&self) -> Admission {
        let own = self.policy.into_iter().flat_map(|policy| &policy.allow_kinds);
        Admission {
            listed: self.policy.and_then(|policy| policy.manifests.clone()),
            named: self.allow_kinds.iter().chain(own).cloned().collect(),
        }
    }

    /// The exceptions in force, as their flags.
    pub(super) fn exceptions(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.allow_unsigned.then(|| "--allow-unsigned".to_owned()));
        out.extend(self.allow_unsigned_release.then(|| "--allow-unsigned-release".to_owned()));
        out.extend(self.allow_rollback.then(|| "--allow-rollback".to_owned()));
        out.extend(self.partial.then(|| "--partial".to_owned()));
        out.extend(self.as_carried.then(|| "--as-carried".to_owned()));
        out.extend(self.at_given.then(|| format!("--at {}", self.now)));
        out.extend(self.allow_kinds.iter().map(|k| format!("--allow-kind {k}")));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_is_named_and_there_is_none_by_default() {
        let mut conditions = Conditions::new(Timestamp::UNIX_EPOCH);
        let trust = Trust::Unsigned { keyrings: Vec::new() };
        assert_eq!(Settings::new(&trust, &conditions).exceptions(), ["--allow-unsigned"]);
        let kinds: Vec<Rule> = "apps/v1/Deployment".parse().into_iter().collect();
        conditions.exceptions = Exceptions {
            at: true,
            unsigned: true,
            unsigned_release: true,
            rollback: true,
            partial: true,
            as_carried: true,
            kinds,
        };
        let all = [
            "--allow-unsigned",
            "--allow-unsigned-release",
            "--allow-rollback",
            "--partial",
            "--as-carried",
            "--at 1970-01-01T00:00:00Z",
            "--allow-kind apps/v1/Deployment",
        ];
        assert_eq!(Settings::new(&trust, &conditions).exceptions(), all);
        assert_eq!(Exceptions::default(), Exceptions { kinds: vec![], ..Exceptions::default() });
    }
}
