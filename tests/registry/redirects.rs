//! Redirects: where they may lead, and what goes with them.

use super::*;

#[test]
fn a_redirect_to_another_host_goes_without_the_login() {
    let registry = Registry::with(&Setup { basic_auth: true, ..Setup::default() });
    let proxy = Proxy::start(Some(registry.port));
    let (_keep, auth) = auth_file(&proxy.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let from = repo(&proxy.host(), "a/b");
    let blob = noise(1000, 1);
    let digest = push(&client, &from, &blob);
    let cdn = Proxy::start(None);
    cdn.on("GET", "/signed", 1, Fault::Answer(200, Vec::new(), blob.clone()));
    // Even the same address, with another port, is another host.
    let place = format!("http://{}/signed?key=s3cret", cdn.host());
    proxy.on("GET", "/blobs/", 2, status_with(307, "Location", place));
    assert_eq!(pull(&client, &from, &digest, 1000).unwrap(), blob);
    assert!(proxy.saw_authorization() && !cdn.saw_authorization());

    // A challenge by the other host is not answered, and the address's secret is not told.
    let challenge = status_with(401, "WWW-Authenticate", "Basic realm=\"x\"");
    cdn.on("GET", "/signed", 9, challenge);
    let err = pull(&client, &from, &digest, 1000).unwrap_err();
    assert!(!cdn.saw_authorization() && !format!("{err:?}").contains("s3cret"), "{err:?}");
    assert!(err.facts().iter().any(|f| f.contains("credentials were not sent along")), "{err:?}");
}

#[test]
fn redirects_to_forbidden_places_are_not_followed() {
    for place in [
        "file:///etc/passwd",
        "http://cdn.example/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://user:pass@cdn.example/x",
        "gopher://cdn.example/x",
        "",
    ] {
        let registry = Proxy::start(None);
        registry.on("GET", "/blobs/", 9, status_with(307, "Location", place));
        let err = client().get_blob(&repo(&registry.host(), "a"), &Digest::of(b"x"), 0, 1).err().unwrap();
        assert!(err.message().contains("redirect"), "{place}: {err:?}");
        // An empty Location is this very address.
        assert_eq!(registry.seen().len(), if place.is_empty() { 6 } else { 1 }, "{place}");
    }
    let registry = Proxy::start(None);
    registry.on("GET", "/blobs/", 99, status_with(302, "Location", "/v2/a/blobs/again"));
    let err = client().get_blob(&repo(&registry.host(), "a"), &Digest::of(b"x"), 0, 1).err().unwrap();
    assert!(err.message().contains("without end"), "{err:?}");
    assert_eq!(registry.seen().len(), 6);
}

#[test]
fn plain_files_are_fetched_bounded_and_without_a_login() {
    let store = Proxy::start(None);
    store.on("GET", "/sig", 2, Fault::Answer(200, Vec::new(), b"0123456789".to_vec()));
    store.on("GET", "/moved", 1, status_with(302, "Location", "/sig"));
    let (_keep, auth) = auth_file(&store.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let address = |path: &str| format!("http://{}/{path}", store.host());
    assert_eq!(client.fetch_url(&address("moved"), 10).unwrap().as_deref(), Some(&b"0123456789"[..]));
    assert!(client.fetch_url(&address("sig"), 9).is_err(), "over the limit");
    assert_eq!(client.fetch_url(&address("none"), 10).unwrap(), None);
    store.on("GET", "/login", 9, status_with(401, "WWW-Authenticate", "Basic realm=\"x\""));
    assert!(client.fetch_url(&address("login"), 10).is_err());
    assert!(!store.saw_authorization());
    assert_eq!(code(client.fetch_url("file:///etc/passwd", 10)), Code::Usage);
}
