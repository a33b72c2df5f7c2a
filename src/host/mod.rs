//! This host: whom it trusts, what it remembers, and the detached signatures beside a bundle.
//!
//! Apart from the command line, only this module reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;

pub mod detached;
pub mod log;
pub mod memory;
pub mod trust;

/// The name of this host, for receipts; `unknown` where the system does not say.
pub fn name() -> String {
    let read = |path: &str| crate::fs::small::read(path.as_ref(), 256).ok();
    let text = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().find_map(read).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// An environment variable of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A folder named by the environment. Ignores a relative or empty path (basedir-spec): the current folder may be the
/// medium, and neither trust nor memory may come from it.
fn own_folder(name: &str) -> Option<PathBuf> {
    environment(name).map(PathBuf::from).filter(|folder| folder.is_absolute())
}
