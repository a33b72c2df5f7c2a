//! Rules about what has to have been checked here. What the bundle carries never counts.

use jiff::Timestamp;

use super::facts::ImageFacts;
use super::{Checks, Policy, What};
use crate::report::{Evidence, Severity};

/// The forms of evidence that list vulnerabilities; statements (VEX) are none.
const LISTS: [&str; 3] = ["grype", "trivy", "sarif"];

/// How far ahead of the clock of this host data may be, in seconds: what says it is newer has no known age.
const AHEAD: i64 = 86_400;

/// A scanner that went through the whole bundle.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its name.
    pub name: String,
    /// The time of its data, in seconds since 1970, if it says.
    pub database: Option<i64>,
    /// Whether it has shown that it finds something.
    pub proved: bool,
}

impl Checks {
    /// What is missing, in words.
    fn missing(&self, ran: &[Ran], images: &[ImageFacts], evidence: &[Evidence], now: Timestamp) -> Vec<String> {
        let mut out = Vec::new();
        let age = |time: i64| now.as_second().saturating_sub(time);
        let fresh = |time: i64| self.database.is_none_or(|limit| (-AHEAD..=limit).contains(&age(time)));
        let counts = |one: &&Ran| one.proved && (self.database.is_none() || one.database.is_some_and(fresh));
        // An age without anything that has it means at least one scanner.
        let wanted = self.scanners.or((!self.vulnerabilities).then_some(1)).unwrap_or(0);
        let good = ran.iter().filter(counts).count();
        if good < wanted {
            let mut why: Vec<String> = Vec::new();
            for one in ran.iter().filter(|one| !counts(one)) {
                why.push(match (one.proved, one.database) {
                    (false, _) => format!("`{}` has not shown that it finds anything", one.name),
                    (true, None) => format!("`{}` does not say of when its database is", one.name),
                    (true, Some(time)) if age(time) < 0 => format!("the database of `{}` is of the future", one.name),
                    (true, Some(_)) => format!("the database of `{}` is too old", one.name),
                });
            }
            let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) };
            out.push(format!("{good} of {wanted} scanners{why}"));
        }
        if self.vulnerabilities {
            let without: Vec<&ImageFacts> = images
                .iter()
                .filter(|image| {
                    image.runs && !evidence.iter().any(|one| fits(one, image, images, &fresh, self.database))
                })
                .collect();
            if let Some(first) = without.first() {
                let name = first.names.first().unwrap_or(&first.digest);
                let age = if self.database.is_some() { " with data that is new enough" } else { "" };
                out.push(format!(
                    "no evidence of vulnerabilities{age} for {} of {} images, as {name} (--evidence FILE)",
                    without.len(),
                    images.iter().filter(|image| image.runs).count()
                ));
            }
        }
        out
    }
}

/// Whether evidence is about this image, and its data is of a known and good age.
fn fits(one: &Evidence, image: &ImageFacts, all: &[ImageFacts], fresh: &dyn Fn(i64) -> bool, age: Option<i64>) -> bool {
    let time = one.database.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let aged = age.is_none() || time.is_some_and(|time| fresh(time.as_second()));
    // A list stands for an image only if it has no other.
    let alone = |digest: &String| all.iter().filter(|other| other.runs && other.listed.contains(digest)).count() == 1;
    let about = |digest: &String| {
        *digest == image.digest || *digest == image.config || image.listed.contains(digest) && alone(digest)
    };
    LISTS.contains(&one.format) && aged && one.images.iter().any(|bound| about(&bound.digest))
}

impl Policy {
    /// The checks that rules ask for and that did not run: whether the verdict requires them, and why.
    pub fn missing(
        &self,
        ran: &[Ran],
        images: &[ImageFacts],
        evidence: &[Evidence],
        now: Timestamp,
    ) -> Vec<(bool, String)> {
        let mut out = Vec::new();
        for (_, of) in self.rules() {
            let What::Checks(checks) = &of.what else { continue };
            for why in checks.missing(ran, images, evidence, now) {
                out.push((of.severity == Severity::Error, format!("rule `{}`: {why} ({})", of.id, of.reason)));
            }
        }
        out
    }
}
