//! What follows the last member of a good bundle: raw bytes, or parts that are given their headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle_fuzz as host;

fuzz_target!(|data: &[u8]| {
    let [mode, tail @ ..] = data else { return };
    let good = host::good();
    if mode & 4 == 0 {
        let mut bundle = good[..good.len() - 1024].to_vec();
        bundle.extend_from_slice(tail);
        host::verify_both_ways(&bundle, host::settings(*mode));
    } else {
        let mut text = host::part("small.txt");
        text.extend_from_slice(b"\n");
        text.extend_from_slice(tail);
        let Some(made) = host::parts::bundle(&text, true) else { return };
        host::verify_both_ways(&made.bytes, host::settings(*mode));
    }
});
