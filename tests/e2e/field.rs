//! Mirrors and registries as found in the field: releases in several layouts, colliding images, foreign layers, docker
//! archives.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::*;
use crate::support::image::{Image, Pusher, layer};
use crate::support::registry::Registry;
use crate::support::release::{COMPONENTS, world};

/// A mirror that has the release in one repository and its components in another.
fn mirror(releases: &str, components: &str) -> Registry {
    let registry = Registry::start();
    let to = Pusher::new(&registry.host());
    for (_, image) in &world().release.components {
        to.push(components, image, None);
    }
    to.push(releases, &world().release.image, Some("4.16.37-x86_64"));
    registry
}

fn from_mirror(bundle: &Path, host: &str, releases: &str) -> Vec<std::ffi::OsString> {
    let reference = format!("{host}/{releases}:4.16.37-x86_64");
    let more = args!["--release", reference, "--signature-store", world().store(), "--retries", "0"];
    with(create_signed(bundle), more)
}

#[test]
fn a_release_is_bundled_from_each_usual_layout_of_a_mirror() {
    for (releases, components) in [
        ("openshift/release-images", "openshift/release"),
        ("a/openshift-release-dev/ocp-release", "a/openshift-release-dev/ocp-v4.0-art-dev"),
        ("x/both", "x/both"),
    ] {
        let (registry, dir) = (mirror(releases, components), folder());
        let bundle = dir.path().join("b.tar");
        ok(&from_mirror(&bundle, &registry.host(), releases));
        ok(&verify(&bundle));
        let named = index_of(&bundle)["images"].as_array().unwrap().iter().any(|i| i["repository"] == COMPONENTS);
        assert!(named, "components keep the name that the payload gives them");
    }
}

#[test]
fn a_release_is_bundled_from_where_a_mirror_configuration_says() {
    let (registry, dir) = (mirror("some/releases", "other/parts"), folder());
    let bundle = dir.path().join("b.tar");
    let run = ends(50, &from_mirror(&bundle, &registry.host(), "some/releases"));
    let host = registry.host();
    for place in [format!("tried  {host}/some/releases"), format!("tried  {COMPONENTS}"), "image  quay.io/".to_owned()]
    {
        assert!(run.stderr.contains(&place), "{place}: {}", run.stderr);
    }
    let set = json!({
        "apiVersion": "config.openshift.io/v1", "kind": "ImageDigestMirrorSet", "metadata": { "name": "idms" },
        "spec": { "imageDigestMirrors": [
            { "source": COMPONENTS, "mirrors": ["127.0.0.1:1/nobody", format!("{host}/other/parts")] },
            { "source": "quay.io/openshift-release-dev/ocp-release", "mirrors": [format!("{host}/some/releases")] },
        ] },
    });
    let conf = format!(
        "[[registry]]\nlocation = \"{COMPONENTS}\"\n[[registry.mirror]]\nlocation = \"{host}/other/parts\"\n\
         [[registry]]\nprefix = \"quay.io/openshift-release-dev/ocp-release\"\nlocation = \"{host}/some/releases\"\n"
    );
    for (name, text) in [("idms.json", set.to_string()), ("registries.conf", conf)] {
        let config = dir.path().join(name);
        fs::write(&config, text).unwrap();
        ok(&with(from_mirror(&bundle, &host, "some/releases"), args!["--force", "--mirror-config", config]));
        // And by the original name, whose registry is not contacted.
        ok(&with(
            from_mirror(&bundle, "quay.io", "openshift-release-dev/ocp-release"),
            args!["--force", "--mirror-config", config],
        ));
        ok(&verify(&bundle));
        let images = index_of(&bundle)["images"].clone();
        let release = images.as_array().unwrap().iter().find(|i| i["kind"] == "release").unwrap().clone();
        assert_eq!(release["repository"], "quay.io/openshift-release-dev/ocp-release");
    }
}

#[test]
fn images_that_would_meet_are_named_at_create_and_placed_at_unpack() {
    let (one, two, dir) = (Registry::start(), Registry::start(), folder());
    let images = ["one", "two"].map(|name| Image::oci("amd64", &[layer(&[(name, name.as_bytes())])]));
    for (registry, image) in [&one, &two].into_iter().zip(&images) {
        Pusher::new(&registry.host()).push("team/app", image, Some("1"));
    }
    let bundle = dir.path().join("b.tar");
    let references = [&one, &two].map(|registry| format!("{}/team/app:1", registry.host()));
    let run = ok(&with(create_signed(&bundle), args!["--image", references[0], "--image", references[1]]));
    assert!(run.stderr.contains("would both be `team/app:1`"), "{}", run.stderr);
    let target = Registry::start();
    let to = |more| with(unpack_to(&bundle, &target.host(), &dir.path().join("manifests")), more);
    let run = ends(52, &to(args!["--mirror-set", "none"]));
    assert!(run.stderr.contains("--placement host"), "{}", run.stderr);
    let run = ends(2, &to(args!["--map", "team"]));
    assert!(run.stderr.contains("FROM=TO"), "{}", run.stderr);

    ok(&to(args!["--placement", "host"]));
    for (registry, image) in [&one, &two].into_iter().zip(&images) {
        let repository = format!("ocp/mirror/{}/team/app", registry.host().replace(':', "-"));
        assert_eq!(manifest(&target, &repository, "1").unwrap(), image.bytes);
    }
    let sets = fs::read_to_string(dir.path().join("manifests-mirror-set/idms-generic-0.yaml")).unwrap_or_else(|_| {
        let all = files(&dir.path().join("manifests-mirror-set"));
        all.into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    });
    assert!(sets.contains(&format!("ocp/mirror/{}/team/app", one.host().replace(':', "-"))), "{sets}");

    let map = args!["--map", format!("{}/team=second", two.host()), "--mirror-set", "none"];
    ok(&with(unpack_to(&bundle, &target.host(), &dir.path().join("mapped")), map));
    assert_eq!(manifest(&target, "ocp/mirror/team/app", "1").unwrap(), images[0].bytes);
    assert_eq!(manifest(&target, "ocp/mirror/second/app", "1").unwrap(), images[1].bytes);
}

#[test]
fn a_map_gives_no_image_the_name_of_a_release() {
    let (registry, dir) = (Registry::start(), folder());
    let image = Image::oci("amd64", &[layer(&[("a", b"a")])]);
    Pusher::new(&registry.host()).push("team/app", &image, Some("4.16.1-x86_64"));
    let bundle = dir.path().join("b.tar");
    ok(&with(create_signed(&bundle), args!["--image", format!("{}/team/app:4.16.1-x86_64", registry.host())]));
    let map = format!("{}/team/app=openshift-release-dev/ocp-release", registry.host());
    let run = ends(2, &with(unpack_to(&bundle, &registry.host(), &dir.path().join("m")), args!["--map", map]));
    assert!(run.stderr.contains("only a release may have"), "{}", run.stderr);
}

/// A layout with one image whose lower layer is a foreign layer that no source has.
fn windows(dir: &Path) -> std::path::PathBuf {
    let image = Image::oci("amd64", &[layer(&[("a", b"a")])]);
    let mut manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
    manifest["layers"].as_array_mut().unwrap().insert(
        0,
        json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": format!("sha256:{}", "ab".repeat(32)), "size": 1_234_567, "urls": ["https://example.test/x"],
        }),
    );
    let layout = dir.join("windows");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        fs::write(layout.join("blobs/sha256").join(sha256(bytes).trim_start_matches("sha256:")), bytes).unwrap()
    };
    image.blobs.iter().for_each(|blob| put(&blob.bytes));
    let bytes = manifest.to_string().into_bytes();
    put(&bytes);
    let entry = json!({
        "mediaType": image.media_type, "digest": format!("sha256:{}", sha256(&bytes).trim_start_matches("sha256:")), "size": bytes.len(),
        "annotations": { "org.opencontainers.image.ref.name": "registry.lab/windows:1" },
    });
    fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    layout
}

#[test]
fn foreign_layers_are_left_out_refused_or_fetched_as_was_asked_for() {
    let dir = folder();
    let layout = windows(dir.path());
    let bundle = dir.path().join("b.tar");
    let create = |more| with(create_signed(&bundle), with(args!["--from-layout", layout], more));
    let run = ends(50, &create(args!["--foreign-layers", "refuse"]));
    assert!(run.stderr.contains("registry.lab/windows:1 has foreign layers"), "{}", run.stderr);
    let run = ends(30, &create(args!["--foreign-layers", "fetch"]));
    assert!(run.stderr.contains(&"ab".repeat(32)), "{}", run.stderr);
    let run = ok(&create(args!["--force"]));
    assert!(run.stderr.contains("the foreign layer sha256:abab"), "{}", run.stderr);
    assert_eq!(index_of(&bundle)["missing"][0]["reason"], "foreign-layer");
    ok(&verify(&bundle));
    let out = dir.path().join("out");
    ok(&with(args!["unpack", bundle, "--to-layout", out], trust()));
    assert!(fs::read_to_string(out.join("index.json")).unwrap().contains("registry.lab/windows:1"));
}

#[test]
fn what_skopeo_saved_for_docker_goes_to_a_registry_and_back() {
    let dir = folder();
    let (registry, target) = (Registry::start(), Registry::start());
    let image = Image::docker("amd64", json!({}), &[layer(&[("a", b"a")]), layer(&[("b", b"b")])]);
    Pusher::new(&registry.host()).push("team/app", &image, Some("1"));
    let (archive, bundle) = (dir.path().join("d.tar"), dir.path().join("b.tar"));
    let from = format!("docker://{}/team/app:1", registry.host());
    let to = format!("docker-archive:{}:registry.lab/team/app:1", archive.display());
    tool("skopeo", &args!["--insecure-policy", "copy", "-q", "--src-tls-verify=false", from, to]);
    tool("gzip", &args!["-k", archive]);
    let mut indexes = Vec::new();
    for source in [archive.clone(), dir.path().join("d.tar.gz")] {
        ok(&with(create_signed(&bundle), args!["--from-layout", source, "--force"]));
        indexes.push(index_of(&bundle)["images"].clone());
    }
    assert_eq!(indexes[0], indexes[1]);
    ok(&unpack_to(&bundle, &target.host(), &dir.path().join("manifests")));
    let back: Value = serde_json::from_slice(&manifest(&target, "ocp/mirror/team/app", "1").unwrap()).unwrap();
    let before: Value = serde_json::from_slice(&image.bytes).unwrap();
    assert_eq!(back["config"]["digest"], before["config"]["digest"], "the configuration is byte for byte what it was");
    let reference = format!("docker://{}/ocp/mirror/team/app:1", target.host());
    tool("skopeo", &args!["inspect", "--tls-verify=false", reference]);
}
