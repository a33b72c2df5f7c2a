//! Plain HTTP through a proxy: the request line has the absolute address (RFC 9112, 3.2.2), as `curl` and Go's clients
//! send it. A `CONNECT` tunnel is for TLS: many proxies allow it to port 443 only.
//!
//! ureq supports tunnels only. So the connection goes to the proxy instead of the host, and the request line is
//! rewritten on its way out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};
use zeroize::Zeroizing;

use super::interrupt::Interruptible;

/// The user agent of this client: part of the head of each request.
const OURS: &[u8] = concat!("\r\nuser-agent: mirror-bundle/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// An agent that sends requests for `http` addresses to an `http` proxy.
pub(super) fn agent(config: Config, proxy: &ureq::Proxy, stop: Arc<AtomicBool>) -> ureq::Agent {
    let login = proxy.username().map(|user| {
        let plain = Zeroizing::new(format!("{user}:{}", proxy.password().unwrap_or_default()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(plain.as_bytes());
        format!("Proxy-Authorization: Basic {encoded}\r\n")
    });
    let connector =
        Connector::<()>::chain(TcpConnector::default(), Interruptible(stop)).chain(Forward(login.map(Arc::from)));
    let toward = Toward { proxy: proxy.uri().clone(), system: DefaultResolver::default() };
    ureq::Agent::with_parts(config, connector, toward)
}

/// Resolves every name to the proxy's addresses.
#[derive(Debug)]
struct Toward {
    proxy: Uri,
    system: DefaultResolver,
}

impl Resolver for Toward {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.system.resolve(&self.proxy, config, timeout)
    }
}

/// Wraps connections; holds the header line with the proxy's login.
struct Forward(Option<Arc<str>>);

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forward")
    }
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Lines;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let (Some(inner), Some(authority)) = (chained, details.uri.authority()) else { return Ok(None) };
        let origin = format!("http://{authority}");
        Ok(Some(Lines { inner: inner.boxed(), origin, login: self.0.clone(), between: true }))
    }
}

/// A connection to the proxy, for requests to one host.
struct Lines {
    inner: Box<dyn Transport>,
    origin: String,
    login: Option<Arc<str>>,
    /// Whether the next bytes may be the head of a request.
    between: bool,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Transport for Lines {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let between = std::mem::replace(&mut self.between, false);
        let head = match self.inner.buffers().output().get(..amount) {
            Some(out) if between => named(out, &self.origin, self.login.as_deref()),
            _ => None,
        };
        let Some(head) = head else { return self.inner.transmit_output(amount, timeout) };
        let mut rest = head.as_slice();
        while !rest.is_empty() {
            let out = self.inner.buffers().output();
            let n = rest.len().min(out.len());
            out[..n].copy_from_slice(&rest[..n]);
            self.inner.transmit_output(n, timeout)?;
            rest = &rest[n..];
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.between = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Rewrites the head of a request to have the absolute address in its first line; also returns the bytes after the
/// head. `None` if the head is not from this client.
fn named(out: &[u8], origin: &str, login: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
    let end = out.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&out[..end]).ok()?;
    let (method, target) = line.split_once(' ')?;
    let ours =
        target.starts_with('/') && target.ends_with(" HTTP/1.1") && method.bytes().all(|b| b.is_ascii_uppercase());
    if !ours || !out.windows(OURS.len()).any(|part| part.eq_ignore_ascii_case(OURS)) {
        return None;
    }
    let mut head = Zeroizing::new(Vec::with_capacity(out.len() + origin.len() + login.map_or(0, str::len)));
    head.extend_from_slice(format!("{method} {origin}{target}\r\n").as_bytes());
    head.extend_from_slice(login.unwrap_or_default().as_bytes());
    head.extend_from_slice(&out[end + 2..]);
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heads_of_this_client_are_rewritten() {
        let head = |line: &str| [line.as_bytes(), OURS, b"\r\n"].concat();
        let origin = "http://r.example:5000";
        let out = named(&head("GET /v2/?a=b HTTP/1.1"), origin, Some("X: y\r\n"));
        let expected = [&b"GET http://r.example:5000/v2/?a=b HTTP/1.1\r\nX: y\r\n"[..], &OURS[2..], b"\r\n"].concat();
        assert_eq!(out.map(|out| out.to_vec()), Some(expected));
        for other in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &head("GET http://x/ HTTP/1.1"), &head("get / HTTP/1.1"), b"", b"\r\n"]
        {
            assert!(named(other, origin, None).is_none());
        }
    }
}
