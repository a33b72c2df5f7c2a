//! Assigns blobs to volumes so that no volume is larger than its medium (MB-VOL-06).

use std::collections::BTreeSet;

use super::carriage::{self, SignedCarriage};
use super::volume::{Cut, EVERYWHERE, Piece, Volume};
use crate::bundle::index::Index;
use crate::bundle::layout::{Form, Layout};
use crate::bundle::{limits, tar};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// Constraints on a division.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// The most bytes of a volume, including tar's framing.
    pub volume: u64,
    /// Bytes that each volume needs behind the last member for its addenda, in addition to the end of the archive.
    pub tail: u64,
    /// Positions of blobs in the order in which they should be stored, so that the blobs of one image are together.
    /// Positions that are missing here come last.
    pub order: &'a [usize],
    /// Positions of blobs that every volume should have, in addition to documents and small blobs.
    pub everywhere: &'a BTreeSet<usize>,
    /// The form, which every volume has too. What it says is not there counts as everywhere, and takes no room.
    pub form: Form<'a>,
}

/// Divides a bundle; returns the descriptions of its volumes, in order. A single volume means that no division is
/// needed.
///
/// The digests of pieces are placeholders (the digest of no bytes) until the pieces are written.
///
/// # Errors
/// [`Code::Usage`] when the volumes are too small for their common content, or there would be too many.
pub fn divide(index: &Index, index_bytes: &[u8], signature: Option<&[u8]>, room: &Room<'_>) -> Result<Vec<Volume>> {
    let carriage = carriage::in_head(room.form.carriage, index, &Digest::of(index_bytes))?;
    let members = carriage.as_ref().and_then(|carried| carried.members.as_ref());
    let whole = members.unwrap_or(index);
    let attempt = |volume| attempt((index, whole), index_bytes, signature, &Room { volume, ..*room });
    let mut least = match attempt(room.volume) {
        Ok(volumes) => return Ok(volumes),
        Err(Failed::Because(err)) => return Err(err),
        Err(Failed::TooSmall(least)) => least,
    };
    // Smaller volumes mean more volumes, which need more space each: continue to a size that is enough.
    while let Err(Failed::TooSmall(more)) = attempt(least)
        && more > least
    {
        least = more;
    }
    let text = format!("volumes of {} bytes are too small: each carries the index and all manifests", room.volume);
    Err(Error::new(Code::Usage, text).fact(format!("at least {least} bytes are needed")).state("nothing was written"))
}

/// Why a division failed.
enum Failed {
    /// The smallest volume size that could work, as far as known.
    TooSmall(u64),
    /// Something else.
    Because(Error),
}

impl From<Error> for Failed {
    fn from(err: Error) -> Failed {
        Failed::Because(err)
    }
}

/// `carried`: the index with members in the place of the blobs that are restored from them.
fn attempt(
    (index, carried): (&Index, &Index),
    index_bytes: &[u8],
    signature: Option<&[u8]>,
    room: &Room<'_>,
) -> Result<Vec<Volume>, Failed> {
    let identity = Digest::of(index_bytes);
    // Descriptions grow with the number of volumes and pieces, and need space themselves: estimate, check, repeat.
    let mut description = 0;
    for _ in 0..16 {
        let common = common((index, carried), index_bytes, signature, room, description)?;
        let divided = Filler::new(carried, room, common).fill()?;
        let volumes = divided.volumes(&identity);
        let needed = volumes
            .iter()
            .map(|v| v.to_bytes().map(|b| b.len() as u64))
            .try_fold(0, |most, len| Ok::<_, Error>(most.max(len?)))?;
        if needed <= description {
            for volume in &volumes {
                let total = Layout::with(index, index_bytes, signature, room.form, Some(volume))?.total() + room.tail;
                if total > room.volume && volumes.len() > 1 {
                    let text = format!("volume {} would have {total} bytes, more than {}", volume.volume, room.volume);
                    return Err(Error::new(Code::Internal, text).into());
                }
            }
            return Ok(volumes);
        }
        description = needed;
    }
    Err(Error::new(Code::Internal, "no division of the bundle was found").into())
}

/// Size of a line of `SHA256SUMS` for a blob, and for a piece.
const LINE: u64 = 64 + 2 + 13 + 64 + 1;
const PIECE_LINE: u64 = LINE + 6;
/// The least content that a volume should have space for.
const LEAST: u64 = 4096;

/// The content that every volume has: its framing and common blobs.
#[derive(Clone, Copy, Debug)]
struct Common {
    /// Bytes without `SHA256SUMS`.
    bytes: u64,
    /// Bytes of `SHA256SUMS`.
    sums: u64,
}

fn is_everywhere(index: &Index, at: usize, room: &Room<'_>) -> bool {
    let blob = &index.blobs[at];
    blob.role.is_document() || blob.size <= limits::SMALL_BLOB || room.everywhere.contains(&at)
}

fn common(
    (index, carried): (&Index, &Index),
    index_bytes: &[u8],
    signature: Option<&[u8]>,
    room: &Room<'_>,
    description: u64,
) -> Result<Common, Failed> {
    // A volume without blobs of its own, computed by the one function that knows the framing.
    let places = (0..index.blobs.len()).map(|at| if is_everywhere(carried, at, room) { EVERYWHERE } else { 1 });
    let bare = Volume {
        format: super::index::FORMAT,
        index: Digest::of(index_bytes),
        carriage: room.form.carriage.map(SignedCarriage::digest),
        volume: 2,
        of: 2,
        blobs: places.collect(),
        cut: Vec::new(),
        digests: Vec::new(),
    };
    let layout = Layout::with(index, index_bytes, signature, room.form, Some(&bare))?;
    let sums = layout.sums_size();
    let own = bare.to_bytes()?.len() as u64;
    let bytes = layout.total() - tar::padded(sums) - tar::padded(own) + tar::padded(description.max(own)) + room.tail;
    let least = bytes + tar::padded(sums + PIECE_LINE) + tar::BLOCK + LEAST;
    if room.volume < least {
        return Err(Failed::TooSmall(least));
    }
    Ok(Common { bytes, sums })
}

/// A volume that is being filled.
#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    lines: u64,
    bytes: u64,
}

struct Filler<'a> {
    index: &'a Index,
    room: &'a Room<'a>,
    common: Common,
    volumes: Vec<Fill>,
    places: Vec<u32>,
    cut: Vec<Cut>,
}

impl<'a> Filler<'a> {
    fn new(index: &'a Index, room: &'a Room<'a>, common: Common) -> Filler<'a> {
        let places = vec![EVERYWHERE; index.blobs.len()];
        Filler { index, room, common, volumes: Vec::new(), places, cut: Vec::new() }
    }

    /// The content bytes that fit on this volume as one more member with a line of this size.
    fn left(&self, fill: &Fill, line: u64) -> u64 {
        let used = self.common.bytes + tar::padded(self.common.sums + fill.lines + line) + fill.bytes + tar::BLOCK;
        self.room.volume.saturating_sub(used) / tar::BLOCK * tar::BLOCK
    }

    fn put(&mut self, at: usize, size: u64, line: u64) {
        let fill = &mut self.volumes[at];
        fill.lines += line;
        fill.bytes += tar::BLOCK + tar::padded(size);
    }

    fn open(&mut self) -> Result<usize> {
        if self.volumes.len() == limits::VOLUMES as usize {
            return Err(Error::new(Code::Usage, format!("more than {} volumes would be needed", limits::VOLUMES))
                .state("nothing was written")
                .hint("choose larger volumes"));
        }
        self.volumes.push(Fill::default());
        Ok(self.volumes.len() - 1)
    }

    fn fill(mut self) -> Result<Filler<'a>> {
        let mut queue: Vec<usize> = Vec::with_capacity(self.places.len());
        let mut queued = vec![false; self.places.len()];
        for at in self.room.order.iter().copied().chain(0..self.places.len()) {
            if at < queued.len()
                && !std::mem::replace(&mut queued[at], true)
                && !is_everywhere(self.index, at, self.room)
            {
                queue.push(at);
            }
        }
        // Blobs larger than a volume come first: their pieces fill whole volumes.
        let most = self.left(&Fill::default(), LINE);
        let (large, fitting): (Vec<usize>, Vec<usize>) =
            queue.into_iter().partition(|&at| tar::padded(self.index.blobs[at].size) > most);
        for at in large {
            self.cut(at)?;
        }
        // The first volume that may still have space; earlier ones are full.
        let mut first = 0;
        for at in fitting {
            let size = self.index.blobs[at].size;
            while first < self.volumes.len() && self.left(&self.volumes[first], LINE) <= limits::SMALL_BLOB {
                first += 1;
            }
            let fits = |fill: &Fill| self.left(fill, LINE) >= tar::padded(size);
            let found = self.volumes[first..].iter().position(fits).map(|n| n + first);
            let volume = found.map_or_else(|| self.open(), Ok)?;
            self.put(volume, size, LINE);
            self.places[at] = number(volume);
        }
        if self.volumes.is_empty() {
            self.open()?;
        }
        self.cut.sort_by_key(|cut| cut.blob);
        Ok(self)
    }

    /// Cuts a blob: the last volume's remaining space is used first, then volumes of its own.
    fn cut(&mut self, at: usize) -> Result<()> {
        let mut pieces = Vec::new();
        let mut left = self.index.blobs[at].size;
        while left > 0 {
            let last = self.volumes.len().checked_sub(1).filter(|_| pieces.is_empty());
            let volume = match last.filter(|&n| self.left(&self.volumes[n], PIECE_LINE) >= LEAST) {
                Some(volume) => volume,
                None => self.open()?,
            };
            let size = left.min(self.left(&self.volumes[volume], PIECE_LINE));
            self.put(volume, size, PIECE_LINE);
            pieces.push(Piece { volume: number(volume), size });
            left -= size;
        }
        self.places[at] = pieces[0].volume;
        self.cut.push(Cut { blob: u32::try_from(at).unwrap_or(u32::MAX), pieces });
        Ok(())
    }

    fn volumes(&self, identity: &Digest) -> Vec<Volume> {
        let of = u32::try_from(self.volumes.len()).unwrap_or(u32::MAX);
        (1..=of)
            .map(|n| {
                let mut volume = Volume {
                    format: super::index::FORMAT,
                    index: *identity,
                    carriage: self.room.form.carriage.map(SignedCarriage::digest),
                    volume: n,
                    of,
                    blobs: self.places.clone(),
                    cut: self.cut.clone(),
                    digests: Vec::new(),
                };
                volume.digests = vec![Digest::of(b""); volume.own_pieces()];
                volume
            })
            .collect()
    }
}

fn number(volume: usize) -> u32 {
    u32::try_from(volume + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::{Blob, tests::sample};
    use crate::oci::Role;

    fn index(sizes: &[u64]) -> (Index, Vec<u8>) {
        let mut index = sample();
        index.blobs = (0u32..)
            .zip(sizes)
            .map(|(n, &size)| Blob { digest: Digest::of(&n.to_be_bytes()), size, role: Role::Layer })
            .collect();
        index.sort();
        let bytes = index.to_bytes().unwrap();
        (index, bytes)
    }

    fn divided(index: &Index, bytes: &[u8], volume: u64) -> Result<Vec<Volume>> {
        divide(
            index,
            bytes,
            Some(b"signature"),
            &Room { volume, tail: 0, order: &[], everywhere: &BTreeSet::new(), form: Form::default() },
        )
    }

    /// Every blob whole, and no volume too large.
    fn check(index: &Index, bytes: &[u8], volumes: &[Volume], limit: u64) {
        let mut found = vec![0u64; index.blobs.len()];
        for volume in volumes {
            volume.check(index).unwrap();
            let layout = Layout::with(index, bytes, Some(b"signature"), Form::default(), Some(volume)).unwrap();
            assert!(layout.total() <= limit || volumes.len() == 1, "{} of {limit}", layout.total());
            for extent in volume.extents(index) {
                if volume.blobs[extent.blob] != EVERYWHERE || volume.volume == 1 {
                    found[extent.blob] += extent.size;
                }
            }
        }
        assert_eq!(found, index.blobs.iter().map(|b| b.size).collect::<Vec<_>>());
    }

    #[test]
    fn every_division_holds_every_byte_once_and_no_volume_is_too_large() {
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..300 {
            let sizes: Vec<u64> =
                (0..=random(40)).map(|_| random(if round % 3 == 0 { 300_000 } else { 30_000 })).collect();
            let (index, bytes) = index(&sizes);
            let limit = bytes.len() as u64 * 2 + 60_000 + random(100_000);
            check(&index, &bytes, &divided(&index, &bytes, limit).unwrap(), limit);
        }
    }

    #[test]
    fn sizes_around_each_limit_are_exact() {
        for extra in 0..1100 {
            let (index, bytes) = index(&[50_000, 50_000 + extra, 20_000]);
            let whole = Layout::new(&index, &bytes, Some(b"signature")).unwrap().total();
            for limit in [whole - 40_000, whole, whole + 1024] {
                check(&index, &bytes, &divided(&index, &bytes, limit).unwrap(), limit);
            }
        }
    }

    #[test]
    fn what_belongs_together_lies_together() {
        let (index, bytes) = index(&[30_000; 6]);
        let order = [5, 1, 4, 0, 3, 2];
        let limit = 68_000 + bytes.len() as u64 + 9 * 512;
        let room = Room { volume: limit, tail: 0, order: &order, everywhere: &BTreeSet::new(), form: Form::default() };
        let volumes = divide(&index, &bytes, None, &room).unwrap();
        assert_eq!(volumes.len(), 3);
        assert_eq!(order.map(|at| volumes[0].blobs[at]), [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn volumes_that_are_too_small_or_too_many_are_refused_with_the_size_that_would_do() {
        let (index, bytes) = index(&[5_000_000_000_000]);
        let err = divided(&index, &bytes, 6000).unwrap_err();
        assert_eq!(err.code(), Code::Usage);
        let least: u64 = err.facts()[0].split(' ').find_map(|w| w.parse().ok()).unwrap();
        assert_eq!(divided(&index, &bytes, least).unwrap_err().message(), "more than 999 volumes would be needed");
        let (small, bytes) = self::index(&[50_000]);
        let err = divided(&small, &bytes, 1).unwrap_err();
        let least: u64 = err.facts()[0].split(' ').find_map(|w| w.parse().ok()).unwrap();
        check(&small, &bytes, &divided(&small, &bytes, least + 2048).unwrap(), least + 2048);
    }
}
