//! The public verbs. They decide what is done and in which order; they print nothing, and receive the time as an
//! argument.

mod advice;
#[cfg(feature = "cluster")]
pub mod apply;
pub mod claims;
pub mod create;
pub mod diff;
pub mod evidence;
pub mod expand;
pub mod extract;
pub mod files;
pub mod form;
pub mod images;
pub mod inspect;
#[cfg(feature = "registry")]
pub mod inventory;
pub mod join;
pub mod list;
pub mod read_back;
pub mod reading;
pub mod receipt;
pub mod recovery;
mod repack;
pub mod repair;
pub mod review;
pub mod reviewed;
mod room;
pub mod sbom;
pub mod scan;
pub mod scrub;
pub mod shelf;
pub mod sign;
#[cfg(feature = "registry")]
pub mod site;
pub mod split;
pub mod unpack;
pub mod verify;
pub mod volumes;
mod watched;
mod write;

pub use crate::observer::{self, Observer, Silent, Task};
