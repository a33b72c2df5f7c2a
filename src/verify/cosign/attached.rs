//! What is attached to images and may hold a signature: signature images, referrers that are Sigstore bundles, and the
//! DSSE envelopes in which older versions of cosign attach attestations.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::bundle::index::{Image, Index, Kind};
use crate::oci::{Descriptor, Digest, Document, Invalid, parse};
use crate::sign::cosign::SIMPLE_SIGNING;
use crate::sign::cosign::bundle::{Bundle, ENVELOPE, MEDIA_TYPE, is_bundle};
use crate::sign::cosign::simple::{PAYLOAD, SIGNATURE};

/// Annotations that say what kind of statement an attestation is: of the layer by cosign 1 and 2, of the manifest by 3.
const PREDICATES: [&str; 2] = ["predicateType", "dev.sigstore.bundle.predicateType"];
/// The largest Sigstore bundle or DSSE envelope that is read, in bytes (MB-LIM-24).
const BUNDLE: u64 = 1 << 20;
/// The largest of both.
pub(in crate::verify) const LARGEST: u64 = BUNDLE;
/// The most bytes of all of them together (MB-LIM-24).
const ROOM: u64 = 12 << 20;
/// Layers of one signature image that are looked at.
const LAYERS: usize = 16;

/// The blobs whose bytes are needed. The smallest come first, where there is no room for all.
pub(in crate::verify) fn payloads(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> BTreeSet<Digest> {
    let all = Attached::new(index, documents, &BTreeMap::new());
    let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
    for layer in all.layers.values().flatten() {
        let most = if matches!(layer.form, Form::Simple(_)) { PAYLOAD } else { BUNDLE };
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
    /// What kind of statement an annotation says it is. Nothing vouches for this.
    pub(super) predicate: Option<String>,
}

/// What a layer is.
pub(super) enum Form {
    /// What was signed; and its signature, if the annotation has one.
    Simple(Option<Vec<u8>>),
    /// A Sigstore bundle, and why one of its version does not count.
    Bundle(Result<(), String>),
    /// A bare DSSE envelope, and why one does not count. It attests, and never signs an image.
    Envelope(Result<(), String>),
}

/// How the bytes of a layer are read.
type ReadStatement = fn(&[u8]) -> Result<Bundle, Invalid>;

/// Names a manifest: a digest is read as what its media type says.
type Named<'a> = (Digest, &'a str);

/// The attachments of an index, each read once, however many entries name it.
pub(super) struct Attached<'a> {
    layers: BTreeMap<Named<'a>, Vec<Layer>>,
    subjects: BTreeMap<Digest, BTreeSet<Named<'a>>>,
    /// What was read of each layer: as a bare envelope, or as a bundle.
    statements: BTreeMap<(bool, Digest), Result<Bundle, String>>,
}

impl<'a> Attached<'a> {
    /// `contents`: what was read of the layers, each with the right digest.
    pub(super) fn new(
        index: &'a Index,
        documents: &BTreeMap<Digest, Vec<u8>>,
        contents: &BTreeMap<Digest, Vec<u8>>,
    ) -> Attached<'a> {
        let mut all = Attached { layers: BTreeMap::new(), subjects: BTreeMap::new(), statements: BTreeMap::new() };
        for image in index.images.iter().filter(|i| matches!(i.kind, Kind::Signature | Kind::Referrer)) {
            let Some(subject) = image.subject else { continue };
            let name = (image.digest, image.media_type.as_str());
            let layers = all.layers.entry(name).or_insert_with(|| layers(image, documents));
            for layer in layers.iter() {
                let (bare, read): (bool, ReadStatement) = match &layer.form {
                    Form::Bundle(Ok(())) => (false, Bundle::read),
                    Form::Envelope(Ok(())) => (true, Bundle::envelope),
                    _ => continue,
                };
                if let Some(bytes) = contents.get(&layer.digest) {
                    let name = (bare, layer.digest);
                    all.statements.entry(name).or_insert_with(|| read(bytes).map_err(|e| e.to_string()));
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

    /// The layers of an attachment that are statements: Sigstore bundles and DSSE envelopes.
    pub(super) fn statements_of(&self, image: &'a Image) -> impl Iterator<Item = &Layer> {
        let layers = self.layers.get(&(image.digest, image.media_type.as_str()));
        layers.into_iter().flatten().filter(|layer| !matches!(layer.form, Form::Simple(_)))
    }

    /// What a bundle or envelope holds, or why it does not count.
    pub(super) fn statement(&self, layer: &Layer) -> Result<&Bundle, String> {
        let bare = match &layer.form {
            Form::Bundle(Err(why)) | Form::Envelope(Err(why)) => return Err(why.clone()),
            Form::Bundle(Ok(())) => false,
            Form::Simple(_) | Form::Envelope(Ok(())) => true,
        };
        match self.statements.get(&(bare, layer.digest)) {
            Some(read) => read.as_ref().map_err(Clone::clone),
            None => Err("it was not read: it is too large, or not here".to_owned()),
        }
    }

    /// How many bundles sign images.
    pub(super) fn signing(&self) -> usize {
        let bundles = self.statements.iter().filter(|((bare, _), _)| !bare);
        bundles.filter(|(_, read)| read.as_ref().is_ok_and(Bundle::signs_images)).count()
    }
}

fn layers(image: &Image, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<Layer> {
    let document = documents.get(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
    let Some(Document::Manifest(manifest)) = document else { return Vec::new() };
    let predicate =
        |annotations: &BTreeMap<String, String>| PREDICATES.iter().find_map(|name| annotations.get(*name)).cloned();
    let subject = match manifest.subject.as_ref().map(|subject| subject.digest) {
        named if image.kind == Kind::Referrer && named != image.subject => {
            Err("its manifest is about something else".to_owned())
        }
        _ => Ok(()),
    };
    let of = |layer: &Descriptor, form: Form| Layer {
        digest: layer.digest,
        form,
        predicate: predicate(&layer.annotations).or_else(|| predicate(&manifest.annotations)),
    };
    let kind = manifest.artifact_type.as_deref().unwrap_or_default();
    let first = manifest.layers.first();
    if image.kind == Kind::Referrer
        && let Some(first) = first.filter(|first| is_bundle(kind) || is_bundle(&first.media_type))
    {
        let form = match (manifest.layers.len(), [kind, &first.media_type].into_iter().find(|it| *it != MEDIA_TYPE)) {
            _ if subject.is_err() => subject,
            (1, None) => Ok(()),
            (1, Some(other)) => Err(format!("`{other}` is not `{MEDIA_TYPE}`")),
            (n, _) => Err(format!("its manifest has {n} layers, not one")),
        };
        return vec![of(first, Form::Bundle(form))];
    }
    let signature = |text: &String| STANDARD.decode(text).ok();
    let read = manifest.layers.iter().filter_map(|layer| match layer.media_type.as_str() {
        SIMPLE_SIGNING if image.kind == Kind::Signature && layer.size <= PAYLOAD => {
            Some(of(layer, Form::Simple(layer.annotations.get(SIGNATURE).and_then(signature))))
        }
        ENVELOPE => Some(of(layer, Form::Envelope(subject.clone()))),
        _ => None,
    });
    read.take(LAYERS).collect()
}
