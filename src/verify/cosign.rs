//! MB-VER-08: cosign image signatures, offline, with public keys from the trust policy.
//!
//! A signature image (`sha256-<hex>.sig`) has one layer for each signature: the layer's bytes are the signed payload
//! (simple signing, containers/image `docs/containers-signature.5.md`), the signature is an annotation. Certificates
//! and transparency logs are ignored: only keys pinned on this host count. If no key covers an image, its signatures
//! are not checked, and the report says so. Cosign 3 attaches a Sigstore bundle as a referrer instead: one that signs
//! the image counts like a signature image; an attestation is listed and never counts as a signature.

mod attached;
mod attestations;
pub(super) mod default_policy;

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Attestation, Check, CheckId, Finding, Report};
use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::limits;
use crate::bundle::set::Set;
use crate::error::{Code, Result};
use crate::oci::{Digest, Document, parse};
use crate::sign::claim::{self, Fault};
use crate::sign::cosign::bundle::Bundle;
use crate::sign::cosign::{Demand, Require, demands};
use attached::{Attached, Form};

pub(super) use attached::{LARGEST, payloads};

pub use crate::sign::cosign::ImageKey;

/// Checks every image that a key covers. `contents` are the signed payloads and bundles, whose digests were verified.
pub(super) fn check(
    index: &Index,
    documents: &BTreeMap<Digest, Vec<u8>>,
    contents: &BTreeMap<Digest, Vec<u8>>,
    settings: &super::Settings,
    report: &mut Report,
) {
    let keys = &settings.image_keys;
    let all = Attached::new(index, documents, contents);
    let policy = attestations::Keys { all: keys, target: settings.target };
    attestations::list(index, &all, documents, &policy, report);
    if keys.is_empty() && settings.image_require == Require::Scoped {
        let signatures = index.images.iter().filter(|i| i.kind == Kind::Signature).count() + all.signing();
        let there = if signatures == 0 { "none is carried" } else { "no image key is in the trust policy" };
        report.skip(CheckId::ImageSignatures, false, format!("{there} ({signatures} signature images)"));
        return;
    }
    let mut check = Check::new(CheckId::ImageSignatures);
    let mut uncovered = 0;
    for image in &index.images {
        let attached = matches!(image.kind, Kind::Signature | Kind::Referrer);
        // Attachments are statements about an image; anything runnable is an image, whatever it is attached to.
        if attached && !(settings.image_require == Require::All && runs(image, documents)) {
            continue;
        }
        let home = image.release.is_some() || image.repository.is_none();
        let demands = demands(keys, image.repository.as_deref(), home, settings.target);
        let required = match settings.image_require {
            Require::All => true,
            Require::Releases => image.kind == Kind::Release,
            Require::Scoped => false,
        };
        if demands.is_empty() && !required {
            uncovered += u64::from(!attached);
            continue;
        }
        check.of += 1;
        let outcome = match demands.is_empty() {
            true => Err("no key of the trust policy covers it, and the policy requires a signature".to_owned()),
            false => {
                let each = demands.iter().map(|group| satisfied(&all, image, documents, contents, group));
                each.collect::<Result<BTreeSet<Digest>, String>>()
            }
        };
        match outcome {
            Ok(keys) => {
                check.examined += 1;
                report.signed.insert(image.digest.to_string(), keys.iter().map(Digest::to_string).collect());
            }
            Err(why) => check.find(
                Finding::new(Code::ImageUnverified, image.digest.to_string(), format!("`{}` has no good image signature", image.display()))
                    .fact(why)
                    .hint("a mirror may lack the sha256-<hex>.sig tag or the referrers with the signature; carry them, or narrow the scope of the key in the trust policy"),
            ),
        }
    }
    report.add(check);
    if uncovered > 0 {
        report.skip(CheckId::ImageSignatures, false, format!("no key covers {uncovered} of the images"));
    }
}

/// The attestations in a bundle, and how many more there are, without any verdict about the bundle (`inspect`). Only what
/// has the digest in the index is read; `keys` tell which of them someone vouches for.
///
/// # Errors
/// Those of reading the medium.
pub fn attestations(set: &Set, keys: &[ImageKey]) -> Result<(Vec<Attestation>, u64)> {
    let index = set.index();
    let attached = index.images.iter().filter(|image| image.subject.is_some()).map(|image| image.digest).collect();
    let documents = read(set, &attached, limits::DOCUMENT)?;
    let contents = read(set, &payloads(index, &documents), LARGEST)?;
    let all = Attached::new(index, &documents, &contents);
    let mut report = Report::new(super::report::Subject::default(), String::new());
    attestations::list(index, &all, &documents, &attestations::Keys { all: keys, target: None }, &mut report);
    Ok((report.attestations, report.more_attestations))
}

/// The blobs with these digests that are here and match.
pub(super) fn read(set: &Set, wanted: &BTreeSet<Digest>, limit: u64) -> Result<BTreeMap<Digest, Vec<u8>>> {
    let mut out = BTreeMap::new();
    for (at, blob) in set.index().blobs.iter().enumerate().filter(|(_, blob)| wanted.contains(&blob.digest)) {
        match set.read(at, limit) {
            Ok(bytes) => _ = out.insert(blob.digest, bytes),
            Err(e) if e.code().is_verdict() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// Whether a container runtime could run it: one of its layers is a file system.
fn runs(image: &Image, documents: &BTreeMap<Digest, Vec<u8>>) -> bool {
    const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    match documents.get(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok()) {
        Some(Document::Manifest(m)) => {
            m.layers.iter().any(|l| LAYERS.iter().any(|kind| l.media_type.starts_with(kind)))
        }
        Some(Document::Index(_)) => true,
        None => false,
    }
}

/// Requires at least one signature by one of the keys, over this digest and naming the required repository. Returns the
/// fingerprint of the key.
fn satisfied(
    all: &Attached<'_>,
    image: &Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
    contents: &BTreeMap<Digest, Vec<u8>>,
    demands: &[Demand<'_>],
) -> Result<Digest, String> {
    let mut why = "there is no signature image for it in the bundle".to_owned();
    for layer in all.of(&image.digest) {
        let outcome = match &layer.form {
            Form::Simple(signature) => simple(contents.get(&layer.digest), signature.as_deref(), image, demands),
            Form::Envelope(_) => continue,
            Form::Bundle(_) => match all.statement(layer) {
                Ok(bundle) if !bundle.signs_images() => continue,
                Ok(bundle) => bundled(bundle, image, documents.get(&image.digest), demands),
                Err(reason) => Err(format!("its Sigstore bundle does not count: {reason}")),
            },
        };
        match outcome {
            Ok(key) => return Ok(key),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

const NOT_BY_A_KEY: &str = "it is not signed by a key of the trust policy";

/// A payload of a signature image, and its signature.
fn simple(
    message: Option<&Vec<u8>>,
    signature: Option<&[u8]>,
    image: &Image,
    demands: &[Demand<'_>],
) -> Result<Digest, String> {
    let message = message.ok_or("its signature could not be read")?;
    let signature = signature.ok_or("its signature image holds no signature")?;
    let mut why = NOT_BY_A_KEY.to_owned();
    for demand in demands.iter().filter(|demand| demand.key.verify(message, signature)) {
        let Some(identity) = &demand.identity else {
            why = "it has no repository that its signature could name; give the key a signedIdentity".to_owned();
            continue;
        };
        match claim(message, &image.digest, identity) {
            Ok(()) => return Ok(demand.key.fingerprint),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// A Sigstore bundle that signs an image. Which repository is meant, it need not say (MB-COS-09).
fn bundled(
    bundle: &Bundle,
    image: &Image,
    document: Option<&Vec<u8>>,
    demands: &[Demand<'_>],
) -> Result<Digest, String> {
    if !bundle.is_about(&image.digest) {
        return Err(format!("the signature is not for {}", image.digest));
    }
    let document = document.ok_or("its manifest could not be read")?;
    let mut why = NOT_BY_A_KEY.to_owned();
    for demand in demands.iter().filter(|demand| bundle.is_by(demand.key, document)) {
        match bundle.is_of(&image.digest, demand.identity.as_deref(), demand.key.identity.is_some()) {
            Ok(()) => return Ok(demand.key.fingerprint),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// Checks that the signed payload is a claim about exactly this digest, and about the repository (with or without
/// tag).
fn claim(message: &[u8], digest: &Digest, repository: &str) -> Result<(), String> {
    match claim::read(message, claim::Form::Cosign, digest) {
        Ok(claim) if claim.is_of(repository) => Ok(()),
        Ok(claim) => {
            Err(format!("the signature is for an image of `{}`, not of `{repository}`", claim.docker_reference))
        }
        Err(Fault::Digest(other)) => Err(format!("the signature is for {other}, not for {digest}")),
        Err(Fault::Other(why)) => Err(format!("the signed payload is not a claim about an image: {why}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::sign::cosign::simple::SIGNATURE;

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// Signed payload and signature of a genuine signature image.
    fn genuine() -> (Vec<u8>, Vec<u8>) {
        let folder = "oci-layouts/single-arch-empty-image-sig/blobs/sha256";
        let manifest = data(&format!("{folder}/ed81f580f1cc03b20cb0600084a76b3da35a9e303ffc1b908e5b5e61e05d9f27"));
        let Document::Manifest(manifest) = parse(&manifest, crate::oci::media_type::OCI_MANIFEST).unwrap() else {
            panic!()
        };
        let layer = &manifest.layers[0];
        (data(&format!("{folder}/{}", layer.digest.hex())), STANDARD.decode(&layer.annotations[SIGNATURE]).unwrap())
    }

    fn key(name: &str) -> ImageKey {
        let pem = String::from_utf8(data(&format!("keyrings/{name}"))).unwrap();
        ImageKey::new("quay.io/rh_ee_aguidi", None, &pem).unwrap()
    }

    #[test]
    fn a_genuine_signature_holds_with_its_key_only_and_no_changed_bit_passes() {
        let (message, signature) = genuine();
        let right = key("derived/cosign-single-arch-empty-image.pub");
        assert!(right.verify(&message, &signature));
        assert!(!key("derived/cosign-multi-platform-container.pub").verify(&message, &signature));
        assert!(!key("derived/redhat-sigstore-release-key.pem").verify(&message, &signature));
        for bit in (0..message.len() * 8).step_by(7) {
            let mut bad = message.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!right.verify(&bad, &signature));
        }
    }

    const MULTI: [&str; 5] = [
        "02f29c270f30416a266571383098d7b98a49488723087fd917128045bcd1ca75",
        "0de0e983a4980f32b1aad2d7f7f387cea2d4e9517b47f336cef27f63735911fa",
        "832f20ad3d7e687c581b0a7d483174901d8bf22bb96c981b3f9da452817a754e",
        "b15a2f174d803fd5fd7db0b3969c75cee0fe9131e0d8478f8c70ac01a4534869",
        "e033aa62f84267cf44de611acac2e76bfa4d2f0b6b2b61f1c4fecbefefde7159",
    ];
    const REPOSITORY: &str = "quay.io/rh_ee_aguidi/multi-platform-container";

    type Bytes = BTreeMap<Digest, Vec<u8>>;

    /// An index with genuinely signed images of all kinds (including a list and its platforms) and their signatures,
    /// with the documents and the signed payloads.
    fn everything() -> (Index, Bytes, Bytes) {
        let mut index = crate::bundle::index::tests::sample();
        let (mut documents, mut contents) = (BTreeMap::new(), BTreeMap::new());
        let kinds = [Kind::Release, Kind::Component, Kind::Component, Kind::Additional, Kind::Additional];
        for (hex, kind) in MULTI.iter().zip(kinds) {
            let image = |digest: Digest, kind, tag: Option<String>, subject| Image {
                repository: Some(REPOSITORY.to_owned()),
                tag,
                digest,
                media_type: crate::oci::media_type::OCI_MANIFEST.to_owned(),
                size: 1,
                platforms: vec![],
                kind,
                component: None,
                release: None,
                subject,
                derived: None,
                requested_by: String::new(),
            };
            let subject = Digest::from_hex(hex).unwrap();
            let folder = format!("oci-layouts/multi-platform-container-sha256-{hex}-sig");
            let Document::Index(list) =
                parse(&data(&format!("{folder}/index.json")), crate::oci::media_type::OCI_INDEX).unwrap()
            else {
                panic!()
            };
            let digest = list.manifests[0].digest;
            documents.insert(digest, data(&format!("{folder}/blobs/sha256/{}", digest.hex())));
            index.images.push(image(subject, kind, None, None));
            index.images.push(image(digest, Kind::Signature, Some(format!("sha256-{hex}.sig")), Some(subject)));
            let Document::Manifest(manifest) = parse(&documents[&digest], &index.images[0].media_type).unwrap() else {
                panic!()
            };
            for layer in &manifest.layers {
                contents.insert(layer.digest, data(&format!("{folder}/blobs/sha256/{}", layer.digest.hex())));
            }
        }
        (index, documents, contents)
    }

    fn outcome(index: &Index, documents: &Bytes, contents: &Bytes) -> Check {
        let mut report = Report::new(super::super::report::Subject::default(), String::new());
        let keys = [key("derived/cosign-multi-platform-container.pub")];
        let trust = super::super::Trust::Unsigned { keyrings: vec![] };
        let conditions = super::super::Conditions::new(jiff::Timestamp::UNIX_EPOCH);
        let settings = super::super::Settings { image_keys: &keys, ..super::super::Settings::new(&trust, &conditions) };
        check(index, documents, contents, &settings, &mut report);
        report.checks.remove(0)
    }

    #[test]
    fn genuine_signatures_of_releases_components_and_additional_images_and_of_a_list_are_checked() {
        let (index, documents, contents) = everything();
        let good = outcome(&index, &documents, &contents);
        assert_eq!((good.examined, good.of, good.findings.len()), (5, 5, 0));
        // Without its signature, or with that of another image, each kind of image is unverified.
        for at in (1..index.images.len()).step_by(2) {
            let mut without = index.clone();
            without.images.remove(at);
            let mut other = index.clone();
            other.images[at].digest = index.images[(at + 2) % index.images.len()].digest;
            for bad in [without, other] {
                let found = outcome(&bad, &documents, &contents);
                assert_eq!((found.examined, found.findings.len()), (4, 1));
                assert_eq!(found.findings[0].code, Code::ImageUnverified);
                assert_eq!(found.findings[0].subject, index.images[at - 1].digest.to_string());
            }
        }
        assert_eq!(outcome(&index, &documents, &BTreeMap::new()).findings.len(), 5, "what cannot be read is no pass");
    }

    #[test]
    fn the_claim_must_be_for_this_digest_and_repository() {
        let (message, _) = genuine();
        let digest = "sha256:7d27ba1da0f64410102468d138f9ec8f61f2cc23bb58ff4cd63243a4434e3d99".parse().unwrap();
        assert_eq!(claim(&message, &digest, "quay.io/rh_ee_aguidi/empty-image"), Ok(()));
        assert!(claim(&message, &Digest::of(b"x"), "quay.io/rh_ee_aguidi/empty-image").is_err());
        assert!(claim(&message, &digest, "quay.io/rh_ee_aguidi/other").is_err());
        let text = String::from_utf8(message).unwrap();
        for bad in [
            text.replace("cosign container image signature", "atomic container signature"),
            text.replace("\"optional\":null", "\"optional\":null,\"critical\":{}"),
            text.replace("\"critical\"", "\"Critical\""),
            format!("{text} x"),
        ] {
            assert!(claim(bad.as_bytes(), &digest, "quay.io/rh_ee_aguidi/empty-image").is_err(), "{bad}");
        }
    }
}
