//! npm: any `package.json` with a name and a version.

use serde::Deserialize;

use crate::packages::{Kind, Package, Reading};

#[derive(Deserialize)]
struct Manifest {
    name: Option<serde_json::Value>,
    version: Option<serde_json::Value>,
    license: Option<serde_json::Value>,
}

/// The package of a `package.json`; none if it has no name or no version, as private parts of others have none.
pub fn read(data: &[u8]) -> Reading {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let manifest: Manifest = match serde_json::from_slice(data) {
        Ok(manifest) => manifest,
        Err(_) => return Reading::unreadable("is not acceptable JSON"),
    };
    let mut reading = Reading::default();
    let text = |value: &Option<serde_json::Value>| {
        value.as_ref().and_then(|v| v.as_str()).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned)
    };
    let (Some(name), Some(version)) = (text(&manifest.name), text(&manifest.version)) else { return reading };
    // Old manifests have an object here: `{ "type": "MIT", "url": … }`.
    let kind = manifest.license.as_ref().and_then(|l| l.get("type")).and_then(|t| t.as_str()).map(str::to_owned);
    let (namespace, name) = match name.split_once('/') {
        Some((scope, name)) if scope.starts_with('@') => (Some(scope.to_owned()), name.to_owned()),
        _ => (None, name),
    };
    let licence = text(&manifest.license).or(kind);
    reading.push(Package { namespace, licence, ..Package::new(Kind::Npm, name, version) });
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_namespace() {
        let reading = read(br#"{"name":"@types/node","version":"20.1.0","license":{"type":"MIT"},"x":[1]}"#);
        let package = &reading.packages[0].package;
        assert_eq!((package.namespace.as_deref(), package.name.as_str()), (Some("@types"), "node"));
        assert_eq!(package.licence.as_deref(), Some("MIT"));
    }

    #[test]
    fn a_manifest_without_a_version_is_no_package() {
        assert_eq!(read(br#"{"name":"x","private":true}"#), Reading::default());
        assert_eq!(read(br#"{"name":"x","version":{"a":1}}"#), Reading::default());
        assert_eq!(read(b"{").problems.len(), 1);
    }
}
