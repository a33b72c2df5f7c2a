//! `--read-back`: data that did not reach the medium gets no final name, and is not read from the cache.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::lab::{Lab, args, ended, snapshot};
use crate::short::library;

fn create(lab: &Lab) -> Vec<OsString> {
    [lab.create("b.tar"), args!["--read-back"]].concat()
}

/// On a disk: a file system in memory cannot drop its pages.
fn on_disk() -> Lab {
    Lab::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

#[test]
fn a_medium_with_less_room_than_it_claims_is_found_and_gets_no_bundle() {
    let lab = Lab::new();
    let library = library(&lab, "smallmedium.c");
    let whole = fs::metadata(lab.path("b.tar")).unwrap().len();
    for capacity in [0, 1536, whole / 3, whole / 2, whole - 4000] {
        let place = lab.place();
        let run = |words: &[OsString]| {
            let mut command = lab.command(&place, &[], words);
            ended(command.env("LD_PRELOAD", &library).env("CAPACITY", capacity.to_string()))
        };
        let failed = run(&create(&lab)).is(3, "read back");
        assert!(failed.err.contains("does not read back") && failed.err.contains("less room"), "{failed:?}");
        assert!(failed.err.contains("no bundle was made") && !failed.err.contains("Safe"), "{failed:?}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left");
        // Without it, only `verify` finds the damage.
        run(&lab.create("b.tar")).is(0, "not read back");
        let verified = lab.run(&place, &[args!["verify", "b.tar"], lab.trust()].concat());
        assert!((10..50).contains(&verified.code), "{verified:?}");
    }
}

#[test]
fn volumes_are_read_back_too() {
    let lab = Lab::new();
    let library = library(&lab, "smallmedium.c");
    let volumes: Vec<OsString> = lab.volumes().iter().map(|v| lab.path(v).into()).collect();
    let size = args!["--volume-size", "45000"];
    let ways = [
        [create(&lab), size.clone()].concat(),
        [args!["split", lab.path("b.tar"), ".", "--read-back"], size].concat(),
        [args!["join", "b.tar", "--read-back"], volumes].concat(),
    ];
    for words in ways {
        let place = lab.place();
        let run = |capacity: &str| {
            let mut command = lab.command(&place, &[], &words);
            ended(command.env("LD_PRELOAD", &library).env("CAPACITY", capacity))
        };
        let failed = run("20000").is(3, "read back");
        assert!(failed.err.contains("does not read back"), "{failed:?}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left");
        let done = run("10000000").is(0, "enough");
        assert!(done.err.contains("Read back") && done.err.contains("after you unmount it"), "{done:?}");
    }
}

#[test]
fn everything_is_read_from_the_medium_after_the_last_sync_and_before_the_bundle_has_its_name() {
    let lab = on_disk();
    let place = lab.place();
    let log = lab.path("log");
    let wrapper = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", log.to_str().unwrap()];
    let run = ended(&mut lab.command(&place, &wrapper, &[create(&lab), args!["-o", "json"]].concat())).is(0, "create");
    let whole = fs::read(lab.path("b.tar")).unwrap();
    assert!(fs::read(place.join("b.tar")).unwrap() == whole);
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("b.tar")).collect();
    let at = |what: &str| lines.iter().position(|l| l.contains(what)).unwrap_or_else(|| panic!("no {what}"));
    let (sync, forget, named) = (at(" fsync("), at(" fadvise64("), at(" renameat2("));
    assert!(sync < forget && forget < named);
    let summary: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(summary["read_back"]["bytes"], whole.len());
    if summary["read_back"]["direct"] == true {
        let opened = at("O_DIRECT");
        assert!(sync < opened && opened < named);
        let number = lines[opened].rsplit_once(" = ").unwrap().1.split('<').next().unwrap();
        let read = format!(" pread64({number}<");
        assert!(lines[opened..named].iter().any(|l| l.contains(&read)));
    } else {
        crate::support::skip::skip("no O_DIRECT here; that nothing came from memory is not tested");
    }
}

#[test]
fn it_says_when_the_medium_can_be_removed_and_a_second_run_reads_back_too() {
    let lab = on_disk();
    let place = lab.place();
    let run = lab.run(&place, &create(&lab)).is(0, "create");
    let (read, safe) = (run.err.find("Read back").unwrap(), run.err.find("Safe").unwrap());
    assert!(read < safe && run.err[safe..].contains("after you unmount it: /"), "{}", run.err);
    // Without its journal, nothing is trusted: it is written again.
    let before = snapshot(&place);
    fs::rename(place.join("b.tar"), place.join("b.tar.partial")).unwrap();
    let run = lab.run(&place, &create(&lab)).is(0, "create again");
    assert!(run.err.contains("Read back"));
    assert_eq!(snapshot(&place), before);
    lab.run(&place, &[args!["create", "-", "--read-back", "--unsigned"], args!["--manifests", "m"]].concat())
        .is(2, "a stream");
}
