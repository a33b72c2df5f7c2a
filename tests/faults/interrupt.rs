//! Ctrl-C at any system call: the program reports it and ends; nothing wrong is left, and the next run resumes.
//! (`tests/e2e/interrupted.rs` tests SIGINT and SIGTERM while it waits for a registry.)

use std::fs;
use std::process::Stdio;

use crate::lab::{Lab, args, ended};
use crate::support::proxy::{Fault, Proxy};
use crate::sweep::{Extent, over};
use crate::trace::{Point, inject, points};
use crate::verbs::{Goal, Verb, chosen};

fn interrupt(lab: &Lab, verb: &Verb, goal: &Goal, point: &Point) {
    let what = format!("interrupted at {} {}", point.call, point.number);
    let place = verb.place(lab);
    let words = verb.words(lab, &place, 1);
    let wrapper = inject(point, "signal=INT", false);
    let first = ended(&mut lab.command(&place, &wrapper.each_ref().map(String::as_str), &words));
    let shown = format!("{}: {what}: {first:?}", verb.name);
    match first.code {
        // So early that no handler is installed yet.
        -2 => assert!(first.err.is_empty(), "{shown}"),
        // So late that everything was done.
        0 => verb.check_after(lab, &place, goal, &what),
        // The thread that waits for signals also reads: it was interrupted a second time, and exited at once.
        130 if point.call == "recvfrom" && !first.err.contains("interrupted") => {}
        // It reports what is not done, and how to resume.
        130 => assert!(first.err.contains("interrupted") && first.err.contains("\n       "), "{shown}"),
        _ => panic!("{shown}"),
    }
    verb.check_between(lab, &place, goal, &what);
    let again = lab.run(&place, &words);
    assert!(verb.again.contains(&again.code), "{}: {what}, then {again:?}", verb.name);
    verb.check_after(lab, &place, goal, &what);
    fs::remove_dir_all(place).unwrap();
}

fn sweep(extent: Extent) {
    let lab = Lab::new();
    let mut failed = 0;
    for verb in chosen() {
        let goal = verb.goal(&lab);
        let points = extent.of(&points(&lab, verb));
        failed += over(&points, |point| interrupt(&lab, verb, &goal, point));
    }
    assert_eq!(failed, 0, "see above");
}

#[test]
fn an_interrupt_at_any_call_is_answered_and_the_next_run_goes_on() {
    sweep(Extent::Sample { every: 131, from: 70 });
}

#[test]
#[ignore = "minutes"]
fn an_interrupt_at_every_call_is_answered_and_the_next_run_goes_on() {
    sweep(Extent::All);
}

/// A registry that never answers: the first Ctrl-C is acknowledged, and the second one does not wait for it.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let lab = Lab::new();
    let proxy = Proxy::start(Some(lab.source().port));
    proxy.on("GET", "/manifests/", 9, Fault::Silence);
    let place = lab.place();
    let words = args!["create", "b.tar", "--unsigned", "--plain-http", "127.0.0.1", "--image"];
    let words = [words, args![format!("{}/tools/i0:1", proxy.host())]].concat();
    let mut child = lab.command(&place, &[], &words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while proxy.count("GET", "/manifests/") == 0 {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        // The second signal may arrive after the program has ended.
        let _ = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}
