//! F1, F2, F3 for content that bypasses the page cache: this needs a disk, and large blobs.

use std::fs;
use std::path::Path;

use crate::errors;
use crate::kill::kill;
use crate::lab::{Lab, args, ended, write_layout};
use crate::support::image::{Image, layer};
use crate::support::noise;
use crate::sweep::{Extent, over};
use crate::trace::{Point, points};
use crate::verbs::{PLAIN, Verb};

const LARGE: Verb =
    Verb { name: "create of large blobs", args: |lab, _| lab.create_of("b.tar", "large"), again: &[0, 52], ..PLAIN };

/// A lab on a disk with a layout of large blobs. `None`, and a note, where the page cache cannot be bypassed.
fn lab() -> Option<Lab> {
    let lab = Lab::within(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let layers = [9, 10].map(|mib| layer(&[("data", &noise(mib << 20, mib as u64))]));
    write_layout(&lab.path("large"), &[Image::oci("amd64", &layers)]);
    let place = lab.place();
    let log = lab.path("log");
    let wrapper = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", "trace=openat,pwrite64", "-o", log.to_str().unwrap()];
    ended(&mut lab.command(&place, &wrapper, &LARGE.words(&lab, &place, 1))).is(0, "create");
    let log = fs::read_to_string(log).unwrap();
    let Some(opened) = log.lines().find(|l| l.contains("b.tar.partial") && l.contains("O_DIRECT")) else {
        crate::support::skip::skip("no O_DIRECT here; writing past the cache is not tested");
        return None;
    };
    let number = opened.rsplit_once(" = ").unwrap().1.split('<').next().unwrap();
    let call = format!(" pwrite64({number}<");
    let written: u64 =
        log.lines().filter(|l| l.contains(&call)).filter_map(|l| l.rsplit_once(" = ")?.1.parse::<u64>().ok()).sum();
    assert!(written > 19 << 20, "{written}");
    // Only the end of the file, which may be an incomplete page, goes through the cache.
    let others: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("b.tar.partial>") && l.contains(" pwrite64(") && !l.contains(&call))
        .collect();
    assert!(others.len() <= 3, "{others:?}");
    Some(lab)
}

fn of(lab: &Lab, calls: &[&str]) -> Vec<Point> {
    points(lab, &LARGE).into_iter().filter(|point| calls.contains(&point.call.as_str())).collect()
}

const CALLS: [&str; 6] = ["pwrite64", "pread64", "fsync", "ftruncate", "fallocate", "renameat2"];

fn sweep(every: usize) {
    let Some(lab) = lab() else { return };
    let goal = LARGE.goal(&lab);
    let points = Extent::Sample { every, from: 1 }.of(&of(&lab, &CALLS));
    assert!(points.len() * every > 40, "{}", points.len());
    let killed = over(&points, |point| _ = kill(&lab, &LARGE, &goal, point));
    let failed = over(&points, |point| errors::fails(&lab, &LARGE, &goal, point));
    assert_eq!((killed, failed), (0, 0), "of {}; see above", points.len());
}

#[test]
fn a_write_past_the_cache_that_is_killed_or_fails_leaves_nothing_wrong() {
    sweep(11);
}

#[test]
#[ignore = "minutes"]
fn every_write_past_the_cache_that_is_killed_or_fails_leaves_nothing_wrong() {
    sweep(1);
}

#[test]
fn a_file_system_that_takes_the_flag_and_refuses_the_write_is_written_through_the_cache() {
    let Some(lab) = lab() else { return };
    let goal = LARGE.goal(&lab);
    for at in [1, 2, 9] {
        let place = lab.place();
        let inject = format!("--inject=pwrite64:error=EINVAL:when={at}");
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", &inject];
        ended(&mut lab.command(&place, &wrapper, &[LARGE.words(&lab, &place, 1), args!["--read-back"]].concat()))
            .is(0, "create");
        LARGE.check_after(&lab, &place, &goal, "refused");
    }
}
