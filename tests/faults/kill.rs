//! F1: killed at any system call, then run again.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lab::{Lab, ended};
use crate::sweep::{Extent, over};
use crate::trace::{Point, inject, points};
use crate::verbs::{Goal, Verb, chosen};

/// Kills a run at a point, checks what it left, runs again, and checks the result. Returns whether the run was killed
/// at all.
pub(crate) fn kill(lab: &Lab, verb: &Verb, goal: &Goal, point: &Point) -> bool {
    let what = format!("killed at {} {}", point.call, point.number);
    let place = verb.place(lab);
    let words = verb.words(lab, &place, 1);
    let wrapper = inject(point, "signal=KILL", false);
    let first = ended(&mut lab.command(&place, &wrapper.each_ref().map(String::as_str), &words));
    assert!(first.killed() || first.code == 0, "{}: {what}: {first:?}", verb.name);
    verb.check_between(lab, &place, goal, &what);
    let again = lab.run(&place, &words);
    assert!(verb.again.contains(&again.code), "{}: {what}, then {again:?}", verb.name);
    verb.check_after(lab, &place, goal, &what);
    fs::remove_dir_all(place).unwrap();
    first.killed()
}

fn sweep(extent: Extent) {
    let lab = Lab::new();
    let (mut all, mut failed) = (0, 0);
    for verb in chosen() {
        let goal = verb.goal(&lab);
        let points = extent.of(&points(&lab, verb));
        let killed = AtomicUsize::new(0);
        failed +=
            over(&points, |point| _ = killed.fetch_add(usize::from(kill(&lab, verb, &goal, point)), Ordering::Relaxed));
        let killed = killed.into_inner();
        eprintln!("{}: {} points, {killed} kills", verb.name, points.len());
        assert!(killed * 4 > points.len() * 3, "{}: {killed} of {}", verb.name, points.len());
        all += killed;
    }
    assert_eq!(failed, 0, "of {all}; see above");
}

#[test]
fn a_verb_killed_at_any_call_leaves_nothing_wrong_and_the_next_run_completes_it() {
    sweep(Extent::Sample { every: 73, from: 19 });
}

#[test]
#[ignore = "minutes"]
fn a_verb_killed_at_every_call_leaves_nothing_wrong_and_the_next_run_completes_it() {
    sweep(Extent::All);
}
