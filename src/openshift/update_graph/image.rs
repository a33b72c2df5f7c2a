//! The graph-data image: the update graph as an image that the update service of a cluster (OSUS) runs to copy the
//! graph into place (MB-GRD).
//!
//! It is a base image with one more layer. Every byte follows from the base and the files, so a reader makes it again
//! and compares: the image needs no trust of its own. The layer is a plain tar archive in a gzip frame of stored
//! blocks, which no version of a compressor can change. Source: cincinnati-operator `docs/graph-data-init-container.md`.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use super::MAX_FILES;
use crate::content::layer::{self, Bounds, FileEntry};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, Invalid, ListOf, Manifest, ManifestOf, media_type, parse};

/// The folder of the graph in the image.
const FOLDER: &str = "var/lib/cincinnati-graph-data";
/// What the image runs: copies the graph to where graph-builder reads it, under any user.
const COMMAND: [&str; 3] =
    ["/bin/sh", "-c", "exec cp -r /var/lib/cincinnati-graph-data/. /var/lib/cincinnati/graph-data"];
/// The largest layer, in bytes: it is held in memory. That of all graph-data of 2026 has 2.7 MB.
pub const MAX_LAYER: u64 = 8 << 20;
/// The longest name of a file below the folder, in bytes: what the name field of a tar header holds.
const NAME: usize = 100;
/// The largest configuration of a base, in bytes: it is held in memory.
pub const MAX_CONFIG: u64 = 1 << 20;
/// The most bytes of a stored block (RFC 1951, 3.2.4).
const BLOCK: usize = 65_535;
const WHOSE: &str = "the graph-data image";

/// Files of an update graph by relative path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The folders that the service needs, even if nothing is in them.
const NEEDED: [&str; 2] = ["blocked-edges/", "channels/"];

/// The tree as the image has it, for [`super::GraphData::parse`].
pub fn tree(files: &Files) -> impl Iterator<Item = (&str, &[u8])> {
    let files = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    files.chain(NEEDED.map(|folder| (folder, &[][..])))
}

/// A graph-data image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphImage {
    /// Its manifest, or a list with one manifest for each image of the base.
    pub root: Made,
    /// SHA-256 of the tar archive.
    pub input: Digest,
    /// Manifests of a list, configurations, and the layer.
    pub others: Vec<Made>,
}

/// A document or blob of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What a manifest says about it.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Made {
    fn new(media_type: &str, bytes: Vec<u8>) -> Made {
        Made { descriptor: Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64), bytes }
    }
}

/// Makes the image of `files` on `base`. `read` returns the documents and configurations of the base.
///
/// # Errors
/// [`Code::Malformed`] if the base is no image that can be extended, or the files do not fit; those of `read`.
pub fn make(
    base: &Descriptor,
    files: &Files,
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>,
) -> Result<GraphImage> {
    let tar = archive(files).map_err(|e| Error::new(Code::Malformed, format!("the update graph {e}")))?;
    let input = Digest::of(&tar);
    let layer = stored(&tar);
    if layer.len() as u64 > MAX_LAYER {
        return Err(unfit(format!("would have a layer of {} bytes; at most {MAX_LAYER} are allowed", layer.len())));
    }
    let mut others = Vec::new();
    let one = |image: &Descriptor, manifest: &Manifest, read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>| {
        extend(&base.digest, image, manifest, &input, &layer, read)
    };
    let root = match document(base, &read(base)?)? {
        Document::Manifest(manifest) => {
            let (manifest, config) = one(base, &manifest, read)?;
            others.push(config);
            manifest
        }
        Document::Index(index) => {
            let mut entries = Vec::new();
            for child in &index.manifests {
                // Attestations of a build are listed beside the images.
                let Some(platform) = child.platform.clone().filter(|p| p.os != "unknown") else { continue };
                let Document::Manifest(manifest) = document(child, &read(child)?)? else {
                    return Err(unfit("has a list of lists as its base"));
                };
                let (manifest, config) = one(child, &manifest, read)?;
                entries.push(Descriptor { platform: Some(platform), ..manifest.descriptor.clone() });
                others.extend([manifest, config]);
            }
            if entries.is_empty() {
                return Err(unfit("has a list without platforms as its base"));
            }
            let list = ListOf { media_type: &base.media_type, manifests: &entries };
            Made::new(&base.media_type, json(&list)?)
        }
    };
    let docker = others.iter().chain([&root]).any(|made| made.descriptor.media_type == media_type::DOCKER_MANIFEST);
    others.push(Made::new(layer_type(docker), layer));
    Ok(GraphImage { root, input, others })
}

/// The base's manifest and configuration, with one more layer and another command.
fn extend(
    base: &Digest,
    image: &Descriptor,
    manifest: &Manifest,
    input: &Digest,
    layer: &[u8],
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>,
) -> Result<(Made, Made)> {
    let docker = image.media_type == media_type::DOCKER_MANIFEST;
    let config_type = if docker { media_type::DOCKER_CONFIG } else { media_type::OCI_CONFIG };
    if manifest.config.media_type != config_type {
        return Err(unfit(format!("has a base with a configuration of type `{}`", manifest.config.media_type)));
    }
    if manifest.config.size > MAX_CONFIG {
        return Err(unfit(format!("has a base with a configuration of more than {MAX_CONFIG} bytes")));
    }
    let bytes = read(&manifest.config)?;
    let config: BaseConfig = serde_json::from_slice(&bytes)
        .map_err(|e| unfit(format!("has a base whose configuration cannot be read: {e}")))?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(unfit("has a base whose configuration names another number of layers"));
    }
    if manifest.layers.iter().any(|layer| media_type::is_foreign(&layer.media_type)) {
        return Err(unfit("has a base with foreign layers"));
    }
    let config = Made::new(config_type, json(&config.extended(base, input))?);
    let plain = |d: &Descriptor| Descriptor::new(&d.media_type, d.digest, d.size);
    let mut layers: Vec<Descriptor> = manifest.layers.iter().map(plain).collect();
    layers.push(Descriptor::new(layer_type(docker), Digest::of(layer), layer.len() as u64));
    let made = ManifestOf { media_type: &image.media_type, config: config.descriptor.clone(), layers };
    let bytes = made.to_vec().map_err(internal)?;
    Ok((Made::new(&image.media_type, bytes), config))
}

/// The files of a graph-data image, from the bytes of its layer.
///
/// # Errors
/// [`Code::Malformed`] if the layer is not one that [`make`] writes.
pub fn files(layer: &[u8]) -> Result<Files> {
    let mut out = Files::new();
    let folder = format!("{FOLDER}/");
    let bounds = Bounds { whose: WHOSE, entries: 3 * MAX_FILES, inflated: MAX_LAYER };
    let visit = &mut |entry: &FileEntry, content: &mut dyn Read| {
        let path = std::str::from_utf8(&entry.path).ok().and_then(|path| path.strip_prefix(&folder));
        if let (Some(path), true) = (path, entry.is_file()) {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(|e| layer::broken(WHOSE, e))?;
            out.insert(path.to_owned(), bytes);
        }
        Ok(())
    };
    layer::walk(layer_type(false), Box::new(layer), bounds, visit)?;
    // Whatever else is in it would be lost by making it again.
    match archive(&out).map(|tar| stored(&tar) == layer) {
        Ok(true) => Ok(out),
        _ => Err(unfit("has a layer in another form than that of this format")),
    }
}

/// The tar archive: folders before what is in them, sorted; owner 0, readable for everyone, time 0.
fn archive(files: &Files) -> Result<Vec<u8>, Invalid> {
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(Invalid::new(format!("has {} files; from 1 to {MAX_FILES} are allowed", files.len())));
    }
    let mut entries: BTreeMap<String, Option<&[u8]>> = BTreeMap::from(NEEDED.map(|folder| (folder.to_owned(), None)));
    for (path, bytes) in files {
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) || path.bytes().any(|b| b < b' ' || b == b'\\') {
            return Err(Invalid::new(format!("has a file of the unsafe name `{path}`")));
        }
        if path.len() > NAME {
            return Err(Invalid::new(format!("has a file whose name is longer than {NAME} bytes: `{path}`")));
        }
        for (at, _) in path.match_indices('/') {
            entries.insert(path[..=at].to_owned(), None);
        }
        entries.insert(path.clone(), Some(bytes));
    }
    let mut out = header("", &format!("{FOLDER}/"), None).to_vec();
    for (path, content) in entries {
        out.extend_from_slice(&header(FOLDER, &path, content.map(<[u8]>::len)));
        out.extend_from_slice(content.unwrap_or_default());
        out.resize(out.len().next_multiple_of(512), 0);
        if out.len() as u64 > MAX_LAYER {
            return Err(Invalid::new(format!("has more than {MAX_LAYER} bytes")));
        }
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}

/// The header of a file of `size` bytes, or of a folder (MB-GRD-03). Names fit their fields.
fn header(prefix: &str, name: &str, size: Option<usize>) -> [u8; 512] {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, if size.is_some() { "0000644" } else { "0000755" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", size.unwrap_or(0)));
    put(136, "00000000000");
    put(148, "        ");
    put(156, if size.is_some() { "0" } else { "5" });
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    put(345, prefix);
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A gzip member (RFC 1952) of stored blocks, without name or time.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = bytes.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    // Both counts are modulo 2^32.
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

fn layer_type(docker: bool) -> &'static str {
    if docker {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    } else {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }
}

fn document(what: &Descriptor, bytes: &[u8]) -> Result<Document> {
    parse(bytes, &what.media_type).map_err(|e| unfit(format!("has a base that cannot be read: {e}")))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(internal)
}

fn internal(e: serde_json::Error) -> Error {
    Error::new(Code::Internal, "cannot write the graph-data image").source(e)
}

/// `what` completes "the graph-data image ...".
fn unfit(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Malformed, format!("{WHOSE} {what}"))
}

/// What is taken from the base's configuration.
#[derive(serde::Deserialize)]
struct BaseConfig {
    architecture: String,
    os: String,
    variant: Option<String>,
    created: Option<String>,
    config: Option<BaseRun>,
    rootfs: RootFs,
}

#[derive(Default, serde::Deserialize)]
struct BaseRun {
    #[serde(rename = "User")]
    user: Option<String>,
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
    #[serde(rename = "WorkingDir")]
    working_dir: Option<String>,
}

#[derive(Serialize, serde::Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

impl BaseConfig {
    fn extended(mut self, base: &Digest, input: &Digest) -> impl Serialize {
        #[derive(Serialize)]
        struct Config {
            architecture: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            created: Option<String>,
            os: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            variant: Option<String>,
            config: Run,
            rootfs: RootFs,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Run {
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            env: Option<Vec<String>>,
            cmd: [&'static str; 3],
            #[serde(skip_serializing_if = "Option::is_none")]
            working_dir: Option<String>,
            labels: BTreeMap<&'static str, String>,
        }
        let full = |text: Option<String>| text.filter(|text| !text.is_empty());
        let run = self.config.unwrap_or_default();
        self.rootfs.diff_ids.push(*input);
        Config {
            architecture: self.architecture,
            created: full(self.created),
            os: self.os,
            variant: full(self.variant),
            config: Run {
                user: full(run.user),
                env: run.env.filter(|env| !env.is_empty()),
                cmd: COMMAND,
                working_dir: full(run.working_dir),
                labels: [
                    ("org.opencontainers.image.base.digest", base.to_string()),
                    ("org.opencontainers.image.title", "OpenShift update graph".to_owned()),
                ]
                .into(),
            },
            rootfs: self.rootfs,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_base_with_a_configuration_that_no_reader_keeps_is_refused() {
        let files = Files::from([("version".to_owned(), b"1.1.0".to_vec())]);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"x":"{}"}}"#,
            "x".repeat(1 << 20)
        );
        for (config, good) in [(config.replace("xx", ""), true), (config, false)] {
            let config = Made::new(media_type::OCI_CONFIG, config.into_bytes());
            let manifest = ManifestOf {
                media_type: media_type::OCI_MANIFEST,
                config: config.descriptor.clone(),
                layers: Vec::new(),
            };
            let manifest = Made::new(media_type::OCI_MANIFEST, manifest.to_vec().unwrap());
            let mut read = |what: &Descriptor| {
                let made = if what.digest == config.descriptor.digest { &config } else { &manifest };
                Ok(made.bytes.clone())
            };
            assert_eq!(make(&manifest.descriptor, &files, &mut read).is_ok(), good);
        }
    }
}
