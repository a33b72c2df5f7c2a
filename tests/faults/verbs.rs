//! The verbs under test: one entry each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mirror_bundle::oci::{self, Digest, Document};

use crate::lab::{Entry, Lab, Snapshot, args, snapshot, temporary};

/// A way to run the program, and its initial state. To add a verb, add an entry to [`VERBS`].
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Fills a place.
    pub(crate) setup: fn(&Lab, &Path),
    /// Arguments; the place is the current folder.
    pub(crate) args: fn(&Lab, &Path) -> Vec<OsString>,
    /// A bundle in the place that is appended to: it may end in the leftover of an append, and then reports it.
    pub(crate) appends: Option<&'static str>,
    /// A bundle in the place that is renamed during repair: it is then beside its name, under a temporary one.
    pub(crate) mends: Option<&'static str>,
    /// Whether it writes to the target registry, below the name of the place.
    pub(crate) pushes: bool,
    /// Accepted exit codes of a second run after one whose success was not seen.
    pub(crate) again: &'static [i32],
}

/// Three volumes and a bit of a blob in two of them.
const VOLUME: &str = "45000";

pub(crate) const PLAIN: Verb =
    Verb { name: "", setup: nothing, args: nowhere, appends: None, mends: None, pushes: false, again: &[0] };

pub(crate) const VERBS: &[Verb] = &[
    // A finished bundle is not replaced without a request.
    Verb { name: "create", args: |lab, _| lab.create("b.tar"), again: &[0, 52], ..PLAIN },
    Verb {
        name: "create --force",
        setup: |lab, place| copy(lab, "other.tar", place, "b.tar"),
        args: |lab, _| [lab.create("b.tar"), args!["--force"]].concat(),
        ..PLAIN
    },
    Verb {
        name: "create --force over the same bundle, damaged",
        setup: damaged,
        args: |lab, _| [lab.create("b.tar"), args!["--force"]].concat(),
        ..PLAIN
    },
    Verb {
        name: "create from a registry",
        args: |lab, _| {
            let host = lab.source().host();
            let mut out = args!["create", "b.tar", "--sign-key", lab.path("builder"), "--plain-http", "127.0.0.1"];
            (0..3).for_each(|at| out.extend(args!["--image", format!("{host}/tools/i{at}:1")]));
            [out, args!["--name", "faults", "--sequence", "7", "--retries", "1", "--timeout", "5"]].concat()
        },
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "create in volumes",
        args: |lab, _| [lab.create("b.tar"), args!["--volume-size", VOLUME]].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "create in volumes --force",
        setup: |lab, place| lab.volumes().iter().for_each(|v| fs::write(place.join(v), "an earlier one").unwrap()),
        args: |lab, _| [lab.create("b.tar"), args!["--volume-size", VOLUME, "--force"]].concat(),
        ..PLAIN
    },
    Verb {
        name: "split",
        setup: bundle,
        args: |_, _| args!["split", "b.tar", "--volume-size", VOLUME],
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "join",
        setup: |lab, place| {
            fs::create_dir(place.join("in")).unwrap();
            lab.volumes().iter().for_each(|v| copy(lab, v, place, &format!("in/{v}")));
        },
        args: |_, _| args!["join", "b.tar", "in"],
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "create --base",
        args: |lab, _| [lab.create("b.tar"), args!["--base", lab.path("other.tar")]].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "expand",
        args: |lab, _| args!["expand", lab.path("small.tar"), "b.tar", "--base", lab.path("other.tar")],
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "shrink",
        args: |lab, _| {
            let base = args!["--base", lab.path("other.tar"), "--sign-key", lab.path("builder")];
            [args!["shrink", lab.path("b.tar"), "s.tar"], base].concat()
        },
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "unpack --to-dir of a form",
        setup: |lab, place| copy(lab, "small.tar", place, "b.tar"),
        args: |lab, _| {
            let base = args!["--base", lab.path("other.tar")];
            [on(lab, &["unpack", "b.tar", "--to-dir", "deep/tree"]), base].concat()
        },
        ..PLAIN
    },
    Verb {
        name: "create --base with differences",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| [next(lab), args!["--base", lab.path("prior.tar")]].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "create --compact",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| [next(lab), args!["--compact"]].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "create --compact --force in volumes",
        setup: |lab, place| {
            lab.encoded();
            fs::write(place.join("b.1of3.tar"), "an earlier one").unwrap();
        },
        args: |lab, _| [next(lab), args!["--compact", "--force", "--volume-size", "20000"]].concat(),
        ..PLAIN
    },
    Verb {
        name: "shrink with differences",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| {
            let base = args!["--base", lab.path("prior.tar"), "--sign-key", lab.path("builder")];
            [args!["shrink", lab.path("next.tar"), "s.tar"], base].concat()
        },
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "expand of differences",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| {
            let base = args!["b.tar", "--base", lab.path("prior.tar")];
            [args!["expand", lab.path("differences.tar")], base, lab.trust()].concat()
        },
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "expand of a compact form",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| [args!["expand", lab.path("compact.tar"), "b.tar"], lab.trust()].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb {
        name: "verify --base of differences",
        setup: |lab, _| lab.encoded(),
        args: |lab, _| {
            let base = args!["--base", lab.path("prior.tar")];
            [args!["verify", lab.path("differences.tar")], base, lab.trust()].concat()
        },
        ..PLAIN
    },
    Verb {
        name: "unpack --to-dir of differences",
        setup: |lab, place| from_encoded(lab, "differences.tar", place),
        args: |lab, _| {
            let base = args!["--base", lab.path("prior.tar")];
            [on(lab, &["unpack", "b.tar", "--to-dir", "deep/tree"]), base].concat()
        },
        ..PLAIN
    },
    Verb {
        name: "unpack --to-layout of a compact form",
        setup: |lab, place| from_encoded(lab, "compact.tar", place),
        args: |lab, _| on(lab, &["unpack", "b.tar", "--to-layout", "layout"]),
        ..PLAIN
    },
    Verb { name: "recovery", setup: bundle, args: |_, _| args!["recovery", "b.tar"], again: &[0, 52], ..PLAIN },
    Verb {
        name: "repair from recovery data",
        setup: |lab, place| {
            damaged(lab, place);
            copy(lab, "b.tar.recovery", place, "b.tar.recovery");
        },
        args: |lab, _| on(lab, &["repair", "b.tar"]),
        mends: Some("b.tar"),
        ..PLAIN
    },
    Verb {
        name: "repair --to from another copy",
        setup: damaged,
        args: |lab, _| [on(lab, &["repair", "b.tar", "--to", "new.tar"]), args!["--from", lab.path("b.tar")]].concat(),
        again: &[0, 52],
        ..PLAIN
    },
    Verb { name: "verify", setup: bundle, args: |lab, _| on(lab, &["verify", "b.tar"]), ..PLAIN },
    Verb { name: "sign", setup: bundle, args: |lab, _| sign(lab, &[]), appends: Some("b.tar"), ..PLAIN },
    Verb { name: "sign --detach", setup: bundle, args: |lab, _| sign(lab, &["--detach"]), ..PLAIN },
    Verb {
        name: "unpack --to-dir",
        setup: bundle,
        args: |lab, _| on(lab, &["unpack", "b.tar", "--to-dir", "deep/tree"]),
        ..PLAIN
    },
    Verb {
        name: "unpack --to-dir from volumes",
        setup: |lab, place| {
            fs::create_dir(place.join("in")).unwrap();
            lab.volumes().iter().for_each(|v| copy(lab, v, place, &format!("in/{v}")));
        },
        args: |lab, _| on(lab, &["unpack", "in", "--to-dir", "deep/tree"]),
        ..PLAIN
    },
    Verb {
        name: "unpack --to-layout",
        setup: bundle,
        args: |lab, _| on(lab, &["unpack", "b.tar", "--to-layout", "layout"]),
        ..PLAIN
    },
    Verb {
        name: "unpack --to",
        setup: bundle,
        args: |lab, place| {
            let to = format!("{}/{}/mirror", lab.target().host(), name(place));
            let more =
                args!["--to", to, "--plain-http", "127.0.0.1", "--manifests-to-dir", "m", "--mirror-set", "none"];
            [on(lab, &["unpack", "b.tar", "--retries", "1", "--timeout", "5"]), more].concat()
        },
        pushes: true,
        ..PLAIN
    },
    Verb {
        name: "unpack --to of a form, where the base is",
        setup: |lab, place| {
            copy(lab, "small.tar", place, "b.tar");
            let aside = tempfile::tempdir().unwrap();
            copy(lab, "other.tar", aside.path(), "b.tar");
            lab.run(aside.path(), &pushed(lab, place)).is(0, "the base");
        },
        args: |lab, place| pushed(lab, place),
        pushes: true,
        ..PLAIN
    },
    Verb {
        name: "unpack --to of differences, where the base is",
        setup: |lab, place| {
            from_encoded(lab, "differences.tar", place);
            let aside = tempfile::tempdir().unwrap();
            from_encoded(lab, "prior.tar", aside.path());
            lab.run(aside.path(), &pushed(lab, place)).is(0, "the base");
        },
        args: |lab, place| pushed(lab, place),
        pushes: true,
        ..PLAIN
    },
    Verb {
        name: "unpack --to of a compact form",
        setup: |lab, place| from_encoded(lab, "compact.tar", place),
        args: |lab, place| pushed(lab, place),
        pushes: true,
        ..PLAIN
    },
];

/// `create b.tar` of the updated image.
fn next(lab: &Lab) -> Vec<OsString> {
    lab.numbered("b.tar", "next-layout", "8")
}

/// One of the bundles with layers whose encoder is known, as `b.tar`.
fn from_encoded(lab: &Lab, name: &str, place: &Path) {
    lab.encoded();
    copy(lab, name, place, "b.tar");
}

/// `unpack b.tar` to the target registry, below the name of the place.
fn pushed(lab: &Lab, place: &Path) -> Vec<OsString> {
    let to = format!("{}/{}/mirror", lab.target().host(), name(place));
    let more = args!["--to", to, "--plain-http", "127.0.0.1", "--manifests-to-dir", "m", "--mirror-set", "none"];
    [on(lab, &["unpack", "b.tar", "--retries", "1", "--timeout", "5"]), more].concat()
}

/// The selected verbs: all, or those named by the environment.
pub(crate) fn chosen() -> impl Iterator<Item = &'static Verb> {
    let word = std::env::var("FAULTS_VERB").unwrap_or_default();
    VERBS.iter().filter(move |verb| verb.name.contains(&word))
}

fn nothing(_: &Lab, _: &Path) {}

fn nowhere(_: &Lab, _: &Path) -> Vec<OsString> {
    Vec::new()
}

fn damaged(lab: &Lab, place: &Path) {
    let mut bytes = fs::read(lab.path("b.tar")).unwrap();
    let at = bytes.len() - 3000;
    bytes[at] ^= 1;
    fs::write(place.join("b.tar"), bytes).unwrap();
}

fn bundle(lab: &Lab, place: &Path) {
    copy(lab, "b.tar", place, "b.tar");
}

fn copy(lab: &Lab, from: &str, place: &Path, to: &str) {
    fs::copy(lab.path(from), place.join(to)).unwrap();
}

fn on(lab: &Lab, words: &[&str]) -> Vec<OsString> {
    [words.iter().map(OsString::from).collect(), lab.trust()].concat()
}

fn sign(lab: &Lab, more: &[&str]) -> Vec<OsString> {
    let key = args!["--sign-key", lab.path("reviewer"), "--note", "CHG-1", "--at", "2024-01-01"];
    [on(lab, &["sign", "b.tar"]), key, more.iter().map(OsString::from).collect()].concat()
}

fn name(place: &Path) -> String {
    place.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The initial and the final state of a verb.
pub(crate) struct Goal {
    before: Snapshot,
    after: Snapshot,
    pushed: BTreeMap<String, String>,
}

impl Verb {
    /// A new place to run in.
    pub(crate) fn place(&self, lab: &Lab) -> PathBuf {
        let place = lab.place();
        (self.setup)(lab, &place);
        place
    }

    /// Runs without any fault, with one worker, for the expected result.
    pub(crate) fn goal(&self, lab: &Lab) -> Goal {
        let place = self.place(lab);
        let before = snapshot(&place);
        lab.run(&place, &self.words(lab, &place, 1)).is(0, self.name);
        let goal = Goal { before, after: snapshot(&place), pushed: self.registry(lab, &place) };
        assert!(goal.after.keys().all(|path| !temporary(path)), "{}: {:?}", self.name, goal.after);
        fs::remove_dir_all(place).unwrap();
        goal
    }

    /// The arguments, with this many workers.
    pub(crate) fn words(&self, lab: &Lab, place: &Path, jobs: usize) -> Vec<OsString> {
        [(self.args)(lab, place), args![format!("-j{jobs}")]].concat()
    }

    /// After a fault: every final name holds the previous content or the expected one.
    pub(crate) fn check_between(&self, lab: &Lab, place: &Path, goal: &Goal, what: &str) {
        let now = snapshot(place);
        for (path, entry) in &now {
            let right = goal.after.get(path) == Some(entry) || goal.before.get(path) == Some(entry);
            if right || temporary(path) || (!goal.after.contains_key(path) && *entry == Entry::Folder) {
                continue;
            }
            match self.appends.map(Path::new) {
                Some(appended) if appended == path => self.check_appended(lab, place, what),
                _ => panic!("{}: {what}: {} is {entry:?}", self.name, path.display()),
            }
        }
        for path in goal.before.keys() {
            if self.mends.map(Path::new) == Some(path) && !now.contains_key(path) {
                let beside =
                    now.keys().any(|p| p.to_str().unwrap().starts_with(path.to_str().unwrap()) && temporary(p));
                assert!(beside, "{}: {what}: {} is nowhere", self.name, path.display());
                continue;
            }
            assert!(now.contains_key(path), "{}: {what}: {} is gone", self.name, path.display());
        }
        complete(place);
        self.registry(lab, place);
    }

    /// Existing content stays; the leftover of an append is reported as such.
    fn check_appended(&self, lab: &Lab, place: &Path, what: &str) {
        let (before, now) = (fs::read(lab.path("b.tar")).unwrap(), fs::read(place.join("b.tar")).unwrap());
        let end = before.len() - 1024;
        assert!(now.len() >= end && now[..end] == before[..end], "{}: {what}: content changed", self.name);
        let verified = lab.run(place, &on(lab, &["verify", "b.tar"]));
        assert!([0, 11, 32].contains(&verified.code), "{}: {what}: {verified:?}", self.name);
        if verified.code == 32 {
            assert!(verified.err.contains("interrupted `sign`"), "{}: {what}: {verified:?}", self.name);
        }
    }

    /// After a successful run: everything is as after a run without faults, and nothing else is left.
    pub(crate) fn check_after(&self, lab: &Lab, place: &Path, goal: &Goal, what: &str) {
        self.same(&snapshot(place), goal, what);
        assert_eq!(self.registry(lab, place), goal.pushed, "{}: {what}", self.name);
    }

    /// Whether files, links and folders are as they are without any fault.
    pub(crate) fn same(&self, now: &Snapshot, goal: &Goal, what: &str) {
        for path in goal.after.keys().chain(now.keys()) {
            let (is, should) = (now.get(path), goal.after.get(path));
            assert_eq!(is, should, "{}: {what}: {}", self.name, path.display());
        }
    }

    /// The content of the target registry below the name of the place: links by path. Every tag must lead to a
    /// complete image.
    fn registry(&self, lab: &Lab, place: &Path) -> BTreeMap<String, String> {
        if !self.pushes {
            return BTreeMap::new();
        }
        let storage = lab.target().storage().join("docker/registry/v2");
        let root = storage.join("repositories").join(name(place));
        let mut links = BTreeMap::new();
        for entry in walkdir::WalkDir::new(&root).into_iter().flatten() {
            let path = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if entry.file_type().is_file() && path.ends_with("/link") && !path.contains("/_uploads/") {
                links.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
        for (path, digest) in &links {
            if let Some((repository, _)) = path.split_once("/_manifests/tags/") {
                whole(&storage, &links, repository, digest);
            }
        }
        links
    }
}

/// The manifest with this digest, and everything that it names, is in the repository and right.
fn whole(storage: &Path, links: &BTreeMap<String, String>, repository: &str, digest: &str) {
    let read = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let bytes = fs::read(storage.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), digest);
        bytes
    };
    let linked = |kind: &str, digest: &str| {
        let path = format!("{repository}/{kind}/{}/link", digest.replace(':', "/"));
        assert!(links.contains_key(&path), "{path} is missing");
    };
    linked("_manifests/revisions", digest);
    let bytes = read(digest);
    let media_type = oci::guess(&bytes).unwrap();
    match oci::parse(&bytes, &media_type).unwrap() {
        Document::Manifest(manifest) => {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                linked("_layers", &blob.digest.to_string());
                read(&blob.digest.to_string());
            }
        }
        Document::Index(index) => {
            index.manifests.iter().for_each(|m| whole(storage, links, repository, &m.digest.to_string()));
        }
    }
}

/// Every tag of the tree and every entry of the layout in a place leads to a complete image. (Its content was checked
/// before.)
fn complete(place: &Path) {
    let walk = |dir: &str| walkdir::WalkDir::new(place.join(dir)).into_iter().flatten();
    for tag in walk("deep/tree/v2").filter(|e| e.path_is_symlink()) {
        let blobs = tag.path().ancestors().nth(2).unwrap().join("blobs");
        let digest = fs::read_link(tag.path()).unwrap().to_str().unwrap().to_owned();
        assert!(tag.path().with_file_name(&digest).exists(), "{} leads nowhere", tag.path().display());
        closure(&digest, &|digest| blobs.join(digest));
    }
    if let Ok(index) = fs::read(place.join("layout/index.json")) {
        let Ok(Document::Index(index)) = oci::parse(&index, mirror_bundle::oci::media_type::OCI_INDEX) else {
            panic!()
        };
        let path = |digest: &str| place.join("layout/blobs").join(digest.replace(':', "/"));
        index.manifests.iter().for_each(|m| closure(&m.digest.to_string(), &path));
    }
}

fn closure(digest: &str, path: &dyn Fn(&str) -> PathBuf) {
    let bytes = fs::read(path(digest)).unwrap_or_else(|e| panic!("{digest} is named and not there: {e}"));
    let media_type = oci::guess(&bytes).unwrap();
    match oci::parse(&bytes, &media_type).unwrap() {
        Document::Manifest(manifest) => {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                assert!(path(&blob.digest.to_string()).exists(), "{} is named and not there", blob.digest);
            }
        }
        Document::Index(index) => index.manifests.iter().for_each(|m| closure(&m.digest.to_string(), path)),
    }
}
