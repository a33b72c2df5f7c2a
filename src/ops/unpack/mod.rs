//! `unpack`: verifies a bundle, and forwards exactly the bytes that were verified.
//!
//! Order: all checks that need no content; conflicts and free space at the destination; every blob, hashed while it is
//! sent; manifests, children first; tags. So an interrupted or failed run leaves no tag that points at something
//! incomplete, and another run does only what is left.

mod absent;
#[cfg(feature = "cluster")]
mod cluster;
mod places;
mod snippets;
mod update_service;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bundle::index::Index;
use crate::bundle::{Inputs, name};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository};
use crate::openshift::mirror_set::SourcePolicy;
use crate::openshift::openpgp;
use crate::ops::advice::{before_transfer, during_transfer};
use crate::ops::{Observer, Task};
use crate::parallel::Pace;
use crate::sink::destination::{self, Destination, Placed, Refused};
use crate::sink::files::{Folder, Rules, Written};
use crate::sink::placement::Placing;
use crate::sink::{Delivery, FileFolder, Watch, Way};
use crate::verify::{Admission, Admitted, Conclusion, Conditions, Extent, Report, Trust, Verified, admit};
pub use places::{Entry, MirrorSets};
pub use update_service::UpdateService;

/// Options of `unpack`.
#[derive(Debug, Default)]
pub struct Options {
    /// A registry and repository, with a client for it.
    #[cfg(feature = "registry")]
    pub registry: Option<(Repository, crate::registry::Client)>,
    /// A directory for `v2/`, and for `manifests/` with a folder for each bundle.
    pub dir: Option<PathBuf>,
    /// A directory for an OCI layout.
    pub layout: Option<PathBuf>,
    /// A directory for the manifests, in place of the default.
    pub manifests: Option<PathBuf>,
    /// Where images other than releases go in the registry or the directory.
    pub placing: Placing,
    /// Mirror configuration for the registry.
    pub mirror_sets: MirrorSets,
    /// What mirror sets say about their sources. `None`: nothing, so that the cluster's default counts.
    pub source_policy: Option<SourcePolicy>,
    /// A file for `SRC=DST` lines, as `oc image mirror -f` takes them.
    pub mapping: Option<PathBuf>,
    /// A file for the `imageDigestSources` of `install-config.yaml`.
    pub install_config: Option<PathBuf>,
    /// A file, or a folder such as `/etc/containers/registries.d`, for what hosts need to read the signatures at the
    /// registry.
    pub registries_d: Option<PathBuf>,
    /// Replace existing manifests that have other content.
    pub overwrite: bool,
    /// Verify only, and write nothing.
    pub dry_run: bool,
    /// Apply the manifests to a cluster. Its `dry_run` and `overwrite` are to be those of the whole.
    #[cfg(feature = "cluster")]
    pub apply: Option<crate::ops::apply::Options>,
    /// How images are pushed.
    #[cfg(feature = "registry")]
    pub ways: destination::Ways,
    /// How much is transferred at once.
    pub pace: Arc<Pace>,
}

/// The outcome.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The bundle is bad: none of its content has a name or tag. The text describes the current state.
    Refused(Box<Report>, String),
    /// Volumes are missing: the blobs at hand were written, and nothing has a name or tag yet.
    Begun(Box<Report>, Summary),
    /// Nothing is wrong, and nothing was to be written.
    Tried(Box<Report>, Summary),
    /// Everything was written.
    Unpacked(Box<Verified<'a>>, Summary),
}

/// The result: what was written.
#[derive(Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Digest of the bundle's index.
    pub index: String,
    /// Destinations, as given.
    pub destinations: Vec<String>,
    /// Images.
    pub images: usize,
    /// Blobs in the bundle.
    pub blobs: usize,
    /// The location of each image.
    pub placements: Vec<Entry>,
    /// Blobs that were sent or written, or would be.
    pub new_blobs: u64,
    /// Their size in bytes.
    pub new_bytes: u64,
    /// Manifests and indexes that did not exist before.
    pub new_documents: u64,
    /// Tags that did not exist before, or pointed elsewhere.
    pub new_tags: u64,
    /// Attachments of images that the registry refused.
    pub refused: Vec<Refused>,
    /// The folder of the manifests.
    pub manifests: Option<PathBuf>,
    /// The folders of other bundles' manifests beside it.
    #[serde(skip)]
    pub manifests_beside: Vec<String>,
    /// The number of manifests.
    pub manifest_files: usize,
    /// The folder of the mirror sets.
    pub mirror_sets: Option<PathBuf>,
    /// For a dry run: what every destination already has. Layers and configurations only.
    pub there: There,
    /// The mirror directory, if one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<PathBuf>,
    /// The repositories in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tree_repositories: Vec<String>,
    /// The mirror sets themselves, as they will be applied.
    pub mirror_set_files: Vec<PathBuf>,
    /// The mirror sets of other bundles or for other targets in the same folder.
    #[serde(skip)]
    pub mirror_sets_beside: usize,
    /// The mapping that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<PathBuf>,
    /// The snippet for `install-config.yaml` that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_config: Option<PathBuf>,
    /// The snippet for registries.d that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registries_d: Option<PathBuf>,
    /// What a cluster needs to serve the update graph, if the bundle has one and a registry is the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_service: Option<UpdateService>,
    /// For each release, the argument of `oc adm upgrade --to-image`.
    pub upgrades: Vec<String>,
    /// What is missing because volumes are missing: no manifest and no tag was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<Incomplete>,
    /// What happened at the cluster.
    #[cfg(feature = "cluster")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<crate::ops::apply::Applied>,
    /// The receipt of this site: the registry has everything of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_receipt: Option<SiteReceipt>,
    /// Whether this was a dry run.
    pub dry_run: bool,
}

/// The receipt of a site (MB-SIT-01).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SiteReceipt {
    /// The line.
    pub line: String,
    /// The fingerprint of the key that signed it, if one did.
    pub key: Option<String>,
    /// The line with its signature, as in the file.
    pub text: String,
    /// The file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// What already exists at a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct There {
    /// Blobs.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What the destination still lacks, because it is on a missing volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Incomplete {
    /// Blobs.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Verifies a bundle and writes it to the destinations in the options.
pub fn unpack<'a>(
    inputs: Inputs,
    trust: &'a Trust,
    conditions: &'a Conditions,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome<'a>> {
    let admitted = match admit(inputs, trust, conditions)? {
        Admission::Refused(report) => return Ok(refused(report, NOTHING)),
        Admission::Admitted(admitted) => admitted,
    };
    if !admitted.may_unpack() {
        return Ok(refused(admitted.interim_report(), NOTHING));
    }
    crate::ops::verify::announce(&admitted, observer);
    let index = admitted.index().clone();
    for map in options.placing.unused(&index) {
        observer.warn(&format!("no image of this bundle is from `{0}`: --map {0}={1} has no effect", map.from, map.to));
    }
    let destinations = destinations(&index, &admitted, options)?;
    if destinations.len() > 1 && admitted.is_stream() {
        return Err(Error::new(Code::Usage, "a stream can be unpacked to one destination only")
            .hint("unpack from a file, or name one destination"));
    }
    let (manifests_to, sets_to, service_to) = folders(&index, &admitted.report().bundle.index, options);
    let rules = Rules { overwrite: options.overwrite, keep: None };
    let files = FileFolder::manifests(manifests_to, admitted.files("manifests/"), rules);
    let placed: Vec<Placed> = destinations.iter().flat_map(|d| d.placed(&index)).collect();
    let mirrors = match target(options) {
        Some(target) => Some(places::Mirrors {
            target,
            release: release_home(target, options)?,
            signed: signed_names(&admitted, trust, conditions),
            placed: &placed,
        }),
        None => None,
    };
    let sets = mirrors.as_ref().map(|mirrors| mirrors.sets(&options.mirror_sets, options.source_policy));
    let sets = sets.transpose()?.unwrap_or_default();
    let set_files: Vec<PathBuf> = sets.iter().map(|(name, _)| sets_to.path().join(name)).collect();
    let elsewhere = options.placing.release_image.is_some();
    let service =
        update_service::update_service(&index, mirrors.as_ref(), elsewhere, most_nested(options), service_to.path())?;
    #[cfg(feature = "cluster")]
    let derived = cluster::Derived { sets: sets.clone(), service: service.as_ref().map(UpdateService::item) };
    let services: Vec<_> = service.iter().map(UpdateService::item).collect();
    let services = FileFolder::derived(service_to, services, Rules { overwrite: true, keep: None });
    let sets = FileFolder::derived(sets_to, sets, places::beside_others());
    let snippets = snippets::snippets(options, mirrors.as_ref(), &placed)?;
    let nothing = |e: Error| if e.state_text().is_none() { e.state("nothing was written") } else { e };
    files.check(&index).map_err(nothing)?;
    sets.check(&index).map_err(nothing)?;
    services.check(&index).map_err(nothing)?;
    snippets.iter().try_for_each(|snippet| snippet.check(options.overwrite)).map_err(nothing)?;
    for destination in &destinations {
        destination.check(&index).map_err(|e| nothing(before_transfer(e, NOTHING, true)))?;
    }
    #[cfg(feature = "cluster")]
    let planned = match &options.apply {
        Some(apply) => cluster::plan(apply, &admitted, &derived, observer).map_err(|e| e.state(NOTHING))?,
        None => None,
    };

    let sought = admitted.not_carried();
    if !destinations.is_empty() && !sought.is_empty() {
        absent::locate(&admitted, &destinations, &conditions.seen, &options.pace, observer)
            .map_err(|e| nothing(before_transfer(e, NOTHING, true)))?;
    }

    let mut summary = Summary {
        index: admitted.report().bundle.index.clone(),
        destinations: destinations.iter().map(|d| d.describe()).collect(),
        images: match destinations.is_empty() {
            true => index.images.len(),
            // An image that is left out everywhere (`--without-referrers`) does not count.
            false => index.images.iter().filter(|image| placed.iter().any(|p| std::ptr::eq(p.image, *image))).count(),
        },
        placements: placed.iter().map(Entry::from).collect(),
        blobs: index.blobs.len(),
        manifest_files: files.len(),
        dry_run: options.dry_run,
        ..Summary::default()
    };
    if options.dry_run {
        let report = crate::ops::verify::rest(*admitted, options.pace.most(), observer)?.into_report();
        if report.exit_code == 0 {
            let (left, there) = left(&destinations, &index).map_err(|e| nothing(before_transfer(e, NOTHING, true)))?;
            (summary.new_blobs, summary.new_bytes, summary.there) = (left.blobs, left.bytes, there);
            #[cfg(feature = "cluster")]
            {
                summary.applied = planned.map(cluster::Planned::tried);
            }
        }
        return Ok(match report.exit_code {
            0 => Outcome::Tried(Box::new(report), summary),
            _ => refused(report, NOTHING),
        });
    }

    for destination in &destinations {
        destination.prepare().map_err(nothing)?;
    }
    let watch = Watching(observer);
    let delivery = Delivery::new(&destinations, &watch);
    let moved = transfer(&admitted, &destinations, &delivery, &options.pace, observer)
        .and_then(|()| absent::bring(&sought, &destinations, &options.pace, &watch));
    (summary.new_blobs, summary.new_bytes) = delivery.sent();
    let state = match destinations.is_empty() {
        true => NOTHING.to_owned(),
        false => format!(
            "{} of {} blobs sent to {}; no manifest and no tag was written",
            summary.new_blobs,
            summary.blobs,
            summary.destinations.join(" and ")
        ),
    };
    let incomplete = match moved {
        Ok(()) => admitted.still_wanted(&options.pace, &delivery)?,
        Err(e) => {
            return match admitted.is_bad() {
                true => Ok(refused(admitted.interim_report(), &state)),
                false => Err(during_transfer(e, &state)),
            };
        }
    };
    let verified = match admitted.conclude(false)? {
        Conclusion::Verified(verified) => verified,
        Conclusion::Unverified(report) => {
            if conditions.exceptions.partial && report.exit_code == Code::IncompleteCheck.exit() {
                summary.incomplete = Some(Incomplete { blobs: incomplete.len(), bytes: incomplete.iter().sum() });
                return Ok(Outcome::Begun(report, summary));
            }
            return Ok(refused(*report, &state));
        }
    };
    for destination in &destinations {
        let new = destination
            .images(&verified, &watch)
            .map_err(|e| during_transfer(e, "all blobs were written, but not all manifests and tags"))?;
        summary.new_documents += new.documents;
        summary.new_tags += new.tags;
        summary.refused.extend(new.refused);
    }
    write_files(&files, &verified, observer)?;
    write_files(&sets, &verified, observer)?;
    write_files(&services, &verified, observer)?;
    summary.update_service = service;
    for snippet in snippets {
        snippet.write(&mut summary).map_err(|e| during_transfer(e, "the images are complete"))?;
    }
    #[cfg(feature = "cluster")]
    {
        summary.applied = planned.map(|planned| planned.run(observer));
    }
    summary.mirror_set_files = set_files;
    summary.tree.clone_from(&options.dir);
    let repositories = placed.iter().filter_map(|p| p.repository.strip_prefix("file://"));
    summary.tree_repositories = repositories.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
    let place = |files: &FileFolder| (!files.is_empty()).then(|| files.folder().path().to_owned());
    (summary.manifests, summary.mirror_sets) = (place(&files), place(&sets));
    summary.mirror_sets_beside = places::others(&summary.mirror_set_files);
    if !files.is_empty() {
        summary.manifests_beside = files.folder().beside().unwrap_or_default();
    }
    summary.upgrades = upgrades(&index, options);
    Ok(Outcome::Unpacked(verified, summary))
}

/// What is missing at some destination, and what every destination has.
fn left(destinations: &[Box<dyn Destination + '_>], index: &Index) -> Result<(There, There)> {
    let content = || index.blobs.iter().filter(|blob| !blob.role.is_document());
    let mut missing: BTreeSet<Digest> = BTreeSet::new();
    for destination in destinations {
        let there = destination.there(index)?;
        missing.extend(content().map(|blob| blob.digest).filter(|digest| !there.contains(digest)));
    }
    let (mut left, mut there) = (There::default(), There::default());
    for blob in content() {
        let side = if missing.contains(&blob.digest) { &mut left } else { &mut there };
        (side.blobs, side.bytes) = (side.blobs + 1, side.bytes + blob.size);
    }
    Ok((left, there))
}

/// Adapts an observer to the interface of destinations.
struct Watching<'a>(&'a dyn Observer);

impl Watch for Watching<'_> {
    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn warn(&self, text: &str) {
        self.0.warn(text);
    }

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn item(&self) {
        self.0.item();
    }
}

const NOTHING: &str = "nothing was written";

fn refused<'a>(report: Report, state: &str) -> Outcome<'a> {
    Outcome::Refused(Box::new(report), state.to_owned())
}

fn transfer(
    admitted: &Admitted<'_>,
    destinations: &[Box<dyn Destination + '_>],
    delivery: &Delivery<'_>,
    pace: &Pace,
    observer: &dyn Observer,
) -> Result<()> {
    let content = admitted.index().blobs.iter().filter(|b| !b.role.is_document());
    let task = match destinations {
        [] => Task::Verify,
        some if some.iter().any(|d| d.task() == Way::Push) => Task::Push,
        _ => Task::Unpack,
    };
    let passes = destinations.len().max(1) as u64;
    observer.begin(task, content.clone().count() as u64, content.map(|b| b.size * passes).sum());
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        if !admitted.is_stream() {
            let over = &over;
            let ahead = |one: &dyn Destination| one.look_ahead(&|digest| admitted.document(digest), over);
            scope.spawn(move || destinations.iter().for_each(|one| ahead(one.as_ref())));
        }
        let done = admitted.blobs(pace, Extent::Needed, delivery);
        over.store(true, Ordering::Relaxed);
        done
    });
    observer.end();
    done
}

fn destinations<'a>(
    index: &'a Index,
    admitted: &Admitted<'_>,
    options: &'a Options,
) -> Result<Vec<Box<dyn Destination + 'a>>> {
    let document = |digest: &Digest| admitted.document(digest);
    let mut out: Vec<Box<dyn Destination>> = Vec::new();
    #[cfg(feature = "registry")]
    if let Some((target, client)) = &options.registry {
        let (ways, placing) = (options.ways, &options.placing);
        out.push(Box::new(destination::Registry::new(target, client, index, &document, ways, placing, &options.pace)?));
    }
    if let Some(dir) = &options.dir {
        out.push(Box::new(destination::Tree::new(dir, index, &document, &options.placing)?));
    }
    if let Some(dir) = &options.layout {
        out.push(Box::new(destination::Layout::new(dir)));
    }
    if out.is_empty() && !options.dry_run && options.manifests.is_none() {
        return Err(Error::new(Code::Usage, "nowhere to unpack to")
            .hint("name a destination with --to, --to-dir or --to-layout"));
    }
    Ok(out)
}

/// The folders for manifests, for mirror sets and for the update service. A default name contains the digest, so that bundles do not collide.
/// Mirror sets are never among the manifests: `oc apply -Rf DIR/manifests` does not apply them.
fn folders(index: &Index, digest: &str, options: &Options) -> (Folder, Folder, Folder) {
    let bundle = name::unpacked(&index.name, digest);
    let below = options.dir.as_ref().or(options.layout.as_ref()).map(|dir| dir.join("manifests"));
    let (manifests, sets) = match (&options.manifests, below) {
        (Some(dir), _) => (Folder::named(dir), dir.clone()),
        (None, Some(shared)) => (Folder::of_bundle(&shared, &bundle), shared),
        (None, None) => {
            let dir = PathBuf::from(format!("{bundle}-manifests"));
            (Folder::ours(&dir), dir)
        }
    };
    let beside = |ending: &str| {
        let mut path = sets.clone().into_os_string();
        path.push(ending);
        Folder::ours(path)
    };
    (manifests, beside("-mirror-set"), beside("-update-service"))
}

fn write_files(files: &FileFolder, verified: &Verified<'_>, observer: &dyn Observer) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    files.images(verified, &Watching(observer)).map_err(|e| during_transfer(e, "the images are complete"))?;
    let Written { new, same, replaced } = files.written();
    observer.say("Wrote", &format!("{} ({new} new, {same} unchanged, {replaced} replaced)", files.describe()));
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

/// The repositories named by good release signatures. Content from a mirror or a directory does not show where the
/// vendor publishes it; the vendor's signature does.
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

fn upgrades(index: &Index, options: &Options) -> Vec<String> {
    let Some(Ok(target)) = target(options).map(|target| release_home(target, options)) else { return Vec::new() };
    index.releases.iter().map(|r| format!("{target}@{}", r.digest)).collect()
}

#[cfg(feature = "registry")]
fn most_nested(options: &Options) -> Option<usize> {
    options.ways.max_nested_paths
}
#[cfg(not(feature = "registry"))]
fn most_nested(_: &Options) -> Option<usize> {
    None
}

/// The repository of release images.
#[cfg(feature = "registry")]
fn release_home(target: &Repository, options: &Options) -> Result<Repository> {
    let home = options.placing.release_image.as_ref().map_or(target, |image| &image.repository);
    Ok(home.clone().nested(options.ways.max_nested_paths))
}
#[cfg(not(feature = "registry"))]
fn release_home(target: &Repository, _: &Options) -> Result<Repository> {
    Ok(target.clone())
}
