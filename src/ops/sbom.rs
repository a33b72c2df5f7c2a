//! `sbom`: the packages of the images of a bundle, as SPDX or CycloneDX documents, from one reading that also verifies.

pub(super) mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use layers::{Layer, Layers};

use crate::content::layer::{FileKind, Remarks};
use crate::content::{Found, Merged};
use crate::error::{Code, Error, Result};
use crate::fs::whole::AtomicFile;
use crate::oci::{Digest, Platform};
use crate::ops::Observer;
use crate::ops::reading::{Library, Reading, Wanted};
use crate::ops::shelf::Member;
use crate::packages::collect::{self, DATABASES, SYSTEM, Source};
use crate::packages::document::{self, About, Format, Of};
use crate::packages::inventory::{Gatherer, Inventory, Unknown};
use crate::report::Finding;
use crate::verify::Report;

/// Which images, and how.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// What a person calls the images; empty: all.
    pub images: &'a [String],
    /// Of lists only the images for this platform.
    pub platform: Option<&'a Platform>,
    /// Threads.
    pub jobs: usize,
}

/// One image and its packages.
#[derive(Debug)]
pub struct Image {
    /// Its name for people.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The repository it came from.
    pub repository: Option<String>,
    /// Its packages.
    pub inventory: Inventory,
}

/// The packages of a bundle.
#[derive(Debug)]
pub struct Sbom {
    /// The images, in the order of the index.
    pub images: Vec<Image>,
    /// What could not be read: databases as errors, the rest as notices. The same file of several images counts once.
    pub findings: Vec<Finding>,
    /// The report of the reading.
    pub report: Report,
    /// Whether the bundle is verified.
    pub verified: bool,
    /// The exit code.
    pub exit_code: u8,
    bundle: String,
    index: Digest,
    created: String,
}

/// Reads a bundle, and finds the packages of its images.
///
/// # Errors
/// [`Code::Usage`] for an image that is not there; failures that prevent the reading. Damage is in the report.
pub fn sbom(reading: Reading<'_>, options: &Options<'_>, observer: &dyn Observer) -> Result<Sbom> {
    let verified = reading.is_trusted();
    let chosen = chosen(&reading, options)?;
    let members = reading.shelf().members();
    let wanted: BTreeSet<Digest> =
        chosen.iter().flat_map(|at| &members[*at].layers).map(|layer| layer.digest).collect();
    let (bundle, created) = (reading.index().name.clone(), reading.index().created.clone());
    let images: Vec<(String, Option<String>, Member)> = chosen
        .iter()
        .map(|at| {
            let member = &members[*at];
            let index = reading.index();
            let repository = member.images.first().and_then(|at| index.images.get(*at)?.repository.clone());
            (reading.shelf().name(index, member), repository, member.clone())
        })
        .collect();
    let index = reading.report().bundle.index.clone();
    let layers = Layers::default();
    let finished = reading.read(&Wanted::Some(wanted), &layers, options.jobs, observer)?;
    let (report, exit_code) = (finished.report().clone(), finished.exit_code());
    let mut out = Sbom {
        images: Vec::new(),
        findings: Vec::new(),
        report,
        verified: verified && exit_code == 0,
        exit_code,
        bundle,
        index: index.parse().map_err(|_| Error::new(Code::Internal, "an index without a digest"))?,
        created,
    };
    if out.exit_code != 0 {
        return Ok(out);
    }
    let layers = layers.finish();
    let mut unknowns: BTreeMap<Unknown, Vec<String>> = BTreeMap::new();
    for (name, repository, member) in images {
        observer.check()?;
        let inventory = inventory(&member, &layers)?;
        for unknown in &inventory.unknowns {
            unknowns.entry(unknown.clone()).or_default().push(name.clone());
        }
        out.images.push(Image { name, digest: member.digest, repository, inventory });
    }
    out.findings = unknowns.iter().map(|(unknown, images)| finding(unknown, images)).collect();
    if unknowns.keys().any(|unknown| unknown.grave) {
        out.exit_code = Code::PackagesUnreadable.exit();
    }
    Ok(out)
}

/// The manifests whose packages are wanted, in the order of the index.
fn chosen(reading: &Reading<'_>, options: &Options<'_>) -> Result<Vec<usize>> {
    let (shelf, index) = (reading.shelf(), reading.index());
    let runs = |at: &usize| shelf.members()[*at].runs;
    let fits = |at: &usize| match (options.platform, &shelf.members()[*at].platform) {
        (Some(wanted), Some(has)) => wanted.accepts(has),
        _ => true,
    };
    if options.images.is_empty() {
        let all: Vec<usize> = (0..shelf.members().len()).filter(runs).filter(fits).collect();
        return match all.is_empty() {
            true => Err(Error::new(Code::Usage, "the bundle has no image with files")),
            false => Ok(all),
        };
    }
    let mut out = BTreeSet::new();
    for what in options.images {
        let found: Vec<usize> = shelf.choose(index, what, options.platform)?.into_iter().filter(runs).collect();
        if found.is_empty() {
            let text = format!("`{what}` is no image with files: a signature, a chart or other content");
            return Err(Error::new(Code::Usage, text));
        }
        out.extend(found);
    }
    Ok(out.into_iter().collect())
}

/// The packages of an image, from its merged layers.
pub(super) fn inventory(member: &Member, layers: &BTreeMap<Digest, Layer>) -> Result<Inventory> {
    let mut merged = Merged::default();
    let mut gatherer = Gatherer::default();
    let mut own: Vec<Option<&Layer>> = Vec::new();
    for layer in &member.layers {
        let digest = layer.digest.to_string();
        let read = layers.get(&layer.digest);
        match read {
            None if crate::content::layer::is_layer(&layer.media_type) => {
                gatherer.unknown(true, "a layer", Some(&digest), "is in no file at hand");
            }
            None => {
                let text = format!("has the type `{}`, and is no archive of files", layer.media_type);
                gatherer.unknown(true, "a layer", Some(&digest), text);
            }
            Some(read) => {
                for problem in read.problems() {
                    gatherer.unknown(true, "a layer", Some(&digest), problem);
                }
                match read.entries(&mut |entry| merged.add(entry)) {
                    // More than what is kept of one image: others go on.
                    Err(e) if e.code() == Code::Malformed => {
                        gatherer.unknown(true, "the merged image", Some(&digest), e.message());
                        break;
                    }
                    other => other?,
                }
            }
        }
        merged.end_layer();
        own.push(read);
    }
    let digest = |at: u32| member.layers.get(at as usize).map(|layer| layer.digest.to_string()).unwrap_or_default();
    let fact = |place: Option<crate::content::Place>| {
        let place = place?;
        Some((place.layer, (*own.get(place.layer as usize)?)?.fact(place.entry)?))
    };
    for path in SYSTEM {
        if let Found::Node(at) = merged.find(path.as_bytes(), true)
            && let Some((_, fact)) = merged.node(at).and_then(|node| fact(node.place))
        {
            gatherer.system(fact);
        }
    }
    merged.visit(&mut |path, _, node| {
        if node.kind != FileKind::File || collect::is_object(path) {
            return Ok(());
        }
        let read = fact(node.place);
        if let Some(source) = Source::named(path).filter(|source| source.is_database() && node.size > 0)
            && read.is_none_or(|(_, fact)| fact.source() != source)
        {
            let layer = node.place.map(|place| digest(place.layer));
            let text = "is a hard link to a file whose own name is not that of this database";
            gatherer.unknown(true, &String::from_utf8_lossy(path), layer.as_deref(), text);
        } else if let Some((layer, fact)) = read {
            gatherer.file(path, &digest(layer), fact);
        }
        Ok(())
    })?;
    // A database behind a link that leads to another name would be missed: that is said.
    for path in DATABASES {
        let Found::Node(at) = merged.find(path.as_bytes(), true) else { continue };
        let Some(node) = merged.node(at).filter(|node| node.kind == FileKind::File && node.size > 0) else { continue };
        // What is wrong with the content of a name itself was said there.
        let real = merged.path(at);
        if Source::named(&real) != Source::named(path.as_bytes()) {
            let layer = node.place.map(|place| digest(place.layer));
            let text = format!("is a link to a file under another name, {}", String::from_utf8_lossy(&real));
            gatherer.unknown(true, path, layer.as_deref(), text);
        }
    }
    Ok(gatherer.finish())
}

/// The packages of single images of a bundle that can be read more than once. Each layer is read once.
///
/// # Errors
/// Those of reading layers; damage inside them is in the inventories.
pub fn inventories(library: &Library<'_>, members: &[&Member], observer: &dyn Observer) -> Result<Vec<Inventory>> {
    let layers = Layers::default();
    for layer in members.iter().flat_map(|member| &member.layers) {
        if layers.has(&layer.digest) || !crate::content::layer::is_layer(&layer.media_type) {
            continue;
        }
        let mut gathering = layers.gathering()?;
        match library.layer(layer, observer, &mut |entry, content| gathering.entry(entry, content)) {
            Ok(remarks) => gathering.finish(layer.digest, &remarks, None)?,
            Err(e) if e.code() == Code::Malformed => gathering.finish(layer.digest, &Remarks::default(), Some(e))?,
            Err(e) => return Err(e),
        }
    }
    let layers = layers.finish();
    members.iter().map(|member| inventory(member, &layers)).collect()
}

fn finding(unknown: &Unknown, images: &[String]) -> Finding {
    let Unknown { grave, subject, layer, reason } = unknown;
    let text = format!("{subject} {reason}");
    let finding = match grave {
        true => Finding::new(Code::PackagesUnreadable, subject, text),
        false => Finding::notice(Code::PackagesUnreadable, subject, text),
    };
    let more = images.len().saturating_sub(1);
    let of = match (images.first(), more) {
        (Some(first), 0) => format!("image {first}"),
        (Some(first), more) => format!("image {first} and {more} more"),
        (None, _) => String::new(),
    };
    layer.iter().fold(finding.fact(of), |finding, layer| finding.fact(format!("layer {layer}")))
}

impl Sbom {
    /// Writes one document: that of the image at this position, or that of all images.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, format: Format, image: Option<usize>, to: &mut dyn io::Write) -> io::Result<()> {
        let about = About {
            tool: env!("CARGO_PKG_VERSION"),
            bundle: &self.bundle,
            index: self.index,
            created: &self.created,
            verified: self.verified,
        };
        let images: Vec<document::Image<'_>> = self.images.iter().map(Image::shown).collect();
        match image.and_then(|at| images.get(at)) {
            Some(image) => document::write(format, &about, Of::Image(image), to),
            None => document::write(format, &about, Of::Bundle(&images), to),
        }
    }
}

impl Image {
    fn shown(&self) -> document::Image<'_> {
        document::Image {
            name: self.name.clone(),
            digest: self.digest,
            repository: self.repository.as_deref(),
            inventory: &self.inventory,
        }
    }
}

/// Writes a document to a new file, whole or not at all.
///
/// # Errors
/// [`Code::Conflict`] when the file exists and `replace` is not set.
pub fn to_file(path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(Code::Conflict, format!("`{}` exists already", path.display())).hint("--force replaces it")
        }
        _ => Error::io("cannot write", path, e),
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let file = AtomicFile::begin(Path::new(&temporary)).map_err(failed)?;
    file.commit(bytes, path, replace).map_err(failed)
}
