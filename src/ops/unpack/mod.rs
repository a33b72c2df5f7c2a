//! `unpack`: verify, and forward the very bytes that were verified.
//!
//! Order: everything that can be checked without content; conflicts and room at the destination; then each
//! blob, hashed while it is sent; then manifests, children first; then tags. So an interrupted or failed run
//! leaves no tag that points at something incomplete, and running again does only what is left.

mod directory;
pub mod names;
#[cfg(feature = "registry")]
mod registry;

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bundle::Inputs;
use crate::bundle::index::{Blob, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::Repository;
use crate::openshift::{mirror_set, openpgp};
use crate::ops::advice::{early, late};
use crate::ops::{Observer, Task};
use crate::sink::files::{self, Folder, Written};
use crate::verify::{Admission, Admitted, BlobReader, Conditions, Extent, Report, Trust, Visit, admit};

use names::Placement;

/// Where to.
#[derive(Debug, Default)]
pub struct Options {
    /// A registry and repository, with a client for it.
    #[cfg(feature = "registry")]
    pub registry: Option<(Repository, crate::registry::Client)>,
    /// A directory for `v2/` and `manifests/`.
    pub dir: Option<PathBuf>,
    /// A directory for an OCI layout.
    pub layout: Option<PathBuf>,
    /// A directory for the manifests, instead of the default.
    pub manifests: Option<PathBuf>,
    /// Mirror configuration for the registry.
    pub mirror_set: Option<mirror_set::Kind>,
    /// Replace manifests that exist with other content.
    pub overwrite: bool,
    /// Verify, and write nothing.
    pub dry_run: bool,
    /// Threads.
    pub jobs: usize,
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// The bundle is bad: nothing of it is under a name or tag. The text says what state things are in.
    Refused(Box<Report>, String),
    /// Everything is written.
    Unpacked(Box<Report>, Summary),
}

/// What was written.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/unpack/v1`.
    pub schema: &'static str,
    /// Digest of the bundle's index.
    pub index: String,
    /// Destinations, as given.
    pub destinations: Vec<String>,
    /// Images.
    pub images: usize,
    /// Blobs in the bundle.
    pub blobs: usize,
    /// Blobs that were sent or written.
    pub new_blobs: u64,
    /// Their size in bytes.
    pub new_bytes: u64,
    /// Manifests and indexes that were not there before.
    pub new_documents: u64,
    /// Tags that were not there before, or pointed elsewhere.
    pub new_tags: u64,
    /// Where the manifests are.
    pub manifests: Option<PathBuf>,
    /// How many there are.
    pub manifest_files: usize,
    /// Where the mirror sets are.
    pub mirror_sets: Option<PathBuf>,
    /// For each release, what to give to `oc adm upgrade --to-image`.
    pub upgrades: Vec<String>,
    /// What is still to come, when volumes are missing: no manifest and no tag was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    /// Whether nothing was written because that was asked for.
    pub dry_run: bool,
}

/// What the destination still lacks, because it is on a volume that was not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Incomplete {
    /// Blobs.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A place for images.
trait Destination: Sync {
    /// For messages.
    fn describe(&self) -> String;
    /// Whether all is well for writing: reachable, room enough. Writes nothing.
    fn check(&self, index: &Index) -> Result<()>;
    /// Makes what the content will be written into.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Whether it has a blob wherever it is needed.
    fn has(&self, blob: &Blob) -> Result<bool>;
    /// Takes a blob in, if it lacks it.
    fn blob(&self, blob: &Blob, content: &Content<'_, '_>) -> Result<Visit>;
    /// Writes manifests, children first, then tags. Returns how many of each were new.
    fn images(&self, admitted: &Admitted, observer: &dyn Observer) -> Result<(u64, u64)>;
}

/// The content of a blob for a destination: opened as often as it needs, from the offset it asks for.
struct Content<'a, 'b> {
    reader: RefCell<&'a mut BlobReader<'b>>,
    buffer: RefCell<&'a mut [u8]>,
    observer: &'a dyn Observer,
    sent: &'a AtomicU64,
}

impl Content<'_, '_> {
    fn open<'c>(&'c self, offset: u64) -> Result<Box<dyn Read + 'c>> {
        self.reader.borrow_mut().reopen(offset, &mut self.buffer.borrow_mut())?;
        Ok(Box::new(Part(self)))
    }
}

struct Part<'c, 'a, 'b>(&'c Content<'a, 'b>);

impl Read for Part<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.observer.check()?;
        let n = self.0.reader.borrow_mut().read(buffer)?;
        self.0.observer.advance(n as u64);
        self.0.sent.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Verifies a bundle and writes it where the options say.
pub fn unpack(
    inputs: Inputs,
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let mut admitted = match admit(inputs, trust, conditions)? {
        Admission::Refused(report) => return Ok(refused(report, NOTHING)),
        Admission::Admitted(admitted) => admitted,
    };
    if !admitted.may_unpack() {
        return Ok(refused(admitted.so_far(), NOTHING));
    }
    announce(&admitted, observer);
    let index = admitted.index().clone();
    let destinations = destinations(&index, &admitted, options)?;
    if destinations.len() > 1 && admitted.is_stream() {
        return Err(Error::new(Code::Usage, "a stream can be unpacked to one destination only")
            .hint("unpack from a file, or name one destination"));
    }
    let files = manifests(&admitted);
    let sets = mirror_sets(&index, &signed_names(&admitted, trust, conditions), options)?;
    let folders = folders(&index, options);
    let nothing = |e: Error| if e.state_text().is_none() { e.state("nothing was written") } else { e };
    files::check(&folders.0, &files, options.overwrite).map_err(nothing)?;
    files::check(&folders.1, &sets, true).map_err(nothing)?;
    for destination in &destinations {
        destination.check(&index).map_err(|e| nothing(early(e, NOTHING)))?;
    }

    let mut summary = Summary {
        schema: "mirror-bundle/unpack/v1",
        index: admitted.report().bundle.index.clone(),
        destinations: destinations.iter().map(|d| d.describe()).collect(),
        images: index.images.len(),
        blobs: index.blobs.len(),
        manifest_files: files.len(),
        dry_run: options.dry_run,
        ..Summary::default()
    };
    if options.dry_run {
        let report = crate::ops::verify::rest(&mut admitted, options.jobs, observer)?;
        return Ok(if report.exit_code == 0 {
            Outcome::Unpacked(Box::new(report), summary)
        } else {
            refused(report, NOTHING)
        });
    }

    for destination in &destinations {
        destination.prepare().map_err(nothing)?;
    }
    let sent = AtomicU64::new(0);
    let new = AtomicU64::new(0);
    let moved = transfer(&admitted, &destinations, options.jobs, &sent, &new, observer);
    (summary.new_blobs, summary.new_bytes) = (new.into_inner(), sent.into_inner());
    let state = format!(
        "{} of {} blobs were sent to {}; no manifest and no tag was",
        summary.new_blobs,
        summary.blobs,
        summary.destinations.join(" and ")
    );
    let incomplete = match moved {
        Ok(()) => still_wanted(&admitted, &destinations, observer)?,
        Err(_) => Vec::new(),
    };
    if let Err(e) = moved {
        return match admitted.is_bad() {
            true => Ok(refused(admitted.so_far(), &state)),
            false => Err(late(e, &state)),
        };
    }
    let report = admitted.conclude(false)?;
    if conditions.exceptions.partial && report.exit_code == Code::IncompleteCheck.exit() {
        summary.incomplete = Some(Incomplete { blobs: incomplete.len(), bytes: incomplete.iter().sum() });
        return Ok(Outcome::Unpacked(Box::new(report), summary));
    }
    if report.exit_code != 0 {
        return Ok(refused(report, &state));
    }
    for destination in &destinations {
        let (documents, tags) = destination
            .images(&admitted, observer)
            .map_err(|e| late(e, "all blobs are there, but not all manifests and tags"))?;
        summary.new_documents += documents;
        summary.new_tags += tags;
    }
    write_files(&folders.0, &files, options.overwrite, observer)?;
    write_files(&folders.1, &sets, true, observer)?;
    summary.manifests = (!files.is_empty()).then(|| folders.0.path().to_owned());
    summary.mirror_sets = (!sets.is_empty()).then(|| folders.1.path().to_owned());
    summary.upgrades = upgrades(&index, options);
    Ok(Outcome::Unpacked(Box::new(report), summary))
}

const NOTHING: &str = "nothing was written";

fn refused(report: Report, state: &str) -> Outcome {
    Outcome::Refused(Box::new(report), state.to_owned())
}

fn announce(admitted: &Admitted, observer: &dyn Observer) {
    let report = admitted.report();
    let signers: Vec<&str> = report
        .signatures
        .iter()
        .filter(|s| s.is_good())
        .filter_map(|s| s.name.as_deref().or(s.key.as_deref()))
        .collect();
    match signers.is_empty() {
        true => observer.warn("the bundle's signature was not checked; it is taken because of --allow-unsigned"),
        false => {
            observer.say("Verified", &format!("index {}, signed by {}", report.bundle.index, signers.join(" and ")))
        }
    }
    for check in report.checks.iter().filter(|c| c.id == crate::verify::CheckId::ReleaseSignatures) {
        for detail in &check.details {
            observer.say("Verified", &format!("release {detail}"));
        }
    }
    for finding in report.findings() {
        observer.warn(&finding.message);
    }
}

fn transfer(
    admitted: &Admitted,
    destinations: &[Box<dyn Destination + '_>],
    jobs: usize,
    sent: &AtomicU64,
    new: &AtomicU64,
    observer: &dyn Observer,
) -> Result<()> {
    let content = admitted.index().blobs.iter().filter(|b| !b.role.is_document());
    let task = if destinations.iter().any(|d| d.describe().contains('/') && !Path::new(&d.describe()).is_absolute()) {
        Task::Push
    } else {
        Task::Unpack
    };
    let passes = destinations.len() as u64;
    observer.begin(task, content.clone().count() as u64, content.map(|b| b.size * passes).sum());
    let done = admitted.blobs(jobs, Extent::Needed, &|blob, reader, buffer| {
        let content = Content { reader: RefCell::new(reader), buffer: RefCell::new(buffer), observer, sent };
        let mut visit = Visit::LeftOut;
        for destination in destinations {
            observer.check()?;
            match destination.blob(blob, &content)? {
                Visit::Read => visit = Visit::Read,
                Visit::LeftOut => observer.advance(blob.size),
            }
        }
        new.fetch_add(u64::from(visit == Visit::Read), Ordering::Relaxed);
        observer.item();
        Ok(visit)
    });
    observer.end();
    done
}

/// Sizes of the blobs that are on no volume at hand, and not at every destination either.
fn still_wanted(
    admitted: &Admitted,
    destinations: &[Box<dyn Destination + '_>],
    observer: &dyn Observer,
) -> Result<Vec<u64>> {
    let mut out = Vec::new();
    for blob in admitted.absent() {
        observer.check()?;
        let mut everywhere = !destinations.is_empty();
        for destination in destinations {
            everywhere &= destination.has(blob)?;
        }
        match everywhere {
            true => admitted.elsewhere(blob),
            false => out.push(blob.size),
        }
    }
    Ok(out)
}

fn destinations<'a>(
    index: &'a Index,
    admitted: &Admitted,
    options: &'a Options,
) -> Result<Vec<Box<dyn Destination + 'a>>> {
    let mut out: Vec<Box<dyn Destination>> = Vec::new();
    #[cfg(feature = "registry")]
    if let Some((target, client)) = &options.registry {
        out.push(Box::new(registry::Target::new(target, client, index, admitted, options.jobs)?));
    }
    if let Some(dir) = &options.dir {
        out.push(Box::new(directory::Tree::new(dir, index, admitted)?));
    }
    if let Some(dir) = &options.layout {
        out.push(Box::new(directory::Layout::new(dir)));
    }
    if out.is_empty() && !options.dry_run && options.manifests.is_none() {
        return Err(Error::new(Code::Usage, "nowhere to unpack to")
            .hint("name a destination with --to, --to-dir or --to-layout"));
    }
    Ok(out)
}

/// The folders for manifests and for mirror sets.
fn folders(index: &Index, options: &Options) -> (Folder, Folder) {
    let manifests = match (&options.manifests, options.dir.as_ref().or(options.layout.as_ref())) {
        (Some(dir), _) => Folder::named(dir),
        (None, Some(dir)) => Folder::ours(dir.join("manifests")),
        (None, None) => Folder::ours(format!("{}-manifests", file_name(&index.name))),
    };
    let mut beside = manifests.path().as_os_str().to_owned();
    beside.push("-mirror-set");
    (manifests, Folder::ours(beside))
}

/// A bundle's name as part of a file name.
fn file_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' }).collect();
    safe.trim_start_matches('.').to_owned()
}

fn manifests(admitted: &Admitted) -> Vec<(String, Vec<u8>)> {
    let strip = |path: &str| path.strip_prefix("manifests/").unwrap_or(path).to_owned();
    admitted.files("manifests/").map(|(path, bytes)| (strip(path), bytes.to_vec())).collect()
}

fn write_files(folder: &Folder, files: &[(String, Vec<u8>)], overwrite: bool, observer: &dyn Observer) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let Written { new, same, replaced } =
        files::write(folder, files, overwrite).map_err(|e| late(e, "the images are complete"))?;
    let place = folder.path().display();
    observer.say("Wrote", &format!("{place} ({new} new, {same} unchanged, {replaced} replaced)"));
    Ok(())
}

#[cfg(feature = "registry")]
fn target(options: &Options) -> Option<&Repository> {
    options.registry.as_ref().map(|(target, _)| target)
}
#[cfg(not(feature = "registry"))]
fn target(_: &Options) -> Option<&Repository> {
    None
}

/// The repositories that good release signatures name. Content that came from a mirror or a directory does not
/// tell where the vendor publishes it; the vendor's signature does.
fn signed_names(admitted: &Admitted<'_>, trust: &Trust, conditions: &Conditions) -> Vec<Repository> {
    let mut out = Vec::new();
    for release in &admitted.index().releases {
        for (_, bytes) in admitted.files(&format!("signatures/sha256={}/", release.digest.hex())) {
            let verify = |k| openpgp::verify(bytes, k, &release.digest, conditions.now.as_second());
            let good = trust.keyrings().iter().find_map(|keyring| verify(keyring).ok());
            out.extend(good.map(|verified| verified.claim.docker_reference.repository));
        }
    }
    out
}

/// The mirror sets for the target registry: by digest, releases and everything else apart.
fn mirror_sets(index: &Index, signed: &[Repository], options: &Options) -> Result<Vec<(String, Vec<u8>)>> {
    let (Some(kind), Some(target)) = (options.mirror_set, target(options)) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (group, wanted) in [(mirror_set::Group::Release, true), (mirror_set::Group::Generic, false)] {
        let mut pairs: Vec<(Repository, Repository)> = Vec::new();
        for Placement { image, repository, .. } in names::placements(index, "")? {
            let is_release = matches!(image.kind, Kind::Release | Kind::Component);
            let attached = matches!(image.kind, Kind::Signature | Kind::Referrer);
            let Some(source) = image.repository.as_deref().and_then(|r| r.parse::<Repository>().ok()) else { continue };
            if attached || is_release != wanted {
                continue;
            }
            let mirror = below(target, &repository)?;
            if !pairs.contains(&(source.clone(), mirror.clone())) {
                pairs.push((source, mirror));
            }
        }
        if wanted {
            pairs.extend(signed.iter().map(|source| (source.clone(), target.clone())));
        }
        if !pairs.is_empty() {
            let text = mirror_set::yaml(kind, group, &pairs).map_err(|e| {
                Error::new(Code::Usage, format!("no mirror set can be written for {target}: {e}"))
                    .hint("--mirror-set none leaves it out")
            })?;
            out.push((format!("{}.yaml", mirror_set::name(kind, group)), text.into_bytes()));
        }
    }
    Ok(out)
}

/// The repository `path` below `target`; the target itself when it is empty.
fn below(target: &Repository, path: &str) -> Result<Repository> {
    if path.is_empty() {
        return Ok(target.clone());
    }
    target.join(path).map_err(|e| Error::new(Code::Malformed, format!("`{path}` cannot be pushed below {target}: {e}")))
}

fn upgrades(index: &Index, options: &Options) -> Vec<String> {
    let Some(target) = target(options) else { return Vec::new() };
    index.releases.iter().map(|r| format!("{target}@{}", r.digest)).collect()
}
