//! Sizes that a cluster or a client refuses (MB-MAN-10).

use super::Manifest;
use super::value::Value;

/// The most bytes that the values of a ConfigMap or Secret have together.
pub const MAX_DATA: usize = 1 << 20;
/// The most bytes that the annotations of an object have together.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// The annotation in which `oc apply` and `kubectl apply` keep a copy of the object.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The bytes of all values of a ConfigMap or Secret as a cluster stores them; 0 for other kinds. Base64 stands for
/// three bytes for every four characters other than line breaks, less one for each `=`.
pub(super) fn data(manifest: &Manifest) -> usize {
    let bytes = |text: &str| text.len();
    let base64 = |text: &str| {
        let (mut characters, mut padding) = (0, 0);
        for b in text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')) {
            characters += 1;
            padding += usize::from(b == b'=');
        }
        (characters / 4 * 3usize).saturating_sub(padding)
    };
    let sum = |member: &str, size: &dyn Fn(&str) -> usize| -> usize {
        let members = manifest.value.get(member).and_then(Value::members).unwrap_or_default();
        members.iter().filter_map(|(_, value)| value.as_str()).map(size).sum()
    };
    match (manifest.object.api_version.as_str(), manifest.object.kind.as_str()) {
        ("v1", "ConfigMap") => sum("data", &bytes) + sum("binaryData", &base64),
        ("v1", "Secret") => sum("data", &base64) + sum("stringData", &bytes),
        _ => 0,
    }
}

/// Whether `oc apply` fails without `--server-side`: the copy that it keeps in an annotation is too long.
pub fn needs_server_side(manifest: &Manifest) -> bool {
    let annotations = manifest.value.get("metadata").and_then(|m| m.get("annotations")).and_then(Value::members);
    let others = annotations.unwrap_or_default().iter().filter(|(key, _)| key != COPY);
    let others: usize = others.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    // The copy is one line of JSON, with an empty object of annotations where there is none.
    let empty = if annotations.is_none() { "\"annotations\":{},".len() } else { 0 };
    others + COPY.len() + manifest.value.go_length() + empty > MAX_ANNOTATIONS
}
