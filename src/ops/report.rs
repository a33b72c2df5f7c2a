//! `report`: everything that a reviewer decides by, from one reading, as data for the sheet of [`crate::page`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::diff::image_key;
use super::review::{self, Ask, Outcome, Review};
use crate::bundle::Inputs;
use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::series::{Place, places};
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::ops::reading::Basis;
use crate::page::{Change, Effect, Since, effects, numbered};
use crate::policy::Facts;
use crate::report::{Report, SignatureOutcome};
use crate::scan::Summary;
use crate::sign::Role;
use crate::verify::{Admission, CheckId, Conditions, Trust, admit, look};

/// An older bundle to compare with.
#[derive(Debug)]
pub struct Older {
    /// Its file, or a folder of its volumes.
    pub path: PathBuf,
    /// The conditions under which it is verified.
    pub conditions: Conditions,
}

/// What a sheet is made from.
#[derive(Debug)]
pub struct Reported {
    /// The report.
    pub report: Report,
    /// Whether the bundle was refused, so that its content was not looked at.
    pub refused: bool,
    /// Its index.
    pub index: Option<Index>,
    /// What it holds.
    pub facts: Option<Facts>,
    /// What scanners found.
    pub scan: Option<Summary>,
    /// What its Kubernetes objects do.
    pub effects: Vec<Effect>,
    /// What is new in it.
    pub since: Option<Since>,
    /// The exit code.
    pub exit_code: u8,
}

/// Reads a bundle once, and compares it with an older one.
///
/// A policy that also requires reviewers is used as it is before the review: a reviewer makes this report before
/// anybody signs, and that is said in it.
///
/// # Errors
/// Those of [`review::review`]; those of opening the older bundle.
pub fn report(
    inputs: Inputs,
    mut basis: Basis,
    ask: Ask<'_>,
    older: Option<Older>,
    observer: &dyn Observer,
) -> Result<Reported> {
    let awaited = basis.trust.as_mut().and_then(Trust::before_review);
    let mut out = match review::review(inputs, &basis, ask, observer)? {
        Outcome::Refused(report) => Reported {
            exit_code: report.exit_code,
            report: *report,
            refused: true,
            index: None,
            facts: None,
            scan: None,
            effects: Vec::new(),
            since: None,
        },
        Outcome::Done(review) => done(*review),
    };
    if let Some(needed) = awaited.filter(|needed| reviewers(&out.report) < *needed) {
        let have = reviewers(&out.report);
        let text = format!("reviewer: {have} of {needed} so far; hosts with this policy refuse the bundle until then");
        out.report.skip(CheckId::BundleSignature, false, text);
    }
    if let (Some(older), Some(index), Some(facts)) = (older, &out.index, &out.facts) {
        out.since = Some(since(older, basis.trust.as_ref(), index, facts)?);
    }
    Ok(out)
}

fn done(review: Review) -> Reported {
    let Review { report, facts, scan, exit_code, index, manifests, .. } = review.with_layers();
    let effects = manifests.iter().filter_map(|(path, bytes)| effects::of(path, bytes)).collect();
    Reported { report, refused: false, index: Some(index), facts: Some(facts), scan, effects, since: None, exit_code }
}

/// The different reviewers who have signed.
fn reviewers(report: &Report) -> usize {
    let good =
        report.signatures.iter().filter(|one| one.is_good() && one.role.as_deref() == Some(Role::Reviewer.as_str()));
    good.filter_map(|one| one.key.as_deref()).collect::<BTreeSet<_>>().len()
}

/// What is new in a bundle since an older one, of which only the head, documents and manifests are read.
fn since(older: Older, trust: Option<&Trust>, index: &Index, facts: &Facts) -> Result<Since> {
    let Older { path, conditions } = older;
    let (inputs, path) = (|| Inputs::Paths(vec![path.clone()]), path.display().to_string());
    let cannot = |e: Error| e.fact(format!("`{path}` was named with --since"));
    let first = match trust {
        Some(trust) => admit(inputs(), trust, &conditions).map_err(cannot)?,
        None => look(inputs(), &conditions).map_err(cannot)?,
    };
    let (admitted, standing) = match first {
        Admission::Admitted(admitted) => {
            let said = signers(admitted.report());
            (admitted, said)
        }
        Admission::Refused(report) => {
            let why = report.worst().map(|finding| finding.message.clone()).unwrap_or_default();
            // It is compared all the same, and that is said.
            match look(inputs(), &conditions).map_err(cannot)? {
                Admission::Admitted(admitted) => (admitted, format!("NOT accepted by this host: {why}")),
                Admission::Refused(_) => {
                    return Err(
                        Error::new(Code::Usage, format!("the older bundle `{path}` cannot be compared with")).fact(why)
                    );
                }
            }
        }
    };
    let old = admitted.index();
    let standing = match relation(index, old) {
        Some(relation) => format!("{relation}; {standing}"),
        None => standing,
    };
    let had: BTreeMap<String, BTreeSet<String>> = keyed(old);
    let known: BTreeSet<String> = old.blobs.iter().map(|blob| blob.digest.to_string()).collect();
    let mut out = Since {
        title: numbered(&old.name, old.sequence),
        index: admitted.report().bundle.index.clone(),
        releases: old.releases.iter().map(|r| format!("{} {}", r.version, r.architecture)).collect(),
        standing,
        bytes: index.blobs.iter().filter(|blob| !known.contains(&blob.digest.to_string())).map(|blob| blob.size).sum(),
        path: path.clone(),
        ..Since::default()
    };
    let has = keyed(index);
    for (name, digests) in &has {
        let what = match had.get(name) {
            Some(before) if before == digests => {
                out.same += 1;
                continue;
            }
            Some(_) => "changed",
            None => "new",
        };
        let members = facts.images.iter().filter(|image| image.listed.iter().any(|digest| digests.contains(digest)));
        let (mut layers, mut own) = (BTreeMap::new(), Vec::new());
        for image in members {
            own.push(image.digest.clone());
            layers.extend(image.layers.iter().filter(|l| !known.contains(&l.digest)).map(|l| (&l.digest, l.size)));
        }
        out.images.push(Change { name: name.clone(), what, bytes: layers.values().sum(), digests: own });
    }
    let gone = had.keys().filter(|name| !has.contains_key(*name));
    out.images.extend(gone.map(|name| Change { name: name.clone(), what: "gone", ..Change::default() }));
    let (before, now) = (objects(old), objects(index));
    for (name, digest) in &now {
        match before.get(name) {
            Some(other) if other == digest => {}
            Some(_) => out.objects.push(("changed", name.clone())),
            None => out.objects.push(("new", name.clone())),
        }
    }
    out.objects.extend(before.keys().filter(|name| !now.contains_key(*name)).map(|name| ("gone", name.clone())));
    Ok(out)
}

/// What makes the other bundle a wrong one to compare with: it is the same, newer, or of another series.
fn relation(index: &Index, old: &Index) -> Option<&'static str> {
    if index == old {
        return Some("the SAME bundle");
    }
    let (new, old_places) = (places(index), places(old));
    let mut common = false;
    for (one, other) in new.iter().flat_map(|one| old_places.iter().map(move |other| (one, other))) {
        let newer = match (one, other) {
            _ if one.series() != other.series() => continue,
            (Place::Numbered { number, .. }, Place::Numbered { number: before, .. }) => before > number,
            (Place::Release { version, .. }, Place::Release { version: before, .. }) => before.order(version).is_gt(),
            _ => continue,
        };
        if newer {
            return Some("NEWER than this bundle");
        }
        common = true;
    }
    if !common && !new.is_empty() && !old_places.is_empty() {
        return Some("of ANOTHER series than this bundle");
    }
    let time = |index: &Index| index.created.parse::<jiff::Timestamp>().ok();
    (!common && time(old) > time(index)).then_some("made AFTER this bundle")
}

/// Who signed the older bundle, for this host.
fn signers(report: &Report) -> String {
    if let Some(finding) = report.errors().next() {
        return format!("NOT accepted by this host: {}", finding.message);
    }
    let one = |one: &SignatureOutcome| {
        format!(
            "{} as {}",
            one.name.as_deref().or(one.key.as_deref()).unwrap_or("?"),
            one.role.as_deref().unwrap_or("?")
        )
    };
    let good: Vec<String> = report.signatures.iter().filter(|s| s.is_good()).map(one).collect();
    if good.is_empty() { "nobody's signature was checked".to_owned() } else { format!("signed by {}", good.join(", ")) }
}

/// The images by a name that stays from version to version, with their digests.
fn keyed(index: &Index) -> BTreeMap<String, BTreeSet<String>> {
    let attached = |image: &Image| matches!(image.kind, Kind::Signature | Kind::Referrer);
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, image) in index.images.iter().enumerate().filter(|(_, image)| !attached(image)) {
        out.entry(image_key(index, at)).or_default().insert(image.digest.to_string());
    }
    out
}

/// The Kubernetes objects by name, with the digests of their files.
fn objects(index: &Index) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for file in &index.files {
        out.extend(file.objects.iter().map(|object| (object.to_string(), file.digest.to_string())));
    }
    out
}
