//! SSHSIG envelopes and keys: nothing but a signature over the message by its own key is good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::sign::{MessageHash, Outcome, Policy, PublicKey, Role, SecretKey, Signature, verify};
use mirror_bundle_fuzz as host;

fuzz_target!(|data: &[u8]| {
    let message = MessageHash::of(b"message\n");
    if let Ok(signature) = Signature::parse(data) {
        assert_eq!(verify(&message, data).is_ok(), signature.check(&message).is_ok());
        assert!(signature.check(&MessageHash::of(b"other")).is_err());
        let key = signature.key();
        assert_eq!(PublicKey::from_blob(key.blob()).unwrap().fingerprint(), key.fingerprint());
        assert_eq!(PublicKey::parse(&key.to_line()).unwrap().blob(), key.blob());
    }
    let policy = Policy::from_signer_keys(&[host::public()]).unwrap();
    let now = jiff::Timestamp::from_second(host::NOW).unwrap();
    let judged = policy.evaluate(&[("a", data), ("b", data)], b"message\n", now);
    let good = judged.signatures.iter().filter(|s| s.outcome == Outcome::Good);
    for signature in good.clone() {
        assert_eq!(signature.key, Some(host::public().fingerprint()));
        assert_eq!(signature.role, Some(Role::Builder));
    }
    assert_eq!(judged.verdict.is_ok(), good.count() > 0);
    assert!(judged.satisfied.iter().all(|need| need.have <= 1));
    if let Ok(line) = std::str::from_utf8(data)
        && let Ok(key) = PublicKey::parse(line)
    {
        assert_eq!(PublicKey::parse(&key.to_line()).unwrap().blob(), key.blob());
    }
    let _ = PublicKey::from_blob(data);
    // Without a passphrase: bcrypt with the rounds that a file asks for is this host's own business.
    let _ = SecretKey::load(data, || Err(mirror_bundle::Error::new(mirror_bundle::Code::Usage, "none")));
});
