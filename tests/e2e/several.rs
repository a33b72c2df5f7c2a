//! Several bundles on one host and one cluster: series, mirror sets, locations of images, bundles as sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::*;
use crate::support::registry::Registry;
use crate::support::release::{RELEASES, world};

/// The mirror sets in a folder: file names and contents.
fn sets(dir: &Path) -> Vec<(String, String)> {
    let all = files(dir).into_iter();
    all.map(|(path, bytes)| (path.display().to_string(), String::from_utf8(bytes).unwrap())).collect()
}

#[test]
fn releases_of_one_stream_go_forward_and_streams_do_not_know_each_other() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let none = dir.path().join("none");
    fs::create_dir(&none).unwrap();
    let release = |version: &str| args!["--release", format!("{}/{RELEASES}:{version}", source.host())];
    let allow = args!["--allow-unsigned-release", "--allow-missing-image-signature", "--signature-store", none];
    let create = |name: &str, more: Vec<_>| ok(&[create_signed(&dir.path().join(name)), more].concat());
    create("37.tar", [release("4.16.37-x86_64"), args!["--signature-store", world.store()]].concat());
    create("37-and-more.tar", [release("4.16.37-x86_64"), multi(&source.host()), allow.clone()].concat());
    create("39.tar", [release("4.16.39-x86_64"), allow.clone()].concat());
    create("21.tar", [release("4.21.0-x86_64"), allow.clone()].concat());
    create("39-named.tar", [release("4.16.37-x86_64"), allow, args!["--name", "edge"]].concat());
    let state = dir.path().join("state");
    let unpack = |n: usize, bundle: &str, more: &[&str]| {
        let to = dir.path().join(format!("to-{n}"));
        let mut args = with(args!["unpack", dir.path().join(bundle), "--to-layout", to], trust());
        args.extend(args!["--allow-unsigned-release"]);
        args.extend(more.iter().map(std::ffi::OsString::from));
        finish(command(&args).env("MIRROR_BUNDLE_STATE", &state))
    };
    let work =
        ["21.tar", "37.tar", "21.tar", "37-and-more.tar", "37.tar", "39.tar", "39-named.tar", "21.tar", "39.tar"];
    for (n, bundle) in work.iter().enumerate() {
        let run = unpack(n, bundle, &[]);
        assert_eq!(run.code, 0, "{bundle}: {}", run.stderr);
    }
    let run = unpack(20, "37.tar", &[]);
    assert_eq!(run.code, 23, "{}", run.stderr);
    assert!(run.stderr.contains("ocp-4.16-x86_64 release 4.16.37 after release 4.16.39"), "{}", run.stderr);
    assert_eq!(unpack(21, "37.tar", &["--allow-rollback"]).code, 0);
    let memory: serde_json::Value = serde_json::from_slice(&fs::read(state.join("unpacked.json")).unwrap()).unwrap();
    assert_eq!(memory["releases"]["ocp-4.16-x86_64"]["version"], "4.16.37");
    assert_eq!(memory["releases"]["ocp-4.21-x86_64"]["version"], "4.21.0");
    assert_eq!(memory["series"].as_object().unwrap().keys().collect::<Vec<_>>(), ["edge"]);
}

#[test]
fn mirror_sets_of_a_second_bundle_stay_beside_those_of_the_first() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (release, images) = (dir.path().join("release.tar"), dir.path().join("images.tar"));
    ok(&create_release(&release, &source.host()));
    ok(&[create_signed(&images), multi(&source.host())].concat());
    let manifests = dir.path().join("m");
    let folder = dir.path().join("m-mirror-set");
    ok(&unpack_to(&release, &target.host(), &manifests));
    let first = sets(&folder);
    assert_eq!(first.len(), 1, "a release is pulled by digest: {first:?}");
    let run = ok(&unpack_to(&images, &target.host(), &manifests));
    let both = sets(&folder);
    assert_eq!(both.len(), 3, "{both:?}");
    assert!(both.contains(&first[0]));
    assert!(run.text().contains("itms-ocp-mirror-"), "{}", run.text());
    let kinds: BTreeSet<&str> = both.iter().map(|(name, _)| &name[..5]).collect();
    assert_eq!(kinds, ["idms-", "itms-"].into());
    let names: BTreeSet<&str> = both.iter().map(|(_, text)| text.lines().nth(3).unwrap()).collect();
    assert_eq!(names.len(), 3, "one object each");
    // The same bundle again, and for another registry.
    ok(&unpack_to(&images, &target.host(), &manifests));
    assert_eq!(sets(&folder), both);
    let second = Registry::start();
    ok(&unpack_to(&images, &second.host(), &manifests));
    assert_eq!(sets(&folder).len(), 5);
    // Files other than our mirror sets are still refused, before anything is sent.
    fs::write(folder.join("idms-x-01234567.yaml"), "kind: Pod\n").unwrap();
    ends(52, &unpack_to(&images, &second.host(), &manifests));
    // Kinds that exclude each other.
    for bad in ["none,idms", "icsp,itms"] {
        ends(2, &[unpack_to(&images, &second.host(), &dir.path().join("x")), args!["--mirror-set", bad]].concat());
    }
}

#[test]
fn unpacking_says_where_every_image_went_and_a_dry_run_what_would_move() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (bundle, mapping) = (dir.path().join("b.tar"), dir.path().join("mapping.txt"));
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    let unpack = |more| [unpack_to(&bundle, &target.host(), &dir.path().join("m")), more].concat();
    let blobs = |v: &serde_json::Value| {
        let text = index_of(&bundle)["blobs"].as_array().unwrap().clone();
        let content = text.iter().filter(|b| b["role"] == "config" || b["role"] == "layer");
        (v["blobs"].clone(), content.clone().count(), content.map(|b| b["size"].as_u64().unwrap()).sum::<u64>())
    };
    let before = ok(&unpack(args!["--dry-run", "-o", "json"])).json();
    let (_, count, size) = blobs(&before);
    assert_eq!(before["unpacked"]["new_blobs"], count);
    assert_eq!(before["unpacked"]["new_bytes"], size);
    assert!(repositories(&target).is_empty(), "nothing is written");
    // An unwritable mapping is detected first.
    ends(2, &unpack(args!["--mapping", dir.path().join("nowhere/mapping")]));
    assert!(repositories(&target).is_empty());
    let after = ok(&unpack(args!["--mapping", mapping, "-o", "json"])).json();
    let placed = after["unpacked"]["placements"].as_array().unwrap();
    assert_eq!(placed.len(), index_of(&bundle)["images"].as_array().unwrap().len());
    for placed in placed {
        let get = |name: &str| placed[name].as_str().unwrap_or_default();
        let at = get("target").strip_prefix(&format!("{}/", target.host())).unwrap();
        let (repository, reference) = match placed["tag"].as_str() {
            Some(tag) => (at.strip_suffix(&format!(":{tag}")).unwrap(), tag),
            None => (at.split('@').next().unwrap(), get("digest")),
        };
        let there = manifest(&target, repository, reference).unwrap();
        assert_eq!(sha256(&there), get("digest"), "{placed}");
        assert!(!get("source").is_empty() && !get("kind").is_empty());
    }
    let text = fs::read_to_string(&mapping).unwrap();
    let release = format!(
        "{}/{RELEASES}@{}={}/ocp/mirror:4.16.37-x86_64\n",
        source.host(),
        world.release.digest(),
        target.host()
    );
    assert!(text.contains(&release), "{text}");
    assert!(text.lines().all(|line| line.matches('=').count() == 1 && line.contains("@sha256:")), "{text}");
    // Now everything exists.
    let again = ok(&unpack(args!["--dry-run", "-o", "json"])).json();
    assert_eq!(again["unpacked"]["new_blobs"], 0);
    assert_eq!(again["unpacked"]["there"]["bytes"], size);
    ok(&unpack(args!["--mapping", mapping]));
    fs::write(&mapping, "other\n").unwrap();
    ends(52, &unpack(args!["--mapping", mapping]));
    ok(&unpack(args!["--mapping", mapping, "--overwrite"]));
}

#[test]
fn a_mirror_directory_carries_signatures_and_referrers_by_tag_and_says_how_to_push_them() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let (bundle, tree) = (dir.path().join("b.tar"), dir.path().join("tree"));
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    let unpack = [args!["unpack", bundle, "--to-dir", tree], trust()].concat();
    let run = ok(&unpack);
    let line = format!(
        "oc image mirror --keep-manifest-list --from-dir {} 'file://openshift/release:*' REGISTRY/REPOSITORY\n",
        tree.display()
    );
    assert!(run.stderr.contains(&line), "{}", run.stderr);
    assert!(run.stderr.contains("'file://tools/multi:*' REGISTRY/REPOSITORY/tools/multi"), "{}", run.stderr);
    let etcd = world.release.component("etcd");
    let manifests = tree.join("v2/openshift/release/manifests");
    assert!(manifests.join(etcd.sig_tag()).exists());
    let list = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(manifests.join(etcd.digest().dashed())).unwrap()).unwrap()
    };
    let entries = list()["manifests"].as_array().unwrap().clone();
    assert!(!entries.is_empty());
    for entry in &entries {
        assert!(manifests.join(entry["digest"].as_str().unwrap()).exists() && !entry["artifactType"].is_null());
    }
    let before = files(&tree);
    ok(&unpack);
    assert_eq!(files(&tree), before, "again is the same");
    // Entries of other tools in that list stay.
    assert_eq!(list()["manifests"].as_array().unwrap(), &entries);
    let again = dir.path().join("again.tar");
    ok(&[create_signed(&again), args!["--from-dir", tree]].concat());
    assert_eq!(images_of(&again), images_of(&bundle), "the list is no image");
}

#[test]
fn a_bundle_and_a_layout_bring_release_signatures_and_manifests_with_them() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let (bundle, layout, tree) = (dir.path().join("b.tar"), dir.path().join("layout"), dir.path().join("tree"));
    let own = dir.path().join("own/deep");
    fs::create_dir_all(&own).unwrap();
    let namespace = |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
    fs::write(own.join("ns.yaml"), namespace("mine")).unwrap();
    let more = args!["--manifests", own.parent().unwrap()];
    ok(&[create_release(&bundle, &source.host()), more].concat());
    ok(&[args!["unpack", bundle, "--to-layout", layout], trust()].concat());
    ok(&[args!["unpack", bundle, "--to-dir", tree], trust()].concat());
    let files_of = |bundle: &Path| -> BTreeSet<String> {
        let index = index_of(bundle);
        let files = index["files"].as_array().unwrap().iter();
        let kept = files.filter(|f| f["path"] != "index.json");
        kept.map(|f| format!("{} {}", f["path"].as_str().unwrap(), f["digest"].as_str().unwrap())).collect()
    };
    for (name, flag, from) in
        [("1.tar", "--from-layout", &bundle), ("2.tar", "--from-layout", &layout), ("3.tar", "--from-dir", &tree)]
    {
        let again = dir.path().join(name);
        // No signature store, and none of those in the payload is reachable.
        ok(&[create_signed(&again), args![flag, from]].concat());
        assert_eq!(files_of(&again), files_of(&bundle), "{name}");
        assert_eq!(index_of(&again)["releases"], index_of(&bundle)["releases"], "{name}");
        ok(&verify(&again));
    }
    // A manifest of another kind must be allowed here too.
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: d\nspec: {}\n";
    fs::write(layout.join("manifests/pod.yaml"), pod).unwrap();
    let run = ends(41, &[create_signed(&dir.path().join("4.tar")), args!["--from-layout", layout]].concat());
    assert!(run.stderr.contains("--allow-kind Pod"), "{}", run.stderr);
    assert_eq!(world.release.version, "4.16.37");
}

#[test]
fn what_can_only_fail_late_is_noticed_before_anything_is_written() {
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (bundle, file) = (dir.path().join("b.tar"), dir.path().join("file"));
    ok(&create_release(&bundle, &source.host()));
    fs::write(&file, "").unwrap();
    for manifests in [file.clone(), file.join("below")] {
        let run = finish(&mut command(&unpack_to(&bundle, &target.host(), &manifests)));
        assert_ne!(run.code, 0, "{}", manifests.display());
        assert!(repositories(&target).is_empty(), "{}: {}", manifests.display(), run.stderr);
    }
    let inside = dir.path().join("folder");
    fs::create_dir(&inside).unwrap();
    let run = ends(2, &[create_release(&inside, "127.0.0.1:1"), args!["--force"]].concat());
    assert!(run.stderr.contains("is a folder"), "{}", run.stderr);
    let run = ends(52, &args!["split", bundle, file, "--volume-size", "1MiB"]);
    assert!(run.stderr.contains("is not a folder"), "{}", run.stderr);
    let volumes = dir.path().join("new/volumes");
    ok(&args!["split", bundle, volumes, "--volume-size", "1MiB", "--dry-run"]);
    assert!(!volumes.exists());
    ok(&args!["split", bundle, volumes, "--volume-size", "1MiB"]);
    ok(&with(args!["verify", volumes], trust()));
}

/// A namespace of this name, in a folder of its own.
fn namespace(dir: &Path, file: &str, name: &str, label: &str) -> std::path::PathBuf {
    fs::create_dir_all(dir).unwrap();
    let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  labels:\n    is: {label}\n  name: {name}\n");
    fs::write(dir.join(file), text).unwrap();
    dir.to_owned()
}

#[test]
fn bundles_unpacked_in_one_place_have_a_folder_of_manifests_each() {
    let (world, dir) = (world(), folder());
    let source = world.registry();
    let bundle = |name: &str| dir.path().join(name);
    let create = |name: &str, folder: &str, label: &str| {
        let manifests = namespace(&dir.path().join(folder), "ns.yaml", "demo", label);
        ok(&[create_signed(&bundle(name)), multi(&source.host()), args!["--manifests", manifests]].concat());
    };
    create("1.tar", "m1", "one");
    create("2.tar", "m2", "two");
    ok(&[create_release(&bundle("r.tar"), &source.host())].concat());
    for flag in ["--to-dir", "--to-layout"] {
        let out = dir.path().join(format!("out {flag}"));
        let unpack = |name: &str| ok(&[args!["unpack", bundle(name), flag, out], trust()].concat());
        let names = ["1.tar", "2.tar", "r.tar"];
        for (n, name) in names.into_iter().enumerate() {
            let run = unpack(name);
            let answer = format!("{}{}", run.text(), run.stderr);
            let manifests = manifests_in(&out, &bundle(name));
            assert!(answer.contains(&format!("oc apply -Rf '{}'\n", manifests.display())), "{answer}");
            assert_eq!(answer.contains(&format!("beside {n} folder")), n > 0, "{answer}");
            let from = format!("--from-dir '{}' 'file://", out.display());
            assert_eq!(answer.contains(&from), flag == "--to-dir", "{answer}");
            assert_eq!(files(&manifests).len(), 1);
        }
        let before = files(&out);
        for name in names {
            let run = unpack(name);
            assert!(run.stderr.contains("(0 new, 1 unchanged, 0 replaced)"), "{}", run.stderr);
        }
        assert_eq!(files(&out), before);
        // All of them are below the one folder that `oc apply -Rf` is given.
        let applied = fs::read_dir(out.join("manifests")).unwrap().count();
        assert_eq!(applied, 3);
    }
    // As a source, what they share is carried once, and what differs is an error.
    let (tree, again) = (dir.path().join("out --to-dir"), bundle("again.tar"));
    let run = ends(52, &[create_signed(&again), args!["--from-dir", tree]].concat());
    assert!(run.stderr.contains("differs from that of another bundle"), "{}", run.stderr);
    fs::remove_dir_all(manifests_in(&tree, &bundle("2.tar"))).unwrap();
    ok(&[create_signed(&again), args!["--from-dir", tree]].concat());
    let index = index_of(&again);
    let paths = index["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap());
    let manifests: Vec<&str> = paths.filter(|path| path.starts_with("manifests/")).collect();
    let signature = format!("manifests/signature-{}.yaml", &world.release.digest().dashed()[..23]);
    assert_eq!(manifests, ["manifests/ns.yaml", &signature]);
}
