//! Challenges that demand more than they may: H2, H3, H6. Each test checks what each server received.

use std::fs;

use base64::Engine;

use crate::lab::Lab;
use crate::support::proxy::{Fault, Proxy, Seen, status, status_with};
use crate::support::registry::{PASSWORD, Registry, Setup, USER, auth_file, self_signed};
use crate::support::token::{IDENTITY, Policy, SERVICE, Tokens};

/// More times than any test makes requests: the fault is permanent.
const EVER: usize = 1_000;
/// The repository that the lab reads and writes.
const OWN: &str = "in/src/app";

/// The victim: a host where the user has a login, with a token server.
fn victim() -> Proxy {
    let victim = Proxy::start_on("127.0.0.2", None);
    let token = br#"{"token":"eyVictim","expires_in":300}"#.to_vec();
    victim.on("*", "/token", EVER, Fault::Answer(200, Vec::new(), token));
    victim
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn auth_json(lab: &Lab, logins: &[(&str, &str)]) -> String {
    let path = lab.path("auth.json");
    let entries: Vec<String> = logins.iter().map(|(host, login)| format!("\"{host}\":{login}")).collect();
    fs::write(&path, format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))).unwrap();
    path.display().to_string()
}

fn login(user: &str, password: &str) -> String {
    format!(r#"{{"auth":"{}"}}"#, basic(user, password).trim_start_matches("Basic "))
}

/// The scopes in a request to a token server.
fn scopes(seen: &Seen) -> Vec<String> {
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decode = |value: &str| value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    pairs.filter(|(key, _)| *key == "scope").map(|(_, value)| decode(value)).collect()
}

/// H2: a registry names the token server of another host, where the user has a login, with any scope. That login is not
/// used, whether or not there is one for the registry itself, and tokens are only requested for our repository.
#[test]
fn a_challenge_never_uses_a_login_for_another_host() {
    let lab = Lab::new();
    let scopes_asked = [
        "",
        ",scope=\"repository:otherorg/crown-jewels:pull,push,delete\"",
        ",scope=\"repository:in/src/app:pull,push,delete\"",
        ",scope=\"repository:in/src/app:pull repository:otherorg/crown-jewels:pull\"",
        ",scope=\"registry:catalog:*\",error=\"insufficient_scope\"",
        ",scope=\"*:*:*\"",
    ];
    for (own, more) in scopes_asked.iter().flat_map(|more| [(false, more), (true, more)]) {
        let (victim, evil) = (victim(), Proxy::start(None));
        let realm = format!("Bearer realm=\"http://127.0.0.2:{}/token\",service=\"quay.io\"{more}", victim.port);
        evil.on("*", "/v2/", EVER, status_with(401, "WWW-Authenticate", realm));
        let victims = format!("127.0.0.2:{}", victim.port);
        let (alice, eve) = (login("alice", "hunter2"), login("eve", "own"));
        let (host, bare) = (evil.host(), "127.0.0.2");
        let mut logins = vec![(victims.as_str(), alice.as_str()), (bare, &alice)];
        if own {
            logins.push((&host, &eve));
        }
        let auth = auth_json(&lab, &logins);
        let args = ["--authfile", &auth, "--plain-http", "127.0.0.2"];
        lab.create(&host, &args).ends(&[51]);
        lab.unpack(&host, &args).ends(&[51]);
        assert!(victim.total() >= 2, "it is asked, as docker and podman do");
        let eve = basic("eve", "own");
        for seen in victim.seen() {
            assert_eq!(seen.header("authorization"), own.then_some(eve.as_str()), "{more}");
            let asked = scopes(&seen);
            assert_eq!(asked.len(), 1, "{}", seen.target);
            let own = ["repository:in/src/app:pull", "repository:in/src/app:pull,push", "repository:in:pull"];
            let fits = own.contains(&asked[0].as_str());
            assert!(fits, "{}", seen.target);
        }
        let shown = |s: &Seen| s.header("authorization").is_none_or(|a| a == "Bearer eyVictim" || (own && a == eve));
        assert!(evil.seen().iter().all(shown));
    }
}

/// H2: an identity token is also the registry's own; a realm whose address has a scope or a user gets no request.
#[test]
fn identity_tokens_and_realms_with_a_scope_are_no_way_around() {
    let lab = Lab::new();
    let (victim, evil) = (victim(), Proxy::start(None));
    let victims = format!("127.0.0.2:{}", victim.port);
    let auth = auth_json(&lab, &[(&victims, &format!(r#"{{"identitytoken":"{IDENTITY}"}}"#))]);
    let args = ["--authfile", &auth, "--plain-http", "127.0.0.2"];
    let ask = |value: String| {
        evil.clear();
        evil.on("*", "/v2/", EVER, status_with(401, "WWW-Authenticate", value));
        lab.create(&evil.host(), &args).ends(&[51]);
        lab.unpack(&evil.host(), &args).ends(&[51]);
    };
    ask(format!("Bearer realm=\"http://{victims}/token\""));
    assert!(victim.total() > 0 && victim.count("POST", "") == 0 && !victim.saw_authorization());
    let before = victim.total();
    for realm in [
        format!("http://{victims}/token?scope=repository:crown:pull"),
        format!("http://{victims}/token?x=1&%73cope=repository:crown:pull"),
        format!("http://alice@{victims}/token"),
        format!("http://alice\\@{victims}/token"),
        format!("//{victims}/token"),
        format!("ftp://{victims}/token"),
        format!("http://{victims}/{}", "x".repeat(5000)),
    ] {
        ask(format!("Bearer realm=\"{realm}\""));
        ask(format!("Negotiate, Bearer realm=\"{realm}\", Digest realm=\"x\""));
    }
    assert_eq!(victim.since(before).len(), 0);
}

/// A registry with tokens behind a proxy, with a login for it.
struct Guarded {
    tokens: Tokens,
    _registry: Registry,
    proxy: Proxy,
    _dir: tempfile::TempDir,
    auth: String,
}

fn guarded() -> Guarded {
    let tokens = Tokens::start(Policy { anonymous_pull: false, ..Policy::default() });
    let token = Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone()));
    let registry = Registry::with(&Setup { token, ..Setup::default() });
    let proxy = Proxy::start(Some(registry.port));
    let (dir, auth) = auth_file(&proxy.host(), USER, PASSWORD);
    Guarded { tokens, _registry: registry, proxy, _dir: dir, auth: auth.display().to_string() }
}

/// H2, H3: tokens do not follow a redirect or an upload address to another port or host, and do not come back.
#[test]
fn a_token_is_shown_to_its_registry_only() {
    let (lab, g, other) = (Lab::new(), guarded(), Proxy::start(None));
    let args = ["--authfile", &g.auth, "--plain-http", "127.0.0.1", "--plain-http", "localhost"];
    lab.unpack(&g.proxy.host(), &args).ends(&[0]);
    assert!(g.proxy.saw_authorization());
    fs::remove_dir_all(lab.path("state")).unwrap();
    let challenge = format!("Bearer realm=\"{}\",service=\"{SERVICE}\"", g.tokens.realm());
    for name in ["127.0.0.1", "localhost"] {
        let at = format!("http://{name}:{}", other.port);
        // Another port or name: the request has no token, and its challenge is not answered.
        g.proxy.on("GET", "blobs/sha256", EVER, status_with(307, "Location", format!("{at}/blob")));
        other.on("GET", "/blob", EVER, status_with(401, "WWW-Authenticate", challenge.clone()));
        let asked = g.tokens.log().len();
        lab.create(&g.proxy.host(), &args).ends(&[50]);
        assert!(g.tokens.log().len() <= asked + 1, "{:?}", g.tokens.log());
        // And back.
        other.clear();
        other.on("GET", "/blob", EVER, status_with(307, "Location", format!("http://{}/v2/back", g.proxy.host())));
        lab.create(&g.proxy.host(), &args).ends(&[50]);
        let back: Vec<Seen> = g.proxy.seen().into_iter().filter(|s| s.target == "/v2/back").collect();
        assert!(!back.is_empty() && back.iter().all(|s| s.header("authorization").is_none()), "{back:?}");
        g.proxy.clear();
        // An upload.
        other.on("PUT", "/up", EVER, status_with(401, "WWW-Authenticate", challenge.clone()));
        g.proxy.on("GET", "blobs/sha256", EVER, status(404));
        g.proxy.on("POST", "blobs/uploads/", EVER, status_with(202, "Location", format!("{at}/up")));
        lab.unpack(&g.proxy.host(), &args).ends(&[50]);
        g.proxy.clear();
        other.clear();
        assert!(other.count("GET", "/blob") > 0 && other.count("PUT", "/up") > 0);
        assert!(!other.saw_authorization(), "{:?}", other.seen());
    }
    let ours = |scope: &str| ["in/src/app:pull", "in/src/app:pull,push", "in:pull"].contains(&scope);
    let scope = |line: &String| line.strip_prefix("alice repository:").is_some_and(ours);
    assert!(g.tokens.log().iter().all(scope), "{:?}", g.tokens.log());
    assert!(g.proxy.seen().iter().all(|s| s.header("cookie").is_none()));
}

/// H2: a redirecting token server gets no login, neither a password nor an identity token in a body.
#[test]
fn a_realm_that_redirects_gives_no_login_away() {
    let lab = Lab::new();
    let (realm, evil, registry) = (Proxy::start(None), victim(), Proxy::start(None));
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.host());
    registry.on("*", "/v2/", EVER, status_with(401, "WWW-Authenticate", challenge));
    let identity = format!(r#"{{"identitytoken":"{IDENTITY}"}}"#);
    for (login, method) in [(login(USER, PASSWORD), "GET"), (identity, "POST")] {
        let auth = auth_json(&lab, &[(&registry.host(), &login)]);
        let args = ["--authfile", &auth, "--plain-http", "127.0.0.1", "--plain-http", "127.0.0.2"];
        for code in [301, 302, 303, 307, 308] {
            realm.clear();
            let to = format!("http://127.0.0.2:{}/token", evil.port);
            realm.on("*", "/token", EVER, status_with(code, "Location", to));
            lab.create(&registry.host(), &args).ends(&[50]);
            lab.unpack(&registry.host(), &args).ends(&[50]);
        }
        assert!(realm.count(method, "/token") >= 10);
    }
    assert!(evil.seen().is_empty(), "{:?}", evil.seen());
}

/// H6: a registry over TLS names a token server over plain HTTP: it gets no login, even if plain HTTP is allowed for
/// that host.
#[test]
fn a_login_is_not_sent_in_the_clear_by_a_tls_registry() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let tls = self_signed(dir.path(), "IP:127.0.0.1");
    let tokens = Tokens::start(Policy::default());
    let token = Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone()));
    let registry = Registry::with(&Setup { tls: Some(tls.clone()), token, ..Setup::default() });
    let (_keep, auth) = auth_file(&registry.host(), USER, PASSWORD);
    let (auth, ca) = (auth.display().to_string(), tls.0.display().to_string());
    let plain = format!("127.0.0.1:{}", tokens.port);
    let (to, image) = (format!("{}/in", registry.host()), format!("{}/{OWN}:v1", registry.host()));
    let more = ["--authfile", &auth, "--ca-file", &ca, "--retries", "0"];
    let unpack = ["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--mirror-set", "none"];
    let create = ["create", "c.tar", "--unsigned", "--image", &image];
    for verb in [&unpack[..], &create] {
        lab.run(&[verb, &more].concat()).ends(&[50]).says("plain HTTP");
        assert!(tokens.log().is_empty());
    }
    lab.run(&[&unpack[..], &more, &["--plain-http", &plain]].concat()).ends(&[51]).says("the login was not sent there");
    lab.run(&[&create[..], &more, &["--plain-http", &plain]].concat()).ends(&[50, 51]);
    assert!(!tokens.log().is_empty() && tokens.log().iter().all(|line| line.starts_with("- ")), "{:?}", tokens.log());
}
