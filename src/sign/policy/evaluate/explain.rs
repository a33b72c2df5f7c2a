//! Explains an evaluation that is not `Ok`: the message, the facts and the remedy for its code.

use super::{EvaluatedSignature, Evaluation, Outcome};
use crate::error::{Code, Error};
use crate::sign::policy::time;

impl Evaluation {
    /// The error for the evaluation of `subject` (a bundle's file name), or `None` when it is `Ok`. The caller adds
    /// the resulting state.
    pub fn error(&self, subject: &str) -> Option<Error> {
        let code = self.verdict.err()?;
        Some(match code {
            Code::Unsigned => Error::new(code, format!("`{subject}` has no signature"))
                .hint("ask the builder for a bundle made with --sign-key"),
            Code::BadSignature => self.bad_signature(subject),
            Code::Expired => self.expired(subject),
            Code::Malformed => {
                Error::new(code, format!("`{subject}` comes with more than {} signatures", super::MAX_SIGNATURES))
                    .hint("remove the signature files beside it that are not needed")
            }
            _ => self.untrusted(subject),
        })
    }

    fn bad_signature(&self, subject: &str) -> Error {
        let known = self.signatures.iter().find(|one| one.outcome == Outcome::Bad && one.signer.is_some());
        let sentence = match known.and_then(|one| one.signer.as_deref()) {
            Some(name) => format!("the index of `{subject}` does not match its signature by {name}"),
            None => format!("no signature of `{subject}` is intact"),
        };
        self.with_signatures(Error::new(Code::BadSignature, sentence))
            .fact("it was changed or damaged after it was signed")
            .hint("do not use this copy; compare the index digest with the builder before asking for another")
    }

    fn untrusted(&self, subject: &str) -> Error {
        let unmet = self.satisfied.iter().find(|need| need.have < need.need && need.have > 0);
        let other = self.satisfied.iter().find(|need| need.have < need.need);
        let some_good = self.signatures.iter().any(|one| one.outcome == Outcome::Good);
        let sentence = match unmet.or(other) {
            Some(need) if some_good => format!(
                "`{subject}` has {} of {} required signatures as {} by keys you trust",
                need.have, need.need, need.role
            ),
            _ => format!("`{subject}` is signed, but not by a key you trust"),
        };
        let mut err = self.with_signatures(Error::new(Code::Untrusted, sentence));
        // Enough to compare by eye; a long policy is not repeated.
        for (key, name) in self.trusted.iter().take(8) {
            err = err.fact(format!("you trust  {key}  {name}"));
        }
        err.hint(format!(
            "if the builder changed keys, get the new key by another way than this medium, then: mirror-bundle verify \
             {subject} --signer NEW.pub"
        ))
    }

    fn expired(&self, subject: &str) -> Error {
        let late = self.signatures.iter().find(|one| matches!(one.outcome, Outcome::Expired | Outcome::NotYetValid));
        let sentence = match late.map(|one| (one, one.signer.as_deref().unwrap_or("?"), one.limit)) {
            Some((EvaluatedSignature { outcome: Outcome::Expired, .. }, name, Some(limit))) => {
                let (day, ago) = time::last_day(limit, self.now);
                format!("the key of {name} expired on {day} ({ago})")
            }
            Some((_, name, Some(limit))) => format!("the key of {name} is not valid before {}", time::day(limit)),
            _ => format!("a signature of `{subject}` is outside its period of validity"),
        };
        self.with_signatures(Error::new(Code::Expired, sentence)).fact(format!("checked at {}", self.now)).hint(
            "wrong clock? give the time yourself with --at; \
             otherwise ask for a signature by a key that is valid; the blobs need not be copied again",
        )
    }

    fn with_signatures(&self, err: Error) -> Error {
        self.signatures.iter().filter(|one| one.outcome != Outcome::Good).fold(err, |err, one| {
            let key = one.key.as_deref().unwrap_or("(no key could be read)");
            err.fact(format!("signed by  {key}  {}: {}", one.origin, one.detail))
        })
    }
}
