//! Image manifests and indexes: a checked, typed view of their bytes, which are never re-encoded.

use super::{Descriptor, Digest, Invalid, json, media_type, raw};

/// Member names whose letter case must be exact.
const KNOWN: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
];

/// The most descriptors in one document (MB-LIM-04).
pub(crate) const MAX_DESCRIPTORS: usize = 100_000;

/// A parsed manifest or index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "both own their descriptors; a box would not save memory that matters")]
pub enum Document {
    /// An image manifest.
    Manifest(Manifest),
    /// An index or manifest list.
    Index(Index),
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first. A layer may repeat.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one (a signature, an attestation) refers to.
    pub subject: Option<Descriptor>,
    /// The artifact type, if it is not an ordinary image.
    pub artifact_type: Option<String>,
    /// Annotations of the manifest.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// An index or manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The manifests, in the order of the document.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    pub subject: Option<Descriptor>,
}

impl Document {
    /// The manifest that this document refers to.
    pub fn subject(&self) -> Option<Digest> {
        let subject = match self {
            Document::Manifest(m) => &m.subject,
            Document::Index(i) => &i.subject,
        };
        subject.as_ref().map(|s| s.digest)
    }

    /// The content that makes the document complete: config and layers, or the listed manifests.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match self {
            Document::Manifest(m) => (Some(&m.config), &m.layers),
            Document::Index(i) => (None, &i.manifests),
        };
        config.into_iter().chain(rest)
    }
}

/// Parses a manifest or index. `expected` is the media type given outside it (descriptor, header). A list that is `null`
/// or absent is empty, as in Go.
///
/// Refused: a media type inside that differs from the one outside, schema 1, a document that is both kinds, duplicate
/// or case-folded member names, anything after the JSON value (MB-OCI-02, MB-OCI-03).
pub fn parse(bytes: &[u8], expected: &str) -> Result<Document, Invalid> {
    if !media_type::is_index(expected) && !media_type::is_manifest(expected) {
        return Err(Invalid::new(format!("`{expected}` is neither an image manifest nor an index")));
    }
    json::check(bytes, KNOWN)?;
    let raw::Object(probe): raw::Object<Probe> =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    if probe.schema_version != Some(2) {
        return Err(Invalid::new("only schemaVersion 2 is supported"));
    }
    if let Some(inside) = &probe.media_type
        && inside != expected
    {
        return Err(Invalid::new(format!("the document calls itself `{inside}` but was announced as `{expected}`")));
    }
    let both = probe.manifests.is_some() && (probe.layers.is_some() || probe.config.is_some());
    if both {
        return Err(Invalid::new("the document is a manifest and an index at once"));
    }
    if media_type::is_index(expected) {
        if probe.layers.is_some() || probe.config.is_some() {
            return Err(Invalid::new("not an image index: it has `config` or `layers`"));
        }
        index(bytes).map(Document::Index)
    } else {
        manifest(bytes).map(Document::Manifest)
    }
}

/// The media type of a stored document, for sources that record none (`dir:`, `v2/`).
pub fn guess(bytes: &[u8]) -> Result<String, Invalid> {
    json::check(bytes, KNOWN)?;
    let raw::Object(probe): raw::Object<Probe> =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    if let Some(inside) = probe.media_type {
        return Ok(inside);
    }
    match (probe.manifests.is_some(), probe.config.is_some()) {
        (true, false) => Ok(media_type::OCI_INDEX.to_owned()),
        (false, true) => Ok(media_type::OCI_MANIFEST.to_owned()),
        _ => Err(Invalid::new("neither an image manifest nor an index")),
    }
}

#[derive(serde::Deserialize)]
struct Probe {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

fn manifest(bytes: &[u8]) -> Result<Manifest, Invalid> {
    let raw::Object(raw): raw::Object<raw::Manifest> =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not an image manifest: {e}")))?;
    let layers = raw.layers.unwrap_or_default();
    within(layers.len())?;
    Ok(Manifest {
        config: raw.config.0,
        layers: layers.into_iter().map(|layer| layer.0).collect(),
        subject: raw.subject.map(|subject| subject.0),
        artifact_type: raw.artifact_type,
        annotations: raw.annotations.unwrap_or_default(),
    })
}

fn index(bytes: &[u8]) -> Result<Index, Invalid> {
    let raw::Object(raw): raw::Object<raw::Index> =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not an image index: {e}")))?;
    let manifests = raw.manifests.unwrap_or_default();
    within(manifests.len())?;
    Ok(Index {
        manifests: manifests.into_iter().map(|manifest| manifest.0).collect(),
        subject: raw.subject.map(|subject| subject.0),
    })
}

fn within(count: usize) -> Result<(), Invalid> {
    if count > MAX_DESCRIPTORS {
        return Err(Invalid::new(format!("{count} descriptors; at most {MAX_DESCRIPTORS} are read")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(size: &str) -> String {
        format!(r#"{{"mediaType":"application/x","digest":"sha256:{}","size":{size}}}"#, "ab".repeat(32))
    }

    #[test]
    fn a_manifest_is_read_with_the_media_type_it_was_announced_with() {
        let doc = format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("3"));
        assert!(parse(doc.as_bytes(), media_type::OCI_MANIFEST).is_ok());
        assert!(parse(doc.as_bytes(), media_type::OCI_INDEX).is_err());
        assert!(parse(doc.as_bytes(), "application/vnd.docker.distribution.manifest.v1+json").is_err());
    }

    #[test]
    fn ambiguous_and_malformed_documents_are_refused() {
        let one = descriptor("1");
        for bad in [
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[],"manifests":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[],"Layers":[]}}"#),
            format!(r#"{{"schemaVersion":1,"config":{one},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"x","config":{one},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("-1")),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("1e3")),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("18446744073709551616")),
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[]}}{{}}"#),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace("sha256:ab", "sha256:/.")),
            // An array of the members in order is not an object.
            format!(r#"{{"schemaVersion":2,"config":["x","sha256:{}",1],"layers":[]}}"#, "ab".repeat(32)),
            format!(r#"[2,null,null,{one},[]]"#),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","urls":[1]}"#)),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","urls":{}}"#)),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","data":[]}"#)),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","annotations":{"a":1}}"#)),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","annotations":[]}"#)),
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, one.replace('}', r#","platform":["a","b"]}"#)),
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[],"annotations":{{"a":[]}}}}"#),
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one},null]}}"#),
        ] {
            assert!(parse(bad.as_bytes(), media_type::OCI_MANIFEST).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_that_is_null_or_absent_is_empty() {
        let config = descriptor("3");
        for layers in ["", r#","layers":null"#, r#","layers":[]"#, r#","layers":null,"manifests":null"#] {
            let doc = format!(r#"{{"schemaVersion":2,"config":{config}{layers}}}"#);
            let Ok(Document::Manifest(read)) = parse(doc.as_bytes(), media_type::OCI_MANIFEST) else { panic!("{doc}") };
            assert!(read.layers.is_empty());
            assert!(parse(doc.as_bytes(), media_type::OCI_INDEX).is_err(), "{doc}");
        }
        for manifests in ["", r#","manifests":null"#, r#","manifests":[],"config":null"#] {
            let doc = format!(r#"{{"schemaVersion":2{manifests}}}"#);
            let Ok(Document::Index(read)) = parse(doc.as_bytes(), media_type::OCI_INDEX) else { panic!("{doc}") };
            assert!(read.manifests.is_empty());
            assert!(parse(doc.as_bytes(), media_type::OCI_MANIFEST).is_err(), "{doc}");
        }
    }

    #[test]
    fn a_platform_that_is_not_complete_is_none() {
        for (platform, whole) in [
            (r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, true),
            (r#"{"os":"linux","architecture":"arm64","variant":"","os.version":"1"}"#, true),
            ("null", false),
            ("{}", false),
            (r#"{"architecture":"amd64"}"#, false),
            (r#"{"os":"linux","architecture":null}"#, false),
            (r#"{"os":"","architecture":""}"#, false),
        ] {
            let child = descriptor("1").replace(r#""size""#, &format!(r#""platform":{platform},"size""#));
            let doc = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
            let Ok(Document::Index(read)) = parse(doc.as_bytes(), media_type::OCI_INDEX) else { panic!("{doc}") };
            assert_eq!(read.manifests[0].platform.is_some(), whole, "{doc}");
        }
        let wrong = descriptor("1").replace(r#""size""#, r#""platform":{"os":1},"size""#);
        assert!(
            parse(format!(r#"{{"schemaVersion":2,"manifests":[{wrong}]}}"#).as_bytes(), media_type::OCI_INDEX).is_err()
        );
    }

    #[test]
    fn annotations_have_names_of_any_spelling_and_nothing_else_has() {
        let one = descriptor("1");
        let noted = one.replace(r#""size""#, r#""annotations":{"Digest":"x","SIZE":"y","Platform":"z"},"size""#);
        let good = format!(r#"{{"schemaVersion":2,"config":{noted},"annotations":{{"Layers":"a","Config":"b"}}}}"#);
        assert!(parse(good.as_bytes(), media_type::OCI_MANIFEST).is_ok());
        for bad in [
            good.replace(r#""Config":"b""#, r#""Layers":"b""#),
            good.replace(r#""annotations":{"Layers""#, r#""Annotations":{"Layers""#),
            good.replace(r#""SIZE":"y""#, r#""SIZE":1"#),
            good.replace(r#""annotations":{"Layers":"a""#, r#""Subject":null,"annotations":{"Layers":"a""#),
        ] {
            assert!(parse(bad.as_bytes(), media_type::OCI_MANIFEST).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_in_a_descriptor_counts_when_it_is_what_the_digest_says() {
        let digest = Digest::of(b"{}");
        for (data, size, good) in [("e30=", 2, true), ("e30=", 3, false), ("e31=", 2, false), ("e30", 2, false)] {
            let config = format!(
                r#"{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{digest}","size":{size},"data":"{data}"}}"#
            );
            let doc = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
            let Ok(Document::Manifest(read)) = parse(doc.as_bytes(), media_type::OCI_MANIFEST) else { panic!("{doc}") };
            assert_eq!(read.config.embedded(), good.then(|| b"{}".to_vec()), "{doc}");
        }
    }
}
