//! Faults of logins and of token servers.

use super::*;

pub fn logins(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let ask = |value: &str| status_with(401, "WWW-Authenticate", value);
    both(all, at, "login-forgotten", EVER, &ask("Basic realm=\"again\""), &[51], &[51]);
    both(all, at, "login-without-a-challenge", EVER, &status(401), &[51], &[51]);
    let everywhere = |fault: Fault, codes: &[i32]| {
        let script = || Some(script(vec![("*", "/v2/".to_owned(), EVER, fault.clone())], codes));
        (script(), script())
    };
    for (name, value, codes) in [
        ("garbage", "%%% ,,, =\"", &[51]),
        ("an-unknown-scheme", "Negotiate abc", &[51]),
        ("a-realm-that-is-a-file", "Bearer realm=\"file:///etc/passwd\"", &[51]),
        ("no-realm", "Bearer service=\"x\"", &[51]),
        ("a-realm-with-a-user", "Bearer realm=\"https://u:p@quay.example/\"", &[51]),
    ] {
        let (pull, push) = everywhere(ask(value), codes);
        add(all, &format!("challenge-of-{name}"), pull, push);
    }
    let hostile = |host: &str| ask(&format!("{},scope=\"repository:{USER}:pull\"", challenge(host)));
    let (pull, push) = everywhere(hostile(&worker.forbidden_host()), &[50]);
    add(all, "challenge-of-a-forbidden-realm", pull, push);
    let token = || Fault::Answer(200, Vec::new(), br#"{"token":"eyAnonymous"}"#.to_vec());
    let other = |s: Option<Script>| s.map(|s| s.elsewhere("GET", "/token", token()));
    let (pull, push) = everywhere(hostile(&worker.elsewhere_host()), &[51]);
    all.push(Case { name: "challenge-of-a-realm-elsewhere".into(), token: true, pull: other(pull), push: other(push) });
}

pub fn tokens(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let mut add = |name: &str, pull: Script, push: Script| {
        all.push(Case { name: name.to_owned(), token: true, pull: Some(pull), push: Some(push) });
    };
    let again = || status_with(401, "WWW-Authenticate", challenge(&worker.realm.host()));
    let point = |times, codes: &[i32]| {
        (
            script(vec![("GET", at.layer.clone(), times, again())], codes),
            script(vec![("PUT", at.sent.clone(), times, again())], codes),
        )
    };
    let (pull, push) = point(1, &[0]);
    add("token-expired-in-the-middle", pull, push);
    let (pull, push) = point(1, &[0]);
    add("token-expired-in-the-middle-without-retries", pull.with(NO_RETRY), push.with(NO_RETRY));
    let (pull, push) = point(EVER, &[51]);
    add("token-never-accepted", pull, push);
    let (pull, push) = (vec![("GET", at.child.clone(), 1, again())], vec![("PUT", at.tag.clone(), 1, again())]);
    add("token-expired-at-a-manifest", script(pull, &[0]), script(push, &[0]));
    let mut realm = |name: &str, times: usize, fault: Fault, codes: &[i32], args: &[&'static str]| {
        let one = || script(Vec::new(), codes).realm(times, fault.clone()).with(args);
        add(name, one(), one());
    };
    realm("token-server-503-once", 1, status(503), &[0], &[]);
    realm("token-server-429-for-ever", EVER, status(429), &[50], &[]);
    realm("token-server-reset-once", 1, Fault::Reset, &[0], &[]);
    realm("token-server-404", EVER, status(404), &[50], &[]);
    realm("token-server-refuses", EVER, status(401), &[51], &[]);
    realm("token-server-silent", EVER, Fault::Silence, &[50], &["--timeout", "1", "--retries", "0"]);
    let answer = |body: &[u8]| Fault::Answer(200, Vec::new(), body.to_vec());
    realm("token-of-garbage", EVER, answer(b"<html>"), &[50], &[]);
    realm("token-empty", EVER, answer(br#"{"token":""}"#), &[50], &[]);
    realm("token-with-a-line-break", EVER, answer(br#"{"token":"a\r\nX-Evil: 1"}"#), &[50], &[]);
    realm(
        "token-oversized",
        EVER,
        answer(format!(r#"{{"token":"ey{}"}}"#, "x".repeat(300_000)).as_bytes()),
        &[50],
        &[],
    );
    realm("token-that-is-wrong", EVER, answer(br#"{"token":"eyWrong"}"#), &[51], &[]);
    realm("token-without-end", EVER, Fault::Endless, &[50], NO_RETRY);
    realm("token-that-drips", EVER, Fault::Slow(100), &[50], &["--timeout", "1", "--retries", "0"]);
    realm("token-server-elsewhere", EVER, to(&format!("http://{}/token", worker.elsewhere_host())), &[50], &[]);
    realm("token-server-inside", EVER, to(&format!("http://{}/token", worker.forbidden_host())), &[50], &[]);
}
