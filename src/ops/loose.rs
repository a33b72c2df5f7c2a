//! Signatures and records beside a bundle: what `sign --detach` writes and `verify` finds (MB-LSE).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::whole::{self, Whole};
use crate::beneath;
use crate::bundle::reader::Addendum;
use crate::bundle::{addendum, limits};
use crate::error::{Code, Error, Result};

/// The most entries of the folder of a bundle that are looked at: a medium can list names without end.
const ENTRIES: usize = 100_000;

/// `BUNDLE.<role>-<key>.sig`, and records as `BUNDLE.record-….json[.sig]`. Each appears complete or not at all, and
/// never over another file.
pub(super) fn write(path: &Path, pieces: &[(String, Vec<u8>)]) -> Result<Vec<String>> {
    // One name for all: so nothing is left of a run that was killed and would write something else now.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".sig.partial");
    let mut written = Vec::new();
    if pieces.is_empty() {
        // All is there; the run that wrote it may have been killed before that was durable.
        whole::sync(whole::folder(path)).map_err(|e| Error::io("cannot sync", whole::folder(path), e))?;
    }
    for (name, bytes) in pieces {
        let target = loose_path(path, name);
        match Whole::begin(Path::new(&temporary)).and_then(|new| new.commit(bytes, &target, false)) {
            Ok(()) => {}
            // A run that was interrupted came as far as this one.
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
    read_limited(path, bytes.len() as u64).is_ok_and(|old| old == bytes)
}

/// The file beside the bundle that an addendum of this name is written to.
fn loose_path(path: &Path, name: &str) -> PathBuf {
    let name = match name.strip_prefix("signature-") {
        Some(rest) => format!("{rest}.sig"),
        None => name.to_owned(),
    };
    let mut full = path.as_os_str().to_owned();
    full.push(format!(".{name}"));
    full.into()
}

/// What was written beside a bundle with `--detach`.
#[derive(Debug, Default)]
pub struct Loose {
    /// `BUNDLE.<role>-<16 hex>.sig`: path and content. At most one more than are judged, so that too many are
    /// noticed.
    pub signatures: Vec<(String, Vec<u8>)>,
    /// `BUNDLE.record-<16 hex>.json` and `….json.sig`, under the names that they would have in the bundle.
    pub records: Vec<Addendum>,
}

impl Loose {
    /// Takes in what lies beside another volume or copy; the same thing twice counts once.
    pub fn merge(&mut self, other: Loose) {
        for (path, bytes) in other.signatures {
            if !self.signatures.iter().any(|(_, known)| *known == bytes) {
                self.signatures.push((path, bytes));
            }
        }
        for record in other.records {
            if !self.records.contains(&record) {
                self.records.push(record);
            }
        }
    }
}

/// Finds what lies beside the bundle at `path`; for a folder of volumes, beside each file in it. Regular files only;
/// what has another name is not looked at.
pub fn find(path: &Path) -> Result<Loose> {
    if path.is_dir() {
        let mut out = Loose::default();
        let names = beneath::list(path, ENTRIES).unwrap_or_default();
        let files: Vec<PathBuf> = names.into_iter().map(|(name, _)| path.join(name)).collect();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "tar") && f.is_file()) {
            out.merge(find(file)?);
        }
        return Ok(out);
    }
    let (Some(name), parent) = (path.file_name().and_then(|n| n.to_str()), path.parent()) else {
        return Ok(Loose::default());
    };
    let parent = parent.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (mut signatures, mut records) = (Vec::new(), Vec::new());
    // A folder that cannot be listed has no loose signatures: fewer signatures never make a verdict better.
    for (file_name, kind) in beneath::list(parent, ENTRIES).unwrap_or_default() {
        let Some(rest) = file_name.to_str().and_then(|n| n.strip_prefix(name)).and_then(|n| n.strip_prefix('.')) else {
            continue;
        };
        if kind != beneath::Kind::File {
            continue;
        }
        let signature = rest.strip_suffix(".sig").is_some_and(|r| addendum::is_signature(&format!("signature-{r}")));
        if signature {
            signatures.push(parent.join(&file_name));
        } else if matches!(addendum::kind(rest), addendum::Kind::Record | addendum::Kind::RecordSignature) {
            records.push((rest.to_owned(), parent.join(&file_name)));
        }
    }
    signatures.sort();
    signatures.truncate(limits::SIGNATURES + 1);
    records.sort();
    records.truncate(limits::ADDENDA);
    let signatures: Result<_> =
        signatures.into_iter().map(|path| Ok((path.display().to_string(), read(&path)?))).collect();
    let records: Result<_> = records
        .into_iter()
        .map(|(name, path)| Ok(Addendum { name, bytes: read_limited(&path, limits::ADDENDUM)? }))
        .collect();
    Ok(Loose { signatures: signatures?, records: records? })
}

/// Reads a signature file: at most one byte more than a signature may have, so that a longer one is noticed.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_limited(path, limits::SIGNATURE)
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = Vec::new();
    // Not to wait for a FIFO that took the place of a file.
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|e| Error::io("cannot read", path, e))?;
    Ok(bytes)
}
