//! Where a server may send this client, and where credentials may go (security H2, H3, H6).
//!
//! The rules, in full:
//! 1. `http` is spoken only to hosts named with `--plain-http`; a redirect, realm or `Location` never changes that.
//! 2. A redirect, realm or upload `Location` that names an internal address (a private, loopback or link-local
//!    IP address, or `localhost`) is refused, unless it is the host that sent it or is named with `--plain-http`.
//! 3. The `Authorization` header goes only to the origin (scheme, host, port) of the registry itself, and a
//!    challenge by any other origin is not answered.
//! 4. A login goes to a token realm on the registry's host or on its site (`auth.docker.io` for
//!    `registry-1.docker.io`). A realm on another site gets only a login that the auth file lists for that host;
//!    without one it is asked for an anonymous token.

use super::url::{Url, literal};

/// The hosts that speak plain HTTP, by the user's word.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    plain: Vec<String>,
}

/// Second-level labels under which, below a country's domain, strangers register names.
const SHARED_SECOND_LEVEL: &[&str] = &[
    "ac", "co", "com", "edu", "go", "gob", "gouv", "gov", "gv", "ltd", "me", "mil", "ne", "net", "nom", "or", "org",
    "plc", "sch",
];

/// Domains below which each tenant has a host of its own.
const SHARED_HOSTING: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azure.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudfront.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "herokuapp.com",
    "netlify.app",
    "ngrok.io",
    "nip.io",
    "pages.dev",
    "run.app",
    "sslip.io",
    "vercel.app",
    "windows.net",
    "workers.dev",
];

impl Reach {
    /// `plain` lists `host` (any port) or `host:port`.
    pub(super) fn new(plain: &[String]) -> Reach {
        Reach { plain: plain.iter().map(|host| host.trim().to_ascii_lowercase()).collect() }
    }

    /// Whether plain HTTP is spoken to this `host[:port]`.
    pub(super) fn is_plain(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority.as_str(),
        };
        self.plain.iter().any(|plain| *plain == authority || plain == host)
    }

    /// Whether `from` may send this client to `to`; the error is a phrase for a sentence.
    pub(super) fn check(&self, from: &Url, to: &Url) -> Result<(), String> {
        let named = self.is_plain(&to.authority());
        if !to.is_https() && !named {
            return Err(format!("`{to}` is plain HTTP, and `{}` is not a --plain-http host", to.authority()));
        }
        if to.is_internal() && to.host() != from.host() && !named {
            return Err(format!("`{}` is an internal address", to.authority()));
        }
        Ok(())
    }
}

/// Whether a login for `registry` may be sent to `realm` (rule 4).
pub(super) fn same_site(registry: &Url, realm: &Url) -> bool {
    let (a, b) = (registry.host(), realm.host());
    if a == b {
        return true;
    }
    if literal(a).is_some() || literal(b).is_some() {
        return false;
    }
    let left: Vec<&str> = a.split('.').rev().collect();
    let right: Vec<&str> = b.split('.').rev().collect();
    let common: Vec<&str> = left.iter().zip(&right).take_while(|(x, y)| x == y).map(|(x, _)| *x).collect();
    let [top, second, ..] = common.as_slice() else { return false };
    if common.len() == 2 && top.len() == 2 && SHARED_SECOND_LEVEL.contains(second) {
        return false;
    }
    let shared = format!("{second}.{top}");
    !SHARED_HOSTING.contains(&shared.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn plain_hosts_match_with_and_without_a_port() {
        let reach = Reach::new(&["localhost:5000".to_owned(), "R.lab".to_owned(), "[::1]".to_owned()]);
        for plain in ["localhost:5000", "r.lab", "r.lab:80", "[::1]", "[::1]:5000"] {
            assert!(reach.is_plain(plain), "{plain}");
        }
        for tls in ["localhost", "localhost:5001", "127.0.0.1:5000", "x.r.lab", "lab"] {
            assert!(!reach.is_plain(tls), "{tls}");
        }
    }

    #[test]
    fn servers_cannot_send_us_to_http_or_inside() {
        let from = url("https://registry.example/v2/");
        let reach = Reach::new(&["cache.lab".to_owned(), "10.0.0.9".to_owned()]);
        for fine in
            ["https://cdn.example/x", "https://registry.example:8443/x", "http://cache.lab/x", "https://10.0.0.9/x"]
        {
            assert_eq!(reach.check(&from, &url(fine)), Ok(()), "{fine}");
        }
        for bad in [
            "http://cdn.example/x",
            "http://registry.example/x",
            "https://169.254.169.254/x",
            "https://localhost/x",
            "https://10.0.0.8/",
        ] {
            assert!(reach.check(&from, &url(bad)).is_err(), "{bad}");
        }
        assert_eq!(reach.check(&url("https://10.0.0.8/"), &url("https://10.0.0.8:8443/")), Ok(()));
    }

    #[test]
    fn a_site_is_a_registered_domain_and_not_a_public_suffix() {
        let same = |a: &str, b: &str| same_site(&url(&format!("https://{a}/")), &url(&format!("https://{b}/")));
        assert!(same("registry-1.docker.io", "auth.docker.io"));
        assert!(same("quay.io", "quay.io"));
        assert!(same("registry.gitlab.com", "gitlab.com"));
        assert!(same("registry.shop.co.uk", "auth.shop.co.uk"));
        assert!(same("127.0.0.1:5000", "127.0.0.1:5001"));
        for (a, b) in [
            ("registry.example", "auth.example"),
            ("quay.io", "evil.io"),
            ("shop.co.uk", "evil.co.uk"),
            ("a.azurecr.io", "b.azurecr.io"),
            ("10.0.0.1", "10.0.0.2"),
            ("docker.io.evil.com", "docker.io"),
            ("evildocker.io", "docker.io"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
