//! The whole way, with the real program and real peers: registries, skopeo, umoci, ssh-keygen, gpg, kubectl, strace.
//! The content for the tests is generated once: see `support/release.rs`.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::useless_vec)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod differential;
mod disguised;
mod field;
mod harness;
mod image_policy;
mod interrupted;
mod mirror_files;
mod peers;
mod refusals;
mod release;
mod restored;
mod same_bytes;
mod several;
mod sources;
mod storage;
mod update_service;
mod updates;
