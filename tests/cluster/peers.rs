//! Servers, proxies and kubeconfigs that are not as they should be: each ends in one sentence, before anything is
//! written.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::*;
use crate::kit::{Ground, apply, arguments};
use crate::support::proxy::{Fault, Proxy};

/// A kubeconfig for a server without TLS, and a folder with one ConfigMap.
fn small(dir: &Path, url: &str, user: &Value) -> (std::path::PathBuf, std::path::PathBuf) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": url } }],
        "users": [{ "name": "c", "user": user }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    });
    let (path, own) = (dir.join("kubeconfig"), dir.join("own"));
    std::fs::write(&path, config.to_string()).unwrap();
    let _ = std::fs::create_dir(&own);
    std::fs::write(own.join("a.yaml"), crate::kit::map("ns", "a", json!({ "key": "1" })).to_string()).unwrap();
    (path, own)
}

fn answer(status: u16, body: &str) -> Fault {
    let kind = if body.starts_with('<') { "text/html" } else { "application/json" };
    Fault::Answer(status, vec![("Content-Type".into(), kind.into())], body.as_bytes().to_vec())
}

#[test]
fn what_is_no_api_server_is_said_to_be_none() {
    let dir = folder();
    let html = "<html><body><h1>Sign in</h1></body></html>";
    for (fault, says) in [
        (answer(200, html), "did not answer as a Kubernetes API server does"),
        (answer(200, "{"), "did not answer as a Kubernetes API server does"),
        (answer(503, "<html>no backend</html>"), "503"),
        (answer(403, html), "403"),
        (answer(404, "404 page not found"), "404"),
        (Fault::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Vec::new(), 0), "cannot be reached"),
        (Fault::Reset, "cannot be reached"),
        (Fault::Answer(302, vec![("Location".into(), "https://login.example.com/".into())], Vec::new()), "302"),
    ] {
        let peer = Proxy::start(None);
        peer.otherwise(fault.clone());
        let (config, own) = small(dir.path(), &format!("http://{}", peer.host()), &json!({ "token": "t" }));
        let code = if matches!(fault, Fault::Answer(403, ..)) { 51 } else { 50 };
        let run = apply(code, &config, &own, &[]);
        run.says(&[says, "nothing was changed on the cluster"]);
        assert!(peer.seen().iter().all(|seen| seen.method != "PATCH"), "{fault:?}");
    }
}

#[test]
fn a_server_that_is_overloaded_for_a_moment_is_asked_again() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let plain = crate::interrupted::Plain::of(ground.server);
    for status in [429, 503] {
        let name = format!("busy-{status}");
        let proxy = Proxy::start(Some(plain.port));
        proxy.on("GET", "/version", 1, answer(status, "{}"));
        proxy.on("PATCH", ground.at(&name), 1, answer(status, "{}"));
        let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
        let run = apply(0, &config, &ground.folder(&[ground.map(&name, json!({ "key": "1" }))]), &[]);
        assert_eq!(run.outcomes(), format!("{name} created"));
        assert_eq!(proxy.count("PATCH", &ground.at(&name)), 3, "a dry run twice, and the write");
    }
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let dir = folder();
    let peer = Proxy::start(None);
    peer.otherwise(Fault::Raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\"".to_vec(),
        vec![b'x'; 1 << 16],
        0,
    ));
    let (config, own) = small(dir.path(), &format!("http://{}", peer.host()), &json!({ "token": "t" }));
    apply(50, &config, &own, &[]).says(&["nothing was changed on the cluster"]);
}

#[test]
fn a_login_that_cannot_be_used_is_said_with_its_reason() {
    let Some(ground) = Ground::new() else { return };
    let server = ground.server;
    let own = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let plugin = |command: &str, args: Value| {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args, "interactiveMode": "Never",
        } })
    };
    for (user, codes, says) in [
        (plugin("/nonexistent/plugin", json!([])), &[51][..], "/nonexistent/plugin"),
        (plugin("sh", json!(["-c", "echo please log in >&2; exit 3"])), &[51], "please log in"),
        (plugin("echo", json!(["{}"])), &[51], "credential"),
        (
            json!({ "client-certificate": "/nonexistent/a.crt", "client-key": "/nonexistent/a.key" }),
            &[2, 51],
            "/nonexistent/a.crt",
        ),
        (json!({ "tokenFile": "/nonexistent/token" }), &[2, 51], "/nonexistent/token"),
        (json!({}), &[51], "log in"),
    ] {
        let config = server.kubeconfig_of(&user, &server.url(), &server.dir.join("ca.crt"));
        let run = finish(&mut command(&arguments(&config, &own, &[])));
        assert!(codes.contains(&run.code), "{user}: {} {}", run.code, run.stderr);
        assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
    }
    assert!(!ground.is_there("a"));
}

#[test]
fn a_kubeconfig_that_cannot_be_read_is_said_with_its_name() {
    let dir = folder();
    let (_, own) = small(dir.path(), "https://127.0.0.1:1", &json!({}));
    let context = "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    for (name, text) in [
        ("empty", String::new()),
        ("no-yaml", "{{{".to_owned()),
        ("binary", "\u{0}\u{1}".to_owned()),
        ("no-context", "apiVersion: v1\nkind: Config\n".to_owned()),
        ("no-cluster", context.to_owned()),
        (
            "no-url",
            format!("{context}clusters: [{{name: c, cluster: {{server: '::'}}}}]\nusers: [{{name: c, user: {{}}}}]\n"),
        ),
        (
            "no-ca",
            format!(
                "{context}clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', certificate-authority: /nonexistent/ca}}}}]\nusers: [{{name: c, user: {{}}}}]\n"
            ),
        ),
        (
            "bad-ca",
            format!(
                "{context}clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', certificate-authority-data: bm90IGEgY2VydGlmaWNhdGU=}}}}]\nusers: [{{name: c, user: {{}}}}]\n"
            ),
        ),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let run = finish(&mut command(&arguments(&path, &own, &[])));
        assert_eq!(run.code, 2, "{name}: {}", run.stderr);
        let run = apply(2, &path, &own, &[]);
        run.says(&["nothing was changed on the cluster"]);
        assert!(run.said().contains(name) || run.said().contains("kubeconfig"), "{name}: {}", run.said());
    }
}

#[test]
fn an_old_server_that_cannot_say_who_we_are_is_used_all_the_same() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let plain = crate::interrupted::Plain::of(ground.server);
    let missing = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","code":404}"#;
    let user = r#"{"kind":"User","apiVersion":"user.openshift.io/v1","metadata":{"name":"kube:admin"}}"#;
    for (n, (openshift, expected)) in
        [(answer(200, user), json!("kube:admin")), (answer(404, missing), Value::Null)].into_iter().enumerate()
    {
        let proxy = Proxy::start(Some(plain.port));
        proxy.on("POST", "selfsubjectreviews", 99, answer(404, missing));
        proxy.on("GET", "/users/~", 99, openshift);
        let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
        let name = format!("old-{n}");
        let run = apply(0, &config, &ground.folder(&[ground.map(&name, json!({ "key": "1" }))]), &[]);
        assert_eq!(run.document["applied"]["cluster"]["user"], expected);
        assert_eq!(run.outcomes(), format!("{name} created"));
    }
}

#[test]
fn what_a_server_says_rules_no_terminal() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    let plain = crate::interrupted::Plain::of(ground.server);
    let escape = "\\u001b[2J\\u001b]0;x\\u0007\\u202e\\nFinished";
    let refusal = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no {escape}","reason":"Invalid","code":422}}"#
    );
    let version = format!(r#"{{"major":"1","minor":"37","gitVersion":"v1 {escape}"}}"#);
    let review = format!(r#"{{"kind":"SelfSubjectReview","status":{{"userInfo":{{"username":"me {escape}"}}}}}}"#);
    let proxy = Proxy::start(Some(plain.port));
    proxy.on("GET", "/version", 99, answer(200, &version));
    proxy.on("POST", "selfsubjectreviews", 99, answer(201, &review));
    proxy.on("PATCH", "/configmaps/", 99, answer(422, &refusal));
    let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
    let own = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    for more in [&[][..], &["--dry-run"]] {
        let run = finish(&mut command(&arguments(&config, &own, more)));
        assert_eq!(run.code, 53, "{}", run.stderr);
        for said in [run.text(), run.stderr] {
            assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
            assert!(
                !said.lines().any(|line| line.starts_with("Finished") && !line.starts_with("Finished in")),
                "{said:?}"
            );
        }
    }
}

#[test]
fn rights_of_a_user_are_not_confused_with_a_rule_that_says_forbidden() {
    let Some(ground) = Ground::new() else { return };
    if !have("kubectl") {
        return;
    }
    // As a webhook or a quota answers.
    let plain = crate::interrupted::Plain::of(ground.server);
    let quota = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"configmaps \"a\" is forbidden: exceeded quota: small, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1","reason":"Forbidden","code":403}"#;
    let proxy = Proxy::start(Some(plain.port));
    proxy.on("PATCH", "/configmaps/", 99, answer(403, quota));
    let config = ground.server.kubeconfig_at(&format!("http://{}", proxy.host()));
    let own = ground.folder(&[ground.map("a", json!({ "key": "1" }))]);
    let run = apply(53, &config, &own, &[]);
    run.says(&["exceeded quota"]);
    assert!(!run.said().contains("no right"), "{}", run.said());
}
