//! `create`: resolve everything, plan every byte, sign the plan, then fetch.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::bundle::index::{Blob, FORMAT, Features, GRAPH_DATA, Image, Index, Kind, Release};
use crate::bundle::layout;
use crate::bundle::series::{self, Version};
use crate::bundle::writer::{Journal, Plan};
use crate::error::{Code, Error, Result};
use crate::graph::Graph;
use crate::oci::Digest;
use crate::ops::advice::before_transfer;
use crate::ops::encode::{Members, Options as Encoding, WithMembers, encode};
use crate::ops::form::{self, Form};
use crate::ops::read_back::ReadBack;
use crate::ops::volumes::{self, Written};
use crate::ops::watched::Watched;
use crate::ops::write;
use crate::ops::{Observer, Task, observer, room};
use crate::select::base::Bases;
use crate::select::{self, Carried, Content, Reachable, Root};
use crate::sign::SecretKey;
use crate::source::Network;

/// How many images that would collide at a registry an error names.
const MEETINGS: usize = 8;

/// How to write a bundle.
#[derive(Debug)]
pub struct Options {
    /// Name of the bundle's series.
    pub name: Option<String>,
    /// Position in the series; `None` without a name.
    pub sequence: Option<u64>,
    /// Expiry time.
    pub expires: Option<Timestamp>,
    /// The builder's key.
    pub key: Option<SecretKey>,
    /// SOURCE_DATE_EPOCH.
    pub source_date_epoch: Option<u64>,
    /// Replace an existing bundle.
    pub force: bool,
    /// Re-read everything from the medium before the bundle gets its final name.
    pub read_back: bool,
    /// What the receiver has, and the bundle leaves out.
    pub bases: Bases,
    /// How the other layers are carried, if not as they are.
    pub encoding: Option<Encoding>,
    /// Write volumes of at most this many bytes, unless the whole bundle fits in one.
    pub volume: Option<u64>,
}

/// The output of a bundle.
pub enum Target<'a> {
    /// A file, resumable.
    File(&'a Path),
    /// A stream, written in order.
    Stream(&'a mut dyn Write),
    /// Nothing: only the plan is requested.
    DryRun(&'a Path),
}

/// The result: what was made, or would be.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/create/v1`.
    pub schema: &'static str,
    /// Digest of the index.
    pub index: Digest,
    /// The bundle's name.
    pub name: String,
    /// Its position in the series, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Releases.
    pub releases: Vec<Release>,
    /// Top-level images.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Files under `manifests/`.
    pub manifests: usize,
    /// Size of the bundle in bytes, all volumes together.
    pub bytes: u64,
    /// The volumes; empty for a bundle in one file.
    pub volumes: Vec<Written>,
    /// Free space on the destination file system in bytes, if known.
    pub free: Option<u64>,
    /// Fingerprint of the signing key.
    pub signed_by: Option<String>,
    /// What is left out, because the receiver has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Exceptions from checks, as the index lists them.
    pub exceptions: Vec<String>,
    /// What was re-read from the medium, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Whether nothing was written because only the plan was requested.
    pub dry_run: bool,
}

/// Creates a bundle.
///
/// # Errors
/// A failure before the first blob leaves nothing behind; later failures keep what was fetched, and the same call
/// resumes.
pub fn create(
    what: &select::Options,
    target: Target<'_>,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Summary> {
    let path = match &target {
        Target::File(path) | Target::DryRun(path) => Some(*path),
        Target::Stream(_) => None,
    };
    // When planning for standard output, use the current folder.
    let named = path.filter(|path| matches!(target, Target::File(_)) || *path != Path::new("."));
    if let Some(folder) = named.filter(|path| path.is_dir()) {
        return Err(Error::new(Code::Usage, format!("`{}` is a folder, not a file to write", folder.display()))
            .state("nothing was written")
            .hint(format!("name the bundle: {}", folder.join("NAME.tar").display())));
    }
    if options.volume.is_some() && matches!(target, Target::Stream(_)) {
        return Err(Error::new(Code::Usage, "several volumes cannot be written to one stream")
            .hint("name a file, or leave --volume-size and --media out"));
    }
    if let (Some(encoding), Target::Stream(_)) = (&options.encoding, &target) {
        match encoding.compact {
            true => {
                return Err(Error::new(
                    Code::Usage,
                    "--compact needs a file to write: layers are made before the bundle begins",
                )
                .state("nothing was written"));
            }
            false => observer.warn("to a stream, layers are left out or carried as they are: differences need a file"),
        }
    }
    // Without a file there are no members; what differences save is not known before they are made.
    let encoding = options.encoding.as_ref().filter(|_| matches!(target, Target::File(_)));
    let divide = options.volume.filter(|_| encoding.is_none());
    let journal = match &target {
        Target::File(path) => {
            // The names of volumes are not known yet; the writer checks them.
            let plain = options.volume.is_none();
            if plain && !options.force && crate::fs::dir::exists(path) && Journal::read(path)?.is_none() {
                return Err(crate::fs::durable::already_exists(path));
            }
            room::writable(path)?;
            Journal::read(path)?
        }
        _ => None,
    };
    observer.begin(Task::Resolve, 0, 0);
    let registry = !(what.images.is_empty() && what.releases.is_empty() && what.updates.is_none());
    let gathered = select::gather(what, network, observer);
    observer.end();
    let nothing = match journal {
        None => "nothing was written",
        Some(_) => "nothing was added to what an earlier run has fetched, which is kept",
    };
    let (content, mut found) = gathered.map_err(|e| before_transfer(e, nothing, registry).interrupted(nothing))?;
    let created = journal.as_ref().map(|j| j.created.clone());
    let mut plan = plan(what.now, (options, divide), &content, &found, created)?;
    let mut journal = journal;
    let payload_layers = content.payload_layers.clone();
    // With members the plan is another one, and compared later.
    if encoding.is_none() && journal.is_some() && !plan_matches(&journal, &plan) {
        observer.warn("an interrupted run left something for other content; starting over");
        journal = None;
        plan = self::plan(what.now, (options, divide), &content, &found, None)?;
    }
    // The plan holds everything.
    drop(content);
    found.graph = Graph::default();
    let watched = Watched::new(&plan.index, &found)?;
    let met = crate::sink::placement::foreseen(&plan.index).map_err(|e| e.state("nothing was written"))?;
    for text in met.iter().take(MEETINGS) {
        observer.warn(text);
    }
    if met.len() > MEETINGS {
        observer.warn(&format!("{} more images would have the name of another one", met.len() - MEETINGS));
    }
    let dry_run = matches!(target, Target::DryRun(_));
    let mut members = None;
    if let (Some(encoding), Target::File(path)) = (encoding, &target) {
        let document = |digest: &Digest| found.bytes.get(digest).map(|bytes| bytes.to_vec());
        let plain = plain_of(&plan, &found, &payload_layers);
        let made = encode(&plan, &watched, &document, &options.bases, (&plain, path), encoding, observer)
            .map_err(|e| e.state("what was made is kept, and the same command goes on"))?;
        let key = options.key.as_ref().map(|key| (key, crate::sign::Namespace::Index(crate::sign::Role::Builder)));
        let (with, own) = form::encoded(plan, made, &options.bases, key)?;
        plan = match options.volume {
            None => with,
            Some(size) => volumes::divided(with, size, &BTreeSet::new(), &|digest| Ok(document(digest)))?,
        };
        members = Some(own);
        // The journal is about a plan with members.
        journal = journal_of(path, &plan)?;
    }
    let free = path.map(room::free).transpose()?;
    let mut summary = summary(options, &plan, path, free, dry_run);
    summary.form = Form::of(&plan)?;
    if !options.bases.all.is_empty() {
        match &summary.form {
            None => observer.warn("the bases have no layer of this bundle: it carries everything"),
            Some(form) => form.say(observer),
        }
    }
    if dry_run && options.encoding.is_some() {
        observer.say("Counting", "layers in full: what differences and compression save is known when they are made");
    }
    observer.say("Collecting", &forecast(&summary, path));
    if let Some(path) = path {
        match room::check(path, &plan, journal.as_ref()) {
            Err(e) if dry_run => observer.warn(e.message()),
            other => other?,
        }
    }
    match target {
        Target::File(path) => {
            let with = members.as_ref().map(|members| WithMembers { supply: &watched, members });
            let supply: &dyn write::Supply = with.as_ref().map_or(&watched, |with| with);
            let (plan, journal) = (&plan, journal.as_ref());
            let (force, pace, read_back) = (options.force, what.pace.as_ref(), options.read_back);
            let rest = || {
                members.iter().try_for_each(Members::discard)?;
                if !options.bases.all.is_empty() || !series::places(&plan.index).is_empty() {
                    keep_index(path, &plan.index_bytes, observer);
                }
                Ok(())
            };
            let job = write::Job { plan, supply, journal, force, pace, read_back, rest: &rest };
            summary.read_back = write::file(path, &job, observer).map_err(|e| kept(e, members.as_ref()))?;
        }
        Target::Stream(to) => write::stream(to, &plan, &watched, observer)?,
        Target::DryRun(_) => {}
    }
    Ok(summary)
}

/// `divide`: into volumes of this size, before members are made.
fn plan(
    now: Timestamp,
    (options, divide): (&Options, Option<u64>),
    content: &Content,
    found: &Reachable,
    created: Option<String>,
) -> Result<Plan> {
    let created = match (options.source_date_epoch, created) {
        (Some(epoch), _) => stamp(i64::try_from(epoch).unwrap_or(i64::MAX))?,
        (None, Some(created)) => created,
        (None, None) => stamp(now.as_second())?,
    };
    let seconds = created.parse::<Timestamp>().map_or(0, |t| t.as_second());
    let images: Vec<Image> = content.roots.iter().map(|root| image(root, found)).collect();
    let mut index = Index {
        format: FORMAT,
        features: Features { incompatible: needed(&images), ..Features::default() },
        name: options.name.clone().unwrap_or_else(|| default_name(content)),
        sequence: options.name.is_some().then(|| options.sequence.unwrap_or(u64::try_from(seconds).unwrap_or(0))),
        created,
        expires: options.expires.map(|t| stamp(t.as_second())).transpose()?,
        source_date_epoch: options.source_date_epoch,
        base: None,
        exceptions: content.exceptions.iter().map(ToString::to_string).collect(),
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
    if let Some((image, why)) = crate::verify::disguise::false_names(&index, None).first() {
        return Err(Error::new(Code::ReleaseUnverified, why.clone())
            .fact(format!("image {}", image.digest))
            .state("no layer was fetched; nothing was written")
            .hint("carry a release with --release; give another image another tag, or a repository of its own"));
    }
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
    let plan = match options.bases.all.is_empty() {
        true => plan,
        false => {
            let plain = plain_of(&plan, found, &content.payload_layers);
            let builder = crate::sign::Namespace::Index(crate::sign::Role::Builder);
            form::without(plan, &options.bases, &plain, options.key.as_ref().map(|key| (key, builder)))?
        }
    };
    match divide {
        None => Ok(plan),
        Some(size) => volumes::divided(plan, size, &BTreeSet::new(), &|digest| {
            Ok(found.bytes.get(digest).map(|bytes| bytes.to_vec()))
        }),
    }
}

/// The layers that every form carries as they are.
fn plain_of(plan: &Plan, found: &Reachable, payload_layers: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    let documents = plan.index.blobs.iter().filter(|blob| blob.role.is_document());
    let documents = documents.filter_map(|blob| Some((blob.digest, found.bytes.get(&blob.digest)?.to_vec())));
    let mut plain = crate::verify::read_whole(&plan.index, &documents.collect());
    plain.extend(payload_layers);
    plain
}

/// Names the folder of members in the error of a run that may be made again with `--force`.
fn kept(e: Error, members: Option<&Members>) -> Error {
    match members {
        Some(members) if e.code() == Code::Conflict => {
            e.fact(format!("the layers that were made are kept in `{}`", members.folder().display()))
        }
        _ => e,
    }
}

/// What an interrupted run left of this plan.
fn journal_of(path: &Path, plan: &Plan) -> Result<Option<Journal>> {
    Ok(Journal::read(path)?.filter(|journal| journal.is_of(plan)))
}

/// The name of the file that keeps the index of a bundle: `app.tar` has `app.index.json`.
pub fn index_path(bundle: &Path) -> PathBuf {
    let stem = match (bundle.file_stem(), bundle.extension()) {
        (Some(stem), Some(end)) if end.eq_ignore_ascii_case("tar") => stem,
        _ => bundle.file_name().unwrap_or_default(),
    };
    let mut name = stem.to_owned();
    name.push(".index.json");
    bundle.with_file_name(name)
}

/// Keeps the index beside a finished bundle of a series: the receipt of a site names it, and the next bundle for that
/// site can be made with it when this one is gone.
fn keep_index(bundle: &Path, bytes: &[u8], observer: &dyn Observer) {
    let path = index_path(bundle);
    let other = crate::fs::dir::exists(&path) && !starts_like_an_index(&path);
    let kept = match other {
        true => Err("it is a file of another kind".to_owned()),
        false => {
            let mut new = path.clone().into_os_string();
            new.push(".new");
            let begun = crate::fs::AtomicFile::begin(Path::new(&new));
            begun.and_then(|new| new.commit(bytes, &path, true)).map_err(|e| e.to_string())
        }
    };
    if let Err(why) = kept {
        observer.warn(&format!("the index was not kept as `{}`: {why}", path.display()));
    }
}

/// Whether a file begins as an index does.
fn starts_like_an_index(path: &Path) -> bool {
    crate::fs::small::read_start(path, 16).is_ok_and(|start| start.starts_with(b"{\n  \"format\": "))
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

/// The features that a reader needs for these images.
fn needed(images: &[Image]) -> Vec<String> {
    match images.iter().any(|image| image.kind == Kind::GraphData) {
        true => vec![GRAPH_DATA.to_owned()],
        false => Vec::new(),
    }
}

fn image(root: &Root, found: &Reachable) -> Image {
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
        derived: root.derived,
        requested_by: root.requested_by.clone(),
    }
}

/// A name derived from the content alone, so that the same content gives the same bytes wherever it is made.
fn default_name(content: &Content) -> String {
    let last =
        |repository: &Option<String>| repository.as_deref().and_then(|r| r.rsplit('/').next()).map(str::to_owned);
    if let Some(release) = content.releases.iter().min_by_key(|r| (&r.version, &r.architecture)) {
        return match Version::parse(&release.version) {
            Some(version) => series::stream(&version, &release.architecture),
            None => format!("release-{}", release.architecture),
        };
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
        form: None,
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
        let folder = crate::fs::dir::folder_of(path);
        text.push_str(&format!(" ({} free on {})", observer::size(free), folder.display()));
    }
    text
}
