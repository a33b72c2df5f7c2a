//! The two SSH wire types that keys and signatures are made of: `uint32` and `string` (RFC 4251, section 5).
//!
//! A reader borrows from its input, so a length beyond the input costs no memory. Part of [`crate::sign`].

/// Reads fields from the front; every method returns `None` when the input ends too early.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    /// A big-endian `uint32`.
    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// A `string`: length, then that many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// A `string` that is UTF-8.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    /// Whether all input was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rest of the input.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Appends a `string`. All inputs of this crate are far below the 4 GiB limit of its length field.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The blob of an Ed25519 public key.
pub(super) fn ed25519_blob(point: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, point);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        let mut out = Vec::new();
        put_string(&mut out, b"abc");
        assert_eq!(Reader::new(&out).string(), Some(&b"abc"[..]));
        for cut in 0..out.len() {
            assert_eq!(Reader::new(&out[..cut]).string(), None);
        }
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]).string(), None);
    }
}
