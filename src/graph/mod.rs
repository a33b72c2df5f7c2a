//! From images down to every blob. No I/O: the caller provides the documents.
//!
//! [`Graph`] is strict: it finds what an image needs and refuses contradictions. [`Closure`] goes over available
//! documents, each once, children first, and skips what cannot be read. No other module follows documents on its own.

mod closure;
mod walk;

pub use closure::{Closure, Node as ClosureNode};
pub use walk::{Graph, Node};

/// Levels of indexes below a top-level image (MB-LIM).
pub const DEPTH: usize = 4;
/// Largest manifest or index in bytes: what registries accept (distribution-spec, "Pushing manifests": 4 MiB).
pub const DOCUMENT: u64 = 4 << 20;
/// Largest blob in bytes: what an octal or base-256 size, an `i64` offset and common sense allow (16 TiB).
pub const BLOB: u64 = 16 << 40;
