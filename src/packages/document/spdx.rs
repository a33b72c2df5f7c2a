//! SPDX 2.3.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::{About, Format, Image, Of, basis, uuid};
use crate::oci::Digest;
use crate::packages::inventory::Component;
use crate::packages::licence::{self, Licence};

const UNKNOWN: &str = "NOASSERTION";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    packages: Vec<Package<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo<'a> {
    created: &'a str,
    creators: [String; 1],
    comment: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    extracted_text: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// What a document consists of, as it grows.
#[derive(Default)]
struct Parts<'a> {
    packages: Vec<Package<'a>>,
    relationships: Vec<Relationship>,
    /// Texts of licences that are no expressions, by their identifiers.
    texts: BTreeMap<String, String>,
}

pub(super) fn write(about: &About<'_>, of: Of<'_>, to: &mut dyn Write) -> io::Result<()> {
    let mut parts = Parts::default();
    let (name, root, comment) = match of {
        Of::Image(image) => {
            let root = parts.image(image, "");
            (image.name.as_str(), root, None)
        }
        Of::Bundle(images) => {
            let root = "SPDXRef-Bundle".to_owned();
            parts.packages.push(Package {
                version_info: Some(about.index.to_string()),
                comment: Some("A bundle of mirror-bundle. Its version is the digest of its index.".to_owned()),
                primary_package_purpose: Some("ARCHIVE"),
                ..Package::new(root.clone(), about.bundle)
            });
            for (n, image) in images.iter().enumerate() {
                let id = parts.image(image, &format!("{}-", n + 1));
                parts.relate(&root, "CONTAINS", &id);
            }
            (about.bundle, root, Some("All images that were looked into, each with its packages.".to_owned()))
        }
    };
    parts.relate("SPDXRef-DOCUMENT", "DESCRIBES", &root);
    let extracted = |(license_id, text): (String, String)| {
        let name = text.lines().next().unwrap_or_default().to_owned();
        Extracted { license_id, name: if name.is_empty() { UNKNOWN.to_owned() } else { name }, extracted_text: text }
    };
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: "SPDXRef-DOCUMENT",
        name,
        document_namespace: format!("urn:uuid:{}", uuid(about, of, Format::Spdx)),
        creation_info: CreationInfo {
            created: about.created,
            creators: [format!("Tool: mirror-bundle-{}", about.tool)],
            comment: format!("Found in the layers after the build. {} Index: {}", basis(about), about.index),
        },
        comment,
        packages: parts.packages,
        has_extracted_licensing_infos: parts.texts.into_iter().map(extracted).collect(),
        relationships: parts.relationships,
    };
    serde_json::to_writer(&mut *to, &document)?;
    to.write_all(b"\n")
}

impl<'a> Package<'a> {
    fn new(id: String, name: &'a str) -> Package<'a> {
        Package {
            id,
            name,
            version_info: None,
            supplier: None,
            download_location: UNKNOWN,
            files_analyzed: false,
            license_concluded: UNKNOWN,
            license_declared: UNKNOWN.to_owned(),
            copyright_text: UNKNOWN,
            source_info: None,
            comment: None,
            checksums: Vec::new(),
            external_refs: Vec::new(),
            primary_package_purpose: None,
        }
    }
}

impl<'a> Parts<'a> {
    fn relate(&mut self, from: &str, kind: &'static str, to: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: from.to_owned(),
            relationship_type: kind,
            related_spdx_element: to.to_owned(),
        });
    }

    /// Adds an image with its packages; returns its identifier.
    fn image(&mut self, image: &'a Image<'_>, before: &str) -> String {
        let id = format!("SPDXRef-Image-{before}{}", image.digest.hex());
        let unknowns = image.unknowns();
        self.packages.push(Package {
            version_info: Some(image.digest.to_string()),
            comment: (!unknowns.is_empty()).then(|| format!("Not known: {}.", unknowns.join("; "))),
            checksums: vec![Checksum { algorithm: "SHA256", checksum_value: image.digest.hex() }],
            external_refs: vec![purl(image.purl())],
            primary_package_purpose: Some("CONTAINER"),
            ..Package::new(id.clone(), &image.name)
        });
        if let Some(system) = &image.inventory.system {
            let system_id = format!("SPDXRef-System-{before}1");
            self.packages.push(Package {
                version_info: system.version.clone(),
                primary_package_purpose: Some("OPERATING_SYSTEM"),
                ..Package::new(system_id.clone(), &system.id)
            });
            self.relate(&id, "CONTAINS", &system_id);
        }
        for (n, found) in image.inventory.components.iter().enumerate() {
            let package_id = format!("SPDXRef-Package-{before}{}", n + 1);
            let package = self.package(found, package_id.clone());
            self.packages.push(package);
            self.relate(&id, "CONTAINS", &package_id);
        }
        id
    }

    fn package(&mut self, found: &'a Component, id: String) -> Package<'a> {
        let package = &found.package;
        let declared = match package.licence.as_deref().map(licence::read) {
            None | Some(Licence::Text("")) => UNKNOWN.to_owned(),
            Some(Licence::Id(text) | Licence::Expression(text)) => text.to_owned(),
            Some(Licence::Text(text)) => {
                let id = format!("LicenseRef-{}", &Digest::of(text.as_bytes()).hex()[..16]);
                self.texts.insert(id.clone(), text.to_owned());
                id
            }
        };
        let places: Vec<String> =
            found.places.iter().map(|place| format!("{} (layer {})", place.path, place.layer)).collect();
        Package {
            version_info: Some(package.version.clone()).filter(|version| !version.is_empty()),
            supplier: package
                .supplier
                .as_deref()
                .map(one_line)
                .filter(|name| !name.is_empty())
                .map(|name| format!("Organization: {name}")),
            license_declared: declared,
            source_info: Some(format!("found in {}", places.join(", "))),
            external_refs: vec![purl(found.purl.clone())],
            ..Package::new(id, &package.name)
        }
    }
}

fn purl(locator: String) -> ExternalRef {
    ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator: locator }
}

/// `Organization: name (mail)` is one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
