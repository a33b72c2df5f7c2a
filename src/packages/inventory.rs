//! The packages of one image, from what the files of its merged layers say.

use std::collections::BTreeMap;

use super::collect::{Fact, Source};
use super::{Package, Reading, System, purl, rpm};

/// Where a package was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The path in the image; the member of an archive follows behind `!`.
    pub path: String,
    /// The digest of the layer that has the file.
    pub layer: String,
}

/// One package of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The package.
    pub package: Package,
    /// Its purl.
    pub purl: String,
    /// Where it was found, sorted.
    pub places: Vec<Location>,
}

/// Something that is not known about the packages of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// Whether it is about the packages of the system, or about a whole layer: then the list is not complete.
    pub grave: bool,
    /// The file in the image, or the layer.
    pub subject: String,
    /// The digest of its layer.
    pub layer: Option<String>,
    /// Why; follows the subject.
    pub reason: String,
}

/// The packages of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The distribution.
    pub system: Option<System>,
    /// The packages, sorted by purl.
    pub components: Vec<Component>,
    /// What could not be read, sorted.
    pub unknowns: Vec<Unknown>,
    /// The number of databases of packages of the system.
    pub databases: usize,
    /// The number of programs that say nothing about what is linked into them.
    pub silent_programs: u64,
}

/// Gathers the packages of one image.
#[derive(Default)]
pub struct Gatherer<'f> {
    system: Option<&'f System>,
    packages: BTreeMap<Package, Vec<Location>>,
    /// The databases and logs of SQLite, by the path of the database.
    sqlite: BTreeMap<String, Sqlite<'f>>,
    inventory: Inventory,
}

#[derive(Default)]
struct Sqlite<'f> {
    data: Option<(&'f Fact, Location)>,
    log: Option<(&'f Fact, Location)>,
}

impl<'f> Gatherer<'f> {
    /// Says which system the image is; the first one counts.
    pub fn system(&mut self, fact: &'f Fact) {
        if let Fact::System(system) = fact {
            self.system = self.system.or(system.as_ref());
        }
    }

    /// Adds what a file of the merged image says. `path` is where the image has it; the fact may be from another name.
    pub fn file(&mut self, path: &[u8], layer: &str, fact: &'f Fact) {
        let named = Source::named(path);
        // A name decides what is read: a jar that a hard link calls `x.txt` is loaded by nobody.
        if fact.source() != Source::Program && named != Some(fact.source()) {
            return;
        }
        let text = String::from_utf8_lossy(path).into_owned();
        let place = Location { path: text.clone(), layer: layer.to_owned() };
        match fact {
            Fact::System(_) => {}
            Fact::Sqlite(..) => self.sqlite.entry(text).or_default().data = Some((fact, place)),
            Fact::Log(log) if log.is_empty() => {}
            Fact::Log(_) => {
                let data = text.strip_suffix("-wal").unwrap_or(&text).to_owned();
                self.sqlite.entry(data).or_default().log = Some((fact, place));
            }
            Fact::Packages(Source::Program, reading) if reading == &Reading::default() => {
                self.inventory.silent_programs += 1;
            }
            Fact::Packages(source, reading) => self.reading(*source, &place, reading),
        }
    }

    /// A file or a layer that could not be read.
    pub fn unknown(&mut self, grave: bool, subject: &str, layer: Option<&str>, reason: impl Into<String>) {
        let (subject, layer, reason) = (subject.to_owned(), layer.map(str::to_owned), reason.into());
        self.inventory.unknowns.push(Unknown { grave, subject, layer, reason });
    }

    fn reading(&mut self, source: Source, place: &Location, reading: &Reading) {
        if source.is_database() && source != Source::RpmJournal {
            self.inventory.databases += 1;
            if reading == &Reading::default() {
                self.unknown(false, &place.path, Some(&place.layer), "lists no package");
            }
        }
        for found in &reading.packages {
            let path = match &found.member {
                Some(member) => format!("{}!{member}", place.path),
                None => place.path.clone(),
            };
            let place = Location { path, layer: place.layer.clone() };
            self.packages.entry(found.package.clone()).or_default().push(place);
        }
        for problem in &reading.problems {
            self.unknown(source.is_database(), &place.path, Some(&place.layer), problem.clone());
        }
    }

    /// The packages of the image.
    pub fn finish(mut self) -> Inventory {
        for (path, Sqlite { data, log }) in std::mem::take(&mut self.sqlite) {
            match (data, log) {
                (Some((Fact::Sqlite(_, whole), place)), Some((Fact::Log(log), _))) => {
                    let reading = match (whole.content(), log.content()) {
                        (Some(data), Some(log)) => rpm::sqlite(&data, Some(&log)),
                        _ => Reading::unreadable(
                            "has a write-ahead log, and there was no room to keep both: read this image alone",
                        ),
                    };
                    self.reading(Source::RpmSqlite, &place, &reading);
                }
                (Some((Fact::Sqlite(reading, _), place)), _) => self.reading(Source::RpmSqlite, &place, reading),
                (_, Some((_, place))) => {
                    self.unknown(
                        true,
                        &place.path,
                        Some(&place.layer),
                        format!("is a log without its database, {path}"),
                    );
                }
                _ => {}
            }
        }
        let Gatherer { system, packages, mut inventory, .. } = self;
        inventory.components = packages
            .into_iter()
            .map(|(package, mut places)| {
                places.sort();
                places.dedup();
                Component { purl: purl::of(&package, system), package, places }
            })
            .collect();
        inventory.components.sort_by(|a, b| (&a.purl, &a.package).cmp(&(&b.purl, &b.package)));
        inventory.unknowns.sort();
        inventory.unknowns.dedup();
        inventory.system = system.cloned();
        inventory
    }
}
