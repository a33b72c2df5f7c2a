//! Python: the headers of `METADATA` and `PKG-INFO`.

use crate::packages::{Kind, Package, Reading};

/// The distribution that this metadata describes.
pub fn read(data: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let text = String::from_utf8_lossy(data);
    let (mut name, mut version, mut licence, mut expression, mut author) = (None, None, None, None, None);
    // The headers end at the first empty line; a description follows.
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = Some(value.trim()).filter(|value| !value.is_empty() && *value != "UNKNOWN");
        match field {
            _ if field.eq_ignore_ascii_case("Name") => name = name.or(value),
            _ if field.eq_ignore_ascii_case("Version") => version = version.or(value),
            _ if field.eq_ignore_ascii_case("License") => licence = licence.or(value),
            _ if field.eq_ignore_ascii_case("License-Expression") => expression = expression.or(value),
            _ if field.eq_ignore_ascii_case("Author") => author = author.or(value),
            _ => {}
        }
    }
    match (name, version) {
        (Some(name), Some(version)) => reading.push(Package {
            licence: expression.or(licence).map(str::to_owned),
            supplier: author.map(str::to_owned),
            ..Package::new(Kind::Python, name, version)
        }),
        _ => reading.problem("has no name or no version"),
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_name_the_distribution_and_the_description_does_not() {
        let reading = read(b"Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: MIT\n\nName: other\n");
        assert_eq!(reading.packages[0].package.name, "Foo_Bar");
        assert_eq!(reading.packages[0].package.licence.as_deref(), Some("MIT"));
        assert_eq!(read(b"Name: x\n").problems.len(), 1);
    }
}
