//! Private keys: the files of `ssh-keygen -t ed25519`, with or without a passphrase (OpenSSH `PROTOCOL.key`).
//!
//! Only Ed25519 is supported here; other keys and tokens sign with `ssh-keygen -Y sign`. The public half is always
//! derived from the seed and must equal the one in the file: signing with a wrong public half would reveal the private
//! key (RUSTSEC-2022-0093). Nothing here prints, prompts or touches a file.

use std::fmt;

use ed25519_dalek::SigningKey;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::rand_core::{OsRng, RngCore};
use ssh_key::{Cipher, Kdf, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::armor;
use super::key::PublicKey;
use super::wire::{Reader, ed25519_blob};
use crate::error::{Code, Error, Result};

/// How the message of an error ends when the passphrase was wrong.
pub const WRONG_PASSPHRASE: &str = "wrong passphrase for the private key";

/// The longest accepted private key file, in bytes.
pub(super) const MAX_FILE: usize = 64 * 1024;

/// Rounds of bcrypt-pbkdf that OpenSSH 9.4 and later use.
const ROUNDS: u32 = 24;

/// The most rounds that a file may require: minutes of work, not days.
const MAX_ROUNDS: u32 = 4096;

const LABEL: &str = "OPENSSH PRIVATE KEY";

/// A signing key. Its memory is cleared when it is dropped, and it never appears in debug output.
pub struct SecretKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// Parses a private key file; `passphrase` is called only when the file is encrypted.
    pub fn load(bytes: &[u8], passphrase: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<SecretKey> {
        let mut key = parse(bytes)?;
        if key.is_encrypted() {
            check_encryption(&key)?;
            let passphrase = passphrase()?;
            key = key.decrypt(passphrase.as_bytes()).map_err(|cause| match cause {
                ssh_key::Error::Crypto => Error::new(Code::Usage, WRONG_PASSPHRASE).source(cause),
                cause => damaged(cause.to_string()).source(cause),
            })?;
        }
        let pair = key.key_data().ed25519().ok_or_else(|| damaged("it holds no Ed25519 key"))?;
        let secret = SecretKey::from_seed(pair.private.as_ref(), key.comment());
        let stated = PublicKey::from_blob(&ed25519_blob(&pair.public.0));
        if pair.public.0 != secret.signing.verifying_key().to_bytes() || stated.as_ref() != Ok(&secret.public) {
            return Err(unusable("the public half in the private key file does not match its private half")
                .hint("do not use this file: restore it from a copy, or create a new key"));
        }
        Ok(secret)
    }

    /// Generates a key from the system's random source. `comment` must be one line; it is stored unencrypted.
    pub fn generate(comment: &str) -> Result<SecretKey> {
        if comment.len() > 256 || comment.chars().any(char::is_control) {
            return Err(unusable("the comment of a key must be one line of at most 256 bytes"));
        }
        let mut seed = Zeroizing::new([0u8; 32]);
        OsRng
            .try_fill_bytes(seed.as_mut_slice())
            .map_err(|e| Error::new(Code::Io, "cannot get random bytes from the system").source(e.to_string()))?;
        Ok(SecretKey::from_seed(&seed, comment))
    }

    pub(crate) fn from_seed(seed: &[u8; 32], comment: &str) -> SecretKey {
        let signing = SigningKey::from_bytes(seed);
        let public = PublicKey::derived(signing.verifying_key()).with_comment(comment);
        SecretKey { signing, public }
    }

    /// The text of the private key file, encrypted (bcrypt-pbkdf, aes256-ctr) if a passphrase is given.
    pub fn to_openssh(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>> {
        self.encode(passphrase, ROUNDS)
    }

    fn encode(&self, passphrase: Option<&str>, rounds: u32) -> Result<Zeroizing<String>> {
        let internal = |e: ssh_key::Error| Error::new(Code::Internal, "cannot encode the private key").source(e);
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(self.signing.verifying_key().to_bytes()),
            private: Ed25519PrivateKey::from_bytes(self.signing.as_bytes()),
        };
        let mut key = PrivateKey::new(KeypairData::from(pair), self.public.comment()).map_err(internal)?;
        if let Some(passphrase) = passphrase {
            let mut random = [0u8; 20];
            OsRng
                .try_fill_bytes(&mut random)
                .map_err(|e| Error::new(Code::Io, "cannot get random bytes from the system").source(e.to_string()))?;
            let (salt, check) = random.split_at(16);
            let check = check.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let kdf = Kdf::Bcrypt { salt: salt.to_vec(), rounds };
            key = key.encrypt_with(Cipher::Aes256Ctr, kdf, check, passphrase.as_bytes()).map_err(internal)?;
        }
        key.to_openssh(LineEnding::LF).map_err(internal)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.signing
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public.fingerprint())
    }
}

fn parse(bytes: &[u8]) -> Result<PrivateKey> {
    if bytes.len() > MAX_FILE {
        return Err(damaged(format!("it is longer than {MAX_FILE} bytes")));
    }
    let text = Zeroizing::new([bytes.trim_ascii_end(), b"\n"].concat());
    if !text.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Err(not_private(&text));
    }
    let blob = armor::decode(LABEL, &text).map_err(damaged)?;
    // Checked before the library, which does not know every kind of key.
    let algorithm = algorithm(&blob).ok_or_else(|| damaged("it ends too early"))?;
    if algorithm != "ssh-ed25519" {
        return Err(unusable(format!("a key of type `{algorithm}` cannot sign here, only ssh-ed25519"))
            .hint("sign with it outside: ssh-keygen -Y sign -n mirror-bundle.v1.ROLE -f KEY FILE"));
    }
    PrivateKey::from_bytes(&blob).map_err(|e| damaged(e.to_string()).source(e))
}

/// The type of the public key, which a private key file stores unencrypted.
fn algorithm(blob: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(blob.strip_prefix(b"openssh-key-v1\0")?);
    let (_cipher, _kdf, _options) = (reader.string()?, reader.string()?, reader.string()?);
    let _keys = reader.u32()?;
    Reader::new(reader.string()?).text()
}

fn not_private(text: &[u8]) -> Error {
    let err = unusable("this is not an OpenSSH private key");
    if text.starts_with(b"ssh-") || text.starts_with(b"ecdsa-") || text.starts_with(b"sk-") {
        err.fact("it is the public half of a key").hint("give the file without .pub")
    } else if text.starts_with(b"-----BEGIN ") {
        err.fact("it is a key in another format").hint("rewrite it with: ssh-keygen -p -f FILE")
    } else {
        err.hint("create one with: mirror-bundle keygen FILE")
    }
}

fn check_encryption(key: &PrivateKey) -> Result<()> {
    if key.cipher() != Cipher::Aes256Ctr {
        return Err(unusable(format!("the private key is encrypted with `{}`, not aes256-ctr", key.cipher().as_str()))
            .hint("encrypt it again with: ssh-keygen -p -Z aes256-ctr -f FILE"));
    }
    match key.kdf() {
        Kdf::Bcrypt { rounds, .. } if (1..=MAX_ROUNDS).contains(rounds) => Ok(()),
        Kdf::Bcrypt { rounds, .. } => Err(unusable(format!(
            "the private key asks for {rounds} rounds of bcrypt, and 1 to {MAX_ROUNDS} are accepted"
        ))),
        _ => Err(damaged("it is encrypted without a key derivation")),
    }
}

fn unusable(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message)
}

fn damaged(why: impl Into<String>) -> Error {
    let why: String = why.into();
    unusable("the private key file is damaged").fact(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_seed(&[9; 32], "a comment")
    }

    fn no_passphrase() -> Result<Zeroizing<String>> {
        panic!("asked for a passphrase")
    }

    fn passphrase(text: &str) -> impl FnOnce() -> Result<Zeroizing<String>> {
        let text = Zeroizing::new(text.to_owned());
        move || Ok(text)
    }

    /// The decoded file with `from` replaced by `to`, armored again.
    fn edited(from: &[u8], to: &[u8], every: bool) -> Vec<u8> {
        let mut blob = armor::decode(LABEL, key().to_openssh(None).unwrap().as_bytes()).unwrap().to_vec();
        let mut at = 0;
        while let Some(found) = blob[at..].windows(from.len()).position(|w| w == from) {
            blob.splice(at + found..at + found + from.len(), to.iter().copied());
            at += found + to.len();
            if !every {
                break;
            }
        }
        armor::encode(LABEL, &blob).as_bytes().to_vec()
    }

    #[test]
    fn a_key_survives_its_file_with_and_without_passphrase() {
        let clear = key().to_openssh(None).unwrap();
        let back = SecretKey::load(clear.as_bytes(), no_passphrase).unwrap();
        assert_eq!(back.public(), key().public());
        assert_eq!(back.public().comment(), "a comment");
        let locked = key().encode(Some("pass"), 2).unwrap();
        let back = SecretKey::load(locked.as_bytes(), passphrase("pass")).unwrap();
        assert_eq!(back.signing().to_bytes(), key().signing().to_bytes());
        assert_eq!(back.public().comment(), "a comment");
        for wrong in ["Pass", "", "pass "] {
            let err = SecretKey::load(locked.as_bytes(), passphrase(wrong)).unwrap_err();
            assert_eq!(err.message(), "wrong passphrase for the private key");
        }
    }

    #[test]
    fn a_refused_passphrase_stops_the_load() {
        let locked = key().encode(Some("pass"), 2).unwrap();
        let err = SecretKey::load(locked.as_bytes(), || Err(Error::new(Code::Usage, "no terminal"))).unwrap_err();
        assert_eq!(err.message(), "no terminal");
    }

    #[test]
    fn generated_keys_differ_and_never_show() {
        let (a, b) = (SecretKey::generate("x").unwrap(), SecretKey::generate("x").unwrap());
        assert_ne!(a.public(), b.public());
        assert_eq!(format!("{a:?}"), format!("SecretKey({})", a.public().fingerprint()));
        assert!(SecretKey::generate("two\nlines").is_err());
    }

    #[test]
    fn a_public_half_that_is_not_derived_from_the_private_half_is_refused() {
        let public = key().signing().verifying_key().to_bytes();
        let other = SecretKey::from_seed(&[8; 32], "").signing().verifying_key().to_bytes();
        let everywhere = edited(&public, &other, true);
        let err = SecretKey::load(&everywhere, no_passphrase).unwrap_err();
        assert!(err.message().contains("public half"), "{err:?}");
        let only_outside = edited(&public, &other, false);
        assert!(SecretKey::load(&only_outside, no_passphrase).is_err());
        let private = edited(&[9; 32], &[8; 32], true);
        assert!(SecretKey::load(&private, no_passphrase).is_err());
    }

    #[test]
    fn the_work_that_a_file_asks_for_is_limited() {
        let locked = key().encode(Some("pass"), 1).unwrap();
        let blob = armor::decode(LABEL, locked.as_bytes()).unwrap();
        let at = blob.windows(6).position(|w| w == b"bcrypt").unwrap() + 6 + 4 + 4 + 16;
        assert_eq!(blob[at..at + 4], 1u32.to_be_bytes());
        for rounds in [0, MAX_ROUNDS + 1, u32::MAX] {
            let mut bad = blob.to_vec();
            bad[at..at + 4].copy_from_slice(&rounds.to_be_bytes());
            let err = SecretKey::load(armor::encode(LABEL, &bad).as_bytes(), no_passphrase).unwrap_err();
            assert!(err.message().contains("rounds"), "{err:?}");
        }
    }

    #[test]
    fn other_ciphers_formats_and_public_keys_are_named_with_a_remedy() {
        let pair = PrivateKey::from_openssh(key().to_openssh(None).unwrap().as_bytes()).unwrap();
        let kdf = Kdf::Bcrypt { salt: vec![1; 16], rounds: 1 };
        let cbc = pair.encrypt_with(Cipher::Aes256Cbc, kdf, 1, b"pass").unwrap().to_openssh(LineEnding::LF).unwrap();
        for (text, remedy) in [
            (cbc.to_string(), "-Z aes256-ctr"),
            (key().public().to_line(), "without .pub"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(), "ssh-keygen -p"),
            ("hello".to_owned(), "keygen"),
            (String::new(), "keygen"),
        ] {
            let err = SecretKey::load(text.as_bytes(), no_passphrase).unwrap_err();
            assert!(err.hint_text().is_some_and(|hint| hint.contains(remedy)), "{err:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_at_every_byte() {
        let blob = armor::decode(LABEL, key().to_openssh(None).unwrap().as_bytes()).unwrap();
        for at in 0..blob.len() {
            let mut bad = blob.to_vec();
            bad[at] ^= 1;
            if let Ok(same) = SecretKey::load(armor::encode(LABEL, &bad).as_bytes(), no_passphrase) {
                assert_eq!(same.public(), key().public(), "byte {at}: only the comment may differ");
            }
            assert!(SecretKey::load(armor::encode(LABEL, &blob[..at]).as_bytes(), no_passphrase).is_err());
        }
        assert!(SecretKey::load(&[b'x'; MAX_FILE + 1], no_passphrase).is_err());
    }
}
