//! A registry as destination.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::{Content, Counts, Destination, Present, Watch, Way};
use crate::bundle::index::{Blob, Index};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, IndexOf, Repository, Tag, media_type, parse};
use crate::parallel;
use crate::registry::{Client, Pushed, Wanted};
use crate::sink::placement::{self, Documents, Placement, below};
use crate::sink::repository_needs::RepositoryNeeds;
use crate::verify::{Verified, Visit};

/// `REGISTRY/REPO`: releases go to the repository itself, everything else below it.
pub struct Registry<'a> {
    target: &'a Repository,
    client: &'a Client,
    jobs: usize,
    placements: Vec<Placement<'a>>,
    /// Which repositories need a blob.
    needs: RepositoryNeeds,
    repositories: BTreeMap<String, Repository>,
    present: Present,
}

impl<'a> Registry<'a> {
    /// Places the images of an index, whose documents are given.
    pub fn new(
        target: &'a Repository,
        client: &'a Client,
        index: &'a Index,
        document: &Documents<'_, '_>,
        jobs: usize,
    ) -> Result<Registry<'a>> {
        let placements = placement::placements(index, "")?;
        let needs = RepositoryNeeds::of(&placements, document)?;
        let mut repositories = BTreeMap::new();
        for placement in &placements {
            if !repositories.contains_key(&placement.repository) {
                repositories.insert(placement.repository.clone(), below(target, &placement.repository)?);
            }
        }
        Ok(Registry { target, client, jobs, placements, needs, repositories, present: Present::default() })
    }

    fn repository(&self, path: &str) -> Result<&Repository> {
        self.repositories
            .get(path)
            .ok_or_else(|| Error::new(Code::Internal, format!("repository `{path}` was not prepared")))
    }

    /// The digest of the bytes that the registry hands out: what it says of them is not asked for (security H5).
    fn holds(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Digest>> {
        match self.client.get_manifest(repository, wanted) {
            Ok(found) => Ok(found.map(|f| f.digest)),
            // Something else, or damage: as good as nothing.
            Err(e) if e.code() == Code::BlobMismatch => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What was pushed has to come back, before anything is built on it (security H1).
    fn given_back(&self, repository: &Repository, wanted: &Wanted, digest: Digest) -> Result<()> {
        let found = self.holds(repository, wanted)?;
        if found == Some(digest) {
            return Ok(());
        }
        let text = format!("`{repository}` took manifest `{wanted}`, and does not give it back");
        let found = found.map_or_else(|| "nothing that is right".to_owned(), |found| found.to_string());
        Err(Error::new(Code::Destination, text).fact(format!("expected {digest}")).fact(format!("found    {found}")))
    }

    /// Keeps the list of referrers of an image where the registry keeps none itself (distribution-spec 1.1,
    /// "Referrers Tag Schema"): an index under the tag `sha256-<hex>` that names each.
    fn fallback(&self, repository: &Repository, subject: &Digest, referrer: &Descriptor) -> Result<bool> {
        let tag: Tag =
            subject.dashed().parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Internal, e.to_string()))?;
        let mut known = self.client.referrers(repository, subject)?;
        if known.iter().any(|d| d.digest == referrer.digest) {
            return Ok(false);
        }
        known.push(referrer.clone());
        known.sort_by_key(|d| d.digest);
        let failed = |e| Error::new(Code::Internal, "cannot write a list of referrers").source(e);
        let bytes = IndexOf(known).to_vec().map_err(failed)?;
        self.client.put_manifest(repository, &Wanted::Digest(Digest::of(&bytes)), media_type::OCI_INDEX, &bytes)?;
        self.client.put_manifest(repository, &Wanted::Tag(tag), media_type::OCI_INDEX, &bytes)?;
        Ok(true)
    }
}

impl Destination for Registry<'_> {
    fn describe(&self) -> String {
        self.target.to_string()
    }

    fn task(&self) -> Way {
        Way::Push
    }

    /// Asks for something, so that a wrong name, certificate or login is found before anything is sent.
    fn check(&self, index: &Index) -> Result<()> {
        let Some(image) = index.images.first() else { return Ok(()) };
        self.client.head_manifest(self.target, &Wanted::Digest(image.digest)).map(|_| ())
    }

    fn has(&self, blob: &Blob) -> Result<bool> {
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(false) };
        for path in paths {
            if !self.client.has_blob(self.repository(path)?, &blob.digest, blob.size)? {
                return Ok(false);
            }
        }
        self.present.note(blob);
        Ok(true)
    }

    fn content(&self, blob: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        let Some(path) = self.needs.repositories(&blob.digest).and_then(|mut paths| paths.next()) else {
            return Ok(None);
        };
        Ok(Some(self.client.get_blob(self.repository(path)?, &blob.digest, 0, blob.size)?))
    }

    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit> {
        // What nothing here needs, this place does not have: it is read.
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(Visit::Read) };
        let mut visit = Visit::LeftOut;
        let mut from: Option<&Repository> = None;
        for path in paths {
            let repository = self.repository(path)?;
            if !self.client.has_blob(repository, &blob.digest, blob.size)? {
                let mut open = |offset| content.open(offset);
                let pushed = self.client.push_blob(repository, &blob.digest, blob.size, from, &mut open)?;
                if pushed == Pushed::Uploaded {
                    visit = Visit::Read;
                }
            }
            from = from.or(Some(repository));
        }
        self.present.note(blob);
        Ok(visit)
    }

    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        let needs = |digest: &Digest| self.needs.repositories(digest).is_some();
        self.present.complete(verified, needs, self.placements.iter().map(|p| &p.image.digest), self)?;
        let mut documents = 0;
        for level in self.levels(verified)? {
            let put = parallel::map(
                self.jobs,
                &level,
                || (),
                |(), it| {
                    watch.check()?;
                    self.document(it, verified.document(&it.digest).unwrap_or_default())
                },
            )?;
            for (new, listed) in put {
                documents += u64::from(new);
                // One after the other: two may add to the same list.
                if let Some((repository, subject, referrer)) = listed {
                    documents += u64::from(self.fallback(repository, &subject, &referrer)?);
                }
            }
        }
        // Images of several registries can have the same place here: no two set the same tag at once.
        let mut set = BTreeSet::new();
        let tagged = self.placements.iter().filter(|p| p.tag.as_ref().is_some_and(|t| set.insert((&p.repository, t))));
        let tagged: Vec<&Placement> = tagged.collect();
        let tags = parallel::map(
            self.jobs,
            &tagged,
            || (),
            |(), placement| {
                watch.check()?;
                self.tag(placement, verified.document(&placement.image.digest).unwrap_or_default(), watch)
            },
        )?;
        Ok(Counts { documents, tags: tags.into_iter().map(u64::from).sum() })
    }
}

/// A manifest or index for a repository.
struct RepositoryDocument<'a> {
    repository: &'a Repository,
    digest: Digest,
    media_type: String,
}

/// What an entry of a list of referrers is for: the repository, what it refers to, and the entry.
type Listed<'a> = (&'a Repository, Digest, Descriptor);

impl Registry<'_> {
    /// All documents, each once for each repository, in groups: what a document names is in an earlier one than it.
    fn levels(&self, verified: &Verified<'_>) -> Result<Vec<Vec<RepositoryDocument<'_>>>> {
        let (closure, roots) = placement::closure(&self.placements, &|digest| verified.document(digest))?;
        let mut repositories: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (placement, root) in self.placements.iter().zip(roots) {
            repositories.entry(&placement.repository).or_default().push(root);
        }
        let mut levels: Vec<Vec<RepositoryDocument>> = Vec::new();
        for (path, roots) in repositories {
            let repository = self.repository(path)?;
            for node in closure.below(roots) {
                let Some(media_type) = &node.document else { continue };
                levels.resize_with(levels.len().max(node.height + 1), Vec::new);
                levels[node.height].push(RepositoryDocument {
                    repository,
                    digest: node.digest,
                    media_type: media_type.clone(),
                });
            }
        }
        Ok(levels)
    }

    /// Pushes a document that is not there. Says whether it was, and what has to be put on a list of referrers.
    fn document<'a>(&self, it: &RepositoryDocument<'a>, bytes: &[u8]) -> Result<(bool, Option<Listed<'a>>)> {
        let wanted = Wanted::Digest(it.digest);
        let there = self.holds(it.repository, &wanted)? == Some(it.digest);
        let mut handled = false;
        if !there {
            handled = self.client.put_manifest(it.repository, &wanted, &it.media_type, bytes)?.subject_handled;
            self.given_back(it.repository, &wanted, it.digest)?;
        }
        let parsed = parse(bytes, &it.media_type).ok().filter(|_| !handled);
        let listed = parsed.and_then(|document| {
            let entry = Descriptor::of_referrer(&it.media_type, it.digest, bytes.len() as u64, &document);
            Some((it.repository, document.subject()?, entry))
        });
        Ok((!there, listed))
    }

    /// Sets the tag of an image, if it has one and that is not set already.
    fn tag(&self, placement: &Placement<'_>, bytes: &[u8], watch: &dyn Watch) -> Result<bool> {
        let Some(tag) = &placement.tag else { return Ok(false) };
        let repository = self.repository(&placement.repository)?;
        let wanted = Wanted::Tag(tag.clone());
        let before = self.holds(repository, &wanted)?;
        if before == Some(placement.image.digest) {
            return Ok(false);
        }
        if let Some(old) = before {
            watch.warn(&format!("tag {repository}:{tag} pointed to {old} before"));
        }
        self.client.put_manifest(repository, &wanted, &placement.image.media_type, bytes)?;
        self.given_back(repository, &wanted, placement.image.digest)?;
        Ok(true)
    }
}
