//! A real registry with the referrers API: that of go-containerregistry, built from `tests/peers/registry` with Go.
//! (docker-registry 2.8 and 3 have no such API, nor has `crane registry serve`, which leaves it off.)

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::image::{Image, Pusher};
use crate::support::program::{program, tool};
use crate::support::skip::{have, skip};
use crate::{app, referrers};

/// The running registry: it ends with its standard input.
struct Peer {
    child: Child,
    host: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds and starts it; `None` where Go or its module is not to be had.
fn peer() -> Option<Peer> {
    if !have("go") {
        return None;
    }
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("registry-with-referrers-{}", std::process::id()));
    let mut build = Command::new("go");
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/registry"));
    let out = build.args(["build", "-o"]).arg(&built).arg(".").output().unwrap();
    if !out.status.success() {
        skip(&format!("go build: {}", String::from_utf8_lossy(&out.stderr)));
        return None;
    }
    let mut child = Command::new(&built).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::remove_file(&built).unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    Some(Peer { host: format!("127.0.0.1:{}", port.trim()), child })
}

impl Peer {
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.host).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// What the API lists.
    fn list(&self, repository: &str, subject: &Image) -> BTreeSet<String> {
        let text = self.ask("GET", &format!("/v2/{repository}/referrers/{}", subject.digest()));
        let list: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        list["manifests"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap().to_owned()).collect()
    }
}

fn run(dir: &Path, peer: &Peer, args: &[&str]) -> String {
    let mut command = program(dir);
    command.args(args).args(["--progress", "none", "--plain-http", "127.0.0.1", "-j", "8"]);
    let out = command.output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{} {err}", peer.host);
    err
}

#[test]
fn referrers_at_a_real_registry_with_the_api_are_never_lost() {
    let Some(peer) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let subject = app();
    let to = Pusher::new(&peer.host);
    to.push("p/app", &subject, Some("v1"));
    let all: BTreeSet<String> = referrers(&subject)
        .iter()
        .map(|referrer| {
            to.push("p/app", referrer, None);
            referrer.digest().to_string()
        })
        .collect();
    assert_eq!(peer.list("p/app", &subject), all, "the registry has the API");

    let image = format!("{}/p/app:v1", peer.host);
    run(dir.path(), &peer, &["create", "b.tar", "--unsigned", "--image", &image]);
    let target = format!("{}/org/mir", peer.host);
    let unpack = ["unpack", "b.tar", "--allow-unsigned", "--to", &target];
    run(dir.path(), &peer, &unpack);
    assert_eq!(peer.list("org/mir/p/app", &subject), all);
    // The list of the registry is what counts: no fallback tag beside it.
    let tags: Value = serde_json::from_str(&peer.ask("GET", "/v2/org/mir/p/app/tags/list")).unwrap();
    let lists = |tag: &&Value| tag.as_str().unwrap().strip_prefix("sha256-").is_some_and(|hex| hex.len() == 64);
    assert_eq!(tags["tags"].as_array().unwrap().iter().find(lists), None, "{tags}");

    // What somebody removed is there again after the next run.
    let removed = all.iter().next().unwrap();
    peer.ask("DELETE", &format!("/v2/org/mir/p/app/manifests/{removed}"));
    assert_eq!(peer.list("org/mir/p/app", &subject).len(), all.len() - 1);
    run(dir.path(), &peer, &unpack);
    assert_eq!(peer.list("org/mir/p/app", &subject), all);

    // The second hop carries them all.
    let second = format!("{}/org/mir/p/app:v1", peer.host);
    run(dir.path(), &peer, &["create", "c.tar", "--unsigned", "--image", &second]);
    let out =
        tool(env!("CARGO_BIN_EXE_mirror-bundle"), dir.path()).args(["ls", "c.tar", "-o", "json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&out.stdout).unwrap();
    let images = listed["images"].as_array().unwrap().iter();
    let carried: BTreeSet<String> = images
        .filter(|image| image["kind"] == "referrer")
        .map(|image| image["digest"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(carried, all);
}
