//! Logins for registries: where they are looked up, and which entry applies to a repository.
//!
//! Locations, in the search order of `podman` and `oc` (containers-auth.json(5), docker `config.json`): the file named
//! with `--authfile`, else the one in `REGISTRY_AUTH_FILE`, else `$XDG_RUNTIME_DIR/containers/auth.json`,
//! `/run/containers/UID/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json` (default `~/.config`),
//! `$DOCKER_CONFIG/config.json` (default `~/.docker`) and `~/.dockercfg`. A named file must exist; among the others,
//! the first with a matching entry wins. Inside a file the longest `host/namespace` key wins. If a credential helper is
//! missing or fails, this is recorded and the search continues: a public image needs no login. The same holds for a
//! file in one of the usual places that is damaged. A damaged entry is an error only where it is the one that applies and
//! its registry asks for a login. Secrets are wiped after use and never displayed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use zeroize::Zeroizing;

use super::helper;
use super::login::{Login, LoginKind, Secret, password};
use crate::error::{Code, Error, Result};
use crate::fs::small::{self, Unread};
use crate::oci::AsObject;

/// The largest accepted auth file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The auth files, read once.
#[derive(Debug)]
pub(super) struct Credentials {
    files: Vec<AuthFile>,
    /// Helpers that failed, and files that cannot be used, as text for the user.
    failed: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct AuthFile {
    path: PathBuf,
    exposed: bool,
    content: Content,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Content {
    /// A `null` entry counts as none.
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Slot>>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<Secret>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    identitytoken: Option<Secret>,
    #[serde(default)]
    registrytoken: Option<Secret>,
}

/// An entry; `None` if it is not what it should be. One that is damaged must not cost the others.
#[derive(Debug)]
struct Slot(Option<Entry>);

impl<'de> serde::Deserialize<'de> for Slot {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Slot, D::Error> {
        // Borrowed from the file's bytes, which are wiped.
        let raw = <&serde_json::value::RawValue>::deserialize(from)?;
        Ok(Slot(serde_json::from_str(raw.get()).ok().map(|AsObject(entry)| entry)))
    }
}

impl Credentials {
    /// Reads the auth files. `explicit` is the value of `--authfile`.
    ///
    /// Errors: a named file that cannot be read or is invalid. One of the usual places that is invalid is noted.
    pub(super) fn load(explicit: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Credentials> {
        if let Some(path) = explicit {
            return Ok(Credentials { files: vec![named(path, "--authfile")?], failed: Mutex::default() });
        }
        let var = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = var("REGISTRY_AUTH_FILE") {
            return Ok(Credentials { files: vec![named(&path, "REGISTRY_AUTH_FILE")?], failed: Mutex::default() });
        }
        let home = var("HOME");
        let below = |base: Option<PathBuf>, rest: &str| base.map(|base| base.join(rest));
        let config = var("XDG_CONFIG_HOME").or_else(|| below(home.clone(), ".config"));
        let docker = var("DOCKER_CONFIG").or_else(|| below(home.clone(), ".docker"));
        // The location `podman login` uses without `XDG_RUNTIME_DIR` (a root shell from sudo).
        let uid = rustix::process::getuid().as_raw();
        let places = [
            below(var("XDG_RUNTIME_DIR"), "containers/auth.json"),
            Some(PathBuf::from(format!("/run/containers/{uid}/auth.json"))),
            below(config, "containers/auth.json"),
            below(docker, "config.json"),
            below(home, ".dockercfg"),
        ];
        let mut out = Credentials { files: Vec::new(), failed: Mutex::default() };
        for path in places.into_iter().flatten() {
            match read(&path) {
                Ok(file) => out.files.extend(file),
                // Nobody named this file, and public images need none. Where a login is missing, this is said.
                Err(e) => out.note(&e),
            }
        }
        Ok(out)
    }

    /// The login for a repository: `host[:port]` and the path below it.
    pub(super) fn lookup(&self, registry: &str, path: &str) -> Result<Option<Login>> {
        for file in &self.files {
            if let Some(login) = file.lookup(registry, path, &|error| self.note(error))? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    fn note(&self, error: &Error) {
        let why = error.facts().first().map(|fact| format!(": {fact}")).unwrap_or_default();
        let text = format!("{}{why}; going on without it", error.message());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }

    /// The failures of helpers and files so far.
    pub(super) fn failures(&self) -> Vec<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Entries that cannot be used, as text for the user. They matter only where their registry asks for a login.
    pub(super) fn damage(&self) -> impl Iterator<Item = String> + '_ {
        let text = |error: Error| {
            let why = error.facts().first().map(|fact| format!(": {fact}")).unwrap_or_default();
            format!("{}{why}", error.message())
        };
        self.files.iter().flat_map(AuthFile::damage).map(text)
    }

    /// Files that users other than their owner can read.
    pub(super) fn exposed(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|file| file.exposed).map(|file| file.path.as_path())
    }
}

impl AuthFile {
    fn lookup(&self, registry: &str, path: &str, note: &dyn Fn(&Error)) -> Result<Option<Login>> {
        let host = canonical(registry);
        let ask = |name: &str| {
            self.ask(name, &host).unwrap_or_else(|error| {
                note(&error);
                None
            })
        };
        if let Some(name) =
            self.content.helpers.iter().flatten().find(|(key, _)| normal(key) == host).map(|(_, name)| name)
            && let Some(login) = ask(name)
        {
            return Ok(Some(login));
        }
        let mut key = if path.is_empty() { host.clone() } else { format!("{host}/{path}") };
        loop {
            let entries = self.content.auths.iter().flatten().filter(|(name, _)| normal(name) == key);
            for (name, slot) in entries.filter_map(|(name, slot)| Some((name, slot.as_ref()?))) {
                if let Some(kind) = slot.login().map_err(|why| self.damaged(name, why))? {
                    return Ok(Some(Login { kind, origin: format!("`{}`, entry `{key}`", self.path.display()) }));
                }
            }
            match key.rsplit_once('/') {
                Some((shorter, _)) => key = shorter.to_owned(),
                None => break,
            }
        }
        match &self.content.store {
            Some(name) if !name.is_empty() => Ok(ask(name)),
            _ => Ok(None),
        }
    }

    /// The entries that cannot be used, each with the reason.
    fn damage(&self) -> impl Iterator<Item = Error> + '_ {
        let slots = self.content.auths.iter().flatten().filter_map(|(name, slot)| Some((name, slot.as_ref()?)));
        slots.filter_map(|(name, slot)| slot.login().err().map(|why| self.damaged(name, why)))
    }

    fn damaged(&self, entry: &str, why: &str) -> Error {
        Error::new(Code::Io, format!("the entry `{entry}` in `{}` is damaged", self.path.display()))
            .fact(why)
            .hint(format!("podman login --authfile {} {entry}", self.path.display()))
    }

    fn ask(&self, name: &str, host: &str) -> Result<Option<Login>> {
        let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
        let kind = helper::get(name, server, helper::PATIENCE)
            .map_err(|e| e.fact(format!("`{}` says to ask it for `{host}`", self.path.display())))?;
        Ok(kind.map(|kind| Login { kind, origin: format!("docker-credential-{name}") }))
    }
}

impl Slot {
    /// The login in this entry; `docker` writes an empty one next to its `credsStore`.
    fn login(&self) -> std::result::Result<Option<LoginKind>, &'static str> {
        let entry = self.0.as_ref().ok_or("it is not an object with texts")?;
        let filled = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.reveal().is_empty());
        if let Some(token) = filled(&entry.registrytoken) {
            return Ok(Some(LoginKind::RegistryToken(token)));
        }
        if let Some(token) = filled(&entry.identitytoken) {
            return Ok(Some(LoginKind::IdentityToken(token)));
        }
        if let Some(auth) = filled(&entry.auth) {
            let bad = || "its `auth` is not the base64 of USER:PASSWORD";
            let engine = &base64::engine::general_purpose::STANDARD;
            // `base64` without `-w0` inserts line breaks; docker and podman ignore them.
            let unbroken: Zeroizing<String> =
                Zeroizing::new(auth.reveal().chars().filter(|c| !c.is_ascii_whitespace()).collect());
            let plain = Zeroizing::new(engine.decode(unbroken.as_bytes()).map_err(|_| bad())?);
            let text = std::str::from_utf8(&plain).map_err(|_| bad())?;
            let (user, secret) = text.split_once(':').ok_or_else(bad)?;
            return Ok(Some(password(user, secret.trim_end_matches('\0'))));
        }
        match (&entry.username, &entry.password) {
            (Some(user), Some(secret)) if !user.is_empty() => Ok(Some(password(user, secret.reveal()))),
            _ => Ok(None),
        }
    }
}

fn named(path: &Path, by: &str) -> Result<AuthFile> {
    read(path)?.ok_or_else(|| {
        Error::new(Code::Io, format!("the auth file `{}` does not exist", path.display()))
            .fact(format!("it is named by {by}"))
            .hint(format!("podman login --authfile {} HOST", path.display()))
    })
}

fn read(path: &Path) -> Result<Option<AuthFile>> {
    let file = match small::open_input(path) {
        Ok(file) => file,
        Err(Unread::System(e)) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // Users name `/dev/null`, or a link to it, to use no logins.
        Err(Unread::NotRegular) if path.canonicalize().is_ok_and(|path| path == Path::new("/dev/null")) => {
            return Ok(Some(AuthFile { path: path.to_owned(), exposed: false, content: Content::default() }));
        }
        Err(e) => return Err(e.error("cannot read the auth file", path, Code::Io)),
    };
    let meta = file.metadata().map_err(|e| Error::io("cannot read the auth file", path, e))?;
    // The length of a pipe is unknown.
    let room = if meta.is_file() { meta.len().min(MAX_FILE) } else { MAX_FILE };
    let room = usize::try_from(room + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = small::read_open(&file, MAX_FILE, &mut bytes);
    let wrong = |why: String| {
        Error::new(Code::Io, format!("`{}` is not an auth file", path.display()))
            .fact(why)
            .hint(format!("podman login --authfile {} HOST", path.display()))
    };
    read.map_err(|e| match e {
        Unread::TooLong(limit) => wrong(format!("it is larger than {limit} bytes")),
        e => e.error("cannot read the auth file", path, Code::Io),
    })?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(AuthFile { path: path.to_owned(), exposed: false, content: Content::default() }));
    }
    // serde's message could quote the file: report only the position.
    let place = |e: serde_json::Error| wrong(format!("bad JSON at line {}, column {}", e.line(), e.column()));
    let content = if path.file_name().is_some_and(|name| name == ".dockercfg") {
        Content { auths: Some(serde_json::from_slice(&bytes).map_err(place)?), ..Content::default() }
    } else {
        serde_json::from_slice(&bytes).map_err(place)?
    };
    let exposed = {
        use std::os::unix::fs::PermissionsExt;
        meta.permissions().mode() & 0o077 != 0
    };
    Ok(Some(AuthFile { path: path.to_owned(), exposed, content }))
}

/// The canonical form of a key in an auth file: `host[:port][/namespace]`. A key with a scheme is docker's and means
/// the host.
fn normal(key: &str) -> String {
    let key = key.trim().trim_end_matches('/');
    let lower = key.to_ascii_lowercase();
    if let Some(at) = lower.find("://") {
        let rest = &lower[at + 3..];
        return canonical(rest.split('/').next().unwrap_or(rest));
    }
    match key.split_once('/') {
        Some((host, "v1" | "v2")) => canonical(host),
        Some((host, rest)) => format!("{}/{rest}", canonical(host)),
        None => canonical(key),
    }
}

/// Docker Hub has several names.
fn canonical(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn b64(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    fn file(json: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        std::fs::write(&path, json).unwrap();
        (dir, path)
    }

    fn user(credentials: &Credentials, host: &str, path: &str) -> Option<String> {
        credentials.lookup(host, path).unwrap().map(|login| login.who())
    }

    #[test]
    fn the_longest_namespace_key_wins() {
        let json = format!(
            r#"{{"auths":{{"quay.io":{{"auth":"{}"}},"quay.io/a/b":{{"auth":"{}"}},"quay.io/a":{{"auth":"{}"}},
                "r.example:5000":{{"username":"dora","password":"p"}},"https://index.docker.io/v1/":{{"auth":"{}"}}}}}}"#,
            b64("host:1"),
            b64("deep:2"),
            b64("mid:3:with:colons"),
            b64("hub:4")
        );
        let json = json.replacen("{\"auths\":{", "{\"auths\":{\"quay.io/a/b/c\":null,", 1);
        let (_dir, path) = file(&json);
        let c = Credentials::load(Some(&path), &|_| None).unwrap();
        assert_eq!(user(&c, "quay.io", "a/b/c").unwrap(), "credentials for `deep`");
        assert_eq!(user(&c, "quay.io", "a/b").unwrap(), "credentials for `deep`");
        assert_eq!(user(&c, "quay.io", "a/bc").unwrap(), "credentials for `mid`");
        assert_eq!(user(&c, "quay.io", "ab").unwrap(), "credentials for `host`");
        assert_eq!(user(&c, "QUAY.io", "x").unwrap(), "credentials for `host`");
        assert_eq!(user(&c, "r.example:5000", "x").unwrap(), "credentials for `dora`");
        assert_eq!(user(&c, "docker.io", "library/x").unwrap(), "credentials for `hub`");
        for (host, path) in [("r.example", "x"), ("quay.io.evil.example", "a/b"), ("xquay.io", "a"), ("io", "")] {
            assert_eq!(user(&c, host, path), None, "{host}");
        }
    }

    #[test]
    fn a_named_file_that_is_missing_or_wrong_is_an_error() {
        let (dir, path) = file("{ not json: hunter2");
        let err = Credentials::load(Some(&path), &|_| None).unwrap_err();
        assert!(!format!("{err:?} {}", err.message()).contains("hunter2"));
        let gone = dir.path().join("gone.json");
        assert_eq!(Credentials::load(Some(&gone), &|_| None).unwrap_err().code(), Code::Io);
        let env = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| gone.clone().into_os_string());
        assert!(Credentials::load(None, &env).is_err());
        assert!(Credentials::load(Some(dir.path()), &|_| None).is_err(), "a directory");
    }

    #[test]
    fn the_default_places_are_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let place = |sub: &str, name: &str, json: String| {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
            std::fs::write(dir.path().join(sub).join(name), json).unwrap();
        };
        let auth = |host: &str, u: &str| format!(r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#, b64(&format!("{u}:p")));
        place("run/containers", "auth.json", auth("one.example", "run"));
        place("home/.config/containers", "auth.json", auth("one.example", "config"));
        place("home/.docker", "config.json", auth("two.example", "docker"));
        place("home", ".dockercfg", format!(r#"{{"three.example":{{"auth":"{}"}}}}"#, b64("old:p")));
        let env = |name: &str| match name {
            "HOME" => Some(dir.path().join("home").into_os_string()),
            "XDG_RUNTIME_DIR" => Some(dir.path().join("run").into_os_string()),
            _ => None,
        };
        let c = Credentials::load(None, &env).unwrap();
        assert_eq!(user(&c, "one.example", "x").unwrap(), "credentials for `run`");
        assert_eq!(user(&c, "two.example", "x").unwrap(), "credentials for `docker`");
        assert_eq!(user(&c, "three.example", "x").unwrap(), "credentials for `old`");
        assert_eq!(c.exposed().count(), 4, "files of mode 0644 are reported");
    }

    #[test]
    fn identity_tokens_are_distinguished_from_passwords() {
        let json = format!(
            r#"{{"auths":{{"a.example":{{"auth":"{}","identitytoken":"refresh"}},"b.example":{{"auth":"{}"}},"c.example":{{}}}}}}"#,
            b64("u:p"),
            b64("<token>:refresh")
        );
        let (_dir, path) = file(&json);
        let c = Credentials::load(Some(&path), &|_| None).unwrap();
        assert_eq!(user(&c, "a.example", "x").unwrap(), "the identity token");
        assert_eq!(user(&c, "b.example", "x").unwrap(), "the identity token");
        assert_eq!(user(&c, "c.example", "x"), None);
        assert!(!format!("{c:?}").contains("refresh"), "Debug shows no secret");
    }

    #[test]
    fn a_damaged_entry_is_an_error_and_not_an_anonymous_login() {
        for auth in ["!!!", &b64("no colon")] {
            let (_dir, path) = file(&format!(r#"{{"auths":{{"a.example":{{"auth":"{auth}"}}}}}}"#));
            let c = Credentials::load(Some(&path), &|_| None).unwrap();
            assert!(c.lookup("a.example", "x").is_err());
        }
    }

    #[test]
    fn a_damaged_entry_costs_no_other_entry_and_is_named() {
        let good = b64("u:p");
        for (damaged, why) in [
            (r#"{"auth":"!!!"}"#, "is not the base64 of USER:PASSWORD"),
            (r#"{"auth":17}"#, "it is not an object with texts"),
            (r#""u:p""#, "it is not an object with texts"),
            ("[]", "it is not an object with texts"),
        ] {
            let json = format!(
                r#"{{"auths":{{"a.example":{damaged},"b.example":{{"auth":"{good}"}},"c.example/x":{damaged}}}}}"#
            );
            let (_dir, path) = file(&json);
            let c = Credentials::load(Some(&path), &|_| None).unwrap();
            assert_eq!(user(&c, "b.example", "x").unwrap(), "credentials for `u`", "{damaged}");
            assert_eq!(user(&c, "d.example", "x"), None);
            assert_eq!(user(&c, "c.example", "y"), None, "the entry is for another part of the registry");
            assert!(c.lookup("a.example", "x").is_err() && c.lookup("c.example", "x/y").is_err(), "{damaged}");
            let named: Vec<String> = c.damage().collect();
            assert_eq!(named.len(), 2);
            let place = format!("the entry `a.example` in `{}` is damaged: ", path.display());
            assert!(named[0].starts_with(&place) && named[0].contains(why), "{named:?}");
        }
    }

    #[test]
    fn a_damaged_file_in_a_usual_place_is_noted_and_the_next_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for (sub, text) in [
            ("run/containers", "{ not json".to_owned()),
            ("home/.config/containers", format!(r#"{{"auths":{{"a.example":{{"auth":"{}"}}}}}}"#, b64("u:p"))),
        ] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
            std::fs::write(dir.path().join(sub).join("auth.json"), text).unwrap();
        }
        let env = |name: &str| match name {
            "HOME" => Some(dir.path().join("home").into_os_string()),
            "XDG_RUNTIME_DIR" => Some(dir.path().join("run").into_os_string()),
            _ => None,
        };
        let c = Credentials::load(None, &env).unwrap();
        assert_eq!(user(&c, "a.example", "x").unwrap(), "credentials for `u`");
        assert!(
            c.failures()[0].contains("run/containers/auth.json` is not an auth file: bad JSON at line 1"),
            "{:?}",
            c.failures()
        );
    }

    #[test]
    fn a_registry_token_comes_before_everything_else_in_its_entry() {
        let json = format!(
            r#"{{"auths":{{"a.example":{{"auth":"{0}","identitytoken":"i","registrytoken":"r"}},"b.example":{{"auth":"{0}","registrytoken":""}}}}}}"#,
            b64("u:p")
        );
        let (_dir, path) = file(&json);
        let c = Credentials::load(Some(&path), &|_| None).unwrap();
        assert_eq!(user(&c, "a.example", "x").unwrap(), "the registry token");
        assert_eq!(user(&c, "b.example", "x").unwrap(), "credentials for `u`");
    }

    #[test]
    fn base64_with_line_ends_is_read() {
        let whole = b64("someone:with a long password");
        for end in ["\\n", "\\r\\n"] {
            let broken = format!("{}{end}{}{end}", &whole[..4], &whole[4..]);
            let (_dir, path) = file(&format!(r#"{{"auths":{{"a.example":{{"auth":"{broken}"}}}}}}"#));
            let c = Credentials::load(Some(&path), &|_| None).unwrap();
            assert_eq!(user(&c, "a.example", "x").unwrap(), "credentials for `someone`");
        }
    }

    #[test]
    fn a_missing_helper_is_noted_once_and_blocks_nothing() {
        let json = format!(
            r#"{{"credsStore":"mirror-bundle-absent","credHelpers":{{"b.example":"mirror-bundle-absent"}},
                "auths":{{"b.example":{{"auth":"{}"}}}}}}"#,
            b64("bob:p")
        );
        let (_dir, path) = file(&json);
        let c = Credentials::load(Some(&path), &|_| None).unwrap();
        assert_eq!(user(&c, "a.example", "x"), None);
        assert_eq!(user(&c, "a.example", "y"), None);
        let noted = c.failures();
        assert!(noted.len() == 1 && noted[0].contains("docker-credential-mirror-bundle-absent"), "{noted:?}");
        assert_eq!(user(&c, "b.example", "x").unwrap(), "credentials for `bob`");
        assert_eq!(c.failures().len(), 2);
    }
}
