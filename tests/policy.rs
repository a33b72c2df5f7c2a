//! Rules of a policy: each selector, each thing that is refused, what is accepted, and the checks that are asked for.
#![cfg(all(feature = "cli", feature = "registry"))]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "policy/accepted.rs"]
mod accepted;
#[path = "policy/asked.rs"]
mod asked;
#[path = "policy/lab.rs"]
mod lab;
#[path = "policy/orders.rs"]
mod orders;
#[path = "policy/refused.rs"]
mod refused;
#[path = "policy/selectors.rs"]
mod selectors;
#[path = "policy/speed.rs"]
mod speed;
mod support;
