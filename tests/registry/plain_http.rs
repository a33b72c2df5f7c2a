//! Plain HTTP sent to a server that speaks TLS.

use super::*;
use crate::support::tls::{Cut, Front};

#[test]
fn plain_http_to_a_tls_port_is_told_what_to_leave_out() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(dir.path(), "DNS:localhost");
    let registry = Registry::with(&Setup { tls: Some((certificate.clone(), key.clone())), ..Setup::default() });
    let ask = |host: &str, plain: &str| {
        let options = Options { plain_http: vec![plain.to_owned()], retries: 0, ..options() };
        Client::new(options).unwrap().get_manifest(&repo(host, "a"), &tag("v1")).unwrap_err()
    };
    // Go's server answers in plain HTTP.
    let err = ask(&registry.host(), "127.0.0.1");
    assert_eq!(err.hint_text(), Some("leave out `--plain-http 127.0.0.1`: the server speaks TLS"), "{err:?}");
    assert!(!err.is_transient(), "{err:?}");
    // Others answer with a TLS alert, or not at all.
    let alert = Front::start(registry.port, &certificate, &key);
    for (front, cut) in [(&alert, Cut::Never), (&alert, Cut::AtOnce)] {
        front.next(&[cut, cut]);
        let err = ask(&front.host(), &front.host());
        let hint = format!("if the server speaks TLS, leave out `--plain-http {}`", front.host());
        assert_eq!(err.hint_text(), Some(hint.as_str()), "{cut:?} {err:?}");
    }
    // A plain registry that goes away is no TLS server.
    let plain = Registry::start();
    let proxy = Proxy::start(Some(plain.port));
    proxy.on("GET", "manifests/", 1, Fault::Pass).on("GET", "manifests/", 1, Fault::CutHead(0));
    let client = Client::new(Options { retries: 0, ..options() }).unwrap();
    let wanted = tag("v1");
    assert!(client.get_manifest(&repo(&proxy.host(), "a"), &wanted).unwrap().is_none());
    let err = client.get_manifest(&repo(&proxy.host(), "a"), &wanted).unwrap_err();
    assert_eq!(err.hint_text(), None, "{err:?}");
}

#[test]
fn tls_is_never_given_up_for_plain_http() {
    let registry = Registry::start();
    let client = Client::new(Options { plain_http: Vec::new(), ..options() }).unwrap();
    let err = client.get_manifest(&repo(&registry.host(), "a"), &tag("v1")).unwrap_err();
    assert_eq!(
        err.hint_text(),
        Some(format!("--plain-http {}, if it is meant to speak plain HTTP", registry.host()).as_str()),
        "{err:?}"
    );
    let err = client.fetch_url(&format!("http://{}/x", registry.host()), 10).unwrap_err();
    assert_eq!(err.code(), Code::Usage);
}
