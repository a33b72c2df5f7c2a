//! What is known of each content while a run goes on.
//!
//! Of a clean content only the digest is kept. Of every other one: where it lies, and what each scanner said.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Answer;
use super::summary::{Earlier, Finding, NAMED, Origin, Outcome, Spot, Summary, Used};
use crate::archive::Trouble;
use crate::content::facts::Fact;
use crate::oci::Digest;

/// The most places of one content that are named.
const PLACES: usize = 64;
/// The most notices that are named of each kind.
const NOTICES: usize = 256;

/// A content of the bundle (0), or one within it as the scanner of a number sees it (the number and 1).
pub(super) type Key = (Digest, u8);

/// Where a content lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
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

    fn about(&self, key: &Key, record: &Record, outcome: Outcome, inside: &[u8]) -> Finding {
        Finding {
            sha256: Some(key.0.hex()),
            size: Some(record.size),
            more_places: record.more,
            ..Finding::at(outcome, self.all_spots(&record.places, inside))
        }
    }

    /// What a scanner has just found in a content, with the places that are known so far.
    pub(super) fn just_found(&self, key: &Key, scanner: &str, names: &[String]) -> Option<Finding> {
        let about = self.about(key, self.open.get(key)?, Outcome::Found, b"");
        Some(Finding { names: names.to_vec(), scanner: Some(scanner.to_owned()), ..about })
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
            let about = |outcome: Outcome, inside: &[u8]| self.about(key, record, outcome, inside);
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
                let scanner = scanners.get(*scanner).map(|used| used.identity.name.clone());
                summary.add(kind, || Finding { names, why, scanner, ..about(kind, b"") });
            }
            for (inside, trouble) in &record.troubles {
                worst = worst.max(Outcome::NotOpened.rank());
                summary.add(Outcome::NotOpened, || about(Outcome::NotOpened, inside).because(trouble));
            }
            summary.count(worst, record.dirty || key.1 > 0, record.pending > 0);
        }
        for (place, trouble) in &self.unread {
            summary.not_opened += 1;
            let finding = || Finding::at(Outcome::NotOpened, self.spots(place, b"")).because(trouble);
            summary.add(Outcome::NotOpened, finding);
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
