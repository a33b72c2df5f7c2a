//! The kinds that a cluster has: where their objects are, and whether they have a namespace.

use serde_json::Value;

use super::client::{Cluster, Failure};
use super::name;
use crate::error::{Code, Error};
use crate::kubernetes::Object;

/// A kind of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    kind: String,
    plural: String,
    pub(super) namespaced: bool,
}

/// Why there is no kind.
pub(super) enum Missing {
    /// The cluster does not have it.
    Unknown(Error),
    /// The cluster could not be asked.
    Failure(Failure),
}

impl Cluster {
    /// The kind of this object.
    pub(super) fn kind(&self, object: &Object) -> Result<Kind, Missing> {
        let version = &object.api_version;
        let find = |kinds: &Vec<Kind>| kinds.iter().find(|kind| kind.kind == object.kind).cloned();
        let unknown = || {
            let text =
                format!("the cluster has no kind {} of {version}, so {} cannot be applied", object.kind, name(object));
            Missing::Unknown(
                Error::new(Code::ApplyFailed, text)
                    .hint("install what defines the kind first (its operator, or its CustomResourceDefinition)"),
            )
        };
        if let Some(kinds) = self.kinds.borrow().get(version) {
            return find(kinds).ok_or_else(unknown);
        }
        // A segment of dots would be another path.
        if version.split('/').any(|part| part.bytes().all(|b| b == b'.')) {
            return Err(unknown());
        }
        let answer = match self.get(&group(version)) {
            Ok(answer) => answer,
            Err(Failure::Refused(refusal)) if refusal.code == 404 => return Err(unknown()),
            Err(failure) => return Err(Missing::Failure(failure)),
        };
        let kinds = read(&answer);
        let found = find(&kinds);
        self.kinds.borrow_mut().insert(version.clone(), kinds);
        found.ok_or_else(unknown)
    }

    /// Forgets the kinds of a version, which may have changed.
    pub(super) fn forget_kinds(&self) {
        self.kinds.borrow_mut().clear();
    }
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
fn group(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

fn read(answer: &Value) -> Vec<Kind> {
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
