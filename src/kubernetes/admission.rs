//! Which objects may be carried and applied (MB-MAN-04), and remarks about them.

use super::scope::{Scope, scope};
use super::value::Value;
use super::{Manifest, MirrorSetKind, Object, Rule, size};
use crate::error::Code;

/// The namespace in which a cluster looks for release signatures.
pub const SIGNATURE_NAMESPACE: &str = "openshift-config-managed";
/// The label of the ConfigMaps from which a cluster takes release signatures.
pub const SIGNATURE_LABEL: &str = "release.openshift.io/verification-signatures";

/// Objects that are never carried: group, kind, name, and why.
const NEVER: &[(&str, &str, &str, &str)] = &[
    ("config.openshift.io", "ClusterImagePolicy", "openshift", "it belongs to the release, which brings its own"),
    ("", "ConfigMap", "signatures-managed", "the cluster replaces it"),
    ("", "ConfigMap", "mirrored-release-signatures", "oc-mirror replaces it, and what it held is lost"),
];

/// Prefixes of labels and annotations by which a namespace gives its pods more rights.
const RIGHTS: &[&str] = &["pod-security.kubernetes.io/", "security.openshift.io/", "openshift.io/sa.scc."];

/// Kinds that decide which images nodes trust.
fn sets_trust(object: &Object) -> bool {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    group == "config.openshift.io" && matches!(object.kind.as_str(), "ClusterImagePolicy" | "ImagePolicy")
}

/// Where an object is accepted without being named: `Err` says what is missing, or `None` if its kind is not.
fn by_default(manifest: &Manifest) -> Result<(), Option<&'static str>> {
    let Manifest { object, value } = manifest;
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let within = |namespace: &str| object.namespace.as_deref() == Some(namespace);
    let has = |member: &str, wanted: &dyn Fn(&str) -> bool| {
        let members = metadata.get(member).and_then(Value::members).unwrap_or_default();
        members.iter().any(|(key, _)| wanted(key))
    };
    match (object.api_version.as_str(), object.kind.as_str()) {
        ("v1", "ConfigMap") if !within(SIGNATURE_NAMESPACE) => {
            Err(Some("is not in openshift-config-managed, where a cluster looks for release signatures"))
        }
        ("v1", "ConfigMap") if !has("labels", &|key| key == SIGNATURE_LABEL) => {
            Err(Some("has no label release.openshift.io/verification-signatures, so it holds no release signatures"))
        }
        ("v1", "Namespace") => {
            let rights = |key: &str| RIGHTS.iter().any(|prefix| key.starts_with(prefix));
            if has("labels", &rights) || has("annotations", &rights) {
                return Err(Some("sets what pods may do in it"));
            }
            match value.get("spec").is_none_or(Value::is_empty) {
                true => Ok(()),
                false => Err(Some("has a spec, so that it may never go away")),
            }
        }
        ("operators.coreos.com/v1alpha1", "CatalogSource") if !within("openshift-marketplace") => {
            Err(Some("is not in openshift-marketplace"))
        }
        ("updateservice.operator.openshift.io/v1", "UpdateService") if !within("openshift-update-service") => {
            Err(Some("is not in openshift-update-service"))
        }
        ("v1", "ConfigMap")
        | ("operators.coreos.com/v1alpha1", "CatalogSource")
        | ("updateservice.operator.openshift.io/v1", "UpdateService")
        | ("olm.operatorframework.io/v1", "ClusterCatalog") => Ok(()),
        (version, _) if MirrorSetKind::of(object).is_some_and(|kind| kind.api_version() == version) => Ok(()),
        _ if sets_trust(object) => Err(Some("decides which images nodes run")),
        _ => Err(None),
    }
}

/// What may be carried or applied in a run.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// If set, nothing else may be: the list of the receiving host.
    pub listed: Option<Vec<Rule>>,
    /// What a person named beyond the default list. Adds nothing to `listed`.
    pub named: Vec<Rule>,
}

impl Admission {
    /// The default list, and what a person named.
    pub fn naming(named: &[Rule]) -> Admission {
        Admission { listed: None, named: named.to_vec() }
    }

    /// Whether an object may be carried and applied.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Denied> {
        let object = &manifest.object;
        let rules = self.listed.as_ref().unwrap_or(&self.named);
        match (scope(object), &object.namespace) {
            (Scope::Namespaced, None) => return Err(Denied::NoNamespace),
            (Scope::Cluster, Some(_)) => return Err(Denied::HasNamespace),
            _ => {}
        }
        let data = size::data(manifest);
        if data > size::MAX_DATA {
            return Err(Denied::TooLarge(data));
        }
        let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
        let never = |(of, kind, name, _): &&(&str, &str, &str, &str)| {
            (*of, *kind, *name) == (group, object.kind.as_str(), object.name.as_str())
        };
        if let Some((.., why)) = NEVER.iter().find(never) {
            return Err(Denied::Never(why));
        }
        let mut naming = rules.iter().filter(|rule| rule.names(object)).peekable();
        let named = naming.peek().is_some();
        if named && scope(object) == Scope::Unknown && object.namespace.is_none() {
            return if naming.any(Rule::is_cluster_wide) { Ok(()) } else { Err(Denied::UnknownScope) };
        }
        match (named, &self.listed) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Denied::NotListed),
            (false, None) => by_default(manifest).map_err(|place| match place {
                Some(why) => Denied::Place(why),
                None => Denied::NotNamed,
            }),
        }
    }
}

/// Why an object may not be carried or applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Whatever anyone says.
    Never(&'static str),
    /// Its kind has a namespace, and it names none.
    NoNamespace,
    /// Its kind has no namespace, and it names one.
    HasNamespace,
    /// Its values have so many bytes together.
    TooLarge(usize),
    /// It names no namespace, and nobody said that its kind is cluster-wide.
    UnknownScope,
    /// The list of this host does not name it.
    NotListed,
    /// Its kind is accepted elsewhere, or only when named.
    Place(&'static str),
    /// Its kind is not accepted without being named.
    NotNamed,
}

impl Denied {
    /// The code of an error or finding.
    pub fn code(self) -> Code {
        match self {
            Denied::NoNamespace | Denied::HasNamespace | Denied::TooLarge(_) => Code::Malformed,
            _ => Code::Policy,
        }
    }

    /// A clause after the object: `which …`.
    pub fn clause(self) -> String {
        match self {
            Denied::Never(why) => format!("is never carried: {why}"),
            Denied::NoNamespace => {
                "names no namespace; it would be created in the current namespace of whoever applies it".to_owned()
            }
            Denied::HasNamespace => "names a namespace, and its kind has none".to_owned(),
            Denied::TooLarge(bytes) => format!(
                "no cluster takes: its values have {bytes} bytes together, over the limit of {}",
                size::MAX_DATA
            ),
            Denied::UnknownScope => "names no namespace, and nothing says that its kind is cluster-wide".to_owned(),
            Denied::NotListed => "the trust policy of this host does not list".to_owned(),
            Denied::Place(why) => format!("{why}; it is not accepted without being named"),
            Denied::NotNamed => "must be allowed explicitly".to_owned(),
        }
    }

    /// What to do about it. `accept` are the words before a flag.
    pub fn hint(self, object: &Object, accept: &str) -> Option<String> {
        Some(match self {
            Denied::Never(_) if object.kind == "ConfigMap" => {
                "give it another name; a cluster finds it by its label".to_owned()
            }
            Denied::Never(_) => return None,
            Denied::NoNamespace => "write metadata.namespace into the file".to_owned(),
            Denied::HasNamespace => "remove metadata.namespace from the file".to_owned(),
            Denied::TooLarge(_) => "split it into several objects".to_owned(),
            Denied::UnknownScope => {
                format!("if it is cluster-wide: --allow-kind {}; else write metadata.namespace", Rule::of(object))
            }
            Denied::NotListed => {
                "manifests.allow of the trust policy lists all that this host accepts; --allow-kind adds nothing to it"
                    .to_owned()
            }
            Denied::Place(_) => format!("{accept}: --allow-kind {}", Rule::of(object)),
            // A kind alone does not say that it is cluster-wide.
            Denied::NotNamed if object.namespace.is_none() && scope(object) == Scope::Unknown => {
                format!("{accept}, and it is cluster-wide: --allow-kind {}", Rule::of(object))
            }
            Denied::NotNamed => format!("{accept}: --allow-kind {}", object.kind),
        })
    }
}

/// Remarks for whoever applies the object: what it does when applied, and how to apply it.
pub fn remarks(manifest: &Manifest) -> Vec<&'static str> {
    let object = &manifest.object;
    let effect = match object.kind.as_str() {
        _ if MirrorSetKind::of(object).is_some() => {
            Some("changes the configuration of nodes, and can drain and restart them")
        }
        "ClusterImagePolicy" | "ImagePolicy" => Some("decides which images nodes run"),
        "CatalogSource" => Some("runs a pod, and offers operators to install"),
        "ClusterCatalog" => Some("offers operators to install"),
        "UpdateService" => Some("runs pods"),
        "ConfigMap" if object.namespace.as_deref() != Some(SIGNATURE_NAMESPACE) => {
            Some("is not in the namespace where a cluster looks for release signatures")
        }
        _ if object.namespace.is_none() && scope(object) == Scope::Unknown => {
            Some("is taken for cluster-wide, because a person said so")
        }
        _ => None,
    };
    let large = size::needs_server_side(manifest).then_some(LARGE);
    effect.into_iter().chain(large).collect()
}

/// The remark about an object that is too large for the copy that `oc apply` keeps of it.
pub const LARGE: &str =
    "is too large for `oc apply`, which keeps a copy in an annotation; use `oc apply --server-side`";
