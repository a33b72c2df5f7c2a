//! Carried manifests: what is accepted has one form, and every reader of them looks at the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::kubernetes::{Admission, needs_server_side, parse, read};
use mirror_bundle::openshift::{signature_map, verification};

fuzz_target!(|data: &[u8]| {
    for manifest in parse(data).into_iter().flatten() {
        let canonical = manifest.to_bytes();
        assert_eq!(read(&canonical).unwrap(), manifest);
        assert_eq!(parse(&canonical).unwrap(), [manifest.clone()]);
        let _ = Admission::default().check(&manifest);
        let _ = needs_server_side(&manifest);
        let _ = signature_map::is_signature_map(&manifest.value);
    }
    if let Ok(manifest) = read(data) {
        assert_eq!(parse(data).unwrap(), [manifest]);
    }
    let _ = verification::find(data);
});
