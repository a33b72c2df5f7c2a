//! Keys, signatures and trust: who signed these bytes, and whether that is enough for this host.
//!
//! Three layers, each usable without the next: keys ([`PublicKey`], [`SecretKey`]), one signature over one message
//! ([`Signature`], the SSHSIG format of OpenSSH), and the receiving host's [`Policy`], which turns signatures into a
//! [`Evaluation`]. Normative text: `spec/signatures.md`.
//!
//! No network, no clock (time is an argument), and no knowledge of the bundle's layout. Private keys only sign, and
//! are never kept longer than their [`SecretKey`].

mod armor;
pub mod claim;
pub mod cosign;
mod key;
mod key_file;
pub mod policy;
mod secret;
mod sshsig;
mod wire;

use std::fmt;

use crate::error::Error;

pub use key::{BadKey, PublicKey};
pub use key_file::{read_public_key, read_secret_key, write_key_pair};
pub use policy::{EvaluatedSignature, Evaluation, Outcome, Policy};
pub use secret::{SecretKey, WRONG_PASSPHRASE};
pub use sshsig::{Bad, MAX_SIGNATURE, MessageHash, Signature, sign, verify};

/// What a signer vouches for (`spec/signatures.md`, "Roles").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Created the bundle on the connected side.
    Builder,
    /// Reviewed it and agreed to its import.
    Reviewer,
    /// Accepted it on the receiving side.
    Receiver,
    /// Carried it in another form. It vouches for a carriage, and never for an index.
    Carrier,
}

impl Role {
    /// Every role in which an index is signed.
    pub const ALL: [Role; 3] = [Role::Builder, Role::Reviewer, Role::Receiver];

    /// The word in policies, namespaces and file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Builder => "builder",
            Role::Reviewer => "reviewer",
            Role::Receiver => "receiver",
            Role::Carrier => "carrier",
        }
    }

    /// The role with this name, if an index is signed in it.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SSHSIG namespaces of this project. The namespace is part of the signed data, so a signature made for one
/// purpose never passes for another (MB-SIG-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A signature over the bundle index: `mirror-bundle.v1.<role>`.
    Index(Role),
    /// A signature over a review record: `mirror-bundle.v1.record`.
    Record,
    /// A signature over a statement about a removal: `mirror-bundle.v1.removal`.
    Removal,
    /// A signature over a carriage, by whoever is no builder: `mirror-bundle.v1.carrier`.
    Carriage,
}

impl Namespace {
    /// The namespace as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Namespace::Index(Role::Builder) => "mirror-bundle.v1.builder",
            Namespace::Index(Role::Reviewer) => "mirror-bundle.v1.reviewer",
            Namespace::Index(Role::Receiver) => "mirror-bundle.v1.receiver",
            Namespace::Record => "mirror-bundle.v1.record",
            Namespace::Removal => "mirror-bundle.v1.removal",
            Namespace::Carriage | Namespace::Index(Role::Carrier) => "mirror-bundle.v1.carrier",
        }
    }

    /// The namespace with exactly this text.
    pub fn parse(text: &str) -> Option<Namespace> {
        let roles = Role::ALL.into_iter().map(Namespace::Index);
        roles
            .chain([Namespace::Record, Namespace::Removal, Namespace::Carriage])
            .find(|namespace| namespace.as_str() == text)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The same error, with its location before the message.
fn within(place: &str, err: Error) -> Error {
    let mut named = Error::new(err.code(), format!("{place}: {err}"));
    for fact in err.facts() {
        named = named.fact(fact.clone());
    }
    match err.hint_text() {
        Some(hint) => named.hint(hint.to_owned()),
        None => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_its_prefix_and_its_role() {
        for role in Role::ALL {
            let namespace = Namespace::Index(role);
            assert_eq!(namespace.as_str(), format!("mirror-bundle.v1.{role}"));
            assert_eq!(Namespace::parse(namespace.as_str()), Some(namespace));
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Namespace::parse("mirror-bundle.v1.record"), Some(Namespace::Record));
        assert_eq!(Namespace::parse("mirror-bundle.v1.removal"), Some(Namespace::Removal));
        assert_eq!(Namespace::parse("mirror-bundle.v1.carrier"), Some(Namespace::Carriage));
        assert_eq!(Role::parse("carrier"), None);
        for other in ["", "file", "git", "mirror-bundle.v2.builder", "mirror-bundle.v1.Builder", "mirror-bundle.v1."] {
            assert_eq!(Namespace::parse(other), None, "{other}");
        }
    }
}
