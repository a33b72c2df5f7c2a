//! `spec/security.md` has a row for every known attack and fault, and every test and vector named there exists.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[path = "support/cited.rs"]
mod support;

use support::root;

/// The catalogue: a letter and how many rows it has.
const ROWS: [(&str, u32); 12] = [
    ("A", 18),
    ("B", 11),
    ("C", 15),
    ("D", 10),
    ("E", 17),
    ("P", 13),
    ("G", 10),
    ("H", 9),
    ("I", 7),
    ("N", 7),
    ("S", 11),
    ("F", 4),
];

/// Id to what covers it.
fn table() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("spec/security.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, covered] = cells[..] else { continue };
        let is_id =
            id.len() > 1 && id.as_bytes()[0].is_ascii_uppercase() && id[1..].bytes().all(|b| b.is_ascii_digit());
        if is_id {
            assert!(rows.insert(id.to_owned(), covered.to_owned()).is_none(), "{id} twice");
        }
    }
    rows
}

/// The names in `code` in a cell.
fn cited(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_attack_has_a_row_that_says_something() {
    let rows = table();
    let wanted: BTreeSet<String> =
        ROWS.iter().flat_map(|(letter, n)| (1..=*n).map(move |i| format!("{letter}{i}"))).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    for (id, covered) in &rows {
        let names = cited(covered).next().is_some();
        assert!(names || covered.starts_with("Cannot occur: "), "{id}: {covered}");
    }
}

#[test]
fn every_test_and_vector_named_exists() {
    let (tests, vectors) = (support::tests(), support::vectors());
    let mut missing = Vec::new();
    for (id, covered) in table() {
        for name in cited(&covered) {
            let there = match name.strip_prefix("vectors/") {
                Some(vector) => match vector.strip_suffix('*') {
                    Some(start) => vectors.iter().any(|v| v.starts_with(start)),
                    None => vectors.contains(vector),
                },
                None if name.starts_with("vectors-generated/") => root().join("testdata").join(name).exists(),
                None if name.contains(['.', '/']) => root().join(name).exists(),
                None if name.starts_with("--") || name == "image-references" => true,
                None => tests.contains_key(name),
            };
            if !there {
                missing.push(format!("{id}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Each vector names the rows that it covers.
#[test]
fn every_row_that_a_vector_names_exists() {
    let rows = table();
    for vector in support::vectors() {
        let text = fs::read_to_string(root().join(format!("testdata/vectors/{vector}.toml"))).unwrap();
        let ids = text.lines().find_map(|l| l.strip_prefix("ids = [")).unwrap_or_default();
        for id in ids.split('"').skip(1).step_by(2).filter(|id| !id.starts_with('F')) {
            assert!(rows.contains_key(id), "{vector}: {id}");
        }
    }
}
