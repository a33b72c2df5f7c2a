//! The program as people use it: completion in real shells, a real terminal, and documents checked against their
//! schemas.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/program.rs"]
mod program;
#[path = "support/schemas.rs"]
mod schemas;
#[path = "support/skip.rs"]
mod skip;

#[path = "terminal/completion.rs"]
mod completion;
#[path = "terminal/newcomers.rs"]
mod newcomers;
#[path = "terminal/schema.rs"]
mod schema;
#[path = "terminal/screen.rs"]
mod screen;

use std::path::{Path, PathBuf};

/// The input for a small bundle.
fn flow() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/flow.in")
}

/// Runs the program in `dir`: exit code, standard output, standard error.
fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let out = program::program(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// A folder with a small unsigned bundle, `b.tar`.
fn bundle() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (layout, manifests) = (flow().join("layout"), flow().join("manifests"));
    let sources = ["--from-layout", layout.to_str().unwrap(), "--manifests", manifests.to_str().unwrap()];
    let made = run(dir.path(), &[&["create", "b.tar", "--unsigned"], &sources[..]].concat());
    assert_eq!(made.0, 0, "{}", made.2);
    dir
}

/// A layout `large` in `dir`, of one image with layers of these sizes in bytes.
fn large(dir: &Path, bytes: &[usize]) {
    let layout = dir.join("large");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = mirror_bundle::oci::Digest::of(bytes);
        std::fs::write(layout.join("blobs/sha256").join(digest.to_string().trim_start_matches("sha256:")), bytes)
            .unwrap();
        (digest.to_string(), bytes.len())
    };
    let (config, config_size) =
        blob(br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let layer = |(n, size): (usize, &usize)| {
        let (layer, size) = blob(&vec![n as u8 + 1; *size]);
        format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}"#)
    };
    let layers = bytes.iter().enumerate().map(layer).collect::<Vec<_>>().join(",");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{layers}]}}"#
    );
    let (manifest, size) = blob(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"registry.example.com/a/b:1"}}}}]}}"#
    );
    std::fs::write(layout.join("index.json"), index).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
