//! The tags that `oc adm release mirror` gives: `<version>-<arch>` and `<version>-<arch>-<component>`.
//!
//! Source: openshift/oc `pkg/cli/admin/release/mirror.go` (with the architecture since 2020-11-20).

use crate::oci::{Invalid, Tag};

/// The word for a manifest list in place of an architecture.
pub const MULTI: &str = "multi";

/// `oc`'s name of a Go architecture: `amd64` is `x86_64`, `arm64` is `aarch64`; others (and [`MULTI`]) stay.
pub fn arch_word(go_arch: &str) -> &str {
    match go_arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// The tag of a release image. `go_arch` is a Go architecture, or [`MULTI`] for a list.
pub fn release_tag(version: &str, go_arch: &str) -> Result<Tag, Invalid> {
    if go_arch.is_empty() || !go_arch.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(Invalid::new(format!("`{go_arch}` is not an architecture")));
    }
    format!("{version}-{}", arch_word(go_arch)).parse()
}

/// The tag of one component of a release.
pub fn component_tag(version: &str, go_arch: &str, component: &str) -> Result<Tag, Invalid> {
    if component.is_empty() {
        return Err(Invalid::new("a component without a name"));
    }
    format!("{}-{component}", release_tag(version, go_arch)?).parse()
}

/// Where the name of a component goes in a [`Pattern`].
const COMPONENT: &str = "${component}";
/// Where the version goes.
const VERSION: &str = "${version}";
/// What stands for the name of a component in the tag of the release image.
const RELEASE: &str = "release";

/// The tags of a release as `oc adm release mirror --to REPOSITORY:PATTERN` gives them: a text with `${component}`, and
/// `${version}` if wanted. `oc` adds the architecture, and calls the release image `release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl std::str::FromStr for Pattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Pattern, Invalid> {
        if text.matches(COMPONENT).count() != 1 {
            return Err(Invalid::new(format!(
                "the tag `{text}` must have {COMPONENT} once, or every image has one tag"
            )));
        }
        let pattern = Pattern(text.to_owned());
        let unknown = || Invalid::new(format!("`{text}` is no pattern of tags; it may have {COMPONENT} and {VERSION}"));
        pattern.tag("4.0.0", "amd64", None).map_err(|_| unknown())?;
        Ok(pattern)
    }
}

impl Pattern {
    /// The tag of a component, or of the release image.
    pub fn tag(&self, version: &str, go_arch: &str, component: Option<&str>) -> Result<Tag, Invalid> {
        let name = component.unwrap_or(RELEASE);
        release_tag(&self.0.replace(VERSION, version).replace(COMPONENT, name), go_arch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn tags_are_those_of_oc() {
        for (arch, tag) in [
            ("amd64", "4.21.0-x86_64"),
            ("arm64", "4.21.0-aarch64"),
            ("s390x", "4.21.0-s390x"),
            (MULTI, "4.21.0-multi"),
        ] {
            assert_eq!(release_tag("4.21.0", arch).unwrap().as_str(), tag);
        }
        assert_eq!(component_tag("4.21.0", "amd64", "thanos").unwrap().as_str(), "4.21.0-x86_64-thanos");
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        assert!(release_tag("4.21.0+x", "amd64").is_err());
        assert!(release_tag("4.21.0", "").is_err());
        assert!(release_tag("4.21.0", "../x").is_err());
        assert!(component_tag("4.21.0", "amd64", "").is_err());
        assert!(component_tag("4.21.0", "amd64", "a/b").is_err());
        assert!(component_tag("4.21.0", "amd64", &"c".repeat(128)).is_err());
    }

    #[test]
    fn a_pattern_gives_the_tags_of_oc() {
        // What oc 4.22 did with `--to REPOSITORY:PATTERN`, for amd64.
        for (pattern, release, cli) in [
            ("${version}-${component}", "4.16.9-release-x86_64", "4.16.9-cli-x86_64"),
            ("a-${version}-${component}", "a-4.16.9-release-x86_64", "a-4.16.9-cli-x86_64"),
            ("${component}-${version}", "release-4.16.9-x86_64", "cli-4.16.9-x86_64"),
            ("${component}", "release-x86_64", "cli-x86_64"),
            ("x${component}y", "xreleasey-x86_64", "xcliy-x86_64"),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.tag("4.16.9", "amd64", None).unwrap().as_str(), release);
            assert_eq!(pattern.tag("4.16.9", "amd64", Some("cli")).unwrap().as_str(), cli);
        }
        for bad in [
            "",
            "v",
            "${version}",
            "${component}.${component}",
            "${component}-${arch}",
            "-${component}",
            "a/${component}",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
