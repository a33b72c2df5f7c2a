//! An OCI image layout: a directory here, a tar file in [`super::archive`].
//!
//! `oci-layout` is checked, `index.json` is read strictly, and names come from annotations. Blobs are under
//! `blobs/sha256/`. Source: image-spec 1.1 image-layout.md. No file is trusted to match its name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::content::Config;
use crate::error::{Code, Error, Result};
use crate::fs::Dir;
use crate::oci::{self, Descriptor, Digest, Document, Index, Platform, Tag, media_type};

use super::docker_archive::Item;
use super::files::Files;
use super::{Fetched, MAX_MANIFEST, Named, Source, Tags, checked, distinct, guessed, missing, name};

/// The maximum depth of indexes when comparing them with a `manifest.json`.
const MAX_DEPTH: usize = 4;

/// An OCI image layout.
pub struct Layout {
    files: Arc<dyn Files>,
    label: String,
    notices: Vec<String>,
    entries: Vec<Descriptor>,
    /// The first entry of each digest.
    listed: HashMap<Digest, usize>,
    tags: OnceLock<Tags>,
    subjects: OnceLock<BTreeMap<Digest, Vec<Descriptor>>>,
}

impl Layout {
    /// Opens the layout in the folder `path`.
    pub fn open(path: &Path) -> Result<Layout> {
        let dir = Dir::open(path, Code::Malformed)?;
        Layout::over(Arc::new(dir), format!("the OCI layout `{}`", path.display()))
    }

    pub(super) fn over(files: Arc<dyn Files>, label: String) -> Result<Layout> {
        check_version(files.as_ref(), &label)?;
        let place = files.place("index.json");
        let Some(bytes) = files.read("index.json", MAX_MANIFEST)? else {
            return Err(
                Error::new(Code::Source, format!("`{place}` does not exist")).fact(format!("looked in  {label}"))
            );
        };
        let index =
            root(&bytes).map_err(|e| Error::new(Code::Malformed, format!("`{place}` is not an OCI index: {e}")))?;
        let (entries, other): (Vec<_>, Vec<_>) =
            index.manifests.into_iter().partition(|e| media_type::ACCEPTED.contains(&e.media_type.as_str()));
        let passed = |e: &Descriptor| {
            format!("`{place}` lists {} of type `{}`, which is no image; it is left out", e.digest, e.media_type)
        };
        let notices = other.iter().map(passed).collect();
        let mut listed = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            listed.entry(entry.digest).or_insert(at);
        }
        Ok(Layout { files, label, notices, entries, listed, tags: OnceLock::new(), subjects: OnceLock::new() })
    }

    fn read_manifest(&self, digest: &Digest) -> Result<Option<(Vec<u8>, String)>> {
        let name = blob_name(digest);
        let place = self.files.place(&name);
        let Some(bytes) = self.files.read(&name, MAX_MANIFEST)? else { return Ok(None) };
        Ok(Some((checked(bytes, digest, &place)?, place)))
    }

    fn tags(&self) -> Result<&Tags> {
        if let Some(known) = self.tags.get() {
            return Ok(known);
        }
        let tags = Tags::of(self.all_names()?);
        Ok(self.tags.get_or_init(|| tags))
    }

    /// Every entry, under its name.
    fn all_names(&self) -> Result<Vec<Named>> {
        let place = self.files.place("index.json");
        self.entries.iter().map(|e| name::of(e, &place)).collect()
    }

    /// The platform in an image's configuration.
    fn platform_of(&self, named: &Named) -> Result<Option<Platform>> {
        let Some((bytes, _)) = self.read_manifest(&named.digest)? else { return Ok(None) };
        let Ok(Document::Manifest(manifest)) = oci::parse(&bytes, &named.media_type) else { return Ok(None) };
        let config = self.files.read(&blob_name(&manifest.config.digest), MAX_MANIFEST)?;
        Ok(config.filter(|c| Digest::of(c) == manifest.config.digest).and_then(|c| Config::parse(&c)?.platform()))
    }

    /// Whether the images here are those in the list of `manifest.json`. Docker 25.0 wrote manifests without layers,
    /// and images that no entry of `index.json` leads to (moby/moby#47065, #47210).
    pub(super) fn is_whole(&self, items: &[Item]) -> Result<bool> {
        if self.entries.is_empty() {
            return Ok(items.is_empty());
        }
        let mut layers: HashMap<Digest, usize> = HashMap::new();
        let mut todo: Vec<(Descriptor, usize)> = self.entries.iter().map(|e| (e.clone(), 0)).collect();
        let mut seen = HashSet::new();
        while let Some((at, depth)) = todo.pop() {
            if depth > MAX_DEPTH || !seen.insert(at.digest) {
                continue;
            }
            let Some((bytes, _)) = self.read_manifest(&at.digest)? else { continue };
            match oci::parse(&bytes, &at.media_type) {
                Ok(Document::Index(index)) => todo.extend(index.manifests.into_iter().map(|m| (m, depth + 1))),
                Ok(Document::Manifest(m)) => drop(layers.insert(m.config.digest, m.layers.len())),
                Err(_) => {}
            }
        }
        for item in items {
            let config = self.files.read(&item.config, MAX_MANIFEST)?;
            let here = config.and_then(|bytes| layers.get(&Digest::of(&bytes)).copied());
            if here.is_some_and(|here| here < item.layers().len()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Subject to referrers, from the manifests that `index.json` lists.
    fn subjects(&self) -> Result<&BTreeMap<Digest, Vec<Descriptor>>> {
        if let Some(known) = self.subjects.get() {
            return Ok(known);
        }
        let mut found: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        let mut known: HashSet<(Digest, Digest)> = HashSet::new();
        for entry in &self.entries {
            let Some((bytes, place)) = self.read_manifest(&entry.digest)? else {
                return Err(missing(entry, &self.files.place(&blob_name(&entry.digest))));
            };
            if let Some((subject, referrer)) = referrer(&bytes, &entry.media_type, entry.digest, &place)?
                && known.insert((subject, referrer.digest))
            {
                found.entry(subject).or_default().push(referrer);
            }
        }
        Ok(self.subjects.get_or_init(|| found))
    }
}

impl Source for Layout {
    fn describe(&self) -> String {
        self.label.clone()
    }

    fn names(&self) -> Result<Vec<Named>> {
        let mut names = self.all_names()?;
        // Only entries with the same name need a platform to distinguish them.
        let mut count: HashMap<(Option<String>, Option<Tag>), usize> = HashMap::new();
        for named in &names {
            *count.entry((named.repository.clone(), named.tag.clone())).or_default() += 1;
        }
        for named in names.iter_mut().filter(|n| n.tag.is_some() && n.platform.is_none()) {
            if count.get(&(named.repository.clone(), named.tag.clone())).is_some_and(|n| *n > 1) {
                named.platform = self.platform_of(named)?;
            }
        }
        distinct(names, &self.label)
    }

    fn notices(&self) -> &[String] {
        &self.notices
    }

    fn resolve(&self, tag: &Tag) -> Result<Option<Fetched>> {
        let Some(digest) = self.tags()?.pick(tag, &self.label)? else { return Ok(None) };
        match self.manifest(&digest)? {
            Some(found) => Ok(Some(found)),
            None => {
                let place = self.files.place(&blob_name(&digest));
                Err(Error::new(Code::BlobMissing, format!("`{place}` does not exist")).fact(format!("tag  {tag}")))
            }
        }
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        let Some((bytes, place)) = self.read_manifest(digest)? else { return Ok(None) };
        let listed = self.listed.get(digest).map(|at| &self.entries[*at]);
        if let Some(entry) = listed
            && entry.size != bytes.len() as u64
        {
            return Err(Error::new(
                Code::BlobMismatch,
                format!("`{place}` does not have the size given in `index.json`"),
            )
            .fact(format!("expected  {} bytes", entry.size))
            .fact(format!("found     {} bytes", bytes.len())));
        }
        let media_type = match listed {
            Some(entry) => entry.media_type.clone(),
            None => guessed(&bytes, &place)?,
        };
        Ok(Some(Fetched { bytes: bytes.into(), media_type, digest: *digest }))
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        let name = blob_name(&what.digest);
        match self.files.open(&name, offset, what.size)? {
            Some(region) => Ok(Box::new(region)),
            None => Err(missing(what, &self.files.place(&name))),
        }
    }

    fn beside(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.files.beside(&["manifests", "signatures"])
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.subjects()?.get(digest).cloned().unwrap_or_default())
    }
}

/// The subject of these manifest bytes, and their descriptor for a list of referrers.
pub(super) fn referrer(
    bytes: &[u8],
    media_type: &str,
    digest: Digest,
    place: &str,
) -> Result<Option<(Digest, Descriptor)>> {
    let document = oci::parse(bytes, media_type)
        .map_err(|e| Error::new(Code::Malformed, format!("`{place}` is not an acceptable manifest: {e}")))?;
    let Some(subject) = document.subject() else { return Ok(None) };
    let entry = Descriptor::of_referrer(media_type, digest, bytes.len() as u64, &document);
    Ok(Some((subject, entry)))
}

/// `index.json` may be an index of either kind.
fn root(bytes: &[u8]) -> Result<Index, oci::Invalid> {
    let read =
        oci::parse(bytes, media_type::OCI_INDEX).or_else(|e| oci::parse(bytes, media_type::DOCKER_LIST).map_err(|_| e));
    match read? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(oci::Invalid("it is a manifest".to_owned())),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[derive(serde::Deserialize)]
struct Version {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

fn check_version(files: &dyn Files, label: &str) -> Result<()> {
    let place = files.place(oci::layout::MARKER);
    let Some(bytes) = files.read(oci::layout::MARKER, 4096)? else {
        let err = Error::new(Code::Source, format!("{label} is not an OCI image layout"))
            .fact(format!("expected  `{place}`, `index.json` and `blobs/`"));
        return Err(match files.region("repositories")? {
            Some(_) => err.hint("docker before 1.10 wrote it: load it into a newer docker, and save it again"),
            None => err,
        });
    };
    let bad = |why: String| Error::new(Code::Malformed, format!("`{place}` is not acceptable: {why}"));
    oci::json::check(&bytes, &["imageLayoutVersion"]).map_err(|e| bad(e.to_string()))?;
    let read: Version = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    if read.version != oci::layout::VERSION {
        return Err(bad(format!("layout version `{}`, only 1.0.0 is known", read.version)));
    }
    Ok(())
}
