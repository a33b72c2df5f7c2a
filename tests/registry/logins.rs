//! Logins: basic, tokens, and whom they go to.

use super::*;

#[test]
fn basic_logins_work_and_wrong_ones_are_named_without_their_secret() {
    let registry = Registry::with(&Setup { basic_auth: true, ..Setup::default() });
    let to = repo(&registry.host(), "a/b");
    let (_keep, good) = auth_file(&registry.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(good), ..options() }).unwrap();
    let digest = push(&client, &to, b"hello");
    assert_eq!(pull(&client, &to, &digest, 5).unwrap(), b"hello");

    let (_keep, bad) = auth_file(&registry.host(), USER, "hunter2-wrong");
    let (_keep2, other) = auth_file("127.0.0.1:1", USER, PASSWORD);
    for (file, says) in [(bad, "credentials for `alice` were not accepted"), (other, "no credentials were found")] {
        let client = Client::new(Options { auth_file: Some(file.clone()), ..options() }).unwrap();
        let err = client.get_manifest(&to, &tag("v1")).unwrap_err();
        assert_eq!(err.code(), Code::Auth);
        assert!(err.message().contains(says) && err.message().contains(&registry.host()), "{err:?}");
        assert!(err.message().contains(&format!("push to `{to}`")), "{err:?}");
        assert!(err.facts()[0].ends_with("(GET)"), "{err:?}");
        let reader = Client::new(Options { side: Side::Source, auth_file: Some(file.clone()), ..options() }).unwrap();
        let err = reader.get_manifest(&to, &tag("v1")).unwrap_err();
        assert!(err.message().contains(&format!("pull from `{to}`")), "{err:?}");
        assert!(err.hint_text().unwrap().contains(&format!("podman login --authfile auth.json {}", registry.host())));
        assert!(!format!("{err:?}{:?}", client).contains("hunter2"), "{err:?}");
        let pushed = client.push_blob(&to, &digest, 5, &mut |_| Ok(Box::new(&b"hello"[..])));
        assert!(matches!(pushed.unwrap_err().message(), m if m.contains(&format!("push to `{to}`"))));
    }
}

#[test]
fn tokens_are_fetched_per_scope_used_again_and_renewed() {
    let tokens = Tokens::start(Policy::default());
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let (_keep, auth) = auth_file(&registry.host(), USER, PASSWORD);
    let client = Client::new(options_with(&auth)).unwrap();
    let (a, b) = (repo(&registry.host(), "a"), repo(&registry.host(), "b"));
    let digest = push(&client, &a, b"hello");
    push(&client, &a, b"world");
    assert_eq!(tokens.log(), ["alice repository:a:pull,push"], "one token serves all pushes");
    assert!(client.mount_blob(&b, &digest, 5, &a).unwrap());
    assert_eq!(tokens.log()[1..], ["alice repository:b:pull,push repository:a:pull"]);

    // An old token is refused by the registry: a new one is fetched.
    let client = Client::new(Options { side: Side::Source, ..options_with(&auth) }).unwrap();
    let short = Policy { true_life: -57, ..Policy::default() };
    tokens.set(short);
    assert_eq!(client.head_blob(&a, &digest).unwrap(), Some(5));
    std::thread::sleep(Duration::from_millis(3200));
    tokens.set(Policy::default());
    assert_eq!(client.head_blob(&a, &digest).unwrap(), Some(5));
    assert_eq!(
        tokens.log().iter().filter(|line| line.ends_with(" repository:a:pull")).count(),
        2 + 1,
        "{:?}",
        tokens.log()
    );

    // Without a login: pull only.
    let anonymous = Client::new(Options { side: Side::Source, ..options() }).unwrap();
    assert_eq!(pull(&anonymous, &a, &digest, 5).unwrap(), b"hello");
    assert_eq!(tokens.log().last().unwrap(), "- repository:a:pull");
    let err = anonymous.push_blob(&a, &Digest::of(b"x"), 1, &mut |_| Ok(Box::new(&b"x"[..]))).unwrap_err();
    assert_eq!(err.code(), Code::Auth);
    assert!(err.message().contains("no credentials were found"), "{err:?}");

    let (_keep, wrong) = auth_file(&registry.host(), USER, "hunter2-wrong");
    let client = Client::new(Options { auth_file: Some(wrong), ..options() }).unwrap();
    let err = client.head_blob(&a, &digest).unwrap_err();
    assert_eq!(err.code(), Code::Auth);
    assert!(err.facts().iter().any(|f| f.contains("incorrect username or password")), "{err:?}");
}

#[test]
fn a_token_that_dies_during_an_upload_is_renewed() {
    let tokens = Tokens::start(Policy::default());
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let proxy = Proxy::start(Some(registry.port));
    let (_keep, auth) = auth_file(&proxy.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let to = repo(&proxy.host(), "a");
    let challenge = format!("Bearer realm=\"{}\",service=\"{SERVICE}\"", tokens.realm());
    proxy.on("PUT", "/uploads/", 1, status_with(401, "WWW-Authenticate", challenge));
    let blob = noise(2_000_000, 1);
    let digest = push(&client, &to, &blob);
    assert_eq!(pull(&client, &to, &digest, 2_000_000).unwrap(), blob);
    assert_eq!(tokens.log()[..2], ["alice repository:a:pull,push", "alice repository:a:pull,push"]);
}

#[test]
fn identity_tokens_are_exchanged_by_post() {
    let tokens = Tokens::start(Policy { anonymous_pull: false, ..Policy::default() });
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let (_keep, auth) = auth_file(&registry.host(), "<token>", IDENTITY);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    push(&client, &repo(&registry.host(), "a"), b"hello");
    assert_eq!(tokens.log(), ["alice POST repository:a:pull,push"]);
}

/// An auth file with this text.
fn raw_auth(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn a_registry_token_is_sent_as_it_is_and_only_to_its_registry() {
    let tokens = Tokens::start(Policy { anonymous_pull: false, ..Policy::default() });
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let proxy = Proxy::start(Some(registry.port));
    let token = tokens.issue("a");
    let file = |token: &str| raw_auth(&format!(r#"{{"auths":{{"{}":{{"registrytoken":"{token}"}}}}}}"#, proxy.host()));
    let (_keep, auth) = file(&token);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    push(&client, &repo(&proxy.host(), "a"), b"hello");
    assert_eq!(tokens.log(), Vec::<String>::new(), "no other token was asked for");
    let bearer = format!("Bearer {token}");
    assert!(proxy.seen().iter().any(|seen| seen.header("authorization") == Some(bearer.as_str())));
    // One that is not accepted ends it: there is no other.
    let (_keep, auth) = file("hunter2");
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let err = client.get_manifest(&repo(&proxy.host(), "a"), &tag("v1")).unwrap_err();
    assert!(err.code() == Code::Auth && err.message().contains("the registry token"), "{err:?}");
    assert!(!format!("{err:?}{client:?}").contains("hunter2"), "{err:?}");
    assert_eq!(tokens.log(), Vec::<String>::new());
}

#[test]
fn a_damaged_entry_is_an_error_only_where_its_registry_asks_for_a_login() {
    let (asks, open) = (Registry::with(&Setup { basic_auth: true, ..Setup::default() }), Registry::start());
    let damaged = r#"{"auth":"!!!"}"#;
    let text = format!(r#"{{"auths":{{"{}":{damaged},"{}":{damaged}}}}}"#, asks.host(), open.host());
    let (_keep, auth) = raw_auth(&text);
    let client = Client::new(Options { auth_file: Some(auth.clone()), ..options() }).unwrap();
    let named = client.notices().iter().filter(|notice| notice.contains("is damaged")).count();
    assert_eq!(named, 2, "{:?}", client.notices());
    // Mounting compares logins, and there is none to compare: the blob is sent, and an open registry asks for none.
    let (one, two) = (repo(&open.host(), "a"), repo(&open.host(), "b"));
    let digest = push(&client, &one, b"hello");
    assert!(!client.mount_blob(&two, &digest, 5, &one).unwrap());
    assert_eq!(push(&client, &two, b"hello"), digest);
    let err = client.get_manifest(&repo(&asks.host(), "a"), &tag("v1")).unwrap_err();
    assert!(err.message().contains(&format!("the entry `{}` in `{}`", asks.host(), auth.display())), "{err:?}");
}

#[test]
fn a_mount_that_may_not_be_read_falls_back_to_sending() {
    let tokens = Tokens::start(Policy::default());
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let (_keep, auth) = auth_file(&registry.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let (from, to) = (repo(&registry.host(), "secret/a"), repo(&registry.host(), "b"));
    let digest = Digest::of(b"hello");
    assert!(!client.mount_blob(&to, &digest, 5, &from).unwrap());
    push(&client, &to, b"hello");
    assert_eq!(pull(&client, &to, &digest, 5).unwrap(), b"hello");
}

#[test]
fn a_realm_elsewhere_gets_the_login_of_the_registry_that_names_it() {
    // `localhost` is another host than 127.0.0.1.
    let realm = Proxy::start(None);
    realm.on("GET", "/token", 99, Fault::Answer(200, Vec::new(), br#"{"token":"given"}"#.to_vec()));
    let registry = Proxy::start(None);
    let challenge = format!("Bearer realm=\"http://localhost:{}/token?a=b\",service=\"s\"", realm.port);
    registry.on("GET", "/v2/", 99, status_with(401, "WWW-Authenticate", challenge));
    let ask = |login_for: &str| {
        let (_keep, auth) = auth_file(login_for, USER, PASSWORD);
        let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
        let before = realm.total();
        assert_eq!(client.get_manifest(&repo(&registry.host(), "a"), &tag("v1")).unwrap_err().code(), Code::Auth);
        let seen = realm.since(before);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].target, "/token?a=b&service=s&scope=repository%3Aa%3Apull%2Cpush");
        seen[0].header("authorization").is_some()
    };
    assert!(ask(&registry.host()), "the registry's own login goes where it says");
    for other in [format!("localhost:{}", realm.port), "localhost".to_owned(), format!("{}/b", registry.host())] {
        assert!(!ask(&other), "the login for {other} is not the registry's");
    }
    assert!(registry.seen().iter().all(|s| s.header("authorization").is_none_or(|a| a == "Bearer given")));
}

#[test]
fn a_blob_of_another_login_is_sent_and_not_mounted() {
    let tokens = Tokens::start(Policy::default());
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let (keep, auth) = auth_file(&registry.host(), USER, PASSWORD);
    let text = std::fs::read_to_string(&auth).unwrap();
    let login = &text[text.find(&registry.host()).unwrap() + registry.host().len() + 2..text.rfind("}}").unwrap()];
    let two = format!(r#"{{"auths":{{"{0}/a":{login},"{0}/b":{login}}}}}"#, registry.host());
    std::fs::write(&auth, two).unwrap();
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let (from, to) = (repo(&registry.host(), "a/x"), repo(&registry.host(), "b/x"));
    let digest = push(&client, &from, b"hello");
    assert!(!client.mount_blob(&to, &digest, 5, &from).unwrap());
    push(&client, &to, b"hello");
    let both = |line: &&String| line.contains("repository:a/") && line.contains("repository:b/");
    assert_eq!(tokens.log().iter().find(both), None);
    drop(keep);
}

#[test]
fn realms_over_http_or_inside_are_refused() {
    for (place, says) in [
        ("http://auth.example/token", "plain HTTP"),
        ("https://169.254.169.254/token", "internal address"),
        ("https://10.0.0.1/token", "internal address"),
    ] {
        let registry = Proxy::start(None);
        registry.on("GET", "/v2/", 9, status_with(401, "WWW-Authenticate", format!("Bearer realm=\"{place}\"")));
        let err = client().get_manifest(&repo(&registry.host(), "a"), &tag("v1")).unwrap_err();
        assert!(err.facts().iter().any(|f| f.contains(says)), "{err:?}");
    }
}
