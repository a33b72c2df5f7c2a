//! Trust policies in both formats: what is accepted can be satisfied, and judges.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::sign::{MessageHash, Namespace, Policy, Role, sign};
use mirror_bundle_fuzz as host;

fuzz_target!(|data: &[u8]| {
    let now = jiff::Timestamp::from_second(host::NOW).unwrap();
    for policy in
        [Policy::parse(data), Policy::from_yaml(data), Policy::from_allowed_signers(data)].into_iter().flatten()
    {
        assert!(!policy.signers().is_empty());
        assert!(policy.required().next().is_some());
        assert!(policy.required().all(|(_, need)| need > 0));
        let unsigned = policy.evaluate(&[], b"message\n", now);
        assert!(unsigned.verdict.is_err());
        let signature = sign(host::key(), Namespace::Index(Role::Builder), &MessageHash::of(b"message\n"));
        let judged = policy.evaluate(&[("a", signature.as_bytes())], b"message\n", now);
        let trusted =
            policy.signers().iter().any(|s| s.key.blob() == host::public().blob() && s.roles.contains(&Role::Builder));
        assert!(trusted || judged.verdict.is_err());
    }
});
