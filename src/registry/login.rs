//! A login: a password or a token, and its origin.

use std::fmt;

use zeroize::Zeroizing;

/// A password or token. `Debug` does not show it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// A login, and its origin.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) kind: LoginKind,
    /// The file or helper, for messages.
    pub(super) origin: String,
}

#[derive(Clone, Debug)]
pub(super) enum LoginKind {
    Password {
        user: String,
        secret: Secret,
    },
    /// An OAuth2 refresh token.
    IdentityToken(Secret),
    /// A bearer token for the registry itself (Docker's `registrytoken`).
    RegistryToken(Secret),
}

impl Login {
    /// The account, without the secret: for messages.
    pub(super) fn who(&self) -> String {
        match &self.kind {
            LoginKind::Password { user, .. } => format!("credentials for `{user}`"),
            LoginKind::IdentityToken(_) => "the identity token".to_owned(),
            LoginKind::RegistryToken(_) => "the registry token".to_owned(),
        }
    }
}

/// A user name of `<token>` marks an identity token (docker's convention).
pub(super) fn password(user: &str, secret: &str) -> LoginKind {
    let secret = Secret::new(secret.to_owned());
    match user {
        "<token>" => LoginKind::IdentityToken(secret),
        _ => LoginKind::Password { user: user.to_owned(), secret },
    }
}
