//! MB-VER-18: the graph-data image is exactly what its base and its update graph give, and the paths that the graph
//! serves to the carried releases.

use std::collections::BTreeMap;

use super::release::Metadata;
use super::report::{Check, CheckId, FINDINGS, Finding, Report, UpdateFrom, Updates};
use crate::bundle::index::{Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, Manifest, parse};
use crate::openshift::update_graph::{GraphData, ReleaseNode, image};

/// The blobs that making the image again needs, with their limits: the configurations of the base, and the layer.
pub(super) fn wanted(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<(Digest, u64)> {
    let Some((graph, base)) = images(index) else { return Vec::new() };
    let mut out: Vec<(Digest, u64)> = Vec::new();
    let configs = base.iter().flat_map(|base| manifests(&base.descriptor(), documents));
    out.extend(configs.map(|manifest| (manifest.config.digest, image::MAX_CONFIG)));
    out.extend(layer(graph, documents).map(|layer| (layer.digest, image::MAX_LAYER)));
    out
}

/// The layer with the graph: the last one of the image, or of the first image of a list.
fn layer(graph: &Image, documents: &BTreeMap<Digest, Vec<u8>>) -> Option<Descriptor> {
    manifests(&graph.descriptor(), documents).into_iter().find_map(|manifest| manifest.layers.into_iter().last())
}

/// The graph-data image, and its base if that is a top-level image of the bundle.
fn images(index: &Index) -> Option<(&Image, Option<&Image>)> {
    let graph = index.images.iter().find(|image| image.kind == Kind::GraphData)?;
    let derived = graph.derived.as_ref()?;
    let fits = |image: &&Image| image.digest == derived.base && image.derived.is_none();
    Some((graph, index.images.iter().find(fits)))
}

/// The manifests of an image, as far as they can be read.
fn manifests(root: &Descriptor, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<Manifest> {
    let read = |what: &Descriptor| documents.get(&what.digest).and_then(|bytes| parse(bytes, &what.media_type).ok());
    match read(root) {
        Some(Document::Manifest(manifest)) => vec![manifest],
        Some(Document::Index(list)) => {
            let children = list.manifests.iter().filter_map(read);
            children
                .filter_map(|child| if let Document::Manifest(manifest) = child { Some(manifest) } else { None })
                .collect()
        }
        None => Vec::new(),
    }
}

/// Makes the image again, if there is one, and compares.
pub(super) fn check(
    index: &Index,
    documents: &BTreeMap<Digest, Vec<u8>>,
    kept: &BTreeMap<Digest, Vec<u8>>,
    metadata: &Metadata,
    report: &mut Report,
) {
    let Some((graph, base)) = images(index) else { return };
    let mut check = Check::new(CheckId::GraphData);
    check.of = 1;
    let made = base
        .ok_or_else(|| Error::new(Code::Malformed, "the base of the graph-data image is no image of the bundle"))
        .and_then(|base| again(graph, base, documents, kept));
    match made {
        Ok(files) => {
            check.examined = 1;
            check.details.push(format!("{} files", files.len()));
            match offered(index, &files, metadata) {
                Ok(updates) => report.updates = updates,
                Err(why) => check.find(Finding::new(Code::Malformed, graph.digest.to_string(), why)),
            }
            report.add(check);
        }
        Err(e) if e.code() == Code::IncompleteCheck => {
            report.skip(CheckId::GraphData, true, e.message().to_owned());
        }
        Err(e) => {
            check.find(
                Finding::of(graph.digest.to_string(), &e).hint("do not use it; ask the builder for another bundle"),
            );
            report.add(check);
        }
    }
}

/// The files of the graph, if the image is the one that they and the base give.
fn again(
    graph: &Image,
    base: &Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
    kept: &BTreeMap<Digest, Vec<u8>>,
) -> Result<image::Files> {
    let unread =
        |what: &Digest| Error::new(Code::IncompleteCheck, format!("{what} of the graph-data image was not read"));
    let layer = layer(graph, documents).ok_or_else(|| unread(&graph.digest))?;
    if layer.size > image::MAX_LAYER {
        let text = format!("the layer of the graph-data image has more than {} bytes", image::MAX_LAYER);
        return Err(Error::new(Code::Malformed, text));
    }
    let files = image::files(kept.get(&layer.digest).ok_or_else(|| unread(&layer.digest))?)?;
    let mut read = |what: &Descriptor| {
        let bytes = documents.get(&what.digest).or_else(|| kept.get(&what.digest));
        bytes.cloned().ok_or_else(|| unread(&what.digest))
    };
    let made = image::make(&base.descriptor(), &files, &mut read)?;
    let input = graph.derived.as_ref().map(|derived| derived.input);
    if made.root.descriptor.digest != graph.digest || Some(made.input) != input {
        return Err(Error::new(Code::Malformed, "the graph-data image is not what its base and its update graph give")
            .fact(format!("expected {}", made.root.descriptor.digest))
            .fact(format!("found    {}", graph.digest))
            .fact(format!("base     {}", base.digest)));
    }
    Ok(files)
}

/// For each carried release, the updates that the graph offers to it.
fn offered(index: &Index, files: &image::Files, metadata: &Metadata) -> Result<Vec<Updates>, String> {
    let parsed = GraphData::parse(image::tree(files));
    let (graph, _) =
        parsed.map_err(|e| format!("the update service of a cluster would refuse the update graph: {e}"))?;
    let nodes: Vec<ReleaseNode> = index
        .releases
        .iter()
        .map(|r| ReleaseNode::new(&r.version, &r.architecture, &r.digest, metadata.get(&r.digest)))
        .collect();
    let served = graph.serves(&nodes).map_err(|e| format!("the update graph {e}"))?;
    let updates = served.into_iter().take(FINDINGS).map(|release| Updates {
        version: release.version,
        architecture: release.architecture,
        channels: release.channels,
        // An update is offered in the channels that both versions are in.
        from: release
            .from
            .into_iter()
            .filter(|from| !from.channels.is_empty())
            .take(FINDINGS)
            .map(|from| UpdateFrom {
                version: from.version,
                carried: from.carried,
                risks: from.risks.into_iter().map(|risk| risk.name).collect(),
            })
            .collect(),
    });
    Ok(updates.collect())
}
