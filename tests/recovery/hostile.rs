//! Recovery data that is of something else, or made to do harm.

use std::fs::File;

use mirror_bundle::recovery::{Geometry, Protected, encode};

use crate::kit::{Kit, of_size};

/// Recovery data that names `b.tar` and holds other bytes.
fn forge(kit: &Kit, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let blueprint = kit.blueprint();
    let mut bytes = kit.read("b.tar");
    change(&mut bytes);
    kit.write("forged.tar", &bytes);
    let file = File::open(kit.path("forged.tar")).unwrap();
    let end = blueprint.layout.end();
    let from = Protected {
        files: &[(&file, end)],
        index: &blueprint.head.index,
        signature: blueprint.head.signature.as_deref(),
        volumes: &[],
        mtime: 0,
        geometry: Geometry::new(&[end], 10).unwrap(),
    };
    kit.remove(name);
    encode(&File::create(kit.path(name)).unwrap(), &kit.path(name), &from, &mut |_| Ok(())).unwrap();
}

#[test]
fn recovery_data_of_another_bundle_is_refused_or_left_out() {
    let kit = Kit::new();
    kit.create("newer.tar", "newer", &["--sequence", "6"]);
    kit.run(&["recovery", "newer.tar", "--to", "b.tar.recovery"]).is(0);
    kit.zero("b.tar", 40_960, 4096);
    let before = kit.files("b.tar");
    kit.repair(&["--recovery", "b.tar.recovery"]).is(2).says("recovery data of another bundle").says("sha256:");
    // Found by its name only: without it, as if it were not there.
    kit.repair(&[]).is(31).says("it is not used");
    assert_eq!(kit.files("b.tar"), before);
    kit.repair(&["--from", "layout"]).is(0).says("it is not used");
}

#[test]
fn files_that_are_no_recovery_data_are_refused() {
    let kit = Kit::new();
    kit.zero("b.tar", 40_960, 4096);
    kit.write("empty", b"");
    kit.write("text", &b"no recovery data\n".repeat(1000));
    for name in ["empty", "text", "b.tar", "builder"] {
        kit.repair(&["--recovery", name]).is(2).says("cannot be used as recovery data");
    }
    kit.repair(&["--recovery", "nowhere"]).is(3);
    kit.repair(&["--recovery", "m"]).is(3);
    kit.write("b.tar.recovery", b"junk");
    kit.repair(&[]).is(31).says("it is not used");
}

#[test]
fn recovery_data_that_makes_other_bytes_does_not_get_them_into_the_bundle() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    let small = of_size(&blueprint, 300_000).clone();
    // It says that the blob is other than it is.
    forge(&kit, "forged", |bytes| bytes[big.data() as usize + 50_000] ^= 1);
    kit.flip("b.tar", big.data() + 50_000 - 4096);
    kit.repair(&["--recovery", "forged"]).is(31);
    let after = kit.read("b.tar");
    let outside = |bytes: &[u8]| [&bytes[..big.data() as usize], &bytes[(big.data() + big.size) as usize..]].concat();
    assert!(outside(&after) == outside(&whole), "what was right is not written to");
    // The true recovery data still serves.
    kit.repair(&["--recovery", "r"]).is(0);
    assert!(kit.read("b.tar") == whole);
    // It says that everything else is other: what is right in the bundle counts, not that.
    forge(&kit, "forged", |bytes| bytes[small.data() as usize..][..200_000].fill(1));
    kit.flip("b.tar", big.data() + 50_000);
    kit.repair(&["--recovery", "forged"]).is(31).says("it belongs to other bytes");
    assert!(outside(&kit.read("b.tar")) == outside(&whole));
    kit.repair(&["--recovery", "r"]).is(0);
    assert!(kit.read("b.tar") == whole);
}

#[test]
fn fifos_and_links_in_the_place_of_files_are_neither_waited_for_nor_followed() {
    let kit = Kit::new();
    kit.zero("b.tar", 40_960, 4096);
    let before = kit.read("b.tar");
    for name in ["b.tar.recovery", "b.tar.partial.journal", "fifo"] {
        assert!(std::process::Command::new("mkfifo").arg(kit.path(name)).status().unwrap().success());
    }
    for args in [&["--from", "fifo"][..], &["--recovery", "fifo"], &["--from", "layout"], &["--to", "fifo"]] {
        let ran = kit.repair(args);
        assert!(matches!(ran.code, 0 | 2 | 3 | 31 | 50 | 52), "{args:?}: {ran:?}");
        kit.write("b.tar", &before);
    }
    kit.run(&["recovery", "fifo"]).is(3);
    kit.run(&["repair", "fifo", "--signer", "builder.pub"]).is(3);
    // A link under a name of ours; a link that is the bundle.
    for name in ["b.tar.partial.journal", "b.tar.recovery"] {
        kit.remove(name);
    }
    kit.write("victim", b"precious");
    std::os::unix::fs::symlink("victim", kit.path("b.tar.partial")).unwrap();
    kit.repair(&["--recovery", "r"]).is(52).says("in the way");
    assert_eq!(kit.read("victim"), b"precious");
    kit.remove("b.tar.partial");
    std::os::unix::fs::symlink("b.tar", kit.path("link")).unwrap();
    kit.run(&["repair", "link", "--signer", "builder.pub", "--recovery", "r"]).is(0);
    assert!(kit.path("link").is_symlink());
    kit.verifies("b.tar");
    // Another name of the same file would be changed with it.
    std::fs::hard_link(kit.path("b.tar"), kit.path("other")).unwrap();
    kit.zero("b.tar", 40_960, 4096);
    kit.repair(&["--recovery", "r"]).is(52).says("another name").says("--to NEW");
}
