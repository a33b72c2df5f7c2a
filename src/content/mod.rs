//! The content of an image as it streams: layers entry by entry, and the configuration. Nothing is extracted, and
//! nothing here knows where the bytes come from.

mod config;
pub mod layer;

pub use config::Config;
