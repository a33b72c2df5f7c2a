//! F3: content is synced before it gets its name, names are synced before success is reported, and references are
//! written after their targets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, temporary};
use crate::record::{Op, record};
use crate::verbs::{VERBS, chosen};

/// The violations of the rules in an operation log.
fn offences(ops: &[Op]) -> Vec<String> {
    let mut out = Vec::new();
    // Files with unsynced content, and folders with unsynced names, each with the responsible operation.
    let mut files: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut answered = false;
    let folder = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Write(path, ..) | Op::Truncate(path, _) | Op::Extend(path, _) | Op::Mode(path, _) => {
                files.insert(path.clone(), at);
            }
            Op::Create(path, _) | Op::Folder(path) | Op::Symlink(_, path) | Op::Unlink(path) => {
                if matches!(op, Op::Unlink(_)) {
                    files.remove(path);
                    // Of a folder that is gone.
                    folders.remove(path);
                }
                folders.insert(folder(path), at);
            }
            Op::Link(from, to) | Op::Rename(from, to) => {
                // The journal tells the next run whose the other temporary files are.
                let counts = !temporary(to) || to.extension().is_some_and(|e| e == "journal");
                if counts && files.contains_key(from) {
                    out.push(format!("{} gets its name before it is synced", to.display()));
                }
                if matches!(op, Op::Rename(..))
                    && let Some(dirty) = files.remove(from)
                {
                    files.insert(to.clone(), dirty);
                }
                folders.insert(folder(from), at);
                folders.insert(folder(to), at);
            }
            Op::Lost(_) => {}
            Op::Sync(path) => {
                files.remove(path);
                folders.remove(path);
            }
            Op::Say(to, text) => {
                let success = *to == 1 || text.contains("Finished") || text.contains("Signed");
                if success && !(files.is_empty() && folders.is_empty()) {
                    out.push(format!("`{}` is said before {files:?} {folders:?} are synced", text.trim()));
                }
                answered |= *to == 1;
            }
        }
        if answered && !matches!(op, Op::Say(..)) {
            out.push(format!("{op:?} after the answer"));
        }
    }
    out
}

#[test]
fn everything_is_durable_before_it_is_named_and_before_success_is_reported() {
    let lab = Lab::new();
    let mut seen = BTreeSet::new();
    for verb in chosen() {
        let place = verb.place(&lab);
        let (run, ops) = record(&lab, &place, &verb.words(&lab, &place, 1), None);
        run.is(0, verb.name);
        let renames = ops.iter().filter(|op| matches!(op, Op::Rename(..))).count();
        let syncs = ops.iter().filter(|op| matches!(op, Op::Sync(..))).count();
        assert!(ops.iter().any(|op| matches!(op, Op::Say(1, _))), "{}: no answer", verb.name);
        assert!(verb.name.starts_with("verify") || syncs > 1, "{}: {syncs} syncs", verb.name);
        seen.insert((verb.name, renames, syncs));
        assert_eq!(offences(&ops), Vec::<String>::new(), "{}", verb.name);
        fs::remove_dir_all(place).unwrap();
    }
    eprintln!("verb, renames, syncs: {seen:?}");
}

#[test]
fn the_lint_notices_each_omission() {
    let lab = Lab::new();
    let verb = &VERBS[0];
    let place = verb.place(&lab);
    let (_, ops) = record(&lab, &place, &verb.words(&lab, &place, 1), None);
    assert!(offences(&ops).is_empty());
    for at in (0..ops.len()).filter(|at| matches!(ops[*at], Op::Sync(_))) {
        if ops[at + 1..].contains(&ops[at]) {
            continue;
        }
        let mut without = ops.clone();
        without.remove(at);
        assert!(!offences(&without).is_empty(), "without {:?}", ops[at]);
    }
}
