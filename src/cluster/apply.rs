//! Applying what was planned.

use std::time::Duration;

use serde_json::Value;

use super::client::{Cluster, Failure};
use super::discover::Missing;
use super::{Entry, Item, Outcome, Rules};
use crate::error::{Code, Error, Result};
use crate::kubernetes::Object;

/// How often a new kind is looked for before it is given up: about half a minute.
const PATIENCE: usize = 300;
/// The pause before it is looked for again.
const PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// Applies what was planned, in the order of the plan, and puts what happened in place of what was to happen.
    /// `done` is called for each entry when it is settled.
    ///
    /// The first failure ends it, and the rest is [`Outcome::NotApplied`]; or, with `go_on`, the rest is applied.
    ///
    /// # Errors
    /// If the server does not answer any more, or a stop is requested. The entries say what was done.
    pub fn apply(
        &self,
        items: &[Item],
        plan: &mut [Entry],
        rules: Rules,
        go_on: bool,
        done: &mut dyn FnMut(&Entry),
    ) -> Result<()> {
        let mut failed = plan.iter().any(|entry| entry.outcome == Outcome::Failed);
        let mut lost = None;
        for entry in plan {
            if entry.outcome == Outcome::Failed || entry.outcome == Outcome::LeftOut {
            } else if lost.is_some() || (failed && !go_on) {
                if matches!(entry.outcome, Outcome::Created | Outcome::Changed) {
                    entry.outcome = Outcome::NotApplied;
                }
            } else {
                match self.settle(&items[entry.item], entry, rules) {
                    Ok(settled) => *entry = settled,
                    Err(e) => {
                        entry.outcome = Outcome::NotApplied;
                        lost = Some(e);
                    }
                }
                failed |= entry.outcome == Outcome::Failed;
            }
            done(entry);
        }
        lost.map_or(Ok(()), Err)
    }

    /// One entry of a plan.
    fn settle(&self, item: &Item, planned: &Entry, rules: Rules) -> Result<Entry> {
        self.check()?;
        let mut entry = planned.copy();
        if entry.after.is_some() {
            // Only now the server can say what would come out.
            entry = self.again(planned.item, item, rules)?;
        }
        let settled = match entry.outcome {
            Outcome::Created => self.create(item, &entry, rules)?,
            Outcome::Changed => self.change(item, &entry)?,
            _ => entry,
        };
        let wrote = matches!(settled.outcome, Outcome::Created | Outcome::Changed);
        if wrote && item.object.kind == "CustomResourceDefinition" {
            return self.established(item, settled);
        }
        Ok(settled)
    }

    /// Creates an object. Without force: what somebody else has created meanwhile is not replaced.
    fn create(&self, item: &Item, entry: &Entry, rules: Rules) -> Result<Entry> {
        let Some(path) = self.path(item)? else { return Ok(entry.copy()) };
        match self.patch(&path, "", item.bytes.clone()) {
            Ok(_) => Ok(entry.copy()),
            Err(Failure::Refused(refusal)) if refusal.code == 409 => {
                // Somebody created it meanwhile: compare again, and leave it alone even with `overwrite`.
                let rules = Rules { overwrite: false, ..rules };
                let again = self.again(entry.item, item, rules)?;
                match again.outcome {
                    Outcome::Created => self.object_failure(entry.copy(), Failure::Refused(refusal)),
                    _ => Ok(again),
                }
            }
            Err(failure) => self.object_failure(entry.copy(), failure),
        }
    }

    /// Changes an object, if it is still the one that was compared.
    fn change(&self, item: &Item, entry: &Entry) -> Result<Entry> {
        let internal = |why: &str| Error::new(Code::Internal, format!("{} has no {why}", entry.name()));
        let mut body: Value = serde_json::from_slice(&item.bytes).map_err(|_| internal("JSON"))?;
        let metadata = body.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(|| internal("metadata"))?;
        let version = entry.version.clone().ok_or_else(|| internal("version to compare with"))?;
        metadata.insert("resourceVersion".to_owned(), Value::String(version));
        let body = serde_json::to_vec(&body).map_err(|_| internal("JSON"))?;
        let Some(path) = self.path(item)? else { return Ok(entry.copy()) };
        match self.patch(&path, "&force=true", body) {
            Ok(_) => Ok(entry.copy()),
            Err(failure) => self.object_failure(entry.copy(), failure),
        }
    }

    fn path(&self, item: &Item) -> Result<Option<String>> {
        match self.kind(&item.object) {
            Ok(kind) => Ok(kind.path(&item.object)),
            Err(Missing::Unknown(e)) => Err(e),
            Err(Missing::Failure(failure)) => Err(self.fatal(failure)),
        }
    }

    /// Waits until the kind that was just defined can be used.
    fn established(&self, item: &Item, entry: Entry) -> Result<Entry> {
        let Some(path) = self.path(item)? else { return Ok(entry) };
        for _ in 0..PATIENCE {
            let there = match self.get(&path) {
                Ok(there) => there,
                Err(failure) => return self.object_failure(entry, failure),
            };
            let conditions = there.pointer("/status/conditions").and_then(Value::as_array);
            let is = |one: &Value| {
                one.get("type").is_some_and(|t| t == "Established") && one.get("status").is_some_and(|s| s == "True")
            };
            if conditions.is_some_and(|all| all.iter().any(is)) {
                self.forget_kinds();
                if self.serves(&there)? {
                    return Ok(entry);
                }
            }
            self.pause(PAUSE)?;
        }
        let text = format!("{} was applied, but the cluster does not serve its kind yet", entry.name());
        Ok(entry.failed(Error::new(Code::ApplyFailed, text).hint("run the same command again in a minute")))
    }

    /// Whether the kind of a definition can be used, in a version that it serves.
    fn serves(&self, definition: &Value) -> Result<bool> {
        let text = |at: &str| definition.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice);
        let served = |one: &&Value| one.get("served").is_some_and(|served| served == true);
        let Some(version) = versions.unwrap_or_default().iter().find(served) else { return Ok(true) };
        let version = version.get("name").and_then(Value::as_str).unwrap_or_default();
        let probe = Object {
            api_version: format!("{}/{version}", text("/spec/group")),
            kind: text("/spec/names/kind"),
            namespace: None,
            name: "probe".to_owned(),
        };
        match self.kind(&probe) {
            Ok(_) => Ok(true),
            Err(Missing::Unknown(_)) => Ok(false),
            Err(Missing::Failure(failure)) => Err(self.fatal(failure)),
        }
    }
}

impl Entry {
    /// The same entry. A failed one is never copied.
    fn copy(&self) -> Entry {
        Entry {
            object: self.object.clone(),
            file: self.file.clone(),
            outcome: self.outcome,
            after: self.after.clone(),
            reason: self.reason.clone(),
            changes: self.changes.clone(),
            conflicts: self.conflicts.clone(),
            error: None,
            version: self.version.clone(),
            item: self.item,
        }
    }
}
