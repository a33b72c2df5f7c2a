//! MB-COS-10: attestations about images are listed. Who made one is a claim, unless a key of the policy verified it.

use std::collections::BTreeMap;

use super::attached::Attached;
use crate::bundle::index::{Image, Index};
use crate::oci::Digest;
use crate::report::{Attestation, Report};
use crate::sign::cosign::bundle::Bundle;
use crate::sign::cosign::demands;
use crate::verify::Settings;

/// Lists every Sigstore bundle that does not sign an image, and those that cannot be read.
pub(super) fn list<'a>(
    index: &'a Index,
    all: &Attached<'a>,
    documents: &BTreeMap<Digest, Vec<u8>>,
    settings: &Settings,
    report: &mut Report,
) {
    for referrer in &index.images {
        let (Some(layer), Some(image)) = (all.bundle_of(referrer), referrer.subject) else { continue };
        let bundle = all.bundle(layer);
        if bundle.as_ref().is_ok_and(|bundle| bundle.signs_images()) {
            continue;
        }
        report.attest(|| {
            let (predicate_type, key, detail) = match bundle {
                Ok(bundle) if bundle.is_about(&image) => {
                    (bundle.predicate_type(), signer(referrer, bundle, documents.get(&image), settings), None)
                }
                Ok(bundle) => (bundle.predicate_type(), None, Some("what was signed is about something else".to_owned())),
                Err(why) => (None, None, Some(why)),
            };
            let predicate_type = predicate_type.map(str::to_owned);
            Attestation { image: image.to_string(), manifest: referrer.digest.to_string(), predicate_type, key, detail }
        });
    }
}

/// The key of the policy that signed it, among those responsible for the repository.
fn signer(referrer: &Image, bundle: &Bundle, document: Option<&Vec<u8>>, settings: &Settings) -> Option<String> {
    let home = referrer.release.is_some() || referrer.repository.is_none();
    let groups = demands(&settings.image_keys, referrer.repository.as_deref(), home, settings.target);
    let document = document.map_or(&[][..], Vec::as_slice);
    let signed = groups.iter().flatten().find(|demand| bundle.is_by(demand.key, document));
    signed.map(|demand| demand.key.fingerprint.to_string())
}
