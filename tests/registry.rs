//! The registry client against a real `docker-registry`, also through a fault proxy.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "registry/logins.rs"]
mod logins;
#[path = "registry/plain_http.rs"]
mod plain_http;
#[path = "registry/pushes.rs"]
mod pushes;
#[path = "registry/redirects.rs"]
mod redirects;
mod support;

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mirror_bundle::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use mirror_bundle::oci::{Digest, Hasher, Repository, Tag};
use mirror_bundle::registry::{Client, Options, Side, Wanted};
use mirror_bundle::{Code, Error};
use support::noise;
use support::proxy::{Fault, Proxy, status, status_with};
use support::registry::{PASSWORD, Registry, Setup, USER, auth_file, free_port, self_signed};
use support::sessions::Sessions;
use support::token::{IDENTITY, Policy, SERVICE, Tokens};

/// Options for tests: plain HTTP on loopback, an empty auth file, short waits.
fn options() -> Options {
    Options {
        side: Side::Destination,
        auth_file: Some("/dev/null".into()),
        plain_http: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        timeout: Duration::from_secs(20),
        retries: 3,
        backoff: Duration::from_millis(5),
        ..Options::default()
    }
}

fn options_with(auth_file: &Path) -> Options {
    Options { auth_file: Some(auth_file.to_owned()), ..options() }
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

fn repo(host: &str, path: &str) -> Repository {
    format!("{host}/{path}").parse().unwrap()
}

fn tag(text: &str) -> Wanted {
    Wanted::Tag(text.parse::<Tag>().unwrap())
}

/// A reader over bytes that checks their digest at its end, as the sinks' readers do.
struct Checked<'a> {
    rest: &'a [u8],
    hasher: Option<Hasher>,
    expected: Digest,
}

impl Read for Checked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.rest.read(buf)?;
        if n > 0 {
            self.hasher.as_mut().unwrap().update(&buf[..n]);
        } else if let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.expected
        {
            return Err(Error::new(Code::BlobMismatch, "the content is not what its name says").into());
        }
        Ok(n)
    }
}

fn open_checked<'a>(bytes: &'a [u8], expected: Digest, offset: u64) -> Box<dyn Read + 'a> {
    let (before, rest) = bytes.split_at(offset as usize);
    let mut hasher = Hasher::new();
    hasher.update(before);
    Box::new(Checked { rest, hasher: Some(hasher), expected })
}

fn push(client: &Client, to: &Repository, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    client.push_blob(to, &digest, bytes.len() as u64, &mut |offset| Ok(open_checked(bytes, digest, offset))).unwrap();
    digest
}

fn pull(client: &Client, from: &Repository, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut reader = client.get_blob(from, digest, 0, size)?;
    reader.read_to_end(&mut out).map_err(|e| Error::io("cannot read", "blob", e))?;
    Ok(out)
}

/// A manifest whose blobs are pushed too.
fn image(client: &Client, to: &Repository, seed: u64) -> Vec<u8> {
    let (config, layer) = (format!("{{\"seed\":{seed}}}"), noise(1000, seed));
    let (config_digest, layer_digest) = (push(client, to, config.as_bytes()), push(client, to, &layer));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":1000}}]}}"#,
        config.len()
    )
    .into_bytes()
}

/// Runs something that must end by itself; aborts the tests if it hangs.
fn within<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let what = what.to_owned();
    std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(120)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{what} hangs");
            std::process::abort();
        }
    });
    let out = run();
    drop(done);
    out
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.unwrap_err().code()
}

// ---- plain transfers

#[test]
fn what_is_pushed_comes_back() {
    let registry = Registry::start();
    let (client, to) = (client(), repo(&registry.host(), "a/b"));
    for size in [0usize, 1, 2, 1000, 3_000_000] {
        let blob = noise(size, size as u64);
        let digest = Digest::of(&blob);
        assert_eq!(client.head_blob(&to, &digest).unwrap(), None);
        push(&client, &to, &blob);
        assert_eq!(client.head_blob(&to, &digest).unwrap(), Some(size as u64));
        assert_eq!(pull(&client, &to, &digest, size as u64).unwrap(), blob);
        if size > 10 {
            let mut tail = Vec::new();
            client.get_blob(&to, &digest, size as u64 - 7, size as u64).unwrap().read_to_end(&mut tail).unwrap();
            assert_eq!(tail, blob[size - 7..]);
        }
    }

    let manifest = image(&client, &to, 1);
    let digest = Digest::of(&manifest);
    assert_eq!(client.get_manifest(&to, &tag("v1")).unwrap(), None);
    assert_eq!(client.head_manifest(&to, &tag("v1")).unwrap(), None);
    let put = client.put_manifest(&to, &tag("v1"), OCI_MANIFEST, &manifest).unwrap();
    assert!(!put.subject_handled, "distribution 2.8 has no referrers");
    for wanted in [tag("v1"), Wanted::Digest(digest)] {
        let fetched = client.get_manifest(&to, &wanted).unwrap().unwrap();
        assert_eq!(
            (fetched.bytes, fetched.media_type.as_str(), fetched.digest),
            (manifest.clone(), OCI_MANIFEST, digest)
        );
        assert_eq!(client.head_manifest(&to, &wanted).unwrap(), Some(digest));
    }
    assert_eq!(
        code(client.put_manifest(&to, &Wanted::Digest(Digest::of(b"x")), OCI_MANIFEST, &manifest)),
        Code::BlobMismatch
    );
}

#[test]
fn what_skopeo_pushed_is_pulled() {
    let registry = Registry::start();
    let to = repo(&registry.host(), "a/b");
    let manifest = image(&client(), &to, 7);
    client().put_manifest(&to, &tag("v1"), OCI_MANIFEST, &manifest).unwrap();
    let copied = std::process::Command::new("skopeo")
        .args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"])
        .arg(format!("docker://{to}:v1"))
        .arg(format!("docker://{}/c/d:v2", registry.host()))
        .output()
        .expect("skopeo is installed");
    // skopeo reads what we pushed only as far as it can read an image; its complaint about the config is not ours.
    if copied.status.success() {
        let fetched = client().get_manifest(&repo(&registry.host(), "c/d"), &tag("v2")).unwrap().unwrap();
        assert_eq!(fetched.bytes, manifest);
    } else {
        panic!("{}", String::from_utf8_lossy(&copied.stderr));
    }
}

#[test]
fn a_missing_blob_and_an_unreachable_host_have_the_code_of_their_side() {
    let registry = Registry::start();
    let digest = Digest::of(b"not there");
    for (side, expected) in [(Side::Source, Code::Source), (Side::Destination, Code::Destination)] {
        let client = Client::new(Options { side, ..options() }).unwrap();
        let from = repo(&registry.host(), "a/b");
        assert_eq!(client.get_blob(&from, &digest, 0, 9).err().unwrap().code(), expected);
        let unreachable_repo = repo(&format!("127.0.0.1:{}", free_port()), "a/b");
        let err = client.get_manifest(&unreachable_repo, &tag("v1")).unwrap_err();
        assert_eq!(err.code(), expected);
        assert!(err.is_transient() && err.facts().iter().any(|f| f == "tried 4 times"), "{err:?}");
    }
}

#[test]
fn one_client_serves_many_threads() {
    let registry = Registry::start();
    let (client, to) = (client(), repo(&registry.host(), "a/b"));
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (client, to) = (&client, &to);
            scope.spawn(move || {
                let blob = noise(100_000, seed);
                let digest = push(client, to, &blob);
                assert_eq!(pull(client, to, &digest, 100_000).unwrap(), blob);
            });
        }
    });
}

#[test]
fn connections_are_used_again() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, to) = (client(), repo(&proxy.host(), "a/b"));
    for seed in 0..20 {
        let blob = noise(500, seed);
        let digest = push(&client, &to, &blob);
        assert_eq!(pull(&client, &to, &digest, 500).unwrap(), blob);
    }
    let connections: std::collections::BTreeSet<_> = proxy.seen().iter().map(|s| s.connection).collect();
    assert!(connections.len() <= 2, "{} connections for {} requests", connections.len(), proxy.seen().len());
    let agent = format!("mirror-bundle/{}", env!("CARGO_PKG_VERSION"));
    assert!(proxy.seen().iter().all(|s| s.header("user-agent") == Some(agent.as_str())));
}

// ---- TLS

#[test]
fn a_self_signed_registry_needs_its_certificate_as_ca_file() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(dir.path(), "DNS:localhost");
    let registry = Registry::with(&Setup { tls: Some((certificate.clone(), key)), ..Setup::default() });
    let tls = |ca_file: Option<&Path>| {
        Client::new(Options { plain_http: Vec::new(), ca_file: ca_file.map(Into::into), ..options() }).unwrap()
    };
    let to = repo(&format!("localhost:{}", registry.port), "a/b");
    let digest = push(&tls(Some(&certificate)), &to, b"hello");
    assert_eq!(pull(&tls(Some(&certificate)), &to, &digest, 5).unwrap(), b"hello");

    let err = tls(None).head_blob(&to, &digest).unwrap_err();
    assert!(err.message().contains("certificate of") && !err.is_transient(), "{err:?}");
    let wrong_name = repo(&registry.host(), "a/b");
    let err = tls(Some(&certificate)).head_blob(&wrong_name, &digest).unwrap_err();
    assert!(err.message().contains("certificate of") && !err.is_transient(), "{err:?}");

    let other = tempfile::tempdir().unwrap();
    let (stranger, _) = self_signed(other.path(), "DNS:localhost");
    assert!(tls(Some(&stranger)).head_blob(&to, &digest).is_err());
}

// ---- failing pulls

#[test]
fn a_broken_pull_resumes_by_range() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, from) = (client(), repo(&proxy.host(), "a/b"));
    let blob = noise(200_000, 1);
    let digest = push(&client, &from, &blob);
    for cut in [0, 1, 10_000, 199_999] {
        proxy.on("GET", "/blobs/", 1, Fault::CutBody(cut));
    }
    assert_eq!(pull(&client, &from, &digest, 200_000).unwrap(), blob);
    let ranges: Vec<_> = proxy.seen().iter().filter_map(|s| s.header("range").map(str::to_owned)).collect();
    // The second cut is after one byte, the third 10,000 bytes later; the fourth is at the very end.
    assert!(
        ranges.contains(&"bytes=1-199999".to_owned()) && ranges.contains(&"bytes=10001-199999".to_owned()),
        "{ranges:?}"
    );

    // A server that does not know ranges sends everything again: the start is dropped.
    proxy.on("GET", "/blobs/", 1, Fault::CutBody(5_000)).on("GET", "/blobs/", 1, Fault::IgnoreRange);
    assert_eq!(pull(&client, &from, &digest, 200_000).unwrap(), blob);
}

#[test]
fn a_pull_that_breaks_every_time_fails_as_transient_after_its_tries() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, from) = (client(), repo(&proxy.host(), "a/b"));
    let digest = push(&client, &from, &noise(1000, 1));
    proxy.on("GET", "/blobs/", 99, Fault::CutBody(10));
    let err = pull(&client, &from, &digest, 1000).unwrap_err();
    assert!(err.is_transient() && err.code() == Code::Destination, "{err:?}");
    assert_eq!(proxy.count("GET", "/blobs/"), 4);
}

#[test]
fn busy_registries_are_waited_for() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, to) = (client(), repo(&proxy.host(), "a/b"));
    let blob = noise(100, 1);
    for code in [503, 502] {
        proxy.on("POST", "/uploads/", 1, status(code));
    }
    proxy.on("PUT", "/uploads/", 1, status(503));
    let digest = push(&client, &to, &blob);
    proxy.on("GET", "/blobs/", 1, status_with(429, "Retry-After", "1")).on("GET", "/blobs/", 2, status(504));
    assert_eq!(pull(&client, &to, &digest, 100).unwrap(), blob);
    // A registry that asks for a longer pause than the limit is not asked again.
    let before = proxy.count("GET", "/blobs/");
    proxy.on("GET", "/blobs/", 1, status_with(429, "Retry-After", "301"));
    let err = pull(&client, &to, &digest, 100).unwrap_err();
    assert!(err.facts().iter().any(|f| f.contains("a pause of 301 seconds")), "{err:?}");
    assert_eq!(proxy.count("GET", "/blobs/") - before, 1);

    let before = proxy.count("HEAD", "/blobs/");
    proxy.on("HEAD", "/blobs/", 99, status(503));
    let err = client.head_blob(&to, &digest).unwrap_err();
    assert!(err.is_transient());
    assert_eq!(proxy.count("HEAD", "/blobs/") - before, 4, "tries are bounded");
}

#[test]
fn permanent_errors_are_reported_in_the_registrys_words_and_not_retried() {
    let proxy = Proxy::start(None);
    let body = br#"{"errors":[{"code":"TOOMANY","message":"gone for good"}]}"#.to_vec();
    proxy.on("GET", "/manifests/", 1, Fault::Answer(418, Vec::new(), body));
    let err = client().get_manifest(&repo(&proxy.host(), "a"), &tag("v1")).unwrap_err();
    assert!(err.facts().contains(&"it said: TOOMANY: gone for good".to_owned()), "{err:?}");
    assert_eq!(proxy.seen().len(), 1);
    // An error document without end is read only as far as needed.
    proxy.on("GET", "/manifests/", 1, Fault::Answer(400, Vec::new(), vec![b'x'; 10_000_000]));
    assert!(client().get_manifest(&repo(&proxy.host(), "a"), &tag("v1")).is_err());
}

#[test]
fn wrong_manifest_bytes_are_refused() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, to) = (client(), repo(&proxy.host(), "a/b"));
    let manifest = image(&client, &to, 1);
    let digest = Digest::of(&manifest);
    client.put_manifest(&to, &tag("v1"), OCI_MANIFEST, &manifest).unwrap();
    for wanted in [Wanted::Digest(digest), tag("v1")] {
        proxy.on("GET", "/manifests/", 1, Fault::FlipByte(20));
        assert_eq!(code(client.get_manifest(&to, &wanted)), Code::BlobMismatch, "{wanted}");
    }
    // Another digest in the header than that of the bytes.
    let other = Digest::of(b"other").to_string();
    proxy.on("GET", "/manifests/", 1, Fault::Header("Docker-Content-Digest".to_owned(), other.clone()));
    assert_eq!(code(client.get_manifest(&to, &tag("v1"))), Code::BlobMismatch);
    proxy.on("PUT", "/manifests/", 1, Fault::Header("Docker-Content-Digest".to_owned(), other));
    assert_eq!(code(client.put_manifest(&to, &tag("v1"), OCI_MANIFEST, &manifest)), Code::Destination);
    // A manifest without end.
    proxy.on("GET", "/manifests/", 1, Fault::Endless);
    let err = client.get_manifest(&to, &tag("v1")).unwrap_err();
    assert!(err.message().contains("too large"), "{err:?}");
    // A generic Content-Type: the document says what it is.
    proxy.on("GET", "/manifests/", 1, Fault::Header("Content-Type".to_owned(), "application/json".to_owned()));
    assert_eq!(client.get_manifest(&to, &tag("v1")).unwrap().unwrap().media_type, OCI_MANIFEST);
}

#[test]
fn blobs_of_another_length_are_refused() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, from) = (client(), repo(&proxy.host(), "a/b"));
    let blob = noise(1000, 1);
    let digest = push(&client, &from, &blob);
    for (fault, why) in [
        (Fault::LieLength(1001), "longer by its header"),
        (Fault::LieLength(999), "shorter by its header"),
        (Fault::Longer(1), "one byte more"),
        (Fault::Endless, "without end"),
    ] {
        proxy.on("GET", "/blobs/", 1, fault);
        assert_eq!(code(pull(&client, &from, &digest, 1000)), Code::BlobMismatch, "{why}");
    }
    assert_eq!(code(pull(&client, &from, &digest, 900)), Code::BlobMismatch, "other than its descriptor says");
    // A reader that stops at the size it wants sees the excess as well.
    proxy.on("GET", "/blobs/", 1, Fault::Longer(1));
    let mut exact = vec![0; 1000];
    let got = client.get_blob(&from, &digest, 0, 1000).unwrap().read_exact(&mut exact);
    assert_eq!(Error::io("x", "y", got.unwrap_err()).code(), Code::BlobMismatch);
}

#[test]
fn a_range_other_than_asked_for_is_not_taken() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, from) = (client(), repo(&proxy.host(), "a/b"));
    let blob = noise(1000, 1);
    let digest = push(&client, &from, &blob);
    let tail = || {
        let mut out = Vec::new();
        client.get_blob(&from, &digest, 100, 1000).unwrap().read_to_end(&mut out).unwrap();
        out
    };
    let ranges = [
        "bytes 0-999/1000",
        "bytes 101-999/1000",
        "bytes 100-1000/1000",
        "bytes 100-999/2000",
        "bytes 100-99/1000",
        "nonsense",
    ];
    let wrong = ranges.map(|range| Fault::Header("Content-Range".to_owned(), range.to_owned()));
    // Then the blob is asked for from its start, once, and what is there already is dropped.
    for fault in wrong.into_iter().chain([status(416), Fault::NoHeader("Content-Range".to_owned())]) {
        let before = proxy.total();
        proxy.on("GET", "/blobs/", 1, fault.clone());
        assert_eq!(tail(), blob[100..], "{fault:?}");
        let asked: Vec<_> = proxy.since(before).iter().map(|s| s.header("range").is_some()).collect();
        assert_eq!(asked, [true, false], "{fault:?}");
    }
    proxy.on("GET", "/blobs/", 1, status(416)).on("GET", "/blobs/", 1, Fault::LieLength(900));
    assert_eq!(client.get_blob(&from, &digest, 100, 1000).err().unwrap().code(), Code::BlobMismatch);
}

#[test]
fn silent_and_trickling_registries_are_given_up() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let from = repo(&proxy.host(), "a/b");
    let digest = push(&client(), &from, &noise(3000, 1));
    let client = Client::new(Options { timeout: Duration::from_secs(1), retries: 0, ..options() }).unwrap();
    proxy.on("GET", "/blobs/", 1, Fault::Silence).on("GET", "/blobs/", 1, Fault::Slow(20));
    for why in ["silence", "a trickle"] {
        let err = within("pull", || pull(&client, &from, &digest, 3000)).unwrap_err();
        assert!(err.message().contains("silent for 1 seconds") && err.is_transient(), "{why}: {err:?}");
    }
}

#[test]
fn a_target_that_takes_an_upload_in_drips_is_given_up() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let client = Client::new(Options { timeout: Duration::from_secs(2), retries: 0, ..options() }).unwrap();
    let to = repo(&proxy.host(), "a/b");
    // Larger than what the sockets hold. A byte now and then: the connection is never silent.
    let blob = noise(16_000_000, 1);
    proxy.on("PUT", "/uploads/", 1, Fault::SlowTake(200, 300));
    let digest = Digest::of(&blob);
    let err = within("push", || {
        client.push_blob(&to, &digest, 16_000_000, &mut |offset| Ok(open_checked(&blob, digest, offset)))
    });
    assert_eq!(code(err), Code::Destination);
    assert_eq!(client.head_blob(&repo(&registry.host(), "a/b"), &digest).unwrap(), None);
}

#[test]
fn a_stop_ends_a_long_wait() {
    let proxy = Proxy::start(None);
    proxy.on("GET", "/manifests/", 9, status_with(503, "Retry-After", "300"));
    let options = options();
    let stop = options.stop.clone();
    let client = Client::new(options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while proxy.total() == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            stop.store(true, Ordering::Relaxed);
        });
        // Without the stop it would wait for 300 seconds.
        let got = within("get", || client.get_manifest(&repo(&proxy.host(), "a"), &tag("v1")));
        assert_eq!(code(got), Code::Interrupted);
    });
}

// ---- referrers

#[test]
fn referrers_come_from_the_fallback_tag_if_it_holds_an_index() {
    let registry = Registry::start();
    let (client, to) = (client(), repo(&registry.host(), "a/b"));
    let manifest = image(&client, &to, 1);
    let digest = Digest::of(&manifest);
    client.put_manifest(&to, &tag("v1"), OCI_MANIFEST, &manifest).unwrap();
    assert_eq!(client.referrers(&to, &digest).unwrap().entries, []);
    // An image at the tag (oc-mirror does that) is not a list.
    client.put_manifest(&to, &tag(&digest.dashed()), OCI_MANIFEST, &manifest).unwrap();
    assert_eq!(client.referrers(&to, &digest).unwrap().entries, []);

    let signature = image(&client, &to, 2);
    client.put_manifest(&to, &Wanted::Digest(Digest::of(&signature)), OCI_MANIFEST, &signature).unwrap();
    let entry = format!(
        r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":{},"artifactType":"application/x.signature"}}"#,
        Digest::of(&signature),
        signature.len()
    );
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry},{entry}]}}"#);
    client.put_manifest(&to, &tag(&digest.dashed()), OCI_INDEX, index.as_bytes()).unwrap();
    let found = client.referrers(&to, &digest).unwrap().entries;
    assert_eq!(found.len(), 1, "duplicates are dropped");
    assert_eq!(
        (found[0].digest, found[0].artifact_type.as_deref()),
        (Digest::of(&signature), Some("application/x.signature"))
    );
}

#[test]
fn the_referrers_api_is_paged_and_bounded() {
    let page = |number: u64| {
        let digest = Digest::of(&number.to_le_bytes());
        let entry = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":5}}"#);
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#).into_bytes()
    };
    let link = |to: &str| vec![("Link".to_owned(), format!("<{to}>; rel=\"next\""))];
    let (proxy, digest) = (Proxy::start(None), Digest::of(b"x"));
    let from = repo(&proxy.host(), "a/b");
    proxy.on("GET", "/referrers/", 1, Fault::Answer(200, link("/v2/a/b/referrers/next?n=2"), page(1)));
    proxy.on("GET", "/referrers/", 1, Fault::Answer(200, Vec::new(), page(2)));
    let found = client().referrers(&from, &digest).unwrap();
    assert!(found.entries.len() == 2 && found.by_api && found.unread.is_none());

    proxy.on("GET", "/referrers/", 1, Fault::Answer(200, link("http://localhost:1/next"), page(1)));
    assert!(client().referrers(&from, &digest).unwrap().unread.unwrap().message().contains("elsewhere"));
    proxy.on("GET", "/referrers/", 999, Fault::Answer(200, link("/v2/a/b/referrers/again"), page(1)));
    assert_eq!(code(client().referrers(&from, &digest)), Code::Malformed);
}

#[test]
fn an_answer_that_is_no_list_means_the_fallback_tag_else_none() {
    let registry = Registry::start();
    let (own, to) = (client(), repo(&registry.host(), "a/b"));
    let (one, other) = (image(&own, &to, 1), image(&own, &to, 2));
    let (digest, referrer) = (Digest::of(&one), Digest::of(&other));
    for manifest in [&one, &other] {
        own.put_manifest(&to, &Wanted::Digest(Digest::of(manifest)), OCI_MANIFEST, manifest).unwrap();
    }
    let entry = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{referrer}","size":{}}}"#, other.len());
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#);
    let lists = |answer: Fault, tagged: bool| {
        let proxy = Proxy::start(Some(registry.port));
        proxy.on("GET", "/referrers/", 999, answer);
        if !tagged {
            proxy.on("GET", "/manifests/", 999, status(403));
        }
        let client = Client::new(Options { retries: 1, ..options() }).unwrap();
        client.referrers(&repo(&proxy.host(), "a/b"), &digest).unwrap()
    };
    own.put_manifest(&to, &tag(&digest.dashed()), OCI_INDEX, index.as_bytes()).unwrap();
    let no_api = [404, 405, 501];
    let refused = [400, 401, 403, 406, 410, 429, 500, 502, 503].map(status).into_iter();
    let other_things = [&b"<html>"[..], b"{}", b"null", b"[]", b"", &index.as_bytes()[..40]];
    let other_things = other_things.into_iter().map(|body| Fault::Answer(200, Vec::new(), body.to_vec()));
    let redirects = ["/v2/", "http://169.254.169.254/", ":"].map(|to| status_with(303, "Location", to));
    for answer in no_api.map(status) {
        assert_eq!(lists(answer.clone(), true).entries.len(), 1, "{answer:?}");
        let none = lists(answer.clone(), false);
        assert!(none.entries.is_empty() && none.unread.is_none(), "{answer:?}");
    }
    for answer in refused.chain(other_things).chain(redirects) {
        let found = lists(answer.clone(), true);
        assert!(found.entries.len() == 1 && !found.by_api, "{answer:?}");
        let none = lists(answer.clone(), false);
        assert!(none.entries.is_empty() && none.unread.is_some(), "{answer:?}");
    }
}

#[test]
fn what_is_not_there_does_not_cost_the_connection() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, here) = (client(), repo(&proxy.host(), "a/b"));
    let digest = push(&client, &here, b"something");
    let missing = Digest::of(b"nothing");
    assert!(client.has_blob(&here, &digest, 9).unwrap());
    assert!(!client.has_blob(&here, &digest, 8).unwrap());
    assert!(!client.has_blob(&here, &missing, 7).unwrap());
    proxy.on("GET", "/blobs/", 1, status(416));
    assert!(!client.has_blob(&here, &digest, 9).unwrap());
    assert!(client.get_manifest(&here, &tag("v1")).unwrap().is_none());
    assert!(client.head_manifest(&here, &tag("v1")).unwrap().is_none());
    assert!(client.referrers(&here, &missing).unwrap().entries.is_empty());
    let seen = proxy.seen();
    assert!(seen.len() > 6 && seen.iter().all(|seen| seen.connection == 0), "{seen:?}");
}
