//! Documents: deterministic, complete, and as other programs read them. Both schemas: `tests/sbom/`.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use crate::packages::collect::{Fact, Source, read};
use crate::packages::inventory::Gatherer;

const STATUS: &str =
    "Package: a\nStatus: install ok installed\nVersion: 1:2.0+b\nArchitecture: amd64\nMaintainer: A <a@example.com>\n";
const APK_LINES: &str = "P:musl\nV:1.2\nA:x86_64\nL:GPLv2+\n";

fn about() -> About<'static> {
    let index = Digest::of(b"index");
    About { tool: "0.1.0", bundle: "ocp", index, created: "2026-11-01T00:00:00Z", verified: true }
}

fn inventory(files: &[(&str, Source, &[u8])]) -> Inventory {
    let facts: Vec<(&str, Fact)> =
        files.iter().map(|(path, s, data)| (*path, read(*s, path.as_bytes(), data))).collect();
    let mut gatherer = Gatherer::default();
    for (path, fact) in &facts {
        gatherer.system(fact);
        gatherer.file(path.as_bytes(), "sha256:1", fact);
    }
    gatherer.finish()
}

fn written(format: Format, of: Of<'_>) -> (String, Value) {
    let mut out = Vec::new();
    write(format, &about(), of, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn sample() -> Inventory {
    inventory(&[
        ("etc/os-release", Source::Release, b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian 12\"\n"),
        ("var/lib/dpkg/status", Source::Dpkg, STATUS.as_bytes()),
        ("lib/apk/db/installed", Source::Apk, APK_LINES.as_bytes()),
        ("x/package.json", Source::Npm, br#"{"name":"@S/Name","version":"1.0.0","license":"MIT"}"#),
        ("y/package.json", Source::Npm, br#"{"name":"@S/Name","version":"1.0.0","license":"MIT"}"#),
        ("b.jar", Source::Java, b"broken"),
    ])
}

#[test]
fn a_package_in_two_places_is_one_component_with_both() {
    let inventory = sample();
    let image =
        Image { name: "q.io/a:1".into(), digest: Digest::of(b"m"), repository: Some("q.io/a"), inventory: &inventory };
    let (text, bom) = written(Format::CycloneDx, Of::Image(&image));
    assert_eq!(text, written(Format::CycloneDx, Of::Image(&image)).0);
    let components = bom["components"].as_array().unwrap();
    let purls: Vec<&str> = components.iter().filter_map(|c| c["purl"].as_str()).collect();
    assert_eq!(
        purls,
        [
            "pkg:apk/debian/musl@1.2?arch=x86_64&distro=debian-12",
            "pkg:deb/debian/a@1:2.0%2Bb?arch=amd64&distro=debian-12",
            "pkg:npm/%40s/name@1.0.0"
        ]
    );
    assert_eq!(components[0]["type"], "operating-system");
    assert_eq!((&components[3]["group"], &components[3]["name"]), (&"@S".into(), &"Name".into()));
    let occurrences = components[3]["evidence"]["occurrences"].as_array().unwrap();
    let places: Vec<&str> = occurrences.iter().map(|o| o["location"].as_str().unwrap()).collect();
    assert_eq!(places, ["x/package.json", "y/package.json"]);
    assert_eq!(components[3]["licenses"][0]["license"]["id"], "MIT");
    assert_eq!(components[1]["licenses"][0]["license"]["name"], "GPLv2+");
    assert_eq!(bom["metadata"]["timestamp"], "2026-11-01T00:00:00Z");
    assert_eq!(bom["metadata"]["lifecycles"][0]["phase"], "post-build");
    assert_eq!(bom["compositions"][0]["aggregate"], "incomplete");
    let unknown = bom["metadata"]["component"]["properties"].as_array().unwrap();
    assert!(unknown.iter().any(|p| p["value"].as_str().unwrap().starts_with("b.jar is no zip archive")), "{unknown:?}");
}

#[test]
fn spdx_has_the_same_packages_and_keeps_texts_of_licences() {
    let inventory = sample();
    let image = Image { name: "q.io/a:1".into(), digest: Digest::of(b"m"), repository: None, inventory: &inventory };
    let (_, document) = written(Format::Spdx, Of::Image(&image));
    let packages = document["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 2 + 3);
    assert_eq!(packages[0]["primaryPackagePurpose"], "CONTAINER");
    assert!(packages[0]["comment"].as_str().unwrap().contains("b.jar is no zip archive"));
    assert_eq!(packages[1]["primaryPackagePurpose"], "OPERATING_SYSTEM");
    let licence = packages[2]["licenseDeclared"].as_str().unwrap();
    assert!(licence.starts_with("LicenseRef-"));
    assert_eq!(document["hasExtractedLicensingInfos"][0]["licenseId"], licence);
    assert_eq!(document["hasExtractedLicensingInfos"][0]["extractedText"], "GPLv2+");
    assert_eq!(packages[4]["licenseDeclared"], "MIT");
    assert_eq!(packages[3]["supplier"], "Organization: A <a@example.com>");
    let describes = |r: &Value| r["relationshipType"] == "DESCRIBES";
    assert_eq!(document["relationships"].as_array().unwrap().iter().filter(|r| describes(r)).count(), 1);
}

#[test]
fn an_image_without_a_database_and_a_bundle_of_two_images_say_so() {
    let (empty, full) = (Inventory::default(), sample());
    let image = |name: &str, inventory| Image {
        name: name.into(),
        digest: Digest::of(name.as_bytes()),
        repository: None,
        inventory,
    };
    let images = [image("a", &empty), image("b", &full)];
    let (text, bom) = written(Format::CycloneDx, Of::Bundle(&images));
    assert!(text.contains("the image has no database of packages"));
    let parts = bom["components"].as_array().unwrap();
    assert_eq!((parts.len(), parts[1]["components"].as_array().unwrap().len()), (2, 4));
    let mut references = std::collections::BTreeSet::new();
    for reference in text.match_indices("\"bom-ref\":\"").map(|(at, m)| text[at + m.len()..].split('"').next().unwrap())
    {
        assert!(references.insert(reference), "{reference} is there twice");
    }
    let (_, document) = written(Format::Spdx, Of::Bundle(&images));
    assert_eq!(document["packages"].as_array().unwrap().len(), 1 + 1 + 5);
    assert_ne!(bom["serialNumber"], written(Format::CycloneDx, Of::Image(&images[1])).1["serialNumber"]);
}

#[test]
fn a_log_without_its_database_and_a_database_with_a_log_of_another_layer() {
    let stored = |name: &str| {
        let path = format!("{}/testdata/rpmdb/{name}.gz", env!("CARGO_MANIFEST_DIR"));
        let mut out = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()), &mut out).unwrap();
        out
    };
    let (data, log) = (stored("wal-rpmdb.sqlite"), stored("wal-rpmdb.sqlite-wal"));
    let (db, wal) = ("var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite-wal");
    let both = inventory(&[(db, Source::RpmSqlite, &data), (wal, Source::RpmLog, &log)]);
    assert_eq!((both.components.len(), both.unknowns.len(), both.databases), (152, 0, 1));
    assert_eq!(inventory(&[(db, Source::RpmSqlite, &data)]).components.len(), 151);
    let alone = inventory(&[(wal, Source::RpmLog, &log)]);
    assert!(alone.unknowns[0].grave && alone.unknowns[0].reason.contains("without its database"));
    let empty = inventory(&[(wal, Source::RpmLog, b"")]);
    assert!(empty.unknowns.is_empty(), "an empty log is none");
}
