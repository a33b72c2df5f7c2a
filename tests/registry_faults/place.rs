//! One storage with two registries: one requires tokens, the other is open and shows the real content. Each worker has
//! its own proxies in front; the one for the open registry requires a password.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine;
use serde_json::json;

use crate::run::{Ran, Run};
use crate::support::image::{Image, Pusher, layer};
use crate::support::noise;
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::token::{Policy, SERVICE, Tokens};

/// Who the token server knows; another than the registry with the password does.
pub const TOKEN_LOGIN: (&str, &str) = ("bob", "looking-glass");

/// Content of the large layer before compression: more than a MiB after it.
const LARGE: usize = 1_060_000;

/// The registries and what is in them.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub open: Registry,
    pub token: Registry,
    pub tokens: Tokens,
    /// `src/app:v1`, with a cosign signature.
    pub app: Image,
    /// `src/other:v1`, which shares a layer, with a referrer.
    pub other: Image,
}

impl Place {
    pub fn new() -> Place {
        // In memory, where that is to be had: a registry syncs every blob.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
            .arg(dir.path().join("key"))
            .status()
            .expect("ssh-keygen is installed");
        assert!(made.success());
        let storage = Some(dir.path().join("data"));
        let open = Registry::with(&Setup { storage: storage.clone(), ..Setup::default() });
        let tokens = Tokens::start(Policy { anonymous_pull: false, login: TOKEN_LOGIN, ..Policy::default() });
        let token = (tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone());
        let token = Registry::with(&Setup { token: Some(token), storage, ..Setup::default() });

        let large = layer(&[("large", &noise(LARGE, 1))]);
        let small = layer(&[("small", &noise(3000, 2))]);
        let app = Image::list(vec![
            Image::oci("amd64", &[large, small.clone()]),
            Image::oci("arm64", std::slice::from_ref(&small)),
        ]);
        let other = Image::oci("amd64", &[small]);
        let pusher = Pusher::new(&open.host());
        pusher.push("src/app", &app, Some("v1"));
        pusher.push("src/app", &Image::cosign(&app, "quay.example/src/app:v1"), Some(&app.sig_tag()));
        pusher.push("src/other", &other, Some("v1"));
        pusher.refer("src/other", &other, &Image::referrer(&other));
        let place = Place { dir, open, token, tokens, app, other };

        // The bundle that is pushed comes straight from the open registry.
        let host = place.open.host();
        let made = place.create("b.tar", &host).args(&["--authfile", "/dev/null"]).go();
        assert_eq!(made.code, 0, "{}", made.err);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `create` of both images from this host.
    pub fn create(&self, bundle: &str, host: &str) -> Run {
        let run = Run::new(self.dir.path(), "create").args(&[bundle, "--sign-key", "key", "--name", "lab"]);
        let run = run.args(&["--sequence", "1", "--image", &format!("{host}/src/app:v1")]);
        run.args(&["--image", &format!("{host}/src/other:v1"), "--plain-http", "127.0.0.1"])
    }

    /// `unpack` of the bundle to this repository.
    pub fn unpack(&self, to: &str) -> Run {
        let run = Run::new(self.dir.path(), "unpack").args(&["b.tar", "--signer", "key.pub", "--mirror-set", "none"]);
        run.args(&["--to", to, "--plain-http", "127.0.0.1"])
    }

    pub fn verify(&self, bundle: &str) -> Run {
        Run::new(self.dir.path(), "verify").args(&[bundle, "--signer", "key.pub"])
    }

    /// The large layer.
    pub fn large(&self) -> &crate::support::image::Blob {
        &self.app.children[0].blobs[1]
    }
}

fn encode((user, password): (&str, &str)) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// The challenge of a registry that requires tokens of this host.
pub fn challenge(realm: &str) -> String {
    format!("Bearer realm=\"http://{realm}/token\",service=\"{SERVICE}\"")
}

/// One line of work: its own proxies, so that what it counts is its own.
pub struct Worker<'p> {
    pub place: &'p Place,
    pub password: Proxy,
    pub token: Proxy,
    /// Before the token server.
    pub realm: Proxy,
    /// Another host, which may be contacted.
    pub elsewhere: Proxy,
    /// A host that must not be contacted.
    pub forbidden: Proxy,
    references: [OnceLock<Vec<u8>>; 2],
    auth: PathBuf,
}

impl<'p> Worker<'p> {
    pub fn new(place: &'p Place) -> Worker<'p> {
        let password = Proxy::start(Some(place.open.port));
        password.require_authorization(format!("Basic {}", encode((USER, PASSWORD))));
        let token = Proxy::start(Some(place.token.port));
        let realm = Proxy::start(Some(place.tokens.port));
        token.otherwise(Fault::Header("WWW-Authenticate".to_owned(), challenge(&realm.host())));
        let auth = place.path(&format!("auth-{}.json", password.port));
        let logins = json!({ "auths": {
            password.host(): { "auth": encode((USER, PASSWORD)) },
            token.host(): { "auth": encode(TOKEN_LOGIN) },
        }});
        fs::write(&auth, logins.to_string()).unwrap();
        Worker {
            place,
            password,
            token,
            realm,
            elsewhere: Proxy::start(None),
            forbidden: Proxy::start_on("127.0.0.2", None),
            references: Default::default(),
            auth,
        }
    }

    /// The host that may be spoken to, by another name than the registry's.
    pub fn elsewhere_host(&self) -> String {
        format!("localhost:{}", self.elsewhere.port)
    }

    /// The host that may not.
    pub fn forbidden_host(&self) -> String {
        format!("127.0.0.2:{}", self.forbidden.port)
    }

    pub fn proxy(&self, token: bool) -> &Proxy {
        if token { &self.token } else { &self.password }
    }

    /// The bundle as a run without faults makes it through this proxy.
    pub fn reference(&self, token: bool) -> &[u8] {
        self.references[usize::from(token)].get_or_init(|| {
            let name = format!("reference-{}.tar", self.proxy(token).port);
            let made = self.finish(self.place.create(&name, &self.proxy(token).host()));
            assert_eq!(made.code, 0, "{}", made.err);
            fs::read(self.place.path(&name)).unwrap()
        })
    }

    /// Runs it with the worker's logins.
    pub fn finish(&self, run: Run) -> Ran {
        let ran = run.args(&["--authfile", self.auth.to_str().unwrap(), "--plain-http", &self.elsewhere_host()]).go();
        for (user, password) in [(USER, PASSWORD), TOKEN_LOGIN] {
            let encoded = encode((user, password));
            for secret in [password, &encoded] {
                assert!(!ran.err.contains(secret) && !ran.out.contains(secret), "a secret shows: {ran:?}");
            }
        }
        ran
    }

    /// Logins went only to their owners: the password to the registry that requires it, tokens to the other, and
    /// nothing to other hosts except the registry's own login to its realm.
    #[track_caller]
    pub fn logins_are_at_home(&self) {
        let shown = |proxy: &Proxy, fits: &dyn Fn(&str) -> bool| {
            proxy.seen().iter().filter_map(|s| s.header("authorization")).all(fits)
        };
        assert!(shown(&self.password, &|value| value == format!("Basic {}", encode((USER, PASSWORD)))));
        assert!(shown(&self.realm, &|value| value == format!("Basic {}", encode(TOKEN_LOGIN))));
        // A registry may ask for the login that is listed for it in another way.
        let own = format!("Basic {}", encode(TOKEN_LOGIN));
        assert!(shown(&self.token, &|value| value.starts_with("Bearer ey") || value == own));
        let stray = |s: &crate::support::proxy::Seen| {
            s.header("authorization").is_some_and(|value| value != own || !s.target.starts_with("/token?"))
        };
        assert!(!self.elsewhere.seen().iter().any(stray), "{:?}", self.elsewhere.seen());
        assert!(!self.forbidden.saw_authorization());
        assert!(self.forbidden.seen().is_empty(), "{:?}", self.forbidden.seen());
    }
}
