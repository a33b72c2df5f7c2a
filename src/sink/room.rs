//! Checks that the output fits the file system, before anything is written.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::fs::space::{self, Space};
use crate::report::size;

/// Checks that `need` bytes fit the (future) file system of `path`, and that it can hold the largest file.
///
/// # Errors
/// [`Code::Io`] with the required and the available space; `hint` says what to do about it.
pub(crate) fn enough(path: &Path, need: u64, longest: u64, hint: &str) -> Result<()> {
    let space = space::of(path)?;
    long_enough(&space, path, longest)?;
    large_enough(&space, path, need, hint)
}

/// Checks that a file of `longest` bytes can be created there.
pub(crate) fn long_enough(space: &Space, path: &Path, longest: u64) -> Result<()> {
    let Some(most) = space.max_file.filter(|most| longest > *most) else { return Ok(()) };
    let text =
        format!("a file of {longest} bytes is too long for the file system of `{}` ({})", path.display(), space.kind);
    Err(Error::new(Code::Io, text)
        .fact(format!("at most {most} bytes"))
        .state("nothing was written")
        .hint("choose a place with another file system"))
}

/// Checks that `need` bytes are free there.
pub(crate) fn large_enough(space: &Space, path: &Path, need: u64, hint: &str) -> Result<()> {
    if space.free >= need {
        return Ok(());
    }
    let (need, free) = (size(need), size(space.free));
    Err(Error::new(Code::Io, format!("not enough room for `{}`: {need} needed, {free} free", path.display()))
        .state("nothing was written")
        .hint(hint))
}
