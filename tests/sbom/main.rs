//! `sbom`: the packages of images, compared with the programs that own their databases; documents against both schemas.
#![cfg(all(feature = "cli", feature = "registry"))]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod documents;
mod peers;
mod world;
