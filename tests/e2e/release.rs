//! A release: from a registry into a bundle, verified, into another registry, ready for a cluster.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::*;
use crate::support::image::{Image, Pusher};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::Registry;
use crate::support::release::{RELEASES, Release, world};

/// A bundle with the signed release, the multi-arch image and a manifest of the user's own.
fn everything(dir: &Path, host: &str) -> std::path::PathBuf {
    let own = dir.join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("policy.yaml"), POLICY).unwrap();
    let bundle = dir.join("ocp.tar");
    ok(&[create_release(&bundle, host), multi(host), args!["--manifests", own]].concat());
    bundle
}

const POLICY: &str =
    "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata:\n  name: mine\nspec: {}\n";

fn expected_tags(release: &Release) -> BTreeSet<String> {
    let mut tags: BTreeSet<String> =
        release.components.iter().map(|(name, _)| format!("{}-x86_64-{name}", release.version)).collect();
    tags.insert(format!("{}-x86_64", release.version));
    tags.insert(release.image.sig_tag());
    let etcd = release.component("etcd");
    tags.insert(etcd.sig_tag());
    // The list of referrers of etcd, if the registry does not maintain it itself.
    tags.insert(etcd.digest().dashed());
    tags
}

#[test]
fn a_release_goes_from_one_registry_to_another_with_everything_it_needs() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = everything(dir.path(), &source.host());
    let report = ok(&verify(&bundle));
    assert!(report.text().starts_with("verdict   VERIFIED"), "{}", report.text());
    assert!(report.text().contains(&world.fingerprint), "{}", report.text());

    let manifests = dir.path().join("manifests");
    let run = ok(&unpack_to(&bundle, &target.host(), &manifests));

    // Tags are those of oc, and each is exactly the manifest of the source.
    assert_eq!(tags(&target, "ocp/mirror"), expected_tags(&world.release));
    let at = |tag: &str| manifest(&target, "ocp/mirror", tag).unwrap();
    assert_eq!(at("4.16.37-x86_64"), world.release.image.bytes);
    for (name, image) in &world.release.components {
        assert_eq!(at(&format!("4.16.37-x86_64-{name}")), image.bytes, "{name}");
        assert_eq!(at(&image.digest().to_string()), image.bytes, "{name}");
    }
    for image in [&world.release.image, world.release.component("etcd")] {
        assert_eq!(at(&image.sig_tag()), manifest(&source, RELEASES, &image.sig_tag()).unwrap());
    }
    let referrers: Value = serde_json::from_slice(&at(&world.release.component("etcd").digest().dashed())).unwrap();
    let referrer = referrers["manifests"][0]["digest"].as_str().unwrap();
    assert_eq!(at(referrer), manifest(&source, RELEASES, referrer).unwrap());

    // The list is kept complete, under its own path.
    let list = |reference: &str| manifest(&target, "ocp/mirror/tools/multi", reference);
    assert_eq!(list("1.0").unwrap(), world.multi.bytes);
    for child in &world.multi.children {
        assert_eq!(list(&child.digest().to_string()).unwrap(), child.bytes);
    }
    assert!(list(&world.multi.digest().dashed()).is_some(), "its referrer");

    // Every blob can be pulled anonymously.
    let cli = format!("docker://{}/ocp/mirror@{}", target.host(), world.release.component("cli").digest());
    let copy = format!("dir:{}", dir.path().join("cli").display());
    tool("skopeo", &args!["--insecure-policy", "copy", "--src-tls-verify=false", "-q", cli, copy]);

    // The files for a cluster.
    let name = world.release.digest().dashed();
    let map = fs::read_to_string(manifests.join(format!("signature-{}.yaml", &name[..7 + 16]))).unwrap();
    let signature = fs::read(world.store().join(format!("sha256={}/signature-1", world.release.digest().hex())));
    use base64::Engine;
    let signature = base64::engine::general_purpose::STANDARD.encode(signature.unwrap());
    assert_eq!(
        map,
        format!(
            "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"openshift-config-managed\",\"labels\":{{\"release.openshift.io/verification-signatures\":\"\"}}}},\"binaryData\":{{\"{name}-1\":\"{signature}\"}}}}\n"
        )
    );
    // The user's YAML is carried in canonical form.
    let policy: serde_json::Value = serde_json::from_slice(&fs::read(manifests.join("policy.yaml")).unwrap()).unwrap();
    assert_eq!(
        (policy["kind"].as_str(), policy["metadata"]["name"].as_str()),
        (Some("ImageDigestMirrorSet"), Some("mine"))
    );
    assert_eq!(fs::read_dir(&manifests).unwrap().count(), 2);

    let sets = dir.path().join("manifests-mirror-set");
    let (set, generic) = (set_about(&sets, "idms-", "ocp-release"), set_about(&sets, "idms-", "tools/multi"));
    let mirrored = |source: &str| {
        let mirror = format!("    - \"{}/ocp/mirror\"\n    source: \"{source}\"\n", target.host());
        assert!(set.contains(&mirror), "{source}: {set}");
    };
    mirrored("quay.io/openshift-release-dev/ocp-v4.0-art-dev");
    // Not where it came from, but where its signature says that it is published.
    mirrored("quay.io/openshift-release-dev/ocp-release");
    mirrored(&format!("{}/{RELEASES}", source.host()));
    assert!(generic.contains(&format!("\"{}/ocp/mirror/tools/multi\"", target.host())), "{generic}");

    let upgrade = format!(
        "oc adm upgrade --allow-explicit-upgrade --to-image {}/ocp/mirror@{}",
        target.host(),
        world.release.digest()
    );
    assert!(run.stderr.contains(&upgrade), "{}", run.stderr);
}

#[test]
fn what_is_left_for_oc_apply_can_be_read_by_kubectl() {
    if !have("kubectl") {
        return;
    }
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = everything(dir.path(), &source.host());
    let manifests = dir.path().join("manifests");
    ok(&unpack_to(&bundle, &target.host(), &manifests));
    let out = tool("kubectl", &args!["label", "--local", "-o", "name", "a=b", "-Rf", manifests]);
    let objects: BTreeSet<String> = out.text().lines().map(str::to_owned).collect();
    let map = format!("configmap/{}", world.release.digest().dashed());
    let expected = ["imagedigestmirrorset.config.openshift.io/mine".to_owned(), map];
    assert_eq!(objects, expected.into_iter().collect());
    let sets = dir.path().join("manifests-mirror-set");
    let out = tool("kubectl", &args!["label", "--local", "-o", "name", "a=b", "-Rf", sets]);
    assert_eq!(out.text().lines().count(), 3);
}

#[test]
fn unpacking_again_uploads_nothing() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = everything(dir.path(), &source.host());
    let manifests = dir.path().join("manifests");
    let proxy = Proxy::start(Some(target.port));
    let unpack = || {
        let run = ok(&[unpack_to(&bundle, &proxy.host(), &manifests), args!["-o", "json"]].concat());
        let unpacked = run.json()["unpacked"].clone();
        ["new_blobs", "new_bytes", "new_documents", "new_tags"].map(|key| unpacked[key].as_u64().unwrap())
    };
    let first = unpack();
    assert!(first.iter().all(|n| *n > 0), "{first:?}");
    let before = proxy.seen().len();
    assert_eq!(unpack(), [0; 4]);
    let sent: Vec<_> =
        proxy.seen().split_off(before).into_iter().filter(|s| !["GET", "HEAD"].contains(&s.method.as_str())).collect();
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn a_release_for_several_architectures_is_tagged_multi_and_its_list_is_what_is_signed() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    let release = format!("{}/{RELEASES}:4.16.38-multi", source.host());
    ok(&[create_signed(&bundle), args!["--release", release, "--signature-store", world.store()]].concat());
    let manifests = dir.path().join("m");
    ok(&unpack_to(&bundle, &target.host(), &manifests));
    let expected = ["4.16.38-multi", "4.16.38-multi-cli", "4.16.38-multi-cluster-version-operator"];
    assert_eq!(tags(&target, "ocp/mirror"), expected.map(str::to_owned).into());
    assert_eq!(manifest(&target, "ocp/mirror", "4.16.38-multi").unwrap(), world.several.image.bytes);
    let name = world.several.digest().dashed();
    assert!(manifests.join(format!("signature-{}.yaml", &name[..23])).exists());
}

#[test]
fn the_stores_that_the_payload_names_are_asked_over_https_and_through_a_proxy() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let bundle = dir.path().join("b.tar");
    let release = format!("{}/{RELEASES}@{}", source.host(), world.release.digest());
    let create = [create_signed(&bundle), args!["--release", release]].concat();
    // This host does not trust the server's certificate yet.
    let run = on_the_web(50, &[create.clone(), args!["--retries", "0"]].concat());
    assert!(!bundle.exists(), "{}", run.stderr);
    on_the_web(0, &[create, args!["--ca-file", world.ca]].concat());
    ok(&verify(&bundle));
    assert_eq!(index_of(&bundle)["releases"][0]["signers"][0], world.fingerprint.as_str());
}

#[test]
fn icsp_and_none_are_written_when_asked_for() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&[create_signed(&bundle), multi(&source.host())].concat());
    for (kind, written) in [("icsp", true), ("none", false)] {
        let manifests = dir.path().join(kind);
        ok(&[unpack_to(&bundle, &target.host(), &manifests), args!["--mirror-set", kind]].concat());
        let sets = dir.path().join(format!("{kind}-mirror-set"));
        assert_eq!(sets.exists(), written);
        if written {
            let text = set_about(&sets, "icsp-", "tools/multi");
            assert!(text.contains("kind: ImageContentSourcePolicy"), "{text}");
        }
        assert!(!manifests.exists(), "no manifests were carried");
    }
}

#[test]
fn one_platform_can_be_chosen_and_brings_only_its_image() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    ok(&[create_signed(&bundle), multi(&source.host()), args!["--platform", "linux/arm64"]].concat());
    let arm = &world.multi.children[1];
    assert_eq!(index_of(&bundle)["images"][0]["digest"], arm.digest().to_string());
    ok(&unpack_to(&bundle, &target.host(), &dir.path().join("m")));
    assert_eq!(manifest(&target, "ocp/mirror/tools/multi", "1.0").unwrap(), arm.bytes);
    assert_eq!(manifest(&target, "ocp/mirror/tools/multi", &world.multi.children[0].digest().to_string()), None);
    let none = dir.path().join("none.tar");
    ends(50, &[create_signed(&none), multi(&source.host()), args!["--platform", "linux/s390x"]].concat());
    assert!(!none.exists());
}

#[test]
fn components_in_a_repository_of_their_own_come_to_the_release_with_their_signatures() {
    let (world, dir) = (world(), folder());
    let (source, target) = (Registry::start(), Registry::start());
    let apart = format!("{}/vendor/art-dev", source.host());
    let release = Release::make("4.16.40", "amd64", &apart, &world.release.components, "{}");
    let to = Pusher::new(&source.host());
    for (_, image) in &release.components {
        to.push("vendor/art-dev", image, None);
    }
    let etcd = release.component("etcd");
    to.push("vendor/art-dev", &Image::cosign(etcd, "x.example/y"), Some(&etcd.sig_tag()));
    to.push("vendor/ocp-release", &release.image, Some("4.16.40-x86_64"));
    let bundle = dir.path().join("b.tar");
    let image = format!("{}/vendor/ocp-release:4.16.40-x86_64", source.host());
    let none = dir.path().join("empty");
    fs::create_dir(&none).unwrap();
    let allow = args!["--allow-unsigned-release", "--signature-store", none];
    ok(&[create_signed(&bundle), args!["--release", image], allow].concat());
    let unpack = unpack_to(&bundle, &target.host(), &dir.path().join("m"));
    ok(&[unpack, args!["--allow-unsigned-release"]].concat());
    let tags = tags(&target, "ocp/mirror");
    assert!(tags.contains("4.16.40-x86_64-etcd") && tags.contains(&etcd.sig_tag()), "{tags:?}");
    assert_eq!(tags.len(), 1 + 5 + 1);
    let set = set_about(&dir.path().join("m-mirror-set"), "idms-", "vendor/art-dev");
    assert!(set.contains("vendor/art-dev\"") && set.contains("vendor/ocp-release\""), "{set}");
}

#[test]
fn two_releases_in_one_bundle_share_what_they_have_in_common() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (one, both) = (dir.path().join("one.tar"), dir.path().join("both.tar"));
    ok(&create_release(&one, &source.host()));
    let later =
        args!["--release", format!("{}/{RELEASES}:4.21.0-x86_64", source.host()), "--allow-missing-image-signature"];
    ok(&[create_release(&both, &source.host()), later].concat());
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(size(&both) < size(&one) + 100_000, "{} {}", size(&one), size(&both));
    let manifests = dir.path().join("m");
    let run = ok(&unpack_to(&both, &target.host(), &manifests));
    let tags = tags(&target, "ocp/mirror");
    for (name, _) in &world.release.components {
        assert!(tags.contains(&format!("4.16.37-x86_64-{name}")) && tags.contains(&format!("4.21.0-x86_64-{name}")));
    }
    assert_eq!(run.stderr.matches("oc adm upgrade").count(), 2, "{}", run.stderr);
    assert_eq!(fs::read_dir(&manifests).unwrap().count(), 2);
}

#[test]
fn a_registry_and_a_directory_can_be_filled_in_one_run_with_manifests_beside_the_directory() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = everything(dir.path(), &source.host());
    let tree = dir.path().join("tree");
    let to = format!("{}/ocp/mirror", target.host());
    ok(&[args!["unpack", bundle, "--to", to, "--to-dir", tree, "--plain-http", "127.0.0.1"], trust()].concat());
    assert_eq!(tags(&target, "ocp/mirror"), expected_tags(&world.release));
    assert!(tree.join("v2/openshift/release/manifests/4.16.37-x86_64").exists());
    assert!(manifests_in(&tree, &bundle).join("policy.yaml").exists());
    set_about(&tree.join("manifests-mirror-set"), "idms-", "ocp-release");
}

#[test]
fn without_a_directory_manifests_go_where_the_program_runs_and_can_be_read_elsewhere_alone() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = everything(dir.path(), &source.host());
    let to = format!("{}/ocp/mirror", target.host());
    let unpack = [args!["unpack", bundle, "--to", to, "--plain-http", "127.0.0.1"], trust()].concat();
    let run = finish(command(&unpack).current_dir(dir.path()));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let name = format!("{}-manifests", unpacked_name(&bundle));
    let manifests = dir.path().join(&name);
    assert!(manifests.join("policy.yaml").exists());
    set_about(&dir.path().join(format!("{name}-mirror-set")), "idms-", "ocp-release");
    // Manifests alone, for a second cluster.
    let only = dir.path().join("only");
    ok(&[args!["unpack", bundle, "--manifests-to-dir", only], trust()].concat());
    assert_eq!(files(&only), files(&manifests));
}

#[test]
fn signatures_come_from_a_store_on_the_web_and_only_those_that_hold_are_carried() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let name = format!("sha256={}", world.release.digest().hex());
    let read = |store: std::path::PathBuf| fs::read(store.join(&name).join("signature-1")).unwrap();
    let (other, good) = (read(world.other_store()), read(world.store()));
    let web = Proxy::start(None);
    for (n, bytes) in [(1, other), (2, Vec::new()), (3, good.clone())] {
        web.on("GET", format!("/store/{name}/signature-{n}"), 9, Fault::Answer(200, Vec::new(), bytes));
    }
    let bundle = dir.path().join("b.tar");
    let image = format!("{}/{RELEASES}:4.16.37-x86_64", source.host());
    let store = format!("http://{}/store", web.host());
    ok(&[create_signed(&bundle), args!["--release", image, "--signature-store", store]].concat());
    assert_eq!(web.count("GET", "signature-4"), 1, "{:?}", web.seen());
    assert_eq!(member(&bundle, &format!("signatures/{name}/signature-1")), good);
    let signatures = index_of(&bundle)["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["path"].as_str().unwrap().starts_with("signatures/"))
        .count();
    assert_eq!(signatures, 1);
    ok(&verify(&bundle));
}

#[test]
fn an_image_that_two_names_lead_to_is_tagged_once() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let bundle = dir.path().join("b.tar");
    let other = format!("localhost:{}", source.port);
    let images =
        [source.host(), other.clone()].map(|host| args!["--image", format!("{host}/tools/multi:1.0")]).concat();
    ok(&[create_signed(&bundle), images, args!["--plain-http", other]].concat());
    assert_eq!(index_of(&bundle)["images"].as_array().unwrap().iter().filter(|i| i["kind"] == "additional").count(), 2);
    let proxy = Proxy::start(Some(target.port));
    let unpack = [unpack_to(&bundle, &proxy.host(), &dir.path().join("m")), args!["-o", "json", "-j8"]].concat();
    assert_eq!(ok(&unpack).json()["unpacked"]["new_tags"], 1);
    assert_eq!(proxy.count("PUT", "/manifests/1.0"), 1);
    assert_eq!(ok(&unpack).json()["unpacked"]["new_tags"], 0);
}
