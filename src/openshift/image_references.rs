//! The two JSON files of a payload, `image-references` and `release-metadata`, read strictly.
//!
//! Below [`super::payload`], which finds them. Sources: openshift/oc `pkg/cli/admin/release/new.go`,
//! cluster-version-operator `pkg/payload`.

use std::collections::{BTreeMap, HashSet};

use crate::oci::{Digest, Invalid, Reference, Repository, json};

/// The most components in one release; real ones have about 200.
const MAX_COMPONENTS: usize = 10_000;

/// `release-manifests/image-references`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReferences {
    /// The version.
    pub name: String,
    /// The components, in the order of the file.
    pub tags: Vec<Component>,
}

/// One image of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name, usable in a tag.
    pub name: String,
    /// The repository in the release's reference.
    pub repository: Repository,
    /// The digest of the image.
    pub digest: Digest,
}

/// `release-manifests/release-metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseMetadata {
    /// `cincinnati-metadata-v0`.
    pub kind: String,
    /// The version; equal to the name of the image references.
    pub version: String,
    /// `release.openshift.io/architecture`, set to `multi` in the payload of a list.
    pub architecture: Option<String>,
    /// From which versions clusters can come, for the update service.
    pub previous: Vec<String>,
    /// To which versions clusters can go.
    pub next: Vec<String>,
    /// The members of `metadata` that are text, such as the URL of the errata.
    pub metadata: BTreeMap<String, String>,
}

/// Member names whose letter case must be exact.
const KNOWN: &[&str] =
    &["kind", "apiVersion", "metadata", "name", "spec", "tags", "from", "version", "release.openshift.io/architecture"];

/// Reads `image-references`: strict JSON, every component by digest, names unique and usable in a tag.
pub fn parse_image_references(bytes: &[u8]) -> Result<ImageReferences, Invalid> {
    json::check(bytes, KNOWN)?;
    let raw: RawStream = serde_json::from_slice(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    if raw.kind != "ImageStream" || raw.api_version != "image.openshift.io/v1" {
        return Err(Invalid::new(format!("a `{}` of `{}`, not an image stream", raw.kind, raw.api_version)));
    }
    check_version(&raw.metadata.name)?;
    if raw.spec.tags.len() > MAX_COMPONENTS {
        return Err(Invalid::new(format!("more than {MAX_COMPONENTS} components")));
    }
    let mut names = HashSet::new();
    let tags = raw.spec.tags.into_iter().map(component).collect::<Result<Vec<Component>, Invalid>>()?;
    if let Some(twice) = tags.iter().find(|c| !names.insert(c.name.as_str())) {
        return Err(Invalid::new(format!("component `{}` appears twice", twice.name)));
    }
    Ok(ImageReferences { name: raw.metadata.name, tags })
}

fn component(raw: RawTag) -> Result<Component, Invalid> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = raw.name.len() <= 100
        && raw.name.bytes().next().is_some_and(word)
        && raw.name.bytes().all(|b| word(b) || matches!(b, b'-' | b'.' | b'_'));
    if !good {
        return Err(Invalid::new(format!("`{}` is not the name of a component", raw.name)));
    }
    let refuse = |why: &str| Invalid::new(format!("component `{}` {why}", raw.name));
    let from = raw.from.as_ref().ok_or_else(|| refuse("has no image"))?;
    if from.kind != "DockerImage" {
        return Err(refuse("is not an image"));
    }
    let reference: Reference = from.name.parse().map_err(|e: Invalid| refuse(&format!("has a bad reference: {e}")))?;
    let digest = reference.digest.ok_or_else(|| refuse("is not named by digest"))?;
    Ok(Component { name: raw.name, repository: reference.repository, digest })
}

/// Reads `release-metadata`: strict JSON of kind `cincinnati-metadata-v0`.
pub fn parse_release_metadata(bytes: &[u8]) -> Result<ReleaseMetadata, Invalid> {
    json::check(bytes, KNOWN)?;
    let raw: RawMetadata = serde_json::from_slice(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    if raw.kind != "cincinnati-metadata-v0" {
        return Err(Invalid::new(format!("of kind `{}`, not cincinnati-metadata-v0", raw.kind)));
    }
    check_version(&raw.version)?;
    let all = raw.metadata.unwrap_or_default();
    let architecture = match all.get("release.openshift.io/architecture") {
        None => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(Invalid::new("the architecture is not a string")),
    };
    let text = |(key, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => Some((key, text)),
        _ => None,
    };
    let metadata = all.into_iter().filter_map(text).collect();
    let (previous, next) = (texts(&raw.previous), texts(&raw.next));
    Ok(ReleaseMetadata { kind: raw.kind, version: raw.version, architecture, previous, next, metadata })
}

/// A semantic version that can stand in a tag: no build part, at most 100 characters.
fn check_version(text: &str) -> Result<(), Invalid> {
    let (core, rest) = match text.split_once('-') {
        Some((core, rest)) => (core, Some(rest)),
        None => (text, None),
    };
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0'));
    let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let good = text.len() <= 100
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && rest.is_none_or(|rest| rest.split('.').all(part));
    if good { Ok(()) } else { Err(Invalid::new(format!("`{text}` is not a version"))) }
}

#[derive(serde::Deserialize)]
struct RawStream {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: RawName,
    spec: RawSpec,
}

#[derive(serde::Deserialize)]
struct RawName {
    name: String,
}

#[derive(serde::Deserialize)]
struct RawSpec {
    tags: Vec<RawTag>,
}

#[derive(serde::Deserialize)]
struct RawTag {
    name: String,
    from: Option<RawFrom>,
}

#[derive(serde::Deserialize)]
struct RawFrom {
    kind: String,
    name: String,
}

#[derive(serde::Deserialize)]
struct RawMetadata {
    kind: String,
    version: String,
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    previous: serde_json::Value,
    #[serde(default)]
    next: serde_json::Value,
}

/// The members of a list that are text. Lists of updates are for the update service, and no reason to refuse a release.
fn texts(list: &serde_json::Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|value| value.as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/testdata/release-payload/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn real_image_references_have_their_components() {
        for (path, name, count) in [
            ("oc-mirror-4.12.0-x86_64/image-references", "4.12.0", 183),
            ("hypershift/4.10-image-references.json", "4.10.0-0.nightly-2021-11-14-184249", 146),
            ("hypershift/4.8-image-references.json", "4.8.0-0.ci-2021-05-03-215023", 140),
        ] {
            let references = parse_image_references(&data(path)).unwrap();
            assert_eq!((references.name.as_str(), references.tags.len()), (name, count), "{path}");
            let digests: HashSet<Digest> = references.tags.iter().map(|c| c.digest).collect();
            assert_eq!(digests.len(), count);
            for component in &references.tags {
                super::super::tags::component_tag(name, "amd64", &component.name).unwrap();
            }
        }
    }

    #[test]
    fn real_release_metadata_is_read() {
        let single = parse_release_metadata(&data("oc-mirror-4.12.0-x86_64/release-metadata")).unwrap();
        assert_eq!((single.previous.len(), single.previous[0].as_str(), single.next.len()), (21, "4.11.11", 0));
        assert_eq!(single.metadata["url"], "https://access.redhat.com/errata/RHSA-2022:7399");
        assert_eq!((single.version.as_str(), single.architecture), ("4.12.0", None));
        let multi = parse_release_metadata(&data("cvo-unit/payloadtestarch/release-manifests/release-metadata"));
        assert_eq!(multi.unwrap().architecture.as_deref(), Some("multi"));
    }

    fn references(version: &str, tags: &str) -> String {
        format!(
            r#"{{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{{"name":"{version}"}},"spec":{{"tags":[{tags}]}}}}"#
        )
    }

    fn tag(name: &str, kind: &str, image: &str) -> String {
        format!(r#"{{"name":"{name}","from":{{"kind":"{kind}","name":"{image}"}}}}"#)
    }

    #[test]
    fn components_without_digest_with_bad_or_repeated_names_are_refused() {
        let image = format!("quay.io/a/b@sha256:{}", "ab".repeat(32));
        let good = tag("cli", "DockerImage", &image);
        assert!(parse_image_references(references("4.1.0", &good).as_bytes()).is_ok());
        for bad in [
            format!("{good},{good}"),
            tag("cli", "ImageStreamTag", &image),
            tag("cli", "DockerImage", "quay.io/a/b:latest"),
            tag("cli", "DockerImage", &image.replace("quay.io/", "")),
            tag("../cli", "DockerImage", &image),
            tag("Cli", "DockerImage", &image),
            tag("", "DockerImage", &image),
            r#"{"name":"cli"}"#.to_owned(),
            good.replace("from", "From"),
            good.replace("\"name\":\"cli\"", "\"name\":\"cli\",\"name\":\"cli\""),
        ] {
            assert!(parse_image_references(references("4.1.0", &bad).as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_image_references(references("4.1.0", "").replace("image.", "img.").as_bytes()).is_err());
        assert!(parse_image_references(b"kind: ImageStream").is_err());
    }

    #[test]
    fn versions_must_fit_a_tag() {
        for good in ["4.12.0", "4.12.0-rc.1", "4.8.0-0.ci-2021-05-03-215023", "4.15.0-0.okd-2024-03-10-010116"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in
            ["", "4", "4.12", "4.12.0.1", "v4.12.0", "04.1.0", "4.12.0+x", "4.12.0-", "4.12.0-a..b", "4.1.0/../x"]
        {
            assert!(check_version(bad).is_err(), "{bad}");
        }
        assert!(parse_release_metadata(br#"{"kind":"other","version":"4.1.0"}"#).is_err());
    }
}
