//! What other programs found, from files that they wrote: which image it is about, and how much there is (MB-EVI).
//!
//! Only the members that are needed are read. Nothing here opens a file or knows the time.

mod forms;
mod vex;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::oci::{Digest, json};
use crate::report::{Evidence, EvidenceImage};

pub use vex::close;

/// The largest file, in bytes.
pub const LIMIT: u64 = 16 << 20;
/// The longest name or version, in bytes.
const TEXT: usize = 256;
/// The longest id or purl that is kept of a finding or statement, in bytes.
const NAME: usize = 1024;
/// The most images that one file is listed with.
const IMAGES: usize = 64;

/// A file that was read, and not yet bound to images.
#[derive(Clone, Debug)]
pub struct Parsed {
    format: &'static str,
    tool: String,
    version: Option<String>,
    created: Option<Timestamp>,
    database: Option<Timestamp>,
    counts: BTreeMap<String, u64>,
    about: About,
    /// Vulnerabilities, of a scanner.
    found: Vec<vex::Found>,
    /// What an author says of vulnerabilities.
    statements: Vec<vex::Statement>,
}

/// What a file says that it is about.
#[derive(Clone, Debug, Default)]
struct About {
    /// Digests of manifests or indexes.
    manifests: BTreeSet<Digest>,
    /// Digests of configurations.
    configs: BTreeSet<Digest>,
    /// It has statements about several things, and one of them has to be an image of the bundle.
    several: bool,
}

impl About {
    fn all(&self) -> BTreeSet<Digest> {
        self.manifests.union(&self.configs).copied().collect()
    }
}

/// An image of a bundle.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its reference, else its digest.
    pub name: String,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// Itself and what is below it.
    pub members: Vec<Member>,
}

/// A manifest or index of an image.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its digest.
    pub manifest: Digest,
    /// The digest of the configuration of a manifest.
    pub config: Option<Digest>,
}

impl Image {
    fn manifests(&self) -> BTreeSet<Digest> {
        self.members.iter().map(|member| member.manifest).collect()
    }

    fn configs(&self) -> BTreeSet<Digest> {
        self.members.iter().filter_map(|member| member.config).collect()
    }
}

/// Reads a file.
///
/// # Errors
/// One sentence after the name of the file; what is not acceptable JSON is named with its line.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    if bytes.len() as u64 > LIMIT {
        return Err(format!("is larger than {LIMIT} bytes"));
    }
    json::check(bytes, &[]).map_err(|e| format!("cannot be used: {e}"))?;
    json::no_controls(bytes).map_err(|e| format!("cannot be used: {e}"))?;
    forms::parse(bytes)
}

impl Parsed {
    /// Whether the file cannot say what image it is about, so that the user has to.
    pub fn needs_name(&self) -> bool {
        self.format == forms::SARIF
    }

    /// Finds the images that the file is about. `named` is what the user says that it is about.
    ///
    /// # Errors
    /// One sentence after the name of the file: it is about none of them, or about two at once.
    fn bind(&self, images: &[Image], named: Option<&str>) -> Result<Vec<EvidenceImage>, String> {
        let found = |by: &'static str, wanted: &BTreeSet<Digest>, of: fn(&Image) -> BTreeSet<Digest>| {
            let each = |image: &Image| {
                let same: Vec<Digest> = of(image).intersection(wanted).copied().collect();
                let name = image.name.clone();
                same.into_iter().map(move |digest| EvidenceImage {
                    image: name.clone(),
                    digest: digest.to_string(),
                    by,
                })
            };
            images.iter().flat_map(each).collect::<BTreeSet<EvidenceImage>>()
        };
        if self.needs_name() {
            let named = named.ok_or("does not say what image it is about: name the image with --for")?;
            let digest: BTreeSet<Digest> = named.parse().into_iter().collect();
            let mut all = found("named", &digest, Image::manifests);
            all.extend(found("named", &digest, Image::configs));
            for image in images.iter().filter(|image| image.name == named) {
                all.insert(EvidenceImage { image: image.name.clone(), digest: image.digest.to_string(), by: "named" });
            }
            return match all.is_empty() {
                true => Err(format!("is said to be about `{named}`, which is not in the bundle")),
                false => Ok(all.into_iter().take(IMAGES).collect()),
            };
        }
        let manifests = found("manifest", &self.about.manifests, Image::manifests);
        let configs = found("config", &self.about.configs, Image::configs);
        if manifests.is_empty() && configs.is_empty() {
            let digests = self.about.manifests.iter().chain(&self.about.configs).next();
            return Err(match digests {
                Some(digest) => format!("is about an image that is not in the bundle: {digest}"),
                None => "does not name an image by its digest".to_owned(),
            });
        }
        let names = |set: &BTreeSet<EvidenceImage>| set.iter().map(|one| one.image.clone()).collect::<BTreeSet<_>>();
        let apart = !manifests.is_empty() && !configs.is_empty() && names(&manifests).is_disjoint(&names(&configs));
        if apart && !self.about.several {
            return Err("names the manifest of one image and the configuration of another".to_owned());
        }
        let all = if manifests.is_empty() { configs } else { manifests };
        Ok(all.into_iter().take(IMAGES).collect())
    }

    /// What goes into the report, if the file is about images of the bundle.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn evidence(
        &self,
        (file, sha256): (&str, &Digest),
        images: &[Image],
        named: Option<&str>,
        now: Timestamp,
    ) -> Result<Evidence, String> {
        let images = self.bind(images, named)?;
        let age = self.database.or(self.created).map(|time| now.duration_since(time).as_hours().div_euclid(24));
        Ok(Evidence {
            file: file.to_owned(),
            sha256: sha256.hex(),
            format: self.format,
            tool: self.tool.clone(),
            version: self.version.clone(),
            created: self.created.map(|time| time.to_string()),
            database: self.database.map(|time| time.to_string()),
            age_days: age,
            images,
            counts: self.counts.clone(),
            open: None,
            closed: Vec::new(),
            more_closed: 0,
        })
    }
}

/// A name or version for the report.
fn short(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > TEXT || text.chars().any(char::is_control) {
        return Err(format!("has no usable {what}"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
