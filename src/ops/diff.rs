//! `diff`: what another bundle, or a registry, has that this one has not, and the reverse.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use serde::Serialize;
use serde_json::Value;

use super::images::is_content;
use super::reading::Library;
use super::shelf::{Member, called};
use crate::bundle::index::{Index, Kind};
use crate::content::{Merged, Node, Place};
use crate::error::Result;
use crate::oci::{Digest, Hasher, media_type};
use crate::ops::Observer;
use crate::packages::inventory::Inventory;
use crate::report::Finding;

/// The most places that are named of one changed object.
const PLACES: usize = 32;

/// What is compared: one thing with its value, which is equal on both sides or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its digest or other value.
    pub value: String,
}

/// One thing that both sides have, with different values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// Its value in A.
    pub from: String,
    /// Its value in B.
    pub to: String,
    /// What differs in it, if that is known: the places in an object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
}

/// The differences of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Only in B.
    pub added: Vec<Item>,
    /// Only in A.
    pub removed: Vec<Item>,
    /// In both, with different values.
    pub changed: Vec<Changed>,
    /// How many are the same.
    pub same: u64,
}

impl Part {
    /// Compares two sides.
    pub fn of(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Part {
        let item = |(name, value): (&String, &String)| Item { name: name.clone(), value: value.clone() };
        let mut part = Part {
            added: b.iter().filter(|(name, _)| !a.contains_key(*name)).map(item).collect(),
            removed: a.iter().filter(|(name, _)| !b.contains_key(*name)).map(item).collect(),
            ..Part::default()
        };
        for (name, from) in a {
            match b.get(name) {
                Some(to) if to == from => part.same += 1,
                Some(to) => {
                    let (name, from, to) = (name.clone(), from.clone(), to.clone());
                    part.changed.push(Changed { name, from, to, places: Vec::new() });
                }
                None => {}
            }
        }
        part
    }

    /// Whether both sides are alike.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// One of the two sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// As it was named.
    pub path: String,
    /// The digest of its index, if it is a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Its name and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Whether it was verified.
    pub verified: bool,
}

/// The files of one image that is on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Files {
    /// The image.
    pub image: String,
    /// Its files.
    #[serde(flatten)]
    pub part: Part,
}

/// All differences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `mirror-bundle/diff/v1`.
    pub schema: &'static str,
    /// Whether there is any.
    pub different: bool,
    /// The first side.
    pub a: Side,
    /// The second side.
    pub b: Side,
    /// Releases by architecture: their versions.
    pub releases: Part,
    /// Images by name and platform: their digests.
    pub images: Part,
    /// Layers by digest: their sizes. A registry is not asked about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Part>,
    /// Packages by image: their versions; only where the packages of both sides are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<Files>>,
    /// With `--files`: the files of images that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<Files>>,
    /// Kubernetes objects: the digests of their files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Part>,
    /// Signers by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signers: Option<Part>,
    /// What was found in layers whose files or packages were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Difference {
    fn conclude(mut self) -> Difference {
        let parts = [Some(&self.releases), Some(&self.images), self.layers.as_ref(), self.manifests.as_ref()];
        let further = self.files.iter().chain(&self.packages).flatten().map(|files| &files.part);
        let all: Vec<&Part> = parts.into_iter().flatten().chain(self.signers.as_ref()).chain(further).collect();
        self.different = all.iter().any(|part| !part.is_same());
        self
    }
}

/// Compares two bundles.
///
/// # Errors
/// With `files`, those of reading layers.
pub fn bundles(
    (a, b): (&Library<'_>, &Library<'_>),
    (path_a, path_b): (&str, &str),
    files: bool,
    observer: &dyn Observer,
) -> Result<Difference> {
    let both = |of: &dyn Fn(&Library<'_>) -> BTreeMap<String, String>| Part::of(&of(a), &of(b));
    let images = both(&|library| images(library));
    let files = match files {
        true => Some(changed_files((a, b), &images, observer)?),
        false => None,
    };
    let packages = changed_packages((a, b), &images, observer)?;
    let mut manifests = both(&|library| objects(library.index()));
    manifests.changed.iter_mut().for_each(|changed| changed.places = places((a, b), &changed.name));
    let difference = Difference {
        schema: "mirror-bundle/diff/v1",
        different: false,
        a: side(a, path_a),
        b: side(b, path_b),
        releases: both(&|library| releases(library.index())),
        images,
        layers: Some(both(&layers)),
        packages: Some(packages),
        files,
        manifests: Some(manifests),
        signers: Some(both(&signers)),
        findings: [a.findings(), b.findings()].concat(),
    };
    Ok(difference.conclude())
}

fn side(library: &Library<'_>, path: &str) -> Side {
    let index = library.index();
    Side {
        path: path.to_owned(),
        index: Some(library.report().bundle.index.clone()),
        name: Some(index.title()),
        created: Some(index.created.clone()),
        verified: library.is_verified(),
    }
}

fn releases(index: &Index) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for release in &index.releases {
        out.entry(release.architecture.clone()).or_default().push(format!("{} {}", release.version, release.digest));
    }
    // Several for one architecture are told apart by version; a single one may have changed it.
    let mut flat = BTreeMap::new();
    for (architecture, all) in out {
        match all.as_slice() {
            [one] => _ = flat.insert(architecture, one.clone()),
            several => flat.extend(several.iter().filter_map(|text| {
                let (version, digest) = text.split_once(' ')?;
                Some((format!("{architecture} {version}"), digest.to_owned()))
            })),
        }
    }
    flat
}

/// The name of an image in a comparison: without what changes with each version.
pub(super) fn image_key(index: &Index, at: usize) -> String {
    let image = &index.images[at];
    let release = image.release.and_then(|digest| index.releases.iter().find(|r| r.digest == digest));
    match (image.kind, release) {
        (Kind::Component, Some(release)) => {
            format!("{} ({})", image.component.as_deref().unwrap_or_default(), release.architecture)
        }
        (Kind::Release, Some(release)) => format!("release image ({})", release.architecture),
        (Kind::Signature | Kind::Referrer, _) => format!("{} {}", image.kind.as_str(), called(image)),
        _ => match (&image.repository, &image.tag) {
            (Some(repository), None) => repository.clone(),
            _ => called(image),
        },
    }
}

/// The manifests by image and platform.
fn members<'l>(library: &'l Library<'_>) -> BTreeMap<String, Vec<&'l Member>> {
    let index = library.index();
    let mut out: BTreeMap<String, Vec<&Member>> = BTreeMap::new();
    for member in library.shelf().members() {
        for at in &member.images {
            let list = media_type::is_index(&index.images[*at].media_type);
            let platform = member.platform.as_ref().filter(|_| list).map(|platform| format!(" {platform}"));
            out.entry(image_key(index, *at) + platform.as_deref().unwrap_or_default()).or_default().push(member);
        }
    }
    out
}

fn images(library: &Library<'_>) -> BTreeMap<String, String> {
    let digests = |all: Vec<&Member>| {
        let all: BTreeSet<String> = all.into_iter().map(|member| member.digest.to_string()).collect();
        all.into_iter().collect::<Vec<_>>().join(" ")
    };
    members(library).into_iter().map(|(name, all)| (name, digests(all))).collect()
}

fn layers(library: &Library<'_>) -> BTreeMap<String, String> {
    let layers = library.shelf().carried().filter(|carried| carried.role == crate::oci::Role::Layer);
    layers.map(|carried| (carried.digest.to_string(), carried.size.to_string())).collect()
}

fn objects(index: &Index) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for file in &index.files {
        for object in &file.objects {
            let place = object.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
            let name = format!("{} {} {place}{}", object.api_version, object.kind, object.name);
            out.insert(name, file.digest.to_string());
        }
    }
    out
}

/// Where the JSON of an object differs.
fn places((a, b): (&Library<'_>, &Library<'_>), name: &str) -> Vec<String> {
    let read = |library: &Library<'_>| -> Option<Value> {
        let digest = objects(library.index()).remove(name)?;
        let file = library.index().files.iter().find(|file| file.digest.to_string() == digest)?;
        let files = library.files(&file.path);
        let (_, bytes) = files.into_iter().find(|(path, _)| *path == file.path)?;
        serde_json::from_slice(bytes).ok()
    };
    let mut out = Vec::new();
    if let (Some(a), Some(b)) = (read(a), read(b)) {
        differ("", &a, &b, &mut out);
    }
    out
}

fn differ(at: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    if a == b || out.len() >= PLACES {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return out.push(if at.is_empty() { "/".to_owned() } else { at.to_owned() });
    };
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let (one, other) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
        differ(&format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), one, other, out);
    }
}

fn signers(library: &Library<'_>) -> BTreeMap<String, String> {
    let signatures = library.report().signatures.iter().filter(|one| !library.is_verified() || one.is_good());
    let key = |one: &crate::report::SignatureOutcome| one.key.clone().or(one.name.clone());
    let role = |one: &crate::report::SignatureOutcome| one.role.clone().unwrap_or_default();
    signatures.filter_map(|one| Some((key(one)?, role(one)))).collect()
}

/// The files of images that both have, with different digests.
fn changed_files((a, b): (&Library<'_>, &Library<'_>), images: &Part, observer: &dyn Observer) -> Result<Vec<Files>> {
    let (in_a, in_b) = (members(a), members(b));
    let mut out = Vec::new();
    for changed in &images.changed {
        let (Some([one, ..]), Some([other, ..])) =
            (in_a.get(&changed.name).map(Vec::as_slice), in_b.get(&changed.name).map(Vec::as_slice))
        else {
            continue;
        };
        let of = |library, member| contents(library, member, observer);
        out.push(Files { image: changed.name.clone(), part: Part::of(&of(a, one)?, &of(b, other)?) });
    }
    Ok(out)
}

/// The packages of images that both have, with different digests: their versions.
fn changed_packages(
    (a, b): (&Library<'_>, &Library<'_>),
    images: &Part,
    observer: &dyn Observer,
) -> Result<Vec<Files>> {
    let (in_a, in_b) = (members(a), members(b));
    let (mut names, mut ones, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for changed in &images.changed {
        let first = |all: Option<&Vec<&Member>>| all?.iter().copied().find(|member| member.runs).cloned();
        if let (Some(one), Some(other)) = (first(in_a.get(&changed.name)), first(in_b.get(&changed.name))) {
            names.push(changed.name.clone());
            ones.push(one);
            others.push(other);
        }
    }
    let read =
        |library, members: &[Member]| super::sbom::inventories(library, &members.iter().collect::<Vec<_>>(), observer);
    let both = read(a, &ones)?.into_iter().zip(read(b, &others)?);
    let parts = both.map(|(one, other)| Part::of(&versions(&one), &versions(&other)));
    let all = names.into_iter().zip(parts).map(|(image, part)| Files { image, part });
    Ok(all.filter(|files| !files.part.is_same()).collect())
}

/// The versions of each package. What could not be read is there too: a list that is not complete is not the same.
fn versions(inventory: &Inventory) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for component in &inventory.components {
        let package = &component.package;
        let above = package.namespace.as_ref().map(|above| format!("{above}/")).unwrap_or_default();
        let arch = package.arch.as_ref().map(|arch| format!(" ({arch})")).unwrap_or_default();
        let name = format!("{} {above}{}{arch}", package.kind.as_str(), package.name);
        let epoch = package.epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        out.entry(name).or_default().insert(format!("{epoch}{}", package.version));
    }
    let unread = inventory.unknowns.iter().filter(|unknown| unknown.grave);
    out.extend(unread.map(|u| (format!("not readable: {}", u.subject), BTreeSet::from([u.reason.clone()]))));
    let joined =
        |(name, versions): (String, BTreeSet<String>)| (name, versions.into_iter().collect::<Vec<_>>().join(", "));
    out.into_iter().map(joined).collect()
}

/// The files of an image, and for each a text that is equal where the file is.
fn contents(library: &Library<'_>, member: &Member, observer: &dyn Observer) -> Result<BTreeMap<String, String>> {
    let (mut merged, mut digests) = (Merged::default(), HashMap::new());
    for (layer, number) in member.layers.iter().zip(0u32..) {
        library.layer(layer, observer, &mut |entry, content| {
            merged.add(entry)?;
            if entry.has_content() {
                let entry = u32::try_from(entry.number).unwrap_or(u32::MAX);
                digests.insert(Place { layer: number, entry }, hashed(content)?);
            }
            Ok(())
        })?;
        merged.end_layer();
    }
    let mut out = BTreeMap::new();
    merged.visit(&mut |path, _, node| {
        out.insert(format!("/{}", String::from_utf8_lossy(path)), value(node, &digests));
        Ok(())
    })?;
    Ok(out)
}

fn value(node: &Node, digests: &HashMap<Place, Digest>) -> String {
    let target = node.target.as_deref().map(|target| format!(" -> {}", String::from_utf8_lossy(target)));
    let digest = node.place.filter(|_| is_content(node)).and_then(|place| digests.get(&place));
    let digest = digest.map(|digest| format!(" {} {}", node.size, digest.hex())).unwrap_or_default();
    format!("{}{:04o}{digest}{}", node.kind.letter(), node.mode, target.unwrap_or_default())
}

fn hashed(content: &mut dyn Read) -> Result<Digest> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 << 10]);
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(crate::content::layer::broken("an image", e)),
        }
    }
}

/// Compares a bundle with what a registry has where `unpack --to` would put it. The registry's further content is not
/// looked at.
///
/// # Errors
/// Those of the registry.
#[cfg(feature = "registry")]
pub fn registry(
    a: &Library<'_>,
    path_a: &str,
    target: &crate::oci::Repository,
    client: &crate::registry::Client,
    pace: &crate::parallel::Pace,
) -> Result<Difference> {
    use crate::registry::Wanted;
    use crate::sink::placement::{self, Placing};
    let index = a.index();
    let placed = placement::placements(index, "", &Placing::default())?;
    let look = |(): &mut (), one: &placement::Placement<'_>| {
        let repository = placement::below(target, &one.repository)?;
        let wanted = one.tag.clone().map_or(Wanted::Digest(one.image.digest), Wanted::Tag);
        let found = client.head_manifest(&repository, &wanted)?;
        let name = match &wanted {
            Wanted::Tag(tag) => format!("{repository}:{tag}"),
            Wanted::Digest(digest) => format!("{repository}@{digest}"),
        };
        Ok((name, one.image.digest, found))
    };
    let found = pace.map(&placed, || (), look)?;
    let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
    let mut known = BTreeSet::new();
    for (name, digest, found) in found {
        here.insert(name.clone(), digest.to_string());
        known.extend(found.filter(|found| *found == digest));
        there.extend(found.map(|found| (name, found.to_string())));
    }
    let release = |wanted: &dyn Fn(&Digest) -> bool| -> BTreeMap<String, String> {
        let releases = index.releases.iter().filter(|release| wanted(&release.digest));
        releases.map(|r| (format!("{} {}", r.version, r.architecture), r.digest.to_string())).collect()
    };
    let b = Side { path: target.to_string(), index: None, name: None, created: None, verified: false };
    let difference = Difference {
        schema: "mirror-bundle/diff/v1",
        different: false,
        a: side(a, path_a),
        b,
        releases: Part::of(&release(&|_| true), &release(&|digest| known.contains(digest))),
        images: Part::of(&here, &there),
        layers: None,
        packages: None,
        files: None,
        manifests: None,
        signers: None,
        findings: Vec::new(),
    };
    Ok(difference.conclude())
}
