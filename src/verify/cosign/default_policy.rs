//! MB-VER-17: whether each release from 4.21 on satisfies the default image policy of its cluster.
//!
//! It is said, and is no verdict: a cluster that still runs an earlier release can use the mirror all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::attached::{Attached, Form};
use crate::bundle::index::{self, Index, Kind, Release};
use crate::error::Code;
use crate::oci::{Digest, Invalid, parse};
use crate::openshift::image_policy::{self, Image, ImagePolicy, Part, Signature};
use crate::report::{Check, CheckId, Finding, Report};

/// The policies of the releases whose payload was read.
pub(in crate::verify) type Policies = BTreeMap<Digest, Option<Result<ImagePolicy, Invalid>>>;

/// Says it for every release that the policy applies to.
pub(in crate::verify) fn check(
    index: &Index,
    documents: &BTreeMap<Digest, Vec<u8>>,
    contents: &BTreeMap<Digest, Vec<u8>>,
    policies: &Policies,
    report: &mut Report,
) {
    let releases: Vec<&Release> = index.releases.iter().filter(|r| image_policy::applies(&r.version)).collect();
    if releases.is_empty() {
        return;
    }
    let all = Attached::new(index, documents, contents);
    // Only a signature that gets the tag counts.
    let is_tagged = |image: &&index::Image| {
        let tag = image.subject.map(|subject| format!("{}.sig", subject.dashed()));
        image.kind == Kind::Signature && image.release.is_some() && image.tag == tag
    };
    let tagged: BTreeSet<Digest> = index.images.iter().filter(is_tagged).filter_map(|image| image.subject).collect();
    let signatures = |digest: &Digest| -> Vec<Signature> {
        let layers = all.of(digest).filter(|_| tagged.contains(digest));
        let found = layers.filter_map(|layer| match &layer.form {
            Form::Simple(Some(signature)) => {
                Some(Signature { message: contents.get(&layer.digest)?.clone(), signature: signature.clone() })
            }
            _ => None,
        });
        found.collect()
    };
    let mut check = Check::new(CheckId::DefaultImagePolicy);
    check.of = releases.len() as u64;
    for release in releases {
        let Some(policy) = policies.get(&release.digest) else {
            let reason = format!("the payload of {} could not be read", release.version);
            report.skip(CheckId::DefaultImagePolicy, false, reason);
            continue;
        };
        let images = images(index, release, documents);
        let said = image_policy::evaluate(policy.clone(), &release.version, &images, &signatures);
        let subject = release.digest.to_string();
        for remark in said.remarks {
            check.find(Finding::notice(Code::ImageUnverified, &subject, remark));
        }
        check.examined += u64::from(said.lacking.is_empty());
        if !said.lacking.is_empty() {
            let text = format!("release {} does not satisfy the default image policy of its cluster", release.version);
            let finding = Finding::notice(Code::ImageUnverified, &subject, text);
            let finding = said.lacking.iter().fold(finding, |finding, lack| finding.fact(lack));
            check.find(
                finding.hint(
                    "nodes refuse these images; make the bundle from a source that has their sha256-<hex>.sig tags",
                ),
            );
        }
        check.details.extend(said.lines);
    }
    report.add(check);
}

/// The images that the policy may demand a signature of.
fn images<'a>(index: &'a Index, release: &Release, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<Image<'a>> {
    let mut out = Vec::new();
    for image in index.images.iter().filter(|image| image.release == Some(release.digest)) {
        let (part, repository) = match image.kind {
            Kind::Release => (Part::Release, None),
            Kind::Component => (Part::Component, image.repository.as_deref()),
            _ => continue,
        };
        let name = image.component.clone().unwrap_or_else(|| "release image".to_owned());
        let document = documents.get(&image.digest).and_then(|bytes| parse(bytes, &image.media_type).ok());
        out.extend(Image { part, name, digest: image.digest, repository }.with_children(document.as_ref()));
    }
    out
}
