//! What is kept of a bundle while it is read, and the facts that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::bundle::index::Index;
use crate::content::facts::{self, Fact};
use crate::content::layer::{FileEntry, FileKind};
use crate::error::Result;
use crate::kubernetes::{self, Scope, remarks, scope};
use crate::oci::Digest;
use crate::ops::reading::{Content, Reading, Visitor, Way};
use crate::ops::review::Ask;
use crate::ops::sbom::inventory;
use crate::ops::sbom::layers::Layers;
use crate::ops::shelf::{Carried, Member, Shelf};
use crate::ops::{Observer, claims};
use crate::packages::inventory::Inventory;
use crate::policy::facts::{
    ALL_FILES, AttachedFacts, FILES, Facts, FileFacts, ImageFacts, IndexFacts, LayerFacts, OBJECTS, ObjectFacts,
    PACKAGES, PackageFacts, SCHEMA,
};
use crate::report::{Check, CheckId};
use crate::verify::Report;

/// The most bytes of configurations and attached documents that are kept.
const KEPT: usize = 128 << 20;

/// The check of what layers are.
pub(in crate::ops) const LAYERS: CheckId = CheckId::new(130, "layers", "layers");

/// Gathers facts.
pub(super) struct Gatherer {
    index: Index,
    shelf: Shelf,
    packages: Option<Layers>,
    wanted: BTreeSet<Digest>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    blobs: BTreeMap<Digest, Vec<u8>>,
    documents: BTreeMap<Digest, Vec<u8>>,
    kept: usize,
    objects: Vec<ObjectFacts>,
    more_objects: u64,
    layers: BTreeMap<Digest, Notable>,
    check: Option<Check>,
}

/// The notable files of a layer.
#[derive(Default)]
struct Notable {
    files: Vec<FileFacts>,
    more: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Gatherer {
    pub(super) fn new(reading: &Reading<'_>, ask: &Ask<'_>) -> Gatherer {
        let (index, shelf) = (reading.index().clone(), reading.shelf().clone());
        let mut wanted = BTreeSet::new();
        for member in shelf.members() {
            match member.runs {
                true => _ = wanted.insert(member.config.digest),
                false => wanted.extend(member.layers.iter().map(|layer| layer.digest)),
            }
        }
        let packages = ask.packages.then(Layers::default);
        Gatherer { index, shelf, packages, wanted, shared: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        let mut notable = Notable::default();
        let layer = blob.digest.to_string();
        let mut gathering = self.packages.as_ref().map(Layers::gathering).transpose()?;
        let end = content.files(&mut |way, entry, stream| {
            if way == Way::Runtime {
                notable.add(entry, &facts::of_entry(entry), &layer);
                if let Some(gathering) = &mut gathering {
                    gathering.entry(entry, stream)?;
                }
            }
            Ok(())
        })?;
        let mut findings = Vec::new();
        let names = self.shelf.names(&self.index, blob);
        findings.extend(crate::ops::files::findings(blob, &names, &end.remarks, end.broken.as_ref()));
        if let Some(gathering) = gathering {
            gathering.finish(blob.digest, &end.remarks, end.broken)?;
        }
        let mut shared = self.lock();
        shared.layers.insert(blob.digest, notable);
        let check = shared.check.get_or_insert_with(|| Check::new(LAYERS));
        findings.into_iter().for_each(|finding| check.find(finding));
        Ok(())
    }

    /// The facts, when everything was read.
    pub(super) fn finish(self, report: &Report, observer: &dyn Observer) -> Result<(Facts, Check)> {
        let Gatherer { index, shelf, packages, shared, .. } = self;
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
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
        let (mut packages_left, mut files_left) = (PACKAGES, ALL_FILES);
        for member in shelf.members() {
            observer.check()?;
            let config = shared.blobs.get(&member.config.digest).filter(|_| member.runs);
            let config = config.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
            let mut image = image(&index, &shelf, member, config.as_ref());
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
                let Inventory { system, components, unknowns, .. } = inventory(member, layers)?;
                image.system = system.map(|system| system.distro());
                image.more_packages = components.len().saturating_sub(packages_left) as u64;
                let listed: Vec<_> = components.iter().take(packages_left).map(PackageFacts::from).collect();
                packages_left -= listed.len();
                image.packages = Some(listed);
                image.unknowns = unknowns.iter().map(|one| format!("{} {}", one.subject, one.reason)).collect();
            }
            facts.images.push(image);
        }
        Ok((facts, shared.check.unwrap_or_else(|| Check::new(LAYERS))))
    }
}

impl Visitor for Gatherer {
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        if blob.is_layer() {
            return self.layer(blob, content);
        }
        if !self.wanted.contains(&blob.digest) || blob.size > claims::READ {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = content.bytes().read_to_end(&mut bytes);
        read.map_err(|e| crate::content::layer::broken("an image", e))?;
        let mut shared = self.lock();
        if shared.kept + bytes.len() <= KEPT {
            shared.kept += bytes.len();
            shared.blobs.insert(blob.digest, bytes);
        }
        Ok(())
    }

    fn document(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.lock().documents.insert(*digest, bytes.to_vec());
        Ok(())
    }

    fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if !path.starts_with("manifests/") {
            return Ok(());
        }
        let Ok(manifest) = kubernetes::read(bytes) else { return Ok(()) };
        let object = &manifest.object;
        let facts = ObjectFacts {
            file: path.to_owned(),
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            cluster_scoped: match (scope(object), &object.namespace) {
                (Scope::Cluster, _) => Some(true),
                (Scope::Namespaced, _) | (Scope::Unknown, Some(_)) => Some(false),
                (Scope::Unknown, None) => None,
            },
            images: Vec::new(),
            images_not_carried: Vec::new(),
            effects: remarks(&manifest),
        };
        let mut shared = self.lock();
        match shared.objects.len() < OBJECTS {
            true => shared.objects.push(facts),
            false => shared.more_objects += 1,
        }
        Ok(())
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
