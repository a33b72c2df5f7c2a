//! Reads back the cosign signatures of images: a container runtime asks for the tag `sha256-<hex>.sig` in the
//! repository that it pulls the image from, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reasons, Registry};
use crate::bundle::index::Kind;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Document, Repository, Tag, parse};
use crate::registry::Wanted;
use crate::sink::destination::Watch;
use crate::verify::Verified;

impl Registry<'_> {
    /// Checks, after everything was pushed, that every signature tag is in the repository of its image, and serves what
    /// was pushed. What the registry refused is reported elsewhere.
    pub(super) fn read_back(&self, verified: &Verified<'_>, watch: &dyn Watch, refused: &Reasons<'_>) -> Result<()> {
        let homes = self.homes(verified)?;
        let mut wanted: BTreeMap<(&Repository, &Tag), Digest> = BTreeMap::new();
        for placement in self.placements.iter().filter(|placement| placement.image.kind == Kind::Signature) {
            let (image, repository) = (placement.image, self.repository(&placement.repository)?);
            let (Some(tag), Some(subject)) = (&placement.tag, image.subject) else { continue };
            if !tag.as_str().ends_with(".sig") || refused.contains_key(&(repository, image.digest)) {
                continue;
            }
            wanted.insert((repository, tag), image.digest);
            let Some(homes) = homes.get(&subject) else { continue };
            if homes.contains(repository) {
                continue;
            }
            let first = homes.first().map(ToString::to_string).unwrap_or_default();
            let text = format!("the signature `{repository}:{tag}` is not in the repository of its image, `{first}`");
            if image.release.is_some() {
                return Err(Error::new(Code::Destination, text).fact("clusters look for it only beside the image"));
            }
            watch.warn(&format!("{text}; whoever pulls the image does not find it"));
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        self.pace.map(
            &wanted,
            || (),
            |(), ((repository, tag), digest)| {
                watch.check()?;
                let confirmed = self.client.confirm_manifest(repository, &Wanted::Tag((*tag).clone()), digest);
                confirmed.map_err(|e| e.state("everything was pushed, and a signature is gone"))
            },
        )?;
        Ok(())
    }

    /// The repositories of each image, and of each image in a list.
    fn homes(&self, verified: &Verified<'_>) -> Result<BTreeMap<Digest, BTreeSet<&Repository>>> {
        let mut homes: BTreeMap<Digest, BTreeSet<&Repository>> = BTreeMap::new();
        for placement in &self.placements {
            let (image, repository) = (placement.image, self.repository(&placement.repository)?);
            if matches!(image.kind, Kind::Signature | Kind::Referrer) {
                continue;
            }
            homes.entry(image.digest).or_default().insert(repository);
            let document = verified.document(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
            if let Some(Document::Index(list)) = document {
                list.manifests.iter().for_each(|child| _ = homes.entry(child.digest).or_default().insert(repository));
            }
        }
        Ok(homes)
    }
}
