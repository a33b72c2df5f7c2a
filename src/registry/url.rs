//! Addresses as this client needs them: scheme, host, port, path and query; joining a `Location`; comparing
//! origins. No user information, no fragment, nothing but `http` and `https`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

/// The longest address accepted from a server.
const MAX_LENGTH: usize = 16 * 1024;

/// An absolute `http` or `https` address. Its `Display` omits the query: signed addresses carry secrets there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Url {
    https: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Url {
    /// The address `path` (with its leading slash) on `authority`, which is `host[:port]`.
    pub(super) fn new(https: bool, authority: &str, path: &str) -> Result<Url, String> {
        let scheme = if https { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{authority}{path}"))
    }

    /// Parses an absolute address; the error is a phrase for a sentence.
    pub(super) fn parse(text: &str) -> Result<Url, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("an address of {} bytes is too long", text.len()));
        }
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not an address"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(format!("`{other}:` addresses are not used")),
            None => return Err(format!("`{text}` is not an absolute address")),
        };
        let authority = uri.authority().ok_or_else(|| format!("`{text}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err("the address carries a user name".to_owned());
        }
        let host = authority.host().to_ascii_lowercase();
        if !valid_host(&host) {
            return Err(format!("`{host}` is not a host"));
        }
        let port = match authority.as_str().get(authority.host().len()..) {
            Some("") | None => None,
            Some(rest) => {
                let port = rest.strip_prefix(':').and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
                Some(port.ok_or_else(|| format!("`{authority}` has no valid port"))?)
            }
        };
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { https, host, port, path })
    }

    /// Resolves a `Location` or `Link` relative to this address.
    pub(super) fn join(&self, location: &str) -> Result<Url, String> {
        let location = location.trim();
        if location.is_empty() {
            return Ok(self.clone());
        }
        let scheme = if self.https { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        if location.starts_with('/') {
            return Url::new(self.https, &self.authority(), location);
        }
        let colon = location.find(':').unwrap_or(usize::MAX);
        if colon < location.find(['/', '?', '#']).unwrap_or(usize::MAX) {
            return Url::parse(location);
        }
        let own = self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path);
        let path = match location.strip_prefix('?') {
            Some(query) => format!("{own}?{query}"),
            None => format!("{}/{location}", own.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Url::new(self.https, &self.authority(), &path)
    }

    /// The same address with one more query parameter, percent-encoded.
    pub(super) fn with_query(mut self, key: &str, value: &str) -> Url {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(key);
        self.path.push('=');
        self.path.push_str(&percent(value));
        self
    }

    /// The same address over TLS.
    pub(super) fn over_tls(mut self, port: Option<u16>) -> Url {
        self.https = true;
        self.port = port;
        self
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    /// Lower case; an IPv6 address in brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port as written.
    pub(super) fn written_port(&self) -> Option<u16> {
        self.port
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// `host[:port]`, as written.
    pub(super) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// The query as written, without its `?`.
    pub(super) fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// Scheme, host and port, as one text.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}:{}", if self.https { "https" } else { "http" }, self.host, self.port())
    }

    /// Whether both have the same scheme, host and port.
    pub(super) fn same_origin(&self, other: &Url) -> bool {
        self.https == other.https && self.host == other.host && self.port() == other.port()
    }

    /// Whether the host is an IP address of a private, loopback or link-local network, `localhost`, or a number that
    /// some resolvers accept as such an address.
    pub(super) fn is_internal(&self) -> bool {
        let host = self.host.trim_end_matches('.');
        if host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        match literal(host) {
            Some(IpAddr::V4(v4)) => internal_v4(v4),
            Some(IpAddr::V6(v6)) => internal_v6(v6),
            None => {
                let last = host.rsplit('.').next().unwrap_or("");
                last.starts_with("0x") || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
            }
        }
    }

    /// The full address with its query, for the request line only.
    pub(super) fn full(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split_once('?').map_or(self.path.as_str(), |(path, _)| path);
        write!(f, "{}://{}{path}", if self.https { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The IP address that a host is written as, if it is one.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn percent(text: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Decodes percent-encoding once, and `+`, as in a query; invalid UTF-8 is replaced.
pub(super) fn decoded(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut after = bytes.clone();
        match (byte, after.next().and_then(hex), after.next().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                bytes = after;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn valid_host(host: &str) -> bool {
    if host.starts_with('[') {
        return literal(host).is_some();
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !host.is_empty() && host.len() <= 253 && !host.starts_with('.') && host.bytes().all(word)
}

fn internal_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
}

fn internal_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return internal_v4(v4);
    }
    let first = ip.segments()[0];
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        || ip.segments()[..2] == [0x64, 0xff9b]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn locations_are_joined_as_a_browser_joins_them() {
        let base = Url::parse("https://r.example:5000/v2/a/b/blobs/uploads/?x=1").unwrap();
        for (location, whole) in [
            ("/v2/x?y=1", "https://r.example:5000/v2/x?y=1"),
            ("//other.example/x", "https://other.example/x"),
            ("http://o.example:80/x#f", "http://o.example:80/x"),
            ("next", "https://r.example:5000/v2/a/b/blobs/uploads/next"),
            ("", "https://r.example:5000/v2/a/b/blobs/uploads/?x=1"),
            ("?n=2", "https://r.example:5000/v2/a/b/blobs/uploads/?n=2"),
            ("https://h", "https://h/"),
        ] {
            assert_eq!(base.join(location).unwrap().full(), whole, "{location}");
        }
    }

    #[test]
    fn other_schemes_users_and_odd_hosts_are_refused() {
        for bad in [
            "file:///etc/passwd",
            "ftp://a/b",
            "https://u:p@h/x",
            "https://u@h/x",
            "https:///x",
            "https://h:0/",
            "https://h:99999/",
            "https://h:/",
            "/x",
            "https://a b/",
            "https://[::1/x",
            "gopher:x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let base = Url::parse("https://h/").unwrap();
        assert!(base.join("file:/etc/passwd").is_err());
        assert!(base.join("javascript:alert(1)").is_err());
    }

    #[test]
    fn internal_addresses_are_known_in_all_spellings() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "[::1]",
            "[fe80::1]",
            "[fd00::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "a.localhost",
            "127.1",
            "2130706433",
            "0x7f.0.0.0x1",
            "127.0.0.1.",
            "localhost.",
            "[64:ff9b::7f00:1]",
        ] {
            assert!(Url::parse(&format!("https://{inside}/")).unwrap().is_internal(), "{inside}");
        }
        for outside in ["quay.io", "8.8.8.8", "[2606:4700::1111]", "cdn01.quay.io", "1e100.net", "172.32.0.1"] {
            assert!(!Url::parse(&format!("https://{outside}/")).unwrap().is_internal(), "{outside}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url = |t: &str| Url::parse(t).unwrap();
        assert!(url("https://A.example/x").same_origin(&url("https://a.example:443/y")));
        assert!(!url("https://a.example/").same_origin(&url("http://a.example/")));
        assert!(!url("https://a.example/").same_origin(&url("https://a.example:8443/")));
    }

    #[test]
    fn the_query_is_encoded_and_never_displayed() {
        let url = Url::parse("https://h/t").unwrap().with_query("scope", "repository:a/b:pull,push");
        assert_eq!(url.full(), "https://h/t?scope=repository%3Aa%2Fb%3Apull%2Cpush");
        assert_eq!(url.to_string(), "https://h/t");
    }
}
