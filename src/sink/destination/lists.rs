//! Lists of referrers at a registry: what has a `subject` is found only by way of the list of that image.
//!
//! A registry with the referrers API keeps the list itself, and some lose an entry when two are pushed at once. So what
//! has a `subject` is pushed one after the other in each repository, the list is asked for at the end, and what is not on
//! it is pushed once more. At a registry without the API the list is an index at the tag `sha256-<hex>`
//! (distribution-spec 1.1, "Referrers Tag Schema").

use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, IndexOf, Invalid, Repository, Tag, media_type};
use crate::registry::{Client, Wanted};

/// How often what is not on a list is pushed again.
const ROUNDS: u32 = 4;

/// A list that is to have these entries.
pub(super) struct List<'a> {
    pub(super) repository: &'a Repository,
    pub(super) subject: Digest,
    /// The entries, with the bytes of each.
    pub(super) entries: Vec<(Descriptor, &'a [u8])>,
}

impl List<'_> {
    /// Brings all entries onto the list. Returns how many manifests were pushed for it.
    pub(super) fn complete(&self, client: &Client) -> Result<u64> {
        let mut pushed = 0;
        for round in 0..ROUNDS {
            let found = client.referrers(self.repository, &self.subject)?;
            let missing: Vec<_> = self
                .entries
                .iter()
                .filter(|(entry, _)| found.entries.iter().all(|f| f.digest != entry.digest))
                .collect();
            if missing.is_empty() {
                return Ok(pushed);
            }
            if !found.by_api {
                return Ok(pushed + self.tagged(client)?);
            }
            if round > 0 {
                client.wait(round - 1)?;
            }
            let mut handled = true;
            for (entry, bytes) in missing {
                let wanted = Wanted::Digest(entry.digest);
                handled &= client.put_manifest(self.repository, &wanted, &entry.media_type, bytes)?.subject_handled;
                pushed += 1;
            }
            // It answers as a registry with the API does, and puts nothing on its lists.
            if !handled && round > 0 {
                return Ok(pushed + self.tagged(client)?);
            }
        }
        let found = client.referrers(self.repository, &self.subject)?;
        let lost = self.entries.iter().find(|(entry, _)| found.entries.iter().all(|f| f.digest != entry.digest));
        match lost {
            None => Ok(pushed),
            Some((entry, _)) => {
                let text = format!("`{}` took manifest `{}`, and does not list it", self.repository, entry.digest);
                Err(Error::new(Code::Destination, text).fact(format!("as a referrer of {}", self.subject)))
            }
        }
    }

    /// Keeps the list under the fallback tag.
    fn tagged(&self, client: &Client) -> Result<u64> {
        let tag: Tag = self.subject.dashed().parse().map_err(|e: Invalid| Error::new(Code::Internal, e.to_string()))?;
        let found = client.tagged_referrers(self.repository, &self.subject)?;
        // One that cannot be read is not written anew: what is on it would be lost.
        if let Some(unread) = found.unread {
            return Err(unread);
        }
        let mut known = found.entries;
        let before = known.len();
        for (entry, _) in &self.entries {
            if known.iter().all(|k| k.digest != entry.digest) {
                known.push(entry.clone());
            }
        }
        if known.len() == before {
            return Ok(0);
        }
        known.sort_by_key(|d| d.digest);
        let failed = |e| Error::new(Code::Internal, "cannot write a list of referrers").source(e);
        let bytes = IndexOf(known).to_vec().map_err(failed)?;
        let digest = Digest::of(&bytes);
        client.put_manifest(self.repository, &Wanted::Digest(digest), media_type::OCI_INDEX, &bytes)?;
        client.put_manifest(self.repository, &Wanted::Tag(tag), media_type::OCI_INDEX, &bytes)?;
        Ok(1)
    }
}
