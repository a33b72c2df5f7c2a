//! The table of a sidecar: the protected files, their slices, and the digest of every slice (MB-REC-02).

use serde::{Deserialize, Serialize};

use crate::bundle::carriage::SignedCarriage;
use crate::bundle::limits;
use crate::bundle::removal::SignedRemoval;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Invalid, json};

/// Version of the sidecar's format.
pub const FORMAT: u32 = 1;
/// Slice sizes are a multiple of this, in bytes.
pub const GRAIN: u64 = 4096;
/// The most slices: those of the files, plus the recovery slices rounded up to a power of two.
pub const SLICES: usize = 2048;
/// The largest table, in bytes.
pub const TABLE: u64 = 1 << 20;
/// The most files under one sidecar.
const FILES: usize = 256;
/// The longest description of a volume, in bytes.
const VOLUME: u64 = 1 << 20;
/// The longest documents of one sidecar together, in bytes.
pub const DOCUMENTS: u64 = 16 << 20;
/// The longest file, in bytes (1 PiB).
const LENGTH: u64 = 1 << 50;
/// The longest index and signature, in bytes.
const INDEX: u64 = crate::bundle::limits::INDEX;
const SIGNATURE: u64 = 64 << 10;

/// A document of which the sidecar holds a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentCopy {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl DocumentCopy {
    /// The entry for these bytes.
    pub fn of(bytes: &[u8]) -> DocumentCopy {
        DocumentCopy { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// The statements and signatures of a head, as a table lists them.
pub fn of_removals(removals: &[SignedRemoval]) -> Vec<DocumentCopy> {
    removals.iter().flat_map(|one| [&one.statement, &one.signature]).map(|bytes| DocumentCopy::of(bytes)).collect()
}

/// The carriage of a head and its signature, as a table lists them.
pub fn of_carriage(carriage: Option<&SignedCarriage>) -> Vec<DocumentCopy> {
    carriage.into_iter().flat_map(SignedCarriage::documents).map(DocumentCopy::of).collect()
}

/// The protected content of a sidecar. A parsed table is within every limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Table {
    /// Version: 1.
    pub format: u32,
    /// The index of the bundle: its digest identifies the bundle.
    pub index: DocumentCopy,
    /// The builder's signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<DocumentCopy>,
    /// The description of each file, if the files are volumes; empty for a whole bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DocumentCopy>,
    /// The statements about what was removed, with their signatures, in the order in which each file has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<DocumentCopy>,
    /// The carriage of each file and its signature, if files do not hold every blob as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carriage: Vec<DocumentCopy>,
    /// Size of a slice in bytes.
    pub slice_size: u64,
    /// The number of protected bytes of each file: the bundle, or its volumes.
    pub files: Vec<u64>,
    /// Digest of each slice of the files, the last one of each file padded with zeros.
    pub slices: Vec<Digest>,
    /// Digest of each recovery slice.
    pub recovery: Vec<Digest>,
}

/// The division of files into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of a slice in bytes.
    pub slice: u64,
    /// Slices of the files.
    pub data: usize,
    /// Recovery slices.
    pub recovery: usize,
}

/// The location of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which of the files.
    pub file: usize,
    /// Offset in it.
    pub at: u64,
    /// Bytes of it; the rest of the slice is zero.
    pub length: u64,
}

impl Geometry {
    /// Divides files of these lengths, with recovery data for `percent` of them, into as many slices as allowed, so
    /// that each is as small as possible.
    ///
    /// # Errors
    /// [`Code::Usage`] for a percentage outside 1 to 100, or files that cannot be protected.
    pub fn new(lengths: &[u64], percent: u8) -> Result<Geometry> {
        let usage = |what: &str| Error::new(Code::Usage, format!("recovery data cannot be created: {what}"));
        if !(1..=100).contains(&percent) {
            return Err(usage("the share must be 1% to 100%"));
        }
        if lengths.len() > FILES {
            return Err(usage("there are more than 256 volumes"));
        }
        if lengths.is_empty() || lengths.iter().any(|l| *l == 0 || *l > LENGTH) {
            return Err(usage("there is no content"));
        }
        let recovery = |data: usize| (data * usize::from(percent)).div_ceil(100);
        let most = (1..SLICES).rev().find(|k| k + recovery(*k).next_power_of_two() <= SLICES).unwrap_or(1);
        let total: u64 = lengths.iter().sum();
        let mut slice = total.div_ceil(most as u64).next_multiple_of(GRAIN);
        loop {
            let data: u64 = lengths.iter().map(|l| l.div_ceil(slice)).sum();
            match usize::try_from(data) {
                Ok(data) if data <= most => return Ok(Geometry { slice, data, recovery: recovery(data) }),
                _ => slice += (slice / 512).next_multiple_of(GRAIN).max(GRAIN),
            }
        }
    }
}

impl Table {
    /// Parses and checks a table.
    pub fn parse(bytes: &[u8]) -> Result<Table, String> {
        const KNOWN: &[&str] = &[
            "format",
            "index",
            "signature",
            "volumes",
            "removals",
            "carriage",
            "sliceSize",
            "files",
            "slices",
            "recovery",
            "digest",
            "size",
        ];
        if bytes.len() as u64 > TABLE {
            return Err(format!("its table is over the limit of {TABLE} bytes"));
        }
        json::check(bytes, KNOWN).map_err(|e: Invalid| e.to_string())?;
        let table: Table = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        table.check().map_err(str::to_owned)?;
        Ok(table)
    }

    /// The table as bytes: JSON, two spaces, LF.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(Code::Internal, "cannot write the table of recovery data").source(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The division of the files.
    pub fn geometry(&self) -> Geometry {
        Geometry { slice: self.slice_size, data: self.slices.len(), recovery: self.recovery.len() }
    }

    /// The location of each slice, in order.
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.files, self.slice_size)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.format != FORMAT {
            return Err("it has a format that this version does not know");
        }
        let longest = self.files.iter().copied().max().unwrap_or(0).min(LENGTH).next_multiple_of(GRAIN);
        if self.slice_size < GRAIN || !self.slice_size.is_multiple_of(GRAIN) || self.slice_size > longest.max(GRAIN) {
            return Err("its slices have a size that is not allowed");
        }
        if self.files.is_empty() || self.files.len() > FILES || self.files.iter().any(|l| *l == 0 || *l > LENGTH) {
            return Err("its files have a number or length that is not allowed");
        }
        let data: u64 = self.files.iter().map(|l| l.div_ceil(self.slice_size)).sum();
        if data != self.slices.len() as u64 {
            return Err("it does not have one digest for each slice");
        }
        let (data, recovery) = (self.slices.len(), self.recovery.len());
        if recovery == 0 || recovery > data || data + recovery.next_power_of_two() > SLICES {
            return Err("it has a number of slices that is not allowed");
        }
        if self.index.size > INDEX || self.signature.as_ref().is_some_and(|s| s.size > SIGNATURE) {
            return Err("its index or signature is over the limit");
        }
        if !self.volumes.is_empty() && self.volumes.len() != self.files.len() {
            return Err("it does not describe each volume");
        }
        if self.removals.len() > 2 * limits::REMOVALS
            || !self.removals.len().is_multiple_of(2)
            || self.removals.iter().any(|one| one.size > limits::REMOVAL)
        {
            return Err("its statements about removals are over a limit");
        }
        if self.carriage.len() > 2 || self.carriage.iter().any(|one| one.size > limits::CARRIAGE) {
            return Err("its carriage is over a limit");
        }
        let documents =
            self.volumes.iter().chain(&self.removals).chain(&self.carriage).map(|one| one.size.min(DOCUMENTS));
        let documents = self.index.size + documents.sum::<u64>();
        if self.volumes.iter().any(|v| v.size > VOLUME) || documents > DOCUMENTS {
            return Err("its descriptions of volumes are over the limit");
        }
        Ok(())
    }
}

pub(super) fn spans(files: &[u64], slice: u64) -> Vec<Span> {
    let mut out = Vec::new();
    for (file, length) in files.iter().enumerate() {
        let mut at = 0;
        while at < *length {
            out.push(Span { file, at, length: slice.min(length - at) });
            at += slice;
        }
    }
    out
}
