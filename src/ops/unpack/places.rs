//! Records where everything went: as JSON, as a mapping for `oc image mirror`, and as mirror sets for a cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::bundle::index::Kind;
use crate::error::{Code, Error, Result};
use crate::kubernetes::MirrorSetKind;
use crate::oci::Repository;
use crate::openshift::mirror_set::{self, SourcePolicy};
use crate::sink::destination::Placed;
use crate::sink::files;

/// An image, its origin and its location.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The reference that it has in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its location: `REGISTRY/REPOSITORY:TAG`, `file://REPOSITORY:TAG` in a mirror directory, `oci:DIR:NAME` in a
    /// layout.
    pub target: String,
    /// Digest of its manifest or index, the same there as here.
    pub digest: String,
    /// Its tag at the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Why the bundle contains it.
    pub kind: Kind,
}

impl From<&Placed<'_>> for Entry {
    fn from(placed: &Placed<'_>) -> Entry {
        Entry {
            source: placed.image.reference(),
            target: placed.target(),
            digest: placed.image.digest.to_string(),
            tag: placed.tag.clone(),
            kind: placed.image.kind,
        }
    }
}

/// The repository that an image was taken from, if it came from a registry.
fn origin(placed: &Placed<'_>) -> Option<Repository> {
    placed.image.repository.as_deref().and_then(|r| r.parse().ok())
}

/// `SRC=DST` lines as `oc image mirror -f` reads them, sorted: a source by digest, a destination by tag. An image that
/// did not come from a registry becomes a comment; an image without a tag is carried by the image that refers to it.
pub(super) fn mapping(placed: &[Placed<'_>]) -> Vec<u8> {
    let lines: BTreeSet<String> = placed
        .iter()
        .filter(|placed| placed.tag.is_some() && !placed.is_layout())
        .map(|placed| match origin(placed) {
            Some(source) => format!("{source}@{}={}\n", placed.image.digest, placed.target()),
            None => format!("# of no registry: {} {}\n", placed.image.digest, placed.target()),
        })
        .collect();
    lines.into_iter().collect::<String>().into_bytes()
}

/// Which mirror sets to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MirrorSets {
    /// By digest; also by tag, if the bundle has images that were requested by tag.
    #[default]
    AsNeeded,
    /// Only these kinds.
    Kinds(Vec<MirrorSetKind>),
}

/// What a registry mirrors.
pub(super) struct Mirrors<'a> {
    /// The repository given with `--to`.
    pub(super) target: &'a Repository,
    /// The repository of release images.
    pub(super) release: Repository,
    /// The repositories that good release signatures name.
    pub(super) signed: Vec<Repository>,
    /// Where everything is.
    pub(super) placed: &'a [Placed<'a>],
}

impl Mirrors<'_> {
    /// The pairs of source and mirror for a kind of mirror set: of releases, or of everything else.
    pub(super) fn pairs(&self, kind: MirrorSetKind, release: bool) -> Vec<(Repository, Repository)> {
        let mut pairs: Vec<(Repository, Repository)> = Vec::new();
        for placed in self.placed.iter().filter(|placed| placed.at_registry()) {
            let fits = match placed.image.kind {
                Kind::Release | Kind::Component => release && kind != MirrorSetKind::Tag,
                Kind::Additional => !release && (kind != MirrorSetKind::Tag || placed.image.tag.is_some()),
                Kind::Signature | Kind::Referrer | Kind::GraphData => false,
            };
            // The second copy of a release is for the update service alone.
            let copy = placed.image.kind == Kind::Release && placed.repository != self.release.to_string();
            let mirror: Option<Repository> = placed.repository.parse().ok().filter(|_| !copy);
            if let (true, Some(source), Some(mirror)) = (fits, origin(placed), mirror) {
                let pair = (source, mirror);
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
        }
        if release && kind != MirrorSetKind::Tag {
            pairs.extend(self.signed.iter().map(|source| (source.clone(), self.release.clone())));
        }
        pairs
    }

    /// The mirror sets, separate for releases and everything else: file names and contents.
    pub(super) fn sets(&self, wanted: &MirrorSets, policy: Option<SourcePolicy>) -> Result<Vec<(String, Vec<u8>)>> {
        let kinds = match wanted {
            MirrorSets::AsNeeded => &[MirrorSetKind::Digest, MirrorSetKind::Tag][..],
            MirrorSets::Kinds(kinds) => kinds,
        };
        let mut out = Vec::new();
        for kind in kinds {
            for pairs in [true, false].map(|release| self.pairs(*kind, release)) {
                if pairs.is_empty() {
                    continue;
                }
                let made = mirror_set::object(*kind, self.target, &pairs, policy).map_err(|e| {
                    Error::new(Code::Usage, format!("no mirror set can be written for {}: {e}", self.target))
                        .hint("--mirror-set none leaves it out")
                })?;
                out.push((format!("{}.yaml", made.name), made.text.into_bytes()));
            }
        }
        Ok(out)
    }
}

/// Mirror sets of other bundles in the same folder are kept.
pub(super) fn beside_others() -> files::Rules {
    files::Rules { overwrite: true, keep: Some(mirror_set::is_own) }
}

/// How many other mirror sets are in the folder of these.
pub(super) fn others(files: &[PathBuf]) -> usize {
    let Some(folder) = files.first().and_then(|file| file.parent()) else { return 0 };
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter(|entry| !files.contains(&entry.path())).count()
}
