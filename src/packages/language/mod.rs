//! Packages of programming languages, which are files of their own in an image: jars, Python and npm.

mod java;
mod npm;
mod python;

pub(super) use java::is_archive;
pub use java::read as java;
pub use npm::read as npm;
pub use python::read as python;
