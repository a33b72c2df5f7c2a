//! Recovery data: Reed-Solomon slices beside a bundle, from which damaged or missing parts of it are made again.
//!
//! [`table`] says what is protected and how it is cut, [`encode`](encode()) writes the sidecar, [`sidecar`] reads one
//! without believing it, [`decode`](decode()) makes lost slices again. A sidecar protects a list of files (a bundle, or
//! the volumes of one), each up to a fixed length. It is outside the trust path: it can only propose bytes, and whoever
//! uses them compares them with the signed index. No trust, no network here, and no names given to files.
//!
//! The code is that of Leopard-RS over GF(2^16) as the crate `reed-solomon-simd` has it, always in its "high rate"
//! form. It works on each 64 bytes of all slices alone, so slices are coded in columns and memory does not grow with
//! them. Spec: `spec/recovery.md` (MB-REC).

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
pub use table::{Geometry, Table};

/// What a column of all slices may take in memory while it is coded, in bytes.
const WORK: u64 = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// How far ahead the kernel is asked to read in every slice, so that a disk or stick is not asked for each small piece
/// by itself. A multiple of every column's width or a part of it.
const AHEAD: u64 = 256 << 10;

/// How wide a column is, in bytes: a multiple of 4096 that all slices together fit memory with.
fn column(geometry: &Geometry) -> u64 {
    let shards = (geometry.data + geometry.recovery.next_power_of_two()).next_power_of_two() as u64;
    (WORK / shards / table::GRAIN * table::GRAIN).clamp(table::GRAIN, geometry.slice)
}

/// Asks the kernel to have a part of a file ready. It may not listen.
fn ahead(file: &File, at: u64, length: u64) {
    if let Some(length) = std::num::NonZeroU64::new(length) {
        crate::fs::direct::announce(file, at, length);
    }
}

/// Reads `buffer` from `at`, as far as `length` bytes; the rest is zero.
fn read_padded(file: &File, buffer: &mut [u8], at: u64, length: u64) -> io::Result<()> {
    let there = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
    buffer[there..].fill(0);
    file.read_exact_at(&mut buffer[..there], at)
}

#[cfg(test)]
mod tests;
