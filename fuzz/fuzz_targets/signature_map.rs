//! Signature ConfigMaps: one that is read is one that a cluster would read, and is written and read back the same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::kubernetes::read;
use mirror_bundle::openshift::signature_map::{config_map, is_signature_map, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = read(data) else { return };
    let found = is_signature_map(&manifest.value);
    let Ok(entries) = parse(&manifest.value) else { return };
    assert!(found && !entries.is_empty());
    let mut by_digest: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for entry in entries {
        assert!(entry.key.starts_with(&entry.digest.dashed()));
        by_digest.entry(entry.digest).or_default().push(entry.signature);
    }
    for (digest, signatures) in by_digest {
        let written = config_map(&digest, &signatures).unwrap();
        let again = parse(&read(&written).unwrap().value).unwrap();
        assert!(again.iter().map(|e| &e.signature).eq(&signatures));
    }
});
