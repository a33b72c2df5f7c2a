//! What applying would do, asked of the server before anything is written.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client::{Cluster, Failure};
use super::discover::Missing;
use super::{Conflict, Entry, Item, Outcome, Rules, change};
use crate::error::{Code, Error, Result};
use crate::kubernetes::{MirrorSetKind, Object};

/// What the same set brings before an object that needs it.
#[derive(Default)]
struct Coming {
    namespaces: BTreeSet<String>,
    /// Group and kind of a CustomResourceDefinition, and its name.
    kinds: BTreeSet<(String, String, String)>,
}

impl Cluster {
    /// What applying these objects would do, in the order in which they would be applied: namespaces, definitions of
    /// kinds, other objects without a namespace, the rest. Nothing is written.
    ///
    /// # Errors
    /// If the server does not answer, or does not accept the credentials. What it says about one object is in its entry.
    pub fn plan(&self, items: &[Item], rules: Rules) -> Result<Vec<Entry>> {
        let mut order: Vec<(u8, usize)> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            order.push((self.rank(&item.object)?, at));
        }
        order.sort_unstable();
        let mut coming = Coming::default();
        let mut out = Vec::with_capacity(items.len());
        for (_, at) in order {
            let item = &items[at];
            let entry = match MirrorSetKind::of(&item.object).is_some() && !rules.mirror_sets {
                true => Entry::new(at, item, Outcome::LeftOut).because("--apply-mirror-sets applies it".to_owned()),
                false => self.one(at, item, rules, &coming)?,
            };
            if entry.outcome == Outcome::Created {
                coming.note(item);
            }
            out.push(entry);
        }
        Ok(out)
    }

    fn rank(&self, object: &Object) -> Result<u8> {
        Ok(match (object.api_version.as_str(), object.kind.as_str()) {
            ("v1", "Namespace") => 0,
            (version, "CustomResourceDefinition") if version.starts_with("apiextensions.k8s.io/") => 1,
            _ => match self.kind(object) {
                Ok(kind) => 2 + u8::from(kind.namespaced),
                Err(Missing::Unknown(_)) => 2 + u8::from(object.namespace.is_some()),
                Err(Missing::Failure(failure)) => return Err(self.fatal(failure)),
            },
        })
    }

    /// Plans an object whose namespace and kind exist by now, if they ever will.
    pub(super) fn again(&self, at: usize, item: &Item, rules: Rules) -> Result<Entry> {
        self.one(at, item, rules, &Coming::default())
    }

    fn one(&self, at: usize, item: &Item, rules: Rules, coming: &Coming) -> Result<Entry> {
        let entry = Entry::new(at, item, Outcome::Created);
        let kind = match self.kind(&item.object) {
            Ok(kind) => kind,
            Err(Missing::Unknown(_)) if coming.kind(&item.object).is_some() => {
                let after = coming.kind(&item.object).map(|name| format!("CustomResourceDefinition {name}"));
                return Ok(Entry { after, ..entry });
            }
            Err(Missing::Unknown(error)) => {
                return Ok(match item.needs {
                    None => entry.failed(error),
                    Some(needs) => {
                        let why = format!("the cluster does not have {needs}");
                        Entry { outcome: Outcome::LeftOut, ..entry }.because(why)
                    }
                });
            }
            Err(Missing::Failure(failure)) => return Err(self.fatal(failure)),
        };
        let Some(path) = kind.path(&item.object) else {
            let text = format!("{} names no namespace, so it would go wherever the kubeconfig points", entry.name());
            return Ok(entry.failed(Error::new(Code::ApplyFailed, text)));
        };
        let inside = item.object.namespace.as_ref().filter(|_| kind.namespaced);
        if let Some(namespace) = inside.filter(|namespace| coming.namespaces.contains(*namespace)) {
            // The server cannot try what is in a namespace that does not exist yet.
            return Ok(Entry { after: Some(format!("Namespace {namespace}")), ..entry });
        }
        let there = match self.get(&path) {
            Ok(there) => there,
            Err(Failure::Refused(refusal)) if refusal.is_absent() => {
                return match self.patch(&path, "&dryRun=All", item.bytes.clone()) {
                    Ok(_) => Ok(entry),
                    Err(failure) => self.object_failure(entry, failure),
                };
            }
            Err(failure) => return self.object_failure(entry, failure),
        };
        let planned = match self.patch(&path, "&dryRun=All&force=true", item.bytes.clone()) {
            Ok(planned) => planned,
            Err(failure) => return self.object_failure(entry, failure),
        };
        let changes = change::changes(&there, &planned);
        if changes.is_empty() {
            return Ok(Entry { outcome: Outcome::Unchanged, ..entry });
        }
        let conflicts = self.owners(&path, item)?;
        let version = there.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let outcome = if rules.overwrite { Outcome::Changed } else { Outcome::Differs };
        Ok(Entry { outcome, changes, conflicts, version, ..entry })
    }

    /// Who owns what would change.
    fn owners(&self, path: &str, item: &Item) -> Result<Vec<Conflict>> {
        match self.patch(path, "&dryRun=All", item.bytes.clone()) {
            Err(Failure::Refused(refusal)) if refusal.is_conflict() => Ok(refusal.conflicts()),
            Ok(_) | Err(Failure::Refused(_)) => Ok(Vec::new()),
            Err(Failure::Lost(e)) => Err(e),
        }
    }

    /// The entry of an object that the server refused. A lost connection ends the whole plan.
    pub(super) fn object_failure(&self, entry: Entry, failure: Failure) -> Result<Entry> {
        match failure {
            Failure::Refused(refusal) => {
                let error = refusal.error(&entry.name(), entry.object.namespace.as_deref());
                Ok(entry.failed(error))
            }
            Failure::Lost(e) => Err(e),
        }
    }
}

impl Entry {
    fn new(item: usize, of: &Item, outcome: Outcome) -> Entry {
        Entry {
            object: of.object.clone(),
            file: of.file.clone(),
            outcome,
            after: None,
            reason: None,
            changes: Vec::new(),
            conflicts: Vec::new(),
            error: None,
            version: None,
            item,
        }
    }

    fn because(self, reason: String) -> Entry {
        Entry { reason: Some(reason), ..self }
    }

    pub(super) fn failed(self, error: Error) -> Entry {
        Entry { outcome: Outcome::Failed, error: Some(error), after: None, ..self }
    }
}

impl Coming {
    fn note(&mut self, item: &Item) {
        match item.object.kind.as_str() {
            "Namespace" => drop(self.namespaces.insert(item.object.name.clone())),
            "CustomResourceDefinition" => {
                let content: Value = serde_json::from_slice(&item.bytes).unwrap_or_default();
                let text = |at: &str| content.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
                self.kinds.insert((text("/spec/group"), text("/spec/names/kind"), item.object.name.clone()));
            }
            _ => {}
        }
    }

    /// The definition that brings the kind of this object.
    fn kind(&self, object: &Object) -> Option<&str> {
        let (group, _) = object.api_version.split_once('/')?;
        self.kinds.iter().find(|(g, kind, _)| g == group && *kind == object.kind).map(|(_, _, name)| name.as_str())
    }
}
