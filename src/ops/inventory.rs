//! `inventory`: what a registry has that other tools filled (MB-SIT-08).
//!
//! Only what was looked at is claimed: each manifest was read and has its digest, each blob was served and has its size.
//! Nothing is kept between runs; the file appears whole at the end.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Observer, Task};
use crate::error::{Code, Error, Result};
use crate::graph::DEPTH;
use crate::oci::{Digest, Document, Repository, media_type, parse};
use crate::parallel::Pace;
use crate::registry::{Client, Listed, Wanted};
use crate::site::{Blob, Held, Inventory, MAX_BLOBS, MAX_REPOSITORIES, SCHEMA, Unread, seconds};

/// What to look at.
#[derive(Debug)]
pub struct Options {
    /// `host[:port]`.
    pub registry: String,
    /// Only this repository and those below it.
    pub below: Option<Repository>,
    /// These repositories, without asking for a list.
    pub repositories: Vec<Repository>,
    /// The time to write down.
    pub now: Timestamp,
}

/// The most entries about what could not be looked at that are kept.
const MAX_UNREAD: usize = 10_000;
/// The longest reason.
const REASON: usize = 300;

/// Walks a registry.
///
/// # Errors
/// Those of the registry when it lists no repositories and none are given, or when nothing in it can be looked at;
/// [`Code::Usage`] for more than an inventory holds.
pub fn inventory(client: &Client, options: &Options, pace: &Pace, observer: &dyn Observer) -> Result<Inventory> {
    let mut repositories = match options.repositories.as_slice() {
        [] => listed(client, options, observer)?,
        given => given.to_vec(),
    };
    repositories.sort_unstable();
    repositories.dedup();
    observer.begin(Task::LookUp, repositories.len() as u64, 0);
    let mut all = Walked::default();
    let (mut first, mut alive) = (None, false);
    for repository in &repositories {
        observer.check()?;
        match one(client, repository, pace, observer) {
            Ok(found) => {
                alive = true;
                all.add(repository, found)?;
            }
            Err(e) if matches!(e.code(), Code::Source | Code::Auth | Code::Malformed | Code::BlobMismatch) => {
                all.unread(repository.to_string(), &e);
                first.get_or_insert(e);
            }
            Err(e) => return Err(e),
        }
        observer.item();
    }
    observer.end();
    if let Some(e) = first.filter(|_| !alive) {
        return Err(e.state("no inventory was written: nothing could be looked at"));
    }
    let registry = options.below.as_ref().map_or_else(|| options.registry.clone(), ToString::to_string);
    Ok(all.finish(registry, options.now))
}

/// The repositories that the registry lists.
fn listed(client: &Client, options: &Options, observer: &dyn Observer) -> Result<Vec<Repository>> {
    let below = options.below.as_ref();
    let login = match below {
        Some(below) => below.clone(),
        None => format!("{}/catalog", options.registry)
            .parse()
            .map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string()))?,
    };
    let wanted = |name: &str| {
        below.is_none_or(|below| {
            name.strip_prefix(below.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    match client.catalog(&login, MAX_REPOSITORIES, &wanted)? {
        Listed::All(all) if all.is_empty() => {
            let what = below.map_or_else(|| options.registry.clone(), ToString::to_string);
            Err(Error::new(Code::Source, format!("`{what}` lists no repository"))
                .hint("name repositories with --repository, if there are some that it does not list for this login"))
        }
        Listed::All(all) => {
            let n = super::observer::count_of(all.len() as u64);
            observer.say("Found", &format!("{n} repositories"));
            Ok(all)
        }
        Listed::None(why) => {
            let name = "name the repositories: --repository REPO (repeatable); a registry need not list them, or not for \
                        everyone";
            Err(match why.hint_text().map(str::to_owned).filter(|_| why.code() == Code::Auth) {
                Some(login) => why.hint(format!("{login}; or {name}")),
                None => why.hint(name),
            })
        }
    }
}

/// What one repository has.
#[derive(Default)]
struct Found {
    blobs: BTreeMap<Digest, u64>,
    unread: Vec<(String, String)>,
}

fn one(client: &Client, repository: &Repository, pace: &Pace, observer: &dyn Observer) -> Result<Found> {
    let tags = match client.tags(repository)? {
        Listed::All(tags) => tags,
        Listed::None(why) => return Err(why),
    };
    let mut out = Found::default();
    let mut level: Vec<Wanted> = Vec::new();
    for tag in tags {
        match tag {
            Ok(tag) => level.push(Wanted::Tag(tag)),
            Err(why) => out.unread.push((repository.to_string(), why)),
        }
    }
    // Sizes as manifests claim them, and whether a registry need not have the blob.
    let mut wanted: BTreeMap<Digest, (u64, bool)> = BTreeMap::new();
    let mut asked: BTreeSet<Digest> = BTreeSet::new();
    for _ in 0..=DEPTH + 1 {
        let read = pace.map(
            &level,
            || (),
            |(), wanted| {
                observer.check()?;
                match client.get_manifest(repository, wanted) {
                    Ok(Some(found)) => Ok(Ok(found)),
                    Ok(None) => Ok(Err("it is not there".to_owned())),
                    Err(e) => own(e).map(Err),
                }
            },
        )?;
        let mut next = Vec::new();
        for (wanted_at, found) in level.iter().zip(read) {
            let named = match wanted_at {
                Wanted::Tag(tag) => format!("{repository}:{tag}"),
                Wanted::Digest(digest) => format!("{repository}@{digest}"),
            };
            let parsed = found.and_then(|found| {
                parse(&found.bytes, &found.media_type).map_err(|e| e.to_string()).map(|d| (found, d))
            });
            let (found, document) = match parsed {
                Ok(parsed) => parsed,
                Err(why) => {
                    out.unread.push((named, why));
                    continue;
                }
            };
            if out.blobs.insert(found.digest, found.bytes.len() as u64).is_some() {
                continue;
            }
            let list = matches!(document, Document::Index(_));
            for child in document.children() {
                let is_document =
                    list && (media_type::is_index(&child.media_type) || media_type::is_manifest(&child.media_type));
                match is_document {
                    true if asked.insert(child.digest) => next.push(Wanted::Digest(child.digest)),
                    true => {}
                    false => {
                        wanted.entry(child.digest).or_insert((child.size, media_type::is_foreign(&child.media_type)));
                    }
                }
            }
            if wanted.len() + out.blobs.len() > MAX_BLOBS {
                return Err(too_many());
            }
        }
        level = next;
        if level.is_empty() {
            break;
        }
    }
    let wanted: Vec<(Digest, (u64, bool))> = wanted.into_iter().collect();
    let read = pace.map(
        &wanted,
        || (),
        |(), (digest, (size, _))| {
            observer.check()?;
            match client.has_blob(repository, digest, *size) {
                Ok(true) => Ok(Ok(())),
                Ok(false) => Ok(Err("it is not served with the size that its manifest gives".to_owned())),
                Err(e) => own(e).map(Err),
            }
        },
    )?;
    for ((digest, (size, foreign)), found) in wanted.into_iter().zip(read) {
        match found {
            Ok(()) => _ = out.blobs.insert(digest, size),
            Err(_) if foreign => {}
            Err(why) => out.unread.push((format!("{repository}@{digest}"), why)),
        }
    }
    Ok(out)
}

/// The reason why something could not be looked at; other failures remain errors.
fn own(e: Error) -> Result<String> {
    match e.code() {
        Code::Source | Code::Auth | Code::Malformed | Code::BlobMismatch => Ok(e.message().to_owned()),
        _ => Err(e),
    }
}

fn too_many() -> Error {
    Error::new(Code::Usage, format!("the registry has more than {MAX_BLOBS} blobs; an inventory holds no more"))
        .hint("write several, each of some repositories: mirror-bundle inventory REGISTRY/PATH")
}

/// Everything so far.
#[derive(Default)]
struct Walked {
    blobs: BTreeMap<Digest, u64>,
    held: Vec<(Repository, Vec<Digest>)>,
    unread: BTreeSet<Unread>,
    /// How many more there are than are kept.
    more: usize,
}

impl Walked {
    fn add(&mut self, repository: &Repository, found: Found) -> Result<()> {
        self.held.push((repository.clone(), found.blobs.keys().copied().collect()));
        for (digest, size) in found.blobs {
            self.blobs.insert(digest, size);
        }
        for (what, why) in found.unread {
            self.note(what, &why);
        }
        if self.blobs.len() > MAX_BLOBS { Err(too_many()) } else { Ok(()) }
    }

    fn unread(&mut self, what: String, e: &Error) {
        self.note(what, e.message());
    }

    fn note(&mut self, what: String, why: &str) {
        let clean = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(REASON).collect() };
        match self.unread.len() {
            ..MAX_UNREAD => _ = self.unread.insert(Unread { what: clean(&what), why: clean(why) }),
            _ => self.more += 1,
        }
    }

    fn finish(self, registry: String, now: Timestamp) -> Inventory {
        let at: BTreeMap<Digest, u32> = self.blobs.keys().copied().zip(0..).collect();
        let held = |(name, blobs): (Repository, Vec<Digest>)| {
            let blobs = blobs.iter().filter_map(|digest| at.get(digest).copied()).collect();
            Held { name: name.to_string(), blobs }
        };
        let mut repositories: Vec<Held> = self.held.into_iter().map(held).collect();
        repositories.sort_by(|a, b| a.name.cmp(&b.name));
        let mut unread: Vec<Unread> = self.unread.into_iter().collect();
        if self.more > 0 {
            let why = format!("{} more could not be looked at", self.more);
            unread.push(Unread { what: registry.clone(), why });
            unread.sort();
        }
        Inventory {
            schema: SCHEMA.to_owned(),
            registry,
            created: seconds(now),
            program: format!("mirror-bundle {}", env!("CARGO_PKG_VERSION")),
            repositories,
            blobs: self.blobs.into_iter().map(|(digest, size)| Blob { digest, size }).collect(),
            unread,
        }
    }
}
