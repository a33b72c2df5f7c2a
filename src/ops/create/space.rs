//! Whether there is room for a bundle, asked before its first byte; and what to say when it runs out all the same.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use crate::bundle::writer::partial_path;
use crate::error::{Code, Error, Result};
use crate::ops::observer::size;
use crate::sink::space;

/// Bytes that may still be written beside `bundle`.
pub(super) fn free(bundle: &Path) -> Result<u64> {
    space::of(bundle).map(|space| space.free)
}

/// Whether a bundle of `need` bytes can be at this path. An older bundle of that name stays until the new one is
/// whole, so its room does not count; what an interrupted run left does: it is continued or replaced.
pub(super) fn enough(bundle: &Path, need: u64) -> Result<()> {
    let space = space::of(bundle)?;
    if let Some(most) = space.max_file.filter(|most| *most < need) {
        return Err(Error::new(
            Code::Io,
            format!(
                "`{}` would have {need} bytes; a file of its file system ({}) has at most {most}",
                bundle.display(),
                space.kind
            ),
        )
        .state("nothing was written")
        .hint("write it in volumes: --media fat32, or use a medium with another file system"));
    }
    // Blocks, not length: a file system that cannot reserve room has a partial file of holes.
    let there = partial_path(bundle).symlink_metadata().map_or(0, |m| m.blocks().saturating_mul(512));
    if need <= space.free.saturating_add(there) {
        return Ok(());
    }
    let needed = size(need.saturating_sub(there));
    let text = format!("not enough room for `{}`: {needed} needed, {} free", bundle.display(), size(space.free));
    Err(Error::new(Code::Io, text).state("nothing was written").hint("make room, or carry less"))
}

/// Adds to the error of a disk that is full how much is needed and how much there is.
pub(super) fn told(e: Error, bundle: &Path, need: u64) -> Error {
    let cause = std::error::Error::source(&e).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let full = cause.and_then(Errno::from_io_error).is_some_and(|e| matches!(e, Errno::NOSPC | Errno::DQUOT));
    match space::of(bundle) {
        Ok(space) if full => {
            let there = partial_path(bundle).symlink_metadata().map_or(0, |m| m.blocks().saturating_mul(512));
            let missing = size(need.saturating_sub(there));
            e.fact(format!("{missing} needed in addition to what is there, {} free", size(space.free)))
        }
        _ => e,
    }
}
