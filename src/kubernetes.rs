//! Kubernetes manifests as they are carried: read only to name the objects in them, never written back.
//!
//! A file whose meaning could differ between parsers is refused: duplicate keys, aliases, merge keys, tags,
//! directives, a byte order mark (`spec/verification.md`, MB-MAN).

use serde_saphyr::budget::Budget;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::bundle::index::Object;
use crate::bundle::limits;
use crate::oci::json;

/// Kinds that may be carried and applied without being named: configuration of the cluster's view of content.
/// Everything else (workloads, roles, webhooks, secrets, …) needs `--allow-kind`.
pub const ALLOWED_KINDS: &[(&str, &str)] = &[
    ("v1", "ConfigMap"),
    ("v1", "Namespace"),
    ("config.openshift.io/v1", "ClusterImagePolicy"),
    ("config.openshift.io/v1", "ImageDigestMirrorSet"),
    ("config.openshift.io/v1", "ImagePolicy"),
    ("config.openshift.io/v1", "ImageTagMirrorSet"),
    ("olm.operatorframework.io/v1", "ClusterCatalog"),
    ("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy"),
    ("operators.coreos.com/v1alpha1", "CatalogSource"),
    ("updateservice.operator.openshift.io/v1", "UpdateService"),
];

/// Whether an object's kind is on the list, or among those that were allowed by name (`Kind` or
/// `group/version/Kind`).
pub fn is_allowed(object: &Object, extra: &[String]) -> bool {
    let full = format!("{}/{}", object.api_version, object.kind);
    ALLOWED_KINDS.contains(&(object.api_version.as_str(), object.kind.as_str()))
        || extra.iter().any(|kind| *kind == object.kind || *kind == full)
}

/// The objects in a YAML or JSON file, in its order.
///
/// # Errors
/// One sentence that says why the file is not carried.
pub fn objects(bytes: &[u8]) -> Result<Vec<Object>, String> {
    documents(bytes)?.iter().map(object).collect()
}

/// The documents of a file as JSON values.
pub fn documents(bytes: &[u8]) -> Result<Vec<serde_json::Value>, String> {
    if bytes.len() as u64 > limits::KUBERNETES_FILE {
        return Err(format!("it has {} bytes, over the limit of {}", bytes.len(), limits::KUBERNETES_FILE));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    one_reading(text)?;
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|e| first_line(&e.to_string()))?;
    let documents: Vec<_> = documents.into_iter().filter(|d| !d.is_null()).collect();
    if documents.is_empty() {
        return Err("it holds no object".to_owned());
    }
    Ok(documents)
}

/// Refuses text that `oc` and this parser would cut into other lines, documents or values (security G2; each case
/// was seen with kubectl 1.32).
fn one_reading(text: &str) -> Result<(), String> {
    // YAML 1.1 readers, go-yaml among them, end a line (and so a comment) at NEL, LS and PS.
    let odd =
        |c: char| c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if odd(c) && !(c == '\r' && chars.peek() == Some(&'\n')) {
            return Err(format!("it holds U+{:04X}, which other parsers take for a line break", u32::from(c)));
        }
    }
    for line in text.lines() {
        if line.starts_with('%') {
            return Err("it has a YAML directive, which oc refuses".to_owned());
        }
        // oc cuts a file at every line that begins with `---`, whatever YAML says about that line.
        let separates = |rest: &str| {
            let rest = rest.trim_matches([' ', '\t']);
            rest.is_empty() || line.starts_with("--- ") && rest.starts_with('#')
        };
        if line.strip_prefix("---").is_some_and(|rest| !separates(rest)) {
            return Err("it has a line that begins with `---` and is not only that".to_owned());
        }
        if line.starts_with("...") {
            return Err("it has a document end marker, behind which oc reads nothing".to_owned());
        }
    }
    if text.contains("!!binary") || text.contains("tag:yaml.org") {
        return Err("it has a value or a key in base64 (`!!binary`)".to_owned());
    }
    if text.trim_start().starts_with('{') {
        // What begins like JSON, oc reads as JSON.
        json::check(text.as_bytes(), &[]).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn options() -> serde_saphyr::Options {
    let mut budget = Budget::default();
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    budget.max_depth = 64;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("it is not YAML").to_owned()
}

fn object(document: &serde_json::Value) -> Result<Object, String> {
    let text = |at: &str| document.pointer(at).and_then(|v| v.as_str()).filter(|v| !v.is_empty()).map(str::to_owned);
    let need = |at: &str| text(at).ok_or_else(|| format!("an object in it has no {}", at[1..].replace('/', ".")));
    let object = Object {
        api_version: need("/apiVersion")?,
        kind: need("/kind")?,
        name: need("/metadata/name")?,
        namespace: text("/metadata/namespace"),
    };
    // Whatever its kind: oc takes every object with `items` for a list of them.
    if document.get("items").is_some() {
        return Err(format!(
            "it holds a {} with items, which hides what is in it; split it into its objects",
            object.kind
        ));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n";

    #[test]
    fn objects_are_named_from_yaml_and_json_with_several_documents() {
        let found = objects(format!("{MAP}---\n{MAP}---\n").as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].namespace.as_deref(), Some("b"));
        let crlf = format!("--- # first\n{MAP}--- \t\n{MAP}").replace('\n', "\r\n");
        assert_eq!(objects(crlf.as_bytes()).unwrap().len(), 2);
        let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#;
        assert_eq!(objects(json.as_bytes()).unwrap()[0].name, "x");
    }

    #[test]
    fn files_that_two_parsers_could_read_differently_are_refused() {
        for bad in [
            format!("{MAP}kind: Secret\n"),
            format!("{MAP}data: &a {{x: y}}\nother: *a\n"),
            format!("{MAP}data:\n  <<: {{x: y}}\n"),
            format!("{MAP}data: !!python/object x\n"),
            format!("%YAML 1.2\n---\n{MAP}"),
            format!("\u{feff}{MAP}"),
            "apiVersion: v1\nkind: ConfigMap\n".to_owned(),
            "apiVersion: v1\nkind: ConfigMapList\nmetadata: {name: x}\nitems: []\n".to_owned(),
            // Each of these is a Secret, too, for kubectl.
            format!("{MAP}items:\n- {{apiVersion: v1, kind: Secret, metadata: {{name: x}}}}\n"),
            format!("{MAP}---#:\n  apiVersion: v1\n  kind: Secret\n  metadata: {{name: x}}\n"),
            format!("{MAP}#\u{2028}kind: Secret\n"),
            format!("{MAP}#\u{2029}kind: Secret\n"),
            format!("{MAP}#\u{85}kind: Secret\n"),
            format!("{MAP}#\rkind: Secret\n"),
            format!("{MAP}!!binary a2luZA==: Secret\n"),
            format!("{MAP}!<tag:yaml.org,2002:binary> a2luZA==: Secret\n"),
            format!("{MAP}...\n{MAP}"),
            format!("--- {{}}\n{MAP}"),
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}".to_owned(),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}} #c"#.to_owned(),
            "- a\n".to_owned(),
            String::new(),
            "\u{0}".to_owned(),
            format!("{}1", "[".repeat(5000)),
        ] {
            assert!(objects(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn kinds_that_change_a_cluster_need_to_be_allowed_by_name() {
        let role = Object {
            api_version: "rbac.authorization.k8s.io/v1".into(),
            kind: "ClusterRole".into(),
            namespace: None,
            name: "x".into(),
        };
        assert!(!is_allowed(&role, &[]));
        assert!(is_allowed(&role, &["ClusterRole".to_owned()]));
        assert!(is_allowed(&objects(MAP.as_bytes()).unwrap()[0], &[]));
        let fake = Object { api_version: "evil/v1".into(), ..objects(MAP.as_bytes()).unwrap()[0].clone() };
        assert!(!is_allowed(&fake, &[]));
    }
}
