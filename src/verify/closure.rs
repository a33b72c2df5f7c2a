//! MB-VER-06: from every image down to every blob, nothing is missing and nothing is unreferenced.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::report::{Check, CheckId, FINDINGS, Finding};
use crate::bundle::index::{Blob, FOREIGN_LAYER, Index, Kind};
use crate::bundle::layout;
use crate::error::{Code, Error};
use crate::graph::Graph;
use crate::oci::{Descriptor, Digest, Document, media_type, parse};

/// Checks that the OCI index is the one derived from the bundle index.
pub(super) fn oci_index(index: &Index, files: &BTreeMap<String, Vec<u8>>, check: &mut Check) {
    let expected = layout::oci_index(index).ok();
    if let Some(found) = files.get(layout::OCI_INDEX)
        && expected.as_ref() != Some(found)
    {
        check.find(Finding::new(
            Code::Malformed,
            layout::OCI_INDEX,
            "index.json does not list the images of the bundle index",
        ));
    }
}

/// Checks that every image is complete, every blob belongs to an image, and sizes and kinds agree. `bad` are documents
/// whose digest was wrong: they are reported elsewhere, and their children are unknown.
pub(super) fn graph(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>, bad: &BTreeSet<Digest>) -> Check {
    let mut check = Check::new(CheckId::ImageGraph);
    check.of = index.images.len() as u64;
    let listed: BTreeMap<Digest, _> = index.blobs.iter().map(|b| (b.digest, b)).collect();
    let foreign: BTreeSet<&str> =
        index.missing.iter().filter(|m| m.reason == FOREIGN_LAYER).map(|m| m.reference.as_str()).collect();
    let left_out = |child: &Descriptor| {
        media_type::is_foreign(&child.media_type) && foreign.contains(child.digest.to_string().as_str())
    };
    if !foreign.is_empty() {
        check.details.push(format!("{} foreign layers were left out when the bundle was made", foreign.len()));
    }
    let mut graph = Graph::default();
    let mut subjects = Subjects::new();
    let missing: RefCell<Missing<'_>> = RefCell::default();
    for image in &index.images {
        let root = image.descriptor();
        let before = missing.borrow().seen;
        let walked = graph.walk_within(
            &|digest| listed.contains_key(digest),
            &root,
            &mut |what| match documents.get(&what.digest) {
                Some(bytes) if bytes.len() as u64 == what.size => Ok(Some(bytes)),
                Some(bytes) => Err(size(&what.digest, what.size, bytes.len() as u64)),
                None if bad.contains(&what.digest) => Ok(None),
                None if listed.contains_key(&what.digest) => Err(Error::new(
                    Code::Malformed,
                    format!("{} is used as a document and not listed as one", what.digest),
                )),
                None => {
                    missing.borrow_mut().add(what, image);
                    Ok(None)
                }
            },
            &mut |_, document, _| {
                let config = match document {
                    Document::Manifest(manifest) => Some(&manifest.config),
                    Document::Index(_) => None,
                };
                for child in document.children() {
                    let is_config = config.is_some_and(|config| std::ptr::eq(config, child));
                    if !listed.contains_key(&child.digest) && (is_config || !left_out(child)) {
                        missing.borrow_mut().add(child, image);
                    }
                }
            },
        );
        match walked {
            Ok(()) if missing.borrow().seen == before => check.examined += 1,
            Ok(()) => {}
            Err(e) => check.find(Finding::of(image.display(), &e)),
        }
        attachment(&listed, image, documents, &mut subjects, &mut check);
    }
    let missing = missing.into_inner();
    let total = index.blobs.len();
    for (digest, (size, image)) in &missing.first {
        check.find(
            Finding::new(Code::BlobMissing, digest.to_string(), format!("{digest} is needed and not in the bundle"))
                .fact(format!("{size} bytes, of {}", image.display()))
                .fact(format!("{total} blobs are listed"))
                .hint("the bundle was created incomplete; ask the builder for another"),
        );
    }
    check.more += missing.distinct().saturating_sub(missing.first.len()) as u64;
    for (digest, node) in graph.nodes() {
        if let Some(blob) = listed.get(digest)
            && (blob.size != node.size || blob.role != node.role)
            && (node.media_type.is_some() || !node.role.is_document() || bad.contains(digest))
        {
            check.find(
                Finding::new(
                    Code::Malformed,
                    digest.to_string(),
                    format!("{digest} is listed as {} of {} bytes", blob.role.as_str(), blob.size),
                )
                .fact(format!("the images use it as {} of {} bytes", node.role.as_str(), node.size)),
            );
        }
    }
    if bad.is_empty() && missing.first.is_empty() {
        for blob in index.blobs.iter().filter(|b| !graph.nodes().contains_key(&b.digest)) {
            check.find(Finding::new(
                Code::UnlistedContent,
                blob.digest.to_string(),
                format!("{} belongs to no image", blob.digest),
            ));
        }
    }
    check
}

/// Blobs that are needed and not listed: the first ones, which a report names, and their number.
#[derive(Default)]
struct Missing<'a> {
    /// The size and the first image that needs it, by digest.
    first: BTreeMap<Digest, (u64, &'a crate::bundle::index::Image)>,
    /// The first bytes of all their digests, for counting: 150,000 must fit.
    all: Vec<u64>,
    /// The number of occurrences.
    seen: usize,
}

impl<'a> Missing<'a> {
    fn add(&mut self, what: &crate::oci::Descriptor, image: &'a crate::bundle::index::Image) {
        self.seen += 1;
        let start = what.digest.start();
        if self.all.last() != Some(&start) {
            self.all.push(start);
        }
        // One document may name one blob 38,000 times, and thousands of images may share one document.
        if self.all.len() == self.all.capacity() {
            self.all.sort_unstable();
            self.all.dedup();
        }
        self.first.entry(what.digest).or_insert((what.size, image));
        if self.first.len() > FINDINGS {
            self.first.pop_last();
        }
    }

    fn distinct(&self) -> usize {
        let mut all = self.all.clone();
        all.sort_unstable();
        all.dedup();
        all.len()
    }
}

fn size(digest: &Digest, expected: u64, found: u64) -> Error {
    Error::new(Code::Malformed, format!("the size of {digest} is not what its image says"))
        .fact(format!("expected {expected}"))
        .fact(format!("found    {found}"))
}

/// The subjects of documents, each read once; `None` for one that is missing or unreadable.
type Subjects = BTreeMap<(Digest, String), Option<Option<Digest>>>;

/// Checks that the subject of a signature or referrer is in the bundle, and that the document itself names it.
fn attachment(
    listed: &BTreeMap<Digest, &Blob>,
    image: &crate::bundle::index::Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
    subjects: &mut Subjects,
    check: &mut Check,
) {
    let Some(subject) = image.subject else { return };
    if !listed.get(&subject).is_some_and(|b| b.role.is_document()) {
        check.find(Finding::new(
            Code::BlobMissing,
            subject.to_string(),
            format!("`{}` is about an image that is not in the bundle", image.display()),
        ));
    }
    let agrees = match image.kind {
        Kind::Signature => image.tag.as_deref().and_then(crate::oci::attached_to) == Some(subject),
        _ => subjects
            .entry((image.digest, image.media_type.clone()))
            .or_insert_with(|| {
                let document = documents.get(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
                document.map(|document| document.subject())
            })
            .is_none_or(|theirs| theirs == Some(subject)),
    };
    if !agrees {
        check.find(Finding::new(
            Code::Malformed,
            image.digest.to_string(),
            format!("`{}` is not about {subject}", image.display()),
        ));
    }
}
