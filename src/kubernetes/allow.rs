//! Which kinds may be carried, and what is to be said about them.

use super::Object;

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

/// Namespaces in which a cluster looks for the ConfigMaps that a bundle brings: signatures, and certificates that a
/// configuration refers to.
const EXPECTED: &[&str] = &["openshift-config", "openshift-config-managed"];

/// Whether an object's kind is on the list, or among those that were allowed by name (`Kind` or
/// `group/version/Kind`).
pub fn is_allowed(object: &Object, extra: &[String]) -> bool {
    let full = format!("{}/{}", object.api_version, object.kind);
    is_listed(object) || extra.iter().any(|kind| *kind == object.kind || *kind == full)
}

fn is_listed(object: &Object) -> bool {
    ALLOWED_KINDS.contains(&(object.api_version.as_str(), object.kind.as_str()))
}

/// Where an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope<'a> {
    /// Into the namespace that it names.
    Namespace(&'a str),
    /// It is of a kind without namespaces.
    Cluster,
    /// Into whatever namespace the person who applies it is in: it names none, and its kind has one.
    Current,
    /// It names no namespace, and whether its kind has one is not known here.
    Unknown,
}

/// Where an object goes, going by its kind and namespace.
pub fn scope(object: &Object) -> Scope<'_> {
    let namespaced = matches!(object.kind.as_str(), "ConfigMap" | "ImagePolicy" | "CatalogSource" | "UpdateService");
    match (&object.namespace, is_listed(object)) {
        (Some(namespace), _) => Scope::Namespace(namespace),
        (None, true) if namespaced => Scope::Current,
        (None, true) => Scope::Cluster,
        (None, false) => Scope::Unknown,
    }
}

/// What a person has to know before the object is applied: what it does beyond being there, or where it goes.
pub fn remark(object: &Object) -> Option<&'static str> {
    match (object.kind.as_str(), scope(object)) {
        ("ImageDigestMirrorSet" | "ImageTagMirrorSet" | "ImageContentSourcePolicy", _) => {
            Some("changes the configuration of nodes, and can drain and restart them")
        }
        ("ClusterImagePolicy" | "ImagePolicy", _) => Some("decides which images nodes run"),
        ("CatalogSource", _) => Some("runs a pod, and offers operators to install"),
        ("ClusterCatalog", _) => Some("offers operators to install"),
        ("UpdateService", _) => Some("runs pods"),
        (_, Scope::Current) => Some("names no namespace, and goes wherever the person who applies it is"),
        ("ConfigMap", Scope::Namespace(namespace)) if !EXPECTED.contains(&namespace) => {
            Some("is in a namespace where a cluster does not look for what a bundle brings")
        }
        (_, Scope::Unknown) => {
            Some("names no namespace; it is cluster-wide, or goes wherever the person who applies it is")
        }
        _ => None,
    }
}
