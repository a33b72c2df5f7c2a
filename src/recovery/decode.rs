//! Reconstructs lost slices (MB-REC-05), column by column, and checks them against the table.

use std::fs::File;
use std::io;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

use super::encode::{internal, size};
use super::sidecar::Sidecar;
use super::table::Span;
use super::{AHEAD, ahead, column, read_padded};
use crate::error::{Code, Error, Result};
use crate::oci::Hasher;

/// The location of an intact slice: in the bundle itself, or in another copy of it.
#[derive(Clone, Copy, Debug)]
pub struct SlicePlace<'a> {
    /// The file.
    pub file: &'a File,
    /// Offset of the slice in it.
    pub at: u64,
}

/// The result of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// All lost slices were reconstructed and match the table.
    Right,
    /// This slice, which was assumed intact, cannot be read: it is lost too.
    Unreadable(usize),
    /// This recovery slice cannot be read.
    UnreadableRecovery(usize),
    /// These slices do not match the table: some slice that was assumed intact is not.
    Wrong(Vec<usize>),
}

/// Receives decoded bytes of a slice: its number, the offset in it, the bytes.
pub type Put<'a> = dyn FnMut(usize, u64, &[u8]) -> Result<()> + 'a;

/// Decodes every slice that has no place in `present`, from the others and as many `sound` recovery slices.
///
/// The bytes are passed to `put` before they are verified; only after [`Decoded::Right`] do they match the table.
/// `progress` receives the number of bytes read.
///
/// # Errors
/// [`Code::BlobMismatch`] when more slices are lost than recovery slices are sound; nothing was passed to `put` then.
/// Errors of `put` and `progress`.
pub fn decode(
    sidecar: &Sidecar,
    sound: &[bool],
    present: &[Option<SlicePlace<'_>>],
    put: &mut Put<'_>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Decoded> {
    let table = sidecar.table();
    let geometry = table.geometry();
    let spans = table.spans();
    if present.len() != geometry.data || sound.len() != geometry.recovery {
        return Err(Error::new(Code::Internal, "recovery data and bundle are cut differently"));
    }
    let lost: Vec<usize> = (0..geometry.data).filter(|n| present[*n].is_none()).collect();
    let used: Vec<usize> = (0..geometry.recovery).filter(|n| sound[*n]).take(lost.len()).collect();
    if used.len() < lost.len() {
        return Err(too_few(lost.len(), used.len()));
    }
    if lost.is_empty() {
        return Ok(Decoded::Right);
    }

    let width = column(&geometry);
    let mut hashers = vec![Hasher::new(); lost.len()];
    let mut buffer = vec![0u8; size(width)?];
    let mut coder: HighRateDecoder<DefaultEngine> =
        HighRateDecoder::new(geometry.data, geometry.recovery, size(width)?, DefaultEngine::new(), None)
            .map_err(internal)?;
    let (mut at, mut asked) = (0, 0);
    while at < geometry.slice {
        let wide = width.min(geometry.slice - at);
        if wide != width {
            coder.reset(geometry.data, geometry.recovery, size(wide)?).map_err(internal)?;
        }
        let buffer = &mut buffer[..size(wide)?];
        if at >= asked {
            for (place, span) in present.iter().zip(&spans) {
                let Some(place) = place else { continue };
                ahead(place.file, place.at + at, span.length.saturating_sub(at).min(AHEAD));
            }
            used.iter().for_each(|n| sidecar.ahead(*n, at, AHEAD.min(geometry.slice - at)));
            asked = at + AHEAD;
        }
        for (number, (place, span)) in present.iter().zip(&spans).enumerate() {
            let Some(place) = place else { continue };
            if read(place, span, at, buffer).is_err() {
                return Ok(Decoded::Unreadable(number));
            }
            coder.add_original_shard(number, &*buffer).map_err(internal)?;
            progress(span.length.saturating_sub(at).min(wide))?;
        }
        for number in &used {
            progress(0)?;
            if sidecar.read(*number, at, buffer).is_err() {
                return Ok(Decoded::UnreadableRecovery(*number));
            }
            coder.add_recovery_shard(*number, &*buffer).map_err(internal)?;
        }
        let made = coder.decode().map_err(internal)?;
        for (number, hasher) in lost.iter().zip(&mut hashers) {
            let Some(bytes) = made.restored_original(*number) else {
                return Err(Error::new(Code::Internal, "the erasure code did not give a slice back"));
            };
            hasher.update(bytes);
            let real = spans[*number].length.saturating_sub(at).min(wide);
            if real > 0 {
                put(*number, at, &bytes[..size(real)?])?;
            }
        }
        at += wide;
    }
    let wrong = lost.iter().zip(hashers).filter(|(n, h)| h.clone().finish() != table.slices[**n]);
    let wrong: Vec<usize> = wrong.map(|(n, _)| *n).collect();
    Ok(if wrong.is_empty() { Decoded::Right } else { Decoded::Wrong(wrong) })
}

/// The error for more damage than recovery data can repair.
pub fn too_few(lost: usize, sound: usize) -> Error {
    Error::new(Code::BlobMismatch, format!("{lost} slices are lost, and recovery data can reconstruct only {sound}"))
}

fn read(place: &SlicePlace<'_>, span: &Span, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    read_padded(place.file, buffer, place.at + at, span.length.saturating_sub(at))
}
