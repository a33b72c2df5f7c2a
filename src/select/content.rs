//! Resolves what to carry: images from registries and local sources, releases with everything that belongs to them,
//! files.
//!
//! Everything is resolved here, and no layer is fetched: `ops::create` builds the index from the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files::{self, Carried};
use super::updates::{self, Chosen};
use super::walk::{self, Reachable, Root};
use super::{Options, release};
use crate::bundle::index::{Exception, Kind, Missing, Release};
use crate::bundle::name;
use crate::content::Config;
use crate::error::{Code, Error, Result};
use crate::kubernetes::{self, Admission};
use crate::observer::{self, Observer};
use crate::oci::{Digest, Document, Invalid, Reference, Tag};
use crate::openshift::image_policy::ImagePolicy;
use crate::openshift::payload::ReleaseMetadata;
use crate::openshift::signature_map;
use crate::source::{Bench, Fetched, MirrorDir, Named, Network, Source};

/// The files of the bundle other than blobs.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) roots: Vec<Root>,
    pub(crate) releases: Vec<Release>,
    pub(crate) files: Vec<Carried>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) exceptions: BTreeSet<Exception>,
    /// Layers that the payloads of the releases were read from.
    pub(crate) payload_layers: BTreeSet<Digest>,
    /// What the payloads of the releases say about updates.
    pub(super) metadata: BTreeMap<Digest, Option<ReleaseMetadata>>,
    /// The image policies in the payloads of the releases.
    pub(super) policies: BTreeMap<Digest, Option<std::result::Result<ImagePolicy, Invalid>>>,
}

/// Everything that the options name, resolved. No layer has been fetched.
pub(crate) fn gather(
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<(Content, Reachable)> {
    let mut content = Content::default();
    for kind in &options.allow_kinds {
        content.exceptions.insert(Exception::kind(&kind.to_string()).map_err(|why| Error::new(Code::Usage, why))?);
    }
    for dir in &options.manifests {
        content.files.extend(files::manifests(dir, &Admission::naming(&options.allow_kinds), observer)?);
    }
    for reference in &options.releases {
        let root = resolve(reference, "release", options, network, observer)?;
        content.release(root, options, &[], network, observer)?;
    }
    if let Some(updates) = &options.updates {
        for chosen in updates::resolve(updates, options, network, observer)? {
            let root = resolve(&chosen.reference, "release", options, network, observer)?;
            let digest = root.document.digest;
            content.release(root, options, &[], network, observer)?;
            content.is_chosen(&digest, &chosen, options)?;
        }
    }
    content.roots.extend(options.pace.map(
        &options.images,
        || (),
        |(), reference| resolve(reference, "image", options, network, observer),
    )?);
    for path in &options.layouts {
        let source: Arc<dyn Source> =
            crate::source::open(path, Bench { room: &options.room, check: &|| observer.check() })?.into();
        content.local(source, "layout", options, network, observer)?;
    }
    for path in &options.dirs {
        content.local(Arc::new(MirrorDir::open(path)?), "directory", options, network, observer)?;
    }
    content.graph_data(options, network, observer)?;
    if content.roots.is_empty() && content.files.is_empty() {
        return Err(Error::new(Code::Usage, "nothing to carry")
            .hint("name content with --release, --channel, --image, --from-layout, --from-dir or --manifests"));
    }
    observer.say(
        "Resolving",
        &format!("manifests, signatures and referrers of {}", observer::count(content.roots.len(), "image")),
    );
    let unserved = walk::Unserved::default();
    let found = walk::walk(&mut content.roots, options, !options.without_referrers, &unserved, observer)?;
    for (digest, (size, of)) in &found.foreign {
        observer.warn(&format!("the foreign layer {digest} of {of} ({}) is left out", observer::size(*size)));
        let reason = crate::bundle::index::FOREIGN_LAYER.to_owned();
        content.missing.push(Missing { reference: digest.to_string(), reason });
    }
    content.classify();
    let unserved = unserved.sentences();
    content.image_signatures(options, &unserved, observer)?;
    unserved.iter().for_each(|sentence| observer.warn(sentence));
    Ok((content, found))
}

/// The repository of an image from a local source. A name that is legal in the source but not a repository is refused.
fn nameable(named: &Named, observer: &dyn Observer) -> Option<String> {
    let repository = named.repository.clone()?;
    if crate::bundle::index::is_repository(&repository) {
        return Some(repository);
    }
    observer.warn(&format!("`{repository}` is no repository; the image is carried by its digest, {}", named.digest));
    None
}

/// Finds an image in its registry.
pub(super) fn resolve(
    reference: &Reference,
    word: &str,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Root> {
    let untagged = reference.digest.is_none() && reference.tag.is_none();
    let (latest, assumed) = if untagged { (":latest", " (no tag was given)") } else { ("", "") };
    observer.say("Resolving", &format!("{reference}{latest}{assumed}"));
    let network = network.ok_or_else(|| Error::new(Code::Usage, "this build of mirror-bundle has no network code"))?;
    let mut places: Vec<Arc<dyn Source>> =
        options.mirrors.of(&reference.repository).iter().map(|place| network.repository(place)).collect();
    places.push(network.repository(&reference.repository));
    let (mut found, mut tried, mut failed) = (None, Vec::new(), None);
    for source in places {
        let document = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => source.manifest(digest),
            (None, Some(tag)) => source.resolve(tag),
            (None, None) => {
                let latest = "latest".parse::<Tag>().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
                source.resolve(&latest)
            }
        };
        match document {
            Ok(Some(document)) => {
                found = Some((source, document));
                break;
            }
            Ok(None) => tried.push(format!("tried  {}: not found", source.describe())),
            Err(e) if e.code() == Code::Interrupted => return Err(e),
            Err(e) => {
                tried.push(format!("tried  {}: {}", source.describe(), e.message()));
                failed = Some(e);
            }
        }
    }
    // With several candidates the error names all of them; with only one, its own error is returned.
    if found.is_none()
        && let Some(e) = failed
    {
        return Err(if tried.len() == 1 { e } else { tried.into_iter().fold(e, Error::fact) });
    }
    let Some((source, document)) = found else {
        let mut err =
            Error::new(Code::Source, format!("{reference}{latest} does not exist (no such repository or tag)"))
                .state("nothing was written");
        if untagged {
            err = err.fact("no tag was given, which means `latest`");
        }
        if tried.len() > 1 {
            err = tried.into_iter().fold(err, Error::fact);
        }
        return Err(err.hint(format!("list the tags: skopeo list-tags docker://{}", reference.repository)));
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
        derived: None,
        requested_by: format!("{word} {reference}"),
    };
    choose(root, options)
}

/// Selects the image for the requested platform from an index.
fn choose(root: Root, options: &Options) -> Result<Root> {
    let Some(platform) = &options.platform else { return Ok(root) };
    match walk::choose(&root, platform)? {
        None => Ok(root),
        Some(child) => {
            let document = root.source.manifest(&child.digest)?.ok_or_else(|| {
                Error::new(Code::Source, format!("{} needs {}, which does not exist", root.label(), child.digest))
            })?;
            Ok(Root { document, ..root })
        }
    }
}

/// The entries without those that have no name and belong to the index of another entry. Some writers of layouts (oras)
/// list every manifest; such an entry is no image of its own.
fn without_parts(source: &dyn Source, mut names: Vec<Named>) -> Result<Vec<Named>> {
    let nameless = |named: &Named| named.repository.is_none() && named.tag.is_none();
    if names.len() < 2 || !names.iter().any(nameless) {
        return Ok(names);
    }
    let mut parts: BTreeSet<Digest> = BTreeSet::new();
    for named in &names {
        if let Some(Ok(Document::Index(index))) = source.manifest(&named.digest)?.map(|document| walk::parse(&document))
        {
            parts.extend(index.manifests.iter().map(|child| child.digest));
        }
    }
    names.retain(|named| !(nameless(named) && parts.contains(&named.digest)));
    Ok(names)
}

/// Files beside the images of a local source: release signatures and manifests. None of them is trusted: each signature
/// is verified with its release, and each manifest must be of a kind that may be carried.
struct Beside {
    signatures: Vec<(Digest, Vec<u8>)>,
    manifests: Vec<Carried>,
}

impl Beside {
    fn of(source: &dyn Source, options: &Options, observer: &dyn Observer) -> Result<Beside> {
        let mut out = Beside { signatures: Vec::new(), manifests: Vec::new() };
        let admission = Admission::naming(&options.allow_kinds);
        for (name, bytes) in source.beside()? {
            if let Some(signed) = name.strip_prefix("signatures/sha256=") {
                let digest = signed.split('/').next().and_then(|hex| Digest::from_hex(hex).ok());
                out.signatures.extend(digest.map(|digest| (digest, bytes)));
                continue;
            }
            let unreadable = |why: String| {
                Error::new(Code::Malformed, format!("`{name}` of {} is not acceptable: {why}", source.describe()))
            };
            let parsed = match kubernetes::parse(&bytes) {
                Ok(parsed) => parsed,
                Err(e) if name.starts_with("manifests/") || signature_map::is_mentioned(&bytes) => {
                    return Err(unreadable(e.to_string()));
                }
                Err(_) => continue,
            };
            for manifest in parsed.iter().filter(|m| signature_map::is_signature_map(&m.value)) {
                let entries = signature_map::parse(&manifest.value).map_err(|e| unreadable(e.to_string()))?;
                out.signatures.extend(entries.into_iter().map(|e| (e.digest, e.signature)));
            }
            if name.starts_with("manifests/") {
                let shown = format!("`{name}` of {}", source.describe());
                out.manifests.extend(files::carried(&shown, &name, parsed, &admission, observer)?);
            }
        }
        Ok(out)
    }
}

/// The path of a manifest without the folder that `unpack` makes for each bundle.
fn of_all_bundles(path: &str) -> String {
    let inner = path.strip_prefix("manifests/").and_then(|rest| rest.split_once('/'));
    match inner {
        Some((folder, rest)) if name::is_unpacked(folder) => format!("manifests/{rest}"),
        _ => path.to_owned(),
    }
}

/// The manifests of several bundles as those of one. What they share is carried once; what differs is an error, because
/// only a person knows which is wanted.
fn gathered(found: impl Iterator<Item = Carried>, place: &str) -> Result<Vec<Carried>> {
    let mut out: BTreeMap<String, Carried> = BTreeMap::new();
    for mut file in found {
        let path = of_all_bundles(&file.entry.path);
        let from = std::mem::replace(&mut file.entry.path, path);
        match out.get(&file.entry.path) {
            Some(other) if other.bytes != file.bytes => {
                let text = format!("`{from}` of {place} differs from that of another bundle there");
                return Err(Error::new(Code::Conflict, text)
                    .state("nothing was written")
                    .hint("move away the folder of the bundle whose manifests are not wanted"));
            }
            Some(_) => {}
            None => {
                out.insert(file.entry.path.clone(), file);
            }
        }
    }
    Ok(out.into_values().collect())
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
            self.exceptions.insert(Exception::UnsignedRelease);
        }
        self.payload_layers.extend(gathered.read);
        self.metadata.insert(gathered.release.digest, gathered.metadata);
        self.policies.insert(gathered.release.digest, gathered.policy);
        self.releases.push(gathered.release);
        self.roots.extend(gathered.roots);
        self.files.extend(gathered.files);
        Ok(())
    }

    /// Checks that a release is what the update graph said: a graph is not signed, and could offer an old release as a
    /// new one.
    fn is_chosen(&self, digest: &Digest, chosen: &Chosen, options: &Options) -> Result<()> {
        let Some(release) = self.releases.iter().find(|release| release.digest == *digest) else { return Ok(()) };
        // One image of a list has its own architecture.
        let other = options.platform.is_none() && release.architecture != chosen.architecture;
        if release.version == chosen.version && !other {
            return Ok(());
        }
        let said = format!("{} for {}", chosen.version, chosen.architecture);
        let is = format!("{} for {}", release.version, release.architecture);
        Err(Error::new(Code::ReleaseUnverified, "a release is not what the update graph says")
            .fact(format!("image   {}", chosen.reference))
            .fact(format!("graph   {said}"))
            .fact(format!("payload {is}"))
            .state("nothing was written")
            .hint("take the graph from a place you trust, or name the release with --release; see --arch"))
    }

    /// Every image of a local source. Release images among them are treated as `--release` treats them.
    fn local(
        &mut self,
        source: Arc<dyn Source>,
        word: &str,
        options: &Options,
        network: Option<&dyn Network>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let names = source.names()?;
        let beside = Beside::of(source.as_ref(), options, observer)?;
        source.notices().iter().for_each(|notice| observer.warn(notice));
        let names = without_parts(source.as_ref(), names)?;
        let names = crate::source::of_platform(names, options.platform.as_ref(), &source.describe())?;
        observer.say("Reading", &format!("{} from {}", observer::count(names.len(), "image"), source.describe()));
        if names.is_empty() {
            return Err(Error::new(Code::Source, format!("{} holds no image", source.describe())));
        }
        let mut others = Vec::new();
        for named in names {
            let document: Fetched = source.manifest(&named.digest)?.ok_or_else(|| {
                Error::new(
                    Code::BlobMissing,
                    format!("{} names {}, which does not exist", source.describe(), named.digest),
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
                derived: None,
                requested_by: word.to_owned(),
            };
            let root = choose(root, options)?;
            if is_release(&root) {
                self.release(root, options, &beside.signatures, network, observer)?;
            } else {
                others.push(root);
            }
        }
        // Already included as a component of a release.
        let mut components: BTreeSet<Digest> = BTreeSet::new();
        components.extend(self.roots.iter().filter(|r| r.kind == Kind::Component).map(|r| r.document.digest));
        others.retain(|r| !components.contains(&r.document.digest));
        self.roots.extend(others);
        // The ConfigMap of a carried release is generated again from its good signatures.
        let made: BTreeSet<&str> = self.files.iter().map(|f| f.entry.path.as_str()).collect();
        let maps: BTreeSet<String> = beside
            .signatures
            .iter()
            .map(|(digest, _)| format!("manifests/{}", signature_map::file_name(digest)))
            .filter(|path| made.contains(path.as_str()))
            .collect();
        let new = beside.manifests.into_iter().filter(|f| !maps.contains(&of_all_bundles(&f.entry.path)));
        let new = gathered(new, &source.describe())?;
        if !new.is_empty() {
            let what = observer::count(new.len(), "manifest");
            observer.say("Reading", &format!("{what} beside the images of {}", source.describe()));
        }
        self.files.extend(new);
        Ok(())
    }

    /// Images that are really signatures or referrers of other images (a local source lists them like any image).
    fn classify(&mut self) {
        let mut homes: BTreeMap<Digest, Option<Digest>> = BTreeMap::new();
        for root in &self.roots {
            homes.entry(root.document.digest).or_insert(root.release);
            if let Ok(document) = walk::parse(&root.document) {
                for child in document.children() {
                    homes.entry(child.digest).or_insert(root.release);
                }
            }
        }
        for root in self.roots.iter_mut().filter(|r| r.kind == Kind::Additional) {
            let tagged = root.tag.as_deref().and_then(crate::oci::attached_to);
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
            // Attachments of release images are placed with those images. A local source that lists an attachment under
            // its own path, and its subject under another, would add it twice.
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
}

/// Whether the configuration of an image carries the label of a release.
fn is_release(root: &Root) -> bool {
    let config = walk::payload_manifest(root).and_then(|m| walk::read_blob(root.source.as_ref(), &m.config));
    config.ok().and_then(|raw| Config::parse(&raw)).is_some_and(|c| c.release_version().is_some())
}
