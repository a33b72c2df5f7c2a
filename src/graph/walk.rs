//! The content that an image needs: each blob once, with its role and size.
//!
//! Both sides use it: `create` plans what to fetch, and `verify` checks that nothing is missing and nothing is
//! unreferenced (MB-VER-06, MB-OCI-04).

use std::collections::BTreeMap;

use super::{BLOB, DEPTH, DOCUMENT};
use crate::error::{Code, Error, Result};
use crate::oci::{self, Descriptor, Digest, Document, Role, media_type};

/// Characters kept of the reason why a document cannot be read.
const WHY: usize = 1000;

/// Content found by the walk, by digest.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<Digest, Node>,
    /// Documents that could not be read under a media type, and the reason: thousands of images may point to one.
    unreadable: BTreeMap<(Digest, String), String>,
}

/// One blob of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Size in bytes, on which all its descriptors agree.
    pub size: u64,
    /// The first role, in the order of [`Role`].
    pub role: Role,
    /// The media type under which the walk read it as a document, if it did.
    pub media_type: Option<String>,
    /// The number of levels of indexes and manifests below it, as far as walked.
    pub height: usize,
}

impl Graph {
    /// Every blob, by digest.
    pub fn nodes(&self) -> &BTreeMap<Digest, Node> {
        &self.nodes
    }

    /// Walks from `root` down. `fetch` returns a document's bytes, already checked against digest and size, or `None`
    /// to skip it and everything below it; `found` is called for every document that was read.
    ///
    /// # Errors
    /// [`Code::Malformed`] for documents that contradict their descriptors or each other, nest deeper than
    /// [`DEPTH`] or are too large; whatever `fetch` returns.
    pub fn walk<B: AsRef<[u8]>>(
        &mut self,
        root: &Descriptor,
        fetch: &mut dyn FnMut(&Descriptor) -> Result<Option<B>>,
        found: &mut dyn FnMut(&Descriptor, &Document, B),
    ) -> Result<()> {
        self.walk_within(&|_| true, root, fetch, found)
    }

    /// The same, but remembers only the content that `keep` accepts: documents of 16 MiB name 150,000 blobs, and
    /// missing content needs no node.
    ///
    /// # Errors
    /// Those of [`Graph::walk`]; content that is not kept contradicts nothing.
    pub fn walk_within<B: AsRef<[u8]>>(
        &mut self,
        keep: &dyn Fn(&Digest) -> bool,
        root: &Descriptor,
        fetch: &mut dyn FnMut(&Descriptor) -> Result<Option<B>>,
        found: &mut dyn FnMut(&Descriptor, &Document, B),
    ) -> Result<()> {
        self.descend(keep, root, 0, fetch, found).map(|_| ())
    }

    fn descend<B: AsRef<[u8]>>(
        &mut self,
        keep: &dyn Fn(&Digest) -> bool,
        at: &Descriptor,
        depth: usize,
        fetch: &mut dyn FnMut(&Descriptor) -> Result<Option<B>>,
        found: &mut dyn FnMut(&Descriptor, &Document, B),
    ) -> Result<usize> {
        let role = if media_type::is_index(&at.media_type) { Role::Index } else { Role::Manifest };
        let known = self.nodes.get(&at.digest).map_or(0, |n| n.height);
        if depth + known > DEPTH {
            return Err(malformed(at, &format!("indexes are nested deeper than {}", DEPTH)));
        }
        if at.size > DOCUMENT {
            return Err(malformed(at, &format!("a manifest of {} bytes is over the limit of {}", at.size, DOCUMENT)));
        }
        if let Some(media_type) = self.nodes.get(&at.digest).and_then(|n| n.media_type.as_ref()) {
            if *media_type != at.media_type {
                return Err(malformed(at, &format!("it is called both `{media_type}` and `{}`", at.media_type)));
            }
            return self.add(keep, at, role).map(|()| known);
        }
        self.add(keep, at, role)?;
        let read_as = (at.digest, at.media_type.clone());
        if let Some(why) = self.unreadable.get(&read_as) {
            return Err(malformed(at, why));
        }
        let Some(bytes) = fetch(at)? else { return Ok(0) };
        let document = match oci::parse(bytes.as_ref(), &at.media_type) {
            Ok(document) => document,
            Err(e) => {
                // The reason may quote the document, and is remembered.
                let why: String = e.to_string().chars().take(WHY).collect();
                let err = malformed(at, &why);
                self.unreadable.insert(read_as, why);
                return Err(err);
            }
        };
        if let Some(node) = self.nodes.get_mut(&at.digest) {
            node.media_type = Some(at.media_type.clone());
        }
        let mut height = 0;
        match &document {
            Document::Index(index) => {
                for child in &index.manifests {
                    if media_type::is_index(&child.media_type) || media_type::is_manifest(&child.media_type) {
                        height = height.max(1 + self.descend(keep, child, depth + 1, fetch, found)?);
                    } else {
                        self.add(keep, child, Role::Layer)?;
                    }
                }
            }
            Document::Manifest(manifest) => {
                self.add(keep, &manifest.config, Role::Config)?;
                for layer in &manifest.layers {
                    self.add(keep, layer, Role::Layer)?;
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&at.digest) {
            node.height = height;
        }
        found(at, &document, bytes);
        Ok(height)
    }

    fn add(&mut self, keep: &dyn Fn(&Digest) -> bool, what: &Descriptor, role: Role) -> Result<()> {
        if what.size > BLOB {
            return Err(malformed(what, &format!("{} bytes are over the limit of {}", what.size, BLOB)));
        }
        if !keep(&what.digest) {
            return Ok(());
        }
        let node = self.nodes.entry(what.digest).or_insert(Node { size: what.size, role, media_type: None, height: 0 });
        if node.size != what.size {
            return Err(malformed(what, &format!("its size is given as {} and as {} bytes", node.size, what.size)));
        }
        both(what.digest, node.role, role)?;
        node.role = node.role.min(role);
        Ok(())
    }

    /// Leaves out a blob, which then is not part of any image.
    pub fn leave_out(&mut self, digest: &Digest) {
        self.nodes.remove(digest);
    }

    /// Merges another graph into this one. Returns the digests that are new.
    pub fn merge(&mut self, other: Graph) -> Result<Vec<Digest>> {
        let mut new = Vec::new();
        for (digest, theirs) in other.nodes {
            match self.nodes.get_mut(&digest) {
                None => {
                    new.push(digest);
                    self.nodes.insert(digest, theirs);
                }
                Some(ours) if ours.size != theirs.size => {
                    return Err(Error::new(
                        Code::Malformed,
                        format!("the size of {digest} is given as {} and as {} bytes", ours.size, theirs.size),
                    ));
                }
                Some(ours) => {
                    both(digest, ours.role, theirs.role)?;
                    ours.height = ours.height.max(theirs.height);
                    ours.role = ours.role.min(theirs.role);
                    ours.media_type = ours.media_type.take().or(theirs.media_type);
                }
            }
        }
        Ok(new)
    }
}

/// Registries store manifests and blobs separately, so one digest cannot be carried as both.
fn both(digest: Digest, one: Role, other: Role) -> Result<()> {
    if one.is_document() == other.is_document() {
        return Ok(());
    }
    Err(Error::new(Code::Malformed, format!("{digest} is used as {} and as {}", one.as_str(), other.as_str())))
}

fn malformed(at: &Descriptor, why: &str) -> Error {
    Error::new(Code::Malformed, format!("{} cannot be used: {why}", at.digest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    fn index_of(child: &Descriptor) -> Vec<u8> {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            child.media_type, child.digest, child.size
        )
        .into_bytes()
    }

    #[test]
    fn indexes_nested_too_deeply_are_refused() {
        let leaf = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":1}},"layers":[]}}"#,
            Digest::of(b"c")
        );
        let mut documents = vec![leaf.into_bytes()];
        let mut top = descriptor(media_type::OCI_MANIFEST, &documents[0]);
        for level in 0..6 {
            let bytes = index_of(&top);
            top = descriptor(media_type::OCI_INDEX, &bytes);
            documents.push(bytes);
            let mut graph = Graph::default();
            let mut fetch = |d: &Descriptor| Ok(documents.iter().find(|b| Digest::of(b) == d.digest).cloned());
            let walked = graph.walk(&top, &mut fetch, &mut |_, _, _| {});
            assert_eq!(walked.is_ok(), level < 4, "level {level}: {walked:?}");
        }
    }

    #[test]
    fn a_document_that_cannot_be_read_is_looked_at_once() {
        let top = descriptor(media_type::OCI_MANIFEST, b"no JSON");
        let (mut graph, mut fetched) = (Graph::default(), 0);
        for _ in 0..3 {
            let mut fetch = |_: &Descriptor| {
                fetched += 1;
                Ok(Some(b"no JSON".to_vec()))
            };
            assert_eq!(graph.walk(&top, &mut fetch, &mut |_, _, _| {}).unwrap_err().code(), Code::Malformed);
        }
        assert_eq!(fetched, 1);
    }

    #[test]
    fn two_sizes_for_one_digest_are_refused() {
        let config = Digest::of(b"c");
        let doc = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{config}","size":1}},"layers":[{{"mediaType":"x","digest":"{config}","size":2}}]}}"#
        );
        let top = descriptor(media_type::OCI_MANIFEST, doc.as_bytes());
        let walked = Graph::default().walk(&top, &mut |_| Ok(Some(doc.clone().into_bytes())), &mut |_, _, _| {});
        assert_eq!(walked.unwrap_err().code(), Code::Malformed);
    }
}
