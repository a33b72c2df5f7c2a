//! What is handed out for a good verdict: the only thing that opens a destination.

use std::io::Read;

use super::{Admitted, BlobReader, Report};
use crate::bundle::index::{Blob, Index};
use crate::error::Result;
use crate::oci::Digest;

/// A bundle whose verdict is complete and good: no error was found, and every byte of it was read and right, except
/// blobs that a [`Receiver`] said it has.
///
/// Only [`Admitted::conclude`] makes one. Destinations write manifests, tags and files for nothing else.
#[derive(Debug)]
pub struct Verified<'a>(Admitted<'a>);

impl<'a> Verified<'a> {
    /// `admitted` must have the report of a complete verdict.
    pub(super) fn new(admitted: Admitted<'a>) -> Verified<'a> {
        Verified(admitted)
    }

    /// The index.
    pub fn index(&self) -> &Index {
        self.0.index()
    }

    /// The report that says so.
    pub fn report(&self) -> &Report {
        self.0.report()
    }

    /// A manifest or index of the bundle.
    pub fn document(&self, digest: &Digest) -> Option<&[u8]> {
        self.0.document(digest)
    }

    /// The files below a folder of the bundle: path and content.
    pub fn files(&self, folder: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.files(folder)
    }
}

/// How a verification ended.
#[derive(Debug)]
pub enum Conclusion<'a> {
    /// Complete and good.
    Verified(Box<Verified<'a>>),
    /// Something bad was found, or not everything was checked.
    Unverified(Box<Report>),
}

impl Conclusion<'_> {
    /// What was found.
    pub fn report(&self) -> &Report {
        match self {
            Conclusion::Verified(verified) => verified.report(),
            Conclusion::Unverified(report) => report,
        }
    }

    /// Only what was found.
    pub fn into_report(self) -> Report {
        match self {
            Conclusion::Verified(verified) => verified.0.report,
            Conclusion::Unverified(report) => *report,
        }
    }
}

/// Takes configurations and layers while they are verified. Safe to use from several threads for different blobs.
///
/// What it does with a blob must leave nothing under a final name before the last read, which fails for content that
/// is not right.
pub trait Receiver: Sync {
    /// Whether it has a blob that is on no volume at hand, in every place that needs it. Only a destination can say so.
    fn has(&self, blob: &Blob) -> Result<bool>;

    /// The content of a blob that it has, for what has to be looked at. `None`: it cannot be read, and is missing.
    fn content(&self, _: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        Ok(None)
    }

    /// Takes a blob in, or says that it is there already. What it leaves unread is read and checked after it.
    fn receive(&self, blob: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit>;
}

/// What a receiver did with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Read it, or some of it.
    Read,
    /// Did not need it: a destination has it, in every place that needs it.
    LeftOut,
}
