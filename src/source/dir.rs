//! A folder written by `skopeo copy … dir:FOLDER`: `manifest.json`, `version`, blobs named by their hex digest, and
//! the children of a list as `<hex>.manifest.json`.
//!
//! It holds one image and does not record its name. Source: containers/image directory transport, version 1.1.
//! `signature-N` files are not read.

use std::io::Read;
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::fs::Dir;
use crate::oci::{Descriptor, Digest, Tag};

use super::files::Files;
use super::{Fetched, MAX_MANIFEST, Named, Source, checked, guessed, missing};

/// A skopeo `dir:` folder.
pub struct SkopeoDir {
    dir: Dir,
    root: Fetched,
}

impl SkopeoDir {
    /// Opens the folder, and reads its `manifest.json`.
    pub fn open(path: &Path) -> Result<SkopeoDir> {
        let dir = Dir::open(path, Code::Malformed)?;
        if let Some(version) = dir.read("version", 4096)?
            && !version.starts_with(b"Directory Transport Version: 1.")
        {
            let text = format!("`{}` is not a known version", dir.place("version"));
            return Err(Error::new(Code::Source, text).fact("expected  Directory Transport Version: 1.1"));
        }
        let Some(bytes) = dir.read("manifest.json", MAX_MANIFEST)? else {
            return Err(Error::new(Code::Source, format!("`{}` is not a skopeo dir: folder", path.display()))
                .fact("expected  `manifest.json` and `version` in it"));
        };
        let media_type = guessed(&bytes, &dir.place("manifest.json"))?;
        let digest = Digest::of(&bytes);
        Ok(SkopeoDir { dir, root: Fetched { bytes: bytes.into(), media_type, digest } })
    }
}

impl Source for SkopeoDir {
    fn describe(&self) -> String {
        format!("the folder `{}`", self.dir.path().display())
    }

    fn names(&self) -> Result<Vec<Named>> {
        Ok(vec![Named::unnamed(self.root.digest, &self.root.media_type, self.root.bytes.len() as u64)])
    }

    fn resolve(&self, _: &Tag) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        if *digest == self.root.digest {
            return Ok(Some(self.root.clone()));
        }
        let name = format!("{}.manifest.json", digest.hex());
        let place = self.dir.place(&name);
        let Some(bytes) = self.dir.read(&name, MAX_MANIFEST)? else { return Ok(None) };
        let bytes = checked(bytes, digest, &place)?;
        let media_type = guessed(&bytes, &place)?;
        Ok(Some(Fetched { bytes: bytes.into(), media_type, digest: *digest }))
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let name = what.digest.hex();
        match self.dir.open(&name, offset, what.size)? {
            Some(region) => Ok(Box::new(region)),
            None => Err(missing(what, &self.dir.place(&name))),
        }
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}
