//! Everything about a bundle that is to be written, except the content of its blobs.

use std::path::{Path, PathBuf};

use crate::bundle::index::Index;
use crate::bundle::layout::{self, Layout, Member};
use crate::bundle::tar;
use crate::bundle::volume::{self, Extent, Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// The most members that all volumes of a plan may have together: what they are in memory is bounded by it.
const MEMBERS: usize = 2_000_000;

/// Every byte of a bundle but those of its blobs, and where those go: into one archive, or into several volumes.
#[derive(Debug)]
pub struct Plan {
    /// The index.
    pub index: Index,
    /// Its bytes, which are what is signed.
    pub index_bytes: Vec<u8>,
    /// The builder's armored signature.
    pub signature: Option<Vec<u8>>,
    /// Content of `index.files`, in their order.
    pub files: Vec<Vec<u8>>,
    archives: Vec<Archive>,
    places: Vec<Vec<Place>>,
    tail: Vec<u8>,
}

/// One file of a plan: the whole bundle, or a volume of it.
#[derive(Debug)]
pub struct Archive {
    /// What the volume says about itself; `None` for a whole bundle. Digests of pieces are those of nothing.
    pub volume: Option<Volume>,
    /// Where everything goes.
    pub layout: Layout,
}

/// Where a blob, or a piece of it, is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of the archive in the plan.
    pub archive: usize,
    /// Position among the blobs of that archive's layout.
    pub at: usize,
}

impl Plan {
    /// Fixes the layout of an index, as one archive.
    pub fn new(index: Index, files: Vec<Vec<u8>>, signature: Option<Vec<u8>>) -> Result<Plan> {
        let index_bytes = index.to_bytes()?;
        let layout = Layout::new(&index, &index_bytes, signature.as_deref())?;
        index.check().map_err(|why| Error::new(Code::Malformed, format!("this bundle cannot be made: {why}")))?;
        let archives = vec![Archive { volume: None, layout }];
        let places = places(&index, &archives);
        Ok(Plan { index, index_bytes, signature, files, archives, places, tail: Vec::new() })
    }

    /// With addenda behind the last member of every archive: headers, contents and padding, as they stand in a bundle.
    pub fn with_tail(mut self, tail: Vec<u8>) -> Plan {
        self.tail = tail;
        self
    }

    /// The same bundle in volumes instead: all of these, or those that `chosen` says.
    ///
    /// # Errors
    /// [`Code::Malformed`] when the volumes do not fit the index, [`Code::Usage`] when they are too many for memory.
    pub fn divided(mut self, volumes: Vec<Volume>, chosen: impl Fn(u32) -> bool) -> Result<Plan> {
        self.archives = Vec::new();
        let mut members = 0;
        for volume in volumes.into_iter().filter(|v| chosen(v.volume)) {
            volume.check(&self.index)?;
            let layout = Layout::of_volume(&self.index, &self.index_bytes, self.signature.as_deref(), &volume)?;
            members += layout.members().len();
            if members > MEMBERS {
                return Err(Error::new(Code::Usage, "too many volumes for so many manifests")
                    .fact(format!("they would have more than {MEMBERS} members together"))
                    .state("nothing was written")
                    .hint("choose larger volumes"));
            }
            self.archives.push(Archive { volume: Some(volume), layout });
        }
        self.places = places(&self.index, &self.archives);
        Ok(self)
    }

    /// Digest of the index: the bundle's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.index_bytes)
    }

    /// The files to be written.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// Where the blob at this position of the index goes. Nowhere: it is on volumes that were not chosen.
    pub fn places(&self, blob: usize) -> &[Place] {
        self.places.get(blob).map(Vec::as_slice).unwrap_or_default()
    }

    /// Positions of the blobs that have a place.
    pub fn blobs(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|&blob| !self.places[blob].is_empty()).collect()
    }

    /// The member at a place.
    pub fn member(&self, place: &Place) -> &Member {
        &self.archives[place.archive].layout.blobs()[place.at]
    }

    /// What the member at a place holds.
    pub fn extent(&self, place: &Place) -> &Extent {
        &self.archives[place.archive].layout.extents()[place.at]
    }

    /// The addenda, as they stand behind the last member.
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

    /// The path of one of the files, when the bundle is to be called `bundle`.
    pub fn path(&self, bundle: &Path, archive: &Archive) -> PathBuf {
        match &archive.volume {
            None => bundle.to_owned(),
            Some(v) => volume::path(bundle, v.volume, v.of),
        }
    }

    /// The file that the journal stands beside: of a choice of volumes its first, else what the bundle is called.
    pub fn first(&self, bundle: &Path) -> PathBuf {
        match self.archives.first() {
            Some(archive) if !self.is_all() => self.path(bundle, archive),
            _ => bundle.to_owned(),
        }
    }

    /// What tells this division from another one of the same bundle.
    pub(super) fn division(&self) -> Result<Digest> {
        let mut all = Vec::new();
        for volume in self.archives.iter().filter_map(|a| a.volume.as_ref()) {
            all.extend(volume.to_bytes()?);
        }
        Ok(Digest::of(&all))
    }

    /// The bytes of an archive in front of the blobs.
    pub fn head(&self, layout: &Layout) -> Vec<u8> {
        let mut out = Vec::new();
        let mut files = self.files.iter();
        let sums = layout.sums();
        for member in &layout.members()[..layout.blob_range().start] {
            let content: &[u8] = match member.path.as_str() {
                layout::INDEX => &self.index_bytes,
                layout::SIGNATURE => self.signature.as_deref().unwrap_or_default(),
                volume::VOLUME => layout.description().unwrap_or_default(),
                layout::SUMS => &sums,
                _ => files.next().map(Vec::as_slice).unwrap_or_default(),
            };
            out.extend_from_slice(&layout.header_of(member));
            out.extend_from_slice(content);
            out.resize(usize::try_from(member.end()).unwrap_or(usize::MAX), 0);
        }
        out
    }

    /// What stands behind the last blob: addenda and the end of the archive.
    pub fn end(&self) -> Vec<u8> {
        let mut out = self.tail.clone();
        out.resize(out.len() + layout::END as usize, 0);
        out
    }

    /// The layout of a volume once the digests of its pieces are known. It differs from the planned one by them alone.
    pub(super) fn layout_with(&self, archive: &Archive, digests: Vec<Digest>) -> Result<Option<Layout>> {
        let Some(volume) = archive.volume.as_ref().filter(|v| v.own_pieces() > 0) else { return Ok(None) };
        let volume = Volume { digests, ..volume.clone() };
        volume.check(&self.index)?;
        Layout::of_volume(&self.index, &self.index_bytes, self.signature.as_deref(), &volume).map(Some)
    }

    fn is_all(&self) -> bool {
        self.archives.iter().filter_map(|a| a.volume.as_ref()).all(|v| v.of as usize == self.archives.len())
    }
}

/// The bytes of an addendum, as [`Plan::with_tail`] takes them.
pub fn addendum(name: &str, bytes: &[u8], mtime: u64) -> Vec<u8> {
    let mut out = tar::header(&format!("{}{name}", layout::ADDENDA), bytes.len() as u64, mtime).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(tar::BLOCK as usize), 0);
    out
}

fn places(index: &Index, archives: &[Archive]) -> Vec<Vec<Place>> {
    let mut out = vec![Vec::new(); index.blobs.len()];
    for (archive, a) in archives.iter().enumerate() {
        for (at, extent) in a.layout.extents().iter().enumerate() {
            out[extent.blob].push(Place { archive, at });
        }
    }
    out
}
