//! Records where everything went: as JSON, as a mapping for `oc image mirror`, and as mirror sets for a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bundle::index::Kind;
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, dir, small};
use crate::oci::Repository;
use crate::openshift::mirror_set::{self, MirrorSetKind};
use crate::sink::destination::{Destination, Placed};
use crate::sink::files;

/// The largest existing mapping that is read, in bytes.
const MAPPING: u64 = 16 << 20;

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

/// Checks whether [`write_mapping`] would fail, as far as possible in advance.
pub(super) fn check_mapping(to: &Path, text: &[u8], overwrite: bool) -> Result<()> {
    let folder = dir::folder_of(to);
    if to.is_dir() || !folder.is_dir() {
        return Err(Error::new(Code::Usage, format!("the mapping cannot be written to `{}`", to.display()))
            .hint("name a file in a folder that exists: --mapping FILE"));
    }
    crate::fs::space::writable(folder).map_err(|e| Error::io("cannot write in", folder, e))?;
    if !overwrite && dir::exists(to) && !small::read(to, MAPPING).is_ok_and(|there| there == text) {
        return Err(Error::new(Code::Conflict, format!("`{}` exists with other content", to.display()))
            .hint("compare them; --overwrite replaces it"));
    }
    Ok(())
}

/// Writes a mapping, overwriting an existing one.
pub(super) fn write_mapping(to: &Path, text: &[u8]) -> Result<()> {
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".partial");
    let done = AtomicFile::begin(Path::new(&temporary)).and_then(|file| file.commit(text, to, true));
    done.map_err(|e| Error::io("cannot write", to, e))
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

/// The mirror sets of a registry, separate for releases and everything else: file names and contents.
pub(super) fn mirror_sets(
    wanted: &MirrorSets,
    target: &Repository,
    release_home: &Repository,
    signed: &[Repository],
    destinations: &[Box<dyn Destination + '_>],
    index: &crate::bundle::Index,
) -> Result<Vec<(String, Vec<u8>)>> {
    let kinds = match wanted {
        MirrorSets::AsNeeded => &[MirrorSetKind::Digest, MirrorSetKind::Tag][..],
        MirrorSets::Kinds(kinds) => kinds,
    };
    let placed: Vec<Placed> = destinations.iter().flat_map(|d| d.placed(index)).filter(|p| p.at_registry()).collect();
    let mut out = Vec::new();
    for kind in kinds {
        for release in [true, false] {
            let mut pairs: Vec<(Repository, Repository)> = Vec::new();
            for placed in &placed {
                let fits = match placed.image.kind {
                    Kind::Release | Kind::Component => release && *kind != MirrorSetKind::Tag,
                    Kind::Additional => !release && (*kind != MirrorSetKind::Tag || placed.image.tag.is_some()),
                    Kind::Signature | Kind::Referrer => false,
                };
                let mirror: Option<Repository> = placed.repository.parse().ok();
                if let (true, Some(source), Some(mirror)) = (fits, origin(placed), mirror) {
                    let pair = (source, mirror);
                    if !pairs.contains(&pair) {
                        pairs.push(pair);
                    }
                }
            }
            if release && *kind != MirrorSetKind::Tag {
                pairs.extend(signed.iter().map(|source| (source.clone(), release_home.clone())));
            }
            if !pairs.is_empty() {
                let made = mirror_set::object(*kind, target, &pairs).map_err(|e| {
                    Error::new(Code::Usage, format!("no mirror set can be written for {target}: {e}"))
                        .hint("--mirror-set none leaves it out")
                })?;
                out.push((format!("{}.yaml", made.name), made.text.into_bytes()));
            }
        }
    }
    Ok(out)
}

/// Mirror sets of other bundles in the same folder are kept.
pub(super) fn beside_others() -> files::Rules {
    files::Rules { overwrite: true, keep: Some(mirror_set::is_own) }
}
