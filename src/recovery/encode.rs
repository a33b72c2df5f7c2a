//! Writes a sidecar (MB-REC-03): reads the files once, in columns, and hashes every slice.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateEncoder, RateEncoder};

use super::sidecar::Shape;
use super::table::{self, DocumentCopy, FORMAT, Geometry, Table};
use super::{AHEAD, ahead, column, read_padded};
use crate::bundle::carriage::SignedCarriage;
use crate::bundle::removal::SignedRemoval;
use crate::bundle::tar;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};

/// The input of recovery data.
#[derive(Debug)]
pub struct Protected<'a> {
    /// The files, and the number of protected bytes of each.
    pub files: &'a [(&'a File, u64)],
    /// The bundle's index.
    pub index: &'a [u8],
    /// The builder's signature over it.
    pub signature: Option<&'a [u8]>,
    /// The description of each file, if they are volumes; otherwise empty.
    pub volumes: &'a [Vec<u8>],
    /// The statements about what was removed.
    pub removals: &'a [SignedRemoval],
    /// How they carry blobs, if not each as it is.
    pub carriage: Option<&'a SignedCarriage>,
    /// Time of the tar members in seconds.
    pub mtime: u64,
    /// The division of these lengths into slices.
    pub geometry: Geometry,
}

/// Writes recovery data to `out` from offset 0; returns the digest of every protected slice as it was read.
///
/// `progress` receives the number of bytes done, and may stop it.
///
/// # Errors
/// [`Code::Io`] when a file cannot be read or `out`, called `name`, cannot be written.
pub fn encode(
    out: &File,
    name: &Path,
    from: &Protected<'_>,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Digest>> {
    let lengths: Vec<u64> = from.files.iter().map(|(_, length)| *length).collect();
    let Geometry { slice, data, recovery } = from.geometry;
    let spans = table::spans(&lengths, slice);
    if spans.len() != data {
        return Err(Error::new(Code::Internal, "recovery data was to be made of other files"));
    }
    let mut table = Table {
        format: FORMAT,
        index: DocumentCopy::of(from.index),
        signature: from.signature.map(DocumentCopy::of),
        volumes: from.volumes.iter().map(|bytes| DocumentCopy::of(bytes)).collect(),
        removals: table::of_removals(from.removals),
        carriage: table::of_carriage(from.carriage),
        slice_size: slice,
        files: lengths,
        // The final table has the same size, since all digests do.
        slices: vec![Digest::of(b""); data],
        recovery: vec![Digest::of(b""); recovery],
    };
    let shape = Shape::new(&table, table.to_bytes()?.len() as u64);
    let cannot_write = |e| Error::io("cannot write", name, e);
    let write = |bytes: &[u8], at: u64| out.write_all_at(bytes, at).map_err(cannot_write);

    let width = column(&from.geometry);
    let mut of_data = vec![Hasher::new(); data];
    let mut of_recovery = vec![Hasher::new(); recovery];
    let mut buffer = vec![0u8; size(width)?];
    let mut coder = encoder(data, recovery, size(width)?)?;
    let (mut at, mut asked) = (0, 0);
    while at < slice {
        let wide = width.min(slice - at);
        if wide != width {
            coder.reset(data, recovery, size(wide)?).map_err(internal)?;
        }
        let buffer = &mut buffer[..size(wide)?];
        if at >= asked {
            for span in &spans {
                ahead(from.files[span.file].0, span.at + at, span.length.saturating_sub(at).min(AHEAD));
            }
            asked = at + AHEAD;
        }
        for (span, hasher) in spans.iter().zip(&mut of_data) {
            let there = span.length.saturating_sub(at);
            read_padded(from.files[span.file].0, buffer, span.at + at, there)
                .map_err(|e| Error::io("cannot read", "the bundle", e).fact(format!("at offset {}", span.at + at)))?;
            hasher.update(buffer);
            coder.add_original_shard(&*buffer).map_err(internal)?;
            progress(there.min(wide))?;
        }
        let coded = coder.encode().map_err(internal)?;
        for (number, (bytes, hasher)) in coded.recovery_iter().zip(&mut of_recovery).enumerate() {
            hasher.update(bytes);
            write(bytes, shape.slice(number) + at)?;
        }
        at += wide;
    }
    table.slices = of_data.into_iter().map(Hasher::finish).collect();
    table.recovery = of_recovery.into_iter().map(Hasher::finish).collect();
    for number in 0..recovery {
        write(&shape.slice_header(number, from.mtime), shape.slice(number) - 512)?;
    }
    let bytes = table.to_bytes()?;
    for copy in [false, true] {
        let documents = [Some(&bytes[..]), Some(from.index), from.signature];
        let documents = documents.into_iter().flatten().chain(from.volumes.iter().map(Vec::as_slice));
        let statements = from.removals.iter().flat_map(|one| [one.statement.as_slice(), &one.signature]);
        let carriage = from.carriage.into_iter().flat_map(SignedCarriage::documents);
        let documents = documents.chain(statements).chain(carriage);
        for ((name, (at, size)), content) in shape.documents(copy, &Digest::of(&bytes)).into_iter().zip(documents) {
            write(&tar::header(&name, size, from.mtime), at - tar::BLOCK)?;
            write(content, at)?;
            let rest = usize::try_from(tar::padded(size) - size).unwrap_or(0);
            write(&[0; 512][..rest], at + size)?;
        }
    }
    write(&[0; 1024], shape.end())?;
    out.set_len(shape.end() + 1024).map_err(cannot_write)?;
    Ok(table.slices)
}

fn encoder(data: usize, recovery: usize, width: usize) -> Result<HighRateEncoder<DefaultEngine>> {
    HighRateEncoder::new(data, recovery, width, DefaultEngine::new(), None).map_err(internal)
}

pub(super) fn size(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|e| Error::new(Code::Internal, "a column does not fit memory").source(e))
}

pub(super) fn internal(e: reed_solomon_simd::Error) -> Error {
    Error::new(Code::Internal, format!("the erasure code refuses its input: {e}"))
}
