//! Keyrings of pinned OpenPGP keys, and whether one of their keys could make a signature at a given time.
//!
//! Used by [`super::openpgp`]. Key material is trusted because it was pinned (built in, or given as a file on this
//! host), not because of its self-signature. So a self-signature may use SHA-1, as in older exports of Red Hat's key,
//! but it must verify, and a revoked key is never used (MB-REL-20 to MB-REL-27). This module reads no files and no
//! clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp as pgp;

use pgp::armor::{Kind, Reader, ReaderMode};
use pgp::cert::prelude::*;
use pgp::crypto::mpi::PublicKey;
use pgp::packet::signature::subpacket::SubpacketValue;
use pgp::packet::{Key, Signature, key};
use pgp::parse::Parse;
use pgp::policy::{HashAlgoSecurity, Policy};
use pgp::types::{HashAlgorithm, PublicKeyAlgorithm, SignatureType};

use crate::oci::Invalid;

/// The largest keyring file, in bytes.
pub const MAX_KEYRING_BYTES: usize = 1 << 20;
/// The most keys in one keyring.
pub const MAX_CERTS: usize = 64;

/// Red Hat's release key 2, 567E347AD0044ADE55BA8A5F199E2F91FD431D51, RSA-4096, as OCP payloads carry it since its
/// self-signature was renewed with SHA-256. Byte for byte `keys/verifier-public-key-redhat-release` of
/// openshift/cluster-update-keys 3b5c59cc6461 (Apache-2.0); sha256 of the file is in `testdata/MANIFEST.tsv`.
const REDHAT: &[u8] = include_bytes!("keys/redhat-release-key-2.asc");

/// Public keys that are pinned under one name. A signature by any one of them counts.
#[derive(Clone, Debug)]
pub struct Keyring {
    name: String,
    certs: Vec<Cert>,
}

impl Keyring {
    /// The built-in keyring: Red Hat's release key 2 only (not the beta key).
    pub fn redhat() -> Result<Keyring, Invalid> {
        Keyring::parse("redhat-release-key-2", REDHAT)
    }

    /// Reads a keyring file: binary, or armored with one or more blocks (text around them is ignored), at most
    /// [`MAX_KEYRING_BYTES`] and [`MAX_CERTS`]. Copies of one key are merged, so a revocation in any of them counts.
    ///
    /// One damaged key refuses the whole file, as the cluster does; secret keys are refused too.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Keyring, Invalid> {
        let refuse = |why: String| Invalid::new(format!("keyring `{name}`: {why}"));
        if bytes.len() > MAX_KEYRING_BYTES {
            return Err(refuse(format!("larger than {MAX_KEYRING_BYTES} bytes")));
        }
        let blocks = if bytes.first().is_some_and(|b| b & 0x80 != 0) {
            vec![bytes.to_vec()]
        } else {
            armored_blocks(bytes).map_err(refuse)?
        };
        let mut certs: Vec<Cert> = Vec::new();
        for block in blocks {
            for cert in CertParser::from_bytes(&block).map_err(|e| refuse(format!("not OpenPGP keys: {e}")))? {
                let cert = cert.map_err(|e| refuse(format!("a damaged key: {e}")))?;
                check_cert(&cert).map_err(refuse)?;
                certs = merge(certs, cert).map_err(refuse)?;
                if certs.len() > MAX_CERTS {
                    return Err(refuse(format!("more than {MAX_CERTS} keys")));
                }
            }
        }
        if certs.is_empty() {
            return Err(refuse("holds no public key".to_owned()));
        }
        Ok(Keyring { name: name.to_owned(), certs })
    }

    /// The name of the keyring in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fingerprints of its primary keys, upper-case hex, in the order of the file.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> + '_ {
        self.certs.iter().map(|cert| cert.fingerprint().to_hex())
    }

    /// Every key, primary or subkey, with this key id.
    pub(super) fn keys(&self, id: [u8; 8]) -> impl Iterator<Item = Candidate<'_>> {
        let id = pgp::KeyID::from_bytes(&id);
        self.certs.iter().flat_map(move |cert| {
            let id = id.clone();
            cert.keys().filter(move |k| k.key().keyid() == id).map(move |k| Candidate { cert, key: k.key().clone() })
        })
    }
}

fn armored_blocks(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
    const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
    let text = String::from_utf8_lossy(bytes);
    if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
        return Err("holds a private key".to_owned());
    }
    let mut blocks = Vec::new();
    let mut rest = text.as_ref();
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let length = block.find(END).ok_or("an armored key block has no end")? + END.len();
        if block[BEGIN.len()..length].contains(BEGIN) {
            return Err("an armored key block has no end".to_owned());
        }
        let mut binary = Vec::new();
        let mut reader = Reader::from_bytes(&block.as_bytes()[..length], ReaderMode::Tolerant(Some(Kind::PublicKey)));
        std::io::Read::read_to_end(&mut reader, &mut binary).map_err(|e| format!("damaged armor: {e}"))?;
        if binary.is_empty() {
            return Err("an armored key block is empty".to_owned());
        }
        blocks.push(binary);
        if blocks.len() > MAX_CERTS {
            return Err(format!("more than {MAX_CERTS} armored blocks"));
        }
        rest = &block[length..];
    }
    if blocks.is_empty() { Err("holds no OpenPGP public key".to_owned()) } else { Ok(blocks) }
}

fn check_cert(cert: &Cert) -> Result<(), String> {
    if cert.is_tsk() {
        return Err(format!("holds the private key {}", cert.fingerprint()));
    }
    if cert.userids().next().is_none() {
        return Err(format!("a damaged key: {} has no user id", cert.fingerprint()));
    }
    Ok(())
}

fn merge(mut certs: Vec<Cert>, cert: Cert) -> Result<Vec<Cert>, String> {
    match certs.iter().position(|known| known.fingerprint() == cert.fingerprint()) {
        Some(at) => {
            let known = certs.remove(at);
            certs.insert(at, known.merge_public(cert).map_err(|e| format!("two copies of a key do not match: {e}"))?);
        }
        None => certs.push(cert),
    }
    Ok(certs)
}

/// A key with the requested id.
pub(super) struct Candidate<'a> {
    cert: &'a Cert,
    pub(super) key: Key<key::PublicParts, key::UnspecifiedRole>,
}

/// Details of a key that could sign.
pub(super) struct Usable {
    pub(super) user_id: Option<String>,
    pub(super) notices: Vec<String>,
}

impl Candidate<'_> {
    /// The fingerprint of the certificate (its primary key), which is what people pin.
    pub(super) fn fingerprint(&self) -> pgp::Fingerprint {
        self.cert.fingerprint()
    }

    /// Whether this key could make a release signature at `signed` (seconds since 1970), as of `now`. The error
    /// completes "was not usable:".
    pub(super) fn usable(&self, signed: i64, now: i64) -> Result<Usable, String> {
        let primary = self.cert.primary_key();
        strong(primary.key().role_as_unspecified())?;
        strong(&self.key)?;
        self.not_revoked()?;
        let at = time(signed).ok_or("its signature has an impossible date")?;
        if at < self.key.creation_time() {
            return Err("the signature is older than the key".to_owned());
        }

        let mut notices = Vec::new();
        let (valid, key) = self.bound(at, &mut notices)?;
        if !key.for_signing() {
            return Err("it is not a signing key".to_owned());
        }
        for expiry in [valid.primary_key().key_expiration_time(), key.key_expiration_time()].into_iter().flatten() {
            if at >= expiry {
                return Err(format!("it expired on {}, before the signature was made", date(seconds(expiry))));
            }
            let notice = format!("key expired on {}; accepted because the signature is older", date(seconds(expiry)));
            if now >= seconds(expiry) && !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        let weak = [valid.primary_key().binding_signature(), key.binding_signature()];
        if weak.iter().any(|s| s.hash_algo() == HashAlgorithm::SHA1) {
            notices.push("key self-signature uses SHA-1; accepted because the key itself is pinned".to_owned());
        }
        let user_id = valid.primary_userid().ok().map(|u| String::from_utf8_lossy(u.userid().value()).into_owned());
        Ok(Usable { user_id, notices })
    }

    fn not_revoked(&self) -> Result<(), String> {
        let primary = self.cert.primary_key();
        let own = primary.self_revocations().chain(primary.other_revocations()).count();
        let sub = self.cert.keys().subkeys().filter(|k| k.key().fingerprint() == self.key.fingerprint());
        let sub = sub.map(|k| k.self_revocations().chain(k.other_revocations()).count()).sum::<usize>();
        if own + sub > 0 {
            return Err("it is revoked".to_owned());
        }
        let revocation =
            |s: &Signature| matches!(s.typ(), SignatureType::KeyRevocation | SignatureType::SubkeyRevocation);
        if self.cert.bad_signatures().any(revocation) {
            return Err("it carries a revocation that cannot be checked".to_owned());
        }
        Ok(())
    }

    /// The certificate and the key as of `at`. If all self-signatures in the keyring are younger (a renewed key,
    /// exported with its newest self-signature only), as of the oldest of them.
    fn bound(
        &self,
        at: SystemTime,
        notices: &mut Vec<String>,
    ) -> Result<(ValidCert<'_>, ValidErasedKeyAmalgamation<'_, key::PublicParts>), String> {
        const TRIES: usize = 16;
        let mut times: Vec<SystemTime> = self
            .cert
            .primary_key()
            .self_signatures()
            .chain(self.cert.userids().flat_map(|u| u.self_signatures()))
            .chain(self.cert.keys().subkeys().flat_map(|k| k.self_signatures()))
            .filter_map(|s| s.signature_creation_time())
            .filter(|t| *t > at)
            .collect();
        times.sort();
        times.dedup();
        let mut first = None;
        for time in std::iter::once(at).chain(times).take(TRIES) {
            match self.bound_at(time) {
                Ok(bound) => {
                    if time != at {
                        notices.push("the key's self-signature is younger than the release signature".to_owned());
                    }
                    return Ok(bound);
                }
                Err(why) => {
                    first.get_or_insert(why);
                }
            }
        }
        Err(first.unwrap_or_else(|| "it has no self-signature".to_owned()))
    }

    fn bound_at(
        &self,
        time: SystemTime,
    ) -> Result<(ValidCert<'_>, ValidErasedKeyAmalgamation<'_, key::PublicParts>), String> {
        let valid =
            self.cert.with_policy(&Pinned, time).map_err(|e| format!("its self-signature is not valid: {e}"))?;
        let key = valid.keys().find(|k| k.key().fingerprint() == self.key.fingerprint());
        let key = key.ok_or("nothing valid binds it to its primary key")?;
        Ok((valid, key))
    }
}

/// RSA of at least 2048 bits: what the vendor uses and the cluster's verifier supports.
fn strong(key: &Key<key::PublicParts, key::UnspecifiedRole>) -> Result<(), String> {
    match (key.pk_algo(), key.mpis()) {
        (PublicKeyAlgorithm::RSAEncryptSign, PublicKey::RSA { n, .. }) if n.bits() >= 2048 => Ok(()),
        (PublicKeyAlgorithm::RSAEncryptSign, PublicKey::RSA { n, .. }) => {
            Err(format!("it is RSA with {} bits, fewer than 2048", n.bits()))
        }
        (algorithm, _) => Err(format!("the cluster accepts RSA only, and it is {algorithm}")),
    }
}

/// The policy for self-signatures of pinned keys: SHA-1 or SHA-2, and no unknown critical subpackets.
#[derive(Debug)]
struct Pinned;

impl Policy for Pinned {
    fn signature(&self, signature: &Signature, _: HashAlgoSecurity) -> pgp::Result<()> {
        let refuse = |what: String| Err(pgp::Error::PolicyViolation(what, None).into());
        match signature.hash_algo() {
            HashAlgorithm::SHA1
            | HashAlgorithm::SHA224
            | HashAlgorithm::SHA256
            | HashAlgorithm::SHA384
            | HashAlgorithm::SHA512 => {}
            other => return refuse(format!("it uses {other}")),
        }
        let unknown =
            |value: &SubpacketValue| matches!(value, SubpacketValue::Unknown { .. } | SubpacketValue::NotationData(_));
        if signature.hashed_area().iter().any(|s| s.critical() && unknown(s.value())) {
            return refuse("it has an unknown critical subpacket".to_owned());
        }
        Ok(())
    }

    fn key(&self, _: &ValidErasedKeyAmalgamation<'_, key::PublicParts>) -> pgp::Result<()> {
        Ok(()) // [`strong`] has checked the two keys that matter.
    }
}

fn time(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Seconds since 1970. OpenPGP times are unsigned, so none is earlier.
pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// A day in UTC, for messages.
pub(super) fn date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => format!("{seconds} seconds after 1970"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_built_in_keyring_is_red_hats_release_key_and_nothing_else() {
        let keys: Vec<String> = Keyring::redhat().unwrap().fingerprints().collect();
        assert_eq!(keys, ["567E347AD0044ADE55BA8A5F199E2F91FD431D51"]);
    }

    #[test]
    fn several_blocks_and_binary_files_are_read_and_copies_merged() {
        let two = [b"a comment\n", REDHAT, b"between\n", REDHAT].concat();
        assert_eq!(Keyring::parse("x", &two).unwrap().certs.len(), 1);
        let binary = armored_blocks(REDHAT).unwrap().remove(0);
        assert_eq!(Keyring::parse("x", &binary).unwrap().certs.len(), 1);
    }

    #[test]
    fn damaged_empty_cut_and_secret_keyrings_are_refused() {
        let binary = armored_blocks(REDHAT).unwrap().remove(0);
        // Key packet: 3 header bytes and 525 of body; the user id is the next packet.
        let key_only = &binary[..3 + (usize::from(binary[1]) << 8 | usize::from(binary[2]))];
        let private = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----".to_vec();
        for bad in [
            Vec::new(),
            b"hello".to_vec(),
            REDHAT[..900].to_vec(),
            binary[..200].to_vec(),
            key_only.to_vec(),
            [key_only, binary.as_slice()].concat(),
            vec![0x99; 4096],
            vec![b'a'; MAX_KEYRING_BYTES + 1],
            private,
        ] {
            let err = Keyring::parse("ring", &bad).expect_err("must be refused");
            assert!(err.0.contains("`ring`"), "{err}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damaged_keyrings_never_panic(at in 0usize..1800, byte: u8) {
            let mut bytes = REDHAT.to_vec();
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            let _ = Keyring::parse("x", &bytes);
        }
    }
}
