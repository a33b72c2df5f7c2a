//! Inputs of bugs that fuzzing found (`fuzz/RESULTS.md`), all fixed: `testdata/fuzz-regressions`, by target.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mirror_bundle::ops::Silent;
use mirror_bundle::ops::verify::{Options, verify};
use mirror_bundle::verify::{Conditions, Trust, Verdict};

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz-regressions");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = all.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(target)).collect();
    assert!(!found.is_empty(), "no input for {target}");
    found
}

fn trust_without_keys() -> (Trust, Conditions) {
    let mut conditions = Conditions::new("2026-11-01T00:00:00Z".parse().unwrap());
    conditions.exceptions.unsigned_release = true;
    (Trust::Unsigned { keyrings: vec![] }, conditions)
}

#[test]
fn a_bad_bundle_gets_the_same_verdict_as_a_file_and_as_a_stream() {
    for path in inputs("container-") {
        let (trust, conditions) = trust_without_keys();
        let file =
            verify(path.as_path().into(), &trust, &conditions, &Options { quick: false, jobs: 1 }, &Silent).unwrap();
        let stream = Box::new(File::open(&path).unwrap());
        let inputs = mirror_bundle::bundle::Inputs::stream(stream);
        let stream = verify(inputs, &trust, &conditions, &Options { quick: false, jobs: 1 }, &Silent).unwrap();
        assert_eq!(file.verdict, Verdict::Failed, "{}", path.display());
        assert_eq!(stream.verdict, Verdict::Failed, "{}", path.display());
        assert_eq!(stream.exit_code, file.exit_code, "{}", path.display());
    }
}
