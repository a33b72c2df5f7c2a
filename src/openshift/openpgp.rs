//! Verifies one OpenPGP release signature: did the holder of a pinned key sign this digest as a release?
//!
//! Input: bytes, keyring, digest and time; output: a verdict. The rules are in `spec/release-signatures.md`. The
//! cluster (library-go `pkg/verify`) should accept everything that is accepted here, and genuine signatures must
//! always pass: version 3 packets, an old key with a SHA-1 self-signature, keys that have expired since. This module
//! reads no files and no clock, and does not decide which keyrings matter.

use sequoia_openpgp as pgp;

use pgp::Packet;
use pgp::packet::Signature;
use pgp::packet::signature::subpacket::SubpacketTag;
use pgp::parse::Parse;
use pgp::types::{HashAlgorithm, SignatureType};

use super::certificate::{Candidate, date, seconds};
pub use super::certificate::{Keyring, MAX_CERTS, MAX_KEYRING_BYTES};
pub use super::framing::MAX_SIGNATURE_BYTES;
use super::framing::{self, Message};
use crate::error::{Code, Error};
use crate::oci::{Digest, Invalid};
pub use crate::sign::claim::Claim;
use crate::sign::claim::{self, Fault, Form};

/// How far in the future a signature may be dated, in seconds: clocks behind an air gap drift.
const TOLERANCE: i64 = 24 * 60 * 60;

/// A good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The primary key's fingerprint, upper-case hex.
    pub fingerprint: String,
    /// The key's user id, as the keyring has it.
    pub user_id: Option<String>,
    /// Its creation time, as it claims, in seconds since 1970 (UTC).
    pub signed_at: i64,
    /// The signed claim.
    pub claim: Claim,
    /// Accepted weaknesses, as half sentences: what would not be acceptable in a new signature.
    pub notices: Vec<String>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The file is not a signed message of the one accepted shape.
    #[error("not a release signature file: {0}")]
    NotASignature(String),
    /// No pinned key has this key id.
    #[error("no release signature for {} by a key you trust", short_digest(&.digest.to_string()))]
    UnknownKey {
        /// The requested digest.
        digest: Digest,
        /// The 16 hex digits of the key id in the file.
        key_id: String,
    },
    /// A pinned key that may not be used for this signature: revoked, expired before it, too weak.
    #[error("release key {} was not usable: {why}", short_key(.fingerprint))]
    KeyNotUsable {
        /// The primary key's fingerprint.
        fingerprint: String,
        /// Half a sentence.
        why: String,
    },
    /// The signature itself is not valid: wrong, weak, expired, dated in the future.
    #[error("the release signature by key {} does not hold: {why}", short_key(.fingerprint))]
    BadSignature {
        /// The primary key's fingerprint.
        fingerprint: String,
        /// Half a sentence.
        why: String,
    },
    /// Signed by a pinned key, but not a claim about a release image that the cluster would accept.
    #[error("what release key {} signed is not a release claim: {why}", short_key(.fingerprint))]
    BadClaim {
        /// The primary key's fingerprint.
        fingerprint: String,
        /// Half a sentence.
        why: String,
    },
    /// A good signature over another digest.
    #[error("the release signature is for {}, not for {}", short_digest(.signed), short_digest(&.asked.to_string()))]
    OtherDigest {
        /// The requested digest.
        asked: Digest,
        /// The signed digest, as written.
        signed: String,
    },
}

impl Rejected {
    /// The stable name of the reason, for machine-readable reports.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejected::NotASignature(_) => "not-a-signature",
            Rejected::UnknownKey { .. } => "unknown-key",
            Rejected::KeyNotUsable { .. } => "key-not-usable",
            Rejected::BadSignature { .. } => "bad-signature",
            Rejected::BadClaim { .. } => "bad-claim",
            Rejected::OtherDigest { .. } => "other-digest",
        }
    }

    /// How close it came to a good signature; the closest rejection is reported.
    fn nearness(&self) -> u8 {
        match self {
            Rejected::NotASignature(_) => 0,
            Rejected::UnknownKey { .. } => 1,
            Rejected::BadSignature { .. } => 2,
            Rejected::KeyNotUsable { .. } => 3,
            Rejected::BadClaim { .. } => 4,
            Rejected::OtherDigest { .. } => 5,
        }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Error {
        let error = Error::new(Code::ReleaseUnverified, rejected.to_string());
        match rejected {
            Rejected::NotASignature(_) => error,
            Rejected::UnknownKey { digest, key_id } => {
                error.fact(format!("digest {digest}")).fact(format!("made by key id {key_id}"))
            }
            Rejected::KeyNotUsable { fingerprint, .. }
            | Rejected::BadSignature { fingerprint, .. }
            | Rejected::BadClaim { fingerprint, .. } => error.fact(format!("key {fingerprint}")),
            Rejected::OtherDigest { asked, signed } => {
                error.fact(format!("expected {asked}")).fact(format!("signed   {signed}"))
            }
        }
    }
}

/// Verifies one signature file for `digest` with the keys of `keyring`, at the time `now` (seconds since 1970).
///
/// The claim is parsed only after its signature was verified.
pub fn verify(bytes: &[u8], keyring: &Keyring, digest: &Digest, now: i64) -> Result<Verified, Rejected> {
    let message = framing::read(bytes).map_err(|e| Rejected::NotASignature(e.0))?;
    let signature = signature_packet(&message).map_err(|e| Rejected::NotASignature(e.0))?;
    let key_id = message.one_pass.key_id;
    let mut worth_telling = Rejected::UnknownKey { digest: *digest, key_id: pgp::KeyID::from_bytes(&key_id).to_hex() };
    for key in keyring.keys(key_id) {
        match verify_with(&key, &signature, &message, digest, now) {
            Ok(verified) => return Ok(verified),
            Err(rejected) if rejected.nearness() > worth_telling.nearness() => worth_telling = rejected,
            Err(_) => {}
        }
    }
    Err(worth_telling)
}

/// The first of `signatures` that [`verify`] accepts, with its position in the list; or the most useful rejection. An
/// empty list is [`Rejected::NotASignature`].
pub fn first_good(
    signatures: &[Vec<u8>],
    keyring: &Keyring,
    digest: &Digest,
    now: i64,
) -> Result<(usize, Verified), Rejected> {
    let mut worth_telling: Option<Rejected> = None;
    for (at, bytes) in signatures.iter().enumerate() {
        match verify(bytes, keyring, digest, now) {
            Ok(verified) => return Ok((at, verified)),
            Err(rejected) if worth_telling.as_ref().is_none_or(|old| rejected.nearness() > old.nearness()) => {
                worth_telling = Some(rejected);
            }
            Err(_) => {}
        }
    }
    Err(worth_telling.unwrap_or_else(|| Rejected::NotASignature("there is none".to_owned())))
}

fn verify_with(
    key: &Candidate<'_>,
    signature: &Signature,
    message: &Message,
    digest: &Digest,
    now: i64,
) -> Result<Verified, Rejected> {
    let fingerprint = key.fingerprint().to_hex();
    let bad = |why: String| Rejected::BadSignature { fingerprint: fingerprint.clone(), why };
    let created = signature.signature_creation_time().ok_or_else(|| bad("it has no date".to_owned()))?;
    let signed_at = seconds(created);
    let usable = key.usable(signed_at, now);
    let usable = usable.map_err(|why| Rejected::KeyNotUsable { fingerprint: fingerprint.clone(), why })?;

    acceptable(signature, now).map_err(bad)?;
    let content = hashed_content(signature, &message.content).map_err(bad)?;
    signature.verify_message(&key.key, &content).map_err(|_| bad("the content or the signature was changed".into()))?;
    // The cluster compares the first two bytes of the hash, which the packet repeats; OpenPGP does not require them to
    // be right.
    if !signature.computed_digest().is_some_and(|d| d.starts_with(signature.digest_prefix())) {
        return Err(bad("its hash does not start with the two bytes that it repeats".to_owned()));
    }

    let claim = claim::read(&message.content, Form::Release, digest).map_err(|fault| match fault {
        Fault::Digest(signed) => Rejected::OtherDigest { asked: *digest, signed },
        Fault::Other(why) => Rejected::BadClaim { fingerprint: fingerprint.clone(), why },
    })?;
    let mut notices = usable.notices;
    if claim.timestamp.is_some_and(|t| t > now.saturating_add(TOLERANCE)) {
        notices.push("the claim's informal time stamp is in the future".to_owned());
    }
    Ok(Verified { fingerprint, user_id: usable.user_id, signed_at, claim, notices })
}

/// Passes the signature packet, in a new definite-length frame, to the OpenPGP library, and checks that it is the
/// announced signature (the cluster takes hash, type and key from the announcement).
fn signature_packet(message: &Message) -> Result<Signature, Invalid> {
    let body = &message.signature;
    if !matches!(body.first(), Some(3 | 4)) {
        return Err(Invalid::new("only signature packets of version 3 and 4 are accepted"));
    }
    let length = u32::try_from(body.len()).map_err(|_| Invalid::new("an oversized signature packet"))?;
    let framed = [&[0xc2, 0xff][..], &length.to_be_bytes(), body].concat();
    let Ok(Packet::Signature(signature)) = Packet::from_bytes(&framed) else {
        return Err(Invalid::new("a signature packet that does not parse"));
    };
    let announced = message.one_pass;
    let same = u8::from(signature.typ()) == announced.kind
        && u8::from(signature.hash_algo()) == announced.hash
        && u8::from(signature.pk_algo()) == announced.algorithm
        && signature.get_issuers().iter().all(|i| pgp::KeyID::from(i) == pgp::KeyID::from_bytes(&announced.key_id));
    if same { Ok(signature) } else { Err(Invalid::new("the signature is not the one announced before the content")) }
}

/// Hash, date and attributes of the signature (MB-REL-10 to MB-REL-14).
fn acceptable(signature: &Signature, now: i64) -> Result<(), String> {
    use HashAlgorithm::{SHA256, SHA384, SHA512};
    if !matches!(signature.hash_algo(), SHA256 | SHA384 | SHA512) {
        return Err(format!("it uses {}, not SHA-256, SHA-384 or SHA-512", signature.hash_algo()));
    }
    let made = signature.signature_creation_time().map_or(i64::MAX, seconds);
    if made > now.saturating_add(TOLERANCE) {
        return Err(format!("it was made on {}, in the future", date(made)));
    }
    if let Some(expiry) = signature.signature_expiration_time().map(seconds)
        && expiry <= now
    {
        return Err(format!("it expired on {}", date(expiry)));
    }
    let plain = [SubpacketTag::SignatureCreationTime, SubpacketTag::SignatureExpirationTime, SubpacketTag::Issuer];
    for (hashed, area) in [(true, signature.hashed_area()), (false, signature.unhashed_area())] {
        for part in area.iter() {
            // library-go fails on unknown critical subpackets, and on a date outside the hashed area.
            let fine = if hashed { &plain[..] } else { &plain[2..] };
            let refused = part.tag() == SubpacketTag::EmbeddedSignature
                || (part.critical() || plain.contains(&part.tag())) && !fine.contains(&part.tag());
            if refused {
                return Err(format!("its attribute {} is not acceptable there", part.tag()));
            }
        }
    }
    Ok(())
}

/// The bytes that were hashed: a text signature has CR LF line ends.
fn hashed_content(signature: &Signature, content: &[u8]) -> Result<Vec<u8>, String> {
    match signature.typ() {
        SignatureType::Binary => Ok(content.to_vec()),
        SignatureType::Text => {
            let lines = content.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let lines: Vec<&[u8]> = lines.collect();
            // Verifiers differ on other CRs; without them they agree.
            let stray = lines.iter().any(|line| line.contains(&b'\r')) || content.ends_with(b"\r");
            if stray { Err("it is a text signature over stray CRs".to_owned()) } else { Ok(lines.join(&b"\r\n"[..])) }
        }
        other => Err(format!("it is a signature of type {other}, not over a message")),
    }
}

/// `567E 347A … FD43 1D51`.
fn short_key(fingerprint: &str) -> String {
    let part = |from: usize, to: usize| fingerprint.get(from..to).unwrap_or_default();
    let end = fingerprint.len();
    match end {
        32.. => format!("{} {} … {} {}", part(0, 4), part(4, 8), part(end - 8, end - 4), part(end - 4, end)),
        _ => fingerprint.to_owned(),
    }
}

/// `sha256:3a51…d70d`; other text unchanged, but truncated.
fn short_digest(text: &str) -> String {
    match text.parse::<Digest>() {
        Ok(digest) => {
            let hex = digest.hex();
            format!("sha256:{}…{}", &hex[..4], &hex[60..])
        }
        Err(_) => format!("`{}`", text.chars().take(80).collect::<String>()),
    }
}
