//! Releases: OpenPGP signatures (MB-VER-07), and payloads against the images of the bundle (MB-VER-06, P13).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::Settings;
use super::report::{Check, CheckId, Finding, Report};
use crate::bundle::index::{Index, Kind, Release, Trust};
use crate::bundle::reader::Contents;
use crate::bundle::writer::BUFFER;
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, Manifest, Platform, media_type, parse};
use crate::openshift::openpgp::{self, Rejected};
use crate::openshift::payload::{self, LayerView, Overlay, Payload};

/// MB-VER-07: every release digest is signed by a key pinned on this host.
pub(super) fn signatures(index: &Index, files: &BTreeMap<String, Vec<u8>>, settings: &Settings) -> Check {
    let mut check = Check::new(CheckId::ReleaseSignatures);
    check.of = index.releases.len() as u64;
    let mut claimed: BTreeSet<&str> = BTreeSet::new();
    for release in &index.releases {
        let folder = format!("signatures/sha256={}/", release.digest.hex());
        let theirs: Vec<(&String, &Vec<u8>)> = files.iter().filter(|(path, _)| path.starts_with(&folder)).collect();
        claimed.extend(theirs.iter().map(|(path, _)| path.as_str()));
        one(release, &theirs, settings, &mut check);
    }
    // Signatures of the images of a list are carried too; each must be for something that is here.
    for path in files.keys().filter(|p| p.starts_with("signatures/") && !claimed.contains(p.as_str())) {
        let digest = path
            .strip_prefix("signatures/sha256=")
            .and_then(|p| p.split('/').next())
            .and_then(|h| Digest::from_hex(h).ok());
        if digest.is_none_or(|d| !index.blobs.iter().any(|b| b.digest == d && b.role.is_document())) {
            check.find(Finding::new(
                Code::UnlistedContent,
                path,
                format!("`{path}` is a signature for something that is not in the bundle"),
            ));
        }
    }
    check
}

fn one(release: &Release, signatures: &[(&String, &Vec<u8>)], settings: &Settings, check: &mut Check) {
    let mut good = false;
    let mut worst: Option<Rejected> = None;
    for (path, bytes) in signatures {
        match any_keyring(bytes, settings, &release.digest) {
            Ok(verified) => {
                if !good {
                    check.details.push(format!(
                        "{} {} {}",
                        release.version,
                        verified.fingerprint,
                        verified.user_id.as_deref().unwrap_or("")
                    ));
                }
                good = true;
                for notice in &verified.notices {
                    check.find(Finding::notice(Code::ReleaseUnverified, *path, notice.clone()));
                }
            }
            Err(rejected) => worst = Some(rejected),
        }
    }
    if good {
        check.examined += 1;
        return;
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
}

fn any_keyring(bytes: &[u8], settings: &Settings, digest: &Digest) -> Result<openpgp::Verified, Rejected> {
    let mut worst = Rejected::NotASignature("no keyring is pinned on this host".to_owned());
    for keyring in &settings.keyrings {
        match openpgp::verify(bytes, keyring, digest, settings.now.as_second()) {
            Ok(verified) => return Ok(verified),
            Err(rejected) => worst = rejected,
        }
    }
    Err(worst)
}

/// The payloads of a bundle's releases, as far as their layers were seen.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    releases: Vec<Pending>,
    scanned: BTreeMap<Digest, Scan>,
}

#[derive(Debug)]
struct Pending {
    digest: Digest,
    /// Layers of the image that the payload is read from, top first. `None`: a document that names them is bad
    /// or missing, which is reported with the digests or the graph.
    layers: Option<Vec<Descriptor>>,
    payload: Option<Result<Payload>>,
}

#[derive(Debug)]
enum Scan {
    Done(Box<Result<LayerView>>),
    /// Its bytes were wrong, or never came.
    Unusable,
}

impl Payloads {
    pub(super) fn new(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> Payloads {
        let releases = index.images.iter().filter(|i| i.kind == Kind::Release).map(|image| {
            let layers = payload_layers(&image.digest, &image.media_type, documents);
            Pending { digest: image.digest, layers, payload: None }
        });
        Payloads { releases: releases.collect(), scanned: BTreeMap::new() }
    }

    /// Of a file: reads the layers that are needed now, top first, so that nothing is unpacked before.
    pub(super) fn read_ahead(&mut self, contents: &Contents) -> Result<()> {
        for pending in &mut self.releases {
            let Some(layers) = &pending.layers else { continue };
            match read_payload(layers, contents) {
                Err(e) if !(10..50).contains(&e.code().exit()) => return Err(e),
                other => pending.payload = Some(other),
            }
        }
        Ok(())
    }

    /// Of a stream: a scanner for this blob, if it is a layer of a release image.
    pub(super) fn tee(&self, digest: &Digest) -> Option<Tee> {
        let layer = self.releases.iter().flat_map(|p| p.layers.iter().flatten()).find(|l| l.digest == *digest)?;
        Some(Tee::new(layer.media_type.clone()))
    }

    /// Takes in what a scanner saw.
    pub(super) fn scanned(&mut self, digest: &Digest, view: Option<Result<LayerView>>) {
        let scan = view.map_or(Scan::Unusable, |v| Scan::Done(Box::new(v)));
        self.scanned.insert(*digest, scan);
    }

    /// Compares payloads and images: the same components with the same digests, and no others.
    pub(super) fn conclude(&mut self, index: &Index, report: &mut Report) {
        let mut check = Check::new(CheckId::ReleasePayload);
        check.of = self.releases.len() as u64;
        let releases = std::mem::take(&mut self.releases);
        let mut unread = Vec::new();
        for pending in releases {
            let Some(release) = index.releases.iter().find(|r| r.digest == pending.digest) else { continue };
            match pending.payload.or_else(|| self.assemble(pending.layers.as_deref()?)) {
                Some(Ok(payload)) => {
                    check.examined += 1;
                    check.details.push(format!(
                        "{} names {} images",
                        payload.version,
                        payload.image_references.tags.len()
                    ));
                    compare(index, release, &payload, &mut check);
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

    fn assemble(&mut self, layers: &[Descriptor]) -> Option<Result<Payload>> {
        let mut overlay = Overlay::default();
        for layer in layers {
            if overlay.decided() {
                break;
            }
            match self.scanned.remove(&layer.digest)? {
                Scan::Unusable => return None,
                Scan::Done(view) => {
                    if let Err(e) = view.and_then(|v| overlay.add(v)) {
                        return Some(Err(e));
                    }
                }
            }
        }
        Some(overlay.payload())
    }
}

fn read_payload(layers: &[Descriptor], contents: &Contents) -> Result<Payload> {
    let mut overlay = Overlay::default();
    let mut buffer = vec![0u8; BUFFER];
    for layer in layers {
        if overlay.decided() {
            break;
        }
        let blobs = contents.layout().blobs();
        let Some(member) = blobs.iter().find(|m| m.digest == Some(layer.digest)) else {
            return Err(Error::new(
                Code::BlobMissing,
                format!("{} of the release image is not in the bundle", layer.digest),
            ));
        };
        let mut reader = contents.open(member)?;
        let view = payload::scan(&layer.media_type, &mut reader, &payload::Limits::default());
        // What was scanned counts only if the digest is right; a wrong one is the better explanation.
        reader.drain(&mut buffer)?;
        overlay.add(view?)?;
    }
    overlay.payload()
}

/// The layers, top first, of the image that a release's payload is read from: of a list the one for
/// linux/amd64, else the first, as at creation. None at all where nothing can hold a payload; `None` where a
/// document is not there to be read.
fn payload_layers(digest: &Digest, kind: &str, documents: &BTreeMap<Digest, Vec<u8>>) -> Option<Vec<Descriptor>> {
    let read = |digest: &Digest, kind: &str| Some(parse(documents.get(digest)?, kind).ok());
    let layers = |manifest: Manifest| manifest.layers.into_iter().rev().collect();
    match read(digest, kind)? {
        Some(Document::Manifest(manifest)) => Some(layers(manifest)),
        Some(Document::Index(index)) => {
            let amd64 = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
            let pick = index.manifests.iter().find(|d| d.platform.as_ref().is_some_and(|p| amd64.accepts(p)));
            match pick.or(index.manifests.first()).filter(|c| media_type::is_manifest(&c.media_type)) {
                Some(child) => match read(&child.digest, &child.media_type)? {
                    Some(Document::Manifest(manifest)) => Some(layers(manifest)),
                    _ => Some(Vec::new()),
                },
                None => Some(Vec::new()),
            }
        }
        None => Some(Vec::new()),
    }
}

fn compare(index: &Index, release: &Release, payload: &Payload, check: &mut Check) {
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
    for ((name, digest), _) in named.iter().filter(|(_, seen)| !**seen) {
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

/// Sends a copy of the bytes that pass to a thread that scans them as a layer.
#[derive(Debug)]
pub(super) struct Tee {
    to: Option<Sender<Vec<u8>>>,
    thread: JoinHandle<Result<LayerView>>,
}

impl Tee {
    fn new(media_type: String) -> Tee {
        let (to, from) = crossbeam_channel::bounded(2);
        let thread = std::thread::spawn(move || {
            let mut pipe = Pipe { from, chunk: Vec::new(), at: 0 };
            let view = payload::scan(&media_type, &mut pipe, &payload::Limits::default());
            // Keep taking, so that the sender never waits for a scanner that has given up.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            view
        });
        Tee { to: Some(to), thread }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Some(to) = &self.to
            && (bytes.is_empty() || to.send(bytes.to_vec()).is_err())
        {
            self.to = None;
        }
    }

    /// What the scanner saw, if the bytes were `complete` and right.
    pub(super) fn finish(mut self, complete: bool) -> Option<Result<LayerView>> {
        self.to = None;
        let view = self.thread.join().ok()?;
        complete.then_some(view)
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
