//! Signatures and records beside a bundle: what `sign --detach` writes and `verify` finds (MB-LSE).

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::bundle::reader::Addendum;
use crate::bundle::{addendum, limits};
use crate::error::{Code, Error, Result};

/// The most entries of the folder of a bundle that are looked at: a medium can list names without end.
const ENTRIES: usize = 100_000;

/// `BUNDLE.<role>-<key>.sig`, and records as `BUNDLE.record-….json[.sig]`. Each appears complete or not at all, and
/// never over another file.
pub(super) fn write(path: &Path, pieces: &[(String, Vec<u8>)]) -> Result<Vec<String>> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut written = Vec::new();
    for (name, bytes) in pieces {
        let target = loose_path(path, name);
        let err = |e: std::io::Error| {
            Error::io("cannot write", &target, e)
                .hint("on a read-only medium: sign the output of --print-index with ssh-keygen -Y sign, keep the file elsewhere, and verify with --signature FILE")
        };
        let mut file = tempfile::Builder::new()
            .prefix(".mirror-bundle-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(err)?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(err)?;
        match file.persist_noclobber(&target) {
            Ok(_) => {}
            // A run that was interrupted came as far as this one.
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists && is(&target, bytes) => {}
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::new(Code::Conflict, format!("`{}` exists with other content", target.display()))
                    .fact("it is no good signature by this key")
                    .hint("look at it, and move it away"));
            }
            Err(e) => return Err(err(e.error)),
        }
        written.push(target.display().to_string());
    }
    if !written.is_empty() {
        std::fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("cannot write", folder, e))?;
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
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(path).into_iter().flatten().take(ENTRIES).flatten().map(|e| e.path()).collect();
        files.sort();
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
    for entry in std::fs::read_dir(parent).into_iter().flatten().take(ENTRIES).flatten() {
        let file_name = entry.file_name();
        let Some(rest) = file_name.to_str().and_then(|n| n.strip_prefix(name)).and_then(|n| n.strip_prefix('.')) else {
            continue;
        };
        if !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        let signature = rest.strip_suffix(".sig").is_some_and(|r| addendum::is_signature(&format!("signature-{r}")));
        if signature {
            signatures.push(entry.path());
        } else if matches!(addendum::kind(rest), addendum::Kind::Record | addendum::Kind::RecordSignature) {
            records.push((rest.to_owned(), entry.path()));
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
