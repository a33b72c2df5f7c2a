//! CycloneDX 1.6.

use std::io::{self, Write};

use serde::Serialize;

use super::{About, Format, Image, Of, basis, uuid};
use crate::packages::inventory::Component as Found;
use crate::packages::licence::{self, Licence};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
    compositions: Vec<Composition>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: &'a str,
    lifecycles: [Phase; 1],
    tools: Tools<'a>,
    component: Component<'a>,
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Phase {
    phase: &'static str,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    #[serde(rename = "dependsOn")]
    on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: Vec<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Supplier<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<License<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence<'a>>,
}

#[derive(Serialize)]
struct Supplier<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum License<'a> {
    License(Named<'a>),
    Expression(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Named<'a> {
    Id(&'a str),
    Name(&'a str),
}

#[derive(Serialize)]
struct Evidence<'a> {
    occurrences: Vec<Occurrence<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Occurrence<'a> {
    location: &'a str,
    additional_context: String,
}

pub(super) fn write(about: &About<'_>, of: Of<'_>, to: &mut dyn Write) -> io::Result<()> {
    let mut dependencies = Vec::new();
    let mut compositions = Vec::new();
    let mut properties = vec![Property { name: "mirror-bundle:basis", value: basis(about).to_owned() }];
    properties.push(Property { name: "mirror-bundle:index", value: about.index.to_string() });
    let (component, components) = match of {
        Of::Image(image) => {
            let (component, parts) = of_image(image, "", &mut dependencies, &mut compositions);
            (component, parts)
        }
        Of::Bundle(images) => {
            let parts = images.iter().enumerate().map(|(n, image)| {
                let before = format!("image-{}/", n + 1);
                let (component, parts) = of_image(image, &before, &mut dependencies, &mut compositions);
                Component { components: parts, ..component }
            });
            let parts: Vec<Component<'_>> = parts.collect();
            let on = parts.iter().filter_map(|part| part.reference.clone()).collect();
            dependencies.insert(0, Dependency { of: "bundle".to_owned(), on });
            let component = Component {
                kind: "file",
                reference: Some("bundle".to_owned()),
                name: about.bundle,
                version: Some(about.index.to_string()),
                description: Some("bundle of mirror-bundle; its version is the digest of its index"),
                ..Component::default()
            };
            (component, parts)
        }
    };
    let tool = Component {
        kind: "application",
        name: "mirror-bundle",
        version: Some(about.tool.to_owned()),
        ..Component::default()
    };
    let document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", uuid(about, of, Format::CycloneDx)),
        version: 1,
        metadata: Metadata {
            timestamp: about.created,
            lifecycles: [Phase { phase: "post-build" }],
            tools: Tools { components: [tool] },
            component,
            properties,
        },
        components,
        dependencies,
        compositions,
    };
    serde_json::to_writer(&mut *to, &document)?;
    to.write_all(b"\n")
}

/// The component of an image, and those in it. References begin with `before`.
fn of_image<'a>(
    image: &'a Image<'_>,
    before: &str,
    dependencies: &mut Vec<Dependency>,
    compositions: &mut Vec<Composition>,
) -> (Component<'a>, Vec<Component<'a>>) {
    let reference = format!("{before}image");
    let mut parts = Vec::new();
    if let Some(system) = &image.inventory.system {
        parts.push(Component {
            kind: "operating-system",
            reference: Some(format!("{before}system")),
            name: &system.id,
            version: system.version.clone(),
            description: system.name.as_deref(),
            ..Component::default()
        });
    }
    let packages = image.inventory.components.iter().enumerate();
    parts.extend(packages.map(|(n, found)| package(found, format!("{before}package-{}", n + 1))));
    let on: Vec<String> = parts.iter().filter_map(|part| part.reference.clone()).collect();
    dependencies.push(Dependency { of: reference.clone(), on });
    // A list from what is in files can never be known to be complete.
    let aggregate = if image.inventory.unknowns.is_empty() { "unknown" } else { "incomplete" };
    compositions.push(Composition { aggregate, assemblies: vec![reference.clone()] });
    let unknowns = image.unknowns().into_iter().map(|value| Property { name: "mirror-bundle:unknown", value });
    let component = Component {
        kind: "container",
        reference: Some(reference),
        name: &image.name,
        version: Some(image.digest.to_string()),
        hashes: vec![Hash { alg: "SHA-256", content: image.digest.hex() }],
        purl: Some(image.purl()),
        properties: unknowns.collect(),
        ..Component::default()
    };
    (component, parts)
}

fn package(found: &Found, reference: String) -> Component<'_> {
    let package = &found.package;
    let licence = package.licence.as_deref().map(licence::read).map(|licence| match licence {
        Licence::Id(id) => License::License(Named::Id(id)),
        Licence::Expression(text) => License::Expression(text),
        Licence::Text(text) => License::License(Named::Name(text)),
    });
    let occurrences = found
        .places
        .iter()
        .map(|place| Occurrence { location: &place.path, additional_context: format!("layer {}", place.layer) });
    Component {
        kind: "library",
        reference: Some(reference),
        supplier: package.supplier.as_deref().map(|name| Supplier { name }),
        group: package.namespace.as_deref(),
        name: &package.name,
        version: Some(package.version.clone()).filter(|version| !version.is_empty()),
        licenses: licence.into_iter().collect(),
        purl: Some(found.purl.clone()),
        evidence: Some(Evidence { occurrences: occurrences.collect() }),
        ..Component::default()
    }
}
