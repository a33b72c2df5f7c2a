//! The release payload: the list of a release's images, read from the layers of the release image.
//!
//! Layers are streamed top-down and nothing is extracted. The result is what a node's overlay file system shows: the
//! topmost layer decides, whiteouts hide lower content, and anything that two readers could read differently is
//! refused (security C15). Sources: openshift/oc `pkg/cli/admin/release/new.go` and `extract.go`,
//! cluster-version-operator `pkg/payload`, OCI image-spec "Image Layer Filesystem Changeset". This module does not
//! decide whether the release image is the right one: its digest does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;

use super::image_policy::{self, ImagePolicy};
use super::verification::{self, VerificationConfig};
use crate::content::layer::{self, Bounds, FileEntry, FileKind};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Index, Invalid, Platform};

pub use super::image_references::{
    Component, ImageReferences, ReleaseMetadata, parse_image_references, parse_release_metadata,
};

/// Limits for reading a hostile release image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one layer.
    pub entries: usize,
    /// Decompressed bytes of one layer.
    pub inflated: u64,
    /// Bytes in one file of `release-manifests/`.
    pub entry: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 100_000, inflated: 4 << 30, entry: 4 << 20 }
    }
}

impl Limits {
    fn bounds(&self) -> Bounds {
        Bounds { whose: WHOSE, entries: self.entries, inflated: self.inflated }
    }
}

/// The owner of the layers, for messages.
const WHOSE: &str = "the release image";

fn malformed(what: impl std::fmt::Display) -> Error {
    layer::malformed(WHOSE, what)
}

/// The most layers that are read.
pub const MAX_LAYERS: usize = 256;
/// The most bytes kept of names, and of manifests that may hold the verification configuration.
const MAX_KEPT: usize = 16 << 20;

/// A release as its payload describes it.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The version, usable in a tag.
    pub version: String,
    /// The images of the release.
    pub image_references: ImageReferences,
    /// The metadata for the update graph; old and hand-made payloads have none.
    pub release_metadata: Option<ReleaseMetadata>,
    /// The keyrings and stores that a cluster running this release would use for the next one; an error if the
    /// payload's configuration is one that a cluster could not load.
    pub verification: Option<Result<VerificationConfig, Invalid>>,
    /// The default image policy of a cluster that runs this release.
    pub image_policy: Option<Result<ImagePolicy, Invalid>>,
}

/// The image of a list whose layers hold its payload: the one for linux/amd64, else the first. Creation and
/// verification both use this function, so that they never read two payloads.
pub fn of_list(list: &Index) -> Option<&Descriptor> {
    let amd64 = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| amd64.accepts(p));
    list.manifests.iter().find(fits).or(list.manifests.first())
}

/// A layer: its media type and its stored bytes.
pub type Layer<'a> = (String, Box<dyn Read + 'a>);

/// Reads a release image. `next_layer` returns its layers one by one, **top layer first**, and `None` after the last.
/// Lower layers are not requested once both files are decided.
///
/// Errors: those of `next_layer` and of the readers; `malformed` if the payload is damaged, exceeds a limit, is
/// ambiguous, or is not a release.
pub fn read<'a>(mut next_layer: impl FnMut() -> Result<Option<Layer<'a>>>, limits: &Limits) -> Result<Payload> {
    let mut overlay = Overlay::default();
    let mut count = 0;
    while !overlay.decided()
        && let Some((media_type, bytes)) = next_layer()?
    {
        count += 1;
        if count > MAX_LAYERS {
            return Err(Error::new(Code::Malformed, format!("the release image has more than {MAX_LAYERS} layers")));
        }
        overlay.add(scan(&media_type, bytes, limits)?)?;
    }
    overlay.payload()
}

/// Reads one layer to its end, for [`Overlay::add`], when the layers do not arrive top first.
///
/// Errors: as [`read`].
pub fn scan<'a>(media_type: &str, bytes: impl Read + 'a, limits: &Limits) -> Result<LayerView> {
    let mut view = LayerView::default();
    let visit = &mut |entry: &FileEntry, content: &mut dyn Read| view.visit(entry, content, limits);
    let inflated = layer::walk(media_type, Box::new(bytes), limits.bounds(), visit)?;
    view.inflated = inflated;
    Ok(view)
}

const FOLDER: &str = "release-manifests";
const REFERENCES: &str = "image-references";
const METADATA: &str = "release-metadata";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The meaning of a path for the payload.
#[derive(PartialEq, Eq)]
enum PayloadPath<'p> {
    /// `release-manifests` itself.
    Folder,
    /// Hides all of `release-manifests` in lower layers: it or the root is opaque, or it is whited out.
    HidesFolder,
    /// `release-manifests/<name>`.
    File(&'p [u8]),
    /// Hides `release-manifests/<name>` in lower layers.
    Hides(&'p [u8]),
    Elsewhere,
}

fn place(path: &[u8]) -> PayloadPath<'_> {
    let below = path.strip_prefix(FOLDER.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    match (path, below) {
        _ if path == FOLDER.as_bytes() => PayloadPath::Folder,
        _ if path == OPAQUE || path.strip_prefix(WHITEOUT) == Some(FOLDER.as_bytes()) => PayloadPath::HidesFolder,
        (_, Some(OPAQUE)) => PayloadPath::HidesFolder,
        (_, Some(name)) if name.contains(&b'/') => PayloadPath::Elsewhere,
        (_, Some(name)) => match name.strip_prefix(WHITEOUT) {
            Some(hidden) => PayloadPath::Hides(hidden),
            None => PayloadPath::File(name),
        },
        (_, None) => PayloadPath::Elsewhere,
    }
}

fn wanted(name: &[u8]) -> bool {
    name == REFERENCES.as_bytes() || name == METADATA.as_bytes()
}

/// Whether a path affects the result.
fn decides(path: &[u8]) -> bool {
    match place(path) {
        PayloadPath::Folder | PayloadPath::HidesFolder => true,
        PayloadPath::File(name) | PayloadPath::Hides(name) => wanted(name),
        PayloadPath::Elsewhere => false,
    }
}

/// The content of one layer that matters for the payload.
#[derive(Clone, Debug, Default)]
pub struct LayerView {
    files: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    hides: BTreeSet<Vec<u8>>,
    hides_folder: bool,
    whites_out_folder: bool,
    links: HashSet<Vec<u8>>,
    kept: usize,
    inflated: u64,
}

impl LayerView {
    /// The decompressed size of the layer in bytes.
    pub fn inflated(&self) -> u64 {
        self.inflated
    }

    /// The bytes of it kept in memory.
    pub fn kept(&self) -> usize {
        let content = self.files.values().flatten().map(Vec::len).sum::<usize>();
        self.kept.max(content)
    }

    fn visit(&mut self, entry: &FileEntry, content: &mut dyn Read, limits: &Limits) -> Result<()> {
        self.check(entry)?;
        match place(&entry.path) {
            PayloadPath::Folder if entry.kind == FileKind::Dir => {}
            PayloadPath::Folder => {
                return Err(malformed(format!("has `{FOLDER}` as something other than a directory")));
            }
            PayloadPath::HidesFolder => {
                self.hides_folder = true;
                self.whites_out_folder |= !entry.path.ends_with(OPAQUE);
            }
            PayloadPath::Hides(name) => {
                self.keep(name.len())?;
                self.hides.insert(name.to_vec());
            }
            PayloadPath::File(name) => {
                let bytes = self.file(name, entry, content, limits)?;
                self.keep(name.len() + bytes.as_ref().map_or(0, |b| if wanted(name) { 0 } else { b.len() }))?;
                if self.files.insert(name.to_vec(), bytes).is_some() {
                    return Err(malformed(format!("has `{FOLDER}/{}` twice", String::from_utf8_lossy(name))));
                }
            }
            PayloadPath::Elsewhere => {}
        }
        // A hard link may lead to a symbolic one.
        if matches!(entry.kind, FileKind::Symlink | FileKind::HardLink) {
            self.keep(entry.path.len())?;
            self.links.insert(entry.path.clone());
        }
        Ok(())
    }

    /// Refuses entries that could make another reader see another payload.
    fn check(&self, entry: &FileEntry) -> Result<()> {
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        if let Some(plain) = &entry.hidden_path
            && (decides(plain) || decides(&entry.path))
        {
            return Err(malformed(format!("calls one entry `{}` and `{}`", shown(plain), shown(&entry.path))));
        }
        let hard_link = entry.target.as_deref().filter(|_| entry.kind == FileKind::HardLink);
        if hard_link.is_some_and(decides) {
            return Err(malformed(format!("has a hard link to `{}`", shown(hard_link.unwrap_or(b"")))));
        }
        let name = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if name == OPAQUE || wanted(name.strip_prefix(WHITEOUT).unwrap_or(name)) {
            let slashes = entry.path.iter().enumerate().filter(|(_, b)| **b == b'/');
            if slashes.map(|(at, _)| &entry.path[..at]).any(|folder| self.links.contains(folder)) {
                return Err(malformed(format!("has `{}` below a link", shown(&entry.path))));
            }
        }
        Ok(())
    }

    /// The content of a file in the folder, if needed.
    fn file(&self, name: &[u8], entry: &FileEntry, content: &mut dyn Read, limits: &Limits) -> Result<Option<Vec<u8>>> {
        let shown = || format!("{FOLDER}/{}", String::from_utf8_lossy(name));
        if wanted(name) && !entry.is_file() {
            return Err(malformed(format!("has `{}` as something other than a regular file", shown())));
        }
        let manifest = [&b".yaml"[..], b".yml", b".json"].iter().any(|end| name.ends_with(end));
        if !(wanted(name) || manifest && entry.is_file()) {
            return Ok(None);
        }
        if entry.size > limits.entry {
            return Err(malformed(format!("has `{}` with more than {} bytes", shown(), limits.entry)));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| layer::broken(WHOSE, e))?;
        if bytes.len() as u64 != entry.size {
            return Err(malformed(format!("is cut short within `{}`", shown())));
        }
        let needed = wanted(name) || verification::mentions(&bytes) || image_policy::mentions(&bytes);
        Ok(needed.then_some(bytes))
    }

    fn keep(&mut self, bytes: usize) -> Result<()> {
        self.kept += bytes;
        if self.kept > MAX_KEPT { Err(malformed("has too many or too long names or manifests")) } else { Ok(()) }
    }
}

/// The combined view of the layers seen so far, from the top layer down.
#[derive(Debug, Default)]
pub struct Overlay {
    files: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    hidden: BTreeSet<Vec<u8>>,
    folder_hidden: bool,
    kept: usize,
}

impl Overlay {
    fn hides(&self, name: &[u8]) -> bool {
        self.folder_hidden || self.files.contains_key(name) || self.hidden.contains(name)
    }

    /// Whether lower layers can no longer change the result.
    pub fn decided(&self) -> bool {
        self.hides(REFERENCES.as_bytes()) && self.hides(METADATA.as_bytes())
    }

    /// Adds the next lower layer.
    pub fn add(&mut self, view: LayerView) -> Result<()> {
        if let Some(name) = view.hides.iter().find(|name| view.files.contains_key(*name)) {
            return Err(malformed(format!("has and hides `{FOLDER}/{}`", String::from_utf8_lossy(name))));
        }
        if view.whites_out_folder && !view.files.is_empty() {
            return Err(malformed(format!("has and hides `{FOLDER}`")));
        }
        self.kept += view.kept;
        if self.kept > MAX_KEPT {
            return Err(malformed("has too many or too long names or manifests"));
        }
        for (name, content) in view.files {
            if !self.hides(&name) {
                self.files.insert(name, content);
            }
        }
        self.hidden.extend(view.hides);
        self.folder_hidden |= view.hides_folder;
        Ok(())
    }

    /// The release payload made of the added layers.
    pub fn payload(mut self) -> Result<Payload> {
        let mut take = |name: &str| self.files.remove(name.as_bytes()).flatten();
        let (references, metadata) = (take(REFERENCES), take(METADATA));
        let Some(references) = references else {
            let text = format!("the image is not a release: it has no `{FOLDER}/{REFERENCES}`");
            return Err(Error::new(Code::Malformed, text));
        };
        let at = |file: &str| {
            let prefix = format!("`{FOLDER}/{file}` of the release image");
            move |e: Invalid| Error::new(Code::Malformed, format!("{prefix}: {e}"))
        };
        let image_references = parse_image_references(&references).map_err(at(REFERENCES))?;
        let release_metadata = metadata.map(|m| parse_release_metadata(&m)).transpose().map_err(at(METADATA))?;
        if let Some(metadata) = &release_metadata
            && metadata.version != image_references.name
        {
            let text = format!("the release image contradicts itself about its version in `{FOLDER}`");
            return Err(Error::new(Code::Malformed, text)
                .fact(format!("{REFERENCES} `{}`", image_references.name))
                .fact(format!("{METADATA} `{}`", metadata.version)));
        }
        // In the order of file names, as in the payload; the first one counts.
        let verification = self.files.values().flatten().find_map(|bytes| verification::find(bytes));
        let image_policy = self.files.values().flatten().find_map(|bytes| image_policy::find(bytes));
        let version = image_references.name.clone();
        Ok(Payload { version, image_references, release_metadata, verification, image_policy })
    }
}

#[cfg(test)]
mod tests;
