//! Where in the reference sixteen bytes occur: one place for each hash.

use std::io;

use super::pages::{OVERLAP, Pages};

/// Bytes of a seed, and the usual distance of two seeds.
pub(super) const SEED: usize = 16;

/// A table of places, each a number of steps; with spare bits of the hash, so that few lookups touch the reference in
/// vain.
pub(super) struct Seeds {
    table: Vec<u32>,
    /// Distance of two seeds.
    step: u64,
    /// The hash gives the place in its highest bits.
    shift: u32,
    /// Bits of an entry that are the place; the others are of the hash.
    bits: u32,
}

/// A hash of the first sixteen bytes; nothing when there are fewer, or all are the same.
#[inline]
pub(super) fn hash(bytes: &[u8]) -> Option<u64> {
    let (a, rest) = bytes.split_first_chunk::<8>()?;
    let b = rest.first_chunk::<8>()?;
    let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    if a == b && a == a.rotate_left(8) {
        return None;
    }
    let v = (a ^ b.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b;
    let v = (v ^ v >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    Some(v ^ v >> 29)
}

impl Seeds {
    /// Reads the reference once. The table takes at most `memory` bytes, and 4 KiB at least: where it is too small for
    /// all seeds, they are taken farther apart.
    pub(super) fn of(reference: &mut Pages<'_>, memory: u64) -> io::Result<Self> {
        let fit = (memory / 4).clamp(1024, 1 << 30);
        let mut step = SEED as u64;
        while reference.size() / step > fit {
            step *= 2;
        }
        let seeds = reference.size() / step + 2;
        let entries = seeds.next_power_of_two().min(1 << fit.ilog2()).max(1024);
        let bits = seeds.ilog2() + 1;
        let table = vec![0u32; usize::try_from(entries).unwrap_or(1024)];
        let mut seeds = Self { table, step, shift: 64 - entries.ilog2(), bits };
        let mut at = 0;
        while at + SEED as u64 <= reference.size() {
            let page = reference.at(at)?;
            let whole = page.len() == (1 << 16) + OVERLAP;
            let last = if whole { page.len() - OVERLAP } else { page.len() };
            let mut i = 0;
            while i < last {
                if let Some(hash) = page.get(i..).and_then(hash) {
                    seeds.put(hash, (at + i as u64) / step);
                }
                i += step as usize;
            }
            // The next seed of the next page, whatever the distance is.
            at += i as u64;
        }
        Ok(seeds)
    }

    fn tag(&self, hash: u64) -> u32 {
        if self.bits >= 32 { 0 } else { (hash as u32) << self.bits }
    }

    fn put(&mut self, hash: u64, number: u64) {
        let entry = (number as u32 + 1) | self.tag(hash);
        // The first one stays.
        if let Some(place) = self.table.get_mut((hash >> self.shift) as usize).filter(|place| **place == 0) {
            *place = entry;
        }
    }

    /// Where the bytes of this hash may be.
    #[inline]
    pub(super) fn get(&self, hash: u64) -> Option<u64> {
        let entry = *self.table.get((hash >> self.shift) as usize)?;
        let mask = if self.bits >= 32 { u32::MAX } else { (1 << self.bits) - 1 };
        (entry != 0 && entry & !mask == self.tag(hash)).then(|| (u64::from(entry & mask) - 1) * self.step)
    }
}
