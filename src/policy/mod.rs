//! What a security team decides by rules: facts about a bundle, rules over them, and what was accepted (`spec/policy.md`).
//!
//! Pure: nothing here opens a file or knows the time.

pub mod facts;

pub use facts::Facts;

/// The rules of a policy file.
#[derive(Clone, Debug, Default)]
pub struct Policy {}
