//! `create`: resolve everything, plan every byte, sign the plan, then fetch.

mod files;
mod release;
mod walk;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::bundle::index::{Blob, FORMAT, Features, Image, Index, Kind, Missing, Release};
use crate::bundle::layout;
use crate::bundle::writer::{Journal, Plan};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Platform, Reference, Tag};
use crate::openshift::openpgp::Keyring;
use crate::openshift::signature_map;
use crate::ops::advice::early;
use crate::ops::read_back::ReadBack;
use crate::ops::volumes::{self, Written};
use crate::ops::{Observer, Task, observer, room, write};
use crate::sign::SecretKey;
use crate::source::{Fetched, MirrorDir, Named, Network, Source};

use files::Carried;
pub use release::Store;
use walk::{Found, Root};

/// What to carry, and how.
#[derive(Debug)]
pub struct Options {
    /// Release images.
    pub releases: Vec<Reference>,
    /// Other images.
    pub images: Vec<Reference>,
    /// OCI layouts, `oci-archive` files, skopeo `dir:` directories.
    pub layouts: Vec<PathBuf>,
    /// Directories that `oc` wrote.
    pub dirs: Vec<PathBuf>,
    /// Directories with Kubernetes manifests.
    pub manifests: Vec<PathBuf>,
    /// Of multi-arch images, only this platform.
    pub platform: Option<Platform>,
    /// Kinds of manifests carried beyond the usual ones.
    pub allow_kinds: Vec<String>,
    /// Signature stores; empty: those that the payload names.
    pub stores: Vec<Store>,
    /// OpenPGP keys that releases must be signed by: any one of them.
    pub keyrings: Vec<Keyring>,
    /// Carry a release that is not verified.
    pub allow_unsigned_release: bool,
    /// Carry a release of 4.21 or later without cosign signature.
    pub allow_missing_image_signature: bool,
    /// Name of the bundle's line.
    pub name: Option<String>,
    /// Its number in it.
    pub sequence: Option<u64>,
    /// From when on it is not to be used.
    pub expires: Option<Timestamp>,
    /// The builder's key.
    pub key: Option<SecretKey>,
    /// This moment.
    pub now: Timestamp,
    /// SOURCE_DATE_EPOCH.
    pub source_date_epoch: Option<u64>,
    /// Threads.
    pub jobs: usize,
    /// Replace an existing bundle.
    pub force: bool,
    /// Read everything back from the medium before the bundle gets its name.
    pub read_back: bool,
    /// Write volumes of at most so many bytes, unless the bundle fits one.
    pub volume: Option<u64>,
}

/// Where the bundle goes.
pub enum Target<'a> {
    /// A file, resumable.
    File(&'a Path),
    /// A stream, in order.
    Stream(&'a mut dyn Write),
    /// Nowhere: only the plan is wanted.
    DryRun(&'a Path),
}

/// What was made, or would be.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/create/v1`.
    pub schema: &'static str,
    /// Digest of the index.
    pub index: Digest,
    /// Name of the bundle's line.
    pub name: String,
    /// Number in it.
    pub sequence: u64,
    /// Releases.
    pub releases: Vec<Release>,
    /// Top-level images.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Files under `manifests/`.
    pub manifests: usize,
    /// Size of the bundle in bytes, of all volumes together.
    pub bytes: u64,
    /// The volumes; empty for a bundle in one file.
    pub volumes: Vec<Written>,
    /// Room on the file system it goes to, in bytes, where that is known.
    pub free: Option<u64>,
    /// Fingerprint of the signing key.
    pub signed_by: Option<String>,
    /// Flags that made an exception from a check.
    pub exceptions: Vec<String>,
    /// What was read back from the medium, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Whether nothing was written because only the plan was wanted.
    pub dry_run: bool,
}

/// Makes a bundle.
///
/// # Errors
/// Everything that fails before the first blob leaves nothing behind; later failures keep what was fetched, and
/// the same call continues.
pub fn create(
    options: &Options,
    target: Target<'_>,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Summary> {
    let path = match &target {
        Target::File(path) | Target::DryRun(path) => Some(*path),
        Target::Stream(_) => None,
    };
    if options.volume.is_some() && matches!(target, Target::Stream(_)) {
        return Err(Error::new(Code::Usage, "several volumes cannot be written to one stream")
            .hint("name a file, or leave --volume-size and --media out"));
    }
    let journal = match &target {
        Target::File(path) => {
            // Of volumes the names are not known yet; the writer looks.
            let plain = options.volume.is_none();
            if plain && !options.force && std::fs::symlink_metadata(path).is_ok() && Journal::read(path)?.is_none() {
                return Err(crate::bundle::writer::exists(path));
            }
            room::writable(path)?;
            Journal::read(path)?
        }
        _ => None,
    };
    observer.begin(Task::Resolve, 0, 0);
    let gathered = gather(options, network, observer);
    observer.end();
    let nothing = match journal {
        None => "nothing was written",
        Some(_) => "nothing was added to what an earlier run has fetched, which is kept",
    };
    let (content, found) = gathered.map_err(|e| early(e, nothing).interrupted(nothing))?;
    let created = journal.as_ref().map(|j| j.created.clone());
    let mut plan = plan(options, &content, &found, created)?;
    let mut journal = journal;
    if journal.is_some() && !plan_matches(&journal, &plan) {
        observer.warn("what an interrupted run left belongs to other content; starting anew");
        journal = None;
        plan = self::plan(options, &content, &found, None)?;
    }
    let dry_run = matches!(target, Target::DryRun(_));
    let free = path.map(room::free).transpose()?;
    let mut summary = summary(options, &plan, path, free, dry_run);
    observer.say("Collecting", &forecast(&summary, path));
    if let Some(path) = path {
        match room::check(path, &plan, journal.as_ref()) {
            Err(e) if dry_run => observer.warn(e.message()),
            other => other?,
        }
    }
    match target {
        Target::File(path) => {
            let (plan, supply, journal) = (&plan, &found, journal.as_ref());
            let (force, jobs, read_back) = (options.force, options.jobs, options.read_back);
            let job = write::Job { plan, supply, journal, force, jobs, read_back };
            summary.read_back = write::file(path, &job, observer)?;
        }
        Target::Stream(to) => write::stream(to, &plan, &found, observer)?,
        Target::DryRun(_) => {}
    }
    Ok(summary)
}

/// What is carried beside blobs.
#[derive(Default)]
struct Content {
    roots: Vec<Root>,
    releases: Vec<Release>,
    files: Vec<Carried>,
    missing: Vec<Missing>,
    exceptions: BTreeSet<String>,
}

fn gather(options: &Options, network: Option<&dyn Network>, observer: &dyn Observer) -> Result<(Content, Found)> {
    let mut content = Content::default();
    for dir in &options.manifests {
        content.files.extend(files::manifests(dir, &options.allow_kinds)?);
    }
    content.exceptions.extend(options.allow_kinds.iter().map(|k| format!("--allow-kind {k}")));
    for reference in &options.releases {
        let root = resolve(reference, "--release", options, network, observer)?;
        content.release(root, options, &[], network, observer)?;
    }
    for reference in &options.images {
        let root = resolve(reference, "--image", options, network, observer)?;
        content.roots.push(root);
    }
    for path in &options.layouts {
        let source: Arc<dyn Source> = crate::source::open(path)?.into();
        content.local(source, "--from-layout", options, &[], network, observer)?;
    }
    for path in &options.dirs {
        let dir = MirrorDir::open(path)?;
        let given = given_signatures(&dir)?;
        content.local(Arc::new(dir), "--from-dir", options, &given, network, observer)?;
    }
    if content.roots.is_empty() && content.files.is_empty() {
        return Err(Error::new(Code::Usage, "nothing to carry")
            .hint("name content with --release, --image, --from-layout, --from-dir or --manifests"));
    }
    observer.say(
        "Resolving",
        &format!("manifests, signatures and referrers of {}", observer::count(content.roots.len(), "image")),
    );
    let found = walk::walk(&mut content.roots, options.jobs, true, observer)?;
    content.classify();
    content.image_signatures(options, observer)?;
    Ok((content, found))
}

/// The repository of an image of a local source. A name that is legal there and no repository cannot be kept.
fn nameable(named: &Named, observer: &dyn Observer) -> Option<String> {
    let repository = named.repository.clone()?;
    if crate::bundle::index::is_repository(&repository) {
        return Some(repository);
    }
    observer.warn(&format!("`{repository}` is no repository; the image is carried by its digest, {}", named.digest));
    None
}

/// Finds an image in its registry.
fn resolve(
    reference: &Reference,
    flag: &str,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Root> {
    observer.say("Resolving", &reference.to_string());
    let network = network.ok_or_else(|| Error::new(Code::Usage, "this build of mirror-bundle has no network code"))?;
    let source = network.repository(&reference.repository);
    let document = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => source.manifest(digest)?,
        (None, Some(tag)) => source.resolve(tag)?,
        (None, None) => {
            let latest = "latest".parse::<Tag>().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            source.resolve(&latest)?
        }
    };
    let Some(document) = document else {
        return Err(Error::new(Code::Source, format!("{reference} is not there"))
            .state("nothing was written")
            .hint("see what there is: skopeo list-tags"));
    };
    let tag = reference
        .tag
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| reference.digest.is_none().then(|| "latest".to_owned()));
    let root = Root {
        source,
        repository: Some(reference.repository.to_string()),
        tag,
        document,
        kind: Kind::Additional,
        component: None,
        release: None,
        subject: None,
        requested_by: format!("{flag} {reference}"),
    };
    choose(root, options)
}

/// Takes the image for the platform that was asked for out of a list.
fn choose(root: Root, options: &Options) -> Result<Root> {
    let Some(platform) = &options.platform else { return Ok(root) };
    match walk::choose(&root, platform)? {
        None => Ok(root),
        Some(child) => {
            let document = root.source.manifest(&child.digest)?.ok_or_else(|| {
                Error::new(Code::Source, format!("{} needs {}, which is not there", root.label(), child.digest))
            })?;
            Ok(Root { document, ..root })
        }
    }
}

fn given_signatures(dir: &MirrorDir) -> Result<Vec<(Digest, Vec<u8>)>> {
    let mut out = Vec::new();
    for path in dir.config_files()? {
        let bytes = dir.config_file(&path)?;
        if signature_map::is_signature_map(&bytes) {
            let entries = signature_map::parse(&bytes)
                .map_err(|e| Error::new(Code::Malformed, format!("`{}` is not acceptable: {e}", path.display())))?;
            out.extend(entries.into_iter().map(|e| (e.digest, e.signature)));
        }
    }
    Ok(out)
}

impl Content {
    fn release(
        &mut self,
        root: Root,
        options: &Options,
        given: &[(Digest, Vec<u8>)],
        network: Option<&dyn Network>,
        observer: &dyn Observer,
    ) -> Result<()> {
        if self.releases.iter().any(|r| r.digest == root.document.digest) {
            return Ok(());
        }
        let gathered = release::gather(root, options, given, network, observer)?;
        if gathered.unsigned {
            self.exceptions.insert("--allow-unsigned-release".to_owned());
        }
        self.releases.push(gathered.release);
        self.roots.extend(gathered.roots);
        self.files.extend(gathered.files);
        Ok(())
    }

    /// Every image of a local source. Release images among them are treated as `--release` treats them.
    fn local(
        &mut self,
        source: Arc<dyn Source>,
        flag: &str,
        options: &Options,
        given: &[(Digest, Vec<u8>)],
        network: Option<&dyn Network>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let names = source.names()?;
        observer.say("Reading", &format!("{} from {}", observer::count(names.len(), "image"), source.describe()));
        if names.is_empty() {
            return Err(Error::new(Code::Source, format!("{} holds no image", source.describe())));
        }
        let mut others = Vec::new();
        for named in names {
            let document: Fetched = source.manifest(&named.digest)?.ok_or_else(|| {
                Error::new(
                    Code::BlobMissing,
                    format!("{} names {}, which is not there", source.describe(), named.digest),
                )
            })?;
            let root = Root {
                source: source.clone(),
                repository: nameable(&named, observer),
                tag: named.tag.as_ref().map(ToString::to_string),
                document,
                kind: Kind::Additional,
                component: None,
                release: None,
                subject: None,
                requested_by: flag.to_owned(),
            };
            let root = choose(root, options)?;
            if is_release(&root) {
                self.release(root, options, given, network, observer)?;
            } else {
                others.push(root);
            }
        }
        // What a release names is there as its component already.
        let mut components: BTreeSet<Digest> = BTreeSet::new();
        components.extend(self.roots.iter().filter(|r| r.kind == Kind::Component).map(|r| r.document.digest));
        others.retain(|r| !components.contains(&r.document.digest));
        self.roots.extend(others);
        Ok(())
    }

    /// Images that are really signatures or referrers of others (a local source names them like any image).
    fn classify(&mut self) {
        let mut homes: std::collections::BTreeMap<Digest, Option<Digest>> = std::collections::BTreeMap::new();
        for root in &self.roots {
            homes.entry(root.document.digest).or_insert(root.release);
            if let Ok(document) = walk::parse(&root.document) {
                for child in document.children() {
                    homes.entry(child.digest).or_insert(root.release);
                }
            }
        }
        for root in self.roots.iter_mut().filter(|r| r.kind == Kind::Additional) {
            let tagged = root
                .tag
                .as_deref()
                .and_then(|t| t.strip_suffix(".sig"))
                .and_then(|t| t.strip_prefix("sha256-"))
                .and_then(|h| Digest::from_hex(h).ok());
            let refers = walk::parse(&root.document).ok().and_then(|d| d.subject());
            let (kind, subject) = match (tagged, refers) {
                (Some(digest), _) => (Kind::Signature, digest),
                (None, Some(digest)) if root.tag.is_none() => (Kind::Referrer, digest),
                _ => continue,
            };
            if let Some(release) = homes.get(&subject) {
                (root.kind, root.subject, root.release) = (kind, Some(subject), *release);
            }
        }
        let mut seen = BTreeSet::new();
        self.roots.retain(|r| {
            // What is attached to images of a release is in one place with them; a local source that names it
            // under its own path and the image it is about under another would bring it twice.
            let attached = matches!(r.kind, Kind::Signature | Kind::Referrer) && r.release.is_some();
            seen.insert((
                r.kind,
                r.repository.clone().filter(|_| !attached),
                r.tag.clone(),
                r.component.clone(),
                r.document.digest,
                r.release,
                r.subject,
            ))
        });
    }

    /// A release of 4.21 or later without cosign signature cannot be run by a cluster that uses a mirror.
    fn image_signatures(&mut self, options: &Options, observer: &dyn Observer) -> Result<()> {
        for release in self.releases.iter().filter(|r| release::needs_image_signature(&r.version)) {
            if self.roots.iter().any(|r| r.kind == Kind::Signature && r.subject == Some(release.digest)) {
                continue;
            }
            let tag = format!("{}.sig", release.digest.dashed());
            if !options.allow_missing_image_signature {
                return Err(Error::new(Code::ReleaseUnverified, format!("release {} has no cosign signature image", release.version))
                    .fact(format!("expected tag {tag}"))
                    .fact("from 4.21 on, clusters with mirrors refuse a release without it")
                    .state("no layer was fetched; nothing was written")
                    .hint("use a source that has the tag; to carry it all the same, and have that recorded: --allow-missing-image-signature"));
            }
            observer.warn(&format!(
                "release {} has no cosign signature image; clusters with mirrors will refuse it",
                release.version
            ));
            self.exceptions.insert("--allow-missing-image-signature".to_owned());
        }
        Ok(())
    }
}

/// Whether the configuration of an image carries the label of a release.
fn is_release(root: &Root) -> bool {
    let config = walk::payload_manifest(root).and_then(|m| walk::read_blob(root.source.as_ref(), &m.config));
    config.ok().and_then(|raw| walk::Config::parse(&raw)).is_some_and(|c| c.release_version().is_some())
}

fn plan(options: &Options, content: &Content, found: &Found, created: Option<String>) -> Result<Plan> {
    let created = match (options.source_date_epoch, created) {
        (Some(epoch), _) => stamp(i64::try_from(epoch).unwrap_or(i64::MAX))?,
        (None, Some(created)) => created,
        (None, None) => stamp(options.now.as_second())?,
    };
    let seconds = created.parse::<Timestamp>().map_or(0, |t| t.as_second());
    let images: Vec<Image> = content.roots.iter().map(|root| image(root, found)).collect();
    let mut index = Index {
        format: FORMAT,
        features: Features::default(),
        name: options.name.clone().unwrap_or_else(|| default_name(content)),
        sequence: options.sequence.unwrap_or(u64::try_from(seconds).unwrap_or(0)),
        created,
        expires: options.expires.map(|t| stamp(t.as_second())).transpose()?,
        source_date_epoch: options.source_date_epoch,
        base: None,
        exceptions: content.exceptions.iter().cloned().collect(),
        releases: content.releases.clone(),
        images,
        files: Vec::new(),
        blobs: found
            .graph
            .nodes()
            .iter()
            .map(|(digest, node)| Blob { digest: *digest, size: node.size, role: node.role })
            .collect(),
        missing: content.missing.clone(),
    };
    index.sort();
    let mut files: Vec<Carried> = content.files.clone();
    files.push(Carried::new(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON.to_vec(), Vec::new()));
    files.push(Carried::new(layout::OCI_INDEX, layout::oci_index(&index)?, Vec::new()));
    let mut bytes: std::collections::HashMap<String, Vec<u8>> = std::collections::HashMap::new();
    for file in files {
        match bytes.insert(file.entry.path.clone(), file.bytes.clone()) {
            None => index.files.push(file.entry),
            Some(other) if other == file.bytes => {}
            Some(_) => {
                return Err(Error::new(
                    Code::Conflict,
                    format!("two different files would both be `{}` in the bundle", file.entry.path),
                )
                .state("nothing was written")
                .hint("rename one of them; names are lower-cased, as media fold case"));
            }
        }
    }
    index.sort();
    let contents = index.files.iter().map(|f| bytes.remove(&f.path).unwrap_or_default()).collect();
    let signature = match &options.key {
        Some(key) => Some(sign(key, &index.to_bytes()?).into_bytes()),
        None => None,
    };
    let plan = Plan::new(index, contents, signature)?;
    match options.volume {
        None => Ok(plan),
        Some(size) => volumes::divided(plan, size, &BTreeSet::new(), &|digest| Ok(found.bytes.get(digest).cloned())),
    }
}

fn sign(key: &SecretKey, bytes: &[u8]) -> String {
    let namespace = crate::sign::Namespace::Index(crate::sign::Role::Builder);
    crate::sign::sign(key, namespace, &crate::sign::MessageHash::of(bytes))
}

fn stamp(seconds: i64) -> Result<String> {
    Timestamp::from_second(seconds)
        .map(|t| t.to_string())
        .map_err(|e| Error::new(Code::Usage, format!("{seconds} is not a time in seconds")).source(e))
}

fn image(root: &Root, found: &Found) -> Image {
    Image {
        repository: root.repository.clone(),
        tag: root.tag.clone(),
        digest: root.document.digest,
        media_type: root.document.media_type.clone(),
        size: root.document.bytes.len() as u64,
        platforms: found.platforms.get(&root.document.digest).cloned().unwrap_or_default(),
        kind: root.kind,
        component: root.component.clone(),
        release: root.release,
        subject: root.subject,
        requested_by: root.requested_by.clone(),
    }
}

/// A name that follows from the content alone, so that the same content has the same bytes wherever it is made.
fn default_name(content: &Content) -> String {
    let last =
        |repository: &Option<String>| repository.as_deref().and_then(|r| r.rsplit('/').next()).map(str::to_owned);
    if let Some(release) = content.releases.iter().min_by_key(|r| (&r.version, &r.architecture)) {
        let root = content.roots.iter().find(|r| r.document.digest == release.digest);
        let repository = root.and_then(|r| last(&r.repository)).unwrap_or_else(|| "release".to_owned());
        return format!("{repository}-{}", release.architecture);
    }
    let mut names: Vec<String> = content.roots.iter().filter_map(|r| last(&r.repository)).collect();
    names.sort();
    names.into_iter().next().unwrap_or_else(|| if content.roots.is_empty() { "manifests" } else { "images" }.to_owned())
}

fn plan_matches(journal: &Option<Journal>, plan: &Plan) -> bool {
    journal.as_ref().is_some_and(|j| j.is_of(plan))
}

fn summary(options: &Options, plan: &Plan, path: Option<&Path>, free: Option<u64>, dry_run: bool) -> Summary {
    let index = &plan.index;
    Summary {
        schema: "mirror-bundle/create/v1",
        index: plan.digest(),
        name: index.name.clone(),
        sequence: index.sequence,
        releases: index.releases.clone(),
        images: index.images.len(),
        blobs: index.blobs.len(),
        manifests: index.files.iter().filter(|f| f.path.starts_with("manifests/")).count(),
        bytes: plan.bytes(),
        volumes: path.map(|path| volumes::list(plan, path)).unwrap_or_default(),
        free,
        signed_by: options.key.as_ref().map(|k| k.public().fingerprint()),
        exceptions: index.exceptions.clone(),
        read_back: None,
        dry_run,
    }
}

fn forecast(summary: &Summary, path: Option<&Path>) -> String {
    let mut text = format!(
        "{}, {}, {}",
        observer::count(summary.images, "image"),
        observer::count(summary.blobs, "blob"),
        observer::size(summary.bytes)
    );
    if !summary.volumes.is_empty() {
        text.push_str(&format!(" in {} volumes", summary.volumes.len()));
    }
    if let (Some(free), Some(path)) = (summary.free, path) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        text.push_str(&format!(" ({} free on {})", observer::size(free), folder.display()));
    }
    text
}
