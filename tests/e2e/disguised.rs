//! A release is a release however it is requested: none of it is carried as an ordinary image (MB-CRE-08).

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::*;
use crate::support::image::{Blob, Image, Pusher, layer};
use crate::support::noise;
use crate::support::proxy::{Fault, Proxy, status};
use crate::support::registry::Registry;
use crate::support::release::world;

fn create(bundle: &Path, reference: &str) -> Vec<OsString> {
    args!["create", bundle, "--sign-key", world().key(), "--plain-http", "127.0.0.1", "--image", reference]
}

/// Everything in the folder except what an interrupted run keeps.
fn bundles(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.contains(".partial")).collect()
}

fn payload() -> Blob {
    layer(&[("release-manifests/image-references", b"{}"), ("release-manifests/release-metadata", b"{}")])
}

#[test]
fn a_release_that_is_asked_for_as_another_image_never_becomes_a_bundle() {
    let (source, dir) = (Registry::start(), folder());
    let pusher = Pusher::new(&source.host());
    let plain = layer(&[("etc/x", &noise(3000, 1))]);
    let label = Image::docker("amd64", json!({ "io.openshift.release": "" }), std::slice::from_ref(&plain));
    let hidden = Image::docker("amd64", json!({}), &[payload(), plain.clone()]);
    let bzip2 = Blob { bytes: b"BZh91AY&SY no tar".to_vec(), ..plain.clone() };
    let opaque = Image::docker("amd64", json!({}), &[bzip2]);
    let ordinary = Image::docker("amd64", json!({}), &[plain]);
    let list = Image::list(vec![ordinary.clone(), hidden.clone()]);
    for (tag, image) in
        [("label", &label), ("payload", &hidden), ("opaque", &opaque), ("ordinary", &ordinary), ("list", &list)]
    {
        pusher.push("team/app", image, Some(tag));
    }
    for (tag, code, says) in [
        ("label", 40, "io.openshift.release"),
        ("payload", 40, "release-manifests"),
        ("list", 40, "release-manifests"),
        ("opaque", 12, "cannot be looked into"),
    ] {
        let proxy = Proxy::start(Some(source.port));
        let (bundle, reference) = (dir.path().join(format!("{tag}.tar")), format!("{}/team/app:{tag}", proxy.host()));
        // Files left by the first run make no difference to the second.
        for _ in 0..2 {
            let run = ends(code, &create(&bundle, &reference));
            assert!(run.stderr.contains(says), "{tag}: {}", run.stderr);
            assert!(bundles(dir.path()).is_empty(), "{tag}: {:?}", bundles(dir.path()));
        }
        let layer = label.blobs[1].digest().to_string();
        assert!(tag != "label" || proxy.count("GET", &layer) == 0, "{:?}", proxy.seen());
        let streamed = finish(&mut command(&create("-".as_ref(), &reference)));
        assert_eq!(streamed.code, code, "{tag}: {}", streamed.stderr);
    }
    ok(&create(&dir.path().join("ordinary.tar"), &format!("{}/team/app:ordinary", source.host())));
}

#[test]
fn a_layer_of_which_an_earlier_run_has_left_a_part_is_looked_at_from_its_beginning() {
    let (source, dir) = (Registry::start(), folder());
    let hidden = layer(&[("release-manifests/image-references", b"{}"), ("etc/x", &noise(3 << 19, 2))]);
    let digest = hidden.digest().to_string();
    Pusher::new(&source.host()).push("team/app", &Image::oci("amd64", &[hidden]), Some("1"));
    let proxy = Proxy::start(Some(source.port));
    let run = create(&dir.path().join("b.tar"), &format!("{}/team/app:1", proxy.host()));
    proxy.on("GET", format!("/blobs/{digest}"), 1, Fault::CutBody(1 << 20));
    proxy.on("GET", format!("/blobs/{digest}"), 100, status(404));
    let broken = finish(&mut command(&run));
    assert!(![0, 40].contains(&broken.code), "{}", broken.stderr);
    proxy.clear();
    assert!(ends(40, &run).stderr.contains("release-manifests"));
    assert!(bundles(dir.path()).is_empty());
}

#[test]
fn another_image_under_the_name_of_a_release_is_refused_before_any_layer_is_fetched() {
    let (source, dir) = (Registry::start(), folder());
    let image = Image::oci("amd64", &[layer(&[("etc/x", &noise(3000, 3))])]);
    let pusher = Pusher::new(&source.host());
    for (repository, tag, code) in [
        ("openshift/release", "4.16.1-x86_64", 40),
        ("openshift/release", "4.16.1-x86_64-etcd", 40),
        ("mirror/openshift/release-images", "anything", 40),
        ("openshift/release", "latest", 0),
        ("team/app", "4.16.1-x86_64", 0),
    ] {
        pusher.push(repository, &image, Some(tag));
        let proxy = Proxy::start(Some(source.port));
        let bundle = dir.path().join(format!("{}-{tag}.tar", repository.replace('/', "-")));
        let run = ends(code, &create(&bundle, &format!("{}/{repository}:{tag}", proxy.host())));
        assert_eq!(bundle.exists(), code == 0);
        if code != 0 {
            assert!(run.stderr.contains("name of a release"), "{}", run.stderr);
            assert_eq!(proxy.count("GET", &image.blobs[1].digest().to_string()), 0);
        }
    }
}
