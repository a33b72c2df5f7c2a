//! What a registry has: the look-up behind the receipt of a site (MB-SIT-02), and the receipt itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use jiff::Timestamp;

use super::{Observer, Task};
use crate::bundle::index::Index;
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, beside, dir};
use crate::graph::DEPTH;
use crate::oci::{Descriptor, Digest, Document, Repository, media_type, parse};
use crate::parallel::Pace;
use crate::registry::{Client, Wanted};
use crate::sign::SecretKey;
use crate::sink::placement::{self, Placing, below};
use crate::site::{Receipt, seconds};

/// The most blobs that an error names.
const NAMED: usize = 8;

/// An image of a bundle, and the repository where it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The repository.
    pub repository: Repository,
    /// Its manifest or index.
    pub image: Descriptor,
    /// What it is called.
    pub name: String,
}

/// Where the images of an index are in a registry that it was unpacked to with these options.
///
/// # Errors
/// As `unpack` with the same options.
pub fn places(index: &Index, to: &Repository, placing: &Placing, nested: Option<usize>) -> Result<Vec<Place>> {
    let placed = placement::placements(index, "", placing)?;
    placed
        .into_iter()
        .map(|one| {
            let repository = below(to, &one.repository)?.nested(nested);
            Ok(Place { repository, image: one.image.descriptor(), name: one.image.display() })
        })
        .collect()
}

/// A blob that a registry does not have as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The blob or manifest.
    pub digest: Digest,
    /// The repository that was asked; `None`: no image brings it anywhere there.
    pub repository: Option<Repository>,
    /// What is wrong.
    pub why: String,
    /// An image that needs it.
    pub image: Option<String>,
}

/// Looks up every blob of an index in a registry: manifests are read, and the sizes of all others compared.
/// Returns what is not there.
///
/// # Errors
/// Those of the registry. A refusal for want of a login is an error: it says nothing about the blob.
pub fn lacking(
    client: &Client,
    index: &Index,
    places: &[Place],
    pace: &Pace,
    observer: &dyn Observer,
) -> Result<Vec<Lack>> {
    let sizes: BTreeMap<Digest, u64> = index.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    let mut lacks = Vec::new();
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    // What each repository is asked for, and a place that needs it.
    let mut blobs: BTreeMap<(&Repository, Digest), &Place> = BTreeMap::new();
    let mut asked: BTreeSet<(&Repository, Digest)> = BTreeSet::new();
    let mut level: Vec<(&Place, Descriptor)> = Vec::new();
    for place in places {
        if asked.insert((&place.repository, place.image.digest)) {
            level.push((place, place.image.clone()));
        }
    }
    observer.begin(Task::LookUp, index.blobs.len() as u64, 0);
    for _ in 0..=DEPTH + 1 {
        let read = pace.map(
            &level,
            || (),
            |(), (place, at)| {
                observer.check()?;
                observer.item();
                match client.get_manifest(&place.repository, &Wanted::Digest(at.digest)) {
                    Ok(found) => Ok(found.map(|found| found.bytes).ok_or_else(|| "it is not there".to_owned())),
                    Err(e) if e.code() == Code::BlobMismatch => Ok(Err("other bytes are served for it".to_owned())),
                    Err(e) => Err(e),
                }
            },
        )?;
        let mut next = Vec::new();
        for ((place, at), bytes) in level.into_iter().zip(read) {
            seen.insert(at.digest);
            let parsed = bytes.and_then(|bytes| parse(&bytes, &at.media_type).map_err(|e| e.to_string()));
            let document = match parsed {
                Ok(document) => document,
                Err(why) => {
                    lacks.push(lack(&at.digest, place, why));
                    continue;
                }
            };
            let list = matches!(document, Document::Index(_));
            for child in document.children().filter(|child| sizes.contains_key(&child.digest)) {
                let is_document =
                    list && (media_type::is_index(&child.media_type) || media_type::is_manifest(&child.media_type));
                match is_document {
                    true if asked.insert((&place.repository, child.digest)) => next.push((place, child.clone())),
                    true => {}
                    false => _ = blobs.entry((&place.repository, child.digest)).or_insert(place),
                }
            }
        }
        level = next;
        if level.is_empty() {
            break;
        }
    }
    seen.extend(blobs.keys().map(|(_, digest)| *digest));
    let blobs: Vec<((&Repository, Digest), &Place)> = blobs.into_iter().collect();
    let found = pace.map(
        &blobs,
        || (),
        |(), ((repository, digest), _)| {
            observer.check()?;
            observer.item();
            look_up(client, repository, digest, sizes.get(digest).copied().unwrap_or_default())
        },
    )?;
    observer.end();
    for (((_, digest), place), found) in blobs.into_iter().zip(found) {
        lacks.extend(found.map(|why| lack(&digest, place, why)));
    }
    // If a manifest is not there, what it names is not known.
    let nowhere = index.blobs.iter().filter(|blob| lacks.is_empty() && !seen.contains(&blob.digest));
    let nowhere: Vec<Lack> = nowhere
        .map(|blob| Lack {
            digest: blob.digest,
            repository: None,
            why: "no image brings it there".to_owned(),
            image: None,
        })
        .collect();
    lacks.extend(nowhere);
    Ok(lacks)
}

fn lack(digest: &Digest, place: &Place, why: String) -> Lack {
    Lack { digest: *digest, repository: Some(place.repository.clone()), why, image: Some(place.name.clone()) }
}

/// What is wrong with a blob at a registry, if anything.
fn look_up(client: &Client, repository: &Repository, digest: &Digest, size: u64) -> Result<Option<String>> {
    // A HEAD may be answered by a cache that outlives the storage; the first byte may not.
    if client.has_blob(repository, digest, size)? {
        return Ok(None);
    }
    let why = match client.look_up_blob(repository, digest)? {
        None => "it is not there".to_owned(),
        Some(None) => "its size is not reported".to_owned(),
        Some(Some(there)) if there != size => format!("it has {there} bytes there, not {size}"),
        Some(Some(_)) => "it is listed there, and not served".to_owned(),
    };
    Ok(Some(why))
}

/// The error about what a registry lacks: it names each blob, up to a limit.
pub fn missing(lacks: &[Lack], registry: &Repository) -> Error {
    let n = lacks.len();
    let blobs = super::observer::count(n, "blob");
    let mut err =
        Error::new(Code::BlobMissing, format!("`{registry}` does not have everything: {blobs} not as it should be"));
    for lack in lacks.iter().take(NAMED) {
        let at = lack.repository.as_ref().map(|at| format!(" in {at}")).unwrap_or_default();
        let of = lack.image.as_ref().map(|image| format!(" (of {image})")).unwrap_or_default();
        err = err.fact(format!("{}{at}: {}{of}", lack.digest, lack.why));
    }
    if n > NAMED {
        err = err.fact(format!("and {} more", n - NAMED));
    }
    err
}

/// The receipt of a registry that has everything of an index, signed if there is a key.
///
/// # Errors
/// Those of [`Receipt::sign`].
pub fn receipt(
    index: &Index,
    digest: Digest,
    registry: &Repository,
    now: Timestamp,
    key: Option<&SecretKey>,
) -> Result<Receipt> {
    let receipt = Receipt {
        index: digest,
        sequence: index.sequence,
        created: seconds(now),
        registry: registry.clone(),
        signature: None,
    };
    match key {
        Some(key) => receipt.sign(key),
        None => Ok(receipt),
    }
}

/// Checks that a receipt or an inventory can be written here, before anything is done.
///
/// # Errors
/// [`Code::Conflict`] when it exists, [`Code::Io`] when it cannot be written.
pub fn ready(path: &Path, force: bool) -> Result<()> {
    if !force && dir::exists(path) {
        return Err(taken(path).state("nothing was done"));
    }
    AtomicFile::begin(&beside(path, ".partial")).map(drop).map_err(|e| match e.kind() {
        ErrorKind::WouldBlock => {
            Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display()))
        }
        _ => Error::io("cannot write", path, e).state("nothing was done"),
    })
}

/// Writes it whole, or not at all.
///
/// # Errors
/// As [`ready`].
pub fn write(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    let new = AtomicFile::begin(&beside(path, ".partial"));
    new.and_then(|new| new.commit(bytes, path, force)).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => taken(path),
        _ => Error::io("cannot write", path, e),
    })
}

fn taken(path: &Path) -> Error {
    Error::new(Code::Conflict, format!("`{}` already exists", path.display())).hint("choose another name")
}
