//! Watches the blobs of `create` as they pass: a release that was requested as an ordinary image is refused
//! (MB-CRE-08).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bundle::index::Index;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::write::{Origin, Supply};
use crate::select::Reachable;
use crate::source::Source;
use crate::verify::disguise::{Look, Unlisted};

/// What was found, and what was seen of images that must not be releases.
pub(super) struct Watched<'a> {
    found: &'a Reachable,
    unlisted: Mutex<Unlisted>,
}

impl<'a> Watched<'a> {
    /// Checks the configurations that are already in memory.
    pub(super) fn new(index: &Index, found: &'a Reachable) -> Result<Watched<'a>> {
        let mut unlisted = Unlisted::new(index, &|digest| found.bytes.get(digest).map(AsRef::as_ref));
        for (digest, bytes) in &found.bytes {
            if let Some(mut look) = unlisted.look(digest) {
                look.send(bytes);
                unlisted.seen(digest, look);
            }
        }
        refuse(&mut unlisted).map_err(|e| e.state("no layer was fetched; nothing was written"))?;
        Ok(Watched { found, unlisted: Mutex::new(unlisted) })
    }

    fn unlisted(&self) -> MutexGuard<'_, Unlisted> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supply for Watched<'_> {
    fn here(&self, digest: &Digest) -> Option<&[u8]> {
        self.found.bytes.get(digest).map(AsRef::as_ref)
    }

    fn origins<'a>(&'a self, _: usize, digest: &Digest) -> Vec<Box<dyn Origin + 'a>> {
        let origins = self.found.origins.get(digest).into_iter().flatten();
        origins.map(|source| Box::new(source.clone()) as Box<dyn Origin>).collect()
    }

    fn sources(&self, digest: &Digest) -> Vec<Arc<dyn Source>> {
        self.found.origins.get(digest).cloned().unwrap_or_default()
    }

    fn look(&self, digest: &Digest) -> Option<Look> {
        self.unlisted().look(digest)
    }

    fn seen(&self, digest: &Digest, look: Look) -> Result<()> {
        let mut unlisted = self.unlisted();
        unlisted.seen(digest, look);
        refuse(&mut unlisted)
    }
}

fn refuse(unlisted: &mut Unlisted) -> Result<()> {
    let Some(found) = unlisted.findings().next() else { return Ok(()) };
    let code = found.code;
    let error = found.facts.into_iter().fold(Error::new(code, found.message), Error::fact).fact(found.subject);
    Err(match code {
        Code::ReleaseUnverified => {
            error.hint("name it with --release, so that its signature and its components are carried too")
        }
        _ => error,
    })
}
