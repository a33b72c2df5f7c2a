//! What a verb says while it works: to a person's terminal, a log, or nobody.

use crate::error::{Code, Error, Result};

pub use crate::report::size;

/// A number with commas between its thousands.
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

/// A stretch of work whose progress is worth showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Reading manifests.
    Resolve,
    /// Writing blobs to the bundle.
    Write,
    /// Hashing members.
    Verify,
    /// Making recovery data.
    Protect,
    /// Making damaged parts again.
    Mend,
    /// Pushing blobs to a registry.
    Push,
    /// Writing blobs to a directory.
    Unpack,
    /// Reading what was written from the medium.
    ReadBack,
}

/// Hears what a verb does. Called from several threads.
pub trait Observer: Sync {
    /// A line of conversation: a verb (`Resolving`, `Verified`) and its object. Without a verb it goes on with the
    /// line before. A line break in the text is content like any other, and shown as such.
    fn say(&self, verb: &str, text: &str);
    /// A warning.
    fn warn(&self, text: &str);
    /// Work begins: so many items, so many bytes.
    fn begin(&self, task: Task, items: u64, bytes: u64);
    /// Bytes done.
    fn advance(&self, bytes: u64);
    /// Items and bytes that an earlier run has done.
    fn resumed(&self, _items: u64, _bytes: u64) {}
    /// An item done.
    fn item(&self);
    /// Work ends.
    fn end(&self);
    /// Whether somebody asked to stop: the code to stop with.
    fn stopped(&self) -> Option<Code>;

    /// An error when somebody asked to stop. Called between buffers.
    fn check(&self) -> Result<()> {
        match self.stopped() {
            Some(code) => Err(Error::new(code, "interrupted")),
            None => Ok(()),
        }
    }
}

/// Nobody listens.
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
