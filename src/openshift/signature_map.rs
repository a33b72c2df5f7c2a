//! The ConfigMap in which a cluster finds release signatures: written as `oc` writes it, read back strictly.
//!
//! The cluster (cluster-version-operator `pkg/verify/store/configmap`) looks in `openshift-config-managed` for the
//! label, and takes every `binaryData` key that starts with `sha256-<hex>`; name and label value are free. Writing
//! follows openshift/library-go `GetSignaturesAsConfigmap`. Neither direction verifies a signature.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::openpgp::MAX_SIGNATURE_BYTES;
use super::release_signature::MAX_SIGNATURES;
use crate::oci::{Digest, Invalid, json};

/// The namespace that the cluster looks in.
pub const NAMESPACE: &str = "openshift-config-managed";
/// The label key that the cluster looks for.
pub const LABEL: &str = "release.openshift.io/verification-signatures";
/// The largest ConfigMap that is read, in bytes: what a cluster can store.
pub const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;

/// One signature of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, `sha256-<hex>` with anything behind it.
    pub key: String,
    /// The digest that the key names.
    pub digest: Digest,
    /// The signature file.
    pub signature: Vec<u8>,
}

/// The name of the file that holds the ConfigMap for `digest`. `oc` has written `.json` since 2022 and `.yaml`
/// before; the content is JSON either way.
pub fn file_name(digest: &Digest) -> String {
    format!("signature-sha256-{}.yaml", &digest.hex()[..16])
}

/// The ConfigMap with the signatures for `digest`, byte for byte as `oc adm release mirror` writes it: one line of
/// JSON. Refused: no signature, more than [`MAX_SIGNATURES`], or one that is too long.
pub fn config_map(digest: &Digest, signatures: &[Vec<u8>]) -> Result<Vec<u8>, Invalid> {
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return Err(Invalid::new(format!("{} signatures, not 1 to {MAX_SIGNATURES}", signatures.len())));
    }
    if signatures.iter().any(|s| s.is_empty() || s.len() > MAX_SIGNATURE_BYTES) {
        return Err(Invalid::new(format!("a signature that is not 1 to {MAX_SIGNATURE_BYTES} bytes long")));
    }
    let name = digest.dashed();
    // Names and base64 need no JSON escapes.
    let mut out = format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{NAMESPACE}","labels":{{"{LABEL}":""}}}},"binaryData":{{"#
    );
    for (n, signature) in signatures.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}"{name}-{}":"{}""#, n + 1, STANDARD.encode(signature));
    }
    out.push_str("}}\n");
    Ok(out.into_bytes())
}

/// Whether a cluster would take release signatures from this manifest of one or more documents, going by kind and
/// label: if so, [`parse`] must accept it. A manifest that does not parse counts if it mentions the label.
pub fn is_signature_map(bytes: &[u8]) -> bool {
    let mentioned = || bytes.windows(LABEL.len()).any(|window| window == LABEL.as_bytes());
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| bytes.len() <= MAX_CONFIG_MAP_BYTES) else {
        return mentioned();
    };
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    match serde_saphyr::from_multiple_with_options::<Probe>(text, options) {
        Ok(documents) => documents.iter().any(Probe::is_signature_map),
        Err(_) => mentioned(),
    }
}

/// Reads such a ConfigMap, JSON or YAML, one document. The keys may name several digests.
///
/// Refused: unknown members, `data`, another namespace, no label, keys that name no digest, repeated members,
/// broken base64, more signatures of one digest or longer ones than a store may have.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, Invalid> {
    if bytes.len() > MAX_CONFIG_MAP_BYTES {
        return Err(Invalid::new(format!("a ConfigMap of more than {MAX_CONFIG_MAP_BYTES} bytes")));
    }
    let map: ConfigMap = if bytes.first() == Some(&b'{') {
        json::check(bytes, &["kind", "apiVersion", "metadata", "binaryData", "name", "namespace", "labels"])?;
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not a signature ConfigMap: {e}")))?
    } else {
        serde_saphyr::from_slice(bytes)
            .map_err(|e| Invalid::new(format!("not a signature ConfigMap: {}", one_line(&e))))?
    };
    if map.kind != "ConfigMap" || map.api_version != "v1" {
        return Err(Invalid::new(format!("a `{}` of `{}`, not a ConfigMap of v1", map.kind, map.api_version)));
    }
    if map.metadata.namespace.as_deref() != Some(NAMESPACE) {
        return Err(Invalid::new(format!("the ConfigMap is not in namespace {NAMESPACE}, where the cluster looks")));
    }
    if !map.metadata.labels.is_some_and(|labels| labels.contains_key(LABEL)) {
        return Err(Invalid::new(format!("the ConfigMap lacks label {LABEL}")));
    }
    if map.binary_data.is_empty() {
        return Err(Invalid::new("the ConfigMap holds no signature"));
    }
    let mut per_digest: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut entries = Vec::new();
    for (key, text) in map.binary_data {
        let digest = key_digest(&key)?;
        let count = per_digest.entry(digest).or_default();
        *count += 1;
        let signature = STANDARD.decode(text).map_err(|_| Invalid::new(format!("`{key}` is not base64")))?;
        if *count > MAX_SIGNATURES || signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
            return Err(Invalid::new(format!("`{key}` is one signature too many, or empty, or too long")));
        }
        entries.push(Entry { key, digest, signature });
    }
    Ok(entries)
}

/// The digest that a key starts with. The cluster matches by prefix; hand-made ConfigMaps have no number behind it.
fn key_digest(key: &str) -> Result<Digest, Invalid> {
    let no_digest = || Invalid::new(format!("key `{key}` does not name a digest (sha256-<hex>-<n>)"));
    let rest = key.strip_prefix("sha256-").ok_or_else(no_digest)?;
    let (hex, suffix) = rest.split_at_checked(64).ok_or_else(no_digest)?;
    if !(suffix.is_empty() || suffix.starts_with('-')) {
        return Err(no_digest());
    }
    Digest::from_hex(hex).map_err(|_| no_digest())
}

/// YAML errors come with a picture of the place; the first line says enough.
pub(super) fn one_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[derive(serde::Deserialize)]
struct Probe {
    kind: Option<String>,
    metadata: Option<ProbeMetadata>,
}

#[derive(serde::Deserialize)]
struct ProbeMetadata {
    labels: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

impl Probe {
    fn is_signature_map(&self) -> bool {
        let labels = self.metadata.as_ref().and_then(|m| m.labels.as_ref());
        self.kind.as_deref() == Some("ConfigMap") && labels.is_some_and(|l| l.contains_key(LABEL))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMap {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: Metadata,
    #[serde(rename = "binaryData")]
    binary_data: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(rename = "name")]
    _name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "creationTimestamp")]
    _created: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn digest() -> Digest {
        Digest::of(b"release")
    }

    #[test]
    fn the_bytes_are_those_of_oc() {
        let hex = digest().hex();
        let expected = format!(
            "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"sha256-{hex}\",\"namespace\":\
             \"openshift-config-managed\",\"labels\":{{\"release.openshift.io/verification-signatures\":\"\"}}}},\
             \"binaryData\":{{\"sha256-{hex}-1\":\"YWI=\",\"sha256-{hex}-2\":\"Yw==\"}}}}\n"
        );
        let bytes = config_map(&digest(), &[b"ab".to_vec(), b"c".to_vec()]).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(file_name(&digest()), format!("signature-sha256-{}.yaml", &hex[..16]));
    }

    #[test]
    fn what_was_written_reads_back_as_json_and_as_yaml() {
        let signatures = [b"ab".to_vec(), vec![0x80; 900]];
        let written = config_map(&digest(), &signatures).unwrap();
        assert!(is_signature_map(&written));
        let read: Vec<Vec<u8>> = parse(&written).unwrap().into_iter().map(|e| e.signature).collect();
        assert_eq!(read, signatures);
        let yaml = format!(
            "# by hand\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: sigs\n  creationTimestamp: null\n  \
             namespace: {NAMESPACE}\n  labels:\n    {LABEL}: \"\"\nbinaryData:\n  {}: YWI=\n  {}-1: Yw==\n",
            digest().dashed(),
            Digest::of(b"other").dashed()
        );
        assert!(is_signature_map(yaml.as_bytes()));
        let mut entries = parse(yaml.as_bytes()).unwrap();
        entries.sort_by_key(|e| e.signature.clone());
        assert_eq!((entries[0].digest, entries[1].digest), (digest(), Digest::of(b"other")));
    }

    #[test]
    fn a_signature_map_is_recognised_among_other_documents_and_when_it_does_not_parse() {
        let map = format!("kind: ConfigMap\nmetadata:\n  labels: {{{LABEL}: x}}\n");
        assert!(is_signature_map(format!("kind: Namespace\n---\n{map}").as_bytes()));
        assert!(is_signature_map(format!("{map}  labels: {{{LABEL}: y}}\n").as_bytes()));
        assert!(is_signature_map(format!("{map}\t{{").as_bytes()));
        assert!(!is_signature_map(map.replace("ConfigMap", "Secret").as_bytes()));
        assert!(!is_signature_map(b"kind: ConfigMap\nmetadata: {name: x}\n"));
        assert!(!is_signature_map(b"{ not yaml"));
    }

    #[test]
    fn maps_that_a_cluster_would_read_otherwise_are_refused() {
        let good = String::from_utf8(config_map(&digest(), &[b"ab".to_vec()]).unwrap()).unwrap();
        let hex = digest().hex();
        for (from, to) in [
            ("openshift-config-managed", "default"),
            ("verification-signatures", "verification"),
            ("ConfigMap", "Secret"),
            ("\"v1\"", "\"v2\""),
            ("YWI=", "YW\\n"),
            ("YWI=", ""),
            (hex.as_str(), &hex[..63]),
            ("\"binaryData\"", "\"data\":{},\"binaryData\""),
            ("\"binaryData\"", "\"BinaryData\""),
            ("}}\n", "}}{}"),
            ("}}\n", ",\"x\":\"\"}}"),
            ("-1\":", "1\":"),
        ] {
            assert!(good.contains(from));
            // The name holds the digest too, but is free.
            let (head, tail) = good.split_at(good.find("namespace").unwrap());
            let bad = if head.contains(from) && !tail.contains(from) {
                good.replace(from, to)
            } else {
                format!("{head}{}", tail.replace(from, to))
            };
            assert!(parse(bad.as_bytes()).is_err(), "{from} -> {to}: {bad}");
        }
        let twice = good.replace("binaryData\":{", &format!("binaryData\":{{\"sha256-{hex}-1\":\"YWI=\","));
        assert!(parse(twice.as_bytes()).is_err());
        assert!(parse(format!("---\n{twice}").as_bytes()).is_err());
        assert!(config_map(&digest(), &[]).is_err());
        assert!(config_map(&digest(), &vec![b"x".to_vec(); 10]).is_err());
    }

    #[test]
    fn kubectl_reads_the_same_bytes_out_of_it() {
        let signature: Vec<u8> = (0..=255).collect();
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), config_map(&digest(), std::slice::from_ref(&signature)).unwrap()).unwrap();
        let out = std::process::Command::new("kubectl")
            .args(["label", "--local", "-o", "json", "a=b", "-f"])
            .arg(file.path())
            .output();
        let Ok(out) = out else { return }; // No kubectl on this machine.
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let text = json["binaryData"][format!("{}-1", digest().dashed())].as_str().unwrap().to_owned();
        assert_eq!(STANDARD.decode(text).unwrap(), signature);
    }
}
