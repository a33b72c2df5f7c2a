//! Signature stores that are dishonest or endless: H1, H2, H4, D5. A release that is not proved is not carried.

use crate::lab::{Lab, each};
use crate::support::proxy::{Fault, Proxy, status, status_with};
use crate::support::registry::Registry;

/// More times than any test makes requests: the fault is permanent.
const EVER: usize = 1_000;

#[test]
fn stores_that_lie_hang_or_never_end_prove_nothing() {
    let (lab, registry) = (Lab::new(), Registry::start());
    lab.fill(&registry.host());
    let release = format!("{}/in/src/app:v1", registry.host());
    let inside = Proxy::start(None);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", inside.host());
    let raw = |first: &str, more: Vec<u8>, pause| Fault::Raw(first.as_bytes().to_vec(), more, pause);
    let head = "HTTP/1.1 200 OK\r\n";
    let long = format!("{head}Content-Length: {}\r\n\r\n", 10u64 << 30);
    let cases = [
        (status(404), &[40][..], 1),
        // The store has as many signatures as requested: 9 are requested, as a cluster does.
        (Fault::Answer(200, Vec::new(), b"no signature".to_vec()), &[40], 9),
        (Fault::Answer(200, Vec::new(), Vec::new()), &[40], 9),
        (Fault::Answer(200, Vec::new(), vec![0x90; 65_537]), &[50], 1),
        (raw(&long, vec![0; 65_536], 0), &[50], 1),
        (raw(&format!("{head}\r\n"), vec![0; 65_536], 0), &[50], 1),
        (raw(&format!("{head}\r\n"), b"x".to_vec(), 50), &[50], 2),
        (Fault::Silence, &[50], 2),
        (status(500), &[50], 2),
        (status_with(401, "WWW-Authenticate", "Basic realm=\"x\""), &[50], 1),
        (status_with(401, "WWW-Authenticate", realm.clone()), &[50], 1),
        (status_with(302, "Location", format!("http://localhost:{}/x", inside.port)), &[50], 1),
        (status_with(302, "Location", "https://169.254.169.254/x"), &[50], 1),
        (status_with(302, "Location", "file:///etc/passwd"), &[50], 1),
    ];
    each(&cases, |(fault, codes, requests)| {
        let store = Proxy::start(None);
        store.on("GET", "/", EVER, fault.clone());
        let url = format!("http://{}/store", store.host());
        let name = format!("{}.tar", store.port);
        let mut args = vec!["create", &name, "--release", &release, "--signature-store", &url, "--sign-key", "key"];
        let plain = [registry.host(), store.host()];
        args.extend(["--plain-http", &plain[0], "--plain-http", &plain[1], "--retries", "1", "--timeout", "1"]);
        let ran = lab.run(&args);
        eprintln!("{}\n{}", ran.code, ran.err);
        ran.ends(codes);
        assert_eq!(store.seen().len(), *requests, "{fault:?}");
        assert!(!lab.path(&name).exists() && !lab.path(&format!("{name}.partial")).exists());
        assert!(!store.saw_authorization());
    });
    assert!(inside.seen().is_empty());
}

/// H6: a store is not contacted over plain HTTP unless its host was named.
#[test]
fn a_store_is_not_asked_over_plain_http_unasked() {
    let (lab, registry, store) = (Lab::new(), Registry::start(), Proxy::start(None));
    lab.fill(&registry.host());
    let release = format!("{}/in/src/app:v1", registry.host());
    let url = format!("http://{}/store", store.host());
    let args = ["create", "c.tar", "--release", &release, "--signature-store", &url, "--sign-key", "key"];
    lab.run(&[&args[..], &["--plain-http", &registry.host()]].concat()).ends(&[2]).says("is plain HTTP");
    assert!(store.seen().is_empty());
}
