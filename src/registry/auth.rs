//! Logging in: `Basic`, and `Bearer` tokens by the Docker token protocol (distribution "auth/token", "auth/oauth").
//!
//! The first `401` of a registry says which of the two it requires; this is remembered per registry, and tokens per
//! registry and scope until they expire. Rules 4 and 5 of [`super::reach`] say which login goes to which realm. The
//! scope is built here, from the repository of the request, and never taken from a challenge.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use zeroize::Zeroizing;

use super::Inner;
use super::challenge::{self, Challenge};
use super::failure::{quote, read_errors, words};
use super::login::{Login, LoginKind, Secret};
use super::reach;
use super::request::{Ask, Payload, Scope, Who, words_of};
use super::retry::{Failure, asked_wait, passes};
use super::url::{Url, percent};
use crate::error::{Error, Result};
use crate::oci::Repository;

/// The largest token answer, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;
/// How long a token is used if the server does not say (the default in the protocol).
const DEFAULT_LIFE: u64 = 60;
/// The longest time a token is used, whatever the server says, in seconds.
const LONGEST_LIFE: u64 = 3600;

/// The authorization for a request, and whose it is.
pub(super) struct Grant {
    pub(super) header: Option<HeaderValue>,
    pub(super) who: Who,
    /// Whether the token was fetched for this very request.
    fresh: bool,
}

impl Grant {
    pub(super) fn none() -> Grant {
        Grant { header: None, who: Who::Anonymous { withheld: None }, fresh: false }
    }
}

/// The challenges of registries, and the available tokens.
#[derive(Default)]
pub(super) struct Memory {
    challenges: Mutex<HashMap<String, Challenge>>,
    /// The registries that were asked for a challenge at `/v2/`.
    greeted: Mutex<HashSet<String>>,
    tokens: Mutex<HashMap<String, Arc<Mutex<Slot>>>>,
    logins: Mutex<HashMap<String, Option<Arc<Login>>>>,
}

/// The slot of one token: locked while it is fetched, so that only one thread fetches it.
#[derive(Default)]
struct Slot {
    token: Option<Token>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
    who: Who,
}

/// The answer of a token server. `issued_at` and other members are ignored: this host's clock counts.
#[derive(serde::Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    /// A number in the protocol; some servers send text, or a fraction.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    /// How long the token may be used, in seconds.
    fn life(&self) -> u64 {
        let text = match &self.expires_in {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text.trim().to_owned(),
            _ => String::new(),
        };
        let whole = text.split('.').next().and_then(|whole| whole.parse::<u64>().ok());
        whole.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE)
    }
}

impl Inner {
    /// The authorization for the registry at `base` and this scope, as far as its requirements are known.
    pub(super) fn grant(&self, base: &Url, scope: &Scope) -> Result<Grant, Failure> {
        let challenge = lock(&self.auth.challenges).get(&base.origin()).cloned();
        if challenge.is_some()
            && let Some(login) = self.login(scope.repository.registry(), scope.repository.path())?
            && let LoginKind::RegistryToken(token) = &login.kind
        {
            // As go-containerregistry: it is sent as it is, whatever the registry asks for. There is no other one.
            let header = sensitive(&Zeroizing::new(format!("Bearer {}", token.reveal())));
            return Ok(Grant { header, who: Who::of(Some(&login)), fresh: true });
        }
        match challenge {
            None => Ok(Grant::none()),
            Some(Challenge::Basic) => {
                let login = self.login(scope.repository.registry(), scope.repository.path())?;
                let header = login.as_deref().and_then(basic);
                Ok(Grant { header, who: Who::of(login.as_deref()), fresh: false })
            }
            Some(Challenge::Bearer { realm, service }) => {
                let slot = self.slot(base, scope);
                let mut slot = lock(&slot);
                if let Some(token) = slot.token.as_ref().filter(|token| Instant::now() < token.until) {
                    return Ok(Grant { header: Some(token.header.clone()), who: token.who.clone(), fresh: false });
                }
                let token = self.fetch_token(base, scope, &realm, service.as_deref())?;
                slot.token = Some(token.clone());
                Ok(Grant { header: Some(token.header), who: token.who, fresh: true })
            }
        }
    }

    /// Records a `401`; returns true if the request should be repeated.
    pub(super) fn challenged(
        &self,
        base: &Url,
        scope: &Scope,
        sent: &mut Grant,
        headers: &HeaderMap,
    ) -> Result<bool, Failure> {
        let Some(challenge) = challenge::read(headers) else {
            if sent.header.is_none() {
                sent.who = Who::UnknownScheme;
            }
            return Ok(false);
        };
        let bearer = matches!(challenge, Challenge::Bearer { .. });
        lock(&self.auth.challenges).insert(base.origin(), challenge);
        if !bearer {
            let repository = &scope.repository;
            return Ok(sent.header.is_none() && self.login(repository.registry(), repository.path())?.is_some());
        }
        if sent.header.is_none() {
            return Ok(true);
        }
        let slot = self.slot(base, scope);
        let mut slot = lock(&slot);
        // Another thread may have stored a newer token.
        if slot.token.as_ref().is_some_and(|token| sent.header.as_ref() == Some(&token.header)) {
            slot.token = None;
        }
        // If a new token is refused, give up: it was issued for exactly this request.
        Ok(!sent.fresh)
    }

    /// Asks a registry for its challenge at `/v2/`: some send it only there, and answer everything else with 404 or
    /// 403. Asks each registry once; returns true if there is now a challenge to answer.
    pub(super) fn greet(&self, base: &Url) -> Result<bool, Failure> {
        // Held during the request, so that no other thread takes the first answer as final.
        let mut greeted = lock(&self.auth.greeted);
        if !greeted.insert(base.origin()) || lock(&self.auth.challenges).contains_key(&base.origin()) {
            return Ok(false);
        }
        let Ok(root) = base.join("/v2/") else { return Ok(false) };
        let response = self.once(&Method::GET, &root, &[], None, &mut Payload::None)?;
        let challenge = if response.status() == 401 { challenge::read(response.headers()) } else { None };
        read_errors(response);
        let found = challenge.is_some();
        challenge.and_then(|challenge| lock(&self.auth.challenges).insert(base.origin(), challenge));
        Ok(found)
    }

    fn slot(&self, base: &Url, scope: &Scope) -> Arc<Mutex<Slot>> {
        let key = format!("{} {}", base.origin(), words_of(scope).join(" "));
        Arc::clone(lock(&self.auth.tokens).entry(key).or_default())
    }

    /// The login for a repository, looked up once (a helper may prompt the user).
    fn login(&self, registry: &str, path: &str) -> Result<Option<Arc<Login>>> {
        let mut logins = lock(&self.auth.logins);
        let key = format!("{registry}/{path}");
        if let Some(known) = logins.get(&key) {
            return Ok(known.clone());
        }
        let found = self.credentials.lookup(registry, path)?.map(Arc::new);
        logins.insert(key, found.clone());
        Ok(found)
    }

    /// Whether both repositories use the same login, or both none: only then may a request for one name the other.
    pub(super) fn same_login(&self, one: &Repository, other: &Repository) -> bool {
        let login = |repository: &Repository| self.login(repository.registry(), repository.path());
        // One that cannot be told is not the same; whether it is an error, the registry's request for a login decides.
        let (Ok(one), Ok(other)) = (login(one), login(other)) else { return false };
        one.map(|login| login.origin.clone()) == other.map(|login| login.origin.clone())
    }

    fn fetch_token(&self, base: &Url, scope: &Scope, realm: &Url, service: Option<&str>) -> Result<Token, Failure> {
        self.reach.check(base, realm).map_err(|why| {
            self.failed(format!("`{}` requires a login at an address that is not allowed", base.authority())).fact(why)
        })?;
        let own = self.login(scope.repository.registry(), scope.repository.path())?;
        let (login, who) = match own {
            Some(_) if !reach::may_log_in(base, realm) => (None, Who::Anonymous { withheld: Some(realm.authority()) }),
            own => {
                let who = Who::of(own.as_deref());
                (own, who)
            }
        };
        let scopes = words_of(scope);
        let form = match login.as_deref().map(|login| &login.kind) {
            Some(LoginKind::IdentityToken(token)) => {
                let mut form = Zeroizing::new("grant_type=refresh_token&client_id=mirror-bundle".to_owned());
                for (key, value) in [
                    ("service", service.unwrap_or("")),
                    ("scope", &scopes.join(" ")),
                    ("refresh_token", token.reveal()),
                ] {
                    form.push_str(&format!("&{key}={}", &*Zeroizing::new(percent(value))));
                }
                Some(form)
            }
            _ => None,
        };
        let answer = match form {
            Some(form) => {
                let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned());
                self.once(&Method::POST, realm, &[kind], None, &mut Payload::Bytes(form.as_bytes()))
            }
            None => self.ask_realm(realm, service, &scopes, login.as_deref()),
        }
        .map_err(|failure| Failure {
            error: failure.error.fact(format!("a token for `{}` was requested there", base.authority())),
            ..failure
        })?;
        let status = answer.status();
        if status != 200 {
            let after = asked_wait(answer.headers());
            let quoted = quote(&read_errors(answer));
            let at = realm.authority();
            if matches!(status.as_u16(), 400 | 401 | 403) {
                return Err(self.unauthorized(scope, &at, &who, status, &words(status), quoted).into());
            }
            let mut error = self.failed(format!("`{at}` gave no token for `{}`: {}", base.authority(), words(status)));
            if let Some(quoted) = quoted {
                error = error.fact(format!("it said: {quoted}"));
            }
            if status.is_redirection() {
                error = error.fact("a login is only for the place that the registry names: it follows no redirect");
            }
            let error = if passes(status.as_u16()) { error.transient() } else { error };
            return Err(Failure { error, after, renewed: false });
        }
        let mut bytes = Zeroizing::new(Vec::new());
        let read = self.steady(answer).take(MAX_ANSWER + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.broken(e, realm))?;
        let token = token(&bytes, who);
        token.ok_or_else(|| self.failed(format!("the answer of `{}` is not a token", realm.authority())).into())
    }

    fn ask_realm(
        &self,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
        login: Option<&Login>,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let mut url = realm.clone();
        if let Some(service) = service {
            url = url.with_query("service", service);
        }
        for scope in scopes {
            url = url.with_query("scope", scope);
        }
        let authorization = login.and_then(basic);
        let headers: &[(HeaderName, String)] = &[];
        if authorization.is_some() {
            // No redirect is followed with a login: it is meant for this realm.
            return self.once(&Method::GET, &url, headers, authorization.as_ref(), &mut Payload::None);
        }
        let ask = Ask {
            method: Method::GET,
            base: &url,
            url: url.clone(),
            scope: None,
            headers: Vec::new(),
            payload: Payload::None,
            follow: true,
        };
        self.send(ask).map(|answer| answer.response)
    }
}

fn basic(login: &Login) -> Option<HeaderValue> {
    let LoginKind::Password { user, secret } = &login.kind else { return None };
    let plain = Zeroizing::new(format!("{user}:{}", secret.reveal()));
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(plain.as_bytes()));
    sensitive(&Zeroizing::new(format!("Basic {}", &*encoded)))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn token(bytes: &[u8], who: Who) -> Option<Token> {
    let answer: TokenAnswer = serde_json::from_slice(bytes).ok()?;
    let life = answer.life();
    let secret = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.reveal().is_empty())?;
    let header = sensitive(&Zeroizing::new(format!("Bearer {}", secret.reveal())))?;
    // Renew a token a little early, so that it does not expire in transit.
    let until = Instant::now() + Duration::from_secs(life - (life / 10).min(30));
    Some(Token { header, until, who })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn token_answers_are_bounded_in_life_and_shape() {
        let anonymous = || Who::Anonymous { withheld: None };
        let long = token(br#"{"access_token":"t","expires_in":999999999}"#, anonymous()).unwrap();
        assert!(long.until <= Instant::now() + Duration::from_secs(LONGEST_LIFE));
        assert_eq!(long.header.to_str().unwrap(), "Bearer t");
        assert_eq!(format!("{:?}", long.header), "Sensitive");
        for bad in [&b"{}"[..], br#"{"token":""}"#, b"", br#"{"token":"a\nb"}"#, b"[]"] {
            assert!(token(bad, anonymous()).is_none());
        }
    }

    #[test]
    fn all_forms_of_a_token_answer_are_read() {
        let anonymous = || Who::Anonymous { withheld: None };
        for (answer, value) in [
            (r#"{"token":"a"}"#, "a"),
            (r#"{"access_token":"b"}"#, "b"),
            (r#"{"token":"a","access_token":"b"}"#, "a"),
            (r#"{"token":"","access_token":"b"}"#, "b"),
            (r#"{"token":null,"access_token":"b","expires_in":null}"#, "b"),
            (r#"{"token":"a","expires_in":"3600","issued_at":"yesterday"}"#, "a"),
            (r#"{"token":"a","expires_in":0,"issued_at":17,"refresh_token":null}"#, "a"),
            (r#"{"token":"a","expires_in":299.9,"scope":["x"]}"#, "a"),
            (r#"{"token":"a","expires_in":-5}"#, "a"),
        ] {
            let token = token(answer.as_bytes(), anonymous()).unwrap();
            assert_eq!(token.header.to_str().unwrap(), format!("Bearer {value}"), "{answer}");
            assert!(token.until > Instant::now() + Duration::from_secs(50), "{answer}");
        }
    }
}
