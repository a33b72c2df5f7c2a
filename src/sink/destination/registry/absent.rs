//! Blobs that a bundle does not carry and this registry has: found before anything is written, and brought to where
//! they are needed.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Registry, reason};
use crate::bundle::index::Blob;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher, Repository};
use crate::registry::Client;
use crate::sink::destination::{Sought, Watch};
use crate::sink::placement::below;
use crate::verify::Visit;

impl Registry<'_> {
    pub(super) fn locate_absent(&self, sought: &[Sought<'_>]) -> Result<BTreeSet<Digest>> {
        // Once a blob is nowhere the answer is known, and the others are not looked for everywhere.
        let lost = AtomicBool::new(false);
        let found = self.pace.map(sought, || (), |(), one| self.find(one, &lost))?;
        let mut located = self.located.lock().unwrap_or_else(PoisonError::into_inner);
        for (one, repository) in sought.iter().zip(found) {
            located.extend(repository.map(|repository| (one.blob.digest, repository)));
        }
        Ok(located.keys().copied().collect())
    }

    pub(super) fn bring_absent(&self, blob: &Blob, watch: &dyn Watch) -> Result<Visit> {
        let located = self.located.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
        let Some(from) = located else { return Ok(Visit::LeftOut) };
        let mut visit = Visit::LeftOut;
        for path in self.needs.repositories(&blob.digest).into_iter().flatten() {
            watch.check()?;
            let to = self.repository(path)?;
            if *to == from
                || self.client.has_blob(to, &blob.digest, blob.size)?
                || self.mount(blob, &from, path, true)?
            {
                continue;
            }
            let mut open = |offset| Hashing::open(self.client, &from, blob, offset);
            match self.client.push_blob(to, &blob.digest, blob.size, &mut open) {
                Ok(()) => visit = Visit::Read,
                Err(e) if !e.is_transient() && !self.needed.needs(&blob.digest, path) => {
                    let mut without = self.without.lock().unwrap_or_else(PoisonError::into_inner);
                    without.insert((path.to_owned(), blob.digest), reason(e)?);
                }
                Err(e) => return Err(e),
            }
        }
        self.present.note(blob);
        Ok(visit)
    }

    /// The repository that has a blob: those that need it first, then those of the other images, then those where the
    /// blob was, placed as images from there are. `lost`: another blob is nowhere.
    fn find(&self, sought: &Sought<'_>, lost: &AtomicBool) -> Result<Option<Repository>> {
        let blob = sought.blob;
        let mut tried: BTreeSet<Repository> = BTreeSet::new();
        let mut has = |repository: &Repository, own: bool| {
            if !tried.insert(repository.clone()) {
                return Ok(false);
            }
            match self.client.has_blob(repository, &blob.digest, blob.size) {
                // Nobody said that this login may read all of them.
                Err(e) if !own && matches!(e.code(), Code::Auth | Code::Destination) && !e.is_transient() => Ok(false),
                other => other,
            }
        };
        for path in self.needs.repositories(&blob.digest).into_iter().flatten() {
            let repository = self.repository(path)?;
            if has(repository, true)? {
                return Ok(Some(repository.clone()));
            }
        }
        if lost.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let own = self.repositories.values().cloned();
        let named = sought.repositories.iter().flat_map(|name| self.places_of(name));
        for repository in own.chain(named) {
            if has(&repository, false)? {
                return Ok(Some(repository));
            }
        }
        lost.store(true, Ordering::Relaxed);
        Ok(None)
    }

    /// Where the content of a repository may be in this registry: there, if it is one of it, and where images from it
    /// are placed.
    fn places_of(&self, name: &str) -> Vec<Repository> {
        let itself =
            name.parse::<Repository>().ok().filter(|repository| repository.registry() == self.target.registry());
        let placed = below(self.target, &self.placing.repository(name)).ok().map(|one| one.nested(self.nesting));
        itself.into_iter().chain(placed).chain([self.target.clone()]).collect()
    }
}

/// The content of a blob in another repository of the registry, hashed: its end fails if it does not match. It is read
/// from its beginning, wherever it continues, since the digest covers the whole.
struct Hashing {
    from: Box<dyn Read + Send>,
    hasher: Hasher,
    digest: Digest,
    repository: Repository,
}

impl Hashing {
    fn open<'r>(client: &Client, from: &Repository, blob: &Blob, offset: u64) -> Result<Box<dyn Read + 'r>> {
        let content = client.get_blob(from, &blob.digest, 0, blob.size)?;
        let (hasher, digest, repository) = (Hasher::new(), blob.digest, from.clone());
        let mut hashing = Hashing { from: content, hasher, digest, repository };
        let skipped = std::io::copy(&mut hashing.by_ref().take(offset), &mut std::io::sink());
        skipped.map_err(|e| Error::io("cannot read", from.to_string(), e))?;
        Ok(Box::new(hashing))
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        if n == 0 && !buffer.is_empty() && self.hasher.clone().finish() != self.digest {
            let text = format!("`{}` gives other bytes for {}", self.repository, self.digest);
            return Err(Error::new(Code::BlobMismatch, text).into());
        }
        Ok(n)
    }
}
