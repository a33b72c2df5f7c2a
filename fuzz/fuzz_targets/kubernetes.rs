//! Carried manifests: every reader of them looks at the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::kubernetes::{documents, is_allowed, objects};
use mirror_bundle::openshift::{signature_map, verification};

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = objects(data) {
        assert!(!found.is_empty());
        assert_eq!(documents(data).unwrap().len(), found.len());
        for object in &found {
            assert!(!object.api_version.is_empty() && !object.kind.is_empty() && !object.name.is_empty());
            let _ = is_allowed(object, &[]);
        }
    }
    let _ = signature_map::is_signature_map(data);
    let _ = verification::find(data);
});
