//! F2: short reads and writes, and ones that a signal interrupts, have no effect.
//!
//! `strace` can only falsify a returned length. So a small library, loaded before libc, produces them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, ended};
use crate::sweep::over;
use crate::verbs::{Goal, Verb, chosen};

/// Builds a library of `tests/support`.
pub(crate) fn library(lab: &Lab, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name);
    let out = lab.path(&format!("{name}.so"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&out).arg(source);
    assert!(cc.status().expect("a C compiler is installed").success());
    out
}

fn run(lab: &Lab, verb: &Verb, goal: &Goal, library: &Path, mode: &str) {
    let place = verb.place(lab);
    let mut command = lab.command(&place, &[], &verb.words(lab, &place, 1));
    let run = ended(command.env("LD_PRELOAD", library).env("SHORTIO", mode));
    assert_eq!(run.code, 0, "{}: short reads and writes, {mode}: {run:?}", verb.name);
    verb.check_after(lab, &place, goal, mode);
    fs::remove_dir_all(place).unwrap();
}

fn sweep(every: usize) {
    let lab = Lab::new();
    let library = library(&lab, "shortio.c");
    let mut failed = 0;
    for verb in chosen() {
        let goal = verb.goal(&lab);
        // The number of calls is unknown; a larger number does no harm.
        let mut modes: Vec<String> = (1..600).step_by(every).map(|n| n.to_string()).collect();
        modes.push("storm".to_owned());
        failed += over(&modes, |mode| run(&lab, verb, &goal, &library, mode));
    }
    assert_eq!(failed, 0, "see above");
}

#[test]
fn short_and_interrupted_reads_and_writes_go_unnoticed() {
    sweep(233);
}

#[test]
#[ignore = "a minute"]
fn every_short_read_and_write_goes_unnoticed() {
    sweep(1);
}
