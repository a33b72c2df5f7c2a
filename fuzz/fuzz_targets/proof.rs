//! Logs, evidence, reports, receipts of sites and inventories: what is read is refused with one sentence or used, without a panic; a log that holds
//! together does so up to each of its lines.
#![no_main]

use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use mirror_bundle::evidence;
use mirror_bundle::host::log::Chain;
use mirror_bundle::oci::Digest;
use mirror_bundle::ops::reviewed::{self, Rules};
use mirror_bundle::site::{Inventory, MAX_RECEIPT, Receipt, Receivers, check};

fuzz_target!(|data: &[u8]| {
    if let Ok(chain) = Chain::read(data) {
        let end = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Ok(whole) = Chain::read(&data[..end]) {
            assert!(whole.len() <= chain.len() && chain.len() <= whole.len() + 1);
        }
        assert_eq!(chain.hash(chain.len()), Some(chain.last().sha256.as_str()));
    }
    if let Ok(parsed) = evidence::parse(data) {
        let image = evidence::Image { name: "a".to_owned(), digest: Digest::of(b""), members: Vec::new() };
        let _ = parsed.evidence(("f", &Digest::of(data)), &[image], Some("a"), Timestamp::UNIX_EPOCH);
    }
    if let Ok(receipt) = Receipt::parse("f", data) {
        assert!(receipt.to_bytes().len() <= MAX_RECEIPT);
        assert_eq!(Receipt::parse("f", &receipt.to_bytes()).as_ref().ok(), Some(&receipt));
        let _ = check("f", &receipt.line(), receipt.signature.as_deref(), Receivers::Unknown);
    }
    if let Ok(inventory) = Inventory::parse("f", data) {
        let again = inventory.to_bytes().ok().and_then(|bytes| Inventory::parse("f", &bytes).ok());
        assert_eq!(again, Some(inventory));
    }
    let rules = Rules { max_age: SignedDuration::from_hours(24), despite: None, now: Timestamp::UNIX_EPOCH };
    let _ = reviewed::read(data, "f", &rules);
});
