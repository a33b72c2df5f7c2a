//! How a bundle is divided: what stays together, what is on every volume, and the resulting sizes.
//!
//! `create` and `split` both use this module, so that they divide a bundle in the same way.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Serialize;

use crate::bundle::index::{Index, Kind};
use crate::bundle::writer::Plan;
use crate::bundle::{Room, divide};
use crate::error::{Code, Error, Result};
use crate::graph::Closure;
use crate::oci::{self, Descriptor, Digest, Document};
use crate::openshift::payload;

/// This many bytes of a release image's layers, from the top, are on every volume: they contain its payload.
const PAYLOAD: u64 = 8 << 20;
/// All such layers together take at most this fraction of a volume.
const SHARE: u64 = 8;

/// A volume that was written, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// Number of the volume, from 1.
    pub volume: u32,
    /// The total number of volumes.
    pub of: u32,
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Reads a document of the bundle; `None` when it is not available.
pub(crate) type Documents<'a> = &'a dyn Fn(&Digest) -> Result<Option<Vec<u8>>>;

/// Divides the plan of a whole bundle into volumes of at most `size` bytes, unless it fits in one. `chosen`: the
/// volumes to write; empty: all.
///
/// # Errors
/// [`Code::Usage`] when the size is too small, or a chosen volume does not exist.
pub(crate) fn divided(plan: Plan, size: u64, chosen: &BTreeSet<u32>, documents: Documents<'_>) -> Result<Plan> {
    let there = |count: usize| match chosen.iter().find(|n| **n == 0 || **n as usize > count) {
        Some(n) => Err(Error::new(Code::Usage, format!("there is no volume {n} of {count}"))
            .state("nothing was written")
            .hint("volumes are counted from 1; --dry-run shows them")),
        None => Ok(()),
    };
    if plan.bytes() <= size {
        there(1)?;
        return Ok(plan);
    }
    let mut arrangement = Arrangement::of(&plan.index, size, documents)?;
    arrangement.everywhere.extend(plan.removed().blobs.iter().copied().chain(plan.absent()));
    let room = Room {
        volume: size,
        tail: plan.tail().len() as u64,
        order: &arrangement.order,
        everywhere: &arrangement.everywhere,
        form: plan.form(),
    };
    let volumes = divide(&plan.index, &plan.index_bytes, plan.signature.as_deref(), &room)?;
    there(volumes.len())?;
    plan.divided(volumes, |n| chosen.is_empty() || chosen.contains(&n))
}

/// The volumes of a plan, for a bundle with the path `bundle`; empty for a whole bundle.
pub(crate) fn list(plan: &Plan, bundle: &Path) -> Vec<Written> {
    let volume = |a: &crate::bundle::writer::Archive| {
        let v = a.volume.as_ref()?;
        let path = plan.path(bundle, a).display().to_string();
        Some(Written { volume: v.volume, of: v.of, path, bytes: plan.bytes_of(a) })
    };
    plan.archives().iter().filter_map(volume).collect()
}

/// What stays together, and what is on every volume.
#[derive(Default)]
struct Arrangement {
    order: Vec<usize>,
    everywhere: BTreeSet<usize>,
}

impl Arrangement {
    /// Images in the order of the index: releases first, then their components, then the others. The payload of a
    /// release is readable on every volume.
    fn of(index: &Index, size: u64, documents: Documents<'_>) -> Result<Arrangement> {
        let positions = index.blobs.iter().enumerate().map(|(at, b)| (b.digest, at)).collect();
        let seen = vec![false; index.blobs.len()];
        let mut walk = Walk { positions, documents, closure: Closure::default(), seen, out: Arrangement::default() };
        let mut shared = 0;
        for image in &index.images {
            walk.image(&image.descriptor())?;
            if image.kind == Kind::Release {
                for at in walk.payload(&image.digest, &image.media_type, index)? {
                    let more = index.blobs[at].size;
                    if shared + more <= size / SHARE && walk.out.everywhere.insert(at) {
                        shared += more;
                    }
                }
            }
        }
        Ok(walk.out)
    }
}

struct Walk<'a> {
    positions: HashMap<Digest, usize>,
    documents: Documents<'a>,
    closure: Closure,
    seen: Vec<bool>,
    out: Arrangement,
}

impl Walk<'_> {
    /// Appends an image and everything below it to the order of the documents.
    fn image(&mut self, root: &Descriptor) -> Result<()> {
        let (positions, documents) = (&self.positions, self.documents);
        let mut read = |digest: &Digest| if positions.contains_key(digest) { documents(digest) } else { Ok(None) };
        let root = self.closure.add(root, &mut read)?;
        let (seen, order) = (&mut self.seen, &mut self.out.order);
        self.closure.visit(root, &mut |_, node| match positions.get(&node.digest) {
            Some(&at) if !std::mem::replace(&mut seen[at], true) => {
                order.push(at);
                true
            }
            _ => false,
        });
        Ok(())
    }

    /// The blobs needed to read a release's payload: the configuration, and layers from the top.
    fn payload(&self, digest: &Digest, media_type: &str, index: &Index) -> Result<Vec<usize>> {
        let manifest = match self.document(digest, media_type)? {
            Some(Document::Index(list)) => match payload::of_list(&list) {
                Some(child) => self.document(&child.digest, &child.media_type)?,
                None => None,
            },
            other => other,
        };
        let Some(Document::Manifest(manifest)) = manifest else { return Ok(Vec::new()) };
        let at = |what: &Descriptor| self.positions.get(&what.digest).copied();
        let mut out: Vec<usize> = at(&manifest.config).into_iter().collect();
        let mut left = PAYLOAD;
        for layer in manifest.layers.iter().rev().map_while(at) {
            match left.checked_sub(index.blobs[layer].size) {
                Some(less) => left = less,
                None => break,
            }
            out.push(layer);
        }
        Ok(out)
    }

    /// The document, if it parses as its declared media type. Dividing a bundle does not require valid documents.
    fn document(&self, digest: &Digest, media_type: &str) -> Result<Option<Document>> {
        let is_document = oci::media_type::is_index(media_type) || oci::media_type::is_manifest(media_type);
        if !is_document || !self.positions.contains_key(digest) {
            return Ok(None);
        }
        Ok((self.documents)(digest)?.and_then(|bytes| oci::parse(&bytes, media_type).ok()))
    }
}
