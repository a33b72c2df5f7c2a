//! Rules about packages: found by name, so that a thousand rules cost no more than one for each package.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};

use super::findings::{Findings, Found};
use super::globs::Globs;
use super::{Packages, Policy, What, facts, purl};
use crate::packages::inventory::Component;
use crate::packages::version::Version;

/// The most different findings that are kept.
const KEPT: usize = 50_000;
/// The most images that are named with a package.
const IMAGES: usize = 16;

/// The rules of a policy that are about packages.
#[derive(Debug)]
pub struct PackageRules<'p> {
    rules: Vec<(usize, &'p Packages, Globs)>,
    names: HashMap<&'p str, Vec<u32>>,
    patterns: Globs,
    /// Rules about licences alone.
    licences: Globs,
}

/// What was found in packages of images: the same package of several images once.
#[derive(Debug, Default)]
pub struct Seen {
    found: BTreeMap<(usize, String), Package>,
    more: BTreeMap<usize, u64>,
}

#[derive(Debug, Default)]
struct Package {
    what: String,
    path: String,
    images: Vec<String>,
    /// The digests of the images, for one that has it alone.
    digests: Vec<String>,
    count: u64,
    base: String,
    version: String,
}

impl<'p> PackageRules<'p> {
    /// Compiles the rules of a policy.
    pub fn new(policy: &'p Policy) -> PackageRules<'p> {
        let mut out = PackageRules {
            rules: Vec::new(),
            names: HashMap::new(),
            patterns: Globs::default(),
            licences: Globs::default(),
        };
        for (rule, of) in policy.rules() {
            let What::Packages(packages) = &of.what else { continue };
            let number = u32::try_from(out.rules.len()).unwrap_or(u32::MAX);
            let lower: Vec<String> = packages.license.iter().map(|pattern| pattern.to_lowercase()).collect();
            for base in &packages.purl {
                match base.contains('*') {
                    true => out.patterns.add(base, number),
                    false => out.names.entry(base).or_default().push(number),
                }
            }
            if packages.purl.is_empty() {
                lower.iter().for_each(|pattern| out.licences.add(pattern, number));
            }
            out.rules.push((rule, packages, lower.iter().collect()));
        }
        out
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Evaluates the rules for the packages of an image, with its name and digests.
    pub fn image(&self, name: &str, digests: &[String], packages: &[Component], seen: &mut Seen) {
        let mut numbers: Vec<u32> = Vec::new();
        // Licences are few.
        let mut licences: HashMap<String, Vec<u32>> = HashMap::new();
        for component in packages {
            let (base, version) = purl::split(&component.purl);
            let package = &component.package;
            let licence = package.licence.as_deref().unwrap_or_default().to_lowercase();
            numbers.clear();
            numbers.extend(self.names.get(base.as_str()).into_iter().flatten());
            self.patterns.matches(base.as_bytes(), &mut |number| numbers.push(number));
            let by_licence = licences.entry(licence).or_insert_with_key(|licence| {
                let mut found = Vec::new();
                self.licences.matches(licence.as_bytes(), &mut |number| found.push(number));
                found
            });
            numbers.extend(by_licence.iter());
            if numbers.is_empty() {
                continue;
            }
            numbers.sort_unstable();
            numbers.dedup();
            let own = facts::version(package);
            let parsed = LazyCell::new(|| Version::parse(package.kind, &own));
            for number in &numbers {
                let (rule, packages, licences) = &self.rules[*number as usize];
                let mut what = Vec::new();
                if let Some((_, range)) = &packages.range {
                    match parsed.as_ref().map(|version| range.has(version)) {
                        Some(false) => continue,
                        Some(true) => what.push(format!("has the version {own}")),
                        None => what.push(format!("has the version `{own}`, which cannot be compared")),
                    }
                }
                if !licences.is_empty() {
                    let licence = package.licence.as_deref().unwrap_or_default();
                    if !licences.any(&licence.to_lowercase()) {
                        continue;
                    }
                    what.push(format!("has the licence `{licence}`"));
                }
                if what.is_empty() {
                    what.push("is there".to_owned());
                }
                let key = (*rule, purl::key(&base, version.as_deref()));
                if seen.found.len() >= KEPT && !seen.found.contains_key(&key) {
                    *seen.more.entry(*rule).or_default() += 1;
                    continue;
                }
                let one = seen.found.entry(key).or_default();
                one.count += 1;
                if one.images.len() < IMAGES && !one.images.iter().any(|image| image == name) {
                    one.images.push(name.to_owned());
                }
                if one.count == 1 {
                    one.what = what.join(", ");
                    one.path = component.places.first().map(|place| place.path.clone()).unwrap_or_default();
                    (one.base, one.version) = (base.clone(), version.clone().unwrap_or_default());
                    one.digests = digests.to_vec();
                } else if one.digests != digests {
                    one.digests.clear();
                }
            }
        }
    }
}

impl Seen {
    /// Hands over what was found.
    pub fn report(self, into: &mut Findings<'_>) {
        for ((rule, subject), one) in self.found {
            let mut facts: Vec<String> = one.images.iter().map(|image| format!("in {image}")).collect();
            let more = one.count.saturating_sub(one.images.len() as u64);
            facts.extend((more > 0).then(|| format!("and {more} times more")));
            facts.extend((!one.path.is_empty()).then(|| format!("at /{}", one.path)));
            let mut keys = vec![subject.clone()];
            keys.extend((!one.version.is_empty()).then_some(one.base));
            keys.extend(one.digests);
            into.find(rule, Found { subject, what: one.what, facts, keys });
        }
        self.more.into_iter().for_each(|(rule, count)| into.more(rule, count));
    }
}
