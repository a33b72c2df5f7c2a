//! A real `docker-registry` (distribution 2.8) on a free loopback port, with its data in a temporary directory.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user of [`Setup::basic_auth`].
pub const USER: &str = "alice";
/// The password of [`USER`].
pub const PASSWORD: &str = "wonderland";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "alice:$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW\n";

/// The setup of the registry.
#[derive(Default)]
pub struct Setup {
    /// Requires [`USER`] and [`PASSWORD`].
    pub basic_auth: bool,
    /// Serves TLS with this certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Requires a client certificate issued by this one; only with `tls`.
    pub client_ca: Option<PathBuf>,
    /// Requires tokens: realm, service (also the issuer), certificate of the signing key.
    pub token: Option<(String, String, PathBuf)>,
    /// Serves the content of this folder of the storage driver, and keeps it.
    pub storage: Option<PathBuf>,
}

/// A running registry; killed when dropped.
pub struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Registry {
    pub fn start() -> Registry {
        Registry::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Registry {
        // Another test may take the free port before it is used: then retry once.
        for _ in 0..5 {
            if let Some(registry) = Registry::try_start(setup) {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(setup: &Setup) -> Option<Registry> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = dir.path().join("config.yml");
        std::fs::write(&config, configuration(setup, dir.path(), port)).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("GOGC", "400")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .expect("docker-registry is installed");
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Registry { child, dir, port });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of the storage driver.
    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The registry's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(setup: &Setup, dir: &Path, port: u16) -> String {
    let mut out = String::from("version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n");
    let _ = write!(
        out,
        "storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n  maintenance:\n    uploadpurging:\n      enabled: false\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: test\n",
        setup.storage.clone().unwrap_or_else(|| dir.join("data")).display()
    );
    if let Some((certificate, key)) = &setup.tls {
        let _ = write!(out, "  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        if let Some(ca) = &setup.client_ca {
            let _ = write!(out, "    clientcas:\n      - {}\n", ca.display());
        }
    }
    if setup.basic_auth {
        let path = dir.join("htpasswd");
        std::fs::write(&path, HTPASSWD).unwrap();
        let _ = write!(out, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display());
    }
    if let Some((realm, service, certificate)) = &setup.token {
        let _ = write!(
            out,
            "auth:\n  token:\n    realm: {realm}\n    service: {service}\n    issuer: {service}\n    rootcertbundle: {}\n",
            certificate.display()
        );
    }
    out
}

/// A loopback port without a listener.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An auth file with one login; the caller keeps the directory.
pub fn auth_file(host: &str, user: &str, password: &str) -> (tempfile::TempDir, PathBuf) {
    use base64::Engine;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    std::fs::write(&path, format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
    (dir, path)
}

/// A self-signed certificate (`CA:TRUE`, as `openssl req -x509` makes it) and its key, for this subject alternative
/// name (`IP:127.0.0.1`, `DNS:localhost`).
pub fn self_signed(dir: &Path, alt_name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={alt_name}"), "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}
