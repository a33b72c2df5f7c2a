//! What is known of each content, and what of it is told at the end.
//!
//! Of a clean content only the digest is kept. Of every other one: where it lies, and what each scanner said.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::proof::Proof;
use super::{Answer, Identity};
use crate::archive::{Reason, Trouble};
use crate::content::facts::Fact;
use crate::oci::Digest;

/// The most places of one content that are named.
const PLACES: usize = 64;
/// The most findings that are named of each kind; all are counted.
const NAMED: usize = 10_000;
/// The most notices that are named of each kind.
const NOTICES: usize = 256;

/// A blob, document or file of a bundle that contents come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `layer`, `blob`, `document`, `file`, `signature`.
    pub kind: &'static str,
    /// Its digest, or its path in the bundle.
    pub what: String,
    /// The images that have it.
    pub images: Vec<String>,
}

/// A content of the bundle (0), or one within it as the scanner of a number sees it (the number and 1).
pub type Key = (Digest, u8);

/// Where a content lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an origin, at this path.
    Top(u32, Box<[u8]>),
    /// Within a content of the bundle: the names on the way.
    Inside(Digest, Box<[u8]>),
}

#[derive(Debug, Default)]
struct Record {
    size: u64,
    places: Vec<Place>,
    more: u64,
    /// By the scanner's number.
    outcomes: Vec<(usize, Answer)>,
    troubles: Vec<(Box<[u8]>, Trouble)>,
    pending: u32,
    dirty: bool,
    /// Scanners that were asked, as bits.
    asked: u64,
    /// Contents of the bundle that have it too, and are done when it is.
    waiting: Vec<Key>,
}

/// What became of a content that was seen for the first time in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was there before, and is clean.
    Clean,
    /// It was there before, and is not clean or not done.
    Open,
    /// It is new.
    New,
}

/// The bookkeeping of a run.
#[derive(Debug, Default)]
pub(super) struct Results {
    clean: HashSet<Key>,
    open: HashMap<Key, Record>,
    /// What was not read at all.
    unread: Vec<(Place, Trouble)>,
    unread_more: u64,
    pub(super) origins: Vec<Origin>,
    notices: BTreeMap<Fact, (Vec<Place>, u64)>,
    pub(super) different: u64,
    pub(super) bytes: u64,
    pub(super) inside: u64,
    pub(super) earlier: Earlier,
}

/// Verdicts of earlier runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How many contents.
    pub count: u64,
    /// The earliest and the latest time, in seconds since 1970.
    pub times: Option<(u64, u64)>,
}

impl Earlier {
    pub(super) fn note(&mut self, time: u64) {
        self.count += 1;
        self.times = Some(self.times.map_or((time, time), |(from, to)| (from.min(time), to.max(time))));
    }
}

/// Contents that are complete and clean: their digests, and the scanners that were asked.
pub(super) type Done = Vec<(Digest, u64)>;

impl Results {
    /// A content was read.
    pub(super) fn begin(&mut self, key: Key, size: u64, place: Place) -> Seen {
        if self.clean.contains(&key) {
            return Seen::Clean;
        }
        if let Some(record) = self.open.get_mut(&key) {
            match record.places.len() < PLACES {
                true => record.places.push(place),
                false => record.more += 1,
            }
            return Seen::Open;
        }
        match key.1 {
            1.. => self.inside += 1,
            0 => {
                self.different += 1;
                self.bytes += size;
            }
        }
        self.open.insert(key, Record { size, places: vec![place], pending: 1, ..Record::default() });
        Seen::New
    }

    /// All scanners have earlier verdicts about it.
    pub(super) fn known(&mut self, key: Key) {
        self.open.remove(&key);
        self.clean.insert(key);
    }

    /// A scanner will be asked about it.
    pub(super) fn ask(&mut self, own: Key, top: Key, scanner: usize) {
        for key in [Some(own), (top != own).then_some(top)].into_iter().flatten() {
            if let Some(record) = self.open.get_mut(&key) {
                record.pending += 1;
                record.asked |= 1 << scanner;
            }
        }
    }

    /// A scanner answered, or will not.
    pub(super) fn answered(&mut self, own: Key, top: Key, scanner: usize, answer: Answer) -> Done {
        let bad = !matches!(answer, Answer::Clean | Answer::Warned(_));
        if let Some(record) = self.open.get_mut(&own).filter(|_| answer != Answer::Clean) {
            record.outcomes.push((scanner, answer));
        }
        if bad {
            [own, top].iter().for_each(|key| self.stain(*key));
        }
        let mut done = self.finish(own);
        if top != own {
            done.extend(self.finish(top));
        }
        done
    }

    /// A scanner found something in a content within another, also if it said before that it is clean.
    pub(super) fn found(&mut self, key: Key, size: u64, place: Place, scanner: usize, answer: Answer) {
        self.clean.remove(&key);
        if self.begin(key, size, place) == Seen::New {
            self.ask(key, key, scanner);
            _ = self.answered(key, key, scanner, answer);
            _ = self.finish(key);
        }
    }

    /// One of the things that were to be done about it is done.
    pub(super) fn finish(&mut self, key: Key) -> Done {
        let Some(record) = self.open.get_mut(&key) else { return Vec::new() };
        record.pending -= 1;
        if record.pending > 0 {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut record.waiting);
        let (asked, dirty) = (record.asked, record.dirty);
        let mut done = Vec::new();
        if !dirty && record.outcomes.is_empty() {
            self.open.remove(&key);
            self.clean.insert(key);
            done.extend((key.1 == 0).then_some((key.0, asked)));
        }
        for top in waiting {
            if dirty {
                self.stain(top);
            }
            done.extend(self.finish(top));
        }
        done
    }

    /// Another content has this one too, about which the scanner was asked: it is done when this one is.
    pub(super) fn wait(&mut self, own: Key, top: Key, scanner: usize) {
        match self.open.get_mut(&own).filter(|record| record.pending > 0) {
            Some(record) => record.waiting.push(top),
            None => return self.stain(top),
        }
        if let Some(record) = self.open.get_mut(&top) {
            record.pending += 1;
            record.asked |= 1 << scanner;
        }
    }

    /// It, or something in it, is not clean.
    pub(super) fn stain(&mut self, key: Key) {
        if let Some(record) = self.open.get_mut(&key) {
            record.dirty = true;
        }
    }

    /// Something in it was not opened.
    pub(super) fn trouble(&mut self, top: Key, inside: &[u8], trouble: Trouble) {
        if let Some(record) = self.open.get_mut(&top) {
            record.dirty = true;
            let known = record.troubles.iter().any(|(at, t)| **at == *inside && *t == trouble);
            if !known && record.troubles.len() < PLACES {
                record.troubles.push((inside.into(), trouble));
            }
        }
    }

    /// Something was not read.
    pub(super) fn unread(&mut self, place: Place, trouble: Trouble) {
        match self.unread.len() < NAMED {
            true => self.unread.push((place, trouble)),
            false => self.unread_more += 1,
        }
    }

    /// A fact that needs no scanner.
    pub(super) fn notice(&mut self, fact: Fact, place: Place) {
        let (named, more) = self.notices.entry(fact).or_default();
        match named.len() < NOTICES {
            true => named.push(place),
            false => *more += 1,
        }
    }

    /// Where a place is, in all images.
    fn spots(&self, place: &Place, inside: &[u8]) -> Vec<Spot> {
        match place {
            Place::Top(origin, path) => {
                let origin = self.origins.get(*origin as usize).cloned().unwrap_or_default();
                let path = [&path[..], inside].concat();
                vec![Spot { origin, path: String::from_utf8_lossy(&path).into_owned() }]
            }
            Place::Inside(digest, names) => {
                let names = [&names[..], inside].concat();
                let outer = self.open.get(&(*digest, 0));
                let places = outer.map(|outer| outer.places.as_slice()).unwrap_or_default();
                places.iter().flat_map(|place| self.spots(place, &names)).take(PLACES).collect()
            }
        }
    }

    fn all_spots(&self, places: &[Place], inside: &[u8]) -> Vec<Spot> {
        let mut out: Vec<Spot> = Vec::new();
        for spot in places.iter().flat_map(|place| self.spots(place, inside)) {
            if !out.contains(&spot) && out.len() < PLACES {
                out.push(spot);
            }
        }
        out
    }

    /// What was found.
    pub(super) fn summary(&self, scanners: Vec<Used>) -> Summary {
        let mut summary = Summary {
            contents: self.different,
            bytes: self.bytes,
            members: self.inside,
            earlier: self.earlier,
            ..Summary::default()
        };
        for (key, record) in &self.open {
            let places = |inside: &[u8]| self.all_spots(&record.places, inside);
            let mut worst = 0;
            for (scanner, answer) in &record.outcomes {
                let (kind, names, why) = match answer {
                    Answer::Found(names) => (Outcome::Found, names.clone(), None),
                    Answer::Failed(why) => (Outcome::Failed, vec![], Some(why.clone())),
                    Answer::NotOpened(why) => (Outcome::NotOpened, vec![], Some(why.clone())),
                    Answer::Warned(names) => (Outcome::Warning, names.clone(), None),
                    Answer::Clean => continue,
                };
                worst = worst.max(kind.rank());
                summary.add(
                    || Finding {
                        outcome: kind,
                        names,
                        reason: None,
                        why,
                        scanner: scanners.get(*scanner).map(|used| used.identity.name.clone()),
                        sha256: Some(key.0.hex()),
                        size: Some(record.size),
                        places: places(b""),
                        more_places: record.more,
                    },
                    kind,
                );
            }
            for (inside, trouble) in &record.troubles {
                worst = worst.max(Outcome::NotOpened.rank());
                summary.add(
                    || Finding {
                        outcome: Outcome::NotOpened,
                        names: vec![],
                        reason: Some(trouble.reason),
                        why: Some(trouble.text.clone()),
                        scanner: None,
                        sha256: Some(key.0.hex()),
                        size: Some(record.size),
                        places: places(inside),
                        more_places: record.more,
                    },
                    Outcome::NotOpened,
                );
            }
            summary.count(worst, record.dirty || key.1 > 0, record.pending > 0);
        }
        for (place, trouble) in &self.unread {
            summary.not_opened += 1;
            summary.add(
                || Finding {
                    outcome: Outcome::NotOpened,
                    names: vec![],
                    reason: Some(trouble.reason),
                    why: Some(trouble.text.clone()),
                    scanner: None,
                    sha256: None,
                    size: None,
                    places: self.spots(place, b""),
                    more_places: 0,
                },
                Outcome::NotOpened,
            );
        }
        summary.more_findings += self.unread_more;
        summary.not_opened += self.unread_more;
        summary.clean += self.clean.iter().filter(|key| key.1 == 0).count() as u64;
        summary.findings.sort_by(|a, b| {
            let order = |f: &Finding| {
                (
                    std::cmp::Reverse(f.outcome.rank()),
                    f.places.first().map(|p| (p.origin.what.clone(), p.path.clone())),
                    f.scanner.clone(),
                )
            };
            order(a).cmp(&order(b))
        });
        for (fact, (named, more)) in &self.notices {
            let named = named.iter().map(|place| self.spots(place, b""));
            summary.notices.insert(*fact, (named.collect(), *more));
        }
        summary.scanners = scanners;
        summary
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Something was found.
    Found,
    /// A scanner gave no answer.
    Failed,
    /// Nobody looked at all of it.
    NotOpened,
    /// Something to know of.
    Warning,
}

impl Outcome {
    fn rank(self) -> u8 {
        match self {
            Outcome::Found => 3,
            Outcome::Failed => 2,
            Outcome::NotOpened => 1,
            Outcome::Warning => 0,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Found => "found",
            Outcome::Failed => "failed",
            Outcome::NotOpened => "not-opened",
            Outcome::Warning => "warning",
        }
    }
}

/// A place with its images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// The layer, blob or file.
    #[serde(flatten)]
    pub origin: Origin,
    /// The path in it; `outer!member` within archives.
    pub path: String,
}

/// A content that is not clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub outcome: Outcome,
    /// The names of what was found.
    pub names: Vec<String>,
    /// The kind of what was not opened.
    pub reason: Option<Reason>,
    /// Why there is no answer.
    pub why: Option<String>,
    /// The scanner; `None`: it is about opening.
    pub scanner: Option<String>,
    /// The digest of the content.
    pub sha256: Option<String>,
    /// Its size.
    pub size: Option<u64>,
    /// Where it lies, in all images.
    pub places: Vec<Spot>,
    /// How many more places there are.
    pub more_places: u64,
}

/// A scanner as it was used.
#[derive(Clone, Debug)]
pub struct Used {
    /// What it is.
    pub identity: Identity,
    /// What it has shown; `None`: it was not asked in this run.
    pub proof: Option<Proof>,
    /// What it writes to a disk.
    pub writes: Option<&'static str>,
    /// Whether its verdicts are kept.
    pub kept: bool,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The scanners.
    pub scanners: Vec<Used>,
    /// Different contents of the bundle.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Contents within them that were scanned on their own.
    pub members: u64,
    /// Clean contents.
    pub clean: u64,
    /// Contents in which something was found, also within archives.
    pub found: u64,
    /// Contents without an answer.
    pub failed: u64,
    /// Contents that were not opened to their end.
    pub not_opened: u64,
    /// Contents that were not scanned because the run ended.
    pub left: u64,
    /// Verdicts of earlier runs.
    pub earlier: Earlier,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more_findings: u64,
    /// Facts that need no scanner, and how many more of each there are.
    pub notices: BTreeMap<Fact, (Vec<Vec<Spot>>, u64)>,
    /// Why the run ended early.
    pub ended: Option<String>,
}

impl Summary {
    fn add(&mut self, finding: impl FnOnce() -> Finding, kind: Outcome) {
        // What was found is never pushed out by what was not opened.
        let most = if kind == Outcome::Found { 2 * NAMED } else { NAMED };
        match self.findings.len() < most {
            true => self.findings.push(finding()),
            false => self.more_findings += 1,
        }
    }

    /// `within`: it is within another, or something in it is counted on its own.
    fn count(&mut self, worst: u8, within: bool, pending: bool) {
        match worst {
            3 => self.found += 1,
            2 => self.failed += 1,
            1 => self.not_opened += 1,
            _ if pending => self.left += 1,
            _ if !within => self.clean += 1,
            _ => {}
        }
    }

    /// Whether every content is clean by every scanner.
    pub fn is_clean(&self) -> bool {
        self.found + self.failed + self.not_opened + self.left == 0 && self.ended.is_none()
    }
}
