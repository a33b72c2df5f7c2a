//! This host: whom it trusts, what it remembers, and the detached signatures that lie beside a bundle.
//!
//! Beside the command line this is the only place that reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;

pub mod detached;
pub mod memory;
pub mod trust;

/// A variable of the environment of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A folder that the environment names. A relative or empty path is ignored (basedir-spec): the current folder may be
/// the medium, and neither trust nor memory is ever taken from it.
fn own_folder(name: &str) -> Option<PathBuf> {
    environment(name).map(PathBuf::from).filter(|folder| folder.is_absolute())
}
