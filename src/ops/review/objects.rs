//! Facts about Kubernetes objects: their scope, and the images that they run.

use std::collections::BTreeSet;

use crate::kubernetes::{Manifest, Scope, Value, remarks, scope};
use crate::oci::Reference;
use crate::policy::facts::ObjectFacts;

/// The most images of one object.
const IMAGES: usize = 256;

/// The facts about an object. `carried` has the references and digests of the bundle.
pub(super) fn facts(path: &str, manifest: &Manifest, carried: &BTreeSet<String>) -> ObjectFacts {
    let object = &manifest.object;
    let mut images = BTreeSet::new();
    // Data of configuration maps names no image that is run.
    if !matches!(object.kind.as_str(), "ConfigMap" | "Secret") {
        gather(&manifest.value, &mut images);
    }
    let away = images.iter().filter(|image| !is_carried(image, carried)).cloned().collect();
    ObjectFacts {
        file: path.to_owned(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        cluster_scoped: match (scope(object), &object.namespace) {
            (Scope::Cluster, _) => Some(true),
            (Scope::Namespaced, _) | (Scope::Unknown, Some(_)) => Some(false),
            (Scope::Unknown, None) => None,
        },
        images: images.into_iter().collect(),
        images_not_carried: away,
        effects: remarks(manifest),
    }
}

/// Every text that is named `image` (containers, catalogs), `graphDataImage`, or `ref` of an `image`.
fn gather(value: &Value, out: &mut BTreeSet<String>) {
    if let Value::List(items) = value {
        items.iter().for_each(|item| gather(item, out));
    }
    for (name, member) in value.members().unwrap_or_default() {
        let named = matches!(name.as_str(), "image" | "graphDataImage");
        let text = member.as_str().or_else(|| member.get("ref").and_then(Value::as_str));
        match text.filter(|text| named && !text.is_empty() && out.len() < IMAGES) {
            Some(text) => _ = out.insert(text.to_owned()),
            None => gather(member, out),
        }
    }
}

fn is_carried(image: &str, carried: &BTreeSet<String>) -> bool {
    let Ok(reference) = image.parse::<Reference>() else { return carried.contains(image) };
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => carried.contains(&digest.to_string()),
        (None, Some(_)) => carried.contains(&reference.to_string()),
        (None, None) => carried.contains(&format!("{}:latest", reference.repository)),
    }
}
