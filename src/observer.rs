//! Progress reports of an operation: to a terminal, to a log, or discarded.

use crate::error::{Code, Error, Result};
use crate::report::Finding;

pub use crate::report::size;

/// A number with thousands separators.
pub fn count_of(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A task whose progress is worth showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Reading manifests.
    Resolve,
    /// Writing blobs to the bundle.
    Write,
    /// Making differences and other forms of blobs.
    Encode,
    /// Hashing members.
    Verify,
    /// Handing contents to scanners.
    Scan,
    /// Creating recovery data.
    Protect,
    /// Repairing damaged parts.
    Repair,
    /// Pushing blobs to a registry.
    Push,
    /// Writing blobs to a directory.
    Unpack,
    /// Reading written data back from the medium.
    ReadBack,
    /// Asking a registry what it has.
    LookUp,
}

/// Receives the progress of an operation. Called from several threads.
pub trait Observer: Sync {
    /// A message: a verb (`Resolving`, `Verified`) and its object. An empty verb continues the line before. A line
    /// break in the text is content, and is shown as such.
    fn say(&self, verb: &str, text: &str);
    /// A warning.
    fn warn(&self, text: &str);
    /// A finding, as soon as there is one; the answer at the end has it too.
    fn found(&self, _finding: &Finding) {}
    /// A task begins: the number of items and of bytes.
    fn begin(&self, task: Task, items: u64, bytes: u64);
    /// Adds bytes done.
    fn advance(&self, bytes: u64);
    /// Items and bytes that an earlier run has done.
    fn resumed(&self, _items: u64, _bytes: u64) {}
    /// One item is done.
    fn item(&self);
    /// The task ends.
    fn end(&self);
    /// The code to stop with, if a stop was requested.
    fn stopped(&self) -> Option<Code>;

    /// Returns an error if a stop was requested. Called between buffers.
    fn check(&self) -> Result<()> {
        match self.stopped() {
            Some(code) => Err(Error::new(code, "interrupted")),
            None => Ok(()),
        }
    }
}

/// An observer that discards everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn say(&self, _: &str, _: &str) {}
    fn warn(&self, _: &str) {}
    fn begin(&self, _: Task, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
    fn item(&self) {}
    fn end(&self) {}
    fn stopped(&self) -> Option<Code> {
        None
    }
}

/// `1 image`, `2 images`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_binary_with_one_decimal() {
        assert_eq!(super::size(0), "0 B");
        assert_eq!(super::size(1023), "1023 B");
        assert_eq!(super::size(1536), "1.5 KiB");
        assert_eq!(super::size(6_335_076_761), "5.8 GiB");
        assert_eq!(super::size(u64::MAX), "15.9 EiB");
    }
}
