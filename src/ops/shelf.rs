//! What a bundle holds, by name: which images have a layer, under which names and for which platforms.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::index::{Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, Platform, Role, media_type, parse};

/// The annotation by which Docker's lists say what an attestation is about.
const ABOUT: &str = "vnd.docker.reference.digest";

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
    /// Whether a container runtime would take it for an image, rather than a signature, a chart or other content.
    pub runs: bool,
    /// The image that it is about, if a list says so: an attestation of Docker.
    pub about: Option<Digest>,
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
            let mut todo = vec![top];
            while let Some(one) = todo.pop() {
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
                        let about = one.annotations.get(ABOUT).and_then(|digest| digest.parse().ok());
                        let config = &manifest.config;
                        let runs =
                            matches!(config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
                                && manifest.artifact_type.is_none()
                                && about.is_none()
                                && !matches!(image.kind, Kind::Signature | Kind::Referrer);
                        known.insert(key, shelf.members.len());
                        shelf.members.push(Member {
                            digest: one.digest,
                            media_type: one.media_type,
                            size: one.size,
                            images: vec![at],
                            platform: one.platform,
                            runs,
                            about,
                            config: manifest.config,
                            layers: manifest.layers,
                        });
                    }
                    Some(Document::Index(list)) => todo.extend(list.manifests.into_iter().rev()),
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
        match (&member.platform, image) {
            (Some(platform), Some(image)) if media_type::is_index(&image.media_type) => format!("{name} ({platform})"),
            _ => name,
        }
    }

    /// The names of all images that have a blob.
    pub fn names(&self, index: &Index, carried: &Carried) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (member, _) in &carried.carriers {
            let member = &self.members[*member];
            for image in member.images.iter().filter_map(|at| index.images.get(*at)) {
                let list = media_type::is_index(&image.media_type);
                let ending = member.platform.as_ref().filter(|_| list).map(|p| format!(" ({p})"));
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
    image.called()
}

/// The most names in a message.
const NAMED: usize = 12;

impl Shelf {
    /// The manifests that a person means: by a digest (of an image, of a manifest of a list), a reference, its end
    /// (`app:1`), or the name of a component. Of a list only those for `platform`, if one is given.
    ///
    /// # Errors
    /// [`Code::Usage`] when nothing or more than one image is meant, with their names.
    pub fn choose(&self, index: &Index, what: &str, platform: Option<&Platform>) -> Result<Vec<usize>> {
        let (tops, members) = self.meant(index, what)?;
        let fits = |member: &&usize| match (platform, &self.members[**member].platform) {
            (Some(wanted), Some(has)) => wanted.accepts(has),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let chosen: Vec<usize> = members.iter().filter(fits).copied().collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let name = tops.first().map_or(what, String::as_str);
        Err(match platform {
            Some(wanted) => Error::new(Code::Usage, format!("`{name}` has no image for {wanted}"))
                .hint(format!("it has: {}", self.platforms(&members))),
            None => Error::new(Code::Usage, format!("`{name}` is a list without images")),
        })
    }

    /// Like [`Shelf::choose`], where only one image can be used.
    ///
    /// # Errors
    /// Also [`Code::Usage`] for a list for several platforms, with their names.
    pub fn one(&self, index: &Index, what: &str, platform: Option<&Platform>) -> Result<&Member> {
        let chosen = self.choose(index, what, platform)?;
        let images: Vec<usize> = chosen.iter().copied().filter(|at| self.members[*at].runs).collect();
        match (images.as_slice(), chosen.as_slice()) {
            ([one], _) | ([], [one]) => Ok(&self.members[*one]),
            _ => Err(Error::new(Code::Usage, format!("`{what}` is a list of images for several platforms"))
                .fact(format!("it has: {}", self.platforms(&chosen)))
                .hint("choose one: --platform OS/ARCH[/VARIANT], or name the digest of one")),
        }
    }

    fn platforms(&self, members: &[usize]) -> String {
        let shown = members.iter().map(|at| {
            let member = &self.members[*at];
            member.platform.as_ref().map_or_else(|| member.digest.to_string(), ToString::to_string)
        });
        let all: BTreeSet<String> = shown.collect();
        let more = all.len().saturating_sub(NAMED);
        let mut text = all.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }

    /// The names of the images that are meant, which are all the same image, and their manifests.
    fn meant(&self, index: &Index, what: &str) -> Result<(Vec<String>, Vec<usize>)> {
        let of_top = |digest: &Digest| -> Vec<usize> {
            let in_it = |member: &Member| member.images.iter().any(|at| index.images[*at].digest == *digest);
            (0..self.members.len()).filter(|at| in_it(&self.members[*at])).collect()
        };
        if let Some((_, digest)) = what.rsplit_once('@').or(Some(("", what)))
            && let Ok(digest) = digest.parse::<Digest>()
        {
            let whole = of_top(&digest);
            let single = || (0..self.members.len()).filter(|at| self.members[*at].digest == digest).collect();
            let members: Vec<usize> = if whole.is_empty() { single() } else { whole };
            if !members.is_empty() {
                return Ok((vec![what.to_owned()], members));
            }
        }
        let end = |name: &str| name.strip_suffix(what).is_some_and(|rest| rest.ends_with('/'));
        let untagged = |image: &Image| image.repository.as_deref().is_some_and(|r| r == what || end(r));
        type Tier<'t> = &'t dyn Fn(&Image) -> bool;
        let tiers: [Tier; 4] = [
            &|image| image.reference().as_deref() == Some(what),
            &|image| image.component.as_deref() == Some(what) || image.tag.as_deref() == Some(what),
            &|image| image.reference().is_some_and(|reference| end(&reference)),
            &untagged,
        ];
        // Images come before what is attached to them.
        let attached = |image: &&Image| matches!(image.kind, Kind::Signature | Kind::Referrer);
        for kinds in [false, true] {
            for tier in tiers {
                let found: Vec<&Image> = index.images.iter().filter(|i| attached(i) == kinds && tier(i)).collect();
                let digests: BTreeSet<Digest> = found.iter().map(|image| image.digest).collect();
                let names: Vec<String> = found.iter().map(|image| called(image)).collect();
                match digests.len() {
                    0 => {}
                    1 => return Ok((names, of_top(&found[0].digest))),
                    n => {
                        let err = Error::new(Code::Usage, format!("`{what}` can be any of {n} images"));
                        let err = names.into_iter().take(NAMED).fold(err, Error::fact);
                        return Err(err.hint("write more of the reference, or the digest"));
                    }
                }
            }
        }
        let err = Error::new(Code::Usage, format!("the bundle has no image `{what}`"));
        let err = index.images.iter().filter(|i| !attached(i)).take(NAMED).map(called).fold(err, Error::fact);
        Err(err.hint("mirror-bundle ls BUNDLE lists them"))
    }
}
