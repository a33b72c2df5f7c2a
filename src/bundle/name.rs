//! Member names: safe on ext4, FAT, exFAT, NTFS and ISO 9660, and never a path that leads elsewhere (MB-FMT-06).

use super::limits;

/// Checks a member's path: components of `[0-9a-z._=-]`, at most 72 characters each and 100 in all.
///
/// It also refuses empty, `.` and `..` components, a trailing dot, and Windows device names (`con`, `nul.yaml`, …).
pub fn check(path: &str) -> Result<(), &'static str> {
    if path.len() > limits::PATH {
        return Err("longer than 100 characters");
    }
    for component in path.split('/') {
        check_component(component)?;
    }
    Ok(())
}

fn check_component(component: &str) -> Result<(), &'static str> {
    if component.is_empty() {
        return Err("an empty path component");
    }
    if component.len() > limits::COMPONENT {
        return Err("a path component longer than 72 characters");
    }
    if !component.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'_' | b'=' | b'-')) {
        return Err("a character other than 0-9 a-z . _ = -");
    }
    if component.ends_with('.') {
        return Err("a trailing dot");
    }
    let stem = component.split('.').next().unwrap_or(component);
    let numbered =
        |prefix: &str| stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()));
    if matches!(stem, "con" | "prn" | "aux" | "nul" | "clock$") || numbered("com") || numbered("lpt") {
        return Err("a device name of Windows");
    }
    Ok(())
}

/// The name of a bundle in the names of what `unpack` writes: `NAME-<8 hex>`, from its name and the digest of its index.
pub fn unpacked(name: &str, digest: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' }).collect();
    let hex: String = digest.chars().skip("sha256:".len()).take(8).collect();
    format!("{}-{hex}", safe.trim_start_matches('.'))
}

/// Whether a name has the form of [`unpacked`].
pub fn is_unpacked(name: &str) -> bool {
    let hex = |hex: &str| hex.len() == 8 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    !name.starts_with('.') && name.rsplit_once('-').is_some_and(|(_, end)| hex(end))
}

#[cfg(test)]
mod tests {
    use super::{check, is_unpacked, unpacked};

    #[test]
    fn what_is_unpacked_has_the_name_of_its_bundle() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for (name, expected) in [("ocp-4.16-x86_64", "ocp-4.16-x86_64-01234567"), ("../a b", "-a-b-01234567")] {
            assert_eq!(unpacked(name, &digest), expected);
            assert!(is_unpacked(expected));
        }
        for other in ["a", "a-0123456", "a-0123456A", ".a-01234567", "01234567", "a-01234567.yaml", "a-0123456/"] {
            assert!(!is_unpacked(other), "{other}");
        }
    }

    #[test]
    fn only_names_that_survive_every_medium_are_allowed() {
        for good in ["oci-layout", "signatures/sha256=ab/signature-1", "manifests/a_b.c-d.yaml", "manifests/..a"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = format!("manifests/{}", "a".repeat(73));
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/./b",
            "a/../b",
            "..",
            "a/",
            "manifests/A.yaml",
            "a:b",
            "a b",
            "a\\b",
            "a\u{202e}b",
            "con",
            "manifests/nul.yaml",
            "manifests/com1.yaml",
            "lpt9",
            "a.",
            "a\n",
            "a\0",
            &long,
            "ß",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
