//! What makes an index whole beyond its JSON: names, orders, sizes, and that its parts agree (MB-IDX-02 to MB-IDX-07).

use std::collections::{BTreeMap, BTreeSet};

use super::{Blob, Exception, GRAPH_DATA, Image, Index, Kind, Release};
use crate::bundle::{limits, name};
use crate::oci::{Digest, Platform, Tag, media_type};

impl Index {
    /// Validates the whole index beyond its JSON (MB-IDX-02 to MB-IDX-06).
    pub(in crate::bundle) fn check(&self) -> Result<(), String> {
        text("name", &self.name)?;
        if self.name.is_empty() {
            return Err("`name` is empty".to_owned());
        }
        time("created", &self.created)?;
        if let Some(expires) = &self.expires {
            time("expires", expires)?;
            if *expires <= self.created {
                return Err("`expires` is not after `created`".to_owned());
            }
        }
        if self.mtime() >= 1 << 33 {
            return Err("`sourceDateEpoch` does not fit a tar header".to_owned());
        }
        if self.base.is_some() {
            return Err("`base` needs a feature that this version does not know".to_owned());
        }
        sorted("exceptions", self.exceptions.iter())?;
        if self.exceptions.len() > limits::EXCEPTIONS {
            return Err(format!("more than {} exceptions", limits::EXCEPTIONS));
        }
        for entry in &self.exceptions {
            text("exceptions", entry)?;
            entry.parse::<Exception>()?;
        }
        let graphs = self.images.iter().filter(|image| image.kind == Kind::GraphData).count();
        let needed: &[&str] = if graphs > 0 { &[GRAPH_DATA] } else { &[] };
        if self.features.incompatible != needed {
            return Err("`features.incompatible` is not what the images need".to_owned());
        }
        if graphs > 1 {
            return Err("more than one image holds an update graph".to_owned());
        }
        if !self.features.compatible.is_empty() {
            return Err("`features.compatible` is not empty".to_owned());
        }
        sorted("releases", self.releases.iter().map(|r| (&r.version, &r.architecture, &r.digest)))?;
        self.check_files()?;
        self.check_blobs()?;
        sorted("images", self.images.iter().map(Image::key))?;
        self.check_images()?;
        for missing in &self.missing {
            text("missing", &missing.reference)?;
            text("missing", &missing.reason)?;
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), String> {
        let mut total = 0u64;
        for (at, file) in self.files.iter().enumerate() {
            name::check(&file.path).map_err(|why| format!("unsafe path `{}` (entry {}): {why}", file.path, at + 1))?;
            let place = place(&file.path);
            let fixed = matches!((at, place), (0, Some(0)) | (1, Some(1)));
            if place.is_none() || (at < 2) != fixed || (at >= 2 && place < Some(2)) {
                return Err(format!("file `{}` is not one of format 1, or out of place", file.path));
            }
            check_place(&file.path).map_err(|why| format!("file `{}` {why}", file.path))?;
            total = total.saturating_add(file.size);
            let limit = match place {
                Some(2) => limits::KUBERNETES_FILE,
                Some(3) => limits::RELEASE_SIGNATURE,
                _ => limits::INDEX,
            };
            if file.size > limit {
                return Err(format!("file `{}` has {} bytes, over the limit of {limit}", file.path, file.size));
            }
            for object in &file.objects {
                for part in [&object.api_version, &object.kind, &object.name].into_iter().chain(&object.namespace) {
                    text("objects", part)?;
                }
            }
            if !file.objects.is_empty() && place != Some(2) {
                return Err(format!("file `{}` cannot hold Kubernetes objects", file.path));
            }
        }
        if self.files.len() < 2 {
            return Err("`oci-layout` and `index.json` are not listed".to_owned());
        }
        if total > limits::FILES {
            return Err(format!("the files have {total} bytes together, over the limit of {}", limits::FILES));
        }
        sorted("files", self.files.iter().map(|f| (place(&f.path), &f.path)))?;
        // A directory and a file of the same name cannot both be unpacked.
        let mut parents = BTreeSet::new();
        for file in &self.files {
            parents.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
        }
        match self.files.iter().find(|f| parents.contains(f.path.as_str())) {
            Some(file) => Err(format!("`{}` is a file and a directory", file.path)),
            None => Ok(()),
        }
    }

    fn check_blobs(&self) -> Result<(), String> {
        sorted("blobs", self.blobs.iter().map(Blob::order))?;
        let mut digests = BTreeSet::new();
        let (mut documents, mut total) = (0u64, 0u64);
        for blob in &self.blobs {
            if !digests.insert(blob.digest) {
                return Err(format!("blob {} is listed twice", blob.digest));
            }
            let limit = if blob.role.is_document() { limits::DOCUMENT } else { limits::BLOB };
            if blob.size > limit {
                return Err(format!("blob {} has {} bytes, over the limit of {limit}", blob.digest, blob.size));
            }
            if blob.role.is_document() {
                documents = documents.saturating_add(blob.size);
            }
            total = total.saturating_add(blob.size);
        }
        if documents > limits::DOCUMENTS || total > limits::BUNDLE {
            return Err("the blobs are larger than this version allows".to_owned());
        }
        Ok(())
    }

    fn check_images(&self) -> Result<(), String> {
        let releases: BTreeSet<Digest> = self.releases.iter().map(|r| r.digest).collect();
        let release_images: BTreeSet<Digest> =
            self.images.iter().filter(|i| i.kind == Kind::Release).map(|i| i.digest).collect();
        let mut named = BTreeMap::new();
        for image in &self.images {
            if let Some(tag) = &image.tag
                && *named.entry((&image.repository, tag)).or_insert(image.digest) != image.digest
            {
                return Err(format!("`{}` names two images", image.display()));
            }
            if let Some(repository) = &image.repository {
                check_repository(repository)?;
            }
            if let Some(tag) = &image.tag {
                tag.parse::<Tag>().map_err(|e| e.to_string())?;
            }
            if !media_type::is_index(&image.media_type) && !media_type::is_manifest(&image.media_type) {
                return Err(format!("`{}` is neither an image manifest nor an index", image.media_type));
            }
            text("requestedBy", &image.requested_by)?;
            if let Some(component) = &image.component {
                text("component", component)?;
            }
            for platform in &image.platforms {
                platform.parse::<Platform>().map_err(|e| e.to_string())?;
            }
            let shape = match image.kind {
                Kind::Release => {
                    image.release == Some(image.digest) && image.component.is_none() && image.subject.is_none()
                }
                Kind::Component => image.release.is_some() && image.component.is_some() && image.subject.is_none(),
                Kind::Additional => image.release.is_none() && image.component.is_none() && image.subject.is_none(),
                Kind::Signature | Kind::Referrer => image.component.is_none() && image.subject.is_some(),
                Kind::GraphData => {
                    image.release.is_none()
                        && image.component.is_none()
                        && image.subject.is_none()
                        && image.repository.as_deref() == Some(GRAPH_DATA)
                }
            } && image.derived.is_some() == (image.kind == Kind::GraphData);
            if !shape {
                return Err(format!(
                    "image `{}` does not have the members of a {}",
                    image.display(),
                    image.kind.as_str()
                ));
            }
            if let Some(release) = &image.release
                && !releases.contains(release)
            {
                return Err(format!("image `{}` belongs to a release that is not listed", image.display()));
            }
        }
        // Releases of one version and architecture are neighbours in the sort order.
        let twice = |two: &[Release]| two[0].version == two[1].version && two[0].architecture == two[1].architecture;
        if let Some(two) = self.releases.windows(2).find(|two| twice(two)) {
            return Err(format!("release {} for {} is two different images", two[0].version, two[0].architecture));
        }
        for release in &self.releases {
            for part in [&release.version, &release.architecture].into_iter().chain(&release.signers) {
                text("releases", part)?;
                if part.is_empty()
                    || !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
                {
                    return Err(format!("`{part}` is not a release version, architecture or fingerprint"));
                }
            }
            if !release_images.contains(&release.digest) {
                return Err(format!("release {} has no release image", release.version));
            }
        }
        Ok(())
    }
}

/// The part of the archive that a file belongs to.
pub(super) fn place(path: &str) -> Option<u8> {
    match path {
        "oci-layout" => Some(0),
        "index.json" => Some(1),
        _ if path.starts_with("manifests/") => Some(2),
        _ if path.starts_with("signatures/") => Some(3),
        _ => None,
    }
}

/// Checks the name of a file below `manifests/` or `signatures/`: one that `oc apply -R` reads, or
/// `signatures/sha256=<hex>/signature-<n>` from 1 to [`limits::RELEASE_SIGNATURES`], as in a signature store.
fn check_place(path: &str) -> Result<(), String> {
    if path.starts_with("manifests/") {
        let stem = [".yaml", ".yml", ".json"].iter().find_map(|end| path.strip_suffix(end));
        return match stem {
            Some(stem) if !stem.ends_with('/') => Ok(()),
            _ => Err("is not a .yaml, .yml or .json file".to_owned()),
        };
    }
    let Some(below) = path.strip_prefix("signatures/") else { return Ok(()) };
    let parts = below.strip_prefix("sha256=").and_then(|below| below.split_once("/signature-"));
    let good = parts.is_some_and(|(hex, n)| {
        let number = n.parse::<usize>().ok().filter(|number| number.to_string() == n);
        Digest::from_hex(hex).is_ok() && number.is_some_and(|n| (1..=limits::RELEASE_SIGNATURES).contains(&n))
    });
    if good { Ok(()) } else { Err("is not signatures/sha256=<hex>/signature-<n>".to_owned()) }
}

/// Whether an index can use this as an image's repository: with or without its registry.
pub fn is_repository(text: &str) -> bool {
    check_repository(text).is_ok()
}

/// Checks a repository with or without its registry, as a layout or mirror directory names it.
fn check_repository(text: &str) -> Result<(), String> {
    // It must print exactly as written: a host in another case would not match the scopes of image keys.
    let plain = |text: &str| text.parse::<crate::oci::Repository>().is_ok_and(|r| r.to_string() == text);
    if plain(text) || plain(&format!("localhost/{text}")) {
        return Ok(());
    }
    Err(format!("`{text}` is not a repository"))
}

pub(in crate::bundle) fn text(what: &str, value: &str) -> Result<(), String> {
    // Bidirectional controls and zero-width characters make text look like other text.
    let hides = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if value.len() > limits::TEXT || value.chars().any(|c| c.is_control() || hides(c)) {
        return Err(format!("`{what}` holds control or invisible characters, or more than {} bytes", limits::TEXT));
    }
    Ok(())
}

/// From 1970-01-01 to just before 9999-01-01, in seconds: the range of every calendar library (MB-IDX-03).
const TIMES: std::ops::Range<i64> = 0..253_370_764_800;

pub(in crate::bundle) fn time(what: &str, value: &str) -> Result<(), String> {
    let parsed: Result<jiff::Timestamp, _> = value.parse();
    match parsed {
        Ok(stamp) if value.len() == 20 && stamp.to_string() == value && TIMES.contains(&stamp.as_second()) => Ok(()),
        _ => Err(format!("`{what}` is not a time from 1970 to 9998 written YYYY-MM-DDTHH:MM:SSZ")),
    }
}

fn sorted<T: Ord>(what: &str, items: impl Iterator<Item = T>) -> Result<(), String> {
    let mut last = None;
    for item in items {
        if last.as_ref().is_some_and(|l| *l >= item) {
            return Err(format!("`{what}` is out of order or names something twice"));
        }
        last = Some(item);
    }
    Ok(())
}
