//! How one blob is carried.

use serde::{Deserialize, Serialize};

use crate::bundle::index::{self, Blob};
use crate::bundle::limits;
use crate::oci::Digest;
use crate::regzip::{MAX_HEADER, MIN_HEADER, header_length};

/// A blob that is not carried as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its position in the index, from 0.
    pub blob: u32,
    /// How it is carried.
    #[serde(rename = "as")]
    pub form: As,
    /// Where it was in the base, for an absent blob that the images of this bundle do not lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Size of the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the blob holds, uncompressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tar: Option<Tar>,
    /// How the blob is made from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<Gzip>,
    /// How the member holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// How a blob is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum As {
    /// Not at all: the receiver has it.
    Absent,
    /// As a member from which it is restored.
    Encoded,
}

/// Uncompressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tar {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// How a gzip blob is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gzip {
    /// In one stream, or in blocks.
    pub method: GzipForm,
    /// By which encoder.
    pub encoder: Encoder,
    /// At which level.
    pub level: u8,
    /// Size of the blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u32>,
    /// The gzip header, in hex.
    pub header: String,
}

/// How gzip content is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GzipForm {
    /// In blocks, as klauspost/pgzip does.
    Pgzip,
    /// In one stream.
    Gzip,
}

/// An encoder that can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoder {
    /// klauspost/compress, first family.
    #[serde(rename = "klauspost-a")]
    KlauspostA,
    /// klauspost/compress, second family, and Go from 1.27 on.
    #[serde(rename = "klauspost-b")]
    KlauspostB,
    /// Go up to 1.26.
    #[serde(rename = "go126")]
    Go126,
}

/// How a member holds uncompressed content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The method.
    pub method: ContentForm,
    /// Position of the reference of a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<u32>,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentForm {
    /// One zstd frame.
    #[serde(rename = "zstd")]
    Zstd,
    /// A difference to a reference.
    #[serde(rename = "delta-1")]
    Delta1,
}

impl ContentForm {
    /// The word in a carriage.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentForm::Zstd => "zstd",
            ContentForm::Delta1 => "delta-1",
        }
    }
}

impl Entry {
    /// A blob that is not carried.
    pub fn absent(blob: usize, repositories: Vec<String>) -> Entry {
        let blob = u32::try_from(blob).unwrap_or(u32::MAX);
        let (form, size, digest, tar, gzip, content) = (As::Absent, None, None, None, None, None);
        Entry { blob, form, repositories, size, digest, tar, gzip, content }
    }

    /// Its position in the index.
    pub fn position(&self) -> usize {
        self.blob as usize
    }

    pub(super) fn check(&self, blob: &Blob) -> Result<(), String> {
        let Entry { size, digest, tar, gzip, content, .. } = self;
        match (self.form, size, digest, tar, gzip, content) {
            (As::Absent, None, None, None, None, None) => repositories(&self.repositories),
            (As::Encoded, Some(size), Some(_), Some(tar), Some(gzip), Some(content)) => {
                if !self.repositories.is_empty() {
                    return Err("`repositories` is of absent blobs only".to_owned());
                }
                if *size == 0 || *size > blob.size {
                    return Err(format!("a member of {size} bytes for a blob of {}", blob.size));
                }
                tar.check(blob.size)?;
                gzip.check()?;
                content.check()
            }
            (As::Absent, ..) => Err("an absent blob has no member".to_owned()),
            (As::Encoded, ..) => Err("it does not say how the blob is restored".to_owned()),
        }
    }
}

impl Tar {
    /// Whether this much can come out of a gzip blob of this size.
    pub(super) fn check(&self, blob: u64) -> Result<(), String> {
        let most = blob.saturating_mul(limits::RATIO).saturating_add(64 << 10).min(limits::TAR);
        match self.size {
            0 => Err("an uncompressed content of no bytes".to_owned()),
            size if size > most => Err(format!("an uncompressed content of {size} bytes, over the limit of {most}")),
            _ => Ok(()),
        }
    }
}

impl Gzip {
    fn check(&self) -> Result<(), String> {
        let levels: &[u8] = if self.encoder == Encoder::Go126 { &[1, 6] } else { &[1, 5, 6] };
        if !levels.contains(&self.level) {
            return Err(format!("the encoder has no level {}", self.level));
        }
        match (self.method, self.block_size) {
            (GzipForm::Pgzip, Some(1_048_576 | 262_144)) if self.encoder == Encoder::Go126 => {
                return Err("the encoder writes no blocks".to_owned());
            }
            (GzipForm::Pgzip, Some(1_048_576 | 262_144)) | (GzipForm::Gzip, None) => {}
            _ => return Err("`blockSize` does not fit the method".to_owned()),
        }
        let header = self.header_bytes().ok_or("`header` is not 10 to 256 bytes in hex")?;
        match header_length(&header) == Some(header.len()) {
            true => Ok(()),
            false => Err("`header` is not one gzip header".to_owned()),
        }
    }

    /// The header, if it is 10 to 256 bytes in lower-case hex.
    pub(in crate::bundle) fn header_bytes(&self) -> Option<Vec<u8>> {
        let hex = self.header.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex
            || !self.header.len().is_multiple_of(2)
            || !(2 * MIN_HEADER..=2 * MAX_HEADER).contains(&self.header.len())
        {
            return None;
        }
        let digits = self.header.as_bytes().chunks(2);
        digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
    }
}

impl Content {
    fn check(&self) -> Result<(), String> {
        match (self.method, self.reference) {
            (ContentForm::Zstd, None) | (ContentForm::Delta1, Some(_)) => Ok(()),
            _ => Err("`reference` does not fit the method".to_owned()),
        }
    }
}

/// Names of repositories: sorted, each once, at most [`limits::REPOSITORIES`].
pub(super) fn repositories(all: &[String]) -> Result<(), String> {
    if all.len() > limits::REPOSITORIES || !all.is_sorted_by(|a, b| a < b) {
        return Err(format!("`repositories` is not sorted, or has more than {} entries", limits::REPOSITORIES));
    }
    all.iter().try_for_each(|one| match one.is_empty() {
        true => Err("`repositories` has an empty name".to_owned()),
        false => index::text("repositories", one),
    })
}
