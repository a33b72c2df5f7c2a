//! The content below some images, as far as their documents are available.

use std::collections::{BTreeSet, HashMap};

use super::DEPTH;
use crate::error::Result;
use crate::oci::{Descriptor, Digest, Document, media_type, parse};

/// Documents and what they name; a document shared by many images is read once. The nodes are ordered so that
/// everything precedes what names it; so one pass sums up what is below each node.
///
/// It takes documents as they are: one that cannot be read, or is nested deeper than [`DEPTH`], has nothing below it
/// here.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    nodes: Vec<Node>,
    known: HashMap<(Digest, String), usize>,
}

/// A document, or a blob that one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, from the first descriptor of it.
    pub size: u64,
    /// The media type of a manifest or index. One digest under two types is two nodes.
    pub document: Option<String>,
    /// Whether it was read; only then can it have children.
    pub read: bool,
    /// The number of levels of documents below it.
    pub height: usize,
    /// What it names, in its own order: positions among the nodes, all smaller than its own.
    pub children: Vec<usize>,
}

impl Node {
    fn new(at: &Descriptor, document: Option<String>) -> Node {
        Node { digest: at.digest, size: at.size, document, read: false, height: 0, children: Vec::new() }
    }
}

impl Closure {
    /// Adds an image and everything below it; `read` returns the bytes of a document, or `None`. Returns the position
    /// of the image among the nodes.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn add<B: AsRef<[u8]>>(
        &mut self,
        root: &Descriptor,
        read: &mut dyn FnMut(&Digest) -> Result<Option<B>>,
    ) -> Result<usize> {
        self.descend(root, 0, read)
    }

    fn descend<B: AsRef<[u8]>>(
        &mut self,
        at: &Descriptor,
        depth: usize,
        read: &mut dyn FnMut(&Digest) -> Result<Option<B>>,
    ) -> Result<usize> {
        if !media_type::is_index(&at.media_type) && !media_type::is_manifest(&at.media_type) {
            return Ok(self.blob(at));
        }
        let key = (at.digest, at.media_type.clone());
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let mut node = Node::new(at, Some(at.media_type.clone()));
        // Not remembered: the same document may also be nested less deeply elsewhere.
        if depth > DEPTH {
            return Ok(self.push(node));
        }
        if let Some(document) = read(&at.digest)?.and_then(|bytes| parse(bytes.as_ref(), &at.media_type).ok()) {
            node.read = true;
            // Everything that a manifest names is content, whatever its media type.
            let is_index = matches!(document, Document::Index(_));
            for child in document.children() {
                let child = if is_index { self.descend(child, depth + 1, read)? } else { self.blob(child) };
                if self.nodes[child].document.is_some() {
                    node.height = node.height.max(self.nodes[child].height + 1);
                }
                node.children.push(child);
            }
        }
        let position = self.push(node);
        self.known.insert(key, position);
        Ok(position)
    }

    /// Adds a blob; its media type does not matter.
    fn blob(&mut self, at: &Descriptor) -> usize {
        let key = (at.digest, String::new());
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let position = self.push(Node::new(at, None));
        self.known.insert(key, position);
        position
    }

    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// All nodes; everything precedes what names it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The images at `roots` and everything below them; each node once, after everything it names.
    pub fn below(&self, roots: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &Node> {
        let mut seen = BTreeSet::new();
        for root in roots {
            self.visit(root, &mut |at, _| seen.insert(at));
        }
        seen.into_iter().map(|at| &self.nodes[at])
    }

    /// Visits the image at `root` and everything below it, parents first, in the order of the documents. When `visit`
    /// returns false, what is below that node is skipped; it must return false for a node it has seen.
    pub fn visit(&self, root: usize, visit: &mut dyn FnMut(usize, &Node) -> bool) {
        let mut next = vec![root];
        while let Some(at) = next.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            if visit(at, node) {
                next.extend(node.children.iter().rev());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::oci::IndexOf;

    /// Documents by digest.
    #[derive(Default)]
    struct Shelf(BTreeMap<Digest, Vec<u8>>, usize);

    impl Shelf {
        fn index(&mut self, of: &[Descriptor]) -> Descriptor {
            let bytes = IndexOf(of.to_vec()).to_vec().unwrap();
            let it = Descriptor::new(media_type::OCI_INDEX, Digest::of(&bytes), bytes.len() as u64);
            self.0.insert(it.digest, bytes);
            it
        }

        fn add(&mut self, closure: &mut Closure, root: &Descriptor) -> usize {
            let mut read = |digest: &Digest| {
                self.1 += 1;
                Ok(self.0.get(digest).cloned())
            };
            closure.add(root, &mut read).unwrap()
        }
    }

    fn blob(name: &str) -> Descriptor {
        Descriptor::new("application/x", Digest::of(name.as_bytes()), 1)
    }

    #[test]
    fn everything_comes_before_what_names_it_and_heights_count_documents() {
        let mut shelf = Shelf::default();
        let low = shelf.index(&[blob("b"), blob("a")]);
        let high = shelf.index(&[low.clone(), blob("a")]);
        let mut closure = Closure::default();
        let root = shelf.add(&mut closure, &high);
        let seen: Vec<Digest> = closure.below([root]).map(|n| n.digest).collect();
        assert_eq!(seen, [blob("b").digest, blob("a").digest, low.digest, high.digest]);
        assert_eq!(closure.nodes().iter().map(|n| n.height).collect::<Vec<_>>(), [0, 0, 0, 1]);
        let mut order = Vec::new();
        let mut first = BTreeSet::new();
        closure.visit(root, &mut |at, node| {
            order.push(node.digest);
            first.insert(at)
        });
        assert_eq!(order[..3], [high.digest, low.digest, blob("b").digest], "parents first, in order");
    }

    #[test]
    fn a_document_that_many_name_is_read_once_and_a_wide_graph_is_linear() {
        let mut shelf = Shelf::default();
        let leaf = shelf.index(&vec![blob("a"); 1000]);
        let mut wide: Vec<Descriptor> = vec![leaf; 1000];
        wide.push(shelf.index(&[blob("other")]));
        let root = shelf.index(&wide);
        let mut closure = Closure::default();
        for _ in 0..1000 {
            shelf.add(&mut closure, &root);
        }
        assert_eq!((shelf.1, closure.nodes().len()), (3, 5));
        assert_eq!(closure.below([4, 4]).count(), 5);
    }

    #[test]
    fn what_is_nested_too_deeply_is_not_followed_there_and_is_elsewhere() {
        let mut shelf = Shelf::default();
        let mut chain = vec![shelf.index(&[blob("bottom")])];
        for _ in 0..=DEPTH {
            let below = chain.last().unwrap().clone();
            chain.push(shelf.index(&[below]));
        }
        let mut closure = Closure::default();
        let top = shelf.add(&mut closure, chain.last().unwrap());
        assert!(!closure.below([top]).any(|n| n.digest == blob("bottom").digest));
        let less = shelf.add(&mut closure, &chain[0]);
        assert!(closure.below([less]).any(|n| n.digest == blob("bottom").digest));
    }

    #[test]
    fn one_digest_under_two_media_types_is_two_documents() {
        let mut shelf = Shelf::default();
        let index = shelf.index(&[blob("a")]);
        let alias = Descriptor { media_type: media_type::OCI_MANIFEST.into(), ..index.clone() };
        let mut closure = Closure::default();
        let (one, other) = (shelf.add(&mut closure, &index), shelf.add(&mut closure, &alias));
        assert!(closure.nodes()[one].read && !closure.nodes()[other].read);
    }

    #[test]
    fn a_failure_to_read_is_passed_on_and_a_gap_is_not_one() {
        let root = Descriptor::new(media_type::OCI_INDEX, Digest::of(b"x"), 1);
        let mut fails = |_: &Digest| Err::<Option<Vec<u8>>, _>(crate::Error::new(crate::Code::Io, "broken"));
        assert_eq!(Closure::default().add(&root, &mut fails).unwrap_err().code(), crate::Code::Io);
        let mut closure = Closure::default();
        closure.add(&root, &mut |_: &Digest| Ok(None::<Vec<u8>>)).unwrap();
        assert!(!closure.nodes()[0].read);
    }
}
