//! The real content of a registry, read without the program's own client.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use mirror_bundle::oci::Digest;
use serde_json::Value;

use crate::support::image::{OCI_INDEX, OCI_MANIFEST};
use crate::support::registry::Registry;

/// Status and body.
pub fn get(registry: &Registry, method: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", registry.port)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: x\r\nAccept: {OCI_MANIFEST}\r\nAccept: {OCI_INDEX}\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    (first.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// Every tag below `prefix` with its digest. Each must lead to an image whose parts are all in its repository and
/// match their digests.
#[track_caller]
pub fn tags(registry: &Registry, prefix: &str) -> BTreeMap<String, Digest> {
    let mut all = BTreeMap::new();
    for repository in [format!("{prefix}/src/app"), format!("{prefix}/src/other")] {
        let (status, list) = get(registry, "GET", &format!("/v2/{repository}/tags/list"));
        if status == 404 {
            continue;
        }
        let list: Value = serde_json::from_slice(&list).unwrap();
        let mut seen = BTreeSet::new();
        for tag in list["tags"].as_array().into_iter().flatten() {
            let tag = tag.as_str().unwrap();
            let (status, bytes) = get(registry, "GET", &format!("/v2/{repository}/manifests/{tag}"));
            assert_eq!(status, 200, "{repository}:{tag}");
            whole(registry, &repository, &bytes, &mut seen);
            all.insert(format!("{}:{tag}", &repository[prefix.len() + 1..]), Digest::of(&bytes));
        }
    }
    all
}

/// Everything below a manifest exists. ([`contents`] checks once that blobs have the right bytes.)
#[track_caller]
fn whole(registry: &Registry, repository: &str, manifest: &[u8], seen: &mut BTreeSet<Digest>) {
    let document: Value = serde_json::from_slice(manifest).unwrap();
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    for child in document["manifests"].as_array().into_iter().flatten().map(digest) {
        if seen.insert(child) {
            let (status, bytes) = get(registry, "GET", &format!("/v2/{repository}/manifests/{child}"));
            assert_eq!((status, Digest::of(&bytes)), (200, child), "{repository}");
            whole(registry, repository, &bytes, seen);
        }
    }
    let config = Some(&document["config"]).filter(|c| !c.is_null());
    for blob in document["layers"].as_array().into_iter().flatten().chain(config).map(digest) {
        assert!(!seen.insert(blob) || has_blob(registry, repository, &blob), "{repository}: {blob}");
    }
}

/// Whether a blob is in a repository.
pub fn has_blob(registry: &Registry, repository: &str, digest: &Digest) -> bool {
    get(registry, "HEAD", &format!("/v2/{repository}/blobs/{digest}")).0 == 200
}

/// Every blob in a storage matches its digest. Returns their number.
#[track_caller]
pub fn contents(storage: &Path) -> usize {
    let files = walkdir::WalkDir::new(storage.join("docker/registry/v2/blobs")).into_iter();
    let blobs = files.flatten().filter(|e| e.file_name() == "data");
    let right = |entry: walkdir::DirEntry| {
        let name = entry.path().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Digest::of(&std::fs::read(entry.path()).unwrap()).hex(), name);
    };
    blobs.map(right).count()
}
