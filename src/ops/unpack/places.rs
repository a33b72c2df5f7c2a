//! Where everything went: for a program, as a mapping for `oc image mirror`, and as mirror sets for a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bundle::index::Kind;
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, dir, small};
use crate::oci::Repository;
use crate::openshift::mirror_set::{self, MirrorSetKind};
use crate::sink::destination::{Destination, Placed};
use crate::sink::files;

/// The most bytes of a mapping that is there already.
const MAPPING: u64 = 16 << 20;

/// An image, where it came from and where it is now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The reference that it has in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it is: `REGISTRY/REPOSITORY:TAG`, `file://REPOSITORY:TAG` in a mirror directory, `oci:DIR:NAME` in a layout.
    pub target: String,
    /// Digest of its manifest or index, the same there as here.
    pub digest: String,
    /// Its tag there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Why it is in the bundle.
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

/// The repository that an image was taken from, if it was at a registry.
fn origin(placed: &Placed<'_>) -> Option<Repository> {
    placed.image.repository.as_deref().and_then(|r| r.parse().ok())
}

/// `SRC=DST` lines as `oc image mirror -f` takes them, sorted: a source by digest, a destination by tag. What came from
/// no registry is a comment; what has no tag is carried by what it refers to.
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

/// Whether [`write_mapping`] would fail, as far as that can be seen before.
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

/// Writes a mapping, over one that is there.
pub(super) fn write_mapping(to: &Path, text: &[u8]) -> Result<()> {
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".partial");
    let done = AtomicFile::begin(Path::new(&temporary)).and_then(|file| file.commit(text, to, true));
    done.map_err(|e| Error::io("cannot write", to, e))
}

/// Which mirror sets are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MirrorSets {
    /// By digest; by tag too, where a bundle has images that were asked for by tag.
    #[default]
    AsNeeded,
    /// These.
    Kinds(Vec<MirrorSetKind>),
}

/// The mirror sets of a registry, releases and everything else apart: file names and contents.
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

/// Mirror sets of other bundles stay where these are written.
pub(super) fn beside_others() -> files::Rules {
    files::Rules { overwrite: true, keep: Some(mirror_set::is_own) }
}
