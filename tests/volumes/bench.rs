//! Small bundles, and the program run on them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::image::{Blob, Image, OCI_MANIFEST};
use crate::support::noise;
use crate::support::program::{self, PROGRAM};
pub(crate) use crate::support::skip::{have, skip};
use serde_json::json;

/// The output of a run.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A folder for one test, in memory if possible: a test of many sizes is not a test of a disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The program, in an environment where nothing is configured.
pub(crate) fn program<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Command {
    clean(Command::new(PROGRAM), dir, args)
}

pub(crate) fn clean<S: AsRef<OsStr>>(mut command: Command, dir: &Path, args: &[S]) -> Command {
    program::clean(&mut command, dir);
    command.args(args).env("SOURCE_DATE_EPOCH", "1700000000");
    command
}

pub(crate) fn end(command: &mut Command) -> Run {
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { code: out.status.code().unwrap_or(-1), stdout: text(out.stdout), stderr: text(out.stderr) }
}

/// Runs the program in `dir`, and requires this exit code.
#[track_caller]
pub(crate) fn run(dir: &Path, code: i32, line: &str) -> Run {
    let args: Vec<&str> = line.split(' ').collect();
    let run = end(&mut program(dir, &args));
    assert_eq!(run.code, code, "{line}\n{}{}", run.stdout, run.stderr);
    run
}

/// Runs another program in `dir`.
#[track_caller]
pub(crate) fn tool(dir: &Path, name: &str, args: &[&str]) -> Vec<u8> {
    let out = clean(Command::new(name), dir, args).output().unwrap();
    assert!(out.status.success(), "{name} {args:?}\n{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// An OCI layout with an image of layers of these sizes each, called `quay.io/test/<n>:1`.
pub(crate) fn layout(dir: &Path, images: &[&[usize]]) -> PathBuf {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| fs::write(blobs.join(mirror_bundle::oci::Digest::of(bytes).hex()), bytes).unwrap();
    let mut manifests = Vec::new();
    for (n, sizes) in images.iter().enumerate() {
        let image = image(n, sizes);
        image.blobs.iter().for_each(|blob| put(&blob.bytes));
        put(&image.bytes);
        let mut entry = image.descriptor();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": format!("quay.io/test/{n}:1") });
        manifests.push(entry);
    }
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string()).unwrap();
    dir.to_owned()
}

/// An OCI image whose layers are noise.
fn image(n: usize, sizes: &[usize]) -> Image {
    let layer = |(at, size): (usize, &usize)| Blob {
        diff_id: Some(mirror_bundle::oci::Digest::of(&[n as u8, at as u8])),
        ..Blob::new("application/vnd.oci.image.layer.v1.tar", noise(*size, (n * 100 + at) as u64))
    };
    let layers: Vec<Blob> = sizes.iter().enumerate().map(layer).collect();
    let image = Image::oci("amd64", &layers);
    assert_eq!(image.media_type, OCI_MANIFEST);
    image
}

/// `b.tar` in `dir`: a bundle of images with layers of these sizes.
pub(crate) fn bundle(dir: &Path, images: &[&[usize]]) -> PathBuf {
    layout(&dir.join("layout"), images);
    run(dir, 0, "create b.tar --unsigned -qq --from-layout layout");
    dir.join("b.tar")
}

/// The files of a folder, by name.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|e| e.path().is_file());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// A new folder below `dir`.
pub(crate) fn make(dir: &Path, name: &str) -> PathBuf {
    fs::create_dir(dir.join(name)).unwrap();
    dir.join(name)
}
