//! A dishonest target registry: H1, H3, H4, H5. No tag ever points at incomplete content.

use crate::lab::{Lab, each};
use crate::support::proxy::{Fault, Proxy, status, status_with};
use crate::support::registry::Registry;
use crate::support::sessions::Sessions;

/// More times than any test makes requests: the fault is permanent.
const EVER: usize = 1_000;

fn header(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// H5: the registry claims to have blobs that it lacks. The program reads them before it believes that.
#[test]
fn blobs_that_are_only_said_to_exist_are_sent() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    for digest in lab.configs.iter().chain(&lab.layers) {
        let size = std::fs::metadata(lab.path("layout/blobs/sha256").join(digest.hex())).unwrap().len();
        let lie = Fault::Answer(200, header("X-Length", "0"), vec![0; size as usize]);
        proxy.on("HEAD", format!("blobs/{digest}"), EVER, lie);
        let other = header("Content-Range", &format!("bytes 0-0/{}", size + 1));
        proxy.on("GET", format!("blobs/{digest}"), EVER, Fault::Answer(206, other, vec![0]));
    }
    lab.unpack(&proxy.host(), &[]).ends(&[0]);
    lab.is_whole(&registry.host());
}

/// H5: the registry claims to have manifests that it lacks.
#[test]
fn manifests_that_are_only_said_to_exist_are_sent() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    for digest in lab.manifests.iter().chain([&lab.index]) {
        let mut headers = header("Docker-Content-Digest", &digest.to_string());
        headers.extend(header("Content-Type", "application/vnd.oci.image.manifest.v1+json"));
        proxy.on("HEAD", format!("manifests/{digest}"), EVER, Fault::Answer(200, headers, Vec::new()));
    }
    lab.unpack(&proxy.host(), &[]).ends(&[0]);
    lab.is_whole(&registry.host());
}

/// H1, H5: the registry accepts a manifest, and returns something else, or nothing. No tag is set.
#[test]
fn what_is_not_given_back_is_not_tagged() {
    let lab = Lab::new();
    let faults = [Fault::FlipByte(30), Fault::CutBody(30), Fault::Longer(1), status(404), status(500), Fault::Endless];
    each(&faults, |fault| {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        proxy.on("GET", format!("manifests/{}", lab.manifests[0]), EVER, fault.clone());
        let ran = lab.unpack(&proxy.host(), &[]);
        eprintln!("{fault:?} {}\n{}", ran.code, ran.err);
        ran.ends(&[50]);
        assert_eq!(lab.tag(&registry.host()), None, "{fault:?}");
    });
}

/// H1: the registry reports another digest for the stored content.
#[test]
fn another_digest_than_the_one_pushed_is_an_error() {
    let lab = Lab::new();
    for (method, path) in [("PUT", "blobs/uploads/"), ("PUT", "manifests/sha256"), ("PUT", "manifests/v1")] {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        let other = format!("sha256:{}", "0".repeat(64));
        proxy.on(method, path, EVER, Fault::Header("Docker-Content-Digest".to_owned(), other));
        lab.unpack(&proxy.host(), &[]).ends(&[50]).says("stored something else");
        if path != "manifests/v1" {
            assert_eq!(lab.tag(&registry.host()), None);
        }
    }
}

/// H4: each request of a push fails permanently in turn: an error, and no tag before everything is stored.
#[test]
fn a_push_that_fails_anywhere_leaves_no_tag() {
    let lab = Lab::new();
    let last = lab.manifests[1];
    let requests = [
        ("POST", "blobs/uploads/".to_owned()),
        ("PUT", "blobs/uploads/".to_owned()),
        ("PUT", format!("digest=sha256%3A{}", lab.configs[1].hex())),
        ("PUT", format!("manifests/{last}")),
        ("PUT", format!("manifests/{}", lab.index)),
        ("PUT", "manifests/v1".to_owned()),
        ("GET", "blobs/".to_owned()),
    ];
    let faults = [(status(500), 50), (status(403), 51), (status(400), 50), (Fault::LoseAnswer, 50)];
    let cases: Vec<_> = requests.iter().flat_map(|r| faults.iter().map(move |f| (r, f))).collect();
    each(&cases, |((method, path), (fault, code))| {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        proxy.on(method, path.clone(), EVER, fault.clone());
        let ran = lab.unpack(&proxy.host(), &[]);
        // A refused look-up does not decide what may be pushed.
        let looks = *method == "GET" && *code == 51;
        ran.ends(&[if looks { 0 } else { *code }]);
        if looks {
            return lab.is_whole(&registry.host());
        }
        // A tag whose answer was lost may exist, and is then right.
        if matches!(fault, Fault::LoseAnswer) && path == "manifests/v1" {
            lab.is_whole(&registry.host());
        } else {
            assert_eq!(lab.tag(&registry.host()), None, "{method} {path} {fault:?}");
        }
    });
}

/// H4: uploads broken at many offsets, with busy answers in between: everything arrives, and the tag is right.
#[test]
fn broken_uploads_at_many_offsets_arrive_whole() {
    let lab = Lab::new();
    each(&[0, 1, 2, 511, 65_535, 65_536, 150_000, 262_144, 299_999, 300_000], |offset| {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        proxy.on("PUT", format!("digest=sha256%3A{}", lab.layers[0].hex()), 1, Fault::CutRequest(*offset));
        proxy.on("POST", "blobs/uploads/", 1, status_with(429, "Retry-After", "0"));
        proxy.on("PUT", "manifests/", 1, status_with(503, "Retry-After", "0"));
        lab.unpack(&proxy.host(), &["--retries", "3"]).ends(&[0]);
        lab.is_whole(&registry.host());
    });
}

/// H4: after a broken upload the registry reports a wrong offset.
#[test]
fn a_lie_about_how_far_an_upload_came_stores_nothing_wrong() {
    let lab = Lab::new();
    each(&["0-299999", "0-1", "0-99999999999", "7-9", "bytes=0-100", "-1", "x"], |range| {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        proxy.on("PUT", format!("digest=sha256%3A{}", lab.layers[0].hex()), 1, Fault::CutRequest(1000));
        proxy.on("GET", "blobs/uploads/", 1, Fault::Header("Range".to_owned(), (*range).to_owned()));
        let ran = lab.unpack(&proxy.host(), &["--retries", "3"]);
        if ran.ends(&[0, 50]).code == 0 {
            lab.is_whole(&registry.host());
        } else {
            assert_eq!(lab.tag(&registry.host()), None);
        }
    });
}

/// H3: the address of an upload leads to a forbidden host.
#[test]
fn upload_addresses_at_forbidden_places_get_no_bytes() {
    let lab = Lab::new();
    let inside = Proxy::start(None);
    let places = [
        format!("http://localhost:{}/x", inside.port),
        format!("https://localhost:{}/x", inside.port),
        format!("http://127.0.0.1:{}/x", inside.port),
        "file:///tmp/x".to_owned(),
        "https://169.254.169.254/x".to_owned(),
        "https://user@example.com/".to_owned(),
        String::new(),
    ];
    each(&places, |to| {
        let registry = Registry::start();
        let proxy = Proxy::start(Some(registry.port));
        proxy.on("POST", "blobs/uploads/", EVER, status_with(202, "Location", to));
        lab.unpack(&proxy.host(), &[]).ends(&[50]);
        assert_eq!(lab.tag(&registry.host()), None);
    });
    assert!(inside.seen().is_empty());
}

/// H4: a session that can be resumed is resumed, and the result is right.
#[test]
fn a_resumed_upload_is_whole() {
    let lab = Lab::new();
    let sessions = Sessions::start();
    let proxy = Proxy::start(Some(sessions.port));
    proxy.on("PUT", format!("digest=sha256%3A{}", lab.layers[0].hex()), 1, Fault::CutRequest(100_000));
    // This server supports blobs only, so the run ends at the first manifest.
    lab.unpack(&proxy.host(), &["-j", "1", "--retries", "1"]).ends(&[50]);
    assert_eq!(sessions.blob(&lab.layers[0]).map(|b| mirror_bundle::oci::Digest::of(&b)), Some(lab.layers[0]));
    assert!(proxy.count("PATCH", "uploads") > 0, "it went on in the middle");
}
