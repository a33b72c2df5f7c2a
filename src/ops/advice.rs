//! Adds to an error the state of the work and what to do next. What the failing code has already set is kept, because
//! it knows better.

use crate::error::{Code, Error};

/// For failures of a source or destination before the first byte was transferred; `registry`: whether one takes part.
pub(crate) fn before_transfer(e: Error, state: &str, registry: bool) -> Error {
    use Code::{Auth, BlobMismatch, BlobMissing, Destination, Malformed, Source};
    if !matches!(e.code(), Auth | BlobMismatch | BlobMissing | Destination | Malformed | Source) {
        return e;
    }
    let e = if e.state_text().is_none() { e.state(state) } else { e };
    if e.hint_text().is_some() {
        return e;
    }
    match e.code() {
        _ if e.is_transient() => e.hint("run the same command again"),
        Source | Destination if registry => e.hint(
            "see whether the registry serves other clients: skopeo inspect --raw docker://REGISTRY/REPOSITORY:TAG",
        ),
        Source | Destination => e.hint("check that the files are complete, and of the form that the option takes"),
        _ => e.hint("take the content from another source, or have this one repaired"),
    }
}

/// For failures during a transfer that can be resumed.
pub(crate) fn during_transfer(e: Error, state: &str) -> Error {
    let e = if e.state_text().is_none() { e.state(state) } else { e };
    if e.hint_text().is_some() {
        return e;
    }
    match e.code() {
        // A permanent refusal will be repeated.
        Code::Source | Code::Destination if !e.is_transient() => {
            e.hint("have the registry accept this, and run the same command then: it resumes")
        }
        _ => e.hint("run the same command again to resume"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_itself_is_kept() {
        let own = || Error::new(Code::Source, "x").state("half").hint("wait");
        for advised in [before_transfer(own(), "nothing", true), during_transfer(own(), "nothing")] {
            assert_eq!((advised.state_text(), advised.hint_text()), (Some("half"), Some("wait")));
        }
    }

    #[test]
    fn trouble_with_a_registry_always_comes_with_a_state_and_a_way_on() {
        for code in [Code::Source, Code::Destination, Code::BlobMismatch, Code::BlobMissing, Code::Malformed] {
            for e in [Error::new(code, "x"), Error::new(code, "x").transient()] {
                let advised = before_transfer(e, "nothing was written", true);
                assert!(advised.state_text() == Some("nothing was written") && advised.hint_text().is_some(), "{code}");
            }
        }
    }
}
