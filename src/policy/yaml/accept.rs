//! Entries of `accept`.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Read, digest, sentence};
use crate::policy::{Accept, By, Rule, What, purl};
use crate::report::Decision;

/// The longest time for which something can be accepted.
const DAYS: i32 = 366;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccept {
    rule: Option<String>,
    scanner: Option<String>,
    subject: String,
    reason: String,
    by: String,
    until: String,
}

impl RawAccept {
    pub(super) fn accept(
        self,
        rules: &[Rule],
        places: &HashMap<String, usize>,
        now: Timestamp,
    ) -> Read<(Accept, String)> {
        sentence("reason", &self.reason)?;
        sentence("by", &self.by)?;
        let about = About::of(&self.subject)?;
        let by = match (self.rule, self.scanner) {
            (Some(id), None) => {
                let place = *places.get(&id).ok_or_else(|| format!("names the rule `{id}`, which is not there"))?;
                let fits = match (&rules[place].what, &about) {
                    (What::Checks(_), _) => {
                        return Err(format!("names the rule `{id}`: a missing check cannot be accepted"));
                    }
                    (_, About::Digest(_)) => true,
                    (What::Files(_), About::File(_)) => true,
                    (What::Packages(_), About::Package(_)) => true,
                    (What::Manifests(_), About::Member(_)) => true,
                    _ => false,
                };
                if !fits {
                    return Err(format!("can match nothing: the rule `{id}` never finds `{}`", self.subject));
                }
                By::Rule(place)
            }
            (None, Some(name)) if matches!(about, About::Package(_)) => {
                return Err(format!("can match nothing: the scanner `{name}` never finds a package"));
            }
            (None, Some(name)) => By::Scanner(name),
            _ => return Err("must name either a rule or a scanner".to_owned()),
        };
        let not = || format!("has an `until` that is not a day like 2027-06-30: `{}`", self.until);
        let day: Date = self.until.parse().map_err(|_| not())?;
        if self.until.len() != 10 {
            return Err(not());
        }
        let end = day.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC)).map_err(|_| not())?.timestamp();
        let today = now.to_zoned(TimeZone::UTC).date();
        if day.since(today).map_or(true, |ahead| ahead.get_days() > DAYS) {
            return Err(format!("is accepted until {}, more than a year ahead", self.until));
        }
        let decision = Decision { reason: self.reason, by: self.by, until: self.until };
        Ok((Accept { by, subject: self.subject, decision, end }, about.key()))
    }
}

/// What an entry of `accept` is about.
enum About {
    Digest(String),
    Package(String),
    /// A path in images.
    File(String),
    /// A path in the bundle.
    Member(String),
}

impl About {
    fn of(subject: &str) -> Read<About> {
        if subject.starts_with("sha256:") {
            return Ok(About::Digest(digest(subject)?.to_string()));
        }
        if subject.starts_with("pkg:") {
            purl::kind(subject)?;
            let (base, version) = purl::split(subject);
            return Ok(About::Package(purl::key(&base, version.as_deref())));
        }
        let member = subject.split('/').next().is_some_and(|top| !top.is_empty()) && subject.contains('/');
        match subject.starts_with('/') {
            true if subject.len() > 1 => Ok(About::File(subject.to_owned())),
            false if member => Ok(About::Member(subject.to_owned())),
            _ => Err(format!("has the subject `{subject}`: a digest, a purl, /a/path of images, or manifests/FILE")),
        }
    }

    fn key(self) -> String {
        match self {
            About::Digest(text) | About::Package(text) | About::File(text) | About::Member(text) => text,
        }
    }
}
