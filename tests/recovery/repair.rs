//! Damage that recovery data repairs, damage that is too much, and data that stays unchanged.

use std::os::unix::fs::MetadataExt;

use crate::kit::{Kit, of_size};

#[test]
fn recovery_data_is_the_same_each_time_and_a_whole_bundle_is_not_touched() {
    let kit = Kit::new();
    let before = std::fs::metadata(kit.path("b.tar")).unwrap();
    let made = kit.run(&["recovery", "b.tar", "--percent", "10", "-o", "json"]).is(0).json();
    assert_eq!(made["schema"], "mirror-bundle/recovery/v1");
    assert_eq!(made["bytes"], kit.read("b.tar.recovery").len());
    assert_eq!(made["slice_size"], 4096);
    assert_eq!(made["recovery_slices"].as_u64().unwrap(), made["slices"].as_u64().unwrap().div_ceil(10));
    assert_eq!(kit.read("b.tar.recovery"), kit.read("r"));
    kit.run(&["recovery", "b.tar"]).is(52);
    kit.run(&["recovery", "b.tar", "--force"]).is(0).says("repairs up to 60 slices");
    for from in [&[][..], &["--recovery", "r"], &["--from", "layout"], &["--to", "new.tar"]] {
        let answer = kit.repair(&[from, &["-o", "json"]].concat()).is(0).json()["repaired"].clone();
        assert_eq!((&answer["result"], &answer["verdict"]), (&"intact".into(), &"verified".into()));
    }
    let after = std::fs::metadata(kit.path("b.tar")).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec(), before.ctime_nsec()),
        (after.ino(), after.mtime_nsec(), after.ctime_nsec())
    );
    assert!(!kit.path("new.tar").exists());
    kit.repair(&[]).is(0).says("nothing was damaged");
}

#[test]
fn a_flipped_bit_in_any_member_is_repaired_to_the_byte() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    for member in blueprint.layout.members() {
        let mut places = vec![member.header + 30, member.data() + member.size / 2];
        places.extend((member.end() > member.data() + member.size).then_some(member.end() - 1));
        for place in places {
            kit.write("b.tar", &whole);
            kit.flip("b.tar", place);
            let verified = kit.run(&["verify", "b.tar", "--signer", "builder.pub", "-q"]);
            assert_ne!(verified.code, 0);
            let answer = kit.repair(&["--recovery", "r", "-o", "json"]).is(0).json()["repaired"].clone();
            assert_eq!(answer["result"], "repaired", "{place}");
            let mended = answer["mended"].as_array().unwrap();
            assert!(mended.iter().any(|m| m["member"] == member.path), "{place}: {answer}");
            assert!(kit.read("b.tar") == whole, "{place} in {}", member.path);
        }
    }
    assert_eq!(kit.files("b.tar").len(), 1, "nothing is left beside it");
}

#[test]
fn zeroed_blocks_and_a_cut_off_end_are_repaired_as_far_as_recovery_data_goes() {
    let kit = Kit::new();
    let whole = kit.read("b.tar");
    let slices = kit.blueprint().layout.end().div_ceil(4096);
    let most = slices.div_ceil(10);
    // One piece of as many slices as there are recovery slices, at slice borders.
    for first in [0, 7, slices - most] {
        kit.write("b.tar", &whole);
        let n = (most * 4096).min(whole.len() as u64 - first * 4096);
        kit.zero("b.tar", first * 4096, n as usize);
        kit.repair(&["--recovery", "r"]).is(0).says("recovery data");
        assert!(kit.read("b.tar") == whole, "{first}");
    }
    for kept in [slices - 1, slices - most] {
        kit.write("b.tar", &whole[..(kept * 4096) as usize]);
        kit.repair(&["--recovery", "r"]).is(0).says("cut off");
        assert!(kit.read("b.tar") == whole, "{kept}");
    }
    // Only the end of the archive is missing, or something follows it.
    for end in [&whole[..whole.len() - 1], &whole[..whole.len() - 1024], &[&whole[..], b"more"].concat()] {
        kit.write("b.tar", end);
        kit.repair(&[]).is(0);
        assert!(kit.read("b.tar") == whole);
    }
}

#[test]
fn too_much_damage_is_named_with_its_images_and_the_bundle_keeps_its_name() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    let most = blueprint.layout.end().div_ceil(4096).div_ceil(10);
    let from = big.data().next_multiple_of(4096);
    kit.zero("b.tar", from, (most as usize + 1) * 4096);
    kit.flip("b.tar", of_size(&blueprint, 300_000).data() + 5);
    let before = kit.read("b.tar");
    let text = format!("{} slices of 4.0 KiB are lost, and it can make {most} again", most + 2);
    let ran = kit.repair(&["--recovery", "r"]).is(31).says("2 members").says(&text).says("quay.example/src/app:v1");
    ran.says("name back").says("--from");
    assert!(kit.read("b.tar") == before);
    assert_eq!(kit.files("b.tar").len(), 1);
    // Without any source for a repair it is not even renamed.
    let ino = std::fs::metadata(kit.path("b.tar")).unwrap().ctime_nsec();
    kit.repair(&[]).is(31).says("nothing was changed").says("4.2 MiB, of quay.example/src/app:v1");
    assert_eq!(std::fs::metadata(kit.path("b.tar")).unwrap().ctime_nsec(), ino);
    // A cut that is too long stays a cut.
    let cut = &whole[..whole.len() / 2];
    kit.write("b.tar", cut);
    kit.repair(&["--recovery", "r"]).is(11);
    assert!(kit.read("b.tar") == cut);
}

#[test]
fn recovery_data_is_not_made_of_a_damaged_bundle() {
    let kit = Kit::new();
    let whole = kit.read("b.tar");
    let big = of_size(&kit.blueprint(), 4_500_000).clone();
    kit.flip("b.tar", big.data() + 77);
    kit.run(&["recovery", "b.tar"]).is(31).says("damaged").says("nothing was written");
    kit.write("b.tar", &whole[..whole.len() - 5000]);
    kit.run(&["recovery", "b.tar"]).is(11).says("truncated");
    assert_eq!(kit.files("b.tar").len(), 1);
    kit.run(&["recovery", "-"]).is(2);
    for bad in ["0", "101", "5.5", "x"] {
        kit.run(&["recovery", "b.tar", "--percent", bad]).is(2);
    }
}

#[test]
fn damaged_recovery_data_repairs_as_far_as_it_is_whole() {
    let kit = Kit::new();
    let (whole, side) = (kit.read("b.tar"), kit.read("r"));
    let most = kit.blueprint().layout.end().div_ceil(4096).div_ceil(10) as usize;
    // In front, the table; then the slices, each with its header; then the second table.
    let table = side.iter().skip(512).position(|b| *b == 0).unwrap() as u64 + 512;
    for place in [10, 700, table / 2, side.len() as u64 / 2, side.len() as u64 - 3000] {
        kit.write("r", &side);
        kit.flip("r", place);
        kit.write("b.tar", &whole);
        kit.zero("b.tar", 40_960, (most - 1) * 4096);
        kit.repair(&["--recovery", "r"]).is(0);
        assert!(kit.read("b.tar") == whole, "{place}");
    }
    // The first half of it, or the last: half of the slices are left.
    let half = side.len() / 2;
    let mut last = side.clone();
    last[..half].fill(0);
    for bytes in [&side[..half], &last] {
        kit.write("r", bytes);
        kit.write("b.tar", &whole);
        kit.zero("b.tar", 40_960, most / 3 * 4096);
        kit.repair(&["--recovery", "r"]).is(0);
        assert!(kit.read("b.tar") == whole);
        kit.zero("b.tar", 40_960, (most - 1) * 4096);
        kit.repair(&["--recovery", "r"]).is(31).says("are lost");
    }
}

#[test]
fn addenda_do_not_make_recovery_data_stale_and_survive() {
    let kit = Kit::new();
    let members = kit.blueprint().layout.end();
    kit.run(&["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "reviewer", "--note", "CHG-1"]).is(0);
    let signed = kit.read("b.tar");
    kit.zero("b.tar", 40_960, 8192);
    let answer = kit.repair(&["--recovery", "r", "-o", "json"]).is(0).json()["repaired"].clone();
    assert_eq!(answer["addenda"], 3);
    assert!(kit.read("b.tar") == signed);
    // The header of the first is lost: the others stay.
    kit.flip("b.tar", members + 3);
    let answer = kit.repair(&["--recovery", "r", "-o", "json"]).json()["repaired"].clone();
    assert_eq!(answer["addenda"], 2);
    // A copy has it.
    kit.write("b.tar", &signed);
    kit.copy("b.tar", "copy.tar");
    kit.damage("b.tar", |bytes| bytes.truncate(members as usize - 3000));
    let answer = kit.repair(&["--from", "copy.tar", "-o", "json"]).is(0).json()["repaired"].clone();
    assert_eq!(answer["addenda"], 3);
    assert!(kit.read("b.tar") == signed);
}

#[test]
fn a_repaired_copy_goes_elsewhere_and_the_damaged_one_stays_as_it_is() {
    let kit = Kit::new();
    kit.run(&["sign", "b.tar", "--signer", "builder.pub", "--sign-key", "reviewer"]).is(0);
    let whole = kit.read("b.tar");
    kit.zero("b.tar", 40_960, 40_960);
    let before = kit.read("b.tar");
    let answer = kit.repair(&["--recovery", "r", "--to", "new.tar", "-o", "json"]).is(0).json()["repaired"].clone();
    assert_eq!(answer["bundle"], serde_json::json!(["new.tar"]));
    assert!(kit.read("new.tar") == whole && kit.read("b.tar") == before);
    assert_eq!(kit.files("new.tar").len(), 1);
    kit.repair(&["--recovery", "r", "--to", "new.tar"]).is(52);
    // An incomplete repair is kept, to be resumed.
    kit.remove("new.tar");
    kit.repair(&["--to", "new.tar"]).is(31).says("new.tar.partial");
    assert!(!kit.path("new.tar").exists());
    kit.repair(&["--recovery", "r", "--to", "new.tar"]).is(0).says("Resuming");
    assert!(kit.read("new.tar") == whole);
    assert_eq!(kit.files("new.tar").len(), 1);
}

#[test]
fn create_makes_recovery_data_when_it_is_asked_to() {
    let kit = Kit::new();
    let made = kit.create("c.tar", "layout", &["--sequence", "5", "--recovery", "10%", "-o", "json"]).json();
    assert_eq!(made["recovery"]["recovery"], "c.tar.recovery");
    assert_eq!(kit.read("c.tar"), kit.read("b.tar"));
    assert_eq!(kit.read("c.tar.recovery"), kit.read("r"));
    let args = ["create", "-", "--manifests", "m", "--unsigned", "--recovery", "5"];
    kit.run(&args).is(2).says("stream");
    kit.run(&["create", "d.tar", "--manifests", "m", "--unsigned", "--recovery", "0"]).is(2);
    assert_eq!(kit.files("d.tar").len(), 0);
}

#[test]
fn sectors_that_cannot_be_read_are_damage() {
    let kit = Kit::new();
    let whole = kit.read("b.tar");
    let program = crate::kit::PROGRAM;
    let args = ["repair", "b.tar", "--signer", "builder.pub", "--recovery", "r", "-j1"];
    let strace = ["-f", "-o", "trace", "-P", "b.tar"];
    kit.tool("strace", &[&strace[..], &["-e", "trace=pread64", program], &args].concat())
        .is(0)
        .says("nothing was damaged");
    let trace = String::from_utf8(kit.read("trace")).unwrap();
    let first = trace.lines().position(|line| line.contains(" 1048576, 1048576)")).unwrap() + 1;
    // The second large read fails, and so do those of the first pieces of it.
    let inject = format!("inject=pread64:error=EIO:when={first}..{}", first + 30);
    let ran = kit.tool("strace", &[&strace[..], &["-e", &inject, program], &args].concat()).is(0);
    ran.says("120.0 KiB cannot be read");
    assert!(kit.read("b.tar") == whole);
    kit.verifies("b.tar");
}

#[test]
fn a_disk_without_room_leaves_what_was_there() {
    let kit = Kit::new();
    kit.damage("b.tar", |bytes| bytes.truncate(bytes.len() - 100_000));
    let before = kit.files("b.tar");
    let program = crate::kit::PROGRAM;
    let strace = ["-f", "-o", "trace", "-e", "inject=fallocate:error=ENOSPC", program];
    let args = ["repair", "b.tar", "--signer", "builder.pub", "--recovery", "r"];
    kit.tool("strace", &[&strace[..], &args].concat()).is(3).says("free some space").says("name back");
    assert_eq!(kit.files("b.tar"), before);
    kit.tool("strace", &[&strace[..], &args, &["--to", "n.tar"]].concat()).is(3).says("free some space");
    assert_eq!(kit.files("n.tar").len(), 0);
    let writes = ["-f", "-o", "trace", "-e", "inject=pwrite64:error=ENOSPC:when=3", program];
    kit.repair(&["--recovery", "r"]).is(0);
    let ran = kit.tool("strace", &[&writes[..], &["recovery", "b.tar", "--to", "b2.recovery"]].concat());
    ran.is(3).says("no recovery data was made");
    assert_eq!(kit.files("b2").len(), 0);
}

#[test]
fn a_bundle_that_lost_blocks_in_the_middle_is_put_together_elsewhere() {
    let kit = Kit::new();
    let (whole, blueprint) = (kit.read("b.tar"), kit.blueprint());
    let big = of_size(&blueprint, 4_500_000).clone();
    // A cluster of the medium is gone, and everything after it has moved; an in-place repair would overwrite it.
    for at in [blueprint.layout.blobs()[1].header as usize, big.data() as usize + 8192] {
        kit.write("b.tar", &whole);
        kit.damage("b.tar", |bytes| {
            bytes.drain(at..at + 4096);
        });
        let before = kit.read("b.tar");
        kit.repair(&["--recovery", "r"]).is(11).says("has moved").says("--to NEW");
        kit.remove("new.tar");
        kit.repair(&["--recovery", "r", "--to", "new.tar"]).is(0);
        assert!(kit.read("new.tar") == whole && kit.read("b.tar") == before, "{at}");
    }
    kit.write("b.tar", &whole);
    let at = big.header as usize;
    kit.damage("b.tar", |bytes| bytes.splice(at..at, vec![9; 1024]).for_each(drop));
    kit.remove("new.tar");
    kit.repair(&["--to", "new.tar"]).is(0);
    assert!(kit.read("new.tar") == whole);
}
