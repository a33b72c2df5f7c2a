//! The name of an object, and the rules for the members that make it up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::value::Value;

/// A Kubernetes object by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `ConfigMap`, …
    pub kind: String,
    /// Namespace, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// The object for a person: `ConfigMap namespace/name`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Members of an object and of `metadata` that clients read by name, some of them in any letter case.
const TOP: &[&str] =
    &["apiVersion", "kind", "metadata", "spec", "status", "data", "binaryData", "stringData", "immutable", "type"];
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "clusterName",
];

/// Members of `metadata` that the server writes, or by which an object depends on others in its cluster.
const SERVER: &[&str] = &[
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "clusterName",
];

/// Removes `status` and members of [`SERVER`] that hold nothing, and the creation time, which nobody can set.
pub(super) fn without_empty(value: &mut Value) {
    let Value::Map(top) = value else { return };
    top.retain(|(key, value)| !(key == "status" && value.is_empty()));
    for (key, metadata) in top {
        if let ("metadata", Value::Map(members)) = (key.as_str(), metadata) {
            members.retain(|(key, value)| {
                let time = key == "creationTimestamp" && value.as_str().is_some_and(is_time);
                !(time || SERVER.contains(&key.as_str()) && value.is_empty())
            });
        }
    }
}

/// Reads the name of an object; refuses one that clients could name differently (MB-MAN-03), and one with members that
/// only its own cluster can give it (MB-MAN-08).
pub(super) fn name(value: &Value) -> Result<Object, String> {
    let top = value.members().ok_or("a document in it is not an object")?;
    known(top, TOP)?;
    if let Some((key, _)) = top.iter().find(|(key, _)| key.eq_ignore_ascii_case("items")) {
        return Err(format!("an object in it has `{key}`, which hides what is in it; split it into its objects"));
    }
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    known(metadata.members().unwrap_or_default(), METADATA)?;
    let need = |parent: &Value, path: &str, ok: fn(&str) -> bool| {
        let key = path.rsplit('.').next().unwrap_or(path);
        match parent.get(key) {
            None => Err(format!("an object in it has no {path}")),
            Some(value) => value
                .as_str()
                .filter(|text| !text.is_empty() && text.len() <= 253 && ok(text))
                .map(str::to_owned)
                .ok_or_else(|| format!("{path} of an object in it is not acceptable")),
        }
    };
    let kind = need(value, "kind", |kind| kind.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    if kind.eq_ignore_ascii_case("list") || kind.ends_with("List") {
        return Err(format!("it holds a {kind}, which hides what is in it; split it into its objects"));
    }
    for key in ["labels", "annotations"] {
        let good = match metadata.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Map(members)) => members.iter().all(|(_, value)| value.as_str().is_some()),
            Some(_) => false,
        };
        if !good {
            return Err(format!("metadata.{key} of an object in it does not hold text only"));
        }
    }
    if value.get("status").is_some() {
        return Err("an object in it has a status, which only its cluster can give it; remove it".to_owned());
    }
    if let Some(key) = SERVER.iter().find(|key| metadata.get(key).is_some()) {
        return Err(format!("an object in it has metadata.{key}, which belongs to one cluster; remove it"));
    }
    Ok(Object {
        api_version: need(value, "apiVersion", |version| {
            let part =
                |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
            version.split('/').count() <= 2 && version.split('/').all(part)
        })?,
        kind,
        namespace: match metadata.get("namespace") {
            None => None,
            Some(_) => Some(need(metadata, "metadata.namespace", |name| {
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })?),
        },
        name: need(metadata, "metadata.name", |name| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:@+=~".contains(&b))
        })?,
    })
}

/// `2006-01-02T15:04:05Z`, as the API server writes it.
fn is_time(text: &str) -> bool {
    text.len() == 20
        && text.ends_with('Z')
        && text.parse::<jiff::Timestamp>().is_ok()
        && text
            .bytes()
            .zip("dddd-dd-ddTdd:dd:ddZ".bytes())
            .all(|(b, form)| if form == b'd' { b.is_ascii_digit() } else { b == form })
}

/// Refuses a member that differs from a known one only by case, and one that is not spelt like a member.
fn known(members: &[(String, Value)], names: &[&str]) -> Result<(), String> {
    for (key, _) in members {
        let plain = key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain || names.iter().any(|name| *name != key && name.eq_ignore_ascii_case(key)) {
            return Err(format!(
                "`{key}` is not a valid member name of an object; some clients read it as another one"
            ));
        }
    }
    Ok(())
}
