//! Evidence of other programs, bound to the images of a bundle.

use crate::error::{Code, Error, Result};
use crate::evidence::{self, Image, Member, Parsed};
use crate::graph::Closure;
use crate::oci::{Digest, Document, parse};
use crate::report::Evidence;
use crate::verify::Admitted;

/// The files that the user named.
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<(String, Digest, Parsed)>,
    /// The image that a file is about which cannot say so itself.
    named: Option<String>,
}

impl Files {
    /// Reads the content of files, each with its name.
    ///
    /// # Errors
    /// [`Code::Usage`] for a file that cannot be used, and for a name that no file needs.
    pub fn read(files: Vec<(String, Vec<u8>)>, named: Option<String>) -> Result<Files> {
        let one = |(name, bytes): (String, Vec<u8>)| match evidence::parse(&bytes) {
            Ok(parsed) => Ok((name, Digest::of(&bytes), parsed)),
            Err(why) => Err(unusable(&name, &why)),
        };
        let files = files.into_iter().map(one).collect::<Result<Vec<_>>>()?;
        if named.is_some() && !files.iter().any(|(_, _, parsed)| parsed.needs_name()) {
            return Err(Error::new(Code::Usage, "--for is for SARIF: other evidence says itself what it is about"));
        }
        Ok(Files { files, named })
    }

    /// What goes into the report.
    ///
    /// # Errors
    /// [`Code::Usage`] when a file is about something else than images of this bundle.
    pub(super) fn bind(&self, admitted: &Admitted<'_>, now: jiff::Timestamp) -> Result<Vec<Evidence>> {
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        let images = images(admitted)?;
        let one = |(name, digest, parsed): &(String, Digest, Parsed)| {
            parsed.evidence((name, digest), &images, self.named.as_deref(), now).map_err(|why| unusable(name, &why))
        };
        let mut bound = self.files.iter().map(one).collect::<Result<Vec<_>>>()?;
        let parsed: Vec<(&str, &Parsed)> = self.files.iter().map(|(name, _, parsed)| (name.as_str(), parsed)).collect();
        evidence::close(&parsed, &mut bound, &images);
        Ok(bound)
    }
}

fn unusable(name: &str, why: &str) -> Error {
    Error::new(Code::Usage, format!("the evidence `{name}` {why}"))
}

/// The images of a bundle, with every digest by which a program may name them.
fn images(admitted: &Admitted<'_>) -> Result<Vec<Image>> {
    let mut closure = Closure::default();
    let mut out = Vec::new();
    for image in &admitted.index().images {
        let mut one = Image { name: image.display(), digest: image.digest, members: Vec::new() };
        let root = closure.add(&image.descriptor(), &mut |digest: &Digest| Ok(admitted.document(digest)))?;
        for node in closure.below([root]) {
            let Some(media_type) = &node.document else { continue };
            let document = admitted.document(&node.digest).and_then(|bytes| parse(bytes, media_type).ok());
            let config = match document {
                Some(Document::Manifest(manifest)) => Some(manifest.config.digest),
                _ => None,
            };
            one.members.push(Member { manifest: node.digest, config });
        }
        out.push(one);
    }
    Ok(out)
}
