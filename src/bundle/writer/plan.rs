//! Everything about a new bundle except the content of its blobs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bundle::carriage::SignedCarriage;
use crate::bundle::index::Index;
use crate::bundle::layout::{self, Form, Layout, Member};
use crate::bundle::limits;
use crate::bundle::removal::{Removed, SignedRemoval};
use crate::bundle::tar;
use crate::bundle::volume::{self, Extent, Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// Content of at least this size is not copied, in bytes.
const SMALL: usize = 256 << 10;

/// Every byte of a bundle except its blobs, and the places of the blobs: in one archive, or in several volumes.
#[derive(Debug)]
pub struct Plan {
    /// The index.
    pub index: Index,
    /// Its bytes, which are signed.
    pub index_bytes: Vec<u8>,
    /// The builder's armored signature.
    pub signature: Option<Vec<u8>>,
    /// Content of `index.files`, in order.
    pub files: Vec<Vec<u8>>,
    archives: Vec<Archive>,
    places: Vec<Vec<BlobPlace>>,
    tail: Vec<u8>,
    carriage: Option<SignedCarriage>,
    removals: Vec<SignedRemoval>,
}

/// One file of a plan: the whole bundle, or a volume of it.
#[derive(Debug)]
pub struct Archive {
    /// The description of the volume; `None` for a whole bundle. Digests of pieces are placeholders.
    pub volume: Option<Volume>,
    /// The place of every member.
    pub layout: Layout,
}

/// A place where a blob, or a piece of it, is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobPlace {
    /// Position of the archive in the plan.
    pub archive: usize,
    /// Position among the blobs of that archive's layout.
    pub at: usize,
}

impl Plan {
    /// Plans an index as one archive.
    pub fn new(index: Index, files: Vec<Vec<u8>>, signature: Option<Vec<u8>>) -> Result<Plan> {
        let mut index_bytes = index.to_bytes()?;
        index_bytes.shrink_to_fit();
        let layout = Layout::new(&index, &index_bytes, signature.as_deref())?;
        index.check().map_err(|why| Error::new(Code::Malformed, format!("this bundle cannot be created: {why}")))?;
        let archives = vec![Archive { volume: None, layout }];
        let places = places(&index, &archives);
        let (tail, carriage, removals) = (Vec::new(), None, Vec::new());
        Ok(Plan { index, index_bytes, signature, files, archives, places, tail, carriage, removals })
    }

    /// The same bundle without what these statements name; `files` are the contents of those that are left.
    ///
    /// # Errors
    /// As [`Plan::new`], and for a statement that is not acceptable.
    pub fn with_removals(mut self, removals: Vec<SignedRemoval>) -> Result<Plan> {
        self.removals = removals;
        self.placed_again()
    }

    /// The same bundle with its blobs carried as this carriage says.
    ///
    /// # Errors
    /// As [`Plan::new`], and for a carriage that is not acceptable.
    pub fn with_carriage(mut self, carriage: Option<SignedCarriage>) -> Result<Plan> {
        self.carriage = carriage;
        self.placed_again()
    }

    fn placed_again(mut self) -> Result<Plan> {
        for at in 0..self.archives.len() {
            self.archives[at].layout = self.layout_of(self.archives[at].volume.as_ref())?;
        }
        self.places = places(&self.index, &self.archives);
        Ok(self)
    }

    /// The form of every file.
    pub fn form(&self) -> Form<'_> {
        Form { carriage: self.carriage.as_ref(), removals: &self.removals }
    }

    /// Positions of the blobs that are absent.
    pub fn absent(&self) -> BTreeSet<usize> {
        self.archives.first().map(|archive| archive.layout.absent().clone()).unwrap_or_default()
    }

    /// What they name.
    pub fn removed(&self) -> Removed {
        self.archives.first().map(|archive| archive.layout.removed().clone()).unwrap_or_default()
    }

    fn layout_of(&self, volume: Option<&Volume>) -> Result<Layout> {
        Layout::with(&self.index, &self.index_bytes, self.signature.as_deref(), self.form(), volume)
    }

    /// Adds addenda behind the last member of every archive: headers, contents and padding, as in a bundle.
    pub fn with_tail(mut self, tail: Vec<u8>) -> Plan {
        self.tail = tail;
        self
    }

    /// The same bundle in volumes: all of these, or those that `chosen` accepts.
    ///
    /// # Errors
    /// [`Code::Malformed`] when the volumes do not fit the index; [`Code::Usage`] when all of them together, chosen or
    /// not, are too many to be read as one bundle (MB-LIM-17).
    pub fn divided(mut self, volumes: Vec<Volume>, chosen: impl Fn(u32) -> bool) -> Result<Plan> {
        volumes.iter().try_for_each(|volume| volume.check(&self.index))?;
        self.check_readable(&volumes)?;
        self.archives = Vec::new();
        for volume in volumes.into_iter().filter(|v| chosen(v.volume)) {
            let layout = self.layout_of(Some(&volume))?;
            self.archives.push(Archive { volume: Some(volume), layout });
        }
        self.places = places(&self.index, &self.archives);
        Ok(self)
    }

    /// Whether all volumes of a division, with a second copy of each, can be read as one bundle: the content repeated
    /// on each volume adds up.
    fn check_readable(&self, volumes: &[Volume]) -> Result<()> {
        let (Some(first), [whole]) = (volumes.first(), self.archives.as_slice()) else { return Ok(()) };
        const MEMBERS: usize = limits::MEMBERS / 2;
        const HEADS: usize = limits::HEADS / 2;
        let of = volumes.len();
        let everywhere = first.blobs.iter().filter(|n| **n == volume::EVERYWHERE).count();
        let own = first.blobs.len() - everywhere + first.cut.iter().map(|cut| cut.pieces.len() - 1).sum::<usize>();
        // Includes the description.
        let repeated = whole.layout.blob_range().start + 1 + everywhere;
        let (mut heads, mut largest) = (0, 0);
        for volume in volumes {
            let removals = self.removals.iter().map(|one| one.statement.len() + one.signature.len()).sum::<usize>();
            let size = volume.to_bytes()?.len() + self.signature.as_ref().map_or(0, Vec::len) + removals;
            largest = largest.max(size);
            heads += size;
            if heads > HEADS {
                break;
            }
        }
        let why = match (of * repeated + own > MEMBERS, heads > HEADS) {
            (true, _) => format!("they would have more than {MEMBERS} members together"),
            (_, true) => format!("their descriptions would have more than {HEADS} bytes"),
            _ => return Ok(()),
        };
        let most = (MEMBERS.saturating_sub(own) / repeated).min(HEADS / largest.max(1));
        let at = |n: &u32| *n != volume::EVERYWHERE;
        let placed = self.index.blobs.iter().zip(&first.blobs).filter(|(_, n)| at(n));
        let placed: u64 = placed.map(|(blob, _)| tar::BLOCK + tar::padded(blob.size)).sum();
        // Add an eighth, since a volume cannot be filled completely.
        let share = placed.div_ceil(most.max(1) as u64) / 8 * 9;
        let size = share + whole.layout.total().saturating_sub(placed) + largest as u64;
        let unit = if size > 8 << 30 { (1 << 30, "GiB") } else { (1 << 20, "MiB") };
        Err(Error::new(Code::Usage, format!("{of} volumes are too many for so many manifests and small blobs"))
            .fact(format!("each repeats {repeated} members of all the others"))
            .fact(why)
            .state("nothing was written")
            .hint(format!("choose larger volumes: --volume-size {}{}", size.div_ceil(unit.0), unit.1)))
    }

    /// Digest of the index: the bundle's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index_bytes)
    }

    /// The files to write.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// The places of the blob at this position of the index. Empty: it is on volumes that were not chosen.
    pub fn places(&self, blob: usize) -> &[BlobPlace] {
        self.places.get(blob).map(Vec::as_slice).unwrap_or_default()
    }

    /// Positions of the blobs that have a place.
    pub fn blobs(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|&blob| !self.places[blob].is_empty()).collect()
    }

    /// The member at a place.
    pub fn member(&self, place: &BlobPlace) -> &Member {
        &self.archives[place.archive].layout.blobs()[place.at]
    }

    /// The content of the member at a place.
    pub fn extent(&self, place: &BlobPlace) -> &Extent {
        &self.archives[place.archive].layout.extents()[place.at]
    }

    /// The addenda, as they follow the last member.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Size of one of the files in bytes, with addenda.
    pub fn bytes_of(&self, archive: &Archive) -> u64 {
        archive.layout.total() + self.tail.len() as u64
    }

    /// Size of all files together in bytes.
    pub fn bytes(&self) -> u64 {
        self.archives.iter().map(|a| self.bytes_of(a)).sum()
    }

    /// The path of one of the files, for a bundle called `bundle`.
    pub fn path(&self, bundle: &Path, archive: &Archive) -> PathBuf {
        match &archive.volume {
            None => bundle.to_owned(),
            Some(v) => volume::path(bundle, v.volume, v.of),
        }
    }

    /// The file beside which the journal lies: the first chosen volume, or the bundle's own name.
    pub fn first(&self, bundle: &Path) -> PathBuf {
        match self.archives.first() {
            Some(archive) if !self.is_all() => self.path(bundle, archive),
            _ => bundle.to_owned(),
        }
    }

    /// Distinguishes this division from another one of the same bundle.
    pub(super) fn division(&self) -> Result<Digest> {
        let mut all = Vec::new();
        for volume in self.archives.iter().filter_map(|a| a.volume.as_ref()) {
            all.extend(volume.to_bytes()?);
        }
        // What was removed makes another file of the same bundle.
        self.removals.iter().for_each(|one| all.extend_from_slice(&one.statement));
        // So does what is absent.
        if let Some(signed) = &self.carriage {
            all.extend_from_slice(&signed.carriage);
            all.extend_from_slice(signed.signature.as_deref().unwrap_or_default());
        }
        Ok(Digest::of(&all))
    }

    /// The bytes of an archive before the blobs, in parts: a large index is not copied.
    pub fn head<'p>(&'p self, layout: &'p Layout) -> Vec<Cow<'p, [u8]>> {
        let mut out: Vec<Cow<[u8]>> = Vec::new();
        let mut small: Vec<u8> = Vec::new();
        let mut files = self.files.iter();
        for member in &layout.members()[..layout.blob_range().start] {
            let content: Cow<[u8]> = match member.path.as_str() {
                layout::INDEX => Cow::Borrowed(&self.index_bytes),
                layout::SIGNATURE => Cow::Borrowed(self.signature.as_deref().unwrap_or_default()),
                volume::VOLUME => Cow::Borrowed(layout.description().unwrap_or_default()),
                layout::SUMS => Cow::Owned(layout.sums()),
                path if self.form_content(path).is_some() => Cow::Borrowed(self.form_content(path).unwrap_or_default()),
                _ => Cow::Borrowed(files.next().map(Vec::as_slice).unwrap_or_default()),
            };
            let rest = tar::padded(content.len() as u64) - content.len() as u64;
            small.extend_from_slice(&layout.header_of(member));
            if content.len() < SMALL {
                small.extend_from_slice(&content);
            }
            if content.len() >= SMALL || small.len() >= SMALL {
                out.push(Cow::Owned(std::mem::take(&mut small)));
            }
            if content.len() >= SMALL {
                out.push(content);
            }
            small.resize(small.len() + usize::try_from(rest).unwrap_or(0), 0);
        }
        out.push(Cow::Owned(small));
        out
    }

    /// The bytes after the last blob: addenda and the end of the archive.
    pub fn end(&self) -> Vec<u8> {
        let mut out = self.tail.clone();
        out.resize(out.len() + layout::END as usize, 0);
        out
    }

    /// The layout of a volume with the digests of its pieces, which are the only difference from the planned one.
    pub(super) fn layout_with(&self, archive: &Archive, digests: Vec<Digest>) -> Result<Option<Layout>> {
        let Some(volume) = archive.volume.as_ref().filter(|v| v.own_pieces() > 0) else { return Ok(None) };
        let volume = Volume { digests, ..volume.clone() };
        volume.check(&self.index)?;
        self.layout_of(Some(&volume)).map(Some)
    }

    /// The content of the carriage, of a statement about a removal, or of the signature over one.
    fn form_content(&self, path: &str) -> Option<&[u8]> {
        let removal = || self.removals.iter().zip(1..).find_map(|(one, n)| one.content(n, path));
        self.carriage.as_ref().and_then(|one| one.content(path)).or_else(removal)
    }

    fn is_all(&self) -> bool {
        self.archives.iter().filter_map(|a| a.volume.as_ref()).all(|v| v.of as usize == self.archives.len())
    }
}

/// The bytes of an addendum, as [`Plan::with_tail`] expects them.
pub fn addendum(name: &str, bytes: &[u8], mtime: u64) -> Vec<u8> {
    let mut out = tar::header(&format!("{}{name}", layout::ADDENDA), bytes.len() as u64, mtime).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(tar::BLOCK as usize), 0);
    out
}

fn places(index: &Index, archives: &[Archive]) -> Vec<Vec<BlobPlace>> {
    let mut out = vec![Vec::new(); index.blobs.len()];
    for (archive, a) in archives.iter().enumerate() {
        for (at, extent) in a.layout.extents().iter().enumerate() {
            out[extent.blob].push(BlobPlace { archive, at });
        }
    }
    out
}
