//! The series that a bundle belongs to, and its place in each (MB-ROL): what makes one bundle older than another.
//!
//! A series is what a person named (`name` with `sequence`), or the stream of a release, ordered by its version. A
//! bundle that is neither has no series: nothing is older or newer than it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Index;

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
    let Version { major, minor, .. } = version;
    let parts: Vec<&str> = version.pre.split('.').collect();
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

/// A version as Semantic Versioning has it, with its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u64,
    minor: u64,
    patch: u64,
    /// What stands behind the first hyphen; empty: a final release.
    pre: String,
}

impl Version {
    /// Reads `X.Y.Z[-PRERELEASE][+BUILD]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Version> {
        let without_build = text.split('+').next()?;
        let (core, pre) = match without_build.split_once('-') {
            Some((_, "")) => return None,
            Some(both) => both,
            None => (without_build, ""),
        };
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse::<u64>().ok()).flatten()
        };
        let mut parts = core.split('.').map(number);
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        let whole = parts.next().is_none() && pre.split('.').all(|part| !part.is_empty() || pre.is_empty());
        whole.then(|| Version { text: text.to_owned(), major, minor, patch, pre: pre.to_owned() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which of two is higher. Build metadata does not count.
    pub fn order(&self, other: &Version) -> Ordering {
        let core = |v: &Version| (v.major, v.minor, v.patch);
        core(self).cmp(&core(other)).then_with(|| match (self.pre.as_str(), other.pre.as_str()) {
            (one, two) if one == two => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (one, two) => prereleases(one, two),
        })
    }
}

/// The order of two prereleases: identifier by identifier; numbers by value and before words.
fn prereleases(one: &str, two: &str) -> Ordering {
    let (mut one, mut two) = (one.split('.'), two.split('.'));
    loop {
        let order = match (one.next(), two.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
                match (numeric(a), numeric(b)) {
                    // By value, of any length.
                    (true, true) => {
                        let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                    }
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                    (false, false) => a.cmp(b),
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
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
    fn versions_are_ordered_as_semantic_versioning_says() {
        let ascending = [
            "4.16.0-alpha",
            "4.16.0-alpha.1",
            "4.16.0-ec.2",
            "4.16.0-rc.2",
            "4.16.0-rc.10",
            "4.16.0",
            "4.16.9",
            "4.16.10",
            "4.17.0-rc.1",
            "10.0.0",
        ];
        let all: Vec<Version> = ascending.iter().map(|v| Version::parse(v).unwrap()).collect();
        for (i, one) in all.iter().enumerate() {
            for (j, two) in all.iter().enumerate() {
                assert_eq!(one.order(two), i.cmp(&j), "{} {}", one.as_str(), two.as_str());
            }
        }
        let same = |a: &str, b: &str| Version::parse(a).unwrap().order(&Version::parse(b).unwrap());
        assert_eq!(same("4.16.1+a", "4.16.1+b"), Ordering::Equal);
        for bad in
            ["", "4", "4.16", "4.16.x", "4.16.1.2", "v4.16.1", "4.16.1-", "4.16.1-a..b", "4.16.99999999999999999999"]
        {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
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
