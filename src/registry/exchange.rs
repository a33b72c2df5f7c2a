//! One request and its answer: chooses the proxy, sends the login if the host may have it, follows redirects by the
//! rules of [`super::reach`]. Does not retry: see [`super::retry`].

use std::sync::{Arc, PoisonError};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use ureq::{Agent, Body, SendBody};

use super::auth::Grant;
use super::failure::{read_errors, words};
use super::forward;
use super::proxy::{Proxies, Route};
use super::request::{Answer, Ask, Payload};
use super::retry::Failure;
use super::tls::{self, Trust};
use super::url::Url;
use super::{Inner, Options};
use crate::error::Error;

/// The most redirects followed.
const MAX_REDIRECTS: u32 = 5;
/// The most `401` answers to one request before giving up: no token, an expired token, a token with too few rights.
const MAX_LOGINS: u32 = 3;
/// Larger bodies wait for the server's `100 Continue`, so that a refusal arrives before the bytes are sent.
const EXPECT_FROM: u64 = 1024 * 1024;

/// The largest head of an answer, in bytes.
const HEAD: usize = 128 * 1024;

/// One agent (connection pool) per route.
pub(super) struct Agents {
    proxies: Proxies,
    direct: Agent,
    https: Option<Agent>,
    http: Option<Agent>,
}

impl Agents {
    pub(super) fn new(options: &Options, proxies: Proxies, trust: &Arc<Trust>) -> Agents {
        let config = |proxy: Option<ureq::Proxy>| {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(proxy)
                .user_agent(concat!("mirror-bundle/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_connect(Some(options.timeout))
                .timeout_per_read(Some(options.timeout))
                .timeout_per_write(Some(options.timeout))
                // A head that trickles byte by byte is never silent, and never ends.
                .timeout_recv_response(Some(options.timeout.saturating_mul(2)))
                // Same as the connection's buffer: ureq counts everything after a 1xx answer as part of the head.
                .max_response_header_size(HEAD)
                .input_buffer_size(HEAD)
                .max_idle_connections(64)
                .max_idle_connections_per_host(32)
                .max_idle_age(std::time::Duration::from_secs(30))
                .build()
        };
        let agent = |proxy| tls::agent(config(proxy), Arc::clone(trust), Arc::clone(&options.stop));
        // A proxy that is reached over TLS itself gets a tunnel for everything.
        let http = |proxy: &ureq::Proxy| match proxy.protocol() {
            ureq::ProxyProtocol::Http => forward::agent(config(None), proxy, Arc::clone(&options.stop)),
            _ => agent(Some(proxy.clone())),
        };
        Agents {
            direct: agent(None),
            https: proxies.https.clone().map(|proxy| agent(Some(proxy))),
            http: proxies.http.as_ref().map(http),
            proxies,
        }
    }

    /// The proxy for this address, without its login.
    pub(super) fn proxy_of(&self, url: &Url) -> Option<String> {
        let proxy = match self.proxies.route(url) {
            Route::Direct => None,
            Route::Https => self.proxies.https.as_ref(),
            Route::Http => self.proxies.http.as_ref(),
        };
        proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    fn for_url(&self, url: &Url) -> &Agent {
        match self.proxies.route(url) {
            Route::Direct => None,
            Route::Https => self.https.as_ref(),
            Route::Http => self.http.as_ref(),
        }
        .unwrap_or(&self.direct)
    }
}

impl Answer {
    /// "HTTP 403 Forbidden (PUT)".
    pub(super) fn words(&self) -> String {
        format!("{} ({})", words(self.response.status()), self.method)
    }

    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        text(self.response.headers(), name)
    }
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Inner {
    /// Sends a request, with the login if there is one, and follows redirects if allowed.
    ///
    /// Errors: no answer; a redirect that must not be followed; no token available. A status is not an error here.
    pub(super) fn send(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let Ask { method, mut url, base, scope, headers, mut payload, follow } = ask;
        let (mut hops, mut logins, mut foreign, mut greeted) = (0, 0, false, false);
        loop {
            self.stopped()?;
            // After a redirect elsewhere, send no login even on the way back: another server chose that address.
            foreign |= !url.same_origin(base);
            let mut grant = match scope {
                Some(scope) if !foreign => self.grant(base, scope)?,
                _ => Grant::none(),
            };
            let mut response = self.once(&method, &url, &headers, grant.header.as_ref(), &mut payload)?;
            let status = response.status();
            if status == 401
                && !foreign
                && logins < MAX_LOGINS
                && let Some(scope) = scope
                && self.challenged(base, scope, &mut grant, response.headers())?
            {
                logins += 1;
                if let Payload::Stream(..) = payload {
                    let answer = Answer { response, method, url, who: grant.who, foreign };
                    let failure = self.refused(answer, Some(scope), "take the upload");
                    return Err(Failure { error: failure.error.transient(), after: None, renewed: true });
                }
                read_errors(response);
                continue;
            }
            if matches!(status.as_u16(), 401 | 403 | 404)
                && grant.header.is_none()
                && !foreign
                && !greeted
                && scope.is_some()
            {
                greeted = true;
                // Read the body first, so that the connection can be reused.
                let (parts, body) = response.into_parts();
                let body = read_errors(Response::from_parts(parts.clone(), body));
                if self.greet(base)? {
                    continue;
                }
                response = Response::from_parts(parts, Body::builder().data(body));
            }
            if follow && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let to = self.redirect(&url, &response)?;
                hops += 1;
                if hops > MAX_REDIRECTS {
                    let sentence = format!("`{}` redirects without end", base.authority());
                    return Err(self.failed(sentence).fact(format!("at last to `{to}`")).into());
                }
                read_errors(response);
                url = to;
                continue;
            }
            return Ok(Answer { response, method, url, who: grant.who, foreign });
        }
    }

    /// Exactly one request on the wire: no login, no redirects.
    pub(super) fn once(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, String)],
        authorization: Option<&HeaderValue>,
        payload: &mut Payload<'_>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method.clone()).uri(url.full());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Payload::Stream(_, length) = payload {
            request = request.header(header::CONTENT_LENGTH, *length);
            if *length >= EXPECT_FROM {
                request = request.header(header::EXPECT, "100-continue");
            }
        }
        let agent = self.agents.for_url(url);
        let bad = |e: ureq::http::Error| -> Error { self.failed(format!("cannot ask for `{url}`")).source(e) };
        let outcome = match payload {
            // Some servers require `Content-Length: 0`, which ureq omits for a POST, PUT or PATCH without a body.
            Payload::None if [Method::POST, Method::PUT, Method::PATCH].contains(method) => {
                agent.run(request.body(&[][..]).map_err(bad)?)
            }
            Payload::None => agent.run(request.body(()).map_err(bad)?),
            Payload::Bytes(bytes) => agent.run(request.body(*bytes).map_err(bad)?),
            Payload::Stream(reader, _) => agent.run(request.body(SendBody::from_reader(*reader)).map_err(bad)?),
        };
        let response = outcome.map_err(|error| self.unreachable(error, url))?;
        if !url.is_https() {
            self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(url.authority());
        }
        Ok(response)
    }

    /// Whether this server has answered a plain HTTP request.
    pub(super) fn has_answered(&self, url: &Url) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(&url.authority())
    }

    fn redirect(&self, from: &Url, response: &Response<Body>) -> Result<Url, Failure> {
        let answered = words(response.status());
        let refused = |why: String| -> Failure {
            let error = self.failed(format!("a redirect by `{}` is not followed", from.authority()));
            error.fact(why).fact(format!("it answered {answered}")).into()
        };
        let Some(location) = text(response.headers(), "location") else {
            return Err(refused("it names no place".to_owned()));
        };
        let to = from.join(location).map_err(refused)?;
        self.reach.check(from, &to).map_err(refused)?;
        Ok(to)
    }

    /// The address in the `Location` of an upload, by the rules for redirects. A registry behind a TLS proxy often
    /// calls itself `http`: the scheme is corrected to `https`.
    pub(super) fn location(&self, at: &Url, headers: &HeaderMap) -> Result<Url, Failure> {
        let refused = |why: String| -> Failure {
            self.failed(format!("`{}` gave no usable address for the upload", at.authority())).fact(why).into()
        };
        let Some(location) = text(headers, "location") else {
            return Err(refused("the answer has no Location".to_owned()));
        };
        let mut to = at.join(location).map_err(refused)?;
        let own_port = to.written_port().is_none_or(|port| port == at.port() || port == 80);
        if at.is_https() && !to.is_https() && to.host() == at.host() && own_port {
            to = to.over_tls(at.written_port());
        }
        self.reach.check(at, &to).map_err(refused)?;
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::super::{Client, auth, credentials::Credentials, reach::Reach};
    use super::*;

    #[test]
    fn a_plain_request_names_its_whole_address_to_a_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut heads = Vec::new();
            for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"; 2] {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    reader.read_line(&mut head).unwrap();
                }
                heads.push(head);
                stream.write_all(answer.as_bytes()).unwrap();
            }
            heads
        });
        let options = Options { plain_http: vec!["store.example".to_owned()], ..Options::default() };
        let env = move |name: &str| (name == "http_proxy").then(|| format!("http://u:p@127.0.0.1:{port}").into());
        let agents = Agents::new(&options, Proxies::from_env(&env).unwrap(), &Arc::new(Trust::new(None).unwrap()));
        let inner = Inner {
            agents,
            reach: Reach::new(&options.plain_http),
            credentials: Credentials::load(Some("/dev/null".as_ref()), &|_| None).unwrap(),
            auth: auth::Memory::default(),
            pieces: std::sync::Mutex::default(),
            unlisted: std::sync::Mutex::default(),
            waited: std::sync::Mutex::default(),
            answered: std::sync::Mutex::default(),
            options,
        };
        let client = Client { inner: Arc::new(inner) };
        for _ in 0..2 {
            let body = client.fetch_url("http://store.example/x", 5).unwrap();
            assert_eq!(body.as_deref(), Some(&b"hello"[..]));
        }
        let heads = proxy.join().unwrap();
        for head in heads {
            assert!(head.starts_with("GET http://store.example/x HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("Proxy-Authorization: Basic dTpw\r\n"), "{head}");
        }
    }
}
