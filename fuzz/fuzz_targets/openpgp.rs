//! Release signatures: one that is accepted is for the digest that was asked for. First byte: bit 0 a keyring
//! instead of a signature, bit 1 a claim that is signed here.
#![no_main]

use std::io::Write;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::oci::Digest;
use mirror_bundle::openshift::openpgp::{Keyring, verify};
use mirror_bundle_fuzz as host;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use sequoia_openpgp::{Cert, policy::StandardPolicy};

fn keyrings() -> &'static [Keyring] {
    static ALL: OnceLock<Vec<Keyring>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = vec![Keyring::redhat().unwrap()];
        for name in ["A", "B", "AB", "Ed", "Expired", "Old", "Revoked", "Sub"] {
            all.extend(Keyring::parse(name, &host::testdata(&format!("vectors-generated/keyrings/{name}.asc"))));
        }
        all.push(host::keyring("keyrings/oc-mirror/test-release-pk.asc"));
        all
    })
}

fn digests() -> &'static [Digest] {
    static ALL: OnceLock<Vec<Digest>> = OnceLock::new();
    ALL.get_or_init(|| {
        [
            "3d74b083c82cccb5c073a3535d9a195db3eb6fd613d913fb5d6efeb8afb626f8",
            "e3f12513a4b22a2d7c0e7c9207f52128113758d9d68c7d06b11a0ac7672966f7",
        ]
        .map(|hex| Digest::from_hex(hex).unwrap())
        .to_vec()
    })
}

/// A key made now, and its keyring.
fn signer() -> &'static (Cert, Keyring) {
    static OWN: OnceLock<(Cert, Keyring)> = OnceLock::new();
    OWN.get_or_init(|| {
        let (cert, _) = CertBuilder::new().add_userid("fuzz").add_signing_subkey().generate().unwrap();
        let mut public = Vec::new();
        cert.armored().serialize(&mut public).unwrap();
        (cert, Keyring::parse("own", &public).unwrap())
    })
}

fn signed(claim: &[u8]) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let key = signer().0.keys().secret().with_policy(&policy, None).for_signing().next().unwrap();
    let pair = key.key().clone().into_keypair().unwrap();
    let mut out = Vec::new();
    let message = Signer::new(Message::new(&mut out), pair).unwrap().build().unwrap();
    let mut message = LiteralWriter::new(message).build().unwrap();
    message.write_all(claim).unwrap();
    message.finalize().unwrap();
    out
}

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    if mode & 1 == 1 {
        let Ok(keyring) = Keyring::parse("fuzz", rest) else { return };
        let _ = keyring.fingerprints().count();
        for file in ["c01-none.sig", "c25-ed25519.sig"] {
            let _ = verify(&host::testdata(&format!("vectors-generated/{file}")), &keyring, &digests()[0], host::NOW);
        }
        return;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let own = (mode & 2 == 2).then(|| (signed(rest), &signer().1));
    let ask: Vec<(&[u8], &Keyring)> = match &own {
        Some((bytes, keyring)) => vec![(bytes, keyring)],
        None => keyrings().iter().map(|keyring| (rest, keyring)).collect(),
    };
    for (bytes, keyring) in ask {
        for digest in digests() {
            match verify(bytes, keyring, digest, now) {
                Ok(good) => {
                    assert_eq!(good.claim.digest, *digest);
                    assert!(bytes.len() <= 64 << 10);
                }
                Err(rejected) if std::env::var_os("FUZZ_SHOW").is_some() => eprintln!("{rejected}"),
                Err(_) => {}
            }
        }
    }
});
