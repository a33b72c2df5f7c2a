//! F2: any system call fails. A harmless failure has no effect; every other one is reported, leaves nothing wrong, and
//! the next run completes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use crate::lab::{Ended, Lab, ended};
use crate::sweep::{Extent, over};
use crate::trace::{Point, inject, points};
use crate::verbs::{Goal, Verb, chosen};

/// Calls that write or change a folder: these fail when a medium is full or read-only.
const WRITING: [&str; 15] = [
    "write",
    "pwrite64",
    "openat",
    "mkdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "fsync",
    "unlinkat",
    "rmdir",
];
/// Calls that need a descriptor.
const OPENING: [&str; 4] = ["openat", "openat2", "socket", "fcntl"];
/// Calls that take a path.
const NAMING: [&str; 15] = [
    "openat",
    "openat2",
    "mkdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "statx",
    "newfstatat",
    "access",
];
/// Calls that a signal may interrupt, according to their manual, and that this program must retry.
const INTERRUPTED: [&str; 16] = [
    "openat",
    "openat2",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "fsync",
    "ftruncate",
    "fallocate",
    "flock",
    "statfs",
    "connect",
    "sendto",
    "recvfrom",
    "poll",
    "accept4",
];

/// A fault for a call, in `strace`'s words, and the calls it applies to.
struct Fault {
    what: &'static str,
    /// This call and all later ones, not only this one.
    lasts: bool,
    calls: Option<&'static [&'static str]>,
}

const FAULTS: [Fault; 9] = [
    Fault { what: "error=EIO", lasts: false, calls: None },
    Fault { what: "error=EIO", lasts: true, calls: None },
    Fault { what: "error=ENOSPC", lasts: true, calls: Some(&WRITING) },
    Fault { what: "error=ENOSPC", lasts: false, calls: Some(&WRITING) },
    Fault { what: "error=EDQUOT", lasts: false, calls: Some(&WRITING) },
    Fault { what: "error=EROFS", lasts: true, calls: Some(&WRITING) },
    Fault { what: "error=EMFILE", lasts: false, calls: Some(&OPENING) },
    Fault { what: "error=EACCES", lasts: false, calls: Some(&NAMING) },
    Fault { what: "error=EINTR", lasts: false, calls: Some(&INTERRUPTED) },
];

/// How often each call ended in each way.
type Tally = Mutex<BTreeMap<(&'static str, i32), usize>>;

fn fail(lab: &Lab, verb: &Verb, goal: &Goal, point: &Point, fault: &Fault, tally: &Tally) {
    let Point { call, number } = point;
    let what = format!("{} at {call} {number}{}", fault.what, if fault.lasts { "+" } else { "" });
    let place = verb.place(lab);
    let words = verb.words(lab, &place, 1);
    let wrapper = inject(point, fault.what, fault.lasts);
    let first = ended(&mut lab.command(&place, &wrapper.each_ref().map(String::as_str), &words));
    *tally.lock().unwrap().entry((fault.what, first.code)).or_default() += 1;
    let shown = format!("{}: {what}: {first:?}", verb.name);
    // Before `main` the loader fails.
    let loader = first.code == 127 && first.err.contains("loading shared libraries");
    if fault.what == "error=EINTR" && !loader {
        assert_eq!(first.code, 0, "{shown}");
    }
    match first.code {
        0 => verb.check_after(lab, &place, goal, &what),
        _ if loader => {}
        code => {
            // Unreadable data is damage where damage is searched.
            let damage = ["recovery", "repair"].iter().any(|v| verb.name.starts_with(v)) && code == 31;
            assert!([2, 3, 10, 11, 50, 52].contains(&code) || damage, "{shown}");
            // Nothing can be reported when no write works.
            let mute = call == "write" && (fault.lasts || !first.err.contains("error: "));
            assert!(!panicked(&first) && (mute || explains_itself(&first)), "{shown}");
            verb.check_between(lab, &place, goal, &what);
        }
    }
    let again = lab.run(&place, &words);
    assert!(verb.again.contains(&again.code), "{}: {what}: {first:?}\nthen {again:?}", verb.name);
    verb.check_after(lab, &place, goal, &what);
    fs::remove_dir_all(place).unwrap();
}

/// Every fault that can come to the call of a point.
pub(crate) fn fails(lab: &Lab, verb: &Verb, goal: &Goal, point: &Point) {
    for fault in FAULTS.iter().filter(|fault| fault.calls.is_none_or(|calls| calls.contains(&point.call.as_str()))) {
        fail(lab, verb, goal, point, fault, &Tally::default());
    }
}

/// A panic is only acceptable in the thread that waits for signals, which gives up when its own pipe breaks.
fn panicked(run: &Ended) -> bool {
    run.err.lines().any(|line| line.contains("panicked at") && !line.contains("/signal-hook-"))
}

/// An error names its subject.
fn explains_itself(run: &Ended) -> bool {
    run.err.contains("error: ") && (run.code != 3 || run.err.contains('`'))
}

fn sweep(extent: Extent) {
    let lab = Lab::new();
    let (mut all, mut failed) = (0, 0);
    for verb in chosen() {
        let goal = verb.goal(&lab);
        let points = points(&lab, verb);
        let of = |fault: &'static Fault| {
            // Memory is not a file, and the first `poll` is the start of the runtime, which cannot report anything
            // yet.
            let ours = |p: &Point| p.call != "mmap" && !(p.call == "poll" && p.number == 1);
            let fits = |p: &&Point| fault.calls.map_or(ours(p), |calls| calls.contains(&p.call.as_str()));
            points.iter().filter(fits).map(move |p| (p.clone(), fault)).collect::<Vec<_>>()
        };
        let runs = extent.of(&FAULTS.iter().flat_map(of).collect::<Vec<_>>());
        let tally = Tally::default();
        failed += over(&runs, |(point, fault)| fail(&lab, verb, &goal, point, fault, &tally));
        eprintln!("{}: {} failures: {:?}", verb.name, runs.len(), tally.into_inner().unwrap());
        all += runs.len();
    }
    assert_eq!(failed, 0, "of {all}; see above");
}

#[test]
fn a_failing_call_is_reported_or_recovered_and_leaves_nothing_wrong() {
    sweep(Extent::Sample { every: 293, from: 101 });
}

#[test]
#[ignore = "half an hour"]
fn every_failing_call_is_reported_or_recovered_and_leaves_nothing_wrong() {
    sweep(Extent::All);
}
