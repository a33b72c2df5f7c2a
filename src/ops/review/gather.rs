//! What is kept of a bundle while it is read, and the facts that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::contents::{self, Hashing};
use super::handing::{Handing, LAYERS};
use super::{Ask, objects, scanners};
use crate::bundle::index::Index;
use crate::content::facts::{self, Fact};
use crate::content::layer::{FileEntry, FileKind};
use crate::error::Result;
use crate::kubernetes;
use crate::oci::Digest;
use crate::ops::reading::{Content, Reading, Visitor, Way};
use crate::ops::sbom::inventory;
use crate::ops::sbom::layers::{Gathering, Layers};
use crate::ops::shelf::{Carried, Member, Shelf};
use crate::ops::{Observer, claims, files};
use crate::policy::facts::{
    ALL_FILES, AttachedFacts, FILES, Facts, FileFacts, ImageFacts, IndexFacts, LayerFacts, OBJECTS, ObjectFacts,
    PACKAGES, SCHEMA,
};
use crate::policy::{FileRules, Findings, Matched, PackageRules, Policy, Seen};
use crate::report::{Accepted, Check};
use crate::scan::Summary;
use crate::verify::Report;

/// The most bytes of configurations and attached documents that are kept.
const KEPT: usize = 128 << 20;

/// Gathers facts, and what rules find.
pub(super) struct Gatherer<'p> {
    index: Index,
    shelf: Shelf,
    policy: Option<&'p Policy>,
    rules: Option<FileRules<'p>>,
    packages: Option<Layers>,
    /// Notable files go into the facts.
    files: bool,
    wanted: BTreeSet<Digest>,
    /// What can be named: `REPOSITORY:TAG` and digests.
    carried: BTreeSet<String>,
    now: Timestamp,
    shared: Mutex<Shared<'p>>,
}

struct Shared<'p> {
    blobs: BTreeMap<Digest, Vec<u8>>,
    documents: BTreeMap<Digest, Vec<u8>>,
    kept: usize,
    objects: Vec<ObjectFacts>,
    more_objects: u64,
    layers: BTreeMap<Digest, Notable>,
    matched: BTreeMap<Digest, Matched>,
    check: Check,
    /// Layers that rules about files did not see to their end.
    unread: BTreeSet<Digest>,
    findings: Option<Findings<'p>>,
}

/// The notable files of a layer.
#[derive(Default)]
struct Notable {
    files: Vec<FileFacts>,
    more: u64,
    counts: BTreeMap<&'static str, u64>,
}

/// What came of a reading.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    pub(super) layers: Check,
    pub(super) check: Option<Check>,
    pub(super) accepted: Vec<Accepted>,
    /// Checks that rules ask for, and that did not run: whether they are required, and why.
    pub(super) missing: Vec<(bool, String)>,
}

impl<'p> Gatherer<'p> {
    pub(super) fn new(reading: &Reading<'_>, ask: &Ask<'p>, now: Timestamp) -> Gatherer<'p> {
        let (index, shelf) = (reading.index().clone(), reading.shelf().clone());
        let mut wanted = BTreeSet::new();
        for member in shelf.members() {
            match member.runs {
                true => _ = wanted.insert(member.config.digest),
                false => wanted.extend(member.layers.iter().map(|layer| layer.digest)),
            }
        }
        let digests = shelf.members().iter().map(|member| member.digest);
        let digests = digests.chain(index.images.iter().map(|image| image.digest));
        let mut carried: BTreeSet<String> = digests.map(|digest| digest.to_string()).collect();
        carried.extend(index.images.iter().filter_map(crate::bundle::index::Image::reference));
        let policy = ask.policy;
        let shared = Shared {
            blobs: BTreeMap::new(),
            documents: BTreeMap::new(),
            kept: 0,
            objects: Vec::new(),
            more_objects: 0,
            layers: BTreeMap::new(),
            matched: BTreeMap::new(),
            check: Check::new(LAYERS),
            unread: BTreeSet::new(),
            findings: policy.map(|policy| Findings::new(policy, now)),
        };
        Gatherer {
            index,
            shelf,
            policy,
            rules: policy.map(FileRules::new).filter(|rules| !rules.is_empty()),
            packages: (ask.packages || policy.is_some_and(Policy::needs_packages)).then(Layers::default),
            files: ask.files,
            wanted,
            carried,
            now,
            shared: Mutex::new(shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared<'p>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self, blob: &Carried, content: &mut Content<'_, '_>, handing: Option<&Handing<'_, '_>>) -> Result<()> {
        if handing.is_none() && self.rules.is_none() && self.packages.is_none() && !self.files {
            return Ok(());
        }
        let mut seen = OfLayer {
            of: self,
            handing: handing.map(|handing| (handing, handing.begin(blob))),
            gathering: self.packages.as_ref().map(Layers::gathering).transpose()?,
            notable: Notable::default(),
            matched: Matched::default(),
            layer: blob.digest.to_string(),
            head: Vec::new(),
        };
        let end = content.files(&mut |way, entry, stream| seen.entry(way, entry, stream))?;
        let OfLayer { handing, gathering, notable, matched, .. } = seen;
        let mut findings = Vec::new();
        match handing {
            Some((handing, origin)) => handing.end(origin, blob, &end),
            None => {
                let names = self.shelf.names(&self.index, blob);
                findings.extend(files::findings(blob, &names, &end.remarks, end.broken.as_ref()));
            }
        }
        let whole = end.broken.is_none() && (end.both || !end.remarks.is_ambiguous());
        if let Some(gathering) = gathering {
            gathering.finish(blob.digest, &end.remarks, end.broken)?;
        }
        let mut shared = self.lock();
        // Another copy of a layer takes the place of a bad one.
        shared.layers.insert(blob.digest, notable);
        shared.matched.insert(blob.digest, matched);
        if whole {
            shared.unread.remove(&blob.digest)
        } else {
            shared.unread.insert(blob.digest)
        };
        findings.into_iter().for_each(|finding| shared.check.find(finding));
        Ok(())
    }

    /// The facts and the findings, when everything was read.
    pub(super) fn finish(
        self,
        report: &Report,
        summary: Option<&mut Summary>,
        observer: &dyn Observer,
    ) -> Result<Gathered> {
        let Gatherer { index, shelf, policy, rules, packages, now, shared, .. } = self;
        let mut shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let document = |digest: &Digest| shared.documents.get(digest).map(Vec::as_slice);
        let claims = claims::images(&index, &shelf, &document, &mut |digest| shared.blobs.get(digest).cloned());
        let layers = packages.map(Layers::finish);
        let mut facts = Facts {
            schema: SCHEMA,
            index: IndexFacts {
                digest: report.bundle.index.clone(),
                name: index.name.clone(),
                sequence: index.sequence,
                created: index.created.clone(),
            },
            images: Vec::new(),
            objects: shared.objects,
            more_objects: shared.more_objects,
        };
        let package_rules = policy.map(PackageRules::new).filter(|rules| !rules.is_empty());
        let (mut seen, mut missing) = (Seen::default(), Vec::new());
        let (mut packages_left, mut files_left) = (PACKAGES, ALL_FILES);
        for member in shelf.members() {
            observer.check()?;
            let config = shared.blobs.get(&member.config.digest).filter(|_| member.runs);
            let config = config.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
            let mut image = image(&index, &shelf, member, config.as_ref());
            let signed = image.listed.iter().chain([&image.digest]).filter_map(|digest| report.signed.get(digest));
            image.signed_by = signed.flatten().cloned().collect::<BTreeSet<String>>().into_iter().collect();
            if let Some(claim) = claims.iter().find(|claim| claim.digest == member.digest) {
                image.attached = claim.attached.iter().map(attached).collect();
            }
            for layer in member.layers.iter().filter_map(|layer| shared.layers.get(&layer.digest)) {
                layer.counts.iter().for_each(|(fact, n)| *image.counts.entry(fact).or_default() += n);
                image.more_files += layer.more;
                for file in &layer.files {
                    match image.files.len() < FILES.min(files_left) {
                        true => image.files.push(file.clone()),
                        false => image.more_files += 1,
                    }
                }
            }
            files_left -= image.files.len();
            if let Some(layers) = layers.as_ref().filter(|_| member.runs) {
                let inventory = inventory(member, layers)?;
                let name = image.names.first().unwrap_or(&image.digest);
                if let Some(rules) = &package_rules {
                    let mut digests = image.listed.clone();
                    digests.extend((!digests.contains(&image.digest)).then(|| image.digest.clone()));
                    rules.image(name, &digests, &inventory.components, &mut seen);
                    let grave = inventory.unknowns.iter().find(|unknown| unknown.grave);
                    missing.extend(grave.map(|one| {
                        (true, format!("the packages of {name} are not all known: {} {}", one.subject, one.reason))
                    }));
                }
                image.add(&inventory, &mut packages_left);
            }
            if let (Some(policy), Some(findings)) = (policy, &mut shared.findings) {
                policy.image(&image, now, findings);
            }
            facts.images.push(image);
        }
        let mut out = Gathered { facts, layers: shared.check, check: None, accepted: Vec::new(), missing };
        let (Some(policy), Some(mut findings)) = (policy, shared.findings) else { return Ok(out) };
        seen.report(&mut findings);
        for (layer, matched) in shared.matched {
            let Some(carried) = shelf.get(&layer) else { continue };
            let members: BTreeSet<usize> = carried.carriers.iter().map(|(at, _)| *at).collect();
            let images: Vec<String> = members.iter().map(|at| shelf.members()[*at].digest.to_string()).collect();
            matched.report(&layer, &shelf.names(&index, carried), &images, &mut findings);
        }
        let absent =
            |digest: &Digest| shelf.get(digest).is_some_and(Carried::is_layer) && !shared.layers.contains_key(digest);
        if rules.is_some() {
            let unread = shared.unread.iter().map(|digest| (digest, "was not read to its end in every reading"));
            let absent = shelf.carried().map(|one| &one.digest).filter(|digest| absent(digest));
            let absent = absent.map(|digest| (digest, "is in no file at hand, or could not be read"));
            out.missing.extend(unread.chain(absent).take(1).map(|(digest, why)| {
                (true, format!("rules about files did not see everything: the layer {digest} {why}"))
            }));
        }
        let mut ran = Vec::new();
        if let Some(summary) = summary {
            findings.scanned();
            scanners::accept(summary, &mut findings);
            ran = scanners::ran(summary);
        }
        out.missing.extend(policy.missing(&ran, &out.facts.images, &report.evidence, now));
        let (check, accepted) = findings.finish();
        (out.check, out.accepted) = (Some(check), accepted);
        Ok(out)
    }
}

/// A layer while it is read.
struct OfLayer<'g, 'p, 's, 'a> {
    of: &'g Gatherer<'p>,
    handing: Option<(&'s Handing<'s, 'a>, u32)>,
    gathering: Option<Gathering<'g>>,
    notable: Notable,
    matched: Matched,
    layer: String,
    /// The beginning of a content, in a buffer that is used again.
    head: Vec<u8>,
}

impl OfLayer<'_, '_, '_, '_> {
    fn entry(&mut self, way: Way, entry: &FileEntry, stream: &mut dyn Read) -> Result<()> {
        let of_entry = facts::of_entry(entry);
        let content = entry.has_content();
        let path = [b"/", entry.path.as_slice()].concat();
        let file = entry.whiteout.is_none() && entry.kind != FileKind::Behind;
        let rules = self.of.rules.as_ref().filter(|_| file);
        let folder = entry.kind == FileKind::Dir;
        let candidates = rules.map(|rules| rules.begin(&path, folder, content, &of_entry)).unwrap_or_default();
        self.head.clear();
        if content && (candidates.first || self.of.files || self.gathering.is_some()) {
            let read = stream.take(facts::FIRST as u64).read_to_end(&mut self.head);
            if let Err(e) = read {
                // The scanners get what there is.
                return match &self.handing {
                    Some((handing, origin)) => {
                        let mut rest = self.head.as_slice().chain(contents::Broken(Some(e)));
                        handing.entry(*origin, (way, entry), &of_entry, &mut rest)
                    }
                    None => Err(crate::content::layer::broken("an image", e)),
                };
            }
        }
        let class = if content { facts::of_content(&self.head) } else { Vec::new() };
        let mut all = self.head.as_slice().chain(stream);
        let mut hashing = Hashing::new(&mut all, candidates.sha256);
        let gathering = self.gathering.as_mut().filter(|_| way == Way::Runtime);
        match (&self.handing, gathering) {
            (Some((handing, origin)), Some(gathering)) => {
                let mut scan = |from: &mut dyn Read| handing.entry(*origin, (way, entry), &of_entry, from);
                match content {
                    true => contents::both(gathering, entry, &self.head, &mut hashing, &mut scan)?,
                    false => {
                        gathering.entry(entry, &mut hashing)?;
                        scan(&mut io::empty())?;
                    }
                }
            }
            (Some((handing, origin)), None) => handing.entry(*origin, (way, entry), &of_entry, &mut hashing)?,
            (None, Some(gathering)) => gathering.entry(entry, &mut hashing)?,
            (None, None) => {}
        }
        let digest = hashing.digest()?.filter(|_| content);
        if let Some(rules) = rules {
            rules.end(&candidates, &path, &of_entry, (digest, &class), &mut self.matched);
        }
        if self.of.files && way == Way::Runtime && file {
            let all: Vec<Fact> = of_entry.iter().chain(&class).copied().collect();
            self.notable.add(entry, &all, &self.layer);
        }
        Ok(())
    }
}

/// A gatherer, and the scanners that get everything too.
pub(super) struct Visiting<'v, 'p, 's, 'a> {
    pub(super) gatherer: &'v Gatherer<'p>,
    pub(super) handing: Option<&'s Handing<'s, 'a>>,
}

impl Visitor for Visiting<'_, '_, '_, '_> {
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        if content.again() && self.handing.is_some_and(Handing::is_over) {
            return Ok(());
        }
        if blob.is_layer() {
            return self.gatherer.layer(blob, content, self.handing);
        }
        if !self.gatherer.wanted.contains(&blob.digest) || blob.size > claims::READ {
            return self.handing.map_or(Ok(()), |handing| handing.blob(blob, content.bytes()));
        }
        let mut bytes = Vec::new();
        let read = content.bytes().read_to_end(&mut bytes);
        if let Some(handing) = self.handing {
            handing.blob(blob, &mut bytes.as_slice())?;
        }
        read.map_err(|e| crate::content::layer::broken("an image", e))?;
        let mut shared = self.gatherer.lock();
        if shared.kept + bytes.len() <= KEPT {
            shared.kept += bytes.len();
            shared.blobs.insert(blob.digest, bytes);
        }
        Ok(())
    }

    fn document(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.gatherer.lock().documents.insert(*digest, bytes.to_vec());
        self.handing.map_or(Ok(()), |handing| handing.document(digest, bytes))
    }

    fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.handing.map_or(Ok(()), |handing| handing.file(path, bytes))?;
        let counts = self.gatherer.index.files.iter().any(|file| file.path == path);
        if !counts || !path.starts_with("manifests/") {
            return Ok(());
        }
        let Ok(manifest) = kubernetes::read(bytes) else { return Ok(()) };
        let object = objects::facts(path, &manifest, &self.gatherer.carried);
        let mut shared = self.gatherer.lock();
        if let (Some(policy), Some(findings)) = (self.gatherer.policy, &mut shared.findings) {
            policy.object(&object, findings);
        }
        match shared.objects.len() < OBJECTS {
            true => shared.objects.push(object),
            false => shared.more_objects += 1,
        }
        Ok(())
    }

    fn absent(&self, blob: &Carried) -> Result<()> {
        self.handing.map_or(Ok(()), |handing| handing.absent(blob))
    }

    fn own(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.handing.map_or(Ok(()), |handing| handing.own(path, bytes))
    }
}

impl Notable {
    fn add(&mut self, entry: &FileEntry, facts: &[Fact], layer: &str) {
        if facts.is_empty() || entry.kind == FileKind::Behind {
            return;
        }
        facts.iter().for_each(|fact| *self.counts.entry(fact.as_str()).or_default() += 1);
        match self.files.len() < FILES {
            true => self.files.push(FileFacts {
                path: format!("/{}", String::from_utf8_lossy(&entry.path)),
                layer: layer.to_owned(),
                mode: format!("{:04o}", entry.mode & 0o7777),
                facts: facts.iter().map(|fact| fact.as_str()).collect(),
            }),
            false => self.more += 1,
        }
    }
}

fn attached(one: &claims::Attached) -> AttachedFacts {
    AttachedFacts { kind: one.kind.to_owned(), r#type: one.r#type.clone(), author: one.author.clone() }
}

/// What the index, the manifest and the configuration say of an image.
fn image(index: &Index, shelf: &Shelf, member: &Member, config: Option<&Value>) -> ImageFacts {
    let images: Vec<_> = member.images.iter().filter_map(|at| index.images.get(*at)).collect();
    let names: BTreeSet<String> = match images.len() {
        1 => [shelf.name(index, member)].into(),
        _ => images.iter().map(|image| crate::ops::shelf::called(image)).collect(),
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(|text| text.chars().take(200).collect());
    let layers: BTreeMap<Digest, u64> = member.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
    let history = config.and_then(|config| config["history"].as_array());
    let newest = history.into_iter().flatten().filter(|one| one["empty_layer"] != true);
    let newest = newest.filter_map(|one| one["created"].as_str()?.parse::<jiff::Timestamp>().ok()).max();
    let created: Option<String> = text(config.map(|config| &config["created"]));
    let architecture: Option<String> = text(config.map(|config| &config["architecture"]));
    let set = |of: &dyn Fn(&crate::bundle::index::Image) -> Option<String>| -> Vec<String> {
        images.iter().filter_map(|image| of(image)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    ImageFacts {
        names: names.into_iter().collect(),
        repositories: set(&|image| image.repository.clone()),
        digest: member.digest.to_string(),
        listed: set(&|image| Some(image.digest.to_string())),
        config: member.config.digest.to_string(),
        kinds: images.iter().map(|image| image.kind).collect::<BTreeSet<_>>().iter().map(|k| k.as_str()).collect(),
        components: set(&|image| image.component.clone()),
        runs: member.runs,
        platform: member.platform.as_ref().map(ToString::to_string),
        architecture,
        user: text(config.map(|config| &config["config"]["User"])).unwrap_or_default(),
        size: layers.values().sum::<u64>() + member.config.size,
        newest_layer: newest.map(|time| time.to_string()).or_else(|| created.clone()),
        created,
        layers: member
            .layers
            .iter()
            .map(|layer| {
                let carriers = shelf.get(&layer.digest).map(|carried| carried.carriers.as_slice()).unwrap_or_default();
                let shared = carriers.iter().map(|(at, _)| at).collect::<BTreeSet<_>>().len() as u64;
                LayerFacts { digest: layer.digest.to_string(), size: layer.size, shared }
            })
            .collect(),
        ..ImageFacts::default()
    }
}
