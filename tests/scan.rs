//! `scan` with real scanners (clamd and yara of the system), and with scanners that lie, fail or hang.
#![cfg(all(feature = "cli", feature = "registry"))]
#![allow(clippy::unwrap_used)]

#[path = "scan/archives.rs"]
mod archives;
#[path = "scan/clamd.rs"]
mod clamd;
#[path = "scan/lab.rs"]
mod lab;
#[path = "scan/mock.rs"]
mod mock;
#[path = "scan/programs.rs"]
mod programs;
mod support;
#[path = "scan/surroundings.rs"]
mod surroundings;
