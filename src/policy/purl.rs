//! Package URLs as people write them in rules, and as packages have them, in one form that can be compared.

use crate::packages::Kind;

/// The kinds of packages that images can have.
const KINDS: [Kind; 8] = [Kind::Rpm, Kind::Deb, Kind::Apk, Kind::Go, Kind::Cargo, Kind::Maven, Kind::Python, Kind::Npm];

/// A purl without qualifiers, decoded: what stands before the version, and the version.
pub(super) fn split(purl: &str) -> (String, Option<String>) {
    let plain = purl.split(['?', '#']).next().unwrap_or_default();
    let name = plain.rfind('/').map_or(0, |at| at + 1);
    // `@` at the beginning of a name is the scope of npm, if the name is not encoded.
    let (base, version) = match plain[name..].rfind('@').filter(|at| *at > 0) {
        Some(at) => (&plain[..name + at], Some(&plain[name + at + 1..])),
        None => (plain, None),
    };
    let base = decoded(base);
    (normal(&base), version.map(decoded))
}

/// The base and version as one key.
pub(super) fn key(base: &str, version: Option<&str>) -> String {
    version.map_or_else(|| base.to_owned(), |version| format!("{base}@{version}"))
}

/// The kind that a purl names.
pub(super) fn kind(purl: &str) -> Result<Kind, String> {
    let rest = purl.strip_prefix("pkg:").ok_or_else(|| format!("`{purl}` is no purl: it begins with pkg:"))?;
    let (word, name) = rest.split_once('/').unwrap_or((rest, ""));
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == word.to_ascii_lowercase());
    let kind = kind.ok_or_else(|| {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
        format!("`{purl}` can match nothing: packages of images are of the types {}", all.join(", "))
    })?;
    match name.is_empty() || name.ends_with('/') {
        true => Err(format!("`{purl}` names no package")),
        false => Ok(kind),
    }
}

/// Lower case where purls of the type have it.
fn normal(base: &str) -> String {
    let (kind, rest) = base.split_once('/').unwrap_or((base, ""));
    let kind = kind.to_ascii_lowercase();
    let rest = match kind.as_str() {
        "pkg:golang" | "pkg:npm" | "pkg:apk" | "pkg:deb" => rest.to_lowercase(),
        "pkg:pypi" => rest.to_lowercase().replace('_', "-"),
        "pkg:rpm" => match rest.rsplit_once('/') {
            Some((vendor, name)) => format!("{}/{name}", vendor.to_lowercase()),
            None => rest.to_owned(),
        },
        _ => rest.to_owned(),
    };
    format!("{kind}/{rest}")
}

fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purls_are_compared_whatever_their_spelling() {
        for (one, two) in [
            ("pkg:npm/@types/node", "pkg:npm/%40types/node@20.1.0"),
            ("pkg:pypi/Foo_Bar", "pkg:pypi/foo-bar@1"),
            ("pkg:golang/github.com/CycloneDX/x", "pkg:golang/github.com/cyclonedx/x@v1.0.0%2Bincompatible"),
            ("pkg:deb/debian/libstdc++6", "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=amd64"),
            ("PKG:RPM/RedHat/bash", "pkg:rpm/redhat/bash@5.1.8-6.el9?arch=x86_64&epoch=1"),
            ("pkg:npm/@a", "pkg:npm/%40a@1"),
        ] {
            assert_eq!(split(&one.replace("PKG:RPM", "pkg:rpm")).0, split(two).0);
            assert!(split(two).1.is_some() && split(one).1.is_none(), "{one}");
        }
        assert_eq!(split("pkg:deb/debian/x@1:2%2Bb1?a=b").1.as_deref(), Some("1:2+b1"));
        assert!(kind("pkg:rpm/redhat/bash").is_ok());
        for bad in ["bash", "pkg:docker/x", "pkg:rpm", "pkg:rpm/", "pkg:rpm/redhat/"] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }
}
