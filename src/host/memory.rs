//! What this host remembers: the newest bundle of each name that it has unpacked (security A7).
//!
//! One small JSON file, replaced as a whole after complete success. A file that cannot be understood is an
//! error, never an empty memory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{environment, own_folder};
use crate::error::{Code, Error, Result};
use crate::fs::dir::LockedDir;
use crate::fs::{AtomicFile, Dir, small};
use crate::verify::{Report, Seen, SignatureOutcome, Verified};

/// The most bytes of the file.
const LIMIT: u64 = 4 << 20;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    bundles: BTreeMap<String, Seen>,
}

/// `MIRROR_BUNDLE_STATE`, `$XDG_STATE_HOME/mirror-bundle`, `~/.local/state/mirror-bundle`, or
/// `/var/lib/mirror-bundle` without a home.
pub fn folder() -> PathBuf {
    let named = environment("MIRROR_BUNDLE_STATE").filter(|v| !v.is_empty()).map(PathBuf::from);
    named
        .or_else(|| own_folder("XDG_STATE_HOME").map(|d| d.join("mirror-bundle")))
        .or_else(|| own_folder("HOME").map(|d| d.join(".local/state/mirror-bundle")))
        .unwrap_or_else(|| "/var/lib/mirror-bundle".into())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("unpacked.json")
}

fn temporary(folder: &Path) -> PathBuf {
    folder.join("unpacked.json.partial")
}

/// Reads the memory of this host. No file: nothing was unpacked yet.
pub fn load(folder: &Path) -> Result<BTreeMap<String, Seen>> {
    let path = file(folder);
    let bytes = match small::read(&path, LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if e.is_missing() => return Ok(BTreeMap::new()),
        Err(e) => return Err(e.error("cannot read", &path, Code::Io)),
    };
    let memory: Result<Memory, _> = serde_json::from_slice(&bytes);
    memory.map(|m| m.bundles).map_err(|e| {
        Error::new(
            Code::Io,
            format!("`{}` cannot be read, so this bundle may be older than one already unpacked", path.display()),
        )
        .source(e)
        .hint("restore the file from a backup; to start a new memory, move it away")
    })
}

/// Remembers a bundle that was verified, unless a newer one of its name is remembered already. With `back`
/// (`--allow-rollback`) it is remembered all the same: so a number that a stolen key had driven up is taken back.
/// A bundle without a good signature is not remembered: anyone could have made it.
pub fn remember(folder: &Path, verified: &Verified<'_>, back: bool) -> Result<()> {
    note(folder, verified.report(), back)
}

fn note(folder: &Path, report: &Report, back: bool) -> Result<()> {
    if !report.signatures.iter().any(SignatureOutcome::is_good) {
        return Ok(());
    }
    let (Some(name), Some(sequence)) = (&report.bundle.name, report.bundle.sequence) else { return Ok(()) };
    let dir = Dir::create(folder, Code::Io)?;
    let lock = turn(folder);
    let mut bundles = load(folder)?;
    if bundles.get(name).is_some_and(|seen| seen.sequence == sequence || seen.sequence > sequence && !back) {
        // Who wrote that may have been killed before it was durable.
        return dir.sync();
    }
    bundles.insert(name.clone(), Seen { sequence, index: report.bundle.index.clone() });
    let path = file(folder);
    let err = |e| Error::io("cannot write", &path, e);
    let mut text = serde_json::to_vec_pretty(&Memory { bundles })
        .map_err(|e| Error::new(Code::Internal, "cannot write the memory").source(e))?;
    text.push(b'\n');
    AtomicFile::begin(&temporary(folder)).and_then(|new| new.commit(&text, &path, true)).map_err(err)?;
    drop(lock);
    Ok(())
}

/// An error when this host could not remember what it is about to unpack. Makes the folder, and nothing else.
pub fn ready(folder: &Path) -> Result<()> {
    let failed = |e: Error| {
        e.fact("this host remembers there what it has unpacked, to notice when an old bundle is replayed")
            .state("nothing was written")
            .hint("name a folder that can be written in MIRROR_BUNDLE_STATE")
    };
    Dir::create(folder, Code::Io).map_err(failed)?;
    let _lock = turn(folder);
    match AtomicFile::begin(&temporary(folder)) {
        // Somebody else can, right now.
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
        tried => tried.map(drop).map_err(|e| failed(Error::io("cannot write in", folder, e))),
    }
}

/// Waits for the turn of this process: two that finish at once must not forget what the other has learned, nor
/// stumble over its temporary file. Best effort: not every file system locks.
fn turn(folder: &Path) -> Option<LockedDir> {
    Dir::open(folder, Code::Io).ok()?.wait_lock().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::sign::policy;
    use crate::verify::report::{Standing, Subject};

    fn report(sequence: u64, index: &str) -> Report {
        let mut report = Report::new(
            Subject { name: Some("ocp".into()), sequence: Some(sequence), index: index.into(), ..Subject::default() },
            String::new(),
        );
        let outcome = Standing::Evaluated(policy::Outcome::Good);
        report.signatures =
            vec![SignatureOutcome { origin: String::new(), name: None, role: None, key: None, outcome, detail: None }];
        report
    }

    #[test]
    fn the_highest_number_is_remembered_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        for (sequence, index) in [(5, "a"), (7, "b"), (6, "c")] {
            note(dir.path(), &report(sequence, index), false).unwrap();
        }
        assert_eq!(load(dir.path()).unwrap()["ocp"], Seen { sequence: 7, index: "b".into() });
        note(dir.path(), &report(3, "d"), true).unwrap();
        assert_eq!(load(dir.path()).unwrap()["ocp"].sequence, 3);
        let mut unsigned = report(9, "e");
        unsigned.signatures.clear();
        note(dir.path(), &unsigned, false).unwrap();
        assert_eq!(load(dir.path()).unwrap()["ocp"].sequence, 3);
        fs::write(file(dir.path()), "{").unwrap();
        assert_eq!(load(dir.path()).unwrap_err().code(), Code::Io);
        assert!(note(dir.path(), &report(9, "d"), false).is_err());
    }
    #[test]
    fn many_that_unpack_at_once_wait_for_each_other_and_all_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let one = |i: u64| {
            let mut report = report(i, "a");
            report.bundle.name = Some(format!("b{i}"));
            for _ in 0..20 {
                ready(dir.path()).unwrap();
                note(dir.path(), &report, false).unwrap();
                ready(dir.path()).unwrap();
            }
        };
        std::thread::scope(|s| {
            (0..8).for_each(|i| {
                _ = s.spawn({
                    let one = &one;
                    move || one(i)
                })
            })
        });
        assert_eq!(load(dir.path()).unwrap().len(), 8);
    }
}
