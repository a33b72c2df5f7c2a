//! Parses the `WWW-Authenticate` headers of a `401`, strictly.
//!
//! Only the scheme, the realm and the service of a challenge are used. The scope is not: [`super::auth`] builds it for
//! the repository of the request. `Bearer` is preferred to `Basic`, whatever their order, because it keeps the password
//! out of every request but one.

use ureq::http::{HeaderMap, header};

use super::url::{Url, decoded};

/// The longest accepted realm, in bytes.
const MAX_REALM: usize = 4096;
/// The longest service that is passed on, in bytes.
const MAX_SERVICE: usize = 512;
/// The most challenges examined in one answer.
const MAX_CHALLENGES: usize = 32;

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// The challenge that this client will answer; `None` if it can answer none.
pub(super) fn read(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let texts: Vec<String> = texts.map(tidy).collect();
    let all = texts.iter().flat_map(|text| http_auth::ChallengeParser::new(text).map_while(Result::ok));
    // Of `Basic` only the name counts: its realm is often written badly.
    let mut best = texts.iter().any(|text| is_basic(text)).then_some(Challenge::Basic);
    for challenge in all.take(MAX_CHALLENGES) {
        let param = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped()).filter(|value| !value.is_empty())
        };
        if challenge.scheme.eq_ignore_ascii_case("Bearer") {
            if let Some(bearer) = bearer(param("realm"), param("service")) {
                return Some(bearer);
            }
        } else if challenge.scheme.eq_ignore_ascii_case("Basic") {
            best = Some(Challenge::Basic);
        }
    }
    best
}

/// Whether a header begins with `Basic`.
fn is_basic(text: &str) -> bool {
    text.split(' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("Basic"))
}

/// A header with one blank where several are, and none before a comma, as the parser requires it. What is quoted stays.
fn tidy(text: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::with_capacity(text.len()), false, false);
    for c in text.trim().chars() {
        if !quoted && matches!(c, ' ' | '\t' | ',') {
            let blank = out.ends_with(' ');
            match c {
                ',' if blank => _ = out.pop(),
                ',' => {}
                _ if blank => continue,
                _ => {
                    out.push(' ');
                    continue;
                }
            }
        }
        out.push(c);
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
    }
    out
}

/// The scope in a `Bearer` challenge: for messages only.
pub(super) fn scope(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all = texts.flat_map(|text| http_auth::ChallengeParser::new(text).map_while(Result::ok));
    let mut named = all.take(MAX_CHALLENGES).filter(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"));
    let found = named.find_map(|challenge| {
        let scope = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case("scope"));
        scope.map(|(_, value)| value.to_unescaped())
    });
    found.filter(|scope| !scope.is_empty() && scope.len() <= MAX_SERVICE)
}

fn bearer(realm: Option<String>, service: Option<String>) -> Option<Challenge> {
    let realm = realm.filter(|realm| realm.len() <= MAX_REALM)?;
    let realm = Url::parse(&realm).ok()?;
    let visible = |service: &str| service.len() <= MAX_SERVICE && service.bytes().all(|b| (b' '..=b'~').contains(&b));
    let fits = service.as_deref().is_none_or(visible) && !realm.query().is_some_and(asks);
    fits.then_some(Challenge::Bearer { realm, service })
}

/// Whether a realm's query has parameters that this client sets itself: another scope, another service, a grant.
fn asks(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let key = decoded(pair.split('=').next().unwrap_or(pair)).to_ascii_lowercase();
        let key = key.split('[').next().unwrap_or("").trim();
        matches!(key, "scope" | "grant_type" | "refresh_token" | "username" | "password")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ureq::http::HeaderValue;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        read(&headers)
    }

    #[test]
    fn challenges_are_read_and_bearer_is_preferred() {
        let text =
            "Bearer realm=\"https://auth.example/token?a=b\",service=\"r.example\",scope=\"repository:x:pull,push\"";
        let realm = Url::parse("https://auth.example/token?a=b").unwrap();
        let bearer = Some(Challenge::Bearer { realm, service: Some("r.example".to_owned()) });
        let one_header = format!("Negotiate, Basic realm=\"x\", {text}");
        for values in [
            &[text][..],
            &["Basic realm=\"x\"", text],
            &[text, "Basic realm=\"x\""],
            &["Negotiate", text],
            &[&one_header],
        ] {
            assert_eq!(of(values), bearer, "{values:?}");
        }
        assert_eq!(of(&["basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Negotiate", "Basic realm=\"x\""]), Some(Challenge::Basic));
        for loose in [
            "Bearer realm=\"https://auth.example/token?a=b\",service=\"r.example\",",
            "Bearer  realm=\"https://auth.example/token?a=b\" , service=\"r.example\"",
            "bearer Realm=\"https://auth.example/token?a=b\",Service=\"r.example\"",
        ] {
            assert_eq!(of(&[loose]), bearer, "{loose}");
        }
        for basic in ["Basic", "BASIC realm=\"Sonatype Nexus Repository Manager\"", "Basic realm=Artifactory Realm"] {
            assert_eq!(of(&[basic]), Some(Challenge::Basic), "{basic}");
        }
        let unusable = "Bearer realm=\"file:///etc/passwd\"";
        assert_eq!(of(&[unusable, "Basic realm=\"x\""]), Some(Challenge::Basic));
    }

    #[test]
    fn challenges_that_smuggle_or_overflow_are_not_answered() {
        let long = format!("Bearer realm=\"https://a.example/{}\"", "x".repeat(MAX_REALM));
        let service = format!("Bearer realm=\"https://a.example/\",service=\"{}\"", "s".repeat(MAX_SERVICE + 1));
        for none in [
            "",
            "Negotiate",
            "NTLM TlRMTVNTUAAC",
            "Bearer",
            "Bearer realm",
            "Bearer realm=\"\"",
            "Bearer realm=\"/token\"",
            "Bearer realm=\"token\"",
            "Bearer realm=\"//a.example/token\"",
            "Bearer realm=\"ftp://a.example/token\"",
            "Bearer realm=\"https://u:p@a.example/token\"",
            "Bearer realm=\"https://a.example\\@b.example/token\"",
            "Bearer realm=\"https://a.example/to ken\"",
            "Bearer realm=\"https://a.example/token?scope=repository:b:pull\"",
            "Bearer realm=\"https://a.example/token?x=1&s%63ope=repository:b:pull\"",
            "Bearer realm=\"https://a.example/token?x=1;SCOPE=repository:b:pull\"",
            "Bearer realm=\"https://a.example/token?scope[]=repository:b:pull\"",
            "Bearer realm=\"https://a.example/token?grant_type=password\"",
            "Bearer realm=\"https://a.example/\",service=\"a\tb\"",
            &long,
            &service,
        ] {
            assert_eq!(of(&[none]), None, "{none}");
        }
        // The part after `#` does not belong to the address, and is never a host.
        let Some(Challenge::Bearer { realm, .. }) = of(&["Bearer realm=\"https://a.example/t#@b.example/\""]) else {
            panic!("it is not read")
        };
        assert_eq!(realm.full(), "https://a.example/t");
    }
}
