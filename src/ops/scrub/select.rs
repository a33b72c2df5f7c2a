//! What is removed when some images, releases and files are named: they, and everything that cannot stay without them.

use std::collections::BTreeSet;

use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::removal::Removed;
use crate::error::{Code, Error, Result};
use crate::kubernetes;
use crate::oci::Digest;
use crate::openshift::signature_map;
use crate::verify::{Admitted, removal};

/// What the user named: positions in the signed index.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) images: BTreeSet<usize>,
    pub(super) files: BTreeSet<usize>,
}

/// The most candidates that a message names.
pub(super) const NAMED: usize = 8;

/// Finds what these words name; `again`: also what a statement in the head removed.
///
/// # Errors
/// [`Code::Usage`] for a word that names nothing, or several things.
pub(super) fn asked(words: &[String], admitted: &Admitted<'_>, again: bool) -> Result<Asked> {
    let (set, mut out) = (admitted.set(), Asked::default());
    let none = Removed::default();
    let (index, removed) = (set.signed(), if again { &none } else { set.removed() });
    let images = || index.images.iter().enumerate().filter(|(at, _)| !removed.images.contains(at));
    let of = |which: &dyn Fn(&Image) -> bool| -> BTreeSet<usize> {
        images().filter(|(_, image)| which(image)).map(|(at, _)| at).collect()
    };
    for word in words {
        if word.starts_with("manifests/") || word.starts_with("signatures/") {
            let at = index.files.iter().position(|file| file.path == *word).filter(|at| !removed.files.contains(at));
            out.files.insert(at.ok_or_else(|| nothing(word, "mirror-bundle ls BUNDLE --manifests lists the files"))?);
            continue;
        }
        let found = if let Some(version) = word.strip_prefix("release:") {
            let named = |r: &&crate::bundle::index::Release| {
                r.version == version || format!("{}-{}", r.version, r.architecture) == version
            };
            let digests: BTreeSet<Digest> = index.releases.iter().filter(named).map(|r| r.digest).collect();
            if digests.len() > 1 {
                return Err(Error::new(Code::Usage, format!("`{word}` names {} releases", digests.len()))
                    .hint("add the architecture: release:VERSION-ARCH"));
            }
            of(&|image| image.kind == Kind::Release && digests.contains(&image.digest))
        } else if let Some(name) = word.strip_prefix("component:") {
            of(&|image| image.component.as_deref() == Some(name))
        } else if let Ok(digest) = word.parse::<Digest>() {
            let found = of(&|image| image.digest == digest);
            if found.is_empty() && admitted.document(&digest).is_some() {
                return Err(Error::new(Code::Usage, format!("{digest} is part of an image, not one of its own"))
                    .state("nothing was written")
                    .hint("name the image: it can be removed as a whole only"));
            }
            found
        } else {
            named(word, &|| images().map(|(at, image)| (at, image.clone())).collect())?
        };
        if found.is_empty() {
            return Err(nothing(word, "mirror-bundle ls BUNDLE lists the images"));
        }
        if !word.starts_with("component:") {
            let component = found.iter().map(|at| &index.images[*at]).find(|image| image.kind == Kind::Component);
            if let Some(image) = component {
                return Err(of_a_release(word, image, index));
            }
        }
        out.images.extend(found);
    }
    Ok(out)
}

/// The error for a component that is named as any image.
fn of_a_release(word: &str, image: &Image, index: &Index) -> Error {
    let (name, of) = (image.component.as_deref().unwrap_or_default(), image.release.unwrap_or(image.digest));
    let version = index.releases.iter().find(|r| r.digest == of).map_or("?", |r| r.version.as_str());
    Error::new(Code::Policy, format!("`{word}` is the component {name} of release {version}"))
        .state("nothing was written")
        .hint(format!(
            "remove release:{version}; or component:{name}, if the receiving host lets reviewers remove that"
        ))
}

fn nothing(word: &str, hint: &str) -> Error {
    Error::new(Code::Usage, format!("`{word}` is not in the bundle")).state("nothing was written").hint(hint)
}

/// The images with a name: the whole reference, or the end of exactly one, with or without its tag.
fn named(word: &str, images: &dyn Fn() -> Vec<(usize, Image)>) -> Result<BTreeSet<usize>> {
    let word = word.strip_prefix("docker://").unwrap_or(word);
    let all = images();
    let of = |which: &dyn Fn(&Image) -> bool| -> Vec<&(usize, Image)> {
        all.iter().filter(|(_, image)| which(image)).collect()
    };
    let mut found = of(&|image| image.display() == word || with_digest(image) == word);
    if found.is_empty() {
        let ends = |text: &str| text == word || text.strip_suffix(word).is_some_and(|before| before.ends_with('/'));
        let attached = |image: &Image| matches!(image.kind, Kind::Signature | Kind::Referrer);
        let loose = |image: &Image| ends(&image.display()) || image.repository.as_deref().is_some_and(ends);
        found = of(&|image| !attached(image) && loose(image));
        let names: BTreeSet<String> = found.iter().map(|(_, image)| image.display()).collect();
        if names.len() > 1 {
            let text = format!("`{word}` names {} images", names.len());
            let err = Error::new(Code::Usage, text).state("nothing was written");
            let err = names.into_iter().take(NAMED).fold(err, Error::fact);
            return Err(err.hint("name one with its tag, or by its digest"));
        }
    }
    Ok(found.into_iter().map(|(at, _)| *at).collect())
}

fn with_digest(image: &Image) -> String {
    image.repository.as_deref().map(|repository| format!("{repository}@{}", image.digest)).unwrap_or_default()
}

/// Everything that is removed then, what was removed before included.
///
/// # Errors
/// [`Code::Policy`] for a Kubernetes file that is about removed releases and others.
pub(super) fn expand(asked: &Asked, admitted: &Admitted<'_>) -> Result<Removed> {
    let set = admitted.set();
    let (index, mut removed) = (set.signed(), set.removed().clone());
    removed.images.extend(&asked.images);
    removed.files.extend(&asked.files);
    let mut reached;
    loop {
        let before = removed.images.len();
        let gone: Vec<&Image> = removed.images.iter().map(|at| &index.images[*at]).collect();
        let alone = |kind: Kind| matches!(kind, Kind::Additional | Kind::Release | Kind::GraphData);
        let same: BTreeSet<Digest> = gone.iter().filter(|i| alone(i.kind)).map(|i| i.digest).collect();
        let releases: BTreeSet<Digest> = gone.iter().filter(|i| i.kind == Kind::Release).map(|i| i.digest).collect();
        let left: BTreeSet<Digest> = of_others(index, &removed).map(|image| image.digest).collect();
        reached = removal::reached(of_others(index, &removed), |digest| admitted.document(digest));
        let goes = |image: &Image| {
            same.contains(&image.digest)
                || image.release.is_some_and(|release| releases.contains(&release))
                || image.subject.is_some_and(|subject| !reached.contains(&subject))
                || image.derived.as_ref().is_some_and(|from| !left.contains(&from.base))
        };
        removed.images.extend((0..index.images.len()).filter(|at| goes(&index.images[*at])));
        if removed.images.len() == before {
            break;
        }
    }
    for (at, file) in index.files.iter().enumerate().skip(2).filter(|(at, _)| !set.removed().files.contains(at)) {
        let goes = match file.path.strip_prefix("signatures/sha256=").and_then(|path| path.split('/').next()) {
            Some(hex) => Digest::from_hex(hex).is_ok_and(|digest| !reached.contains(&digest)),
            None => map(&file.path, admitted, &reached)?,
        };
        if goes {
            removed.files.insert(at);
        }
    }
    removed.blobs.extend((0..index.blobs.len()).filter(|at| !reached.contains(&index.blobs[*at].digest)));
    Ok(removed)
}

fn of_others<'a>(index: &'a Index, removed: &'a Removed) -> impl Iterator<Item = &'a Image> {
    index.images.iter().enumerate().filter(|(at, _)| !removed.images.contains(at)).map(|(_, image)| image)
}

/// Whether a Kubernetes file holds signatures of images that are gone, and of no others.
fn map(path: &str, admitted: &Admitted<'_>, reached: &BTreeSet<Digest>) -> Result<bool> {
    let Some((_, bytes)) = admitted.files(path).find(|(own, _)| *own == path) else { return Ok(false) };
    let Ok(manifest) = kubernetes::read(bytes) else { return Ok(false) };
    if !signature_map::is_signature_map(&manifest.value) {
        return Ok(false);
    }
    let entries = signature_map::parse(&manifest.value).unwrap_or_default();
    let gone = entries.iter().filter(|entry| !reached.contains(&entry.digest)).count();
    match gone {
        0 => Ok(false),
        n if n == entries.len() => Ok(true),
        _ => Err(Error::new(Code::Policy, format!("`{path}` holds signatures of what is removed, and of what is not"))
            .state("nothing was written")
            .hint(format!("to remove the file too: --remove {path}"))),
    }
}
