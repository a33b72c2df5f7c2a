//! Several volumes, or several copies, of one bundle, read as one (MB-SET).
//!
//! A blob is read from any part that has it. All parts were checked against the same index, so any of them may provide
//! it: the bytes must match.

mod content;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use super::carriage::{As, Carriage, Entry, Reference, SignedCarriage};
use super::elsewhere::{Copy, Elsewhere, Nowhere};
use super::head::Head;
use super::index::{Blob, Index};
use super::layout::Layout;
use super::limits;
use super::reader::{Addendum, Contents};
use super::removal::Removed;
use crate::error::{Code, Error, Result};
use crate::oci::Hasher;
use content::{Dish, Outside, StoredPiece};

pub use content::BlobContent;

/// The available parts of one bundle: the whole bundle, or volumes, or copies of either.
#[derive(Debug)]
pub struct Set {
    /// The index that is signed, and what counts of it.
    signed: Arc<Index>,
    index: Arc<Index>,
    /// For each blob of `index`, its position in `signed`.
    places: Vec<usize>,
    removed: Removed,
    /// Positions in `signed` of the blobs that no part carries, because a carriage says that they are absent.
    absent: BTreeSet<usize>,
    /// Positions in `signed` of the blobs that are carried only as members from which they are restored.
    members_only: BTreeSet<usize>,
    /// Whether somebody trusted signed every carriage: nothing is restored before.
    trusted: bool,
    /// Other places that may have them.
    stock: Arc<dyn Elsewhere>,
    parts: Vec<Contents>,
    /// For each part, the first part of the same division; a whole bundle is a division of its own.
    divisions: Vec<usize>,
    /// A part of the division that is closest to complete.
    easiest: Option<usize>,
    addenda: Vec<Addendum>,
}

/// One way to read a blob: its pieces in order, each as a part and a position among the part's blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pieces: Vec<(usize, usize)>,
    /// Where it is, if not in a part.
    copy: Option<Copy>,
    /// Whether the pieces are those of a member from which the blob is restored.
    restored: bool,
}

impl Replica {
    fn of(pieces: Vec<(usize, usize)>) -> Replica {
        Replica { pieces, copy: None, restored: false }
    }

    /// Where it is, if not in a part.
    pub fn copy(&self) -> Option<Copy> {
        self.copy
    }

    /// The parts that hold its pieces.
    pub fn parts(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().map(|(part, _)| *part)
    }
}

/// Counts the members of all files that are read as one bundle, while they are opened (MB-LIM-17): each costs memory.
#[derive(Debug, Default)]
pub struct Tally {
    files: usize,
    members: usize,
}

impl Tally {
    /// Adds one more file. A single file is limited by its index.
    ///
    /// # Errors
    /// [`Code::Usage`] when there are more than [`limits::MEMBERS`].
    pub fn add(&mut self, layout: &Layout) -> Result<()> {
        self.files += 1;
        self.members += layout.members().len();
        if self.files == 1 || self.members <= limits::MEMBERS {
            return Ok(());
        }
        let text = format!("the files have more than {} members together", limits::MEMBERS);
        Err(Error::new(Code::Usage, text).hint("name some of the volumes, with --partial"))
    }
}

impl Set {
    /// Combines parts that were all opened with this one index.
    ///
    /// # Errors
    /// [`Code::Internal`] without any part; [`Code::Usage`] for more members than fit in memory.
    pub fn new(parts: Vec<Contents>) -> Result<Set> {
        let first = parts.first().ok_or_else(|| Error::new(Code::Internal, "a bundle without parts"))?;
        let mut tally = Tally::default();
        parts.iter().try_for_each(|part| tally.add(part.layout()))?;
        let index = first.index().clone();
        let mut removed = Removed::default();
        parts.iter().for_each(|part| removed.add(part.layout().removed()));
        let (signed, places) = (index.clone(), Vec::new());
        let (none, divisions) = (Removed::default(), Vec::new());
        let mut absent: BTreeSet<usize> = parts.iter().flat_map(|part| part.layout().absent()).copied().collect();
        if !absent.is_empty() {
            // Files of several forms may be named together: what one has is there.
            parts.iter().flat_map(|part| part.layout().extents()).for_each(|extent| _ = absent.remove(&extent.blob));
        }
        let (easiest, addenda) = (None, Vec::new());
        let stock: Arc<dyn Elsewhere> = Arc::new(Nowhere::default());
        let (members_only, trusted) = (members_only(&parts), false);
        let mut set = Set {
            signed,
            index,
            places,
            removed: none,
            absent,
            members_only,
            trusted,
            stock,
            parts,
            divisions,
            easiest,
            addenda,
        };
        set.restrict(&removed);
        set.gather();
        Ok(set)
    }

    /// From here on nothing that is removed counts, whether a part has it or not. What any part does not have by the
    /// statements in its head never counts.
    pub fn restrict(&mut self, removed: &Removed) {
        let mut all = removed.clone();
        self.parts.iter().for_each(|part| all.add(part.layout().removed()));
        if !all.is_empty() {
            self.index = Arc::new(all.rest(&self.signed));
        }
        self.places = (0..self.signed.blobs.len()).filter(|at| !all.blobs.contains(at)).collect();
        let same = |a: &Contents, b: &Contents| match (a.volume(), b.volume()) {
            (Some(a), Some(b)) => a.is_with(b),
            (None, None) => true,
            _ => false,
        };
        self.parts.iter_mut().for_each(|part| part.without(&all));
        let parts = &self.parts;
        self.divisions = parts.iter().map(|p| parts.iter().position(|other| same(other, p)).unwrap_or(0)).collect();
        self.easiest = self.easiest();
        self.removed = all;
    }

    /// Reads what is absent from these places.
    pub fn supply(&mut self, stock: Arc<dyn Elsewhere>) {
        self.stock = stock;
    }

    /// Notes that somebody trusted signed every carriage, so that blobs may be restored from members (MB-CAR-08).
    pub fn trust_carriages(&mut self) {
        self.trusted = true;
    }

    /// Whether a blob is carried only as a member from which it cannot be restored here; `blob` is its position in [`Set::signed`].
    fn is_apart(&self, blob: usize) -> bool {
        let restorable = |part: &Contents| part.layout().entry(blob).is_some_and(|entry| self.restorable(part, entry));
        self.members_only.contains(&blob) && !self.parts.iter().any(restorable)
    }

    /// Whether the blob of an entry can be restored with what is here.
    fn restorable(&self, part: &Contents, entry: &Entry) -> bool {
        let reference = part.layout().carriage().and_then(|carriage| carriage.reference(entry));
        self.trusted && reference.is_none_or(|one| self.stock.supplies(&one.digest, one.size))
    }

    /// The blobs that count and that cannot be read from the parts alone: positions in [`Set::index`]. A carriage says
    /// that they are absent, or they cannot be restored from what is here. Whether another place has them is
    /// another question.
    pub fn absent(&self) -> impl Iterator<Item = usize> + '_ {
        let apart = self.members_only.iter().filter(|blob| self.is_apart(**blob));
        let all: BTreeSet<usize> = self.absent.iter().chain(apart).copied().collect();
        all.into_iter().filter_map(|signed| self.position(signed))
    }

    /// Whether the blob at this position of [`Set::index`] is one of [`Set::absent`].
    pub fn is_absent(&self, blob: usize) -> bool {
        let signed = self.place(blob);
        self.absent.contains(&signed) || self.is_apart(signed)
    }

    /// Those of [`Set::absent`] that are carried as members.
    pub fn apart(&self) -> impl Iterator<Item = usize> + '_ {
        self.members_only.iter().filter(|blob| self.is_apart(**blob)).filter_map(|signed| self.position(*signed))
    }

    /// What the blob at this position of [`Set::index`] is a difference to, in the first part that carries it so.
    pub fn reference(&self, blob: usize) -> Option<&Reference> {
        let signed = self.place(blob);
        self.parts.iter().find_map(|part| part.layout().carriage()?.reference(part.layout().entry(signed)?))
    }

    /// The blobs of [`Set::index`] that some part carries as members to restore them from.
    pub fn encoded(&self) -> BTreeSet<usize> {
        let carriages = self.parts.iter().filter_map(|part| part.layout().carriage());
        let entries = carriages.flat_map(|carriage| &carriage.blobs).filter(|entry| entry.form == As::Encoded);
        entries.filter_map(|entry| self.position(entry.position())).collect()
    }

    /// The name of the place of a copy.
    pub fn name_of(&self, copy: &Copy) -> &str {
        self.stock.name(copy)
    }

    /// The other places.
    pub fn stock(&self) -> &dyn Elsewhere {
        &*self.stock
    }

    /// How the parts carry blobs, each carriage once.
    pub fn carriages(&self) -> Vec<(&SignedCarriage, &Carriage)> {
        let mut out: Vec<(&SignedCarriage, &Carriage)> = Vec::new();
        for part in &self.parts {
            if let (Some(signed), Some(carriage)) = (&part.head().carriage, part.layout().carriage())
                && !out.iter().any(|(known, _)| *known == signed)
            {
                out.push((signed, carriage));
            }
        }
        out
    }

    /// The error for a blob that is not here: on a volume that is missing, or absent from the form that this is.
    pub fn lacks(&self, blob: usize) -> Error {
        let digest = self.index.blobs.get(blob).map(|b| b.digest.to_string()).unwrap_or_default();
        if !self.is_absent(blob) {
            return Error::new(Code::BlobMissing, format!("{digest} is on a volume that is not here"));
        }
        let text = format!("{digest} is not carried: the file is for a receiver that has {}", self.bases());
        Error::new(Code::BlobMissing, text).hint("give what has it: --base BUNDLE")
    }

    /// The bundles that the carriages are made against, for a person.
    pub fn bases(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for base in self.carriages().iter().flat_map(|(_, carriage)| &carriage.bases) {
            if !names.contains(&base.title()) {
                names.push(base.title());
            }
        }
        if names.is_empty() { "it already".to_owned() } else { names.join(", ") }
    }

    /// What does not count: positions in the lists of [`Set::signed`].
    pub fn removed(&self) -> &Removed {
        &self.removed
    }

    /// The paths of files that do not count.
    pub fn removed_files(&self) -> BTreeSet<String> {
        self.removed.files.iter().map(|at| self.signed.files[*at].path.clone()).collect()
    }

    /// Collects the addenda of all parts, each once.
    fn gather(&mut self) {
        self.addenda.clear();
        for addendum in self.parts.iter().flat_map(Contents::addenda) {
            if !self.addenda.contains(addendum) {
                self.addenda.push(addendum.clone());
            }
        }
    }

    /// Drops the raw index, the largest object in memory, after everything signed over it was evaluated.
    pub fn forget_index(&mut self) {
        self.parts.iter_mut().for_each(Contents::forget_index);
    }

    /// The index: what counts of it.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The whole index, as it is signed.
    pub fn signed(&self) -> &Index {
        &self.signed
    }

    /// The position in [`Set::index`] of a blob, from that in [`Set::signed`]; `None` if it does not count.
    pub fn position(&self, signed: usize) -> Option<usize> {
        self.places.binary_search(&signed).ok()
    }

    /// The position in [`Set::signed`] of a blob of [`Set::index`].
    fn place(&self, blob: usize) -> usize {
        self.places.get(blob).copied().unwrap_or(usize::MAX)
    }

    /// The head of the first part: its index and signature.
    pub fn head(&self) -> &Head {
        self.parts[0].head()
    }

    /// The parts, in the order they were given.
    pub fn parts(&self) -> &[Contents] {
        &self.parts
    }

    /// Whether it can only be read once, in order.
    pub fn is_stream(&self) -> bool {
        self.parts[0].is_stream()
    }

    /// Size of all parts in bytes.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(Contents::length).sum()
    }

    /// The addenda of all parts. A stream's addenda are known after [`Set::finish`].
    pub fn addenda(&self) -> &[Addendum] {
        &self.addenda
    }

    /// Reads what follows the last member of a stream.
    pub fn finish(&mut self) -> Result<()> {
        let done = self.parts.iter_mut().try_for_each(Contents::finish);
        self.gather();
        done
    }

    /// The missing volumes, and the number of all volumes; `None` for an undivided bundle. With parts of several
    /// divisions, those of the division that is closest to complete.
    pub fn missing(&self) -> Option<(Vec<u32>, u32)> {
        let first = self.easiest?;
        Some((self.missing_of(first), self.parts[first].volume()?.of))
    }

    /// A part of the division that [`Set::missing`] and [`Set::volumes_of`] refer to, if there are several.
    pub fn division(&self) -> Option<&Contents> {
        let several = self.representatives().count() > 1;
        self.easiest.filter(|_| several).map(|first| &self.parts[first])
    }

    fn missing_of(&self, first: usize) -> Vec<u32> {
        let of = self.parts[first].volume().map_or(0, |v| v.of);
        let there = |n: &u32| self.of_division(first).any(|p| self.parts[p].volume().is_some_and(|v| v.volume == *n));
        (1..=of).filter(|n| !there(n)).collect()
    }

    /// The division with the fewest missing volumes, counting only volumes with content that no part has. `None` if an
    /// undivided bundle is among the parts.
    fn easiest(&self) -> Option<usize> {
        let all: Vec<usize> = self.representatives().collect();
        if all.iter().any(|p| self.parts[*p].volume().is_none()) {
            return None;
        }
        if let [only] = all.as_slice() {
            return Some(*only);
        }
        let lacking: Vec<usize> = (0..self.index.blobs.len()).filter(|blob| !self.has(*blob)).collect();
        all.into_iter().min_by_key(|first| {
            let missing = self.missing_of(*first);
            let of =
                |blob: &usize| self.parts[*first].volume().map(|v| v.volumes_of(self.place(*blob))).unwrap_or_default();
            let needed: BTreeSet<u32> = lacking.iter().flat_map(of).filter(|n| missing.contains(n)).collect();
            (needed.len(), missing.len())
        })
    }

    /// The parts that hold the same volume as an earlier part.
    pub fn doubled(&self) -> Vec<(usize, usize)> {
        let number = |p: usize| self.parts[p].volume().map_or(0, |v| v.volume);
        let same = |a: usize, b: usize| self.divisions[a] == self.divisions[b] && number(a) == number(b);
        let earlier = |p: usize| (0..p).find(|e| same(*e, p));
        (0..self.parts.len()).filter_map(|p| Some((earlier(p)?, p))).collect()
    }

    /// The volumes that hold the blob at this position, available or not.
    pub fn volumes_of(&self, blob: usize) -> Vec<u32> {
        let volume = self.easiest.and_then(|first| self.parts[first].volume());
        volume.map(|v| v.volumes_of(self.place(blob))).unwrap_or_default()
    }

    /// Every way to read the blob at this position of the index.
    pub fn replicas(&self, blob: usize) -> Vec<Replica> {
        let (rest, blob) = (blob, self.place(blob));
        if self.absent.contains(&blob) || self.is_apart(blob) {
            let listed = &self.index.blobs[rest];
            let copies = self.stock.find(&listed.digest, listed.size);
            return copies.into_iter().map(|copy| Replica { copy: Some(copy), ..Replica::of(Vec::new()) }).collect();
        }
        let mut out = self.stored(blob);
        let entry = |replica: &Replica| {
            let part = replica.pieces.first().map(|(part, _)| &self.parts[*part])?;
            Some((part, part.layout().entry(blob)?))
        };
        out.iter_mut().for_each(|replica| replica.restored = entry(replica).is_some());
        out.retain(|replica| entry(replica).is_none_or(|(part, entry)| self.restorable(part, entry)));
        // What need not be restored comes first.
        out.sort_by_key(|replica| replica.restored);
        out
    }

    /// Every way to read the member that carries the blob at this position of the index, whatever it holds.
    pub fn members(&self, blob: usize) -> Vec<Replica> {
        self.stored(self.place(blob))
    }

    fn stored(&self, blob: usize) -> Vec<Replica> {
        let at = |part: usize| self.parts[part].layout().extents().binary_search_by_key(&blob, |e| e.blob).ok();
        let mut out = Vec::new();
        for first in self.representatives() {
            let volume = self.parts[first].volume();
            let cut = volume.and_then(|v| Some(&v.cut[v.cut.binary_search_by_key(&blob, |c| c.blob as usize).ok()?]));
            let Some(cut) = cut else {
                out.extend(self.of_division(first).filter_map(|p| Some(Replica::of(vec![(p, at(p)?)]))));
                continue;
            };
            // For each piece, the parts that have it; the first replica uses the first part of each, the second the
            // second, ...
            let mut pieces: Vec<Vec<(usize, usize)>> = Vec::new();
            for piece in &cut.pieces {
                let has = |p: &usize| self.parts[*p].volume().is_some_and(|v| v.volume == piece.volume);
                pieces.push(self.of_division(first).filter(has).filter_map(|p| Some((p, at(p)?))).collect());
            }
            if pieces.iter().any(Vec::is_empty) {
                continue;
            }
            for n in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
                out.push(Replica::of(pieces.iter().map(|parts| parts[n.min(parts.len() - 1)]).collect()));
            }
        }
        out
    }

    /// Whether any part has the blob at this position.
    pub fn has(&self, blob: usize) -> bool {
        !self.replicas(blob).is_empty()
    }

    /// Opens one replica of a blob. Nothing is read yet.
    pub fn open<'a>(&'a self, blob: usize, replica: &Replica) -> BlobContent<'a> {
        let piece = |(part, at): &(usize, usize)| {
            let contents = &self.parts[*part];
            let layout = contents.layout();
            StoredPiece { contents, member: &layout.blobs()[*at], extent: &layout.extents()[*at] }
        };
        let pieces: Vec<_> = replica.pieces.iter().map(piece).collect();
        let Blob { digest, size, .. } = self.index.blobs[blob];
        let outside = replica.copy.map(|copy| Outside { stock: &*self.stock, copy, size, from: None });
        let first = pieces.first().map(|piece| (piece.contents.layout(), piece.extent.blob));
        let entry = first.and_then(|(layout, blob)| layout.entry(blob));
        // A member has a digest of its own.
        let stored = entry.and_then(|entry| entry.digest).unwrap_or(digest);
        // If the stored bytes are the blob itself, they are hashed when the last byte is read.
        let proved = matches!(&pieces[..], [one] if one.extent.stored.proves(&stored));
        let whole = (!proved).then(Hasher::new);
        let content = BlobContent { pieces, next: 0, open: None, outside, dish: None, whole, digest: stored, at: 0 };
        let again = || {
            let (pieces, whole) = (content.pieces.clone(), content.whole.clone());
            BlobContent { pieces, next: 0, open: None, outside: None, dish: None, whole, digest: stored, at: 0 }
        };
        // A file is read twice: no decoder gets a byte of a member that is not the one that is signed.
        let check = (!self.is_stream()).then(again).map(Box::new);
        match (entry, first) {
            (Some(entry), Some((layout, _))) if replica.restored => {
                let reference = layout.carriage().and_then(|carriage| carriage.reference(entry));
                let member = Some(Box::new(content));
                let dish = Some(Dish { stock: &*self.stock, entry, reference, check, member, size, open: None });
                let (pieces, whole) = (Vec::new(), Some(Hasher::new()));
                BlobContent { pieces, next: 0, open: None, outside: None, dish, whole, digest, at: 0 }
            }
            _ => content,
        }
    }

    /// Reads a blob of at most `limit` bytes into memory, checked, from the first replica that matches.
    ///
    /// # Errors
    /// Those of the first replica; [`Code::BlobMissing`] if there is none.
    pub fn read(&self, blob: usize, limit: u64) -> Result<Vec<u8>> {
        let listed = &self.index.blobs[blob];
        if listed.size > limit {
            let text = format!("{} has {} bytes, over the limit of {limit}", listed.digest, listed.size);
            return Err(Error::new(Code::Malformed, text));
        }
        let mut failed = None;
        for replica in self.replicas(blob) {
            let mut bytes = Vec::with_capacity(usize::try_from(listed.size).unwrap_or(0));
            match self.open(blob, &replica).read_to_end(&mut bytes) {
                Ok(_) => return Ok(bytes),
                Err(e) => _ = failed.get_or_insert(Error::io("cannot read", self.parts[0].name(), e)),
            }
        }
        Err(failed.unwrap_or_else(|| self.lacks(blob)))
    }

    fn representatives(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.parts.len()).filter(|p| self.divisions[*p] == *p)
    }

    fn of_division(&self, first: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.parts.len()).filter(move |p| self.divisions[*p] == first)
    }
}

/// The blobs that every part with them carries as a member from which they are restored.
fn members_only(parts: &[Contents]) -> BTreeSet<usize> {
    let of = |part: &'_ Contents, member: bool| {
        let blobs = part.layout().extents().iter().map(|extent| extent.blob);
        blobs.filter(|blob| part.layout().entry(*blob).is_some() == member).collect::<BTreeSet<usize>>()
    };
    let mut out: BTreeSet<usize> = parts.iter().flat_map(|part| of(part, true)).collect();
    if !out.is_empty() {
        parts.iter().flat_map(|part| of(part, false)).for_each(|blob| _ = out.remove(&blob));
    }
    out
}
