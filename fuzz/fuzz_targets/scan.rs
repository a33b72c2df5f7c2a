//! Answers of clamd, and archives within files: nothing panics, and no limit is passed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::archive::{Budget, Form, Limits, Member, Stop, detect, open, open_zip};
use mirror_bundle::scan::clamd::reply::{Reply, parse, version};

/// The most that comes out of decoders.
const MOST: u64 = 1 << 20;

fn level(bytes: &[u8], budget: &Budget, depth: usize) {
    let Some(form) = detect(bytes).filter(|form| form.is_opened() && depth < 4) else { return };
    let mut visit = |_: &[u8], member: Member<'_>| -> Result<(), Stop> {
        if let Member::Content(stream) = member {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(stream, 1 << 16), &mut content)?;
            level(&content, budget, depth + 1);
        }
        Ok(())
    };
    let _ = match form {
        Form::Zip => open_zip(&bytes, budget, &mut visit),
        _ => open(form, &mut &bytes[..], budget, &mut visit),
    };
}

fuzz_target!(|data: &[u8]| {
    if let Some((_, Reply::Clean)) = parse(data) {
        assert!(data.ends_with(b": OK"));
    }
    if let Some(version) = version(data) {
        assert!(!version.engine.chars().any(char::is_control));
    }
    let limits = Limits { inflated: MOST, members: 1000, ..Limits::default() };
    let budget = Budget::new(limits);
    level(data, &budget, 0);
    assert!(budget.inflated() <= MOST + (64 << 10));
});
