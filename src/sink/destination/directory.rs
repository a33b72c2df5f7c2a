//! Directories as destinations: the `v2/` tree of `oc`, and an OCI layout.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Content, Counts, Destination, Placed, Present, Watch, Way};
use crate::bundle::index::{Blob, Image, Index};
use crate::error::{Code, Error, Result};
use crate::fs::{EntryKind, dir};
use crate::graph::Closure;
use crate::oci::{Descriptor, Digest, Invalid, Tag, parse};
use crate::sink::files;
use crate::sink::placement::{self, Documents, Placement, Placing};
use crate::sink::repository_needs::RepositoryNeeds;
use crate::sink::{BlobSink, LayoutSink, TreeRepository, TreeSink, room, tree};
use crate::verify::{Verified, Visit};

/// The repository that `oc adm release mirror --to-dir` writes releases to.
pub const RELEASE: &str = "openshift/release";

/// `DIR/v2/<repository>/{blobs,manifests}`.
pub struct Tree<'a> {
    dir: &'a Path,
    placements: Vec<Placement<'a>>,
    /// Which repositories need which blobs.
    needs: RepositoryNeeds,
    present: Present,
    open: OnceLock<BTreeMap<String, TreeRepository>>,
    /// Holds the lock.
    sink: OnceLock<TreeSink>,
}

impl<'a> Tree<'a> {
    /// Places the images of an index; `documents` are its manifests.
    pub fn new(dir: &'a Path, index: &'a Index, document: &Documents<'_, '_>, placing: &Placing) -> Result<Tree<'a>> {
        let placements = placement::placements(index, RELEASE, &Placing { release_image: None, ..placing.clone() })?;
        placement::no_release_names(&placements, "")?;
        let needs = RepositoryNeeds::of(&placements, document)?;
        Ok(Tree { dir, placements, needs, present: Present::default(), open: OnceLock::new(), sink: OnceLock::new() })
    }

    /// The referrers in each repository. `oc image mirror` copies tags, and registries without the referrers API look
    /// under a tag (distribution-spec 1.1, "Referrers Tag Schema"): so each list gets its tag here too.
    fn referrers(
        &self,
        verified: &Verified<'_>,
        closure: &Closure,
        roots: &[usize],
    ) -> BTreeMap<(&str, Digest), Vec<Descriptor>> {
        let mut out: BTreeMap<(&str, Digest), Vec<Descriptor>> = BTreeMap::new();
        let mut images: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (placement, root) in self.placements.iter().zip(roots) {
            images.entry(&placement.repository).or_default().push(*root);
        }
        for (path, roots) in images {
            for node in closure.below(roots) {
                let Some(media_type) = &node.document else { continue };
                let bytes = verified.document(&node.digest).unwrap_or_default();
                let Ok(document) = parse(bytes, media_type) else { continue };
                let Some(subject) = document.subject() else { continue };
                let entry = Descriptor::of_referrer(media_type, node.digest, bytes.len() as u64, &document);
                out.entry((path, subject)).or_default().push(entry);
            }
        }
        // An image that already uses the tag of a list keeps it.
        let tags = self.placements.iter().filter_map(|p| Some((p.repository.as_str(), p.tag.as_ref()?.as_str())));
        let taken: BTreeSet<(&str, &str)> = tags.collect();
        out.retain(|(path, subject), _| !taken.contains(&(*path, subject.dashed().as_str())));
        out
    }

    fn repository(&self, path: &str) -> Result<&TreeRepository> {
        self.open
            .get()
            .and_then(|open| open.get(path))
            .ok_or_else(|| Error::new(Code::Internal, format!("repository `{path}` was not prepared")))
    }
}

impl<'a> Destination for Tree<'a> {
    fn describe(&self) -> String {
        self.dir.display().to_string()
    }

    fn task(&self) -> Way {
        Way::Write
    }

    fn check(&self, index: &Index) -> Result<()> {
        makeable(self.dir)?;
        enough(self.dir, index)
    }

    fn placed<'i>(&'i self, _: &'i Index) -> Vec<Placed<'i>> {
        let place = |placement: &'i Placement<'a>| Placed {
            image: placement.image,
            repository: format!("file://{}", placement.repository),
            tag: placement.tag.as_ref().map(ToString::to_string),
        };
        self.placements.iter().map(place).collect()
    }

    fn there(&self, index: &Index) -> Result<BTreeSet<Digest>> {
        Ok(already(self.dir, index))
    }

    fn prepare(&self) -> Result<()> {
        let sink = TreeSink::open(self.dir)?;
        let mut open = BTreeMap::new();
        for placement in &self.placements {
            if !open.contains_key(&placement.repository) {
                open.insert(placement.repository.clone(), sink.repository(&placement.repository)?);
            }
        }
        let _ = (self.open.set(open), self.sink.set(sink));
        Ok(())
    }

    fn has(&self, blob: &Blob) -> Result<bool> {
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(false) };
        for path in paths {
            if !self.repository(path)?.has(&blob.digest, blob.size)? {
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
        self.repository(path)?.read(&blob.digest)
    }

    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit> {
        // Not needed here, so not available here: the blob is read.
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(Visit::Read) };
        let mut first: Option<&TreeRepository> = None;
        let mut visit = Visit::LeftOut;
        for path in paths {
            let repository = self.repository(path)?;
            match first {
                None if repository.has(&blob.digest, blob.size)? => {}
                None => {
                    repository.put(&blob.digest, blob.size, &mut content.open(0)?)?;
                    visit = Visit::Read;
                }
                Some(from) => _ = repository.take(from, &blob.digest, blob.size)?,
            }
            first = first.or(Some(repository));
        }
        self.present.note(blob);
        Ok(visit)
    }

    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        let needs = |digest: &Digest| self.needs.repositories(digest).is_some();
        self.present.complete(verified, needs, self.placements.iter().map(|p| &p.image.digest), self)?;
        let (mut documents, mut tags) = (0, 0);
        let mut written: BTreeMap<Digest, &TreeRepository> = BTreeMap::new();
        let (closure, roots) = placement::closure(&self.placements, &|digest| verified.document(digest))?;
        let mut images: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (placement, root) in self.placements.iter().zip(roots.iter().copied()) {
            images.entry(&placement.repository).or_default().push(root);
        }
        for (path, roots) in images {
            watch.check()?;
            let repository = self.repository(path)?;
            for digest in closure.below(roots).filter(|node| node.document.is_some()).map(|node| node.digest) {
                let bytes = verified.document(&digest).unwrap_or_default();
                if let Some(from) = written.get(&digest) {
                    repository.take(from, &digest, bytes.len() as u64)?;
                }
                documents += u64::from(!repository.has(&digest, bytes.len() as u64)?);
                repository.put_manifest(&digest, bytes)?;
                written.entry(digest).or_insert(repository);
            }
        }
        let mut lists = Vec::new();
        for ((path, subject), referrers) in self.referrers(verified, &closure, &roots) {
            let repository = self.repository(path)?;
            if let Some(list) = repository.list_referrers(&subject, referrers)? {
                lists.push((repository, subject.dashed(), list));
            }
        }
        // A tag must not outlive its target: make all of that durable first.
        let repositories = || self.open.get().into_iter().flat_map(BTreeMap::values);
        repositories().try_for_each(BlobSink::finish)?;
        for (repository, tag, list) in lists {
            let tag: Tag = tag.parse().map_err(|e: Invalid| Error::new(Code::Internal, e.to_string()))?;
            tags += u64::from(repository.tag(&tag, &list)? != tree::Tagged::Same);
        }
        for placement in &self.placements {
            watch.check()?;
            let Some(tag) = &placement.tag else { continue };
            match self.repository(&placement.repository)?.tag(tag, &placement.image.digest)? {
                tree::Tagged::Same => {}
                tree::Tagged::New => tags += 1,
                tree::Tagged::Moved(old) => {
                    watch.warn(&format!("tag {}:{tag} pointed to {old} before", placement.repository));
                    tags += 1;
                }
            }
        }
        repositories().try_for_each(BlobSink::finish)?;
        Ok(Counts { documents, tags, ..Counts::default() })
    }
}

/// A plain OCI layout: no links, no colons.
pub struct Layout {
    dir: PathBuf,
    present: Present,
    open: OnceLock<LayoutSink>,
}

impl Layout {
    /// Opens or creates an OCI layout in this folder.
    pub fn new(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned(), present: Present::default(), open: OnceLock::new() }
    }

    fn sink(&self) -> Result<&LayoutSink> {
        self.open.get().ok_or_else(|| Error::new(Code::Internal, "the layout was not prepared"))
    }
}

impl Destination for Layout {
    fn describe(&self) -> String {
        self.dir.display().to_string()
    }

    fn task(&self) -> Way {
        Way::Write
    }

    fn check(&self, index: &Index) -> Result<()> {
        makeable(&self.dir)?;
        enough(&self.dir, index)
    }

    fn placed<'i>(&'i self, index: &'i Index) -> Vec<Placed<'i>> {
        let repository = format!("oci:{}", self.dir.display());
        let place = |image: &'i Image| Placed { image, repository: repository.clone(), tag: image.reference() };
        index.images.iter().map(place).collect()
    }

    fn there(&self, index: &Index) -> Result<BTreeSet<Digest>> {
        Ok(already(&self.dir, index))
    }

    fn prepare(&self) -> Result<()> {
        let _ = self.open.set(LayoutSink::open(&self.dir)?);
        Ok(())
    }

    fn has(&self, blob: &Blob) -> Result<bool> {
        let there = self.sink()?.has(&blob.digest, blob.size)?;
        if there {
            self.present.note(blob);
        }
        Ok(there)
    }

    fn content(&self, blob: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        self.sink()?.read(&blob.digest)
    }

    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit> {
        let sink = self.sink()?;
        if self.has(blob)? {
            return Ok(Visit::LeftOut);
        }
        sink.put(&blob.digest, blob.size, &mut content.open(0)?)?;
        self.present.note(blob);
        Ok(Visit::Read)
    }

    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        let sink = self.sink()?;
        self.present.complete(verified, |_| true, std::iter::empty(), self)?;
        let mut documents = 0;
        for blob in verified.index().blobs.iter().filter(|b| b.role.is_document()) {
            watch.check()?;
            if !sink.has(&blob.digest, blob.size)? {
                sink.put(&blob.digest, blob.size, &mut verified.document(&blob.digest).unwrap_or_default())?;
                documents += 1;
            }
        }
        for image in &verified.index().images {
            sink.add(image.reference().as_deref(), &image.descriptor());
        }
        sink.finish()?;
        Ok(Counts { documents, tags: verified.index().images.len() as u64, ..Counts::default() })
    }
}

/// Checks that the folder is writable, or can be created if it does not exist.
fn makeable(dir: &Path) -> Result<()> {
    let at = if dir.is_dir() { dir } else { files::nearest(dir)? };
    crate::fs::space::writable(at).map_err(|e| Error::io("cannot write in", at, e).state("nothing was written"))
}

/// Checks the space for everything that may be written, and that no blob is too large for the file system.
fn enough(dir: &Path, index: &Index) -> Result<()> {
    let there = already(dir, index);
    let need = index.blobs.iter().filter(|blob| !there.contains(&blob.digest)).map(|blob| blob.size).sum();
    let longest = index.blobs.iter().map(|blob| blob.size).max().unwrap_or(0);
    room::enough(dir, need, longest, "make room there, or choose another place")
}

/// The blobs that an earlier run left somewhere below, by name and size: an estimate only.
fn already(dir: &Path, index: &Index) -> BTreeSet<Digest> {
    fn look(dir: &Path, depth: usize, wanted: &BTreeMap<Digest, u64>, found: &mut BTreeSet<Digest>) {
        for (name, kind) in dir::list_start(dir, dir::MAX_ENTRIES).unwrap_or_default() {
            let path = dir.join(&name);
            // `sha256:<hex>` in a tree, `<hex>` in a layout.
            let name = name.to_str().unwrap_or_default();
            let digest = name.parse().ok().or_else(|| Digest::from_hex(name).ok());
            match (kind, digest) {
                (EntryKind::Directory, _) if depth > 0 => look(&path, depth - 1, wanted, found),
                (EntryKind::File, Some(digest)) => {
                    let size = path.symlink_metadata().ok().map(|meta| meta.len());
                    if size.is_some() && wanted.get(&digest).copied() == size {
                        found.insert(digest);
                    }
                }
                _ => {}
            }
        }
    }
    let wanted = index.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    let mut found = BTreeSet::new();
    look(dir, 16, &wanted, &mut found);
    found
}
