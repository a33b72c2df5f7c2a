//! A whole bundle as raw bytes behind one byte of settings: file and stream agree, and what is verified is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle_fuzz as host;

fuzz_target!(init: host::seed(), |data: &[u8]| {
    let [mode, bundle @ ..] = data else { return };
    host::verify_both_ways(bundle, host::settings(*mode));
});
