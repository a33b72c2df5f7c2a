//! The public verbs. They decide what is done in which order; they print nothing, and are told the time.

pub mod create;
pub mod inspect;
pub mod loose;
pub mod observer;
pub mod parallel;
pub mod recovery;
pub mod repair;
pub mod sign;
pub mod state;
pub mod unpack;
pub mod verify;

pub use observer::{Observer, Silent, Task};
