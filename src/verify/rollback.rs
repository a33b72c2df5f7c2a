//! MB-ROL: never go back behind what this host has unpacked, and never accept two bundles with the same number.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::report::{Check, Finding};
use crate::bundle::Index;
use crate::bundle::removal::Removed;
use crate::bundle::series::{Place, Version, places};
use crate::error::Code;
use crate::oci::Digest;

/// The newest bundle that this host has unpacked, of each series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Series that a user named, by name.
    pub series: BTreeMap<String, Numbered>,
    /// Release streams.
    pub releases: BTreeMap<String, Released>,
    /// What was removed from bundles when they were unpacked, by the digest of the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removals: BTreeMap<String, Taken>,
}

impl Memory {
    /// Whether a bundle with this number of this series was not unpacked here, nor a later one.
    pub(crate) fn lacks(&self, series: &str, number: Option<u64>) -> bool {
        number.is_some_and(|number| self.series.get(series).is_none_or(|newest| newest.sequence < number))
    }

    /// Whether something had been removed from the bundle with this index when it was unpacked here.
    pub(crate) fn without_some(&self, index: &Digest) -> bool {
        self.removals.contains_key(&index.to_string())
    }
}

/// What was removed from a bundle: positions in the lists of its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Images.
    pub images: BTreeSet<usize>,
    /// Files.
    pub files: BTreeSet<usize>,
}

impl Taken {
    /// Whether this is all that `other` names, or more.
    fn covers(&self, other: &Taken) -> bool {
        self.images.is_superset(&other.images) && self.files.is_superset(&other.files)
    }
}

impl From<&Removed> for Taken {
    fn from(removed: &Removed) -> Taken {
        Taken { images: removed.images.clone(), files: removed.files.clone() }
    }
}

/// The bundle with the highest number of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered {
    /// Its number in the series.
    pub sequence: u64,
    /// Digest of its index.
    pub index: String,
    /// Whether this dates from a version in which every bundle had a name and a number, possibly taken from the clock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub converted: bool,
}

/// The bundle with the highest release of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// The version of the release.
    pub version: String,
    /// Digest of its index.
    pub index: String,
}

/// How a bundle compares with what is remembered of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is nothing to compare it with, or both are the same.
    Fine,
    /// Another bundle has its number.
    Twin,
    /// It is older.
    Older,
    /// It is newer, by this many numbers.
    Newer(u64),
}

impl Memory {
    fn standing(&self, place: &Place, digest: &str) -> Standing {
        match place {
            Place::Numbered { name, number, by_clock } => match self.series.get(name) {
                None => Standing::Fine,
                Some(seen) if seen.converted && !by_clock => Standing::Fine,
                Some(seen) => match number.cmp(&seen.sequence) {
                    Ordering::Less => Standing::Older,
                    // Two bundles within one second, with numbers taken from the clock: neither is the older one.
                    Ordering::Equal if digest == seen.index || *by_clock => Standing::Fine,
                    Ordering::Equal => Standing::Twin,
                    Ordering::Greater => Standing::Newer(number - seen.sequence),
                },
            },
            Place::Release { stream, version } => {
                let seen = self.releases.get(stream).and_then(|seen| Version::parse(&seen.version));
                match seen.map(|seen| version.order(&seen)) {
                    Some(Ordering::Less) => Standing::Older,
                    _ => Standing::Fine,
                }
            }
        }
    }

    /// What is remembered of the series of this place, as text.
    fn last(&self, place: &Place) -> String {
        match place {
            Place::Numbered { name, .. } => self.series.get(name).map(|seen| format!("number {}", seen.sequence)),
            Place::Release { stream, .. } => self.releases.get(stream).map(|seen| format!("release {}", seen.version)),
        }
        .unwrap_or_default()
    }

    /// Records what was removed from a bundle that was unpacked; with `back` also that less was. Returns whether
    /// anything changed.
    pub fn note_removed(&mut self, digest: &str, removed: &Removed, back: bool) -> bool {
        let now = Taken::from(removed);
        let known = self.removals.get(digest);
        if known == Some(&now) || (known.is_none() && removed.is_empty()) {
            return false;
        }
        if known.is_some_and(|known| !now.covers(known)) && !back {
            return false;
        }
        match removed.is_empty() {
            true => _ = self.removals.remove(digest),
            false => _ = self.removals.insert(digest.to_owned(), now),
        }
        true
    }

    /// Whether this host has unpacked the bundle without something that is there now.
    fn had_less(&self, digest: &str, removed: &Removed) -> bool {
        self.removals.get(digest).is_some_and(|known| !Taken::from(removed).covers(known))
    }

    /// Records a bundle that was unpacked; with `back` also an older one. Returns whether anything changed.
    pub fn note(&mut self, index: &Index, digest: &str, back: bool) -> bool {
        let mut changed = false;
        for place in places(index) {
            let standing = self.standing(&place, digest);
            let digest = digest.to_owned();
            match place {
                Place::Numbered { name, number, .. } => {
                    let known = self.series.get(&name);
                    let same = known.is_some_and(|seen| seen.sequence == number && !seen.converted);
                    if !same && (standing != Standing::Older || back) {
                        self.series.insert(name, Numbered { sequence: number, index: digest, converted: false });
                        changed = true;
                    }
                }
                Place::Release { stream, version } => {
                    let known = self.releases.get(&stream);
                    let same = known.is_some_and(|seen| seen.version == version.as_str());
                    if !same && (standing != Standing::Older || back) {
                        self.releases.insert(stream, Released { version: version.as_str().to_owned(), index: digest });
                        changed = true;
                    }
                }
            }
        }
        changed
    }
}

/// What is allowed besides going forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// Going back.
    pub(super) back: bool,
    /// The maximum step between two numbers.
    pub(super) step: Option<u64>,
}

/// Compares what is removed with what was removed when this host unpacked the same bundle (MB-RMV-11).
pub(super) fn put_back(digest: &str, removed: &Removed, memory: &Memory, leave: Leave, check: &mut Check) {
    if !memory.had_less(digest, removed) {
        return;
    }
    let text = "this host has unpacked this bundle without something that was removed, and here it is there";
    check.find(match leave.back {
        true => Finding::notice(Code::Rollback, "removals", text),
        false => Finding::new(Code::Rollback, "removals", text).hint(
            "use the file with the removal, or have the statement beside this one; to take it all on purpose, and have that recorded: --allow-rollback",
        ),
    });
}

/// Compares the places of a bundle with the memory of this host.
pub(super) fn rollback(index: &Index, digest: &str, memory: &Memory, leave: Leave, check: &mut Check) {
    for place in places(index) {
        let this = match &place {
            Place::Numbered { number, .. } => format!("number {number}"),
            Place::Release { version, .. } => format!("release {}", version.as_str()),
        };
        let (series, last) = (place.series(), memory.last(&place));
        let subject = match &place {
            Place::Numbered { .. } => "sequence",
            Place::Release { .. } => "releases",
        };
        match memory.standing(&place, digest) {
            Standing::Fine => {}
            Standing::Twin => {
                let before = memory.series.get(series).map(|seen| seen.index.as_str()).unwrap_or_default();
                check.find(
                    Finding::new(
                        Code::Rollback,
                        subject,
                        format!("this host has unpacked another bundle of series {series} with {this}"),
                    )
                    .fact(format!("before  {before}"))
                    .fact(format!("now     {digest}"))
                    .hint("a builder never uses a number twice: ask which of the two is right"),
                );
            }
            Standing::Older => {
                let text =
                    format!("the bundle is older than what this host has unpacked: {series} {this} after {last}");
                match leave.back {
                    true => check.find(Finding::notice(Code::Rollback, subject, text)),
                    false => check.find(
                        Finding::new(Code::Rollback, subject, text)
                            .hint("to go back on purpose, and have that recorded: --allow-rollback; for another cluster: a memory of its own, MIRROR_BUNDLE_STATE=DIR"),
                    ),
                }
            }
            Standing::Newer(step) => {
                if let Some(most) = leave.step.filter(|most| step > *most) {
                    check.find(
                        Finding::new(
                            Code::Rollback,
                            subject,
                            format!("the number of {series} jumps: {this} after {last}"),
                        )
                        .fact(format!("the trust policy allows steps of {most}"))
                        .hint("ask the builder whether that is right; to accept it, and have that recorded: --allow-rollback"),
                    );
                }
            }
        }
    }
}
