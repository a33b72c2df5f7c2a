//! A tiny token server (Docker token protocol) whose tokens a real `docker-registry` accepts: JSON web tokens signed
//! by `openssl`, with the certificate in their header.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::registry::{PASSWORD, USER};

/// The identity token that the server accepts for [`USER`].
pub const IDENTITY: &str = "identity+token/1";
/// The service (and issuer) of the tokens.
pub const SERVICE: &str = "test-service";

/// The tokens that the server issues.
#[derive(Clone)]
pub struct Policy {
    /// Whether pulls without a login are allowed.
    pub anonymous_pull: bool,
    /// Announced lifetime of a token in seconds.
    pub expires_in: u64,
    /// Lifetime in the token itself.
    pub true_life: i64,
    /// The known login.
    pub login: (&'static str, &'static str),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { anonymous_pull: true, expires_in: 300, true_life: 300, login: (USER, PASSWORD) }
    }
}

/// A running token server. Its thread ends with the test process.
pub struct Tokens {
    pub port: u16,
    pub certificate: PathBuf,
    dir: Arc<tempfile::TempDir>,
    log: Arc<Mutex<Vec<String>>>,
    policy: Arc<Mutex<Policy>>,
}

impl Tokens {
    pub fn start(policy: Policy) -> Tokens {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let certificate = dir.path().join("cert.pem");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens", "-keyout"])
            .arg(dir.path().join("key.pem"))
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tokens = Tokens { port, certificate, dir, log: Arc::default(), policy: Arc::new(Mutex::new(policy)) };
        let shared = tokens.handle();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                let (mut authorization, mut length) = (String::new(), 0usize);
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    let (name, value) = line.split_once(':').unwrap_or(("", ""));
                    match name.to_ascii_lowercase().as_str() {
                        "authorization" => authorization = value.trim().to_owned(),
                        "content-length" => length = value.trim().parse().unwrap(),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let (code, answer) = shared.answer(&first, &authorization, &String::from_utf8_lossy(&body));
                let mut stream = stream;
                let _ = write!(
                    stream,
                    "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
            }
        });
        tokens
    }

    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// Changes the tokens issued from now on.
    pub fn set(&self, policy: Policy) {
        *self.policy.lock().unwrap() = policy;
    }

    /// One line per request: user (or `-`), scopes.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn handle(&self) -> Tokens {
        Tokens {
            port: self.port,
            certificate: self.certificate.clone(),
            dir: Arc::clone(&self.dir),
            log: Arc::clone(&self.log),
            policy: Arc::clone(&self.policy),
        }
    }

    fn answer(&self, first: &str, authorization: &str, body: &str) -> (u16, String) {
        let policy = self.policy.lock().unwrap().clone();
        let target = first.split(' ').nth(1).unwrap_or("");
        let post = first.starts_with("POST");
        let query = if post { body } else { target.split_once('?').map_or("", |(_, q)| q) };
        let pairs: Vec<(String, String)> =
            query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), decode(v))).collect();
        let all = |key: &str| pairs.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        let (user, password) = policy.login;
        let known = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let user = if post {
            if all("refresh_token") != [IDENTITY] || all("grant_type") != ["refresh_token"] {
                return (401, r#"{"error_description":"bad refresh token"}"#.to_owned());
            }
            Some(user)
        } else if authorization.is_empty() {
            None
        } else if authorization == known {
            Some(user)
        } else {
            return (401, r#"{"details":"incorrect username or password"}"#.to_owned());
        };
        let scopes: Vec<String> =
            all("scope").iter().flat_map(|s| s.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
        let line = format!("{} {}{}", user.unwrap_or("-"), if post { "POST " } else { "" }, scopes.join(" "));
        self.log.lock().unwrap().push(line);
        assert_eq!(all("service"), [SERVICE]);
        let access: Vec<String> = scopes
            .iter()
            .filter_map(|scope| {
                let mut parts = scope.split(':');
                let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
                let allowed: Vec<String> = actions
                    .split(',')
                    .filter(|action| user.is_some() || (policy.anonymous_pull && *action == "pull"))
                    // Others must not read secrets.
                    .filter(|_| !name.starts_with("secret/"))
                    .map(|action| format!("\"{action}\""))
                    .collect();
                Some(format!(r#"{{"type":"{kind}","name":"{name}","actions":[{}]}}"#, allowed.join(",")))
            })
            .collect();
        let token = self.sign(&access.join(","), policy.true_life);
        let key = if post { "access_token" } else { "token" };
        (200, format!(r#"{{"{key}":"{token}","expires_in":{}}}"#, policy.expires_in))
    }

    /// A token to push to and pull from this repository, without asking the server.
    pub fn issue(&self, repository: &str) -> String {
        let access = format!(r#"{{"type":"repository","name":"{repository}","actions":["pull","push"]}}"#);
        self.sign(&access, 300)
    }

    fn sign(&self, access: &str, life: i64) -> String {
        let pem = std::fs::read_to_string(&self.certificate).unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{der}"]}}"#);
        let claims = format!(
            r#"{{"iss":"{SERVICE}","sub":"x","aud":"{SERVICE}","exp":{},"nbf":{},"iat":{now},"jti":"1","access":[{access}]}}"#,
            now + life,
            now - 120,
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let input = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        std::fs::write(input.path(), &signed).unwrap();
        let made = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(self.dir.path().join("key.pem"))
            .arg(input.path())
            .output()
            .unwrap();
        assert!(made.status.success());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(made.stdout))
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap()
}
