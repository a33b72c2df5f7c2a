//! The ConfigMap in which a cluster finds release signatures: written as by `oc`, read strictly.
//!
//! The cluster (cluster-version-operator `pkg/verify/store/configmap`) looks in `openshift-config-managed` for the
//! label, and uses every `binaryData` key that starts with `sha256-<hex>`; the name and the label's value are free.
//! Writing follows openshift/library-go `GetSignaturesAsConfigmap`. Neither direction verifies a signature.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::openpgp::MAX_SIGNATURE_BYTES;
use super::release_signature::MAX_SIGNATURES;
use crate::kubernetes::Value;
use crate::oci::{Digest, Invalid};

/// The namespace that the cluster looks in.
pub const NAMESPACE: &str = crate::kubernetes::SIGNATURE_NAMESPACE;
/// The label key that the cluster looks for.
pub const LABEL: &str = crate::kubernetes::SIGNATURE_LABEL;

/// One signature of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, `sha256-<hex>` with any suffix.
    pub key: String,
    /// The digest in the key.
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

/// Whether a cluster would use release signatures from this object: a ConfigMap with the label. If so, [`parse`] must
/// accept it.
pub fn is_signature_map(object: &Value) -> bool {
    let labels = object.get("metadata").and_then(|m| m.get("labels"));
    object.get("kind").and_then(Value::as_str) == Some("ConfigMap") && labels.is_some_and(|l| l.get(LABEL).is_some())
}

/// Whether an unreadable file may have been intended as such a ConfigMap.
pub fn is_mentioned(bytes: &[u8]) -> bool {
    bytes.windows(LABEL.len()).any(|window| window == LABEL.as_bytes())
}

/// Parses such a ConfigMap. Its keys may name several digests.
///
/// Refused: unknown members, `data`, another namespace, no label, keys without a digest, broken base64, too many
/// signatures for one digest, or signatures over the size limit of a store.
pub fn parse(map: &Value) -> Result<Vec<Entry>, Invalid> {
    known(map, &["kind", "apiVersion", "metadata", "binaryData"])?;
    let metadata = map.get("metadata").unwrap_or(&Value::Null);
    known(metadata, &["name", "namespace", "labels", "annotations"])?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, api_version) = (text(map, "kind"), text(map, "apiVersion"));
    if kind != "ConfigMap" || api_version != "v1" {
        return Err(Invalid::new(format!("a `{kind}` of `{api_version}`, not a ConfigMap of v1")));
    }
    if text(metadata, "namespace") != NAMESPACE {
        return Err(Invalid::new(format!("the ConfigMap is not in namespace {NAMESPACE}, where the cluster looks")));
    }
    if metadata.get("labels").and_then(|labels| labels.get(LABEL)).is_none() {
        return Err(Invalid::new(format!("the ConfigMap lacks label {LABEL}")));
    }
    let data = map.get("binaryData").and_then(Value::members).unwrap_or_default();
    if data.is_empty() {
        return Err(Invalid::new("the ConfigMap holds no signature"));
    }
    let mut per_digest: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut entries = Vec::new();
    for (key, text) in data {
        let digest = key_digest(key)?;
        let count = per_digest.entry(digest).or_default();
        *count += 1;
        let signature = text.as_str().and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or_else(|| Invalid::new(format!("`{key}` is not base64")))?;
        if *count > MAX_SIGNATURES || signature.is_empty() || signature.len() > MAX_SIGNATURE_BYTES {
            return Err(Invalid::new(format!("`{key}` is one signature too many, or empty, or too long")));
        }
        entries.push(Entry { key: key.clone(), digest, signature });
    }
    Ok(entries)
}

/// Refuses an object with any other members.
fn known(object: &Value, names: &[&str]) -> Result<(), Invalid> {
    let members = object.members().ok_or_else(|| Invalid::new("not a signature ConfigMap"))?;
    match members.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        Some((name, _)) => Err(Invalid::new(format!("a signature ConfigMap has no `{name}`"))),
        None => Ok(()),
    }
}

/// The digest at the start of a key. The cluster matches by prefix; hand-made ConfigMaps have no number after it.
fn key_digest(key: &str) -> Result<Digest, Invalid> {
    let no_digest = || Invalid::new(format!("key `{key}` does not name a digest (sha256-<hex>-<n>)"));
    let rest = key.strip_prefix("sha256-").ok_or_else(no_digest)?;
    let (hex, suffix) = rest.split_at_checked(64).ok_or_else(no_digest)?;
    if !(suffix.is_empty() || suffix.starts_with('-')) {
        return Err(no_digest());
    }
    Digest::from_hex(hex).map_err(|_| no_digest())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::kubernetes;

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

    fn value(bytes: &[u8]) -> Value {
        kubernetes::parse(bytes).unwrap().remove(0).value
    }

    #[test]
    fn what_was_written_reads_back_and_so_does_what_a_person_writes() {
        let signatures = [b"ab".to_vec(), vec![0x80; 900]];
        let written = config_map(&digest(), &signatures).unwrap();
        let map = kubernetes::read(&written).unwrap().value;
        assert!(is_signature_map(&map));
        let read: Vec<Vec<u8>> = parse(&map).unwrap().into_iter().map(|e| e.signature).collect();
        assert_eq!(read, signatures);
        let yaml = format!(
            "# by hand\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: sigs\n  creationTimestamp: null\n  \
             namespace: {NAMESPACE}\n  labels:\n    {LABEL}: \"\"\nbinaryData:\n  {}: YWI=\n  {}-1: Yw==\n",
            digest().dashed(),
            Digest::of(b"other").dashed()
        );
        let map = value(yaml.as_bytes());
        assert!(is_signature_map(&map));
        let mut entries = parse(&map).unwrap();
        entries.sort_by_key(|e| e.signature.clone());
        assert_eq!((entries[0].digest, entries[1].digest), (digest(), Digest::of(b"other")));
    }

    #[test]
    fn a_signature_map_is_recognised_on_the_parsed_object() {
        let map =
            |label: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  labels: {{{label}: x}}\n");
        assert!(is_signature_map(&value(map(LABEL).as_bytes())));
        let escaped = map(&format!("\"\\x{:02x}{}\"", LABEL.as_bytes()[0], &LABEL[1..]));
        assert!(is_signature_map(&value(escaped.as_bytes())));
        assert!(!is_signature_map(&value(map(LABEL).replace("ConfigMap", "Secret").as_bytes())));
        assert!(!is_signature_map(&value(map("other").as_bytes())));
    }

    #[test]
    fn maps_that_a_cluster_would_read_otherwise_are_refused() {
        let good = String::from_utf8(config_map(&digest(), &[b"ab".to_vec()]).unwrap()).unwrap();
        let accepted = |text: &str| kubernetes::parse(text.as_bytes()).is_ok_and(|m| parse(&m[0].value).is_ok());
        assert!(accepted(&good));
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
            assert!(!accepted(&bad), "{from} -> {to}: {bad}");
        }
        let twice = good.replace("binaryData\":{", &format!("binaryData\":{{\"sha256-{hex}-1\":\"YWI=\","));
        assert!(!accepted(&twice) && !accepted(&format!("---\n{twice}")));
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
