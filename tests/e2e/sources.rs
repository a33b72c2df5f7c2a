//! The other sources of content: OCI layouts and archives, skopeo's folders, the trees of `oc`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::*;
use crate::support::registry::Registry;
use crate::support::release::{MULTI, RELEASES, world};

/// A bundle of the release and the multi-arch image, from the registry.
fn original(dir: &Path) -> PathBuf {
    let source = world().registry();
    let bundle = dir.join("original.tar");
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    bundle
}

/// Creates a bundle with `more`, verifies it, and returns its path.
fn rebuilt(dir: &Path, name: &str, more: Vec<std::ffi::OsString>) -> PathBuf {
    let bundle = dir.join(name);
    ok(&[create_signed(&bundle), more].concat());
    let run = ok(&verify(&bundle));
    assert!(run.text().starts_with("verdict   VERIFIED"), "{}", run.text());
    bundle
}

fn unpacked(bundle: &Path, flag: &str, to: &Path) {
    ok(&[args!["unpack", bundle, flag, to], trust()].concat());
}

#[test]
fn a_release_survives_an_oci_layout() {
    let (world, dir) = (world(), folder());
    let original = original(dir.path());
    let layout = dir.path().join("layout");
    unpacked(&original, "--to-layout", &layout);
    assert_eq!(fs::read_to_string(layout.join("oci-layout")).unwrap(), "{\"imageLayoutVersion\":\"1.0.0\"}");
    // It must fit on FAT: no links, no colons, no names that differ only by case.
    for entry in walkdir::WalkDir::new(&layout).into_iter().map(Result::unwrap) {
        use std::os::unix::fs::MetadataExt;
        let name = entry.file_name().to_str().unwrap();
        assert!(!name.contains(':') && name == name.to_lowercase() && !entry.path_is_symlink(), "{name}");
        assert!(entry.file_type().is_dir() || entry.metadata().unwrap().nlink() == 1, "{name}");
    }
    let listed = tool("umoci", &args!["list", "--layout", layout]).text();
    assert!(listed.lines().any(|l| l.ends_with("4.16.37-x86_64")), "{listed}");
    let more = args!["--from-layout", layout, "--signature-store", world.store()];
    let again = rebuilt(dir.path(), "again.tar", more);
    assert_eq!(images_of(&again), images_of(&original));
    assert_eq!(index_of(&again)["releases"], index_of(&original)["releases"]);
}

/// What real programs saved. The identifiers are those that the programs gave to the images: digests of configurations.
#[test]
fn what_docker_and_podman_saved_is_read_with_the_identity_of_each_image() {
    let dir = folder();
    let (one, two, latest) =
        ("docker.io/example/one:1", "registry.example.com/team/two:2", "registry.example.com/team/two:latest");
    let saved: [(&str, &[&str], [&str; 2]); 3] = [
        ("docker-20.10", &[one, two, latest], ["372ffa1ba1e3", "ef01d6bc0022"]),
        ("docker-26.1", &[one, two, latest], ["968b98e59483", "3e14e81bb830"]),
        ("podman-4.3", &[one, latest], ["bd7e3dcc0856", "e33b1453202c"]),
    ];
    for (name, references, ids) in saved {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/docker-archives/{name}.tar.gz"));
        let bundle = rebuilt(dir.path(), &format!("{name}.tar"), args!["--from-layout", archive]);
        let index = index_of(&bundle);
        let images = index["images"].as_array().unwrap().iter();
        let text = |image: &serde_json::Value, of: &str| image[of].as_str().unwrap().to_owned();
        let named: Vec<String> = images.map(|i| format!("{}:{}", text(i, "repository"), text(i, "tag"))).collect();
        assert_eq!(named, references, "{name}");
        let blobs = index["blobs"].as_array().unwrap().iter().filter(|blob| blob["role"] == "config");
        let configs: BTreeSet<String> = blobs.map(|blob| text(blob, "digest")[7..19].to_owned()).collect();
        assert_eq!(configs, ids.map(str::to_owned).into(), "{name}");
    }
}

/// As oras writes a layout: `index.json` lists the manifests of a list after the list.
#[test]
fn an_image_of_a_list_that_a_layout_lists_too_is_no_image_of_its_own() {
    let (world, dir) = (world(), folder());
    let (one, layout) = (dir.path().join("one.tar"), dir.path().join("layout"));
    ok(&[create_signed(&one), multi(&world.registry().host())].concat());
    unpacked(&one, "--to-layout", &layout);
    let read = |path: PathBuf| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let mut index = read(layout.join("index.json"));
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let list = images_of(&one)["additional"].first().unwrap().clone();
    let parts = read(layout.join("blobs/sha256").join(hex(&list)))["manifests"].as_array().unwrap().clone();
    assert!(parts.len() > 1 && parts.iter().all(|part| part["platform"].is_object()));
    index["manifests"].as_array_mut().unwrap().extend(parts.clone());
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let again = rebuilt(dir.path(), "again.tar", args!["--from-layout", layout]);
    assert_eq!(images_of(&again)["additional"], [list].into());
    let amd = rebuilt(dir.path(), "amd.tar", args!["--from-layout", layout, "--platform", "linux/amd64"]);
    let carried = &images_of(&amd)["additional"];
    for part in &parts {
        let wanted = part["platform"]["architecture"] == "amd64";
        assert_eq!(carried.contains(part["digest"].as_str().unwrap()), wanted, "{part}");
    }
}

#[test]
fn a_release_survives_being_read_from_a_bundle_as_an_archive() {
    let (world, dir) = (world(), folder());
    let original = original(dir.path());
    let more = args!["--from-layout", original, "--signature-store", world.store()];
    let again = rebuilt(dir.path(), "again.tar", more);
    assert_eq!(images_of(&again), images_of(&original));
}

#[test]
fn a_release_survives_the_tree_of_oc_with_its_signature_beside_it() {
    let (world, dir) = (world(), folder());
    let original = original(dir.path());
    let tree = dir.path().join("mirror");
    unpacked(&original, "--to-dir", &tree);
    let repo = tree.join("v2/openshift/release");
    let hex = world.release.digest();
    assert_eq!(fs::read_link(repo.join("manifests/4.16.37-x86_64")).unwrap(), Path::new(&hex.to_string()));
    assert_eq!(fs::read(repo.join(format!("blobs/{hex}"))).unwrap(), world.release.image.bytes);
    assert!(repo.join("manifests/4.16.37-x86_64-etcd").exists());
    assert!(tree.join("v2/tools/multi/manifests/1.0").exists());
    let manifests = manifests_in(&tree, &original);
    assert!(manifests.join(format!("signature-{}.yaml", &hex.dashed()[..23])).exists());

    // No store is named: the signature is in DIR/manifests.
    let again = rebuilt(dir.path(), "again.tar", args!["--from-dir", tree]);
    assert_eq!(images_of(&again), images_of(&original));
    assert_eq!(index_of(&again)["releases"], index_of(&original)["releases"]);
    let count = |bundle| index_of(bundle)["images"].as_array().unwrap().len();
    assert_eq!(count(&again), count(&original), "nothing twice");

    // As oc writes it: the signature in config/, as JSON.
    fs::create_dir(tree.join("config")).unwrap();
    let name = format!("signature-{}", &hex.dashed()[..23]);
    fs::rename(manifests.join(format!("{name}.yaml")), tree.join(format!("config/{name}.json"))).unwrap();
    let again = rebuilt(dir.path(), "config.tar", args!["--from-dir", tree]);
    assert_eq!(images_of(&again), images_of(&original));

    // Without the signature, the release is not carried.
    fs::remove_dir_all(tree.join("config")).unwrap();
    let unsigned = dir.path().join("unsigned.tar");
    let run =
        ends(40, &[create_signed(&unsigned), args!["--from-dir", tree, "--signature-store", dir.path()]].concat());
    assert!(!unsigned.exists(), "{}", run.stderr);
}

#[test]
fn a_tree_with_links_of_2020_and_dashes_in_its_names_is_read_the_same() {
    let dir = folder();
    let original = original(dir.path());
    let tree = dir.path().join("mirror");
    unpacked(&original, "--to-dir", &tree);
    for repo in ["openshift/release", "tools/multi"] {
        let manifests = tree.join("v2").join(repo).join("manifests");
        for entry in fs::read_dir(&manifests).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if let Ok(target) = fs::read_link(entry.path()) {
                fs::remove_file(entry.path()).unwrap();
                let dashed = target.to_str().unwrap().replace(':', "-");
                symlink(format!("mirror/v2/{repo}/manifests/{dashed}"), entry.path()).unwrap();
            } else {
                fs::rename(entry.path(), manifests.join(name.replace(':', "-"))).unwrap();
            }
        }
        let blobs = tree.join("v2").join(repo).join("blobs");
        for entry in fs::read_dir(&blobs).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            fs::rename(entry.path(), blobs.join(name.replace(':', "-"))).unwrap();
        }
    }
    let again = rebuilt(dir.path(), "again.tar", args!["--from-dir", tree]);
    assert_eq!(images_of(&again), images_of(&original));
}

#[test]
fn what_a_tree_brings_goes_to_a_registry_under_the_same_tags() {
    let dir = folder();
    let original = original(dir.path());
    let tree = dir.path().join("mirror");
    unpacked(&original, "--to-dir", &tree);
    let again = rebuilt(dir.path(), "again.tar", args!["--from-dir", tree]);
    let (one, two) = (Registry::start(), Registry::start());
    ok(&unpack_to(&original, &one.host(), &dir.path().join("m1")));
    ok(&unpack_to(&again, &two.host(), &dir.path().join("m2")));
    assert_eq!(tags(&one, "ocp/mirror"), tags(&two, "ocp/mirror"));
    assert_eq!(tags(&one, "ocp/mirror/tools/multi"), tags(&two, "ocp/mirror/tools/multi"));
    assert_eq!(files(&dir.path().join("m1")), files(&dir.path().join("m2")));
    // The tree does not record where the release is published; its signature does.
    let set = set_about(&dir.path().join("m2-mirror-set"), "idms-", "ocp-release");
    for source in ["ocp-release", "ocp-v4.0-art-dev"] {
        assert!(set.contains(&format!("source: \"quay.io/openshift-release-dev/{source}\"")), "{set}");
    }
}

#[test]
fn what_skopeo_copied_to_an_archive_or_a_folder_keeps_its_digest() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let from = format!("docker://{}/{MULTI}:1.0", source.host());
    let copy = |to: String| {
        let options = args!["--insecure-policy", "copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false"];
        tool("skopeo", &[options, args![from, to]].concat());
    };
    let list: BTreeSet<String> = [world.multi.digest().to_string()].into();

    let archive = dir.path().join("skopeo.tar");
    copy(format!("oci-archive:{}:example.com/tools/multi:1.0", archive.display()));
    let bundle = rebuilt(dir.path(), "archive.tar", args!["--from-layout", archive]);
    assert_eq!(images_of(&bundle)["additional"], list);
    assert_eq!(index_of(&bundle)["images"][0]["repository"], "example.com/tools/multi");

    let layout = dir.path().join("layout");
    copy(format!("oci:{}:latest", layout.display()));
    let bundle = rebuilt(dir.path(), "layout.tar", args!["--from-layout", layout]);
    assert_eq!(images_of(&bundle)["additional"], list);

    let folder = dir.path().join("folder");
    copy(format!("dir:{}", folder.display()));
    let bundle = rebuilt(dir.path(), "folder.tar", args!["--from-layout", folder]);
    assert_eq!(images_of(&bundle)["additional"], list);
    let target = Registry::start();
    ok(&unpack_to(&bundle, &target.host(), &dir.path().join("m")));
    let digest = world.multi.digest().to_string();
    let found = repositories(&target).into_iter().filter_map(|r| manifest(&target, &r, &digest)).next();
    assert_eq!(found.unwrap(), world.multi.bytes);
}

#[test]
fn a_release_image_in_skopeo_s_folder_alone_is_a_release_without_its_components() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let folder = dir.path().join("folder");
    let from = format!("docker://{}/{RELEASES}:4.16.37-x86_64", source.host());
    let to = format!("dir:{}", folder.display());
    tool("skopeo", &args!["--insecure-policy", "copy", "-q", "--src-tls-verify=false", from, to]);
    let bundle = dir.path().join("b.tar");
    let more = args!["--from-layout", folder, "--signature-store", world.store()];
    let run = ends(50, &[create_signed(&bundle), more].concat());
    assert!(run.stderr.contains("component `cli` of release 4.16.37"), "{}", run.stderr);
    assert!(!bundle.exists());
}

#[test]
fn a_changed_blob_or_manifest_in_a_tree_is_refused() {
    let (world, dir) = (world(), folder());
    let original = original(dir.path());
    let etcd = world.release.component("etcd");
    for (kind, digest) in [("blobs", etcd.blobs.last().unwrap().digest()), ("manifests", etcd.digest())] {
        let tree = dir.path().join(kind);
        unpacked(&original, "--to-dir", &tree);
        let repo = tree.join("v2/openshift/release");
        // All its names: they may be hard links or copies.
        for path in ["blobs", "manifests"].map(|k| repo.join(format!("{k}/{digest}"))) {
            if let Ok(mut bytes) = fs::read(&path) {
                bytes[0] ^= 1;
                fs::remove_file(&path).unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
        let bundle = dir.path().join("b.tar");
        let run = ends(31, &[create_signed(&bundle), args!["--from-dir", tree]].concat());
        assert!(run.stderr.contains(&digest.to_string()), "{}", run.stderr);
        assert!(!bundle.exists());
    }
}
