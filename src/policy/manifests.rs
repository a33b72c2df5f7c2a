//! Rules about Kubernetes objects.

use super::facts::ObjectFacts;
use super::findings::{Findings, Found};
use super::{Manifests, Policy, What};

impl Manifests {
    fn matches(&self, object: &ObjectFacts) -> Option<String> {
        let mut is: Vec<String> = Vec::new();
        if !self.kinds.is_empty() {
            let kind = format!("{}/{}", object.api_version, object.kind);
            if !self.kinds.any(&kind) {
                return None;
            }
            is.push(format!("is a {kind}"));
        }
        if self.cluster_scoped {
            // A kind that nobody here knows can be cluster-wide.
            match object.cluster_scoped {
                Some(true) => is.push("is cluster-wide".to_owned()),
                None => is.push("has no namespace, and is of a kind that is not known".to_owned()),
                Some(false) => return None,
            }
        }
        if !self.namespaces.is_empty() {
            let own = object.namespace.as_ref().filter(|own| self.namespaces.any(own))?;
            is.push(format!("is in the namespace {own}"));
        }
        if self.images_not_carried {
            let first = object.images_not_carried.first()?;
            let more = object.images_not_carried.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            is.push(format!("runs an image that is not in the bundle: {first}{more}"));
        }
        Some(is.join(", "))
    }
}

impl Policy {
    /// Evaluates the rules about Kubernetes objects for one of them.
    pub fn object(&self, object: &ObjectFacts, into: &mut Findings<'_>) {
        for (rule, of) in self.rules() {
            let What::Manifests(manifests) = &of.what else { continue };
            let Some(what) = manifests.matches(object) else { continue };
            let place = object.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
            let facts = vec![format!("{} {place}{}", object.kind, object.name)];
            into.find(rule, Found { subject: object.file.clone(), what, facts, keys: vec![object.file.clone()] });
        }
    }
}
