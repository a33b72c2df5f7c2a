//! Files, registries and media after the program was killed, an operation failed, or the power was lost.
//!
//! `spec/security.md`, "Faults", says what must hold. A verb is an entry of the table in `faults/verbs.rs`; every
//! programme covers the whole table. The default tests take a sample of the points. All of them take an hour and a
//! half on two cores (`FAULTS_VERB=repair` selects verbs by name): `cargo test --test faults -- --ignored --nocapture
//! --test-threads 1`

#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "faults/crash.rs"]
mod crash;
#[path = "faults/direct.rs"]
mod direct;
#[path = "faults/durability.rs"]
mod durability;
#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/interrupt.rs"]
mod interrupt;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/lab.rs"]
mod lab;
#[path = "faults/large.rs"]
mod large;
#[path = "faults/read_back.rs"]
mod read_back;
#[path = "faults/record.rs"]
mod record;
#[path = "faults/short.rs"]
mod short;
#[path = "faults/space.rs"]
mod space;
#[path = "support/mod.rs"]
mod support;
#[path = "faults/sweep.rs"]
mod sweep;
#[path = "faults/trace.rs"]
mod trace;
#[path = "faults/verbs.rs"]
mod verbs;
