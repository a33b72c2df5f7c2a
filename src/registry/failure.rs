//! What went wrong, in words: from HTTP statuses, from the transport, from a registry's own error document.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use super::Inner;
use super::request::{Answer, Scope, Who};
use super::retry::{Failure, asked_wait, passes};
use super::url::Url;
use crate::error::{Code, Error};

/// The largest error document that is read, in bytes.
const MAX_ERRORS: u64 = 64 * 1024;
/// How long an error document is read at most, beside the wait for one read.
const ERRORS_PATIENCE: Duration = Duration::from_secs(2);
/// How much of a registry's own words is quoted, in characters.
const MAX_QUOTE: usize = 300;

impl Inner {
    /// A failure of this side, with this sentence.
    pub(super) fn failed(&self, sentence: impl Into<String>) -> Error {
        Error::new(self.options.side.code(), sentence)
    }

    /// The failure that an unexpected status means. `task` completes "the registry did not …".
    pub(super) fn refused(&self, answer: Answer, scope: Option<&Scope>, task: &str) -> Failure {
        let status = answer.response.status();
        let after = asked_wait(answer.response.headers());
        let host = answer.url.authority();
        let said = quote(&read_errors(answer.response));
        if matches!(status.as_u16(), 401 | 403)
            && !answer.foreign
            && let Some(scope) = scope
        {
            return self.unauthorized(scope, &host, &answer.who, status, said).into();
        }
        let mut error = self.failed(format!("`{host}` did not {task}: {}", words(status)));
        if let Some(said) = said {
            error = error.fact(format!("it said: {said}"));
        }
        if answer.foreign {
            error = error.fact("the registry sent the request there; credentials were not sent along");
        }
        if status == StatusCode::TOO_MANY_REQUESTS && answer.who.is_nobody() {
            error = error.hint(
                "a login may raise the limit: podman login --authfile auth.json HOST; then give --authfile auth.json",
            );
        }
        let error = if passes(status.as_u16()) { error.transient() } else { error };
        Failure { error, after, renewed: false }
    }

    /// A refusal for want of (other) credentials.
    pub(super) fn unauthorized(
        &self,
        scope: &Scope,
        by: &str,
        who: &Who,
        status: StatusCode,
        said: Option<String>,
    ) -> Error {
        let (action, right) = if scope.push { ("push to", "push") } else { ("pull from", "pull") };
        let reason = match who {
            Who::Nobody { .. } => "no credentials were found for it".to_owned(),
            Who::Unasked => "it wants a login, and does not say how".to_owned(),
            Who::Login { who, .. } if status == StatusCode::FORBIDDEN => format!("{who} lack {right} rights"),
            Who::Login { who, .. } => format!("{who} were not accepted"),
        };
        let repository = &scope.repository;
        let sentence = format!("`{by}` refused the {action} `{}`: {reason}", repository.path());
        let mut error = Error::new(Code::Auth, sentence).fact(format!("it answered {}", words(status)));
        match who {
            Who::Login { origin, .. } => error = error.fact(format!("the credentials are from {origin}")),
            Who::Nobody { withheld: Some(realm) } => {
                error = error.fact(format!(
                    "the registry names `{realm}` as the place to log in, over plain HTTP: the login was not sent there"
                ));
            }
            Who::Unasked => error = error.fact("it asks for neither `Basic` nor `Bearer` with a usable realm"),
            Who::Nobody { withheld: None } => {
                error = self.credentials.failures().into_iter().fold(error, |error, why| error.fact(why));
            }
        }
        if let Some(said) = said {
            error = error.fact(format!("it said: {said}"));
        }
        let host = repository.registry();
        error.hint(format!("podman login --authfile auth.json {host}; then give --authfile auth.json"))
    }

    /// The failure behind an error of the transport.
    pub(super) fn unreachable(&self, error: ureq::Error, url: &Url) -> Failure {
        let at = url.authority();
        match error {
            ureq::Error::Io(error) => self.broken(error, url),
            ureq::Error::Rustls(error) => self.tls(&error, url),
            ureq::Error::Timeout(_) => self.silent(&at),
            ureq::Error::HostNotFound => self.failed(format!("the host `{at}` is not known")).into(),
            ureq::Error::ConnectProxyFailed(why) => {
                self.failed(format!("the proxy did not connect to `{at}`")).fact(why).hint(PROXY).into()
            }
            other => {
                let error = self.failed(format!("`{at}` did not answer as an HTTP server does"));
                error.fact(other.to_string()).source(other).into()
            }
        }
    }

    fn silent(&self, at: &str) -> Failure {
        let seconds = self.options.timeout.as_secs_f32();
        self.failed(format!("`{at}` was silent for {seconds} seconds")).transient().into()
    }

    /// The failure behind an `io::Error` of a connection.
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
                self.failed(format!("`{at}` closed the connection")).source(error)
            }
            _ if text.starts_with("failed to lookup address") => {
                let unknown = self.failed(format!("the host `{at}` is not known")).source(error);
                // EAI_AGAIN: the resolver had no answer, as opposed to "no such name".
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
        let told = self.failed(match error {
            Tls::InvalidCertificate(_) => format!("the certificate of `{at}` is not accepted"),
            _ => format!("no secure connection to `{at}`"),
        });
        let told = told.source(error.clone());
        match error {
            Tls::InvalidCertificate(Bad::UnknownIssuer) => {
                told.fact("its issuer is not trusted").hint("--ca-file FILE with the issuer's certificate")
            }
            // A self-signed certificate as `openssl req -x509` makes it is one of an authority.
            Tls::InvalidCertificate(Bad::Other(other)) if other.to_string().contains("CaUsedAsEndEntity") => told
                .fact("its issuer is not trusted: it is signed by itself")
                .hint("--ca-file FILE with the certificate"),
            Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => told.fact("it has expired"),
            Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
                told.fact("it is not valid yet").hint("check this machine's clock")
            }
            Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                told.fact(format!("it is not for `{}`", url.host()))
            }
            Tls::InvalidMessage(_) => told
                .fact("the server does not speak TLS")
                .hint(format!("--plain-http {at}, if it is meant to speak plain HTTP")),
            other => told.fact(other.to_string()),
        }
        .into()
    }
}

const PROXY: &str = "check HTTPS_PROXY, or list the host in NO_PROXY";

/// "HTTP 503 Service Unavailable".
pub(super) fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}

/// The start of an error document; reading it to its end lets the connection be used again. One that trickles is
/// left where it is.
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

#[derive(serde::Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Item>,
    /// Token servers answer in the form of OAuth2, or with `details`.
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(serde::Deserialize)]
struct Item {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// A registry's own words, on one line and short.
pub(super) fn quote(bytes: &[u8]) -> Option<String> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let mut parts: Vec<String> = document
        .errors
        .iter()
        .take(3)
        .map(|item| [&item.code, &item.message].into_iter().flatten().cloned().collect::<Vec<_>>().join(": "))
        .collect();
    parts.extend(document.error_description);
    parts.extend(document.details);
    let text = parts.join("; ").split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().take(MAX_QUOTE).collect();
    (!short.is_empty()).then_some(short)
}

/// Whether a registry's error document has this code.
pub(super) fn has_code(bytes: &[u8], code: &str) -> bool {
    serde_json::from_slice::<Document>(bytes).is_ok_and(|d| d.errors.iter().any(|e| e.code.as_deref() == Some(code)))
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
        for none in [&b""[..], b"<html>", b"{}", b"[]", b"{\"errors\":[]}"] {
            assert_eq!(quote(none), None);
        }
    }
}
