//! Signatures and records beside a bundle: what `sign --detach` writes and `verify` finds (MB-LSE).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::bundle::reader::Addendum;
use crate::bundle::{addendum, limits};
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, dir, durable, small};

/// How many entries of the bundle's folder are examined at most: a medium can list names without end.
const ENTRIES: usize = 100_000;
/// The limit for all files read beside bundles, in bytes. Every volume has the same signatures.
const READ: u64 = 256 << 20;

/// Writes `BUNDLE.<role>-<key>.sig`, and records as `BUNDLE.record-….json[.sig]`. Each file appears complete or not at
/// all, and never overwrites another.
pub(crate) fn write(path: &Path, pieces: &[(String, Vec<u8>)]) -> Result<Vec<String>> {
    // One temporary name for all files: so a killed run leaves nothing behind, even if the next run writes other files.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".sig.partial");
    let mut written = Vec::new();
    if pieces.is_empty() {
        // All files exist; the run that wrote them may have been killed before they were durable.
        durable::sync_parent(path)?;
    }
    for (name, bytes) in pieces {
        let target = detached_path(path, name);
        match AtomicFile::begin(Path::new(&temporary)).and_then(|new| new.commit(bytes, &target, false)) {
            Ok(()) => {}
            // An interrupted run already wrote this file.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && is(&target, bytes) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::new(Code::Conflict, format!("`{}` exists with other content", target.display()))
                    .fact("it is no good signature by this key")
                    .hint("look at it, and move it away"));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                return Err(Error::new(
                    Code::Conflict,
                    format!("another mirror-bundle is signing `{}`", path.display()),
                )
                .hint("wait for it, and run the same command again"));
            }
            Err(e) => {
                return Err(Error::io("cannot write", &target, e).hint("on a read-only medium: sign the output of --print-index with ssh-keygen -Y sign, keep the file elsewhere, and verify with --signature FILE"));
            }
        }
        written.push(target.display().to_string());
    }
    Ok(written)
}

/// Whether the file at `path` has exactly this content.
fn is(path: &Path, bytes: &[u8]) -> bool {
    let old = read_limited(path, bytes.len() as u64);
    old.is_ok_and(|old| old == bytes)
}

/// The path beside the bundle for an addendum of this name.
fn detached_path(path: &Path, name: &str) -> PathBuf {
    let name = match name.strip_prefix("signature-") {
        Some(rest) => format!("{rest}.sig"),
        None => name.to_owned(),
    };
    let mut full = path.as_os_str().to_owned();
    full.push(format!(".{name}"));
    full.into()
}

/// The files beside a bundle, as written with `--detach`. Never more than is evaluated ([`limits::SIGNATURES`]) or than
/// a bundle may have appended ([`limits::ADDENDA`], [`limits::ADDENDA_BYTES`]), however many files there are.
#[derive(Debug, Default)]
pub struct Signatures {
    /// `BUNDLE.<role>-<16 hex>.sig`: path and content.
    pub signatures: Vec<(String, Vec<u8>)>,
    /// `BUNDLE.record-<16 hex>.json` and `….json.sig`, under the names they would have in the bundle.
    pub records: Vec<Addendum>,
}

impl Signatures {
    /// Adds a signature; identical content counts once.
    ///
    /// # Errors
    /// [`Code::Malformed`] when there are more than are evaluated.
    pub fn add_signature(&mut self, path: String, bytes: Vec<u8>) -> Result<()> {
        if self.signatures.iter().any(|(_, known)| *known == bytes) {
            return Ok(());
        }
        if self.signatures.len() == limits::SIGNATURES {
            let text = format!("more than {} different signatures lie beside the bundle", limits::SIGNATURES);
            return Err(too_many(text, &path));
        }
        self.signatures.push((path, bytes));
        Ok(())
    }

    /// Adds a record or its signature, found at `path`; identical content counts once.
    fn add_record(&mut self, path: &Path, record: Addendum) -> Result<()> {
        if self.records.contains(&record) {
            return Ok(());
        }
        let size = self.records.iter().chain([&record]).map(|r| r.bytes.len() as u64).sum::<u64>();
        let path = path.display().to_string();
        if self.records.len() == limits::ADDENDA {
            let text = format!("more than {} different records lie beside the bundle", limits::ADDENDA);
            return Err(too_many(text, &path));
        }
        if size > limits::ADDENDA_BYTES {
            let text = format!("the records beside the bundle have more than {} bytes", limits::ADDENDA_BYTES);
            return Err(too_many(text, &path));
        }
        self.records.push(record);
        Ok(())
    }
}

fn too_many(text: String, path: &str) -> Error {
    Error::new(Code::Malformed, text)
        .fact(format!("one of them is `{path}`"))
        .hint("move the files of other bundles away")
}

/// Reads the signatures and records beside these bundles; for a folder of volumes, beside each file in it.
///
/// # Errors
/// Read errors, and [`Code::Malformed`] when a limit of [`Signatures`] is exceeded.
pub fn find(paths: &[PathBuf]) -> Result<Signatures> {
    Listing::list(paths).of_all()
}

/// The files beside some bundles, by name: each folder has been listed once, no file has been read.
#[derive(Debug, Default)]
pub(crate) struct Listing(BTreeMap<PathBuf, Vec<ListedFile>>);

/// A file beside a bundle.
#[derive(Debug)]
struct ListedFile {
    path: PathBuf,
    /// The name the record would have in the bundle; `None` for a signature over the index.
    record: Option<String>,
}

impl Listing {
    /// Considers regular files only, and ignores other names. A folder that cannot be listed counts as empty: fewer
    /// signatures never improve a verdict.
    pub(crate) fn list(paths: &[PathBuf]) -> Listing {
        // For each folder the bundles that were named, or `None` for every bundle in it.
        let mut folders: BTreeMap<PathBuf, Option<BTreeSet<String>>> = BTreeMap::new();
        for path in paths {
            if path.is_dir() {
                folders.insert(path.clone(), None);
            } else if let Some(name) = path.file_name().and_then(|n| n.to_str())
                && let Some(names) =
                    folders.entry(dir::folder_of(path).to_owned()).or_insert_with(|| Some(BTreeSet::new()))
            {
                names.insert(name.to_owned());
            }
        }
        let mut out = Listing::default();
        for (folder, names) in folders {
            let there = dir::list_start(&folder, ENTRIES).unwrap_or_default();
            for (file, kind) in &there {
                let Some((bundle, record)) = file.to_str().and_then(parse) else { continue };
                let is_there = || {
                    let at = there.binary_search_by(|(name, _)| name.as_os_str().cmp(OsStr::new(bundle)));
                    at.is_ok_and(|at| there[at].1 != dir::EntryKind::Directory)
                };
                let wanted = names.as_ref().map_or_else(is_there, |names| names.contains(bundle));
                if *kind == dir::EntryKind::File && wanted {
                    let listed = ListedFile { path: folder.join(file), record: record.map(str::to_owned) };
                    out.0.entry(folder.join(bundle)).or_default().push(listed);
                }
            }
        }
        out
    }

    /// The files beside one of the bundles.
    pub(crate) fn of(&self, path: &Path) -> Result<Signatures> {
        let name = path.file_name().map(|name| dir::folder_of(path).join(name));
        read_all(name.and_then(|name| self.0.get(&name)).into_iter().flatten())
    }

    /// The files beside any of the bundles.
    pub(crate) fn of_all(&self) -> Result<Signatures> {
        read_all(self.0.values().flatten())
    }
}

/// The bundle that a file belongs to, by its name; and for a record its name as an addendum.
fn parse(file: &str) -> Option<(&str, Option<&str>)> {
    let stem = file.strip_suffix(".sig").unwrap_or(file);
    let (bundle, _) = stem.strip_suffix(".json").unwrap_or(stem).rsplit_once('.').filter(|(b, _)| !b.is_empty())?;
    let rest = &file[bundle.len() + 1..];
    match addendum::kind(rest) {
        addendum::AddendumKind::Record
        | addendum::AddendumKind::RecordSignature
        | addendum::AddendumKind::Removal
        | addendum::AddendumKind::RemovalSignature => Some((bundle, Some(rest))),
        _ => {
            let name = format!("signature-{}", rest.strip_suffix(".sig")?);
            addendum::is_signature(&name).then_some((bundle, None))
        }
    }
}

fn read_all<'a>(files: impl Iterator<Item = &'a ListedFile>) -> Result<Signatures> {
    let mut out = Signatures::default();
    let mut read = 0;
    for file in files {
        let limit = if file.record.is_some() { limits::ADDENDUM } else { limits::SIGNATURE };
        let bytes = read_limited(&file.path, limit)?;
        read += bytes.len() as u64;
        if read > READ {
            let text = format!("the signatures and records beside the bundle have more than {READ} bytes");
            return Err(too_many(text, &file.path.display().to_string()));
        }
        match &file.record {
            None => out.add_signature(file.path.display().to_string(), bytes)?,
            Some(name) => out.add_record(&file.path, Addendum { name: name.clone(), bytes })?,
        }
    }
    Ok(out)
}

/// Reads a signature file that a user named, at most one byte more than a signature may have, so that the caller
/// notices a longer one.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_limited(path, limits::SIGNATURE)
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    small::read_start(path, limit).map_err(|e| e.error("cannot read", path, Code::Io))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn signature(folder: &Path, bundle: &str, n: usize) -> PathBuf {
        folder.join(format!("{bundle}.reviewer-{n:016x}.sig"))
    }

    #[test]
    fn only_names_of_signatures_and_records_count_and_say_which_bundle_they_are_beside() {
        let hex = "0123456789abcdef";
        let signature = format!("a.b.tar.reviewer-{hex}.sig");
        assert_eq!(parse(&signature), Some(("a.b.tar", None)));
        for ending in ["json", "json.sig"] {
            let name = format!("record-{hex}.{ending}");
            assert_eq!(parse(&format!("b.{name}")), Some(("b", Some(name.as_str()))));
        }
        for other in [
            format!("b.root-{hex}.sig"),
            format!("b.reviewer-{hex}"),
            format!("b.reviewer-{hex}.json.sig"),
            format!("b.record-{hex}.sig"),
            format!(".reviewer-{hex}.sig"),
            format!("reviewer-{hex}.sig"),
            "b.tar".to_owned(),
            "b.tar.sig".to_owned(),
            ".sig".to_owned(),
            ".".to_owned(),
        ] {
            assert_eq!(parse(&other), None, "{other}");
        }
    }

    #[test]
    fn what_lies_beside_a_file_a_folder_of_files_and_several_of_them_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let (one, two) = (folder.join("b-1of2"), folder.join("b.tar"));
        fs::write(&one, "").unwrap();
        fs::write(&two, "").unwrap();
        for (bundle, n, text) in [("b-1of2", 1, "same"), ("b.tar", 1, "same"), ("b.tar", 2, "other"), ("gone", 3, "x")]
        {
            fs::write(signature(folder, bundle, n), text).unwrap();
        }
        fs::write(folder.join("b.tar.record-0123456789abcdef.json"), "{}").unwrap();
        fs::create_dir(signature(folder, "b.tar", 4)).unwrap();
        std::os::unix::fs::symlink(&one, signature(folder, "b.tar", 5)).unwrap();
        let found = |paths: &[PathBuf]| {
            let detached = find(paths).unwrap();
            let texts = detached.signatures.iter().map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap());
            (texts.collect::<Vec<_>>(), detached.records.len())
        };
        assert_eq!(found(std::slice::from_ref(&one)), (vec!["same".to_owned()], 0));
        let all = (vec!["same".to_owned(), "other".to_owned()], 1);
        assert_eq!(found(&[folder.to_owned()]), all);
        assert_eq!(found(&[one.clone(), two.clone(), folder.to_owned()]), all);
        let beside = Listing::list(&[one.clone(), two.clone()]);
        assert_eq!(beside.of(&one).unwrap().signatures.len(), 1);
        assert_eq!(beside.of(&two).unwrap().signatures.len(), 2);
    }

    #[test]
    fn more_signatures_or_records_than_count_are_an_error_whatever_files_they_lie_beside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let volumes: Vec<PathBuf> = (0..3).map(|n| folder.join(format!("b-{n}.tar"))).collect();
        volumes.iter().for_each(|volume| fs::write(volume, "").unwrap());
        let write = |n: usize| fs::write(signature(folder, &format!("b-{}.tar", n % 3), n), n.to_string()).unwrap();
        (0..limits::SIGNATURES).for_each(write);
        assert_eq!(find(&volumes).unwrap().signatures.len(), limits::SIGNATURES);
        write(limits::SIGNATURES);
        for paths in [volumes.clone(), vec![folder.to_owned()]] {
            let err = find(&paths).unwrap_err();
            assert_eq!(err.code(), Code::Malformed);
            assert!(err.to_string().contains("16 different signatures"), "{err}");
        }
        for n in 0..=limits::SIGNATURES {
            fs::remove_file(signature(folder, &format!("b-{}.tar", n % 3), n)).unwrap();
        }

        let record = |n: usize, size: usize| {
            fs::write(folder.join(format!("b-{}.tar.record-{n:016x}.json", n % 3)), vec![b' '; size]).unwrap();
        };
        (0..limits::ADDENDA).for_each(|n| record(n, 10));
        assert_eq!(find(&volumes).unwrap().records.len(), limits::ADDENDA);
        record(limits::ADDENDA, 10);
        assert!(find(&volumes).unwrap_err().to_string().contains("64 different records"));
        for n in 0..=limits::ADDENDA {
            fs::remove_file(folder.join(format!("b-{}.tar.record-{n:016x}.json", n % 3))).unwrap();
        }
        (0..5).for_each(|n| record(n, 1 << 20));
        assert!(find(&volumes).unwrap_err().to_string().contains("more than 4194304 bytes"));
    }

    /// A hard link costs an attacker nothing; it must not cost the reader anything either.
    #[test]
    fn very_many_files_of_one_content_are_read_to_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::write(folder.join("b.tar"), "").unwrap();
        let first = signature(folder, "b.tar", 0);
        fs::File::create(&first).unwrap().set_len(1 << 30).unwrap();
        for n in 1..(READ / limits::SIGNATURE) as usize {
            fs::hard_link(&first, signature(folder, "b.tar", n)).unwrap();
        }
        let err = find(&[folder.to_owned()]).unwrap_err();
        assert_eq!(err.code(), Code::Malformed);
        assert!(err.to_string().contains(&READ.to_string()), "{err}");
    }
}
