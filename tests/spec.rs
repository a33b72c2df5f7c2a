//! The specification holds together: each id means one requirement, each requirement cites a test or a vector, and
//! everything that is cited exists.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "support/cited.rs"]
mod cited;

use cited::root;

/// Requirements without a test of their own, and why.
const UNTESTED: [(&str, &str); 4] = [
    ("MB-ADD-02", "no addendum with a good signature under a wrong name is made yet"),
    ("MB-CRE-06", "no folder with another file is given to `--manifests` yet"),
    ("MB-REL-06", "no vector has a one-pass packet that announces something else yet"),
    ("MB-VER-08", "refers to MB-COS, which has the tests"),
];

/// A requirement: its id, the document that has it, and its text.
struct Requirement {
    id: String,
    document: String,
    text: String,
    /// Whether it is a row of a table, whose last cell cites and whose end cites for all rows.
    row: bool,
}

/// A name that a document cites.
#[derive(Debug)]
struct Citation {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Test,
    Vector,
}

fn documents() -> Vec<(String, String)> {
    let mut out: Vec<_> = fs::read_dir(root().join("spec"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    out.sort();
    out
}

/// The id at the start of a text: `MB-`, three letters, `-`, two digits.
fn id(text: &str) -> Option<&str> {
    let id = text.get(..9)?;
    let shape = id.bytes().zip("MB-AAA-00".bytes()).all(|(b, form)| match form {
        b'A' => b.is_ascii_uppercase(),
        b'0' => b.is_ascii_digit(),
        form => b == form,
    });
    shape.then_some(id)
}

/// Paragraphs that begin with an id in bold, up to the next one or a heading; and rows that begin with an id which has
/// no paragraph.
fn requirements() -> Vec<Requirement> {
    let mut out: Vec<Requirement> = Vec::new();
    for (document, text) in documents() {
        let mut open = false;
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("**").and_then(id) {
                out.push(Requirement { id: id.into(), document: document.clone(), text: String::new(), row: false });
                open = true;
            } else if line.starts_with('#') {
                open = false;
            }
            if let (true, Some(last)) = (open, out.last_mut()) {
                last.text.push_str(line);
                last.text.push('\n');
            }
        }
        let paragraphs: BTreeSet<String> =
            out.iter().filter(|r| r.document == document).map(|r| r.id.clone()).collect();
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("| ").and_then(id)
                && !paragraphs.contains(id)
            {
                out.push(Requirement { id: id.into(), document: document.clone(), text: line.into(), row: true });
            }
        }
    }
    out
}

/// The names in `*Tests: …*`, `*End to end: …*` and `*Vectors: …*`.
fn citations(text: &str) -> Vec<Citation> {
    let text = text.replace('\n', " ");
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = ["*Test", "*Vectors", "*End to end"].iter().filter_map(|mark| rest.find(mark)).min() {
        rest = &rest[at + 1..];
        let mut kind = Kind::Test;
        let mut code = false;
        for part in rest.split('`') {
            if code {
                out.push(Citation { kind, name: part.replace(' ', "") });
            } else {
                if let Some(last) = part.rfind("Vectors:") {
                    kind = if part[last..].contains("Test") { Kind::Test } else { Kind::Vector };
                } else if part.contains("Test:") || part.contains("Tests:") || part.contains("End to end:") {
                    kind = Kind::Test;
                }
                if part.contains('*') {
                    break;
                }
            }
            code = !code;
        }
    }
    out
}

/// Whether `name` is that of one of `known`, or with `…` at its end the beginning of one.
fn names<'a>(name: &str, mut known: impl Iterator<Item = &'a String>) -> bool {
    match name.strip_suffix('…') {
        Some(start) => known.any(|k| k.starts_with(start)),
        None => known.any(|k| k == name),
    }
}

/// Whether a file is that of a module, as `sign::policy::judge` is `src/sign/policy/judge/tests.rs`. A path that begins
/// with `…` is cut.
fn is_below(path: &Path, modules: &[&str]) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|p| p.to_str()).map(|p| p.trim_end_matches(".rs")).collect();
    let modules: Vec<&str> = modules.iter().copied().filter(|m| !matches!(*m, "…" | "tests" | "src")).collect();
    modules.is_empty() || parts.windows(modules.len()).any(|window| window == modules)
}

#[test]
fn every_id_means_one_requirement() {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = requirements()
        .into_iter()
        .filter(|r| !seen.insert(r.id.clone()))
        .map(|r| format!("{}: {}", r.document, r.id))
        .collect();
    assert!(seen.len() > 100, "{} requirements", seen.len());
    assert!(twice.is_empty(), "{twice:#?}");
    // One prefix is that of one document.
    let mut prefixes: Vec<_> = requirements().into_iter().map(|r| (r.id[..6].to_owned(), r.document)).collect();
    prefixes.sort();
    prefixes.dedup();
    let shared: Vec<_> = prefixes.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

#[test]
fn every_requirement_cites_a_test_or_a_vector() {
    let all = requirements();
    let silent: BTreeSet<&str> = all
        .iter()
        .filter(|r| match r.row {
            false => citations(&r.text).is_empty(),
            // The limits have their tests below the table.
            true if r.id.starts_with("MB-LIM") => false,
            true => r.text.trim_matches('|').rsplit('|').next().unwrap().trim().is_empty(),
        })
        .map(|r| r.id.as_str())
        .collect();
    let excepted: BTreeSet<&str> = UNTESTED.iter().map(|(id, _)| *id).collect();
    assert_eq!(silent, excepted);
}

#[test]
fn every_test_and_vector_that_is_cited_exists() {
    let (tests, vectors) = (cited::tests(), cited::vectors());
    let mut count = 0;
    let mut wrong = Vec::new();
    for (document, text) in documents() {
        for Citation { kind, name } in citations(&text) {
            count += 1;
            let parts: Vec<&str> = name.split("::").collect();
            let (last, modules) = parts.split_last().unwrap();
            let good = if name.contains('/') {
                root().join(&name).exists()
            } else if kind == Kind::Vector {
                names(&name, vectors.iter())
            } else if let Some(start) = last.strip_suffix('…') {
                tests.iter().any(|(t, files)| t.starts_with(start) && files.iter().any(|f| is_below(f, modules)))
            } else {
                tests.get(*last).is_some_and(|files| files.iter().any(|f| is_below(f, modules)))
            };
            if !good {
                wrong.push(format!("{document}: {kind:?} {name}"));
            }
        }
    }
    // The table of release signatures cites vectors by number, and tests in code.
    let generated = fs::read_to_string(root().join("testdata/vectors-generated/expected.tsv")).unwrap();
    for row in requirements().into_iter().filter(|r| r.row && r.id.starts_with("MB-REL")) {
        for name in row.text.trim_matches('|').rsplit('|').next().unwrap().split(',').map(str::trim) {
            let number = name.len() == 3 && name[1..].bytes().all(|b| b.is_ascii_digit());
            let good = match name.strip_prefix('`') {
                Some(test) => tests.contains_key(test.trim_end_matches('`')),
                None => !number || generated.contains(&format!("{name}-")),
            };
            count += 1;
            if !good {
                wrong.push(format!("{}: {name}", row.id));
            }
        }
    }
    assert!(count > 300, "{count} citations");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The code, the tests and the vectors speak of requirements by id.
#[test]
fn every_requirement_that_is_spoken_of_exists() {
    let known: BTreeSet<String> = requirements().into_iter().map(|r| r.id).collect();
    let mut wrong = BTreeSet::new();
    for folder in ["src", "tests", "spec", "testdata/vectors", "fuzz/fuzz_targets"] {
        for entry in walkdir::WalkDir::new(root().join(folder)).into_iter().flatten() {
            if !entry.path().extension().is_some_and(|e| e == "rs" || e == "md" || e == "py" || e == "toml") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            for found in text.match_indices("MB-").filter_map(|(at, _)| id(&text[at..])) {
                if !known.contains(found) && found != "MB-AAA-00" {
                    wrong.insert(format!("{}: {found}", entry.path().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn citations_are_found_as_they_are_written() {
    let text = "R MUST. *Tests: `a::b`,\n`c`. Vectors: `v-…`.* And *this* is none: `d`. *End to end: `e`.*";
    let found: Vec<_> = citations(text).into_iter().map(|c| (c.kind, c.name)).collect();
    let wanted = [(Kind::Test, "a::b"), (Kind::Test, "c"), (Kind::Vector, "v-…"), (Kind::Test, "e")];
    assert_eq!(found, wanted.map(|(kind, name)| (kind, name.to_owned())));
    assert!(names("tar-…", [&"tar-cut".to_owned()].into_iter()) && !names("tar", [&"tar-cut".to_owned()].into_iter()));
    assert!(is_below(Path::new("src/sign/policy/judge/tests.rs"), &["sign", "policy", "judge"]));
    assert!(!is_below(Path::new("src/report/mod.rs"), &["verify", "report"]));
}
