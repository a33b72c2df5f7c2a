//! A client for registries: OCI distribution-spec 1.1 over HTTP, with logins, retries, resumed transfers.
//!
//! Sources pull with a [`Client`], and sinks push with one. It moves bytes and reports what a registry answered. It
//! does not decide what to copy, and it does not hash blobs: whoever reads [`Client::get_blob`] checks the digest, and
//! so does the reader passed to [`Client::push_blob`]. Manifests, which are small, are checked here. Synchronous: one
//! call, one request at a time; a `Client` can be shared between threads.
//!
//! Files: [`Client`] here; `pull`, `body`, `referrers`, `lists`, `push`, `guard` the operations; `request` a request and its
//! answer; `exchange` performs one, with redirects and logins; `login`, `auth` tokens; `challenge` the authentication
//! that a registry requires; `failure` error messages; `retry` when to try again; `reach` where credentials may go;
//! `credentials`, `helper` auth files; `tls`, `validity` certificates; `proxy`, `forward` proxies; `url`.

mod auth;
mod body;
mod challenge;
mod credentials;
mod exchange;
mod failure;
mod forward;
mod guard;
mod helper;
mod interrupt;
mod lists;
mod login;
mod proxy;
mod pull;
mod push;
mod reach;
mod referrers;
mod request;
mod retry;
mod tls;
mod url;
mod validity;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Code, Result};
use crate::oci::{Digest, Reference, Repository, Tag};

pub use lists::{Listed, MAX_TAGS};
#[cfg(feature = "cluster")]
pub(crate) use proxy::proxy_for;
pub use pull::Fetched;
pub use push::ManifestPut;
pub use referrers::Referrers;

/// The largest manifest or index that is fetched or sent, in bytes (the distribution-spec requires at least 4 MiB).
pub const MAX_MANIFEST: u64 = 8 * 1024 * 1024;

/// Which end of a transfer a registry is; this determines the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Failures are [`Code::Source`].
    Source,
    /// Failures are [`Code::Destination`].
    Destination,
}

impl Side {
    fn code(self) -> Code {
        match self {
            Side::Source => Code::Source,
            Side::Destination => Code::Destination,
        }
    }
}

/// How to reach registries.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which end of the transfer this client talks to.
    pub side: Side,
    /// `--authfile`: the only auth file to use, if given.
    pub auth_file: Option<PathBuf>,
    /// `--ca-file`: PEM certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// `--plain-http`: the hosts to reach without TLS, as `host` (any port) or `host:port`.
    pub plain_http: Vec<String>,
    /// How long a connection may be silent. A body must also average 1 KiB per second of it.
    pub timeout: Duration,
    /// How many times to retry a transient failure; the count restarts after each MiB of progress. Pauses that the
    /// server requests are observed, up to 5 minutes for one operation and an hour for the life of a client.
    pub retries: u32,
    /// The first pause between tries; it doubles, up to 30 seconds.
    pub backoff: Duration,
    /// Receives every retry.
    pub listener: Option<Listener>,
    /// The environment variables, by name: locations of credentials and certificates, and proxies.
    pub environment: fn(&str) -> Option<OsString>,
    /// Set to true by a signal handler: waits and transfers then fail with [`Code::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            side: Side::Source,
            auth_file: None,
            ca_file: None,
            plain_http: Vec::new(),
            timeout: Duration::from_secs(60),
            retries: 5,
            backoff: Duration::from_millis(500),
            listener: None,
            environment: |_| None,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Receives a sentence about what will be retried, and why.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// The manifest to request, by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// The current target of the tag.
    Tag(Tag),
    /// Exactly this manifest.
    Digest(Digest),
}

impl Wanted {
    /// The manifest that a reference names: its digest, else its tag; `None` if it has neither.
    pub fn of(reference: &Reference) -> Option<Wanted> {
        let tag = || reference.tag.clone().map(Wanted::Tag);
        reference.digest.map(Wanted::Digest).or_else(tag)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Tag(tag) => tag.fmt(f),
            Wanted::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A client for registries. Clones share connections, tokens and everything else.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// The shared state of all clones.
struct Inner {
    options: Options,
    agents: exchange::Agents,
    reach: reach::Reach,
    credentials: credentials::Credentials,
    auth: auth::Memory,
    /// The request size for registries that refuse larger requests.
    pieces: Mutex<HashMap<String, u64>>,
    /// Repositories that refused to list referrers, with the reason.
    unlisted: Mutex<HashMap<String, String>>,
    /// How long operations have waited because servers requested a pause.
    waited: Mutex<Duration>,
    /// The servers that have answered plain HTTP.
    answered: Mutex<HashSet<String>>,
}

impl Client {
    /// Creates a client with these options, and the proxies and auth files of their environment.
    ///
    /// Errors: an auth file, CA file or proxy setting that cannot be used. No request is sent yet.
    pub fn new(options: Options) -> Result<Client> {
        let env = options.environment;
        let credentials = credentials::Credentials::load(options.auth_file.as_deref(), &env)?;
        let trust = Arc::new(tls::Trust::new(options.ca_file.as_deref())?.of_user(&env));
        let agents = exchange::Agents::new(&options, proxy::Proxies::from_env(&env)?, &trust);
        let reach = reach::Reach::new(&options.plain_http);
        let (auth, waited) = (auth::Memory::default(), Mutex::default());
        let (pieces, unlisted, answered) = (Mutex::default(), Mutex::default(), Mutex::default());
        let inner = Inner { options, agents, reach, credentials, auth, pieces, unlisted, waited, answered };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// Warnings for the user, one lower-case sentence each.
    pub fn notices(&self) -> Vec<String> {
        let credentials = &self.inner.credentials;
        let exposed = credentials.exposed();
        let exposed = exposed.map(|path| format!("the auth file `{}` can be read by other users", path.display()));
        exposed.chain(credentials.damage()).collect()
    }

    /// Failures so far that were not errors: credential helpers that did not answer.
    pub fn late_notices(&self) -> Vec<String> {
        self.inner.credentials.failures()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Inner {
    /// The token action for a request that only reads. At a destination, a token must allow pushing from the first
    /// request on: a repository that the first push creates does not exist for a pull-only token.
    pub(super) fn reading(&self, repository: &Repository) -> request::Scope {
        let push = self.options.side == Side::Destination;
        request::Scope { repository: repository.clone(), push, from: None, catalog: false }
    }

    /// `scheme://host/v2/PATH/` + `rest`.
    fn endpoint(&self, repository: &Repository, rest: &str) -> Result<url::Url> {
        self.root(repository.registry(), &format!("{}/{rest}", repository.path()))
    }

    /// `scheme://host/v2/` + `rest`.
    fn root(&self, registry: &str, rest: &str) -> Result<url::Url> {
        let host = match registry {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        };
        url::Url::new(!self.reach.is_plain(registry), host, &format!("/v2/{rest}"))
            .map_err(|why| crate::Error::new(Code::Usage, format!("`{registry}/{rest}` cannot be requested: {why}")))
    }
}
