//! The series that a bundle belongs to, and its place in each (MB-ROL): what makes one bundle older than another.
//!
//! A series is what a person named (`name` with `sequence`), or the stream of a release, ordered by its version. A
//! bundle that is neither has no series: nothing is older or newer than it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Index;
pub use crate::version::Version;

/// A place in a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a series that a person named: its number.
    Numbered {
        /// The name of the series.
        name: String,
        /// The number.
        number: u64,
        /// Whether nobody gave the number: it is the time of creation.
        by_clock: bool,
    },
    /// In the stream of a release: its version.
    Release {
        /// The stream, such as `ocp-4.16-x86_64`.
        stream: String,
        /// The highest version of the stream in the bundle.
        version: Version,
    },
}

impl Place {
    /// The name of the series.
    pub fn series(&self) -> &str {
        match self {
            Place::Numbered { name, .. } => name,
            Place::Release { stream, .. } => stream,
        }
    }
}

/// The places of a bundle: none, one, or one in each stream of its releases.
pub fn places(index: &Index) -> Vec<Place> {
    if let Some(number) = index.sequence {
        let created = index.created.parse::<jiff::Timestamp>().map_or(0, |t| t.as_second());
        let by_clock = u64::try_from(created) == Ok(number);
        return vec![Place::Numbered { name: index.name.clone(), number, by_clock }];
    }
    let mut highest: BTreeMap<String, Version> = BTreeMap::new();
    for release in &index.releases {
        let Some(version) = Version::parse(&release.version) else { continue };
        let stream = stream(&version, &release.architecture);
        match highest.get(&stream) {
            Some(other) if other.order(&version) != Ordering::Less => {}
            _ => _ = highest.insert(stream, version),
        }
    }
    highest.into_iter().map(|(stream, version)| Place::Release { stream, version }).collect()
}

/// The name of the stream that a release belongs to: `ocp-4.16-x86_64`, with the product in front. Builds that are no
/// releases (`4.16.0-0.nightly-…`, `4.15.0-0.okd-…`) have streams of their own: their versions say nothing of the others.
pub fn stream(version: &Version, architecture: &str) -> String {
    let architecture = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    let (major, minor) = (version.major(), version.minor());
    let parts: Vec<&str> = version.prerelease().split('.').collect();
    let build = match parts.as_slice() {
        ["0", build, ..] => *build,
        [first, ..] if first.starts_with("okd") => *first,
        _ => "",
    };
    let word: Vec<&str> =
        build.split('-').take_while(|part| part.bytes().all(|b| b.is_ascii_lowercase()) && !part.is_empty()).collect();
    match word.as_slice() {
        [] => format!("ocp-{major}.{minor}-{architecture}"),
        ["okd", ..] => format!("{}-{major}.{minor}-{architecture}", word.join("-")),
        [word, ..] => format!("ocp-{major}.{minor}-{word}-{architecture}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::{Release, Trust, tests::sample};
    use crate::oci::Digest;

    fn release(version: &str, architecture: &str) -> Release {
        let (version, architecture) = (version.to_owned(), architecture.to_owned());
        let digest = Digest::of(version.as_bytes());
        Release { version, architecture, digest, trust: Trust::Openpgp, signers: vec![] }
    }

    #[test]
    fn a_stream_is_product_minor_version_and_architecture() {
        for (version, architecture, stream) in [
            ("4.16.37", "amd64", "ocp-4.16-x86_64"),
            ("4.16.0-rc.3", "arm64", "ocp-4.16-aarch64"),
            ("4.16.37", "multi", "ocp-4.16-multi"),
            ("4.16.0-0.nightly-2024-05-01-111315", "amd64", "ocp-4.16-nightly-x86_64"),
            ("4.15.0-0.okd-2024-03-10-010116", "amd64", "okd-4.15-x86_64"),
            ("4.19.0-okd-scos.1", "amd64", "okd-scos-4.19-x86_64"),
        ] {
            assert_eq!(super::stream(&Version::parse(version).unwrap(), architecture), stream);
        }
    }

    #[test]
    fn only_what_a_person_named_and_releases_are_in_a_series() {
        let mut index = sample();
        index.sequence = None;
        assert_eq!(places(&index), []);
        index.releases = ["4.16.9", "4.16.10", "4.17.1", "weird"].map(|v| release(v, "amd64")).into();
        let named: Vec<String> = places(&index).iter().map(|p| format!("{p:?}")).collect();
        assert_eq!(named.len(), 2);
        assert!(named[0].contains("ocp-4.16-x86_64") && named[0].contains("4.16.10"), "{named:?}");
        index.sequence = Some(7);
        let numbered = Place::Numbered { name: "sample".into(), number: 7, by_clock: false };
        assert_eq!(places(&index), [numbered]);
    }
}
