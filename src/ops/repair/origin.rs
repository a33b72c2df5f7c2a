//! Possible origins of intact content: copies of the bundle, other local sources, repositories of registries; and which
//! images need which blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::identity::{self, Known};
use super::named::Local;
use super::parts::{Part, PartCopy};
use crate::bundle::index::Index;
use crate::bundle::limits;
use crate::bundle::survey::{Blueprint, Damage};
use crate::bundle::volume::Volume;
use crate::error::{Error, Result};
use crate::graph::Closure;
use crate::oci::{Digest, Repository, without_registry};
use crate::source::{Bench, Network, Source};

/// A location in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This repository, and the repositories that `unpack --to` puts below it.
    Repository(Repository),
    /// The repositories of this registry that images came from.
    Registry(String),
}

type Classified = (Vec<PartCopy>, Vec<Arc<dyn Source>>);

/// Separates copies of the parts from everything else that may hold some blobs (including an older bundle).
pub(super) fn classify(
    locals: Vec<Local>,
    parts: &[Part],
    known: &Known,
    check: &dyn Fn() -> Result<()>,
) -> Result<Classified> {
    let open = |path: &Path| -> Result<Arc<dyn Source>> {
        Ok(crate::source::open(path, Bench { room: crate::fs::dir::folder_of(path), check })?.into())
    };
    let (mut copies, mut sources) = (Vec::new(), Vec::new());
    for local in locals {
        let Some(file) = local.file else {
            sources.push(open(&local.path)?);
            continue;
        };
        let length = file.metadata().map_err(|e| Error::io("cannot read", &local.path, e))?.len();
        let is_copy = |part: &Part| match &local.head {
            Some(head) => {
                let volume = head.volume.as_deref().and_then(|bytes| Volume::parse(bytes).ok());
                let same = match (&part.blueprint.volume, &volume) {
                    (Some(a), Some(b)) => a.volume == b.volume && a.is_with(b),
                    (None, None) => true,
                    _ => false,
                };
                // Of a bundle from which something else was removed, or of another form, the members are elsewhere.
                same && head.digest() == known.head.digest() && head.form() == known.head.form()
            }
            None => identity::headers_agree(&file, length, &part.blueprint),
        };
        match parts.iter().position(is_copy) {
            Some(part) => {
                copies.push(PartCopy {
                    part,
                    name: local.path.display().to_string(),
                    file,
                    length,
                    damage: None,
                    moves: None,
                });
            }
            None => sources.push(open(&local.path)?),
        }
    }
    Ok((copies, sources))
}

/// Which images need a blob, as far as intact documents show.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses(BTreeMap<Digest, BTreeSet<usize>>);

impl Uses {
    /// Reads the intact documents in these files; the damage of each file is given.
    pub(super) fn read<'a>(
        index: &Index,
        files: impl Iterator<Item = (&'a File, &'a Blueprint, &'a [Damage])>,
    ) -> Uses {
        use std::os::unix::fs::FileExt;
        let mut places: BTreeMap<Digest, (&File, u64, u64)> = BTreeMap::new();
        for (file, blueprint, damage) in files {
            let whole = blueprint.layout.members().iter().zip(damage).filter(|(_, d)| !d.content);
            places.extend(whole.filter_map(|(m, _)| Some((m.digest?, (file, m.data(), m.size)))));
        }
        let document = |digest: &Digest| -> Option<Vec<u8>> {
            let (file, at, size) = *places.get(digest)?;
            let mut bytes = vec![0; usize::try_from(size.min(limits::DOCUMENT)).ok()?];
            file.read_exact_at(&mut bytes, at).ok()?;
            Some(bytes)
        };
        let mut uses = Uses::default();
        let mut closure = Closure::default();
        for (number, image) in index.images.iter().enumerate() {
            // A read error here is a gap, not a failure.
            let Ok(root) = closure.add(&image.descriptor(), &mut |digest| Ok(document(digest))) else { continue };
            closure.visit(root, &mut |_, node| uses.0.entry(node.digest).or_default().insert(number));
        }
        uses
    }

    /// The images that need this blob, as text.
    pub(super) fn images(&self, digest: &Digest, index: &Index) -> Vec<String> {
        let numbers = self.0.get(digest).into_iter().flatten();
        numbers.filter_map(|n| index.images.get(*n)).map(|image| image.display().to_string()).collect()
    }

    /// The repositories of the images that need this blob; all repositories if no image is known to need it.
    fn repositories(&self, digest: &Digest, index: &Index) -> BTreeSet<String> {
        let known = self.0.get(digest);
        let images = index.images.iter().enumerate().filter(|(n, _)| known.is_none_or(|k| k.contains(n)));
        images.filter_map(|(_, image)| image.repository.clone()).collect()
    }
}

/// The most repositories to try for one blob.
const ASKED: usize = 64;

/// The repositories that may have a blob, the likeliest first.
pub(super) fn places(
    origin: &Origin,
    digest: &Digest,
    uses: &Uses,
    index: &Index,
    network: &dyn Network,
) -> Vec<Arc<dyn Source>> {
    let came_from = uses.repositories(digest, index);
    let mut out: Vec<Repository> = Vec::new();
    let mut add = |found: Option<Repository>| {
        if let Some(repository) = found
            && !out.contains(&repository)
            && out.len() < ASKED
        {
            out.push(repository);
        }
    };
    match origin {
        Origin::Repository(base) => {
            add(Some(base.clone()));
            came_from.iter().for_each(|r| add(base.join(without_registry(r)).ok()));
        }
        Origin::Registry(host) => {
            came_from.iter().for_each(|r| add(r.parse().ok().filter(|r: &Repository| r.registry() == host)));
            came_from.iter().for_each(|r| add(format!("{host}/{}", without_registry(r)).parse().ok()));
        }
    }
    out.iter().map(|repository| network.repository(repository)).collect()
}
