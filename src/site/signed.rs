//! Whose signature under a receipt or an inventory counts.

use jiff::Timestamp;

use crate::error::{Code, Error, Result};
use crate::sign::policy::{Outcome, Policy};
use crate::sign::{MessageHash, Namespace, PublicKey, Role, verify};

/// The namespace of these signatures. Nothing else that is signed in it begins like a receipt or an inventory: the other
/// is a bundle index, whose first member is `format`.
pub const NAMESPACE: Namespace = Namespace::Index(Role::Receiver);

/// Whose signature counts.
#[derive(Clone, Copy, Debug)]
pub enum Receivers<'a> {
    /// Nobody is known here: a signature must hold, and whose it is remains open.
    Unknown,
    /// The holders of these keys.
    Keys(&'a [PublicKey]),
    /// Those to whom a policy gives the role of a receiver, at this time.
    Policy(&'a Policy, Timestamp),
}

/// Who signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// The fingerprint of the key; `None`: there is no signature, and anyone could have written it.
    pub key: Option<String>,
    /// This host's name for its holder.
    pub signer: Option<String>,
    /// Whether the key was looked up here and is one of a receiver.
    pub trusted: bool,
}

impl Signed {
    /// Who signed, in words for a person.
    pub fn words(&self) -> String {
        match (&self.key, self.trusted, &self.signer) {
            (None, ..) => "not signed: anyone could have written it".to_owned(),
            (Some(key), false, _) => format!("by {key}, not checked: no key or policy was given"),
            (Some(key), true, Some(signer)) => format!("by {signer} {key}"),
            (Some(key), true, None) => format!("by {key}"),
        }
    }
}

/// Checks the signature over these bytes. `name` is what a person calls the file.
///
/// # Errors
/// [`Code::Unsigned`] without a signature where one is required, [`Code::BadSignature`] for one that does not hold or was
/// made for something else, [`Code::Untrusted`] for one of a key that does not count here, [`Code::Expired`] for one
/// whose time is over.
pub fn check(name: &str, message: &[u8], armored: Option<&[u8]>, receivers: Receivers<'_>) -> Result<Signed> {
    let Some(armored) = armored else {
        return match receivers {
            Receivers::Unknown => Ok(Signed::default()),
            _ => Err(Error::new(Code::Unsigned, format!("`{name}` has no signature"))
                .fact("anyone could have written it")
                .hint("ask the site for the receipt as it was written, with its signature")),
        };
    };
    let hash = MessageHash::of(message);
    let bad = |why: String| Error::new(Code::BadSignature, format!("the signature of `{name}` does not hold: {why}"));
    let signature = verify(&hash, armored).map_err(|e| bad(e.to_string()))?;
    if signature.namespace() != NAMESPACE.as_str() {
        return Err(bad(format!("it was made for `{}`, not for `{NAMESPACE}`", signature.namespace())));
    }
    let key = signature.key().fingerprint();
    let untrusted = |code: Code, why: &str| {
        Error::new(code, format!("nobody who counts as receiver here signed `{name}`"))
            .fact(format!("signed by {key}"))
            .fact(why.to_owned())
            .hint("name the key of the site that wrote it: --signer KEY.pub, at create --base-signer KEY.pub")
    };
    match receivers {
        Receivers::Unknown => Ok(Signed { key: Some(key), ..Signed::default() }),
        Receivers::Keys(keys) => match keys.iter().find(|one| one.blob() == signature.key().blob()) {
            Some(one) => {
                let signer = Some(one.comment().to_owned()).filter(|comment| !comment.is_empty());
                Ok(Signed { key: Some(key), signer, trusted: true })
            }
            None => Err(untrusted(Code::Untrusted, "it is by another key")),
        },
        Receivers::Policy(policy, now) => {
            let one = policy.evaluate_receiver(name, armored, &hash, now);
            match one.outcome {
                Outcome::Good => Ok(Signed { key: Some(key), signer: one.signer, trusted: true }),
                Outcome::Expired | Outcome::NotYetValid => Err(untrusted(Code::Expired, &one.detail)),
                _ => Err(untrusted(Code::Untrusted, &one.detail)),
            }
        }
    }
}
