//! Verdicts of earlier runs, on this host: the digests of contents that a scanner found to be clean, with everything in
//! them. Another version, database, command or limit of the scanner has another file.
//!
//! Damage in a file makes digests that no content has: it never makes a content clean.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Identity;
use super::gate::lock;
use crate::error::{Code, Error, Result};
use crate::fs::Dir;
use crate::fs::partial::{Own, lock as only_one, open_own};
use crate::oci::Digest;

const MARK: &[u8; 32] = b"mirror-bundle scanned, format 1\n";
/// Digest and time.
const RECORD: usize = 40;
/// The most verdicts of one file; older ones are forgotten.
const MOST: usize = 1_000_000;
/// The most files; those that were not used for longest are removed.
const FILES: usize = 16;
/// Bytes that are written at once.
const WRITE: usize = 40 * 256;

/// The verdicts of one scanner.
#[derive(Debug)]
pub struct Store {
    file: File,
    path: PathBuf,
    /// The beginnings of digests, sorted, with the places of their records.
    known: Vec<(u64, u32)>,
    new: Mutex<Vec<u8>>,
}

impl Store {
    /// Opens the verdicts of a scanner in the state folder; `None` if another run has them open, or none are kept.
    ///
    /// # Errors
    /// [`Code::Io`] if the folder cannot be written.
    pub fn open(state: &Path, identity: &Identity, limits: &str) -> Result<Option<Store>> {
        let Some(fingerprint) = &identity.fingerprint else { return Ok(None) };
        let Identity { name: _, how, version, database, database_time, .. } = identity;
        let what = format!(
            "{}\n{how}\n{version}\n{database:?}\n{database_time:?}\n{fingerprint}\n{limits}",
            env!("CARGO_PKG_VERSION")
        );
        let folder = state.join("scanned");
        Dir::create(&folder, Code::Io)?;
        let path = folder.join(format!("{}.clean", &Digest::of(what.as_bytes()).hex()[..32]));
        let file = open_own(&path, Own::ExistingOrNew)?;
        if only_one(&file, &path).is_err() {
            return Ok(None);
        }
        forget(&folder, &path);
        let mut store = Store { file, path, known: Vec::new(), new: Mutex::default() };
        store.load()?;
        Ok(Some(store))
    }

    fn lost(&self, e: std::io::Error) -> Error {
        Error::io("cannot use", &self.path, e)
    }

    fn load(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(|e| self.lost(e))?.len();
        let mut mark = [0; 32];
        if length < 32 || self.file.read_exact_at(&mut mark, 0).is_err() || mark != *MARK {
            self.file.set_len(0).and_then(|()| self.file.write_all_at(MARK, 0)).map_err(|e| self.lost(e))?;
            return Ok(());
        }
        let mut records = usize::try_from((length - 32) / RECORD as u64).unwrap_or(0);
        if records > MOST {
            let keep = MOST / 2;
            let mut bytes = vec![0; keep * RECORD];
            let from = 32 + ((records - keep) * RECORD) as u64;
            self.file.read_exact_at(&mut bytes, from).map_err(|e| self.lost(e))?;
            self.file.write_all_at(&bytes, 32).map_err(|e| self.lost(e))?;
            records = keep;
        }
        // What a killed run left of a record.
        self.file.set_len(32 + (records * RECORD) as u64).map_err(|e| self.lost(e))?;
        self.known.reserve_exact(records);
        let mut bytes = vec![0; RECORD * 1024];
        let mut at = 0;
        while at < records {
            let now = (records - at).min(1024);
            let piece = &mut bytes[..now * RECORD];
            self.file.read_exact_at(piece, 32 + (at * RECORD) as u64).map_err(|e| self.lost(e))?;
            for (n, record) in piece.chunks_exact(RECORD).enumerate() {
                let start = record.first_chunk::<8>().map_or(0, |start| u64::from_be_bytes(*start));
                self.known.push((start, u32::try_from(at + n).unwrap_or(u32::MAX)));
            }
            at += now;
        }
        self.known.sort_unstable();
        Ok(())
    }

    /// When a content was found to be clean, in seconds since 1970.
    pub(super) fn get(&self, digest: &Digest) -> Option<u64> {
        let bytes = digest.bytes();
        let start = u64::from_be_bytes(*bytes.first_chunk::<8>()?);
        let from = self.known.partition_point(|(known, _)| *known < start);
        self.known[from..].iter().take_while(|(known, _)| *known == start).find_map(|(_, at)| {
            let mut record = [0; RECORD];
            self.file.read_exact_at(&mut record, 32 + u64::from(*at) * RECORD as u64).ok()?;
            let time = record[32..].first_chunk::<8>().map(|time| u64::from_le_bytes(*time))?;
            (record[..32] == bytes[..]).then_some(time)
        })
    }

    /// Keeps that a content is clean.
    pub(super) fn put(&self, digest: &Digest, now: u64) -> Result<()> {
        let mut new = lock(&self.new);
        new.extend_from_slice(digest.bytes());
        new.extend_from_slice(&now.to_le_bytes());
        match new.len() >= WRITE {
            true => self.write(&mut new),
            false => Ok(()),
        }
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&self) -> Result<()> {
        self.write(&mut lock(&self.new))
    }

    fn write(&self, new: &mut Vec<u8>) -> Result<()> {
        let mut file = &self.file;
        let end = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0));
        end.and_then(|_| file.write_all(new)).map_err(|e| self.lost(e))?;
        new.clear();
        Ok(())
    }
}

/// Removes the files that were not used for longest. Best effort.
fn forget(folder: &Path, own: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = entries
        .take(1000)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            let time = entry.metadata().ok()?.modified().ok()?;
            (path != own && path.extension().is_some_and(|e| e == "clean")).then_some((time, path))
        })
        .collect();
    files.sort();
    let many = files.len().saturating_sub(FILES - 1);
    files.iter().take(many).for_each(|(_, path)| _ = std::fs::remove_file(path));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(database: &str) -> Identity {
        let some = |text: &str| Some(text.to_owned());
        Identity { database: some(database), fingerprint: some(""), ..Identity::default() }
    }

    #[test]
    fn verdicts_are_kept_for_one_database_and_damage_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let open = |database: &str| Store::open(dir.path(), &identity(database), "").unwrap().unwrap();
        let digests: Vec<Digest> = (0..1000u32).map(|n| Digest::of(&n.to_le_bytes())).collect();
        let store = open("1");
        digests.iter().for_each(|digest| store.put(digest, 7).unwrap());
        assert!(Store::open(dir.path(), &identity("1"), "").unwrap().is_none(), "one run at a time");
        store.flush().unwrap();
        let path = store.path.clone();
        drop(store);
        let store = open("1");
        assert!(digests.iter().all(|digest| store.get(digest) == Some(7)));
        assert_eq!(store.get(&Digest::of(b"other")), None);
        assert_eq!(open("2").get(&digests[0]), None);
        drop(store);
        // A torn record, and one with a flipped bit.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 5);
        bytes[32] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let store = open("1");
        let known = digests.iter().filter(|digest| store.get(digest).is_some()).count();
        assert_eq!(known, 998);
        store.put(&digests[0], 9).unwrap();
        store.flush().unwrap();
        drop(store);
        assert_eq!(open("1").get(&digests[0]), Some(9));
    }

    #[test]
    fn a_scanner_that_cannot_be_identified_has_no_kept_verdicts_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let unknown = Identity { fingerprint: None, ..identity("1") };
        assert!(Store::open(dir.path(), &unknown, "").unwrap().is_none());
        (0..40).for_each(|n| drop(Store::open(dir.path(), &identity(&n.to_string()), "").unwrap()));
        assert!(std::fs::read_dir(dir.path().join("scanned")).unwrap().count() <= FILES);
    }
}
