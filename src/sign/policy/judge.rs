//! Judging signatures against a policy: one outcome each, what each role has and needs, and a verdict.
//!
//! A verdict is not an error. Valid signatures are counted and the others reported (as TUF does), so one damaged
//! countersignature does not undo a threshold that others meet; when the threshold is not met, the worst thing seen
//! names the reason. Spec: `spec/signatures.md`, MB-TRU-10 to MB-TRU-17.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Policy, Signer};
use crate::error::Code;
use crate::report::signature::Outcome;
use crate::sign::{Bad, MessageHash, Namespace, PublicKey, Role, Signature};

mod explain;

/// The most signatures that are judged for one bundle.
pub const MAX_SIGNATURES: usize = 16;

/// One signature, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Where it was found, as the caller named it.
    pub origin: String,
    /// What it amounts to.
    pub outcome: Outcome,
    /// The role that it names, if it names one. Signed only when the outcome is not `bad`.
    pub role: Option<Role>,
    /// The fingerprint of the key that it carries, if one could be read.
    pub key: Option<String>,
    /// The name that this host gives to the key.
    pub signer: Option<String>,
    /// One phrase that says why, for people. May hold text from the signature.
    pub detail: String,
    /// The end or start that decided `expired` or `not-yet-valid`.
    pub limit: Option<Timestamp>,
    /// The key itself, when it is one that can be used.
    blob: Option<Vec<u8>>,
}

/// How far one required role got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The role.
    pub role: Role,
    /// Distinct keys with a good signature in it.
    pub have: usize,
    /// Distinct keys that the policy wants.
    pub need: usize,
}

/// What all signatures together amount to.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// One entry per signature, in the order given. Empty when there were too many to judge.
    pub signatures: Vec<Judged>,
    /// One entry per required role.
    pub satisfied: Vec<Need>,
    /// `Ok` when every required role has enough; otherwise `Unsigned`, `BadSignature`, `Untrusted` or `Expired`, or
    /// `Malformed` for more than [`MAX_SIGNATURES`].
    pub verdict: Result<(), Code>,
    /// The time that it was judged at.
    pub now: Timestamp,
    trusted: Vec<(String, String)>,
}

impl Policy {
    /// Judges the signatures over a bundle index: pairs of where each was found and its armored text.
    pub fn judge(&self, signatures: &[(&str, &[u8])], message: &[u8], now: Timestamp) -> Judgement {
        self.judge_hashed(signatures, &MessageHash::of(message), now)
    }

    /// As [`Policy::judge`], with the hash of the index.
    pub fn judge_hashed(&self, signatures: &[(&str, &[u8])], message: &MessageHash, now: Timestamp) -> Judgement {
        let too_many = signatures.len() > MAX_SIGNATURES;
        let judged: Vec<Judged> = if too_many {
            Vec::new()
        } else {
            signatures.iter().map(|(origin, armored)| self.judge_one(origin, armored, message, now)).collect()
        };
        let satisfied: Vec<Need> = self
            .required()
            .map(|(role, need)| Need { role, have: distinct(&judged, role, |one| one == Outcome::Good), need })
            .collect();
        let verdict = if too_many { Err(Code::Malformed) } else { verdict(&judged, &satisfied) };
        let trusted = self.signers.iter().map(|signer| (signer.key.fingerprint(), signer.name.clone())).collect();
        Judgement { signatures: judged, satisfied, verdict, now, trusted }
    }

    /// Judges the signature over a review record, which claims to be by somebody in `role`. Good when the key has that
    /// role; a record counts towards no threshold.
    pub fn judge_record(
        &self,
        origin: &str,
        armored: &[u8],
        record: &MessageHash,
        role: Role,
        now: Timestamp,
    ) -> Judged {
        self.judge_as(origin, armored, record, now, |namespace| match namespace {
            Some(Namespace::Record) => Some(role),
            _ => None,
        })
    }

    fn judge_one(&self, origin: &str, armored: &[u8], message: &MessageHash, now: Timestamp) -> Judged {
        self.judge_as(origin, armored, message, now, |namespace| match namespace {
            Some(Namespace::Index(role)) => Some(role),
            _ => None,
        })
    }

    fn judge_as(
        &self,
        origin: &str,
        armored: &[u8],
        message: &MessageHash,
        now: Timestamp,
        role_of: impl Fn(Option<Namespace>) -> Option<Role>,
    ) -> Judged {
        let mut judged = Judged {
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
                self.refuse(&mut judged, bad);
                return judged;
            }
        };
        let key = signature.key();
        let role = role_of(Namespace::parse(signature.namespace()));
        judged.role = role;
        judged.key = Some(key.fingerprint());
        judged.blob = Some(key.blob().to_vec());
        let entries: Vec<&Signer> = self.signers.iter().filter(|signer| signer.key == *key).collect();
        judged.signer = entries.first().map(|signer| signer.name.clone());
        if let Err(bad) = signature.check(message) {
            self.refuse(&mut judged, bad);
            return judged;
        }
        (judged.outcome, judged.detail) = self.place(&mut judged, key, &entries, role, signature.namespace(), now);
        judged
    }

    /// The outcome of a signature that does not hold by itself.
    fn refuse(&self, judged: &mut Judged, bad: Bad) {
        judged.detail = bad.to_string();
        judged.outcome = match bad {
            Bad::Malformed(_) => Outcome::Malformed,
            Bad::Mismatch => Outcome::Bad,
            Bad::Unsupported { key, .. } => {
                let outcome = if self.revoked.contains(&key) { Outcome::Revoked } else { Outcome::UnknownKey };
                let holder = self.signers.iter().find(|signer| signer.key.fingerprint() == key);
                judged.signer = holder.map(|signer| signer.name.clone());
                judged.key = Some(key);
                outcome
            }
        };
    }

    /// The outcome of a signature that does: revocation, then who, then what for, then when.
    fn place(
        &self,
        judged: &mut Judged,
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
            judged.signer = Some(signer.name.clone());
            return (Outcome::Good, format!("signed as {role}"));
        }
        judged.signer = Some(first.name.clone());
        // A key with several entries: it is expired when its last end has passed, and else yet to begin.
        let last = entitled.iter().filter_map(|signer| signer.valid.until).max();
        let next = entitled.iter().filter_map(|signer| signer.valid.from).filter(|from| *from > now).min();
        match next {
            Some(from) => {
                judged.limit = Some(from);
                (Outcome::NotYetValid, format!("its key is valid only from {from}"))
            }
            None => {
                judged.limit = last;
                let until = last.map(|until| until.to_string()).unwrap_or_default();
                (Outcome::Expired, format!("the time of its key ended at {until}"))
            }
        }
    }
}

/// How many different keys have a signature in this role with a wanted outcome. Counted by key bytes: one key under
/// two names, or with two signatures, is one.
fn distinct(judged: &[Judged], role: Role, wanted: impl Fn(Outcome) -> bool) -> usize {
    let counted = judged.iter().filter(|one| one.role == Some(role) && wanted(one.outcome));
    counted.filter_map(|one| one.blob.as_deref()).collect::<BTreeSet<&[u8]>>().len()
}

fn verdict(judged: &[Judged], needs: &[Need]) -> Result<(), Code> {
    // Never vacuously: a policy without requirements cannot be made, and would not pass here.
    if !needs.is_empty() && needs.iter().all(|need| need.need >= 1 && need.have >= need.need) {
        return Ok(());
    }
    if judged.is_empty() {
        return Err(Code::Unsigned);
    }
    if judged.iter().any(|one| one.outcome == Outcome::Bad && one.signer.is_some()) {
        return Err(Code::BadSignature);
    }
    let in_time = |outcome| matches!(outcome, Outcome::Good | Outcome::Expired | Outcome::NotYetValid);
    if needs.iter().all(|need| distinct(judged, need.role, in_time) >= need.need) {
        return Err(Code::Expired);
    }
    if judged.iter().all(|one| matches!(one.outcome, Outcome::Bad | Outcome::Malformed)) {
        return Err(Code::BadSignature);
    }
    Err(Code::Untrusted)
}

#[cfg(test)]
mod tests;
