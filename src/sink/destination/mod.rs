//! Places for the images of a bundle, the counterpart of [`crate::source::Source`]: a registry, the `v2/` tree of
//! `oc`, an OCI layout; and folders of files.
//!
//! Blobs are taken in while they are verified. Everything by which content is found (manifests, tags, files) is written
//! for a [`Verified`] bundle only.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::bundle::index::{Blob, Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::verify::{BlobReader, Receiver, Verified, Visit};

mod directory;
mod folder;
#[cfg(feature = "registry")]
mod lists;
#[cfg(feature = "registry")]
mod registry;

pub use directory::{Layout, RELEASE, Tree};
pub use folder::FileFolder;
#[cfg(feature = "registry")]
pub use registry::{Registry, Ways};

/// A place for images.
pub trait Destination: Sync {
    /// What this is and where, for messages.
    fn describe(&self) -> String;
    /// How content gets there.
    fn task(&self) -> Way;
    /// Whether all is well for writing: reachable, room enough, nothing in the way. Writes nothing.
    fn check(&self, index: &Index) -> Result<()>;
    /// Where it has, or will have, each image.
    fn placed<'i>(&'i self, _: &'i Index) -> Vec<Placed<'i>> {
        Vec::new()
    }
    /// The blobs (not the documents) that it has already wherever they are needed, as far as can be told without reading
    /// them. Writes nothing.
    fn there(&self, _: &Index) -> Result<BTreeSet<Digest>> {
        Ok(BTreeSet::new())
    }
    /// Makes what the content will be written into.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Whether it has a blob wherever that is needed. A blob that it needs nowhere it does not have.
    fn has(&self, blob: &Blob) -> Result<bool>;
    /// The content of a blob that it has, not checked. `None`: it cannot be read back.
    fn content(&self, _: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        Ok(None)
    }
    /// Takes a blob in, if it lacks it.
    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit>;
    /// Writes manifests, children first, then tags; of a folder of files, these. Not before each blob that is needed was
    /// asked for with [`Destination::has`] or handed over with [`Destination::blob`]: no other's word counts for that.
    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts>;
}

/// An image at a destination.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// The image.
    pub image: &'a Image,
    /// The repository: at a registry its name, in a mirror directory `file://PATH`, of a layout `oci:DIR`.
    pub repository: String,
    /// Its tag; in a layout its name.
    pub tag: Option<String>,
}

impl Placed<'_> {
    /// The whole reference.
    pub fn target(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.image.digest),
        }
    }

    /// Whether that is at a registry.
    pub fn at_registry(&self) -> bool {
        !self.repository.starts_with("file://") && !self.is_layout()
    }

    /// Whether that is in an OCI layout.
    pub fn is_layout(&self) -> bool {
        self.repository.starts_with("oci:")
    }
}

/// The configurations and layers that a destination has itself seen to be there, wherever they are needed. A verdict can
/// rest on the word of another [`Receiver`]: no image is written on that (MB-VER-16).
#[derive(Debug, Default)]
struct Present(Mutex<BTreeSet<Digest>>);

impl Present {
    fn note(&self, blob: &Blob) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
    }

    /// An error when a blob that is needed was not seen here, or an image is none of the bundle.
    fn complete<'i>(
        &self,
        verified: &Verified<'_>,
        needs: impl Fn(&Digest) -> bool,
        mut images: impl Iterator<Item = &'i Digest>,
        at: &dyn Destination,
    ) -> Result<()> {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blobs = verified.index().blobs.iter().filter(|b| !b.role.is_document() && needs(&b.digest));
        let missing = blobs.find(|blob| !present.contains(&blob.digest)).map(|blob| blob.digest);
        let foreign = || images.find(|digest| verified.document(digest).is_none()).copied();
        match missing.or_else(foreign) {
            None => Ok(()),
            Some(digest) => {
                let text = format!("blob `{digest}` was not handed to `{}`; no image was written there", at.describe());
                Err(Error::new(Code::Internal, text))
            }
        }
    }
}

/// How content gets to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over a network.
    Push,
    /// Into local files.
    Write,
}

/// What was new at a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Manifests, indexes and files.
    pub documents: u64,
    /// Tags and entries.
    pub tags: u64,
    /// What is attached to images and was refused. The images themselves are there.
    pub refused: Vec<Refused>,
}

/// Something attached to an image that a registry refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// Which.
    pub digest: Digest,
    /// What it is.
    pub kind: Kind,
    /// The image that it is attached to.
    pub subject: Option<Digest>,
    /// Where it was to go.
    pub repository: String,
    /// The registry's answer.
    pub why: String,
}

/// The content of a blob: opened as often as a destination needs, from the offset that it asks for. The read that would
/// end content that is not right fails.
pub trait Content {
    /// Reads from `offset` on.
    fn open<'c>(&'c self, offset: u64) -> Result<Box<dyn Read + 'c>>;
}

/// Sees what a destination does. Called from several threads.
pub trait Watch: Sync {
    /// An error when somebody asked to stop.
    fn check(&self) -> Result<()>;
    /// A warning.
    fn warn(&self, text: &str);
    /// Bytes done.
    fn advance(&self, bytes: u64);
    /// An item done.
    fn item(&self);
}

/// Hands what is verified to several destinations at once.
pub struct Delivery<'a> {
    destinations: &'a [Box<dyn Destination + 'a>],
    watch: &'a dyn Watch,
    sent: AtomicU64,
    new: AtomicU64,
}

impl<'a> Delivery<'a> {
    /// To these. Without any, everything is read all the same: there is nobody who could say that it is there already.
    pub fn new(destinations: &'a [Box<dyn Destination + 'a>], watch: &'a dyn Watch) -> Delivery<'a> {
        Delivery { destinations, watch, sent: AtomicU64::new(0), new: AtomicU64::new(0) }
    }

    /// Blobs that were sent or written so far, and their bytes.
    pub fn sent(&self) -> (u64, u64) {
        (self.new.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

impl Receiver for Delivery<'_> {
    fn has(&self, blob: &Blob) -> Result<bool> {
        self.watch.check()?;
        for destination in self.destinations {
            if !destination.has(blob)? {
                return Ok(false);
            }
        }
        Ok(!self.destinations.is_empty())
    }

    fn content(&self, blob: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        for destination in self.destinations {
            if let Some(content) = destination.content(blob)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn receive(&self, blob: &Blob, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<Visit> {
        if self.destinations.is_empty() {
            loop {
                self.watch.check()?;
                match reader.next(buffer)? {
                    0 => break,
                    n => self.watch.advance(n as u64),
                }
            }
            self.watch.item();
            return Ok(Visit::Read);
        }
        let content = Verifying { reader: RefCell::new(reader), buffer: RefCell::new(buffer), delivery: self };
        let mut visit = Visit::LeftOut;
        for destination in self.destinations {
            self.watch.check()?;
            match destination.blob(blob, &content)? {
                Visit::Read => visit = Visit::Read,
                Visit::LeftOut => self.watch.advance(blob.size),
            }
        }
        self.new.fetch_add(u64::from(visit == Visit::Read), Ordering::Relaxed);
        self.watch.item();
        Ok(visit)
    }
}

/// The content of a blob while it is verified.
struct Verifying<'a, 'b> {
    reader: RefCell<&'a mut BlobReader<'b>>,
    buffer: RefCell<&'a mut [u8]>,
    delivery: &'a Delivery<'a>,
}

impl Content for Verifying<'_, '_> {
    fn open<'c>(&'c self, offset: u64) -> Result<Box<dyn Read + 'c>> {
        self.reader.borrow_mut().reopen(offset, &mut self.buffer.borrow_mut())?;
        Ok(Box::new(Counted(self)))
    }
}

struct Counted<'c, 'a, 'b>(&'c Verifying<'a, 'b>);

impl Read for Counted<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let delivery = self.0.delivery;
        delivery.watch.check()?;
        let n = self.0.reader.borrow_mut().read(buffer)?;
        delivery.watch.advance(n as u64);
        delivery.sent.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
