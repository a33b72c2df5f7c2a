//! `apply`: verifies, then applies the manifests to a cluster.
//!
//! Everything is verified before the first request, and every object is compared before the first one is written.

use std::path::{Path, PathBuf};

use crate::bundle::Inputs;
use crate::cluster::{self, About, Cluster, Entry, Item, Outcome as Did, Rules};
use crate::error::{Code, Error, Result};
use crate::kubernetes::{self, MirrorSetKind, Object};
use crate::observer::count;
use crate::ops::Observer;
use crate::verify::{Admission, Conclusion, Conditions, Report, Trust, Verified, admit};

/// Options of `apply`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster.
    pub cluster: cluster::Options,
    /// Change objects that exist with other content.
    pub overwrite: bool,
    /// Apply mirror sets.
    pub mirror_sets: bool,
    /// Apply the rest after a failure.
    pub go_on: bool,
    /// Compare only.
    pub dry_run: bool,
    /// Threads for verification.
    pub jobs: usize,
}

/// What to apply.
#[derive(Debug)]
pub enum What {
    /// The manifests of a bundle.
    Bundle(Inputs),
    /// A folder of manifests, or one file.
    Folder(PathBuf),
}

/// The outcome.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It is bad: no request was sent.
    Refused(Box<Report>),
    /// It was applied, as far as [`Applied`] says.
    Applied {
        /// The bundle, if it is one.
        bundle: Option<Box<Verified<'a>>>,
        /// The report.
        report: Box<Report>,
        /// What happened.
        applied: Box<Applied>,
    },
}

/// What happened at a cluster.
#[derive(Debug, serde::Serialize)]
pub struct Applied {
    /// The cluster.
    pub cluster: About,
    /// Whether this was a dry run: the outcomes are what would happen.
    pub dry_run: bool,
    /// Every object, in the order in which they are applied.
    pub objects: Vec<Entry>,
    /// The state of the cluster, and what to do.
    pub state: String,
    /// Why it ended early, if the cluster was lost.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cluster::problem")]
    pub error: Option<Error>,
}

impl Applied {
    /// The worst code, if something is not as the manifests have it.
    pub fn code(&self) -> Option<Code> {
        match &self.error {
            Some(error) => Some(error.code()),
            None => cluster::worst(self.objects.iter().filter_map(Entry::code)),
        }
    }

    /// The number of objects with this outcome.
    pub fn count(&self, outcome: Did) -> usize {
        self.objects.iter().filter(|entry| entry.outcome == outcome).count()
    }
}

/// Verifies, and applies the manifests.
///
/// # Errors
/// If something could not be read, or the cluster could not be asked at all.
pub fn apply<'a>(
    what: What,
    trust: &'a Trust,
    conditions: &'a Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome<'a>> {
    let (items, bundle, report) = match what {
        What::Bundle(inputs) => {
            let admitted = match admit(inputs, trust, conditions)? {
                Admission::Refused(report) => return Ok(Outcome::Refused(Box::new(report))),
                Admission::Admitted(admitted) => admitted,
            };
            if !admitted.may_unpack() {
                return Ok(Outcome::Refused(Box::new(admitted.interim_report())));
            }
            super::verify::announce(&admitted, observer);
            let verified = match super::verify::rest(*admitted, options.jobs, observer)? {
                Conclusion::Verified(verified) => verified,
                Conclusion::Unverified(report) => return Ok(Outcome::Refused(report)),
            };
            let items = items(verified.files("manifests/"))?;
            let report = Box::new(verified.report().clone());
            (items, Some(verified), report)
        }
        What::Folder(dir) => {
            let (items, report) = folder(&dir, trust, conditions)?;
            if report.exit_code != 0 {
                return Ok(Outcome::Refused(Box::new(report)));
            }
            report.findings().for_each(|finding| observer.warn(&finding.message));
            (items, None, Box::new(report))
        }
    };
    if items.is_empty() {
        return Err(Error::new(Code::Usage, "the bundle has no manifests: there is nothing to apply")
            .hint("mirror-bundle inspect BUNDLE shows what it has"));
    }
    let applying = Applying::connect(options, items, observer)?;
    let plan = applying.plan().map_err(no_change)?;
    let applied = match options.dry_run {
        true => applying.planned(plan, observer),
        false => applying.run(plan, observer),
    };
    Ok(Outcome::Applied { bundle, report, applied: Box::new(applied) })
}

fn no_change(e: Error) -> Error {
    if e.state_text().is_none() { e.state(NOTHING) } else { e }
}

const NOTHING: &str = "nothing was changed on the cluster";

/// The objects of verified files.
pub(super) fn items<'f>(files: impl Iterator<Item = (&'f str, &'f [u8])>) -> Result<Vec<Item>> {
    let item = |(path, bytes): (&str, &[u8])| {
        let manifest = kubernetes::read(bytes).or_else(|_| one(bytes));
        let manifest =
            manifest.map_err(|why| Error::new(Code::Malformed, format!("`{path}` is not acceptable: {why}")))?;
        Ok(Item { file: path.to_owned(), bytes: manifest.to_bytes(), object: manifest.object, needs: None })
    };
    files.map(item).collect()
}

/// A file with one object in any form: a mirror set that this program wrote.
fn one(bytes: &[u8]) -> Result<kubernetes::Manifest, kubernetes::Refusal> {
    let mut all = kubernetes::parse(bytes)?;
    let refusal = kubernetes::Refusal { line: None, why: "it holds several objects".to_owned() };
    if all.len() > 1 { Err(refusal) } else { all.pop().ok_or(refusal) }
}

/// The manifests of a folder, read as strictly as `create` reads them.
fn folder(dir: &Path, trust: &Trust, conditions: &Conditions) -> Result<(Vec<Item>, Report)> {
    let admission = conditions.admission(trust);
    // What it warns of is in the report too.
    let files = crate::select::manifests(dir, &admission, &crate::ops::Silent).map_err(|e| e.state(NOTHING))?;
    let report = crate::verify::loose(&dir.display().to_string(), &files, trust, conditions);
    let items = items(files.iter().map(|(file, bytes)| (file.path.as_str(), bytes.as_slice())))?;
    Ok((items, report))
}

/// A cluster, and what is to be applied there.
#[derive(Debug)]
pub(super) struct Applying {
    cluster: Cluster,
    items: Vec<Item>,
    rules: Rules,
    go_on: bool,
}

impl Applying {
    pub(super) fn connect(options: &Options, items: Vec<Item>, observer: &dyn Observer) -> Result<Applying> {
        let cluster = Cluster::connect(&options.cluster).map_err(no_change)?;
        let about = cluster.about();
        let user = about.user.as_deref().unwrap_or("an unknown user");
        let (verb, to) = if options.dry_run { ("Comparing", "with") } else { ("Applying", "to") };
        let objects = count(items.len(), "manifest");
        observer.say(verb, &format!("{objects} {to} {}, Kubernetes {}, as {user}", about.server, about.version));
        let rules = Rules { overwrite: options.overwrite, mirror_sets: options.mirror_sets };
        Ok(Applying { cluster, items, rules, go_on: options.go_on })
    }

    /// What would happen.
    pub(super) fn plan(&self) -> Result<Vec<Entry>> {
        self.cluster.plan(&self.items, self.rules)
    }

    /// The answer of a dry run.
    pub(super) fn planned(self, objects: Vec<Entry>, observer: &dyn Observer) -> Applied {
        nodes(&objects, observer);
        self.elsewhere(observer);
        objects.iter().filter(|entry| entry.outcome == Did::Differs).for_each(|entry| settled(entry, observer));
        let state = format!("{NOTHING}: this was a dry run");
        Applied { cluster: self.cluster.about().clone(), dry_run: true, objects, state, error: None }
    }

    /// Says what the cluster mirrors elsewhere for the sources of the mirror sets. Nothing depends on the answer.
    fn elsewhere(&self, observer: &dyn Observer) {
        if !self.rules.mirror_sets {
            return;
        }
        let found = self.cluster.mirrored_elsewhere(&self.items).unwrap_or_default();
        found.iter().take(ELSEWHERE).for_each(|one| observer.say("Note", &one.sentence()));
        let more = found.len().saturating_sub(ELSEWHERE);
        if more > 0 {
            observer.say("Note", &format!("and {more} more such mirrors"));
        }
    }

    /// Applies what was planned.
    pub(super) fn run(self, mut objects: Vec<Entry>, observer: &dyn Observer) -> Applied {
        nodes(&objects, observer);
        self.elsewhere(observer);
        let mut done = |entry: &Entry| settled(entry, observer);
        let error = self.cluster.apply(&self.items, &mut objects, self.rules, self.go_on, &mut done).err();
        let mut applied =
            Applied { cluster: self.cluster.about().clone(), dry_run: false, objects, state: String::new(), error };
        applied.state = state(&applied);
        applied
    }
}

/// The most sentences about mirrors that are there.
const ELSEWHERE: usize = 20;

/// Warns of what applying mirror sets does to nodes, before it is done.
fn nodes(plan: &[Entry], observer: &dyn Observer) {
    let written = plan.iter().filter(|entry| matches!(entry.outcome, Did::Created | Did::Changed));
    let sets: Vec<&Object> =
        written.map(|entry| &entry.object).filter(|object| MirrorSetKind::of(object).is_some()).collect();
    if let Some(effect) = effect(&sets) {
        observer.warn(&effect);
    }
}

/// What applying these mirror sets does to nodes, and which of them drain.
fn effect(sets: &[&Object]) -> Option<String> {
    let named = |drains: bool| {
        let some = sets.iter().filter(|object| (MirrorSetKind::of(object) == Some(MirrorSetKind::Tag)) == drains);
        some.map(|object| format!("{} {}", object.kind, object.name)).collect::<Vec<_>>().join(", ")
    };
    let effect = match (named(true), named(false)) {
        (drain, calm) if drain.is_empty() && calm.is_empty() => return None,
        (drain, calm) if drain.is_empty() => format!("no node is drained for {calm}"),
        (drain, calm) if calm.is_empty() => format!("each node is drained for {drain}"),
        (drain, calm) => format!("each node is drained for {drain}, and none for {calm}"),
    };
    Some(format!("mirror sets roll a new configuration over all nodes, and restart CRI-O there: {effect}"))
}

/// Says what happened to an object.
fn settled(entry: &Entry, observer: &dyn Observer) {
    match entry.outcome {
        Did::Differs => observer.warn(&differs(entry)),
        // Shown with its facts at the end.
        Did::Failed | Did::NotApplied => {}
        Did::Created => observer.say("Created", &entry.name()),
        Did::Unchanged => observer.say("Unchanged", &entry.name()),
        Did::Changed => observer.say("Changed", &entry.name()),
        Did::LeftOut => {
            let why = entry.reason.as_deref().unwrap_or("it was not asked for");
            observer.say("Left out", &format!("{}: {why}", entry.name()));
        }
    }
}

/// What differs, and who owns it, in one sentence.
pub(super) fn differs(entry: &Entry) -> String {
    let fields: Vec<&str> = entry.changes.iter().take(3).map(|change| change.field.as_str()).collect();
    let more = entry.changes.len().saturating_sub(fields.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let mut owners: Vec<&str> = entry.conflicts.iter().map(|conflict| conflict.owner.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    let owners = if owners.is_empty() { String::new() } else { format!(" ({})", owners.join(", ")) };
    format!("{} exists with other content, and is left alone: {}{more}{owners}", entry.name(), fields.join(", "))
}

/// The state of the cluster, and what to do.
fn state(applied: &Applied) -> String {
    let wrote = applied.count(Did::Created) + applied.count(Did::Changed);
    let there = wrote + applied.count(Did::Unchanged);
    let of = applied.objects.len() - applied.count(Did::LeftOut);
    if of == 0 {
        return format!("{NOTHING}: every manifest was left out");
    }
    let left = of - there;
    let first = match (wrote, left) {
        (_, 0) if of == 1 => return "the object is as the manifest has it".to_owned(),
        (_, 0) => return format!("all {of} objects are as the manifests have them"),
        (0, _) => NOTHING.to_owned(),
        _ => format!("{there} of {of} objects are as the manifests have them, and {left} not"),
    };
    let then = match applied.count(Did::Differs) == left {
        true => "compare them with --dry-run; --overwrite changes them",
        false => "run the same command again after the cause is gone: it does the rest",
    };
    format!("{first}; {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_sets_drain_nodes_is_said_before_they_are_applied() {
        let set = |kind: &str, name: &str| Object {
            api_version: "config.openshift.io/v1".into(),
            kind: kind.into(),
            namespace: None,
            name: name.into(),
        };
        let (digests, tags) = (set("ImageDigestMirrorSet", "d"), set("ImageTagMirrorSet", "t"));
        let says = |sets: &[&Object]| effect(sets).unwrap_or_default();
        assert!(says(&[&digests]).ends_with("no node is drained for ImageDigestMirrorSet d"));
        assert!(says(&[&tags]).ends_with("each node is drained for ImageTagMirrorSet t"));
        assert!(
            says(&[&digests, &tags]).ends_with("drained for ImageTagMirrorSet t, and none for ImageDigestMirrorSet d")
        );
        assert_eq!(effect(&[]), None);
    }
}
