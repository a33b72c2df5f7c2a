//! The release-verification ConfigMap of a payload: the keyrings and stores that a cluster would use.
//!
//! Source: openshift/library-go `pkg/verify/configmap.go`. A payload's own configuration is no trust root for this
//! program (whoever forges a release forges it too). It only names the stores that have signatures, and the keyrings
//! that a cluster will require. Every keyring must be satisfied by a signature; within one keyring, any key is enough.

use std::collections::BTreeMap;

use super::openpgp::Keyring;
use super::release_signature::check_http_url;
use crate::oci::Invalid;

/// The annotation, with any value, that makes a ConfigMap the configuration.
pub const ANNOTATION: &str = "release.openshift.io/verification-config-map";

/// The most stores, and the most keyrings, in one configuration.
const MAX_MEMBERS: usize = 64;

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// The signature stores.
    pub stores: Vec<Store>,
    /// Each of them must be satisfied. Named as in the ConfigMap, `verifier-public-key-…`.
    pub keyrings: Vec<Keyring>,
    /// Keys of `data` without a meaning; the cluster warns about them too.
    pub ignored: Vec<String>,
}

/// A signature store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// On the web: the base URL.
    Http(String),
    /// A directory: the path after `file://`. Relative ones occur only in upstream's tests.
    File(String),
}

/// The configuration in `manifest`, a file of one or more YAML or JSON documents. Only the first ConfigMap with the
/// annotation counts, even if it is invalid. `None` if there is none.
pub fn find(manifest: &[u8]) -> Option<Result<VerificationConfig, Invalid>> {
    if !mentions(manifest) {
        return None;
    }
    let text = match std::str::from_utf8(manifest) {
        Ok(text) => text,
        Err(_) => return Some(Err(Invalid::new("the verification ConfigMap is not UTF-8"))),
    };
    // The vendor's file names `metadata.namespace` twice, and the cluster takes the last.
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    let documents: Vec<Document> = match serde_saphyr::from_multiple_with_options(text, options) {
        Ok(documents) => documents,
        Err(e) => return Some(Err(Invalid::new(format!("the verification ConfigMap is not YAML: {}", one_line(&e))))),
    };
    documents.into_iter().find(Document::is_configuration).map(|document| load(document.data))
}

/// Whether a manifest may contain the configuration: a cheap test before parsing.
pub(super) fn mentions(manifest: &[u8]) -> bool {
    manifest.windows(ANNOTATION.len()).any(|window| window == ANNOTATION.as_bytes())
}

fn load(data: Option<serde_json::Value>) -> Result<VerificationConfig, Invalid> {
    let data: BTreeMap<String, String> = match data {
        Some(data) => serde_json::from_value(data)
            .map_err(|_| Invalid::new("the verification ConfigMap's data is not a map of strings"))?,
        None => BTreeMap::new(),
    };
    let mut config = VerificationConfig { stores: Vec::new(), keyrings: Vec::new(), ignored: Vec::new() };
    for (key, value) in data {
        if key.starts_with("verifier-public-key-") {
            config.keyrings.push(Keyring::parse(&key, value.as_bytes())?);
        } else if key.starts_with("store-") {
            config.stores.push(store(&key, value.trim())?);
        } else {
            config.ignored.push(key);
        }
    }
    if config.stores.is_empty() {
        return Err(Invalid::new("the verification ConfigMap names no signature store"));
    }
    if config.keyrings.is_empty() {
        return Err(Invalid::new("the verification ConfigMap holds no public key"));
    }
    if config.stores.len() > MAX_MEMBERS || config.keyrings.len() > MAX_MEMBERS {
        return Err(Invalid::new(format!("the verification ConfigMap has more than {MAX_MEMBERS} stores or keyrings")));
    }
    Ok(config)
}

fn store(key: &str, url: &str) -> Result<Store, Invalid> {
    if let Some(path) = url.strip_prefix("file://") {
        return Ok(Store::File(path.to_owned()));
    }
    check_http_url(url).map_err(|e| Invalid::new(format!("`{key}`: {e}")))?;
    Ok(Store::Http(url.to_owned()))
}

#[derive(serde::Deserialize)]
struct Document {
    kind: Option<String>,
    metadata: Option<Metadata>,
    data: Option<serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    annotations: Option<BTreeMap<String, serde_json::Value>>,
}

impl Document {
    fn is_configuration(&self) -> bool {
        let annotations = self.metadata.as_ref().and_then(|m| m.annotations.as_ref());
        self.kind.as_deref() == Some("ConfigMap") && annotations.is_some_and(|a| a.contains_key(ANNOTATION))
    }
}

/// YAML errors quote the source; the first line is enough.
fn one_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn find_in(path: &str) -> Option<Result<VerificationConfig, Invalid>> {
        find(&std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap())
    }

    fn loaded(path: &str) -> VerificationConfig {
        find_in(path).unwrap().unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn upstreams_valid_inputs_load_and_only_the_first_counts() {
        for path in ["cvo/loads-valid.yaml", "library-go/loads-valid.yaml", "library-go/only-first-used.yaml"] {
            let config = loaded(&format!("verification-configmaps/{path}"));
            assert_eq!(config.stores, [Store::File("../verify/testdata/signatures".to_owned())], "{path}");
            let names: Vec<&str> = config.keyrings.iter().map(Keyring::name).collect();
            assert_eq!(names, ["verifier-public-key-redhat"], "{path}");
        }
    }

    #[test]
    fn upstreams_incomplete_inputs_are_refused() {
        for (path, word) in [
            ("cvo/requires-data.yaml", "store"),
            ("library-go/requires-data.yaml", "store"),
            ("library-go/requires-stores.yaml", ""),
            ("library-go/requires-verifiers.yaml", ""),
        ] {
            let refused = find_in(&format!("verification-configmaps/{path}")).expect(path).expect_err(path);
            assert!(refused.0.contains(word), "{path}: {refused}");
        }
    }

    #[test]
    fn what_payloads_really_ship_loads() {
        let vendor = loaded("cluster-update-keys/manifests.rhel/0000_90_cluster-update-keys_configmap.yaml");
        assert_eq!(vendor.stores.len(), 2);
        assert!(vendor.stores.iter().all(|s| matches!(s, Store::Http(url) if url.starts_with("https://"))));
        let keys: Vec<String> = vendor.keyrings[0].fingerprints().collect();
        assert_eq!(keys, ["567E347AD0044ADE55BA8A5F199E2F91FD431D51", "B08B659EE86AF623BC90E8DB938A80CAF21541EB"]);
        let ci = loaded("cluster-update-keys/manifests/0000_90_cluster-update-keys_configmap.yaml");
        assert_eq!(ci.keyrings[0].fingerprints().count(), 4);
    }

    #[test]
    fn other_manifests_are_none_and_bad_members_are_refused() {
        assert!(find(b"kind: ConfigMap\nmetadata: {}\n").is_none());
        let head = format!("kind: ConfigMap\nmetadata:\n  annotations: {{{ANNOTATION}: ''}}\n");
        assert!(find(format!("{}data: {{}}", head.replace("ConfigMap\n", "Secret\n")).as_bytes()).is_none());
        for data in [
            "data: {store-a: 'ftp://x/y', verifier-public-key-a: 'x'}",
            "data: {store-a: 'https://x/y', verifier-public-key-a: 'x'}",
            "data: {store-a: 7}",
            "data: [1]",
            "data: {",
        ] {
            assert!(find(format!("{head}{data}\n").as_bytes()).unwrap().is_err(), "{data}");
        }
    }
}
