//! A dishonest source registry: H1, H4, H7, B4.

use std::fs;

use mirror_bundle::oci::media_type::OCI_INDEX;

use crate::lab::{LAYER, Lab, Ran, each};
use crate::support::proxy::{Fault, Proxy, status, status_with};
use crate::support::registry::Registry;

/// More times than any test makes requests: the fault is permanent.
const EVER: usize = 1_000;
const EMPTY: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

struct Source {
    lab: Lab,
    registry: Registry,
}

impl Source {
    fn new() -> Source {
        let (lab, registry) = (Lab::new(), Registry::start());
        lab.fill(&registry.host());
        Source { lab, registry }
    }

    /// Each of these alone: path, fault, exit codes, and messages.
    #[track_caller]
    fn all_fail(&self, cases: &[(&str, Fault, &[i32], &str)]) {
        each(cases, |(path, fault, codes, message)| {
            self.fails(path, fault, codes).says(message);
        });
    }

    /// Each of these alone, in an optional look-up: the bundle is made without it, and a warning says so.
    #[track_caller]
    fn all_warn(&self, cases: &[(&str, Fault)]) {
        each(cases, |(path, fault)| {
            let proxy = Proxy::start(Some(self.registry.port));
            proxy.on("GET", *path, EVER, fault.clone());
            let name = format!("{}.tar", proxy.port);
            self.lab.create_as(&name, &proxy.host(), &[]).ends(&[0]).says("could not be looked for");
            self.lab.run(&["verify", &name, "--signer", "key.pub"]).ends(&[0]);
        });
    }

    /// Runs `create` through a proxy with this fault: it must end like this, without a bundle.
    #[track_caller]
    fn fails(&self, path: &str, fault: &Fault, codes: &[i32]) -> Ran {
        let proxy = Proxy::start(Some(self.registry.port));
        proxy.on("GET", path, EVER, fault.clone());
        let name = format!("{}.tar", proxy.port);
        // Only the silent cases need to wait.
        let silent = matches!(fault, Fault::Silence | Fault::Slow(_) | Fault::Raw(..));
        let ran = self.lab.create_as(&name, &proxy.host(), if silent { &["--timeout", "1"] } else { &[] });
        eprintln!("{path} {fault:?}: {} {} KiB\n{}", ran.code, ran.peak, ran.err);
        ran.ends(codes);
        assert!(!self.lab.path(&name).exists(), "{fault:?}");
        ran
    }
}

/// H1: manifests by tag, by digest, and of a signature image.
#[test]
fn wrong_manifests_make_no_bundle() {
    let source = Source::new();
    let lab = &source.lab;
    let child = format!("manifests/{}", lab.manifests[1]);
    let signature = format!("manifests/{}.sig", lab.index.dashed());
    let mut cases: Vec<(&str, Fault, &[i32], &str)> = Vec::new();
    for path in ["manifests/v1", &child, &signature] {
        cases.extend([
            (path, Fault::FlipByte(40), &[31][..], "a different manifest than requested"),
            (path, Fault::Longer(1), &[31], ""),
        ]);
    }
    let broken = [Fault::CutBody(40), Fault::Endless, Fault::LieLength(1 << 40)];
    for path in ["manifests/v1", &child] {
        cases.extend(broken.iter().map(|fault| (path, fault.clone(), &[50][..], "")));
    }
    source.all_warn(&broken.map(|fault| (signature.as_str(), fault)));
    // The headers are right and only the body is wrong; and the reverse.
    let named = |digest: &str| ("Docker-Content-Digest".to_owned(), digest.to_owned());
    let headers = vec![("Content-Type".to_owned(), OCI_INDEX.to_owned()), named(&lab.index.to_string())];
    cases.push(("manifests/v1", Fault::Answer(200, headers, EMPTY.into()), &[31], ""));
    let (name, other) = named(&lab.manifests[0].to_string());
    cases.push(("manifests/v1", Fault::Header(name, other), &[31], ""));
    source.all_fail(&cases);
}

/// H1, A2: configurations, layers and the content of signature images: wrong, short, long, endless.
#[test]
fn wrong_blobs_make_no_bundle() {
    let source = Source::new();
    let lab = &source.lab;
    let paths = [lab.configs[0], lab.layers[0], lab.payload].map(|digest| format!("blobs/{digest}"));
    let mut cases: Vec<(&str, Fault, &[i32], &str)> = Vec::new();
    for path in &paths {
        cases.extend([
            (&**path, Fault::FlipByte(20), &[31][..], ""),
            (path, Fault::CutBody(20), &[50], ""),
            (path, Fault::Longer(1), &[31], ""),
            (path, Fault::Endless, &[31], ""),
            (path, Fault::LieLength(1 << 40), &[31], ""),
            (path, status(404), &[30, 50], ""),
        ]);
    }
    source.all_fail(&cases);
}

/// B4: an index declared as a manifest, a manifest declared as an index, and types that are neither.
#[test]
fn a_document_is_never_what_only_its_header_says() {
    let source = Source::new();
    let called = |kind: &str| Fault::Header("Content-Type".to_owned(), kind.to_owned());
    let child = format!("manifests/{}", source.lab.manifests[1]);
    let mut cases: Vec<(&str, Fault, &[i32], &str)> =
        vec![(&child, called(OCI_INDEX), &[12], "announced as two things")];
    for kind in [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "text/html",
        "\u{1b}[2Jtext/html",
    ] {
        cases.push(("manifests/v1", called(kind), &[12, 50], ""));
    }
    source.all_fail(&cases);
}

/// B4, I1: a tag is resolved once in a run. If it moved since an interrupted run, content of the two is not mixed.
#[test]
fn a_tag_that_moves_between_two_pulls_is_never_mixed() {
    let source = Source::new();
    let (lab, proxy) = (&source.lab, Proxy::start(Some(source.registry.port)));
    proxy.on("GET", format!("blobs/{}", lab.layers[0]), 1, Fault::CutBody(1000));
    lab.create(&proxy.host(), &[]).ends(&[50]);
    assert_eq!(proxy.count("GET", "manifests/v1"), 1);
    assert_eq!(proxy.count("GET", &format!("manifests/{}", lab.index)), 0, "the bytes of the tag are used");
    let moved = std::fs::read(lab.path("layout/blobs/sha256").join(lab.manifests[1].hex())).unwrap();
    let kind = vec![("Content-Type".to_owned(), "application/vnd.oci.image.manifest.v1+json".to_owned())];
    proxy.on("GET", "manifests/v1", 1, Fault::Answer(200, kind, moved));
    lab.create(&proxy.host(), &[]).ends(&[0]).says("for other content");
    lab.run(&["verify", "c.tar", "--signer", "key.pub"]).ends(&[0]);
    let listed = lab.run(&["ls", "c.tar"]);
    listed.says(&lab.manifests[1].to_string());
    assert!(!listed.out.contains(&lab.index.to_string()));
}

/// H4: resets in the middle of a layer at many offsets, and busy answers, only cause retries.
#[test]
fn resets_and_busy_registries_are_survived() {
    let source = Source::new();
    let lab = &source.lab;
    let path = format!("blobs/{}", lab.layers[0]);
    let places: Vec<usize> = (0..20).collect();
    each(&places, |n| {
        let proxy = Proxy::start(Some(source.registry.port));
        proxy.on("GET", path.clone(), 1, Fault::CutBody(n * LAYER / 20 + n));
        let busy = [429, 503, 502, 504][n % 4];
        proxy.on("GET", "manifests/v1", 1, status_with(busy, "Retry-After", "0"));
        let name = format!("{n}.tar");
        lab.create_as(&name, &proxy.host(), &["--retries", "1"]).ends(&[0]);
        lab.run(&["verify", &name, "--signer", "key.pub"]).ends(&[0]);
        let resumed = proxy.seen().iter().any(|s| s.header("range").is_some());
        assert_eq!(resumed, *n > 0, "it went on in the middle");
    });
}

/// H4: an answer with another range of a blob than requested is never used.
#[test]
fn a_wrong_range_is_refused() {
    let source = Source::new();
    let lab = &source.lab;
    let path = format!("blobs/{}", lab.layers[0]);
    let more = ["--retries", "1"];
    // The request is not repeated: the layer is fetched from its start, and the bytes already present are dropped.
    each(&["bytes 0-299999/300000", "bytes 1000-299998/299999", "bytes 999-299999/300000", "nonsense"], |range| {
        let proxy = Proxy::start(Some(source.registry.port));
        proxy.on("GET", path.clone(), 1, Fault::CutBody(1000));
        proxy.on("GET", path.clone(), EVER, Fault::Header("Content-Range".to_owned(), (*range).to_owned()));
        let name = format!("{}.tar", proxy.port);
        lab.create_as(&name, &proxy.host(), &more).ends(&[0]);
        lab.run(&["verify", &name, "--signer", "key.pub"]).ends(&[0]);
        let asked = proxy.seen().into_iter().filter(|s| s.target.contains(&path));
        let ranges: Vec<_> = asked.map(|s| s.header("range").is_some()).collect();
        assert_eq!(ranges, [false, true, false], "{range}");
    });
    // The right range with wrong bytes, and a server that supports neither ranges nor the whole blob.
    let (whole, wrong) = ("bytes 1000-299999/300000".to_owned(), LAYER - 1000);
    for fault in [Fault::Part(0..wrong, whole), status(416)] {
        let proxy = Proxy::start(Some(source.registry.port));
        proxy.on("GET", path.clone(), 1, Fault::CutBody(1000)).on("GET", path.clone(), EVER, fault);
        lab.create_as("d.tar", &proxy.host(), &more).ends(&[31, 50]);
        assert!(!lab.path("d.tar").exists());
        let _ = fs::remove_file(lab.path("d.tar.partial"));
    }
    // A registry without ranges sends everything again, which is correct.
    let proxy = Proxy::start(Some(source.registry.port));
    proxy.on("GET", path.clone(), 1, Fault::CutBody(1000)).on("GET", path, 1, Fault::IgnoreRange);
    lab.create(&proxy.host(), &more).ends(&[0]);
}

/// A9, D4: silence, trickling bytes, endless heads, and endless interim answers: abandoned in time.
#[test]
fn slow_and_endless_answers_are_given_up() {
    let source = Source::new();
    let child = format!("manifests/{}", source.lab.manifests[0]);
    let layer = format!("blobs/{}", source.lab.layers[0]);
    let raw = |first: &str, more: &str, pause| Fault::Raw(first.as_bytes().to_vec(), more.as_bytes().to_vec(), pause);
    source.all_fail(&[
        ("manifests/v1", Fault::Silence, &[50], "silent"),
        (&layer, Fault::Silence, &[50], "silent"),
        (&child, Fault::Slow(50), &[50], ""),
        (&layer, Fault::Slow(50), &[50], ""),
        ("manifests/v1", raw("HTTP/1.1 200 OK\r\n", "X: y\r\n", 0), &[50], ""),
        ("manifests/v1", raw("HTTP/1.1 200 OK\r\n", "X", 100), &[50], ""),
        ("manifests/v1", raw("", "HTTP/1.1 100 Continue\r\n\r\n", 1), &[50], ""),
        ("manifests/v1", raw("HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", "x", 100), &[50], ""),
        ("manifests/v1", raw("\0\0\0\0", "\u{1b}]0;x\u{7}", 0), &[50], ""),
    ]);
}

/// H7, B11: lists of referrers that are endless, lead elsewhere, are invalid, or name referrers of something else.
#[test]
fn endless_and_false_lists_are_given_up() {
    let source = Source::new();
    let lab = &source.lab;
    let path = format!("referrers/{}", lab.index);
    let list = |headers: Vec<(String, String)>, body: &[u8]| {
        let kind = ("Content-Type".to_owned(), OCI_INDEX.to_owned());
        Fault::Answer(200, headers.into_iter().chain([kind]).collect(), body.to_vec())
    };
    let link = |to: &str| list(vec![("Link".to_owned(), format!("<{to}>; rel=\"next\""))], EMPTY.as_bytes());
    let naming = |digest: &str, size: usize| {
        let entry = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
        );
        list(Vec::new(), EMPTY.replace("[]", &format!("[{entry}]")).as_bytes())
    };
    let elsewhere = Proxy::start(None);
    let size = std::fs::metadata(lab.path("layout/blobs/sha256").join(lab.manifests[0].hex())).unwrap().len();
    source.all_fail(&[
        (&path, link(&format!("/v2/in/src/app/{path}")), &[12], "no end"),
        (&path, naming(&lab.manifests[0].to_string(), usize::try_from(size).unwrap()), &[12], "not about"),
    ]);
    source.all_warn(&[
        (&path, link(&format!("http://{}/x", elsewhere.host()))),
        (&path, link("file:///etc/passwd")),
        (&path, link("https://169.254.169.254/")),
        (&path, list(Vec::new(), &vec![b'['; 9 << 20])),
        // A referrer is not part of the image, but one that is missing is reported.
        (&path, naming(&format!("sha256:{}", "0".repeat(64)), 9)),
    ]);
    assert!(elsewhere.seen().is_empty());
}

/// H2: redirects of content to forbidden addresses.
#[test]
fn redirects_to_forbidden_places_make_no_bundle() {
    let source = Source::new();
    let inside = Proxy::start(None);
    let layer = format!("blobs/{}", source.lab.layers[0]);
    let places = [
        format!("http://localhost:{}/x", inside.port),
        format!("https://localhost:{}/x", inside.port),
        format!("http://127.0.0.1:{}/x", inside.port),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::1]/".to_owned(),
        "https://0x7f000001/".to_owned(),
        "gopher://x/".to_owned(),
        "//".to_owned(),
    ];
    let paths = ["manifests/v1", &layer];
    let both = places.iter().flat_map(|to| paths.map(|path| (path, status_with(307, "Location", to))));
    let cases: Vec<_> = both.map(|(path, fault)| (path, fault, &[50][..], "is not followed")).collect();
    source.all_fail(&cases);
    assert!(inside.seen().is_empty());
}
