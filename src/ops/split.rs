//! `split`: a bundle in one file becomes volumes.

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

/// How to split.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its volumes go; `None`: beside it.
    pub folder: Option<PathBuf>,
    /// The most bytes of a volume.
    pub size: u64,
    /// The volumes to write; empty: all.
    pub only: BTreeSet<u32>,
    /// Replace what is there.
    pub force: bool,
    /// Only say what would be written.
    pub dry_run: bool,
    /// Threads.
    pub jobs: usize,
    /// Read everything back from the medium before it gets its name.
    pub read_back: bool,
}

/// What was written, or would be.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `mirror-bundle/split/v1`.
    pub schema: &'static str,
    /// What the bundle is called at its new place; its volumes have their numbers in their names.
    pub bundle: String,
    /// Digest of the index.
    pub index: Digest,
    /// What the bundle is called.
    pub name: String,
    /// Its number in the series of that name, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Blobs whose digests were right, or would be checked.
    pub blobs: usize,
    /// Size of all that was written, in bytes.
    pub bytes: u64,
    /// The volumes that were written; none when the bundle fits one.
    pub volumes: Vec<Written>,
    /// What was read back from the medium, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Room where they go, in bytes.
    pub free: u64,
    /// Whether nothing was written because only the plan was wanted.
    pub dry_run: bool,
    /// Whether nothing was written because the bundle, where it is, fits one volume.
    pub unchanged: bool,
}

/// Writes volumes of a bundle. Every blob's digest is checked on the way; no signature is judged.
///
/// # Errors
/// What fails before the first byte leaves nothing behind; later failures keep what was written, and the same call
/// continues.
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
    summary.read_back = repack::write(&target, &plan, &original, force, jobs, options.read_back, observer)?;
    Ok(summary)
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
