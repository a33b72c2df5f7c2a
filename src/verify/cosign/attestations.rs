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
    // One manifest may be in several repositories.
    let mut attached: BTreeMap<(Digest, Digest), Vec<&Image>> = BTreeMap::new();
    for referrer in &index.images {
        if let Some(image) = referrer.subject {
            attached.entry((image, referrer.digest)).or_default().push(referrer);
        }
    }
    for ((image, manifest), entries) in attached {
        let Some(layer) = entries.first().and_then(|entry| all.bundle_of(entry)) else { continue };
        let bundle = all.bundle(layer);
        if bundle.as_ref().is_ok_and(|bundle| bundle.signs_images()) {
            continue;
        }
        report.attest(|| {
            let (predicate_type, key, detail) = match bundle {
                Ok(bundle) if bundle.is_about(&image) => {
                    (bundle.predicate_type(), signer(&entries, bundle, documents.get(&image), settings), None)
                }
                Ok(bundle) => {
                    (bundle.predicate_type(), None, Some("what was signed is about something else".to_owned()))
                }
                Err(why) => (None, None, Some(why)),
            };
            let predicate_type = predicate_type.map(str::to_owned);
            Attestation { image: image.to_string(), manifest: manifest.to_string(), predicate_type, key, detail }
        });
    }
}

/// Repositories of one attestation whose keys are tried.
const REPOSITORIES: usize = 16;

/// The key of the policy that signed it, among those responsible for its repositories.
fn signer(entries: &[&Image], bundle: &Bundle, document: Option<&Vec<u8>>, settings: &Settings) -> Option<String> {
    let document = document.map_or(&[][..], Vec::as_slice);
    entries.iter().take(REPOSITORIES).find_map(|entry| {
        let home = entry.release.is_some() || entry.repository.is_none();
        let groups = demands(settings.image_keys, entry.repository.as_deref(), home, settings.target);
        let signed = groups.iter().flatten().find(|demand| bundle.is_by(demand.key, document));
        signed.map(|demand| demand.key.fingerprint.to_string())
    })
}
