//! Bundles that leave out what the site has (MB-CAR), from registry to registry.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::harness::*;
use crate::support::image::{Blob, Image, Pusher, layer};
use crate::support::noise;
use crate::support::proxy::{Fault, Proxy, status};
use crate::support::registry::Registry;
use crate::support::release::world;

/// A layer of 40 kB that depends on its number only.
fn part(number: u64) -> Blob {
    layer(&[(&format!("file-{number}"), noise(40_000, number).as_slice())])
}

fn image(parts: &[u64]) -> Image {
    Image::docker("amd64", serde_json::json!({}), &parts.iter().map(|n| part(*n)).collect::<Vec<_>>())
}

/// The source: the repositories of N and N+1, with their images and tags.
struct Source {
    registry: Registry,
    dir: tempfile::TempDir,
}

/// Of N+1: the repository, the tag, and the layers.
const NEXT: &[(&str, &str, &[u64])] = &[("apps/web", "2", &[1, 2, 31]), ("apps/moved", "2", &[1, 9, 32])];
/// Of N.
const FIRST: &[(&str, &str, &[u64])] = &[("apps/web", "1", &[1, 2, 21]), ("old/gone", "1", &[1, 9])];

impl Source {
    fn start() -> Source {
        let registry = Registry::start();
        let pusher = Pusher::new(&registry.host());
        for (repository, tag, parts) in FIRST.iter().chain(NEXT) {
            pusher.push(repository, &image(parts), Some(tag));
        }
        let source = Source { registry, dir: folder() };
        source.create("1.tar", FIRST, "1", &[]);
        source.create("full.tar", NEXT, "2", &[]);
        source.create("2.tar", NEXT, "2", &["--base".into(), source.path("1.tar").into()]);
        source
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn args(&self, name: &str, images: &[(&str, &str, &[u64])], number: &str) -> Vec<OsString> {
        let mut args = create_signed(&self.path(name));
        for (repository, tag, _) in images {
            args.extend(args!["--image", format!("{}/{repository}:{tag}", self.registry.host())]);
        }
        with(args, args!["--name", "apps", "--sequence", number])
    }

    fn create(&self, name: &str, images: &[(&str, &str, &[u64])], number: &str, more: &[OsString]) {
        let args = [self.args(name, images, number), more.to_vec()].concat();
        let run = finish(command(&args).env("SOURCE_DATE_EPOCH", "1700000000"));
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    fn unpack(&self, name: &str, host: &str) -> Vec<OsString> {
        let to = args!["unpack", self.path(name), "--to", format!("{host}/site"), "--plain-http", "127.0.0.1"];
        with(with(to, trust()), args!["--mirror-set", "none", "--retries", "1", "--timeout", "5"])
    }
}

/// Whether the registry holds anything at all.
fn is_empty(registry: &Registry) -> bool {
    !registry.storage().exists()
        || !files(&registry.storage()).iter().any(|(path, _)| path.ends_with("data") || path.ends_with("link"))
}

/// Every image of N+1 can be pulled by tag and by digest.
#[track_caller]
fn complete(host: &str, dir: &Path) {
    for (repository, tag, parts) in NEXT {
        let image = image(parts);
        let by_tag = format!("docker://{host}/site/{repository}:{tag}");
        let by_digest = format!("docker://{host}/site/{repository}@{}", image.digest());
        let seen = tool("skopeo", &args!["inspect", "--tls-verify=false", by_tag]).json();
        assert_eq!(seen["Digest"], image.digest().to_string());
        let to = tempfile::tempdir_in(dir).unwrap();
        tool(
            "skopeo",
            &args!["copy", "-q", "--src-tls-verify=false", by_digest, format!("dir:{}", to.path().display())],
        );
    }
}

#[test]
fn a_bundle_against_its_predecessor_arrives_whole_where_that_is() {
    let (source, site) = (Source::start(), Registry::start());
    let small = fs::metadata(source.path("2.tar")).unwrap().len();
    assert!(small < fs::metadata(source.path("full.tar")).unwrap().len() * 3 / 5);
    ends(42, &verify(&source.path("2.tar")));
    ok(&source.unpack("1.tar", &site.host()));
    let tried = ok(&with(source.unpack("2.tar", &site.host()), args!["--dry-run", "-o", "json"])).json();
    assert_eq!(tried["report"]["verdict"], "verified");
    let run = ok(&with(source.unpack("2.tar", &site.host()), args!["-o", "json"])).json();
    assert_eq!(run["report"]["verdict"], "verified");
    // The layer of `old/gone` was mounted into `apps/moved`, from a repository that no image of N+1 leads to.
    complete(&site.host(), source.dir.path());
    // Again: nothing is left to do.
    let run = ok(&with(source.unpack("2.tar", &site.host()), args!["-o", "json"])).json();
    assert_eq!((&run["unpacked"]["new_blobs"], &run["unpacked"]["new_tags"]), (&0.into(), &0.into()));
    // The expanded bundle is the one that was made in full.
    let out = source.path("out.tar");
    ok(&args!["expand", source.path("2.tar"), out, "--base", source.path("1.tar")]);
    assert!(fs::read(&out).unwrap() == fs::read(source.path("full.tar")).unwrap());
    // And the next one is made against this one.
    source.create("3.tar", NEXT, "3", &["--base".into(), source.path("2.index.json").into()]);
    ok(&source.unpack("3.tar", &site.host()));
}

#[test]
fn a_blob_that_is_nowhere_is_named_before_anything_is_written() {
    let (source, site) = (Source::start(), Registry::start());
    let run = ends(30, &source.unpack("2.tar", &site.host()));
    for text in ["apps/web:2", "apps #1", "nothing was written", "are not carried", "--base BUNDLE"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    assert!(run.stderr.contains("this host has not unpacked apps #1"), "{}", run.stderr);
    assert!(is_empty(&site), "something was written");
    ends(30, &with(source.unpack("2.tar", &site.host()), args!["--dry-run"]));
    // With the base at hand it goes on.
    ok(&with(source.unpack("2.tar", &site.host()), args!["--base", source.path("1.tar")]));
    complete(&site.host(), source.dir.path());
    // A stream is no different.
    let (other, bytes) = (Registry::start(), fs::read(source.path("2.tar")).unwrap());
    let streamed = |more: Vec<OsString>| {
        let mut args = with(source.unpack("2.tar", &other.host()), more);
        args[1] = "-".into();
        fed(&mut command(&args), &bytes).code
    };
    assert_eq!(streamed(vec![]), 30);
    assert!(is_empty(&other));
    ok(&source.unpack("1.tar", &other.host()));
    assert_eq!(streamed(vec![]), 0);
    complete(&other.host(), source.dir.path());
}

/// A registry that does not mount gives the blob back, and gets it.
#[test]
fn a_registry_that_does_not_mount_gets_the_blob_it_has_once_more() {
    let (source, site) = (Source::start(), Registry::start());
    ok(&source.unpack("1.tar", &site.host()));
    let proxy = Proxy::start(Some(site.port));
    proxy.on("POST", "mount=", 100, status(404));
    ok(&source.unpack("2.tar", &proxy.host()));
    complete(&site.host(), source.dir.path());
}

/// What was found is gone, or other, when it is used: nothing is written.
#[test]
fn a_registry_that_does_not_give_back_what_it_has_is_noticed_before_anything_is_written() {
    let nine = part(9).digest().to_string();
    let other = Fault::FlipByte(1000);
    for (fault, code) in [(status(404), 50), (status(401), 51), (other, 31), (Fault::CutBody(500), 50)] {
        let (source, site) = (Source::start(), Registry::start());
        ok(&source.unpack("1.tar", &site.host()));
        let before: Vec<_> = files(&site.storage()).into_keys().collect();
        let proxy = Proxy::start(Some(site.port));
        // The look-up is answered.
        proxy.on("GET", format!("old/gone/blobs/{nine}"), 1, Fault::NoHeader("x-none".into()));
        proxy.on("GET", format!("old/gone/blobs/{nine}"), 100, fault);
        let run = finish(&mut command(&source.unpack("2.tar", &proxy.host())));
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("nothing was written"), "{}", run.stderr);
        let after: Vec<_> = files(&site.storage()).into_keys().collect();
        assert_eq!(before, after, "{}", run.stderr);
    }
}

#[test]
fn two_sites_with_different_bases_take_the_same_reviewed_bundle() {
    let source = Source::start();
    let full = source.path("full.tar");
    let world = world();
    let policy = source.path("trust.yaml");
    let line = |path: std::path::PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
    ok(&args!["keygen", source.path("reviewer"), "--no-passphrase"]);
    let (builder, reviewer) = (line(world.public_key()), line(source.path("reviewer.pub")));
    let text = |require: &str| {
        format!(
            "signers:\n- {{name: b, roles: [builder], key: {builder}}}\n- {{name: r, roles: [reviewer], key: {reviewer}}}\nrequire:\n- {{role: builder, threshold: 1}}\n{require}"
        )
    };
    fs::write(&policy, text("")).unwrap();
    ok(&args!["sign", full, "--sign-key", source.path("reviewer"), "--trust", policy, "--note", "seen"]);
    fs::write(&policy, text("- {role: reviewer, threshold: 1}\n")).unwrap();
    source.create("web.tar", &FIRST[..1], "1", &[]);
    for (site, base) in [("a.tar", "1.tar"), ("b.tar", "web.tar")] {
        let (form, registry) = (source.path(site), Registry::start());
        ok(&args!["shrink", full, form, "--base", source.path(base), "--sign-key", world.key()]);
        ok(&source.unpack(base, &registry.host()));
        let to =
            args!["--to", format!("{}/site", registry.host()), "--plain-http", "127.0.0.1", "--mirror-set", "none"];
        ok(&with(args!["unpack", form, "--trust", policy], to));
        complete(&registry.host(), source.dir.path());
    }
}

/// MB-CAR-07: release payloads, signatures and configurations are read without the base.
#[test]
fn what_is_read_of_a_release_is_carried_in_every_form() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let (whole, small) = (dir.path().join("whole.tar"), dir.path().join("small.tar"));
    let other = dir.path().join("other.tar");
    ok(&create_release(&whole, &source.host()));
    ok(&[create_release(&other, &source.host()), args!["--name", "other"]].concat());
    ok(&[create_release(&small, &source.host()), args!["--base", other]].concat());
    let lists = |bundle: &Path| ok(&args!["ls", bundle, "--blobs", "-o", "json"]).json();
    assert!(!lists(&small)["absent"].as_array().unwrap().is_empty());
    let report = ends(42, &with(verify(&small), args!["-o", "json"])).json();
    let full = ok(&with(verify(&whole), args!["-o", "json"])).json();
    for check in full["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["id"] != "blob-digests" && check["id"] != "format")
    {
        let same = report["checks"].as_array().unwrap().iter().find(|one| one["id"] == check["id"]).unwrap();
        assert_eq!((&same["examined"], &same["of"]), (&check["examined"], &check["of"]), "{check}");
    }
    let required = report["not_checked"].as_array().unwrap().iter().filter(|one| one["required"] == true);
    assert_eq!(required.map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), ["restored-blobs"]);
    let shrunk = dir.path().join("shrunk.tar");
    ok(&args!["shrink", whole, shrunk, "--base", other, "--sign-key", world.key()]);
    assert_eq!(lists(&shrunk)["absent"], lists(&small)["absent"]);
}
