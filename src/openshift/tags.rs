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
}
