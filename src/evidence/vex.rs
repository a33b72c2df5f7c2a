//! What VEX statements close of what scanners found (MB-EVI-04).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::{Image, Parsed};
use crate::oci::Digest;
use crate::report::{Closed, Evidence};

/// The most closed findings that the report lists for a file.
const LISTED: usize = 256;

/// A vulnerability that a scanner found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its ids: that of the scanner first, then those of the same vulnerability elsewhere.
    pub(super) ids: Vec<String>,
    /// The package that has it.
    pub(super) purl: Option<String>,
    /// As it is counted.
    pub(super) severity: String,
}

/// What an author says of a vulnerability in something.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// The ids of the vulnerability.
    pub(super) ids: BTreeSet<String>,
    /// `not_affected`, `affected`, `fixed`, ….
    pub(super) status: &'static str,
    /// When it was said.
    pub(super) time: Option<Timestamp>,
    /// The images that it is about; empty: whatever image the file is about.
    pub(super) images: BTreeSet<Digest>,
    /// The packages that it is about; empty: all of the images.
    pub(super) packages: Vec<String>,
}

impl Statement {
    fn closes(&self) -> bool {
        matches!(self.status, "not_affected" | "fixed")
    }
}

/// One platform of an image: the places of both.
type Place = (usize, usize);

/// The platforms of images that these digests name. That of the image itself names all.
fn reach(images: &[Image], digests: &BTreeSet<Digest>) -> BTreeSet<Place> {
    let mut out = BTreeSet::new();
    for (at, image) in images.iter().enumerate() {
        let whole = digests.contains(&image.digest);
        for (n, member) in image.members.iter().enumerate() {
            let config = member.config.is_some_and(|config| digests.contains(&config));
            if whole || config || digests.contains(&member.manifest) {
                out.insert((at, n));
            }
        }
    }
    out
}

/// Whether what is said of one purl is said of the other: the same type and name, the version and the qualifiers if
/// it has any.
fn covers(said: &str, of: &str) -> bool {
    let (said, of) = (Purl::parse(said), Purl::parse(of));
    said.name == of.name
        && (said.version.is_none() || said.version == of.version)
        && said.qualifiers.iter().all(|(name, value)| of.qualifiers.get(name) == Some(value))
}

#[derive(Debug)]
struct Purl {
    name: String,
    version: Option<String>,
    qualifiers: BTreeMap<String, String>,
}

impl Purl {
    fn parse(text: &str) -> Purl {
        let text = text.split('#').next().unwrap_or_default();
        let (path, rest) = text.split_once('?').unwrap_or((text, ""));
        let at = path.rfind('@').filter(|at| path.rfind('/').is_none_or(|slash| slash < *at));
        let (name, version) = at.map_or((path, None), |at| (&path[..at], Some(&path[at + 1..])));
        let qualifiers = rest.split('&').filter_map(|one| one.split_once('='));
        Purl {
            name: decoded(name.trim_end_matches('/')),
            version: version.filter(|version| !version.is_empty()).map(decoded),
            qualifiers: qualifiers.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
        }
    }
}

/// A text without percent-encoding.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let value = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// All statements of the files that have some, by the id of a vulnerability and the name of a package.
#[derive(Debug, Default)]
struct Said<'p> {
    all: Vec<Word<'p>>,
    /// Without a name: about all packages of an image.
    places: HashMap<(&'p str, Option<String>), Vec<usize>>,
}

#[derive(Debug)]
struct Word<'p> {
    author: &'p str,
    file: &'p str,
    statement: &'p Statement,
    reach: BTreeSet<Place>,
}

impl<'p> Said<'p> {
    fn of(files: &[(&'p str, &'p Parsed)], images: &[Image]) -> Said<'p> {
        let mut out = Said::default();
        for (file, parsed) in files.iter().filter(|(_, parsed)| !parsed.statements.is_empty()) {
            let whole = reach(images, &parsed.about.all());
            for statement in &parsed.statements {
                let at = out.all.len();
                for id in &statement.ids {
                    let names = statement.packages.iter().map(|purl| Some(Purl::parse(purl).name));
                    let every = statement.packages.is_empty().then_some(None);
                    for name in names.chain(every) {
                        out.places.entry((id, name)).or_default().push(at);
                    }
                }
                let reach = if statement.images.is_empty() { whole.clone() } else { reach(images, &statement.images) };
                out.all.push(Word { author: &parsed.tool, file, statement, reach });
            }
        }
        out
    }

    /// The last word of each author on a finding; of two of the same time, the later in the file.
    fn last(&self, found: &Found, places: &BTreeSet<Place>) -> BTreeMap<&str, &Word<'p>> {
        let purl = found.purl.as_deref();
        let names = [purl.map(|purl| Purl::parse(purl).name), None];
        let keys = found.ids.iter().flat_map(|id| names.iter().map(|name| (id.as_str(), name.clone())));
        let at: BTreeSet<usize> = keys.filter_map(|key| self.places.get(&key)).flatten().copied().collect();
        let mut out: BTreeMap<&str, &Word<'_>> = BTreeMap::new();
        for word in at.into_iter().filter_map(|at| self.all.get(at)) {
            let packages = &word.statement.packages;
            let package = packages.is_empty() || purl.is_some_and(|of| packages.iter().any(|said| covers(said, of)));
            let before = out.get(word.author).map(|before| before.statement.time);
            if package && places.is_subset(&word.reach) && before.is_none_or(|before| before <= word.statement.time) {
                out.insert(word.author, word);
            }
        }
        out
    }
}

/// Closes what VEX files among `files` say is not affected or fixed, in the evidence of scanners among them. A finding
/// stays open if the last word of any author is another one.
pub fn close(files: &[(&str, &Parsed)], evidence: &mut [Evidence], images: &[Image]) {
    let said = Said::of(files, images);
    if said.all.is_empty() {
        return;
    }
    for ((_, parsed), evidence) in files.iter().zip(evidence).filter(|((_, parsed), _)| !parsed.found.is_empty()) {
        let places = reach(images, &parsed.about.all());
        let mut open = evidence.counts.clone();
        for found in parsed.found.iter().filter(|_| !places.is_empty()) {
            let last = said.last(found, &places);
            let Some(word) = last.values().next().filter(|_| last.values().all(|word| word.statement.closes())) else {
                continue;
            };
            if let Some(n) = open.get_mut(&found.severity) {
                *n = n.saturating_sub(1);
            }
            if evidence.closed.len() >= LISTED {
                evidence.more_closed += 1;
                continue;
            }
            evidence.closed.push(Closed {
                id: found.ids.first().cloned().unwrap_or_default(),
                purl: found.purl.clone(),
                severity: found.severity.clone(),
                status: word.statement.status,
                author: word.author.to_owned(),
                file: word.file.to_owned(),
            });
        }
        open.retain(|_, n| *n > 0);
        evidence.open = Some(open);
    }
}
