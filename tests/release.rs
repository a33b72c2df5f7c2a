//! What a release ships beside the program: the SBOM of `.ci/sbom.py`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const TARGET: &str = "x86_64-unknown-linux-musl";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The SBOM, as `.ci/release` makes it.
fn sbom() -> String {
    let cargo = ["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET];
    let metadata = Command::new(env!("CARGO")).args(cargo).current_dir(root()).output().unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let mut python = Command::new("python3");
    python.args([".ci/sbom.py", "Cargo.lock"]).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&metadata.stdout).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_sbom_names_every_linked_crate_with_its_digest_and_what_it_needs() {
    let text = sbom();
    assert_eq!(text, sbom(), "the same each time");
    let sbom: Value = serde_json::from_str(&text).unwrap();
    let members: Vec<&str> = sbom.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members.into_iter().collect::<BTreeSet<_>>(),
        ["bomFormat", "components", "dependencies", "metadata", "specVersion", "version"].into()
    );
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let program = &sbom["metadata"]["component"];
    assert_eq!((&program["type"], &program["name"]), (&"application".into(), &"mirror-bundle".into()));
    assert_eq!(program["version"], env!("CARGO_PKG_VERSION"));

    // Name, version and checksum of every crate are those of Cargo.lock.
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let member = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let locked: BTreeMap<(String, String), Option<String>> = lock
        .split("[[package]]")
        .skip(1)
        .map(|p| ((member(p, "name").unwrap(), member(p, "version").unwrap()), member(p, "checksum")))
        .collect();
    let components = sbom["components"].as_array().unwrap();
    let mut refs = BTreeSet::from([program["bom-ref"].as_str().unwrap()]);
    for component in components {
        let text = |name: &str| component[name].as_str().unwrap();
        let sum = locked[&(text("name").to_owned(), text("version").to_owned())].as_deref();
        assert_eq!(component["hashes"], serde_json::json!([{ "alg": "SHA-256", "content": sum.unwrap() }]));
        let escaped = text("version").replace('+', "%2B");
        assert_eq!(text("purl"), format!("pkg:cargo/{}@{escaped}", text("name")));
        assert_eq!(text("type"), "library");
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
        assert!(refs.insert(text("bom-ref")), "{component} twice");
    }
    let named = |name: &str| components.iter().any(|c| c["name"] == name);
    assert!(named("zstd-sys") && named("cc") && !named("trycmd"), "linked and build-time crates, none of tests");

    // The graph has every component once, and nothing else.
    let edges = sbom["dependencies"].as_array().unwrap();
    assert_eq!(edges.iter().map(|edge| edge["ref"].as_str().unwrap()).collect::<BTreeSet<_>>(), refs);
    assert_eq!(edges.len(), refs.len());
    let ends = edges.iter().flat_map(|edge| edge["dependsOn"].as_array().unwrap());
    assert!(ends.map(|end| end.as_str().unwrap()).all(|end| refs.contains(end)));
}
