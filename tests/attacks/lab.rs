//! A lab for attacks: images in an OCI layout, a key, a signed bundle, and the binary with none of this host's
//! settings.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mirror_bundle::oci::Digest;
use mirror_bundle::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use mirror_bundle::registry::{Client, Options, Wanted};

use crate::support::noise;
use crate::support::program::{self, PROGRAM, program};

/// The memory limit of every run in KiB, in a debug build: 64 MiB, 1 MiB for each of 8 workers, and an allowance for
/// the build.
const PEAK: u64 = 110 * 1024;
/// After this time a run counts as hung.
const HUNG: Duration = Duration::from_secs(120);

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
    /// Its peak resident memory in KiB.
    pub peak: u64,
}

impl Ran {
    /// It ended with one of these codes, within the limits, and its messages are printable.
    #[track_caller]
    pub fn ends(&self, codes: &[i32]) -> &Ran {
        let Ran { code, out, err, .. } = self;
        assert!(codes.contains(code), "expected {codes:?}, got {code}\n--- out\n{out}\n--- err\n{err}");
        assert!(!err.contains("panicked"), "{err}");
        assert!(self.peak < PEAK, "{} KiB\n{err}", self.peak);
        assert_eq!(*code == 0, !err.contains("error:"), "{err}");
        self.printable()
    }

    /// Its output has only printable text and line breaks (E10).
    #[track_caller]
    pub fn printable(&self) -> &Ran {
        for text in [&self.out, &self.err] {
            let bad = |c: &char| {
                (c.is_control() && *c != '\n')
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            };
            assert_eq!(text.chars().find(bad), None, "{text:?}");
        }
        self
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Ran {
        assert!(self.err.contains(text) || self.out.contains(text), "no {text:?} in\n{}{}", self.out, self.err);
        self
    }
}

/// The images of a lab: `v1`, an index of two platforms, and its cosign signature image; the bundle has both.
pub struct Lab {
    dir: tempfile::TempDir,
    /// Digest of the index.
    pub index: Digest,
    /// The manifests below it.
    pub manifests: Vec<Digest>,
    /// Their configurations.
    pub configs: Vec<Digest>,
    /// Their layers.
    pub layers: Vec<Digest>,
    /// The payload of the signature image.
    pub payload: Digest,
}

/// Size of the first layer in bytes.
pub const LAYER: usize = 300_000;

impl Lab {
    /// A lab with the bundle `b.tar` and the layout `layout`.
    pub fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
            .arg(dir.path().join("key"))
            .status()
            .expect("ssh-keygen is installed");
        assert!(made.success());
        let mut layout = Layout::new(&dir.path().join("layout"));
        let (mut manifests, mut configs, mut layers, mut entries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (n, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let config =
                layout.blob(format!(r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{}}}}"#).as_bytes());
            let layer = layout.blob(&noise(LAYER / (n * 20 + 1), n as u64 + 1));
            let manifest = layout.manifest(&config, &[&layer], "application/vnd.oci.image.layer.v1.tar", "");
            entries.push(format!(
                r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":{},"platform":{{"architecture":"{architecture}","os":"linux"}}}}"#,
                manifest.0, manifest.1
            ));
            manifests.push(manifest.0);
            configs.push(config.0);
            layers.push(layer.0);
        }
        let index = layout.blob(
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","))
                .as_bytes(),
        );
        layout.name("quay.example/src/app:v1", OCI_INDEX, &index);
        let payload = layout.blob(
            format!(r#"{{"critical":{{"identity":{{"docker-reference":"quay.example/src/app:v1"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#, index.0).as_bytes(),
        );
        let empty = layout.blob(b"{}");
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let signature = layout.manifest(&empty, &[&payload], kind, r#""dev.cosignproject.cosign/signature":"AAAA""#);
        layout.name(&format!("quay.example/src/app:{}.sig", index.0.dashed()), OCI_MANIFEST, &signature);
        layout.finish();
        let lab = Lab { dir, index: index.0, manifests, configs, layers, payload: payload.0 };
        lab.run(&[
            "create",
            "b.tar",
            "--from-layout",
            "layout",
            "--sign-key",
            "key",
            "--name",
            "lab",
            "--sequence",
            "1",
        ])
        .ends(&[0]);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary in the lab's folder, with its own home and state, and nothing else from the host.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.dir.path());
        command.args(args);
        command
    }

    /// Gives a command the environment of the lab.
    pub fn clean(&self, command: &mut Command) {
        program::clean(command, self.dir.path());
        command.env("HOME", self.path("home"));
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.spawn(args).wait()
    }

    /// Starts the binary under `time`, which measures its peak memory.
    pub fn spawn(&self, args: &[&str]) -> Running {
        self.wrapped(&["/usr/bin/time"], args)
    }

    /// The same, started by other programs; the first must be `time`.
    pub fn wrapped(&self, wrap: &[&str], args: &[&str]) -> Running {
        let peak = tempfile::NamedTempFile::new().unwrap();
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let mut command = Command::new(wrap[0]);
        command.args(["-q", "-f", "%M", "-o"]).arg(peak.path()).args(&wrap[1..]);
        command.arg(PROGRAM).args(args);
        self.clean(&mut command);
        command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
        let child = command.spawn().expect("GNU time is installed");
        Running { child, peak, out, err, since: Instant::now() }
    }

    /// `unpack b.tar` to this repository, over plain HTTP, with short waits.
    pub fn unpack(&self, host: &str, more: &[&str]) -> Ran {
        self.start_unpack(host, more).wait()
    }

    pub fn start_unpack(&self, host: &str, more: &[&str]) -> Running {
        let to = format!("{host}/in");
        let mut args = vec!["unpack", "b.tar", "--signer", "key.pub", "--to", &to, "--plain-http", host];
        args.extend(["--mirror-set", "none"]);
        args.extend(more);
        patience(&mut args);
        self.spawn(&args)
    }

    /// `create c.tar` from the content that [`Lab::fill`] pushed to this registry.
    pub fn create(&self, host: &str, more: &[&str]) -> Ran {
        self.create_as("c.tar", host, more)
    }

    /// The same, with this name.
    pub fn create_as(&self, bundle: &str, host: &str, more: &[&str]) -> Ran {
        let image = format!("{host}/in/src/app:v1");
        let mut args = vec!["create", bundle, "--image", &image, "--sign-key", "key", "--plain-http", host];
        args.extend(["--name", "lab", "--sequence", "2"]);
        args.extend(more);
        patience(&mut args);
        self.run(&args)
    }

    /// Pushes the images to a registry.
    pub fn fill(&self, host: &str) {
        self.unpack(host, &[]).ends(&[0]);
        let _ = fs::remove_dir_all(self.path("state"));
    }

    /// The digest of the tag `v1` in a registry.
    pub fn tag(&self, host: &str) -> Option<Digest> {
        self.tag_below(host, "in")
    }

    fn tag_below(&self, host: &str, prefix: &str) -> Option<Digest> {
        let repository = format!("{host}/{prefix}/src/app").parse().unwrap();
        let fetched = client(host).get_manifest(&repository, &Wanted::Tag("v1".parse().unwrap())).unwrap();
        fetched.map(|f| f.digest)
    }

    /// The tag exists, and all content below it matches its digests.
    #[track_caller]
    pub fn is_whole(&self, host: &str) {
        self.is_whole_or_absent(host, "in", true);
    }

    /// The same below another prefix; unless `there`, the tag may also be missing.
    #[track_caller]
    pub fn is_whole_or_absent(&self, host: &str, prefix: &str, there: bool) {
        use std::io::Read;
        let tag = self.tag_below(host, prefix);
        if !there && tag.is_none() {
            return;
        }
        assert_eq!(tag, Some(self.index));
        let (client, repository) = (client(host), format!("{host}/{prefix}/src/app").parse().unwrap());
        for digest in &self.manifests {
            assert!(client.get_manifest(&repository, &Wanted::Digest(*digest)).unwrap().is_some());
        }
        for digest in self.configs.iter().chain(&self.layers) {
            let size = client.head_blob(&repository, digest).unwrap().unwrap();
            let mut bytes = Vec::new();
            client.get_blob(&repository, digest, 0, size).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(Digest::of(&bytes), *digest);
        }
    }
}

/// Runs the cases, four at a time: they spend most of their time waiting.
pub fn each<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            run(case);
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
}

/// No retries and short timeouts, unless the test overrides them.
fn patience(args: &mut Vec<&str>) {
    for (name, value) in [("--retries", "0"), ("--timeout", "8")] {
        if !args.contains(&name) {
            args.extend([name, value]);
        }
    }
}

fn client(host: &str) -> Client {
    Client::new(Options {
        auth_file: Some("/dev/null".into()),
        plain_http: vec![host.to_owned()],
        timeout: Duration::from_secs(10),
        ..Options::default()
    })
    .unwrap()
}

/// A run in progress.
pub struct Running {
    pub child: Child,
    peak: tempfile::NamedTempFile,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
    since: Instant,
}

impl Running {
    /// Waits for the end; a hung run is killed, and fails the test.
    pub fn wait(mut self) -> Ran {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.since.elapsed() > HUNG => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    panic!("it hangs: {}", fs::read_to_string(self.err.path()).unwrap());
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let text = |path: &Path| String::from_utf8(fs::read(path).unwrap()).unwrap();
        Ran {
            code: status.code().unwrap_or(-1),
            out: text(self.out.path()),
            err: text(self.err.path()),
            peak: text(self.peak.path()).lines().last().and_then(|l| l.trim().parse().ok()).unwrap_or(0),
        }
    }
}

/// An OCI layout under construction.
pub struct Layout {
    dir: PathBuf,
    entries: Vec<String>,
}

pub type Blob = (Digest, usize);

impl Layout {
    pub fn new(dir: &Path) -> Layout {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { dir: dir.to_owned(), entries: Vec::new() }
    }

    pub fn blob(&mut self, bytes: &[u8]) -> Blob {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        (digest, bytes.len())
    }

    /// A blob whose file the caller creates.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    pub fn manifest(&mut self, config: &Blob, layers: &[&Blob], kind: &str, annotation: &str) -> Blob {
        let layers: Vec<String> = layers
            .iter()
            .map(|l| {
                let annotations =
                    if annotation.is_empty() { String::new() } else { format!(r#","annotations":{{{annotation}}}"#) };
                format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}{annotations}}}"#, l.0, l.1)
            })
            .collect();
        self.blob(
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
                config.0, config.1, layers.join(",")
            )
            .as_bytes(),
        )
    }

    pub fn name(&mut self, name: &str, kind: &str, what: &Blob) {
        self.entries.push(format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":{}}}}}"#,
            what.0,
            what.1,
            serde_json::to_string(name).unwrap()
        ));
    }

    pub fn finish(self) {
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, self.entries.join(","));
        fs::write(self.dir.join("index.json"), index).unwrap();
    }
}

/// Every file below a folder; links are not followed.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter(|e| !e.file_type().is_dir())
        .map(|e| e.into_path())
        .collect()
}
