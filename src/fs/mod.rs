//! The ground floor for files: every open, read, write, rename and sync goes through here.
//!
//! [`dir`] is a directory handle that no name and no link leads out of; `small` reads small files whole, up to a limit;
//! `whole` writes small files whole; `appended` is a file that only grows; `partial` holds unfinished files; `durable` renames and syncs; `direct` bypasses
//! the page cache; [`space`] reports free space; `unnamed` creates files that are gone when the program ends. None of
//! them waits for a FIFO. This floor knows nothing of images or bundles.

pub(crate) mod appended;
pub mod dir;
pub(crate) mod direct;
pub(crate) mod durable;
pub(crate) mod partial;
pub(crate) mod small;
pub mod space;
pub(crate) mod unnamed;
pub(crate) mod whole;

pub(crate) use dir::beside;
pub use dir::{Dir, EntryKind};
pub(crate) use partial::TempFile;
pub(crate) use whole::AtomicFile;
