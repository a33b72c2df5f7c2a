//! The content of an image as it streams: layers entry by entry, and the configuration. Nothing is extracted, and
//! nothing here knows where the bytes come from.

mod config;
pub mod cover;
mod entry;
pub mod facts;
pub mod layer;
mod merged;

pub use config::Config;
pub use merged::{Found, Merged, Node, Place, VisitNode};
