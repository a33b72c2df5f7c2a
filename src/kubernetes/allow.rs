//! Which kinds may be carried, and remarks about them.

use super::Object;

/// Kinds that may be carried and applied without a flag: configuration of the cluster's view of content. Everything
/// else (workloads, roles, webhooks, secrets, …) needs `--allow-kind`.
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

/// Namespaces in which a cluster looks for the ConfigMaps of a bundle: signatures, and certificates that a
/// configuration refers to.
const EXPECTED: &[&str] = &["openshift-config", "openshift-config-managed"];

/// Whether an object's kind is on the list, or one of the kinds allowed by name (`Kind` or `group/version/Kind`).
pub fn is_allowed(object: &Object, extra: &[String]) -> bool {
    let full = format!("{}/{}", object.api_version, object.kind);
    is_listed(object) || extra.iter().any(|kind| *kind == object.kind || *kind == full)
}

fn is_listed(object: &Object) -> bool {
    ALLOWED_KINDS.contains(&(object.api_version.as_str(), object.kind.as_str()))
}

/// Where an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope<'a> {
    /// In the namespace that it names.
    Namespace(&'a str),
    /// Cluster-wide: its kind has no namespace.
    Cluster,
    /// In the current namespace of whoever applies it: its kind has a namespace, but it names none.
    Current,
    /// It names no namespace, and this program does not know whether its kind has one.
    Unknown,
}

/// Where an object is applied, by its kind and namespace.
pub fn scope(object: &Object) -> Scope<'_> {
    let namespaced = matches!(object.kind.as_str(), "ConfigMap" | "ImagePolicy" | "CatalogSource" | "UpdateService");
    match (&object.namespace, is_listed(object)) {
        (Some(namespace), _) => Scope::Namespace(namespace),
        (None, true) if namespaced => Scope::Current,
        (None, true) => Scope::Cluster,
        (None, false) => Scope::Unknown,
    }
}

/// A remark for whoever applies the object: what it does when applied, or where it is applied.
pub fn remark(object: &Object) -> Option<&'static str> {
    match (object.kind.as_str(), scope(object)) {
        ("ImageDigestMirrorSet" | "ImageTagMirrorSet" | "ImageContentSourcePolicy", _) => {
            Some("changes the configuration of nodes, and can drain and restart them")
        }
        ("ClusterImagePolicy" | "ImagePolicy", _) => Some("decides which images nodes run"),
        ("CatalogSource", _) => Some("runs a pod, and offers operators to install"),
        ("ClusterCatalog", _) => Some("offers operators to install"),
        ("UpdateService", _) => Some("runs pods"),
        (_, Scope::Current) => Some("names no namespace; it is created in the current namespace of whoever applies it"),
        ("ConfigMap", Scope::Namespace(namespace)) if !EXPECTED.contains(&namespace) => {
            Some("is in a namespace where a cluster does not look for configuration from a bundle")
        }
        (_, Scope::Unknown) => {
            Some("names no namespace; it is cluster-wide, or created in the current namespace of whoever applies it")
        }
        _ => None,
    }
}
