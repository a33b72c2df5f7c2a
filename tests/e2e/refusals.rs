//! Invalid input is refused: with its exit code, before any expensive work, and without leaving files behind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::*;
use crate::support::image::{Image, Pusher};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{PASSWORD, Registry, Setup, USER, auth_file};
use crate::support::release::{BIG, RELEASES, Release, world};

/// `create` of this release from `host`, with this store, keyring, and the builder's key.
fn create(bundle: &Path, host: &str, release: &Release, store: &Path, keyring: &Path) -> Vec<OsString> {
    let image = format!("{host}/{RELEASES}:{}-x86_64", release.version);
    args![
        "create",
        bundle,
        "--sign-key",
        world().key(),
        "--plain-http",
        "127.0.0.1",
        "--release",
        image,
        "--signature-store",
        store,
        "--release-keyring",
        keyring
    ]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    // The index that is kept beside a bundle of a series.
    names.retain(|name| !name.ends_with(".index.json"));
    names.sort();
    names
}

#[test]
fn a_release_that_is_not_verified_is_refused_before_any_blob_is_asked_for() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let other = world.dir.join("other.asc");
    for (what, release, store, keyring) in [
        ("no signature", &world.unsigned, &world.store(), &world.keyring()),
        ("empty store", &world.release, &empty, &world.keyring()),
        ("other signer", &world.release, &world.other_store(), &world.keyring()),
        ("other keyring", &world.release, &world.store(), &other),
    ] {
        let proxy = Proxy::start(Some(source.port));
        let bundle = dir.path().join("b.tar");
        let run = ends(40, &create(&bundle, &proxy.host(), release, store, keyring));
        assert!(run.stderr.contains("--allow-unsigned-release"), "{what}: {}", run.stderr);
        assert_eq!(names(dir.path()), ["empty"], "{what}");
        assert_eq!(proxy.count("GET", "/blobs/"), 0, "{what}: {:?}", proxy.seen());
    }
}

#[test]
fn a_release_whose_payload_names_the_store_is_refused_with_only_its_payload_read() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    let image = format!("{}/{RELEASES}:4.16.39-x86_64", proxy.host());
    let run = on_the_web(40, &[create_signed(&bundle), args!["--release", image, "--ca-file", world.ca]].concat());
    assert!(names(dir.path()).is_empty());
    let blobs = &world.unsigned.image.blobs;
    let own: Vec<String> = blobs.iter().map(|b| b.digest().to_string()).collect();
    for seen in proxy.seen().iter().filter(|s| s.target.contains("/blobs/")) {
        assert!(own.iter().any(|d| seen.target.ends_with(d.as_str())), "{seen:?} {}", run.stderr);
    }
    assert!(proxy.count("GET", "/blobs/") <= 2, "{:?}", proxy.seen());
}

#[test]
fn a_release_carried_without_a_signature_says_so_to_everybody_who_meets_it() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    let create = create(&bundle, &source.host(), &world.unsigned, &world.store(), &world.keyring());
    let run = ok(&[create, args!["--allow-unsigned-release"]].concat());
    assert!(run.text().contains("exception unsigned-release"), "{}", run.text());
    let index = index_of(&bundle);
    assert_eq!(index["exceptions"][0], "unsigned-release");
    assert_eq!(index["releases"][0]["trust"], "none");
    assert_eq!(member_names(&bundle).iter().filter(|n| n.starts_with("manifests/")).count(), 0);

    let refused = ends(40, &verify(&bundle));
    assert!(refused.text().contains("unsigned-release (at creation)"), "{}", refused.text());
    ends(40, &unpack_to(&bundle, &target.host(), &dir.path().join("m")));
    assert!(repositories(&target).is_empty());
    let accepted = ok(&[verify(&bundle), args!["--allow-unsigned-release"]].concat());
    assert!(accepted.text().starts_with("verdict   VERIFIED"), "{}", accepted.text());
    assert!(accepted.text().lines().next().unwrap().ends_with("with exceptions"), "{}", accepted.text());
    ok(&[unpack_to(&bundle, &target.host(), &dir.path().join("m")), args!["--allow-unsigned-release"]].concat());
}

fn member_names(bundle: &Path) -> Vec<String> {
    tool("tar", &args!["tf", bundle]).text().lines().map(str::to_owned).collect()
}

#[test]
fn a_store_that_cannot_be_reached_is_no_pass_and_no_obstacle_to_who_wants_no_signature() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let bundle = dir.path().join("b.tar");
    // The payload names a store whose certificate this host does not trust.
    let image = format!("{}/{RELEASES}:4.16.37-x86_64", source.host());
    let create = [create_signed(&bundle), args!["--release", image, "--retries", "0"]].concat();
    on_the_web(50, &create);
    assert!(names(dir.path()).is_empty());
    let run = on_the_web(0, &[create, args!["--allow-unsigned-release"]].concat());
    assert!(run.stderr.contains("certificate"), "{}", run.stderr);
    assert_eq!(index_of(&bundle)["releases"][0]["trust"], "none");
    ends(40, &verify(&bundle));
}

#[test]
fn a_registry_that_refuses_a_manifest_gets_no_tag() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    for (status, code) in [(400, 50), (413, 50), (500, 50), (403, 51)] {
        let proxy = Proxy::start(Some(target.port));
        let etcd = world.release.component("etcd").digest();
        proxy.on("PUT", format!("/manifests/{etcd}"), 9, Fault::Answer(status, Vec::new(), Vec::new()));
        let unpack = unpack_to(&bundle, &proxy.host(), &dir.path().join("m"));
        let run = ends(code, &[unpack, args!["--retries", "0"]].concat());
        assert!(run.stderr.contains("run the same command") || code == 51, "{}", run.stderr);
        assert!(tags(&target, "ocp/mirror").is_empty());
        assert!(!dir.path().join("m").exists());
    }
}

#[test]
fn a_release_of_4_21_without_cosign_signature_is_refused_unless_allowed() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    let create = create(&bundle, &proxy.host(), &world.later, &world.store(), &world.keyring());
    let run = ends(40, &create);
    assert!(run.stderr.contains("--allow-missing-image-signature"), "{}", run.stderr);
    assert!(names(dir.path()).is_empty());
    for (_, image) in &world.later.components {
        let layer = image.blobs.last().unwrap().digest();
        assert_eq!(proxy.count("GET", &layer.to_string()), 0);
    }
    ok(&[create, args!["--allow-missing-image-signature"]].concat());
    assert_eq!(index_of(&bundle)["exceptions"][0], "missing-image-signature");
    let report = ok(&verify(&bundle));
    assert!(report.text().contains("missing-image-signature (at creation)"), "{}", report.text());
}

#[test]
fn a_release_of_4_21_with_a_signature_that_nodes_do_not_read_is_refused_with_its_kind() {
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    let world = world();
    for (kind, layer, found) in [
        (BUNDLE, BUNDLE, Some("a Sigstore bundle is attached as a referrer")),
        (
            "application/vnd.dev.cosign.artifact.sig.v1+json",
            SIMPLE,
            Some("a cosign signature is attached as a referrer"),
        ),
        ("application/spdx+json", "application/spdx+json", None),
    ] {
        let dir = folder();
        let storage = dir.path().join("registry");
        tool("cp", &args!["-a", world.storage(), storage]);
        let source = Registry::with(&Setup { storage: Some(storage.clone()), ..Setup::default() });
        let attached = Image::attached(&world.later.image, kind, layer, b"{}");
        Pusher::new(&source.host()).refer(RELEASES, &world.later.image, &attached);
        let bundle = dir.path().join("b.tar");
        let create = create(&bundle, &source.host(), &world.later, &world.store(), &world.keyring());
        let run = ends(40, &create);
        assert!(run.stderr.contains("has no cosign signature image"), "{}", run.stderr);
        assert_eq!(run.stderr.contains("read only the `.sig` tag"), found.is_some(), "{}", run.stderr);
        assert!(found.is_none_or(|found| run.stderr.contains(found)), "{}", run.stderr);
        // It is carried where the lack is allowed.
        ok(&[create, args!["--allow-missing-image-signature"]].concat());
        let index = index_of(&bundle);
        let digest = attached.digest().to_string();
        assert!(index["images"].as_array().unwrap().iter().any(|image| image["digest"] == digest.as_str()), "{index}");
    }
}

#[test]
fn a_signer_that_is_not_trusted_and_an_unsigned_bundle_are_refused() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    let keyring = args!["--release-keyring", world.keyring()];
    let other = [args!["verify", bundle, "--signer", world.other_public_key()], keyring.clone()].concat();
    ends(22, &other);
    let unsigned = dir.path().join("u.tar");
    let mut create = create_release(&unsigned, &source.host());
    let at = create.iter().position(|a| a == "--sign-key").unwrap();
    create.drain(at..at + 2);
    ends(2, &create);
    ok(&[create, args!["--unsigned"]].concat());
    ends(20, &verify(&unsigned));
    ends(20, &unpack_to(&unsigned, &target.host(), &dir.path().join("m")));
    assert!(repositories(&target).is_empty());
    let accepted = ok(&[args!["verify", unsigned, "--allow-unsigned"], keyring.clone()].concat());
    assert!(accepted.text().contains("exception --allow-unsigned"), "{}", accepted.text());
    // Without a trusted key there is no verdict at all.
    ends(2, &[args!["verify", bundle], keyring].concat());
}

#[test]
fn wrong_and_missing_credentials_are_distinguished_from_other_failures() {
    let (world, dir) = (world(), folder());
    let source = Registry::with(&Setup { basic_auth: true, storage: Some(world.storage()), ..Setup::default() });
    let bundle = dir.path().join("b.tar");
    let create = create_release(&bundle, &source.host());
    let (_keep, wrong) = auth_file(&source.host(), USER, "wrong");
    let (_keep, right) = auth_file(&source.host(), USER, PASSWORD);
    ends(51, &create);
    ends(51, &[create.clone(), args!["--authfile", wrong]].concat());
    assert!(!bundle.exists());
    ok(&[create, args!["--authfile", right]].concat());

    let target = Registry::with(&Setup { basic_auth: true, ..Setup::default() });
    let manifests = dir.path().join("m");
    let unpack = unpack_to(&bundle, &target.host(), &manifests);
    let (_keep, wrong) = auth_file(&target.host(), USER, "wrong");
    let (_keep, right) = auth_file(&target.host(), USER, PASSWORD);
    ends(51, &[unpack.clone(), args!["--authfile", wrong]].concat());
    assert!(!manifests.exists());
    let from_environment = finish(command(&unpack).env("REGISTRY_AUTH_FILE", right));
    assert_eq!(from_environment.code, 0, "{}", from_environment.stderr);
}

#[test]
fn a_registry_that_sends_other_bytes_than_it_should_makes_no_bundle() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let layer = world.release.component("etcd").blobs.last().unwrap();
    let (blob, size) = (format!("/blobs/{}", layer.digest()), layer.bytes.len() as u64);
    let manifest = format!("/manifests/{}", world.release.component("etcd").digest());
    for (path, fault) in [
        (&blob, Fault::FlipByte(100)),
        (&blob, Fault::CutBody(100)),
        (&blob, Fault::LieLength(size / 2)),
        (&blob, Fault::Longer(10)),
        (&blob, Fault::Endless),
        (&blob, Fault::Answer(200, Vec::new(), vec![b'x'; size as usize])),
        (&blob, Fault::Answer(404, Vec::new(), Vec::new())),
        (&manifest, Fault::FlipByte(100)),
        (&manifest, Fault::Endless),
        (&manifest, Fault::Answer(200, vec![("Content-Type".into(), "text/html".into())], b"<html>".to_vec())),
    ] {
        let place = tempfile::tempdir_in(dir.path()).unwrap();
        let bundle = place.path().join("b.tar");
        let proxy = Proxy::start(Some(source.port));
        proxy.on("GET", path.clone(), 100, fault.clone());
        let run = finish(&mut command(&[create_release(&bundle, &proxy.host()), args!["--retries", "0"]].concat()));
        assert!([30, 31, 50].contains(&run.code), "{fault:?}: {} {}", run.code, run.stderr);
        assert!(run.stderr.starts_with("error: ") || run.stderr.contains("\nerror: "), "{}", run.stderr);
        assert!(!bundle.exists(), "{fault:?}");
        let mut stream = command(&[create_release(Path::new("-"), &proxy.host()), args!["--retries", "0"]].concat());
        let streamed = finish(&mut stream);
        assert!([30, 31, 50].contains(&streamed.code), "{fault:?}: {} {}", streamed.code, streamed.stderr);
        let verified = fed(&mut command(&verify(Path::new("-"))), &streamed.stdout);
        assert_ne!(verified.code, 0, "{fault:?}");
        // The same command succeeds once the registry works.
        let honest = Proxy::start(Some(source.port));
        if matches!(fault, Fault::FlipByte(_)) {
            ok(&create_release(&bundle, &honest.host()));
            ok(&verify(&bundle));
        }
    }
}

#[test]
fn transfers_that_break_are_tried_again() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let proxy = Proxy::start(Some(source.port));
    let layer = world.big.blobs[1].digest().to_string();
    proxy.on("GET", layer.clone(), 1, Fault::CutBody(3 << 20));
    proxy.on("GET", layer.clone(), 1, Fault::Answer(503, Vec::new(), Vec::new()));
    let bundle = dir.path().join("b.tar");
    ok(&[create_signed(&bundle), args!["--image", format!("{}/{BIG}:1", proxy.host())]].concat());
    ok(&verify(&bundle));
    let resumed = proxy.seen().into_iter().filter(|s| s.header("range").is_some()).count();
    assert_eq!(resumed, 2, "from where it broke, twice");
}

#[test]
fn what_exists_is_replaced_only_when_that_is_asked_for() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let bundle = dir.path().join("b.tar");
    fs::write(&bundle, b"precious").unwrap();
    let proxy = Proxy::start(Some(source.port));
    let create = create_release(&bundle, &proxy.host());
    ends(52, &create);
    assert!(proxy.seen().is_empty(), "found before anything is asked for");
    assert_eq!(fs::read(&bundle).unwrap(), b"precious");
    ok(&[create, args!["--force"]].concat());
    ok(&verify(&bundle));
    assert_eq!(names(dir.path()), ["b.tar"]);
}

#[test]
fn manifests_that_exist_with_other_content_stop_unpack_before_anything_is_sent() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    let manifests = dir.path().join("m");
    fs::create_dir(&manifests).unwrap();
    let file = manifests.join(format!("signature-{}.yaml", &world.release.digest().dashed()[..23]));
    fs::write(&file, "mine").unwrap();
    let unpack = unpack_to(&bundle, &target.host(), &manifests);
    ends(52, &unpack);
    assert!(repositories(&target).is_empty());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    ok(&[unpack, args!["--overwrite"]].concat());
    assert!(fs::read_to_string(&file).unwrap().contains("binaryData"));
}

#[test]
fn a_tag_that_points_elsewhere_is_moved_with_a_warning() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    let old = world.release.component("cli");
    crate::support::image::Pusher::new(&target.host()).push("ocp/mirror", old, Some("4.16.37-x86_64"));
    let run = ok(&unpack_to(&bundle, &target.host(), &dir.path().join("m")));
    assert!(run.stderr.contains(&format!("pointed to {} before", old.digest())), "{}", run.stderr);
    assert_eq!(manifest(&target, "ocp/mirror", "4.16.37-x86_64").unwrap(), world.release.image.bytes);
}

/// A bundle and copies of it with one fault each, and the exit code of each fault.
fn damaged(dir: &Path) -> Vec<(&'static str, PathBuf, i32)> {
    let source = world().registry();
    let bundle = dir.join("good.tar");
    ok(&create_release(&bundle, &source.host()));
    let good = fs::read(&bundle).unwrap();
    let find = |what: &str| good.windows(what.len()).position(|w| w == what.as_bytes()).unwrap();
    let last = good.iter().rposition(|b| *b != 0).unwrap();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let foreign = dir.join("foreign.txt");
    fs::write(&foreign, "hello").unwrap();
    tool("tar", &args!["cf", dir.join("foreign.tar"), "-C", dir, "foreign.txt"]);
    let release = String::from_utf8(world().release.image.bytes.clone()).unwrap();
    let cases = [
        ("index", flip(find("\"requestedBy\": \"") + 18), 21),
        ("signature", flip(find("-----BEGIN SSH SIGNATURE") + 60), 21),
        ("manifest of the release", flip(find(&release) + 40), 31),
        ("config map", flip(find("\"binaryData\"") + 120), 31),
        ("layer", flip(last), 31),
        ("cut in a layer", good[..last - 5000].to_vec(), 11),
        ("cut in the head", good[..3000].to_vec(), 11),
        ("empty", Vec::new(), 10),
        ("one block more", [&good[..], &[0; 512]].concat(), 32),
        ("foreign tar", fs::read(dir.join("foreign.tar")).unwrap(), 10),
        ("text", b"hello".to_vec(), 10),
    ];
    let mut out = Vec::new();
    for (name, bytes, code) in cases {
        let path = dir.join(format!("{}.bad", name.replace(' ', "-")));
        fs::write(&path, bytes).unwrap();
        out.push((name, path, code));
    }
    out
}

#[test]
fn a_damaged_or_foreign_file_is_refused_and_nothing_of_it_is_written() {
    let dir = folder();
    let target = Registry::start();
    let (manifests, tree) = (dir.path().join("m"), dir.path().join("tree"));
    for (name, bundle, code) in damaged(dir.path()) {
        let verified = finish(&mut command(&verify(&bundle)));
        assert_eq!(verified.code, code, "{name}: {}", verified.stderr);
        assert_eq!(verified.stderr.matches("error: ").count(), 1, "{name}: one cause, one error: {}", verified.stderr);
        let pushed = finish(&mut command(&unpack_to(&bundle, &target.host(), &manifests)));
        assert_eq!(pushed.code, code, "{name}: {}", pushed.stderr);
        assert!(tags(&target, "ocp/mirror").is_empty(), "{name}");
        assert_eq!(manifest(&target, "ocp/mirror", &world().release.digest().to_string()), None, "{name}");
        assert!(!manifests.exists(), "{name}");
        let unpacked = finish(&mut command(&[args!["unpack", bundle, "--to-dir", tree], trust()].concat()));
        assert_eq!(unpacked.code, code, "{name}: {}", unpacked.stderr);
        let written = if tree.exists() { files(&tree) } else { Default::default() };
        assert!(written.keys().all(|p| p.to_string_lossy().contains("/blobs/")), "{name}: {:?}", written.keys());
        for (path, bytes) in written {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(name, sha256(&bytes), "only what is right is under a digest");
        }
    }
}

#[test]
fn a_dry_run_writes_nothing_and_fetches_no_layer() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let proxy = Proxy::start(Some(source.port));
    let bundle = dir.path().join("b.tar");
    let create = create_release(&bundle, &proxy.host());
    let planned = ok(&[create.clone(), args!["--dry-run", "-o", "json"]].concat()).json();
    assert!(names(dir.path()).is_empty());
    for (_, image) in &world.release.components {
        assert_eq!(proxy.count("GET", &image.blobs.last().unwrap().digest().to_string()), 0);
    }
    ok(&create);
    assert_eq!(planned["bytes"], fs::metadata(&bundle).unwrap().len());
    let text = ok(&[create_release(&dir.path().join("c.tar"), &proxy.host()), args!["--dry-run"]].concat()).text();
    assert!(text.contains("would make") && text.contains("forecast"), "{text}");

    let watched = Proxy::start(Some(target.port));
    let unpack = unpack_to(&bundle, &watched.host(), &dir.path().join("m"));
    ok(&[unpack, args!["--dry-run", "--to-dir", dir.path().join("tree")]].concat());
    assert_eq!(names(dir.path()), ["b.tar"]);
    assert!(watched.seen().iter().all(|s| s.method == "GET" || s.method == "HEAD"), "{:?}", watched.seen());
    assert!(repositories(&target).is_empty());
}

#[test]
fn a_missing_image_and_a_missing_registry_are_distinguished() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let bundle = dir.path().join("b.tar");
    let absent = format!("{}/{BIG}:nope", source.host());
    let run = ends(50, &[create_signed(&bundle), args!["--image", absent]].concat());
    assert!(run.stderr.contains("does not exist"), "{}", run.stderr);
    let unreachable = format!("127.0.0.1:{}/x/y:1", crate::support::registry::free_port());
    let run = ends(50, &[create_signed(&bundle), args!["--image", unreachable, "--retries", "0"]].concat());
    assert!(run.stderr.contains("127.0.0.1"), "{}", run.stderr);
    let image = Image::oci("amd64", &world.big.blobs[1..]);
    let by_digest = format!("{}/{BIG}@{}", source.host(), image.digest());
    ok(&[create_signed(&bundle), args!["--image", by_digest]].concat());
}
