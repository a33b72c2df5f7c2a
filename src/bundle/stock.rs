//! Places that may have what a bundle does not carry: other bundles, and folders of blobs (MB-CAR-09).
//!
//! Nothing is trusted: a place is asked by digest, and whoever reads from it compares the digest again.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::carriage::SignedCarriage;
use super::elsewhere::{Copy, Elsewhere, Remote};
use super::index::Index;
use super::inputs::Inputs;
use super::reader::{Bundle, Contents};
use super::restore::Kitchen;
use super::set::{Replica, Set};
use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind};
use crate::oci::Digest;

/// The most bundles among the places, since their indexes are held in memory.
pub(crate) const BUNDLES: usize = 8;
/// Folders that hold blobs, by their digests in hex.
const FOLDERS: [&str; 2] = ["blobs/sha256", "sha256"];

/// Places that may have a blob.
#[derive(Debug, Default)]
pub struct Stock {
    places: Vec<Arc<Place>>,
    /// Where the bundle is unpacked to, once it is known what is there.
    remotes: RwLock<Vec<Arc<dyn Remote>>>,
    kitchen: Arc<Kitchen>,
}

/// Whether somebody trusted signed how a base carries its blobs: a base is believed without, but nothing of it is restored.
pub type Vouched<'a> = &'a dyn Fn(&SignedCarriage) -> bool;

#[derive(Debug)]
struct Place {
    name: String,
    kind: PlaceKind,
}

#[derive(Debug)]
enum PlaceKind {
    /// A bundle, in one file or several, and the position of each of its blobs.
    Bundle(Box<Set>, HashMap<Digest, usize>),
    /// Folders of blobs: one, or those of all repositories of a mirror directory.
    Folders(Vec<Dir>),
}

/// The most folders of a mirror directory that are looked at, and how deep they may be.
const TREE: (usize, usize) = (10_000, 16);

/// The file of a blob in one of these folders. A mirror directory has the algorithm in the name.
fn blob(dirs: &[Dir], digest: &Digest) -> Option<File> {
    let names = [digest.hex(), digest.to_string()];
    let file = |dir: &Dir| names.iter().find_map(|name| dir.file(name).ok().flatten());
    dirs.iter().find_map(file)
}

/// The folders `blobs` of all repositories below the `v2` of a mirror directory.
fn repositories(v2: Dir) -> Result<Vec<Dir>> {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut todo = vec![(v2, 0)];
    while let Some((dir, depth)) = todo.pop() {
        for (name, kind) in dir.entries()? {
            seen += 1;
            if seen > TREE.0 {
                return Err(Error::new(Code::Usage, format!("`{}` has too many folders", dir.path().display())));
            }
            if kind != EntryKind::Directory || matches!(name.as_str(), "manifests") {
                continue;
            }
            match dir.dir(&name)? {
                Some(blobs) if name == "blobs" => found.push(blobs),
                Some(below) if depth < TREE.1 => todo.push((below, depth + 1)),
                _ => {}
            }
        }
    }
    Ok(found)
}

impl Stock {
    /// Opens the places that a user named: bundles of any form, volumes, OCI layouts, mirror directories, folders of
    /// bundles, and folders of blobs. What is needed to restore blobs is unpacked in the folder `room`, or in `/var/tmp`.
    /// Forms among the bundles are completed from those given with them, if somebody vouches for them.
    ///
    /// # Errors
    /// The error of one that holds neither bundles nor blobs, or cannot be read.
    pub fn open(paths: &[PathBuf], room: Option<PathBuf>, vouched: Vouched<'_>) -> Result<Stock> {
        let kitchen = Arc::new(room.map(Kitchen::new).unwrap_or_default());
        let mut stock = Stock { places: Vec::new(), remotes: RwLock::default(), kitchen };
        let mut bundles = Bundles::default();
        for path in paths {
            if !stock.folder(path)? {
                bundles.add(path)?;
            }
        }
        stock.take(bundles, vouched)?;
        Ok(stock)
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn remote(&self, at: usize) -> Option<Arc<dyn Remote>> {
        let all = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        all.get(at.checked_sub(self.places.len())?).cloned()
    }

    /// The bundles among the places.
    pub fn bundles_there(&self) -> impl Iterator<Item = &Set> {
        self.places.iter().filter_map(|place| match &place.kind {
            PlaceKind::Bundle(set, _) => Some(set.as_ref()),
            PlaceKind::Folders(_) => None,
        })
    }

    fn folder(&mut self, path: &Path) -> Result<bool> {
        if !path.is_dir() {
            return Ok(false);
        }
        let (above, name) = (Dir::open(path, Code::Malformed)?, path.display().to_string());
        for below in FOLDERS {
            if let Ok(Some(dir)) = above.dir(below) {
                self.add(name, PlaceKind::Folders(vec![dir]));
                return Ok(true);
            }
        }
        if let Ok(Some(v2)) = above.dir("v2") {
            self.add(name, PlaceKind::Folders(repositories(v2)?));
            return Ok(true);
        }
        let blobs = path.file_name().is_some_and(|name| name == "sha256");
        if blobs {
            self.add(name, PlaceKind::Folders(vec![above]));
        }
        Ok(blobs)
    }

    fn add(&mut self, name: String, kind: PlaceKind) {
        self.places.push(Arc::new(Place { name, kind }));
    }

    fn take(&mut self, bundles: Bundles, vouched: Vouched<'_>) -> Result<()> {
        if bundles.0.len() > BUNDLES {
            return Err(Error::new(Code::Usage, format!("more than {BUNDLES} bundles are given as bases"))
                .hint("bring the newest of them into one file first: mirror-bundle expand"));
        }
        // A form is completed from those before it: bundles in full, then forms in the order of their series.
        let mut all = Vec::new();
        for (name, index, _, parts) in bundles.0 {
            all.push((name, index, Set::new(parts)?));
        }
        all.sort_by_key(|(_, index, set)| (!set.carriages().is_empty(), index.sequence));
        for (name, index, mut set) in all {
            if !set.carriages().is_empty() {
                let (places, kitchen) = (self.places.clone(), self.kitchen.clone());
                let trusted = set.carriages().into_iter().all(|(signed, _)| vouched(signed));
                set.supply(Arc::new(Stock { places, remotes: RwLock::default(), kitchen }));
                if trusted {
                    set.trust_carriages();
                }
            }
            set.forget_index();
            let places = index.blobs.iter().zip(0..).map(|(blob, at)| (blob.digest, at)).collect();
            self.add(name, PlaceKind::Bundle(Box::new(set), places));
        }
        Ok(())
    }
}

/// Bundles, each with all of its files: its name, its index with its digest, and the parts.
#[derive(Default)]
struct Bundles(Vec<(String, Arc<Index>, Digest, Vec<Contents>)>);

impl Bundles {
    fn add(&mut self, path: &Path) -> Result<()> {
        let wrong = |e: Error| {
            e.hint("--base takes a bundle of any form, an OCI layout, a mirror directory, or a folder of bundles")
        };
        for (name, bundle) in Inputs::from(path).open().map_err(wrong)? {
            let bundle: Bundle = bundle.map_err(wrong)?;
            let digest = bundle.head().digest();
            let at = match self.0.iter().position(|(_, _, other, _)| *other == digest) {
                Some(at) => at,
                None => {
                    let index = Arc::new(Index::parse(&bundle.head().index)?);
                    self.0.push((name, index, digest, Vec::new()));
                    self.0.len() - 1
                }
            };
            let part = bundle.tolerant(self.0[at].1.clone())?;
            self.0[at].3.push(part);
        }
        Ok(())
    }
}

impl Elsewhere for Stock {
    fn find(&self, digest: &Digest, size: u64) -> Vec<Copy> {
        let copies = |place: &Place| match &place.kind {
            PlaceKind::Bundle(set, places) => {
                let at = places.get(digest).and_then(|signed| set.position(*signed));
                let there = at.filter(|at| set.index().blobs[*at].size == size && set.has(*at));
                there.map_or(0, |at| set.replicas(at).len())
            }
            PlaceKind::Folders(dirs) => {
                let file = blob(dirs, digest).and_then(|file| file.metadata().ok());
                usize::from(file.is_some_and(|meta| meta.len() == size))
            }
        };
        let mut out = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            out.extend((0..copies(place)).map(|replica| Copy { place: at, digest: *digest, replica }));
        }
        let all = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().zip(self.places.len()..).filter(|(one, _)| one.has(digest, size));
        out.extend(others.map(|(_, place)| Copy { place, digest: *digest, replica: 0 }));
        out
    }

    fn name(&self, copy: &Copy) -> &str {
        self.places.get(copy.place).map_or("the destination", |place| &place.name)
    }

    fn open_copy(&self, copy: &Copy) -> Result<Box<dyn Read + '_>> {
        let gone = || Error::new(Code::BlobMissing, format!("{} is no longer in `{}`", copy.digest, self.name(copy)));
        if let Some(other) = self.remote(copy.place) {
            return other.open(&copy.digest);
        }
        let place = self.places.get(copy.place).ok_or_else(gone)?;
        match &place.kind {
            PlaceKind::Bundle(set, places) => {
                let at = places.get(&copy.digest).and_then(|signed| set.position(*signed)).ok_or_else(gone)?;
                let replica: Replica = set.replicas(at).into_iter().nth(copy.replica).ok_or_else(gone)?;
                Ok(Box::new(set.open(at, &replica)))
            }
            PlaceKind::Folders(dirs) => Ok(Box::new(blob(dirs, &copy.digest).ok_or_else(gone)?)),
        }
    }

    fn kitchen(&self) -> &Kitchen {
        &self.kitchen
    }

    fn attach(&self, place: Arc<dyn Remote>) {
        self.remotes.write().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    fn removed_from(&self, digest: &Digest) -> Option<&str> {
        let taken = |place: &&Arc<Place>| match &place.kind {
            PlaceKind::Bundle(set, places) => places.get(digest).is_some_and(|signed| set.position(*signed).is_none()),
            PlaceKind::Folders(_) => false,
        };
        self.places.iter().find(taken).map(|place| place.name.as_str())
    }
}
