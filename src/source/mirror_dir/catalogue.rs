//! The manifests of a `v2/` tree: which have no parent, and which refer to another.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Code, Error, Result};
use crate::fs::Dir;
use crate::oci::{self, Descriptor, Digest, Document, Tag, media_type};
use crate::source::files::Files;
use crate::source::layout::referrer;
use crate::source::{Named, guessed};

use super::MirrorDir;
use super::scan::Tree;

/// Every manifest of the tree, read once.
pub(super) struct Catalogue {
    /// Media type and size.
    known: BTreeMap<Digest, (String, u64)>,
    children: HashSet<Digest>,
    subjects: BTreeMap<Digest, Vec<Descriptor>>,
    /// What each index names.
    indexes: BTreeMap<Digest, Vec<Digest>>,
}

impl Catalogue {
    pub(super) fn read(of: &MirrorDir) -> Result<Catalogue> {
        let mut out = Catalogue {
            known: BTreeMap::new(),
            children: HashSet::new(),
            subjects: BTreeMap::new(),
            indexes: BTreeMap::new(),
        };
        for repo in &of.tree.repositories {
            for digest in repo.manifests.iter().chain(repo.tags.iter().map(|(_, d)| d)) {
                if !out.known.contains_key(digest)
                    && let Some((bytes, place)) = of.read_manifest(digest)?
                {
                    out.add(*digest, &bytes, &place)?;
                }
            }
        }
        Ok(out)
    }

    fn add(&mut self, digest: Digest, bytes: &[u8], place: &str) -> Result<()> {
        let media_type = guessed(bytes, place)?;
        self.known.insert(digest, (media_type.clone(), bytes.len() as u64));
        if !media_type::ACCEPTED.contains(&media_type.as_str()) {
            return Ok(());
        }
        if let Some((subject, found)) = referrer(bytes, &media_type, digest, place)? {
            self.subjects.entry(subject).or_default().push(found);
        }
        if media_type::is_index(&media_type)
            && let Ok(Document::Index(index)) = oci::parse(bytes, &media_type)
        {
            let children = index.manifests.iter().map(|m| m.digest);
            self.children.extend(children.clone());
            self.indexes.insert(digest, children.collect());
        }
        Ok(())
    }

    /// All tags, and the untagged manifests that no list contains and that refer to nothing.
    pub(super) fn names(&self, tree: &Tree, v2: &Dir) -> Result<Vec<Named>> {
        let referring: HashSet<Digest> = self.subjects.values().flatten().map(|d| d.digest).collect();
        // A list of referrers, either the tagged one or one it has replaced.
        let is_list = |digest: &Digest| {
            self.indexes.get(digest).is_some_and(|all| !all.is_empty() && all.iter().all(|d| referring.contains(d)))
        };
        let mut out = Vec::new();
        for repo in &tree.repositories {
            let named = |tag: Option<Tag>, digest: Digest| {
                self.known.get(&digest).map(|(media_type, size)| Named {
                    repository: Some(repo.path.clone()),
                    tag,
                    ..Named::unnamed(digest, media_type, *size)
                })
            };
            for (tag, digest) in &repo.tags {
                // A list of referrers is not an image: it is generated again at the destination.
                if is_of_list(tag) && is_list(digest) {
                    continue;
                }
                out.push(named(Some(tag.clone()), *digest).ok_or_else(|| {
                    let place = v2.place(&format!("{}/manifests/{tag}", repo.path));
                    Error::new(Code::BlobMissing, format!("the tag `{place}` points to a manifest that does not exist"))
                        .fact(format!("expected  {digest}"))
                })?);
            }
            let tagged: HashSet<&Digest> = repo.tags.iter().map(|(_, d)| d).collect();
            let alone = |d: &&Digest| {
                !tagged.contains(d) && !self.children.contains(d) && !referring.contains(d) && !is_list(d)
            };
            out.extend(repo.manifests.iter().filter(alone).filter_map(|d| named(None, *d)));
        }
        Ok(out)
    }

    pub(super) fn referrers(&self, digest: &Digest) -> Vec<Descriptor> {
        self.subjects.get(digest).cloned().unwrap_or_default()
    }
}

/// Whether a tag is that of a list of referrers: `sha256-<hex>`.
fn is_of_list(tag: &Tag) -> bool {
    tag.as_str().strip_prefix("sha256-").is_some_and(|hex| Digest::from_hex(hex).is_ok())
}
