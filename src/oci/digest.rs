//! Content digests. Format 1 has SHA-256 only (MB-OCI-01).

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use super::Invalid;

/// A SHA-256 digest, written `sha256:<64 lower-case hex>`. Nothing else parses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// The first eight bytes as a number: enough to distinguish blobs when counting.
    pub(crate) fn start(&self) -> u64 {
        self.0.first_chunk().map_or(0, |start| u64::from_be_bytes(*start))
    }

    /// Its 32 bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex characters, without the algorithm.
    pub fn hex(&self) -> String {
        use fmt::Write;
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(out, "{byte:02x}");
        }
        out
    }

    /// The digest with these 64 lower-case hex characters.
    pub fn from_hex(hex: &str) -> Result<Digest, Invalid> {
        let raw = hex.as_bytes();
        if raw.len() != 64 {
            return Err(Invalid::new(format!("a sha256 digest has 64 hex characters, not {}", raw.len())));
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(raw.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Digest(out))
    }

    /// `sha256-<hex>`: the form in tags (cosign attachments, referrers) and in names without a colon.
    pub fn dashed(&self) -> String {
        format!("sha256-{}", self.hex())
    }
}

fn nibble(byte: u8) -> Result<u8, Invalid> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(Invalid::new("a digest has lower-case hex characters only")),
    }
}

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Digest, Invalid> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Digest::from_hex(hex),
            Some((algorithm, _)) => {
                Err(Invalid::new(format!("digest algorithm `{algorithm}` is not supported, only sha256")))
            }
            None => Err(Invalid::new("a digest is written sha256:<hex>")),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest incrementally.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// An empty hash.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The endings of the tags that `cosign` gives to what it attaches to an image, `sha256-<hex>.ENDING`: a signature, an
/// attestation, a list of parts.
pub const ATTACHED: [&str; 3] = ["sig", "att", "sbom"];

/// The image that something with this tag is attached to.
pub fn attached_to(tag: &str) -> Option<Digest> {
    let (name, ending) = tag.rsplit_once('.')?;
    let hex = name.strip_prefix("sha256-").filter(|_| ATTACHED.contains(&ending))?;
    Digest::from_hex(hex).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_sha256_of_the_right_length_parses() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().map(|d| d.to_string()), Ok(good.clone()));
        for bad in [
            "sha256:../../x".to_owned(),
            good.to_uppercase(),
            good.replace('a', "A"),
            format!("{good}0"),
            good[..70].to_owned(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            format!("SHA256:{}", "0a".repeat(32)),
            format!("{good}\n"),
            format!("sha256:{}", "٣".repeat(32)),
            format!("sha1:{}", "0a".repeat(20)),
            format!("sha512:{}", "0a".repeat(64)),
            format!("sha256+b64u:{}", "0a".repeat(32)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
