//! A small world like OpenShift's, created once per test process: releases with components that share layers, cosign
//! signatures, a referrer, a multi-arch image and a large one, all in the storage of a registry; release signatures
//! made by gpg, in a store on disk and on an HTTPS server; SSH keys. Tests only read it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

use super::image::{Blob, Image, Pusher, layer};
use super::noise;
use super::registry::{Registry, Setup, self_signed};

/// The repository of the releases and their components in the source registry, as in a mirror.
pub const RELEASES: &str = "ocp/release";
/// The repository of components according to payloads.
pub const COMPONENTS: &str = "quay.io/openshift-release-dev/ocp-v4.0-art-dev";
/// The name of the release in release signatures.
pub const IDENTITY: &str = "quay.io/openshift-release-dev/ocp-release";
/// The host of the signature store in payloads.
pub const WEB_STORE: &str = "store.example.com";
/// An image outside any release: `tools/multi:1.0`, for two platforms, with a referrer.
pub const MULTI: &str = "tools/multi";
/// An image with one large layer: `tools/big:1`.
pub const BIG: &str = "tools/big";
/// Size of that layer in bytes.
pub const BIG_LAYER: usize = 18 << 20;

/// The content to carry, and the keys. Digests differ from run to run, as the release key is in the payload.
pub struct World {
    /// Everything on disk is below.
    pub dir: PathBuf,
    /// 4.16.37 for amd64: signed, with a cosign signature.
    pub release: Release,
    /// 4.21.0 for amd64: signed, without a cosign signature.
    pub later: Release,
    /// 4.16.38, a list for two architectures: the list is signed.
    pub several: Release,
    /// 4.16.39: no signature anywhere.
    pub unsigned: Release,
    pub multi: Image,
    pub big: Image,
    /// The certificate of the HTTPS signature store that the payloads name.
    pub ca: PathBuf,
    /// The HTTP proxy that leads only there: a value for `HTTPS_PROXY`.
    pub web: String,
    /// The fingerprint of the release key.
    pub fingerprint: String,
}

/// A release image and what it names.
pub struct Release {
    pub version: String,
    pub image: Image,
    pub components: Vec<(String, Image)>,
}

impl Release {
    /// A release whose payload names `repository` for its components.
    pub fn make(
        version: &str,
        arch: &str,
        repository: &str,
        components: &[(String, Image)],
        config_map: &str,
    ) -> Release {
        Release::after(&[], version, arch, repository, components, config_map)
    }

    /// A release that clusters of these versions can update to.
    pub fn after(
        previous: &[&str],
        version: &str,
        arch: &str,
        repository: &str,
        components: &[(String, Image)],
        config_map: &str,
    ) -> Release {
        let payload = payload(previous, version, arch, repository, components, config_map);
        let labels = json!({ "io.openshift.release": version });
        let arch = if arch == "multi" { "amd64" } else { arch };
        // Built on the image of the operator that reads it, as by oc.
        let mut layers =
            components.iter().find(|(n, _)| n.starts_with("cluster-")).unwrap().1.first().blobs[1..].to_vec();
        layers.push(payload);
        let image = Image::docker(arch, labels, &layers);
        Release { version: version.to_owned(), image, components: components.to_vec() }
    }
    pub fn digest(&self) -> Digest {
        self.image.digest()
    }
    pub fn component(&self, name: &str) -> &Image {
        &self.components.iter().find(|(n, _)| n == name).unwrap().1
    }
}

/// The one world of this process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::make)
}

impl World {
    /// Signatures by the release key, laid out as a store.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }
    /// Signatures by another key.
    pub fn other_store(&self) -> PathBuf {
        self.dir.join("other-store")
    }
    /// The release key.
    pub fn keyring(&self) -> PathBuf {
        self.dir.join("release.asc")
    }
    /// The builder's SSH key; `.pub` beside it.
    pub fn key(&self) -> PathBuf {
        self.dir.join("builder")
    }
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("builder.pub")
    }
    /// Another SSH key, with the passphrase `open sesame`.
    pub fn other_key(&self) -> PathBuf {
        self.dir.join("other")
    }
    pub fn other_public_key(&self) -> PathBuf {
        self.dir.join("other.pub")
    }

    /// A registry for one test that serves everything here.
    pub fn registry(&self) -> Registry {
        Registry::with(&Setup { storage: Some(self.storage()), ..Setup::default() })
    }
    /// The registry's storage, for serving it with another setup.
    pub fn storage(&self) -> PathBuf {
        self.dir.join("registry")
    }

    fn make() -> World {
        let dir = fresh();
        let (ca, tls_key) = self_signed(&dir, &format!("DNS:{WEB_STORE}"));
        let web = serve_store(dir.join("store"), &ca, &tls_key);
        let mut signer = Gpg::new(&dir, "release");
        let other = Gpg::new(&dir, "other");

        let shared = layer(&[("etc/base", &noise(200_000, 1))]);
        let tools = layer(&[("usr/bin/shared", &noise(100_000, 2))]);
        let component = |n: u64, arch: &str, layers: &[&Blob]| {
            let own = layer(&[(&format!("usr/bin/c{n}"), &noise(20_000 + n as usize * 7_000, 10 + n))]);
            let layers: Vec<Blob> = layers.iter().map(|l| (*l).clone()).chain([own]).collect();
            Image::docker(arch, json!({ "io.openshift.build.source-location": "https://example.invalid" }), &layers)
        };
        let components: Vec<(String, Image)> = vec![
            ("cli".into(), component(1, "amd64", &[&shared, &tools])),
            ("cluster-version-operator".into(), component(2, "amd64", &[&shared])),
            ("etcd".into(), component(3, "amd64", &[&shared, &tools])),
            ("machine-os".into(), component(4, "amd64", &[&tools])),
            ("tools".into(), component(5, "amd64", &[&shared])),
        ];
        let config_map = verification(&signer.public(), &format!("https://{WEB_STORE}/signatures"));
        let make = |version: &str, arch: &str, components: &[(String, Image)]| {
            Release::make(version, arch, COMPONENTS, components, &config_map)
        };
        let release = make("4.16.37", "amd64", &components);
        let later = make("4.21.0", "amd64", &components);
        let unsigned = make("4.16.39", "amd64", &components);
        let lists: Vec<(String, Image)> = ["cli", "cluster-version-operator"]
            .iter()
            .zip(20..)
            .map(|(name, n)| {
                let both = ["amd64", "arm64"].map(|arch| component(n, arch, &[&shared]));
                ((*name).to_owned(), Image::list(both.to_vec()))
            })
            .collect();
        let mut several = make("4.16.38", "multi", &lists);
        let arm = Image::docker(
            "arm64",
            json!({ "io.openshift.release": "4.16.38" }),
            &[shared.clone(), { payload(&[], "4.16.38", "multi", COMPONENTS, &lists, &config_map) }],
        );
        several.image = Image::list(vec![several.image, arm]);
        let multi = Image::list(vec![
            Image::oci("amd64", &[shared.clone(), layer(&[("bin/a", b"amd64")])]),
            Image::oci("arm64", &[shared.clone(), layer(&[("bin/a", b"arm64")])]),
        ]);
        let mut large = Blob::new("", noise(BIG_LAYER, 99));
        large.diff_id = Some(large.digest());
        let big = Image::oci("amd64", &[large, shared.clone()]);

        for (made, arch) in [(&release, "x86_64"), (&later, "x86_64"), (&several, "multi")] {
            let claim = claim(&made.digest(), &format!("{IDENTITY}:{}-{arch}", made.version));
            signer.sign_into(&dir.join("store"), &made.digest(), &claim);
            other.sign_into(&dir.join("other-store"), &made.digest(), &claim);
        }
        let fingerprint = signer.fingerprint();
        fs::write(dir.join("release.asc"), signer.public()).unwrap();
        fs::write(dir.join("other.asc"), other.public()).unwrap();
        signer.end();
        drop(other);
        for (name, passphrase) in [("builder", ""), ("other", "open sesame")] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f"])
                .arg(dir.join(name))
                .status();
            assert!(made.unwrap().success());
        }

        let registry = Registry::with(&Setup { storage: Some(dir.join("registry")), ..Setup::default() });
        let to = Pusher::new(&registry.host());
        for (made, arch) in [(&release, "x86_64"), (&later, "x86_64"), (&several, "multi"), (&unsigned, "x86_64")] {
            for (_, image) in &made.components {
                to.push(RELEASES, image, None);
            }
            to.push(RELEASES, &made.image, Some(&format!("{}-{arch}", made.version)));
        }
        let identity = format!("{IDENTITY}:{}-x86_64", release.version);
        to.push(RELEASES, &Image::cosign(&release.image, &identity), Some(&release.image.sig_tag()));
        let etcd = release.component("etcd");
        to.push(RELEASES, &Image::cosign(etcd, COMPONENTS), Some(&etcd.sig_tag()));
        to.refer(RELEASES, etcd, &Image::referrer(etcd));
        to.push(MULTI, &multi, Some("1.0"));
        to.refer(MULTI, &multi, &Image::referrer(&multi));
        to.push(BIG, &big, Some("1"));
        World { dir, release, later, several, unsigned, multi, big, ca, web, fingerprint }
    }
}

/// A folder of this process; those of ended processes are removed.
fn fresh() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if let Some(process) = name.strip_prefix("world-")
            && !Path::new("/proc").join(process).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = base.join(format!("world-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The top layer of a release image.
fn payload(
    previous: &[&str],
    version: &str,
    arch: &str,
    repository: &str,
    components: &[(String, Image)],
    config_map: &str,
) -> Blob {
    let tags: Vec<Value> = components
        .iter()
        .map(|(name, image)| {
            json!({
                "name": name, "annotations": { "io.openshift.build.commit.id": "0" },
                "from": { "kind": "DockerImage", "name": format!("{repository}@{}", image.digest()) },
                "generation": null, "importPolicy": {}, "referencePolicy": { "type": "" },
            })
        })
        .collect();
    let references = json!({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": { "name": version, "creationTimestamp": null },
        "spec": { "lookupPolicy": { "local": false }, "tags": tags },
        "status": { "dockerImageRepository": "" },
    });
    let mut metadata = json!({ "kind": "cincinnati-metadata-v0", "version": version, "previous": previous });
    if arch == "multi" {
        metadata["metadata"] = json!({ "release.openshift.io/architecture": "multi" });
    }
    layer(&[
        ("release-manifests/image-references", references.to_string().as_bytes()),
        ("release-manifests/release-metadata", metadata.to_string().as_bytes()),
        ("release-manifests/0000_90_verification.yaml", config_map.as_bytes()),
    ])
}

/// The ConfigMap in a payload that names release keys and signature stores.
fn verification(key: &str, store: &str) -> String {
    let key: String = key.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: release-verification\n  namespace: openshift-config-managed\n  annotations:\n    release.openshift.io/verification-config-map: \"\"\ndata:\n  verifier-public-key-test: |\n{key}  store-test: {store}\n"
    )
}

/// The claim of a release signature.
pub fn claim(digest: &Digest, reference: &str) -> String {
    json!({
        "critical": {
            "type": "atomic container signature",
            "image": { "docker-manifest-digest": digest },
            "identity": { "docker-reference": reference },
        },
        "optional": { "creator": "mirror-bundle tests" },
    })
    .to_string()
}

/// A separate gpg with one RSA key. Its agent ends with it.
pub struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    pub fn new(_: &Path, name: &str) -> Gpg {
        // Not below the target folder: the agent's socket needs a short path.
        let gpg = Gpg { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() };
        let user = format!("{name} <{name}@example.invalid>");
        gpg.run(&["--passphrase", "", "--quick-generate-key", &user, "rsa2048", "sign", "never"], b"");
        gpg
    }

    /// A gpg that knows this public key only.
    pub fn knowing(keyring: &Path) -> Gpg {
        let gpg = Gpg { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() };
        gpg.run(&["--import", keyring.to_str().unwrap()], b"");
        gpg
    }

    pub fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--yes", "--trust-model", "always", "--homedir"])
            .arg(self.home.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    pub fn public(&self) -> String {
        String::from_utf8(self.run(&["--armor", "--export"], b"")).unwrap()
    }

    fn fingerprint(&self) -> String {
        let out = String::from_utf8(self.run(&["--list-keys", "--with-colons"], b"")).unwrap();
        out.lines().find_map(|l| l.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':').to_owned()
    }

    pub fn sign_into(&self, store: &Path, digest: &Digest, claim: &str) {
        let folder = store.join(format!("sha256={}", digest.hex()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("signature-1"), self.run(&["--sign", "--output", "-"], claim.as_bytes())).unwrap();
    }

    fn end(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves `store` below `/signatures/` of [`WEB_STORE`] over HTTPS, behind a proxy on a loopback port, until the
/// process ends.
fn serve_store(store: PathBuf, certificate: &Path, key: &Path) -> String {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (config, store) = (config.clone(), store.clone());
            std::thread::spawn(move || {
                if request(&mut stream) != format!("CONNECT {WEB_STORE}:443 HTTP/1.1") {
                    let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                let Ok(connection) = rustls::ServerConnection::new(config) else { return };
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let first = request(&mut tls);
                let path = first.split(' ').nth(1).and_then(|p| p.strip_prefix("/signatures/")).unwrap_or("none");
                let (status, body) = match fs::read(store.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = tls.write_all(&[head.as_bytes(), &body].concat());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            });
        }
    });
    proxy
}

/// Reads exactly the head of a request; returns its first line.
fn request(from: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16384 && from.read(&mut byte).is_ok_and(|n| n > 0) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
}
