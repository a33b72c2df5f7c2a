//! Destinations for the images of a bundle, the counterpart of [`crate::source::Source`]: a registry, the `v2/` tree of
//! `oc`, an OCI layout; and folders of files.
//!
//! Blobs are accepted while they are verified. Everything that makes content reachable (manifests, tags, files) is
//! written for a [`Verified`] bundle only.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bundle::Remote;
use crate::bundle::index::{Blob, Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::sink::placement::Documents;
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

/// A destination for images.
pub trait Destination: Sync {
    /// A description with the location, for messages.
    fn describe(&self) -> String;
    /// How content is transferred there.
    fn task(&self) -> Way;
    /// Checks that the destination is ready: reachable, enough space, no conflicts. Writes nothing.
    fn check(&self, index: &Index) -> Result<()>;
    /// The current or future location of each image.
    fn placed<'i>(&'i self, _: &'i Index) -> Vec<Placed<'i>> {
        Vec::new()
    }
    /// The blobs (not the documents) that exist wherever they are needed, as far as can be found without reading them.
    /// Writes nothing.
    fn there(&self, _: &Index) -> Result<BTreeSet<Digest>> {
        Ok(BTreeSet::new())
    }
    /// Creates the containers of the content, such as folders.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Whether a blob exists wherever it is needed. Returns false for a blob that is needed nowhere.
    fn has(&self, blob: &Blob) -> Result<bool>;
    /// Finds blobs that the bundle does not carry, wherever this destination can take them from. Writes nothing. A
    /// directory has none: what is there may be of any bundle, and only reading it would show that it is intact.
    fn locate(&self, _: &[Sought<'_>]) -> Result<BTreeSet<Digest>> {
        Ok(BTreeSet::new())
    }
    /// The place of the blobs that [`Destination::locate`] found, for reading them later.
    fn remote(&self, _: &[Sought<'_>]) -> Option<Arc<dyn Remote>> {
        None
    }
    /// Brings a blob that [`Destination::locate`] found to wherever it is needed.
    fn bring(&self, _: &Blob, _: &dyn Watch) -> Result<Visit> {
        Ok(Visit::LeftOut)
    }
    /// The content of an existing blob, unchecked. `None`: it cannot be read back.
    fn content(&self, _: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        Ok(None)
    }
    /// Writes a blob, unless it exists.
    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit>;
    /// Looks up, before [`Destination::images`] and beside the blobs, what does not exist yet, until `over`. It may find
    /// nothing out; then [`Destination::images`] asks.
    fn look_ahead(&self, _: &Documents<'_, '_>, _: &AtomicBool) {}
    /// Writes manifests, children first, then tags; a folder of files writes its files. Each needed blob must first
    /// have been looked up with [`Destination::has`] or written with [`Destination::blob`] on this destination: what
    /// another destination reports does not count.
    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts>;
}

/// A blob that the bundle does not carry.
#[derive(Clone, Debug)]
pub struct Sought<'a> {
    /// The blob.
    pub blob: &'a Blob,
    /// Repositories where it was.
    pub repositories: &'a [String],
}

/// What destinations have of the blobs that a bundle does not carry, before anything is written.
pub struct Located<'a> {
    destinations: &'a [Box<dyn Destination + 'a>],
    found: BTreeSet<Digest>,
}

impl<'a> Located<'a> {
    /// Asks every destination.
    ///
    /// # Errors
    /// Those of asking one of them.
    pub fn at(destinations: &'a [Box<dyn Destination + 'a>], sought: &[Sought<'_>]) -> Result<Located<'a>> {
        let mut found: BTreeSet<Digest> = sought.iter().map(|one| one.blob.digest).collect();
        for destination in destinations {
            let here = destination.locate(sought)?;
            found.retain(|digest| here.contains(digest));
        }
        Ok(Located { destinations, found })
    }

    /// What any destination has of these.
    ///
    /// # Errors
    /// Those of asking one of them.
    pub fn at_any(destinations: &[Box<dyn Destination + '_>], sought: &[Sought<'_>]) -> Result<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        if !sought.is_empty() {
            destinations.iter().try_for_each(|one| one.locate(sought).map(|here| found.extend(here)))?;
        }
        Ok(found)
    }

    /// Notes that every destination has a blob.
    pub fn add(&mut self, digest: Digest) {
        self.found.insert(digest);
    }

    /// Whether every destination has the blob, or can take it from somewhere.
    pub fn has(&self, digest: &Digest) -> bool {
        self.found.contains(digest)
    }
}

impl Receiver for Located<'_> {
    fn has(&self, blob: &Blob) -> Result<bool> {
        Ok(self.found.contains(&blob.digest))
    }

    fn content(&self, blob: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        for destination in self.destinations {
            if let Some(content) = destination.content(blob)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    fn receive(&self, _: &Blob, _: &mut BlobReader<'_>, _: &mut [u8]) -> Result<Visit> {
        Ok(Visit::LeftOut)
    }
}

/// An image at a destination.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// The image.
    pub image: &'a Image,
    /// The repository: its name at a registry, `file://PATH` in a mirror directory, `oci:DIR` for a layout.
    pub repository: String,
    /// Its tag; in a layout, its name.
    pub tag: Option<String>,
}

impl Placed<'_> {
    /// The full reference.
    pub fn target(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.image.digest),
        }
    }

    /// Whether the location is at a registry.
    pub fn at_registry(&self) -> bool {
        !self.repository.starts_with("file://") && !self.is_layout()
    }

    /// Whether the location is in an OCI layout.
    pub fn is_layout(&self) -> bool {
        self.repository.starts_with("oci:")
    }
}

/// The configurations and layers that a destination has itself found, wherever they are needed. A verdict can rely on
/// another [`Receiver`]; writing an image must not (MB-VER-16).
#[derive(Debug, Default)]
struct Present(Mutex<BTreeSet<Digest>>);

impl Present {
    fn note(&self, blob: &Blob) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
    }

    #[cfg(feature = "registry")]
    fn has(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    /// Returns an error if a needed blob was not found here, or an image is not in the bundle.
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

/// How content is transferred to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over a network.
    Push,
    /// Into local files.
    Write,
}

/// What a destination did not have before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Manifests, indexes and files.
    pub documents: u64,
    /// Tags and entries.
    pub tags: u64,
    /// Attachments of images that were refused. The images themselves were written.
    pub refused: Vec<Refused>,
}

/// An attachment of an image that a registry refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// Its digest.
    pub digest: Digest,
    /// Its kind.
    pub kind: Kind,
    /// The image it is attached to.
    pub subject: Option<Digest>,
    /// The intended location.
    pub repository: String,
    /// The registry's answer.
    pub why: String,
}

/// The content of a blob: a destination may open it several times, at any offset. For wrong content, the read that
/// would reach the end fails.
pub trait Content {
    /// Reads from `offset` on. Waits until the content may be moved: not more at once than gets more done.
    fn open<'c>(&'c self, offset: u64) -> Result<Box<dyn Read + 'c>>;
}

/// Observes a destination. Called from several threads.
pub trait Watch: Sync {
    /// Returns an error if an interruption was requested.
    fn check(&self) -> Result<()>;
    /// Reports a warning.
    fn warn(&self, text: &str);
    /// Reports transferred bytes.
    fn advance(&self, bytes: u64);
    /// Reports a finished item.
    fn item(&self);
}

/// Passes verified content to several destinations at once.
pub struct Delivery<'a> {
    destinations: &'a [Box<dyn Destination + 'a>],
    watch: &'a dyn Watch,
    sent: AtomicU64,
    new: AtomicU64,
}

impl<'a> Delivery<'a> {
    /// The destinations. If there are none, everything is read: no destination can report that it has the content.
    pub fn new(destinations: &'a [Box<dyn Destination + 'a>], watch: &'a dyn Watch) -> Delivery<'a> {
        Delivery { destinations, watch, sent: AtomicU64::new(0), new: AtomicU64::new(0) }
    }

    /// Number of blobs sent or written so far, and their bytes.
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

/// The content of a blob that is being verified.
struct Verifying<'a, 'b> {
    reader: RefCell<&'a mut BlobReader<'b>>,
    buffer: RefCell<&'a mut [u8]>,
    delivery: &'a Delivery<'a>,
}

impl Content for Verifying<'_, '_> {
    fn open<'c>(&'c self, offset: u64) -> Result<Box<dyn Read + 'c>> {
        self.reader.borrow().ready();
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
