//! Tests of the directory sinks: planted links, wrong content, kill and resume under strace, skopeo and umoci as
//! readers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::tree::Tagged;
use super::*;
use crate::error::{Code, Error};
use crate::oci::{self, Descriptor, Document, media_type};
use crate::source::{self, Source};

const NEW: files::Rules = files::Rules { overwrite: false, keep: None };
const OVER: files::Rules = files::Rules { overwrite: true, keep: None };

/// What to plant, and how.
type Plant = (&'static str, fn(&Path));

fn image() -> source::Layout {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oci-layouts/single-arch-empty-image");
    source::Layout::open(&path).unwrap()
}

fn blobs_of(source: &dyn Source, manifest: &source::Fetched) -> Vec<(Descriptor, Vec<u8>)> {
    let Document::Manifest(doc) = oci::parse(&manifest.bytes, &manifest.media_type).unwrap() else { panic!() };
    let read = |d: &Descriptor| {
        let mut bytes = Vec::new();
        source.blob(d, 0).unwrap().read_to_end(&mut bytes).unwrap();
        (d.clone(), bytes)
    };
    std::iter::once(&doc.config).chain(&doc.layers).map(read).collect()
}

/// Writes the test image into a tree (two repositories) and a layout, as `unpack` would.
fn job(dir: &Path) -> Result<()> {
    // A child process that another test is starting holds every lock of this process until it executes another program.
    for _ in 0..1000 {
        match attempt(dir) {
            Err(e) if e.message().contains("written by another process") => {
                std::thread::sleep(std::time::Duration::from_millis(1))
            }
            other => return other,
        }
    }
    attempt(dir)
}

fn attempt(dir: &Path) -> Result<()> {
    let source = image();
    let root = source.names()?.remove(0).digest;
    let manifest = source.manifest(&root)?.expect("a manifest");
    let blobs = blobs_of(&source, &manifest);
    let tree = TreeSink::open(&dir.join("tree"))?;
    let (one, two) = (tree.repository("openshift/release")?, tree.repository("second")?);
    for (what, bytes) in &blobs {
        one.put(&what.digest, what.size, &mut bytes.as_slice())?;
        assert!(two.take(&one, &what.digest, what.size)?);
    }
    for repo in [&one, &two] {
        repo.put_manifest(&root, &manifest.bytes)?;
        repo.finish()?;
        repo.tag(&"4.3.0-x86_64".parse().expect("a tag"), &root)?;
        repo.finish()?;
    }
    let layout = LayoutSink::open(&dir.join("layout"))?;
    for (what, bytes) in &blobs {
        layout.put(&what.digest, what.size, &mut bytes.as_slice())?;
    }
    let size = manifest.bytes.len() as u64;
    layout.put(&root, size, &mut &manifest.bytes[..])?;
    layout.add(Some("quay.io/openshift/release:4.3.0-x86_64"), &entry(root, size));
    layout.finish()?;
    files::write(&files::Folder::named(dir.join("files")), &[("a.yaml".to_owned(), b"a: 1\n".to_vec())], NEW)?;
    Ok(())
}

fn entry(digest: Digest, size: u64) -> Descriptor {
    let media_type = media_type::OCI_MANIFEST.to_owned();
    Descriptor::new(media_type, digest, size)
}

/// Maps each path below to inode, time of change and digest of the content (or link target).
fn snapshot(dir: &Path) -> BTreeMap<String, (u64, i64, i64, String)> {
    let mut out = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir).min_depth(1) {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let content = if meta.is_file() {
            Digest::of(&fs::read(entry.path()).unwrap()).to_string()
        } else if meta.is_symlink() {
            fs::read_link(entry.path()).unwrap().display().to_string()
        } else {
            continue;
        };
        let path = entry.path().strip_prefix(dir).unwrap().display().to_string();
        out.insert(path, (meta.ino(), meta.mtime(), meta.mtime_nsec(), content));
    }
    out
}

fn contents(dir: &Path) -> BTreeMap<String, String> {
    snapshot(dir).into_iter().map(|(path, (.., content))| (path, content)).collect()
}

fn code(result: Result<impl Sized>) -> Code {
    result.err().expect("an error").code()
}

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn what_was_written_reads_back_whole_and_a_second_run_writes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    job(tmp.path()).unwrap();
    let before = snapshot(tmp.path());
    job(tmp.path()).unwrap();
    assert_eq!(snapshot(tmp.path()), before);

    let from = image();
    let root = from.names().unwrap()[0].digest;
    let tree = source::MirrorDir::open(&tmp.path().join("tree")).unwrap();
    let labels: Vec<String> = tree.names().unwrap().iter().map(source::Named::label).collect();
    assert_eq!(labels, ["openshift/release:4.3.0-x86_64", "second:4.3.0-x86_64"]);
    let layout = source::open(&tmp.path().join("layout"), tmp.path()).unwrap();
    assert_eq!(layout.names().unwrap()[0].label(), "quay.io/openshift/release:4.3.0-x86_64");
    for back in [&tree as &dyn Source, layout.as_ref()] {
        let manifest = back.manifest(&root).unwrap().unwrap();
        assert_eq!(blobs_of(back, &manifest), blobs_of(&from, &manifest));
    }
}

#[test]
fn the_tree_has_the_links_that_oc_reads() {
    let tmp = tempfile::tempdir().unwrap();
    job(tmp.path()).unwrap();
    let v2 = tmp.path().join("tree/v2");
    let root = image().names().unwrap()[0].digest.to_string();
    let tag = fs::read_link(v2.join("openshift/release/manifests/4.3.0-x86_64")).unwrap();
    assert_eq!(tag, Path::new(&root));
    let ino = |path: &str| fs::symlink_metadata(v2.join(path)).unwrap().ino();
    let blob = format!("openshift/release/blobs/{root}");
    assert_eq!(ino(&blob), ino(&format!("openshift/release/manifests/{root}")));
    for entry in fs::read_dir(v2.join("second/blobs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let shared = ino(&format!("second/blobs/{name}")) == ino(&format!("openshift/release/blobs/{name}"));
        assert_eq!(shared, name != root, "{name}");
    }
}

#[test]
fn skopeo_and_umoci_read_the_layout() {
    let tmp = tempfile::tempdir().unwrap();
    job(tmp.path()).unwrap();
    let layout = tmp.path().join("layout");
    let image = format!("oci:{}:quay.io/openshift/release:4.3.0-x86_64", layout.display());
    let root = super::tests::image().names().unwrap()[0].digest;
    let raw = run("skopeo", &["inspect", "--raw", &image]);
    assert_eq!(Digest::of(raw.as_bytes()), root);
    let copy = tmp.path().join("copy");
    run("skopeo", &["--insecure-policy", "copy", "-q", &image, &format!("dir:{}", copy.display())]);
    assert_eq!(source::SkopeoDir::open(&copy).unwrap().names().unwrap()[0].digest, root);
    let tags = run("umoci", &["list", "--layout", layout.to_str().unwrap()]);
    assert_eq!(tags, "quay.io/openshift/release:4.3.0-x86_64\n");
}

#[test]
fn a_layout_is_added_to_and_foreign_entries_stay() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("layout");
    run("umoci", &["init", "--layout", dir.to_str().unwrap()]);
    run("umoci", &["new", "--image", &format!("{}:theirs", dir.display())]);
    job(tmp.path()).unwrap();
    let names = || -> Vec<String> {
        source::Layout::open(&dir).unwrap().names().unwrap().iter().map(source::Named::label).collect()
    };
    assert_eq!(names(), ["theirs", "quay.io/openshift/release:4.3.0-x86_64"]);
    let sink = LayoutSink::open(&dir).unwrap();
    let other = br#"{"schemaVersion":2}"#;
    sink.put(&Digest::of(other), other.len() as u64, &mut &other[..]).unwrap();
    sink.add(Some("theirs"), &entry(Digest::of(other), other.len() as u64));
    sink.add(None, &entry(Digest::of(other), other.len() as u64));
    sink.finish().unwrap();
    assert_eq!(names().len(), 3);
    let moved = source::Layout::open(&dir).unwrap().resolve(&"theirs".parse().unwrap()).unwrap().unwrap();
    assert_eq!(moved.bytes[..], other[..]);

    let foreign = tmp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("holiday.jpg"), "").unwrap();
    assert_eq!(code(LayoutSink::open(&foreign)), Code::Conflict);
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    fs::write(dir.join("index.json"), "[]").unwrap();
    assert_eq!(code(LayoutSink::open(&dir)), Code::Conflict);
}

struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(Error::new(Code::Truncated, "the medium was pulled").into());
        }
        let got = self.0.min(buf.len());
        buf[..got].fill(7);
        self.0 -= got;
        Ok(got)
    }
}

#[test]
fn wrong_short_long_and_failing_content_leaves_nothing_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let tree = TreeSink::open(&tmp.path().join("t")).unwrap();
    let repo = tree.repository("a").unwrap();
    let layout = LayoutSink::open(&tmp.path().join("l")).unwrap();
    let right = vec![7u8; 1 << 20];
    let (digest, size) = (Digest::of(&right), right.len() as u64);
    for sink in [&repo as &dyn BlobSink, &layout] {
        let before = contents(tmp.path());
        let mut flipped = right.clone();
        flipped[1 << 19] ^= 1;
        let long = [right.clone(), vec![0]].concat();
        for bad in [&flipped[..], &right[1..], &long, b""] {
            assert_eq!(code(sink.put(&digest, size, &mut &*bad)), Code::BlobMismatch);
        }
        assert_eq!(code(sink.put(&digest, size, &mut io::repeat(7))), Code::BlobMismatch);
        assert_eq!(code(sink.put(&digest, size, &mut Failing(500_000))), Code::Truncated);
        assert_eq!(contents(tmp.path()), before);
        assert!(!sink.has(&digest, size).unwrap());
        sink.put(&digest, size, &mut right.as_slice()).unwrap();
        assert!(sink.has(&digest, size).unwrap() && sink.has_size(&digest, size).unwrap());
        let before = contents(tmp.path());
        sink.put(&digest, size, &mut Failing(0)).unwrap();
        assert_eq!(contents(tmp.path()), before);
    }
}

#[test]
fn a_file_that_is_there_with_wrong_content_is_replaced() {
    let tmp = tempfile::tempdir().unwrap();
    job(tmp.path()).unwrap();
    let good = contents(tmp.path());
    for path in good.keys().filter(|p| p.contains("blobs/")) {
        let full = tmp.path().join(path);
        let mut bytes = fs::read(&full).unwrap();
        bytes[3] ^= 1;
        fs::remove_file(&full).unwrap();
        fs::write(&full, &bytes).unwrap();
        job(tmp.path()).unwrap();
        assert_eq!(contents(tmp.path()), good, "{path}");
        fs::write(tmp.path().join(path), "").unwrap();
        job(tmp.path()).unwrap();
        assert_eq!(contents(tmp.path()), good, "{path}");
    }
}

#[test]
fn a_link_planted_anywhere_in_the_destination_is_refused() {
    let reference = tempfile::tempdir().unwrap();
    job(reference.path()).unwrap();
    let mut places = Vec::new();
    for entry in walkdir::WalkDir::new(reference.path()).min_depth(2) {
        let entry = entry.unwrap();
        if !entry.path_is_symlink() {
            places.push((entry.path().strip_prefix(reference.path()).unwrap().to_owned(), entry.file_type().is_dir()));
        }
    }
    assert!(places.len() > 15);
    for (place, is_dir) in places {
        let (tmp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = tmp.path().join(&place);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        if place.starts_with("layout") && place != Path::new("layout/oci-layout") {
            fs::write(tmp.path().join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
        let target = if is_dir { outside.path().to_owned() } else { outside.path().join("f") };
        for target in [target, Path::new("dangling").to_owned()] {
            let _ = fs::remove_file(&at);
            symlink(target, &at).unwrap();
            assert_eq!(code(job(tmp.path())), Code::Conflict, "{}", place.display());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{}", place.display());
        }
    }
    // A root that is a link is the user's own choice.
    let (tmp, real) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for root in ["tree", "layout", "files"] {
        fs::create_dir(real.path().join(root)).unwrap();
        symlink(real.path().join(root), tmp.path().join(root)).unwrap();
    }
    job(tmp.path()).unwrap();
    assert_eq!(contents(real.path()), contents(reference.path()));
}

#[test]
fn temporary_names_that_were_planted_are_not_written_through() {
    let tmp = tempfile::tempdir().unwrap();
    let secret = tmp.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let repo = TreeSink::open(&tmp.path().join("t")).unwrap().repository("a").unwrap();
    let content = b"content";
    let (digest, size) = (Digest::of(content), content.len() as u64);
    let partial = tmp.path().join("t/v2/a/blobs").join(crate::fs::partial::temp_name(&digest));
    symlink(&secret, &partial).unwrap();
    repo.put(&digest, size, &mut &content[..]).unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"s");
    assert!(repo.has(&digest, size).unwrap() && !partial.exists());

    let other = b"other content";
    let (digest, size) = (Digest::of(other), other.len() as u64);
    let partial = tmp.path().join("t/v2/a/blobs").join(crate::fs::partial::temp_name(&digest));
    fs::create_dir(&partial).unwrap();
    assert_eq!(code(repo.put(&digest, size, &mut &other[..])), Code::Conflict);
    fs::remove_dir(&partial).unwrap();
    let held = fs::File::create(&partial).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(code(repo.put(&digest, size, &mut &other[..])), Code::Conflict, "another process writes it");
    drop(held);
    repo.put(&digest, size, &mut &other[..]).unwrap();
}

#[test]
fn tags_move_and_say_from_where() {
    let tmp = tempfile::tempdir().unwrap();
    let repo = TreeSink::open(tmp.path()).unwrap().repository("a").unwrap();
    let tag = "latest".parse().unwrap();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(repo.tag(&tag, &one).unwrap(), Tagged::New);
    assert_eq!(repo.tag(&tag, &one).unwrap(), Tagged::Same);
    assert_eq!(repo.tag(&tag, &two).unwrap(), Tagged::Moved(one));
    let link = tmp.path().join("v2/a/manifests/latest");
    fs::remove_file(&link).unwrap();
    symlink(format!("old/v2/a/manifests/{one}"), &link).unwrap();
    assert_eq!(repo.tag(&tag, &one).unwrap(), Tagged::Same);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(&one.to_string()), "rewritten in the form that works");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "").unwrap();
    assert_eq!(code(repo.tag(&tag, &one)), Code::Conflict);
}

#[test]
fn unusable_repository_names_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let tree = TreeSink::open(tmp.path()).unwrap();
    for bad in ["", "../x", "/x", "a//b", "A", "a/blobs", "manifests/x", "a:b"] {
        assert_eq!(code(tree.repository(bad)), Code::Malformed, "{bad}");
    }
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
}

fn yaml(names: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    names.iter().map(|(n, c)| ((*n).to_owned(), c.as_bytes().to_vec())).collect()
}

#[test]
fn files_are_written_only_where_nothing_foreign_is() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("manifests");
    let ours = yaml(&[("a.yaml", "1"), ("b.yaml", "2"), ("sha256=00/signature-1", "s")]);
    let done = files::write(&files::Folder::named(&dir), &ours, NEW).unwrap();
    assert_eq!(done, files::Written { new: 3, same: 0, replaced: 0 });
    let before = snapshot(&dir);
    assert_eq!(files::write(&files::Folder::named(&dir), &ours, NEW).unwrap().same, 3);
    assert_eq!(snapshot(&dir), before);

    let changed = yaml(&[("a.yaml", "new"), ("b.yaml", "2"), ("sha256=00/signature-1", "s")]);
    assert_eq!(code(files::write(&files::Folder::named(&dir), &changed, NEW)), Code::Conflict);
    assert_eq!(snapshot(&dir), before);
    let done = files::write(&files::Folder::named(&dir), &changed, OVER).unwrap();
    assert_eq!(done, files::Written { new: 0, same: 2, replaced: 1 });

    let plant: [Plant; 6] = [
        ("a file", |dir| fs::write(dir.join("evil.yaml"), "").unwrap()),
        ("a link", |dir| symlink("/etc", dir.join("x")).unwrap()),
        ("a link under our name", |dir| {
            fs::remove_file(dir.join("a.yaml")).unwrap();
            symlink("/etc/passwd", dir.join("a.yaml")).unwrap();
        }),
        ("a folder", |dir| fs::create_dir(dir.join("sub")).unwrap()),
        ("a file below", |dir| fs::write(dir.join("sha256=00/evil.yaml"), "").unwrap()),
        ("a folder link", |dir| {
            fs::rename(dir.join("sha256=00"), dir.parent().unwrap().join("moved")).unwrap();
            symlink("../moved", dir.join("sha256=00")).unwrap();
        }),
    ];
    for (what, plant) in plant {
        fs::remove_dir_all(&dir).unwrap();
        files::write(&files::Folder::named(&dir), &ours, NEW).unwrap();
        plant(&dir);
        let before = snapshot(&dir);
        assert_eq!(code(files::write(&files::Folder::named(&dir), &changed, OVER)), Code::Conflict, "{what}");
        assert_eq!(snapshot(&dir), before, "{what}");
    }
}

#[test]
fn file_names_that_lead_elsewhere_or_cannot_be_on_a_medium_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let long = "a".repeat(73);
    for bad in [
        "", "..", "../x", "/x", "a//b", "a/", "A.yaml", "a b", "a.", "con.yaml", "lpt1", "a/nul", "a\u{301}", "a:b",
        "a\\b", &long,
    ] {
        let result = files::write(&files::Folder::named(tmp.path().join("x")), &yaml(&[(bad, "")]), NEW);
        assert_eq!(code(result), Code::Malformed, "{bad}");
    }
    assert_eq!(
        code(files::write(&files::Folder::named(tmp.path()), &yaml(&[("a", ""), ("a", "x")]), NEW)),
        Code::Malformed
    );
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
}

/// The body of the processes below; does nothing unless they started it.
#[test]
#[ignore = "run by the tests that kill, limit or trace it"]
fn job_of_a_child_process() {
    if let Some(dir) = std::env::var_os("MIRROR_BUNDLE_SINK_TEST")
        && let Err(err) = job(Path::new(&dir))
    {
        panic!("job: {err:?}");
    }
}

/// Runs [`job`] on `dir` in a separate process, behind `wrapper`.
fn child(dir: &Path, wrapper: &[&str]) -> Output {
    let exe = std::env::current_exe().unwrap();
    let test = ["--exact", "sink::tests::job_of_a_child_process", "--include-ignored", "--test-threads=1"];
    Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(exe)
        .args(test)
        .env("MIRROR_BUNDLE_SINK_TEST", dir)
        .output()
        .unwrap_or_else(|e| panic!("{} is needed: {e}", wrapper[0]))
}

#[test]
fn a_killed_run_leaves_no_wrong_file_and_the_next_one_completes_it() {
    let reference = tempfile::tempdir().unwrap();
    job(reference.path()).unwrap();
    let wanted = contents(reference.path());
    let mut kills = 0;
    for call in ["mkdirat", "fchmod", "flock", "fsync", "renameat", "linkat", "symlinkat", "unlinkat"] {
        let mut step = 1;
        loop {
            let tmp = tempfile::tempdir().unwrap();
            let inject = format!("inject={call}:signal=KILL:when={step}");
            let out = child(
                tmp.path(),
                &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject],
            );
            if out.status.success() {
                break;
            }
            kills += 1;
            for (path, content) in contents(tmp.path()) {
                let ours = path.rsplit('/').next().unwrap().starts_with(".mirror-bundle-");
                assert!(ours || wanted.get(&path) == Some(&content), "{path} after {inject}");
            }
            job(tmp.path()).unwrap();
            assert_eq!(contents(tmp.path()), wanted, "after {inject}");
            step += if step < 4 { 1 } else { 3 };
        }
    }
    assert!(kills > 20, "only {kills} kills; does strace work here?");
}

#[test]
fn a_file_system_without_links_is_named_before_anything_is_written() {
    for (call, what) in [("linkat", "hard links"), ("symlinkat", "symbolic links")] {
        let tmp = tempfile::tempdir().unwrap();
        let inject = format!("inject={call}:error=EPERM");
        let out = child(
            tmp.path(),
            &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject],
        );
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(text.contains("[io] the file system of") && text.contains(what), "{text}");
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_old_kernel_without_openat2_gives_the_same_result() {
    let (tmp, reference) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    job(reference.path()).unwrap();
    let wrapper =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
    assert!(child(tmp.path(), &wrapper).status.success());
    assert_eq!(contents(tmp.path()), contents(reference.path()));
}

#[test]
fn modes_are_what_the_umask_leaves_of_0644_and_0755() {
    for (umask, file, folder) in [("000", 0o644, 0o755), ("022", 0o644, 0o755), ("077", 0o600, 0o700)] {
        let tmp = tempfile::tempdir().unwrap();
        let script = format!("umask {umask}; exec \"$@\"");
        assert!(child(tmp.path(), &["sh", "-c", &script, "sh"]).status.success());
        for entry in walkdir::WalkDir::new(tmp.path().join("tree/v2")).min_depth(1) {
            let entry = entry.unwrap();
            let mode = entry.path().symlink_metadata().unwrap().permissions().mode() & 0o7777;
            if !entry.path_is_symlink() {
                let wanted = if entry.file_type().is_dir() { folder } else { file };
                assert_eq!(mode, wanted, "{} with umask {umask}", entry.path().display());
            }
        }
        let index = fs::metadata(tmp.path().join("layout/index.json")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(index, file);
    }
}

/// Security F3: content is synced before it gets its name, names are synced before success.
#[test]
fn every_file_is_synced_before_it_is_named_and_every_folder_after() {
    let tmp = tempfile::tempdir().unwrap();
    let (log, dir) = (tmp.path().join("log"), tmp.path().join("out"));
    fs::create_dir(&dir).unwrap();
    let calls = "trace=fsync,renameat,mkdirat,symlinkat,linkat";
    let wrapper = ["strace", "-f", "-qq", "-y", "-s", "300", "-o", log.to_str().unwrap(), "-e", calls];
    assert!(child(&dir, &wrapper).status.success());
    let (mut synced, mut named, mut renames) = (Vec::new(), std::collections::BTreeSet::new(), 0);
    for line in fs::read_to_string(&log).unwrap().lines().filter(|l| l.contains(dir.to_str().unwrap())) {
        let path = line.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned();
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        if line.contains("fsync(") {
            named.remove(&path);
            synced.push(path);
        } else if line.contains("renameat(") {
            renames += 1;
            let from = format!("{path}/{}", quoted[0]);
            assert!(synced.contains(&from), "{from} was named before it was synced");
            synced.push(format!("{path}/{}", quoted[1]));
            named.insert(path);
        } else if line.contains("symlinkat(") {
            synced.push(format!("{path}/{}", quoted[1]));
        } else if line.contains("linkat(") && synced.contains(&format!("{path}/{}", quoted[0])) {
            let to = line.split('<').nth(2).unwrap().split_once('>').unwrap().0;
            synced.push(format!("{to}/{}", quoted[1]));
        } else if line.contains("mkdirat(") && line.ends_with("= 0") {
            named.insert(path);
        }
    }
    assert!(renames > 10);
    assert!(named.is_empty(), "not synced: {named:?}");
}

#[test]
fn the_number_of_a_file_with_one_name_is_no_proof_of_what_it_holds() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let (digest, size) = (Digest::of(b"content"), 7);
    let at = |repository: &str| dir.path().join(format!("v2/{repository}/blobs/{digest}"));
    TreeSink::open(dir.path())?.repository("one")?.put(&digest, size, &mut &b"content"[..])?;
    let tree = TreeSink::open(dir.path())?;
    let two = tree.repository("two")?;
    assert!(tree.repository("one")?.has(&digest, size)?);
    // The file is removed, and the next file gets its inode number.
    fs::rename(at("one"), at("two")).expect("rename");
    fs::write(at("two"), "c0ntent").expect("write");
    assert!(!two.has(&digest, size)?);
    Ok(())
}

#[test]
fn a_hard_link_is_hashed_once_and_a_damaged_copy_is_not_taken_for_it() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let (digest, size) = (Digest::of(b"content"), 7);
    let at = |repository: &str| dir.path().join(format!("v2/{repository}/blobs/{digest}"));
    {
        let tree = TreeSink::open(dir.path())?;
        let one = tree.repository("one")?;
        one.put(&digest, size, &mut &b"content"[..])?;
        for other in ["two", "three"] {
            assert!(tree.repository(other)?.take(&one, &digest, size)?);
        }
    }
    std::fs::remove_file(at("three")).expect("remove");
    std::fs::write(at("three"), "c0ntent").expect("write");
    let tree = TreeSink::open(dir.path())?;
    assert!(tree.repository("one")?.has(&digest, size)?);
    // Not read again: it is the same file.
    assert!(tree.repository("two")?.has(&digest, size)?);
    assert!(!tree.repository("three")?.has(&digest, size)?);
    std::fs::write(at("one"), "c0ntent").expect("write");
    drop(tree);
    assert!(!TreeSink::open(dir.path())?.repository("two")?.has(&digest, size)?);
    Ok(())
}
