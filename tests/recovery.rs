//! Recovery data and `repair`, end to end: damage of every kind, and what may not help with it.
//!
//! The exhaustive kill sweep takes minutes: `cargo test --test recovery -- --ignored`.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "recovery/kit.rs"]
mod kit;

#[path = "recovery/combine.rs"]
mod combine;
#[path = "recovery/crash.rs"]
mod crash;
#[path = "recovery/head.rs"]
mod head;
#[path = "recovery/hostile.rs"]
mod hostile;
#[path = "recovery/mend.rs"]
mod mend;
#[path = "recovery/planted.rs"]
mod planted;
#[path = "recovery/volumes.rs"]
mod volumes;
