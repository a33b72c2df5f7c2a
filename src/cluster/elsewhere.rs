//! What a cluster already mirrors for the sources of mirror sets.

use serde_json::Value;

use super::Item;
use super::client::{Cluster, Failure};
use crate::error::Result;
use crate::kubernetes::mirror_set::{self, MirrorSetKind};

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

impl Cluster {
    /// What other objects of the cluster mirror for the sources of the mirror sets among `items`. What this user may
    /// not list, and kinds that the cluster does not have, are passed over.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn mirrored_elsewhere(&self, items: &[Item]) -> Result<Vec<Elsewhere>> {
        let sets = items.iter().filter_map(|item| Some((MirrorSetKind::of(&item.object)?, item)));
        // Whether they are for pulls by tag.
        let tags = |kind: MirrorSetKind| kind == MirrorSetKind::Tag;
        let mut ours: Vec<(bool, Redirect)> = Vec::new();
        for (kind, item) in sets.clone() {
            let object: Value = serde_json::from_slice(&item.bytes).unwrap_or_default();
            ours.extend(redirects(&object, kind.list()).into_iter().map(|redirect| (tags(kind), redirect)));
        }
        let mut out = Vec::new();
        for kind in MirrorSetKind::ALL.into_iter().filter(|kind| ours.iter().any(|(by_tag, _)| *by_tag == tags(*kind)))
        {
            let found = match self.get(&format!("/apis/{}/{}", kind.api_version(), kind.resource())) {
                Ok(found) => found,
                Err(Failure::Refused(_)) => continue,
                Err(failure) => return Err(self.fatal(failure)),
            };
            for object in found["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if sets.clone().any(|(of, item)| of == kind && item.object.name == name) {
                    continue;
                }
                for theirs in redirects(object, kind.list()) {
                    let covered = |own: &Redirect| mirror_set::below(&theirs.source, &own.source).is_some();
                    for (_, own) in ours.iter().filter(|(by_tag, own)| *by_tag == tags(kind) && covered(own)) {
                        let new = |mirror: &&String| !own.mirrors.contains(mirror);
                        out.push(Elsewhere {
                            source: own.source.clone(),
                            theirs: theirs.source.clone(),
                            object: format!("{} {name}", kind.name()),
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
