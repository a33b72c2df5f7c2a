//! `report`: the sheet that a reviewer files, made from real bundles, and looked at by a real browser.
#![cfg(all(feature = "cli", feature = "registry"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "scan/lab.rs"]
mod lab;
#[path = "report/printed.rs"]
mod printed;
#[path = "report/sheet.rs"]
mod sheet;
mod support;
#[path = "report/world.rs"]
mod world;
