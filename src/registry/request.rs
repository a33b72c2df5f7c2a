//! A request to a registry, its answer, and the login and registry it was made for.

use std::io::Read;

use ureq::Body;
use ureq::http::{HeaderName, Method, Response};

use super::login::Login;
use super::url::Url;
use crate::oci::Repository;

/// The purpose of a request: determines the token's scope and the login.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) repository: Repository,
    pub(super) push: bool,
    /// The repository on the same registry that a mount reads from.
    pub(super) from: Option<Repository>,
    /// The list of repositories instead of one of them; `repository` then says whose login is used.
    pub(super) catalog: bool,
}

impl Scope {
    pub(super) fn push(repository: &Repository) -> Scope {
        Scope { repository: repository.clone(), push: true, from: None, catalog: false }
    }
}

/// The scopes of the token protocol.
pub(super) fn words_of(scope: &Scope) -> Vec<String> {
    if scope.catalog {
        return vec!["registry:catalog:*".to_owned()];
    }
    let actions = if scope.push { "pull,push" } else { "pull" };
    let mut out = vec![format!("repository:{}:{actions}", scope.repository.path())];
    if let Some(from) = &scope.from {
        out.push(format!("repository:{}:pull", from.path()));
    }
    out
}

/// A request's body.
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// A reader and its exact length.
    Stream(&'a mut dyn Read, u64),
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The registry whose login may be used.
    pub(super) base: &'a Url,
    /// `None`: never send a login.
    pub(super) scope: Option<&'a Scope>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload<'a>,
    /// Whether to follow redirects.
    pub(super) follow: bool,
}

impl<'a> Ask<'a> {
    /// A request to the registry itself, without a body, that follows redirects.
    pub(super) fn read(method: Method, url: &'a Url, scope: &'a Scope) -> Ask<'a> {
        let payload = Payload::None;
        Ask { method, url: url.clone(), base: url, scope: Some(scope), headers: Vec::new(), payload, follow: true }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Ask<'a> {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, with its server and the login that was used.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) who: Who,
    /// Whether another server than the registry answered.
    pub(super) foreign: bool,
}

/// The identity behind a request: for messages.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// No login; `withheld` names a realm that did not get the available login.
    Anonymous { withheld: Option<String> },
    /// No login, because the registry requires one but does not say how.
    UnknownScheme,
    /// With this login (a phrase without the secret), from this origin.
    Login { who: String, origin: String },
}

impl Who {
    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self, Who::Anonymous { .. } | Who::UnknownScheme)
    }

    pub(super) fn of(login: Option<&Login>) -> Who {
        match login {
            Some(login) => Who::Login { who: login.who(), origin: login.origin.clone() },
            None => Who::Anonymous { withheld: None },
        }
    }
}
