//! `repair --from`: other copies, layouts, older bundles, registries.

use std::fs;

use crate::kit::{Kit, of_size};
use crate::support::noise;
use crate::support::registry::Registry;

#[test]
fn two_copies_damaged_in_different_places_make_a_whole_one_either_way() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    kit.copy("b.tar", "a.tar");
    for (n, member) in blueprint.layout.members().iter().enumerate().skip(4) {
        kit.damage(if n % 2 == 0 { "a.tar" } else { "b.tar" }, |bytes| {
            bytes[member.data() as usize..][..member.size as usize].fill(0x55);
        });
    }
    kit.damage("a.tar", |bytes| bytes.truncate(bytes.len() - 600));
    let (a, b) = (kit.read("a.tar"), kit.read("b.tar"));
    kit.repair(&[]).is(31);
    let answer = kit.repair(&["--from", "a.tar", "-o", "json"]).is(0).json()["repaired"].clone();
    assert!(answer["mended"].as_array().unwrap().iter().any(|m| m["from"] == "a.tar"));
    assert!(kit.read("b.tar") == whole && kit.read("a.tar") == a);
    kit.write("b.tar", &b);
    kit.run(&["repair", "a.tar", "--signer", "builder.pub", "--from", "b.tar"]).is(0);
    assert!(kit.read("a.tar") == whole && kit.read("b.tar") == b);
}

#[test]
fn one_blob_damaged_in_both_copies_is_put_together_slice_by_slice() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    kit.copy("b.tar", "a.tar");
    // More on each than recovery data could reconstruct.
    kit.zero("b.tar", big.data() + 9_000, 1_500_000);
    kit.zero("a.tar", big.data() + 1_600_000, 1_500_000);
    kit.repair(&["--recovery", "r"]).is(31);
    kit.repair(&["--recovery", "r", "--from", "a.tar"]).is(0).says("recovery data");
    assert!(kit.read("b.tar") == whole);
    // Some slices are damaged in both: those are reconstructed.
    kit.zero("b.tar", big.data() + 9_000, 1_600_000);
    kit.repair(&["--recovery", "r", "--from", "a.tar"]).is(0);
    assert!(kit.read("b.tar") == whole);
}

#[test]
fn without_recovery_data_a_blob_damaged_in_both_copies_is_woven_from_them() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    kit.copy("b.tar", "a.tar");
    kit.zero("b.tar", big.data() + 9_000, 300_000);
    kit.zero("b.tar", big.data() + 4_000_000, 10);
    kit.zero("a.tar", big.data() + 2_000_000, 500_000);
    let b = kit.read("b.tar");
    let answer = kit.repair(&["--from", "a.tar", "-o", "json"]).is(0).json()["repaired"].clone();
    assert_eq!(answer["mended"][0]["from"], "a.tar, in part");
    assert!(kit.read("b.tar") == whole);
    // Copies damaged in the same place cannot be combined.
    kit.write("b.tar", &b);
    kit.zero("a.tar", big.data() + 9_100, 1);
    kit.repair(&["--from", "a.tar"]).is(31);
    assert!(kit.read("b.tar") == b);
}

#[test]
fn layouts_and_older_bundles_give_the_blobs_that_they_have() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    kit.create("newer.tar", "newer", &["--sequence", "6"]);
    let shared = of_size(&blueprint, 4_500_000).clone();
    let own = of_size(&blueprint, 70_001).clone();
    kit.zero("b.tar", shared.header, 2_000_000);
    kit.repair(&["--from", "newer.tar"]).is(0).says("the archive `newer.tar`");
    assert!(kit.read("b.tar") == whole);
    kit.flip("b.tar", own.data() + 1);
    kit.repair(&["--from", "newer.tar"]).is(31).says(&own.digest.unwrap().to_string());
    kit.repair(&["--from", "newer.tar", "--from", "layout"]).is(0).says("layout");
    assert!(kit.read("b.tar") == whole);
    // Everything but the index and the Kubernetes files, which no layout has.
    let first = blueprint.layout.blobs()[0].header as usize;
    kit.zero("b.tar", first as u64, whole.len() - first);
    kit.repair(&["--from", "layout"]).is(0);
    assert!(kit.read("b.tar") == whole);
    let file = blueprint.layout.members().iter().find(|m| m.path == "manifests/ns.yaml").unwrap();
    kit.flip("b.tar", file.data());
    kit.repair(&["--from", "layout"]).is(31).says("manifests/ns.yaml");
    for bad in ["nowhere", "quay.io/UPPER/x", "m"] {
        let ran = kit.repair(&["--from", bad]);
        assert!(matches!(ran.code, 2 | 50), "{bad}: {ran:?}");
    }
    assert_eq!(kit.files("b.tar").len(), 1);
}

#[test]
fn a_registry_gives_what_is_damaged_and_nothing_else_is_asked_for() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let registry = Registry::start();
    let (host, to) = (registry.host(), format!("{}/in", registry.host()));
    let args =
        ["unpack", "b.tar", "--signer", "builder.pub", "--to", &to, "--plain-http", &host, "--mirror-set", "none"];
    kit.run(&[&args[..], &["--manifests-to-dir", "out"]].concat()).is(0);
    // A document, a configuration, layers held in memory and in a file.
    kit.zero("b.tar", blueprint.layout.blobs()[0].header, whole.len() - blueprint.layout.blobs()[0].header as usize);
    let answer = kit.repair(&["--from", &to, "--plain-http", &host, "-o", "json"]).is(0).json()["repaired"].clone();
    assert!(kit.read("b.tar") == whole);
    let from: Vec<_> = answer["mended"].as_array().unwrap().iter().map(|m| m["from"].as_str().unwrap()).collect();
    assert!(from.iter().all(|f| f.starts_with(&host)), "{from:?}");
    assert_eq!(kit.files("b.tar").len(), 1);
    // REGISTRY alone: where the images came from. Here, below `src`.
    kit.run(&["unpack", "b.tar", "--signer", "builder.pub", "--to-layout", "l"]).is(0);
    let copy = ["unpack", "b.tar", "--signer", "builder.pub", "--to", &host, "--plain-http", &host];
    let _ = kit.run(&copy);
    kit.flip("b.tar", of_size(&blueprint, 300_000).data());
    let ran = kit.repair(&["--from", &host, "--plain-http", &host]);
    ran.is(31).says("292.9 KiB");
    kit.repair(&["--from", &format!("{to}:v1"), "--plain-http", &host]).is(0);
    assert!(kit.read("b.tar") == whole);
}

#[test]
fn a_source_that_lies_changes_nothing() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    // A layout with other bytes under the names of the blobs; a copy in which every blob differs.
    let lies = kit.path("lies/blobs/sha256");
    fs::create_dir_all(&lies).unwrap();
    fs::copy(kit.path("layout/index.json"), kit.path("lies/index.json")).unwrap();
    fs::copy(kit.path("layout/oci-layout"), kit.path("lies/oci-layout")).unwrap();
    for member in blueprint.layout.blobs() {
        fs::write(lies.join(member.digest.unwrap().hex()), noise(member.size as usize, 99)).unwrap();
    }
    kit.copy("b.tar", "lies.tar");
    for member in blueprint.layout.blobs() {
        kit.damage("lies.tar", |bytes| {
            bytes[member.data() as usize..][..member.size as usize].copy_from_slice(&noise(member.size as usize, 98));
        });
    }
    for member in [of_size(&blueprint, 4_500_000), of_size(&blueprint, 10), &blueprint.layout.blobs()[0]] {
        kit.write("b.tar", &whole);
        kit.flip("b.tar", member.data() + 3);
        let before = kit.files("b.tar");
        for from in ["lies", "lies.tar"] {
            kit.repair(&["--from", from]).is(31);
            assert!(kit.files("b.tar") == before, "{from}");
        }
        kit.repair(&["--from", "lies", "--from", "lies.tar", "--from", "layout"]).is(0);
        assert!(kit.read("b.tar") == whole);
    }
}
