//! MB-SET: which volumes are at hand, which are missing, and what that means for the images.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use super::report::{Check, CheckId, Finding, Report, Severity};
use crate::bundle::index::{Image, Index};
use crate::bundle::set::Set;
use crate::error::Code;
use crate::oci::{Digest, parse};

/// How many images are named for a missing volume.
const NAMED: usize = 8;
/// How many in one line.
const NAMED_SHORT: usize = 3;

/// Judges what is at hand. `odd` is what belongs to nothing. Adds nothing for a bundle in one file.
pub(super) fn check(
    set: &Set,
    odd: Vec<Finding>,
    documents: &BTreeMap<Digest, Vec<u8>>,
    settings: &Settings,
    report: &mut Report,
) {
    let missing = set.missing();
    if set.parts().len() == 1 && odd.is_empty() && missing.is_none() {
        return;
    }
    let mut check = Check::new(CheckId::Volumes);
    let files = set.parts().len();
    check.details.push(if files == 1 { "1 file".to_owned() } else { format!("{files} files") });
    odd.into_iter().for_each(|finding| check.find(finding));
    damage(set, &mut check);
    for (first, again) in set.doubled() {
        let (first, again) = (set.parts()[first].name(), set.parts()[again].name());
        let text = format!("`{again}` has the same as `{first}`; each stands in for the other");
        check.find(Finding::notice(Code::UnlistedContent, again, text));
    }
    match missing {
        None => (check.examined, check.of) = (1, 1),
        Some((missing, of)) => {
            (check.examined, check.of) = (u64::from(of) - missing.len() as u64, u64::from(of));
            let images = Needs::new(set.index(), documents);
            for n in missing {
                self::missing(set, n, of, &images, settings, &mut check, report);
            }
        }
    }
    report.add(check);
}

/// What is wrong around the members of a part. That is a remark only where everything in it is elsewhere too.
fn damage(set: &Set, check: &mut Check) {
    for (at, part) in set.parts().iter().enumerate() {
        if part.damage().is_empty() {
            continue;
        }
        let elsewhere = |blob: usize| set.copies(blob).iter().any(|copy| copy.parts().all(|p| p != at));
        let severity = match part.layout().extents().iter().all(|extent| elsewhere(extent.blob)) {
            true => Severity::Notice,
            false => Severity::Error,
        };
        for err in part.damage() {
            let finding = Finding::of(part.name(), err);
            check.find(Finding { severity, ..finding });
        }
    }
}

fn missing(
    set: &Set,
    n: u32,
    of: u32,
    images: &Needs<'_>,
    settings: &Settings,
    check: &mut Check,
    report: &mut Report,
) {
    let index = set.index();
    let absent: BTreeSet<Digest> = (0..index.blobs.len())
        .filter(|blob| set.volumes_of(*blob).contains(&n) && !set.has(*blob))
        .map(|blob| index.blobs[blob].digest)
        .collect();
    let needing = images.of(&absent);
    let names = |limit: usize| {
        let mut named: Vec<String> = needing.iter().take(limit).map(|image| image.display()).collect();
        if needing.len() > limit {
            named.push(format!("and {} more", needing.len() - limit));
        }
        named
    };
    if absent.is_empty() {
        return;
    }
    let text = format!("volume {n} of {of} is not here");
    let images = match needing.len() {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    };
    let count = format!("{} of its blobs are needed by {images}", absent.len());
    if settings.partial {
        report.skip(CheckId::Volumes, true, format!("{text}: {count}: {}", names(NAMED_SHORT).join(", ")));
        return;
    }
    let finding = Finding::new(Code::Truncated, format!("volume {n}"), text).fact(count);
    let finding = names(NAMED).into_iter().fold(finding, |finding, name| finding.fact(name));
    check.find(finding.hint("name all volumes, or their folders, at once; or go on with what is here: --partial"));
}

/// Which images need which blobs.
pub(crate) struct Needs<'a>(Vec<(&'a Image, BTreeSet<Digest>)>);

impl<'a> Needs<'a> {
    pub(crate) fn new(index: &'a Index, documents: &BTreeMap<Digest, Vec<u8>>) -> Needs<'a> {
        let all = |image: &'a Image| {
            let mut all = BTreeSet::new();
            let mut next = vec![(image.digest, image.media_type.clone())];
            while let Some((digest, media_type)) = next.pop() {
                let Some(document) = documents.get(&digest).and_then(|bytes| parse(bytes, &media_type).ok()) else {
                    continue;
                };
                for child in document.children() {
                    if all.insert(child.digest) && documents.contains_key(&child.digest) {
                        next.push((child.digest, child.media_type.clone()));
                    }
                }
            }
            (image, all)
        };
        Needs(index.images.iter().map(all).collect())
    }

    /// The images that need any of these blobs, in the order of the index.
    pub(crate) fn of(&self, blobs: &BTreeSet<Digest>) -> Vec<&'a Image> {
        self.0.iter().filter(|(_, all)| !all.is_disjoint(blobs)).map(|(image, _)| *image).collect()
    }
}
