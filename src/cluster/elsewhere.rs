//! What a cluster already mirrors for the sources of mirror sets.

use serde_json::Value;

use super::client::{Cluster, Failure};
use super::{Item, is_mirror_set};
use crate::error::Result;

/// The kinds of mirror set: kind, list of its spec, whether it is for pulls by tag, and where it is.
const KINDS: [(&str, &str, bool, &str); 3] = [
    ("ImageDigestMirrorSet", "imageDigestMirrors", false, "/apis/config.openshift.io/v1/imagedigestmirrorsets"),
    ("ImageTagMirrorSet", "imageTagMirrors", true, "/apis/config.openshift.io/v1/imagetagmirrorsets"),
    (
        "ImageContentSourcePolicy",
        "repositoryDigestMirrors",
        false,
        "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies",
    ),
];

/// A mirror of a source that another object names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elsewhere {
    /// The source in the objects to apply.
    pub source: String,
    /// The source in the other object: the same, or one that covers it.
    pub theirs: String,
    /// Kind and name of the other object.
    pub object: String,
    /// Its mirrors that the objects to apply do not have.
    pub mirrors: Vec<String>,
    /// Its `mirrorSourcePolicy`.
    pub policy: Option<String>,
}

impl Elsewhere {
    /// One sentence. Of several sources that fit, a node uses the most specific; mirrors of one source add up.
    pub fn sentence(&self) -> String {
        let Elsewhere { source, theirs, object, mirrors, policy } = self;
        let mirrors = mirrors.join(", ");
        let policy = policy.as_ref().map(|policy| format!(" with {policy}")).unwrap_or_default();
        match source == theirs {
            true => format!("`{source}` is also mirrored to {mirrors}{policy}, by {object}: nodes try all mirrors"),
            false => format!(
                "`{source}` is mirrored to {mirrors}{policy} as part of `{theirs}`, by {object}: for this source nodes will no longer use that"
            ),
        }
    }
}

/// One entry of a mirror set.
struct Redirect {
    source: String,
    mirrors: Vec<String>,
    policy: Option<String>,
}

/// The entries of a mirror set.
fn redirects(object: &Value, list: &str) -> Vec<Redirect> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = object["spec"][list].as_array().into_iter().flatten();
    let read = |entry: &Value| {
        let mirrors = entry["mirrors"].as_array().into_iter().flatten().filter_map(text).collect();
        Some(Redirect { source: text(&entry["source"])?, mirrors, policy: text(&entry["mirrorSourcePolicy"]) })
    };
    entries.filter_map(read).collect()
}

/// Whether a source covers another: a prefix of it up to a `/`, or `*.domain` of its host.
fn covers(theirs: &str, source: &str) -> bool {
    match theirs.strip_prefix("*.") {
        Some(domain) => {
            let host = source.split('/').next().unwrap_or_default();
            host.strip_suffix(domain).is_some_and(|host| host.ends_with('.'))
        }
        None => source.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

impl Cluster {
    /// What other objects of the cluster mirror for the sources of the mirror sets among `items`. What this user may
    /// not list, and kinds that the cluster does not have, are passed over.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn mirrored_elsewhere(&self, items: &[Item]) -> Result<Vec<Elsewhere>> {
        let sets = items.iter().filter(|item| is_mirror_set(&item.object));
        let mut ours: Vec<(bool, Redirect)> = Vec::new();
        for item in sets.clone() {
            let Some((_, list, tags, _)) = KINDS.iter().find(|kind| kind.0 == item.object.kind) else { continue };
            let object: Value = serde_json::from_slice(&item.bytes).unwrap_or_default();
            ours.extend(redirects(&object, list).into_iter().map(|redirect| (*tags, redirect)));
        }
        let mut out = Vec::new();
        for (kind, list, tags, path) in KINDS.iter().filter(|kind| ours.iter().any(|(tags, _)| *tags == kind.2)) {
            let found = match self.get(path) {
                Ok(found) => found,
                Err(Failure::Refused(_)) => continue,
                Err(failure) => return Err(self.fatal(failure)),
            };
            for object in found["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if sets.clone().any(|item| item.object.kind == *kind && item.object.name == name) {
                    continue;
                }
                for theirs in redirects(object, list) {
                    for (_, own) in ours.iter().filter(|(of, own)| of == tags && covers(&theirs.source, &own.source)) {
                        let new = |mirror: &&String| !own.mirrors.contains(mirror);
                        out.push(Elsewhere {
                            source: own.source.clone(),
                            theirs: theirs.source.clone(),
                            object: format!("{kind} {name}"),
                            mirrors: theirs.mirrors.iter().filter(new).cloned().collect(),
                            policy: theirs.policy.clone(),
                        });
                    }
                }
            }
        }
        out.retain(|one| !one.mirrors.is_empty());
        out.sort();
        out.dedup();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_source_covers_what_is_below_it() {
        for (theirs, source, right) in [
            ("quay.io/a", "quay.io/a", true),
            ("quay.io/a", "quay.io/a/b", true),
            ("quay.io/a", "quay.io/ab", false),
            ("quay.io/a/b", "quay.io/a", false),
            ("quay.io", "quay.io/a", true),
            ("*.example.com", "r.example.com/a", true),
            ("*.example.com", "example.com/a", false),
            ("*.example.com", "rexample.com/a", false),
        ] {
            assert_eq!(covers(theirs, source), right, "{theirs} {source}");
        }
    }
}
