//! Real databases against lists that `rpm -qa` made of them; what a hostile one gets.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::packages::Package;

fn stored(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/rpmdb/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut out).unwrap();
    out
}

/// A package as a line of the lists, which `rpm -qa --qf` made.
fn line(package: &Package) -> String {
    let none = || "(none)".to_owned();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(none);
    let epoch = package.epoch.map_or_else(none, |epoch| epoch.to_string());
    let Package { name, version, arch, source, licence, supplier, .. } = package;
    [name.clone(), epoch, version.clone(), text(arch), text(source), text(licence), text(supplier)].join("\t")
}

fn lines(reading: &Reading) -> BTreeSet<String> {
    assert_eq!(reading.problems, [""; 0]);
    let lines: BTreeSet<String> = reading.packages.iter().map(|found| line(&found.package)).collect();
    assert_eq!(lines.len(), reading.packages.len());
    lines
}

fn list(name: &str) -> BTreeSet<String> {
    let path = format!("{}/testdata/rpmdb/{name}.tsv", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_kind_of_database_has_the_packages_that_rpm_lists() {
    assert_eq!(lines(&sqlite(&stored("cbl-mariner-2.0-rpmdb.sqlite"), None)), list("cbl-mariner-2.0"));
    assert_eq!(lines(&ndb(&stored("sle15-bci-Packages.db"))), list("sle15-bci"));
    assert_eq!(lines(&bdb(&stored("libuuid-Packages"))), list("libuuid"));
    assert_eq!(lines(&sqlite(&stored("wal-rpmdb.sqlite"), None)), list("wal"));
}

#[test]
fn a_package_that_is_only_in_the_write_ahead_log_is_listed() {
    let log = stored("wal-rpmdb.sqlite-wal");
    let with = lines(&sqlite(&stored("wal-rpmdb.sqlite"), Some(&log)));
    let more: Vec<_> = with.difference(&list("wal")).cloned().collect();
    assert_eq!(with.len(), 152);
    assert_eq!(more.len(), 1, "{more:?}");
}

#[test]
fn a_write_ahead_log_that_is_damaged_is_a_problem() {
    let (data, log) = (stored("wal-rpmdb.sqlite"), stored("wal-rpmdb.sqlite-wal"));
    for (at, problem) in [
        (0, "that is none"),
        (4, "unknown version"),
        (9, "pages of"),
        (25, "wrong checksum in its header"),
        (60, "wrong checksum in frame 1"),
    ] {
        let mut log = log.clone();
        log[at] ^= 0x40;
        let reading = sqlite(&data, Some(&log));
        assert!(reading.packages.is_empty(), "{at}");
        assert!(reading.problems.iter().any(|p| p.contains(problem)), "{at}: {:?}", reading.problems);
    }
    assert!(!sqlite(&data, Some(&log[..20])).problems.is_empty());
}

#[test]
fn frames_of_an_older_log_and_those_that_were_not_committed_do_not_count() {
    let (data, log) = (stored("wal-rpmdb.sqlite"), stored("wal-rpmdb.sqlite-wal"));
    let without = list("wal");
    // Other salts: a log that was used again from its start.
    let mut old = log.clone();
    old[32 + 8] ^= 1;
    assert_eq!(lines(&sqlite(&data, Some(&old))), without);
    // The last frame, which has the size after the commit, is not whole.
    assert_eq!(lines(&sqlite(&data, Some(&log[..log.len() - 1]))), without);
    assert_eq!(lines(&sqlite(&data, Some(b""))), without);
}

fn set32(data: &mut [u8], at: usize, value: u32) {
    data[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn a_sqlite_database_with_loops_or_places_outside_of_it_is_a_problem() {
    let data = stored("wal-rpmdb.sqlite");
    let size = usize::from(u16::from_be_bytes([data[16], data[17]]));
    // The page of the first interior node; its last child, then all of its children, become itself.
    let interior = (1..data.len() / size).find(|n| data[n * size] == 5).unwrap();
    let mut looped = data.clone();
    set32(&mut looped, interior * size + 8, u32::try_from(interior + 1).unwrap());
    assert!(sqlite(&looped, None).problems[0].contains("loop"), "{:?}", sqlite(&looped, None).problems);
    let mut outside = data.clone();
    set32(&mut outside, interior * size + 8, u32::MAX);
    assert!(sqlite(&outside, None).problems[0].contains("does not have"));
    // It says that it has 2^32 - 1 pages.
    let mut many = data.clone();
    set32(&mut many, 28, u32::MAX);
    assert!(sqlite(&many, None).problems[0].contains("cut off"));
    // A page that says it has 65535 rows.
    let first = usize::from(u16::from_be_bytes([data[interior * size + 12], data[interior * size + 13]]));
    let child = interior * size + first;
    let leaf = usize::try_from(u32::from_be_bytes(data[child..child + 4].try_into().unwrap())).unwrap() - 1;
    let mut rows = data.clone();
    rows[leaf * size + 3..leaf * size + 5].copy_from_slice(&[0xff, 0xff]);
    assert!(!sqlite(&rows, None).problems.is_empty());
    // Its root is a leaf without rows.
    let mut wiped = data.clone();
    wiped[interior * size..interior * size + 8].copy_from_slice(&[13, 0, 0, 0, 0, 0, 0, 0]);
    assert!(sqlite(&wiped, None).problems[0].contains("no row"), "{:?}", sqlite(&wiped, None).problems);
    for (data, problem) in [(&data[..1000], "cut off"), (b"SQLite format 3\0", "pages of"), (b"", "no SQLite")] {
        let reading = sqlite(data, None);
        assert!(reading.problems.iter().any(|p| p.contains(problem)), "{:?}", reading.problems);
    }
}

#[test]
fn a_chain_of_pages_that_two_rows_share_is_a_problem() {
    // Otherwise a file of some MiB could stand for any number of headers of some MiB.
    let data = stored("libuuid-Packages");
    // The second hash page has the key and the value of the package; here it has them twice.
    let hash = (1..data.len() / 4096).filter(|n| data[n * 4096 + 25] == 13).nth(1).unwrap() * 4096;
    let entries = usize::from(u16::from_le_bytes([data[hash + 20], data[hash + 21]]));
    let mut shared = data.clone();
    let pairs: Vec<u8> = data[hash + 26..hash + 26 + entries * 2].to_vec();
    let at = hash + 26 + entries * 2;
    shared[at..at + pairs.len()].copy_from_slice(&pairs);
    shared[hash + 20..hash + 22].copy_from_slice(&u16::try_from(entries * 2).unwrap().to_le_bytes());
    let reading = bdb(&shared);
    assert_eq!(reading.packages.len(), 1);
    assert!(reading.problems[0].contains("loop, or shared"), "{:?}", reading.problems);
}

#[test]
fn damage_to_a_bdb_is_a_problem() {
    let data = stored("libuuid-Packages");
    let overflow = (1..data.len() / 4096).find(|n| data[n * 4096 + 25] == 7).unwrap() * 4096;
    for (at, value, problem) in [
        (12, 0xff, "no Berkeley DB"),
        (20, 0x01, "pages of"),
        (24, 0x01, "encrypted"),
        (34, 0xff, "cut off"),
        (overflow + 25, 9, "damaged"),
        (overflow + 19, 0xff, "leaves the file"),
    ] {
        let mut data = data.clone();
        data[at] = value;
        let reading = bdb(&data);
        assert!(reading.problems.iter().any(|p| p.contains(problem)), "{at}: {:?}", reading.problems);
    }
    let mut looped = data.clone();
    let number = u32::try_from(overflow / 4096).unwrap();
    looped[overflow + 16..overflow + 20].copy_from_slice(&number.to_le_bytes());
    assert!(!bdb(&looped).problems.is_empty());
}

#[test]
fn damage_to_an_ndb_is_a_problem() {
    let data = stored("sle15-bci-Packages.db");
    let slot = (32..4096).step_by(16).find(|at| data[at + 8..at + 12] != [0; 4]).unwrap();
    let blob = usize::try_from(u32::from_le_bytes(data[slot + 8..slot + 12].try_into().unwrap())).unwrap() * 16;
    for (at, value, problem) in [
        (0, 0, "no ndb"),
        (4, 7, "version 7"),
        (15, 0xff, "pages of slots"),
        (slot, 0, "damaged slot"),
        (slot + 4, 0xee, "number of another"),
        (slot + 11, 0xff, "cut off at package"),
        (slot + 15, 0xff, "cut off at package"),
        (blob, 0, "damaged head"),
        (blob + 100, 0xee, "wrong checksum"),
        (blob + 15, 0xff, "wrong length"),
    ] {
        let mut data = data.clone();
        data[at] = value;
        let reading = ndb(&data);
        assert!(reading.problems.iter().any(|p| p.contains(problem)), "{at}: {:?}", reading.problems);
    }
    // All slots are the largest package: many times as many bytes as the file has.
    let mut all = data.clone();
    let blocks = |at: usize| u32::from_le_bytes(data[at + 12..at + 16].try_into().unwrap());
    let largest = (32..4096).step_by(16).max_by_key(|at| blocks(*at)).unwrap();
    let entry = data[largest..largest + 16].to_vec();
    (32..4096).step_by(16).for_each(|at| all[at..at + 16].copy_from_slice(&entry));
    assert!(ndb(&all).problems.iter().any(|p| p.contains("overlap")), "{:?}", ndb(&all).problems);
}

#[test]
fn damage_to_one_header_is_a_problem_and_hides_no_other_package() {
    let data = stored("libuuid-Packages");
    let overflow = (1..data.len() / 4096).find(|n| data[n * 4096 + 25] == 7).unwrap() * 4096;
    let mut bad = data.clone();
    bad[overflow + 26..overflow + 30].copy_from_slice(&[0xff; 4]);
    assert!(bdb(&bad).problems[0].contains("1 of 1 headers"), "{:?}", bdb(&bad).problems);
    let mut wal = stored("wal-rpmdb.sqlite");
    // The name of one package is gone from its header: tag 1000 becomes 1999.
    let tag = 1000_u32.to_be_bytes();
    // Pages that are free may have headers too.
    let places = (0..wal.len() - 8).filter(|at| wal[*at..at + 4] == tag && wal[at + 4..at + 8] == [0, 0, 0, 6]);
    let change = |at: usize, wal: &mut Vec<u8>, tag: u32| wal[at..at + 4].copy_from_slice(&tag.to_be_bytes());
    let reading = places.collect::<Vec<_>>().into_iter().find_map(|at| {
        change(at, &mut wal, 1999);
        let reading = sqlite(&wal, None);
        change(at, &mut wal, 1000);
        (!reading.problems.is_empty()).then_some(reading)
    });
    let reading = reading.unwrap();
    assert_eq!(reading.packages.len(), 150);
    assert!(reading.problems[0].contains("1 of 151 headers"), "{:?}", reading.problems);
}

#[test]
fn a_header_with_more_entries_than_bytes_is_a_problem() {
    for (blob, problem) in [
        (&[0xff; 8][..], "entries"),
        (&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff][..], "shorter"),
        (&[0, 0, 0, 0, 0, 0, 0, 0][..], "0 entries"),
        (&[][..], "shorter"),
    ] {
        let Err(Unreadable(reason)) = header::package(blob) else { panic!("{blob:?}") };
        assert!(reason.contains(problem), "{reason}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes are changed or missing: no panic, no hang, and never an empty list without a problem.
    #[test]
    fn a_changed_database_gives_packages_or_problems(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        head in any::<bool>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        type Reader = fn(&[u8]) -> Reading;
        let with_log = |data: &[u8]| {
            let (file, log) = data.split_at_checked(544_768).unwrap_or((data, &[]));
            sqlite(file, Some(log))
        };
        let mut logged = stored("wal-rpmdb.sqlite");
        logged.extend(stored("wal-rpmdb.sqlite-wal"));
        let cases: [(Vec<u8>, Reader); 3] =
            [(logged, with_log), (stored("sle15-bci-Packages.db"), ndb), (stored("libuuid-Packages"), bdb)];
        for (mut data, read) in cases {
            for (at, value) in &changes {
                // Half of the cases change the structures at the start rather than the content.
                let at = at.index(if head { 8192 } else { data.len() });
                data[at] = *value;
            }
            if let Some(cut) = cut {
                data.truncate(cut.index(data.len()));
            }
            let reading = read(&data);
            prop_assert!(!(reading.packages.is_empty() && reading.problems.is_empty()));
        }
    }
}
