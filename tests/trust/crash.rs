//! `sign` killed at its system calls (`strace -e inject=…:signal=KILL`): the bundle verifies as before or as after, or
//! is reported as torn and repaired by signing again; nothing before its end is ever changed.

use std::collections::BTreeMap;

use crate::kit::{Ended, Kit, PROGRAM};

const SIGN: [&str; 11] = [
    "sign",
    "b.tar",
    "--signer",
    "builder.pub",
    "--sign-key",
    "reviewer",
    "--note",
    "CHG-1",
    "--at",
    "2024-01-01",
    "-j1",
];
/// The calls that change something, or on whose result a change depends.
const WRITING: [&str; 9] =
    ["pwrite64", "fsync", "ftruncate", "flock", "write", "rename", "renameat2", "linkat", "unlink"];

fn strace(kit: &Kit, options: &[&str], more: &[&str]) -> Ended {
    let args = [&["-f", "-o", "trace"], options, &[PROGRAM], &SIGN, more].concat();
    kit.tool("strace", &args)
}

/// How often each system call is made, by the thread that makes it most.
fn calls(kit: &Kit, more: &[&str]) -> BTreeMap<String, usize> {
    strace(kit, &[], more).is(0);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in String::from_utf8(kit.read("trace")).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(call)) = (words.next(), words.next()) else { continue };
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry((thread.to_owned(), name.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in counts {
        let slot = most.entry(name).or_default();
        *slot = count.max(*slot);
    }
    most
}

fn sweep(wanted: impl Fn(&str) -> bool, more: &[&str]) -> usize {
    let kit = Kit::with_bundle();
    let before = kit.read("b.tar");
    let end = before.len() - 1024;
    let fresh = || {
        kit.names("b.tar").iter().for_each(|n| std::fs::remove_file(kit.path(n)).unwrap());
        kit.write("b.tar", &before);
    };
    let calls = calls(&kit, more);
    let files = || kit.names("b.tar").into_iter().map(|n| (n.clone(), kit.read(&n))).collect::<BTreeMap<_, _>>();
    let after = files();
    let (mut killed, mut torn) = (0, 0);
    for (call, count) in calls.iter().filter(|(call, _)| wanted(call)) {
        for n in 1..=*count {
            fresh();
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let ended = strace(&kit, &["-e", &inject], more);
            killed += usize::from(ended.code != 0);
            let now = files();
            assert_eq!(now["b.tar"][..end], before[..end], "{inject}");
            let verified = kit.run(&["verify", "b.tar", "--signer", "builder.pub"]);
            if verified.code != 0 {
                verified.is(32).says("interrupted `sign`");
                torn += 1;
            } else {
                assert!(now["b.tar"] == before || now["b.tar"] == after["b.tar"], "{inject}");
                assert!(
                    now.iter().all(|(n, bytes)| n == "b.tar" || n.ends_with(".partial") || after.get(n) == Some(bytes)),
                    "{inject}"
                );
            }
            kit.run(&[&SIGN[..], more].concat()).is(0);
            assert_eq!(files(), after, "{inject}: signing again ends as if there had been one");
        }
    }
    if more.is_empty() {
        assert!(torn > 0, "no kill between content and header was tried");
    }
    killed
}

#[test]
fn sign_killed_at_any_writing_call_leaves_the_bundle_as_before_or_after_or_repairable() {
    assert!(sweep(|call| WRITING.contains(&call), &[]) >= 4);
}

#[test]
fn sign_detach_killed_at_any_writing_call_leaves_whole_files_or_none() {
    assert!(sweep(|call| WRITING.contains(&call), &["--detach"]) >= 4);
}

/// Minutes: `cargo test --test trust -- --ignored every_system_call`.
#[test]
#[ignore = "minutes"]
fn sign_killed_at_every_system_call_leaves_the_bundle_as_before_or_after_or_repairable() {
    assert!(sweep(|call| call != "execve", &[]) > 100);
    assert!(sweep(|call| call != "execve", &["--detach"]) > 100);
}
