//! kubectl as a second parser of manifests: what `create` accepts means the same to kubectl, in its original and its
//! carried form.
//!
//! `MIRROR_BUNDLE_KUBECTL_COUNT` and `MIRROR_BUNDLE_KUBECTL_SEED` change the size and content of the corpus. Without
//! kubectl the tests are skipped, or fail with `MIRROR_BUNDLE_TESTS=complete`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "kubectl/corpus.rs"]
mod corpus;

use std::path::Path;
use std::process::Command;

use mirror_bundle::kubernetes;
use serde_json::Value;

/// The objects that kubectl reads from all files of a folder, sorted by name, and its complaints.
fn kubectl(folder: &Path) -> (Vec<Value>, String) {
    let out = Command::new("kubectl")
        .args(["label", "--local", "-o", "json", "zz=zz", "-Rf"])
        .arg(folder)
        .env("HOME", folder)
        .output()
        .unwrap();
    let objects = serde_json::Deserializer::from_slice(&out.stdout).into_iter::<Value>().map(|object| {
        let mut object = object.unwrap();
        object["metadata"]["labels"].as_object_mut().unwrap().remove("zz");
        plain(object)
    });
    (objects.collect(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Whether a value holds nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

/// No labels, empty ones and `null` are the same; `create` drops what the server writes where it holds nothing.
fn plain(mut object: Value) -> Value {
    if let Some(top) = object.as_object_mut()
        && top.get("status").is_some_and(is_empty)
    {
        top.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    let empty = |labels: &Value| labels.is_null() || labels.as_object().is_some_and(serde_json::Map::is_empty);
    if let Some(metadata) = object["metadata"].as_object_mut()
        && metadata.get("labels").is_some_and(empty)
    {
        metadata.remove("labels");
    }
    object
}

fn has_kubectl() -> bool {
    let there = Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|o| o.status.success());
    if !there {
        assert_ne!(std::env::var("MIRROR_BUNDLE_TESTS").as_deref(), Ok("complete"), "kubectl is missing");
        eprintln!("SKIPPED: kubectl is not there");
    }
    there
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Passes both forms of these documents to kubectl, and returns the differences.
fn differences(documents: &[Vec<u8>]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (given, carried) = (dir.path().join("given"), dir.path().join("carried"));
    std::fs::create_dir(&given).unwrap();
    std::fs::create_dir(&carried).unwrap();
    let mut want = Vec::new();
    for (n, bytes) in documents.iter().enumerate() {
        std::fs::write(given.join(format!("{n:06}.yaml")), bytes).unwrap();
        for (k, manifest) in kubernetes::parse(bytes).unwrap().iter().enumerate() {
            let canonical = manifest.to_bytes();
            assert_eq!(kubernetes::read(&canonical).as_ref(), Ok(manifest));
            std::fs::write(carried.join(format!("{n:06}-{k:03}.yaml")), &canonical).unwrap();
            want.push(plain(serde_json::from_slice(&canonical).unwrap()));
        }
    }
    let mut out = Vec::new();
    for (form, folder) in [("as given", &given), ("as carried", &carried)] {
        let (found, complaints) = kubectl(folder);
        if found == want && complaints.is_empty() {
            continue;
        }
        if let [document] = documents {
            let text = String::from_utf8_lossy(document);
            out.push(format!("{form}: {text:?}\n  ours {want:?}\n  kubectl {found:?}\n  {complaints}"));
        } else {
            let (first, second) = documents.split_at(documents.len() / 2);
            let found = differences(first).into_iter().chain(differences(second));
            return found.take(20).collect();
        }
    }
    out
}

#[test]
fn kubectl_reads_every_accepted_document_of_a_generated_corpus_as_we_do() {
    if !has_kubectl() {
        return;
    }
    let count = usize::try_from(number("MIRROR_BUNDLE_KUBECTL_COUNT", 12_000)).unwrap();
    let seed = number("MIRROR_BUNDLE_KUBECTL_SEED", 1);
    let mut accepted = 0;
    let mut corpus = corpus::Corpus::new(seed);
    let mut found = Vec::new();
    let mut rest = count;
    while rest > 0 && found.len() < 20 {
        let size = rest.min(4_000);
        rest -= size;
        let documents: Vec<Vec<u8>> =
            (0..size).map(|_| corpus.document()).filter(|bytes| kubernetes::parse(bytes).is_ok()).collect();
        accepted += documents.len();
        found.extend(differences(&documents));
    }
    if std::env::var_os("MIRROR_BUNDLE_KUBECTL_WHY").is_some() {
        let mut why = std::collections::BTreeMap::<String, usize>::new();
        let mut again = corpus::Corpus::new(seed);
        for e in (0..count).filter_map(|_| kubernetes::parse(&again.document()).err()) {
            *why.entry(e.why).or_default() += 1;
        }
        eprintln!("{why:#?}");
    }
    eprintln!("seed {seed}: {accepted} of {count} documents accepted, {} differ", found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(accepted > count / 15, "only {accepted} of {count} were accepted");
}

#[test]
fn kubectl_reads_the_manifests_that_people_write_as_we_do() {
    let documents: Vec<Vec<u8>> = corpus::REAL.iter().map(|text| text.as_bytes().to_vec()).collect();
    let refused: Vec<String> = documents
        .iter()
        .filter_map(|d| Some(format!("{}: {}", kubernetes::parse(d).err()?, String::from_utf8_lossy(d))))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    if has_kubectl() {
        let found = differences(&documents);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
