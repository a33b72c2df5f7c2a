//! MB-SET: which volumes are available, which are missing, and which images that affects.

use std::collections::BTreeMap;

use super::Settings;
use super::report::{Check, CheckId, Finding, Report, Severity};
use crate::bundle::addendum;
use crate::bundle::index::{Image, Index};
use crate::bundle::reader::Contents;
use crate::bundle::set::Set;
use crate::error::Code;
use crate::graph::Closure;
use crate::oci::Digest;

/// The most images named for a missing volume.
const NAMED: usize = 8;
/// The most images named on one line.
const NAMED_SHORT: usize = 3;

/// Checks which volumes are available. `unrelated` are findings about files that belong to nothing. Adds nothing for a
/// bundle in one file.
pub(super) fn check(
    set: &Set,
    unrelated: Vec<Finding>,
    documents: &BTreeMap<Digest, Vec<u8>>,
    settings: &Settings,
    report: &mut Report,
) {
    let missing = set.missing();
    if set.parts().len() == 1 && unrelated.is_empty() && missing.is_none() {
        return;
    }
    let mut check = Check::new(CheckId::Volumes);
    let files = set.parts().len();
    check.details.push(if files == 1 { "1 file".to_owned() } else { format!("{files} files") });
    unrelated.into_iter().for_each(|finding| check.find(finding));
    damage(set, &mut check);
    partly_signed(set, &mut check);
    for (first, again) in set.doubled() {
        let (first, again) = (set.parts()[first].name(), set.parts()[again].name());
        let text = format!("`{again}` has the same content as `{first}`; either can replace the other");
        check.find(Finding::notice(Code::UnlistedContent, again, text));
    }
    match missing {
        None => (check.examined, check.of) = (1, 1),
        Some((missing, of)) => {
            (check.examined, check.of) = (u64::from(of) - missing.len() as u64, u64::from(of));
            let lacking = if missing.is_empty() { Lacking::default() } else { lacking(set) };
            let needs = Needs::new(set.index(), documents, &lacking.on);
            for n in missing {
                let count = lacking.blobs.get(&n).copied().unwrap_or_default();
                if count > 0 {
                    self::missing((n, of, set.division()), count, &needs.of(n), settings, &mut check, report);
                }
            }
        }
    }
    report.add(check);
}

/// The blobs that no part has.
#[derive(Default)]
struct Lacking {
    /// The volumes of each blob.
    on: BTreeMap<Digest, Vec<u32>>,
    /// The number of blobs on each volume.
    blobs: BTreeMap<u32, usize>,
}

fn lacking(set: &Set) -> Lacking {
    let mut out = Lacking::default();
    for (at, blob) in set.index().blobs.iter().enumerate().filter(|(at, _)| !set.has(*at)) {
        let volumes = set.volumes_of(at);
        volumes.iter().for_each(|n| *out.blobs.entry(*n).or_default() += 1);
        out.on.insert(blob.digest, volumes);
    }
    out
}

/// The most files named for lacking a signature.
const LACKING: usize = 8;

/// Signatures in any file count (MB-SET-07); files that lack a signature of the others are reported.
fn partly_signed(set: &Set, check: &mut Check) {
    for signature in set.addenda().iter().filter(|a| addendum::is_signature(&a.name)) {
        let without = set.parts().iter().filter(|part| part.damage().is_empty() && !part.addenda().contains(signature));
        let names: Vec<&str> = without.map(Contents::name).collect();
        if names.is_empty() {
            continue;
        }
        let (lack, of) = (names.len(), set.parts().len());
        let text = format!("the signature `{}` is in {} of {of} files only", signature.name, of - lack);
        let finding = Finding::notice(Code::Unsigned, &signature.name, text);
        let finding = names.iter().take(LACKING).fold(finding, |f, name| f.fact(format!("not in `{name}`")));
        let finding = if lack > LACKING { finding.fact(format!("and {} more", lack - LACKING)) } else { finding };
        check.find(finding.hint("sign again, with all volumes at hand"));
    }
}

/// Reports damage around the members of a part. It is only a remark if everything in the part is available elsewhere.
fn damage(set: &Set, check: &mut Check) {
    for (at, part) in set.parts().iter().enumerate() {
        if part.damage().is_empty() {
            continue;
        }
        let elsewhere = |signed: usize| {
            set.position(signed).is_none_or(|blob| set.replicas(blob).iter().any(|copy| copy.parts().all(|p| p != at)))
        };
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
    (n, of, division): (u32, u32, Option<&Contents>),
    blobs: usize,
    needing: &[&Image],
    settings: &Settings,
    check: &mut Check,
    report: &mut Report,
) {
    let names = |limit: usize| {
        let mut named: Vec<String> = needing.iter().take(limit).map(|image| image.display()).collect();
        if needing.len() > limit {
            named.push(format!("and {} more", needing.len() - limit));
        }
        named
    };
    let text = format!("volume {n} of {of} is not here");
    let text = match division {
        Some(part) => format!("{text}, of those that `{}` belongs to", part.name()),
        None => text,
    };
    let images = match needing.len() {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    };
    let count = format!("{blobs} of its blobs are needed by {images}");
    if settings.partial {
        report.skip(CheckId::Volumes, true, format!("{text}: {count}: {}", names(NAMED_SHORT).join(", ")));
        return;
    }
    let finding = Finding::new(Code::Truncated, format!("volume {n}"), text).fact(count);
    let finding = names(NAMED).into_iter().fold(finding, |finding, name| finding.fact(name));
    check.find(finding.hint("give all volumes, or their folders, together; or continue without them: --partial"));
}

/// A set of volumes: one bit for each (`crate::bundle::limits::VOLUMES`).
type Bits = [u64; 16];

/// Which images need which volumes. Each document is read once, however many images have it.
pub(crate) struct Needs<'a>(Vec<(&'a Image, Bits)>);

impl<'a> Needs<'a> {
    /// `lacking`: blobs, and the volumes of each.
    pub(crate) fn new(
        index: &'a Index,
        documents: &BTreeMap<Digest, Vec<u8>>,
        lacking: &BTreeMap<Digest, Vec<u32>>,
    ) -> Needs<'a> {
        let mut closure = Closure::default();
        let mut read = |digest: &Digest| Ok(documents.get(digest));
        // Reading from memory does not fail.
        let roots: Vec<_> = index.images.iter().map(|image| closure.add(&image.descriptor(), &mut read).ok()).collect();
        let mut needs: Vec<Bits> = Vec::with_capacity(closure.nodes().len());
        for node in closure.nodes() {
            let mut bits = Bits::default();
            for volume in lacking.get(&node.digest).into_iter().flatten() {
                let (word, bit) = place(*volume);
                bits[word] |= bit;
            }
            for child in &node.children {
                bits.iter_mut().zip(needs[*child]).for_each(|(all, one)| *all |= one);
            }
            needs.push(bits);
        }
        let of = |root: Option<usize>| root.map(|at| needs[at]).unwrap_or_default();
        Needs(index.images.iter().zip(roots.into_iter().map(of)).collect())
    }

    /// The images that need this volume, in the order of the index.
    pub(crate) fn of(&self, volume: u32) -> Vec<&'a Image> {
        let (word, bit) = place(volume);
        self.0.iter().filter(|(_, bits)| bits[word] & bit != 0).map(|(image, _)| *image).collect()
    }

    /// The images that need any of them.
    pub(crate) fn any(&self) -> Vec<&'a Image> {
        self.0.iter().filter(|(_, bits)| *bits != Bits::default()).map(|(image, _)| *image).collect()
    }
}

fn place(volume: u32) -> (usize, u64) {
    ((volume as usize / 64).min(15), 1 << (volume % 64))
}
