//! This host: what it remembers, and the detached signatures that lie beside a bundle.

use std::ffi::OsString;

pub mod detached;
pub mod memory;

/// A variable of the environment of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
