//! The cluster's side: what a real kube-apiserver says to what we write and send.
//!
//! `support/apiserver.rs` starts the server; without it these tests are skipped.

#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::useless_vec)]

#[cfg(feature = "cluster")]
#[path = "cluster/bundles.rs"]
mod bundles;
#[path = "cluster/emitted.rs"]
mod emitted;
#[path = "e2e/harness.rs"]
#[allow(dead_code)]
mod harness;
#[cfg(feature = "cluster")]
#[path = "cluster/interrupted.rs"]
mod interrupted;
#[cfg(feature = "cluster")]
#[path = "cluster/kit.rs"]
mod kit;
#[cfg(feature = "cluster")]
#[path = "cluster/mirror_sets.rs"]
mod mirror_sets;
#[cfg(feature = "cluster")]
#[path = "cluster/outcomes.rs"]
mod outcomes;
#[cfg(feature = "cluster")]
#[path = "cluster/peers.rs"]
mod peers;
#[cfg(feature = "cluster")]
#[path = "cluster/reach.rs"]
mod reach;
#[cfg(feature = "cluster")]
#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "cluster/server.rs"]
mod server;
#[cfg(feature = "cluster")]
#[path = "cluster/story.rs"]
mod story;
#[path = "support/mod.rs"]
mod support;
#[path = "cluster/update_service.rs"]
mod update_service;
