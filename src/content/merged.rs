//! The merged image: what a container sees, from the entries of its layers, lowest first. No contents are kept.
//!
//! The rules are those of `umoci unpack` and of container runtimes: a whiteout deletes what lower layers have, never what
//! its own layer has; a later entry replaces an earlier one, unless both are folders; what is below a path that is no
//! folder any more is gone; folders on the way are followed through symbolic links, within the image; a hard link has
//! the content of its target.

use std::collections::HashMap;

use super::layer::{FileEntry, FileKind, Whiteout};
use crate::error::{Code, Error, Result};

/// The most entries of a merged image.
const NODES: usize = 1_000_000;
/// The most bytes of their names and link targets.
const NAMES: usize = 128 << 20;
/// The most symbolic links on the way to one path, as in Linux.
const HOPS: usize = 40;
/// The most folders on the way to one path.
const DEPTH: usize = 2048;

const ROOT: u32 = 0;

/// Which entry of which layer a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The position of the layer in the image, lowest first, from 0.
    pub layer: u32,
    /// The number of the entry in that layer.
    pub entry: u32,
}

/// One file of a merged image.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind. A hard link has that of its target, unless there is no target.
    pub kind: FileKind,
    /// Its permissions.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Whether its name as written leads out of the image.
    pub leaves: bool,
    /// The entry with its content; `None` for a folder that no layer lists.
    pub place: Option<Place>,
    /// The target of a symbolic link, or of a hard link to nothing.
    pub target: Option<Box<[u8]>>,
    name: Box<[u8]>,
    parent: u32,
    #[expect(clippy::box_collection, reason = "most nodes are files, and are smaller without it")]
    children: Option<Box<HashMap<Box<[u8]>, u32>>>,
    /// The last layer that has it or something below it, plus one.
    touched: u32,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To this node.
    Node(u32),
    /// Nowhere.
    Nothing,
    /// Through too many symbolic links.
    Loop,
}

/// Called for each node: its path, its number and itself.
pub type VisitNode<'v> = dyn FnMut(&[u8], u32, &Node) -> Result<()> + 'v;

/// A merged image.
#[derive(Clone, Debug)]
pub struct Merged {
    nodes: Vec<Node>,
    free: Vec<u32>,
    names: usize,
    layer: u32,
    /// Hard links whose targets come later.
    waiting: Vec<(u32, Place, Box<[u8]>)>,
}

impl Default for Merged {
    fn default() -> Merged {
        let mut merged = Merged { nodes: Vec::new(), free: Vec::new(), names: 0, layer: 0, waiting: Vec::new() };
        merged.nodes.push(folder(Box::default(), ROOT));
        merged
    }
}

fn folder(name: Box<[u8]>, parent: u32) -> Node {
    let (kind, mode, size, place, target, children, touched) = (FileKind::Dir, 0o755, 0, None, None, None, 0);
    Node { kind, mode, size, leaves: false, place, target, name, parent, children, touched }
}

impl Merged {
    /// Adds one entry of the current layer; entries come in the order of the archive.
    ///
    /// # Errors
    /// [`Code::Malformed`] when the image has more files than are kept in memory.
    pub fn add(&mut self, entry: &FileEntry) -> Result<()> {
        match (&entry.whiteout, entry.kind) {
            (Some(Whiteout::Name(path)), _) => {
                if let Found::Node(at) = self.find(path, false) {
                    self.delete(at, true);
                }
                return Ok(());
            }
            (Some(Whiteout::Opaque(path)), _) => {
                if let Found::Node(at) = self.find(path, false) {
                    self.delete(at, false);
                }
                return Ok(());
            }
            // Notes of a union file system, which no image shows.
            _ if entry.path.rsplit(|b| *b == b'/').next().is_some_and(|name| name.starts_with(b".wh..wh.")) => {
                return Ok(());
            }
            (None, FileKind::Behind) => return Ok(()),
            (None, _) => {}
        }
        let place = Place { layer: self.layer, entry: u32::try_from(entry.number).unwrap_or(u32::MAX) };
        let Some(at) = self.make(&entry.path, entry.kind == FileKind::Dir)? else { return Ok(()) };
        let keep = |target: &Option<Vec<u8>>| target.as_deref().map(Box::from);
        self.names += entry.target.as_ref().map_or(0, Vec::len);
        let node = &mut self.nodes[at as usize];
        (node.kind, node.mode, node.size, node.leaves) = (entry.kind, entry.mode, entry.size, entry.leaves);
        (node.place, node.target) = (Some(place), keep(&entry.target));
        if entry.kind == FileKind::HardLink {
            let target = entry.target.clone().unwrap_or_default();
            if !self.link(at, &target) {
                self.waiting.push((at, place, target.into()));
            }
        }
        self.room()
    }

    /// The current layer is complete; the next one is the one above it.
    pub fn end_layer(&mut self) {
        for (at, place, target) in std::mem::take(&mut self.waiting) {
            // It may have been replaced since.
            let same = |node: &Node| node.kind == FileKind::HardLink && node.place == Some(place);
            if self.nodes.get(at as usize).is_some_and(same) {
                self.link(at, &target);
            }
        }
        self.layer += 1;
    }

    /// A node.
    pub fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    /// The path of a node, without a leading slash.
    pub fn path(&self, at: u32) -> Vec<u8> {
        let (mut names, mut at) = (Vec::new(), at);
        while at != ROOT {
            let node = &self.nodes[at as usize];
            names.push(&node.name[..]);
            at = node.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Visits every file and folder below the root, each folder before what is in it, in the order of names.
    ///
    /// # Errors
    /// Those of `visit`.
    pub fn visit(&self, visit: &mut VisitNode<'_>) -> Result<()> {
        let mut path = Vec::new();
        let mut next: Vec<(u32, usize)> = self.sorted(ROOT).into_iter().map(|at| (at, 0)).collect();
        while let Some((at, length)) = next.pop() {
            let node = &self.nodes[at as usize];
            path.truncate(length);
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&node.name);
            visit(&path, at, node)?;
            let length = path.len();
            next.extend(self.sorted(at).into_iter().map(|child| (child, length)));
        }
        Ok(())
    }

    /// The children of a node, the last name first.
    fn sorted(&self, at: u32) -> Vec<u32> {
        let children = self.nodes[at as usize].children.as_deref();
        let mut all: Vec<u32> = children.map(|c| c.values().copied().collect()).unwrap_or_default();
        all.sort_unstable_by(|a, b| self.nodes[*b as usize].name.cmp(&self.nodes[*a as usize].name));
        all
    }

    /// Takes over the target of a hard link. False if there is none.
    fn link(&mut self, at: u32, target: &[u8]) -> bool {
        let Found::Node(found) = self.find(target, false) else { return false };
        let of = &self.nodes[found as usize];
        if found == at || matches!(of.kind, FileKind::Dir | FileKind::HardLink) {
            return false;
        }
        let (kind, mode, size, place, target) = (of.kind, of.mode, of.size, of.place, of.target.clone());
        let node = &mut self.nodes[at as usize];
        (node.kind, node.mode, node.size, node.place, node.target) = (kind, mode, size, place, target);
        true
    }

    fn child(&self, at: u32, name: &[u8]) -> Option<u32> {
        self.nodes[at as usize].children.as_ref()?.get(name).copied()
    }

    /// The node at a path of the image; a symbolic link at its end is followed on request.
    pub fn find(&self, path: &[u8], follow: bool) -> Found {
        let (mut at, mut hops) = (ROOT, 0);
        let mut names: Vec<&[u8]> = parts(path).rev().collect();
        while let Some(name) = names.pop() {
            if name == b".." {
                at = self.nodes[at as usize].parent;
                continue;
            }
            let Some(child) = self.child(at, name) else { return Found::Nothing };
            let node = &self.nodes[child as usize];
            match node.target.as_deref().filter(|_| node.kind == FileKind::Symlink && (follow || !names.is_empty())) {
                Some(target) => {
                    hops += 1;
                    if hops > HOPS {
                        return Found::Loop;
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    names.extend(parts(target).rev());
                }
                None => at = child,
            }
        }
        Found::Node(at)
    }

    /// The node for an entry at this path, with the folders on the way. `None`: the path leads in a circle.
    fn make(&mut self, path: &[u8], dir: bool) -> Result<Option<u32>> {
        let mark = self.layer + 1;
        self.nodes[ROOT as usize].touched = mark;
        let mut own = parts(path).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let Some(last) = own.pop() else { return Ok(dir.then_some(ROOT)) };
        if own.len() > DEPTH {
            return Err(too_many("a path with too many folders"));
        }
        own.reverse();
        let (mut at, mut hops) = (ROOT, 0);
        while let Some(name) = own.pop() {
            if name == b".." {
                at = self.nodes[at as usize].parent;
                continue;
            }
            let child = match self.child(at, &name) {
                Some(child) => child,
                None => self.insert(at, &name)?,
            };
            match self.nodes[child as usize].kind {
                FileKind::Dir => at = child,
                FileKind::Symlink => {
                    hops += 1;
                    if hops > HOPS {
                        return Ok(None);
                    }
                    let target = self.nodes[child as usize].target.clone().unwrap_or_default();
                    self.touch(child, mark);
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    own.extend(parts(&target).rev().map(<[u8]>::to_vec));
                    if own.len() > DEPTH {
                        return Err(too_many("a path with too many folders"));
                    }
                    continue;
                }
                _ => {
                    self.remove(child);
                    at = self.insert(at, &name)?;
                }
            }
        }
        let found = self.child(at, &last);
        let keep = found.filter(|found| dir && self.nodes[*found as usize].kind == FileKind::Dir);
        let node = match (keep, found) {
            (Some(kept), _) => kept,
            (None, found) => {
                if let Some(found) = found {
                    self.remove(found);
                }
                self.insert(at, &last)?
            }
        };
        self.touch(node, mark);
        Ok(Some(node))
    }

    /// Marks a node and what it is in as of the current layer.
    fn touch(&mut self, mut at: u32, mark: u32) {
        while self.nodes[at as usize].touched != mark {
            self.nodes[at as usize].touched = mark;
            at = self.nodes[at as usize].parent;
        }
    }

    fn insert(&mut self, parent: u32, name: &[u8]) -> Result<u32> {
        self.names += name.len();
        let node = folder(name.into(), parent);
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).map_err(|_| too_many("too many files"))?
            }
        };
        self.nodes[parent as usize].children.get_or_insert_default().insert(name.into(), at);
        self.room()?;
        Ok(at)
    }

    fn room(&self) -> Result<()> {
        if self.nodes.len() - self.free.len() > NODES || self.names > NAMES {
            return Err(too_many("more files than can be looked at"));
        }
        Ok(())
    }

    /// Deletes what lower layers have at a node, and, if `itself`, the node: a whiteout.
    fn delete(&mut self, at: u32, itself: bool) {
        let mark = self.layer + 1;
        let mut next = match itself {
            true if at != ROOT => vec![at],
            _ => self.sorted(at),
        };
        while let Some(at) = next.pop() {
            match self.nodes[at as usize].touched == mark {
                true => next.extend(self.sorted(at)),
                false => self.remove(at),
            }
        }
    }

    /// Removes a node and everything below it.
    fn remove(&mut self, at: u32) {
        let (parent, name) = (self.nodes[at as usize].parent, self.nodes[at as usize].name.clone());
        if let Some(children) = &mut self.nodes[parent as usize].children {
            children.remove(&name);
        }
        let mut next = vec![at];
        while let Some(at) = next.pop() {
            let node = &mut self.nodes[at as usize];
            next.extend(node.children.take().into_iter().flat_map(|children| children.into_values()));
            self.names = self.names.saturating_sub(node.name.len() + node.target.as_ref().map_or(0, |t| t.len()));
            *node = folder(Box::default(), ROOT);
            self.free.push(at);
        }
    }
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

fn too_many(what: &str) -> Error {
    Error::new(Code::Malformed, format!("the layers of an image have {what}"))
}
