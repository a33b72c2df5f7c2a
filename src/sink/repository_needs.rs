//! Which repositories need which blobs.

use std::collections::BTreeMap;

use super::placement::{self, Documents, Placement};
use crate::bundle::limits;
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// The blobs (not the documents) of every repository. Each repository is stored once, however many blobs it needs.
#[derive(Debug, Default)]
pub(super) struct RepositoryNeeds {
    repositories: Vec<String>,
    /// Positions of repositories, ascending.
    blobs: BTreeMap<Digest, Vec<u32>>,
}

impl RepositoryNeeds {
    /// Collects what the placed images need.
    ///
    /// # Errors
    /// [`Code::Malformed`] for more than [`limits::PLACES`]: a few small documents must not create an unbounded list.
    pub(super) fn of(placements: &[Placement<'_>], document: &Documents<'_, '_>) -> Result<RepositoryNeeds> {
        let (closure, roots) = placement::closure(placements, document)?;
        let mut images: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (placement, root) in placements.iter().zip(roots) {
            images.entry(&placement.repository).or_default().push(root);
        }
        let (mut needs, mut places) = (RepositoryNeeds::default(), 0);
        for (at, (repository, roots)) in (0u32..).zip(images) {
            needs.repositories.push(repository.to_owned());
            for node in closure.below(roots) {
                places += 1;
                if places > limits::PLACES {
                    return Err(too_many());
                }
                if node.document.is_none() {
                    needs.blobs.entry(node.digest).or_default().push(at);
                }
            }
        }
        Ok(needs)
    }

    /// The repositories that need a blob; `None` if none does.
    pub(super) fn repositories(&self, blob: &Digest) -> Option<impl Iterator<Item = &str>> {
        let at = self.blobs.get(blob)?;
        Some(at.iter().filter_map(|at| self.repositories.get(*at as usize)).map(String::as_str))
    }
}

#[cfg(feature = "registry")]
impl RepositoryNeeds {
    /// Whether this repository needs a blob.
    pub(super) fn needs(&self, blob: &Digest, repository: &str) -> bool {
        self.repositories(blob).is_some_and(|mut all| all.any(|one| one == repository))
    }
}

fn too_many() -> Error {
    let text = format!("the images need more than {} documents and blobs in repositories together", limits::PLACES);
    Error::new(Code::Malformed, text)
        .state("nothing was written")
        .hint("an OCI layout has each of them once: --to-layout")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::index::{Image, Kind};
    use crate::oci::media_type;

    /// An image manifest with this many layers.
    fn manifest(layers: usize) -> Vec<u8> {
        let one = |n: usize| {
            let digest = Digest::of(&n.to_be_bytes());
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":1}}"#)
        };
        let layers: Vec<String> = (1..=layers).map(one).collect();
        let config = one(0);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(",")).into_bytes()
    }

    fn image(bytes: &[u8]) -> Image {
        Image {
            repository: None,
            tag: None,
            digest: Digest::of(bytes),
            media_type: media_type::OCI_MANIFEST.into(),
            size: bytes.len() as u64,
            platforms: vec![],
            kind: Kind::Additional,
            component: None,
            release: None,
            subject: None,
            derived: None,
            requested_by: "layout".into(),
        }
    }

    fn needs(layers: usize, repositories: usize) -> Result<RepositoryNeeds> {
        let bytes = manifest(layers);
        let image = image(&bytes);
        let place = |n: usize| Placement { image: &image, repository: format!("r/{n:06}"), tag: None };
        let placements: Vec<Placement<'_>> = (0..repositories).map(place).collect();
        RepositoryNeeds::of(&placements, &|digest| (*digest == image.digest).then_some(bytes.as_slice()))
    }

    #[test]
    fn a_blob_is_needed_by_every_repository_that_has_an_image_with_it() {
        let found = needs(2, 3).unwrap();
        let layer = Digest::of(&1usize.to_be_bytes());
        assert_eq!(found.repositories(&layer).unwrap().collect::<Vec<_>>(), ["r/000000", "r/000001", "r/000002"]);
        assert!(found.repositories(&Digest::of(b"other")).is_none());
    }

    #[test]
    fn one_manifest_in_very_many_repositories_is_refused_at_a_bound() {
        // As many as an index and a document can hold: 10,000 x 10,000.
        let err = needs(10_000, 10_000).unwrap_err();
        assert_eq!(err.code(), Code::Malformed);
        assert!(err.to_string().contains("2000000"), "{err}");
    }
}
