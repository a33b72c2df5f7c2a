//! The archives of `docker save`, `podman save`, `skopeo copy … docker-archive:` and build tools: their `manifest.json`
//! lists configurations and layers by their names in the archive, and they have no OCI manifest.
//!
//! This module generates the manifest, always the same for the same archive: the configuration and the layers are
//! carried byte for byte. The digest of an uncompressed layer is its `diff_id`; a compressed layer is decompressed once
//! to check it against the configuration. Source: moby `image/tarexport`, docker-image-spec 1.3.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::oci::{self, Descriptor, Digest, Hasher, ManifestOf, Reference, Tag, media_type};

use super::compressed;
use super::files::{Files, Region};
use super::{Bench, Fetched, MAX_MANIFEST, Named, Source, Tags, distinct, missing};
use crate::archive::Form;

/// The list of images.
pub(super) const LIST: &str = "manifest.json";
/// The most images of one archive.
const MAX_IMAGES: usize = 10_000;
/// The most layers of one image, and the largest configuration in bytes.
const MAX_LAYERS: usize = 10_000;
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One image of `manifest.json`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    /// The file with the configuration.
    pub(super) config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Item {
    /// The files with the layers, lowest first.
    pub(super) fn layers(&self) -> &[String] {
        self.layers.as_deref().unwrap_or_default()
    }
}

/// The images that `manifest.json` lists. `None`: the file does not exist, or is not a list (in skopeo's `dir:` format
/// it is a manifest).
pub(super) fn list(files: &dyn Files) -> Result<Option<Vec<Item>>> {
    let Some(bytes) = files.read(LIST, MAX_MANIFEST)? else { return Ok(None) };
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(None);
    }
    let bad = |why: String| {
        let place = files.place(LIST);
        Error::new(Code::Malformed, format!("`{place}` is not a list of images as docker writes it: {why}"))
    };
    oci::json::check(&bytes, &["Config", "RepoTags", "Layers"]).map_err(|e| bad(e.to_string()))?;
    let items: Vec<Item> = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    if items.len() > MAX_IMAGES || items.iter().any(|i| i.layers().len() > MAX_LAYERS) {
        return Err(bad(format!("more than {MAX_IMAGES} images, or layers of one")));
    }
    Ok(Some(items))
}

/// An archive of `docker save`.
pub struct DockerArchive {
    files: Arc<dyn Files>,
    label: String,
    notices: Vec<String>,
    names: Vec<Named>,
    manifests: HashMap<Digest, Arc<[u8]>>,
    /// The file of each blob.
    blobs: HashMap<Digest, String>,
}

#[derive(serde::Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
}

#[derive(serde::Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

impl DockerArchive {
    /// Reads these files; `images` are those listed in their `manifest.json`.
    pub(super) fn over(
        files: Arc<dyn Files>,
        label: String,
        items: &[Item],
        notices: Vec<String>,
        bench: Bench<'_>,
    ) -> Result<DockerArchive> {
        let (names, manifests, blobs) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut archive = DockerArchive { files, label, notices, names, manifests, blobs };
        let mut layers = HashMap::new();
        for item in items {
            archive.add(item, &mut layers, bench)?;
        }
        archive.names = distinct(std::mem::take(&mut archive.names), &archive.label)?;
        Ok(archive)
    }

    fn add(&mut self, item: &Item, known: &mut HashMap<(String, Digest), Descriptor>, bench: Bench<'_>) -> Result<()> {
        let place = self.files.place(&item.config);
        let Some(config) = self.files.read(&item.config, MAX_MANIFEST)? else { return Err(self.gone(&item.config)) };
        let bad =
            |why: String| Error::new(Code::Malformed, format!("`{place}` is no configuration of an image: {why}"));
        let read: Config = serde_json::from_slice(&config).map_err(|e| bad(e.to_string()))?;
        let ids = read.rootfs.and_then(|r| r.diff_ids).unwrap_or_default();
        if ids.len() != item.layers().len() {
            let why = format!("it has {} `diff_ids`, and {LIST} lists {} layers", ids.len(), item.layers().len());
            return Err(bad(why));
        }
        let mut layers = Vec::new();
        for (path, id) in item.layers().iter().zip(&ids) {
            let id: Digest = id.parse().map_err(|e: oci::Invalid| bad(e.to_string()))?;
            let key = (path.clone(), id);
            if !known.contains_key(&key) {
                known.insert(key.clone(), self.layer(path, id, bench)?);
            }
            layers.extend(known.get(&key).cloned());
        }
        let digest = Digest::of(&config);
        self.blobs.insert(digest, item.config.clone());
        let config = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
        let failed = |e| Error::new(Code::Internal, "cannot write a manifest").source(e);
        let manifest = ManifestOf { media_type: media_type::OCI_MANIFEST, config, layers }.to_vec().map_err(failed)?;
        let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
        self.manifests.insert(digest, manifest.into());
        let named = Named::unnamed(digest, media_type::OCI_MANIFEST, size);
        let tags = item.repo_tags.as_deref().unwrap_or_default();
        if tags.is_empty() {
            self.names.push(named.clone());
        }
        for tag in tags {
            let name = full(tag).map_err(|e| {
                Error::new(Code::Malformed, format!("`{}` names an image badly: {e}", self.files.place(LIST)))
            })?;
            let (repository, tag) = (Some(name.repository.to_string()), name.tag);
            self.names.push(Named { repository, tag, ..named.clone() });
        }
        Ok(())
    }

    /// The layer in the file `path`, whose decompressed content must have the digest `id`.
    fn layer(&mut self, path: &str, id: Digest, bench: Bench<'_>) -> Result<Descriptor> {
        let Some((file, at, len)) = self.files.region(path)? else { return Err(self.gone(path)) };
        let place = self.files.place(path);
        let unreadable = |e| Error::io("cannot read", &place, e);
        let Some(form) = compressed::form(&file, at).map_err(unreadable)? else {
            // It is hashed when it is read.
            self.blobs.insert(id, path.to_owned());
            return Ok(Descriptor::new(LAYER, id, len));
        };
        let ending = match form {
            Form::Gzip => "+gzip",
            Form::Zstd => "+zstd",
            _ => {
                return Err(Error::new(Code::Source, format!("the layer `{place}` is compressed with bzip2 or xz"))
                    .fact("OCI images have layers that are not compressed, or with gzip or zstd")
                    .hint("convert it: skopeo copy docker-archive:FILE oci-archive:NEW"));
            }
        };
        let mut raw = Hashing { from: Region::new(file, at, len, place.clone()), hasher: Hasher::new() };
        let mut inner = Hasher::new();
        if let Some(mut inflated) = compressed::inflate(form, &mut raw).map_err(unreadable)? {
            let mut buffer = vec![0; 256 << 10];
            loop {
                (bench.check)()?;
                match inflated.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => inner.update(&buffer[..n]),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(unreadable(e)),
                }
            }
        }
        io::copy(&mut raw, &mut io::sink()).map_err(unreadable)?;
        let found = inner.finish();
        if found != id {
            return Err(Error::new(Code::BlobMismatch, format!("the layer `{place}` is not what its image says"))
                .fact(format!("expected  {id}, decompressed"))
                .fact(format!("found     {found}"))
                .hint("the copy is damaged or was changed; copy it again from where it came from"));
        }
        let digest = raw.hasher.finish();
        self.blobs.insert(digest, path.to_owned());
        Ok(Descriptor::new(format!("{LAYER}{ending}"), digest, len))
    }

    fn gone(&self, name: &str) -> Error {
        Error::new(Code::BlobMissing, format!("`{}` does not exist", self.files.place(name)))
            .fact(format!("`{LIST}` names it"))
            .hint("the archive is not complete; save the image again")
    }
}

impl Source for DockerArchive {
    fn describe(&self) -> String {
        self.label.clone()
    }

    fn names(&self) -> Result<Vec<Named>> {
        Ok(self.names.clone())
    }

    fn notices(&self) -> &[String] {
        &self.notices
    }

    fn resolve(&self, tag: &Tag) -> Result<Option<Fetched>> {
        match Tags::of(self.names.iter().cloned()).pick(tag, &self.label)? {
            Some(digest) => self.manifest(&digest),
            None => Ok(None),
        }
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        let found = self.manifests.get(digest).cloned();
        let media_type = media_type::OCI_MANIFEST.to_owned();
        Ok(found.map(|bytes| Fetched { bytes, media_type, digest: *digest }))
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let Some(name) = self.blobs.get(&what.digest) else {
            return Err(missing(what, &self.files.place(&what.digest.to_string())));
        };
        match self.files.open(name, offset, what.size)? {
            Some(region) => Ok(Box::new(region)),
            None => Err(missing(what, &self.files.place(name))),
        }
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// The full name of an image with a short docker name: `hello:1` is `docker.io/library/hello:1`.
fn full(name: &str) -> Result<Reference, oci::Invalid> {
    match name.parse() {
        Ok(full) => Ok(full),
        Err(_) if name.contains('/') => format!("docker.io/{name}").parse(),
        Err(_) => format!("docker.io/library/{name}").parse(),
    }
}

struct Hashing<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        for (short, long) in [
            ("hello:1", "docker.io/library/hello:1"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost/a:1", "localhost/a:1"),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
            ("r:5000/a:1", "r:5000/a:1"),
        ] {
            assert_eq!(full(short).unwrap().to_string(), long);
        }
        for bad in ["", "A:1", "../x:1", "a:", "a b:1"] {
            assert!(full(bad).is_err(), "{bad}");
        }
    }
}
