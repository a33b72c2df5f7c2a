//! Public keys in OpenSSH's format, and the check of one raw signature.
//!
//! `ssh-key` encodes RSA and ECDSA keys and does their mathematics; Ed25519 is checked by `ed25519-dalek`'s
//! `verify_strict`. A key is its encoded bytes, which equality, fingerprints and thresholds compare.
//! `spec/signatures.md`, "Keys", lists the accepted keys. This module does not decide whom to trust.

use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::VerifyingKey;
use rsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, public::KeyData};

use super::wire::{Reader, ed25519_blob};
use crate::error::{Code, Error};

/// The longest line of a public key, in bytes. An RSA key of 4096 bits has about 720.
const MAX_LINE: usize = 8 * 1024;

/// RSA moduli, in bits: smaller ones are too weak, larger ones are not supported by the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 3072..=4096;

/// The FIDO flag "a person touched the token" (`PROTOCOL.u2f` of OpenSSH, WebAuthn "UP").
const USER_PRESENT: u8 = 0x01;

/// A public key that signatures may be verified with.
#[derive(Clone)]
pub struct PublicKey {
    blob: Vec<u8>,
    kind: KeyKind,
    comment: String,
}

#[derive(Clone)]
enum KeyKind {
    Ed25519(VerifyingKey),
    SkEd25519 { key: VerifyingKey, application: String },
    EcdsaP256(Box<KeyData>),
    Rsa(Box<KeyData>),
}

/// Why a public key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is not one well-formed OpenSSH public key.
    #[error("not an OpenSSH public key: {0}")]
    Malformed(String),
    /// It is a key, but of a kind or strength that is not accepted.
    #[error("{0}")]
    Unsupported(String),
}

impl From<BadKey> for Error {
    fn from(bad: BadKey) -> Error {
        let err = Error::new(Code::Usage, bad.to_string());
        match bad {
            BadKey::Malformed(_) => err.hint("give the one line of a .pub file: ssh-ed25519 AAAA... comment"),
            BadKey::Unsupported(_) => err.hint("create a key with: mirror-bundle keygen FILE"),
        }
    }
}

impl PublicKey {
    /// Parses one line `TYPE BASE64 [COMMENT]`, with or without a line end (the content of a `.pub` file).
    pub fn parse(line: &str) -> Result<PublicKey, BadKey> {
        let line = line.trim();
        if line.len() > MAX_LINE {
            return Err(malformed(format!("longer than {MAX_LINE} bytes")));
        }
        let blank = [' ', '\t'];
        let (algorithm, rest) = line.split_once(blank).ok_or_else(|| malformed("no key after the type"))?;
        let (body, comment) = rest.trim_start().split_once(blank).unwrap_or((rest.trim_start(), ""));
        let comment = comment.trim();
        let blob = STANDARD.decode(body).map_err(|_| malformed("the key is not canonical base64"))?;
        if comment.chars().any(char::is_control) {
            return Err(malformed("it has more than one line, or control characters"));
        }
        let mut key = PublicKey::from_blob(&blob)?;
        if key.algorithm() != algorithm {
            return Err(malformed(format!("it says `{algorithm}` and holds {}", key.algorithm())));
        }
        key.comment = comment.to_owned();
        Ok(key)
    }

    /// Parses a key in SSH wire encoding (inside a signature, or the base64 of a line).
    pub fn from_blob(blob: &[u8]) -> Result<PublicKey, BadKey> {
        if blob.len() > MAX_LINE {
            return Err(malformed(format!("longer than {MAX_LINE} bytes")));
        }
        let mut reader = Reader::new(blob);
        let algorithm = reader.text().ok_or_else(|| malformed("no key type"))?;
        let kind = match algorithm {
            "ssh-ed25519" => KeyKind::Ed25519(ed25519(&mut reader)?),
            "sk-ssh-ed25519@openssh.com" => {
                let key = ed25519(&mut reader)?;
                let application = reader.text().ok_or_else(|| malformed("no application"))?;
                if !application.starts_with("ssh:") {
                    return Err(BadKey::Unsupported(format!(
                        "a token key for `{application}` is not an SSH key: its application must start with `ssh:`"
                    )));
                }
                KeyKind::SkEd25519 { key, application: application.to_owned() }
            }
            "ecdsa-sha2-nistp256" => {
                let curve = reader.string();
                let point = reader.string().ok_or_else(|| malformed("no point"))?;
                // Only one form, so that one key never has two encodings.
                if curve != Some(b"nistp256") || point.len() != 65 || point[0] != 4 {
                    return Err(malformed("not an uncompressed point of nistp256"));
                }
                KeyKind::EcdsaP256(key_data(blob)?)
            }
            "ssh-rsa" => {
                let exponent = reader.string().ok_or_else(|| malformed("no exponent"))?;
                let modulus = reader.string().ok_or_else(|| malformed("no modulus"))?;
                check_rsa(exponent, modulus)?;
                KeyKind::Rsa(key_data(blob)?)
            }
            other => {
                return Err(BadKey::Unsupported(format!(
                    "keys of type `{other}` are not accepted, only ssh-ed25519, sk-ssh-ed25519, ecdsa-sha2-nistp256 \
                     and ssh-rsa of {} to {} bits",
                    RSA_BITS.start(),
                    RSA_BITS.end()
                )));
            }
        };
        if !reader.is_empty() {
            return Err(malformed("bytes after the key"));
        }
        Ok(PublicKey { blob: blob.to_vec(), kind, comment: String::new() })
    }

    /// The public half of a private key of this program.
    pub(super) fn derived(key: VerifyingKey) -> PublicKey {
        PublicKey { blob: ed25519_blob(key.as_bytes()), kind: KeyKind::Ed25519(key), comment: String::new() }
    }

    /// The type name, as at the start of a line.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            KeyKind::Ed25519(_) => "ssh-ed25519",
            KeyKind::SkEd25519 { .. } => "sk-ssh-ed25519@openssh.com",
            KeyKind::EcdsaP256(_) => "ecdsa-sha2-nistp256",
            KeyKind::Rsa(_) => "ssh-rsa",
        }
    }

    /// `SHA256:<43 base64 characters>`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&self.blob)
    }

    /// The SSH wire encoding.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The free text after the key. It is not part of the key and is not authenticated.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(super) fn with_comment(mut self, comment: &str) -> PublicKey {
        self.comment = comment.to_owned();
        self
    }

    /// `TYPE BASE64 [COMMENT]` without a line end.
    pub fn to_line(&self) -> String {
        let line = format!("{} {}", self.algorithm(), STANDARD.encode(&self.blob));
        if self.comment.is_empty() { line } else { format!("{line} {}", self.comment) }
    }

    /// Whether `encoded` (the `signature` field of SSHSIG) is this key's signature over `data`.
    pub(super) fn check(&self, data: &[u8], encoded: &[u8]) -> Result<(), BadRaw> {
        let mut reader = Reader::new(encoded);
        let algorithm = reader.text().ok_or(BadRaw::Malformed("no algorithm"))?;
        let raw = reader.string().ok_or(BadRaw::Malformed("too short"))?;
        let trailer = reader.rest();
        match (&self.kind, algorithm) {
            (KeyKind::Ed25519(key), "ssh-ed25519") => {
                end(trailer)?;
                check_ed25519(key, data, raw)
            }
            (KeyKind::SkEd25519 { key, application }, "sk-ssh-ed25519@openssh.com") => {
                let [flags, counter @ ..] = <[u8; 5]>::try_from(trailer)
                    .map_err(|_| BadRaw::Malformed("the flags and counter of the token are not 5 bytes"))?;
                if flags & USER_PRESENT == 0 {
                    return Err(BadRaw::Unsupported("the token was not touched when it signed"));
                }
                let mut signed = Sha256::digest(application.as_bytes()).to_vec();
                signed.push(flags);
                signed.extend_from_slice(&counter);
                signed.extend_from_slice(&Sha256::digest(data));
                check_ed25519(key, &signed, raw)
            }
            (KeyKind::EcdsaP256(key), "ecdsa-sha2-nistp256") => {
                end(trailer)?;
                check_with_library(key, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, data, raw)
            }
            (KeyKind::Rsa(key), "rsa-sha2-512") => {
                end(trailer)?;
                check_with_library(key, Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, data, raw)
            }
            (KeyKind::Rsa(key), "rsa-sha2-256") => {
                end(trailer)?;
                check_with_library(key, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }, data, raw)
            }
            (KeyKind::Rsa(_), "ssh-rsa") => Err(BadRaw::Unsupported("it uses SHA-1")),
            _ => Err(BadRaw::Malformed("its algorithm is not that of its key")),
        }
    }
}

/// Why a raw signature does not match the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRaw {
    Malformed(&'static str),
    Unsupported(&'static str),
    Mismatch,
}

/// The fingerprint of any encoded key, including kinds that are not accepted.
pub(super) fn fingerprint_of(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

fn malformed(why: impl Into<String>) -> BadKey {
    BadKey::Malformed(why.into())
}

fn end(trailer: &[u8]) -> Result<(), BadRaw> {
    if trailer.is_empty() { Ok(()) } else { Err(BadRaw::Malformed("bytes after the signature")) }
}

/// Reads an Ed25519 point that is canonical and not of small order: with a small-order key one signature matches many
/// messages.
fn ed25519(reader: &mut Reader<'_>) -> Result<VerifyingKey, BadKey> {
    let bytes = reader.string().and_then(|raw| <&[u8; 32]>::try_from(raw).ok());
    let bytes = bytes.ok_or_else(|| malformed("an Ed25519 key has 32 bytes"))?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| malformed("not a point of the curve"))?;
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(malformed("the point is not canonical"));
    }
    if key.is_weak() {
        return Err(BadKey::Unsupported("this Ed25519 key is of small order: anyone can sign for it".to_owned()));
    }
    Ok(key)
}

fn check_rsa(exponent: &[u8], modulus: &[u8]) -> Result<(), BadKey> {
    let numbers = || malformed("its numbers are not those of an RSA key");
    let (exponent, modulus) = positive(exponent).zip(positive(modulus)).ok_or_else(numbers)?;
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(BadKey::Unsupported(format!(
            "an RSA key of {bits} bits is not accepted, only {} to {} bits",
            RSA_BITS.start(),
            RSA_BITS.end()
        )));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    if !odd(modulus) || !odd(exponent) || exponent == [1] || exponent.len() > 4 {
        return Err(numbers());
    }
    Ok(())
}

/// The digits of a positive SSH `mpint`; it has a leading zero byte exactly when the top bit is set.
fn positive(mpint: &[u8]) -> Option<&[u8]> {
    match mpint {
        [0, 0x80..=0xff, ..] => Some(&mpint[1..]),
        [1..=0x7f, ..] => Some(mpint),
        _ => None,
    }
}

fn key_data(blob: &[u8]) -> Result<Box<KeyData>, BadKey> {
    let key = ssh_key::PublicKey::from_bytes(blob).map_err(|e| malformed(e.to_string()))?;
    // Encoding the parsed key again must give the input: one key, one encoding.
    if key.to_bytes().ok().as_deref() != Some(blob) {
        return Err(malformed("not in canonical encoding"));
    }
    Ok(Box::new(key.key_data().clone()))
}

fn check_ed25519(key: &VerifyingKey, data: &[u8], raw: &[u8]) -> Result<(), BadRaw> {
    let raw = <&[u8; 64]>::try_from(raw).map_err(|_| BadRaw::Malformed("an Ed25519 signature has 64 bytes"))?;
    key.verify_strict(data, &ed25519_dalek::Signature::from_bytes(raw)).map_err(|_| BadRaw::Mismatch)
}

fn check_with_library(key: &KeyData, algorithm: Algorithm, data: &[u8], raw: &[u8]) -> Result<(), BadRaw> {
    let signature =
        ssh_key::Signature::new(algorithm, raw).map_err(|_| BadRaw::Malformed("not a signature of this kind"))?;
    key.verify(data, &signature).map_err(|_| BadRaw::Mismatch)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.blob.hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.fingerprint())
    }
}

#[cfg(test)]
mod tests;
