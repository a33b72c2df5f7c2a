//! Evaluates signatures against a policy: one outcome each, the count for each role, and a verdict.
//!
//! A verdict is not an error. Valid signatures are counted and the others reported (as in TUF), so one damaged
//! countersignature does not invalidate a threshold that others meet. If a threshold is not met, the worst outcome
//! names the reason. Spec: `spec/signatures.md`, MB-TRU-10 to MB-TRU-17.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Policy, Signer};
use crate::error::Code;
use crate::report::signature::Outcome;
use crate::sign::{Bad, MessageHash, Namespace, PublicKey, Role, Signature};

mod explain;

/// The most signatures evaluated for one bundle.
pub const MAX_SIGNATURES: usize = 16;

/// One evaluated signature.
#[derive(Clone, Debug)]
pub struct EvaluatedSignature {
    /// Where it was found, as the caller named it.
    pub origin: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// The role that it claims, if any. Authenticated only when the outcome is not `bad`.
    pub role: Option<Role>,
    /// The fingerprint of the key in it, if readable.
    pub key: Option<String>,
    /// This host's name for the key.
    pub signer: Option<String>,
    /// One phrase with the reason, for people. May contain text from the signature.
    pub detail: String,
    /// The end or start of validity that decided `expired` or `not-yet-valid`.
    pub limit: Option<Timestamp>,
    /// The key itself, if it is usable.
    blob: Option<Vec<u8>>,
}

/// The count for one required role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The role.
    pub role: Role,
    /// Distinct keys with a good signature in this role.
    pub have: usize,
    /// Distinct keys that the policy requires.
    pub need: usize,
}

/// The result of all signatures together.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// One entry per signature, in the order given. Empty if there were too many to evaluate.
    pub signatures: Vec<EvaluatedSignature>,
    /// One entry per required role.
    pub satisfied: Vec<Need>,
    /// `Ok` when every required role has enough signatures; otherwise `Unsigned`, `BadSignature`, `Untrusted` or
    /// `Expired`, or `Malformed` for more than [`MAX_SIGNATURES`].
    pub verdict: Result<(), Code>,
    /// The time of the evaluation.
    pub now: Timestamp,
    trusted: Vec<(String, String)>,
}

impl Policy {
    /// Evaluates the signatures over a bundle index: pairs of where each was found and its armored text.
    pub fn evaluate(&self, signatures: &[(&str, &[u8])], message: &[u8], now: Timestamp) -> Evaluation {
        self.evaluate_hashed(signatures, &MessageHash::of(message), Vec::new(), now)
    }

    /// As [`Policy::evaluate`], with the hash of the index. `removals`: the signatures over statements about removals
    /// that count, each for what its statement leaves (MB-RMV-09).
    pub fn evaluate_hashed(
        &self,
        signatures: &[(&str, &[u8])],
        message: &MessageHash,
        removals: Vec<EvaluatedSignature>,
        now: Timestamp,
    ) -> Evaluation {
        let too_many = signatures.len() > MAX_SIGNATURES;
        let mut evaluated: Vec<EvaluatedSignature> = if too_many {
            Vec::new()
        } else {
            signatures.iter().map(|(origin, armored)| self.evaluate_one(origin, armored, message, now)).collect()
        };
        evaluated.extend(removals);
        let satisfied: Vec<Need> = self
            .required()
            .map(|(role, need)| Need { role, have: distinct(&evaluated, role, |one| one == Outcome::Good), need })
            .collect();
        let verdict = if too_many { Err(Code::Malformed) } else { verdict(&evaluated, &satisfied) };
        let trusted = self.signers.iter().map(|signer| (signer.key.fingerprint(), signer.name.clone())).collect();
        Evaluation { signatures: evaluated, satisfied, verdict, now, trusted }
    }

    /// Evaluates the signature over a review record whose author claims `role`. It is good if the key has that role; a
    /// record never counts toward a threshold.
    pub fn evaluate_record(
        &self,
        origin: &str,
        armored: &[u8],
        record: &MessageHash,
        role: Role,
        now: Timestamp,
    ) -> EvaluatedSignature {
        self.evaluate_as(origin, armored, record, now, |namespace| match namespace {
            Some(Namespace::Record) => Some(role),
            _ => None,
        })
    }

    /// Evaluates the signature over a statement about a removal. It is good if its key may act as reviewer.
    pub fn evaluate_removal(
        &self,
        origin: &str,
        armored: &[u8],
        statement: &MessageHash,
        now: Timestamp,
    ) -> EvaluatedSignature {
        self.evaluate_as(origin, armored, statement, now, |namespace| match namespace {
            Some(Namespace::Removal) => Some(Role::Reviewer),
            _ => None,
        })
    }

    /// Evaluates the signature over a carriage. It is good if its key may act as builder or carrier, and signed as that.
    pub fn evaluate_carriage(
        &self,
        origin: &str,
        armored: &[u8],
        carriage: &MessageHash,
        now: Timestamp,
    ) -> EvaluatedSignature {
        self.evaluate_as(origin, armored, carriage, now, |namespace| match namespace {
            Some(Namespace::Index(Role::Builder)) => Some(Role::Builder),
            Some(Namespace::Carriage) => Some(Role::Carrier),
            _ => None,
        })
    }

    /// Evaluates the signature over what a site says about its registry. It is good if its key may act as receiver.
    pub fn evaluate_receiver(
        &self,
        origin: &str,
        armored: &[u8],
        said: &MessageHash,
        now: Timestamp,
    ) -> EvaluatedSignature {
        self.evaluate_as(origin, armored, said, now, |namespace| match namespace {
            Some(Namespace::Index(Role::Receiver)) => Some(Role::Receiver),
            _ => None,
        })
    }

    fn evaluate_one(&self, origin: &str, armored: &[u8], message: &MessageHash, now: Timestamp) -> EvaluatedSignature {
        self.evaluate_as(origin, armored, message, now, |namespace| match namespace {
            Some(Namespace::Index(role)) => Some(role),
            _ => None,
        })
    }

    fn evaluate_as(
        &self,
        origin: &str,
        armored: &[u8],
        message: &MessageHash,
        now: Timestamp,
        role_of: impl Fn(Option<Namespace>) -> Option<Role>,
    ) -> EvaluatedSignature {
        let mut evaluated = EvaluatedSignature {
            origin: origin.to_owned(),
            outcome: Outcome::Malformed,
            role: None,
            key: None,
            signer: None,
            detail: String::new(),
            limit: None,
            blob: None,
        };
        let signature = match Signature::parse(armored) {
            Ok(signature) => signature,
            Err(bad) => {
                self.refuse(&mut evaluated, bad);
                return evaluated;
            }
        };
        let key = signature.key();
        let role = role_of(Namespace::parse(signature.namespace()));
        evaluated.role = role;
        evaluated.key = Some(key.fingerprint());
        evaluated.blob = Some(key.blob().to_vec());
        let entries: Vec<&Signer> = self.signers.iter().filter(|signer| signer.key == *key).collect();
        evaluated.signer = entries.first().map(|signer| signer.name.clone());
        if let Err(bad) = signature.check(message) {
            self.refuse(&mut evaluated, bad);
            return evaluated;
        }
        (evaluated.outcome, evaluated.detail) =
            self.place(&mut evaluated, key, &entries, role, signature.namespace(), now);
        evaluated
    }

    /// Sets the outcome of a signature that is invalid by itself.
    fn refuse(&self, evaluated: &mut EvaluatedSignature, bad: Bad) {
        evaluated.detail = bad.to_string();
        evaluated.outcome = match bad {
            Bad::Malformed(_) => Outcome::Malformed,
            Bad::Mismatch => Outcome::Bad,
            Bad::Unsupported { key, .. } => {
                let outcome = if self.revoked.contains(&key) { Outcome::Revoked } else { Outcome::UnknownKey };
                let holder = self.signers.iter().find(|signer| signer.key.fingerprint() == key);
                evaluated.signer = holder.map(|signer| signer.name.clone());
                evaluated.key = Some(key);
                outcome
            }
        };
    }

    /// The outcome of a valid signature: checks revocation, then the signer, the role and the time.
    fn place(
        &self,
        evaluated: &mut EvaluatedSignature,
        key: &PublicKey,
        entries: &[&Signer],
        role: Option<Role>,
        namespace: &str,
        now: Timestamp,
    ) -> (Outcome, String) {
        if self.is_revoked(key) {
            return (Outcome::Revoked, "its key is revoked".to_owned());
        }
        if entries.is_empty() {
            return (Outcome::UnknownKey, "its key is not in the trust policy".to_owned());
        }
        let Some(role) = role else {
            return (Outcome::WrongRole, format!("it was made for `{namespace}`, not for this"));
        };
        let entitled: Vec<&&Signer> = entries.iter().filter(|signer| signer.roles.contains(&role)).collect();
        let Some(first) = entitled.first() else {
            return (Outcome::WrongRole, format!("its key is not trusted as {role}"));
        };
        let valid = |signer: &Signer| {
            signer.valid.from.is_none_or(|from| from <= now) && signer.valid.until.is_none_or(|until| now < until)
        };
        if let Some(signer) = entitled.iter().find(|signer| valid(signer)) {
            evaluated.signer = Some(signer.name.clone());
            return (Outcome::Good, format!("signed as {role}"));
        }
        evaluated.signer = Some(first.name.clone());
        // A key with several entries is expired when its last end has passed, and otherwise not yet valid.
        let last = entitled.iter().filter_map(|signer| signer.valid.until).max();
        let next = entitled.iter().filter_map(|signer| signer.valid.from).filter(|from| *from > now).min();
        match next {
            Some(from) => {
                evaluated.limit = Some(from);
                (Outcome::NotYetValid, format!("its key is valid only from {from}"))
            }
            None => {
                evaluated.limit = last;
                let until = last.map(|until| until.to_string()).unwrap_or_default();
                (Outcome::Expired, format!("its key expired at {until}"))
            }
        }
    }
}

/// The number of different keys with a signature in this role and a wanted outcome. Keys are compared by their bytes:
/// one key under two names, or with two signatures, counts once.
fn distinct(evaluated: &[EvaluatedSignature], role: Role, wanted: impl Fn(Outcome) -> bool) -> usize {
    let counted = evaluated.iter().filter(|one| one.role == Some(role) && wanted(one.outcome));
    counted.filter_map(|one| one.blob.as_deref()).collect::<BTreeSet<&[u8]>>().len()
}

fn verdict(evaluated: &[EvaluatedSignature], needs: &[Need]) -> Result<(), Code> {
    // Never vacuously true: a policy without requirements cannot be created, and would not pass here.
    if !needs.is_empty() && needs.iter().all(|need| need.need >= 1 && need.have >= need.need) {
        return Ok(());
    }
    if evaluated.is_empty() {
        return Err(Code::Unsigned);
    }
    if evaluated.iter().any(|one| one.outcome == Outcome::Bad && one.signer.is_some()) {
        return Err(Code::BadSignature);
    }
    let in_time = |outcome| matches!(outcome, Outcome::Good | Outcome::Expired | Outcome::NotYetValid);
    if needs.iter().all(|need| distinct(evaluated, need.role, in_time) >= need.need) {
        return Err(Code::Expired);
    }
    if evaluated.iter().all(|one| matches!(one.outcome, Outcome::Bad | Outcome::Malformed)) {
        return Err(Code::BadSignature);
    }
    Err(Code::Untrusted)
}

#[cfg(test)]
mod tests;
