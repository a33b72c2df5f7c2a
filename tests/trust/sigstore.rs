//! Sigstore bundles of cosign 3, attached as referrers: genuine ones, and ones made here with `openssl`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mirror_bundle::oci::Digest;

use crate::cosign::{HOME, IMAGE, Layout, cosign_check, host, key, openssl_key, openssl_sign, verify};
use crate::kit::{Kit, testdata};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
pub(crate) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
pub(crate) const SPDX: &str = "https://spdx.dev/Document";

/// The statement with which cosign 3 signs, or another.
pub(crate) fn statement(predicate: &str, digest: &Digest) -> String {
    format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}}}}],\"predicateType\":\"{predicate}\",\"predicate\":{{}}}}",
        digest.hex()
    )
}

/// The signature of `signer` over a DSSE payload, base64.
pub(crate) fn dsse_sign(kit: &Kit, signer: &str, kind: &str, payload: &str) -> String {
    let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    STANDARD.encode(openssl_sign(kit, signer, &signed))
}

fn dsse(kit: &Kit, signer: &str, payload: &str) -> String {
    let signature = dsse_sign(kit, signer, IN_TOTO, payload);
    bundle(&format!(
        "\"dsseEnvelope\":{{\"payload\":\"{}\",\"payloadType\":\"{IN_TOTO}\",\"signatures\":[{{\"sig\":\"{signature}\"}}]}}",
        STANDARD.encode(payload)
    ))
}

fn bundle(content: &str) -> String {
    format!("{{\"mediaType\":\"{BUNDLE}\",\"verificationMaterial\":{{\"publicKey\":{{\"hint\":\"x\"}}}},{content}}}")
}

/// The manifest that attaches these layers.
pub(crate) fn manifest(layout: &Layout<'_>, kind: &str, layers: &[(&str, &str)], subject: &str) -> String {
    let (_, config) = layout.blob(b"{}");
    let layers: Vec<String> = layers
        .iter()
        .map(|(kind, bytes)| format!("{{\"mediaType\":\"{kind}\",{}}}", layout.blob(bytes.as_bytes()).1))
        .collect();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{IMAGE}\",\"artifactType\":\"{kind}\",\"config\":{{\"mediaType\":\"application/vnd.oci.empty.v1+json\",{config}}},\"layers\":[{}],\"subject\":{{\"mediaType\":\"{IMAGE}\",{subject}}}}}",
        layers.join(",")
    )
}

/// Bundles the image `HOME:1` with these attached to it, each as `(artifact type, layer type, bytes)`.
fn carry(kit: &Kit, attached: &[(&str, &str, &str)]) -> Digest {
    let mut layout = Layout::new(kit);
    let image = layout.image(&format!("{HOME}:1"));
    for (kind, layer, bytes) in attached {
        let manifest = manifest(&layout, kind, &[(layer, bytes)], &place(kit, &image));
        layout.referrer(manifest.as_bytes());
    }
    layout.bundle();
    image
}

pub(crate) fn place(kit: &Kit, image: &Digest) -> String {
    let size = kit.read(&format!("layout/blobs/sha256/{}", image.hex())).len();
    format!("\"digest\":\"{image}\",\"size\":{size}")
}

/// The digest of the image that [`carry`] makes, and the bytes of its manifest.
fn image(kit: &Kit) -> (Digest, Vec<u8>) {
    let digest = carry(kit, &[]);
    (digest, kit.read(&format!("layout/blobs/sha256/{}", digest.hex())))
}

fn attestations(kit: &Kit) -> Vec<serde_json::Value> {
    let report = kit.run(&["verify", "i.tar", "--trust", "t.yaml", "-o", "json"]).json();
    report["attestations"].as_array().cloned().unwrap_or_default()
}

#[test]
fn genuine_bundles_of_cosign_3_are_checked_and_its_attestations_are_listed() {
    let kit = host();
    let layout = testdata("sigstore/layout").display().to_string();
    let args = ["create", "i.tar", "-q", "--from-layout", &layout, "--name", "app", "--sequence", "1"];
    kit.run(&[&args[..], &["--sign-key", "builder"]].concat()).is(0);
    for kind in ["p256", "rsa", "ed25519"] {
        let file = testdata(&format!("sigstore/{kind}.pub")).display().to_string();
        verify(&kit, &key(HOME, &file)).is(0);
        assert_eq!(cosign_check(&kit), (1, 1, vec![]));
        let listed = attestations(&kit);
        let mut kinds: Vec<&str> = listed.iter().map(|one| one["predicate_type"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        let cosign = "https://cosign.sigstore.dev/attestation";
        assert_eq!(kinds, [&format!("{cosign}/v1"), &format!("{cosign}/vuln/v1"), SPDX]);
        assert!(listed.iter().all(|one| one.get("key").is_some() == (kind == "p256")), "{listed:?}");
    }
    verify(&kit, &key(HOME, "p256.pub.pem")).is(40).says("not signed by a key of the trust policy");
}

#[test]
fn a_bundle_signs_an_image_with_keys_of_each_kind() {
    let kit = host();
    openssl_key(&kit, "rsa", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let (digest, _) = image(&kit);
    for signer in ["p256", "rsa"] {
        let text = dsse(&kit, signer, &statement(SIGN, &digest));
        carry(&kit, &[(BUNDLE, BUNDLE, &text)]);
        verify(&kit, &key(HOME, &format!("{signer}.pub.pem"))).is(0);
        assert_eq!(cosign_check(&kit), (1, 1, vec![]));
        assert_eq!(attestations(&kit).len(), 0, "a signature of the image is no attestation");
    }
    // By another key: no.
    verify(&kit, &key(HOME, "p256.pub.pem")).is(40).says("not signed by a key of the trust policy");
    // Without a key it is not checked, and that is said.
    kit.policy("t.yaml", "");
    kit.verify_both("i.tar", &["--trust", "t.yaml"]).is(0);
    assert_eq!(cosign_check(&kit).2, ["no image key is in the trust policy (1 signature images)"]);
}

#[test]
fn a_message_signature_signs_the_manifest_that_it_names() {
    let kit = host();
    let (digest, document) = image(&kit);
    let document = String::from_utf8(document).unwrap();
    let message = |named: &Digest, signed: &str| {
        let raw: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&named.hex()[at..at + 2], 16).unwrap()).collect();
        bundle(&format!(
            "\"messageSignature\":{{\"messageDigest\":{{\"algorithm\":\"SHA2_256\",\"digest\":\"{}\"}},\"signature\":\"{}\"}}",
            STANDARD.encode(raw),
            STANDARD.encode(openssl_sign(&kit, "p256", signed))
        ))
    };
    let other = Digest::of(b"other");
    let good = message(&digest, &document);
    for (text, code, why) in [
        (good.clone(), 0, ""),
        (message(&other, "other"), 40, "the signature is not for sha256:"),
        (message(&digest, "other"), 40, "not signed by a key of the trust policy"),
        (good.replace("SHA2_256", "SHA2_512"), 40, "its digest is by `SHA2_512`"),
    ] {
        carry(&kit, &[(BUNDLE, BUNDLE, &text)]);
        verify(&kit, &key(HOME, "p256.pub.pem")).is(code).says(why);
    }
}

#[test]
fn a_bundle_that_signs_something_else_or_otherwise_does_not_count() {
    let kit = host();
    let (digest, _) = image(&kit);
    let right = statement(SIGN, &digest);
    let good = dsse(&kit, "p256", &right);
    let signed = |payload: &str| dsse(&kit, "p256", payload);
    let encoded = |text: &str| STANDARD.encode(text);
    let changed = right.replace("\"predicate\":{}", "\"predicate\":{\"x\":1}");
    let (first, last) = good.split_once("\"signatures\":[").unwrap();
    let one = last.strip_suffix("]}}").unwrap();
    let material = "\"publicKey\":{\"hint\":\"x\"}";
    let cases: Vec<(String, i32, &str)> = vec![
        (good.clone(), 0, ""),
        (good.replace(material, &format!("{material},\"tlogEntries\":[{{\"logIndex\":\"1\"}}]")), 0, ""),
        (signed(&statement(SIGN, &Digest::of(b"other"))), 40, "the signature is not for sha256:"),
        (good.replace(&encoded(&right), &encoded(&changed)), 40, "not signed by a key of the trust policy"),
        (good.replace(IN_TOTO, "application/json"), 40, "its payload is `application/json`"),
        (format!("{first}\"signatures\":[{one},{one}]}}}}"), 40, "its envelope has 2 signatures, not one"),
        (format!("{first}\"signatures\":[]}}}}"), 40, "its envelope has 0 signatures, not one"),
        (good.replace(material, ""), 40, "it names no public key"),
        (good.replace(material, "\"certificate\":{\"rawBytes\":\"AA==\"}"), 40, "names its signer by a certificate"),
        (
            good.replace(material, &format!("{material},\"x509CertificateChain\":{{\"certificates\":[]}}")),
            40,
            "names its signer by a certificate",
        ),
        (good.replace(&format!("\"verificationMaterial\":{{{material}}},"), ""), 40, "missing field"),
        (good.replace("bundle.v0.3+json", "bundle.v0.4+json"), 40, "it calls itself"),
        (good.replace(BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.1"), 40, "it calls itself"),
        (good.replace(BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.2"), 40, "it calls itself"),
        (good.replacen('{', "{\"x\":1,", 1), 40, "unknown field"),
        (good.replacen('{', &format!("{{\"mediaType\":\"{BUNDLE}\","), 1), 40, "not acceptable JSON"),
        (format!("{good} x"), 40, "not acceptable JSON"),
        (good.replace("\"dsseEnvelope\"", "\"messageSignature\":null,\"dsseEnvelope\""), 0, ""),
        (bundle("\"dsseEnvelope\":null"), 40, "either `dsseEnvelope` or `messageSignature`"),
        (signed(&right.replace("Statement/v1", "Statement/v2")), 40, "which this program does not know"),
        (signed(&right.replace("Statement/v1", "Statement/v0.1")), 40, "there is no signature image"),
        (signed(&right.replace("\"sha256\"", "\"sha512\"")), 40, "the signature is not for sha256:"),
        (signed(&right.replace("\"subject\"", "\"Subject\"")), 40, "unknown field"),
        (signed(&right.replace("cosign/sign/v1", "cosign/sign/v2")), 40, "there is no signature image"),
        (signed(&statement(SPDX, &digest)), 40, "there is no signature image"),
        (signed("{}"), 40, "no in-toto statement"),
    ];
    for (text, code, why) in cases {
        carry(&kit, &[(BUNDLE, BUNDLE, &text)]);
        verify(&kit, &key(HOME, "p256.pub.pem")).is(code).says(why);
    }
    // One that counts is enough, whatever is beside it.
    carry(&kit, &[(BUNDLE, BUNDLE, "{}"), (BUNDLE, BUNDLE, &good), (BUNDLE, BUNDLE, &signed("{}"))]);
    verify(&kit, &key(HOME, "p256.pub.pem")).is(0);
}

#[test]
fn a_bundle_counts_only_as_the_one_layer_of_a_referrer_of_its_type() {
    let kit = host();
    let (digest, _) = image(&kit);
    let good = dsse(&kit, "p256", &statement(SIGN, &digest));
    let old = "application/vnd.dev.sigstore.bundle+json;version=0.2";
    for (kind, layer, code, why) in [
        (BUNDLE, BUNDLE, 0, ""),
        (BUNDLE, "application/json", 40, "`application/json` is not"),
        (old, BUNDLE, 40, "version=0.2` is not"),
        (BUNDLE, old, 40, "version=0.2` is not"),
        ("application/json", BUNDLE, 40, "`application/json` is not"),
        ("application/json", "application/json", 40, "there is no signature image"),
    ] {
        carry(&kit, &[(kind, layer, &good)]);
        verify(&kit, &key(HOME, "p256.pub.pem")).is(code).says(why);
    }
    let mut layout = Layout::new(&kit);
    layout.image(&format!("{HOME}:1"));
    let two = manifest(&layout, BUNDLE, &[(BUNDLE, &good), (BUNDLE, "{}")], &place(&kit, &digest));
    layout.referrer(two.as_bytes());
    layout.bundle();
    verify(&kit, &key(HOME, "p256.pub.pem")).is(40).says("its manifest has 2 layers");
    // Attached to another image, it says nothing about this one.
    let mut layout = Layout::new(&kit);
    layout.image(&format!("{HOME}:1"));
    let other = layout.image(&format!("{HOME}:2"));
    let elsewhere = manifest(&layout, BUNDLE, &[(BUNDLE, &good)], &place(&kit, &other));
    layout.referrer(elsewhere.as_bytes());
    layout.bundle();
    let cosign_check = verify(&kit, &key(HOME, "p256.pub.pem")).is(40);
    cosign_check.says("there is no signature image for it").says("the signature is not for sha256:");
}

#[test]
fn a_bundle_that_names_no_repository_does_not_satisfy_a_signed_identity() {
    let kit = host();
    let (digest, _) = image(&kit);
    let right = statement(SIGN, &digest);
    let named = |name: &str| right.replace("[{", &format!("[{{\"name\":\"{name}\","));
    let plain = key(HOME, "p256.pub.pem");
    let identity = plain.replace("}", &format!(", signedIdentity: {HOME}}}"));
    for (payload, keys, code, why) in [
        (right.clone(), &plain, 0, ""),
        (right.clone(), &identity, 40, "the signature names no repository"),
        (named(HOME), &plain, 0, ""),
        (named(HOME), &identity, 0, ""),
        (named("registry.example.com/team/other"), &plain, 40, "is for an image of"),
        (named(&format!("{HOME}@{}", Digest::of(b"other"))), &identity, 40, "is for an image of"),
    ] {
        carry(&kit, &[(BUNDLE, BUNDLE, &dsse(&kit, "p256", &payload))]);
        verify(&kit, keys).is(code).says(why);
    }
}

#[test]
fn attestations_are_listed_with_the_key_that_signed_them_or_as_claims() {
    let kit = host();
    openssl_key(&kit, "other", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    let (digest, _) = image(&kit);
    let right = dsse(&kit, "p256", &statement(SIGN, &digest));
    let by_key = dsse(&kit, "p256", &statement(SPDX, &digest));
    let claim =
        dsse(&kit, "other", &statement("https://example.com/\u{1b}[2K/v1", &digest).replace('\u{1b}', "\\u001b"));
    let elsewhere = dsse(&kit, "p256", &statement(SPDX, &Digest::of(b"other")));
    let all: Vec<_> = [&right, &by_key, &claim, &elsewhere].map(|text| (BUNDLE, BUNDLE, text.as_str())).to_vec();
    carry(&kit, &all);
    let text = verify(&kit, &key(HOME, "p256.pub.pem")).is(0);
    assert!(!text.out.contains('\u{1b}') && !text.err.contains('\u{1b}'));
    text.says("attested").says("a claim: no key of the policy signed it");
    let listed = attestations(&kit);
    assert_eq!(listed.len(), 3);
    let find = |what: &str| listed.iter().find(|one| one.to_string().contains(what)).unwrap();
    assert_eq!(find("example.com").get("key"), None);
    assert!(find("about something else").get("key").is_none());
    let signed = listed.iter().find(|one| one.get("key").is_some()).unwrap();
    assert_eq!((&signed["predicate_type"], &signed["image"]), (&SPDX.into(), &digest.to_string().into()));
    kit.tool("openssl", &["pkey", "-pubin", "-in", "p256.pub.pem", "-outform", "DER", "-out", "p256.der"]).is(0);
    assert_eq!(signed["key"], Digest::of(&kit.read("p256.der")).to_string());
}

#[test]
fn bundles_beyond_the_limits_are_not_read_and_the_smallest_come_first() {
    let kit = host();
    let (digest, _) = image(&kit);
    let good = dsse(&kit, "p256", &statement(SIGN, &digest));
    let padded = |size: usize| format!("{good}{}", " ".repeat(size - good.len()));
    let mib = 1 << 20;
    for (size, code) in [(mib, 0), (mib + 1, 40)] {
        carry(&kit, &[(BUNDLE, BUNDLE, &padded(size))]);
        let ended = verify(&kit, &key(HOME, "p256.pub.pem")).is(code);
        ended.says(if code == 0 { "" } else { "it was not read" });
    }
    // Thirteen more, of which eleven have room beside the small one.
    let large: Vec<String> = (0..13).map(|n| format!("{}{}", " ".repeat(mib - 2 - n), "[]")).collect();
    let mut all: Vec<(&str, &str, &str)> = large.iter().map(|text| (BUNDLE, BUNDLE, text.as_str())).collect();
    all.push((BUNDLE, BUNDLE, &good));
    carry(&kit, &all);
    verify(&kit, &key(HOME, "p256.pub.pem")).is(0);
    let listed = attestations(&kit);
    let unread = listed.iter().filter(|one| one["detail"].as_str().unwrap().starts_with("it was not read")).count();
    assert_eq!((listed.len(), unread), (13, 2));
}
