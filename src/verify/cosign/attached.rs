//! What is attached to images and may hold a signature: signature images, and referrers that are Sigstore bundles.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::index::{Image, Index, Kind};
use crate::oci::{Digest, Document, parse};
use crate::sign::cosign::bundle::{Bundle, MEDIA_TYPE, is_bundle};
use crate::sign::cosign::simple::{self, PAYLOAD};

/// The largest Sigstore bundle that is read, in bytes (MB-LIM-24).
const BUNDLE: u64 = 1 << 20;
/// The largest of both.
pub(in crate::verify) const LARGEST: u64 = BUNDLE;
/// The most bytes of all of them together (MB-LIM-24).
const ROOM: u64 = 12 << 20;

/// The blobs whose bytes are needed. The smallest come first, where there is no room for all.
pub(in crate::verify) fn payloads(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> BTreeSet<Digest> {
    let all = Attached::new(index, documents, &BTreeMap::new());
    let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
    for layer in all.layers.values().flatten() {
        let most = if matches!(layer.form, Form::Bundle(_)) { BUNDLE } else { PAYLOAD };
        let limit = wanted.entry(layer.digest).or_default();
        *limit = most.max(*limit);
    }
    // The index says how much is read; a manifest that says something else is another finding.
    let sizes = index.blobs.iter().filter(|blob| wanted.get(&blob.digest).is_some_and(|most| blob.size <= *most));
    let mut sizes: Vec<(u64, Digest)> = sizes.map(|blob| (blob.size, blob.digest)).collect();
    sizes.sort_unstable();
    let mut room = ROOM;
    let fits = sizes.into_iter().take_while(|(size, _)| match room.checked_sub(*size) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    });
    fits.map(|(_, digest)| digest).collect()
}

/// One layer that may hold a signature.
pub(super) struct Layer {
    /// Where its bytes are.
    pub(super) digest: Digest,
    /// What it is.
    pub(super) form: Form,
}

/// What a layer is.
pub(super) enum Form {
    /// What was signed; and its signature, if the annotation has one.
    Simple(Option<Vec<u8>>),
    /// A Sigstore bundle, and why one of its version does not count.
    Bundle(Result<(), String>),
}

/// Names a manifest: a digest is read as what its media type says.
type Named<'a> = (Digest, &'a str);

/// The attachments of an index, each read once, however many entries name it.
pub(super) struct Attached<'a> {
    layers: BTreeMap<Named<'a>, Vec<Layer>>,
    subjects: BTreeMap<Digest, BTreeSet<Named<'a>>>,
    bundles: BTreeMap<Digest, Result<Bundle, String>>,
}

impl<'a> Attached<'a> {
    /// `contents`: what was read of the layers, each with the right digest.
    pub(super) fn new(
        index: &'a Index,
        documents: &BTreeMap<Digest, Vec<u8>>,
        contents: &BTreeMap<Digest, Vec<u8>>,
    ) -> Attached<'a> {
        let mut all = Attached { layers: BTreeMap::new(), subjects: BTreeMap::new(), bundles: BTreeMap::new() };
        for image in index.images.iter().filter(|i| matches!(i.kind, Kind::Signature | Kind::Referrer)) {
            let Some(subject) = image.subject else { continue };
            let name = (image.digest, image.media_type.as_str());
            let layers = all.layers.entry(name).or_insert_with(|| layers(image, documents));
            for layer in layers.iter().filter(|layer| matches!(layer.form, Form::Bundle(Ok(())))) {
                if let Some(bytes) = contents.get(&layer.digest) {
                    all.bundles.entry(layer.digest).or_insert_with(|| Bundle::read(bytes).map_err(|e| e.to_string()));
                }
            }
            all.subjects.entry(subject).or_default().insert(name);
        }
        all
    }

    /// What may hold a signature of this image: each once.
    pub(super) fn of(&self, subject: &Digest) -> impl Iterator<Item = &Layer> {
        let names = self.subjects.get(subject).into_iter().flatten();
        let mut seen = BTreeSet::new();
        let all = names.filter_map(|name| self.layers.get(name)).flatten();
        all.filter(move |layer| matches!(layer.form, Form::Simple(_)) || seen.insert(layer.digest))
    }

    /// The layer of a referrer, if it is a Sigstore bundle.
    pub(super) fn bundle_of(&self, image: &'a Image) -> Option<&Layer> {
        let layers =
            self.layers.get(&(image.digest, image.media_type.as_str())).filter(|_| image.kind == Kind::Referrer);
        layers?.iter().find(|layer| matches!(layer.form, Form::Bundle(_)))
    }

    /// What a bundle holds, or why it does not count.
    pub(super) fn bundle(&self, layer: &Layer) -> Result<&Bundle, String> {
        if let Form::Bundle(Err(why)) = &layer.form {
            return Err(why.clone());
        }
        match self.bundles.get(&layer.digest) {
            Some(read) => read.as_ref().map_err(Clone::clone),
            None => Err("it was not read: it is too large, or not here".to_owned()),
        }
    }

    /// How many bundles sign images.
    pub(super) fn signing(&self) -> usize {
        self.bundles.values().flatten().filter(|bundle| bundle.signs_images()).count()
    }
}

fn layers(image: &Image, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<Layer> {
    let document = documents.get(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
    let Some(Document::Manifest(manifest)) = document else { return Vec::new() };
    if image.kind == Kind::Signature {
        let layers = simple::layers(&manifest).into_iter();
        return layers.map(|(digest, _, signature)| Layer { digest, form: Form::Simple(signature) }).collect();
    }
    let kind = manifest.artifact_type.as_deref().unwrap_or_default();
    let Some(first) = manifest.layers.first().filter(|first| is_bundle(kind) || is_bundle(&first.media_type)) else {
        return Vec::new();
    };
    let form = match (manifest.layers.len(), [kind, &first.media_type].into_iter().find(|it| *it != MEDIA_TYPE)) {
        _ if manifest.subject.as_ref().map(|subject| subject.digest) != image.subject => {
            Err("its manifest is about something else".to_owned())
        }
        (1, None) => Ok(()),
        (1, Some(other)) => Err(format!("`{other}` is not `{MEDIA_TYPE}`")),
        (n, _) => Err(format!("its manifest has {n} layers, not one")),
    };
    vec![Layer { digest: first.digest, form: Form::Bundle(form) }]
}
