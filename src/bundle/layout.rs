//! Derives the exact archive from an index: members, offsets, fixed documents (MB-FMT-03 to MB-FMT-09).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use super::carriage::{self, Carriage, Carried, Entry, SignedCarriage};
use super::index::{File, Index};
use super::removal::{self, Removed, SignedRemoval};
use super::tar;
use super::volume::{self, Extent, VOLUME, Volume};
use crate::error::{Code, Error, Result};
use crate::oci::{self, Digest, Hasher, IndexOf};

/// Path of the OCI layout marker.
pub const OCI_LAYOUT: &str = oci::layout::MARKER;
/// Content of the OCI layout marker.
pub const OCI_LAYOUT_JSON: &[u8] = oci::layout::MARKER_JSON;
/// Path of the bundle index.
pub const INDEX: &str = "mirror-bundle/index.json";
/// Path of the builder's signature.
pub const SIGNATURE: &str = "mirror-bundle/index.json.sig";
/// Path of the list for `sha256sum -c`.
pub const SUMS: &str = "mirror-bundle/SHA256SUMS";
/// Path of the OCI index.
pub const OCI_INDEX: &str = oci::layout::INDEX;
/// Folder of addenda.
pub const ADDENDA: &str = "mirror-bundle/addenda/";
/// The end of the archive: two zero blocks.
pub const END: u64 = 2 * tar::BLOCK;

/// A member of the archive: its place and its required content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Path in the archive.
    pub path: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Offset of the header.
    pub header: u64,
    /// Digest of the content; `None` for the bundle index, its signature, the description of a volume and
    /// `SHA256SUMS`, which are checked differently.
    pub digest: Option<Digest>,
}

impl Member {
    /// Offset of the content.
    pub fn data(&self) -> u64 {
        self.header + tar::BLOCK
    }

    /// Offset after the padding.
    pub fn end(&self) -> u64 {
        self.data() + tar::padded(self.size)
    }
}

/// All members of a bundle, or of one volume, in order, without addenda.
#[derive(Clone, Debug)]
pub struct Layout {
    members: Vec<Member>,
    blobs: usize,
    extents: Vec<Extent>,
    mtime: u64,
    /// Digests of the members that `Member` gives none for: the bundle index, its signature, the description of a
    /// volume.
    head: Vec<(String, Digest)>,
    description: Option<Vec<u8>>,
    /// What the statements in the head say is not there.
    removed: Removed,
    /// How blobs are carried, if not each as it is.
    carriage: Option<Arc<Carried>>,
}

/// Of a file that carries every blob.
static NONE: BTreeSet<usize> = BTreeSet::new();

/// The form of a file: what its head says beyond the index and the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// How blobs are carried.
    pub carriage: Option<&'a SignedCarriage>,
    /// What was removed.
    pub removals: &'a [SignedRemoval],
}

impl Layout {
    /// The layout of the bundle with this index.
    ///
    /// # Errors
    /// [`Code::Malformed`] when the archive would be larger than format 1 allows.
    pub fn new(index: &Index, index_bytes: &[u8], signature: Option<&[u8]>) -> Result<Layout> {
        Layout::with(index, index_bytes, signature, Form::default(), None)
    }

    /// The layout of a bundle or volume of this form: what was removed and what is absent is not there (MB-RMV-03,
    /// MB-CAR-02). The volume must fit the index ([`Volume::check`]).
    ///
    /// # Errors
    /// As [`Layout::new`], and for a statement or carriage that is not acceptable.
    pub fn with(
        index: &Index,
        index_bytes: &[u8],
        signature: Option<&[u8]>,
        form: Form<'_>,
        volume: Option<&Volume>,
    ) -> Result<Layout> {
        let digest = Digest::of(index_bytes);
        let removed = removal::in_head(form.removals, index, &digest)?;
        let carriage = carriage::in_head(form.carriage, index, &digest)?;
        let absent = carriage.as_ref().map_or(&NONE, |carried| &carried.absent);
        let carried = carriage.as_ref().and_then(|carried| carried.members.as_ref()).unwrap_or(index);
        volume.iter().try_for_each(|volume| volume.check(carried))?;
        let mut extents = match volume {
            Some(volume) => volume.extents(carried),
            None => carried.blobs.iter().enumerate().map(|(at, blob)| Extent::whole(at, blob)).collect(),
        };
        extents.retain(|extent| !removed.blobs.contains(&extent.blob) && !absent.contains(&extent.blob));
        if let Some(volume) = volume
            && let Some(at) = removed.blobs.iter().find(|at| !volume.volumes_of(**at).is_empty())
        {
            let text = format!("{VOLUME} does not fit what was removed: {} has a volume", index.blobs[*at].digest);
            return Err(Error::new(Code::Malformed, text));
        }
        if let Some(volume) = volume {
            let own = form.carriage.map(SignedCarriage::digest);
            let placed = absent.iter().find(|at| !volume.volumes_of(**at).is_empty());
            let why = match placed {
                _ if volume.carriage != own => "the carriage".to_owned(),
                Some(at) => format!("what is absent: {} has a volume", index.blobs[*at].digest),
                None => String::new(),
            };
            if !why.is_empty() {
                return Err(Error::new(Code::Malformed, format!("{VOLUME} does not fit {why}")));
            }
        }
        let mut files =
            index.files.iter().enumerate().filter(|(at, _)| !removed.files.contains(at)).map(|(_, file)| file);
        let marker = files.next();
        let description = volume.map(Volume::to_bytes).transpose()?;
        let blobs: Vec<_> = extents
            .iter()
            .map(|extent| {
                let encoded = carriage.as_ref().is_some_and(|carried| carried.carriage.encoded(extent.blob).is_some());
                (volume::member_path(index, extent, encoded), extent.stored)
            })
            .collect();
        let mut inner: Vec<(String, &[u8])> = vec![(INDEX.to_owned(), index_bytes)];
        inner.extend(signature.map(|bytes| (SIGNATURE.to_owned(), bytes)));
        inner.extend(description.as_deref().map(|bytes| (VOLUME.to_owned(), bytes)));
        if let Some(signed) = form.carriage {
            inner.push((carriage::CARRIAGE.to_owned(), &signed.carriage));
            inner.extend(signed.signature.iter().map(|bytes| (carriage::SIGNATURE.to_owned(), bytes.as_slice())));
        }
        for (n, signed) in (1..).zip(form.removals) {
            inner.push((removal::path(n), &signed.statement));
            inner.push((format!("{}.sig", removal::path(n)), &signed.signature));
        }
        let digests = inner.iter().map(|(path, bytes)| (path.clone(), Digest::of(bytes)));
        let head: Vec<(String, Digest)> = digests.collect();
        let sums = head.iter().map(|(path, _)| line_size(path)).sum::<u64>()
            + marker.into_iter().chain(files.clone()).map(|f| line_size(&f.path)).sum::<u64>()
            + blobs.iter().map(|(path, _)| line_size(path)).sum::<u64>();
        let mut build = Builder { members: Vec::with_capacity(index.files.len() + blobs.len() + 4), at: 0 };
        build.files(marker);
        for (path, bytes) in inner {
            build.push(path, bytes.len() as u64, None)?;
        }
        build.push(SUMS.to_owned(), sums, None)?;
        build.files(files);
        let first = build.members.len();
        for (path, stored) in blobs {
            build.push(path, stored.size, Some(stored.digest))?;
        }
        let (members, blobs, mtime) = (build.members, first, index.mtime());
        Ok(Layout { members, blobs, extents, mtime, head, description, removed, carriage })
    }

    /// All members, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that are blobs or pieces of blobs, in the order of the index.
    pub fn blobs(&self) -> &[Member] {
        &self.members[self.blobs..]
    }

    /// The content of each of [`Layout::blobs`].
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Content of `mirror-bundle/volume.json`, for a volume.
    pub fn description(&self) -> Option<&[u8]> {
        self.description.as_deref()
    }

    /// What the statements in the head say is not there: positions in the lists of the index.
    pub fn removed(&self) -> &Removed {
        &self.removed
    }

    /// How blobs are carried, if not each as it is.
    pub fn carriage(&self) -> Option<&Carriage> {
        self.carriage.as_ref().map(|carried| &carried.carriage)
    }

    /// How the blob at this position is restored, if it is.
    pub fn entry(&self, blob: usize) -> Option<&Entry> {
        self.carriage.as_ref()?.carriage.encoded(blob)
    }

    /// Positions of the blobs that the carriage says are absent.
    pub fn absent(&self) -> &BTreeSet<usize> {
        self.carriage.as_ref().map_or(&NONE, |carried| &carried.absent)
    }

    /// Digest of a member that [`Member`] gives none for, `SHA256SUMS` excepted.
    pub fn digest_in_head(&self, path: &str) -> Option<Digest> {
        self.head.iter().find(|(own, _)| own == path).map(|(_, digest)| *digest)
    }

    /// Positions of the blobs among the members.
    pub fn blob_range(&self) -> Range<usize> {
        self.blobs..self.members.len()
    }

    /// Time of every member, in seconds.
    pub fn mtime(&self) -> u64 {
        self.mtime
    }

    /// Content of `SHA256SUMS`: `<hex>  <path>` of every other member, in the order of the archive.
    pub fn sums(&self) -> Vec<u8> {
        let mut out = String::new();
        self.sum_lines(|digest, path| _ = writeln!(out, "{}  {path}", digest.hex()));
        out.into_bytes()
    }

    /// Digest of the content of `SHA256SUMS`, computed without holding it in memory.
    pub fn sums_digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        self.sum_lines(|digest, path| hasher.update(format!("{}  {path}\n", digest.hex()).as_bytes()));
        hasher.finish()
    }

    /// Size of the content of `SHA256SUMS`, in bytes.
    pub fn sums_size(&self) -> u64 {
        self.members.iter().find(|m| m.path == SUMS).map_or(0, |m| m.size)
    }

    fn sum_lines(&self, mut line: impl FnMut(&Digest, &str)) {
        for member in &self.members {
            if let Some(digest) = member.digest.or_else(|| self.digest_in_head(&member.path)) {
                line(&digest, &member.path);
            }
        }
    }

    /// Offset after the last member, where addenda or the end of the archive begin.
    pub fn end(&self) -> u64 {
        self.members.last().map_or(0, Member::end)
    }

    /// Size of the bundle without addenda, in bytes.
    pub fn total(&self) -> u64 {
        self.end() + END
    }

    /// Canonical header of a member.
    pub fn header_of(&self, member: &Member) -> [u8; 512] {
        tar::header(&member.path, member.size, self.mtime)
    }
}

struct Builder {
    members: Vec<Member>,
    at: u64,
}

impl Builder {
    fn push(&mut self, path: String, size: u64, digest: Option<Digest>) -> Result<()> {
        let member = Member { path, size, header: self.at, digest };
        self.at = self
            .at
            .checked_add(size)
            .and_then(|end| end.checked_add(3 * tar::BLOCK))
            .map(|_| member.end())
            .ok_or_else(|| Error::new(Code::Malformed, "the sizes in the bundle index do not fit a file"))?;
        self.members.push(member);
        Ok(())
    }

    fn files<'a>(&mut self, files: impl IntoIterator<Item = &'a File>) {
        for file in files {
            // File sizes are far below any overflow (limits::FILES).
            let member =
                Member { path: file.path.clone(), size: file.size, header: self.at, digest: Some(file.digest) };
            self.at = member.end();
            self.members.push(member);
        }
    }
}

/// Size of a line of `SHA256SUMS`.
fn line_size(path: &str) -> u64 {
    64 + 2 + path.len() as u64 + 1
}

/// The OCI index of a bundle: every top-level image with its reference (MB-FMT-04). It is derived from the bundle
/// index in one form, so that a reader can require exactly these bytes.
pub fn oci_index(index: &Index) -> Result<Vec<u8>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut entries = Vec::new();
    for image in &index.images {
        let reference = image.reference();
        if !seen.insert((reference.clone(), image.digest)) {
            continue;
        }
        let mut entry = image.descriptor();
        entry.annotations.extend(reference.map(|name| (oci::layout::REF_NAME.to_owned(), name)));
        entries.push(entry);
    }
    IndexOf(entries).to_vec_pretty().map_err(|e| Error::new(Code::Internal, "cannot write the OCI index").source(e))
}

/// The index entry for a file with this content.
pub fn file(path: &str, bytes: &[u8]) -> File {
    File { path: path.to_owned(), size: bytes.len() as u64, digest: Digest::of(bytes), objects: Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::tests::sample;

    #[test]
    fn members_follow_each_other_without_gap_or_overlap() {
        let index = sample();
        let bytes = index.to_bytes().unwrap();
        let layout = Layout::new(&index, &bytes, Some(b"sig")).unwrap();
        let paths: Vec<&str> = layout.members().iter().map(|m| m.path.as_str()).collect();
        assert_eq!(&paths[..6], [OCI_LAYOUT, INDEX, SIGNATURE, SUMS, OCI_INDEX, "manifests/a.yaml"]);
        let mut at = 0;
        for member in layout.members() {
            assert_eq!(member.header, at);
            at = member.end();
        }
        assert_eq!(layout.total(), at + 1024);
    }
}
