//! A client for registries: OCI distribution-spec 1.1 over HTTP, with logins, retries, resumed transfers.
//!
//! Place in the flow: [`Client`] is what sources pull with and sinks push with. It moves bytes and says what a
//! registry answered. It does not decide what to copy, and it does not hash blobs: whoever reads
//! [`Client::get_blob`] checks the digest, and so does the reader given to [`Client::push_blob`]. Manifests, which
//! are small, are checked here. Synchronous: one call, one request at a time; share a `Client` between threads.
//!
//! Files: [`Client`] here; `pull`, `body`, `referrers`, `push`, `guard` the operations; `request` a request and its
//! answer; `exchange` makes one, with redirects and logins; `login`, `auth` tokens; `challenge` what a registry wants;
//! `failure` what went wrong, in words; `retry` when to try again; `reach` where credentials may go; `credentials`,
//! `helper` auth files; `tls`, `validity` certificates; `proxy`, `forward` proxies; `url`.

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

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Code, Result};
use crate::oci::{Digest, Reference, Repository, Tag};

pub use pull::Fetched;
pub use push::{ManifestPut, Pushed};
pub use referrers::Referrers;

/// The largest manifest or index that is fetched or sent, in bytes (distribution-spec asks for 4 MiB at least).
pub const MAX_MANIFEST: u64 = 8 * 1024 * 1024;

/// Which end of a transfer a registry is: it decides the code of a failure.
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
    /// `--authfile`: the only auth file used, if given.
    pub auth_file: Option<PathBuf>,
    /// `--ca-file`: PEM certificates trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// `--plain-http`: the hosts, `host` (any port) or `host:port`, that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// How long a connection may stay silent. A body must also bring 1 KiB per second of it on average.
    pub timeout: Duration,
    /// How often a transient failure is tried again, counted anew after each MiB of progress. A wait that the server
    /// asks for is waited, up to 5 minutes for one operation and an hour for all of a client.
    pub retries: u32,
    /// The first wait between tries; it doubles, up to 30 seconds.
    pub backoff: Duration,
    /// Hears of every retry.
    pub listener: Option<Listener>,
    /// The variables of the environment, by name: where credentials and certificates are, and which proxies to use.
    pub environment: fn(&str) -> Option<OsString>,
    /// Set to true by a signal handler: waits and transfers then end with [`Code::Interrupted`].
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

/// Is told in a sentence what is about to be done again, and why.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// A manifest asked for by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Whatever the tag names now.
    Tag(Tag),
    /// This and no other.
    Digest(Digest),
}

impl Wanted {
    /// What a reference asks for: its digest, else its tag; `None` if it has neither.
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

/// Talks to registries. A clone shares connections, tokens and everything else.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What all clones share.
struct Inner {
    options: Options,
    agents: exchange::Agents,
    reach: reach::Reach,
    credentials: credentials::Credentials,
    auth: auth::Memory,
    /// How much the registries that refuse large requests are sent with one.
    pieces: Mutex<HashMap<String, u64>>,
    /// Repositories whose list of referrers was refused, and why.
    unlisted: Mutex<HashMap<String, String>>,
    /// How long operations have waited because servers asked for it.
    waited: Mutex<Duration>,
}

impl Client {
    /// A client with these options, and the proxies and auth files of their environment.
    ///
    /// Errors: an auth file, CA file or proxy setting that cannot be used. Nothing is sent yet.
    pub fn new(options: Options) -> Result<Client> {
        let env = options.environment;
        let credentials = credentials::Credentials::load(options.auth_file.as_deref(), &env)?;
        let trust = Arc::new(tls::Trust::new(options.ca_file.as_deref())?.of_user(&env));
        let agents = exchange::Agents::new(&options, proxy::Proxies::from_env(&env)?, &trust);
        let reach = reach::Reach::new(&options.plain_http);
        let (auth, waited) = (auth::Memory::default(), Mutex::default());
        let (pieces, unlisted) = (Mutex::default(), Mutex::default());
        Ok(Client { inner: Arc::new(Inner { options, agents, reach, credentials, auth, pieces, unlisted, waited }) })
    }

    /// What the user should know beside errors, one lower-case sentence each.
    pub fn notices(&self) -> Vec<String> {
        let exposed = self.inner.credentials.exposed();
        exposed.map(|path| format!("the auth file `{}` can be read by other users", path.display())).collect()
    }

    /// What went wrong without being an error so far: credential helpers that gave no answer.
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
    /// What a request that only reads asks for. At a destination a token has to allow pushing from the first request
    /// on: a repository that comes into being by a push does not exist for a token that may only pull.
    pub(super) fn reading(&self, repository: &Repository) -> request::Scope {
        let push = self.options.side == Side::Destination;
        request::Scope { repository: repository.clone(), push, from: None }
    }

    /// `scheme://host/v2/PATH/` + `rest`.
    fn endpoint(&self, repository: &Repository, rest: &str) -> Result<url::Url> {
        let registry = repository.registry();
        let host = match registry {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        };
        let path = format!("/v2/{}/{rest}", repository.path());
        url::Url::new(!self.reach.is_plain(registry), host, &path)
            .map_err(|why| crate::Error::new(Code::Usage, format!("`{repository}` cannot be asked for: {why}")))
    }
}
