//! Bundles in volumes: damaged volumes, lost ones, unsigned descriptions.

use mirror_bundle::bundle::Bundle;
use mirror_bundle::bundle::survey::Blueprint;

use crate::kit::{Kit, Ran};

const VOLUMES: [&str; 4] = ["b.1of4.tar", "b.2of4.tar", "b.3of4.tar", "b.4of4.tar"];

/// `b.tar` in four volumes, with a blob in pieces, and recovery data for 40 % of them in `s`.
fn divided() -> Kit {
    let kit = Kit::new();
    kit.run(&["split", "b.tar", "--volume-size", "1300KiB"]).is(0);
    assert_eq!(kit.files("b.").keys().collect::<Vec<_>>(), VOLUMES.iter().chain(&["b.tar"]).collect::<Vec<_>>());
    kit.remove("b.tar");
    let made = kit.run(&[&["recovery"], &VOLUMES[..], &["--percent", "40", "--to", "s", "-o", "json"]].concat());
    assert_eq!(made.is(0).json()["volumes"], 4);
    kit
}

fn repair(kit: &Kit, more: &[&str]) -> Ran {
    kit.run(&[&["repair"], &VOLUMES[..], &["--signer", "builder.pub"], more].concat())
}

fn blueprint(kit: &Kit, volume: &str) -> Blueprint {
    Blueprint::new(Bundle::open(&kit.path(volume)).unwrap().head().clone()).unwrap()
}

#[test]
fn a_lost_volume_is_made_again_from_the_others_and_recovery_data() {
    let kit = divided();
    let whole = kit.files("b.");
    assert!(whole["b.1of4.tar"].windows(6).any(|w| w == b".p0001"), "a blob is in pieces");
    for lost in VOLUMES {
        kit.remove(lost);
        repair(&kit, &["--recovery", "s"]).is(0).says("Lost").says("VERIFIED");
        assert!(kit.files("b.") == whole, "{lost}");
    }
    // With damage in another one as well.
    kit.remove(VOLUMES[1]);
    kit.zero(VOLUMES[2], 30_000, 40_000);
    kit.flip(VOLUMES[0], 20);
    let answer = repair(&kit, &["--recovery", "s", "-o", "json"]).is(0).json()["repaired"].clone();
    assert!(answer["mended"].as_array().unwrap().iter().any(|m| m["volume"] == 3 && m["from"] == "recovery data"));
    assert!(kit.files("b.") == whole);
    // Two are more than 40 %.
    kit.remove(VOLUMES[1]);
    kit.remove(VOLUMES[2]);
    let before = kit.files("b.");
    repair(&kit, &["--recovery", "s"]).is(11).says("are lost").says("quay.example");
    let after = kit.files("b.");
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
    assert!(!after.contains_key(VOLUMES[1]) && !after.contains_key(VOLUMES[2]), "{:?}", after.keys());
}

#[test]
fn recovery_data_beside_the_volumes_is_found_and_a_volume_elsewhere_counts_as_lost_only_for_it() {
    let kit = divided();
    kit.run(&[&["recovery"], &VOLUMES[..], &["--percent", "40"]].concat()).is(0).says("b.tar.recovery");
    let whole = kit.files("b.");
    let away = kit.read(VOLUMES[3]);
    kit.remove(VOLUMES[3]);
    kit.zero(VOLUMES[0], 50_000, 5000);
    let args = ["repair", VOLUMES[0], VOLUMES[1], VOLUMES[2], "--signer", "builder.pub"];
    // The fourth is neither named nor created: the verdict says that it was not checked.
    kit.run(&args).is(42).says("NOT FULLY CHECKED");
    assert!(!kit.path(VOLUMES[3]).exists());
    kit.write(VOLUMES[3], &away);
    assert!(kit.files("b.") == whole);
    repair(&kit, &[]).is(0).says("nothing was damaged");
}

#[test]
fn damaged_volumes_are_repaired_from_copies_layouts_and_each_other() {
    let kit = divided();
    let whole = kit.files("b.");
    let layout = blueprint(&kit, VOLUMES[0]).layout;
    // Documents are on every volume.
    let document = layout.blobs()[0].clone();
    kit.flip(VOLUMES[0], document.data());
    repair(&kit, &["-o", "json"]).is(31);
    kit.copy(VOLUMES[2], "copy");
    let answer = repair(&kit, &["--from", "copy", "-o", "json"]).is(0).json()["repaired"].clone();
    assert_eq!(answer["mended"][0]["from"], VOLUMES[1]);
    assert!(kit.files("b.") == whole);
    // A copy of one volume, and pieces of a blob from the layout that has all of it.
    kit.write("copy", &whole[VOLUMES[1]]);
    kit.zero(VOLUMES[1], 60_000, 600_000);
    repair(&kit, &["--from", "copy"]).is(0);
    for volume in VOLUMES {
        kit.zero(volume, 40_000, 900_000);
    }
    repair(&kit, &["--from", "layout"]).is(0).says("VERIFIED");
    assert!(kit.files("b.") == whole);
    // A lost one too, where something says which pieces were on it: a little recovery data does.
    kit.run(&[&["recovery"], &VOLUMES[..], &["--percent", "1", "--to", "little"]].concat()).is(0);
    kit.remove(VOLUMES[3]);
    repair(&kit, &["--from", "layout"]).is(2).says("its description is lost");
    repair(&kit, &["--from", "layout", "--recovery", "little"]).is(0).says("from b.1of4.tar");
    assert!(kit.files("b.") == whole);
}

#[test]
fn the_unsigned_description_of_a_volume_is_not_believed() {
    let kit = divided();
    let whole = kit.files("b.");
    let own = blueprint(&kit, VOLUMES[1]);
    let description = own.layout.members().iter().find(|m| m.path == "mirror-bundle/volume.json").unwrap().clone();
    let text = own.head.volume.clone().unwrap();
    let digest = text.windows(7).rposition(|w| w == b"sha256:").unwrap() as u64 + 20;
    // A digit of a piece's digest; a number; a bracket; all of it.
    for at in [digest, 30, text.len() as u64 - 2] {
        kit.damage(VOLUMES[1], |bytes| {
            let byte = &mut bytes[(description.data() + at) as usize];
            *byte = if byte.is_ascii_digit() && *byte != b'1' { b'1' } else { b'2' };
        });
        repair(&kit, &["--recovery", "s"]).is(0).says("VERIFIED");
        assert!(kit.files("b.") == whole, "{at}");
    }
    kit.zero(VOLUMES[1], 0, 20_000);
    kit.zero(VOLUMES[2], 0, 20_000);
    repair(&kit, &["--recovery", "s"]).is(0);
    assert!(kit.files("b.") == whole);
    // Its expected content is unknown.
    kit.zero(VOLUMES[1], description.header, 1000);
    repair(&kit, &["--from", "layout"]).is(2).says("its description is lost");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let kit = divided();
    kit.create("newer.tar", "newer", &["--sequence", "6"]);
    kit.copy(VOLUMES[0], "again.tar");
    for (args, text) in [
        (&["recovery", VOLUMES[0], "newer.tar"][..], "another bundle"),
        (&["recovery", VOLUMES[0], "again.tar"], "not different volumes"),
        (&["repair", VOLUMES[0], "again.tar", "--signer", "builder.pub"], "same volume"),
        (&["repair", VOLUMES[0], "nowhere.tar", "--signer", "builder.pub"], "none of the 4 volumes"),
        (&["repair", VOLUMES[0], VOLUMES[1], "--to", "n", "--signer", "builder.pub"], "one file at a time"),
        (&["repair", "newer.tar", "newer.tar", "--signer", "builder.pub"], "several files"),
    ] {
        kit.run(args).is(2).says(text);
    }
    // One volume by itself.
    kit.run(&["recovery", VOLUMES[2]]).is(0);
    let whole = kit.files("b.");
    kit.zero(VOLUMES[2], 45_056, 4096 * 3);
    kit.run(&["repair", VOLUMES[2], "--signer", "builder.pub"]).is(42).says("recovery data");
    assert!(kit.files("b.") == whole);
}

#[test]
fn create_makes_recovery_data_of_volumes() {
    let kit = Kit::new();
    kit.create("c.tar", "layout", &["--sequence", "5", "--volume-size", "1300KiB", "--recovery", "40%"]);
    assert!(kit.path("c.tar.recovery").exists());
    let whole = kit.files("c.");
    kit.remove("c.2of4.tar");
    let volumes = ["c.1of4.tar", "c.2of4.tar", "c.3of4.tar", "c.4of4.tar"];
    kit.run(&[&["repair"], &volumes[..], &["--signer", "builder.pub"]].concat()).is(0);
    assert!(kit.files("c.") == whole);
}
