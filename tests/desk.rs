//! The reviewer's desk: what `ls --files`, `cat`, `extract`, `diff` and `inspect` show of a bundle (spec/desk.md).
#![cfg(all(feature = "cli", feature = "registry"))]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "desk/differences.rs"]
mod differences;
#[path = "desk/extracted.rs"]
mod extracted;
#[path = "desk/hostile.rs"]
mod hostile;
#[path = "desk/kit.rs"]
mod kit;
#[path = "desk/layout.rs"]
mod layout;
#[path = "desk/merged.rs"]
mod merged;
#[path = "desk/shown.rs"]
mod shown;
#[path = "desk/tar.rs"]
mod tar;
