//! Mirror sets on a real API server: those of several bundles and those of `oc-mirror` live beside each other, in
//! whatever order and however they are applied.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mirror_bundle::kubernetes::MirrorSetKind;
use mirror_bundle::oci::Repository;
use mirror_bundle::openshift::mirror_set::{self, SourcePolicy};
use serde_json::Value;

use crate::harness::*;
use crate::support::apiserver::{How, Server, Who};
use crate::support::registry::Registry;
use crate::support::release::world;

const SETS: [(&str, &str); 2] = [
    ("/apis/config.openshift.io/v1/imagedigestmirrorsets", "imageDigestMirrors"),
    ("/apis/config.openshift.io/v1/imagetagmirrorsets", "imageTagMirrors"),
];

/// Kind, source and mirror.
type Mirror = (String, String, String);

/// What a list of objects redirects.
fn mirrors(objects: &[Value]) -> BTreeSet<Mirror> {
    let mut out = BTreeSet::new();
    for object in objects {
        for (list, entries) in object["spec"].as_object().unwrap() {
            for entry in entries.as_array().unwrap() {
                for mirror in entry["mirrors"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    out.insert((list.clone(), text(&entry["source"]), text(mirror)));
                }
            }
        }
    }
    out
}

/// What the cluster redirects.
fn on(server: &Server) -> BTreeSet<Mirror> {
    SETS.iter().flat_map(|(path, _)| mirrors(server.get(path)["items"].as_array().unwrap())).collect()
}

/// What the files of a folder redirect.
fn of(folder: &Path) -> BTreeSet<Mirror> {
    let texts = files(folder).into_values().map(|bytes| String::from_utf8(bytes).unwrap());
    let objects: Vec<Value> = texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap()).collect();
    mirrors(&objects)
}

fn clear(server: &Server) {
    for (path, _) in SETS {
        assert_eq!(server.request("DELETE", path, None).0, 200);
    }
}

/// The real output of oc-mirror, with the set that it writes for releases.
fn of_oc_mirror(dir: &Path) -> PathBuf {
    let to = dir.join("oc-mirror");
    fs::create_dir(&to).unwrap();
    for file in ["idms-oc-mirror.yaml", "itms-oc-mirror.yaml"] {
        let from = format!("{}/testdata/oc-mirror/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(from).unwrap();
        let release = text
            .replace("-generic-0", "-release-0")
            .replace("127.0.0.1:23010/team", "quay.io/openshift-release-dev/ocp-release")
            .replace("23011/team", "23011/openshift/release-images");
        assert!(text.contains("-generic-0") && release.contains("-release-0"));
        fs::write(to.join(file), if file.starts_with("idms") { text + &release } else { text }).unwrap();
    }
    to
}

#[test]
fn no_mirror_is_lost_when_sets_of_several_makers_are_applied_in_any_order() {
    // A server of its own: this test counts all sets on it.
    let Some(server) = Server::start() else { return };
    if !have("kubectl") {
        return;
    }
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (one, two) = (dir.path().join("one.tar"), dir.path().join("two.tar"));
    ok(&[create_release(&one, &source.host()), multi(&source.host())].concat());
    let images = args!["--image", format!("{}/tools/big:1", source.host())];
    ok(&[create_signed(&two), images].concat());
    for (bundle, to) in [(&one, "one"), (&two, "two")] {
        ok(&unpack_to(bundle, &target.host(), &dir.path().join(to)));
    }
    let folders = [dir.path().join("one-mirror-set"), dir.path().join("two-mirror-set"), of_oc_mirror(dir.path())];
    let wanted: BTreeSet<Mirror> = folders.iter().flat_map(|folder| of(folder)).collect();
    assert!(wanted.len() > 8, "{wanted:?}");
    let config = server.kubeconfig(Who::Admin, How::Token);
    // As a user of oc applies a folder, by server-side apply, and for what is ours with `apply`.
    let apply = |folder: &Path, way: usize| {
        if way == 2 && folder != folders[2] {
            let more = args!["--kubeconfig", config, "--allow-unsigned", "--apply-mirror-sets"];
            ok(&[args!["apply", folder], more].concat());
            return;
        }
        let way = if way == 0 { args!["apply"] } else { args!["apply", "--server-side"] };
        let out = server.kubectl(Who::Admin, &[way, args!["-f", folder]].concat(), b"");
        assert!(out.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&out.stderr));
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for way in [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2]] {
            for (at, way) in order.into_iter().zip(way) {
                apply(&folders[at], way);
            }
            assert_eq!(on(&server), wanted, "{order:?} {way:?}");
            clear(&server);
        }
    }
    // The check can fail: with oc-mirror's name for a set of ours, its mirrors are lost.
    let theirs = server.kubectl(Who::Admin, &args!["apply", "-f", folders[2]], b"");
    assert!(theirs.status.success());
    let set = set_about(&folders[0], "idms-", "ocp-release");
    let name = set.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
    let renamed = set.replace(name, "idms-release-0");
    let out = server.kubectl(Who::Admin, &args!["apply", "-f", "-"], renamed.as_bytes());
    assert!(out.status.success());
    assert!(!on(&server).is_superset(&of(&folders[2])));
}

#[test]
fn every_set_that_can_be_written_passes_the_patterns_and_rules_of_the_server() {
    let Some(server) = Server::shared() else { return };
    let long = format!("r.example.com/{}", ["a-b.c__d"; 28].join("/"));
    let host = format!("{}.{}.example.com:65535", "a".repeat(63), "b".repeat(63));
    let names = [
        "localhost:5000/a".to_owned(),
        "127.0.0.1:5000/a/b".to_owned(),
        "Registry.Example.COM/a".to_owned(),
        "r.example.com:5000/a__b/c---d.e".to_owned(),
        format!("{host}/x"),
        long,
    ];
    let names: Vec<Repository> = names.iter().map(|name| name.parse().unwrap()).collect();
    let kinds = [
        (MirrorSetKind::Digest, SETS[0].0),
        (MirrorSetKind::Tag, SETS[1].0),
        (MirrorSetKind::ContentSourcePolicy, "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies"),
    ];
    for (kind, path) in kinds {
        for target in &names {
            let pairs: Vec<_> = names.iter().map(|source| (source.clone(), target.clone())).collect();
            let pairs =
                [pairs, vec![(names[0].clone(), names[1].clone()), (names[0].clone(), names[1].clone())]].concat();
            for policy in [None, Some(SourcePolicy::Never), Some(SourcePolicy::Allow)] {
                if policy.is_some() && kind == MirrorSetKind::ContentSourcePolicy {
                    continue;
                }
                let made = mirror_set::object(kind, target, &pairs, policy).unwrap();
                let object: Value = serde_saphyr::from_str(&made.text).unwrap();
                let (status, answer) =
                    server.request("POST", &format!("{path}?dryRun=All&fieldValidation=Strict"), Some(&object));
                assert_eq!(status, 201, "{}: {answer}", made.text);
            }
        }
    }
    // What the server refuses is refused before it is written.
    let six: Repository = "[::1]:5000/a".parse().unwrap();
    for (kind, path) in &kinds[..2] {
        assert!(mirror_set::object(*kind, &names[0], &[(names[0].clone(), six.clone())], None).is_err());
        let object = mirror_set::object(*kind, &names[0], &[(names[0].clone(), names[1].clone())], None).unwrap();
        let text = object.text.replace("127.0.0.1:5000/a/b", "[::1]:5000/a");
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(server.request("POST", &format!("{path}?dryRun=All"), Some(&object)).0, 422);
    }
}

/// `apply FOLDER --apply-mirror-sets --dry-run` to this server.
fn compare(server: &Server, set: &Path) -> String {
    let config = server.kubeconfig(Who::Admin, How::Token);
    let more = args!["--kubeconfig", config, "--allow-unsigned", "--apply-mirror-sets", "--dry-run"];
    ok(&[args!["apply", set], more].concat()).stderr
}

#[test]
fn what_the_cluster_mirrors_elsewhere_for_the_same_sources_is_said() {
    let Some(server) = Server::start() else { return };
    let dir = folder();
    let set = |name: &str, source: &str, mirror: &str, policy: &str| {
        serde_json::json!({
            "apiVersion": "config.openshift.io/v1", "kind": "ImageDigestMirrorSet", "metadata": { "name": name },
            "spec": { "imageDigestMirrors": [
                { "source": source, "mirrors": [mirror, "m.example.com/same"], "mirrorSourcePolicy": policy }] },
        })
    };
    for (name, source, mirror) in [
        ("same", "quay.io/team/app", "old.example.com/app"),
        ("wider", "quay.io/team", "wide.example.com/team"),
        ("other", "quay.io/teams", "other.example.com/x"),
        ("narrower", "quay.io/team/app/part", "narrow.example.com/x"),
    ] {
        server.create(SETS[0].0, &set(name, source, mirror, "NeverContactSource"));
    }
    let mirrors = [("quay.io/team/app", "new.example.com/app"), ("quay.io/team/app", "m.example.com/same")];
    let mirrors = mirrors.map(|(source, mirror)| (source.parse().unwrap(), mirror.parse().unwrap()));
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    for kind in [MirrorSetKind::Digest, MirrorSetKind::Tag] {
        let made = mirror_set::object(kind, &"new.example.com/app".parse().unwrap(), &mirrors, None).unwrap();
        fs::write(own.join("set.yaml"), &made.text).unwrap();
        let said = compare(&server, &own);
        let is_tag = kind == MirrorSetKind::Tag;
        let same = "`quay.io/team/app` is also mirrored to old.example.com/app with NeverContactSource, by ImageDigestMirrorSet same";
        assert_eq!(said.contains(same), !is_tag, "{said}");
        let wider = "is mirrored to wide.example.com/team, m.example.com/same";
        assert!(!said.contains(wider), "only what is new: {said}");
        assert_eq!(said.contains("as part of `quay.io/team`, by ImageDigestMirrorSet wider"), !is_tag, "{said}");
        assert!(!said.contains("other.example.com") && !said.contains("narrow.example.com"), "{said}");
    }
}
