//! The connection: one request at a time, with a bounded answer, ended promptly by a stop request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;
use super::{About, Options, config, words};
use crate::error::{Code, Error, Result};

/// The largest answer, in bytes. An object has at most 3 MiB; the list of a group's kinds has far less.
const ANSWER: usize = 16 << 20;
/// How long a request waits before it looks whether a stop was requested.
const SLICE: Duration = Duration::from_millis(100);
/// The pauses before another try, when a server, or what is in front of it, is overloaded or restarts.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The form of server-side apply. JSON is YAML; servers before 1.36 know no other name for it.
const APPLY: &str = "application/apply-patch+yaml";

/// A connection to an API server.
pub struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    about: About,
    route: Route,
    stop: Arc<AtomicBool>,
    pub(super) kinds: RefCell<BTreeMap<String, Vec<Kind>>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("about", &self.about).finish_non_exhaustive()
    }
}

/// What takes part in reaching the server, for messages.
#[derive(Clone, Debug, Default)]
struct Route {
    /// The program that gives the credentials.
    plugin: Option<String>,
    /// Host and port of the proxy.
    proxy: Option<String>,
    /// A file of the credentials that cannot be read.
    missing: Option<String>,
}

impl Route {
    fn with_missing(&self, error: Error) -> Error {
        self.missing.iter().fold(error, |error, path| error.fact(format!("`{path}` cannot be read")))
    }
}

/// Why there is no good answer to a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused it.
    Refused(Box<Refusal>),
    /// There is no answer: unreachable, not logged in, interrupted.
    Lost(Error),
}

impl Cluster {
    /// Connects, and asks the server for its version and for who we are.
    ///
    /// # Errors
    /// [`Code::Usage`] for a kubeconfig that cannot be used, [`Code::Auth`] if the server does not accept its
    /// credentials, [`Code::Destination`] if it does not answer.
    pub fn connect(options: &Options) -> Result<Cluster> {
        let internal = |e: io::Error| Error::new(Code::Internal, format!("no runtime for the cluster's client: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        let (mut config, context) = runtime.block_on(config::load(options))?;
        config.connect_timeout = Some(options.timeout);
        config.read_timeout = Some(options.timeout);
        config.write_timeout = Some(options.timeout);
        config.reset_reader_on_write = true;
        // Ours are few, and end when a stop is requested.
        config.default_retry = false;
        let proxy = config.proxy_url.as_ref().and_then(http::Uri::authority);
        let login = &config.auth_info;
        let files = [&login.client_certificate, &login.client_key, &login.token_file];
        let route = Route {
            missing: files.into_iter().flatten().find(|path| std::fs::File::open(path).is_err()).cloned(),
            plugin: config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone()),
            // Without the login before the `@`.
            proxy: proxy.map(|at| at.as_str().rsplit('@').next().unwrap_or_default().to_owned()),
        };
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        // Another part of the program may have chosen it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = {
            let _context = runtime.enter();
            kube::Client::try_from(config).map_err(|e| unusable(&server, &route, &e))?
        };
        let about = About { server, context, version: String::new(), user: None };
        let stop = Arc::clone(&options.stop);
        let mut cluster = Cluster { runtime, client, about, route, stop, kinds: RefCell::default() };
        let version = cluster.get("/version").map_err(|e| cluster.fatal(e))?;
        let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or("of unknown version");
        cluster.about.version = version.chars().take(60).collect();
        cluster.about.user = cluster.user()?;
        Ok(cluster)
    }

    /// The cluster, and who we are there.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The user as the server knows it. `None` if the server does not report it.
    fn user(&self) -> Result<Option<String>> {
        const REVIEW: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        match self.send(Method::POST, path, "application/json", REVIEW.into()) {
            Ok(review) => Ok(review.pointer("/status/userInfo/username").and_then(Value::as_str).map(str::to_owned)),
            Err(Failure::Refused(refusal)) if refusal.message.contains("\"system:anonymous\"") => {
                Err(self.not_logged_in().fact(refusal.message.clone()))
            }
            // Before Kubernetes 1.28 (OpenShift 4.15).
            Err(Failure::Refused(refusal)) if refusal.code == 404 => {
                match self.get("/apis/user.openshift.io/v1/users/~") {
                    Ok(user) => Ok(user.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned)),
                    Err(Failure::Refused(_)) => Ok(None),
                    Err(Failure::Lost(e)) => Err(e),
                }
            }
            Err(Failure::Refused(_)) => Ok(None),
            Err(Failure::Lost(e)) => Err(e),
        }
    }

    fn not_logged_in(&self) -> Error {
        Error::new(Code::Auth, format!("the cluster `{}` does not accept these credentials", self.about.server))
            .hint(format!("log in again: oc login {}", self.about.server))
    }

    /// The error of a request without which nothing can be done.
    pub(super) fn fatal(&self, failure: Failure) -> Error {
        match failure {
            Failure::Lost(e) => e,
            Failure::Refused(refusal) => {
                let text = format!("the cluster `{}` refused a request: {}", self.about.server, refusal.words());
                Error::new(if refusal.code == 403 { Code::Auth } else { Code::Destination }, text)
            }
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, "application/json", Vec::new())
    }

    /// Server-side apply; `query` with `force` and `dryRun` as needed.
    pub(super) fn patch(&self, path: &str, query: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let path = format!("{path}?fieldManager={}&fieldValidation=Strict{query}", super::MANAGER);
        self.send(Method::PATCH, &path, APPLY, body)
    }

    fn send(&self, method: Method, path: &str, form: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let mut pauses = PAUSES.iter();
        loop {
            let (status, bytes) = self.once(&method, path, form, body.clone())?;
            if matches!(status.as_u16(), 429 | 502..=504)
                && let Some(pause) = pauses.next()
            {
                // Every request here can be repeated: server-side apply twice is once.
                self.pause(*pause).map_err(Failure::Lost)?;
                continue;
            }
            if status.as_u16() == 401 {
                return Err(Failure::Lost(self.not_logged_in()));
            }
            if !status.is_success() {
                return Err(Failure::Refused(Box::new(Refusal::read(status.as_u16(), &bytes))));
            }
            return serde_json::from_slice(&bytes).map_err(|_| {
                let text = format!("`{}` did not answer as a Kubernetes API server does", self.about.server);
                Failure::Lost(Error::new(Code::Destination, text))
            });
        }
    }

    /// Status and body of one answer.
    fn once(&self, method: &Method, path: &str, form: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, form)
            .body(Body::from(body))
            .map_err(|e| Failure::Lost(Error::new(Code::Internal, format!("no request for `{path}`: {e}"))))?;
        let lost = |e: &(dyn StdError + 'static)| Failure::Lost(unreachable(&self.about.server, &self.route, e));
        self.wait(async {
            let response = self.client.send(request).await.map_err(|e| lost(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER).collect().await.map_err(|e| lost(&*e))?;
            Ok((status, body.to_bytes().to_vec()))
        })
    }

    /// Waits for `work`, until a stop is requested.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut work = Box::pin(work);
        loop {
            self.check().map_err(Failure::Lost)?;
            let slice = self.runtime.block_on(async { tokio::time::timeout(SLICE, &mut work).await });
            if let Ok(done) = slice {
                return done;
            }
        }
    }

    /// Returns an error if a stop was requested.
    pub(super) fn check(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::new(Code::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    /// Waits so long, or until a stop is requested.
    pub(super) fn pause(&self, long: Duration) -> Result<()> {
        let wait = async {
            tokio::time::sleep(long).await;
            Ok(())
        };
        self.wait(wait).map_err(|failure| self.fatal(failure))
    }
}

/// The error of a kubeconfig from which no client can be made.
fn unusable(server: &str, route: &Route, err: &kube::Error) -> Error {
    if let Some(auth) = credentials(err) {
        return no_credentials(server, route, auth);
    }
    let text = format!("the kubeconfig cannot be used for the cluster `{server}`: {}", words::of(err));
    let error = Error::new(Code::Usage, text);
    route.with_missing(error)
}

/// The error of a request without an answer.
fn unreachable(server: &str, route: &Route, err: &(dyn StdError + 'static)) -> Error {
    if let Some(auth) = credentials(err) {
        return no_credentials(server, route, auth);
    }
    let text = format!("the cluster `{server}` cannot be reached: {}", words::of(err));
    let error = Error::new(Code::Destination, text).transient();
    let error = match &route.proxy {
        Some(proxy) => error.fact(format!("by way of the proxy `{proxy}`")),
        None => error,
    };
    error.hint(format!(
        "see whether it answers: oc --server {server} version; \
         --kubeconfig and --context choose another cluster"
    ))
}

/// The error of the credentials among the causes of an error.
fn credentials<'e>(err: &'e (dyn StdError + 'static)) -> Option<&'e kube::client::AuthError> {
    let mut cause = Some(err);
    // A cause that has itself as its cause must not hold the program.
    for _ in 0..16 {
        if let Some(auth) = cause?.downcast_ref() {
            return Some(auth);
        }
        cause = words::inner(cause?);
    }
    None
}

fn no_credentials(server: &str, route: &Route, err: &kube::client::AuthError) -> Error {
    let plugin = route.plugin.as_deref().unwrap_or_default();
    use kube::client::AuthError;
    let error = |why: String| Error::new(Code::Auth, format!("no credentials for the cluster `{server}`: {why}"));
    let error = match err {
        AuthError::AuthExecStart(io) => {
            error(format!("the credential plugin `{plugin}` cannot be run: {}", words::of(io)))
        }
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let error = error(format!("the credential plugin `{plugin}` failed ({})", out.status));
            said.lines().take(5).fold(error, |error, line| error.fact(line.chars().take(300).collect::<String>()))
        }
        other => route.with_missing(error(words::of(other))),
    };
    error.hint(format!("log in again: oc login {server}"))
}
