#![allow(clippy::unwrap_used)]
use super::*;

const IMAGE: &str = "sha256:623545e0f0a54b794e76e8d551dce1218fc4f5442d48c2fcf5885dba7eb13450";
const KINDS: [&str; 3] = ["p256", "rsa", "ed25519"];

fn data(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/sigstore/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn blob(digest: &Digest) -> Vec<u8> {
    data(&format!("layout/blobs/sha256/{}", digest.hex()))
}

/// The genuine bundles of cosign 3: three signatures, three attestations, a message signature.
fn genuine() -> Vec<Vec<u8>> {
    use crate::oci::{Document, media_type, parse};
    let index = parse(&data("layout/index.json"), media_type::OCI_INDEX);
    let manifests: Vec<Digest> = match index {
        Ok(Document::Index(index)) => index.manifests.iter().skip(1).map(|m| m.digest).collect(),
        other => panic!("{other:?}"),
    };
    let layer = |digest: &Digest| match parse(&blob(digest), media_type::OCI_MANIFEST).unwrap() {
        Document::Manifest(manifest) => blob(&manifest.layers[0].digest),
        Document::Index(_) => panic!(),
    };
    manifests.iter().map(layer).collect()
}

fn key(kind: &str) -> ImageKey {
    ImageKey::new("*", None, &String::from_utf8(data(&format!("{kind}.pub"))).unwrap()).unwrap()
}

#[test]
fn genuine_bundles_hold_with_their_key_only_and_say_what_they_are() {
    let (image, other) = (IMAGE.parse().unwrap(), Digest::of(b"other"));
    let document = blob(&image);
    let mut seen = Vec::new();
    for bytes in genuine() {
        let bundle = Bundle::read(&bytes).unwrap();
        assert!(bundle.is_about(&image) && !bundle.is_about(&other));
        let by: Vec<_> = KINDS.into_iter().filter(|kind| bundle.is_by(&key(kind), &document)).collect();
        seen.push((bundle.predicate_type().unwrap_or("message").to_owned(), bundle.signs_images(), by.join(" ")));
    }
    seen.sort();
    let seen: Vec<(&str, bool, &str)> =
        seen.iter().map(|(kind, signs, by)| (kind.as_str(), *signs, by.as_str())).collect();
    let sign = "https://sigstore.dev/cosign/sign/v1";
    assert_eq!(
        seen,
        [
            ("https://cosign.sigstore.dev/attestation/v1", false, "p256"),
            ("https://cosign.sigstore.dev/attestation/vuln/v1", false, "p256"),
            (sign, true, "ed25519"),
            (sign, true, "p256"),
            (sign, true, "rsa"),
            ("https://spdx.dev/Document", false, "p256"),
            ("message", true, "p256"),
        ]
    );
}

#[test]
fn no_changed_byte_of_what_was_signed_passes() {
    let image = IMAGE.parse().unwrap();
    let document = blob(&image);
    let keys: Vec<ImageKey> = KINDS.into_iter().map(key).collect();
    for bytes in genuine() {
        match Bundle::read(&bytes).unwrap() {
            Bundle::Statement { statement, signed, signature } => {
                for at in (0..signed.len()).step_by(7) {
                    let mut signed = signed.clone();
                    signed[at] ^= 1;
                    let bad = Bundle::Statement { statement: statement.clone(), signed, signature: signature.clone() };
                    assert!(!keys.iter().any(|key| bad.is_by(key, &document)), "{at}");
                }
            }
            good @ Bundle::Message { .. } => {
                let mut changed = document.clone();
                changed[7] ^= 1;
                assert!(!keys.iter().any(|key| good.is_by(key, &changed)));
            }
        }
    }
}

#[test]
fn a_bundle_written_in_another_form_is_refused() {
    let text = String::from_utf8(genuine().remove(0)).unwrap();
    for bad in [
        text.replace("dsseEnvelope", "dsse_envelope"),
        text.replace("verificationMaterial", "verificationmaterial"),
        text.replace("\"signatures\":[", "\"signatures\":[null,"),
        text.replace("\"publicKey\":{", "\"publicKey\":{\"rawBytes\":\"AA==\","),
        text.replace("\"payload\":\"", "\"payload\":\"*"),
        format!("[{text}]"),
        String::new(),
    ] {
        assert_ne!(bad, text);
        assert!(Bundle::read(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(is_bundle(MEDIA_TYPE) && is_bundle("application/vnd.dev.sigstore.bundle+json;version=0.1"));
    assert!(!is_bundle("application/vnd.dev.sigstore.bundles") && !is_bundle("application/json"));
}
