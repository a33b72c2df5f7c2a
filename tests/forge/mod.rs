//! The forge: builds small bundles, good ones and ones with a single fault, always with the same bytes.
//!
//! [`draft`] holds content and makes the index, [`archive`] turns an index into tar members that can be broken one
//! by one, [`sshsig`] and [`openpgp`] sign with the TEST keys of `testdata/vectors/keys`, `cases` is the list of
//! faults. Used by `vectors.rs` (compares with `testdata/vectors`) and `damage.rs` (the sweep).

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::type_complexity)]

pub mod archive;
pub mod cases;
pub mod draft;
pub mod openpgp;
pub mod sshsig;
pub mod vector;
pub mod verifier;

use std::path::PathBuf;

/// The folder of the vectors.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors")
}
