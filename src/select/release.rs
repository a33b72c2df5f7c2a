//! An OpenShift release: checks its authenticity first, then collects every image that its payload names.

use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::files::Carried;
use super::walk::{self, Root};
use crate::bundle::index::{self, Kind, Trust};
use crate::bundle::limits;
use crate::content::Config;
use crate::error::{Code, Error, Result};
use crate::observer::Observer;
use crate::oci::{Digest, Document, Invalid, Reference, Repository};
use crate::openshift::image_policy::ImagePolicy;
use crate::openshift::openpgp::{self, Rejected};
use crate::openshift::payload::{self, Overlay, Payload, ReleaseMetadata};
use crate::openshift::{release_signature, signature_map, verification};
use crate::source::{Network, Source};

/// Where release signatures are looked for.
#[derive(Clone, Debug)]
pub enum Store {
    /// An HTTP(S) signature store.
    Url(String),
    /// A directory laid out as one.
    Dir(PathBuf),
    /// Signatures that came with the content (the ConfigMap files of an `oc` mirror directory).
    Given(Vec<(Digest, Vec<u8>)>),
}

impl Store {
    /// Reads the value of `--signature-store`: a URL, or a directory with or without `file://`.
    pub fn parse(text: &str) -> Store {
        match text.strip_prefix("file://") {
            Some(path) => Store::Dir(path.into()),
            None if text.starts_with("http://") || text.starts_with("https://") => {
                Store::Url(text.trim_end_matches('/').to_owned())
            }
            None => Store::Dir(text.into()),
        }
    }
}

/// A release that may be carried.
pub(super) struct Gathered {
    pub(super) release: index::Release,
    pub(super) roots: Vec<Root>,
    pub(super) files: Vec<Carried>,
    pub(super) unsigned: bool,
    /// The layers that the payload was read from.
    pub(super) read: Vec<Digest>,
    /// What its payload says about it, and about the releases before it.
    pub(super) metadata: Option<ReleaseMetadata>,
    /// The image policy in its payload.
    pub(super) policy: Option<Result<ImagePolicy, Invalid>>,
}

/// Verifies the release image `root` and collects what belongs to it.
///
/// If the user named signature stores, the signature is verified before anything but the manifest is read; otherwise
/// the payload is streamed first, to learn its stores. No layer is kept before a good signature is found.
pub(super) fn gather(
    root: Root,
    options: &Options,
    given: &[(Digest, Vec<u8>)],
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Gathered> {
    let mut root = Root { kind: Kind::Release, release: Some(root.document.digest), ..root };
    let digest = root.document.digest;
    let mut stores = options.stores.clone();
    if !given.is_empty() {
        stores.insert(0, Store::Given(given.to_vec()));
    }
    let mut signed = None;
    if !stores.is_empty() {
        signed = Some(signatures(&digest, &stores, options, network)?);
        if let Some(Err(e)) = &signed
            && !options.allow_unsigned_release
        {
            return Err(unverified(&root, e, &stores));
        }
    }
    observer.say("Reading", &format!("release payload of {}", root.label()));
    let (payload, read) = read_payload(&root)?;
    let signed = match signed {
        Some(signed) => signed,
        None => {
            stores = payload_stores(&payload, network, observer);
            signatures(&digest, &stores, options, network)?
        }
    };
    let manifest = walk::payload_manifest(&root)?;
    let config = walk::read_blob(root.source.as_ref(), &manifest.config).ok().and_then(|raw| Config::parse(&raw));
    let list = matches!(walk::parse(&root.document)?, Document::Index(_));
    let architecture = match config {
        _ if list => "multi".to_owned(),
        Some(config) if !config.architecture.is_empty() => config.architecture,
        _ => return Err(Error::new(Code::Malformed, format!("{} does not say its architecture", root.label()))),
    };
    let mut files = Vec::new();
    let (trust, signers) = match signed {
        Ok(good) => {
            for one in &good {
                let name = one.verified.user_id.as_deref().unwrap_or("an unnamed key");
                observer.say("Verified", &format!("release {}, signed by {name}", payload.version));
                observer.say("", &grouped(&one.verified.fingerprint));
                one.verified.notices.iter().for_each(|n| observer.warn(&format!("release signature: {n}")));
            }
            files.extend(carried(&digest, &good)?);
            let mut signers: Vec<String> = good.iter().map(|g| g.verified.fingerprint.clone()).collect();
            signers.sort();
            signers.dedup();
            (Trust::Openpgp, signers)
        }
        Err(e) if options.allow_unsigned_release => {
            observer.warn(&format!(
                "release {} is not verified ({e}); carried because of --allow-unsigned-release",
                payload.version
            ));
            (Trust::None, Vec::new())
        }
        Err(e) => return Err(unverified(&root, &e, &stores)),
    };
    let unsigned = trust == Trust::None;
    if !unsigned && let Document::Index(index) = walk::parse(&root.document)? {
        // A cluster may use the digest of the image for its own architecture; carry the signature of that image too, if
        // any.
        for child in &index.manifests {
            if let Ok(good) = signatures(&child.digest, &stores, options, network)? {
                files.extend(carried(&child.digest, &good)?);
            }
        }
    }
    let version = payload.version.clone();
    let release = index::Release { version, architecture, digest, trust, signers };
    root.component = None;
    let mut roots = components(&root, &payload, options, network, observer)?;
    roots.insert(0, root);
    let (metadata, policy) = (payload.release_metadata, payload.image_policy);
    Ok(Gathered { release, roots, files, unsigned, read, metadata, policy })
}

/// A good signature.
struct Good {
    bytes: Vec<u8>,
    verified: openpgp::Verified,
}

/// Returns every good signature for `digest`, or the reason why there is none.
fn signatures(
    digest: &Digest,
    stores: &[Store],
    options: &Options,
    network: Option<&dyn Network>,
) -> Result<Result<Vec<Good>, Rejected>> {
    let mut good: Vec<Good> = Vec::new();
    let mut worst = None;
    let mut unreachable = None;
    for store in stores {
        let found = match fetch(digest, store, network) {
            Ok(found) => found,
            // Another store may have the signature; but a store that the user named must at least exist.
            Err(e) if matches!(store, Store::Url(_)) && e.code() != Code::Usage => {
                unreachable = Some(e);
                continue;
            }
            Err(e) => return Err(e),
        };
        for bytes in found {
            if good.iter().any(|g| g.bytes == bytes) {
                continue;
            }
            match options
                .keyrings
                .iter()
                .map(|k| openpgp::verify(&bytes, k, digest, options.now.as_second()))
                .reduce(Result::or)
            {
                Some(Ok(verified)) => good.push(Good { bytes, verified }),
                Some(Err(e)) => worst = Some(e),
                None => {}
            }
        }
    }
    good.truncate(release_signature::MAX_SIGNATURES);
    match (good.is_empty(), worst, unreachable) {
        (false, ..) => Ok(Ok(good)),
        (true, Some(rejected), _) => Ok(Err(rejected)),
        (true, None, Some(e)) if options.allow_unsigned_release => Ok(Err(Rejected::NotASignature(e.message().into()))),
        (true, None, Some(e)) => Err(e.state("nothing was written; the release could not be verified")),
        (true, None, None) => {
            Ok(Err(Rejected::NotASignature(format!("none of {} signature stores has one", stores.len()))))
        }
    }
}

fn fetch(digest: &Digest, store: &Store, network: Option<&dyn Network>) -> Result<Vec<Vec<u8>>> {
    match store {
        Store::Dir(dir) => release_signature::read_store(dir, digest),
        Store::Given(all) => Ok(all.iter().filter(|(d, _)| d == digest).map(|(_, bytes)| bytes.clone()).collect()),
        Store::Url(url) => {
            let network = network.ok_or_else(|| {
                Error::new(Code::Usage, "this build of mirror-bundle has no network code")
                    .hint("name a directory with release signatures: --signature-store DIR")
            })?;
            let mut found = Vec::new();
            for n in 1..=release_signature::MAX_SIGNATURES {
                let address =
                    release_signature::store_url(url, digest, n).map_err(|e| Error::new(Code::Usage, e.to_string()))?;
                match network.get(&address, limits::RELEASE_SIGNATURE) {
                    Ok(Some(bytes)) if bytes.is_empty() => {}
                    Ok(Some(bytes)) => found.push(bytes),
                    Ok(None) => break,
                    // Stores report the end of the list in different ways; one good signature is enough.
                    Err(e) if !found.is_empty() && matches!(e.code(), Code::Source | Code::Auth) => break,
                    Err(e) => return Err(e),
                }
            }
            Ok(found)
        }
    }
}

/// The stores that the payload names. They say where to look, never whom to trust. The payload is not verified yet, so
/// it must not name local files of this host or addresses inside its network (security H2).
fn payload_stores(payload: &Payload, network: Option<&dyn Network>, observer: &dyn Observer) -> Vec<Store> {
    let Some(Ok(config)) = &payload.verification else { return Vec::new() };
    let mut stores = Vec::new();
    for store in &config.stores {
        let verification::Store::Http(url) = store else { continue };
        if network.is_none_or(|network| network.is_public(url)) {
            stores.push(Store::Url(url.clone()));
        } else {
            observer.warn(&format!("the release names the signature store `{url}`, which is not asked: it is no https address, or an internal one"));
        }
    }
    stores
}

fn unverified(root: &Root, why: &Rejected, stores: &[Store]) -> Error {
    let mut err = Error::from(why.clone()).fact(format!("release {} {}", root.label(), root.document.digest));
    for store in stores {
        err = err.fact(match store {
            Store::Url(url) => format!("store   {url}"),
            Store::Dir(dir) => format!("store   {}", dir.display()),
            Store::Given(_) => "store   the ConfigMaps beside the images".to_owned(),
        });
    }
    err.state("no layer was fetched; nothing was written")
        .hint("another vendor's key: --release-keyring FILE; signatures elsewhere: --signature-store URL|DIR; to carry it all the same, and have that recorded: --allow-unsigned-release")
}

fn grouped(fingerprint: &str) -> String {
    let groups: Vec<&str> = fingerprint.as_bytes().chunks(4).filter_map(|c| std::str::from_utf8(c).ok()).collect();
    groups.join(" ")
}

/// The raw signatures in the layout of a store, and the ConfigMap for the cluster.
fn carried(digest: &Digest, good: &[Good]) -> Result<Vec<Carried>> {
    let raw: Vec<Vec<u8>> = good.iter().map(|g| g.bytes.clone()).collect();
    let map = signature_map::config_map(digest, &raw)
        .map_err(|e| Error::new(Code::Internal, format!("cannot write the signature ConfigMap: {e}")))?;
    let manifest = crate::kubernetes::read(&map).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let mut out =
        vec![Carried::new(&format!("manifests/{}", signature_map::file_name(digest)), map, vec![manifest.object])];
    for (n, bytes) in raw.into_iter().enumerate() {
        out.push(Carried::new(&format!("signatures/sha256={}/signature-{}", digest.hex(), n + 1), bytes, Vec::new()));
    }
    Ok(out)
}

/// The payload, and the layers that it was read from.
fn read_payload(root: &Root) -> Result<(Payload, Vec<Digest>)> {
    let manifest = walk::payload_manifest(root)?;
    let (mut overlay, mut read) = (Overlay::default(), Vec::new());
    for layer in manifest.layers.iter().rev() {
        if overlay.decided() {
            break;
        }
        read.push(layer.digest);
        let mut tries = 0;
        let view = loop {
            match scan(root.source.as_ref(), layer) {
                Err(e) if e.is_transient() && tries < 3 => tries += 1,
                other => break other?,
            }
        };
        overlay.add(view)?;
    }
    let payload = overlay.payload();
    let whose = |e: Error| e.fact(format!("release {}", root.label())).state("nothing was written");
    payload.map(|payload| (payload, read)).map_err(whose)
}

fn scan(source: &dyn Source, layer: &crate::oci::Descriptor) -> Result<payload::LayerView> {
    let from = source.blob(layer, 0)?;
    let mut hashed = Hashed { from, hasher: crate::oci::Hasher::new(), failed: None };
    let view = payload::scan(&layer.media_type, &mut hashed, &payload::Limits::default());
    let rest = std::io::copy(&mut hashed, &mut std::io::sink());
    if let Some(e) = hashed.failed {
        return Err(e);
    }
    rest.map_err(|e| Error::io("cannot read", source.describe(), e))?;
    let computed = hashed.hasher.finish();
    if computed != layer.digest {
        return Err(Error::new(
            Code::BlobMismatch,
            format!("{} in {} does not match its digest", layer.digest, source.describe()),
        )
        .fact(format!("computed {computed}"))
        .state("nothing was written"));
    }
    view
}

struct Hashed {
    from: Box<dyn std::io::Read + Send>,
    hasher: crate::oci::Hasher,
    failed: Option<Error>,
}

impl std::io::Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.from.read(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                Ok(n)
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                // The scanner would report a broken layer; keep the real cause.
                self.failed = Some(Error::io("cannot read", "the release image", e));
                Err(std::io::Error::other("the transfer failed"))
            }
        }
    }
}

/// Finds every component by digest: at the locations in `--mirror-config`, in the release's repository, at the
/// release's registry where mirrors usually keep components, and at the location in the payload. Payload locations at
/// the requested registry come first.
fn components(
    root: &Root,
    payload: &Payload,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Vec<Root>> {
    let tags = &payload.image_references.tags;
    let home: Option<Repository> = root.repository.as_deref().and_then(|r| r.parse().ok());
    options.pace.map(
        tags,
        || (),
        |(), component| {
            observer.check()?;
            let mut places: Vec<Arc<dyn Source>> = Vec::new();
            if let Some(network) = network {
                places.extend(options.mirrors.of(&component.repository).iter().map(|place| network.repository(place)));
            }
            places.push(root.source.clone());
            if let (Some(network), Some(home)) = (network, &home) {
                let named = network.repository(&component.repository);
                if component.repository.registry() == home.registry() && component.repository != *home {
                    places.insert(places.len() - 1, named);
                } else {
                    places.extend(beside(home, &component.repository).iter().map(|place| network.repository(place)));
                    places.push(named);
                }
            }
            let mut tried: Vec<String> = Vec::new();
            let mut failed: Option<Error> = None;
            for source in places {
                match source.manifest(&component.digest) {
                    Ok(Some(document)) => {
                        observer.item();
                        return Ok(Root {
                            source,
                            repository: Some(component.repository.to_string()),
                            tag: None,
                            document,
                            kind: Kind::Component,
                            component: Some(component.name.clone()),
                            release: root.release,
                            subject: None,
                            derived: None,
                            requested_by: root.requested_by.clone(),
                        });
                    }
                    Ok(None) => tried.push(format!("tried  {}: not found", source.describe())),
                    Err(e) if e.code() == Code::Interrupted => return Err(e),
                    Err(e) => {
                        tried.push(format!("tried  {}: {}", source.describe(), e.message()));
                        failed = failed.or(Some(e));
                    }
                }
            }
            let reference =
                Reference { repository: component.repository.clone(), tag: None, digest: Some(component.digest) };
            let text = format!("component `{}` of release {} is not to be found", component.name, payload.version);
            let code = failed.as_ref().map_or(Code::Source, Error::code);
            let mut err = Error::new(code, text).fact(format!("image  {reference}"));
            for place in tried {
                err = err.fact(place);
            }
            let err = failed.into_iter().fold(err, |err, e| if e.is_transient() { err.transient() } else { err });
            Err(err.state("nothing was written").hint("say where copies are: --mirror-config FILE"))
        },
    )
}

/// Where a mirror with a release at `home` usually has its components: oc-mirror puts releases in `release-images` and
/// components in `release` beside it; other tools keep the original paths.
fn beside(home: &Repository, component: &Repository) -> Vec<Repository> {
    let mut paths = Vec::new();
    if let Some(above) = home.path().strip_suffix("release-images") {
        paths.push(format!("{above}release"));
    }
    let (parent, _) = home.path().rsplit_once('/').unwrap_or_default();
    let (owner, name) = component.path().rsplit_once('/').unwrap_or(("", component.path()));
    match parent.strip_suffix(owner) {
        Some(above) if !owner.is_empty() && (above.is_empty() || above.ends_with('/')) => {
            paths.push(format!("{above}{}", component.path()));
        }
        _ if parent.is_empty() => paths.push(name.to_owned()),
        _ => paths.push(format!("{parent}/{name}")),
    }
    let places = paths.iter().filter_map(|path| format!("{}/{path}", home.registry()).parse().ok());
    places.filter(|place| place != home).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::beside;

    #[test]
    fn components_are_looked_for_where_mirrors_keep_them() {
        let art = "quay.io/openshift-release-dev/ocp-v4.0-art-dev".parse().unwrap();
        for (home, places) in [
            ("m.lab/openshift/release-images", &["m.lab/openshift/release", "m.lab/openshift/ocp-v4.0-art-dev"][..]),
            ("m.lab/openshift-release-dev/ocp-release", &["m.lab/openshift-release-dev/ocp-v4.0-art-dev"]),
            ("m.lab/q/openshift-release-dev/ocp-release", &["m.lab/q/openshift-release-dev/ocp-v4.0-art-dev"]),
            ("m.lab/release", &["m.lab/ocp-v4.0-art-dev"]),
        ] {
            let found: Vec<String> = beside(&home.parse().unwrap(), &art).iter().map(ToString::to_string).collect();
            assert_eq!(found, places, "{home}");
        }
    }
}
