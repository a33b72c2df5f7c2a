//! `--graph-data`: reads an update graph from a folder, an archive or a URL, and makes the graph-data image.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use super::content::{self, Content};
use super::updates::GraphSource;
use super::walk::{self, Root};
use crate::bundle::index::{Derived, GRAPH_DATA, Kind, Release};
use crate::content::layer::{self, Bounds, FileEntry, Reading, Remarks};
use crate::error::{Code, Error, Result};
use crate::fs::{Dir, EntryKind, small};
use crate::observer::{self, Observer};
use crate::oci::{Descriptor, Digest, Reference, Tag, media_type};
use crate::openshift::tags;
use crate::openshift::update_graph::image::{self, Files, GraphImage};
use crate::openshift::update_graph::{GraphData, MAX_FILE, MAX_FILES, ReleaseNode};
use crate::source::{Fetched, Named, Network, Source};
use crate::version::compare;

/// The largest archive, in bytes.
const MAX_ARCHIVE: u64 = 32 << 20;
/// The most bytes of an archive after decompression: it may hold the history of a repository beside the graph.
const MAX_INFLATED: u64 = 256 << 20;
/// The most entries of an archive.
const MAX_ENTRIES: usize = 200_000;
/// How many remarks of one kind are shown.
const SHOWN: usize = 10;
/// The component of a release that has a shell and `cp`, and that hosts need anyway.
const COMPONENT: &str = "cli";

/// Where an update graph is, and what its image is made on.
#[derive(Clone, Debug)]
pub struct GraphInput {
    /// The graph.
    pub from: GraphSource,
    /// The base of the image, in place of `cli` of the newest release.
    pub base: Option<Reference>,
}

impl Content {
    /// Adds the graph-data image, and says what the graph means for the carried releases.
    pub(super) fn graph_data(
        &mut self,
        options: &Options,
        network: Option<&dyn Network>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let Some(input) = &options.graph_data else { return Ok(()) };
        let nothing = |e: Error| if e.state_text().is_none() { e.state("nothing was written") } else { e };
        let files = read(&input.from, network).map_err(nothing)?;
        let parsed = GraphData::parse(image::tree(&files));
        let (graph, remarks) = parsed.map_err(|refused| {
            let text = format!("the update service of a cluster would refuse the update graph {}", input.from.shown());
            let first = refused.0.iter().take(SHOWN).map(ToString::to_string);
            let error = first.fold(Error::new(Code::Malformed, text), Error::fact);
            nothing(error.hint("take it from https://api.openshift.com/api/upgrades_info/graph-data, or from a checkout of openshift/cincinnati-graph-data"))
        })?;
        observer.say(
            "Reading",
            &format!(
                "update graph of {} from {}",
                observer::count(graph.channels().count(), "channel"),
                input.from.shown()
            ),
        );
        for remark in remarks.iter().take(SHOWN) {
            observer.warn(&format!("update graph: {} ({})", remark, remark.effect.as_str()));
        }
        if remarks.len() > SHOWN {
            observer.warn(&format!("update graph: {} more remarks", remarks.len() - SHOWN));
        }
        self.compare(&graph, observer).map_err(nothing)?;
        let base = self.base(input, options, network, observer)?;
        let mut fetch = |what: &Descriptor| -> Result<Vec<u8>> {
            if what.digest == base.document.digest {
                return Ok(base.document.bytes.to_vec());
            }
            if !media_type::ACCEPTED.contains(&what.media_type.as_str()) {
                return walk::read_blob(base.source.as_ref(), what);
            }
            let document = base.source.manifest(&what.digest)?;
            document.map(|document| document.bytes.to_vec()).ok_or_else(|| walk::not_there(&base, &what.digest))
        };
        let made = image::make(&base.descriptor(), &files, &mut fetch).map_err(|e| {
            nothing(e.fact(format!("base   {}", base.label())).hint("name another base with --graph-base IMAGE"))
        })?;
        observer.say("Made", &format!("the graph-data image on {}", base.label()));
        self.roots.push(root(&made, &base));
        Ok(())
    }

    /// The image that the graph-data image is made on: one that is carried.
    fn base(
        &mut self,
        input: &GraphInput,
        options: &Options,
        network: Option<&dyn Network>,
        observer: &dyn Observer,
    ) -> Result<Root> {
        if let Some(reference) = &input.base {
            let base = content::resolve(reference, "image", options, network, observer)?;
            if !self.roots.iter().any(|root| root.document.digest == base.document.digest) {
                self.roots.push(base.clone());
            }
            return Ok(base);
        }
        // A list serves clusters of every architecture; among the others, most clusters are amd64.
        let rank = |release: &Release| match release.architecture.as_str() {
            tags::MULTI => 2,
            "amd64" => 1,
            _ => 0,
        };
        let order = |a: &&Release, b: &&Release| rank(a).cmp(&rank(b)).then_with(|| compare(&a.version, &b.version));
        let newest = self.releases.iter().max_by(order).map(|release| release.digest);
        let fits = |root: &&Root| root.release == newest && root.component.as_deref() == Some(COMPONENT);
        newest.and_then(|_| self.roots.iter().find(fits)).cloned().ok_or_else(|| {
            let text = match newest {
                None => "no release is carried that the graph-data image could be made on".to_owned(),
                Some(digest) => format!("the release {digest} has no component `{COMPONENT}`"),
            };
            Error::new(Code::Usage, text)
                .state("nothing was written")
                .hint("carry a release with --release, or name an image with /bin/sh and cp: --graph-base IMAGE")
        })
    }

    /// Says which carried releases the graph does not offer, which paths are not there, and how far the graph goes.
    fn compare(&self, graph: &GraphData, observer: &dyn Observer) -> Result<()> {
        let node = |release: &Release| {
            let metadata = self.metadata.get(&release.digest).and_then(Option::as_ref);
            ReleaseNode::new(&release.version, &release.architecture, &release.digest, metadata)
        };
        let nodes: Vec<ReleaseNode> = self.releases.iter().map(node).collect();
        let remarks =
            graph.remarks(&nodes).map_err(|e| Error::new(Code::Malformed, format!("the update graph {e}")))?;
        for remark in remarks.iter().take(SHOWN) {
            observer.warn(remark);
        }
        if remarks.len() > SHOWN {
            observer.warn(&format!("{} more remarks about releases and the update graph", remarks.len() - SHOWN));
        }
        Ok(())
    }
}

fn root(made: &GraphImage, base: &Root) -> Root {
    let fetched = |one: &image::Made| Fetched {
        bytes: one.bytes.as_slice().into(),
        media_type: one.descriptor.media_type.clone(),
        digest: one.descriptor.digest,
    };
    let all = made.others.iter().chain([&made.root]).map(|one| (one.descriptor.digest, fetched(one))).collect();
    let source = MadeSource { made: all, base: base.source.clone() };
    Root {
        source: Arc::new(source),
        repository: Some(GRAPH_DATA.to_owned()),
        tag: Some(made.input.hex()[..12].to_owned()),
        document: fetched(&made.root),
        kind: Kind::GraphData,
        component: None,
        release: None,
        subject: None,
        derived: Some(Derived { base: base.document.digest, input: made.input }),
        requested_by: GRAPH_DATA.to_owned(),
    }
}

/// What was made here, above the source of its base.
struct MadeSource {
    made: BTreeMap<Digest, Fetched>,
    base: Arc<dyn Source>,
}

impl Source for MadeSource {
    fn describe(&self) -> String {
        self.base.describe()
    }

    fn names(&self) -> Result<Vec<Named>> {
        Ok(Vec::new())
    }

    fn resolve(&self, _: &Tag) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        Ok(self.made.get(digest).cloned())
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        match self.made.get(&what.digest) {
            Some(made) => {
                let mut bytes = std::io::Cursor::new(Arc::clone(&made.bytes));
                bytes.set_position(offset);
                Ok(Box::new(bytes))
            }
            None => self.base.blob(what, offset),
        }
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// The files of a graph. Others, such as the rest of a checkout, are left out.
fn read(from: &GraphSource, network: Option<&dyn Network>) -> Result<Files> {
    let files = match from {
        GraphSource::File(path) if path.is_dir() => folder(path)?,
        GraphSource::File(path) => {
            let bytes = small::read_start(path, MAX_ARCHIVE).map_err(|e| e.error("cannot read", path, Code::Source))?;
            archive(&bytes)?
        }
        GraphSource::Url(url) => {
            let network = network.ok_or_else(|| {
                Error::new(Code::Usage, "this build of mirror-bundle has no network code")
                    .hint("name a file or a folder: --graph-data FILE|DIR")
            })?;
            let bytes = network.get(url, MAX_ARCHIVE)?;
            let bytes = bytes.ok_or_else(|| Error::new(Code::Source, format!("{url} does not exist")))?;
            archive(&bytes)?
        }
    };
    if !files.contains_key("version") {
        return Err(Error::new(Code::Source, format!("{} is no update graph: it has no file `version`", from.shown())));
    }
    Ok(files)
}

/// Whether graph-builder reads a file of this name, or the licence asks to keep it. Signatures in a graph are read by
/// nothing any more.
fn belongs(path: &str) -> bool {
    let yaml = |name: &str| !name.contains('/') && (name.ends_with(".yaml") || name.ends_with(".yml"));
    match path.split_once('/') {
        None => matches!(path, "version" | "LICENSE"),
        Some(("channels" | "blocked-edges", name)) => yaml(name),
        Some(("raw", name)) => name == "metadata.json",
        Some(_) => false,
    }
}

fn too_many() -> Error {
    Error::new(Code::Malformed, format!("the update graph has more than {} files", MAX_FILES))
}

fn folder(path: &Path) -> Result<Files> {
    let top = Dir::open(path, Code::Malformed)?;
    let mut out = Files::new();
    let mut add = |dir: &Dir, above: &str, name: &str| -> Result<()> {
        let path = format!("{above}{name}");
        if belongs(&path) {
            let place = dir.at(name);
            let bytes =
                small::read_start(&place, MAX_FILE as u64).map_err(|e| e.error("cannot read", &place, Code::Source))?;
            out.insert(path, bytes);
        }
        if out.len() > MAX_FILES { Err(too_many()) } else { Ok(()) }
    };
    for (name, kind) in top.entries()? {
        match kind {
            EntryKind::File => add(&top, "", &name)?,
            EntryKind::Directory if ["channels", "blocked-edges", "raw"].contains(&name.as_str()) => {
                let Some(below) = top.dir(&name)? else { continue };
                for (file, kind) in below.entries()? {
                    if kind == EntryKind::File {
                        add(&below, &format!("{name}/"), &file)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// The files in a tar archive, plain or compressed. A graph may be below one folder, as in an archive of a
/// repository.
fn archive(bytes: &[u8]) -> Result<Files> {
    const WHOSE: &str = "the update graph";
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let bounds = Bounds { whose: WHOSE, entries: MAX_ENTRIES, inflated: MAX_INFLATED };
    let mut held = 0u64;
    let visit = &mut |entry: &FileEntry, content: &mut dyn Read| {
        let Ok(path) = std::str::from_utf8(&entry.path) else { return Ok(()) };
        let below = path.split_once('/').map_or("", |(_, below)| below);
        if !entry.is_file() || !(belongs(path) || belongs(below)) {
            return Ok(());
        }
        held += entry.size;
        if entry.size > MAX_FILE as u64 || held > image::MAX_LAYER || all.len() > MAX_FILES {
            return Err(Error::new(Code::Malformed, format!("`{path}` makes the update graph too large")));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|e| layer::broken(WHOSE, e))?;
        all.push((path.to_owned(), bytes));
        Ok(())
    };
    // An archive of a repository has a global header, and any compression will do.
    let mut remarks = Remarks::default();
    layer::files("", Box::new(bytes), bounds, Reading::Runtime, &mut remarks, visit)?;
    if remarks.is_ambiguous() {
        return Err(Error::new(Code::Malformed, "tar readers see different files in the archive of the update graph"));
    }
    // The highest one: a folder of the graph may hold a file of that name.
    let versions = all.iter().filter_map(|(path, _)| path.strip_suffix("version"));
    let prefix = versions.min_by_key(|above| above.len()).unwrap_or_default().to_owned();
    let inside = |(path, bytes): (String, Vec<u8>)| {
        let path = path.strip_prefix(&prefix)?.to_owned();
        belongs(&path).then_some((path, bytes))
    };
    Ok(all.into_iter().filter_map(inside).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::archive;

    #[test]
    fn the_top_of_a_graph_in_an_archive_is_where_its_version_is() {
        for above in ["", "cincinnati-graph-data-master/"] {
            let mut tar = tar::Builder::new(Vec::new());
            for path in ["channels/version", "channels/a.yaml", "version", "README.md"] {
                let mut header = tar::Header::new_gnu();
                header.set_size(1);
                tar.append_data(&mut header, format!("{above}{path}"), &b"1"[..]).unwrap();
            }
            let files = archive(&tar.into_inner().unwrap()).unwrap();
            assert_eq!(files.keys().collect::<Vec<_>>(), ["channels/a.yaml", "version"], "{above}");
        }
    }
}
