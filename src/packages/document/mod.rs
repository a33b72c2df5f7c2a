//! Documents of what an image, or a bundle, consists of: SPDX 2.3 and CycloneDX 1.6 in JSON.
//!
//! The same bundle gives the same bytes: the time is that of the bundle, and all identifiers are made from digests.

mod cyclonedx;
mod spdx;

use std::io::{self, Write};

use super::inventory::{Inventory, Unknown};
use super::purl;
use crate::oci::Digest;

/// A form of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SPDX 2.3
    Spdx,
    /// CycloneDX 1.6
    CycloneDx,
}

impl Format {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Spdx => "spdx",
            Format::CycloneDx => "cyclonedx",
        }
    }
}

/// What a document is about.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The version of this program.
    pub tool: &'a str,
    /// The name of the bundle.
    pub bundle: &'a str,
    /// The digest of its index.
    pub index: Digest,
    /// When it was created.
    pub created: &'a str,
    /// Whether the bundle was verified in the reading that found the packages.
    pub verified: bool,
}

/// One image and its packages.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Its name for people.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The repository it came from.
    pub repository: Option<&'a str>,
    /// Its packages.
    pub inventory: &'a Inventory,
}

/// What a document is for.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// One image.
    Image(&'a Image<'a>),
    /// These images of the bundle.
    Bundle(&'a [Image<'a>]),
}

/// Writes a document.
///
/// # Errors
/// Those of `to`.
pub fn write(format: Format, about: &About<'_>, of: Of<'_>, to: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Spdx => spdx::write(about, of, to),
        Format::CycloneDx => cyclonedx::write(about, of, to),
    }
}

impl Image<'_> {
    fn purl(&self) -> String {
        purl::image(self.repository, &self.digest.to_string())
    }

    /// What is not known about it, one sentence each.
    fn unknowns(&self) -> Vec<String> {
        let sentence = |Unknown { subject, layer, reason, .. }: &Unknown| match layer {
            Some(layer) => format!("{subject} {reason} (layer {layer})"),
            None => format!("{subject} {reason}"),
        };
        let mut out: Vec<String> = self.inventory.unknowns.iter().map(sentence).collect();
        if self.inventory.databases == 0 {
            out.push("the image has no database of packages".to_owned());
        }
        if self.inventory.system.is_none() {
            out.push("the image does not say which system it is (os-release)".to_owned());
        }
        if self.inventory.silent_programs > 0 {
            let programs = self.inventory.silent_programs;
            out.push(format!("{programs} programs do not say what is linked into them"));
        }
        out
    }
}

/// Says in one sentence what the document is based on.
fn basis(about: &About<'_>) -> &'static str {
    match about.verified {
        true => "The bundle was verified in the reading that found these packages.",
        false => "The contents of the bundle were compared with their digests; its signature was not verified.",
    }
}

/// A UUID (RFC 9562, version 8) of what a document is about.
fn uuid(about: &About<'_>, of: Of<'_>, format: Format) -> String {
    let mut text =
        format!("mirror-bundle sbom {}\n{}\n{}\n{}\n", format.as_str(), about.tool, about.index, about.verified);
    match of {
        Of::Image(image) => text.push_str(&format!("{} {}\n", image.name, image.digest)),
        Of::Bundle(images) => {
            images.iter().for_each(|image| text.push_str(&format!("bundle {} {}\n", image.name, image.digest)));
        }
    }
    let mut hex: Vec<char> = Digest::of(text.as_bytes()).hex().chars().take(32).collect();
    hex[12] = '8';
    hex[16] = 'a';
    let part = |from: usize, to: usize| hex[from..to].iter().collect::<String>();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
pub(crate) mod tests;
