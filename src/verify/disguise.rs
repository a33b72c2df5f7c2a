//! MB-VER-14 and MB-VER-15: a release is a release whatever it is called, and nothing else has its names.
//!
//! What the index lists as a release is held to its signature, and what a signed payload names is vouched for by it.
//! Every other manifest of the bundle, at any depth and of any kind, is looked at here: at the label of its
//! configuration, and at its layers for the payload. Layers are looked at as they pass; nothing is read twice for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Settings;
use super::report::{Check, CheckId, Finding, Report, Severity};
use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::limits;
use crate::bundle::set::Set;
use crate::error::{Code, Result};
use crate::oci::{Digest, Document, Repository, media_type, parse, without_registry};
use crate::openshift::marks::{self, Layer, Probe, ReleaseHome};

/// How many findings name images; more are counted.
const TOLD: usize = 100;

/// What gave an image away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Label,
    Payload,
    Opaque,
}

/// The manifests that nothing vouches for as a release, and what was seen of them.
#[derive(Debug, Default)]
pub(super) struct Unlisted {
    /// Configurations and layers to look at, and the manifests that they belong to.
    configs: BTreeMap<Digest, Vec<usize>>,
    layers: BTreeMap<Digest, Vec<usize>>,
    manifests: Vec<Manifest>,
    /// What was looked at.
    seen: BTreeSet<Digest>,
    /// What may still be inflated.
    inflate: u64,
}

#[derive(Debug)]
struct Manifest {
    digest: Digest,
    /// The top-level image that it belongs to: the first, and its name.
    top: Digest,
    name: Arc<str>,
    /// Whether a container runtime would take it for an image.
    runs: bool,
    mark: Option<Mark>,
    /// Whether it was reported.
    told: bool,
}

/// Looks at a configuration or layer as it passes.
#[derive(Debug)]
pub(super) struct Look {
    config: Option<Vec<u8>>,
    layer: Option<Probe>,
}

impl Look {
    /// The same before the first byte.
    pub(super) fn anew(self) -> Look {
        Look { config: self.config.map(|_| Vec::new()), layer: self.layer.map(|probe| probe.anew()) }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Some(config) = &mut self.config {
            config.extend_from_slice(bytes);
        }
        if let Some(layer) = &mut self.layer {
            layer.send(bytes);
        }
    }
}

impl Unlisted {
    pub(super) fn new(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> Unlisted {
        let mut vouched = BTreeSet::new();
        let mut all = Unlisted { inflate: limits::INFLATED, ..Unlisted::default() };
        // First what a release signature is over or leads to.
        for image in index.images.iter().filter(|i| matches!(i.kind, Kind::Release | Kind::Component)) {
            descend(&image.digest, &image.media_type, documents, &mut vouched, &mut |_, _, _| {});
        }
        let listed: BTreeSet<Digest> = index.blobs.iter().map(|blob| blob.digest).collect();
        // What is not listed is never seen, and a manifest may name one blob many times.
        let note = |all: &mut BTreeMap<Digest, Vec<usize>>, digest: Digest, at: usize| {
            if listed.contains(&digest) {
                let of = all.entry(digest).or_default();
                if of.last() != Some(&at) {
                    of.push(at);
                }
            }
        };
        for image in &index.images {
            let name: Arc<str> = image.display().into();
            descend(&image.digest, &image.media_type, documents, &mut vouched, &mut |digest, kind, manifest| {
                let at = all.manifests.len();
                let config = &manifest.config;
                let runs = kind == media_type::DOCKER_MANIFEST
                    || matches!(config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG);
                let (top, name) = (image.digest, name.clone());
                all.manifests.push(Manifest { digest, top, name, runs, mark: None, told: false });
                if config.size <= marks::MAX_CONFIG {
                    note(&mut all.configs, config.digest, at);
                }
                for layer in manifest.layers.iter().filter(|l| l.size <= marks::MAX_LAYER) {
                    note(&mut all.layers, layer.digest, at);
                }
            });
        }
        all
    }

    /// What has to look at this blob, unless something did already.
    pub(super) fn look(&self, digest: &Digest) -> Option<Look> {
        let (config, layer) = (self.configs.contains_key(digest), self.layers.contains_key(digest));
        if self.seen.contains(digest) || !config && !layer {
            return None;
        }
        let inflate = self.inflate.min(crate::openshift::payload::Limits::default().inflated);
        Some(Look { config: config.then(Vec::new), layer: layer.then(|| Probe::new(inflate)) })
    }

    /// Takes in what was seen of a blob whose bytes were right.
    pub(super) fn seen(&mut self, digest: &Digest, look: Look) {
        if !self.seen.insert(*digest) {
            return;
        }
        if look.config.is_some_and(|config| marks::has_label(&config)) {
            self.mark(digest, true, Mark::Label);
        }
        if let Some(probe) = look.layer {
            let (found, cost) = probe.finish();
            self.inflate = self.inflate.saturating_sub(cost);
            match found {
                Layer::Other => {}
                Layer::Payload => self.mark(digest, false, Mark::Payload),
                Layer::Opaque => self.mark(digest, false, Mark::Opaque),
            }
        }
    }

    fn mark(&mut self, digest: &Digest, config: bool, mark: Mark) {
        let of = if config { self.configs.get(digest) } else { self.layers.get(digest) };
        for at in of.into_iter().flatten() {
            let manifest = &mut self.manifests[*at];
            // An artifact that no runtime takes for an image may hold archives of any kind.
            if mark == Mark::Opaque && (!manifest.runs || manifest.mark.is_some()) {
                continue;
            }
            if manifest.mark.is_none_or(|m| m == Mark::Opaque) {
                manifest.mark = Some(mark);
            }
        }
    }

    /// Of a file: the configurations, before anything is unpacked.
    pub(super) fn read_configs(&mut self, set: &Set) -> Result<()> {
        for (at, blob) in set.index().blobs.iter().enumerate() {
            if !self.configs.contains_key(&blob.digest) || self.layers.contains_key(&blob.digest) || !set.has(at) {
                continue;
            }
            match set.read(at, marks::MAX_CONFIG) {
                Ok(bytes) => self.seen(&blob.digest, Look { config: Some(bytes), layer: None }),
                // Reported with all other digests.
                Err(e) if (10..50).contains(&e.code().exit()) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reports what was found since the last time.
    pub(super) fn conclude(&mut self, settings: &Settings, check: &mut Check) {
        let mut more = 0;
        for manifest in &mut self.manifests {
            let Some(mark) = manifest.mark.filter(|_| !std::mem::replace(&mut manifest.told, true)) else { continue };
            let of = &manifest.name;
            let finding = match mark {
                Mark::Opaque => Finding::new(
                    Code::Malformed,
                    manifest.digest.to_string(),
                    format!("a layer of `{of}` cannot be looked into: it may hide an OpenShift release"),
                )
                .fact("layers are gzip, zstd or plain tar, and inflate to less than 4 GiB"),
                _ => Finding::new(
                    Code::ReleaseUnverified,
                    manifest.digest.to_string(),
                    format!("`{of}` is an OpenShift release, and the bundle does not list it as one: nobody vouches for it"),
                )
                .fact(match mark {
                    Mark::Label => format!("its configuration has the label {}", marks::LABEL),
                    _ => "a layer holds release-manifests".to_owned(),
                })
                .hint("carry it with create --release; to accept it anyway, and have that recorded: --allow-unsigned-release"),
            };
            let severity = match settings.allow_unsigned_release && mark != Mark::Opaque {
                true => Severity::Notice,
                false => Severity::Error,
            };
            match check.findings.len() < TOLD {
                true => check.find(Finding { severity, ..finding }),
                false => more += 1,
            }
        }
        if more > 0 {
            check.find(Finding::notice(
                Code::ReleaseUnverified,
                "images",
                format!("{more} further images of that kind"),
            ));
        }
    }

    /// Adds to the report what was found in the content; of a stream the names too.
    pub(super) fn conclude_content(&mut self, index: Option<&Index>, settings: &Settings, report: &mut Report) {
        let mut check = Check::new(CheckId::ReleaseSignatures);
        if let Some(index) = index {
            names(index, self, settings, &mut check);
        }
        self.conclude(settings, &mut check);
        (check.examined, check.of) = (0, check.findings.len() as u64);
        if !check.findings.is_empty() {
            report.add(check);
        }
    }
}

/// Visits every manifest from here down that was not visited before.
fn descend(
    digest: &Digest,
    kind: &str,
    documents: &BTreeMap<Digest, Vec<u8>>,
    visited: &mut BTreeSet<Digest>,
    visit: &mut dyn FnMut(Digest, &str, &crate::oci::Manifest),
) {
    let mut todo = vec![(*digest, kind.to_owned())];
    while let Some((digest, kind)) = todo.pop() {
        if !visited.insert(digest) {
            continue;
        }
        match documents.get(&digest).and_then(|bytes| parse(bytes, &kind).ok()) {
            Some(Document::Manifest(manifest)) => visit(digest, &kind, &manifest),
            Some(Document::Index(index)) => {
                let children = index.manifests.into_iter();
                let documents =
                    children.filter(|c| media_type::is_index(&c.media_type) || media_type::is_manifest(&c.media_type));
                todo.extend(documents.map(|c| (c.digest, c.media_type)));
            }
            None => {}
        }
    }
}

/// The images that have a name which only a release may have, and why. Both sides ask here.
pub(crate) fn false_names<'a>(index: &'a Index, target: Option<&Repository>) -> Vec<(&'a Image, String)> {
    let releases: BTreeMap<Digest, _> = index.releases.iter().map(|r| (r.digest, r)).collect();
    let kept = |i: &&Image| i.kind == Kind::Release;
    let homes: BTreeSet<&str> =
        index.images.iter().filter(kept).filter_map(|i| i.repository.as_deref()).map(without_registry).collect();
    let mut out = Vec::new();
    for image in &index.images {
        let Some(tag) = image.tag.as_deref() else { continue };
        let path = image.repository.as_deref().map(without_registry);
        let mut place = marks::place(path);
        if let (ReleaseHome::Elsewhere, Some(path), Some(target)) = (place, path, target) {
            place = marks::place(Some(&format!("{}/{path}", target.path())));
        }
        if place == ReleaseHome::Elsewhere && path.is_some_and(|path| homes.contains(path)) {
            place = ReleaseHome::Beside;
        }
        let of = image.release.or(Some(image.digest)).and_then(|digest| releases.get(&digest));
        // A component or a copy of the release may have the tags of its version; a release any that is no other version's.
        let own = of.is_some_and(|r| {
            marks::is_tag_of(&r.version, &r.architecture, tag)
                || image.digest == r.digest && !marks::is_release_tag(ReleaseHome::Beside, tag)
                // As `oc` tagged components before 2020-11-20.
                || image.component.as_ref().is_some_and(|name| tag == format!("{}-{name}", r.version))
        });
        let component = image.kind == Kind::Component
            && place == ReleaseHome::Releases
            && !marks::is_release_tag(ReleaseHome::Beside, tag);
        if marks::is_release_tag(place, tag) && !own && !component {
            out.push((image, format!("`{}` has the name of a release, and is not that release", image.display())));
        }
    }
    out
}

/// MB-VER-15.
pub(super) fn names(index: &Index, unlisted: &Unlisted, settings: &Settings, check: &mut Check) {
    for (image, why) in false_names(index, settings.target).into_iter().take(TOLD) {
        // One that is a release was accepted as one, whatever it is called.
        let marked = unlisted
            .manifests
            .iter()
            .any(|m| m.top == image.digest && matches!(m.mark, Some(Mark::Label | Mark::Payload)));
        let finding = Finding::new(Code::ReleaseUnverified, image.digest.to_string(), why)
            .fact("a cluster or a person would take it for the release of that name")
            .hint("carry a release with create --release; give another image another tag, or a repository of its own");
        let severity = if marked && settings.allow_unsigned_release { Severity::Notice } else { Severity::Error };
        check.find(Finding { severity, ..finding });
    }
}
