//! The cluster's side: what a real kube-apiserver says to what we write and send.
//!
//! `support/apiserver.rs` starts the server; without it these tests are skipped.

#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::useless_vec)]

#[path = "cluster/emitted.rs"]
mod emitted;
#[path = "e2e/harness.rs"]
#[allow(dead_code)]
mod harness;
#[path = "cluster/mirror_sets.rs"]
mod mirror_sets;
#[path = "cluster/server.rs"]
mod server;
#[path = "support/mod.rs"]
mod support;
