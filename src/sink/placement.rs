//! The location of each image: `oc`'s names for releases, the source's path and tag for everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::bundle::index::{Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::graph::Closure;
use crate::oci::{Digest, Invalid, Repository, Tag, without_registry};
use crate::openshift::{marks, tags, update_service};

/// An image and its location.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    /// The image.
    pub image: &'a Image,
    /// Repository below the target; empty for the target itself; after `//` the full name of one elsewhere.
    pub repository: String,
    /// Its tag at the target. Referrers have none.
    pub tag: Option<Tag>,
}

/// How images other than releases and their components are placed below the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// Keep the source registry in the path: `quay.io/a/b` goes to `quay.io/a/b` below the target, not to `a/b`.
    pub by_host: bool,
    /// Explicit locations. If several match, the one with the longest `from` counts.
    pub maps: Vec<Map>,
    /// At a registry: another place for release images.
    pub release_image: Option<ReleaseImage>,
    /// Other tags for releases and their components.
    pub tags: Option<tags::Pattern>,
}

/// Where release images go, if not to the repository of their components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseImage {
    /// The repository.
    pub repository: Repository,
    /// The tag; `None`: the usual one.
    pub tag: Option<Tag>,
}

/// An explicit location: `FROM=TO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// A repository as the bundle names it, or a path prefix of repositories: `quay.io/a`, or `a` at any registry.
    pub from: String,
    /// Its location below the target.
    pub to: String,
}

impl FromStr for Map {
    type Err = Invalid;

    fn from_str(text: &str) -> std::result::Result<Map, Invalid> {
        let bad = |why: &str| Invalid(format!("`{text}` is not FROM=TO: {why}"));
        let (from, to) = text.split_once('=').ok_or_else(|| bad("write, for example, quay.io/a=mirror/a"))?;
        if from.is_empty() || from.starts_with('/') || from.ends_with('/') {
            return Err(bad("FROM is a repository, or the first components of some, such as quay.io/a"));
        }
        // Only the form of the path matters here: the target supplies the registry.
        format!("localhost/{to}").parse::<Repository>().map_err(|_| bad("TO is a repository below the target"))?;
        Ok(Map { from: from.to_owned(), to: to.to_owned() })
    }
}

impl Map {
    /// The location of images of `repository`, if it is `from` or below it. `from` may leave out the registry.
    fn place(&self, repository: &str) -> Option<String> {
        let below = |name: &str| match name.strip_prefix(&self.from) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(format!("{}{rest}", self.to)),
            _ => None,
        };
        below(repository).or_else(|| below(without_registry(repository)))
    }
}

impl Placing {
    /// The maps that place no image of this bundle.
    pub fn unused(&self, index: &Index) -> Vec<&Map> {
        let placed = index.images.iter().filter(|image| image.release.is_none());
        let of = |map: &Map| placed.clone().any(|i| i.repository.as_deref().is_some_and(|r| map.place(r).is_some()));
        self.maps.iter().filter(|map| !of(map)).collect()
    }

    /// The repository below the target for images other than releases of `repository`.
    pub fn repository(&self, repository: &str) -> String {
        self.of(repository)
    }

    /// The repository below the target for images of `repository`.
    fn of(&self, repository: &str) -> String {
        let fitting = self.maps.iter().filter_map(|map| Some((map.from.len(), map.place(repository)?)));
        if let Some((_, place)) = fitting.max_by_key(|(length, _)| *length) {
            return place;
        }
        let path = without_registry(repository);
        match repository.strip_suffix(path).map(|host| host.trim_end_matches('/')) {
            Some(host) if self.by_host && !host.is_empty() => format!("{}/{path}", as_component(host)),
            _ => path.to_owned(),
        }
    }
}

/// A registry as a path component, without `:` and brackets: `localhost:5000` becomes `localhost-5000`.
fn as_component(host: &str) -> String {
    let plain: String = host
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    plain.trim_matches('-').to_owned()
}

/// Places every image. `release` is the repository below the target for releases and their components.
///
/// Tags (spec, MB-UNP-02): a release `<version>-<arch>`, a component `<version>-<arch>-<component>`, a cosign
/// signature `sha256-<hex>.sig`; others keep theirs, and an image known by digest only gets `sha256-<hex>.image`,
/// so that registries which sweep untagged manifests keep it.
///
/// # Errors
/// [`Code::Conflict`] where two images would get the same name.
pub fn placements<'a>(index: &'a Index, release: &str, placing: &Placing) -> Result<Vec<Placement<'a>>> {
    let out = every(index, release, placing)?;
    match meetings(&out).first() {
        None => Ok(out),
        Some((one, other)) => {
            let name = named(one);
            Err(Error::new(Code::Conflict, format!("two images would both be `{name}` at the destination"))
                .fact(format!("{} {}", one.image.digest, one.image.display()))
                .fact(format!("{} {}", other.image.digest, other.image.display()))
                .state("nothing was written")
                .hint("keep the registry in their paths with --placement host, or give one of them another place with --map FROM=TO"))
        }
    }
}

/// Places every image, even if two get the same name.
fn every<'a>(index: &'a Index, release: &str, placing: &Placing) -> Result<Vec<Placement<'a>>> {
    let mut out = Vec::new();
    let components: BTreeSet<&Digest> =
        index.images.iter().filter(|i| i.kind == Kind::Component).map(|i| &i.digest).collect();
    // The update service reads every tag of a repository: releases, their images and `.sig` are alone in one.
    let serves = placing.release_image.is_none() && index.images.iter().any(|image| image.kind == Kind::GraphData);
    for image in &index.images {
        let tag = tag(index, image, placing)?;
        let mut place = |repository: String| out.push(Placement { image, tag: tag.clone(), repository });
        match (image.release, &image.repository, &placing.release_image) {
            (None, Some(repository), _) => place(placing.of(repository)),
            (Some(digest), _, Some(elsewhere)) => {
                let about = image.subject.as_ref().unwrap_or(&image.digest);
                // An attachment must be where its image is. What is attached to an image inside a list goes to both.
                if !components.contains(about) {
                    place(format!("{ELSEWHERE}{}", elsewhere.repository));
                }
                if *about != digest {
                    place(release.to_owned());
                }
            }
            _ => place(release.to_owned()),
        }
        let about = image.subject.as_ref().unwrap_or(&image.digest);
        let signature = image.tag.as_deref().is_some_and(|tag| tag.ends_with(".sig"));
        let alone = image.kind == Kind::Release || (image.kind == Kind::Signature && signature);
        if serves && alone && image.release.is_some() && !components.contains(about) {
            place(update_service::RELEASES.to_owned());
        }
    }
    Ok(out)
}

/// Before the full name of a repository that is not below the target.
const ELSEWHERE: &str = "//";

/// The pairs of different images with the same name.
fn meetings<'p, 'a>(placements: &'p [Placement<'a>]) -> Vec<(&'p Placement<'a>, &'p Placement<'a>)> {
    let mut taken: BTreeMap<(&str, &str), &Placement<'a>> = BTreeMap::new();
    let mut out = Vec::new();
    for placement in placements {
        let Some(tag) = &placement.tag else { continue };
        let first = taken.entry((&placement.repository, tag.as_str())).or_insert(placement);
        if first.image.digest != placement.image.digest {
            out.push((*first, placement));
        }
    }
    out
}

fn named(placement: &Placement<'_>) -> String {
    let tag = placement.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}{tag}", placement.repository)
}

/// Refuses a map that gives an image a name reserved for releases, in the repositories below `target`. The default
/// names of images were already checked when the bundle was verified (MB-VER-15).
pub(super) fn no_release_names(placements: &[Placement<'_>], target: &str) -> Result<()> {
    for placement in placements.iter().filter(|p| p.image.release.is_none()) {
        let own = placement.image.repository.as_deref().map(without_registry);
        let (Some(own), Some(tag)) = (own, &placement.tag) else { continue };
        let place = marks::place(Some(&format!("{target}/{}", placement.repository)));
        if !placement.repository.ends_with(own) && marks::is_release_tag(place, tag.as_str()) {
            return Err(Error::new(
                Code::Usage,
                format!("`{}` is a name that only a release may have", named(placement)),
            )
            .fact(format!("image {}", placement.image.display()))
            .state("nothing was written")
            .hint("give it another place with --map"));
        }
    }
    Ok(())
}

/// Warnings for whoever creates a bundle: images that a registry can only accept with an explicit location.
///
/// # Errors
/// [`Code::Malformed`] for an image that no registry can tag.
pub fn foreseen(index: &Index) -> Result<Vec<String>> {
    let placed = every(index, "", &Placing::default())?;
    let text = |(one, other): &(&Placement<'_>, &Placement<'_>)| {
        let (name, one, other) = (named(one), one.image.display(), other.image.display());
        format!(
            "{one} and {other} would both be `{name}` at a registry: unpack with --placement host, or with --map FROM=TO"
        )
    };
    Ok(meetings(&placed).iter().map(text).collect())
}

fn tag(index: &Index, image: &Image, placing: &Placing) -> Result<Option<Tag>> {
    let invalid = |e: Invalid| Error::new(Code::Malformed, format!("`{}` cannot be tagged: {e}", image.display()));
    let release = image.release.and_then(|digest| index.releases.iter().find(|r| r.digest == digest));
    match (image.kind, release) {
        (Kind::Release, Some(r)) => match (&placing.release_image, &placing.tags) {
            (Some(ReleaseImage { tag: Some(tag), .. }), _) => Ok(Some(tag.clone())),
            (_, Some(pattern)) => pattern.tag(&r.version, &r.architecture, None).map(Some).map_err(invalid),
            _ => tags::release_tag(&r.version, &r.architecture).map(Some).map_err(invalid),
        },
        (Kind::Component, Some(r)) => {
            let name = image.component.as_deref().unwrap_or_default();
            let made = match &placing.tags {
                Some(pattern) => pattern.tag(&r.version, &r.architecture, Some(name)),
                None => tags::component_tag(&r.version, &r.architecture, name),
            };
            made.map(Some).map_err(invalid)
        }
        (Kind::Referrer, _) => Ok(None),
        (_, _) => {
            let text = image.tag.clone().unwrap_or_else(|| format!("{}.image", image.digest.dashed()));
            text.parse().map(Some).map_err(invalid)
        }
    }
}

/// The repository that a [`Placement`] names: `path` below `target`, or one elsewhere.
pub fn below(target: &Repository, path: &str) -> Result<Repository> {
    if path.is_empty() {
        return Ok(target.clone());
    }
    if let Some(elsewhere) = path.strip_prefix(ELSEWHERE) {
        return elsewhere.parse().map_err(|e: Invalid| Error::new(Code::Malformed, e.to_string()));
    }
    target.join(path).map_err(|e| Error::new(Code::Malformed, format!("`{path}` cannot be pushed below {target}: {e}")))
}

/// Supplies the manifests and indexes of a bundle.
pub type Documents<'a, 'b> = dyn Fn(&Digest) -> Option<&'a [u8]> + 'b;

/// The closure of the placed images, and the position of each in it.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_repository_goes_to_its_path_below_its_host_or_where_the_map_says() {
        let plain = Placing::default();
        let host = Placing { by_host: true, ..Placing::default() };
        let maps = ["quay.io/a=x", "quay.io/a/b=y/z", "quay.io=all", "local/c=d"].map(|m| m.parse().unwrap()).to_vec();
        let mapped = Placing { by_host: true, maps, ..Placing::default() };
        for (repository, one, two, three) in [
            ("quay.io/a/b", "a/b", "quay.io/a/b", "y/z"),
            ("quay.io/a/c", "a/c", "quay.io/a/c", "x/c"),
            ("quay.io/ab", "ab", "quay.io/ab", "all/ab"),
            ("localhost:5000/a", "a", "localhost-5000/a", "localhost-5000/a"),
            ("[::1]:5000/a", "a", "1--5000/a", "1--5000/a"),
            ("local/c", "local/c", "local/c", "d"),
        ] {
            assert_eq!([plain.of(repository), host.of(repository), mapped.of(repository)], [one, two, three]);
            assert!(format!("r.io/{}", host.of(repository)).parse::<Repository>().is_ok());
        }
        let bare = Placing { maps: vec!["a/b=x".parse().unwrap()], ..Placing::default() };
        assert_eq!([bare.of("quay.io/a/b"), bare.of("quay.io/a/b/c"), bare.of("quay.io/a/bc")], ["x", "x/c", "a/bc"]);
        for bad in ["a", "=b", "a=", "a=B", "a=../b", "a/=b", "/a=b", "a=b:c", "a=b/"] {
            assert!(bad.parse::<Map>().is_err(), "{bad}");
        }
    }
}
