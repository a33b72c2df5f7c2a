//! SSHSIG: the signature format of `ssh-keygen -Y sign` (OpenSSH, `PROTOCOL.sshsig`), in one form.
//!
//! Version 1, SHA-512, empty reserved field, armored. It checks that a signature was made by the key inside it, over
//! this message, for the namespace in it. [`crate::sign::policy`] decides whose key that is. Spec:
//! `spec/signatures.md`, MB-SIG-01 to MB-SIG-09.

use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha512};

use super::key::{BadKey, BadRaw, PublicKey, fingerprint_of};
use super::wire::{Reader, put_string};
use super::{Namespace, SecretKey, armor};

/// The longest accepted armored signature, in bytes. One by RSA-4096 has about 1.6 KiB.
pub const MAX_SIGNATURE: usize = 64 * 1024;

const LABEL: &str = "SSH SIGNATURE";
const MAGIC: &[u8] = b"SSHSIG";
const HASH: &str = "sha512";

/// The longest namespace, in bytes.
const MAX_NAMESPACE: usize = 128;

/// The SHA-512 of a message, which is what is signed. Computed once, checked against any number of signatures.
#[derive(Clone)]
pub struct MessageHash([u8; 64]);

impl MessageHash {
    /// The hash of these bytes.
    pub fn of(message: &[u8]) -> MessageHash {
        MessageHash(Sha512::digest(message).into())
    }

    /// Wraps a SHA-512 that was computed elsewhere.
    pub fn from_sha512(hash: [u8; 64]) -> MessageHash {
        MessageHash(hash)
    }
}

/// Why a signature is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Not one well-formed SSHSIG signature.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// Well-formed, but with a key, hash or algorithm that is not accepted.
    #[error("{why}")]
    Unsupported {
        /// The reason.
        why: String,
        /// The fingerprint of the key it carries.
        key: String,
    },
    /// Not a signature over this message by the key it carries.
    #[error("it does not match what it should sign")]
    Mismatch,
}

/// A parsed signature. Its fields are unverified until [`Signature::check`] succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    key: PublicKey,
    namespace: String,
    encoded: Vec<u8>,
}

impl Signature {
    /// Parses an armored signature of at most [`MAX_SIGNATURE`] bytes. Checks its form only.
    pub fn parse(armored: &[u8]) -> Result<Signature, Bad> {
        if armored.len() > MAX_SIGNATURE {
            return Err(malformed(format!("longer than {MAX_SIGNATURE} bytes")));
        }
        let blob = armor::decode(LABEL, armored).map_err(malformed)?;
        let fields = Fields::read(&blob).ok_or_else(|| malformed("it ends too early"))?;
        if fields.magic != MAGIC || fields.version != 1 {
            return Err(malformed("not version 1 of an SSH signature"));
        }
        if !fields.rest.is_empty() {
            return Err(malformed("bytes after the signature"));
        }
        if !fields.reserved.is_empty() {
            return Err(malformed("its reserved field is not empty"));
        }
        let namespace = std::str::from_utf8(fields.namespace).map_err(|_| malformed("its namespace is not UTF-8"))?;
        if namespace.is_empty() || namespace.len() > MAX_NAMESPACE || namespace.chars().any(char::is_control) {
            return Err(malformed("its namespace is empty, too long or has control characters"));
        }
        let unsupported = |why: String| Bad::Unsupported { why, key: fingerprint_of(fields.key) };
        if fields.hash != HASH.as_bytes() {
            let hash = String::from_utf8_lossy(fields.hash);
            return Err(unsupported(format!("its hash is `{hash:.32}`, and only {HASH} is accepted")));
        }
        let key = PublicKey::from_blob(fields.key).map_err(|bad| match bad {
            BadKey::Malformed(why) => malformed(format!("its key: {why}")),
            BadKey::Unsupported(why) => unsupported(why),
        })?;
        Ok(Signature { key, namespace: namespace.to_owned(), encoded: fields.signature.to_vec() })
    }

    /// Checks that its key signed the message, for its namespace.
    pub fn check(&self, message: &MessageHash) -> Result<(), Bad> {
        let data = signed_data(&self.namespace, message);
        self.key.check(&data, &self.encoded).map_err(|bad| match bad {
            BadRaw::Malformed(why) => malformed(why),
            BadRaw::Unsupported(why) => Bad::Unsupported { why: why.to_owned(), key: self.key.fingerprint() },
            BadRaw::Mismatch => Bad::Mismatch,
        })
    }

    /// The key in it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The namespace in it, at most 128 bytes without control characters. May be one of another program.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// Parses and checks in one step.
pub fn verify(message: &MessageHash, armored: &[u8]) -> Result<Signature, Bad> {
    let signature = Signature::parse(armored)?;
    signature.check(message)?;
    Ok(signature)
}

/// The armored signature of `key` over `message`: the same bytes every time, and those of `ssh-keygen -Y sign`.
pub fn sign(key: &SecretKey, namespace: Namespace, message: &MessageHash) -> String {
    let raw = key.signing().sign(&signed_data(namespace.as_str(), message)).to_bytes();
    let mut encoded = Vec::new();
    put_string(&mut encoded, b"ssh-ed25519");
    put_string(&mut encoded, &raw);
    let mut blob = MAGIC.to_vec();
    blob.extend_from_slice(&1u32.to_be_bytes());
    for field in [key.public().blob(), namespace.as_str().as_bytes(), b"", HASH.as_bytes(), &encoded] {
        put_string(&mut blob, field);
    }
    armor::encode(LABEL, &blob).to_string()
}

/// The data that the key signs (`PROTOCOL.sshsig`, section 3): no other data that an SSH key signs starts like this.
fn signed_data(namespace: &str, message: &MessageHash) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    for field in [namespace.as_bytes(), b"", HASH.as_bytes(), &message.0] {
        put_string(&mut data, field);
    }
    data
}

struct Fields<'a> {
    magic: &'a [u8],
    version: u32,
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(blob: &'a [u8]) -> Option<Fields<'a>> {
        let mut reader = Reader::new(blob);
        Some(Fields {
            magic: reader.take(MAGIC.len())?,
            version: reader.u32()?,
            key: reader.string()?,
            namespace: reader.string()?,
            reserved: reader.string()?,
            hash: reader.string()?,
            signature: reader.string()?,
            rest: reader.rest(),
        })
    }
}

fn malformed(why: impl Into<String>) -> Bad {
    Bad::Malformed(why.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::Role;
    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_seed(&[5; 32], "test")
    }

    fn message() -> MessageHash {
        MessageHash::of(b"message")
    }

    fn good() -> String {
        sign(&key(), Namespace::Index(Role::Builder), &message())
    }

    /// A blob with its fields replaced, and correctly signed if it is signed at all.
    fn made(version: u32, namespace: &[u8], reserved: &[u8], hash: &[u8], after: &[u8]) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        [namespace, reserved, hash, &message().0].iter().for_each(|field| put_string(&mut data, field));
        let mut encoded = Vec::new();
        put_string(&mut encoded, b"ssh-ed25519");
        put_string(&mut encoded, &key().signing().sign(&data).to_bytes());
        let mut blob = [MAGIC, &version.to_be_bytes()].concat();
        [key().public().blob(), namespace, reserved, hash, &encoded].iter().for_each(|f| put_string(&mut blob, f));
        blob.extend_from_slice(after);
        armor::encode(LABEL, &blob).as_bytes().to_vec()
    }

    #[test]
    fn a_signature_holds_for_its_message_key_and_namespace() {
        let signature = verify(&message(), good().as_bytes()).unwrap();
        assert_eq!(signature.key(), key().public());
        assert_eq!(signature.namespace(), "mirror-bundle.v1.builder");
        assert_eq!(verify(&MessageHash::of(b"messagf"), good().as_bytes()), Err(Bad::Mismatch));
    }

    #[test]
    fn signing_twice_gives_the_same_bytes() {
        assert_eq!(good(), good());
        assert_eq!(made(1, b"mirror-bundle.v1.builder", b"", b"sha512", b""), good().as_bytes());
        let other = sign(&key(), Namespace::Index(Role::Reviewer), &message());
        assert_ne!(good(), other);
    }

    #[test]
    fn the_namespace_is_signed() {
        let blob = armor::decode(LABEL, good().as_bytes()).unwrap();
        let text = b"mirror-bundle.v1.builder";
        let at = blob.windows(text.len()).position(|window| window == text).unwrap();
        for role in ["receiver", "reviewer"] {
            let mut other = blob[..at].to_vec();
            let end = other.len() - 4;
            other.truncate(end);
            put_string(&mut other, format!("mirror-bundle.v1.{role}").as_bytes());
            other.extend_from_slice(&blob[at + text.len()..]);
            assert_eq!(verify(&message(), armor::encode(LABEL, &other).as_bytes()), Err(Bad::Mismatch));
        }
    }

    #[test]
    fn other_versions_hashes_and_fields_are_refused() {
        let name = b"mirror-bundle.v1.builder";
        assert!(verify(&message(), &made(1, name, b"", b"sha512", b"")).is_ok());
        for bad in [
            made(0, name, b"", b"sha512", b""),
            made(2, name, b"", b"sha512", b""),
            made(1, name, b"x", b"sha512", b""),
            made(1, name, b"", b"sha512", b"\0"),
            made(1, b"", b"", b"sha512", b""),
            made(1, &[b'n'; 129], b"", b"sha512", b""),
            made(1, b"a\x1b[2J", b"", b"sha512", b""),
            made(1, b"\xff", b"", b"sha512", b""),
        ] {
            assert!(matches!(verify(&message(), &bad), Err(Bad::Malformed(_))));
        }
        for hash in [&b"sha256"[..], b"sha1", b"SHA512", b""] {
            let bad = made(1, name, b"", hash, b"");
            assert!(matches!(verify(&message(), &bad), Err(Bad::Unsupported { .. })));
        }
    }

    #[test]
    fn every_change_of_one_bit_and_every_cut_is_noticed() {
        let blob = armor::decode(LABEL, good().as_bytes()).unwrap();
        for at in 0..blob.len() * 8 {
            let mut bad = blob.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(verify(&message(), armor::encode(LABEL, &bad).as_bytes()).is_err(), "bit {at}");
        }
        for cut in 0..blob.len() {
            assert!(verify(&message(), armor::encode(LABEL, &blob[..cut]).as_bytes()).is_err(), "cut {cut}");
        }
        let text = good();
        for at in 0..text.len() * 8 {
            let mut bad = text.clone().into_bytes();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(verify(&message(), &bad).is_err(), "armor bit {at}");
        }
        for cut in 0..text.len() {
            assert!(verify(&message(), &text.as_bytes()[..cut]).is_err(), "armor cut {cut}");
        }
    }

    #[test]
    fn a_signature_over_the_limit_is_not_looked_at() {
        let long = armor::encode(LABEL, &vec![0; MAX_SIGNATURE]);
        assert!(matches!(verify(&message(), long.as_bytes()), Err(Bad::Malformed(why)) if why.contains("longer")));
    }
}
