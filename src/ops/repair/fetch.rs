//! Fetches blobs from local sources and registries. A blob is complete and correct before its first byte is written;
//! until then it is in memory, or in a file beside the bundle: one blob at a time (MB-REC-10).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::origin::{self, Origin};
use super::work::{MemberPlace, NAMED, Work};
use crate::bundle::index::Blob;
use crate::bundle::writer::BUFFER;
use crate::error::{Code, Error, Result};
use crate::fs::partial;
use crate::fs::{durable, space};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::source::{Network, Source};

/// The largest blob, in bytes, that is held in memory until its digest is checked; a larger one is held in a file.
const IN_MEMORY: u64 = 4 << 20;

/// A blob that was fetched.
enum Fetched {
    Bytes(Vec<u8>),
    File(File),
}

impl Fetched {
    fn read(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        match self {
            Fetched::File(file) => file.read_exact_at(buffer, at),
            Fetched::Bytes(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let there = bytes.get(at..at.saturating_add(buffer.len())).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(there);
                Ok(())
            }
        }
    }
}

impl Work<'_> {
    /// Asks the sources in turn for every blob that is still damaged.
    pub(super) fn repair_from_sources(
        &mut self,
        sources: &[Arc<dyn Source>],
        origins: &[Origin],
        network: Option<&dyn Network>,
    ) -> Result<()> {
        if sources.is_empty() && origins.is_empty() {
            return Ok(());
        }
        let index = self.index();
        // Documents first: they show where the other blobs belong.
        for documents in [true, false] {
            let mut needed = self.needed();
            needed.retain(|p| self.blob(*p).is_some_and(|(blob, _)| index.blobs[blob].role.is_document() == documents));
            if needed.is_empty() {
                continue;
            }
            let uses = self.uses();
            self.begin(&needed, 1);
            let mut blobs: Vec<usize> = needed.iter().filter_map(|p| Some(self.blob(*p)?.0)).collect();
            blobs.sort_unstable();
            blobs.dedup();
            let done = blobs.into_iter().try_for_each(|blob| {
                let digest = index.blobs[blob].digest;
                let far = origins.iter().flat_map(|o| match network {
                    Some(network) => origin::places(o, &digest, &uses, index, network),
                    None => Vec::new(),
                });
                for source in sources.iter().cloned().chain(far) {
                    match self.fetch(source.as_ref(), &index.blobs[blob]) {
                        Ok(found) => {
                            self.put(blob, &found, &source.describe())?;
                            break;
                        }
                        Err(e) if may_be_elsewhere(&e) => self.note(&source.describe(), &e),
                        Err(e) => return Err(e),
                    }
                }
                self.observer.item();
                Ok(())
            });
            self.observer.end();
            if let Some(path) = self.path() {
                durable::remove_if_there(&path)?;
            }
            done?;
        }
        Ok(())
    }

    fn note(&mut self, source: &str, e: &Error) {
        // Ignore "not found" if another source has the blob; keep real failures.
        if e.code() != Code::BlobMissing && self.notes.len() < NAMED {
            self.notes.push(format!("{source}: {}", e.message()));
        }
    }

    /// The temporary file of a large blob.
    fn path(&self) -> Option<PathBuf> {
        let mut name = self.sides.iter().find_map(|s| s.target)?.path().into_os_string();
        name.push(".blob");
        Some(name.into())
    }

    fn fetch(&self, source: &dyn Source, blob: &Blob) -> Result<Fetched> {
        if blob.role.is_document()
            && let Some(found) = source.manifest(&blob.digest)?
            && found.bytes.len() as u64 == blob.size
            && Digest::of(&found.bytes) == blob.digest
        {
            self.observer.advance(blob.size);
            return Ok(Fetched::Bytes(found.bytes.to_vec()));
        }
        let what = Descriptor::new(String::new(), blob.digest, blob.size);
        let mut from = source.blob(&what, 0)?;
        if blob.size <= IN_MEMORY {
            let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or(0));
            self.receive(from.as_mut(), source, blob, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            return Ok(Fetched::Bytes(bytes));
        }
        let path = self.path().unwrap_or_default();
        let file = partial::replace_own(&path)?;
        space::reserve(&file, blob.size, &path)?;
        let mut at = 0;
        self.receive(from.as_mut(), source, blob, &mut |piece| {
            file.write_all_at(piece, at).map_err(|e| Error::io("cannot write", &path, e))?;
            at += piece.len() as u64;
            Ok(())
        })?;
        Ok(Fetched::File(file))
    }

    /// Reads a blob to its end and checks its digest.
    fn receive(
        &self,
        from: &mut dyn Read,
        source: &dyn Source,
        blob: &Blob,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0u8; BUFFER];
        let mut hasher = Hasher::new();
        let mut left = blob.size;
        while left > 0 {
            self.observer.check()?;
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let n = match from.read(&mut buffer[..want]) {
                Ok(0) => {
                    let text = format!("{} ended early in {}", blob.digest, source.describe());
                    return Err(Error::new(Code::BlobMismatch, text));
                }
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    // A local source that cannot be read counts as one without the blob.
                    let e = Error::io("cannot read", source.describe(), e);
                    return Err(if e.code() == Code::Io { Error::new(Code::Source, e.message()) } else { e });
                }
            };
            hasher.update(&buffer[..n]);
            take(&buffer[..n])?;
            left -= n as u64;
            self.observer.advance(n as u64);
        }
        if hasher.finish() == blob.digest {
            return Ok(());
        }
        let text = format!("{} does not match its digest in {}", blob.digest, source.describe());
        Err(Error::new(Code::BlobMismatch, text))
    }

    /// Writes a blob, or pieces of it, wherever it is damaged.
    fn put(&mut self, blob: usize, found: &Fetched, from: &str) -> Result<()> {
        let mut buffer = vec![0u8; BUFFER];
        let places: Vec<(MemberPlace, u64)> =
            self.needed().into_iter().filter_map(|p| Some((p, self.blob(p).filter(|(b, _)| *b == blob)?.1))).collect();
        for (place, offset) in places {
            let member = self.member(place);
            let mut at = 0;
            while at < member.size {
                let n = usize::try_from(member.size - at).unwrap_or(BUFFER).min(BUFFER);
                let err = |e| Error::io("cannot read", self.path().unwrap_or_default(), e);
                found.read(&mut buffer[..n], offset + at).map_err(err)?;
                self.write(place.0, &buffer[..n], member.data() + at)?;
                at += n as u64;
            }
            self.done(place, from);
        }
        Ok(())
    }
}

/// Whether another source may succeed.
fn may_be_elsewhere(e: &Error) -> bool {
    matches!(e.code(), Code::Source | Code::BlobMissing | Code::BlobMismatch | Code::Auth)
}
