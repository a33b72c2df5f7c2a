//! Blobs that the bundle does not carry: where they are is known before the first write.

use std::collections::BTreeSet;

use crate::bundle::index::Blob;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::{Observer, form, observer};
use crate::parallel::Pace;
use crate::sink::Watch;
use crate::sink::destination::{Destination, Located, Sought};
use crate::verify::Admitted;
use crate::verify::rollback::Memory;

/// Finds every one of them at every destination. Those that must be searched are read there.
///
/// # Errors
/// [`Code::BlobMissing`]: one message for all that are nowhere. [`Code::BlobMismatch`] for one that is not what it is
/// called.
pub(super) fn locate<'a>(
    admitted: &Admitted<'_>,
    destinations: &'a [Box<dyn Destination + 'a>],
    seen: &Memory,
    pace: &Pace,
    observer: &dyn Observer,
) -> Result<()> {
    newer(admitted, seen, observer);
    let blobs = admitted.not_carried();
    let sought: Vec<Sought<'_>> =
        blobs.iter().map(|&blob| Sought { blob, repositories: admitted.repositories_of(&blob.digest) }).collect();
    let size = blobs.iter().map(|blob| blob.size).sum();
    observer
        .say("Locating", &format!("{} not carried, {}", observer::count(blobs.len(), "blob"), observer::size(size)));
    let located = Located::at(destinations, &sought)?;
    let missing: BTreeSet<Digest> = blobs.iter().map(|blob| blob.digest).filter(|one| !located.has(one)).collect();
    if !missing.is_empty() {
        let names: Vec<String> = destinations.iter().map(|one| one.describe()).collect();
        return Err(nowhere(admitted, &missing, seen, &names.join(" and ")));
    }
    admitted.still_wanted(pace, &located)?;
    match admitted.first_unrestored() {
        None => Ok(()),
        Some(digest) => {
            let text = format!("{digest} is there, and what is read of it is something else");
            Err(Error::new(Code::BlobMismatch, text)
                .fact("it had to be read, since it could hide a release")
                .hint("the registry is damaged: give the bundle that has it with --base"))
        }
    }
}

fn nowhere(admitted: &Admitted<'_>, missing: &BTreeSet<Digest>, seen: &Memory, at: &str) -> Error {
    let set = admitted.set();
    let blobs = &set.index().blobs;
    let lacking: Vec<usize> = set.absent().filter(|at| missing.contains(&blobs[*at].digest)).collect();
    let mut bases = set.carriages().into_iter().flat_map(|(_, carriage)| &carriage.bases);
    let err = form::lacking(set, &lacking, admitted.documents());
    let scrubbed = bases.find(|base| seen.without_some(&base.index));
    let text =
        |title: String| format!("{title} was unpacked here without something that a reviewer had removed from it");
    scrubbed
        .into_iter()
        .fold(err, |err, base| err.fact(text(base.title())))
        .fact(format!("looked in {at}"))
        .hint("unpack that bundle here first, or give it: --base BUNDLE; or ask for this bundle in full")
}

/// Says that this host does not remember a bundle that this one was made against.
fn newer(admitted: &Admitted<'_>, seen: &Memory, observer: &dyn Observer) {
    for base in admitted.set().carriages().iter().flat_map(|(_, carriage)| &carriage.bases) {
        if seen.lacks(&base.name, base.sequence) {
            let title = base.title();
            observer.warn(&format!("this host has not unpacked {title}, which this bundle was made against"));
        }
    }
}

/// Brings what was located to wherever it is needed.
pub(super) fn bring(
    blobs: &[&Blob],
    destinations: &[Box<dyn Destination + '_>],
    pace: &Pace,
    watch: &dyn Watch,
) -> Result<()> {
    let work = |(): &mut (), blob: &&Blob| {
        for destination in destinations {
            destination.bring(blob, watch)?;
        }
        watch.advance(blob.size);
        watch.item();
        Ok(())
    };
    pace.map(blobs, || (), work).map(|_| ())
}
