//! Blobs that a destination has, and single blobs that are read again.

use super::{Admitted, BUFFER, Receiver, disguise, lock};
use crate::bundle::index::Blob;
use crate::bundle::limits;
use crate::bundle::set::BlobContent;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};
use crate::parallel::Pace;

/// The folder of what was added to a bundle.
const ADDENDA: &str = "mirror-bundle/addenda/";

impl Admitted<'_> {
    /// Asks `receiver` for the blobs that are on no available volume. Returns the sizes of those that `receiver` lacks
    /// too. Blobs that must be searched are read from it.
    pub fn still_wanted(&self, pace: &Pace, receiver: &dyn Receiver) -> Result<Vec<u64>> {
        let work = |buffer: &mut Vec<u8>, blob: &&Blob| {
            let look = lock(&self.unlisted).look(&blob.digest);
            let there = receiver.has(blob)?
                && match look {
                    Some(look) => self.look_there(blob, look, receiver, buffer)?,
                    None => true,
                };
            if there {
                lock(&self.left_out).insert(blob.digest);
            }
            Ok((!there).then_some(blob.size))
        };
        let wanted = pace.map(&self.absent(), || vec![0u8; BUFFER], work)?;
        Ok(wanted.into_iter().flatten().collect())
    }

    /// Searches a blob that only `receiver` has. False if it does not match or cannot be read.
    fn look_there(
        &self,
        blob: &Blob,
        mut look: disguise::Look,
        receiver: &dyn Receiver,
        buffer: &mut [u8],
    ) -> Result<bool> {
        let Some(mut content) = receiver.content(blob)? else { return Ok(false) };
        let (mut hasher, mut left) = (Hasher::new(), blob.size);
        loop {
            let n = match content.read(buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|e| Error::io("cannot read back", blob.digest.to_string(), e))?,
            };
            let Some(rest) = left.checked_sub(n as u64) else { return Ok(false) };
            left = rest;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            look.send(&buffer[..n]);
        }
        let right = hasher.finish() == blob.digest;
        if right {
            lock(&self.unlisted).seen(&blob.digest, look);
        }
        Ok(right)
    }

    /// Opens one copy of a blob of the index, which is checked as it is read. A stream cannot be read again.
    pub(crate) fn open(&self, digest: &Digest) -> Result<BlobContent<'_>> {
        let at = self.index().blobs.iter().position(|blob| blob.digest == *digest);
        let missing = || Error::new(Code::BlobMissing, format!("{digest} is not in the bundle"));
        let at = at.ok_or_else(missing)?;
        let replicas = self.set.replicas(at);
        let replica = replicas.first().ok_or_else(|| self.set.lacks(at))?;
        Ok(self.set.open(at, replica))
    }

    /// A member of the bundle other than a blob: by its path, checked. `None` if there is none.
    pub(crate) fn member(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let addendum = self.set.addenda().iter().find(|one| path.strip_prefix(ADDENDA) == Some(one.name.as_str()));
        if let Some(addendum) = addendum {
            return Ok(Some(addendum.bytes.clone()));
        }
        for part in self.set.parts() {
            let members = part.layout().members();
            let files = &members[..part.layout().blob_range().start];
            if let Some(member) = files.iter().find(|member| member.path == path) {
                return part.read(member, limits::INDEX).map(Some);
            }
        }
        Ok(None)
    }
}
