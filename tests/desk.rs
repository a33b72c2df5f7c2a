//! The reviewer's desk: what `ls --files`, `cat`, `extract`, `diff` and `inspect` show of a bundle (spec/desk.md).
#![cfg(feature = "cli")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "desk/layout.rs"]
mod layout;
#[path = "desk/merged.rs"]
mod merged;
#[path = "desk/tar.rs"]
mod tar;
