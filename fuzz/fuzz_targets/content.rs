//! A bundle whose signature, digests and headers are right and whose content is hostile (see `parts`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle_fuzz as host;

fuzz_target!(|data: &[u8]| {
    let [mode, text @ ..] = data else { return };
    let Some(made) = host::parts::bundle(text, mode & 4 == 0) else { return };
    host::verify_both_ways(&made.bytes, host::settings(*mode));
});
