//! `spec/security.md` has a row for every known attack and fault, and every test and vector that it names exists.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The catalogue: a letter and how many rows it has.
const ROWS: [(&str, u32); 11] = [
    ("A", 16),
    ("B", 11),
    ("C", 15),
    ("D", 10),
    ("E", 17),
    ("P", 13),
    ("G", 6),
    ("H", 8),
    ("I", 7),
    ("N", 7),
    ("F", 4),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Id to what stands for it.
fn table() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("spec/security.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, stands] = cells[..] else { continue };
        let is_id =
            id.len() > 1 && id.as_bytes()[0].is_ascii_uppercase() && id[1..].bytes().all(|b| b.is_ascii_digit());
        if is_id {
            assert!(rows.insert(id.to_owned(), stands.to_owned()).is_none(), "{id} twice");
        }
    }
    rows
}

/// What stands in `code` in a cell.
fn cited(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn tests_below(dir: &Path, out: &mut BTreeSet<String>) {
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten() {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]";
                if let (true, Some(rest)) = (is_test, line.strip_prefix("fn ")) {
                    out.insert(rest.split('(').next().unwrap().to_owned());
                    is_test = false;
                }
            }
        }
    }
}

fn vectors() -> BTreeSet<String> {
    let folder = fs::read_dir(root().join("testdata/vectors")).into_iter().flatten().flatten();
    let names = folder.map(|e| e.file_name().into_string().unwrap());
    names.filter_map(|n| n.strip_suffix(".toml").map(str::to_owned)).collect()
}

#[test]
fn every_attack_has_a_row_that_says_something() {
    let rows = table();
    let wanted: BTreeSet<String> =
        ROWS.iter().flat_map(|(letter, n)| (1..=*n).map(move |i| format!("{letter}{i}"))).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    for (id, stands) in &rows {
        let names = cited(stands).next().is_some();
        assert!(names || stands.starts_with("Cannot occur: "), "{id}: {stands}");
    }
}

#[test]
fn every_test_and_vector_named_exists() {
    let (mut tests, vectors) = (BTreeSet::new(), vectors());
    tests_below(&root().join("tests"), &mut tests);
    tests_below(&root().join("src"), &mut tests);
    let mut missing = Vec::new();
    for (id, stands) in table() {
        for name in cited(&stands) {
            let there = match name.strip_prefix("vectors/") {
                Some(vector) => match vector.strip_suffix('*') {
                    Some(start) => vectors.iter().any(|v| v.starts_with(start)),
                    None => vectors.contains(vector),
                },
                None if name.starts_with("vectors-generated/") => root().join("testdata").join(name).exists(),
                None if name.contains(['.', '/']) => root().join(name).exists(),
                None if name.starts_with("--") || name == "image-references" => true,
                None => tests.contains(name),
            };
            if !there {
                missing.push(format!("{id}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Vectors say themselves which rows they stand for.
#[test]
fn every_row_that_a_vector_names_exists() {
    let rows = table();
    for vector in vectors() {
        let text = fs::read_to_string(root().join(format!("testdata/vectors/{vector}.toml"))).unwrap();
        let ids = text.lines().find_map(|l| l.strip_prefix("ids = [")).unwrap_or_default();
        for id in ids.split('"').skip(1).step_by(2).filter(|id| !id.starts_with('F')) {
            assert!(rows.contains_key(id), "{vector}: {id}");
        }
    }
}
