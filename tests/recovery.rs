//! Recovery data and `repair`, end to end: damage of every kind, and sources that must not be used.
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
#[path = "recovery/planted.rs"]
mod planted;
#[path = "recovery/repair.rs"]
mod repair;
#[path = "recovery/volumes.rs"]
mod volumes;
