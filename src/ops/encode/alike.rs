//! Which layers of the bases may be like a layer that is to be carried (MB-CAR-14).
//!
//! A base whose content is not here has an index that names its images. They, and their layers, are looked for where the
//! same image of the new bundle was found: most registries keep what they had last month.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::Options;
use crate::bundle::index::{Index, Kind};
use crate::bundle::writer::Plan;
use crate::bundle::{Elsewhere as _, limits, stock};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Document, parse};
use crate::ops::shelf::{Member, Shelf};
use crate::ops::write::Supply;
use crate::ops::{Observer, Task, observer};
use crate::parallel::Pace;
use crate::select::base::{Base, Bases};
use crate::source::Source;

/// How many layers of the bases are tried for one layer.
const TRIED: usize = 3;
/// How many images of one name are looked for in a base that only a registry has.
const NAMESAKES: usize = 8;
/// How many layers of a base are compared for each image and position: those of images of one name, as of one repository.
const COMPARED: usize = 64;
/// How many platforms of one image are looked for.
const PLATFORMS: usize = 32;

/// An image by its name, and its platform.
type Name = (String, String);
/// One layer of an image: which image, and the position from the bottom.
type PlaceOf = (Name, usize);
/// Layers by their places; images of one name have some each.
type Layers = BTreeMap<PlaceOf, Vec<Descriptor>>;
type Sources = Vec<Arc<dyn Source>>;

/// Layers of the bases that may be like others.
#[derive(Default)]
pub(super) struct Alike {
    candidates: HashMap<Digest, Vec<Descriptor>>,
    sources: HashMap<Digest, Sources>,
}

impl Alike {
    /// Those like this layer, the likeliest first.
    pub(super) fn of(&self, layer: &Digest) -> &[Descriptor] {
        self.candidates.get(layer).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where a layer of a base may be that is not here: each is asked twice.
    pub(super) fn sources(&self, layer: &Digest) -> impl Iterator<Item = &Arc<dyn Source>> {
        let all = self.sources.get(layer).map(Vec::as_slice).unwrap_or_default();
        all.iter().chain(all)
    }
}

/// Whether an error only means that a layer of a base cannot be had.
pub(super) fn is_lost(e: &Error) -> bool {
    matches!(e.code(), Code::BlobMismatch | Code::BlobMissing | Code::Malformed | Code::Source | Code::Auth)
}

/// The images that have a layer, by name and platform.
fn names(index: &Index, member: &Member) -> Vec<Name> {
    let platform = member.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let images = member.images.iter().filter_map(|at| index.images.get(*at));
    images.filter_map(name).map(|name| (name, platform.clone())).collect()
}

/// What an image is called in every bundle that has it.
fn name(image: &crate::bundle::index::Image) -> Option<String> {
    let named = !matches!(image.kind, Kind::Signature | Kind::Referrer);
    let component = || image.component.as_ref().map(|name| format!("component:{name}"));
    named.then(|| component().or_else(|| image.repository.clone())).flatten()
}

/// The layers of a bundle by image and position, at most `most` for each.
fn layers(index: &Index, shelf: &Shelf, most: usize) -> Layers {
    let mut out = Layers::new();
    for member in shelf.members() {
        for name in names(index, member) {
            for (at, layer) in member.layers.iter().enumerate() {
                let known = out.entry((name.clone(), at)).or_default();
                if known.len() < most && !known.iter().any(|other| other.digest == layer.digest) {
                    known.push(layer.clone());
                }
            }
        }
    }
    out
}

fn shelf(index: &Index, document: &dyn Fn(&Digest) -> Result<Option<Vec<u8>>>) -> Result<Shelf> {
    let mut all: HashMap<Digest, Vec<u8>> = HashMap::new();
    for one in index.blobs.iter().filter(|blob| blob.role.is_document()) {
        all.extend(document(&one.digest)?.map(|bytes| (one.digest, bytes)));
    }
    Ok(Shelf::new(index, &|digest| all.get(digest).map(Vec::as_slice)))
}

/// For each wanted layer, layers of the bases that may be like it.
///
/// # Errors
/// That of an interruption. What cannot be read of a base is said, and the layers are carried as they are.
pub(super) fn find(
    plan: &Plan,
    document: &dyn Fn(&Digest) -> Option<Vec<u8>>,
    wanted: &BTreeSet<Digest>,
    supply: &dyn Supply,
    (bases, options): (&Bases, &Options),
    observer: &dyn Observer,
) -> Result<Alike> {
    let index = &plan.index;
    let own = shelf(index, &|digest| Ok(document(digest)))?;
    let mut ours = layers(index, &own, usize::MAX);
    ours.retain(|_, layers| {
        layers.retain(|layer| wanted.contains(&layer.digest));
        !layers.is_empty()
    });
    let mut places: BTreeMap<Name, Sources> = ours.keys().map(|(name, _)| (name.clone(), Sources::new())).collect();
    for member in own.members() {
        for name in names(index, member) {
            let Some(known) = places.get_mut(&name) else { continue };
            for source in supply.sources(&member.digest) {
                if !known.iter().any(|other| Arc::ptr_eq(other, &source)) {
                    known.push(source);
                }
            }
        }
    }
    let absent = plan.absent();
    let carried = (0..).zip(&index.blobs).filter(|(at, _)| !absent.contains(at)).map(|(_, blob)| blob.digest);
    let carried: BTreeSet<Digest> = carried.collect();
    let mut out = Alike::default();
    for set in options.stock.bundles_there() {
        let index = set.index();
        let at: HashMap<Digest, usize> = (0..).zip(&index.blobs).map(|(at, blob)| (blob.digest, at)).collect();
        let shelf = shelf(index, &|digest| {
            let Some(at) = at.get(digest) else { return Ok(None) };
            match set.read(*at, limits::DOCUMENT) {
                // A base that cannot be read is not one that has nothing.
                Err(e) if e.code() == Code::Io => Err(e),
                read => Ok(read.ok()),
            }
        })?;
        out.add(&ours, &layers(index, &shelf, COMPARED), &places, &|layer| {
            !carried.contains(&layer.digest) && at.contains_key(&layer.digest)
        });
    }
    let mut beyond: Vec<&Base> = bases.all.iter().filter(|base| base.index.is_some()).collect();
    beyond.sort_by_key(|base| std::cmp::Reverse(base.sequence));
    for base in beyond.into_iter().filter(|base| base.bundles().is_empty()).take(stock::BUNDLES) {
        let asked = Asked { base, places: &places, observer, jobs: options.jobs };
        if let Some(theirs) = asked.layers()? {
            out.add(&ours, &theirs, &places, &|layer| {
                !carried.contains(&layer.digest) && base.has(&layer.digest) == Some(layer.size)
            });
        }
    }
    // What is here needs no source.
    out.sources.retain(|digest, _| {
        let size = out.candidates.values().flatten().find(|layer| layer.digest == *digest).map(|layer| layer.size);
        size.is_some_and(|size| !options.stock.supplies(digest, size))
    });
    let there = |layer: &Descriptor| {
        out.sources.get(&layer.digest).is_some_and(|all| !all.is_empty())
            || options.stock.supplies(&layer.digest, layer.size)
    };
    let mut candidates = std::mem::take(&mut out.candidates);
    for all in candidates.values_mut() {
        all.retain(&there);
        all.truncate(TRIED);
    }
    out.candidates = candidates;
    let first = out.candidates.values().filter_map(|all| all.first());
    let fetched: BTreeMap<Digest, u64> =
        first.filter(|layer| out.sources.contains_key(&layer.digest)).map(|layer| (layer.digest, layer.size)).collect();
    if !fetched.is_empty() {
        let (count, size) = (observer::count(fetched.len(), "layer"), observer::size(fetched.values().sum()));
        observer.say(
            "Comparing",
            &format!("with {count} of the bases ({size}), which are read where the new ones come from"),
        );
    }
    Ok(out)
}

impl Alike {
    /// Adds the layers of a base that are like ours: those at the same position first, then those of the size that is the
    /// most alike.
    fn add(
        &mut self,
        ours: &Layers,
        theirs: &Layers,
        places: &BTreeMap<Name, Sources>,
        usable: &dyn Fn(&Descriptor) -> bool,
    ) {
        for ((name, at), layer) in ours.iter().flat_map(|(place, all)| all.iter().map(move |layer| (place, layer))) {
            let own = self.candidates.entry(layer.digest).or_default();
            let mut near: Vec<(&PlaceOf, &Descriptor)> = theirs
                .range((name.clone(), 0)..)
                .take_while(|((other, _), _)| other == name)
                .flat_map(|(place, all)| all.iter().map(move |candidate| (place, candidate)))
                .filter(|(_, candidate)| usable(candidate))
                .collect();
            near.sort_by_key(|((_, position), candidate)| (position != at, candidate.size.abs_diff(layer.size)));
            for (_, candidate) in near {
                if own.iter().any(|known| known.digest == candidate.digest) {
                    continue;
                }
                own.push(candidate.clone());
                if let Some(sources) = places.get(name) {
                    self.sources.entry(candidate.digest).or_insert_with(|| sources.clone());
                }
            }
        }
    }
}

/// A base whose content is not here.
struct Asked<'a> {
    base: &'a Base,
    places: &'a BTreeMap<Name, Sources>,
    observer: &'a dyn Observer,
    jobs: usize,
}

/// Documents that were read, and how many bytes of them.
#[derive(Default)]
struct Documents {
    all: HashMap<Digest, Arc<[u8]>>,
    bytes: u64,
}

impl Asked<'_> {
    /// The layers of its images that the new bundle has too; `None` if none can be read.
    fn layers(&self) -> Result<Option<Layers>> {
        let index = match self.base.document() {
            Ok(Some(index)) => index,
            Ok(None) => return Ok(None),
            Err(e) => {
                self.observer.warn(&format!("the index of {} is not used: {}", self.base.title(), e.message()));
                return Ok(None);
            }
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut images: Vec<(String, Descriptor)> = Vec::new();
        for image in index.images.iter().filter(|image| self.base.has(&image.digest).is_some()) {
            let Some(name) = name(image).filter(|name| self.sources(name).next().is_some()) else { continue };
            let many = seen.entry(name.clone()).or_default();
            let known = images.iter().any(|(other, what)| (other, what.digest) == (&name, image.digest));
            if *many < NAMESAKES && !known {
                *many += 1;
                images.push((name, image.descriptor()));
            }
        }
        if images.is_empty() {
            return Ok(None);
        }
        let found: Mutex<Documents> = Mutex::default();
        let failed: Mutex<(usize, Option<Error>)> = Mutex::default();
        self.observer.begin(Task::Resolve, images.len() as u64, 0);
        let read = Pace::fixed(self.jobs.max(8)).map(
            &images,
            || (),
            |(), (name, image)| {
                self.observer.check()?;
                if let Err(e) = self.image(name, image, &found) {
                    if !is_lost(&e) {
                        return Err(e);
                    }
                    let mut failed = lock(&failed);
                    failed.0 += 1;
                    failed.1.get_or_insert(e);
                }
                self.observer.item();
                Ok(())
            },
        );
        self.observer.end();
        read?;
        if let (n, Some(e)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.observer.warn(&format!(
                "{} of {} cannot be read where the new bundle comes from, and what is like {} is carried as it is: {}",
                observer::count(n, "image"),
                self.base.title(),
                if n == 1 { "it" } else { "them" },
                e.message()
            ));
        }
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner).all;
        let shelf = Shelf::new(&index, &|digest| found.get(digest).map(AsRef::as_ref));
        Ok(Some(layers(&index, &shelf, COMPARED)))
    }

    /// Where an image of this name may be.
    fn sources(&self, name: &str) -> impl Iterator<Item = &Arc<dyn Source>> {
        let all = self.places.range((name.to_owned(), String::new())..);
        let of = all.take_while(move |((other, _), _)| other == name);
        let mut seen: Vec<*const ()> = Vec::new();
        of.flat_map(|(_, sources)| sources).filter(move |source| {
            let own = Arc::as_ptr(source).cast::<()>();
            let new = !seen.contains(&own);
            seen.push(own);
            new
        })
    }

    /// Reads the document of an image, and those of its platforms that are wanted.
    fn image(&self, name: &str, image: &Descriptor, found: &Mutex<Documents>) -> Result<()> {
        let missing = || Error::new(Code::Source, format!("{} is not there any more", image.digest));
        let mut failed = missing();
        for source in self.sources(name) {
            match self.read(source.as_ref(), image, found) {
                Ok(Some(Document::Index(list))) => {
                    let wanted = |child: &&Descriptor| {
                        let platform = child.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                        self.places.contains_key(&(name.to_owned(), platform))
                    };
                    for child in list.manifests.iter().filter(wanted).take(PLATFORMS) {
                        self.read(source.as_ref(), child, found)?.ok_or_else(missing)?;
                    }
                    return Ok(());
                }
                Ok(Some(Document::Manifest(_))) => return Ok(()),
                Ok(None) => {}
                Err(e) if is_lost(&e) => failed = e,
                Err(e) => return Err(e),
            }
        }
        Err(failed)
    }

    fn read(&self, source: &dyn Source, what: &Descriptor, found: &Mutex<Documents>) -> Result<Option<Document>> {
        let Some(fetched) = source.manifest(&what.digest)? else { return Ok(None) };
        let document = parse(&fetched.bytes, &what.media_type)
            .map_err(|e| Error::new(Code::Malformed, format!("{} of a base: {e}", what.digest)))?;
        let mut found = lock(found);
        found.bytes += fetched.bytes.len() as u64;
        if found.bytes > limits::DOCUMENTS {
            return Err(Error::new(Code::Malformed, "its manifests are larger than those of a bundle may be"));
        }
        found.all.insert(what.digest, fetched.bytes);
        Ok(Some(document))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
