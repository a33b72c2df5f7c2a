//! Lists of referrers at a registry: a manifest with a `subject` is found only through the list of that subject.
//!
//! A registry with the referrers API maintains the list itself, and some lose an entry when two are pushed at once. So
//! manifests with a `subject` are pushed one after the other in each repository, the list is requested at the end, and
//! missing entries are pushed again. At a registry without the API the list is an index at the tag `sha256-<hex>`
//! (distribution-spec 1.1, "Referrers Tag Schema").

use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, IndexOf, Invalid, Repository, Tag, media_type};
use crate::registry::{Client, Wanted};

/// How many times missing entries are pushed again.
const ROUNDS: u32 = 4;

/// A list that must contain these entries.
pub(super) struct List<'a> {
    pub(super) repository: &'a Repository,
    pub(super) subject: Digest,
    /// The entries, with the bytes of each.
    pub(super) entries: Vec<(Descriptor, &'a [u8])>,
}

impl List<'_> {
    /// Puts all entries on the list. Returns the number of manifests pushed for it.
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
            // The registry claims to have the API, but does not add to its lists.
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

    /// Updates the list at the fallback tag.
    fn tagged(&self, client: &Client) -> Result<u64> {
        let tag: Tag = self.subject.dashed().parse().map_err(|e: Invalid| Error::new(Code::Internal, e.to_string()))?;
        let found = client.tagged_referrers(self.repository, &self.subject)?;
        // Never replace an unreadable list: its entries would be lost.
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
