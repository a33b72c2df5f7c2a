//! What documents may cite: the tests of this repository, and its vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every test function in `src/` and `tests/`, and the files that have one of that name.
pub(crate) fn tests() -> BTreeMap<String, Vec<PathBuf>> {
    let mut out: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root().join(folder)).into_iter().flatten() {
            if entry.path().extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                let path = entry.path().strip_prefix(root()).unwrap().to_owned();
                let mut is_test = false;
                for line in text.lines().map(str::trim) {
                    is_test |= line == "#[test]";
                    if let (true, Some(rest)) = (is_test, line.strip_prefix("fn ")) {
                        out.entry(rest.split('(').next().unwrap().to_owned()).or_default().push(path.clone());
                        is_test = false;
                    }
                }
            }
        }
    }
    out
}

/// The names of the vectors.
pub(crate) fn vectors() -> BTreeSet<String> {
    let folder = fs::read_dir(root().join("testdata/vectors")).into_iter().flatten().flatten();
    let names = folder.map(|e| e.file_name().into_string().unwrap());
    names.filter_map(|n| n.strip_suffix(".toml").map(str::to_owned)).collect()
}
