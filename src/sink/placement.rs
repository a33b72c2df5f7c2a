//! Where each image goes: `oc`'s names for releases, the source's path and tag for everything else.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::index::{Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Document, Repository, Tag, parse};
use crate::openshift::tags;

/// An image at its place.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    /// The image.
    pub image: &'a Image,
    /// Repository below the target; empty: the target itself.
    pub repository: String,
    /// The tag it gets there. Referrers have none.
    pub tag: Option<Tag>,
}

/// Places every image. `release` is the repository of releases and their components below the target.
///
/// Tags (spec, MB-UNP-02): a release `<version>-<arch>`, a component `<version>-<arch>-<component>`, a cosign
/// signature `sha256-<hex>.sig`; others keep theirs, and an image known by digest only gets `sha256-<hex>.image`,
/// so that registries which sweep untagged manifests keep it.
pub fn placements<'a>(index: &'a Index, release: &str) -> Result<Vec<Placement<'a>>> {
    let mut homes: BTreeMap<Digest, String> = BTreeMap::new();
    let mut out = Vec::new();
    for image in &index.images {
        let repository = match image.release {
            Some(_) => release.to_owned(),
            None => image.repository.as_deref().map(without_registry).unwrap_or_else(|| release.to_owned()),
        };
        homes.entry(image.digest).or_insert_with(|| repository.clone());
        out.push(Placement { image, tag: tag(index, image)?, repository });
    }
    let mut taken: BTreeMap<(&str, &str), &Image> = BTreeMap::new();
    for placement in &out {
        let Some(tag) = &placement.tag else { continue };
        if let Some(other) = taken.insert((&placement.repository, tag.as_str()), placement.image)
            && other.digest != placement.image.digest
        {
            return Err(Error::new(
                Code::Conflict,
                format!("two images would both be `{}:{tag}` at the destination", placement.repository),
            )
            .fact(format!("{} {}", other.digest, other.display()))
            .fact(format!("{} {}", placement.image.digest, placement.image.display()))
            .state("nothing was written"));
        }
    }
    Ok(out)
}

fn tag(index: &Index, image: &Image) -> Result<Option<Tag>> {
    let invalid =
        |e: crate::oci::Invalid| Error::new(Code::Malformed, format!("`{}` cannot be tagged: {e}", image.display()));
    let release = image.release.and_then(|digest| index.releases.iter().find(|r| r.digest == digest));
    match (image.kind, release) {
        (Kind::Release, Some(r)) => tags::release_tag(&r.version, &r.architecture).map(Some).map_err(invalid),
        (Kind::Component, Some(r)) => {
            let name = image.component.as_deref().unwrap_or_default();
            tags::component_tag(&r.version, &r.architecture, name).map(Some).map_err(invalid)
        }
        (Kind::Referrer, _) => Ok(None),
        (_, _) => {
            let text = image.tag.clone().unwrap_or_else(|| format!("{}.image", image.digest.dashed()));
            text.parse().map(Some).map_err(invalid)
        }
    }
}

/// `quay.io/a/b` is `a/b`; `openshift/release` stays.
pub fn without_registry(repository: &str) -> String {
    match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host.starts_with('[') => {
            path.to_owned()
        }
        _ => repository.to_owned(),
    }
}

/// The repository `path` below `target`; the target itself when it is empty.
pub fn below(target: &Repository, path: &str) -> Result<Repository> {
    if path.is_empty() {
        return Ok(target.clone());
    }
    target.join(path).map_err(|e| Error::new(Code::Malformed, format!("`{path}` cannot be pushed below {target}: {e}")))
}

/// Documents with their media types, children before parents; blobs with their sizes.
pub type Closure = (Vec<(Digest, String)>, BTreeSet<(Digest, u64)>);

/// The documents below an image, and the blobs they name.
pub fn closure(image: &Image, document: &dyn Fn(&Digest) -> Option<Vec<u8>>) -> Result<Closure> {
    let mut documents = Vec::new();
    let (mut seen, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    descend(&image.digest, &image.media_type, document, &mut seen, &mut documents, &mut blobs)?;
    Ok((documents, blobs))
}

fn descend(
    digest: &Digest,
    media_type: &str,
    document: &dyn Fn(&Digest) -> Option<Vec<u8>>,
    seen: &mut BTreeSet<Digest>,
    documents: &mut Vec<(Digest, String)>,
    blobs: &mut BTreeSet<(Digest, u64)>,
) -> Result<()> {
    if !seen.insert(*digest) {
        return Ok(());
    }
    // Verification walked the same documents; a gap here is a bug.
    let bytes = document(digest)
        .ok_or_else(|| Error::new(Code::Internal, format!("{digest} was verified and is not there")))?;
    let parsed = parse(&bytes, media_type).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    match &parsed {
        Document::Index(index) => {
            for child in &index.manifests {
                if crate::oci::media_type::is_index(&child.media_type)
                    || crate::oci::media_type::is_manifest(&child.media_type)
                {
                    descend(&child.digest, &child.media_type, document, seen, documents, blobs)?;
                } else {
                    blobs.insert((child.digest, child.size));
                }
            }
        }
        Document::Manifest(_) => blobs.extend(parsed.children().map(|c| (c.digest, c.size))),
    }
    documents.push((*digest, media_type.to_owned()));
    Ok(())
}
