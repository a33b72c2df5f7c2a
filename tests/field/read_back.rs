//! A registry that loses a signature after it was pushed.

use std::sync::Mutex;

use crate::support::stub::{Answer, Request, State, Stub, answer};
use crate::{app, bundle, rule, unpack};

#[test]
fn a_signature_that_is_gone_after_the_push_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let sig = format!("{}.sig", app().digest().dashed());
    // Served until the tag was confirmed once, and then lost.
    let served = Mutex::new(0);
    let name = sig.clone();
    let lost = move |r: &Request, state: &mut State| {
        let asked = r.reads() && r.below("manifests").is_some_and(|(_, what)| what == name);
        if !asked {
            return None;
        }
        let mut served = served.lock().unwrap();
        if *served > 0 {
            return Some(Answer::error(404, "MANIFEST_UNKNOWN"));
        }
        let told = answer(r, state);
        *served += usize::from(told.0 == 200);
        Some(told)
    };
    let stub = Stub::start(true, rule(lost));
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert_eq!(code, 50, "{err}");
    assert!(err.contains(&sig) && err.contains("does not give it back"), "{err}");
    assert!(err.contains("everything was pushed"), "{err}");
    assert_eq!(unpack(dir.path(), &Stub::start(true, Vec::new()), &[]).0, 0, "the test itself can pass");
}
