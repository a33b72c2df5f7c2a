//! Logs, evidence and reports: what is read is refused with one sentence or used, without a panic; a log that holds
//! together does so up to each of its lines.
#![no_main]

use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use mirror_bundle::evidence;
use mirror_bundle::host::log::Chain;
use mirror_bundle::oci::Digest;
use mirror_bundle::ops::reviewed::{self, Rules};

fuzz_target!(|data: &[u8]| {
    if let Ok(chain) = Chain::read(data) {
        let end = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Ok(whole) = Chain::read(&data[..end]) {
            assert!(whole.len() <= chain.len() && chain.len() <= whole.len() + 1);
        }
        assert_eq!(chain.hash(chain.len()), Some(chain.last().sha256.as_str()));
    }
    if let Ok(parsed) = evidence::parse(data) {
        let image = evidence::Image { name: "a".to_owned(), ..Default::default() };
        let _ = parsed.evidence(("f", &Digest::of(data)), &[image], Some("a"), Timestamp::UNIX_EPOCH);
    }
    let rules = Rules { max_age: SignedDuration::from_hours(24), despite: None, now: Timestamp::UNIX_EPOCH };
    let _ = reviewed::read(data, "f", &rules);
});
