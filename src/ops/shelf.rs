//! What a bundle holds, by name: which images have a layer, under which names and for which platforms.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::index::{Image, Index, Kind};
use crate::oci::{Descriptor, Digest, Document, Platform, Role, media_type, parse};

/// One image manifest of a bundle.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The entries of the index that it belongs to, as positions in [`Index::images`].
    pub images: Vec<usize>,
    /// Its platform, if a list or the index says it.
    pub platform: Option<Platform>,
    /// Whether it is one of a list.
    pub of_a_list: bool,
    /// Whether a container runtime would take it for an image, rather than a signature, a chart or other content.
    pub runs: bool,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A configuration or layer, and who has it.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is a configuration or a layer.
    pub role: Role,
    /// Its media type, in the first manifest that names it.
    pub media_type: String,
    /// The manifests that have it as a layer (as positions in [`Shelf::members`]), and the position of the layer there.
    pub carriers: Vec<(usize, usize)>,
}

impl Carried {
    /// Whether it is a layer in tar, whose entries can be read.
    pub fn is_layer(&self) -> bool {
        self.role == Role::Layer && crate::content::layer::is_layer(&self.media_type)
    }
}

/// The contents of a bundle by name.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    members: Vec<Member>,
    carried: BTreeMap<Digest, Carried>,
}

impl Shelf {
    /// From an index and its documents.
    pub fn new<'d>(index: &Index, documents: &dyn Fn(&Digest) -> Option<&'d [u8]>) -> Shelf {
        let mut shelf = Shelf::default();
        let mut known: BTreeMap<(Digest, String), usize> = BTreeMap::new();
        for (at, image) in index.images.iter().enumerate() {
            let alone = image.platforms.first().filter(|_| image.platforms.len() == 1).and_then(|p| p.parse().ok());
            let mut top = image.descriptor();
            top.platform = alone;
            let mut seen = BTreeSet::new();
            let mut todo = vec![(top, false)];
            while let Some((one, of_a_list)) = todo.pop() {
                if !seen.insert((one.digest, one.media_type.clone())) {
                    continue;
                }
                let key = (one.digest, one.media_type.clone());
                if let Some(member) = known.get(&key) {
                    shelf.members[*member].images.push(at);
                    continue;
                }
                match documents(&one.digest).and_then(|bytes| parse(bytes, &one.media_type).ok()) {
                    Some(Document::Manifest(manifest)) => {
                        let config = &manifest.config;
                        let runs =
                            matches!(config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
                                && manifest.artifact_type.is_none()
                                && !matches!(image.kind, Kind::Signature | Kind::Referrer);
                        known.insert(key, shelf.members.len());
                        shelf.members.push(Member {
                            digest: one.digest,
                            media_type: one.media_type,
                            size: one.size,
                            images: vec![at],
                            platform: one.platform,
                            of_a_list,
                            runs,
                            config: manifest.config,
                            layers: manifest.layers,
                        });
                    }
                    Some(Document::Index(list)) => todo.extend(list.manifests.into_iter().rev().map(|m| (m, true))),
                    None => {}
                }
            }
        }
        shelf.carry(index);
        shelf
    }

    fn carry(&mut self, index: &Index) {
        let listed = index.blobs.iter().filter(|blob| !blob.role.is_document());
        self.carried = listed
            .map(|blob| {
                let (digest, size, role) = (blob.digest, blob.size, blob.role);
                (digest, Carried { digest, size, role, media_type: String::new(), carriers: Vec::new() })
            })
            .collect();
        for (at, member) in self.members.iter().enumerate() {
            if let Some(config) = self.carried.get_mut(&member.config.digest)
                && config.media_type.is_empty()
            {
                config.media_type = member.config.media_type.clone();
            }
            for (position, layer) in member.layers.iter().enumerate() {
                let Some(carried) = self.carried.get_mut(&layer.digest) else { continue };
                // A layer in tar counts, whoever calls it something else.
                let better = crate::content::layer::is_layer(&layer.media_type) && !carried.is_layer();
                if carried.media_type.is_empty() || better {
                    carried.media_type = layer.media_type.clone();
                    carried.role = Role::Layer;
                }
                carried.carriers.push((at, position));
            }
        }
    }

    /// The image manifests, in the order of the index; those of a list in the order of the list.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The configurations and layers.
    pub fn carried(&self) -> impl Iterator<Item = &Carried> {
        self.carried.values()
    }

    /// A configuration or layer.
    pub fn get(&self, digest: &Digest) -> Option<&Carried> {
        self.carried.get(digest)
    }

    /// The name of a manifest for people: that of its first image, with its platform if it is one of a list.
    pub fn name(&self, index: &Index, member: &Member) -> String {
        let image = member.images.first().and_then(|at| index.images.get(*at));
        let name = image.map_or_else(|| member.digest.to_string(), called);
        match &member.platform {
            Some(platform) if member.of_a_list => format!("{name} ({platform})"),
            _ => name,
        }
    }

    /// The names of all images that have a blob.
    pub fn names(&self, index: &Index, carried: &Carried) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (member, _) in &carried.carriers {
            let member = &self.members[*member];
            let ending = member.platform.as_ref().filter(|_| member.of_a_list).map(|p| format!(" ({p})"));
            for image in member.images.iter().filter_map(|at| index.images.get(*at)) {
                names.push(called(image) + ending.as_deref().unwrap_or_default());
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

/// What an image is called: its reference, or the name of a component in its release.
pub fn called(image: &Image) -> String {
    match (&image.component, image.reference()) {
        (Some(component), reference) => {
            format!("{component} {}", reference.unwrap_or_else(|| image.digest.to_string()))
        }
        (None, Some(reference)) => reference,
        (None, None) => image.digest.to_string(),
    }
}
