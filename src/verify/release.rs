//! Releases: OpenPGP signatures (MB-VER-07), and payloads against the images of the bundle (MB-VER-06, P13).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::Settings;
use super::cosign::default_policy::Policies;
use super::report::{Check, CheckId, Finding, Report, SignedRelease};
use crate::bundle::index::{Index, Kind, Release, Trust};
use crate::bundle::limits;
use crate::bundle::set::{BlobContent, Set};
use crate::bundle::writer::BUFFER;
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, Invalid, json, parse};
use crate::openshift::openpgp::{self, Rejected};
use crate::openshift::payload::{self, LayerView, Overlay, Payload, ReleaseMetadata};
use crate::openshift::tags;

/// MB-VER-07: every release digest is signed by a key pinned on this host.
pub(super) fn signatures(
    index: &Index,
    documents: &BTreeSet<Digest>,
    files: &BTreeMap<String, Vec<u8>>,
    settings: &Settings,
) -> (Check, Vec<SignedRelease>) {
    let mut releases = Vec::new();
    let mut check = Check::new(CheckId::ReleaseSignatures);
    check.of = index.releases.len() as u64;
    let mut claimed: BTreeSet<&str> = BTreeSet::new();
    for release in &index.releases {
        let folder = format!("signatures/sha256={}/", release.digest.hex());
        let theirs: Vec<(&String, &Vec<u8>)> =
            files.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder)).collect();
        claimed.extend(theirs.iter().map(|(path, _)| path.as_str()));
        releases.push(check_release(release, &theirs, settings, &mut check));
    }
    // Signatures for the images of a list are included too; each must be for something in the bundle.
    for path in files.keys().filter(|p| p.starts_with("signatures/") && !claimed.contains(p.as_str())) {
        let digest = path
            .strip_prefix("signatures/sha256=")
            .and_then(|p| p.split('/').next())
            .and_then(|h| Digest::from_hex(h).ok());
        if digest.is_none_or(|d| !documents.contains(&d)) {
            check.find(Finding::new(
                Code::UnlistedContent,
                path,
                format!("`{path}` is a signature for something that is not in the bundle"),
            ));
        }
    }
    (check, releases)
}

fn check_release(
    release: &Release,
    signatures: &[(&String, &Vec<u8>)],
    settings: &Settings,
    check: &mut Check,
) -> SignedRelease {
    let mut out = SignedRelease {
        version: release.version.clone(),
        architecture: release.architecture.clone(),
        digest: release.digest.to_string(),
        signed: false,
        key: None,
        user_id: None,
        signed_at: None,
    };
    let mut worst: Option<Rejected> = None;
    for (path, bytes) in signatures {
        match any_keyring(bytes, settings, &release.digest) {
            Ok(verified) => {
                if !out.signed {
                    out.signed = true;
                    out.key = Some(verified.fingerprint);
                    out.user_id = verified.user_id;
                    out.signed_at = Timestamp::from_second(verified.signed_at).ok().map(|time| time.to_string());
                }
                for notice in &verified.notices {
                    check.find(Finding::notice(Code::ReleaseUnverified, *path, notice.clone()));
                }
            }
            Err(rejected) => worst = Some(rejected),
        }
    }
    if out.signed {
        check.examined += 1;
        return out;
    }
    let subject = release.digest.to_string();
    let mut finding = match worst {
        Some(rejected) => Finding::of(subject, &Error::from(rejected)),
        None => Finding::new(
            Code::ReleaseUnverified,
            subject,
            format!("no release signature for {} ({}) is in the bundle", release.version, release.digest),
        ),
    };
    finding = finding.fact(format!("release {} {}", release.version, release.digest));
    if release.trust == Trust::None {
        finding = finding.fact("the bundle was made with --allow-unsigned-release");
    }
    if settings.allow_unsigned_release {
        check.find(Finding { severity: super::Severity::Notice, ..finding });
    } else {
        check.find(finding.hint("a key of another vendor: --release-keyring FILE; to accept it anyway, and have that recorded: --allow-unsigned-release"));
    }
    out
}

/// Verifies one signature with every keyring of this host.
pub(super) fn any_keyring(bytes: &[u8], settings: &Settings, digest: &Digest) -> Result<openpgp::Verified, Rejected> {
    let mut worst = Rejected::NotASignature("no keyring is pinned on this host".to_owned());
    for keyring in settings.keyrings {
        match openpgp::verify(bytes, keyring, digest, settings.now.as_second()) {
            Ok(verified) => return Ok(verified),
            Err(rejected) => worst = rejected,
        }
    }
    Err(worst)
}

fn drain(reader: &mut BlobContent<'_>, buffer: &mut [u8]) -> Result<()> {
    while reader.next(buffer)? > 0 {}
    Ok(())
}

/// The release metadata in the payloads, by release.
pub(super) type Metadata = BTreeMap<Digest, ReleaseMetadata>;

/// The payloads of a bundle's releases, as far as their configurations and layers were read.
#[derive(Debug)]
pub(super) struct Payloads {
    releases: Vec<Pending>,
    /// Components that were removed: what is removed may be missing.
    removed: BTreeSet<(Digest, String)>,
    /// The image policies in the payloads that were read.
    pub(super) policies: Policies,
    /// What these payloads say about updates.
    pub(super) metadata: Metadata,
    configs: BTreeMap<Digest, Vec<u8>>,
    scanned: BTreeMap<Digest, Result<LayerView, Arc<Error>>>,
    /// Bytes that may still be inflated.
    inflate: u64,
    /// Bytes that may still be kept.
    keep: usize,
}

impl Default for Payloads {
    fn default() -> Payloads {
        Payloads {
            releases: Vec::new(),
            removed: BTreeSet::new(),
            policies: Policies::new(),
            metadata: Metadata::new(),
            configs: BTreeMap::new(),
            scanned: BTreeMap::new(),
            inflate: limits::INFLATED,
            keep: limits::PAYLOADS,
        }
    }
}

#[derive(Debug)]
struct Pending {
    digest: Digest,
    image: Result<PayloadImage>,
    payload: Option<Result<Payload>>,
}

impl Payloads {
    /// `bad` are documents whose digest was wrong.
    pub(super) fn new(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>, bad: &BTreeSet<Digest>) -> Payloads {
        let releases = index.images.iter().filter(|i| i.kind == Kind::Release).map(|image| Pending {
            digest: image.digest,
            image: PayloadImage::find(&image.digest, &image.media_type, documents, bad),
            payload: None,
        });
        Payloads { releases: releases.collect(), ..Payloads::default() }
    }

    /// The same for a bundle from which components may have been removed (MB-RMV-06).
    pub(super) fn without(mut self, set: &Set) -> Payloads {
        let removed = set.removed().images.iter().map(|at| &set.signed().images[*at]);
        self.removed = removed.filter_map(|image| Some((image.release?, image.component.clone()?))).collect();
        self
    }

    /// For a file: reads now what is needed, layers top first, before anything is unpacked.
    pub(super) fn read_ahead(&mut self, set: &Set) -> Result<()> {
        let positions: BTreeMap<Digest, usize> =
            set.index().blobs.iter().enumerate().map(|(at, blob)| (blob.digest, at)).collect();
        for at in 0..self.releases.len() {
            let Ok(image) = &self.releases[at].image else { continue };
            let image = image.clone();
            let config = positions.get(&image.config.digest).filter(|at| set.has(**at));
            match config.map(|at| set.read(*at, limits::CONFIG)) {
                Some(Ok(bytes)) => _ = self.configs.insert(image.config.digest, bytes),
                Some(Err(e)) if !e.code().is_verdict() => return Err(e),
                // Damage is reported when all blobs are read, and below.
                _ => {}
            }
            match self.read_layers(&image, set, &positions) {
                // It is on a missing volume: not checked.
                Err(e) if e.code() == Code::IncompleteCheck => {}
                Err(e) if !e.code().is_verdict() => return Err(e),
                other => self.releases[at].payload = Some(other),
            }
        }
        Ok(())
    }

    fn read_layers(&mut self, image: &PayloadImage, set: &Set, positions: &BTreeMap<Digest, usize>) -> Result<Payload> {
        let mut overlay = Overlay::default();
        let mut buffer = vec![0u8; BUFFER];
        for layer in &image.layers {
            if overlay.decided() {
                break;
            }
            let Some(&at) = positions.get(&layer.digest) else {
                let message = format!("{} of the release image is not in the bundle", layer.digest);
                return Err(Error::new(Code::BlobMissing, message));
            };
            let mut scanned = Err(Error::new(Code::IncompleteCheck, "the layer is on a volume that is not here"));
            for copy in set.replicas(at) {
                let mut reader = set.open(at, &copy);
                let view = payload::scan(&layer.media_type, &mut reader, &self.limits()?);
                // The scan counts only if the digest matches; a wrong digest is the better explanation.
                let ended = drain(&mut reader, &mut buffer);
                self.charge(view.as_ref().ok());
                scanned = ended.map(|()| view);
                if scanned.is_ok() {
                    break;
                }
            }
            overlay.add(scanned??)?;
        }
        overlay.payload()
    }

    /// For a stream: the observer of this blob, if it is part of a release image.
    pub(super) fn tee(&self, digest: &Digest) -> Option<Tee> {
        let mut images = self.releases.iter().filter_map(|p| p.image.as_ref().ok());
        if let Some(layer) = images.clone().flat_map(|i| &i.layers).find(|l| l.digest == *digest) {
            return Some(match self.limits() {
                Ok(limits) => Tee::layer(layer.media_type.clone(), limits),
                Err(e) => Tee::Refused(e),
            });
        }
        images.any(|i| i.config.digest == *digest).then(|| Tee::Config(Vec::new()))
    }

    /// Records the result of an observer.
    pub(super) fn seen(&mut self, digest: &Digest, seen: Seen) {
        match seen {
            Seen::Nothing => {}
            Seen::Config(bytes) => _ = self.configs.insert(*digest, bytes),
            Seen::Layer(view) => {
                self.charge(view.as_ref().ok());
                let kept = view.as_ref().map_or(0, LayerView::kept);
                let view = match self.keep.checked_sub(kept) {
                    None => Err(too_much("hold more than can be kept")),
                    Some(left) => {
                        self.keep = left;
                        view
                    }
                };
                self.scanned.insert(*digest, view.map_err(Arc::new));
            }
        }
    }

    /// The limits for the next layer.
    fn limits(&self) -> Result<payload::Limits> {
        let usual = payload::Limits::default();
        match self.inflate {
            0 => Err(too_much("inflate to more than is read")),
            left => Ok(payload::Limits { inflated: usual.inflated.min(left), ..usual }),
        }
    }

    /// A layer that could not be scanned costs as much as the largest.
    fn charge(&mut self, view: Option<&LayerView>) {
        let cost = view.map_or(payload::Limits::default().inflated, LayerView::inflated);
        self.inflate = self.inflate.saturating_sub(cost);
    }

    /// Compares payloads with images: the same components with the same digests, and no others.
    pub(super) fn conclude(&mut self, index: &Index, report: &mut Report) {
        let mut check = Check::new(CheckId::ReleasePayload);
        check.of = self.releases.len() as u64;
        let releases = std::mem::take(&mut self.releases);
        let listed: BTreeMap<Digest, &Release> = index.releases.iter().map(|r| (r.digest, r)).collect();
        let mut unread = Vec::new();
        for pending in releases {
            let Some(release) = listed.get(&pending.digest) else { continue };
            let image = match pending.image {
                Ok(image) => image,
                Err(e) => {
                    match e.code() {
                        Code::IncompleteCheck => unread.push(release.version.clone()),
                        _ => check.find(Finding::of(release.digest.to_string(), &e)),
                    }
                    continue;
                }
            };
            match pending.payload.or_else(|| self.assemble(&image.layers)) {
                Some(Ok(payload)) => {
                    self.policies.insert(release.digest, payload.image_policy.clone());
                    self.metadata.extend(payload.release_metadata.clone().map(|m| (release.digest, m)));
                    check.examined += 1;
                    check.details.push(format!(
                        "{} names {} images",
                        payload.version,
                        payload.image_references.tags.len()
                    ));
                    compare(index, release, &payload, &self.removed, &mut check);
                    if !self.architecture(release, &image, &mut check) {
                        unread.push(release.version.clone());
                    }
                }
                Some(Err(e)) => check.find(Finding::of(release.digest.to_string(), &e)),
                None => unread.push(release.version.clone()),
            }
        }
        if !unread.is_empty() {
            report.skip(
                CheckId::ReleasePayload,
                true,
                format!("the payload of {} could not be read", unread.join(", ")),
            );
        }
        report.add(check);
    }

    /// Checks that the index names the architecture of the image, or `multi` for a list. False if the configuration
    /// was not read.
    fn architecture(&self, release: &Release, image: &PayloadImage, check: &mut Check) -> bool {
        let found = if image.of_a_list {
            Ok(tags::MULTI.to_owned())
        } else {
            let Some(bytes) = self.configs.get(&image.config.digest) else { return false };
            architecture(bytes)
        };
        let subject = release.digest.to_string();
        match found {
            Ok(found) if found == release.architecture => {}
            Ok(found) => check.find(Finding::new(
                Code::Malformed,
                subject,
                format!("the release image is for `{found}`, not for {}", release.architecture),
            )),
            Err(why) => check.find(Finding::new(
                Code::Malformed,
                subject,
                format!("the configuration of the release image cannot be read: {why}"),
            )),
        }
        true
    }

    fn assemble(&self, layers: &[Descriptor]) -> Option<Result<Payload>> {
        let mut overlay = Overlay::default();
        for layer in layers {
            if overlay.decided() {
                break;
            }
            let added = match self.scanned.get(&layer.digest)? {
                Ok(view) => overlay.add(view.clone()),
                Err(e) => Err(Error::new(e.code(), e.message())),
            };
            if let Err(e) = added {
                return Some(Err(e));
            }
        }
        Some(overlay.payload())
    }
}

fn too_much(what: &str) -> Error {
    Error::new(Code::Malformed, format!("the layers of the release images {what}"))
}

fn architecture(config: &[u8]) -> Result<String, Invalid> {
    #[derive(serde::Deserialize)]
    struct Config {
        architecture: String,
    }
    json::check(config, &["architecture"])?;
    let config: Config = serde_json::from_slice(config).map_err(|e| Invalid(e.to_string()))?;
    Ok(config.architecture)
}

/// The image that holds a release's payload.
#[derive(Clone, Debug)]
struct PayloadImage {
    /// Whether the release is a list of images.
    of_a_list: bool,
    config: Descriptor,
    /// Top first, each once: repetition further down changes nothing.
    layers: Vec<Descriptor>,
}

impl PayloadImage {
    /// The image for linux/amd64 of a list, else the first, as at creation.
    fn find(
        digest: &Digest,
        kind: &str,
        documents: &BTreeMap<Digest, Vec<u8>>,
        bad: &BTreeSet<Digest>,
    ) -> Result<PayloadImage> {
        let unusable = |why: &str| Error::new(Code::Malformed, format!("release image {digest} {why}"));
        let read = |digest: &Digest, kind: &str| {
            let bytes = documents.get(digest).ok_or_else(|| match bad.contains(digest) {
                true => Error::new(Code::IncompleteCheck, format!("{digest} does not match its digest")),
                false => Error::new(Code::BlobMissing, format!("{digest}, a release image, is not in the bundle")),
            })?;
            parse(bytes, kind).map_err(|e| unusable(&format!("cannot be read: {e}")))
        };
        let (manifest, of_a_list) = match read(digest, kind)? {
            Document::Manifest(manifest) => (manifest, false),
            Document::Index(index) => {
                let child = payload::of_list(&index).ok_or_else(|| unusable("is an empty list"))?;
                match read(&child.digest, &child.media_type)? {
                    Document::Manifest(manifest) => (manifest, true),
                    Document::Index(_) => return Err(unusable("is a list of lists")),
                }
            }
        };
        let mut seen = BTreeSet::new();
        let layers: Vec<Descriptor> =
            manifest.layers.into_iter().rev().filter(|layer| seen.insert(layer.digest)).collect();
        if layers.len() > payload::MAX_LAYERS {
            return Err(unusable(&format!("has more than {} layers", payload::MAX_LAYERS)));
        }
        Ok(PayloadImage { of_a_list, config: manifest.config, layers })
    }
}

fn compare(
    index: &Index,
    release: &Release,
    payload: &Payload,
    removed: &BTreeSet<(Digest, String)>,
    check: &mut Check,
) {
    let subject = release.digest.to_string();
    if payload.version != release.version {
        check.find(
            Finding::new(
                Code::Malformed,
                &subject,
                format!("the release image is {}, not {}", payload.version, release.version),
            )
            .fact("the bundle index names another version than the payload"),
        );
    }
    let multi = payload.release_metadata.as_ref().and_then(|m| m.architecture.as_deref());
    if let Some(architecture) = multi
        && architecture != release.architecture
    {
        check.find(Finding::new(
            Code::Malformed,
            &subject,
            format!("the payload is for {architecture}, not for {}", release.architecture),
        ));
    }
    let mut named: BTreeMap<(&str, Digest), bool> =
        payload.image_references.tags.iter().map(|c| ((c.name.as_str(), c.digest), false)).collect();
    for image in index.images.iter().filter(|i| i.kind == Kind::Component && i.release == Some(release.digest)) {
        let name = image.component.as_deref().unwrap_or_default();
        match named.get_mut(&(name, image.digest)) {
            Some(seen) => *seen = true,
            None => check.find(
                Finding::new(
                    Code::UnlistedContent,
                    image.digest.to_string(),
                    format!("component `{name}` is not the one that the release payload names"),
                )
                .fact(format!("in the bundle {}", image.digest))
                .fact(format!("release {} {}", release.version, release.digest)),
            ),
        }
    }
    let gone = |name: &str| removed.contains(&(release.digest, name.to_owned()));
    for ((name, digest), _) in named.iter().filter(|((name, _), seen)| !**seen && !gone(name)) {
        check.find(
            Finding::new(
                Code::BlobMissing,
                digest.to_string(),
                format!("component `{name}` of release {} is not in the bundle", release.version),
            )
            .fact(format!("expected {digest}")),
        );
    }
}

/// Observes a blob of a stream as it passes.
#[derive(Debug)]
pub(super) enum Tee {
    /// Keeps the configuration of a release image.
    Config(Vec<u8>),
    /// Sends a copy to a thread that scans it as a layer.
    Layer { to: Option<SyncSender<Vec<u8>>>, thread: JoinHandle<Result<LayerView>> },
    /// No more may be scanned.
    Refused(Error),
}

/// The result of a [`Tee`].
pub(super) enum Seen {
    Config(Vec<u8>),
    Layer(Result<LayerView>),
    /// The bytes were wrong or incomplete.
    Nothing,
}

impl Tee {
    fn layer(media_type: String, limits: payload::Limits) -> Tee {
        let (to, from) = sync_channel(2);
        let thread = std::thread::spawn(move || {
            let mut pipe = Pipe { from, chunk: Vec::new(), at: 0 };
            let view = payload::scan(&media_type, &mut pipe, &limits);
            // Keep reading, so that the sender never waits for a scanner that has stopped.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            view
        });
        Tee::Layer { to: Some(to), thread }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        match self {
            // One extra byte is kept as a sign that it was too long.
            Tee::Config(kept) => {
                let room = usize::try_from(limits::CONFIG + 1).unwrap_or(0).saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Tee::Layer { to, .. } => {
                if let Some(open) = to
                    && (bytes.is_empty() || open.send(bytes.to_vec()).is_err())
                {
                    *to = None;
                }
            }
            Tee::Refused(_) => {}
        }
    }

    /// The result, if the bytes were `complete` and right.
    pub(super) fn finish(self, complete: bool) -> Seen {
        let seen = match self {
            Tee::Config(kept) if kept.len() as u64 > limits::CONFIG => Seen::Nothing,
            Tee::Config(kept) => Seen::Config(kept),
            Tee::Refused(e) => Seen::Layer(Err(e)),
            Tee::Layer { to, thread } => {
                drop(to);
                thread.join().map_or(Seen::Nothing, Seen::Layer)
            }
        };
        if complete { seen } else { Seen::Nothing }
    }
}

struct Pipe {
    from: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.chunk.len() {
            let Ok(chunk) = self.from.recv() else { return Ok(0) };
            (self.chunk, self.at) = (chunk, 0);
        }
        let n = buffer.len().min(self.chunk.len() - self.at);
        buffer[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
