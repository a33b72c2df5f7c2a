//! Describes failures: HTTP statuses, transport errors, a registry's own error document.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use super::Inner;
use super::challenge;
use super::request::{Answer, Scope, Who, words_of};
use super::retry::{Failure, asked_wait, passes};
use super::url::Url;
use crate::error::{Code, Error};
use serde_json::Value;

/// The largest accepted error document, in bytes.
const MAX_ERRORS: u64 = 64 * 1024;
/// The longest time spent on reading an error document, besides the timeout of one read.
const ERRORS_PATIENCE: Duration = Duration::from_secs(2);
/// The longest quotation from a registry, in characters.
const MAX_QUOTE: usize = 300;

impl Inner {
    /// A failure of this client, with this sentence.
    pub(super) fn failed(&self, sentence: impl Into<String>) -> Error {
        Error::new(self.options.side.code(), sentence)
    }

    /// The failure for an unexpected status. `task` completes "the registry did not …".
    pub(super) fn refused(&self, answer: Answer, scope: Option<&Scope>, task: &str) -> Failure {
        let status = answer.response.status();
        let after = asked_wait(answer.response.headers());
        let host = answer.url.authority();
        let answered = answer.words();
        let wanted = challenge::scope(answer.response.headers());
        let quoted = quote(&read_errors(answer.response));
        if matches!(status.as_u16(), 401 | 403)
            && !answer.foreign
            && let Some(scope) = scope
        {
            let error = self.unauthorized(scope, &host, &answer.who, status, &answered, quoted.clone());
            let requested = words_of(scope);
            // A proxy may be the one that refused.
            let error = match self.agents.proxy_of(&answer.url) {
                Some(proxy) => error.fact(format!("by way of the proxy `{proxy}`")),
                None => error,
            };
            let error = match nested(scope, status, quoted.as_deref()) {
                Some(hint) => error.hint(hint),
                None => error,
            };
            return match wanted
                .filter(|wanted| wanted.split(' ').any(|one| !requested.iter().any(|own| covers(own, one))))
            {
                Some(wanted) => error
                    .fact(format!("it requires a token for  `{wanted}`"))
                    .fact(format!("one was requested for    `{}`", requested.join(" "))),
                None => error,
            }
            .into();
        }
        let mut error = self.failed(format!("`{host}` did not {task}: {answered}"));
        if !answer.url.is_https() && quoted.as_deref().is_some_and(wants_tls) {
            error = error.hint(format!("{}: the server speaks TLS", self.leave_out(&host)));
        }
        if let Some(hint) = scope.and_then(|scope| nested(scope, status, quoted.as_deref())) {
            error = error.hint(hint);
        }
        if let Some(quoted) = quoted {
            error = error.fact(format!("it said: {quoted}"));
        }
        if let Some(proxy) = self.agents.proxy_of(&answer.url) {
            error = error.fact(format!("by way of the proxy `{proxy}`"));
        }
        if answer.foreign {
            error = error.fact("the registry sent the request there; credentials were not sent along");
        }
        if status == StatusCode::TOO_MANY_REQUESTS && answer.who.is_anonymous() {
            error = error.hint(
                "a login may raise the limit: podman login --authfile auth.json HOST; then give --authfile auth.json",
            );
        }
        let error = if passes(status.as_u16()) { error.transient() } else { error };
        Failure { error, after, renewed: false }
    }

    /// A refusal that other credentials may solve.
    pub(super) fn unauthorized(
        &self,
        scope: &Scope,
        by: &str,
        who: &Who,
        status: StatusCode,
        answered: &str,
        quoted: Option<String>,
    ) -> Error {
        let (action, right) = if scope.push { ("push to", "push") } else { ("pull from", "pull") };
        let reason = match who {
            Who::Anonymous { .. } => "no credentials were found for it".to_owned(),
            Who::UnknownScheme => "it requires a login, and does not say how".to_owned(),
            Who::Login { who, .. } if status == StatusCode::FORBIDDEN => format!("{who} lack {right} rights"),
            Who::Login { who, .. } => format!("{who} were not accepted"),
        };
        let repository = &scope.repository;
        let sentence = match scope.catalog {
            true => format!("`{by}` refused to list its repositories: {reason}"),
            false => format!("`{by}` refused the {action} `{repository}`: {reason}"),
        };
        let mut error = Error::new(Code::Auth, sentence).fact(format!("it answered {answered}"));
        match who {
            Who::Login { origin, .. } => error = error.fact(format!("the credentials are from {origin}")),
            Who::Anonymous { withheld: Some(realm) } => {
                error = error.fact(format!(
                    "the registry names `{realm}` as the place to log in, over plain HTTP: the login was not sent there"
                ));
            }
            Who::UnknownScheme => error = error.fact("it asks for neither `Basic` nor `Bearer` with a usable realm"),
            Who::Anonymous { withheld: None } => {
                error = self.credentials.failures().into_iter().fold(error, |error, why| error.fact(why));
            }
        }
        if let Some(quoted) = quoted {
            error = error.fact(format!("it said: {quoted}"));
        }
        let host = repository.registry();
        error.hint(format!("podman login --authfile auth.json {host}; then give --authfile auth.json"))
    }

    /// The failure for a transport error.
    pub(super) fn unreachable(&self, error: ureq::Error, url: &Url) -> Failure {
        let Some(proxy) = self.agents.proxy_of(url) else { return self.no_answer(error, url) };
        let absent = match &error {
            ureq::Error::HostNotFound => true,
            ureq::Error::Io(e) => {
                use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
                matches!(e.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
                    || e.to_string().starts_with("failed to lookup address")
            }
            _ => false,
        };
        if absent {
            let error = self.failed(format!("cannot reach the proxy `{proxy}`")).source(error);
            return error.fact(format!("to talk to `{}`", url.authority())).hint(PROXY).transient().into();
        }
        let failure = self.no_answer(error, url);
        Failure { error: failure.error.fact(format!("by way of the proxy `{proxy}`")), ..failure }
    }

    /// What to do about a TLS server that was sent plain HTTP.
    fn leave_out(&self, at: &str) -> String {
        format!("leave out `--plain-http {}`", self.reach.plain_name(at).unwrap_or(at))
    }

    fn no_answer(&self, error: ureq::Error, url: &Url) -> Failure {
        let mut failure = self.no_head(error, url);
        // A TLS server that was sent plain HTTP answers with an alert, or closes the connection.
        let ended = failure.error.message().ends_with(NOT_HTTP) || failure.error.message().ends_with(CLOSED);
        if ended && !url.is_https() && !self.has_answered(url) {
            failure.error =
                failure.error.hint(format!("if the server speaks TLS, {}", self.leave_out(&url.authority())));
        }
        failure
    }

    fn no_head(&self, error: ureq::Error, url: &Url) -> Failure {
        let at = url.authority();
        match error {
            ureq::Error::Io(error) => self.broken(error, url),
            ureq::Error::Rustls(error) => self.tls(&error, url),
            ureq::Error::Timeout(_) => self.silent(&at),
            ureq::Error::HostNotFound => self.failed(format!("the host `{at}` is not known")).into(),
            ureq::Error::ConnectProxyFailed(why) => {
                let proxy = self.agents.proxy_of(url).map(|proxy| format!(" `{proxy}`")).unwrap_or_default();
                self.failed(format!("the proxy{proxy} did not connect to `{at}`")).fact(why).hint(PROXY).into()
            }
            other => {
                let error = self.failed(format!("`{at}` {NOT_HTTP}"));
                error.fact(other.to_string()).source(other).into()
            }
        }
    }

    fn silent(&self, at: &str) -> Failure {
        let seconds = self.options.timeout.as_secs_f32();
        self.failed(format!("`{at}` was silent for {seconds} seconds")).transient().into()
    }

    /// The failure for an `io::Error` of a connection.
    pub(super) fn broken(&self, error: std::io::Error, url: &Url) -> Failure {
        let at = url.authority();
        let error = match Error::try_from(error) {
            Ok(own) => return own.into(),
            Err(error) => error,
        };
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return self.tls(tls, url);
        }
        if let Some(ureq::Error::Timeout(_)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return self.silent(&at);
        }
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        let text = error.to_string();
        let error = match error.kind() {
            TimedOut | WouldBlock => return self.silent(&at),
            UnexpectedEof | BrokenPipe | ConnectionReset | ConnectionAborted => {
                self.failed(format!("`{at}` {CLOSED}")).source(error)
            }
            _ if text.starts_with("failed to lookup address") => {
                let unknown = self.failed(format!("the host `{at}` is not known")).source(error);
                // EAI_AGAIN: the resolver did not answer, which is not "no such name".
                return if text.contains("emporary") { unknown.transient() } else { unknown }.into();
            }
            _ => {
                let plain = text.split(" (os error").next().unwrap_or("").to_lowercase();
                self.failed(format!("cannot talk to `{at}`: {plain}")).source(error)
            }
        };
        error.transient().into()
    }

    fn tls(&self, error: &rustls::Error, url: &Url) -> Failure {
        use rustls::{CertificateError as Bad, Error as Tls};
        let at = url.authority();
        let failure = self.failed(match error {
            Tls::InvalidCertificate(_) => format!("the certificate of `{at}` is not accepted"),
            _ => format!("no secure connection to `{at}`"),
        });
        let failure = failure.source(error.clone());
        match error {
            Tls::InvalidCertificate(Bad::UnknownIssuer) => {
                failure.fact("its issuer is not trusted").hint("--ca-file FILE with the issuer's certificate")
            }
            // A self-signed certificate from `openssl req -x509` is a CA certificate.
            Tls::InvalidCertificate(Bad::Other(other)) if other.to_string().contains("CaUsedAsEndEntity") => failure
                .fact("its issuer is not trusted: it is signed by itself")
                .hint("--ca-file FILE with the certificate"),
            Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => failure.fact("it has expired"),
            Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
                failure.fact("it is not valid yet").hint("check this machine's clock")
            }
            Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                failure.fact(format!("it is not for `{}`", url.host()))
            }
            Tls::InvalidMessage(_) => failure
                .fact("the server does not speak TLS")
                .hint(format!("--plain-http {at}, if it is meant to speak plain HTTP")),
            other => failure.fact(other.to_string()),
        }
        .into()
    }
}

const NOT_HTTP: &str = "did not answer as an HTTP server does";
const CLOSED: &str = "closed the connection";
const PROXY: &str = "check HTTPS_PROXY, or list the host in NO_PROXY";

/// "HTTP 503 Service Unavailable".
pub(super) fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}

/// The start of an error document. Reading it to the end allows the connection to be reused; a document that trickles
/// is abandoned.
pub(super) fn read_errors(response: ureq::http::Response<ureq::Body>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(MAX_ERRORS);
    let (since, mut buf) = (Instant::now(), [0; 4096]);
    while let Ok(n @ 1..) = body.read(&mut buf) {
        bytes.extend_from_slice(&buf[..n]);
        if since.elapsed() > ERRORS_PATIENCE {
            break;
        }
    }
    bytes
}

/// A registry's own message, short and on one line: from an error document in any common form, from the title of an
/// HTML page, or the plain text.
pub(super) fn quote(bytes: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<Value>(bytes) {
        Ok(document) => messages_in(&document),
        Err(_) => plain(&String::from_utf8_lossy(bytes)),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().take(MAX_QUOTE).collect();
    (!short.is_empty()).then_some(short)
}

/// Whether a server says that it expected TLS: Go, nginx, Apache, Tomcat, HAProxy and others, each in its own words.
fn wants_tls(quoted: &str) -> bool {
    let text = quoted.to_ascii_lowercase();
    ["to an https server", "sent to https port", "ssl-enabled server", "requires tls", "https required", "tls required"]
        .iter()
        .any(|words| text.contains(words))
}

/// What to try where a registry refuses a push because of the name: some have only two components in a path, some want
/// the repository to exist.
fn nested(scope: &Scope, status: StatusCode, quoted: Option<&str>) -> Option<String> {
    let depth = scope.repository.path().split('/').count();
    let text = quoted.unwrap_or_default().to_ascii_lowercase();
    let named = [
        "name_invalid",
        "name_unknown",
        "nested",
        "invalid repository name",
        "path component",
        "depth",
        "too many",
        "levels",
    ];
    let by_name = named.iter().any(|words| text.contains(words)) && matches!(status.as_u16(), 400..=405 | 422);
    if !scope.push || !(by_name || status == 404) {
        return None;
    }
    let path = scope.repository.path();
    Some(match depth > SHALLOW {
        true => format!(
            "`{path}` has {depth} components; if the registry allows fewer: --max-nested-paths {SHALLOW}; if it wants the repository or its project to exist first, create it"
        ),
        false => format!("if the registry wants the repository `{path}` or its project to exist first, create it"),
    })
}

/// As many components of a path every registry has.
const SHALLOW: usize = 2;

/// The messages in a JSON document: `errors` of the distribution-spec; `error` and `error_description` of OAuth2;
/// `details`, `message` or a single `error` of others.
fn messages_in(document: &Value) -> String {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let one = |item: &Value| {
        let parts = ["code", "message", "detail"].into_iter().filter_map(|name| text(item, name));
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let errors = document.get("errors").and_then(Value::as_array);
    let mut parts: Vec<String> = errors.into_iter().flatten().take(3).map(one).collect();
    for name in ["error", "error_description", "details", "message"] {
        parts.extend(text(document, name));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// The title of an HTML page, or text without markup.
fn plain(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let titled = lower.find("<title>").zip(lower.find("</title>"));
    match titled.and_then(|(from, to)| text.get(from + "<title>".len()..to)) {
        Some(title) => title.to_owned(),
        None if text.trim_start().starts_with('<') || text.contains(|c: char| c.is_control() && !c.is_whitespace()) => {
            String::new()
        }
        None => text.to_owned(),
    }
}

/// Whether a registry's error document has this code.
pub(super) fn has_code(bytes: &[u8], code: &str) -> bool {
    let document = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let errors = document.get("errors").and_then(Value::as_array);
    errors.into_iter().flatten().any(|e| e.get("code").and_then(Value::as_str) == Some(code))
}

/// Whether a token for `own` (`repository:NAME:pull,push`) covers `wanted`.
fn covers(own: &str, wanted: &str) -> bool {
    match (own.rsplit_once(':'), wanted.rsplit_once(':')) {
        (Some((name, can)), Some((other, actions))) => {
            name == other && actions.split(',').all(|action| can.split(',').any(|own| own == action))
        }
        _ => own == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_words_are_quoted_short_and_on_one_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\nway","detail":{}},{"code":"X"}]}"#;
        assert_eq!(quote(body).as_deref(), Some("DENIED: no way; X"));
        assert_eq!(
            quote(br#"{"details":"incorrect username or password"}"#).as_deref(),
            Some("incorrect username or password")
        );
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(5000));
        assert_eq!(quote(long.as_bytes()).map(|q| q.len()), Some(MAX_QUOTE));
        assert_eq!(quote(br#"{"message":"403 Forbidden"}"#).as_deref(), Some("403 Forbidden"));
        assert_eq!(
            quote(br#"{"errors":[{"code":"D","message":"no","detail":"nested paths"}]}"#).as_deref(),
            Some("D: no: nested paths")
        );
        assert_eq!(
            quote(b"<html><head><Title>413 Request Entity\nToo Large</title>").as_deref(),
            Some("413 Request Entity Too Large")
        );
        assert_eq!(quote(b"quota exceeded\n").as_deref(), Some("quota exceeded"));
        for tls in [
            &b"Client sent an HTTP request to an HTTPS server.\n"[..],
            b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
            b"Bad Request\nThis combination of host and port requires TLS.\n",
        ] {
            assert!(quote(tls).is_some_and(|quoted| wants_tls(&quoted)));
        }
        assert!(!wants_tls("tag invalid"));
        for none in [&b""[..], b"<html>", b"{}", b"[]", b"{\"errors\":[]}", b"a\x00b"] {
            assert_eq!(quote(none), None);
        }
    }
}
