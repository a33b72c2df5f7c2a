//! The memory of this host: the newest bundle of each series that it has unpacked (security A7).
//!
//! One small JSON file, replaced as a whole after complete success. A file that cannot be parsed is an error, never an
//! empty memory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{environment, own_folder};
use crate::bundle::Index;
use crate::bundle::removal::Removed;
use crate::bundle::series::places;
use crate::error::{Code, Error, Result};
use crate::fs::dir::LockedDir;
use crate::fs::{AtomicFile, Dir, small};
use crate::verify::rollback::{Memory, Numbered};
use crate::verify::{SignatureOutcome, Verified};

/// The largest accepted file, in bytes.
const LIMIT: u64 = 4 << 20;

/// The format of the file when every bundle had a name and a number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    bundles: BTreeMap<String, Numbered>,
}

/// Numbers from here on are times in seconds, which `create` once used when no number was given.
const A_TIME: u64 = 1_000_000_000;

impl From<Before> for Memory {
    fn from(before: Before) -> Memory {
        let convert = |(name, seen): (String, Numbered)| {
            let converted = (A_TIME..=u64::from(u32::MAX)).contains(&seen.sequence);
            (name, Numbered { converted, ..seen })
        };
        Memory { series: before.bundles.into_iter().map(convert).collect(), ..Memory::default() }
    }
}

/// `MIRROR_BUNDLE_STATE`, `$XDG_STATE_HOME/mirror-bundle`, `~/.local/state/mirror-bundle`, or `/var/lib/mirror-bundle`
/// if there is no home directory.
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

/// Reads the memory of this host. If the file does not exist, nothing has been unpacked yet.
pub fn load(folder: &Path) -> Result<Memory> {
    let path = file(folder);
    let bytes = match small::read(&path, LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if e.is_missing() => return Ok(Memory::default()),
        Err(e) => return Err(e.error("cannot read", &path, Code::Io)),
    };
    if let Ok(before) = serde_json::from_slice::<Before>(&bytes) {
        return Ok(before.into());
    }
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(
            Code::Io,
            format!("`{}` cannot be read, so this bundle may be older than one already unpacked", path.display()),
        )
        .source(e)
        .hint("restore the file from a backup; to start a new memory, move it away")
    })
}

/// Records a verified bundle as the newest of its series, unless a newer one is already recorded. `back`
/// (`--allow-rollback`) records it in any case: this resets a number that a stolen key had driven up. A bundle without
/// a good signature is not recorded: anyone could have made it.
pub fn remember(folder: &Path, verified: &Verified<'_>, back: bool) -> Result<()> {
    if !verified.report().signatures.iter().any(SignatureOutcome::is_good) {
        return Ok(());
    }
    note(folder, verified.index(), &verified.report().bundle.index, verified.removed(), back)
}

fn note(folder: &Path, index: &Index, digest: &str, removed: &Removed, back: bool) -> Result<()> {
    if places(index).is_empty() && removed.is_empty() && load(folder)?.removals.is_empty() {
        return Ok(());
    }
    let dir = Dir::create(folder, Code::Io)?;
    let lock = turn(folder);
    let mut memory = load(folder)?;
    let changed = memory.note_removed(digest, removed, back);
    if !memory.note(index, digest, back) && !changed {
        // The process that wrote the file may have been killed before it was durable.
        return dir.sync();
    }
    let path = file(folder);
    let err = |e| Error::io("cannot write", &path, e);
    let mut text = serde_json::to_vec_pretty(&memory)
        .map_err(|e| Error::new(Code::Internal, "cannot write the memory").source(e))?;
    text.push(b'\n');
    AtomicFile::begin(&temporary(folder)).and_then(|new| new.commit(&text, &path, true)).map_err(err)?;
    drop(lock);
    Ok(())
}

/// Returns an error if this host could not record what it is about to unpack. Creates the folder and nothing else.
pub fn ready(folder: &Path) -> Result<()> {
    let failed = |e: Error| {
        e.fact("this file records what this host has unpacked, to detect the replay of an old bundle")
            .state("nothing was written")
            .hint("name a folder that can be written in MIRROR_BUNDLE_STATE")
    };
    Dir::create(folder, Code::Io).map_err(failed)?;
    let _lock = turn(folder);
    match AtomicFile::begin(&temporary(folder)) {
        // Another process holds the lock right now.
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
        tried => tried.map(drop).map_err(|e| failed(Error::io("cannot write in", folder, e))),
    }
}

/// Takes the lock of this process: two runs that finish at once must neither lose each other's entries nor share a
/// temporary file. Best effort: not every file system supports locks.
fn turn(folder: &Path) -> Option<LockedDir> {
    Dir::open(folder, Code::Io).ok()?.wait_lock().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::bundle::index::tests::sample;

    fn bundle(name: &str, sequence: u64) -> Index {
        Index { name: name.into(), sequence: Some(sequence), ..sample() }
    }

    #[test]
    fn the_highest_number_is_remembered_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), Memory::default());
        for (sequence, index) in [(5, "a"), (7, "b"), (6, "c")] {
            note(dir.path(), &bundle("ocp", sequence), index, &Removed::default(), false).unwrap();
        }
        let seen = Numbered { sequence: 7, index: "b".into(), converted: false };
        assert_eq!(load(dir.path()).unwrap().series["ocp"], seen);
        note(dir.path(), &bundle("ocp", 3), "d", &Removed::default(), true).unwrap();
        assert_eq!(load(dir.path()).unwrap().series["ocp"].sequence, 3);
        note(dir.path(), &Index { sequence: None, ..sample() }, "e", &Removed::default(), false).unwrap();
        assert_eq!(load(dir.path()).unwrap().series.len(), 1);
        fs::write(file(dir.path()), "{").unwrap();
        assert_eq!(load(dir.path()).unwrap_err().code(), Code::Io);
        assert!(note(dir.path(), &bundle("ocp", 9), "d", &Removed::default(), false).is_err());
    }

    #[test]
    fn an_old_memory_is_converted_and_only_explicit_numbers_count() {
        let dir = tempfile::tempdir().unwrap();
        let before = r#"{ "bundles": { "app": { "sequence": 1795305600, "index": "x" }, "ocp": { "sequence": 7, "index": "y" } } }"#;
        fs::write(file(dir.path()), before).unwrap();
        let memory = load(dir.path()).unwrap();
        assert!(memory.series["app"].converted && !memory.series["ocp"].converted);
        note(dir.path(), &bundle("app", 1), "z", &Removed::default(), false).unwrap();
        let after = load(dir.path()).unwrap();
        assert_eq!(after.series["app"], Numbered { sequence: 1, index: "z".into(), converted: false });
        assert_eq!(after.series["ocp"], memory.series["ocp"]);
        let text = fs::read_to_string(file(dir.path())).unwrap();
        assert!(text.contains("\"series\"") && !text.contains("bundles"), "{text}");
    }

    #[test]
    fn many_that_unpack_at_once_wait_for_each_other_and_all_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let one = |i: u64| {
            let index = bundle(&format!("b{i}"), i);
            for _ in 0..20 {
                ready(dir.path()).unwrap();
                note(dir.path(), &index, "a", &Removed::default(), false).unwrap();
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
        assert_eq!(load(dir.path()).unwrap().series.len(), 8);
    }
}
