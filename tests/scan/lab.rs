//! Bundles with what scanners find, and real daemons.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirror_bundle::oci::Digest;
use mirror_bundle::scan::eicar;
use serde_json::{Value, json};

use crate::support::program::program;
use crate::support::skip;

/// A folder with bundles, and the state of the host.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// An entry of a layer.
pub(crate) type File<'f> = (&'f str, Vec<u8>);

/// What a run answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) errors: String,
}

impl Answer {
    /// The findings of an outcome: their paths.
    pub(crate) fn paths(&self, outcome: &str) -> Vec<String> {
        let all = self.json["findings"].as_array().unwrap().iter();
        let these = all.filter(|finding| finding["outcome"] == outcome);
        let mut paths: Vec<String> = these
            .flat_map(|finding| finding["places"].as_array().unwrap())
            .map(|place| place["path"].as_str().unwrap().to_owned())
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// The finding at a path.
    pub(crate) fn at(&self, path: &str) -> &Value {
        let mut all = self.json["findings"].as_array().unwrap().iter();
        let at = |finding: &&Value| finding["places"].as_array().unwrap().iter().any(|place| place["path"] == path);
        all.find(at).unwrap_or_else(|| panic!("no finding at {path}: {:#}", self.json["findings"]))
    }
}

impl Lab {
    pub(crate) fn new() -> Lab {
        Lab { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A bundle of images with these layers, and of a manifest.
    pub(crate) fn bundle(&self, name: &str, images: &[(&str, &[&[File<'_>]])], manifest: Option<&str>) -> String {
        let layout = self.path().join(format!("{name}.layout"));
        let mut index = Vec::new();
        for (reference, layers) in images {
            let layers: Vec<Vec<u8>> = layers.iter().map(|files| tar(files)).collect();
            index.push(image(&layout, reference, &layers, GZIP));
        }
        self.pack(name, &layout, index, manifest)
    }

    /// A bundle of an image with this layer as it is.
    pub(crate) fn raw(&self, name: &str, layer: &[u8], media_type: &str) -> String {
        let layout = self.path().join(format!("{name}.layout"));
        let index = vec![image(&layout, "reg.example/raw:1", &[layer.to_vec()], media_type)];
        self.pack(name, &layout, index, None)
    }

    fn pack(&self, name: &str, layout: &Path, index: Vec<Value>, manifest: Option<&str>) -> String {
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": index });
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        let bundle = format!("{name}.tar");
        let mut create = program(self.path());
        create.args(["create", &bundle, "--unsigned", "-qq", "--from-layout"]).arg(layout);
        if let Some(text) = manifest {
            let path = self.path().join(format!("{name}.yaml"));
            std::fs::write(&path, text).unwrap();
            create.args(["--allow-kind", "ConfigMap:openshift-config-managed/c", "--manifests"]).arg(path);
        }
        let done = create.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        bundle
    }

    /// Scans, with the answer in JSON.
    pub(crate) fn scan(&self, bundle: &str, args: &[&str]) -> Answer {
        let done = self.command(bundle, args).args(["-o", "json"]).output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let json = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
        Answer { code: done.status.code().unwrap_or(-1), json, errors }
    }

    pub(crate) fn command(&self, bundle: &str, args: &[&str]) -> Command {
        let mut command = program(self.path());
        command.args(["scan", bundle]).args(args);
        command
    }
}

pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OTHER: &str = "application/vnd.example.data";

fn image(layout: &Path, reference: &str, layers: &[Vec<u8>], media_type: &str) -> Value {
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let packed: Vec<Value> = layers
        .iter()
        .map(|layer| blob(&if media_type == GZIP { gzip(layer) } else { layer.clone() }, media_type))
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config =
        json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": packed });
    let mut descriptor = blob(manifest.to_string().as_bytes(), MANIFEST);
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    descriptor
}

pub(crate) fn tar(files: &[File<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Names that the builder would refuse.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// What a command makes of its input.
pub(crate) fn through(command: &str, input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || to.write_all(&input));
    let done = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(done.status.success() && !done.stdout.is_empty(), "{command}");
    done.stdout
}

/// A real clamd with a database of our own.
pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
    pub(crate) port: u16,
}

/// Limits that find everything.
pub(crate) const WIDE: &str = "StreamMaxLength 4000M\nMaxScanSize 4000M\nMaxFileSize 2000M\nAlertExceedsMax yes\n\
                               AlertEncrypted yes\nDisableCache yes\n";
/// The limits of Debian's configuration.
pub(crate) const DEBIAN: &str = "StreamMaxLength 25M\nMaxScanSize 100M\nMaxFileSize 25M\n";

impl Daemon {
    /// `None`: it cannot run here.
    pub(crate) fn start(settings: &str) -> Option<Daemon> {
        let clamd = ["/usr/sbin/clamd", "/usr/bin/clamd"].into_iter().find(|path| Path::new(path).exists());
        let Some(clamd) = clamd else {
            skip::skip("no clamd on this machine");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::create_dir(path.join("db")).unwrap();
        let hex: String = eicar().iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(path.join("db/test.ndb"), format!("Desk.Test:0:*:{hex}\n")).unwrap();
        let exe = Path::new("/usr/share/clamav-testfiles/clam.exe");
        if let Ok(bytes) = std::fs::read(exe) {
            let line = format!("{}:{}:clam.exe\n", Digest::of(&bytes).hex(), bytes.len());
            std::fs::write(path.join("db/test.hsb"), line).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = path.display();
        let text = format!(
            "LocalSocket {at}/s\nDatabaseDirectory {at}/db\nTemporaryDirectory {at}\nForeground yes\nMaxThreads 4\n\
             TCPSocket {port}\nTCPAddr 127.0.0.1\n{settings}"
        );
        std::fs::write(path.join("clamd.conf"), text).unwrap();
        let log = std::fs::File::create(path.join("log")).unwrap();
        let mut command = Command::new(clamd);
        command.arg("-c").arg(path.join("clamd.conf")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut daemon = Daemon { dir, child, port };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(daemon.socket()).is_err() {
            let ended = daemon.child.try_wait().unwrap().is_some();
            let log = std::fs::read_to_string(daemon.dir.path().join("log")).unwrap_or_default();
            assert!(!ended && began.elapsed() < Duration::from_secs(120), "clamd does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(daemon)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(crate) fn address(&self) -> String {
        self.socket().display().to_string()
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}
