//! THE FORMAT: one tar file that is an OCI image layout with a signed index in front (`spec/bundle-format.md`).
//!
//! [`index`] describes a bundle's content, [`layout`] derives the exact bytes around it, [`writer`] writes and resumes
//! a bundle, [`reader`] opens one without trusting it. Nothing here knows about networks, clocks or trust.

pub mod addendum;
pub mod append;
pub mod carriage;
mod divide;
mod elsewhere;
mod foreign;
mod head;
pub mod index;
mod input;
pub mod inputs;
pub mod layout;
pub mod limits;
pub mod name;
pub mod reader;
pub mod removal;
pub mod repair;
pub mod series;
pub mod set;
pub mod statement;
pub mod stock;
pub mod survey;
pub mod tar;
pub mod volume;
pub mod writer;

pub use divide::{Room, divide};
pub use elsewhere::Elsewhere;
pub use head::Head;
pub use index::Index;
pub use inputs::Inputs;
pub use layout::{Layout, Member};
pub use reader::{Bundle, Contents, MemberReader};
pub use stock::Stock;
