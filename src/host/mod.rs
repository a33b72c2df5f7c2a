//! This host: what it remembers, and the detached signatures that lie beside a bundle.

pub mod loose;
pub mod memory;
