//! A Sigstore bundle (cosign 3): the JSON that carries one signature, what it is over, and what may prove who made it.
//!
//! Only version 0.3 with a bare public key is read (MB-COS-07). A certificate or a transparency log entry proves nothing
//! on a host that cannot ask anyone, so a bundle that rests on a certificate is refused here, with its reason.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ImageKey;
use super::statement::{self, Statement};
use crate::oci::{AsObject, Digest, Invalid, json};

/// The media type of a bundle: of the artifact, of its layer, and inside.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What a bundle of any version calls itself.
const FAMILY: &str = "application/vnd.dev.sigstore.bundle";
/// Media type of a bare DSSE envelope, in which cosign 1 and 2 attach attestations.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The only type of payload that is read.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Whether this is the media type of a bundle of some version: `…bundle.v0.3+json`, `…bundle+json;version=0.2`.
pub fn is_bundle(media_type: &str) -> bool {
    media_type.strip_prefix(FAMILY).is_some_and(|rest| rest.starts_with(['.', '+']))
}

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// An in-toto statement, signed in a DSSE envelope.
    Statement {
        /// What was signed.
        statement: Statement,
        /// The bytes that the signature is over.
        signed: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
    /// A signature over a file, here the manifest.
    Message {
        /// What the bundle says the digest of the file is.
        digest: Digest,
        /// The signature.
        signature: Vec<u8>,
    },
}

impl Bundle {
    /// Reads a bundle of version 0.3.
    ///
    /// # Errors
    /// A sentence for another version, a certificate, and whatever two readers could read differently.
    pub fn read(bytes: &[u8]) -> Result<Bundle, Invalid> {
        json::check(bytes, &[])?;
        let AsObject(probe): AsObject<Probe> = object(bytes)?;
        if probe.media_type != MEDIA_TYPE {
            return Err(Invalid::new(format!("it calls itself `{}`, not `{MEDIA_TYPE}`", probe.media_type)));
        }
        let AsObject(raw): AsObject<Raw> = object(bytes)?;
        let AsObject(material) = raw.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(Invalid::new("it names its signer by a certificate; only keys of the trust policy count"));
        }
        if material.public_key.is_none() {
            return Err(Invalid::new("it names no public key"));
        }
        match (raw.dsse_envelope, raw.message_signature) {
            (Some(AsObject(envelope)), None) => envelope.read(),
            (None, Some(AsObject(message))) => message.read(),
            _ => Err(Invalid::new("it must have either `dsseEnvelope` or `messageSignature`")),
        }
    }

    /// Reads a bare DSSE envelope, as the envelope of a bundle is read. It is an attestation and never signs an image.
    ///
    /// # Errors
    /// A sentence for whatever two readers could read differently.
    pub fn envelope(bytes: &[u8]) -> Result<Bundle, Invalid> {
        json::check(bytes, &[])?;
        let AsObject(envelope): AsObject<Envelope> =
            serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("it is no DSSE envelope: {e}")))?;
        envelope.read()
    }

    /// Whether it is a signature of an image, not an attestation about one.
    pub fn signs_images(&self) -> bool {
        match self {
            Bundle::Statement { statement, .. } => statement.signs_images(),
            Bundle::Message { .. } => true,
        }
    }

    /// What kind of statement it is.
    pub fn predicate_type(&self) -> Option<&str> {
        match self {
            Bundle::Statement { statement, .. } => Some(&statement.predicate_type),
            Bundle::Message { .. } => None,
        }
    }

    /// Whether it is about the document with this digest.
    pub fn is_about(&self, image: &Digest) -> bool {
        match self {
            Bundle::Statement { statement, .. } => statement.is_about(image),
            Bundle::Message { digest, .. } => digest == image,
        }
    }

    /// Whether the signer may have meant this repository; `named`: whether it has to be named. A message signature
    /// names none.
    ///
    /// # Errors
    /// A sentence that says what is named instead.
    pub fn is_of(&self, image: &Digest, repository: Option<&str>, named: bool) -> Result<(), String> {
        match self {
            Bundle::Statement { statement, .. } => statement.is_of(image, repository, named),
            Bundle::Message { .. } => statement::names(None, image, repository, named),
        }
    }

    /// Whether `key` signed it. `document`: the bytes of the manifest, which a message signature is over.
    pub fn is_by(&self, key: &ImageKey, document: &[u8]) -> bool {
        match self {
            Bundle::Statement { signed, signature, .. } => key.verify(signed, signature),
            Bundle::Message { digest, signature } => Digest::of(document) == *digest && key.verify(document, signature),
        }
    }
}

fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("it is no Sigstore bundle: {e}")))
}

fn base64(text: &str, what: &str) -> Result<Vec<u8>, Invalid> {
    STANDARD.decode(text).map_err(|_| Invalid::new(format!("{what} is not base64")))
}

#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "mediaType")]
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(rename = "mediaType")]
    _media_type: IgnoredAny,
    verification_material: AsObject<Material>,
    dsse_envelope: Option<AsObject<Envelope>>,
    message_signature: Option<AsObject<Message>>,
}

/// What may prove who signed. Of a public key the hint is for people who look for the key: it is not believed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Option<AsObject<Hint>>,
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
    #[serde(rename = "tlogEntries")]
    _tlog_entries: Option<IgnoredAny>,
    #[serde(rename = "timestampVerificationData")]
    _timestamps: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    #[serde(rename = "hint")]
    _hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<AsObject<Signature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(rename = "keyid")]
    _keyid: Option<String>,
}

impl Envelope {
    fn read(self) -> Result<Bundle, Invalid> {
        if self.payload_type != IN_TOTO {
            return Err(Invalid::new(format!("its payload is `{}`, not `{IN_TOTO}`", self.payload_type)));
        }
        let [AsObject(one)] = self.signatures.as_slice() else {
            return Err(Invalid::new(format!("its envelope has {} signatures, not one", self.signatures.len())));
        };
        let (payload, signature) = (base64(&self.payload, "its payload")?, base64(&one.sig, "its signature")?);
        let statement = statement::read(&payload)?;
        Ok(Bundle::Statement { statement, signed: pre_authentication(IN_TOTO, &payload), signature })
    }
}

/// What a DSSE signature is over: type and payload, each with its length (DSSE 1.0, "PAE").
fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Message {
    message_digest: AsObject<Sum>,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    algorithm: String,
    digest: String,
}

impl Message {
    fn read(self) -> Result<Bundle, Invalid> {
        let AsObject(sum) = self.message_digest;
        if sum.algorithm != "SHA2_256" {
            return Err(Invalid::new(format!("its digest is by `{}`, not `SHA2_256`", sum.algorithm)));
        }
        let hex: String = base64(&sum.digest, "its digest")?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Bundle::Message { digest: Digest::from_hex(&hex)?, signature: base64(&self.signature, "its signature")? })
    }
}

#[cfg(test)]
mod tests;
