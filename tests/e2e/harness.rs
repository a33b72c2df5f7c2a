//! Runs the program, and queries the content of registries.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mirror_bundle::oci::Digest;
use serde_json::Value;

use crate::support::image::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
pub(crate) use crate::support::program::PROGRAM;
use crate::support::program::clean as surround;
use crate::support::registry::Registry;
use crate::support::release::{MULTI, RELEASES, world};
#[allow(unused_imports)]
pub(crate) use crate::support::skip::{have, skip};

/// Arguments of any text or path type.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$(std::ffi::OsString::from(&$arg)),*] };
}
pub(crate) use args;

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The program with these arguments, in an environment where nothing is configured.
pub(crate) fn command(args: &[OsString]) -> Command {
    clean(Command::new(PROGRAM), args)
}

/// Another program, in the same environment.
pub(crate) fn clean(mut command: Command, args: &[OsString]) -> Command {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    // The memory of a host must not be shared between tests.
    let state = world().dir.join(format!("state-{}", RUNS.fetch_add(1, Ordering::Relaxed)));
    surround(&mut command, &world().dir);
    command.args(args).env("MIRROR_BUNDLE_STATE", state);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn finish(command: &mut Command) -> Run {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let code = out.status.code().unwrap_or(-1);
    Run { code, stdout: out.stdout, stderr: String::from_utf8(out.stderr).unwrap() }
}

/// A run that succeeds.
#[track_caller]
pub(crate) fn ok(args: &[OsString]) -> Run {
    ends(0, args)
}

/// A run that ends with this exit code.
#[track_caller]
pub(crate) fn ends(code: i32, args: &[OsString]) -> Run {
    let run = finish(&mut command(args));
    assert_eq!(run.code, code, "{args:?}\n{}\n{}", run.text(), run.stderr);
    run
}

/// A run that reaches the web through the world's proxy.
#[track_caller]
pub(crate) fn on_the_web(code: i32, args: &[OsString]) -> Run {
    let run = finish(command(args).env("HTTPS_PROXY", &world().web));
    assert_eq!(run.code, code, "{args:?}\n{}\n{}", run.text(), run.stderr);
    run
}

/// Another program that succeeds.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[OsString]) -> Run {
    let run = finish(&mut clean(Command::new(name), args));
    assert_eq!(run.code, 0, "{name} {args:?}\n{}\n{}", String::from_utf8_lossy(&run.stdout), run.stderr);
    run
}

/// A run with standard input.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let out = std::thread::scope(|scope| {
        // A program that has read enough closes its end.
        scope.spawn(move || _ = stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    Run { code: out.status.code().unwrap_or(-1), stdout: out.stdout, stderr: String::from_utf8(out.stderr).unwrap() }
}

/// A folder that is removed with its test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(&world().dir).unwrap()
}

pub(crate) fn with(first: Vec<OsString>, more: Vec<OsString>) -> Vec<OsString> {
    [first, more].concat()
}

/// `create BUNDLE --release …` of the signed release from the registry at `host`, signed with the builder's key.
pub(crate) fn create_release(bundle: &Path, host: &str) -> Vec<OsString> {
    let world = world();
    let mut out = create_signed(bundle);
    out.extend(args!["--release", format!("{host}/{RELEASES}:4.16.37-x86_64"), "--signature-store", world.store()]);
    out
}

/// `create BUNDLE` with the builder's key, the release key, and plain HTTP on loopback.
pub(crate) fn create_signed(bundle: &Path) -> Vec<OsString> {
    let world = world();
    args![
        "create",
        bundle,
        "--sign-key",
        world.key(),
        "--release-keyring",
        world.keyring(),
        "--plain-http",
        "127.0.0.1"
    ]
}

/// Adds the multi-arch image from the registry at `host`.
pub(crate) fn multi(host: &str) -> Vec<OsString> {
    args!["--image", format!("{host}/{MULTI}:1.0")]
}

/// The arguments with which `verify` and `unpack` trust the bundles made by the functions above.
pub(crate) fn trust() -> Vec<OsString> {
    args!["--signer", world().public_key(), "--release-keyring", world().keyring()]
}

pub(crate) fn verify(bundle: &Path) -> Vec<OsString> {
    with(args!["verify", bundle], trust())
}

/// `unpack BUNDLE --to HOST/ocp/mirror`, manifests to `manifests`.
pub(crate) fn unpack_to(bundle: &Path, host: &str, manifests: &Path) -> Vec<OsString> {
    let to = format!("{host}/ocp/mirror");
    let more = args!["unpack", bundle, "--to", to, "--manifests-to-dir", manifests, "--plain-http", "127.0.0.1"];
    with(more, trust())
}

/// What `unpack` calls a bundle: its name and the first 8 hex characters of its index.
pub(crate) fn unpacked_name(bundle: &Path) -> String {
    let hex = &sha256(&member(bundle, "mirror-bundle/index.json"))[7..15];
    format!("{}-{hex}", index_of(bundle)["name"].as_str().unwrap())
}

/// The folder of a bundle's manifests below a destination.
pub(crate) fn manifests_in(dir: &Path, bundle: &Path) -> std::path::PathBuf {
    dir.join("manifests").join(unpacked_name(bundle))
}

/// Status and body of a GET; HTTP/1.0, so nothing is chunked.
pub(crate) fn get(port: u16, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let accept = [DOCKER_MANIFEST, OCI_MANIFEST, OCI_INDEX].join(", ");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let status = String::from_utf8_lossy(&all[..end]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, all.split_off(end))
}

/// The manifest at a registry, by tag or digest; `None` when it does not exist.
pub(crate) fn manifest(registry: &Registry, repository: &str, reference: &str) -> Option<Vec<u8>> {
    match get(registry.port, &format!("/v2/{repository}/manifests/{reference}")) {
        (200, body) => Some(body),
        (404, _) => None,
        other => panic!("{repository} {reference}: {other:?}"),
    }
}

/// All tags of a repository.
pub(crate) fn tags(registry: &Registry, repository: &str) -> BTreeSet<String> {
    match get(registry.port, &format!("/v2/{repository}/tags/list")) {
        (200, body) => {
            let list: Value = serde_json::from_slice(&body).unwrap();
            let tags = list["tags"].as_array().cloned().unwrap_or_default();
            tags.iter().map(|t| t.as_str().unwrap().to_owned()).collect()
        }
        (404, _) => BTreeSet::new(),
        other => panic!("{repository}: {other:?}"),
    }
}

/// Every repository with a tag or a manifest.
pub(crate) fn repositories(registry: &Registry) -> Vec<String> {
    let (_, body) = get(registry.port, "/v2/_catalog");
    let list: Value = serde_json::from_slice(&body).unwrap();
    list["repositories"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().to_owned()).collect()
}

/// The index of a bundle, read with tar.
pub(crate) fn index_of(bundle: &Path) -> Value {
    serde_json::from_slice(&member(bundle, "mirror-bundle/index.json")).unwrap()
}

/// One member of a bundle, read with tar.
pub(crate) fn member(bundle: &Path, name: &str) -> Vec<u8> {
    tool("tar", &args!["xOf", bundle, name]).stdout
}

/// Digests of images with their kind and component: these must survive every way of transport.
pub(crate) fn images_of(bundle: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for image in index_of(bundle)["images"].as_array().unwrap() {
        let kind = [&image["kind"], &image["component"]].map(|v| v.as_str().unwrap_or_default()).join(" ");
        out.entry(kind.trim().to_owned()).or_default().insert(image["digest"].as_str().unwrap().to_owned());
    }
    out
}

/// A background program; killed and reaped at the end.
pub(crate) struct Side(pub(crate) Child);

impl Side {
    pub(crate) fn start(command: &mut Command) -> Side {
        Side(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
    /// Its exit code; `None` if a signal ended it. Panics on timeout.
    pub(crate) fn end(mut self, within: Duration) -> (Option<i32>, String) {
        let end = Instant::now() + within;
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > end => panic!("does not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut stderr = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stderr)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The files below a folder, by path relative to it, with their bytes. Links are not followed.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    all.map(|e| (e.path().strip_prefix(dir).unwrap().to_owned(), std::fs::read(e.path()).unwrap())).collect()
}

/// The one mirror set in a folder with this name prefix and this text.
pub(crate) fn set_about(dir: &Path, begins: &str, what: &str) -> String {
    let all = files(dir).into_iter().filter(|(path, _)| path.to_str().unwrap().starts_with(begins));
    let texts = all.map(|(_, bytes)| String::from_utf8(bytes).unwrap());
    let mut found: Vec<String> = texts.filter(|text| text.contains(what)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
