//! Bundles in volumes: divided and joined, by the program and by hand, interrupted anywhere and resumed.
//!
//! Quick samples run by default. `cargo test --test volumes -- --ignored` runs all 1,000 sizes (F7) and kills `split` and
//! `join` at every system call that changes the disk (F1); that takes some minutes.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

#[path = "volumes/bench.rs"]
mod bench;
#[path = "volumes/by_hand.rs"]
mod by_hand;
#[path = "volumes/identity.rs"]
mod identity;
#[path = "volumes/interrupted.rs"]
mod interrupted;
#[path = "volumes/refusals.rs"]
mod refusals;
