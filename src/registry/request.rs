//! A request to a registry, its answer, and whom it was made as and for.

use std::io::Read;

use ureq::Body;
use ureq::http::{HeaderName, Method, Response};

use super::login::Login;
use super::url::Url;
use crate::oci::Repository;

/// What a request is for: decides the token's scope and the login.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) repository: Repository,
    pub(super) push: bool,
    /// The repository, on the same registry, that a mount reads from.
    pub(super) from: Option<Repository>,
}

impl Scope {
    pub(super) fn push(repository: &Repository) -> Scope {
        Scope { repository: repository.clone(), push: true, from: None }
    }
}

/// The scopes of the token protocol.
pub(super) fn words_of(scope: &Scope) -> Vec<String> {
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
    /// A reader and the exact length of what it gives.
    Stream(&'a mut dyn Read, u64),
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The registry that logins belong to.
    pub(super) base: &'a Url,
    /// `None`: no login, ever.
    pub(super) scope: Option<&'a Scope>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload<'a>,
    /// Whether redirects are followed.
    pub(super) follow: bool,
}

impl<'a> Ask<'a> {
    /// A request without a body that follows redirects, to the registry itself.
    pub(super) fn read(method: Method, url: &'a Url, scope: &'a Scope) -> Ask<'a> {
        let payload = Payload::None;
        Ask { method, url: url.clone(), base: url, scope: Some(scope), headers: Vec::new(), payload, follow: true }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Ask<'a> {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, and who gave it to whom.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) who: Who,
    /// Whether it is another server's than the registry's.
    pub(super) foreign: bool,
}

/// Who a request was made as: for messages.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// Without a login; `withheld` names a realm that was not given the login there is.
    Nobody { withheld: Option<String> },
    /// Without a login, because the registry wants one and does not say how.
    Unasked,
    /// With this login (a phrase without the secret), found there.
    Login { who: String, origin: String },
}

impl Who {
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Who::Nobody { .. } | Who::Unasked)
    }

    pub(super) fn of(login: Option<&Login>) -> Who {
        match login {
            Some(login) => Who::Login { who: login.who(), origin: login.origin.clone() },
            None => Who::Nobody { withheld: None },
        }
    }
}
