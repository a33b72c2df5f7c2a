//! The only code of this program that writes an image index or a manifest.

use serde::{Serialize, Serializer};

use super::{Descriptor, media_type};

/// An OCI image index with these entries: the `index.json` of a bundle, a new image layout, or a list of referrers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexOf(pub Vec<Descriptor>);

impl IndexOf {
    /// Compact JSON.
    ///
    /// # Errors
    /// None known: JSON can represent every index.
    pub fn to_vec(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Indented JSON: two spaces, LF, a final LF.
    ///
    /// # Errors
    /// As [`IndexOf::to_vec`].
    pub fn to_vec_pretty(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Serialize for IndexOf {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        ListOf { media_type: media_type::OCI_INDEX, manifests: &self.0 }.serialize(to)
    }
}

/// A list of images of either form, with the entries in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOf<'a> {
    /// [`media_type::OCI_INDEX`] or [`media_type::DOCKER_LIST`].
    pub media_type: &'a str,
    /// The images.
    pub manifests: &'a [Descriptor],
}

impl Serialize for ListOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            schema_version: u32,
            media_type: &'a str,
            manifests: &'a [Descriptor],
        }
        Document { schema_version: 2, media_type: self.media_type, manifests: self.manifests }.serialize(to)
    }
}

/// An image manifest, for images that this program makes or whose source has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestOf<'a> {
    /// [`media_type::OCI_MANIFEST`] or [`media_type::DOCKER_MANIFEST`].
    pub media_type: &'a str,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl ManifestOf<'_> {
    /// Compact JSON.
    ///
    /// # Errors
    /// None that are known: a manifest has nothing that JSON cannot hold.
    pub fn to_vec(&self) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            schema_version: u32,
            media_type: &'a str,
            config: &'a Descriptor,
            layers: &'a [Descriptor],
        }
        let (config, layers) = (&self.config, self.layers.as_slice());
        serde_json::to_vec(&Document { schema_version: 2, media_type: self.media_type, config, layers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::oci::{Digest, Document, Platform, parse};

    #[test]
    fn an_index_that_is_written_reads_back_with_every_entry() {
        let mut full = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"a"), 1);
        full.platform = Some(Platform { os: "linux".into(), architecture: "arm64".into(), variant: Some("v8".into()) });
        full.artifact_type = Some("application/x".into());
        full.annotations = [("k".to_owned(), "\"v\"\n".to_owned())].into();
        let plain = Descriptor::new(media_type::DOCKER_LIST, Digest::of(b"b"), u64::MAX / 2);
        let index = IndexOf(vec![full, plain]);
        for bytes in [index.to_vec().unwrap(), index.to_vec_pretty().unwrap()] {
            let Document::Index(read) = parse(&bytes, media_type::OCI_INDEX).unwrap() else { panic!("not an index") };
            assert_eq!(read.manifests, index.0);
        }
    }

    #[test]
    fn what_an_entry_does_not_have_is_not_written() {
        let digest = Digest::of(b"a");
        let index = IndexOf(vec![Descriptor::new(media_type::OCI_MANIFEST, digest, 7)]);
        let entry = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":7}}"#, media_type::OCI_MANIFEST);
        let expected =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entry}]}}"#, media_type::OCI_INDEX);
        assert_eq!(String::from_utf8(index.to_vec().unwrap()).unwrap(), expected);
    }
}
