//! What scanners did, as rules see it.

use std::collections::BTreeSet;

use crate::policy::{Findings, Ran};
use crate::scan::{Finding, Summary};

/// The name under which what this program itself could not open is accepted.
const OWN: &str = "mirror-bundle";

/// Notes what the policy accepts of what was found.
pub(super) fn accept(summary: &mut Summary, findings: &mut Findings<'_>) {
    for one in &mut summary.findings {
        let keys = keys(one);
        let scanner = one.scanner.as_deref().unwrap_or(OWN);
        let what = match (one.names.is_empty(), &one.why) {
            (false, _) => one.names.join(", "),
            (true, why) => why.clone().unwrap_or_default(),
        };
        let place = one.places.first().map(|spot| format!("{} {}", spot.origin.what, spot.path)).unwrap_or_default();
        let said = format!("scanner `{scanner}`: {what} in {place}");
        one.accepted = findings.of_scanner(scanner, &keys, &said);
    }
}

/// The subjects that a finding has in all its places.
fn keys(of: &Finding) -> Vec<String> {
    let mut keys: Vec<String> = of.sha256.iter().map(|hex| format!("sha256:{hex}")).collect();
    let places: BTreeSet<String> = of
        .places
        .iter()
        .map(|spot| match (spot.origin.kind, spot.path.as_str()) {
            // A path of an image; else the file of the bundle, with what is in it.
            ("layer", path) if !path.is_empty() => format!("/{path}"),
            (_, path) => format!("{}{path}", spot.origin.what),
        })
        .collect();
    let origins: BTreeSet<&String> = of.places.iter().map(|spot| &spot.origin.what).collect();
    if of.more_places == 0 {
        keys.extend(places.first().filter(|_| places.len() == 1).cloned());
        keys.extend(origins.first().filter(|_| origins.len() == 1).map(|origin| (*origin).clone()));
    }
    keys.dedup();
    keys
}

/// The scanners that went through everything.
pub(super) fn ran(summary: &Summary) -> Vec<Ran> {
    let whole = summary.left == 0 && summary.ended.is_none();
    let used = summary.scanners.iter().filter(|_| whole);
    used.map(|used| Ran {
        name: used.identity.name.clone(),
        database: used.identity.database_time,
        // One that was not asked has earlier verdicts about everything, which it gave after a proof.
        proved: used.proof.as_ref().is_none_or(|proof| proof.made),
    })
    .collect()
}
