//! Stored bytes, and the blob bytes they decode to.
//!
//! Images name a blob by its digest. The archive holds [`Stored`] bytes for a blob or for a piece of one: they have
//! their own size and digest, and a [`Codec`] that decodes them to the blob. Format 1 has one codec,
//! [`Codec::Identity`]; another codec is a new variant here and an incompatible feature of the format. Documents and
//! files are always stored unencoded, because a verifier reads them before it decides anything.

use crate::error::Result;
use crate::oci::Digest;

/// How stored bytes become the bytes of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The stored bytes are the bytes of the blob.
    #[default]
    Identity,
}

/// The stored form of a blob or of a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Size of the stored bytes.
    pub size: u64,
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Their encoding.
    pub codec: Codec,
}

impl Stored {
    /// Bytes stored unencoded.
    pub fn identity(digest: Digest, size: u64) -> Stored {
        Stored { size, digest, codec: Codec::Identity }
    }

    /// Whether stored bytes that match their digest also prove the digest of the blob, so that nothing else needs
    /// hashing.
    pub fn proves(&self, blob: &Digest) -> bool {
        self.codec == Codec::Identity && self.digest == *blob
    }
}

/// Bytes read in order. If they are wrong, the last read fails instead of ending.
pub trait StoredReader {
    /// Reads the next bytes, in at most the length of `buffer`; returns 0 only after everything was checked.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

/// Decodes stored bytes to the bytes of a blob or of a piece of one.
#[derive(Debug)]
pub struct Decoder<R> {
    codec: Codec,
    stored: R,
}

impl Codec {
    /// Decodes stored bytes while they are read.
    pub fn decode<R: StoredReader>(self, stored: R) -> Decoder<R> {
        Decoder { codec: self, stored }
    }
}

impl<R: StoredReader> StoredReader for Decoder<R> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.codec {
            Codec::Identity => self.stored.next(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::{Code, Error};

    struct Bytes(&'static [u8]);

    impl StoredReader for Bytes {
        fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let n = self.0.len().min(buffer.len());
            let (now, later) = self.0.split_at(n);
            buffer[..n].copy_from_slice(now);
            self.0 = later;
            if n == 0 { Err(Error::new(Code::BlobMismatch, "wrong")) } else { Ok(n) }
        }
    }

    #[test]
    fn identity_hands_over_the_stored_bytes_and_their_errors() {
        let mut decoder = Codec::Identity.decode(Bytes(b"stored"));
        let mut buffer = [0; 4];
        assert_eq!(decoder.next(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"stor");
        assert_eq!(decoder.next(&mut buffer).unwrap(), 2);
        assert_eq!(decoder.next(&mut buffer).unwrap_err().code(), Code::BlobMismatch);
    }

    #[test]
    fn only_bytes_with_the_digest_of_a_blob_prove_it() {
        let blob = Digest::of(b"blob");
        assert!(Stored::identity(blob, 4).proves(&blob));
        assert!(!Stored::identity(Digest::of(b"bl"), 2).proves(&blob));
    }
}
