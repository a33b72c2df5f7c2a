//! A source registry that lies: H1, H4, H7, B4.

use crate::lab::{LAYER, Lab};
use crate::support::proxy::{Fault, Proxy, status, status_with};
use crate::support::registry::Registry;

/// Always, as far as a test goes.
const EVER: usize = 1_000;

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

    /// `create` through a proxy with this fault: it ends so, and there is no bundle.
    #[track_caller]
    fn fails(&self, method: &'static str, path: &str, times: usize, fault: Fault, codes: &[i32]) -> crate::lab::Ran {
        let proxy = Proxy::start(Some(self.registry.port));
        proxy.on(method, path, times, fault.clone());
        let ran = self.lab.create(&proxy.host(), &[]);
        eprintln!("{method} {path} {fault:?}: {} {:?} {} KiB\n{}", ran.code, ran.took, ran.peak, ran.err);
        ran.ends(codes);
        assert!(!self.lab.path("c.tar").exists(), "{fault:?}");
        for left in ["c.tar.partial", "c.tar.partial.journal"] {
            let _ = std::fs::remove_file(self.lab.path(left));
        }
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
    for path in ["manifests/v1", &child, &signature] {
        source.fails("GET", path, EVER, Fault::FlipByte(40), &[31]).says("another manifest than asked for");
        source.fails("GET", path, EVER, Fault::CutBody(40), &[50]);
        source.fails("GET", path, EVER, Fault::Longer(1), &[31]);
        source.fails("GET", path, EVER, Fault::Endless, &[50]).says("too large");
        source.fails("GET", path, EVER, Fault::LieLength(1 << 40), &[50]).says("too large");
    }
}

/// H1: what the headers say is right, only the body is not; and the other way round.
#[test]
fn a_right_digest_header_over_a_wrong_body_is_refused() {
    let source = Source::new();
    let lab = &source.lab;
    let right = Fault::Answer(
        200,
        vec![
            ("Content-Type".to_owned(), "application/vnd.oci.image.index.v1+json".to_owned()),
            ("Docker-Content-Digest".to_owned(), lab.index.to_string()),
        ],
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_vec(),
    );
    source.fails("GET", "manifests/v1", EVER, right, &[31]);
    let other = Fault::Header("Docker-Content-Digest".to_owned(), lab.manifests[0].to_string());
    source.fails("GET", "manifests/v1", EVER, other, &[31]);
}

/// H1, A2: configurations, layers and the content of signature images: wrong, short, long, endless.
#[test]
fn wrong_blobs_make_no_bundle() {
    let source = Source::new();
    let lab = &source.lab;
    for digest in [lab.configs[0], lab.layers[0], lab.payload] {
        let path = format!("blobs/{digest}");
        source.fails("GET", &path, EVER, Fault::FlipByte(20), &[31]);
        source.fails("GET", &path, EVER, Fault::CutBody(20), &[50]);
        source.fails("GET", &path, EVER, Fault::Longer(1), &[31]);
        source.fails("GET", &path, EVER, Fault::Endless, &[31]);
        source.fails("GET", &path, EVER, Fault::LieLength(1 << 40), &[31]);
        source.fails("GET", &path, EVER, status(404), &[30, 50]);
    }
}

/// B4: an index that is called a manifest, a manifest that is called an index, and types that are neither.
#[test]
fn a_document_is_never_what_only_its_header_says() {
    let source = Source::new();
    let lab = &source.lab;
    let called = |kind: &str| Fault::Header("Content-Type".to_owned(), kind.to_owned());
    for kind in [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "text/html",
        "\u{1b}[2Jtext/html",
    ] {
        source.fails("GET", "manifests/v1", EVER, called(kind), &[12, 50]);
    }
    let child = format!("manifests/{}", lab.manifests[1]);
    source.fails("GET", &child, EVER, called("application/vnd.oci.image.index.v1+json"), &[12, 50]);
}

/// B4, I1: a tag that is something else at each pull. What was resolved once is what the bundle holds.
#[test]
fn a_tag_that_moves_between_two_pulls_is_read_once() {
    let source = Source::new();
    let (lab, proxy) = (&source.lab, Proxy::start(Some(source.registry.port)));
    lab.create(&proxy.host(), &[]).ends(&[0]);
    assert_eq!(proxy.count("GET", "manifests/v1"), 1);
    assert_eq!(proxy.count("GET", &format!("manifests/{}", lab.index)), 0, "the bytes of the tag are used");
}

/// H4: resets in the middle of a layer at many places, and busy answers, cost tries and nothing else.
#[test]
fn resets_and_busy_registries_are_survived() {
    let source = Source::new();
    let lab = &source.lab;
    let proxy = Proxy::start(Some(source.registry.port));
    let path = format!("blobs/{}", lab.layers[0]);
    // One try is allowed without progress, so the broken transfers alternate with good requests elsewhere.
    for n in 0..12 {
        let host = proxy.host();
        proxy.on("GET", path.clone(), 1, Fault::CutBody(n * LAYER / 12 + n));
        let busy = [status_with(429, "Retry-After", "0"), status_with(503, "Retry-After", "0")][n % 2].clone();
        proxy.on("GET", "manifests/v1", 1, busy);
        lab.create(&host, &["--force"]).ends(&[0]);
    }
    lab.run(&["verify", "c.tar", "--signer", "key.pub"]).ends(&[0]);
    assert!(proxy.seen().iter().any(|s| s.header("range").is_some()), "it went on in the middle");
}

/// H4: an answer for another part of a blob than the one asked for is never glued on.
#[test]
fn a_wrong_range_is_refused() {
    let source = Source::new();
    let lab = &source.lab;
    let path = format!("blobs/{}", lab.layers[0]);
    for range in ["bytes 0-299999/300000", "bytes 1000-299998/299999", "bytes 999-299999/300000", "nonsense"] {
        let proxy = Proxy::start(Some(source.registry.port));
        proxy.on("GET", path.clone(), 1, Fault::CutBody(1000));
        proxy.on("GET", path.clone(), EVER, Fault::Header("Content-Range".to_owned(), range.to_owned()));
        let ran = lab.create(&proxy.host(), &[]);
        ran.ends(&[31, 50]);
        assert!(!lab.path("c.tar").exists(), "{range}");
        std::fs::remove_file(lab.path("c.tar.partial")).unwrap();
    }
    // A registry without ranges sends all of it again, which is right.
    let proxy = Proxy::start(Some(source.registry.port));
    proxy.on("GET", path.clone(), 1, Fault::CutBody(1000)).on("GET", path, 1, Fault::IgnoreRange);
    lab.create(&proxy.host(), &[]).ends(&[0]);
}

/// A9, D4: silence, a byte now and then, heads without end, and interim answers without end: given up in time.
#[test]
fn slow_and_endless_answers_are_given_up() {
    let source = Source::new();
    let child = format!("manifests/{}", source.lab.manifests[0]);
    let raw = |first: &str, more: &str, pause| Fault::Raw(first.as_bytes().to_vec(), more.as_bytes().to_vec(), pause);
    source.fails("GET", "manifests/v1", EVER, Fault::Silence, &[50]);
    source.fails("GET", &child, EVER, Fault::Slow(50), &[50]);
    source.fails("GET", "manifests/v1", EVER, raw("HTTP/1.1 200 OK\r\n", "X: y\r\n", 0), &[50]);
    source.fails("GET", "manifests/v1", EVER, raw("HTTP/1.1 200 OK\r\n", "X", 100), &[50]);
    source.fails("GET", "manifests/v1", EVER, raw("", "HTTP/1.1 100 Continue\r\n\r\n", 1), &[50]);
    source.fails("GET", "manifests/v1", EVER, raw("HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", "x", 100), &[50]);
    source.fails("GET", "manifests/v1", EVER, raw("\0\0\0\0", "\u{1b}]0;x\u{7}", 0), &[50]);
}

/// H7: lists of referrers that do not end, lead elsewhere, or are not lists.
#[test]
fn endless_lists_are_given_up() {
    let source = Source::new();
    let lab = &source.lab;
    let path = format!("referrers/{}", lab.index);
    let list = |headers: Vec<(String, String)>, body: &[u8]| {
        let kind = ("Content-Type".to_owned(), "application/vnd.oci.image.index.v1+json".to_owned());
        Fault::Answer(200, headers.into_iter().chain([kind]).collect(), body.to_vec())
    };
    let empty = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let link = |to: &str| vec![("Link".to_owned(), format!("<{to}>; rel=\"next\""))];
    source.fails("GET", &path, EVER, list(link(&format!("/v2/in/src/app/{path}")), empty), &[12, 50]).says("no end");
    let elsewhere = Proxy::start(None);
    for to in [format!("http://{}/x", elsewhere.host()), "file:///etc/passwd".into(), "https://169.254.169.254/".into()]
    {
        source.fails("GET", &path, EVER, list(link(&to), empty), &[50]);
    }
    assert!(elsewhere.seen().is_empty());
    source.fails("GET", &path, EVER, list(Vec::new(), b"{}"), &[12, 50]);
    source.fails("GET", &path, EVER, list(Vec::new(), &vec![b'['; 9 << 20]), &[50]);
    // Referrers that are named and not there: what refers to an image is not part of it, but it is not passed over.
    let named = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":9}}]}}"#,
        "0".repeat(64)
    );
    source.fails("GET", &path, EVER, list(Vec::new(), named.as_bytes()), &[30, 50]);
}

/// H2: redirects of content to places that are forbidden.
#[test]
fn redirects_to_forbidden_places_make_no_bundle() {
    let source = Source::new();
    let inside = Proxy::start(None);
    let layer = format!("blobs/{}", source.lab.layers[0]);
    for to in [
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
    ] {
        for path in ["manifests/v1", &layer] {
            source.fails("GET", path, EVER, status_with(307, "Location", &to), &[50]).says("is not followed");
        }
    }
    assert!(inside.seen().is_empty());
}
