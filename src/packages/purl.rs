//! Package URLs: `pkg:type/namespace/name@version?qualifiers`.
//!
//! The specification demands lower case for some types; a package keeps its true name elsewhere.

use std::fmt::Write as _;

use super::{Kind, Package, System};

/// The purl of a package in an image with this system.
pub fn of(package: &Package, system: Option<&System>) -> String {
    let name = &package.name;
    let (namespace, name) = match package.kind {
        Kind::Rpm => (system.map(vendor), name.clone()),
        Kind::Deb => (Some(system.map_or_else(|| "debian".to_owned(), vendor)), name.to_lowercase()),
        Kind::Apk => (Some(system.map_or_else(|| "alpine".to_owned(), vendor)), name.to_lowercase()),
        Kind::Go => {
            let path = name.to_lowercase();
            match path.rsplit_once('/') {
                Some((above, name)) => (Some(above.to_owned()), name.to_owned()),
                None => (None, path),
            }
        }
        Kind::Python => (None, name.to_lowercase().replace('_', "-")),
        Kind::Npm => (package.namespace.as_ref().map(|scope| scope.to_lowercase()), name.to_lowercase()),
        Kind::Maven => (package.namespace.clone(), name.clone()),
        Kind::Cargo => (None, name.clone()),
    };
    let mut qualifiers: Vec<(&str, String)> = Vec::new();
    if package.kind.is_system() {
        qualifiers.extend(package.arch.clone().map(|arch| ("arch", arch)));
        qualifiers.extend(system.map(|system| ("distro", system.distro())));
        qualifiers.extend(package.epoch.map(|epoch| ("epoch", epoch.to_string())));
        let upstream = package.source.clone().filter(|source| *source != package.name);
        qualifiers.extend(upstream.map(|source| ("upstream", source)));
    }
    build(package.kind.as_str(), namespace.as_deref(), &name, &package.version, &qualifiers)
}

/// The purl of an image: the last name of its repository, its digest, and where it is from.
pub fn image(repository: Option<&str>, digest: &str) -> String {
    let name = repository.and_then(|r| r.rsplit('/').next()).unwrap_or("image").to_lowercase();
    let from = repository.map(|repository| ("repository_url", repository.to_owned()));
    build("oci", None, &name, digest, from.as_slice())
}

/// Qualifiers come sorted by name.
fn build(kind: &str, namespace: Option<&str>, name: &str, version: &str, qualifiers: &[(&str, String)]) -> String {
    let mut out = format!("pkg:{kind}/");
    for segment in namespace.unwrap_or_default().split('/').filter(|segment| !segment.is_empty()) {
        encode(segment, &mut out);
        out.push('/');
    }
    encode(name, &mut out);
    if !version.is_empty() {
        out.push('@');
        encode(version, &mut out);
    }
    for (n, (key, value)) in qualifiers.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
}

/// The namespace of a distribution's packages: its ID, with the names that vulnerability data uses.
fn vendor(system: &System) -> String {
    match system.id.to_lowercase() {
        id if id == "rhel" => "redhat".to_owned(),
        id if id.starts_with("opensuse") => "opensuse".to_owned(),
        id => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_purl_that_other_tools_write() {
        let rhel = System { id: "rhel".into(), version: Some("9.2".into()), name: None };
        let debian = System { id: "debian".into(), version: Some("12".into()), name: None };
        let package = |kind, name: &str, version: &str| Package::new(kind, name, version);
        let rpm = Package {
            arch: Some("x86_64".into()),
            epoch: Some(1),
            source: Some("bash-5.1.8-6.el9.src.rpm".into()),
            ..package(Kind::Rpm, "bash", "5.1.8-6.el9")
        };
        let deb = Package {
            arch: Some("amd64".into()),
            source: Some("gcc-12@12.2.0-14".into()),
            ..package(Kind::Deb, "libstdc++6", "1:12.2.0-14+b1")
        };
        let scoped = Package { namespace: Some("@types".into()), ..package(Kind::Npm, "node", "20.1.0") };
        let maven = Package { namespace: Some("org.A".into()), ..package(Kind::Maven, "b-C", "1.0") };
        for (package, system, purl) in [
            (
                &rpm,
                Some(&rhel),
                "pkg:rpm/redhat/bash@5.1.8-6.el9?arch=x86_64&distro=rhel-9.2&epoch=1&upstream=bash-5.1.8-6.el9.src.rpm",
            ),
            (&rpm, None, "pkg:rpm/bash@5.1.8-6.el9?arch=x86_64&epoch=1&upstream=bash-5.1.8-6.el9.src.rpm"),
            (
                &deb,
                Some(&debian),
                "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
            ),
            (
                &package(Kind::Go, "github.com/CycloneDX/x", "v1.0.0+incompatible"),
                Some(&rhel),
                "pkg:golang/github.com/cyclonedx/x@v1.0.0%2Bincompatible",
            ),
            (&package(Kind::Go, "stdlib", "1.22"), None, "pkg:golang/stdlib@1.22"),
            (&scoped, None, "pkg:npm/%40types/node@20.1.0"),
            (&maven, None, "pkg:maven/org.A/b-C@1.0"),
            (&package(Kind::Python, "Foo_Bar", "1"), None, "pkg:pypi/foo-bar@1"),
            (&package(Kind::Cargo, "a", ""), None, "pkg:cargo/a"),
        ] {
            assert_eq!(of(package, system), purl);
        }
        assert_eq!(image(Some("quay.io/a/B"), "sha256:00"), "pkg:oci/b@sha256:00?repository_url=quay.io%2Fa%2FB");
    }
}
