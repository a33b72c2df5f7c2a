//! What a site says about its registry, for whoever makes the next bundle for it (`spec/receipts.md`, MB-SIT).
//!
//! A [`Receipt`] is one line: this registry has everything of that bundle. An [`Inventory`] lists what a registry has
//! that other tools filled. Both are signed by a receiver; [`Receivers`] says whose signature counts. Pure: bytes in,
//! bytes out.

mod inventory;
mod receipt;
mod signed;

pub use inventory::{Blob, Held, Inventory, MAX_BLOBS, MAX_INVENTORY, MAX_REPOSITORIES, SCHEMA, Unread};
pub use receipt::{MAX_RECEIPT, PREFIX, Receipt};
pub use signed::{NAMESPACE, Receivers, Signed, check};

use jiff::Timestamp;

/// A time as both documents have it: `2026-11-28T21:00:00Z`.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time in its one form.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|at| seconds(*at) == text)
}
