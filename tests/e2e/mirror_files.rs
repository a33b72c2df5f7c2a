//! What is written beside the images of a registry: mirror sets, snippets, and the names that `oc` uses.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::*;
use crate::support::registry::Registry;
use crate::support::release::{RELEASES, world};

/// A bundle of the release and of an image that was asked for by tag.
fn both(dir: &std::path::Path) -> std::path::PathBuf {
    let source = world().registry();
    let bundle = dir.join("b.tar");
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    bundle
}

fn yaml(text: &[u8]) -> Value {
    serde_saphyr::from_slice(text).unwrap()
}

#[test]
fn the_policy_for_sources_is_in_every_set_when_asked_for_and_keeps_the_names() {
    let (dir, target) = (folder(), Registry::start());
    let bundle = both(dir.path());
    let unpack = |more: &[&str]| {
        let more = more.iter().map(std::ffi::OsString::from).collect();
        [unpack_to(&bundle, &target.host(), &dir.path().join("m")), more].concat()
    };
    let sets = || files(&dir.path().join("m-mirror-set"));
    ok(&unpack(&[]));
    let plain = sets();
    assert!(plain.len() == 3 && plain.values().all(|text| !String::from_utf8_lossy(text).contains("olicy")));
    for policy in ["NeverContactSource", "AllowContactingSource"] {
        ok(&unpack(&["--mirror-source-policy", policy]));
        let with = sets();
        assert!(with.keys().eq(plain.keys()), "the same objects: the second policy replaces the first");
        for text in with.values() {
            let spec = yaml(text)["spec"].clone();
            let entries = spec.as_object().unwrap().values().next().unwrap().as_array().unwrap().clone();
            assert!(!entries.is_empty() && entries.iter().all(|entry| entry["mirrorSourcePolicy"] == policy), "{spec}");
        }
    }
    let run = ends(2, &unpack(&["--mirror-source-policy", "NeverContactSource", "--mirror-set", "icsp"]));
    assert!(run.stderr.contains("has no mirrorSourcePolicy"), "{}", run.stderr);
    ends(2, &unpack(&["--mirror-source-policy", "Sometimes"]));
}

#[test]
fn snippets_for_the_installer_and_for_hosts_are_written_where_the_user_says() {
    let (dir, target) = (folder(), Registry::start());
    let bundle = both(dir.path());
    let (install, hosts) = (dir.path().join("install.yaml"), dir.path().join("registries.d"));
    fs::create_dir(&hosts).unwrap();
    let snippets = args!["--install-config", install, "--registries-d", hosts, "-o", "json"];
    let unpack = || [unpack_to(&bundle, &target.host(), &dir.path().join("m")), snippets.clone()].concat();
    let run = ok(&unpack());
    let host = target.host();
    let list = yaml(&fs::read(&install).unwrap())["imageDigestSources"].clone();
    let mirrored = |source: &str, mirror: &str| {
        let is = |entry: &&Value| entry["source"] == source;
        let entry = list.as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("{source}: {list}"));
        assert!(entry["mirrors"].as_array().unwrap().contains(&mirror.into()), "{list}");
    };
    mirrored("quay.io/openshift-release-dev/ocp-release", &format!("{host}/ocp/mirror"));
    mirrored("quay.io/openshift-release-dev/ocp-v4.0-art-dev", &format!("{host}/ocp/mirror"));
    assert!(!dir.path().join("m-mirror-set/install.yaml").exists());

    let written = files(&hosts);
    let (name, text) = written.first_key_value().unwrap();
    assert!(written.len() == 1 && name.to_str().unwrap().starts_with("mirror-bundle-ocp-mirror-"), "{name:?}");
    assert!(name.extension().is_some_and(|end| end == "yaml"), "hosts read only these");
    let docker = yaml(text)["docker"].clone();
    assert_eq!(docker, serde_json::json!({ format!("{host}/ocp/mirror"): { "use-sigstore-attachments": true } }));
    assert_eq!(run.json()["unpacked"]["install_config"], install.to_str().unwrap());
    assert_eq!(run.json()["unpacked"]["registries_d"], hosts.join(name).to_str().unwrap());
    // Again, and over other content.
    ok(&unpack());
    fs::write(&install, "mine").unwrap();
    let run = ends(52, &unpack());
    assert!(run.stderr.contains("--overwrite"), "{}", run.stderr);
    ok(&[unpack(), args!["--overwrite"]].concat());
    let to = dir.path().join("hosts.conf");
    let more = args!["--registries-d", to];
    let run = ends(2, &[unpack_to(&bundle, &target.host(), &dir.path().join("m")), more].concat());
    assert!(run.stderr.contains(".yaml"), "{}", run.stderr);
}

#[test]
fn repositories_with_joined_paths_are_named_for_hosts_too() {
    let (dir, target) = (folder(), Registry::start());
    let bundle = both(dir.path());
    let file = dir.path().join("hosts.yaml");
    let more = args!["--registries-d", file, "--max-nested-paths", "2"];
    ok(&[unpack_to(&bundle, &target.host(), &dir.path().join("m")), more].concat());
    let docker = yaml(&fs::read(&file).unwrap())["docker"].clone();
    let names: BTreeSet<String> = docker.as_object().unwrap().keys().cloned().collect();
    let expected = ["ocp/mirror", "ocp/mirror-tools-multi"].map(|path| format!("{}/{path}", target.host()));
    assert_eq!(names, expected.into());
}

#[test]
fn what_oc_calls_its_flags_is_taken() {
    let (dir, target) = (folder(), Registry::start());
    let bundle = both(dir.path());
    let host = target.host();
    let manifests = dir.path().join("signatures");
    let base = args!["unpack", bundle, "--plain-http", "127.0.0.1"];
    let more = args![
        "--to",
        format!("{host}/ocp/content"),
        "--to-release-image",
        format!("{host}/ocp/release-images:4.16.37"),
        "--release-image-signature-to-dir",
        manifests,
        "--print-mirror-instructions",
        "IDMS"
    ];
    let run = ok(&[base.clone(), more, trust()].concat());
    assert_eq!(fs::read_dir(&manifests).unwrap().count(), 1, "the ConfigMap");
    let release = &world().release;
    // The release image alone, with its signature, and the components elsewhere with theirs.
    let expected = ["4.16.37".to_owned(), release.image.sig_tag()];
    assert_eq!(tags(&target, "ocp/release-images"), expected.into());
    let content = tags(&target, "ocp/content");
    assert!(content.contains("4.16.37-x86_64-cli") && content.contains(&release.component("etcd").sig_tag()));
    assert!(!content.contains("4.16.37-x86_64") && !content.contains(&release.image.sig_tag()), "{content:?}");
    let sets = dir.path().join("signatures-mirror-set");
    let set = set_about(&sets, "idms-", "ocp-release");
    let pair = |path: &str, source: &str| format!("    - \"{host}/{path}\"\n    source: \"{source}\"\n");
    assert!(set.contains(&pair("ocp/release-images", "quay.io/openshift-release-dev/ocp-release")), "{set}");
    assert!(set.contains(&pair("ocp/content", "quay.io/openshift-release-dev/ocp-v4.0-art-dev")), "{set}");
    assert!(files(&sets).keys().all(|name| name.to_str().unwrap().starts_with("idms-")), "no other kind");
    let upgrade = format!("--to-image {host}/ocp/release-images@{}", release.digest());
    assert!(run.stderr.contains(&upgrade), "{}", run.stderr);

    // The tags of oc for a pattern; none in the name of a repository, as with oc.
    let pattern =
        args!["--to", format!("{host}/p/all:v${{version}}-${{component}}"), "--manifests-to-dir", dir.path().join("p")];
    ok(&[base.clone(), pattern, trust()].concat());
    let found = tags(&target, "p/all");
    assert!(found.contains("v4.16.37-release-x86_64") && found.contains("v4.16.37-cli-x86_64"), "{found:?}");
    for bad in
        ["x/${component}", "x/${version}/y", "x/${version}:${component}", "x:${version}", "x:${arch}-${component}"]
    {
        let run = ends(2, &[base.clone(), args!["--to", format!("{host}/{bad}")], trust()].concat());
        assert!(run.stderr.contains("REGISTRY/REPOSITORY:${version}-${component}"), "{bad}: {}", run.stderr);
    }
}

#[test]
fn with_to_alone_each_release_has_its_folder_and_the_same_one_twice_is_the_same() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let store = dir.path().join("none");
    fs::create_dir(&store).unwrap();
    let unsigned = args![
        "--release",
        format!("{}/{RELEASES}:4.16.39-x86_64", source.host()),
        "--allow-unsigned-release",
        "--signature-store",
        store,
        "--manifests",
        dir.path().join("own")
    ];
    fs::create_dir(dir.path().join("own")).unwrap();
    fs::write(dir.path().join("own/set.yaml"), "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: mine}\nspec: {imageDigestMirrors: [{source: quay.io/a, mirrors: [m.example.com/a]}]}\n").unwrap();
    ok(&create_release(&dir.path().join("one.tar"), &source.host()));
    ok(&[create_signed(&dir.path().join("two.tar")), unsigned].concat());
    for bundle in ["one.tar", "two.tar", "one.tar", "two.tar"] {
        let to = format!("{}/ocp/mirror", target.host());
        let unpack = args!["unpack", bundle, "--to", to, "--plain-http", "127.0.0.1", "--allow-unsigned-release"];
        let run = finish(
            command(&[unpack, trust()].concat())
                .current_dir(dir.path())
                .env("MIRROR_BUNDLE_STATE", dir.path().join(bundle.replace(".tar", "-state"))),
        );
        assert_eq!(run.code, 0, "{bundle}: {}", run.stderr);
        assert!(!run.text().contains("of other bundles"), "{}", run.text());
    }
    for bundle in ["one.tar", "two.tar"] {
        let name = unpacked_name(&dir.path().join(bundle));
        assert_eq!(files(&dir.path().join(format!("{name}-manifests"))).len(), 1);
        assert_eq!(files(&dir.path().join(format!("{name}-manifests-mirror-set"))).len(), 1, "{name}");
    }
}

#[test]
fn the_answer_names_the_sets_of_this_target_and_says_that_there_are_others() {
    let dir = folder();
    let bundle = both(dir.path());
    let manifests = dir.path().join("m");
    let (one, two) = (Registry::start(), Registry::start());
    let first = ok(&unpack_to(&bundle, &one.host(), &manifests));
    assert!(!first.text().contains("beside"), "{}", first.text());
    let of_one: BTreeSet<_> = files(&dir.path().join("m-mirror-set")).into_keys().collect();
    let second = ok(&unpack_to(&bundle, &two.host(), &manifests));
    assert!(second.text().contains("beside 3 sets of other bundles or targets"), "{}", second.text());
    let all = files(&dir.path().join("m-mirror-set"));
    assert_eq!((of_one.len(), all.len()), (3, 6));
    for (name, text) in &all {
        let name = name.to_str().unwrap();
        let mine = String::from_utf8_lossy(text).contains(&two.host());
        assert_eq!(mine, !of_one.contains(std::path::Path::new(name)));
        assert_eq!(second.text().contains(name), mine, "{name}: {}", second.text());
        // What is to be applied is named file by file, and nothing of the other target.
        let apply = format!("oc apply -f {}", dir.path().join("m-mirror-set").join(name).display());
        assert_eq!(second.stderr.contains(&apply), mine, "{}", second.stderr);
    }
}
