//! The `v2/` tree of `oc image mirror --dir`, from which `oc image mirror --from-dir` pushes.
//!
//! `v2/<repository>/blobs/sha256:<hex>`; `manifests/sha256:<hex>` as a hard link to it (or a copy); tags as links
//! `manifests/<tag> -> sha256:<hex>`. A blob that a second repository needs is a hard link. The tree needs a file
//! system with links and `:` in names, which is tested before anything is written. The matching reader is
//! [`crate::source::MirrorDir`]; the format is openshift/oc's (pkg/cli/image/imagesource/file.go).

use std::io::Read;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind, partial};
use crate::oci::{Descriptor, Digest, Document, IndexOf, Repository, Tag, media_type, parse};
use crate::source::MAX_MANIFEST;

use super::BlobSink;
use super::store::{Hashed, Store, holds, receive};

/// A mirror directory being written.
pub(crate) struct TreeSink {
    base: Dir,
    hashed: Hashed,
}

/// One repository in it.
pub(crate) struct TreeRepository {
    blobs: Store,
    manifests: Dir,
    hashed: Hashed,
}

/// The result of setting a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// It is new.
    New,
    /// It existed and pointed to the same manifest.
    Same,
    /// It pointed to this other manifest before.
    Moved(Digest),
}

impl TreeSink {
    /// Opens or creates the folder that holds `v2/`, after testing what its file system supports. Locks it while this
    /// value lives (security I3). If the file system lacks something: `Code::Io`, and nothing is left behind.
    pub(crate) fn open(path: &Path) -> Result<TreeSink> {
        let made = !path.exists();
        let base = Dir::create(path, Code::Conflict)?;
        base.lock()?;
        if let Err(err) = able(&base) {
            if made {
                let _ = std::fs::remove_dir(path);
            }
            return Err(err);
        }
        Ok(TreeSink { base, hashed: Hashed::default() })
    }

    /// The repository `path` (without a registry); creates it if it does not exist.
    pub(crate) fn repository(&self, path: &str) -> Result<TreeRepository> {
        format!("localhost/{path}")
            .parse::<Repository>()
            .map_err(|e| Error::new(Code::Malformed, format!("`{path}` is not a repository: {e}")))?;
        if path.split('/').any(|c| matches!(c, "blobs" | "manifests")) {
            let text = format!("the repository `{path}` collides with the tree's own folders");
            return Err(Error::new(Code::Malformed, text).hint("write an OCI layout instead: --to-layout DIR"));
        }
        Ok(TreeRepository {
            blobs: Store::new(self.base.make_dir(&format!("v2/{path}/blobs"))?, Digest::to_string, &self.hashed),
            manifests: self.base.make_dir(&format!("v2/{path}/manifests"))?,
            hashed: Hashed::clone(&self.hashed),
        })
    }
}

impl TreeRepository {
    /// Copies a blob from another repository of the tree, by hard link if possible. `false`: the other repository does
    /// not have it.
    pub(crate) fn take(&self, from: &TreeRepository, digest: &Digest, size: u64) -> Result<bool> {
        if self.has(digest, size)? {
            return Ok(true);
        }
        if !from.has(digest, size)? {
            return Ok(false);
        }
        link(&from.blobs.dir, &self.blobs.dir, digest, size)?;
        self.blobs.note(digest);
        Ok(true)
    }

    /// Writes a manifest: as a blob, and linked under `manifests/`. Children are written before their index.
    pub(crate) fn put_manifest(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        self.put(digest, size, &mut &*bytes)?;
        if holds(&self.manifests, &digest.to_string(), digest, size, &self.hashed)? {
            return Ok(());
        }
        link(&self.blobs.dir, &self.manifests, digest, size)
    }

    /// Writes the list of referrers of `subject`, keeping the other entries of an existing list. Returns its digest,
    /// for the tag; `None`: something else has that tag, and keeps it.
    pub(crate) fn list_referrers(&self, subject: &Digest, mut referrers: Vec<Descriptor>) -> Result<Option<Digest>> {
        if let Some(there) = self.tagged(&subject.dashed())? {
            let mut bytes = Vec::new();
            if let Some(file) = self.manifests.file(&there.to_string())? {
                let failed = |e| Error::io("cannot read", self.manifests.at(&there.to_string()), e);
                file.take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(failed)?;
            }
            match parse(&bytes, media_type::OCI_INDEX) {
                Ok(Document::Index(list)) if Digest::of(&bytes) == there => referrers.extend(list.manifests),
                _ if bytes.is_empty() => {}
                _ => return Ok(None),
            }
        }
        referrers.sort_by_key(|referrer| referrer.digest);
        referrers.dedup_by_key(|referrer| referrer.digest);
        let failed = |e| Error::new(Code::Internal, "cannot write a list of referrers").source(e);
        let bytes = IndexOf(referrers).to_vec().map_err(failed)?;
        let digest = Digest::of(&bytes);
        self.put_manifest(&digest, &bytes)?;
        Ok(Some(digest))
    }

    /// The target of a tag.
    fn tagged(&self, tag: &str) -> Result<Option<Digest>> {
        let target = match self.manifests.kind(tag)? {
            Some(EntryKind::Symlink) => self.manifests.read_link(tag)?,
            _ => None,
        };
        Ok(target.and_then(|target| target.rsplit('/').next().and_then(|name| name.parse().ok())))
    }

    /// Points a tag to a manifest that [`TreeRepository::put_manifest`] wrote. Tags are written last.
    pub(crate) fn tag(&self, tag: &Tag, digest: &Digest) -> Result<Tagged> {
        let (name, target) = (tag.as_str(), digest.to_string());
        let before = match self.manifests.kind(name)? {
            None => None,
            Some(EntryKind::Symlink) => self.manifests.read_link(name)?,
            Some(_) => return Err(self.manifests.wrong(name, "a tag (a symbolic link)")),
        };
        if before.as_deref() == Some(&target) {
            return Ok(Tagged::Same);
        }
        let temporary = partial::temp_name(&Digest::of(name.as_bytes()));
        partial::remove_leftover(&self.manifests, &temporary)?;
        let failed = |e| Error::io("cannot make the link", self.manifests.at(name), e);
        self.manifests.symlink(&target, &temporary).map_err(failed)?;
        self.manifests.rename(&temporary, name)?;
        let old = before.as_deref().and_then(|t| t.rsplit('/').next()).and_then(|t| t.parse().ok());
        Ok(match old {
            Some(old) if old == *digest => Tagged::Same,
            Some(old) => Tagged::Moved(old),
            None => Tagged::New,
        })
    }
}

impl BlobSink for TreeRepository {
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.blobs.has(digest, size)
    }

    fn has_size(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.blobs.has_size(digest, size)
    }

    fn read(&self, digest: &Digest) -> Result<Option<Box<dyn Read + '_>>> {
        self.blobs.read(digest)
    }

    fn put(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()> {
        self.blobs.put(digest, size, from)
    }

    fn finish(&self) -> Result<()> {
        for dir in [&self.blobs.dir, &self.manifests] {
            partial::remove_leftovers(dir)?;
            dir.sync()?;
        }
        Ok(())
    }
}

/// Makes `to/<digest>` the same file as `from/<digest>`, replacing a wrong one; copies it if it cannot be linked.
fn link(from: &Dir, to: &Dir, digest: &Digest, size: u64) -> Result<()> {
    let (name, temporary) = (digest.to_string(), partial::temp_name(digest));
    partial::remove_leftover(to, &temporary)?;
    if from.hard_link(&name, to, &temporary).is_ok() {
        return to.rename(&temporary, &name);
    }
    let gone = || Error::new(Code::BlobMissing, format!("`{}` no longer exists", from.at(&name).display()));
    let mut file = from.file(&name)?.ok_or_else(gone)?;
    receive(to, &name, digest, size, &mut file)
}

/// Tests `:` in a name, a hard link and a symbolic link, and removes the test files.
fn able(base: &Dir) -> Result<()> {
    let id = |what: &str| partial::temp_name(&Digest::of(format!("probe: {what}").as_bytes()));
    let (file, hard, soft) = (format!("{}:", id("file")), id("hard"), id("soft"));
    let clean = || [&file, &hard, &soft].into_iter().try_for_each(|name| base.remove(name));
    clean()?;
    let unable = |what: &str, cause: std::io::Error| {
        let cannot = matches!(
            Errno::from_io_error(&cause),
            Some(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS | Errno::NOENT | Errno::ILSEQ)
        );
        if !cannot {
            return Error::io("cannot write in", base.path(), cause);
        }
        Error::new(Code::Io, format!("the file system of `{}` cannot hold {what}", base.path().display()))
            .fact("a mirror directory of oc needs hard links, symbolic links and `:` in file names (not FAT, exFAT)")
            .state("nothing was written")
            .hint("write an OCI layout instead: --to-layout DIR")
            .source(cause)
    };
    let tried = base.try_create(&file).map_err(|e| unable("`:` in a file name", e)).and_then(|()| {
        base.hard_link(&file, base, &hard).map_err(|e| unable("hard links", e))?;
        base.symlink("sha256:x", &soft).map_err(|e| unable("symbolic links", e))
    });
    clean().and(tried)
}
