//! The ground floor for files: everything that is opened, read, written, renamed or synced goes through here.
//!
//! [`dir`] is a directory handle beneath which no name and no link leads out; `small` reads small files whole, with a
//! bound; `whole` writes small files whole; `partial` holds files that are not finished; `durable` gives and
//! syncs names; `direct` goes past the page cache; [`space`] knows the room that a file system has; `unnamed` creates
//! files that are gone when the program ends. None of them
//! waits for a FIFO. This floor knows nothing of images or bundles.

pub mod dir;
pub(crate) mod direct;
pub(crate) mod durable;
pub(crate) mod partial;
pub(crate) mod small;
pub mod space;
pub(crate) mod unnamed;
pub(crate) mod whole;

pub use dir::{Dir, EntryKind};
pub(crate) use partial::TempFile;
pub(crate) use whole::AtomicFile;
