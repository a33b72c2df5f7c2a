//! The release payload: which images make up a release, read from the layers of the release image.
//!
//! The layers are streamed top-down and nothing is extracted. The answer is the one that a node's overlay file system
//! gives: the topmost layer decides, whiteouts hide what is below, and whatever could make two readers see two answers
//! is refused (security C15). Sources: openshift/oc `pkg/cli/admin/release/new.go` and `extract.go`,
//! cluster-version-operator `pkg/payload`, OCI image-spec "Image Layer Filesystem Changeset".
//! Whether the release image is the right one is a matter of its digest, not of this module.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;

use tar::EntryType;

use super::layer::{self, Entry, broken, malformed};
use super::verification::{self, VerificationConfig};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Index, Invalid, Platform};

pub use super::image_references::{
    Component, ImageReferences, ReleaseMetadata, parse_image_references, parse_release_metadata,
};

/// How much of a hostile release image is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one layer.
    pub entries: usize,
    /// Bytes that one layer inflates to.
    pub inflated: u64,
    /// Bytes in one file of `release-manifests/`.
    pub entry: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 100_000, inflated: 4 << 30, entry: 4 << 20 }
    }
}

/// The most layers that are looked at.
pub const MAX_LAYERS: usize = 256;
/// The most bytes of names, and of manifests that may hold the verification configuration, that are kept.
const MAX_KEPT: usize = 16 << 20;

/// A release as its payload describes it.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The version, usable in a tag.
    pub version: String,
    /// The images of the release.
    pub image_references: ImageReferences,
    /// What the update graph is told; old and hand-made payloads have none.
    pub release_metadata: Option<ReleaseMetadata>,
    /// The keyrings and stores that a cluster running this release would use for the next one; an error if the
    /// payload has a configuration that a cluster could not load.
    pub verification: Option<Result<VerificationConfig, Invalid>>,
}

/// The image of a list that its payload is read from: the one for linux/amd64, else the first. Creation and
/// verification both ask here, so that they never read two payloads.
pub fn of_list(list: &Index) -> Option<&Descriptor> {
    let amd64 = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| amd64.accepts(p));
    list.manifests.iter().find(fits).or(list.manifests.first())
}

/// A layer: its media type and its bytes as stored.
pub type Layer<'a> = (String, Box<dyn Read + 'a>);

/// Reads a release image whose layers `next_layer` hands out one by one, **top layer first**, and `None` after the
/// last. Lower layers are not asked for once both files are decided.
///
/// Errors: those of `next_layer` and of the readers; `malformed` if the payload is damaged, over a limit, ambiguous,
/// or not a release at all.
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

/// Reads one layer to its end, for [`Overlay::add`]. For who gets the layers in another order than top first.
///
/// Errors: as [`read`].
pub fn scan<'a>(media_type: &str, bytes: impl Read + 'a, limits: &Limits) -> Result<LayerView> {
    let mut view = LayerView::default();
    let visit = &mut |entry: &Entry, content: &mut dyn Read| view.visit(entry, content, limits);
    let inflated = layer::walk(media_type, Box::new(bytes), limits, visit)?;
    view.inflated = inflated;
    Ok(view)
}

const FOLDER: &str = "release-manifests";
const REFERENCES: &str = "image-references";
const METADATA: &str = "release-metadata";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Where a path lies, as far as it matters here.
#[derive(PartialEq, Eq)]
enum Place<'p> {
    /// `release-manifests` itself.
    Folder,
    /// Hides all of `release-manifests` in lower layers: opaque it or the root, or white it out.
    HidesFolder,
    /// `release-manifests/<name>`.
    File(&'p [u8]),
    /// Hides `release-manifests/<name>` in lower layers.
    Hides(&'p [u8]),
    Elsewhere,
}

fn place(path: &[u8]) -> Place<'_> {
    let below = path.strip_prefix(FOLDER.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    match (path, below) {
        _ if path == FOLDER.as_bytes() => Place::Folder,
        _ if path == OPAQUE || path.strip_prefix(WHITEOUT) == Some(FOLDER.as_bytes()) => Place::HidesFolder,
        (_, Some(OPAQUE)) => Place::HidesFolder,
        (_, Some(name)) if name.contains(&b'/') => Place::Elsewhere,
        (_, Some(name)) => match name.strip_prefix(WHITEOUT) {
            Some(hidden) => Place::Hides(hidden),
            None => Place::File(name),
        },
        (_, None) => Place::Elsewhere,
    }
}

fn wanted(name: &[u8]) -> bool {
    name == REFERENCES.as_bytes() || name == METADATA.as_bytes()
}

/// Whether a path decides what is read.
fn decides(path: &[u8]) -> bool {
    match place(path) {
        Place::Folder | Place::HidesFolder => true,
        Place::File(name) | Place::Hides(name) => wanted(name),
        Place::Elsewhere => false,
    }
}

/// What one layer says.
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
    /// How many bytes the layer inflated to.
    pub fn inflated(&self) -> u64 {
        self.inflated
    }

    /// How many bytes of it are kept in memory.
    pub fn kept(&self) -> usize {
        let content = self.files.values().flatten().map(Vec::len).sum::<usize>();
        self.kept.max(content)
    }

    fn visit(&mut self, entry: &Entry, content: &mut dyn Read, limits: &Limits) -> Result<()> {
        self.check(entry)?;
        match place(&entry.path) {
            Place::Folder if entry.kind == EntryType::Directory => {}
            Place::Folder => return Err(malformed(format!("has `{FOLDER}` as something other than a directory"))),
            Place::HidesFolder => {
                self.hides_folder = true;
                self.whites_out_folder |= !entry.path.ends_with(OPAQUE);
            }
            Place::Hides(name) => {
                self.keep(name.len())?;
                self.hides.insert(name.to_vec());
            }
            Place::File(name) => {
                let bytes = self.file(name, entry, content, limits)?;
                self.keep(name.len() + bytes.as_ref().map_or(0, |b| if wanted(name) { 0 } else { b.len() }))?;
                if self.files.insert(name.to_vec(), bytes).is_some() {
                    return Err(malformed(format!("has `{FOLDER}/{}` twice", String::from_utf8_lossy(name))));
                }
            }
            Place::Elsewhere => {}
        }
        // A hard link may be to a symbolic one.
        if matches!(entry.kind, EntryType::Symlink | EntryType::Link) {
            self.keep(entry.path.len())?;
            self.links.insert(entry.path.clone());
        }
        Ok(())
    }

    /// Refuses what could make another reader see another payload.
    fn check(&self, entry: &Entry) -> Result<()> {
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        if let Some(plain) = &entry.hidden_path
            && (decides(plain) || decides(&entry.path))
        {
            return Err(malformed(format!("calls one entry `{}` and `{}`", shown(plain), shown(&entry.path))));
        }
        if entry.hard_link.as_deref().is_some_and(decides) {
            return Err(malformed(format!(
                "has a hard link to `{}`",
                shown(entry.hard_link.as_deref().unwrap_or(b""))
            )));
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

    /// The content of a file of the folder, if it matters.
    fn file(&self, name: &[u8], entry: &Entry, content: &mut dyn Read, limits: &Limits) -> Result<Option<Vec<u8>>> {
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
        content.read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 != entry.size {
            return Err(malformed(format!("is cut short within `{}`", shown())));
        }
        Ok((wanted(name) || verification::mentions(&bytes)).then_some(bytes))
    }

    fn keep(&mut self, bytes: usize) -> Result<()> {
        self.kept += bytes;
        if self.kept > MAX_KEPT { Err(malformed("has too many or too long names or manifests")) } else { Ok(()) }
    }
}

/// What the layers seen so far say together: first the top one.
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

    /// Whether lower layers can no longer change the answer.
    pub fn decided(&self) -> bool {
        self.hides(REFERENCES.as_bytes()) && self.hides(METADATA.as_bytes())
    }

    /// Takes in the next lower layer.
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

    /// The release payload that the layers taken in make.
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
        // In the order of file names, as the payload lists them; the first counts.
        let verification = self.files.values().flatten().find_map(|bytes| verification::find(bytes));
        Ok(Payload { version: image_references.name.clone(), image_references, release_metadata, verification })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::{self, Write};

    use super::*;

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn references(version: &str) -> Vec<u8> {
        format!(
            r#"{{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{{"name":"{version}"}},"spec":{{"tags":[]}}}}"#
        )
        .into_bytes()
    }

    fn metadata(version: &str) -> Vec<u8> {
        format!(r#"{{"kind":"cincinnati-metadata-v0","version":"{version}"}}"#).into_bytes()
    }

    fn header(kind: EntryType, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o444);
        header.set_size(size as u64);
        header
    }

    /// A layer under construction. Names go in as they are, for the hostile ones.
    struct Tar(tar::Builder<Vec<u8>>);

    impl Tar {
        fn new() -> Tar {
            Tar(tar::Builder::new(Vec::new())).dir("release-manifests/")
        }
        fn entry(mut self, mut header: tar::Header, path: &str, bytes: &[u8]) -> Tar {
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            self.0.append(&header, bytes).unwrap();
            self
        }
        fn file(self, path: &str, bytes: &[u8]) -> Tar {
            self.entry(header(EntryType::Regular, bytes.len()), path, bytes)
        }
        fn dir(self, path: &str) -> Tar {
            self.entry(header(EntryType::Directory, 0), path, b"")
        }
        fn link(self, kind: EntryType, path: &str, to: &str) -> Tar {
            let mut header = header(kind, 0);
            header.set_link_name(to).unwrap();
            self.entry(header, path, b"")
        }
        fn pax(mut self, records: &[(&str, &[u8])]) -> Tar {
            self.0.append_pax_extensions(records.iter().copied()).unwrap();
            self
        }
        fn release(self, version: &str) -> Tar {
            self.file("release-manifests/image-references", &references(version))
                .file("release-manifests/release-metadata", &metadata(version))
        }
        fn end(self) -> Vec<u8> {
            self.0.into_inner().unwrap()
        }
    }

    /// Reads layers, given top first; also how many were asked for.
    fn read_layers(layers: &[(&str, Vec<u8>)]) -> (Result<Payload>, usize) {
        let mut asked = 0;
        let mut rest = layers.iter();
        let next = || {
            Ok(rest.next().map(|(media_type, bytes)| {
                asked += 1;
                ((*media_type).to_owned(), Box::new(bytes.as_slice()) as Box<dyn Read>)
            }))
        };
        let payload = read(next, &Limits::default());
        (payload, asked)
    }

    fn version(layers: &[Tar]) -> Result<String>
    where
        Tar: Clone,
    {
        let layers: Vec<(&str, Vec<u8>)> = layers.iter().map(|l| (TAR, l.clone().end())).collect();
        read_layers(&layers).0.map(|p| p.version)
    }

    impl Clone for Tar {
        fn clone(&self) -> Tar {
            let bytes = self.0.get_ref().clone();
            Tar(tar::Builder::new(bytes))
        }
    }

    fn refusal(layers: &[Tar]) -> String {
        let err = version(layers).expect_err("must be refused");
        assert_eq!(err.code(), Code::Malformed, "{err}");
        err.to_string()
    }

    #[test]
    fn a_real_payload_is_read_from_plain_gzip_and_zstd_layers_and_lower_ones_are_not_asked_for() {
        let tar = Tar::new()
            .file(
                "release-manifests/0000_90_cluster-update-keys_configmap.yaml",
                &data("cluster-update-keys/manifests.rhel/0000_90_cluster-update-keys_configmap.yaml"),
            )
            .file(
                "release-manifests/image-references",
                &data("release-payload/oc-mirror-4.12.0-x86_64/image-references"),
            )
            .file(
                "release-manifests/release-metadata",
                &data("release-payload/oc-mirror-4.12.0-x86_64/release-metadata"),
            )
            .end();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
        for (media_type, bytes) in [
            (TAR, &tar),
            ("application/vnd.oci.image.layer.v1.tar+gzip", &gzip),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", &zstd),
        ] {
            let (payload, asked) = read_layers(&[(media_type, bytes.clone()), ("no layer", vec![1])]);
            let payload = payload.unwrap();
            assert_eq!((payload.version.as_str(), payload.image_references.tags.len(), asked), ("4.12.0", 183, 1));
            assert_eq!(payload.verification.unwrap().unwrap().stores.len(), 2);
            assert_eq!(payload.release_metadata.unwrap().architecture, None);
            for length in [0, bytes.len() / 2, bytes.len() - 2000.min(bytes.len() / 3)] {
                assert!(read_layers(&[(media_type, bytes[..length].to_vec())]).0.is_err(), "{media_type} {length}");
            }
        }
        assert!(read_layers(&[("application/x-unknown", tar)]).0.is_err());
    }

    #[test]
    fn the_topmost_layer_decides_and_metadata_may_come_from_below_or_not_at_all() {
        let upper = Tar::new().file("./release-manifests//image-references", &references("4.2.0"));
        let lower = Tar::new().release("4.2.0");
        assert_eq!(version(&[Tar::new(), upper.clone(), lower]).unwrap(), "4.2.0");
        assert_eq!(version(std::slice::from_ref(&upper)).unwrap(), "4.2.0");
        let other = Tar::new().release("4.1.0");
        assert!(refusal(&[upper, other]).contains("contradicts itself"));
    }

    #[test]
    fn whiteouts_hide_what_is_below_and_nothing_else() {
        let lower = Tar::new().release("4.1.0");
        for name in [
            "release-manifests/.wh.image-references",
            "release-manifests/.wh..wh..opq",
            ".wh.release-manifests",
            ".wh..wh..opq",
        ] {
            let layers = [Tar::new().file(name, b""), lower.clone()];
            assert!(refusal(&layers).contains("not a release"), "{name}");
            assert_eq!(version(&[lower.clone(), Tar::new().file(name, b"")]).unwrap(), "4.1.0", "{name}");
        }
        let replaced = Tar::new()
            .file("release-manifests/.wh..wh..opq", b"")
            .file("release-manifests/image-references", &references("4.2.0"));
        assert_eq!(version(&[replaced, lower.clone()]).unwrap(), "4.2.0");
        assert_eq!(version(&[Tar::new().file("release-manifests/.wh.other", b""), lower.clone()]).unwrap(), "4.1.0");
        for both in ["release-manifests/.wh.image-references", ".wh.release-manifests"] {
            assert!(refusal(&[lower.clone().file(both, b"")]).contains("has and hides"), "{both}");
        }
    }

    #[test]
    fn the_file_twice_or_as_a_link_or_through_one_is_refused() {
        let name = "release-manifests/image-references";
        let good = Tar::new().release("4.1.0");
        for bad in [
            good.clone().file(name, &references("4.1.0")),
            good.clone().file("/release-manifests/./image-references", &references("4.2.0")),
            Tar::new().file("x", b"").link(EntryType::Link, name, "x"),
            Tar::new().link(EntryType::Symlink, name, "x"),
            Tar::new().link(EntryType::Char, name, "x"),
            Tar::new().link(EntryType::Fifo, name, "x"),
            Tar::new().dir("release-manifests/image-references/"),
            Tar::new().file("release-manifests/image-references/", &references("4.1.0")),
            good.clone().link(EntryType::Link, "x", "./release-manifests/image-references"),
            good.clone().link(EntryType::Symlink, "release-manifests", "x"),
            good.clone().link(EntryType::Symlink, "x", "release-manifests").file("x/image-references", b"{}"),
            good.clone()
                .link(EntryType::Symlink, "release-manifests/x", ".")
                .file("release-manifests/x/image-references", b"{}"),
            good.clone()
                .link(EntryType::Symlink, "y", "release-manifests")
                .link(EntryType::Link, "x", "y")
                .file("x/.wh.image-references", b""),
            good.clone().file("a/../release-manifests/image-references", b"{}"),
        ] {
            refusal(&[bad]);
        }
    }

    #[test]
    fn pax_and_gnu_headers_that_contradict_the_plain_one_are_refused() {
        let body = references("4.1.0");
        let size = (body.len() as u64 - 1).to_string();
        let right = body.len().to_string();
        let name = "release-manifests/image-references";
        let base = || Tar::new().file("release-manifests/release-metadata", &metadata("4.1.0"));
        assert_eq!(
            version(&[base().pax(&[("size", right.as_bytes()), ("path", name.as_bytes())]).file(name, &body)]).unwrap(),
            "4.1.0"
        );
        for records in [
            &[("size", size.as_bytes())][..],
            &[("size", b"1e3")],
            &[("path", b"x")],
            &[("path", name.as_bytes()), ("path", name.as_bytes())],
            &[("GNU.sparse.name", b"x")],
        ] {
            refusal(&[base().pax(records).file(name, &body)]);
        }
        let elsewhere = base().pax(&[("path", name.as_bytes())]).file("x", &body);
        assert!(refusal(&[elsewhere]).contains("calls one entry"));
        let long = format!("{name}\0");
        let gnu = base().entry(header(EntryType::GNULongName, long.len()), "././@LongLink", long.as_bytes());
        assert!(refusal(&[gnu.file("x", &body)]).contains("calls one entry"));
        let global = base().entry(header(EntryType::XGlobalHeader, 11), "g", b"11 path=ab\n").file(name, &body);
        assert!(refusal(&[global]).contains("global"));
        assert!(refusal(&[base().pax(&[("size", b"0")]).pax(&[("size", b"0")]).file(name, &body)]).contains("two"));
        let harmless = base().pax(&[("mtime", b"1.5"), ("path", "é".repeat(80).as_bytes())]).file("etc/x", b"x");
        assert_eq!(version(&[harmless.file(name, &body)]).unwrap(), "4.1.0");
    }

    #[test]
    fn sparse_files_links_with_content_and_strange_headers_are_refused() {
        for (kind, size) in [
            (EntryType::GNUSparse, 0),
            (EntryType::Symlink, 512),
            (EntryType::Directory, 512),
            (EntryType::new(b'V'), 0),
        ] {
            refusal(&[Tar::new().entry(header(kind, size), "x", &vec![0; size]).release("4.1.0")]);
        }
        let mut ustar = tar::Header::new_ustar();
        ustar.set_size(0);
        ustar.as_mut_bytes()[508..512].copy_from_slice(b"tar\0");
        assert!(refusal(&[Tar::new().entry(ustar, "x", b"").release("4.1.0")]).contains("differently"));
    }

    #[test]
    fn data_after_the_end_of_an_archive_is_refused() {
        let mut bytes = Tar::new().release("4.1.0").end();
        bytes.extend_from_slice(&[0; 8192]);
        assert!(read_layers(&[(TAR, bytes.clone())]).0.is_ok());
        bytes.extend_from_slice(&Tar::new().release("4.2.0").end());
        assert!(read_layers(&[(TAR, bytes)]).0.is_err());
    }

    /// Endless zeros behind a beginning; counts what is taken.
    struct Endless<'c>(io::Cursor<Vec<u8>>, &'c std::cell::Cell<u64>);

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = match self.0.read(buffer)? {
                0 => {
                    buffer.fill(0);
                    buffer.len()
                }
                count => count,
            };
            self.1.set(self.1.get() + count as u64);
            Ok(count)
        }
    }

    #[test]
    fn ten_gibibytes_of_zeros_stop_at_the_limit() {
        let limits = Limits { inflated: 8 << 20, ..Limits::default() };
        for (name, most) in [("usr/bin/big", limits.inflated), ("release-manifests/image-references", 1 << 20)] {
            let mut big = header(EntryType::Regular, 10 << 30);
            big.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            big.set_cksum();
            let taken = std::cell::Cell::new(0);
            let mut once = Some(Endless(io::Cursor::new(big.as_bytes().to_vec()), &taken));
            let next = || {
                // Compressed as it is read: a small gzip stream that inflates to 10 GiB.
                let gzip = once
                    .take()
                    .map(|zeros| flate2::read::GzEncoder::new(zeros.take(10 << 30), flate2::Compression::fast()));
                Ok(gzip.map(|g| (format!("{TAR}+gzip"), Box::new(g) as Box<dyn Read + '_>)))
            };
            let err = read(next, &limits).unwrap_err();
            assert_eq!(err.code(), Code::Malformed);
            assert!(err.to_string().contains("more than"), "{err}");
            // The encoder of the test reads ahead by less than 32 MiB.
            assert!(taken.get() < most + (32 << 20), "{name}: {}", taken.get());
        }
    }

    #[test]
    fn too_many_entries_and_oversized_extension_headers_are_refused() {
        let mut many = Tar::new();
        for n in 0..20 {
            many = many.file(&format!("f{n}"), b"");
        }
        let bytes = many.end();
        let limits = Limits { entries: 10, ..Limits::default() };
        let mut once = Some(bytes);
        let next = || Ok(once.take().map(|b| (TAR.to_owned(), Box::new(io::Cursor::new(b)) as Box<dyn Read>)));
        assert!(read(next, &limits).unwrap_err().to_string().contains("more than 10 entries"));
        let long = Tar::new().entry(header(EntryType::GNULongName, 2 << 20), "L", &vec![b'a'; 2 << 20]);
        assert!(refusal(&[long]).contains("extension header"));
    }

    #[test]
    fn an_error_of_the_source_comes_through_as_it_is() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(Error::new(Code::Source, "the registry went away").transient().into())
            }
        }
        let err = read(|| Ok(Some((TAR.to_owned(), Box::new(Failing) as Box<dyn Read>))), &Limits::default());
        let err = err.unwrap_err();
        assert_eq!(err.code(), Code::Source);
        assert!(err.is_transient());
        assert_eq!(read(|| Err(Error::new(Code::Auth, "no")), &Limits::default()).unwrap_err().code(), Code::Auth);
    }
}
