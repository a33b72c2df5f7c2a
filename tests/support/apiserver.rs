//! A real kube-apiserver with etcd on free loopback ports: RBAC, the CRDs of `testdata/crds`, the namespaces of
//! OpenShift that we write to, and nothing else of a cluster: no controllers, no nodes. A deleted namespace stays
//! `Terminating`.
//!
//! `tests/kube-apiserver/programs` makes the two programs. A watchdog stops both and removes their data when the test
//! process ends, however it ends.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::registry::free_port;
use super::skip::{have, skip};

/// Starts both programs, and stops them when standard input ends. Arguments: DIR ETCD KUBE-APISERVER PORT, and two
/// ports for etcd.
const WATCHDOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/apiserver/watchdog.sh");

/// Creates the certificates: server, and a client for each of the users of [`Who`].
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/apiserver/certificates.sh");

/// The namespaces that a bare server lacks.
pub const NAMESPACES: [&str; 3] = ["openshift-config", "openshift-config-managed", "openshift-update-service"];

/// How many users without rights of their own there are; [`Server::grant`] gives them some.
pub const SPARE_USERS: usize = 64;

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// May do everything.
    Admin,
    /// May read everything, and write nothing.
    Reader,
    /// May do nothing.
    Nobody,
    /// May do what [`Server::grant`] gives it; from [`Server::spare`].
    Spare(usize),
}

impl Who {
    /// The name that the server knows it by.
    pub fn name(self) -> String {
        match self {
            Who::Admin => "admin".to_owned(),
            Who::Reader => "reader".to_owned(),
            Who::Nobody => "nobody".to_owned(),
            Who::Spare(n) => format!("spare-{n}"),
        }
    }

    pub fn token(self) -> String {
        format!("{}-token", self.name())
    }
}

/// How a user logs in. (A spare user has no certificate.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Token,
    Certificate,
    Exec,
}

/// A running server.
pub struct Server {
    watchdog: Child,
    /// Everything on disk is below.
    pub dir: PathBuf,
    pub port: u16,
    next: AtomicUsize,
}

impl Server {
    /// The server that the tests of this process share: each uses names of its own. None where there are no programs;
    /// that is reported.
    pub fn shared() -> Option<&'static Server> {
        static SHARED: OnceLock<Server> = OnceLock::new();
        programs()?;
        Some(SHARED.get_or_init(|| Server::must_start(true)))
    }

    /// A server of one test's own, which stops when it is dropped.
    pub fn start() -> Option<Server> {
        programs()?;
        Some(Server::must_start(true))
    }

    /// The same without custom kinds and without the namespaces of OpenShift.
    pub fn bare() -> Option<Server> {
        programs()?;
        Some(Server::must_start(false))
    }

    fn must_start(openshift: bool) -> Server {
        let programs = programs().unwrap();
        let mut why = String::new();
        // Another test may take a free port before it is used.
        for _ in 0..5 {
            match Server::try_start(programs) {
                Ok(server) => {
                    server.furnish(openshift);
                    return server;
                }
                Err(e) => why = e,
            }
        }
        panic!("kube-apiserver does not start: {why}");
    }

    fn try_start(programs: &Path) -> Result<Server, String> {
        let dir = tempfile::Builder::new().prefix("mirror-bundle-apiserver-").tempdir().unwrap().keep();
        let made = Command::new("sh").arg(CERTIFICATES).current_dir(&dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut tokens = "admin-token,admin,1,system:masters\n".to_owned();
        for who in [Who::Reader, Who::Nobody].into_iter().chain((0..SPARE_USERS).map(Who::Spare)) {
            tokens += &format!("{},{1},{1}\n", who.token(), who.name());
        }
        fs::write(dir.join("tokens.csv"), tokens).unwrap();
        let port = free_port();
        let watchdog = Command::new("sh")
            .arg(WATCHDOG)
            .args([&dir, &programs.join("etcd"), &programs.join("kube-apiserver")])
            .args([port, free_port(), free_port()].map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the test, and ends the server by way of it.
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Server { watchdog, dir, port, next: AtomicUsize::new(0) };
        let end = Instant::now() + Duration::from_secs(120);
        while server.request("GET", "/readyz", None).0 != 200 {
            if server.dir.join("ended").exists() || Instant::now() > end {
                let log = |name: &str| {
                    let text = fs::read_to_string(server.dir.join(name)).unwrap_or_default();
                    text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
                };
                return Err(format!("{} | {}", log("etcd.log"), log("kube-apiserver.log")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The reader's rights; custom kinds and namespaces.
    fn furnish(&self, openshift: bool) {
        let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"] }]);
        self.grant(Who::Reader, None, &rules);
        if !openshift {
            return;
        }
        for name in NAMESPACES {
            self.create_namespace(name);
        }
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/crds");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let mut names = Vec::new();
        for entry in fs::read_dir(crds).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let (status, answer) = self.send("POST", path, "application/yaml", text.as_bytes(), Who::Admin);
            assert_eq!(status, 201, "{answer}");
            names.push(answer["metadata"]["name"].as_str().unwrap().to_owned());
        }
        let end = Instant::now() + Duration::from_secs(60);
        for name in names {
            while !self.established(&name) {
                assert!(Instant::now() < end, "{name} is not established");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Whether the server serves the kind of this CustomResourceDefinition.
    pub fn established(&self, crd: &str) -> bool {
        let crd = self.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"));
        let conditions = crd["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Established" && c["status"] == "True"))
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A kubeconfig of this user for this server.
    pub fn kubeconfig(&self, who: Who, how: How) -> PathBuf {
        self.kubeconfig_of(&self.credentials(who, how), &self.url(), &self.dir.join("ca.crt"))
    }

    /// A kubeconfig of the administrator for a server where nobody listens.
    pub fn kubeconfig_dead(&self) -> PathBuf {
        let url = format!("https://127.0.0.1:{}", free_port());
        self.kubeconfig_of(&self.credentials(Who::Admin, How::Token), &url, &self.dir.join("ca.crt"))
    }

    /// A kubeconfig of the administrator with the certificate of another authority.
    pub fn kubeconfig_wrong_ca(&self) -> PathBuf {
        let ca = self.dir.join("other-ca.crt");
        self.kubeconfig_of(&self.credentials(Who::Admin, How::Token), &self.url(), &ca)
    }

    /// A kubeconfig with a token that the server does not know.
    pub fn kubeconfig_wrong_token(&self) -> PathBuf {
        self.kubeconfig_of(&json!({ "token": "no-such-token" }), &self.url(), &self.dir.join("ca.crt"))
    }

    /// A kubeconfig of the administrator for another address of this server, such as a proxy.
    pub fn kubeconfig_at(&self, url: &str) -> PathBuf {
        self.kubeconfig_of(&self.credentials(Who::Admin, How::Token), url, &self.dir.join("ca.crt"))
    }

    fn credentials(&self, who: Who, how: How) -> Value {
        let name = who.name();
        match how {
            How::Token => json!({ "token": who.token() }),
            How::Certificate => json!({
                "client-certificate": self.dir.join(format!("{name}.crt")),
                "client-key": self.dir.join(format!("{name}.key")),
            }),
            How::Exec => {
                let credential = json!({
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "kind": "ExecCredential",
                    "status": { "token": who.token() },
                });
                json!({ "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "echo",
                    "args": [credential.to_string()],
                    "interactiveMode": "Never",
                } })
            }
        }
    }

    /// A kubeconfig with these fields of a user.
    pub fn kubeconfig_of(&self, user: &Value, url: &str, ca: &Path) -> PathBuf {
        let mut cluster = json!({ "server": url });
        if url.starts_with("https:") {
            cluster["certificate-authority"] = json!(ca);
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "user", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "user" } }],
            "current-context": "test",
        });
        let path = self.dir.join(format!("kubeconfig-{}", self.next()));
        fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A user without rights that no other test has.
    pub fn spare(&self) -> Who {
        static USED: AtomicUsize = AtomicUsize::new(0);
        let n = USED.fetch_add(1, Ordering::Relaxed);
        assert!(n < SPARE_USERS, "SPARE_USERS is too small");
        Who::Spare(n)
    }

    /// Gives a user these rules, in one namespace or everywhere.
    pub fn grant(&self, who: Who, namespace: Option<&str>, rules: &Value) {
        let name = format!("test-{}-{}", who.name(), self.next());
        let (place, kind) = match namespace {
            Some(namespace) => (format!("/namespaces/{namespace}"), ""),
            None => (String::new(), "Cluster"),
        };
        let (role, binding) = (format!("{kind}Role"), format!("{kind}RoleBinding"));
        let group = "rbac.authorization.k8s.io";
        let path = |kind: &str| format!("/apis/{group}/v1{place}/{}s", kind.to_lowercase());
        self.create(&path(&role), &json!({ "metadata": { "name": name }, "rules": rules }));
        let body = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": group, "kind": role, "name": name },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": who.name() }],
        });
        self.create(&path(&binding), &body);
    }

    /// A new namespace of this test's own.
    pub fn namespace(&self) -> String {
        let name = format!("test-{}", self.next());
        self.create_namespace(&name);
        name
    }

    pub fn create_namespace(&self, name: &str) {
        self.create("/api/v1/namespaces", &json!({ "metadata": { "name": name } }));
    }

    /// Creates an object in a collection, as the administrator.
    pub fn create(&self, collection: &str, object: &Value) -> Value {
        let (status, answer) = self.request("POST", collection, Some(object));
        assert_eq!(status, 201, "{collection}: {answer}");
        answer
    }

    /// The object at a path, which exists.
    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.request("GET", path, None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A request of the administrator: status (0 without an answer) and answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, path, "application/json", body.as_bytes(), Who::Admin)
    }

    /// A request with a body of this media type, by a user's token.
    pub fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8], who: Who) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-m", "60", "-X", method, "-w", "\n%{http_code}", "--cacert"]);
        curl.arg(self.dir.join("ca.crt")).args(["-H", &format!("Authorization: Bearer {}", who.token())]);
        if !body.is_empty() {
            curl.args(["-H", &format!("Content-Type: {media_type}"), "-H", "Expect:", "--data-binary", "@-"]);
        }
        let out = fed(curl.arg(format!("{}{path}", self.url())), body);
        let text = String::from_utf8_lossy(&out.stdout);
        let (answer, status) = text.rsplit_once('\n').unwrap_or_default();
        let answer = serde_json::from_str(answer).unwrap_or_else(|_| Value::String(answer.to_owned()));
        (status.parse().unwrap_or(0), answer)
    }

    /// The real kubectl, as this user.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, who: Who, args: &[S], input: &[u8]) -> Output {
        self.kubectl_by(&self.kubeconfig(who, How::Token), args, input)
    }

    /// The real kubectl, with this kubeconfig.
    pub fn kubectl_by<S: AsRef<std::ffi::OsStr>>(&self, config: &Path, args: &[S], input: &[u8]) -> Output {
        let mut kubectl = Command::new("kubectl");
        super::program::clean(&mut kubectl, &self.dir);
        // Its home has its memory of what kinds there are.
        kubectl.env("HOME", self.dir.join("kubectl")).arg("--kubeconfig").arg(config).args(args);
        fed(&mut kubectl, input)
    }

    /// The process id of kube-apiserver.
    pub fn pid(&self) -> u32 {
        self.pids()[1]
    }

    /// The process ids of etcd and kube-apiserver.
    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.dir.join("pids")).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Runs a command with this standard input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is installed");
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

/// The folder of kube-apiserver and etcd. Without it, one line for the whole binary reports why its tests do not run.
#[track_caller]
pub fn programs() -> Option<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static REPORTED: Once = Once::new();
    match FOUND.get_or_init(find) {
        Ok(folder) => (have("openssl") && have("curl")).then_some(folder),
        Err(why) => {
            let why = format!("this and every other test with a real API server: {why}");
            if std::env::var_os("MIRROR_BUNDLE_TESTS").is_some_and(|value| value == "complete") {
                skip(&why);
            }
            REPORTED.call_once(|| skip(&why));
            None
        }
    }
}

fn find() -> Result<PathBuf, String> {
    let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(why) = env("MIRROR_BUNDLE_NO_APISERVER") {
        return Err(why.to_string_lossy().into_owned());
    }
    let folder = env("KUBEBUILDER_ASSETS").map(PathBuf::from).or_else(|| {
        let cache = env("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| env("HOME").map(|home| Path::new(&home).join(".cache")))?;
        Some(cache.join("mirror-bundle").join(format!("kube-apiserver-v{}", version())))
    });
    let complete = |folder: &PathBuf| folder.join("kube-apiserver").is_file() && folder.join("etcd").is_file();
    folder.filter(complete).ok_or_else(|| {
        "no kube-apiserver and etcd; tests/kube-apiserver/programs makes them, as tests/run.sh does".to_owned()
    })
}

/// The version of kube-apiserver that `tests/kube-apiserver/go.mod` pins.
pub fn version() -> &'static str {
    let text = include_str!("../kube-apiserver/go.mod");
    text.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes v")).unwrap()
}
