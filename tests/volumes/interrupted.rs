//! split and join, interrupted anywhere and run again, end like an uninterrupted run (F1).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::*;
use crate::support::program::PROGRAM;

/// System calls that change the disk.
const CALLS: &str = "openat,pwrite64,write,fallocate,ftruncate,fsync,rename,renameat2,unlink";

/// Kills `line` at its n-th of [`CALLS`]; returns whether it got that far.
fn killed(dir: &Path, line: &str, n: usize) -> bool {
    let inject = format!("inject={CALLS}:signal=KILL:when={n}");
    let mut args = vec!["-f", "-qq", "-o", "/dev/null", "-e", &inject, PROGRAM];
    args.extend(line.split(' '));
    let status = clean(Command::new("strace"), dir, &args).stderr(std::process::Stdio::null()).status().unwrap();
    !status.success()
}

/// Kills a command at every `step`-th call, checks the state, runs it again, and compares with one run.
fn at_every(dir: &Path, line: &str, out: &Path, expected: &BTreeMap<String, Vec<u8>>, step: usize) {
    let mut at = 1;
    loop {
        fs::remove_dir_all(out).unwrap();
        fs::create_dir(out).unwrap();
        if !killed(dir, line, at) {
            assert!(at > 20, "{at}");
            break;
        }
        for (name, bytes) in files(out).iter().filter(|(name, _)| !name.contains(".partial")) {
            assert!(expected[name] == *bytes, "{name} after a kill at call {at}");
        }
        let again = end(&mut program(dir, &line.split(' ').collect::<Vec<_>>()));
        // If it was killed after the very last step, nothing is left to do.
        assert!(again.code == 0 || (again.code == 52 && files(out) == *expected), "call {at}: {}", again.stderr);
        assert!(files(out) == *expected, "call {at}: {:?}", files(out).keys());
        at += step;
    }
}

fn killed_and_continued(step: usize) {
    if !have("strace") {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[40_000, 9000], &[90_000]]);
    let (volumes, joined) = (make(dir, "volumes"), make(dir, "joined"));
    let line = "split b.tar volumes --volume-size 60kB -qq -j 1";
    run(dir, 0, line);
    let expected = files(&volumes);
    at_every(dir, line, &volumes, &expected, step);
    let line = "join joined/b.tar volumes -qq -j 1";
    run(dir, 0, line);
    let expected = files(&joined);
    at_every(dir, line, &joined, &expected, step);
}

#[test]
fn killed_at_any_change_of_the_disk_and_run_again_they_end_as_if_run_once() {
    killed_and_continued(17);
}

#[test]
#[ignore = "every call"]
fn killed_at_every_change_of_the_disk_and_run_again_they_end_as_if_run_once() {
    killed_and_continued(1);
}

#[test]
fn a_disk_that_is_too_small_is_noticed_first_and_a_write_that_fails_leaves_no_volume() {
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[400_000, 9000], &[900_000]]);
    let volumes = make(dir, "volumes");
    // The signal of the limit is ignored, so that the program can report the error.
    let program = PROGRAM;
    let line = format!("trap '' XFSZ; ulimit -f 200; exec {program} split b.tar volumes --volume-size 500kB -qq");
    let limited = end(&mut clean(Command::new("sh"), dir, &["-c", &line]));
    assert_eq!(limited.code, 3, "{}", limited.stderr);
    assert!(files(&volumes).keys().all(|name| name.contains(".partial")), "{:?}", files(&volumes).keys());
    run(dir, 0, "split b.tar volumes --volume-size 500kB -qq");
    assert!(files(&volumes).keys().all(|name| !name.contains(".partial")));
    let small = make(dir, "small");
    let mount =
        clean(Command::new("mount"), dir, &["-t", "tmpfs", "-o", "size=600k", "tmpfs", "small"]).output().unwrap();
    if !mount.status.success() {
        skip(&format!("cannot mount a tmpfs: {}", String::from_utf8_lossy(&mount.stderr)));
        return;
    }
    let refused = end(&mut crate::bench::program(dir, &["split", "b.tar", "small", "--volume-size", "500kB"]));
    let left = files(&small);
    // One volume fits.
    let one =
        end(&mut crate::bench::program(dir, &["split", "b.tar", "small", "--volume-size", "500kB", "--only", "2"]));
    let there = files(&small);
    tool(dir, "umount", &["small"]);
    assert_eq!((refused.code, left.len()), (3, 0), "{}", refused.stderr);
    assert!(refused.stderr.contains("not enough room") && refused.stderr.contains("nothing was written"));
    assert_eq!((one.code, there.len()), (0, 1), "{}", one.stderr);
}
