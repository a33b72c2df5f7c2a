//! The form of a bundle: which blobs a file leaves out, because the receiver has them (MB-CAR).
//!
//! `create --base` and `shrink` both use this module, so that they leave out the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bundle::carriage::{As, BaseName, Carriage, Entry, Reference, SignedCarriage};
use crate::bundle::index::{Blob, Index, title};
use crate::bundle::set::Set;
use crate::bundle::writer::Plan;
use crate::bundle::{Layout, limits};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Role};
use crate::ops::encode::{Encoded, Members};
use crate::ops::{Observer, observer};
use crate::select::base::{Base, Bases};
use crate::sign::{MessageHash, Namespace, SecretKey, sign};
use crate::verify::Needs;

/// What is left out, for a person and for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Form {
    /// Blobs that are left out.
    pub absent: usize,
    /// Their size in bytes.
    pub absent_bytes: u64,
    /// Blobs that are carried as members from which they are restored.
    #[serde(skip_serializing_if = "is_zero")]
    pub encoded: usize,
    /// Their size in bytes.
    #[serde(skip_serializing_if = "is_zero_bytes")]
    pub encoded_bytes: u64,
    /// Size of these members in bytes.
    #[serde(skip_serializing_if = "is_zero_bytes")]
    pub member_bytes: u64,
    /// Size in bytes of the bundle with everything, in one file.
    pub full_bytes: u64,
    /// The bundles that the receiver is believed to have, with their numbers.
    pub bases: Vec<String>,
}

impl Form {
    /// Of a plan; `None` if it carries everything.
    pub(crate) fn of(plan: &Plan) -> Result<Option<Form>> {
        let full = Layout::new(&plan.index, &plan.index_bytes, plan.signature.as_deref())?.total();
        let layout = plan.archives().first().map(|archive| &archive.layout);
        Ok(layout.and_then(|layout| Form::in_layout(&plan.index, layout, full)))
    }

    /// Of a layout of this index; `None` if it carries everything.
    pub(crate) fn in_layout(index: &Index, layout: &Layout, full_bytes: u64) -> Option<Form> {
        let carriage = layout.carriage()?;
        let absent_bytes = layout.absent().iter().map(|at| index.blobs[*at].size).sum();
        let bases = carriage.bases.iter().map(BaseName::title).collect();
        let encoded = || carriage.blobs.iter().filter(|entry| entry.form == As::Encoded);
        Some(Form {
            absent: layout.absent().len(),
            absent_bytes,
            encoded: encoded().count(),
            encoded_bytes: encoded().filter_map(|entry| index.blobs.get(entry.position())).map(|blob| blob.size).sum(),
            member_bytes: encoded().filter_map(|entry| entry.size).sum(),
            full_bytes,
            bases,
        })
    }

    /// Says what is carried how.
    pub(crate) fn say(&self, observer: &dyn Observer) {
        match self.encoded {
            0 => observer.say("Leaving out", self.words().trim_start_matches("without ")),
            _ => observer.say("Carrying", &self.words()),
        }
    }

    /// One sentence without a subject: `without 3 blobs (12 MiB) that are in app #6; 20 MiB in full`.
    pub fn words(&self) -> String {
        let known = match self.bases.as_slice() {
            [] => "that the receiver has".to_owned(),
            bases => format!("that are in {}", bases.join(", ")),
        };
        let mut parts = Vec::new();
        if self.absent > 0 {
            parts.push(format!(
                "without {} ({}) {known}",
                observer::count(self.absent, "blob"),
                observer::size(self.absent_bytes)
            ));
        }
        if self.encoded > 0 {
            parts.push(format!(
                "{} of {} restored from {}",
                observer::count(self.encoded, "blob"),
                observer::size(self.encoded_bytes),
                observer::size(self.member_bytes)
            ));
        }
        parts.push(format!("{} in full", observer::size(self.full_bytes)));
        parts.join("; ")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero_bytes(n: &u64) -> bool {
    *n == 0
}

/// How many images an error names.
const NAMED: usize = 8;

/// The error for blobs that are nowhere: positions in the index of the set. One message names the first of them, the
/// images that need them, and who had them.
pub(crate) fn lacking(set: &Set, blobs: &[usize], documents: &BTreeMap<Digest, Vec<u8>>) -> Error {
    let index = set.index();
    let digests: BTreeMap<Digest, Vec<u32>> = blobs.iter().map(|at| (index.blobs[*at].digest, vec![1])).collect();
    let size: u64 = blobs.iter().map(|at| index.blobs[*at].size).sum();
    let needing = Needs::new(index, documents, &digests).any();
    let first = blobs.first().map(|at| index.blobs[*at].digest.to_string()).unwrap_or_default();
    let text = match blobs.len() {
        1 => format!("{first} is not carried in this bundle, and is not here"),
        n => {
            let more = observer::count(n - 1, "more blob");
            format!("{first} and {more} are not carried in this bundle, and are not here")
        }
    };
    let mut err = Error::new(Code::BlobMissing, text).fact(format!(
        "{} in all, needed by {}",
        observer::size(size),
        observer::count(needing.len(), "image")
    ));
    for image in needing.iter().take(NAMED) {
        err = err.fact(image.display());
    }
    if needing.len() > NAMED {
        err = err.fact(format!("and {} more", needing.len() - NAMED));
    }
    let mut had: Vec<String> = Vec::new();
    for base in set.carriages().iter().flat_map(|(_, carriage)| &carriage.bases) {
        let one = format!("{} ({})", base.title(), base.index);
        if !had.contains(&one) {
            had.push(one);
        }
    }
    for one in had.iter().take(NAMED) {
        err = err.fact(format!("the bundle that had it: {one}"));
    }
    if let Some(receipt) = set.carriages().iter().find_map(|(_, carriage)| carriage.receipt) {
        err = err.fact(format!("left out because of the receipt or inventory {receipt}"));
    }
    let removed = blobs.iter().find_map(|at| set.stock().removed_from(&index.blobs[*at].digest));
    match removed {
        Some(name) => err.fact(format!("`{name}` is without it: a reviewer removed it from there")),
        None => err,
    }
}

/// Refuses a base that cannot be one: the bundle itself, or a later one of its series.
fn fits(base: &Base, plan: &Plan) -> Result<()> {
    let path = base.path.display();
    if base.index == Some(plan.digest()) {
        let text = format!("`{path}` is a base of the bundle itself: it has the same index");
        return Err(Error::new(Code::Usage, text).state("nothing was written").hint("name the bundle before it"));
    }
    let later = base.name.as_ref() == Some(&plan.index.name) && base.sequence > plan.index.sequence;
    if later && plan.index.sequence.is_some() {
        let text = format!("`{path}` is newer than the bundle: {}", base.title());
        return Err(Error::new(Code::Usage, text)
            .fact(format!("the bundle is {}", title(&plan.index.name, plan.index.sequence)))
            .state("nothing was written")
            .hint("a base is what the site has already: name an older bundle, or give this one a higher --sequence"));
    }
    Ok(())
}

/// The blobs of a plan that the bases have, as entries of a carriage. `plain`: blobs that checks read, which every form
/// carries (MB-CAR-07).
///
/// # Errors
/// [`Code::Usage`] for a base that cannot be one.
fn absent(plan: &Plan, bases: &Bases, plain: &BTreeSet<Digest>) -> Result<Vec<Entry>> {
    bases.all.iter().try_for_each(|base| fits(base, plan))?;
    let index = &plan.index;
    let removed = plan.removed();
    let named: BTreeSet<&str> = index.images.iter().filter_map(|image| image.repository.as_deref()).collect();
    let leave_out = |(at, blob): &(usize, &Blob)| {
        blob.role == Role::Layer
            && blob.size > limits::SMALL_BLOB
            && !plain.contains(&blob.digest)
            && !removed.blobs.contains(at)
            && bases.has(&blob.digest) == Some(blob.size)
    };
    let entry = |(at, blob): (usize, &Blob)| {
        // Where the images of this bundle go is looked anyway.
        let elsewhere = bases.repositories(&blob.digest).into_iter().filter(|one| !named.contains(one));
        let mut elsewhere: Vec<String> = elsewhere.map(str::to_owned).collect();
        elsewhere.sort();
        Entry::absent(at, elsewhere)
    };
    Ok(index.blobs.iter().enumerate().filter(leave_out).map(entry).collect())
}

/// The plan without what the bases have. `key` signs the carriage in this namespace.
///
/// # Errors
/// [`Code::Usage`] for a base that cannot be one.
pub(crate) fn without(
    plan: Plan,
    bases: &Bases,
    plain: &BTreeSet<Digest>,
    key: Option<(&SecretKey, Namespace)>,
) -> Result<Plan> {
    let entries = absent(&plan, bases, plain)?;
    carried(plan, bases, entries, Vec::new(), key)
}

/// A plan with members in the place of some blobs, and these members.
///
/// # Errors
/// Those of making them.
pub(crate) fn encoded(
    plan: Plan,
    made: Encoded,
    bases: &Bases,
    key: Option<(&SecretKey, Namespace)>,
) -> Result<(Plan, Members)> {
    let (mut entries, references, members) = made.into_parts();
    let before = plan.archives().first().and_then(|archive| archive.layout.carriage());
    entries.extend(before.into_iter().flat_map(|carriage| carriage.blobs.clone()));
    entries.sort_by_key(|entry| entry.blob);
    Ok((carried(plan, bases, entries, references, key)?, members))
}

/// The plan with a carriage that says this.
fn carried(
    plan: Plan,
    bases: &Bases,
    mut entries: Vec<Entry>,
    mut references: Vec<Reference>,
    key: Option<(&SecretKey, Namespace)>,
) -> Result<Plan> {
    if entries.is_empty() {
        return Ok(plan);
    }
    let base = |base: &Base| {
        Some(BaseName { index: base.index?, name: base.name.clone().unwrap_or_default(), sequence: base.sequence })
    };
    let mut names: Vec<BaseName> = bases.all.iter().filter_map(base).collect();
    names.sort();
    names.dedup_by_key(|base| base.index);
    let receipt = bases.all.iter().filter_map(|base| base.receipt).min();
    let carriage = |entries, references| Carriage {
        references,
        ..Carriage::absent(plan.digest(), names.clone(), receipt, entries)
    };
    let mut bytes = carriage(entries.clone(), references.clone()).to_bytes();
    if bytes.is_err() {
        // The names are a help only.
        entries.iter_mut().for_each(|entry| entry.repositories.clear());
        references.iter_mut().for_each(|reference| reference.repositories.clear());
        bytes = carriage(entries, references).to_bytes();
    }
    let bytes = bytes.map_err(|e| e.state("nothing was written"))?;
    let signature = key.map(|(key, namespace)| sign(key, namespace, &MessageHash::of(&bytes)).into_bytes());
    plan.with_carriage(Some(SignedCarriage::new(bytes, signature)))
}
