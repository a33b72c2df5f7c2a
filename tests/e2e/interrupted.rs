//! A verb that was stopped at any point and run again ends as if it had run once; in between nothing looks finished.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::*;
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::Registry;
use crate::support::release::{BIG, BIG_LAYER, world};

const MIB: usize = 1 << 20;

fn big_layer() -> String {
    world().big.blobs[1].digest().to_string()
}

/// `create` of the release and the large image, through a proxy.
fn create(bundle: &Path, host: &str) -> Vec<OsString> {
    [create_release(bundle, host), args!["--image", format!("{host}/{BIG}:1")]].concat()
}

fn journal(bundle: &Path) -> String {
    fs::read_to_string(format!("{}.partial.journal", bundle.display())).unwrap_or_default()
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    // The index that is kept beside a bundle of a series.
    names.filter(|name| !name.ends_with(".index.json")).collect()
}

/// Starts `create` with a creation time that all runs share, and waits until `point`.
fn started(args: &[OsString], point: impl FnMut() -> bool) -> Side {
    let side = Side::start(command(args).env("SOURCE_DATE_EPOCH", "1700000000"));
    until("the point to stop at", point);
    side
}

fn finished(args: &[OsString]) {
    let run = finish(command(args).env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// The offsets in the requests for blobs.
fn ranges(proxy: &Proxy) -> Vec<String> {
    proxy.seen().iter().filter_map(|s| s.header("range").map(str::to_owned)).collect()
}

/// The rest of the large layer.
fn range(from: usize) -> String {
    format!("bytes={from}-{}", BIG_LAYER - 1)
}

#[test]
fn create_killed_at_any_point_and_run_again_gives_the_bytes_of_one_run() {
    let (source, dir) = (world().registry(), folder());
    let proxy = Proxy::start(Some(source.port));
    let whole = dir.path().join("whole.tar");
    finished(&create(&whole, &proxy.host()));
    let whole = fs::read(whole).unwrap();
    let note = |at: usize| format!("at {} {at}\n", big_layer());
    for (stall, noted) in [(0, 0), (5 * MIB, 0), (9 * MIB, 8 * MIB), (BIG_LAYER - 1, 16 * MIB)] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let bundle = place.path().join("b.tar");
        let args = create(&bundle, &proxy.host());
        proxy.on("GET", big_layer(), 1, Fault::Stall(stall));
        let asked = proxy.count("GET", &big_layer());
        let side = started(&args, || {
            proxy.count("GET", &big_layer()) > asked
                && journal(&bundle).matches("done").count() > 5
                && (noted == 0 || journal(&bundle).contains(&note(noted)))
        });
        side.signal("-KILL");
        drop(side);
        assert!(!bundle.exists(), "{stall}");
        let before = ranges(&proxy).len();
        finished(&args);
        assert!(fs::read(&bundle).unwrap() == whole, "{stall}");
        assert_eq!(names(place.path()), ["b.tar"], "nothing is left beside it");
        let asked = ranges(&proxy).split_off(before);
        let wanted = if noted == 0 { vec![] } else { vec![range(noted)] };
        assert_eq!(asked, wanted, "{stall}");
    }
}

#[test]
fn create_killed_twice_within_one_blob_goes_on_from_the_second_place() {
    let (source, dir) = (world().registry(), folder());
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    // Without SOURCE_DATE_EPOCH, the creation time of the first run is kept.
    let args = create(&bundle, &proxy.host());
    for (stall, noted) in [(9 * MIB, 8 * MIB), (9 * MIB, 16 * MIB)] {
        proxy.on("GET", big_layer(), 1, Fault::Stall(stall));
        let side = Side::start(&mut command(&args));
        until("noted", || journal(&bundle).contains(&format!("at {} {noted}\n", big_layer())));
        side.signal("-KILL");
        drop(side);
        std::thread::sleep(Duration::from_millis(600));
    }
    let run = ok(&args);
    assert!(run.stderr.contains("Resuming"), "{}", run.stderr);
    assert_eq!(ranges(&proxy), [range(8 * MIB), range(16 * MIB)]);
    ok(&verify(&bundle));
    // Complete blobs were not fetched again.
    let etcd = world().release.component("etcd").blobs.last().unwrap().digest().to_string();
    assert_eq!(proxy.count("GET", &etcd), 1);
}

#[test]
fn create_killed_while_it_still_plans_leaves_nothing() {
    let (source, dir) = (world().registry(), folder());
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    proxy.on("GET", format!("/manifests/{}", world().release.component("etcd").digest()), 1, Fault::Silence);
    let args = create(&bundle, &proxy.host());
    let side = started(&args, || proxy.count("GET", &world().release.component("etcd").digest().to_string()) > 0);
    side.signal("-KILL");
    drop(side);
    assert!(names(dir.path()).is_empty());
    finished(&args);
}

#[test]
fn what_a_killed_run_left_is_not_believed() {
    let (source, dir) = (world().registry(), folder());
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    let args = create(&bundle, &proxy.host());
    proxy.on("GET", big_layer(), 1, Fault::Stall(9 * MIB));
    let noted = format!("at {} {}\n", big_layer(), 8 * MIB);
    let side = started(&args, || journal(&bundle).contains(&noted) && journal(&bundle).matches("done").count() > 5);
    side.signal("-KILL");
    drop(side);
    // A bad sector: one byte in every 64 KiB of the existing data changes.
    let partial = PathBuf::from(format!("{}.partial", bundle.display()));
    let mut bytes = fs::read(&partial).unwrap();
    bytes.iter_mut().step_by(65536).for_each(|b| *b ^= 1);
    fs::write(&partial, bytes).unwrap();
    finished(&args);
    ok(&verify(&bundle));
}

#[test]
fn an_interrupt_ends_create_and_keeps_what_was_fetched() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let (source, dir) = (world().registry(), folder());
        let proxy = Proxy::start(Some(source.port));
        let bundle = dir.path().join("b.tar");
        let args = create(&bundle, &proxy.host());
        proxy.on("GET", big_layer(), 1, Fault::Stall(9 * MIB));
        let noted = format!("at {} {}\n", big_layer(), 8 * MIB);
        let side = started(&args, || journal(&bundle).contains(&noted));
        side.signal(signal);
        let (status, stderr) = side.end(Duration::from_secs(120));
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.contains("interrupted") && stderr.contains("run the same command again"), "{stderr}");
        assert!(!bundle.exists());
        finished(&args);
        assert_eq!(ranges(&proxy), [range(8 * MIB)]);
        ok(&verify(&bundle));
    }
}

/// A bundle, and a target behind a proxy.
fn to_unpack(dir: &Path) -> (PathBuf, Registry, Proxy) {
    let source = world().registry();
    let bundle = dir.join("b.tar");
    ok(&[create(&bundle, &source.host()), multi(&source.host())].concat());
    let target = Registry::start();
    let proxy = Proxy::start(Some(target.port));
    (bundle, target, proxy)
}

fn all_tags(registry: &Registry) -> Vec<String> {
    let all = repositories(registry)
        .into_iter()
        .flat_map(|r| tags(registry, &r).into_iter().map(move |t| r.clone() + ":" + &t));
    all.collect()
}

#[test]
fn unpack_killed_before_everything_is_there_leaves_no_tag_and_is_continued() {
    let dir = folder();
    let (bundle, target, proxy) = to_unpack(dir.path());
    let args = unpack_to(&bundle, &proxy.host(), &dir.path().join("m"));
    let etcd = world().release.component("etcd").digest();
    // While the last blobs are transferred, and while manifests are.
    for (method, path, pass) in [("PUT", "/blobs/uploads/".to_owned(), 6), ("PUT", format!("manifests/{etcd}"), 0)] {
        if pass > 0 {
            proxy.on(method, path.clone(), pass, Fault::Pass);
        }
        proxy.on(method, path.clone(), 1, Fault::Silence);
        let seen = proxy.count(method, &path);
        let side = Side::start(&mut command(&args));
        until("silence", || proxy.count(method, &path) > seen + pass);
        side.signal("-KILL");
        drop(side);
        assert!(all_tags(&target).is_empty(), "{path}: {:?}", all_tags(&target));
        assert!(!dir.path().join("m").exists());
    }
    let run = ok(&[args.clone(), args!["-o", "json"]].concat());
    // Every blob existed, because the second run sent all of them.
    assert_eq!(run.json()["unpacked"]["new_blobs"], 0, "{}", run.text());
    assert!(all_tags(&target).contains(&"ocp/mirror:4.16.37-x86_64".to_owned()));
    assert_eq!(
        manifest(&target, "ocp/mirror", "4.16.37-x86_64-etcd").unwrap(),
        world().release.component("etcd").bytes
    );
}

#[test]
fn unpack_killed_between_tags_leaves_only_tags_of_complete_images() {
    let dir = folder();
    let (bundle, target, proxy) = to_unpack(dir.path());
    let args = unpack_to(&bundle, &proxy.host(), &dir.path().join("m"));
    proxy.on("PUT", "manifests/4.16.37-x86_64-etcd", 1, Fault::Silence);
    let side = Side::start(&mut command(&args));
    until("silence", || proxy.count("PUT", "manifests/4.16.37-x86_64-etcd") > 0);
    side.signal("-KILL");
    drop(side);
    for (name, image) in &world().release.components {
        if let Some(bytes) = manifest(&target, "ocp/mirror", &format!("4.16.37-x86_64-{name}")) {
            assert_eq!(bytes, image.bytes);
            for blob in &image.blobs {
                assert_eq!(get(target.port, &format!("/v2/ocp/mirror/blobs/{}", blob.digest())).0, 200);
            }
        }
    }
    ok(&args);
    assert_eq!(tags(&target, "ocp/mirror").len(), 6 + 2 + 1);
}

#[test]
fn an_interrupt_ends_unpack_and_leaves_no_tag() {
    let dir = folder();
    let (bundle, target, proxy) = to_unpack(dir.path());
    let args = unpack_to(&bundle, &proxy.host(), &dir.path().join("m"));
    proxy.on("*", "/blobs/uploads/", 4, Fault::Pass).on("*", "/blobs/uploads/", 20, Fault::Silence);
    let side = Side::start(&mut command(&args));
    until("silence", || proxy.seen().iter().filter(|s| s.target.contains("/blobs/uploads/")).count() > 6);
    side.signal("-INT");
    let (status, stderr) = side.end(Duration::from_secs(120));
    assert_eq!(status, Some(130), "{stderr}");
    assert!(all_tags(&target).is_empty());
    let again = Proxy::start(Some(target.port));
    ok(&unpack_to(&bundle, &again.host(), &dir.path().join("m")));
    assert_eq!(tags(&target, "ocp/mirror").len(), 6 + 2 + 1);
}

#[test]
fn unpack_to_a_directory_killed_in_the_middle_has_no_tag_and_is_continued() {
    let dir = folder();
    let (bundle, _target, _proxy) = to_unpack(dir.path());
    let bytes = fs::read(&bundle).unwrap();
    let (tree, whole) = (dir.path().join("tree"), dir.path().join("whole"));
    use std::io::Write;
    use std::process::Stdio;
    let mut command = command(&[args!["unpack", "-", "--to-dir", tree], trust()].concat());
    let mut side = Side::start(command.stdin(Stdio::piped()));
    // The pipe stays open: the program waits for more.
    let mut pipe = side.0.stdin.take().unwrap();
    pipe.write_all(&bytes[..bytes.len() - 100_000]).unwrap();
    let blobs = tree.join("v2/openshift/release/blobs");
    until("blobs", || fs::read_dir(&blobs).is_ok_and(|all| all.count() > 6));
    side.signal("-KILL");
    drop((side, pipe));
    let links = walkdir::WalkDir::new(&tree).into_iter().filter(|e| e.as_ref().unwrap().path_is_symlink());
    assert_eq!(links.count(), 0);
    assert!(!tree.join("manifests").exists());
    for to in [&tree, &whole] {
        ok(&[args!["unpack", bundle, "--to-dir", to], trust()].concat());
    }
    assert_eq!(files(&tree), files(&whole));
}

/// Zeros, compressed: 2 GiB in 2 MiB. Whoever reads them to the end finds no image.
fn zeros() -> Vec<u8> {
    let mut one = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut one, &vec![0; 64 << 20]).unwrap();
    one.finish().unwrap().repeat(32)
}

#[test]
fn create_from_a_compressed_archive_stops_while_it_is_decompressed_and_leaves_nothing() {
    let dir = folder();
    let zeros = zeros();
    fs::write(dir.path().join("all.tar.gz"), &zeros).unwrap();
    // The layer of an archive of `docker save` is decompressed to compare it with its image.
    let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#, mirror_bundle::oci::Digest::of(b"x"));
    let list = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let mut tar = tar::Builder::new(fs::File::create(dir.path().join("layer.tar")).unwrap());
    for (name, bytes) in [("manifest.json", list.as_bytes()), ("c.json", config.as_bytes()), ("l.tar", &zeros)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.finish().unwrap();
    let here = || names(dir.path()).into_iter().collect::<std::collections::BTreeSet<_>>();
    let before = here();
    for (archive, signal, code) in
        [("all.tar.gz", "-INT", 130), ("layer.tar", "-INT", 130), ("all.tar.gz", "-TERM", 143)]
    {
        let create = args!["create", dir.path().join("b.tar"), "--unsigned", "--from-layout", dir.path().join(archive)];
        let side = Side::start(&mut command(&create));
        let read = || {
            let io = fs::read_to_string(format!("/proc/{}/io", side.0.id())).unwrap_or_default();
            io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok()).unwrap_or(0)
        };
        until("it is being decompressed", || read() > 300_000);
        side.signal(signal);
        let (ended, said) = side.end(Duration::from_secs(120));
        // At the end of the zeros it would have been another error.
        assert_eq!(ended, Some(code), "{archive} {said}");
        assert!(said.contains("nothing was written"), "{said}");
        assert_eq!(here(), before, "{archive}");
    }
}
