//! A kind of a cluster: where its objects are, and whether they have a namespace.

use serde_json::Value;

use crate::kubernetes::Object;

/// A kind of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) kind: String,
    plural: String,
    pub(super) namespaced: bool,
}

impl Kind {
    /// The path of an object. A namespace in an object whose kind has none means nothing.
    pub(super) fn path(&self, object: &Object) -> Option<String> {
        if object.name.bytes().all(|b| b == b'.') {
            return None;
        }
        let group = group(&object.api_version);
        match (self.namespaced, &object.namespace) {
            (true, Some(namespace)) => Some(format!("{group}/namespaces/{namespace}/{}/{}", self.plural, object.name)),
            (true, None) => None,
            (false, _) => Some(format!("{group}/{}/{}", self.plural, object.name)),
        }
    }
}

/// The path of a version.
pub(super) fn group(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

pub(super) fn read(answer: &Value) -> Vec<Kind> {
    let listed = answer.get("resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kind = |one: &Value| {
        let plural = one.get("name")?.as_str()?;
        // With a slash it is a part of an object, such as its status.
        let plain = !plural.is_empty() && plural.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain.then_some(Kind {
            kind: one.get("kind")?.as_str()?.to_owned(),
            plural: plural.to_owned(),
            namespaced: one.get("namespaced")?.as_bool()?,
        })
    };
    listed.iter().filter_map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(api_version: &str, namespace: Option<&str>, name: &str) -> Object {
        Object {
            api_version: api_version.into(),
            kind: "X".into(),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        }
    }

    #[test]
    fn the_path_of_an_object_follows_its_kind_and_leads_nowhere_else() {
        let listed = serde_json::json!({"resources": [
            {"name": "xs/status", "kind": "X", "namespaced": true},
            {"name": "../xs", "kind": "X", "namespaced": true},
            {"name": "xs", "kind": "X", "namespaced": true},
        ]});
        let kinds = read(&listed);
        assert_eq!(kinds.len(), 1);
        let inside = &kinds[0];
        let outside = Kind { namespaced: false, ..inside.clone() };
        let path = |kind: &Kind, api, space, name| kind.path(&object(api, space, name));
        assert_eq!(path(inside, "v1", Some("n"), "a").as_deref(), Some("/api/v1/namespaces/n/xs/a"));
        assert_eq!(path(inside, "g.io/v1", Some("n"), "a").as_deref(), Some("/apis/g.io/v1/namespaces/n/xs/a"));
        assert_eq!(path(&outside, "v1", Some("n"), "a").as_deref(), Some("/api/v1/xs/a"));
        assert_eq!(path(inside, "v1", None, "a"), None);
        assert_eq!(path(inside, "v1", Some("n"), ".."), None);
    }
}
