//! The `v2/` tree written by `oc adm release mirror --to-dir` and `oc image mirror --dir`.
//!
//! `v2/<repository>/blobs/<digest>`, `…/manifests/<digest>`, and tags `…/manifests/<tag>`. Digests are written
//! `sha256:<hex>` or `sha256-<hex>`; hard links and plain copies are equal. A tag is a link whose target's last
//! component names the digest (before 2020-02 the target began with a folder of the writing host), or a plain
//! copy of the manifest. Links are read, never followed. oc checks nothing when it reads this back; here every
//! manifest is hashed, and blobs by the caller. Source: openshift/oc pkg/cli/image/imagesource/file.go.

mod catalogue;
mod scan;

use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind};
use crate::oci::{Descriptor, Digest, Tag};

use super::files::Files;
use super::{Fetched, MAX_MANIFEST, Named, Source, Tags, checked, distinct, guessed, missing};
use catalogue::Catalogue;
use scan::Tree;

/// A mirror directory of `oc`.
pub struct MirrorDir {
    /// The folder that holds `v2/`; `None` if `v2/` itself was given.
    base: Option<Dir>,
    v2: Dir,
    tree: Tree,
    tags: OnceLock<Tags>,
    catalogue: OnceLock<Catalogue>,
}

/// Whether a mirror tree begins here: a `v2` folder, or folders of which one contains `blobs` and `manifests`.
pub(super) fn is_tree(dir: &Dir) -> Result<bool> {
    Ok(dir.kind("v2")? == Some(EntryKind::Directory) || dir.path().file_name().is_some_and(|n| n == "v2"))
}

impl MirrorDir {
    /// Opens the folder with `v2/`, or `v2/` itself, and lists its content.
    pub fn open(path: &Path) -> Result<MirrorDir> {
        let given = Dir::open(path, Code::Malformed)?;
        let (base, v2) = match given.dir("v2")? {
            Some(v2) => (Some(given), v2),
            None => (None, given),
        };
        let tree = scan::scan(&v2)?;
        if tree.repositories.is_empty() {
            return Err(Error::new(Code::Source, format!("`{}` is not a mirror directory of oc", path.display()))
                .fact("expected  v2/<repository>/blobs/ and v2/<repository>/manifests/ in it"));
        }
        Ok(MirrorDir { base, v2, tree, tags: OnceLock::new(), catalogue: OnceLock::new() })
    }

    fn catalogue(&self) -> Result<&Catalogue> {
        if let Some(known) = self.catalogue.get() {
            return Ok(known);
        }
        let read = Catalogue::read(self)?;
        Ok(self.catalogue.get_or_init(|| read))
    }

    /// The manifest's bytes and their location, from the first place that has the right ones.
    fn read_manifest(&self, digest: &Digest) -> Result<Option<(Vec<u8>, String)>> {
        let mut failed = None;
        for name in self.tree.manifest_places(digest) {
            let place = self.v2.place(&name);
            match self.v2.read(&name, MAX_MANIFEST).and_then(|b| b.map(|b| checked(b, digest, &place)).transpose()) {
                Ok(Some(bytes)) => return Ok(Some((bytes, place))),
                Ok(None) => {}
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl Source for MirrorDir {
    fn describe(&self) -> String {
        format!("the mirror directory `{}`", self.base.as_ref().unwrap_or(&self.v2).path().display())
    }

    fn names(&self) -> Result<Vec<Named>> {
        distinct(self.catalogue()?.names(&self.tree, &self.v2)?, &self.describe())
    }

    fn resolve(&self, tag: &Tag) -> Result<Option<Fetched>> {
        let whose = self.describe();
        let tags = self.tags.get_or_init(|| Tags::of(self.tree.tagged()));
        let Some(digest) = tags.pick(tag, &whose)? else { return Ok(None) };
        match self.manifest(&digest)? {
            Some(found) => Ok(Some(found)),
            None => {
                Err(Error::new(Code::BlobMissing, format!("the tag `{tag}` points to a manifest that does not exist"))
                    .fact(format!("expected  {digest}"))
                    .fact(format!("looked in {whose}")))
            }
        }
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        let Some((bytes, place)) = self.read_manifest(digest)? else { return Ok(None) };
        let media_type = guessed(&bytes, &place)?;
        Ok(Some(Fetched { bytes: bytes.into(), media_type, digest: *digest }))
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let mut failed = None;
        for name in self.tree.blob_places(&what.digest) {
            match self.v2.open(&name, offset, what.size) {
                Ok(Some(region)) => return Ok(Box::new(region)),
                Ok(None) => {}
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        let place = || self.v2.place(&format!("{}/blobs/{}", self.tree.repositories[0].path, what.digest));
        Err(failed.unwrap_or_else(|| missing(what, &place())))
    }

    /// Below `config/` too, where oc writes signatures. Nothing if `v2/` itself was given.
    fn beside(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.base.as_ref().map_or(Ok(Vec::new()), |base| base.beside(&["config", "manifests", "signatures"]))
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.catalogue()?.referrers(digest))
    }
}
