//! A bundle on several media: the assignment of blobs to volumes (MB-VOL).
//!
//! A volume is an archive of the same form as a whole bundle, with the same signed index and some of the blobs.
//! `mirror-bundle/volume.json` lists the content of the volumes. It is not signed: it says where a blob is, never what
//! it is. A blob found there must still match the index.

mod media;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::index::{Blob, Index};
use super::limits;
use crate::codec::Stored;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, json};

pub use media::Media;

/// Path of the description of a volume.
pub const VOLUME: &str = "mirror-bundle/volume.json";
/// A volume number that means "on every volume".
pub const EVERYWHERE: u32 = 0;

/// The description of one volume, with the assignment of all blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Format version: 1.
    pub format: u32,
    /// Digest of the bundle's index.
    pub index: Digest,
    /// Digest of the carriage, if the volumes have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carriage: Option<Digest>,
    /// Number of this volume, from 1.
    pub volume: u32,
    /// The number of volumes.
    pub of: u32,
    /// For each blob of the index, in order: the volume with it or its first piece; 0 if every volume has it.
    pub blobs: Vec<u32>,
    /// Blobs that are larger than a volume, by position, ascending.
    pub cut: Vec<Cut>,
    /// Digests of the pieces on this volume, in the order of [`Volume::cut`].
    pub digests: Vec<Digest>,
}

/// A blob in pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Its position in the index, from 0.
    pub blob: u32,
    /// Its pieces in order, on ascending volumes.
    pub pieces: Vec<Piece>,
}

/// A piece of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The volume that holds it.
    pub volume: u32,
    /// Its size in bytes; the pieces of a blob add up to it.
    pub size: u64,
}

/// The content of one member of a volume: a blob, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Position of the blob in the index.
    pub blob: usize,
    /// Offset of the content in the blob, in bytes.
    pub offset: u64,
    /// Size of the content in bytes.
    pub size: u64,
    /// Number of the piece from 1, if the blob is cut.
    pub piece: Option<u32>,
    /// The stored bytes, which decode to this content.
    pub stored: Stored,
}

impl Extent {
    /// A whole blob, by its position in the index.
    pub fn whole(position: usize, blob: &Blob) -> Extent {
        let stored = Stored::identity(blob.digest, blob.size);
        Extent { blob: position, offset: 0, size: blob.size, piece: None, stored }
    }
}

impl Volume {
    /// Serialises the description in its one form: compact JSON and a LF.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|e| Error::new(Code::Internal, "cannot write the description of a volume").source(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Parses a description strictly: only what [`Volume::to_bytes`] writes.
    ///
    /// # Errors
    /// [`Code::NotABundle`] for another format version, [`Code::Malformed`] for everything else.
    pub fn parse(bytes: &[u8]) -> Result<Volume> {
        let malformed = |why: String| Error::new(Code::Malformed, format!("{VOLUME} is not acceptable: {why}"));
        if bytes.len() as u64 > limits::VOLUME {
            return Err(malformed(format!("{} bytes, over the limit of {}", bytes.len(), limits::VOLUME)));
        }
        json::check(bytes, &[]).map_err(|e| malformed(e.to_string()))?;
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if probe.format != u64::from(super::index::FORMAT) {
            let text = format!("the volume has format {}, which this version does not know", probe.format);
            return Err(Error::new(Code::NotABundle, text).hint("bring a newer mirror-bundle across with the bundle"));
        }
        let volume: Volume = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if volume.to_bytes()? != bytes {
            return Err(malformed("it is not in the canonical form of format 1".to_owned()));
        }
        if volume.of < 1 || volume.of > limits::VOLUMES || volume.volume < 1 || volume.volume > volume.of {
            return Err(malformed(format!("there is no volume {} of {}", volume.volume, volume.of)));
        }
        Ok(volume)
    }

    /// Checks the description against the index: every blob is somewhere, documents are on every volume, pieces add
    /// up.
    pub fn check(&self, index: &Index) -> Result<()> {
        self.fits(index).map_err(|why| Error::new(Code::Malformed, format!("{VOLUME} does not fit the index: {why}")))
    }

    fn fits(&self, index: &Index) -> Result<(), String> {
        if self.blobs.len() != index.blobs.len() {
            return Err(format!("it lists {} blobs, the index {}", self.blobs.len(), index.blobs.len()));
        }
        for (blob, &at) in index.blobs.iter().zip(&self.blobs) {
            if at > self.of || (blob.role.is_document() && at != EVERYWHERE) {
                return Err(format!("{} cannot be on volume {at}", blob.digest));
            }
        }
        if !self.cut.is_sorted_by(|a, b| a.blob < b.blob) {
            return Err("blobs in pieces are not in order".to_owned());
        }
        for cut in &self.cut {
            let blob = index.blobs.get(cut.blob as usize).ok_or("there is no such blob in pieces")?;
            let sum = cut.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.size));
            let ordered = cut.pieces.is_sorted_by(|a, b| a.volume < b.volume);
            let first = cut.pieces.first().map(|p| p.volume);
            if cut.pieces.len() < 2 || !ordered || first != self.blobs.get(cut.blob as usize).copied() {
                return Err(format!("{} has pieces that do not follow each other", blob.digest));
            }
            if sum != Some(blob.size) || cut.pieces.iter().any(|p| p.size == 0 || p.volume == 0 || p.volume > self.of) {
                return Err(format!("the pieces of {} are not the blob", blob.digest));
            }
        }
        if self.own_pieces() != self.digests.len() {
            return Err(format!("{} pieces have {} digests", self.own_pieces(), self.digests.len()));
        }
        Ok(())
    }

    /// The number of pieces on this volume.
    pub fn own_pieces(&self) -> usize {
        self.cut.iter().flat_map(|cut| &cut.pieces).filter(|p| p.volume == self.volume).count()
    }

    /// The content of this volume, in the order of the archive.
    pub fn extents(&self, index: &Index) -> Vec<Extent> {
        let mut out = Vec::new();
        // While a division is planned, the digests of pieces are unknown.
        let mut digests = self.digests.iter().copied().chain(std::iter::repeat_with(|| Digest::of(b"")));
        let mut cut = self.cut.iter().peekable();
        for (at, (blob, &place)) in index.blobs.iter().zip(&self.blobs).enumerate() {
            if let Some(cut) = cut.next_if(|cut| cut.blob as usize == at) {
                let mut offset = 0;
                for (number, piece) in (1u32..).zip(&cut.pieces) {
                    if piece.volume == self.volume
                        && let Some(digest) = digests.next()
                    {
                        let stored = Stored::identity(digest, piece.size);
                        out.push(Extent { blob: at, offset, size: piece.size, piece: Some(number), stored });
                    }
                    offset += piece.size;
                }
            } else if place == self.volume || place == EVERYWHERE {
                out.push(Extent::whole(at, blob));
            }
        }
        out
    }

    /// The volumes needed for the blob at this position; empty if every volume has it.
    pub fn volumes_of(&self, blob: usize) -> Vec<u32> {
        match self.cut.binary_search_by_key(&blob, |cut| cut.blob as usize) {
            Ok(at) => self.cut[at].pieces.iter().map(|p| p.volume).collect(),
            Err(_) => self.blobs.get(blob).copied().filter(|n| *n != EVERYWHERE).into_iter().collect(),
        }
    }

    /// Forgets where these blobs are: nothing of them is anywhere.
    pub(crate) fn without(&mut self, blobs: &BTreeSet<usize>) {
        for at in blobs {
            if let Some(place) = self.blobs.get_mut(*at) {
                *place = EVERYWHERE;
            }
        }
        let gone = |cut: &Cut| blobs.contains(&(cut.blob as usize));
        let mut digests = std::mem::take(&mut self.digests).into_iter();
        for cut in &self.cut {
            let own = cut.pieces.iter().filter(|p| p.volume == self.volume).count();
            let theirs = digests.by_ref().take(own);
            if gone(cut) { theirs.for_each(drop) } else { self.digests.extend(theirs) }
        }
        self.cut.retain(|cut| !gone(cut));
    }

    /// Whether `other` is a volume of the same division.
    pub fn is_with(&self, other: &Volume) -> bool {
        (self.index, self.carriage) == (other.index, other.carriage)
            && self.of == other.of
            && self.blobs == other.blobs
            && self.cut == other.cut
    }
}

/// Path of the member that holds an extent.
///
/// What does not have the digest in its name lies in `encoded`: other programs take what is in `blobs` for blobs.
pub fn member_path(index: &Index, extent: &Extent, encoded: bool) -> String {
    let hex = index.blobs.get(extent.blob).map(|b| b.digest.hex()).unwrap_or_default();
    let folder = if encoded { "encoded" } else { "blobs" };
    match extent.piece {
        None => format!("{folder}/sha256/{hex}"),
        Some(number) => format!("{folder}/sha256/{hex}.p{number:04}"),
    }
}

/// File name of a volume of `bundle`: `ocp.tar` becomes `ocp.02of12.tar`, and a name that does not end in `.tar` gets
/// `.02of12` appended. Readers ignore it (MB-VOL-07).
pub fn path(bundle: &Path, volume: u32, of: u32) -> PathBuf {
    let width = of.to_string().len();
    let number = format!(".{volume:0width$}of{of}");
    let name = bundle.file_name().unwrap_or_default();
    let (stem, end) = match (bundle.file_stem(), bundle.extension()) {
        (Some(stem), Some(end)) if end.eq_ignore_ascii_case("tar") => (stem, Some(end)),
        _ => (name, None),
    };
    let mut out = stem.to_owned();
    out.push(number);
    if let Some(end) = end {
        out.push(".");
        out.push(end);
    }
    bundle.with_file_name(out)
}

#[derive(Deserialize)]
struct Probe {
    format: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::tests::sample;
    use crate::oci::Role;

    fn index(sizes: &[u64]) -> Index {
        let mut index = sample();
        index.blobs =
            (0u8..).zip(sizes).map(|(n, &size)| Blob { digest: Digest::of(&[n]), size, role: Role::Layer }).collect();
        index.blobs.sort_by_key(|b| b.digest);
        index
    }

    fn two() -> (Index, Volume) {
        let index = index(&[5000, 5000, 5000]);
        let cut = vec![Cut { blob: 1, pieces: vec![Piece { volume: 1, size: 4096 }, Piece { volume: 2, size: 904 }] }];
        let digests = vec![Digest::of(b"piece")];
        let volume = Volume {
            format: 1,
            index: Digest::of(b"index"),
            carriage: None,
            volume: 2,
            of: 2,
            blobs: vec![0, 1, 2],
            cut,
            digests,
        };
        (index, volume)
    }

    #[test]
    fn a_description_reads_back_only_from_its_one_form() {
        let (index, volume) = two();
        let bytes = volume.to_bytes().unwrap();
        let read = Volume::parse(&bytes).unwrap();
        assert_eq!(read, volume);
        read.check(&index).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            text.replace("\"of\":2", "\"of\": 2"),
            text.replace("\"of\":2", "\"of\":2,\"x\":1"),
            text.replace("\"of\":2", "\"of\":1"),
            text.replace("\"of\":2", "\"of\":1000000"),
            text.replace("\"volume\":2,\"of\"", "\"volume\":0,\"of\""),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(Volume::parse(bad.as_bytes()).unwrap_err().code(), Code::Malformed, "{bad}");
        }
        let later = text.replace("\"format\":1", "\"format\":2");
        assert_eq!(Volume::parse(later.as_bytes()).unwrap_err().code(), Code::NotABundle);
    }

    #[test]
    fn a_description_that_does_not_fit_the_index_is_refused() {
        let (mut index, good) = two();
        let changes: &[fn(&mut Volume)] = &[
            |v| v.blobs.truncate(2),
            |v| v.blobs[0] = 3,
            |v| v.blobs[1] = 2,
            |v| v.cut[0].blob = 9,
            |v| v.cut[0].pieces[0].size = 4095,
            |v| v.cut[0].pieces[0].size = u64::MAX,
            |v| v.cut[0].pieces.reverse(),
            |v| v.cut[0].pieces.truncate(1),
            |v| v.cut.push(v.cut[0].clone()),
            |v| v.digests.clear(),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.check(&index).unwrap_err().code(), Code::Malformed, "change {at}");
        }
        index.blobs[2].role = Role::Manifest;
        assert!(good.check(&index).is_err(), "a document on one volume only");
    }

    #[test]
    fn a_volume_for_a_medium_leaves_room_for_its_file_system_and_for_countersignatures() {
        let sizes = Media::ALL.map(Media::volume);
        assert_eq!(sizes, [4_293_918_719, 4_652_320_686, 24_774_013_091, 49_549_074_759, 99_101_274_275]);
    }

    #[test]
    fn volumes_are_called_by_number_so_that_they_sort() {
        let name = |bundle: &str, n, of| path(Path::new(bundle), n, of).display().to_string();
        assert_eq!(name("/m/ocp.tar", 1, 3), "/m/ocp.1of3.tar");
        assert_eq!(name("ocp-4.16.tar", 2, 12), "ocp-4.16.02of12.tar");
        assert_eq!(name("a.TAR", 7, 100), "a.007of100.TAR");
        assert_eq!(name("ocp-4.16", 1, 2), "ocp-4.16.1of2");
    }

    #[test]
    fn extents_of_all_volumes_make_every_blob_whole() {
        let (index, volume) = two();
        let first = Volume { volume: 1, ..volume.clone() };
        let extents = first.extents(&index);
        assert_eq!(extents.iter().map(|e| (e.blob, e.size)).collect::<Vec<_>>(), [(0, 5000), (1, 4096)]);
        assert_eq!(extents.iter().map(|e| e.stored.size).collect::<Vec<_>>(), [5000, 4096]);
        assert_eq!(extents[0].stored.digest, index.blobs[0].digest);
        assert_eq!(extents[1].stored.digest, volume.digests[0]);
        let second = volume.extents(&index);
        assert_eq!(second.iter().map(|e| (e.blob, e.offset)).collect::<Vec<_>>(), [(0, 0), (1, 4096), (2, 0)]);
        assert!(member_path(&index, &second[1], false).ends_with(".p0002"));
        assert_eq!(volume.volumes_of(1), [1, 2]);
        assert_eq!(volume.volumes_of(2), [2]);
        assert!(volume.volumes_of(0).is_empty());
    }
}
