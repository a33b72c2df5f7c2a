//! Signature images: each layer is a signed payload (simple signing), and an annotation of it is the signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::SIMPLE_SIGNING;
use crate::oci::{Digest, Manifest};

/// Annotation with the signature, base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The largest signed payload that is read, in bytes.
pub const PAYLOAD: u64 = 64 << 10;
/// Layers of one signature image that are looked at.
const LAYERS: usize = 16;

/// The layers that hold what was signed: digest and size, and the signature if there is one.
pub fn layers(manifest: &Manifest) -> Vec<(Digest, u64, Option<Vec<u8>>)> {
    let simple = manifest.layers.iter().filter(|l| l.media_type == SIMPLE_SIGNING && l.size <= PAYLOAD);
    let signature = |text: &String| STANDARD.decode(text).ok();
    simple.take(LAYERS).map(|l| (l.digest, l.size, l.annotations.get(SIGNATURE).and_then(signature))).collect()
}
