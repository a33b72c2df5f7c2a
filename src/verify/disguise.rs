//! MB-VER-14 and MB-VER-15: a release is treated as a release whatever its name, and nothing else has a release's
//! name.
//!
//! A listed release must have its signature, and its signed payload vouches for its components. This module checks
//! every other manifest of the bundle, at any depth and of any kind: the label in its configuration, and its layers for
//! a payload. Layers are searched as they pass; nothing is read twice.

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

/// The most findings that name images; further ones are counted.
const NAMED_IMAGES: usize = 100;
/// The most bytes that all layers together may inflate to, per stored byte, if that is more than [`limits::INFLATED`].
const RATIO: u64 = 16;

/// The sign by which a release was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Label,
    Payload,
    Opaque,
}

/// The manifests that no release signature vouches for, and what was seen of them.
#[derive(Debug, Default)]
pub(crate) struct Unlisted {
    /// Configurations and layers to search, and the manifests that they belong to.
    configs: BTreeMap<Digest, Vec<usize>>,
    layers: BTreeMap<Digest, Vec<usize>>,
    manifests: Vec<Manifest>,
    /// Blobs that were searched.
    seen: BTreeSet<Digest>,
    /// Bytes that may still be inflated.
    inflate: u64,
}

#[derive(Debug)]
struct Manifest {
    digest: Digest,
    /// The first top-level image that it belongs to, and its name.
    top: Digest,
    name: Arc<str>,
    /// Whether a container runtime would accept it as an image.
    runs: bool,
    mark: Option<Mark>,
    /// Whether it was reported.
    reported: bool,
}

/// Searches a configuration or layer as it passes.
#[derive(Debug)]
pub(crate) struct Look {
    config: Option<Vec<u8>>,
    layer: Option<Probe>,
}

impl Look {
    /// A fresh search with the same settings.
    pub(crate) fn like(&self) -> Look {
        Look { config: self.config.as_ref().map(|_| Vec::new()), layer: self.layer.as_ref().map(Probe::fresh) }
    }

    /// Adds the next bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Some(config) = &mut self.config {
            config.extend_from_slice(bytes);
        }
        if let Some(layer) = &mut self.layer {
            layer.send(bytes);
        }
    }
}

impl Unlisted {
    /// For an index and its documents.
    pub(crate) fn new<'d>(index: &Index, documents: &dyn Fn(&Digest) -> Option<&'d [u8]>) -> Unlisted {
        let mut vouched = BTreeSet::new();
        let mut all = Unlisted::default();
        let mut stored = 0;
        // First the content that a release signature covers, directly or indirectly.
        for image in index.images.iter().filter(|i| matches!(i.kind, Kind::Release | Kind::Component)) {
            descend(&image.digest, &image.media_type, documents, &mut vouched, &mut |_, _, _| {});
        }
        let listed: BTreeSet<Digest> = index.blobs.iter().map(|blob| blob.digest).collect();
        // Unlisted blobs are never seen, and a manifest may name one blob many times.
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
                all.manifests.push(Manifest { digest, top, name, runs, mark: None, reported: false });
                if config.size <= marks::MAX_CONFIG {
                    note(&mut all.configs, config.digest, at);
                }
                for layer in manifest.layers.iter().filter(|l| l.size <= marks::MAX_LAYER) {
                    stored += if all.layers.contains_key(&layer.digest) { 0 } else { layer.size };
                    note(&mut all.layers, layer.digest, at);
                }
            });
        }
        // The time stays proportional to the bytes that are hashed anyway.
        all.inflate = limits::INFLATED.max(stored.saturating_mul(RATIO));
        all
    }

    /// The search to apply to this blob, unless it was searched already.
    pub(crate) fn look(&self, digest: &Digest) -> Option<Look> {
        let (config, layer) = (self.configs.contains_key(digest), self.layers.contains_key(digest));
        if self.seen.contains(digest) || !config && !layer {
            return None;
        }
        let inflate = self.inflate.min(crate::openshift::payload::Limits::default().inflated);
        Some(Look { config: config.then(Vec::new), layer: layer.then(|| Probe::new(inflate)) })
    }

    /// Records the result for a blob whose bytes were verified.
    pub(crate) fn seen(&mut self, digest: &Digest, look: Look) {
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
            // An artifact that no runtime accepts as an image may hold archives of any kind.
            if mark == Mark::Opaque && (!manifest.runs || manifest.mark.is_some()) {
                continue;
            }
            if manifest.mark.is_none_or(|m| m == Mark::Opaque) {
                manifest.mark = Some(mark);
            }
        }
    }

    /// For a file: reads the configurations before anything is unpacked.
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

    /// Findings that were not reported yet.
    pub(crate) fn findings(&mut self) -> impl Iterator<Item = Finding> {
        self.manifests.iter_mut().filter_map(|manifest| {
            let mark = manifest.mark.filter(|_| !std::mem::replace(&mut manifest.reported, true))?;
            Some(manifest.finding(mark))
        })
    }

    /// Reports the findings since the last call.
    pub(super) fn conclude(&mut self, settings: &Settings, check: &mut Check) {
        let accepted = settings.allow_unsigned_release;
        report_findings(check, self.findings().map(|found| (accepted && found.code == Code::ReleaseUnverified, found)));
    }

    /// Adds the findings about content to the report; for a stream also those about names.
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

impl Manifest {
    fn finding(&self, mark: Mark) -> Finding {
        let of = &self.name;
        let why = match mark {
            Mark::Opaque => {
                return Finding::new(
                    Code::Malformed,
                    self.digest.to_string(),
                    format!("a layer of `{of}` cannot be looked into: it may hide an OpenShift release"),
                )
                .fact("layers are gzip, zstd or plain tar, and inflate to less than 4 GiB");
            }
            Mark::Label => format!("its configuration has the label {}", marks::LABEL),
            Mark::Payload => "a layer holds release-manifests".to_owned(),
        };
        let text = format!(
            "`{of}` is an OpenShift release, but the bundle does not list it as one, so no signature vouches for it"
        );
        Finding::new(Code::ReleaseUnverified, self.digest.to_string(), text).fact(why).hint(
            "carry it with create --release; to accept it anyway, and have that recorded: --allow-unsigned-release",
        )
    }
}

/// Reports findings; `accepted` ones become notices. Only some of many are named, but always an error if there is one.
fn report_findings(check: &mut Check, found: impl Iterator<Item = (bool, Finding)>) {
    let (mut more, mut error) = (0, false);
    for (accepted, finding) in found {
        let severity = if accepted { Severity::Notice } else { Severity::Error };
        if check.findings.len() < NAMED_IMAGES || !accepted && !error {
            error |= !accepted;
            check.find(Finding { severity, ..finding });
        } else {
            more += 1;
        }
    }
    if more > 0 {
        check.find(Finding::notice(Code::ReleaseUnverified, "images", format!("{more} more images of that kind")));
    }
}

/// Visits every manifest below that was not visited before.
fn descend<'d>(
    digest: &Digest,
    kind: &str,
    documents: &dyn Fn(&Digest) -> Option<&'d [u8]>,
    visited: &mut BTreeSet<Digest>,
    visit: &mut dyn FnMut(Digest, &str, &crate::oci::Manifest),
) {
    let mut todo = vec![(*digest, kind.to_owned())];
    while let Some((digest, kind)) = todo.pop() {
        if !visited.insert(digest) {
            continue;
        }
        match documents(&digest).and_then(|bytes| parse(bytes, &kind).ok()) {
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

/// The images with a name that only a release may have, and the reason. Creation and verification both use this
/// function.
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
        // An attachment of a release is not that release.
        let of = match image.kind {
            Kind::Component => image.release,
            _ => Some(image.digest),
        };
        let of = of.and_then(|digest| releases.get(&digest));
        // A copy of the release may have the tags of its version, and any tag that is no other version's; a component
        // those that end in its name.
        let named = image.component.as_ref().is_none_or(|name| tag.ends_with(&format!("-{name}")));
        let own = of.is_some_and(|r| {
            named && marks::is_tag_of(&r.version, &r.architecture, tag)
                || image.digest == r.digest && !marks::is_release_tag(ReleaseHome::Beside, tag)
                // The form that `oc` gave to tags of components before 2020-11-20.
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
    let shown = |m: &&Manifest| matches!(m.mark, Some(Mark::Label | Mark::Payload));
    let marked: BTreeSet<Digest> = unlisted.manifests.iter().filter(shown).map(|m| m.top).collect();
    let found = false_names(index, settings.target).into_iter().map(|(image, why)| {
        let finding = Finding::new(Code::ReleaseUnverified, image.digest.to_string(), why)
            .fact("a cluster or a person would mistake it for the release of that name")
            .hint("carry a release with create --release; give another image another tag, or a repository of its own");
        // An image that is a release was accepted as one, whatever its name.
        (settings.allow_unsigned_release && marked.contains(&image.digest), finding)
    });
    report_findings(check, found);
}
