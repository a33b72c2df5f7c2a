//! Recovery data: Reed-Solomon slices beside a bundle, from which damaged or missing parts are reconstructed.
//!
//! [`table`] describes the protected files and their slices, [`encode`](encode()) writes the sidecar, [`sidecar`]
//! reads one without trusting it, [`decode`](decode()) reconstructs lost slices. A sidecar protects a list of files (a
//! bundle, or its volumes), each up to a fixed length. It is outside the trust path: it only proposes bytes, and its
//! users compare them with the signed index. There is no trust, no network and no naming of files here.
//!
//! The code is Leopard-RS over GF(2^16) as implemented by the crate `reed-solomon-simd`, always in its "high rate"
//! form. It processes each 64 bytes of all slices independently, so slices are coded in columns and memory does not
//! grow with their size. Spec: `spec/recovery.md` (MB-REC).

pub mod decode;
pub mod encode;
pub mod sidecar;
pub mod table;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use decode::{Decoded, SlicePlace, decode};
pub use encode::{Protected, encode};
pub use sidecar::Sidecar;
pub use table::{Geometry, Table, of_carriage, of_removals};

/// Memory for one column of all slices while it is coded, in bytes.
const WORK: u64 = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// How many bytes the kernel reads ahead in every slice, so that a disk or stick does not get a request for each small
/// piece. A multiple of every column's width or a part of it.
const AHEAD: u64 = 256 << 10;

/// The width of a column in bytes: a multiple of 4096, such that all slices together fit in memory.
fn column(geometry: &Geometry) -> u64 {
    let shards = (geometry.data + geometry.recovery.next_power_of_two()).next_power_of_two() as u64;
    (WORK / shards / table::GRAIN * table::GRAIN).clamp(table::GRAIN, geometry.slice)
}

/// Asks the kernel to read a part of a file ahead. It may ignore this.
fn ahead(file: &File, at: u64, length: u64) {
    if let Some(length) = std::num::NonZeroU64::new(length) {
        crate::fs::direct::announce(file, at, length);
    }
}

/// Reads `buffer` from `at`, up to offset `length`; the rest is zero.
fn read_padded(file: &File, buffer: &mut [u8], at: u64, length: u64) -> io::Result<()> {
    let there = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
    buffer[there..].fill(0);
    file.read_exact_at(&mut buffer[..there], at)
}

#[cfg(test)]
mod tests;
