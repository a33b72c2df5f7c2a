//! A small world on a memory file system: images in a layout and in a registry, manifests, keys, two bundles; folders
//! to run in, and listings of their content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror_bundle::oci::Digest;
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe};

use crate::support::image::{Blob, Image, Pusher, layer};
use crate::support::registry::Registry;
use crate::support::{noise, program};

pub(crate) use crate::support::program::PROGRAM;
/// The creation time of everything.
pub(crate) const EPOCH: &str = "1700000000";

/// Arguments of mixed types.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$(std::ffi::OsString::from(&$arg)),*] };
}
pub(crate) use args;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, or the negated number of the signal that ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn killed(&self) -> bool {
        self.code == -9
    }

    #[track_caller]
    pub(crate) fn is(self, code: i32, what: &str) -> Ended {
        assert_eq!(self.code, code, "{what}\n--- out\n{}\n--- err\n{}", self.out, self.err);
        self
    }
}

/// The world of one test; dropped with the test.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    places: AtomicUsize,
    source: OnceLock<Registry>,
    target: OnceLock<Registry>,
    encoded: OnceLock<()>,
}

impl Lab {
    /// In memory if possible: syncing costs nothing there.
    pub(crate) fn new() -> Lab {
        let memory = Path::new("/dev/shm");
        Lab::within(if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) })
    }

    /// In this folder.
    pub(crate) fn within(folder: &Path) -> Lab {
        let dir = tempfile::Builder::new().prefix("mirror-bundle-faults-").tempdir_in(folder).unwrap();
        let lab = Lab {
            dir,
            places: AtomicUsize::new(0),
            source: OnceLock::new(),
            target: OnceLock::new(),
            encoded: OnceLock::new(),
        };
        for key in ["builder", "reviewer"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
                .arg(lab.path(key))
                .status()
                .expect("ssh-keygen is installed");
            assert!(made.success());
        }
        fs::create_dir_all(lab.path("manifests/sub")).unwrap();
        for (name, object) in [("ns.yaml", "a"), ("sub/cm.yaml", "b")] {
            let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {object}\n");
            fs::write(lab.path("manifests").join(name), text).unwrap();
        }
        write_layout(&lab.path("layout"), &images());
        write_layout(&lab.path("other-layout"), &images()[1..2]);
        let place = lab.place();
        lab.run(&place, &lab.create("b.tar")).is(0, "bundle");
        fs::rename(place.join("b.tar"), lab.path("b.tar")).unwrap();
        lab.run(&place, &lab.create_of("b.tar", "other-layout")).is(0, "another bundle");
        fs::rename(place.join("b.tar"), lab.path("other.tar")).unwrap();
        let base = args!["--base", lab.path("other.tar")];
        lab.run(&place, &[lab.create("small.tar"), base].concat()).is(0, "a form");
        fs::rename(place.join("small.tar"), lab.path("small.tar")).unwrap();
        let recovery = args!["recovery", lab.path("b.tar"), "--percent", "30%"];
        lab.run(&place, &recovery).is(0, "recovery data");
        lab.run(&place, &[lab.create("v.tar"), args!["--volume-size", "45000"]].concat()).is(0, "volumes");
        for volume in fs::read_dir(&place).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()) {
            if let Some(number) = volume.strip_prefix("v.") {
                fs::rename(place.join(&volume), lab.path(&format!("b.{number}"))).unwrap();
            }
        }
        assert!(lab.volumes().len() > 1, "{:?}", lab.volumes());
        fs::remove_dir_all(place).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names of the volumes of the bundle.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let names = fs::read_dir(self.path(".")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut volumes: Vec<String> =
            names.filter(|n| n.starts_with("b.") && n.ends_with(".tar") && n != "b.tar").collect();
        volumes.sort();
        volumes
    }

    /// A new, empty folder to run in. Its name is one component of a repository.
    pub(crate) fn place(&self) -> PathBuf {
        let place = self.path(&format!("p{}", self.places.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&place).unwrap();
        place
    }

    /// `create NAME` from the layout and the manifests, signed.
    pub(crate) fn create(&self, name: &str) -> Vec<OsString> {
        self.create_of(name, "layout")
    }

    pub(crate) fn create_of(&self, name: &str, layout: &str) -> Vec<OsString> {
        self.numbered(name, layout, "7")
    }

    pub(crate) fn numbered(&self, name: &str, layout: &str, sequence: &str) -> Vec<OsString> {
        let (layout, manifests, key) = (self.path(layout), self.path("manifests"), self.path("builder"));
        let args = args!["create", name, "--from-layout", layout, "--manifests", manifests, "--sign-key", key];
        [args, args!["--name", "faults", "--sequence", sequence]].concat()
    }

    pub(crate) fn trust(&self) -> Vec<OsString> {
        args!["--signer", self.path("builder.pub")]
    }

    /// The program on these arguments in a place, behind a wrapper (`strace …`), if any.
    pub(crate) fn command(&self, place: &Path, wrapper: &[&str], args: &[OsString]) -> Command {
        let mut command = Command::new(wrapper.first().copied().unwrap_or(PROGRAM));
        if let [_, rest @ ..] = wrapper {
            command.args(rest).arg(PROGRAM);
        }
        program::clean(&mut command, place);
        command.args(args).env("SOURCE_DATE_EPOCH", EPOCH);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, place: &Path, args: &[OsString]) -> Ended {
        ended(&mut self.command(place, &[], args))
    }

    /// The same for a layer of 2 MiB that is almost nothing but zeros: `sparse-prior.tar`, and `sparse.tar` as its
    /// difference.
    pub(crate) fn sparse(&self) {
        let content = |number: u8| [noise(12_000, 21), vec![number; 2 << 20]].concat();
        for number in [1, 2] {
            let layer = remade(&content(number), Family::B, Level::L5, Method::Pgzip(BlockSize::MiB));
            let name = ["sparse-prior-layout", "sparse-layout"][usize::from(number) - 1];
            write_layout(&self.path(name), &[Image::oci("amd64", &[layer])]);
        }
        let place = self.place();
        let base = args!["--base", self.path("sparse-prior.tar")];
        let bundles =
            [("sparse-prior.tar", "sparse-prior-layout", "7", vec![]), ("sparse.tar", "sparse-layout", "8", base)];
        for (name, layout, sequence, more) in bundles {
            let words = [self.numbered(name, layout, sequence), more].concat();
            self.run(&place, &words).is(0, name);
            fs::rename(place.join(name), self.path(name)).unwrap();
        }
        fs::remove_dir_all(place).unwrap();
    }

    /// An image before and after an update, in layers whose encoder is known. Makes `prior.tar`, its successor in full
    /// as `next.tar`, as differences as `differences.tar`, and in zstd as `compact.tar`.
    pub(crate) fn encoded(&self) {
        self.encoded.get_or_init(|| {
            for number in [1, 2] {
                let name = ["prior-layout", "next-layout"][number - 1];
                write_layout(&self.path(name), &[updated(number)]);
            }
            let place = self.place();
            let base = args!["--base", self.path("prior.tar")];
            let bundles = [
                ("prior.tar", "prior-layout", "7", vec![]),
                ("next.tar", "next-layout", "8", vec![]),
                ("differences.tar", "next-layout", "8", base),
                ("compact.tar", "next-layout", "8", args!["--compact"]),
            ];
            for (name, layout, sequence, more) in bundles {
                let words = [self.numbered(name, layout, sequence), more].concat();
                self.run(&place, &words).is(0, name);
                fs::rename(place.join(name), self.path(name)).unwrap();
            }
            fs::remove_dir_all(place).unwrap();
        });
    }

    /// A registry with the images of the layout as `tools/<n>:1`.
    pub(crate) fn source(&self) -> &Registry {
        self.source.get_or_init(|| {
            let registry = Registry::start();
            let pusher = Pusher::new(&registry.host());
            for (at, image) in images().iter().enumerate() {
                pusher.push(&format!("tools/i{at}"), image, Some("1"));
            }
            registry
        })
    }

    /// A registry to unpack to.
    pub(crate) fn target(&self) -> &Registry {
        self.target.get_or_init(Registry::start)
    }
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let code = out.status.code().unwrap_or_else(|| -out.status.signal().unwrap_or(0));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code, out: text(&out.stdout), err: text(&out.stderr) }
}

/// Two images that share a layer, and one for two platforms.
pub(crate) fn images() -> Vec<Image> {
    let shared = layer(&[("usr/share/base", &noise(9000, 1))]);
    let own = |seed: u64| layer(&[("usr/bin/own", &noise(3000 + seed as usize * 700, seed))]);
    let simple = |arch: &str, seed: u64| Image::oci(arch, &[shared.clone(), own(seed)]);
    vec![simple("amd64", 2), Image::list(vec![simple("amd64", 3), simple("arm64", 4)]), simple("amd64", 5)]
}

/// A layer with this content, as an encoder that can be made again writes it.
fn remade(content: &[u8], family: Family, level: Level, method: Method) -> Blob {
    let header = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];
    let mut tar = mirror_bundle::bundle::tar::header("usr/lib/own", content.len() as u64, 0).to_vec();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    let mut gzip = Gzip::new(&Recipe::new(family, level, method, &header).unwrap(), Vec::new());
    gzip.write_all(&tar).unwrap();
    Blob {
        diff_id: Some(Digest::of(&tar)),
        ..Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish().unwrap())
    }
}

/// An image of three layers, each as another encoder writes it, of which two change a little from one number to the next,
/// and one not at all.
pub(crate) fn updated(number: usize) -> Image {
    // Each byte twice: zstd makes less of it than gzip.
    let twice = |seed| noise(12_000, seed).iter().flat_map(|byte| [*byte; 2]).collect::<Vec<_>>();
    let (mut own, mut other) = (twice(11), twice(12));
    own[9000..9020].fill(number as u8);
    other[100..200].fill(number as u8);
    let layers = [
        remade(&own, Family::B, Level::L5, Method::Pgzip(BlockSize::MiB)),
        remade(&twice(13), Family::B, Level::L6, Method::Gzip),
        remade(&other, Family::Go126, Level::L6, Method::Gzip),
    ];
    Image::oci("amd64", &layers)
}

/// An OCI layout of these images, `example.com/tools/i<n>:1`.
pub(crate) fn write_layout(path: &Path, images: &[Image]) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |digest: Digest, bytes: &[u8]| fs::write(blobs.join(digest.hex()), bytes).unwrap();
    let mut entries = Vec::new();
    for (at, image) in images.iter().enumerate() {
        for document in image.documents() {
            document.blobs.iter().for_each(|blob| put(blob.digest(), &blob.bytes));
            put(document.digest(), &document.bytes);
        }
        entries.push(serde_json::json!({
            "mediaType": image.media_type, "digest": image.digest(), "size": image.bytes.len(),
            "annotations": { "org.opencontainers.image.ref.name": format!("example.com/tools/i{at}:1") },
        }));
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// An object in a folder, which must match byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder,
    /// Mode and digest.
    File(u32, Digest),
    Link(PathBuf),
}

/// The content of a place, by path relative to it.
pub(crate) type Snapshot = BTreeMap<PathBuf, Entry>;

pub(crate) fn snapshot(place: &Path) -> Snapshot {
    let mut out = BTreeMap::new();
    let mut seen: BTreeMap<u64, Digest> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(place).min_depth(1) {
        let entry = entry.unwrap();
        // The index that `create` keeps for later bundles: a help, and not part of what was asked for.
        if entry.file_name().to_string_lossy().contains(".index.json") {
            continue;
        }
        let meta = entry.path().symlink_metadata().unwrap();
        let what = if meta.is_file() {
            let hash = || Digest::of(&fs::read(entry.path()).unwrap());
            let digest = if meta.nlink() > 1 { *seen.entry(meta.ino()).or_insert_with(hash) } else { hash() };
            Entry::File(meta.permissions().mode() & 0o777, digest)
        } else if meta.is_symlink() {
            Entry::Link(fs::read_link(entry.path()).unwrap())
        } else {
            Entry::Folder
        };
        out.insert(entry.path().strip_prefix(place).unwrap().to_owned(), what);
    }
    out
}

/// Whether this is a name that this program gives only to unfinished files.
pub(crate) fn temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    // Where layers are kept that are made before the bundle.
    if path.ancestors().any(|path| path.to_string_lossy().ends_with(".partial.work")) {
        return true;
    }
    [".partial", ".partial.journal", ".partial.journal.new", ".partial:"].iter().any(|end| name.ends_with(end))
}
