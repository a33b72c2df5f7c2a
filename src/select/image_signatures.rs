//! Whether releases from 4.21 on come with the cosign signatures that their clusters demand.

use std::collections::BTreeMap;

use super::Options;
use super::content::Content;
use super::walk::{self, Root};
use crate::bundle::index::{Exception, Kind, Release};
use crate::error::{Code, Error, Result};
use crate::observer::Observer;
use crate::oci::{Descriptor, Digest, Document};
use crate::openshift::image_policy::{self, Image, Part, Signature};
use crate::sign::cosign::{self, simple};

/// The most sentences about images without a good signature.
const SENTENCES: usize = 8;

impl Content {
    /// Refuses a release whose own signature image is missing: a cluster that uses a mirror cannot run it. Then says
    /// whether its image policy is satisfied.
    pub(super) fn image_signatures(
        &mut self,
        options: &Options,
        unserved: &[String],
        observer: &dyn Observer,
    ) -> Result<()> {
        let releases: Vec<Release> =
            self.releases.iter().filter(|r| image_policy::applies(&r.version)).cloned().collect();
        for release in &releases {
            if self.tagged(release).any(|root| root.subject == Some(release.digest)) {
                continue;
            }
            if !options.allow_missing_image_signature {
                let tag = format!("{}.sig", release.digest.dashed());
                let mut error = Error::new(
                    Code::ReleaseUnverified,
                    format!("release {} has no cosign signature image", release.version),
                )
                .fact(format!("expected tag {tag}"))
                .fact("from 4.21 on, clusters with mirrors refuse a release without it");
                let referrers = self.roots.iter().filter(|r| r.kind == Kind::Referrer);
                let of_it = referrers.filter(|r| r.subject == Some(release.digest));
                if let Some((what, root)) = of_it.filter_map(|root| Some((signature_referrer(root)?, root))).next() {
                    error = error
                        .fact(format!("{what} is attached as a referrer, {}", root.document.digest))
                        .fact("the nodes of a cluster read only the `.sig` tag: sign with cosign 2, or with cosign 3 and --new-bundle-format=false");
                }
                for sentence in unserved.iter().filter(|sentence| sentence.starts_with(walk::SIGNATURES)) {
                    error = error.fact(sentence);
                }
                return Err(error
                    .state("no layer was fetched; nothing was written")
                    .hint("use a source that has the tag; to carry it all the same, and have that recorded: --allow-missing-image-signature"));
            }
            observer.warn(&format!(
                "release {} has no cosign signature image; clusters with mirrors will refuse it",
                release.version
            ));
            self.exceptions.insert(Exception::MissingImageSignature);
        }
        releases.iter().try_for_each(|release| self.default_policy(release, options, observer))
    }

    /// The signature images of a release, under the tags where nodes look for them.
    fn tagged(&self, release: &Release) -> impl Iterator<Item = &Root> {
        let digest = release.digest;
        self.roots.iter().filter(move |root| {
            let tag = root.subject.map(|subject| format!("{}.sig", subject.dashed()));
            root.kind == Kind::Signature && root.release == Some(digest) && root.tag == tag
        })
    }

    /// Says whether a release satisfies the default image policy of its cluster.
    fn default_policy(&self, release: &Release, options: &Options, observer: &dyn Observer) -> Result<()> {
        let mut images = Vec::new();
        for root in self.roots.iter().filter(|root| root.release == Some(release.digest)) {
            let (part, name) = match (root.kind, &root.component) {
                (Kind::Release, _) => (Part::Release, "release image"),
                (Kind::Component, Some(name)) => (Part::Component, name.as_str()),
                _ => continue,
            };
            let repository = root.repository.as_deref().filter(|_| part == Part::Component);
            let image = Image { part, name: name.to_owned(), digest: root.document.digest, repository };
            images.extend(image.with_children(walk::parse(&root.document).ok().as_ref()));
        }
        let roots: Vec<&Root> = self.tagged(release).collect();
        let read = options.pace.map(
            &roots,
            || (),
            |(), root| {
                observer.check()?;
                signatures(root)
            },
        )?;
        let mut found: BTreeMap<Digest, Vec<Signature>> = BTreeMap::new();
        for (root, signatures) in roots.iter().zip(read) {
            found.entry(root.subject.unwrap_or(root.document.digest)).or_default().extend(signatures);
        }
        let policy = self.policies.get(&release.digest).cloned().flatten();
        let of = |digest: &Digest| found.get(digest).cloned().unwrap_or_default();
        let said = image_policy::evaluate(policy, &release.version, &images, &of);
        said.lines.iter().for_each(|line| observer.say("Policy", line));
        said.remarks.iter().for_each(|remark| observer.warn(remark));
        if !said.lacking.is_empty() {
            let version = &release.version;
            observer.warn(&format!("release {version} does not satisfy the default image policy of its cluster"));
            said.lacking.iter().take(SENTENCES).for_each(|lack| observer.warn(lack));
            let more = said.lacking.len().saturating_sub(SENTENCES);
            if more > 0 {
                observer.warn(&format!("and {more} more images"));
            }
        }
        Ok(())
    }
}

/// What a referrer is that signs an image in a way that the nodes of a cluster do not read (MB-CRE-03).
fn signature_referrer(root: &Root) -> Option<&'static str> {
    let Ok(Document::Manifest(manifest)) = walk::parse(&root.document) else { return None };
    cosign::signature_referrer(&manifest)
}

/// The signatures in a signature image.
fn signatures(root: &Root) -> Result<Vec<Signature>> {
    let Document::Manifest(manifest) = walk::parse(&root.document)? else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (digest, size, signature) in simple::layers(&manifest) {
        let Some(signature) = signature else { continue };
        let layer = Descriptor::new("application/octet-stream", digest, size);
        out.push(Signature { message: walk::read_blob(root.source.as_ref(), &layer)?, signature });
    }
    Ok(out)
}
