//! `ls --files`: every entry of every layer, in one reading and constant memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::reading::{Content, Finished, Reading, Visitor, Wanted, Way};
use super::shelf::{Carried, Shelf};
use crate::bundle::index::Index;
use crate::content::cover::{Cover, Covers, State};
use crate::content::facts::{self, Fact};
use crate::content::layer::{FileEntry, FileKind, Remarks};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher, Platform};
use crate::ops::Observer;
use crate::report::{Check, CheckId, Finding};

/// Lines of a layer that are kept until it is their turn, in bytes.
const KEPT: usize = 4 << 20;
/// How much of a content is read at once.
const BUFFER: usize = 128 << 10;

/// Which entries are listed.
#[derive(Clone, Debug, Default)]
pub struct Choice<'c> {
    /// An image, or the digest of a layer; `None`: all layers.
    pub what: Option<&'c str>,
    /// Of a list only the images for this platform.
    pub platform: Option<&'c Platform>,
}

/// A layer of a list.
#[derive(Debug)]
pub struct Heading<'h> {
    /// The layer, or other content of a manifest.
    pub carried: &'h Carried,
    /// The names of the images that have it.
    pub images: &'h [String],
}

/// One entry of a list.
#[derive(Debug)]
pub struct Row<'r> {
    /// The digest of its layer.
    pub layer: &'r Digest,
    /// The reading of the layer that it is in.
    pub way: Way,
    /// The entry.
    pub entry: &'r FileEntry,
    /// The size of its content in bytes.
    pub size: u64,
    /// The digest of its content, if it has one.
    pub digest: Option<Digest>,
    /// Whether the merged image has it; with several images, whether any of them has.
    pub state: State,
    /// What is notable about it.
    pub facts: &'r [Fact],
}

/// How lines are written.
pub trait Lines: Sync {
    /// Adds the heading of a layer to `out`.
    fn heading(&self, heading: &Heading<'_>, out: &mut Vec<u8>);
    /// Adds an entry to `out`.
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>);
    /// Writes complete lines.
    ///
    /// # Errors
    /// Any, which ends the list.
    fn write(&self, lines: &[u8]) -> Result<()>;
}

/// A list that is complete.
#[derive(Debug)]
pub struct Listed<'a> {
    /// The verdict.
    pub finished: Finished<'a>,
    /// What was found in the layers.
    pub findings: Check,
    /// The layers, and their entries.
    pub layers: u64,
    /// The entries of all of them.
    pub entries: u64,
}

/// The check of layers: can they be read, and do all tar readers see the same in them?
pub const LAYERS: CheckId = CheckId::new(120, "layers", "layers");

/// Lists what `choice` names.
///
/// # Errors
/// [`Code::Usage`] if the bundle has nothing of that name; those of the reading and of `lines`.
pub fn list<'a>(
    reading: Reading<'a>,
    choice: &Choice<'_>,
    lines: &dyn Lines,
    jobs: usize,
    observer: &dyn Observer,
) -> Result<Listed<'a>> {
    let stream = reading.is_stream();
    let chains = chains(&reading, choice)?;
    let mut order = order(reading.shelf(), &chains);
    // Nobody waits for a layer that is on no volume at hand.
    let wanted: HashSet<Digest> = order.iter().copied().collect();
    reading.say_left_out(&|digest| wanted.contains(digest), observer);
    order.retain(|layer| reading.has(layer));
    let names = names(reading.index(), reading.shelf(), &order);
    let mut above: HashMap<Digest, Vec<Vec<Digest>>> = HashMap::new();
    for chain in &chains.members {
        for (at, layer) in chain.iter().enumerate() {
            let over: Vec<Digest> = chain[at + 1..].iter().filter(|other| *other != layer).copied().collect();
            let all = above.entry(*layer).or_default();
            if !all.contains(&over) {
                all.push(over);
            }
        }
    }
    let mut uses: HashMap<Digest, usize> = HashMap::new();
    above.values().flat_map(|all| all.iter().flatten().collect::<HashSet<_>>()).for_each(|layer| {
        *uses.entry(*layer).or_default() += 1;
    });
    let lister = Lister {
        order: order.iter().copied().zip(0..).collect(),
        above,
        names,
        only: chains.only,
        covers: Covers::default(),
        lines,
        stream,
        shared: Mutex::new(Shared { uses, findings: Check::new(LAYERS), ..Shared::default() }),
        changed: Condvar::new(),
    };
    let finished = reading.read(&Wanted::InOrder(order), &lister, jobs, observer)?;
    let shared = lister.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (findings, layers, entries) = (shared.findings, shared.layers, shared.entries);
    Ok(Listed { finished, findings, layers, entries })
}

/// The layers of each chosen image, lowest first, and further blobs.
struct Chains {
    members: Vec<Vec<Digest>>,
    only: Option<Digest>,
}

fn chains(reading: &Reading<'_>, choice: &Choice<'_>) -> Result<Chains> {
    let shelf = reading.shelf();
    let layers = |at: &usize| shelf.members()[*at].layers.iter().map(|layer| layer.digest).collect();
    let digest = choice.what.and_then(|what| what.parse::<Digest>().ok());
    let layer = digest.filter(|digest| shelf.get(digest).is_some_and(Carried::is_layer));
    let mut members: Vec<usize> = match choice.what {
        Some(_) if layer.is_some() => (0..shelf.members().len()).collect(),
        Some(what) => shelf.choose(reading.index(), what, choice.platform)?,
        None => (0..shelf.members().len()).collect(),
    };
    if let Some(platform) = choice.platform {
        let other = |p: &Option<Platform>| p.as_ref().is_some_and(|has| !platform.accepts(has));
        members.retain(|at| !other(&shelf.members()[*at].platform));
    }
    let mut members: Vec<Vec<Digest>> = members.iter().map(layers).collect();
    members.sort();
    members.dedup();
    if let Some(layer) = layer {
        members.retain(|chain| chain.contains(&layer));
    }
    Ok(Chains { members, only: layer })
}

/// The layers of all chains, each after those above it, as far as there is such an order.
fn order(shelf: &Shelf, chains: &Chains) -> Vec<Digest> {
    let mut below: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
    let mut waits: BTreeMap<Digest, usize> = BTreeMap::new();
    for chain in &chains.members {
        let tar: Vec<Digest> =
            chain.iter().filter(|layer| shelf.get(layer).is_some_and(Carried::is_layer)).copied().collect();
        tar.iter().for_each(|layer| _ = waits.entry(*layer).or_default());
        for pair in tar.windows(2).filter(|pair| pair[0] != pair[1]) {
            if below.entry(pair[1]).or_default().insert(pair[0]) {
                *waits.entry(pair[0]).or_default() += 1;
            }
        }
    }
    let mut ready: BTreeSet<Digest> = waits.iter().filter(|(_, n)| **n == 0).map(|(layer, _)| *layer).collect();
    let mut order = Vec::new();
    loop {
        let next = match ready.pop_first() {
            Some(next) => next,
            // Images that have the same layers in another order: one has to be first.
            None => match waits.keys().next() {
                Some(first) => *first,
                None => break,
            },
        };
        if waits.remove(&next).is_none() {
            continue;
        }
        order.push(next);
        for lower in below.get(&next).into_iter().flatten() {
            if let Some(left) = waits.get_mut(lower) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.insert(*lower);
                }
            }
        }
    }
    // Then only the one that was asked for, with those above it.
    if let Some(only) = chains.only {
        let over: BTreeSet<Digest> =
            chains.members.iter().flat_map(|chain| chain.iter().skip_while(|l| **l != only)).copied().collect();
        order.retain(|layer| over.contains(layer));
    }
    order
}

fn names(index: &Index, shelf: &Shelf, order: &[Digest]) -> HashMap<Digest, Vec<String>> {
    let of = |digest: &Digest| shelf.get(digest).map(|carried| shelf.names(index, carried)).unwrap_or_default();
    order.iter().map(|digest| (*digest, of(digest))).collect()
}

#[derive(Debug)]
struct Shared {
    /// The layers that were read, with what they hide, while others need it.
    covers: HashMap<Digest, Option<Arc<Cover>>>,
    uses: HashMap<Digest, usize>,
    /// The layer whose lines are written as they come, by its place in the order.
    turn: usize,
    ended: BTreeSet<usize>,
    findings: Check,
    layers: u64,
    entries: u64,
    stopped: bool,
}

impl Default for Shared {
    fn default() -> Shared {
        let (covers, uses, ended) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        Shared { covers, uses, turn: 0, ended, findings: Check::new(LAYERS), layers: 0, entries: 0, stopped: false }
    }
}

struct Lister<'l> {
    order: HashMap<Digest, usize>,
    above: HashMap<Digest, Vec<Vec<Digest>>>,
    names: HashMap<Digest, Vec<String>>,
    /// The layer that is listed alone; those above it are only read.
    only: Option<Digest>,
    covers: Covers,
    lines: &'l dyn Lines,
    stream: bool,
    shared: Mutex<Shared>,
    changed: Condvar,
}

impl Lister<'_> {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is above a layer in each image. Waits for layers that are being read; `None` where one comes later.
    fn above(&self, layer: &Digest) -> Option<Vec<Vec<Arc<Cover>>>> {
        let own = self.order.get(layer)?;
        let mut shared = self.lock();
        let chains = self.above.get(layer)?;
        let tar = |other: &&Digest| self.order.contains_key(*other);
        let mut out = Vec::new();
        for chain in chains {
            let mut covers = Vec::new();
            for over in chain.iter().filter(tar) {
                if self.stream || self.order.get(over) > Some(own) {
                    return None;
                }
                loop {
                    match shared.covers.get(over) {
                        Some(Some(cover)) => break covers.push(cover.clone()),
                        // It could not be read.
                        Some(None) => break,
                        None if shared.stopped => return None,
                        None => shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            }
            out.push(covers);
        }
        Some(out)
    }

    /// Drops what only this layer still needed.
    fn release(&self, layer: &Digest) {
        let mut shared = self.lock();
        let over: HashSet<&Digest> = self.above.get(layer).into_iter().flatten().flatten().collect();
        for other in over {
            if let Some(left) = shared.uses.get_mut(other) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    shared.covers.insert(*other, None);
                }
            }
        }
    }

    /// Writes lines when it is this layer's turn; before, as long as they are few, keeps them.
    fn put(&self, place: usize, lines: &mut Vec<u8>, last: bool) -> Result<()> {
        if !self.stream {
            let mut shared = self.lock();
            while shared.turn != place {
                if !last && lines.len() < KEPT || shared.stopped {
                    return Ok(());
                }
                shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let written = self.lines.write(lines);
        lines.clear();
        written
    }

    fn end(&self, place: usize, failed: bool) {
        let mut shared = self.lock();
        shared.stopped |= failed;
        shared.ended.insert(place);
        while let Some(first) = shared.ended.first().copied().filter(|first| *first <= shared.turn) {
            shared.ended.remove(&first);
            if first == shared.turn {
                shared.turn += 1;
            }
        }
        self.changed.notify_all();
    }

    fn layer(&self, blob: &Carried, content: &mut Content<'_, '_>, place: usize) -> Result<()> {
        let mut out = Vec::new();
        let names = self.names.get(&blob.digest).map(Vec::as_slice).unwrap_or_default();
        if self.only.is_some_and(|only| only != blob.digest) {
            return self.above_the_only(blob, content);
        }
        self.lines.heading(&Heading { carried: blob, images: names }, &mut out);
        let above = self.above(&blob.digest);
        let (mut cover, mut entries, mut found) = (Cover::default(), 0, Vec::new());
        let (needed, mut buffer) = (self.lock().uses.contains_key(&blob.digest), vec![0; BUFFER]);
        let end = content.files(&mut |way, entry, from| {
            let mut first = Vec::new();
            let (digest, size) = digest(entry, from, &mut buffer, &mut first)?;
            let mut facts = facts::of_entry(entry);
            facts.extend(facts::of_content(&first));
            let state = self.state(entry, above.as_deref());
            if needed && way == Way::Runtime {
                self.covers.add(&mut cover, entry);
            }
            for fact in facts.iter().filter(|fact| fact.is_finding()) {
                found.push(risk(*fact, blob, names, entry));
            }
            if found.len() > 64 {
                self.find(&mut found);
            }
            entries += 1;
            self.lines.row(&Row { layer: &blob.digest, way, entry, size, digest, state, facts: &facts }, &mut out);
            match out.len() > KEPT / 16 {
                true => self.put(place, &mut out, false),
                false => Ok(()),
            }
        });
        let end = match end {
            Ok(end) => end,
            Err(e) => {
                self.find(&mut found);
                return self.put(place, &mut out, true).and(Err(e));
            }
        };
        found.extend(findings(blob, names, &end.remarks, end.broken.as_ref()));
        self.find(&mut found);
        let mut shared = self.lock();
        (shared.layers, shared.entries) = (shared.layers + 1, shared.entries + entries);
        shared.covers.insert(blob.digest, needed.then(|| Arc::new(cover)));
        drop(shared);
        self.changed.notify_all();
        self.release(&blob.digest);
        self.put(place, &mut out, true)
    }

    /// Reads only the paths of a layer.
    fn above_the_only(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        let mut cover = Cover::default();
        content.files(&mut |way, entry, _| {
            if way == Way::Runtime {
                self.covers.add(&mut cover, entry);
            }
            Ok(())
        })?;
        self.lock().covers.insert(blob.digest, Some(Arc::new(cover)));
        self.changed.notify_all();
        Ok(())
    }

    fn find(&self, found: &mut Vec<Finding>) {
        let mut shared = self.lock();
        found.drain(..).for_each(|finding| shared.findings.find(finding));
    }

    fn state(&self, entry: &FileEntry, above: Option<&[Vec<Arc<Cover>>]>) -> State {
        let Some(above) = above else { return State::Unknown };
        let each = above.iter().map(|chain| self.covers.state(&entry.path, chain.iter().map(Arc::as_ref)));
        each.min().unwrap_or(State::Present)
    }
}

impl Visitor for Lister<'_> {
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        let Some(place) = self.order.get(&blob.digest).copied() else { return Ok(()) };
        if content.again() {
            // Its lines are there, up to the damage, and what they say is not what the bundle has.
            let names = self.names.get(&blob.digest).map(Vec::as_slice).unwrap_or_default();
            self.find(&mut vec![damaged_copy(blob, names)]);
            return Ok(());
        }
        let done = self.layer(blob, content, place);
        if done.is_err() {
            // Those below must not wait for it.
            self.lock().covers.entry(blob.digest).or_insert(None);
        }
        let fatal = done.as_ref().is_err_and(|e| !e.code().is_verdict() && e.code() != Code::Io);
        self.end(place, fatal);
        done
    }
}

/// The digest of a content, its size and its first bytes.
fn digest(
    entry: &FileEntry,
    from: &mut dyn Read,
    buffer: &mut [u8],
    first: &mut Vec<u8>,
) -> Result<(Option<Digest>, u64)> {
    if !entry.has_content() {
        return Ok((None, entry.size));
    }
    let (mut hasher, mut size) = (Hasher::new(), 0);
    loop {
        let n = match from.read(buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(crate::content::layer::broken("an image", e)),
        };
        if first.len() < facts::FIRST {
            first.extend_from_slice(&buffer[..n.min(facts::FIRST - first.len())]);
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
    let link = entry.kind == FileKind::HardLink && size == 0;
    Ok(((!link).then(|| hasher.finish()), size))
}

/// The subject of a finding about an entry: `IMAGE:/path`, and other images as facts.
fn subject(names: &[String], path: &[u8]) -> String {
    let image = names.first().map_or("", String::as_str);
    format!("{image}:/{}", String::from_utf8_lossy(path))
}

fn about(finding: Finding, blob: &Carried, names: &[String]) -> Finding {
    let more = names.iter().skip(1).map(|name| format!("also in {name}"));
    more.fold(finding.fact(format!("layer {}", blob.digest)), Finding::fact)
}

/// The finding for a fact that needs no scanner.
pub fn risk(fact: Fact, blob: &Carried, names: &[String], entry: &FileEntry) -> Finding {
    let subject = subject(names, &entry.path);
    let text = format!("`{subject}` {}", fact.sentence());
    about(Finding::notice(Code::RiskFact, subject, text), blob, names)
}

/// The finding for a layer that was listed from a damaged copy, where another copy is good.
fn damaged_copy(blob: &Carried, names: &[String]) -> Finding {
    let image = names.first().map_or("an image", String::as_str);
    let text = format!("a layer of `{image}` is listed from a damaged copy: its lines do not count");
    let finding = Finding::new(Code::IncompleteCheck, blob.digest.to_string(), text);
    about(finding.hint("leave out the damaged copy, which the notices name, and list again"), blob, names)
}

/// The findings for how the reading of a layer ended.
pub fn findings(blob: &Carried, names: &[String], remarks: &Remarks, broken: Option<&Error>) -> Vec<Finding> {
    let mut out = Vec::new();
    for remark in remarks.list() {
        let subject = subject(names, &remark.path);
        let text = match remark.path.is_empty() {
            true => format!("a layer of `{}` {}", names.first().map_or("an image", String::as_str), remark.what),
            false => format!("a layer {}: `{subject}`", remark.what),
        };
        let finding = match remark.ambiguous {
            true => Finding::new(Code::AmbiguousLayer, blob.digest.to_string(), text)
                .fact("tar readers see different files or contents in it"),
            false => Finding::notice(Code::RiskFact, blob.digest.to_string(), text),
        };
        out.push(about(finding, blob, names));
    }
    if remarks.more() > 0 {
        let text = format!("a layer has {} more such places", remarks.more());
        out.push(about(Finding::notice(Code::AmbiguousLayer, blob.digest.to_string(), text), blob, names));
    }
    if let Some(broken) = broken {
        let mut finding = Finding::of(blob.digest.to_string(), broken);
        if let Some(name) = names.first() {
            finding.message = finding.message.replacen("a layer of an image", &format!("a layer of `{name}`"), 1);
        }
        out.push(about(finding, blob, names));
    }
    out
}

/// The error for a list whose reader has gone.
pub fn closed() -> Error {
    Error::new(Code::Io, "the reader of the list has closed it")
}
