//! Where content comes from: OCI layouts (directory or tar), archives of `docker save`, skopeo `dir:` folders, `oc`
//! mirror trees.
//!
//! A source returns manifests whose bytes match their digest, and raw blobs, which the caller hashes while using them:
//! each file is opened once and read once (security I1). A medium is hostile: no link is followed, no FIFO is waited
//! for, every size is limited. This module does not decide what to take.

pub mod archive;
mod compressed;
pub mod dir;
pub mod docker_archive;
mod files;
pub mod layout;
pub mod mirror_dir;
mod name;
#[cfg(feature = "registry")]
pub mod registry;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::fs::Dir;
use crate::oci::{Descriptor, Digest, Platform, Repository, Tag};

pub use dir::SkopeoDir;
pub use docker_archive::DockerArchive;
pub use layout::Layout;
pub use mirror_dir::MirrorDir;

/// The largest manifest or index that is read, in bytes (MB-LIM-02).
pub const MAX_MANIFEST: u64 = 8 << 20;

/// One repository, layout or directory that content is read from.
pub trait Source: Send + Sync {
    /// The type and location of this source, for messages.
    fn describe(&self) -> String;

    /// The top-level entries this source has (a registry: none). Two entries of one name are refused, unless they are for
    /// different platforms; [`of_platform`] decides then.
    fn names(&self) -> Result<Vec<Named>>;

    /// Notices for the user about how this source is read.
    fn notices(&self) -> &[String] {
        &[]
    }

    /// The manifest with this tag. `None`: it does not exist. Several images with this tag: `Code::Source`.
    fn resolve(&self, tag: &Tag) -> Result<Option<Fetched>>;

    /// The manifest with this digest. `None`: it does not exist. Other bytes under its name: `Code::BlobMismatch`.
    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>>;

    /// The bytes of a blob from `offset`, at most `size - offset` of them; the caller hashes them. A missing file is
    /// `Code::BlobMissing`; a file of another size is `Code::BlobMismatch`; both name the path.
    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// The bytes of an index entry of unknown type, if the source has it as a manifest. They match the digest.
    fn unknown(&self, _: &Descriptor) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The manifests whose `subject` is this digest.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>>;

    /// Files beside the images, as a bundle has them: below `manifests/` and `signatures/`, by name. Unverified.
    fn beside(&self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(Vec::new())
    }

    /// Whether this is a registry: a registry that does not support a look-up may still have intact content.
    fn is_remote(&self) -> bool {
        false
    }
}

/// Access to registries and signature stores. The verifier build has none.
pub trait Network: Sync {
    /// A repository to read from.
    fn repository(&self, repository: &Repository) -> Arc<dyn Source>;
    /// The content at a URL, of at most `limit` bytes; `None` if it does not exist.
    fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// The same of a service that answers in JSON.
    fn json(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Whether an address that comes from content, not from the user, may be requested: `https`, and not internal
    /// (security H2).
    fn is_public(&self, url: &str) -> bool;
}

/// A manifest or index as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The exact bytes; they hash to `digest`.
    pub bytes: Arc<[u8]>,
    /// The media type according to the source.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
}

/// A top-level entry of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The path-like name as the source gives it: `quay.io/a/b`, `openshift/release`.
    pub repository: Option<String>,
    /// Its tag.
    pub tag: Option<Tag>,
    /// Its digest.
    pub digest: Digest,
    /// The media type according to the source.
    pub media_type: String,
    /// Size in bytes, as the source says.
    pub size: u64,
    /// The platform, where the source says one.
    pub platform: Option<Platform>,
}

impl Named {
    /// An entry without a name.
    pub fn unnamed(digest: Digest, media_type: &str, size: u64) -> Named {
        Named { repository: None, tag: None, digest, media_type: media_type.to_owned(), size, platform: None }
    }

    /// `repository:tag`, as far as the source names it; else the digest.
    pub fn label(&self) -> String {
        match (&self.repository, &self.tag) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            (Some(repository), None) => format!("{repository}@{}", self.digest),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => self.digest.to_string(),
        }
    }
}

/// What opening a source needs that may take long: an archive is decompressed, and compressed layers are hashed.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The folder for a file without a name, which gets the content of a compressed archive.
    pub room: &'a Path,
    /// Returns an error if a stop was requested. Called between buffers.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl<'a> From<&'a Path> for Bench<'a> {
    /// One that is never stopped.
    fn from(room: &'a Path) -> Bench<'a> {
        Bench { room, check: &|| Ok(()) }
    }
}

/// Opens whatever local source is at `path`: an archive file, or a folder of one of the known forms.
pub fn open<'a>(path: &Path, bench: impl Into<Bench<'a>>) -> Result<Box<dyn Source>> {
    let bench = bench.into();
    let meta = std::fs::metadata(path).map_err(|e| Error::io("cannot open", path, e))?;
    if !meta.is_dir() {
        return archive::open(path, bench);
    }
    let dir = Dir::open(path, Code::Malformed)?;
    if dir.kind("oci-layout")?.is_some() {
        return archive::images(Arc::new(dir), &path.display().to_string(), "OCI layout", bench);
    }
    if dir.kind("manifest.json")?.is_some() {
        if docker_archive::list(&dir)?.is_some() {
            return archive::images(Arc::new(dir), &path.display().to_string(), "docker archive", bench);
        }
        return Ok(Box::new(SkopeoDir::open(path)?));
    }
    if mirror_dir::is_tree(&dir)? {
        return Ok(Box::new(MirrorDir::open(path)?));
    }
    Err(Error::new(Code::Source, format!("`{}` holds no images in a known form", path.display()))
        .fact("expected  `oci-layout` (OCI image layout), `manifest.json` (skopeo dir:) or `v2/` (oc mirror)"))
}

/// The entries of each tag in a source.
#[derive(Default)]
struct Tags(HashMap<Tag, Vec<Named>>);

impl Tags {
    fn of(names: impl IntoIterator<Item = Named>) -> Tags {
        let mut out = Tags::default();
        for named in names {
            if let Some(tag) = &named.tag {
                out.0.entry(tag.clone()).or_default().push(named);
            }
        }
        for same in out.0.values_mut() {
            same.sort_by_key(|n| n.digest);
            same.dedup_by_key(|n| n.digest);
        }
        out
    }

    /// The only digest of `tag`.
    fn pick(&self, tag: &Tag, whose: &str) -> Result<Option<Digest>> {
        match self.0.get(tag).map(Vec::as_slice).unwrap_or_default() {
            [] => Ok(None),
            [one] => Ok(Some(one.digest)),
            several => {
                let mut err = Error::new(Code::Source, format!("the tag `{tag}` names several images in {whose}"))
                    .hint("ask for the image by its full name or digest");
                for named in several.iter().take(8) {
                    err = err.fact(format!("{} {}", named.label(), named.digest));
                }
                Err(err)
            }
        }
    }
}

/// Whether two entries have the same name.
fn same_name(a: &Named, b: &Named) -> bool {
    (&a.repository, &a.tag) == (&b.repository, &b.tag) && a.tag.is_some()
}

/// Of entries of one name, which are for several platforms, the one for `wanted`.
///
/// # Errors
/// [`Code::Source`] where none or several are for it, or none is wanted.
pub fn of_platform(names: Vec<Named>, wanted: Option<&Platform>, whose: &str) -> Result<Vec<Named>> {
    let mut out: Vec<Named> = Vec::new();
    for group in names.chunk_by(same_name) {
        let fits = |n: &&Named| n.platform.as_ref().is_some_and(|p| wanted.is_some_and(|w| w.accepts(p)));
        let fitting: Vec<&Named> = group.iter().filter(fits).collect();
        match (group, fitting.as_slice()) {
            ([only], _) => out.push(only.clone()),
            (_, [one]) => out.push((*one).clone()),
            _ => {
                let label = group.first().map(Named::label).unwrap_or_default();
                let mut err =
                    Error::new(Code::Source, format!("`{label}` names images for several platforms in {whose}"));
                for named in group.iter().take(8) {
                    let platform = named.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                    err = err.fact(format!("{platform}  {}", named.digest));
                }
                return Err(err.state("nothing was written").hint("choose one of them: --platform OS/ARCH"));
            }
        }
    }
    Ok(out)
}

/// Refuses two entries of one name that are not for different platforms.
fn distinct(mut names: Vec<Named>, whose: &str) -> Result<Vec<Named>> {
    names.sort();
    names.dedup_by(|a, b| same_name(a, b) && a.digest == b.digest || a == b);
    let apart = |a: &Named, b: &Named| a.platform.is_some() && b.platform.is_some() && a.platform != b.platform;
    if let Some(pair) = names.windows(2).find(|w| same_name(&w[0], &w[1]) && !apart(&w[0], &w[1])) {
        return Err(Error::new(Code::Malformed, format!("`{}` names two images in {whose}", pair[0].label()))
            .fact(format!("one    {}", pair[0].digest))
            .fact(format!("other  {}", pair[1].digest)));
    }
    Ok(names)
}

/// The manifest bytes read from `place`, if they match their digest.
fn checked(bytes: Vec<u8>, digest: &Digest, place: &str) -> Result<Vec<u8>> {
    let found = Digest::of(&bytes);
    if found == *digest {
        return Ok(bytes);
    }
    Err(Error::new(Code::BlobMismatch, format!("`{place}` does not match its digest"))
        .fact(format!("expected  {digest}"))
        .fact(format!("found     {found}"))
        .hint("the copy is damaged or was changed; copy it again from its source"))
}

/// The media type found in the bytes at `place`.
fn guessed(bytes: &[u8], place: &str) -> Result<String> {
    crate::oci::guess(bytes).map_err(|e| Error::new(Code::Malformed, format!("`{place}` is not a manifest: {e}")))
}

fn missing(what: &Descriptor, place: &str) -> Error {
    Error::new(Code::BlobMissing, format!("`{place}` does not exist"))
        .fact(format!("expected  {} ({} bytes, {})", what.digest, what.size, what.media_type))
}

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod tests;
