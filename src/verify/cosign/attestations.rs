//! MB-COS-10: attestations about images are listed. Who made one is a claim, unless a key of the policy verified it.

use std::collections::BTreeMap;

use super::attached::{Attached, Form};
use crate::bundle::index::{Image, Index};
use crate::oci::{Digest, Repository};
use crate::report::{Attestation, Report, Vouched};
use crate::sign::cosign::bundle::Bundle;
use crate::sign::cosign::{ImageKey, demands};

/// The keys of the policy, and where the images will be written.
pub(super) struct Keys<'a> {
    pub(super) all: &'a [ImageKey],
    pub(super) target: Option<&'a Repository>,
}

/// Lists every Sigstore bundle that does not sign an image, every bare DSSE envelope, and those that cannot be read.
pub(super) fn list<'a>(
    index: &'a Index,
    all: &Attached<'a>,
    documents: &BTreeMap<Digest, Vec<u8>>,
    keys: &Keys<'_>,
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
        for layer in entries.first().into_iter().flat_map(|entry| all.statements_of(entry)) {
            let read = all.statement(layer);
            let bare = matches!(layer.form, Form::Envelope(_));
            if !bare && read.as_ref().is_ok_and(|bundle| bundle.signs_images()) {
                continue;
            }
            report.attest(|| {
                let (predicate_type, key, detail) = match read {
                    Ok(it) if it.is_about(&image) => {
                        (it.predicate_type(), signer(&entries, it, documents.get(&image), keys), None)
                    }
                    Ok(it) => (it.predicate_type(), None, Some("what was signed is about something else".to_owned())),
                    Err(why) => (layer.predicate.as_deref(), None, Some(why)),
                };
                let signature = match (&key, &detail) {
                    (Some(_), _) => Vouched::Verified,
                    (None, None) => Vouched::UnknownKey,
                    (None, Some(_)) => Vouched::Unusable,
                };
                let predicate_type = predicate_type.map(str::to_owned);
                let (image, manifest) = (image.to_string(), manifest.to_string());
                Attestation { image, manifest, predicate_type, signature, key, detail }
            });
        }
    }
}

/// Repositories of one attestation whose keys are tried.
const REPOSITORIES: usize = 16;

/// The key of the policy that signed it, among those responsible for its repositories.
fn signer(entries: &[&Image], bundle: &Bundle, document: Option<&Vec<u8>>, keys: &Keys<'_>) -> Option<String> {
    let document = document.map_or(&[][..], Vec::as_slice);
    entries.iter().take(REPOSITORIES).find_map(|entry| {
        let home = entry.release.is_some() || entry.repository.is_none();
        let groups = demands(keys.all, entry.repository.as_deref(), home, keys.target);
        let signed = groups.iter().flatten().find(|demand| bundle.is_by(demand.key, document));
        signed.map(|demand| demand.key.fingerprint.to_string())
    })
}
