//! The result of a good verdict: the only value that opens a destination.

use std::io::Read;

use super::{Admitted, BlobReader, Report};
use crate::bundle::index::{Blob, Index};
use crate::bundle::removal::Removed;
use crate::error::Result;
use crate::oci::Digest;

/// A bundle whose verdict is complete and good: there was no error, and every byte was read and matched, except blobs
/// that a [`Receiver`] already has.
///
/// Only [`Admitted::conclude`] creates one. Destinations write manifests, tags and files only with it.
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

    /// What was removed from the bundle, and is not part of [`Verified::index`].
    pub fn removed(&self) -> &Removed {
        self.0.set().removed()
    }

    /// The report with the verdict.
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

impl Verified<'_> {
    /// Opens a blob again; it is checked again as it is read.
    pub(crate) fn open(&self, digest: &Digest) -> Result<crate::bundle::set::BlobContent<'_>> {
        self.0.open(digest)
    }

    /// A member of the bundle other than a blob.
    pub(crate) fn member(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.0.member(path)
    }
}

/// The result of a verification.
#[derive(Debug)]
pub enum Conclusion<'a> {
    /// Complete and good.
    Verified(Box<Verified<'a>>),
    /// A problem was found, or not everything was checked.
    Unverified(Box<Report>),
}

impl Conclusion<'_> {
    /// The report.
    pub fn report(&self) -> &Report {
        match self {
            Conclusion::Verified(verified) => verified.report(),
            Conclusion::Unverified(report) => report,
        }
    }

    /// Only the report.
    pub fn into_report(self) -> Report {
        match self {
            Conclusion::Verified(verified) => verified.0.report,
            Conclusion::Unverified(report) => *report,
        }
    }
}

/// Receives configurations and layers while they are verified. Safe to use from several threads for different blobs.
///
/// It must leave nothing under a final name before the last read, which fails for content that does not match.
pub trait Receiver: Sync {
    /// Whether it already has a blob that is on no available volume, in every place that needs it. Only a destination
    /// can answer.
    fn has(&self, blob: &Blob) -> Result<bool>;

    /// The content of a blob that it already has, if that must be searched. `None`: it cannot be read, and counts as
    /// missing.
    fn content(&self, _: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        Ok(None)
    }

    /// Takes a blob, or answers that it already exists. Content that it leaves unread is read and checked afterwards.
    fn receive(&self, blob: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit>;
}

/// What a receiver did with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It read the blob, or part of it.
    Read,
    /// It did not need the blob: a destination has it, in every place that needs it.
    LeftOut,
}
