//! F4: power loss, on a file system that keeps only what was synced and any part of the rest.
//!
//! A run is recorded. For one moment of it, the test draws a file system that a host may find afterwards: any part of
//! the unsynced data is there, in old or new sectors, or with arbitrary content where nothing was before. A medium is
//! assumed not to change synced data that is not written again, and a rewritten sector of 512 or 4096 bytes is old or
//! new.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror_bundle::oci::Digest;

use crate::lab::{Lab, Snapshot};
use crate::record::{Op, record};
use crate::sweep::over;
use crate::trace::points;
use crate::verbs::{Goal, Verb, chosen};

/// A minimal random number generator: the draws are the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// The target of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Link(PathBuf),
    Folder,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Mode(u32),
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// The content at its last sync.
    durable: Vec<u8>,
    mode: u32,
    /// The changes since then.
    pending: Vec<Change>,
    /// Its current length.
    length: u64,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Move(PathBuf, PathBuf, Node),
}

/// The state that a host finds: names, and contents with their modes.
type Found = (BTreeMap<PathBuf, Node>, Vec<(Vec<u8>, u32)>);

/// The file system, with its durable and its pending state.
#[derive(Clone, Debug, Default)]
struct CrashFs {
    contents: Vec<Content>,
    /// Names as a running host sees them.
    now: BTreeMap<PathBuf, Node>,
    /// Names on disk, whether or not their folders are.
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of names by folder, in order.
    pending: Vec<(PathBuf, Naming)>,
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl CrashFs {
    /// Makes everything below a place durable.
    fn of(place: &Path) -> CrashFs {
        let mut fs = CrashFs::default();
        for entry in walkdir::WalkDir::new(place).min_depth(1) {
            let entry = entry.unwrap();
            let meta = entry.path().symlink_metadata().unwrap();
            let node = if meta.is_file() {
                let durable = fs::read(entry.path()).unwrap();
                let (length, mode) = (durable.len() as u64, meta.permissions().mode() & 0o777);
                fs.contents.push(Content { durable, mode, pending: Vec::new(), length });
                Node::File(fs.contents.len() - 1)
            } else if meta.is_symlink() {
                Node::Link(fs::read_link(entry.path()).unwrap())
            } else {
                Node::Folder
            };
            fs.now.insert(entry.path().strip_prefix(place).unwrap().to_owned(), node);
        }
        fs.durable = fs.now.clone();
        fs
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        let Some(Node::File(at)) = self.now.get(path) else { panic!("no file {}", path.display()) };
        &mut self.contents[*at]
    }

    fn name(&mut self, path: &Path, node: Node) {
        self.pending.push((folder(path), Naming::Set(path.to_owned(), node.clone())));
        self.now.insert(path.to_owned(), node);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path, mode) if !self.now.contains_key(path) => {
                self.contents.push(Content { mode: mode & !0o022, ..Content::default() });
                self.name(path, Node::File(self.contents.len() - 1));
            }
            Op::Create(..) | Op::Say(..) => {}
            Op::Write(path, offset, data) => {
                let file = self.file(path);
                let at = offset.unwrap_or(file.length);
                file.length = file.length.max(at + data.len() as u64);
                file.pending.push(Change::Write(at, data.clone()));
            }
            Op::Truncate(path, length) => {
                let file = self.file(path);
                file.length = *length;
                file.pending.push(Change::Length(*length));
            }
            Op::Extend(path, length) => {
                let file = self.file(path);
                file.length = file.length.max(*length);
                let length = file.length;
                file.pending.push(Change::Length(length));
            }
            Op::Mode(path, mode) => self.file(path).pending.push(Change::Mode(*mode)),
            Op::Folder(path) => self.name(path, Node::Folder),
            Op::Symlink(target, path) => self.name(path, Node::Link(target.clone())),
            Op::Link(from, to) => {
                let node = self.now[from].clone();
                self.name(to, node);
            }
            Op::Rename(from, to) => {
                let node = self.now.remove(from).unwrap();
                self.pending.push((folder(to), Naming::Move(from.clone(), to.clone(), node.clone())));
                self.now.insert(to.clone(), node);
            }
            Op::Unlink(path) => {
                self.now.remove(path);
                self.pending.push((folder(path), Naming::Remove(path.clone())));
            }
            Op::Lost(path) => {
                if let Some(Node::File(at)) = self.now.get(path) {
                    self.contents[*at].pending.clear();
                }
            }
            Op::Sync(path) => match self.now.get(path) {
                Some(Node::File(at)) => {
                    let content = &mut self.contents[*at];
                    let pending = std::mem::take(&mut content.pending);
                    pending.iter().for_each(|change| whole(content, change));
                }
                _ => {
                    let (synced, rest) = std::mem::take(&mut self.pending).into_iter().partition(|(of, _)| of == path);
                    self.pending = rest;
                    let synced: Vec<(PathBuf, Naming)> = synced;
                    synced.iter().for_each(|(_, naming)| rename(&mut self.durable, naming));
                }
            },
        }
    }

    /// One of the many states that a host may find after a power loss.
    fn crash(&self, seed: u64) -> Found {
        let mut dice = Dice::new(seed);
        // The extremes first: nothing, everything, and each of the two without the other.
        let (names, data) = match seed {
            0 => (0, 0),
            1 => (1, 1),
            2 => (0, 1),
            3 => (1, 0),
            _ => (2, 2),
        };
        let prefix = dice.one_in(2);
        let cut = dice.next() as usize % (self.pending.len() + 1);
        let mut found = self.durable.clone();
        for (at, (_, naming)) in self.pending.iter().enumerate() {
            let kept = match names {
                0 => false,
                1 => true,
                _ if prefix => at < cut,
                _ => !dice.one_in(2),
            };
            if kept {
                rename(&mut found, naming);
            }
        }
        // A folder that does not exist has no content.
        let all = found.clone();
        found.retain(|path, _| path.ancestors().skip(1).all(|a| a.as_os_str().is_empty() || all.contains_key(a)));
        let contents = self.contents.iter().map(|content| {
            let mut after = content.clone();
            match data {
                0 => {}
                1 => content.pending.iter().for_each(|change| whole(&mut after, change)),
                _ => torn(&mut after, content, &mut dice),
            }
            (after.durable, after.mode)
        });
        let contents = contents.collect();
        (found, contents)
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, naming: &Naming) {
    match naming {
        Naming::Set(path, node) => _ = names.insert(path.clone(), node.clone()),
        Naming::Remove(path) => _ = names.remove(path),
        Naming::Move(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), node.clone());
        }
    }
}

fn whole(content: &mut Content, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let (at, end) = (*at as usize, *at as usize + data.len());
            if content.durable.len() < end {
                content.durable.resize(end, 0);
            }
            content.durable[at..end].copy_from_slice(data);
        }
        Change::Length(length) => content.durable.resize(*length as usize, 0),
        Change::Mode(mode) => content.mode = *mode,
    }
}

/// Any part of the pending writes, sector by sector.
fn torn(after: &mut Content, content: &Content, dice: &mut Dice) {
    let sector = if dice.one_in(2) { 512 } else { 4096 };
    let (prefix, cut) = (dice.one_in(2), dice.next() as usize % (content.pending.len() + 1));
    let garbage = dice.one_in(4);
    // Existing content is old or new; other content is arbitrary.
    let known = content.durable.len();
    for (number, change) in content.pending.iter().enumerate() {
        let kept = if prefix { number < cut } else { !dice.one_in(3) };
        let last = prefix && number == cut;
        match change {
            Change::Write(at, data) if kept || last => {
                let mut done = 0;
                while done < data.len() {
                    let place = *at as usize + done;
                    let next = (sector - place % sector).min(data.len() - done);
                    let part = &data[done..done + next];
                    if kept && !dice.one_in(8) || last && dice.one_in(2) {
                        whole(after, &Change::Write(place as u64, part.to_vec()));
                    } else if garbage && place >= known {
                        let noise: Vec<u8> = part.iter().map(|_| dice.next() as u8).collect();
                        whole(after, &Change::Write(place as u64, noise));
                    }
                    done += next;
                }
            }
            Change::Write(..) => {}
            other if kept => whole(after, other),
            _ => {}
        }
    }
}

/// Creates a place from a drawn state.
fn materialise(place: &Path, names: &BTreeMap<PathBuf, Node>, contents: &[(Vec<u8>, u32)]) {
    let mut linked: HashMap<usize, PathBuf> = HashMap::new();
    for (path, node) in names {
        let full = place.join(path);
        match node {
            Node::Folder => fs::create_dir(full).unwrap(),
            Node::Link(target) => std::os::unix::fs::symlink(target, full).unwrap(),
            Node::File(at) => match linked.get(at) {
                Some(other) => fs::hard_link(other, full).unwrap(),
                None => {
                    fs::write(&full, &contents[*at].0).unwrap();
                    fs::set_permissions(&full, fs::Permissions::from_mode(contents[*at].1)).unwrap();
                    linked.insert(*at, full);
                }
            },
        }
    }
}

fn identity(names: &BTreeMap<PathBuf, Node>, contents: &[(Vec<u8>, u32)]) -> Digest {
    let mut text = Vec::new();
    for (path, node) in names {
        text.extend_from_slice(format!("{path:?} ").as_bytes());
        match node {
            Node::File(at) => {
                text.extend_from_slice(format!("{} {}\n", Digest::of(&contents[*at].0), contents[*at].1).as_bytes());
            }
            other => text.extend_from_slice(format!("{other:?}\n").as_bytes()),
        }
    }
    Digest::of(&text)
}

/// Draws crashes and checks how the program handles them: `seeds` of them right before each sync, when most is at
/// stake, and a few after each other operation; one of so many of these moments.
fn crashes(lab: &Lab, verb: &Verb, goal: &Goal, seeds: u64, every: usize) -> (usize, usize) {
    let place = verb.place(lab);
    let before = CrashFs::of(&place);
    let (run, ops) = record(lab, &place, &verb.words(lab, &place, 1), None);
    run.is(0, verb.name);
    fs::remove_dir_all(&place).unwrap();
    let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Say(..))).collect();
    let moments = (1..=ops.len()).step_by(every);
    let drawn = |at: usize| if matches!(ops.get(at), Some(Op::Sync(_))) { seeds } else { seeds.div_ceil(16) };
    let draws: Vec<(usize, u64)> = moments.flat_map(|at| (0..drawn(at)).map(move |seed| (at, seed))).collect();
    let (known, distinct) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
    let failed = over(&draws, |(at, seed)| {
        let mut disk = before.clone();
        ops[..*at].iter().for_each(|op| disk.apply(op));
        // The moment is part of the seed: otherwise all moments between two syncs would lose the same data.
        let drawn = if *seed < 4 { *seed } else { seed + 1000 * *at as u64 };
        let (names, contents) = disk.crash(drawn);
        if !known.lock().unwrap().insert(identity(&names, &contents)) {
            return;
        }
        distinct.fetch_add(1, Ordering::Relaxed);
        let place = lab.place();
        materialise(&place, &names, &contents);
        let what = format!("power lost after {at} ({:?}), seed {seed}", short(&ops[at - 1]));
        verb.check_between(lab, &place, goal, &what);
        let again = lab.run(&place, &verb.words(lab, &place, 1));
        assert!(verb.again.contains(&again.code), "{}: {what}: {again:?}", verb.name);
        verb.check_after(lab, &place, goal, &what);
        fs::remove_dir_all(place).unwrap();
    });
    assert_eq!(failed, 0, "{}: of {} draws, see above", verb.name, draws.len());
    (draws.len(), distinct.into_inner())
}

fn short(op: &Op) -> String {
    let mut text = format!("{op:?}");
    text.truncate(90);
    text
}

/// After a run that reported success, a power loss at the next moment must lose nothing.
fn durable(before: CrashFs, runs: &[&[Op]]) -> Snapshot {
    let mut disk = before;
    runs.iter().flat_map(|ops| ops.iter()).for_each(|op| disk.apply(op));
    let (names, contents) = disk.crash(0);
    let place = tempfile::tempdir().unwrap();
    materialise(place.path(), &names, &contents);
    crate::lab::snapshot(place.path())
}

/// Only the other host could know about a registry.
fn local() -> impl Iterator<Item = &'static Verb> {
    chosen().filter(|verb| !verb.pushes)
}

fn sweep(seeds: u64, every: usize) {
    let lab = Lab::new();
    for verb in local() {
        let goal = verb.goal(&lab);
        let (draws, distinct) = crashes(&lab, verb, &goal, seeds, every);
        eprintln!("{}: {draws} crashes drawn, {distinct} different ones", verb.name);
    }
}

#[test]
fn a_power_loss_leaves_nothing_wrong_and_the_next_run_completes_it() {
    sweep(12, 13);
}

#[test]
#[ignore = "half an hour"]
fn a_power_loss_after_every_operation_leaves_nothing_wrong_and_the_next_run_completes_it() {
    sweep(200, 1);
}

/// Kills a run, completes it, and cuts the power at the next moment: one point of so many.
fn killed_and_resumed(every: usize) {
    let lab = Lab::new();
    for verb in local() {
        let goal = verb.goal(&lab);
        let points = points(&lab, verb);
        let kills = points
            .iter()
            .filter(|p| ["fsync", "mkdirat", "mkdir", "renameat", "unlinkat", "rmdir"].contains(&&*p.call));
        let kills: Vec<_> = std::iter::once(None).chain(kills.step_by(every).map(Some)).collect();
        let failed = over(&kills, |kill| {
            let place = verb.place(&lab);
            let before = CrashFs::of(&place);
            let words = verb.words(&lab, &place, 1);
            let (_, first) = record(&lab, &place, &words, kill.map(|point| (point, "signal=KILL")));
            let (again, second) = match kill {
                None => return verb.same(&durable(before, &[&first]), &goal, "undisturbed"),
                Some(_) => record(&lab, &place, &words, None),
            };
            let what = format!("killed at {kill:?}, run again, power lost after that");
            if again.code == 0 {
                verb.same(&durable(before, &[&first, &second]), &goal, &what);
            }
            fs::remove_dir_all(place).unwrap();
        });
        assert_eq!(failed, 0, "{}", verb.name);
    }
}

#[test]
fn reported_success_survives_a_power_loss_even_if_an_earlier_run_was_killed() {
    killed_and_resumed(29);
}

#[test]
#[ignore = "a minute"]
fn reported_success_survives_a_power_loss_wherever_an_earlier_run_was_killed() {
    killed_and_resumed(1);
}

/// After a failed sync a system may treat unwritten data as written, so that the next sync succeeds. Everything that
/// the next run reports as done must exist all the same.
#[test]
fn a_sync_that_failed_is_not_tried_again_to_success() {
    let lab = Lab::new();
    // An in-place repair reads its result back after asking the system to drop its cache. This model does not show
    // that, since it remembers everything.
    for verb in local().filter(|verb| verb.mends.is_none()) {
        let goal = verb.goal(&lab);
        let syncs: Vec<_> = points(&lab, verb).into_iter().filter(|p| p.call == "fsync").collect();
        let few: Vec<_> = syncs.iter().step_by(1 + syncs.len() / 3).collect();
        let failed = over(&few, |point| {
            let place = verb.place(&lab);
            let before = CrashFs::of(&place);
            let words = verb.words(&lab, &place, 1);
            let (run, first) = record(&lab, &place, &words, Some((point, "error=EIO")));
            run.is(3, verb.name);
            let (again, second) = record(&lab, &place, &words, None);
            assert!(verb.again.contains(&again.code), "{again:?}");
            if again.code == 0 {
                let what = format!("sync {} failed, run again, power lost after that", point.number);
                verb.same(&durable(before, &[&first, &second]), &goal, &what);
            }
            fs::remove_dir_all(place).unwrap();
        });
        assert_eq!(failed, 0, "{}", verb.name);
    }
}
