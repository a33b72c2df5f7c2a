//! `split`: turns a bundle in one file into volumes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::read_back::ReadBack;
use crate::ops::repack::{self, Original};
use crate::ops::volumes::{self, Written};
use crate::ops::{Observer, observer, room};

/// Options of `split`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The output folder; `None`: beside the bundle.
    pub folder: Option<PathBuf>,
    /// The maximum size of a volume in bytes.
    pub size: u64,
    /// The volumes to write; empty: all.
    pub only: BTreeSet<u32>,
    /// Replace existing files.
    pub force: bool,
    /// Only report what would be written.
    pub dry_run: bool,
    /// Threads.
    pub jobs: usize,
    /// Re-read everything from the medium before a file gets its final name.
    pub read_back: bool,
}

/// The result: what was written, or would be.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `mirror-bundle/split/v1`.
    pub schema: &'static str,
    /// Path of the bundle at its destination; its volumes have their numbers in their names.
    pub bundle: String,
    /// Digest of the index.
    pub index: Digest,
    /// The bundle's name.
    pub name: String,
    /// Its position in the series, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Number of blobs whose digests matched, or would be checked.
    pub blobs: usize,
    /// Size of everything written, in bytes.
    pub bytes: u64,
    /// The written volumes; empty if the bundle fits in one.
    pub volumes: Vec<Written>,
    /// What was re-read from the medium, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Free space at the destination, in bytes.
    pub free: u64,
    /// Whether nothing was written because only the plan was requested.
    pub dry_run: bool,
    /// Whether nothing was written because the bundle already fits in one volume.
    pub unchanged: bool,
}

/// Writes the volumes of a bundle. Checks every blob's digest on the way, but evaluates no signature.
///
/// # Errors
/// A failure before the first byte leaves nothing behind; later failures keep what was written, and the same call
/// resumes.
pub fn split(bundle: &Path, options: &Options, observer: &dyn Observer) -> Result<Summary> {
    let name = bundle.file_name().filter(|_| !bundle.is_dir()).ok_or_else(|| {
        Error::new(Code::Usage, format!("`{}` is not a bundle in one file", bundle.display()))
            .hint("put volumes together first: mirror-bundle join BUNDLE DIR")
    })?;
    if let Some(folder) = options.folder.as_deref().filter(|folder| !folder.is_dir()) {
        crate::sink::files::nearest(&folder.join("volume"))?;
    }
    let original = Original::open(Inputs::of(&[bundle.to_owned()])?, None)?;
    original.complete()?;
    let target = options.folder.as_deref().map_or_else(|| bundle.to_owned(), |folder| folder.join(name));
    let plan = volumes::divided(original.plan()?, options.size, &options.only, &original.documents())?;
    let volumes = volumes::list(&plan, &target);
    let unchanged = volumes.is_empty() && same(bundle, &target);
    let mut summary = Summary {
        schema: "mirror-bundle/split/v1",
        bundle: target.display().to_string(),
        index: plan.digest(),
        name: plan.index.name.clone(),
        sequence: plan.index.sequence,
        blobs: plan.blobs().len(),
        bytes: plan.bytes(),
        free: room::free(&target)?,
        dry_run: options.dry_run,
        read_back: None,
        unchanged,
        volumes,
    };
    let of = summary.volumes.first().map_or(1, |v| v.of);
    let count = if options.only.is_empty() { of as usize } else { summary.volumes.len().max(1) };
    let (what, size, free) =
        (observer::count(count, "volume"), observer::size(summary.bytes), observer::size(summary.free));
    observer.say("Dividing", &format!("into {of}: {what} to write, {size} ({free} free)"));
    if options.dry_run || unchanged {
        return Ok(summary);
    }
    if let Some(folder) = &options.folder {
        crate::fs::Dir::create(folder, Code::Conflict)?;
    }
    let (force, jobs) = (options.force, options.jobs);
    summary.read_back =
        repack::write(&target, &plan, (&original, &|| Ok(())), force, jobs, options.read_back, observer)?;
    Ok(summary)
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
