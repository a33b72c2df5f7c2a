//! The names in a `v2/` tree: repositories, tags, and the location of each digest.

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind};
use crate::oci::{Digest, Repository, Tag};
use crate::source::files::Files;
use crate::source::{MAX_MANIFEST, Named};

/// The most files of a whole tree.
const MAX_FILES: usize = 1_000_000;

/// A repository of the tree.
pub(super) struct Repo {
    /// Its path below `v2/`.
    pub(super) path: String,
    /// Tags and their targets, sorted.
    pub(super) tags: Vec<(Tag, Digest)>,
    /// Manifests named by digest, sorted.
    pub(super) manifests: Vec<Digest>,
}

/// The tree's names. Positions are in `repositories`.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) repositories: Vec<Repo>,
    blobs: HashMap<Digest, Vec<u32>>,
    manifests: HashMap<Digest, Vec<u32>>,
    /// Manifests that exist only as a plain copy under a tag.
    copies: HashMap<Digest, Vec<String>>,
    files: usize,
}

/// Lists the tree beneath `v2`.
pub(super) fn scan(v2: &Dir) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        let opened = if path.is_empty() { None } else { v2.dir(&path)? };
        let here = opened.as_ref().unwrap_or(v2);
        let mut repo = Repo { path: path.clone(), tags: Vec::new(), manifests: Vec::new() };
        let mut is_repo = false;
        for (name, kind) in here.entries()? {
            tree.count(v2)?;
            let content = !path.is_empty() && matches!(name.as_str(), "blobs" | "manifests");
            match kind {
                EntryKind::Directory if content => {
                    is_repo = true;
                    let Some(dir) = here.dir(&name)? else { continue };
                    let at = u32::try_from(tree.repositories.len()).unwrap_or(u32::MAX);
                    if name == "blobs" { tree.blobs(&dir, at)? } else { tree.manifests(&dir, at, &mut repo)? }
                }
                EntryKind::Directory if name.starts_with('.') || name == "lost+found" => {}
                EntryKind::Directory => {
                    let below = if path.is_empty() { name } else { format!("{path}/{name}") };
                    format!("localhost/{below}").parse::<Repository>().map_err(|e| {
                        Error::new(Code::Malformed, format!("`{}` is not a repository: {e}", v2.place(&below)))
                    })?;
                    todo.push(below);
                }
                EntryKind::Symlink => return Err(here.wrong(&name, "a directory").fact("it is a symbolic link")),
                EntryKind::File | EntryKind::Other => {}
            }
        }
        if is_repo {
            tree.repositories.push(repo);
        }
    }
    Ok(tree)
}

impl Tree {
    /// Every tag with its digest; sizes and media types are not known yet.
    pub(super) fn tagged(&self) -> Vec<Named> {
        let named = |path: &str, tag: &Tag, digest: &Digest| Named {
            repository: Some(path.to_owned()),
            tag: Some(tag.clone()),
            ..Named::unnamed(*digest, "", 0)
        };
        self.repositories.iter().flat_map(|r| r.tags.iter().map(move |(t, d)| named(&r.path, t, d))).collect()
    }

    /// Possible locations of the manifest, likeliest first.
    pub(super) fn manifest_places(&self, digest: &Digest) -> Vec<String> {
        let mut out = self.places(&self.manifests, "manifests", digest);
        out.extend(self.blob_places(digest));
        out.extend(self.copies.get(digest).into_iter().flatten().cloned());
        out
    }

    /// Possible locations of the blob.
    pub(super) fn blob_places(&self, digest: &Digest) -> Vec<String> {
        self.places(&self.blobs, "blobs", digest)
    }

    fn places(&self, known: &HashMap<Digest, Vec<u32>>, folder: &str, digest: &Digest) -> Vec<String> {
        let repos = known.get(digest).into_iter().flatten();
        let repos = repos.filter_map(|at| self.repositories.get(*at as usize));
        let both = |r: &Repo| [digest.to_string(), digest.dashed()].map(|n| format!("{}/{folder}/{n}", r.path));
        repos.flat_map(both).collect()
    }

    fn blobs(&mut self, dir: &Dir, at: u32) -> Result<()> {
        for (name, _) in dir.entries()? {
            self.count(dir)?;
            if unfinished(&name) {
                continue;
            }
            let digest = digest_name(&name).ok_or_else(|| stray(dir, &name))?;
            note(&mut self.blobs, digest, at);
        }
        Ok(())
    }

    fn manifests(&mut self, dir: &Dir, at: u32, repo: &mut Repo) -> Result<()> {
        for (name, kind) in dir.entries()? {
            self.count(dir)?;
            if unfinished(&name) {
                continue;
            }
            let tag = name.parse::<Tag>().ok();
            match (kind, digest_name(&name), tag) {
                (EntryKind::Symlink, digest, Some(tag)) => {
                    let target = self.target(dir, &name)?;
                    match digest {
                        // A symbolic link in place of a hard link, not the tag of a referrers list.
                        Some(digest) if digest == target => note(&mut self.manifests, digest, at),
                        _ => repo.tags.push((tag, target)),
                    }
                }
                (_, Some(digest), _) => {
                    note(&mut self.manifests, digest, at);
                    repo.manifests.push(digest);
                }
                (EntryKind::File, None, Some(tag)) => {
                    let place = format!("{}/manifests/{name}", repo.path);
                    let digest = Digest::of(&dir.read(&name, MAX_MANIFEST)?.unwrap_or_default());
                    self.copies.entry(digest).or_default().push(place);
                    repo.tags.push((tag, digest));
                }
                (EntryKind::Directory | EntryKind::Other, None, Some(_)) => return Err(dir.wrong(&name, "a tag")),
                (_, None, None) => return Err(stray(dir, &name)),
            }
        }
        repo.manifests.sort();
        repo.manifests.dedup();
        Ok(())
    }

    /// The digest in the last component of a tag's link target.
    fn target(&self, dir: &Dir, name: &str) -> Result<Digest> {
        let target = dir.read_link(name)?.unwrap_or_default();
        let base = target.rsplit('/').next().unwrap_or_default();
        digest_name(base).ok_or_else(|| {
            Error::new(Code::Malformed, format!("the tag `{}` does not point to a digest", dir.at(name).display()))
                .fact(format!("points to  `{target}`"))
        })
    }

    fn count(&mut self, dir: &Dir) -> Result<()> {
        self.files += 1;
        if self.files > MAX_FILES {
            let text = format!("`{}` holds more than {MAX_FILES} files", dir.path().display());
            return Err(Error::new(Code::Malformed, text));
        }
        Ok(())
    }
}

fn note(known: &mut HashMap<Digest, Vec<u32>>, digest: Digest, at: u32) {
    let places = known.entry(digest).or_default();
    if places.last() != Some(&at) {
        places.push(at);
    }
}

/// `sha256:<hex>` or `sha256-<hex>`.
fn digest_name(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("sha256:").or_else(|| name.strip_prefix("sha256-"))?;
    Digest::from_hex(hex).ok()
}

/// Leftovers of an interrupted oc (`*.download`, `.tmp-*`) or this program (`.mirror-bundle-*`), and dot files.
fn unfinished(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".download")
}

fn stray(dir: &Dir, name: &str) -> Error {
    Error::new(Code::Malformed, format!("`{}` does not belong in a mirror directory", dir.at(name).display()))
        .fact("expected  names sha256:<hex> or sha256-<hex>, and tags beside manifests")
}
