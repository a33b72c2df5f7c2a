//! Where logins go, and where they never show: H2, H3, H6, I4.

use std::fs;

use base64::Engine;

use crate::lab::{Lab, Ran, files};
use crate::support::proxy::{Fault, Proxy, status_with};
use crate::support::registry::{PASSWORD, Registry, Setup, USER, auth_file, free_port, self_signed};
use crate::support::token::{IDENTITY, Policy, SERVICE, Tokens};

/// More times than any test makes requests: the fault is permanent.
const EVER: usize = 1_000;

/// A registry that requires a login, behind a proxy, and an auth file for the proxy's host.
fn guarded() -> (Registry, Proxy, tempfile::TempDir, String) {
    let registry = Registry::with(&Setup { basic_auth: true, ..Setup::default() });
    let proxy = Proxy::start(Some(registry.port));
    let (dir, path) = auth_file(&proxy.host(), USER, PASSWORD);
    (registry, proxy, dir, path.display().to_string())
}

/// No output and no other file of the lab contains a secret, in clear or in base64.
#[track_caller]
fn nothing_leaks(lab: &Lab, ran: &Ran, secrets: &[&str]) {
    let mut needles: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
    needles.push(base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let output = format!("{}{}", ran.out, ran.err);
    let holds = |bytes: &[u8], needle: &str| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
    for needle in &needles {
        assert!(!output.contains(needle.as_str()), "{needle} in {output}");
        for path in files(&lab.path("")) {
            assert!(!holds(&fs::read(&path).unwrap_or_default(), needle), "{needle} in {}", path.display());
        }
    }
}

/// H2: token realms inside the network, over http, or at invalid addresses get nothing; a realm elsewhere gets the
/// registry's own login.
#[test]
fn a_realm_that_is_not_allowed_gets_nothing() {
    let lab = Lab::new();
    let other = Proxy::start(None);
    let (plain, elsewhere) = (format!("localhost:{}", other.port), format!("http://localhost:{}/token", other.port));
    let (_registry, proxy, _dir, auth) = guarded();
    let challenge = |realm: &str| {
        let value = format!("Bearer realm=\"{realm}\",service=\"x\",scope=\"repository:in/src/app:pull\"");
        status_with(401, "WWW-Authenticate", value)
    };
    for (realm, asked) in [
        (elsewhere.as_str(), true),
        (&elsewhere.replace("http:", "https:"), false),
        ("https://169.254.169.254/latest", false),
        ("http://example.com/token", false),
        ("file:///etc/passwd", false),
        ("https://user:pass@quay.example/", false),
        ("/token", false),
    ] {
        proxy.on("*", "/v2/", 40, challenge(realm));
        let before = other.seen().len();
        let ran = lab.unpack(&proxy.host(), &["--authfile", &auth, "--plain-http", &plain]);
        ran.ends(&[50, 51]);
        let ran = lab.create(&proxy.host(), &["--authfile", &auth, "--plain-http", &plain]);
        ran.ends(&[50, 51]);
        assert_eq!(other.seen().len() > before, asked, "{realm}");
        nothing_leaks(&lab, &ran, &[PASSWORD]);
        proxy.clear();
    }
    let own = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")));
    assert!(other.seen().iter().all(|s| s.target.starts_with("/token?") && s.header("authorization") == Some(&own)));
}

/// H2, H3: a redirect and an upload address at another, allowed host get no login.
#[test]
fn a_login_never_follows_to_another_host() {
    let lab = Lab::new();
    let (_registry, proxy, _dir, auth) = guarded();
    lab.unpack(&proxy.host(), &["--authfile", &auth]).ends(&[0]);
    assert!(proxy.saw_authorization());
    fs::remove_dir_all(lab.path("state")).unwrap();
    let other = Proxy::start(None);
    let plain = format!("localhost:{}", other.port);
    other.on("GET", "blobs/", EVER, status_with(401, "WWW-Authenticate", "Basic realm=\"give it to me\""));
    proxy.on("GET", "blobs/", EVER, status_with(307, "Location", format!("http://{plain}/blobs/x")));
    lab.create(&proxy.host(), &["--authfile", &auth, "--plain-http", &plain]).ends(&[50]);
    assert!(!lab.path("c.tar").exists());
    proxy.clear();
    other.on("PUT", "/up", EVER, status_with(401, "WWW-Authenticate", "Basic realm=\"give it to me\""));
    proxy.on("POST", "blobs/uploads/", EVER, status_with(202, "Location", format!("http://{plain}/up")));
    proxy.on("GET", "blobs/", EVER, crate::support::proxy::status(404));
    lab.unpack(&proxy.host(), &["--authfile", &auth, "--plain-http", &plain]).ends(&[50]);
    assert!(other.count("GET", "/blobs/x") > 0 && other.count("PUT", "/up") > 0);
    assert!(!other.saw_authorization());
}

/// H4, I4: a 401 in the middle of a transfer: with a login the run continues, without one it ends, and sets no tag.
#[test]
fn a_login_lost_in_mid_transfer_leaves_no_tag() {
    let lab = Lab::new();
    let basic = status_with(401, "WWW-Authenticate", "Basic realm=\"again\"");
    let (registry, proxy, dir, auth) = guarded();
    proxy.on("PUT", "blobs/uploads/", EVER, basic.clone()).on("POST", "blobs/uploads/", EVER, basic.clone());
    lab.unpack(&proxy.host(), &["--authfile", &auth]).ends(&[51]);
    proxy.clear();
    proxy.on("PUT", "manifests/v1", EVER, basic);
    let ran = lab.unpack(&proxy.host(), &["--authfile", &auth]);
    ran.ends(&[51]);
    let (_other, direct) = auth_file(&registry.host(), USER, PASSWORD);
    let list = std::process::Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", "--authfile"])
        .arg(direct)
        .arg(format!("docker://{}/in/src/app:v1", registry.host()))
        .output()
        .unwrap();
    assert!(!list.status.success(), "there is no tag");
    proxy.clear();
    lab.unpack(&proxy.host(), &["--authfile", &auth]).ends(&[0]);
    drop(dir);
}

/// I4: passwords, identity tokens and registry tokens are in no output, journal, report or bundle, right or wrong.
#[test]
fn secrets_are_in_no_output_and_no_file() {
    let lab = Lab::new();
    let tokens = Tokens::start(Policy { anonymous_pull: false, ..Policy::default() });
    let registry = Registry::with(&Setup {
        token: Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone())),
        ..Setup::default()
    });
    let outside = tempfile::tempdir().unwrap();
    let auth = outside.path().join("auth.json");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let logins = [
        (format!(r#"{{"auth":"{encoded}"}}"#), vec![0]),
        (format!(r#"{{"auth":"{encoded}","identitytoken":"{IDENTITY}"}}"#), vec![0]),
        (r#"{"auth":"YWxpY2U6d3JvbmctcGFzc3dvcmQ="}"#.to_owned(), vec![51]),
    ];
    for (login, codes) in logins {
        fs::write(&auth, format!(r#"{{"auths":{{"{}":{login}}}}}"#, registry.host())).unwrap();
        let plain = format!("127.0.0.1:{}", tokens.port);
        for output in ["text", "json"] {
            let more = ["--authfile", auth.to_str().unwrap(), "--plain-http", &plain, "-v", "-o", output];
            let ran = lab.unpack(&registry.host(), &more);
            assert_eq!(ran.code, codes[0], "{}{}", ran.out, ran.err);
            nothing_leaks(&lab, &ran, &[PASSWORD, IDENTITY, "wrong-password", "eyJ", &encoded]);
            let ran = lab.create(&registry.host(), &[&more[..], &["--force"]].concat());
            assert_eq!(ran.code, codes[0], "{}{}", ran.out, ran.err);
            nothing_leaks(&lab, &ran, &[PASSWORD, IDENTITY, "wrong-password", "eyJ", &encoded]);
        }
    }
}

/// I4: an interrupted transfer leaves no secret in the journal, and a world-readable auth file causes a warning.
#[test]
fn a_journal_holds_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let (_registry, proxy, _dir, auth) = guarded();
    lab.unpack(&proxy.host(), &["--authfile", &auth]).ends(&[0]);
    proxy.on("GET", format!("blobs/{}", lab.layers[0]), EVER, Fault::CutBody(1000));
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = lab.create(&proxy.host(), &["--authfile", &auth, "-v"]);
    ran.ends(&[50]).says("can be read by other users");
    assert!(lab.path("c.tar.partial.journal").exists());
    nothing_leaks(&lab, &ran, &[PASSWORD]);
}

/// I4: command lines of helpers and of this program contain no secret: there is no option for one.
#[test]
fn no_option_takes_a_secret() {
    let lab = Lab::new();
    for verb in ["create", "unpack", "verify", "sign"] {
        let ran = lab.run(&[verb, "--help"]);
        for word in ["--password", "--token", "--creds", "--user"] {
            assert!(!ran.out.contains(word), "{verb} {word}");
        }
    }
}

/// H6: without `--plain-http` nothing is sent in the clear.
#[test]
fn tls_is_never_given_up_for_plain_http() {
    let lab = Lab::new();
    let (_registry, proxy, _dir, auth) = guarded();
    let (image, to) = (format!("{}/in/src/app:v1", proxy.host()), format!("{}/in", proxy.host()));
    let more = ["--authfile", &auth, "--retries", "0", "--timeout", "2"];
    lab.run(&[&["create", "c.tar", "--unsigned", "--image", &image], &more[..]].concat()).ends(&[50]);
    lab.run(&[&["unpack", "b.tar", "--signer", "key.pub", "--to", &to], &more[..]].concat()).ends(&[50]);
    assert!(proxy.seen().iter().all(|s| !s.target.starts_with('/')), "{:?}", proxy.seen());
    assert!(!lab.path("c.tar").exists());
}

/// H6: a certificate that is self-signed, for another name, or expired is refused unless its issuer is trusted.
#[test]
fn certificates_that_do_not_hold_are_refused() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(dir.path(), "IP:127.0.0.1");
    let registry = Registry::with(&Setup { tls: Some((certificate.clone(), key)), ..Setup::default() });
    let to = format!("{}/in", registry.host());
    let unpack = |more: &[&str]| {
        let base = ["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--mirror-set", "none", "--retries", "0"];
        lab.run(&[&base, more].concat())
    };
    unpack(&[]).ends(&[50]).says("its issuer is not trusted");
    // An exception for another host does not apply here.
    unpack(&["--plain-http", &format!("127.0.0.1:{}", free_port())]).ends(&[50]);
    let other = tempfile::tempdir().unwrap();
    let (stranger, _) = self_signed(other.path(), "IP:127.0.0.1");
    unpack(&["--ca-file", stranger.to_str().unwrap()]).ends(&[50]);
    unpack(&["--ca-file", certificate.to_str().unwrap()]).ends(&[0]);

    let wrong = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(wrong.path(), "DNS:registry.example");
    let registry = Registry::with(&Setup { tls: Some((certificate.clone(), key)), ..Setup::default() });
    let to = format!("{}/in", registry.host());
    let base = ["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--mirror-set", "none", "--retries", "0"];
    let more = ["--ca-file", certificate.to_str().unwrap()];
    lab.run(&[&base[..], &more].concat()).ends(&[50]).says("it is not for `127.0.0.1`");
}

/// H6: certificates in this user's `certs.d` apply to their host and port only, and so does the client certificate.
#[test]
fn certificates_of_the_users_folder_are_used_for_their_host_only() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = self_signed(dir.path(), "IP:127.0.0.1");
    let tls = Some((certificate.clone(), key.clone()));
    let registry = Registry::with(&Setup { tls, client_ca: Some(certificate.clone()), ..Setup::default() });
    let to = format!("{}/in", registry.host());
    let folders = lab.path("home/.config/containers/certs.d");
    let unpack = || {
        let base = ["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--mirror-set", "none", "--retries", "0"];
        lab.run(&base)
    };
    let copy = |host: &str, files: &[(&str, &std::path::PathBuf)]| {
        fs::create_dir_all(folders.join(host)).unwrap();
        files.iter().for_each(|(name, from)| _ = fs::copy(from, folders.join(host).join(name)).unwrap());
    };
    let all = [("ca.crt", &certificate), ("client.cert", &certificate), ("client.key", &key)];
    copy(&format!("127.0.0.1:{}", free_port()), &all);
    unpack().ends(&[50]).says("its issuer is not trusted");
    copy(&registry.host(), &all[..1]);
    unpack().ends(&[50]);
    copy(&registry.host(), &all[..2]);
    unpack().ends(&[50]).says("client.key");
    copy(&registry.host(), &all);
    unpack().ends(&[0]);
}

/// I4: a credential helper that is not installed does not stop a run that needs no login; if one is needed, the error
/// names it.
#[test]
fn a_missing_helper_stops_only_what_needs_a_login() {
    let lab = Lab::new();
    let auth = lab.path("config.json");
    fs::write(&auth, r#"{"credsStore":"mirror-bundle-absent","auths":{}}"#).unwrap();
    let args = ["--authfile", auth.to_str().unwrap(), "--plain-http", "127.0.0.1"];
    let tokens = Tokens::start(Policy::default());
    let token = Some((tokens.realm(), SERVICE.to_owned(), tokens.certificate.clone()));
    let registry = Registry::with(&Setup { token, ..Setup::default() });
    let (_dir, login) = auth_file(&registry.host(), USER, PASSWORD);
    lab.unpack(&registry.host(), &["--authfile", login.to_str().unwrap(), "--plain-http", "127.0.0.1"]).ends(&[0]);
    lab.create(&registry.host(), &args).ends(&[0]).says("docker-credential-mirror-bundle-absent");
    fs::remove_dir_all(lab.path("state")).unwrap();
    let (guarded, _proxy, _dir, _) = guarded();
    lab.unpack(&guarded.host(), &args).ends(&[51]).says("docker-credential-mirror-bundle-absent");
}
