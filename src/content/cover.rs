//! What a layer hides of the layers below it: by path, without names. For lists that are written while layers are read,
//! top layer first.
//!
//! Other than [`super::Merged`], it takes paths as they are written: a folder that is a symbolic link is not followed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::layer::{FileEntry, FileKind, Whiteout};

/// It has something at a path.
const HAS: u8 = 1;
/// What it has there is no folder.
const NO_FOLDER: u8 = 2;
/// It deletes the path.
const DELETES: u8 = 4;
/// It empties the folder at the path.
const EMPTIES: u8 = 8;

/// Whether a file of a layer is in the merged image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is.
    Present,
    /// A layer above has something else in its place.
    Shadowed,
    /// A layer above deletes it.
    Deleted,
    /// Layers above were not read before.
    Unknown,
}

impl State {
    /// The word for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Present => "present",
            State::Shadowed => "shadowed",
            State::Deleted => "deleted",
            State::Unknown => "unknown",
        }
    }
}

/// The paths of one layer.
#[derive(Debug, Default)]
pub struct Cover {
    marks: HashMap<u64, u8>,
}

/// Makes the covers of one run, which hash alike.
#[derive(Clone, Debug, Default)]
pub struct Covers(RandomState);

impl Covers {
    /// Adds an entry.
    pub fn add(&self, cover: &mut Cover, entry: &FileEntry) {
        let (path, mark) = match &entry.whiteout {
            Some(Whiteout::Name(path)) => (path, DELETES),
            Some(Whiteout::Opaque(path)) => (path, EMPTIES),
            None if entry.kind == FileKind::Behind => return,
            None if entry.kind == FileKind::Dir => (&entry.path, HAS),
            None => (&entry.path, HAS | NO_FOLDER),
        };
        *cover.marks.entry(self.0.hash_one(path.as_slice())).or_default() |= mark;
    }

    /// The state of a path under these layers, the nearest first.
    pub fn state<'c>(&self, path: &[u8], above: impl IntoIterator<Item = &'c Cover>) -> State {
        let mut hashes = Vec::new();
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        // The root first; the path itself last.
        hashes.push(self.0.hash_one(&b""[..]));
        hashes.extend(ends.map(|at| self.0.hash_one(&path[..at])));
        let own = self.0.hash_one(path);
        for cover in above {
            if let Some(state) = cover.over(&hashes, own) {
                return state;
            }
        }
        State::Present
    }
}

impl Cover {
    /// What it makes of a path, if anything.
    fn over(&self, folders: &[u64], own: u64) -> Option<State> {
        let mark = |hash: &u64| self.marks.get(hash).copied().unwrap_or(0);
        let at = mark(&own);
        if at & HAS != 0 {
            return Some(State::Shadowed);
        }
        if at & DELETES != 0 {
            return Some(State::Deleted);
        }
        folders.iter().find_map(|folder| match mark(folder) {
            mark if mark & NO_FOLDER != 0 => Some(State::Shadowed),
            mark if mark & (DELETES | EMPTIES) != 0 => Some(State::Deleted),
            _ => None,
        })
    }
}
