//! Attestations of cosign 1 and 2: DSSE envelopes in `.att` images and in referrers; what `inspect` says about all kinds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mirror_bundle::oci::Digest;
use serde_json::Value;

use crate::cosign::{HOME, IMAGE, Layout, host, key, openssl_key, verify};
use crate::kit::{Kit, testdata};
use crate::sigstore::{IN_TOTO, SIGN, SPDX, dsse_sign, manifest, place, statement};

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// What cosign 1 and 2 store of an attestation.
fn envelope(kit: &Kit, signer: &str, payload: &str) -> String {
    let signature = dsse_sign(kit, signer, IN_TOTO, payload);
    let payload = STANDARD.encode(payload);
    format!(
        "{{\"payloadType\":\"{IN_TOTO}\",\"payload\":\"{payload}\",\"signatures\":[{{\"keyid\":\"\",\"sig\":\"{signature}\"}}]}}"
    )
}

/// An `.att` image with these layers, each with its `predicateType`.
fn att(layout: &mut Layout<'_>, image: &Digest, layers: &[(&str, &str)]) -> Digest {
    let (_, config) = layout.blob(b"{}");
    let layers: Vec<String> = layers
        .iter()
        .map(|(predicate, bytes)| {
            let (_, place) = layout.blob(bytes.as_bytes());
            let said = format!("\"annotations\":{{\"predicateType\":\"{predicate}\"}}");
            format!("{{\"mediaType\":\"{ENVELOPE}\",{place},{said}}}")
        })
        .collect();
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{IMAGE}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\"layers\":[{}]}}",
        layers.join(",")
    );
    layout.name(text.as_bytes(), IMAGE, &format!("{HOME}:sha256-{}.att", image.hex()))
}

fn listed(kit: &Kit, args: &[&str]) -> Vec<Value> {
    let out = kit.run(&[args, &["-o", "json"]].concat()).json();
    out["attestations"].as_array().cloned().unwrap_or_default()
}

/// Predicate type and state of the signature, sorted.
fn states(listed: &[Value]) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or("-").to_owned();
    let mut out: Vec<_> = listed.iter().map(|one| (text(one, "predicate_type"), text(one, "signature"))).collect();
    out.sort();
    out
}

#[test]
fn attestations_of_older_cosign_are_listed_from_att_images_and_referrers_by_verify_and_inspect() {
    let kit = host();
    openssl_key(&kit, "other", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    let old = |kind: &str| statement(kind, &image).replace("Statement/v1", "Statement/v0.1");
    let known = envelope(&kit, "p256", &old(SPDX));
    let unknown = envelope(&kit, "other", &old("https://example.com/other"));
    let elsewhere = envelope(&kit, "p256", &statement("https://example.com/elsewhere", &Digest::of(b"x")));
    let in_att = att(&mut layout, &image, &[(SPDX, &known), ("x", &unknown), ("x", &elsewhere), ("https://bad", "{}")]);
    // By a referrer: with the type of the artifact, and of the layer only.
    let vuln = envelope(&kit, "p256", &statement("https://example.com/vuln", &image));
    // A statement that would sign the image, if it were in a bundle.
    let sign = envelope(&kit, "p256", &statement(SIGN, &image));
    for (kind, text) in [(ENVELOPE, &vuln), ("application/vnd.example", &sign)] {
        let text = manifest(&layout, kind, &[(ENVELOPE, text)], &place(&kit, &image));
        layout.referrer(text.as_bytes());
    }
    layout.bundle();

    // No signature of the image is among them.
    verify(&kit, &key(HOME, "p256.pub.pem")).is(40).says("there is no signature image for it");
    let of_verify = listed(&kit, &["verify", "i.tar", "--trust", "t.yaml"]);
    let state = |kind: &str, state: &str| (kind.to_owned(), state.to_owned());
    let mut expected = vec![
        state(SPDX, "verified"),
        state("https://example.com/other", "unknown-key"),
        state("https://example.com/elsewhere", "unusable"),
        state("https://bad", "unusable"),
        state("https://example.com/vuln", "verified"),
        state(SIGN, "verified"),
    ];
    expected.sort();
    assert_eq!(states(&of_verify), expected);
    assert!(of_verify.iter().all(|one| one["image"] == image.to_string()));
    assert_eq!(of_verify.iter().filter(|one| one["manifest"] == in_att.to_string()).count(), 4);

    // `inspect` lists the same; without a policy no key is known.
    assert_eq!(listed(&kit, &["inspect", "i.tar", "--trust", "t.yaml"]), of_verify);
    let without = states(&listed(&kit, &["inspect", "i.tar"]));
    for (state, one) in expected.iter_mut().zip(&without) {
        if state.1 == "verified" {
            state.1 = "unknown-key".to_owned();
        }
        assert_eq!(state, one);
    }
    let text = kit.run(&["inspect", "i.tar", "--trust", "t.yaml"]).is(0);
    let text = text.says(&format!("attested  {SPDX} {image}")).says("signed by the key sha256:");
    text.says("a claim: no key of the policy signed it").says("not usable: what was signed is about something else");
}

#[test]
fn inspect_lists_no_attestation_that_it_cannot_read() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    let text = envelope(&kit, "p256", &statement(SPDX, &image));
    att(&mut layout, &image, &[(SPDX, &text)]);
    layout.bundle();
    let whole = listed(&kit, &["inspect", "i.tar"]);
    assert_eq!(states(&whole), [(SPDX.to_owned(), "unknown-key".to_owned())]);
    // On a stream only the head is read.
    let bytes = kit.read("i.tar");
    let streamed = |args: &[&str]| kit.run_with_stdin(&[&["inspect", "-"], args].concat(), "i.tar").is(0);
    assert_eq!(streamed(&["-o", "json"]).json()["attestations"], Value::Null);
    streamed(&[]).says("attested  not read from a stream");
    // A damaged attestation is not shown as what it was.
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut damaged = bytes;
    damaged[at + 40] ^= 1;
    kit.write("d.tar", &damaged);
    let seen = listed(&kit, &["inspect", "d.tar"]);
    assert_eq!(states(&seen), [(SPDX.to_owned(), "unusable".to_owned())]);
    assert!(seen[0]["detail"].as_str().unwrap().starts_with("it was not read"), "{seen:?}");
}

#[test]
fn genuine_attestations_of_cosign_2_are_listed_beside_its_signature() {
    let kit = host();
    let layout = testdata("sigstore/cosign2/layout").display().to_string();
    let args = ["create", "i.tar", "-q", "--from-layout", &layout, "--name", "app", "--sequence", "1"];
    kit.run(&[&args[..], &["--sign-key", "builder"]].concat()).is(0);
    let file = testdata("sigstore/cosign2/p256.pub").display().to_string();
    let custom = "https://cosign.sigstore.dev/attestation/v1";
    // The signature names the registry on which it was made.
    let keys = key(HOME, &file).replace('}', ", signedIdentity: localhost:5066/team/app}");
    for (keys, code, state) in [(keys, 0, "verified"), (key(HOME, "p256.pub.pem"), 40, "unknown-key")] {
        verify(&kit, &keys).is(code);
        let seen = listed(&kit, &["inspect", "i.tar", "--trust", "t.yaml"]);
        assert_eq!(states(&seen), [custom, SPDX].map(|kind| (kind.to_owned(), state.to_owned())));
        assert_eq!(seen, listed(&kit, &["verify", "i.tar", "--trust", "t.yaml"]));
    }
}

#[test]
fn genuine_bundles_of_cosign_3_are_listed_by_inspect() {
    let kit = host();
    let layout = testdata("sigstore/layout").display().to_string();
    kit.run(&[
        "create",
        "i.tar",
        "-q",
        "--from-layout",
        &layout,
        "--name",
        "app",
        "--sequence",
        "1",
        "--sign-key",
        "builder",
    ])
    .is(0);
    let file = testdata("sigstore/p256.pub").display().to_string();
    verify(&kit, &key(HOME, &file)).is(0);
    let seen = listed(&kit, &["inspect", "i.tar", "--trust", "t.yaml"]);
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|one| one["signature"] == "verified" && one["key"].is_string()), "{seen:?}");
    assert_eq!(seen, listed(&kit, &["verify", "i.tar", "--trust", "t.yaml"]));
    assert!(!seen.iter().any(|one| one["predicate_type"] == SIGN));
}
