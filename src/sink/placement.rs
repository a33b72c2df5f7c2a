//! Where each image goes: `oc`'s names for releases, the source's path and tag for everything else.

use std::collections::BTreeMap;

use crate::bundle::index::{Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::graph::Closure;
use crate::oci::{Digest, Repository, Tag, without_registry};
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
            None => image.repository.as_deref().map_or(release, without_registry).to_owned(),
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

/// The repository `path` below `target`; the target itself when it is empty.
pub fn below(target: &Repository, path: &str) -> Result<Repository> {
    if path.is_empty() {
        return Ok(target.clone());
    }
    target.join(path).map_err(|e| Error::new(Code::Malformed, format!("`{path}` cannot be pushed below {target}: {e}")))
}

/// Hands out the manifests and indexes of a bundle.
pub type Documents<'a, 'b> = dyn Fn(&Digest) -> Option<&'a [u8]> + 'b;

/// What the images need that were placed, and where each of them stands in it.
pub fn closure(placements: &[Placement<'_>], document: &Documents<'_, '_>) -> Result<(Closure, Vec<usize>)> {
    let mut closure = Closure::default();
    let mut read = |digest: &Digest| Ok(document(digest));
    let roots: Result<Vec<usize>> =
        placements.iter().map(|placement| closure.add(&placement.image.descriptor(), &mut read)).collect();
    let roots = roots?;
    // Verification walked the same documents; a gap here is a bug.
    match closure.nodes().iter().find(|node| node.document.is_some() && !node.read) {
        Some(gap) => Err(Error::new(Code::Internal, format!("{} was verified and is not there", gap.digest))),
        None => Ok((closure, roots)),
    }
}
