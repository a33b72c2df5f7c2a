//! Where a server may send this client, and where credentials may go (security H2, H3, H6).
//!
//! The rules, in full:
//! 1. `http` is used only for hosts named with `--plain-http`; a redirect, realm or `Location` never changes that.
//! 2. A redirect, realm or upload `Location` that names an internal address (a private, loopback or link-local
//!    IP address, or `localhost`) is refused, unless it is the host that sent it or is named with `--plain-http`.
//! 3. The `Authorization` header goes only to the origin (scheme, host, port) of the registry itself, and a
//!    challenge by any other origin is not answered. After a redirect to another origin, a request carries no
//!    login any more, not even back at the registry.
//! 4. A token realm gets only the login of the registry that named it, as with `docker` and `podman`, wherever the
//!    realm is. It never gets the user's login for the realm's own host: a registry must not obtain tokens elsewhere
//!    in the user's name. If the registry is reached over TLS, its login is not sent to a realm over `http`: that
//!    realm is asked for an anonymous token. A redirect by a realm is not followed with a login.
//! 5. A login that is listed for `host/namespace` is used only for repositories below it. Requests with it name no
//!    repository that has another login (a blob from there is sent, not mounted).

use super::url::Url;

/// The hosts that the user named for plain HTTP.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    plain: Vec<String>,
}

impl Reach {
    /// `plain` lists `host` (any port) or `host:port`.
    pub(super) fn new(plain: &[String]) -> Reach {
        Reach { plain: plain.iter().map(|host| host.trim().to_ascii_lowercase()).collect() }
    }

    /// Whether to use plain HTTP for this `host[:port]`.
    pub(super) fn is_plain(&self, authority: &str) -> bool {
        self.plain_name(authority).is_some()
    }

    /// How the user named this `host[:port]` for plain HTTP.
    pub(super) fn plain_name(&self, authority: &str) -> Option<&str> {
        let authority = authority.to_ascii_lowercase();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority.as_str(),
        };
        self.plain.iter().map(String::as_str).find(|plain| *plain == authority || *plain == host)
    }

    /// Whether a redirect from `from` to `to` is allowed; the error is a phrase for a sentence.
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

/// Whether a login for `registry` may be sent to a realm that the registry names (rule 4), after [`Reach::check`].
pub(super) fn may_log_in(registry: &Url, realm: &Url) -> bool {
    realm.is_https() || !registry.is_https()
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
    fn a_login_is_not_carried_from_tls_to_plain_http() {
        let may = |registry: &str, realm: &str| may_log_in(&url(registry), &url(realm));
        assert!(may("https://quay.io/", "https://auth.example/token"));
        assert!(may("http://r.lab/", "https://auth.lab/token"));
        assert!(may("http://r.lab/", "http://auth.lab/token"));
        assert!(!may("https://r.lab/", "http://auth.lab/token"));
        assert!(!may("https://r.lab/", "http://r.lab/token"));
    }
}
