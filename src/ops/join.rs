//! `join`: puts the volumes of a bundle back together into one file.

use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::{Bundle, Inputs};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::read_back::ReadBack;
use crate::ops::repack::{self, Original};
use crate::ops::{Observer, observer};

/// The output of a join, and its options.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bundle to write.
    pub bundle: PathBuf,
    /// Replace an existing file.
    pub force: bool,
    /// Threads.
    pub jobs: usize,
    /// Re-read everything from the medium before the bundle gets its final name.
    pub read_back: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `mirror-bundle/join/v1`.
    pub schema: &'static str,
    /// The bundle.
    pub bundle: String,
    /// Digest of the index.
    pub index: Digest,
    /// The bundle's name.
    pub name: String,
    /// Its position in the series, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Number of blobs; all digests matched.
    pub blobs: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// What was re-read from the medium, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
}

/// Writes a bundle from its volumes, or from folders of them, in any order: the bytes from before the split, and
/// everything appended to the volumes since. Checks every blob's digest on the way, but evaluates no signature.
///
/// # Errors
/// [`Code::Truncated`] before the first byte, naming the missing volumes and the images that need them; later failures
/// keep what was written, and the same call resumes.
pub fn join(volumes: &[PathBuf], options: &Options, observer: &dyn Observer) -> Result<Summary> {
    let bundle = &options.bundle;
    if Bundle::open(bundle).is_ok_and(|there| there.head().volume.is_some()) {
        return Err(Error::new(Code::Usage, format!("`{}` is a volume, not the bundle to write", bundle.display()))
            .state("nothing was written")
            .hint("the bundle comes first: mirror-bundle join NEW.tar VOLUME..."));
    }
    let original = Original::open(Inputs::of(volumes)?, Some(bundle))?;
    original.mention_doubled(observer);
    original.complete()?;
    let plan = original.plan()?;
    let blobs = plan.blobs().len();
    observer.say("Joining", &format!("{}, {}", observer::count(blobs, "blob"), observer::size(plan.bytes())));
    let (force, jobs) = (options.force, options.jobs);
    let read_back = repack::write(bundle, &plan, (&original, &|| Ok(())), force, jobs, options.read_back, observer)?;
    Ok(Summary {
        schema: "mirror-bundle/join/v1",
        bundle: bundle.display().to_string(),
        index: plan.digest(),
        name: plan.index.name.clone(),
        sequence: plan.index.sequence,
        blobs,
        bytes: plan.bytes(),
        read_back,
    })
}
