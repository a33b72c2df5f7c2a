//! From roots to graph: reads every manifest and configuration of the requested images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bundle::index::{Derived, Kind};
use crate::bundle::limits;
use crate::content::Config;
use crate::error::{Code, Error, Result};
use crate::graph::Graph;
use crate::observer::Observer;
use crate::oci::{Descriptor, Digest, Document, Manifest, Platform, Role, Tag, media_type};
use crate::source::{Fetched, Source};

use super::{ForeignLayers, Options};

/// The largest configuration that is read for its platform and labels, and kept in memory until it is written.
const CONFIG: u64 = 256 << 10;
/// The limit for all configurations kept in memory until they are written, in bytes.
const CONFIGS: u64 = 4 << 20;
/// How many rounds of signatures of signatures to follow.
const ATTACHMENT_ROUNDS: usize = 3;

/// A top-level image and its origin.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) repository: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) document: Fetched,
    pub(crate) kind: Kind,
    pub(crate) component: Option<String>,
    pub(crate) release: Option<Digest>,
    pub(crate) subject: Option<Digest>,
    pub(crate) derived: Option<Derived>,
    pub(crate) requested_by: String,
}

impl Root {
    pub(crate) fn descriptor(&self) -> Descriptor {
        descriptor(&self.document)
    }

    /// The name for messages.
    pub(crate) fn label(&self) -> String {
        match (&self.repository, &self.tag) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            (Some(repository), None) => format!("{repository}@{}", self.document.digest),
            (None, Some(tag)) => tag.clone(),
            (None, None) => self.document.digest.to_string(),
        }
    }
}

/// The descriptor of a document that has been read.
pub(crate) fn descriptor(document: &Fetched) -> Descriptor {
    Descriptor::new(document.media_type.clone(), document.digest, document.bytes.len() as u64)
}

/// Everything found below the roots.
#[derive(Default)]
pub(crate) struct Reachable {
    /// All blobs.
    pub(crate) graph: Graph,
    /// Documents and some configurations whose bytes are already in memory.
    pub(crate) bytes: HashMap<Digest, Arc<[u8]>>,
    /// Locations of each blob: a few at most.
    pub(crate) origins: HashMap<Digest, Vec<Arc<dyn Source>>>,
    /// Platforms of each document.
    pub(crate) platforms: HashMap<Digest, Vec<String>>,
    /// Foreign layers that are left out: their size, and an image that has them.
    pub(crate) foreign: BTreeMap<Digest, (u64, String)>,
    /// Bytes of all documents.
    held: u64,
}

/// What one root resolved to.
struct Walked {
    graph: Graph,
    bytes: HashMap<Digest, Arc<[u8]>>,
    platforms: Vec<String>,
    documents: Vec<Digest>,
    foreign: BTreeMap<Digest, u64>,
}

/// Walks all roots, looks for signatures and referrers of every image, and walks those too.
///
/// Adds what it finds to `roots`. With `attachments` off it takes only what was requested and the signatures of
/// releases. `unserved` collects the look-ups that a registry did not serve.
pub(crate) fn walk(
    roots: &mut Vec<Root>,
    options: &Options,
    attachments: bool,
    unserved: &Unserved,
    observer: &dyn Observer,
) -> Result<Reachable> {
    let mut found = Reachable::default();
    let mut known: BTreeSet<(Option<String>, Digest)> = BTreeSet::new();
    let room = Mutex::new(CONFIGS);
    let pace = &options.pace;
    let mut from = 0;
    for round in 0..=ATTACHMENT_ROUNDS {
        let new = &roots[from..];
        let walked = pace.map(
            new,
            || (),
            |(), root| {
                observer.check()?;
                let walked = walk_one(root, options.foreign, &room);
                observer.item();
                walked
            },
        )?;
        let mut look = Vec::new();
        for (root, walked) in new.iter().zip(walked) {
            for digest in &walked.documents {
                if known.insert((root.repository.clone(), *digest)) {
                    look.push((root, *digest));
                }
            }
            found.take(root, walked)?;
        }
        from = roots.len();
        if round == ATTACHMENT_ROUNDS {
            break;
        }
        if !attachments {
            // A cluster that uses a mirror requires the signature of a release there.
            look.retain(|(root, digest)| root.kind == Kind::Release && root.document.digest == *digest);
        }
        // Each look-up for itself, so that they wait for their answers at the same time.
        let ways: Vec<LookUp> = LookUp::all().take(if attachments { usize::MAX } else { 1 }).collect();
        let look: Vec<_> =
            look.iter().flat_map(|(root, digest)| ways.iter().map(move |way| (*root, *digest, *way))).collect();
        let attached = pace.map(
            &look,
            || (),
            |(), (root, digest, way)| {
                observer.check()?;
                match way {
                    LookUp::Tag(suffix) => {
                        tagged(root, digest, suffix, unserved).map(|found| found.into_iter().collect())
                    }
                    LookUp::Referrers => referrers(root, digest, unserved),
                }
            },
        )?;
        let identity = |r: &Root| (r.document.digest, r.subject, r.repository.clone());
        let mut there: BTreeSet<_> = roots.iter().map(identity).collect();
        roots.extend(attached.into_iter().flatten().filter(|root| there.insert(identity(root))));
        if roots.len() == from {
            break;
        }
    }
    // A foreign layer that another image has as a regular layer is carried.
    let Reachable { foreign, graph, .. } = &mut found;
    foreign.retain(|digest, _| !graph.nodes().contains_key(digest));
    Ok(found)
}

impl Reachable {
    fn take(&mut self, root: &Root, walked: Walked) -> Result<()> {
        for digest in walked.graph.nodes().keys() {
            let origins = self.origins.entry(*digest).or_default();
            if origins.len() < 4 && !origins.iter().any(|o| Arc::ptr_eq(o, &root.source)) {
                origins.push(root.source.clone());
            }
        }
        self.platforms.insert(root.document.digest, walked.platforms);
        self.bytes.extend(walked.bytes);
        for (digest, size) in walked.foreign {
            self.foreign.entry(digest).or_insert_with(|| (size, root.label()));
        }
        let new = self.graph.merge(walked.graph).map_err(|e| e.fact(format!("in {}", root.label())))?;
        let documents = new.iter().filter_map(|d| self.graph.nodes().get(d)).filter(|n| n.role.is_document());
        self.held += documents.map(|n| n.size).sum::<u64>();
        if self.held > limits::DOCUMENTS {
            return Err(Error::new(Code::Malformed, "the manifests of these images are larger than a bundle may hold")
                .hint("make several bundles, each with some of the images"));
        }
        Ok(())
    }
}

/// `room`: how many more bytes of configurations may be kept.
fn walk_one(root: &Root, foreign_layers: ForeignLayers, room: &Mutex<u64>) -> Result<Walked> {
    let mut graph = Graph::default();
    let mut bytes = HashMap::new();
    let mut documents = Vec::new();
    let mut listed = BTreeSet::new();
    let mut configs: Vec<(Digest, Descriptor)> = Vec::new();
    let mut embedded: HashMap<Digest, Arc<[u8]>> = HashMap::new();
    let mut unknown: Vec<Descriptor> = Vec::new();
    let mut foreign: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut own: BTreeSet<Digest> = BTreeSet::new();
    let mut fetch = |what: &Descriptor| {
        if what.digest == root.document.digest {
            return Ok(Some(root.document.bytes.clone()));
        }
        match root.source.manifest(&what.digest)? {
            // The digest proves the bytes, but a source that declares another media type could mislead a cluster about
            // their meaning (security B4).
            Some(fetched) if fetched.media_type != what.media_type => {
                Err(Error::new(Code::Malformed, format!("{} is announced as two things", what.digest))
                    .fact(format!("{} calls it {}", root.label(), what.media_type))
                    .fact(format!("{} calls it {}", root.source.describe(), fetched.media_type))
                    .state("nothing was written"))
            }
            Some(fetched) if fetched.bytes.len() as u64 == what.size => Ok(Some(fetched.bytes)),
            Some(fetched) => Err(Error::new(
                Code::BlobMismatch,
                format!("the size of {} is not what {} says", what.digest, root.label()),
            )
            .fact(format!("expected {}", what.size))
            .fact(format!("found    {}", fetched.bytes.len()))),
            None => Err(not_there(root, &what.digest)),
        }
    };
    graph
        .walk(&root.descriptor(), &mut fetch, &mut |at, document, raw| {
            embedded.extend(document.children().filter_map(|d| Some((d.digest, d.embedded()?.into()))));
            match document {
                Document::Index(index) => {
                    unknown.extend(
                        index
                            .manifests
                            .iter()
                            .filter(|m| !media_type::ACCEPTED.contains(&m.media_type.as_str()))
                            .cloned(),
                    );
                    listed.extend(index.manifests.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string));
                }
                Document::Manifest(manifest) => {
                    configs.push((at.digest, manifest.config.clone()));
                    for layer in &manifest.layers {
                        if media_type::is_foreign(&layer.media_type) {
                            foreign.insert(layer.digest, layer.size);
                        } else {
                            own.insert(layer.digest);
                        }
                    }
                }
            }
            documents.push(at.digest);
            bytes.insert(at.digest, raw);
        })
        .map_err(|e| if e.code() == Code::Malformed { e.fact(format!("in {}", root.label())) } else { e })?;
    foreign.retain(|digest, _| !own.contains(digest) && !embedded.contains_key(digest));
    match foreign_layers {
        ForeignLayers::Fetch => foreign.clear(),
        ForeignLayers::Skip => foreign.keys().for_each(|digest| graph.leave_out(digest)),
        ForeignLayers::Refuse if foreign.is_empty() => {}
        ForeignLayers::Refuse => {
            let mut err = Error::new(Code::Source, format!("{} has foreign layers", root.label()));
            for (digest, size) in foreign.iter().take(8) {
                err = err.fact(format!("{digest}  {size} bytes"));
            }
            return Err(err.state("nothing was written").hint(
                "leave them out with --foreign-layers skip, take them with --foreign-layers fetch, or choose another platform with --platform",
            ));
        }
    }
    for (_, config) in &configs {
        let here = embedded.get(&config.digest).map(|bytes| bytes.to_vec());
        if let Some(raw) = here.map_or_else(|| read_config(root, config), |bytes| Ok(Some(bytes)))? {
            if listed.is_empty() || configs.len() == 1 {
                listed.extend(Config::parse(&raw).and_then(|c| c.platform()).map(|p| p.to_string()));
            }
            let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
            // Configurations over the limit are fetched with the layers.
            if let Some(rest) = room.checked_sub(config.size) {
                *room = rest;
                bytes.insert(config.digest, raw.into());
            }
        }
    }
    // A configuration that is also a layer of a manifest is one blob.
    bytes.retain(|digest, _| graph.nodes().get(digest).is_some_and(|n| n.role < Role::Layer));
    embedded.retain(|digest, _| graph.nodes().contains_key(digest));
    for (digest, content) in embedded {
        bytes.entry(digest).or_insert(content);
    }
    for what in unknown {
        if let Some(raw) = kept_as_manifest(root, &what, room)? {
            bytes.insert(what.digest, raw.into());
        }
    }
    let platforms = listed.into_iter().filter(|p| p.parse::<Platform>().is_ok() && p != "unknown/unknown").collect();
    Ok(Walked { graph, bytes, platforms, documents, foreign })
}

/// The bytes of an index entry that is no supported manifest but that the source serves as a manifest (an OCI artifact
/// manifest, schema 1). `None`: the source has it as a blob, which is fetched later.
fn kept_as_manifest(root: &Root, what: &Descriptor, room: &Mutex<u64>) -> Result<Option<Vec<u8>>> {
    let missing = match root.source.blob(what, 0) {
        Ok(_) => return Ok(None),
        Err(e) if matches!(e.code(), Code::Source | Code::BlobMissing) => e,
        Err(e) => return Err(e),
    };
    let Some(bytes) = root.source.unknown(what)? else { return Err(missing) };
    let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
    match room.checked_sub(what.size).filter(|_| bytes.len() as u64 == what.size) {
        Some(rest) => *room = rest,
        None => return Err(missing.fact(format!("as a manifest it has {} bytes", bytes.len()))),
    }
    Ok(Some(bytes))
}

pub(super) fn not_there(root: &Root, digest: &Digest) -> Error {
    Error::new(Code::Source, format!("{} needs {digest}, which {} does not have", root.label(), root.source.describe()))
        .hint("a source that holds only some platforms of an image: choose one with --platform")
}

/// Reads a configuration, if it is small enough for an image configuration.
fn read_config(root: &Root, config: &Descriptor) -> Result<Option<Vec<u8>>> {
    if config.size > CONFIG {
        return Ok(None);
    }
    read_blob(root.source.as_ref(), config).map(Some)
}

/// Reads a small blob into memory and checks it. The source has already retried temporary failures.
pub(crate) fn read_blob(source: &dyn Source, what: &Descriptor) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(what.size).unwrap_or(0));
    let read = source.blob(what, 0)?.take(what.size).read_to_end(&mut bytes);
    read.map_err(|e| Error::io("cannot read", source.describe(), e))?;
    let computed = Digest::of(&bytes);
    if computed != what.digest {
        let text = format!("{} in {} does not match its digest", what.digest, source.describe());
        return Err(Error::new(Code::BlobMismatch, text).fact(format!("computed {computed}")));
    }
    Ok(bytes)
}

/// Look-ups that a registry did not serve: which, where, and why.
#[derive(Default)]
pub(crate) struct Unserved(Mutex<BTreeMap<(String, &'static str), Reason>>);

/// The reason as text, and the images affected.
type Reason = (String, BTreeSet<Digest>);

impl Unserved {
    /// Treats a failure as "none", if it is an answer of a registry to a mere look-up.
    fn or_none<T>(&self, root: &Root, image: &Digest, what: &'static str, found: Result<T>) -> Result<Option<T>> {
        match found {
            Err(e) if root.source.is_remote() && matches!(e.code(), Code::Source | Code::Auth) => {
                let facts = e.facts().first().map(|fact| format!("; {fact}")).unwrap_or_default();
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = all.entry((root.source.describe(), what));
                entry.or_insert_with(|| (format!("{}{facts}", e.message()), BTreeSet::new())).1.insert(*image);
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// One sentence for each kind of look-up in each repository.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sentences = all.iter().map(|((place, what), (why, images))| {
            let images = crate::observer::count(images.len(), "image");
            if *what == UNKNOWN {
                return format!("{what} of {images} in {place} cannot be carried, and are left out: {why}");
            }
            format!("{what} of {images} could not be looked for in {place}, and none was taken: {why}")
        });
        sentences.collect()
    }
}

/// A kind of attachment that `cosign` stores under a tag.
pub(crate) const SIGNATURES: &str = "signatures";
/// Referrers that are listed and are no documents of a known form.
const UNKNOWN: &str = "some referrers";

/// Where attachments of an image are looked for.
#[derive(Clone, Copy)]
enum LookUp {
    /// Under a tag of `cosign` (`sha256-<hex>.sig`).
    Tag(&'static str),
    /// OCI 1.1 referrers.
    Referrers,
}

impl LookUp {
    /// All of them; the first is for the signature.
    fn all() -> impl Iterator<Item = LookUp> {
        crate::oci::ATTACHED.iter().map(|suffix| LookUp::Tag(suffix)).chain([LookUp::Referrers])
    }
}

fn tagged(root: &Root, digest: &Digest, suffix: &str, unserved: &Unserved) -> Result<Option<Root>> {
    let tag: Option<Tag> = format!("{}.{suffix}", digest.dashed()).parse().ok();
    let Some(tag) = tag else { return Ok(None) };
    let document = root.source.resolve(&tag).and_then(|found| match found {
        // What a registry serves there may be a page.
        Some(document) if root.source.is_remote() => kind_of(&document).map(|()| Some(document)),
        found => Ok(found),
    });
    let document = unserved.or_none(root, digest, SIGNATURES, document)?.flatten();
    Ok(document.map(|document| attached(root, digest, document, Kind::Signature, Some(tag.to_string()))))
}

fn referrers(root: &Root, digest: &Digest, unserved: &Unserved) -> Result<Vec<Root>> {
    let mut out = Vec::new();
    let listed = unserved.or_none(root, digest, "referrers", root.source.referrers(digest))?;
    for referrer in listed.into_iter().flatten() {
        let document = match root.source.manifest(&referrer.digest) {
            Ok(None) => Err(not_there(root, &referrer.digest)),
            other => other,
        };
        let Some(document) = unserved.or_none(root, digest, "referrers", document)?.flatten() else { continue };
        if root.source.is_remote() && unserved.or_none(root, digest, UNKNOWN, kind_of(&document))?.is_none() {
            continue;
        }
        // The list is only the registry's claim; the document itself must name its subject too (security B11).
        if parse(&document)?.subject() != Some(*digest) {
            return Err(Error::new(
                Code::Malformed,
                format!("{} lists a manifest as about an image that it is not about", root.source.describe()),
            )
            .fact(format!("manifest {}", referrer.digest))
            .fact(format!("image    {digest}"))
            .state("nothing was written"));
        }
        out.push(attached(root, digest, document, Kind::Referrer, None));
    }
    Ok(out)
}

/// Whether a document from a registry is one that can be carried at all; if not, it is a failed look-up.
fn kind_of(document: &Fetched) -> Result<()> {
    match crate::oci::parse(&document.bytes, &document.media_type) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::new(Code::Source, format!("{} is no image manifest and no index", document.digest))
            .fact(e.to_string())),
    }
}

fn attached(root: &Root, subject: &Digest, document: Fetched, kind: Kind, tag: Option<String>) -> Root {
    Root {
        source: root.source.clone(),
        repository: root.repository.clone(),
        tag,
        document,
        kind,
        component: None,
        release: root.release,
        subject: Some(*subject),
        derived: None,
        requested_by: root.requested_by.clone(),
    }
}

/// The manifest to read for an image: the image itself, or the entry of an index for this platform.
pub(crate) fn choose(root: &Root, platform: &Platform) -> Result<Option<Descriptor>> {
    let index = match parse(&root.document)? {
        Document::Index(index) => index,
        Document::Manifest(manifest) => {
            // An artifact has no platform and fits every one.
            let config = read_config(root, &manifest.config)?;
            return match config.and_then(|raw| Config::parse(&raw)).and_then(|config| config.platform()) {
                Some(one) if !platform.accepts(&one) => {
                    let text = format!("{} is an image for {one} only, not for {platform}", root.label());
                    Err(Error::new(Code::Source, text).hint(format!("--platform {one}, or no --platform")))
                }
                _ => Ok(None),
            };
        }
    };
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| platform.accepts(p));
    match index.manifests.iter().find(fits) {
        Some(child) => Ok(Some(child.clone())),
        None => {
            let there: Vec<String> =
                index.manifests.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string).collect();
            Err(Error::new(Code::Source, format!("{} has no image for {platform}", root.label()))
                .fact(format!("it has {}", there.join(", ")))
                .hint("name one of these with --platform"))
        }
    }
}

/// The typed view of a document that has been read.
pub(crate) fn parse(document: &Fetched) -> Result<Document> {
    crate::oci::parse(&document.bytes, &document.media_type).map_err(|e| {
        Error::new(Code::Malformed, format!("{} is not an image that can be carried: {e}", document.digest))
    })
}

/// The image manifest that holds a release payload: the image itself, or in an index the entry for linux/amd64, else
/// the first.
pub(crate) fn payload_manifest(root: &Root) -> Result<Manifest> {
    match parse(&root.document)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(index) => {
            let child = crate::openshift::payload::of_list(&index)
                .ok_or_else(|| Error::new(Code::Malformed, format!("{} is a list without images", root.label())))?;
            let document = root.source.manifest(&child.digest)?.ok_or_else(|| not_there(root, &child.digest))?;
            match parse(&document)? {
                Document::Manifest(manifest) => Ok(manifest),
                Document::Index(_) => Err(Error::new(Code::Malformed, format!("{} is a list of lists", root.label()))),
            }
        }
    }
}
