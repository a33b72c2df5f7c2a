//! Rules about images.

use jiff::Timestamp;

use super::facts::ImageFacts;
use super::findings::{Findings, Found};
use super::{Images, Policy, What, Without};
use crate::pattern::matches;
use crate::report::size;

impl Images {
    /// Whether it says nothing about which images.
    pub(super) fn is_all(&self) -> bool {
        self.outside.is_empty()
            && self.within.is_empty()
            && self.digest.is_empty()
            && self.architecture.is_empty()
            && self.kinds.is_empty()
            && self.size_over.is_none()
            && !self.needs_runs()
    }

    /// Whether it is about images only that a runtime can start.
    pub(super) fn needs_runs(&self) -> bool {
        let times = self.older_than.is_some() || self.newer_than.is_some();
        self.unsigned || !self.without.is_empty() || times || self.root
    }

    /// What of it an image is, in words; `None`: the rule does not match it.
    fn matches(&self, image: &ImageFacts, now: Timestamp) -> Option<String> {
        let mut is: Vec<String> = Vec::new();
        if self.needs_runs() && !image.runs {
            return None;
        }
        if !self.outside.is_empty() {
            let away = image.repositories.iter().find(|repository| !self.outside.any(repository));
            match (away, image.repositories.is_empty()) {
                (Some(away), _) => is.push(format!("is from `{away}`, outside the allowed repositories")),
                (None, true) => is.push("says no repository that it is from".to_owned()),
                (None, false) => return None,
            }
        }
        if !self.within.is_empty() {
            let there = image.repositories.iter().find(|repository| self.within.any(repository))?;
            is.push(format!("is from `{there}`"));
        }
        if !self.digest.is_empty() {
            let mut own = image.listed.iter().chain([&image.digest]);
            is.push(format!("has the digest {}", own.find(|digest| self.digest.contains(*digest))?));
        }
        if !self.architecture.is_empty() {
            let own = image.architecture.as_ref().filter(|own| self.architecture.contains(*own))?;
            is.push(format!("is for {own}"));
        }
        if !self.kinds.is_empty() {
            let kind = image.kinds.iter().find(|kind| self.kinds.contains(**kind))?;
            is.push(format!("is of the kind {kind}"));
        }
        if self.unsigned {
            if !image.signed_by.is_empty() {
                return None;
            }
            is.push("has no signature by a key of the trust policy".to_owned());
        }
        for without in &self.without {
            let (there, name) = match without {
                Without::Sbom => (image.attached.iter().any(|one| one.kind == "sbom"), "SBOM".to_owned()),
                Without::Attestation(of) => {
                    let there = image.attached.iter().any(|one| one.kind != "signature" && matches(of, &one.r#type));
                    (there, format!("attestation {of}"))
                }
            };
            if there {
                return None;
            }
            is.push(format!("carries no {name}"));
        }
        // Of an image that does not say when it was made, nobody can say that it is new enough, or old enough.
        let made = image.newest_layer.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        let age = made.map(|made| now.duration_since(made).as_secs());
        for (limit, older) in [(self.older_than, true), (self.newer_than, false)] {
            let Some(limit) = limit else { continue };
            if age.is_some_and(|age| if older { age <= limit } else { age >= limit }) {
                return None;
            }
            is.push(match &image.newest_layer {
                Some(time) if made.is_some() => format!("has its newest layer of {time}"),
                _ => "does not say when its newest layer was made".to_owned(),
            });
        }
        if let Some(limit) = self.size_over {
            if image.size <= limit {
                return None;
            }
            is.push(format!("has {}", size(image.size)));
        }
        if self.root {
            let user = image.user.split(':').next().unwrap_or_default();
            let root = user == "root" || user.bytes().all(|b| b == b'0');
            if !root {
                return None;
            }
            is.push("runs as root".to_owned());
        }
        Some(is.join(", "))
    }
}

impl Policy {
    /// Evaluates the rules about images for one of them.
    pub fn image(&self, image: &ImageFacts, now: Timestamp, into: &mut Findings<'_>) {
        for (rule, of) in self.rules() {
            let What::Images(images) = &of.what else { continue };
            let Some(what) = images.matches(image, now) else { continue };
            let subject = image.names.first().unwrap_or(&image.digest).clone();
            let mut facts = vec![format!("image {}", image.digest)];
            facts.extend(image.names.iter().skip(1).take(16).map(|name| format!("also called {name}")));
            let mut keys = vec![image.digest.clone()];
            keys.extend(image.listed.iter().filter(|digest| **digest != image.digest).cloned());
            into.find(rule, Found { subject, what, facts, keys });
        }
    }
}
