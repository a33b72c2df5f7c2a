//! Attacks on the program in use: the real binary against a real `docker-registry` behind a fault proxy, against hosts
//! and media that change during a run, and against names that try to fool a terminal.
//!
//! The comment of every test names the rows of `spec/security.md` that it covers. Bundles with a fault inside are in
//! `testdata/vectors`; trust is tested in `tests/trust.rs`, the registry client alone in `tests/registry.rs`.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "attacks/lab.rs"]
mod lab;
mod support;

#[path = "attacks/credentials.rs"]
mod credentials;
#[path = "attacks/destinations.rs"]
mod destinations;
#[path = "attacks/equivocation.rs"]
mod equivocation;
#[path = "attacks/manifests.rs"]
mod manifests;
#[path = "attacks/media.rs"]
mod media;
#[path = "attacks/pull.rs"]
mod pull;
#[path = "attacks/push.rs"]
mod push;
#[path = "attacks/realms.rs"]
mod realms;
#[path = "attacks/resources.rs"]
mod resources;
#[path = "attacks/stores.rs"]
mod stores;
#[path = "attacks/terminal.rs"]
mod terminal;
