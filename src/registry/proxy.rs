//! Chooses the HTTP proxy of a request: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper and lower case,
//! by the rules of Go's `httpproxy` (so that the result equals that of `oc` and `podman`), with CIDR ranges.
//!
//! A proxied connection to a TLS host is a `CONNECT` tunnel; for plain HTTP see [`super::forward`].

use std::ffi::OsString;
use std::net::IpAddr;

use ipnet::IpNet;

use super::url::{Url, literal};
use crate::error::{Code, Error, Result};

/// Which agent of [`super::exchange`] carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    /// Through the proxy for `https` addresses.
    Https,
    /// Through the proxy for `http` addresses.
    Http,
}

/// The proxies in the environment, and the hosts that are reached directly.
pub(super) struct Proxies {
    pub(super) https: Option<ureq::Proxy>,
    pub(super) http: Option<ureq::Proxy>,
    direct: Vec<Rule>,
}

enum Rule {
    Everything,
    Net(IpNet),
    /// A domain: the hosts below it, and `itself` unless it was written with a leading dot.
    Host {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads the environment. An unsupported proxy is an error, never a direct connection.
    pub(super) fn from_env(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Proxies> {
        let read = |upper: &str| -> Option<(String, String)> {
            [upper.to_owned(), upper.to_ascii_lowercase()].into_iter().find_map(|name| {
                let value = env(&name)?.to_string_lossy().trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            })
        };
        let all = read("ALL_PROXY");
        // A CGI program receives the `Proxy:` header of a request as HTTP_PROXY.
        let http = if env("REQUEST_METHOD").is_some() { None } else { read("HTTP_PROXY") };
        let https = read("HTTPS_PROXY").or_else(|| all.clone()).map(proxy).transpose()?;
        let http = http.or(all).map(proxy).transpose()?;
        let direct = read("NO_PROXY").map(|(_, value)| rules(&value)).unwrap_or_default();
        Ok(Proxies { https, http, direct })
    }

    /// The route to this address.
    pub(super) fn route(&self, url: &Url) -> Route {
        let (proxy, route) = if url.is_https() { (&self.https, Route::Https) } else { (&self.http, Route::Http) };
        if proxy.is_none() || is_loopback(url) || self.direct.iter().any(|rule| rule.matches(url)) {
            return Route::Direct;
        }
        route
    }
}

/// The proxy for an address, with its credentials; for clients other than this one.
#[cfg(feature = "cluster")]
pub(crate) fn proxy_for(address: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<String>> {
    let proxies = Proxies::from_env(env)?;
    let url = Url::parse(address).map_err(|why| Error::new(Code::Usage, why))?;
    let proxy = match proxies.route(&url) {
        Route::Direct => None,
        Route::Https => proxies.https,
        Route::Http => proxies.http,
    };
    Ok(proxy.map(|proxy| proxy.uri().to_string()))
}

fn proxy((name, value): (String, String)) -> Result<ureq::Proxy> {
    let with_scheme = if value.contains("://") { value } else { format!("http://{value}") };
    let http = ["http://", "https://"].iter().any(|s| with_scheme.to_ascii_lowercase().starts_with(s));
    let proxy = if http { ureq::Proxy::new(&with_scheme).ok() } else { None };
    // The value may contain a password: do not quote it.
    proxy.ok_or_else(|| {
        Error::new(Code::Usage, format!("the proxy in `{name}` cannot be used"))
            .fact("expected http://HOST:PORT or https://HOST:PORT")
            .hint(format!("correct `{name}`, or unset it"))
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host().trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost") || literal(host).is_some_and(|ip| ip.is_loopback())
}

fn rules(value: &str) -> Vec<Rule> {
    value.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).filter_map(rule).collect()
}

fn rule(entry: &str) -> Option<Rule> {
    let entry = entry.trim().to_ascii_lowercase();
    if entry == "*" {
        return Some(Rule::Everything);
    }
    if let Ok(net) = entry.parse::<IpNet>() {
        return Some(Rule::Net(net));
    }
    if let Ok(ip) = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(Rule::Net(IpNet::from(ip)));
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (entry.as_str(), None),
    };
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let (name, itself) = match name.strip_prefix('.') {
        Some(rest) => (rest, false),
        None => (name, true),
    };
    (!name.is_empty()).then(|| Rule::Host { name: name.to_owned(), itself, port })
}

impl Rule {
    fn matches(&self, url: &Url) -> bool {
        let host = url.host().trim_end_matches('.');
        match self {
            Rule::Everything => true,
            Rule::Net(net) => literal(host).is_some_and(|ip| net.contains(&ip)),
            Rule::Host { name, itself, port } => {
                let under = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                port.is_none_or(|port| port == url.port()) && ((*itself && host == name) || under)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn proxies(vars: &'static [(&'static str, &'static str)]) -> Result<Proxies> {
        Proxies::from_env(&move |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    fn route(proxies: &Proxies, url: &str) -> Route {
        proxies.route(&Url::parse(url).unwrap())
    }

    #[test]
    fn no_proxy_knows_ranges_suffixes_and_ports() {
        let p = proxies(&[
            ("HTTPS_PROXY", "http://proxy.corp:3128"),
            (
                "no_proxy",
                "10.0.0.0/8, .cluster.local,corp.example,*.wild.example,host.example:8443,fd00::/8,192.168.1.5",
            ),
        ])
        .unwrap();
        for direct in [
            "https://10.128.0.1/",
            "https://a.cluster.local/",
            "https://corp.example/",
            "https://x.corp.example:99/",
            "https://a.wild.example/",
            "https://host.example:8443/",
            "https://[fd00::9]/",
            "https://192.168.1.5:5000/",
            "https://localhost:5000/",
            "https://127.0.0.9/",
            "https://[::1]/",
        ] {
            assert_eq!(route(&p, direct), Route::Direct, "{direct}");
        }
        for proxied in [
            "https://11.0.0.1/",
            "https://cluster.local/",
            "https://notcorp.example/",
            "https://wild.example/",
            "https://host.example/",
            "https://192.168.1.6/",
            "https://quay.io/",
        ] {
            assert_eq!(route(&p, proxied), Route::Https, "{proxied}");
        }
        assert_eq!(route(&p, "http://quay.io/"), Route::Direct);
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_fills_in() {
        let p = proxies(&[("https_proxy", "one:1"), ("ALL_PROXY", "http://two:2")]).unwrap();
        assert_eq!(p.https.as_ref().unwrap().host(), "one");
        assert_eq!(p.http.as_ref().unwrap().host(), "two");
        assert_eq!(route(&p, "http://quay.io/"), Route::Http);
        let cgi = proxies(&[("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")]).unwrap();
        assert!(cgi.http.is_none());
        let star = proxies(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")]).unwrap();
        assert_eq!(route(&star, "https://quay.io/"), Route::Direct);
    }

    #[test]
    fn an_unusable_proxy_is_an_error_that_hides_its_password() {
        for bad in [&[("HTTPS_PROXY", "socks5://u:hunter2@p:1")], &[("HTTPS_PROXY", "http://u:hunter2@")]] {
            let err = proxies(bad).err().unwrap();
            assert_eq!(err.code(), Code::Usage);
            assert!(!format!("{err:?}").contains("hunter2"));
        }
    }
}
