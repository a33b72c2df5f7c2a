//! What the sections say of the same thing: what was done and not done, what is broken, who signed.

use std::collections::{BTreeMap, BTreeSet};

use super::{View, count};
use crate::report::{CheckId, Evidence, Outcome, Report};

/// Why something was not done.
pub(super) struct Undone {
    /// What.
    pub(super) what: String,
    /// Why.
    pub(super) why: String,
    /// Whether the verdict requires it.
    pub(super) required: bool,
}

/// What was not done, required first.
pub(super) fn undone(sheet: &View<'_>) -> Vec<Undone> {
    let mut out: Vec<Undone> = Vec::new();
    let mut add = |what: String, why: String, required: bool| out.push(Undone { what, why, required });
    if sheet.refused {
        add(
            "Everything behind the head".into(),
            "the bundle was refused: no content was read, and no scanner was asked".into(),
            true,
        );
    }
    for one in &sheet.report.not_checked {
        // `rule `two`: why`
        if let Some((rule, why)) = one.reason.strip_prefix("rule `").and_then(|rest| rest.split_once("`: ")) {
            add(format!("Rule {}", crate::escape::name(rule)), crate::escape::sentence(why), one.required);
            continue;
        }
        let what = if one.reason.starts_with("reviewer: ") { "signature of a reviewer" } else { one.id.title() };
        add(capital(what), crate::escape::sentence(&one.reason), one.required);
    }
    match sheet.scan {
        None if sheet.refused => {}
        None => add("Scan".into(), "no scanner was named (--clamd, --scanner, --scanners)".into(), false),
        Some(scan) => {
            if scan.left > 0 || scan.ended.is_some() {
                let why = scan.ended.clone().unwrap_or_else(|| "the run ended before".into());
                add(count(scan.left, "content"), crate::escape::sentence(&why), true);
            }
            if scan.failed > 0 {
                add(count(scan.failed, "content"), "a scanner gave no answer: see “Findings”".into(), true);
            }
            if scan.not_opened > 0 {
                let why = "encrypted, damaged, of an unknown form or over a limit, so nobody looked at all of it: see “Findings”";
                add(format!("{} in full", count(scan.not_opened, "content")), why.into(), true);
            }
        }
    }
    // A rule that asks for them says more.
    let asked = sheet.report.not_checked.iter().any(|one| one.reason.contains("vulnerabilit"));
    match covered(sheet) {
        _ if asked || sheet.refused => {}
        (0, _) => {
            let why = "no results were given (--evidence FILE); this program has no vulnerability data";
            add("Known vulnerabilities".into(), why.into(), false);
        }
        (some, all) if some < all => {
            add("Known vulnerabilities".into(), format!("results were given for {some} of {all} images only"), false);
        }
        _ => {}
    }
    add(
        "What programs do when they run".into(),
        "nothing was executed; no tool can tell this from the bytes".into(),
        false,
    );
    out.sort_by_key(|one| !one.required);
    out
}

/// A fingerprint in groups of four.
pub(super) fn fours(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    chars.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Whether a check is about what the content does, rather than about its bytes and signatures.
pub(super) fn about_content(id: CheckId) -> bool {
    matches!(id.as_str(), "policy" | "layers" | "packages" | "scan" | "manifests")
}

/// Whether a check is about who signed, rather than about the bytes.
fn about_signers(id: CheckId) -> bool {
    [CheckId::BundleSignature, CheckId::ReleaseSignatures, CheckId::ImageSignatures, CheckId::DefaultImagePolicy]
        .contains(&id)
}

/// The checks that found that the bytes are not what the index says.
pub(super) fn broken(report: &Report) -> Vec<&'static str> {
    let failed = report.checks.iter().filter(|check| check.outcome == Outcome::Fail);
    failed.filter(|c| !about_content(c.id) && !about_signers(c.id)).map(|check| check.id.title()).collect()
}

/// Whether enough of those whom this host trusts have signed.
pub(super) fn is_signed(report: &Report) -> bool {
    !report.checks.iter().any(|check| check.id == CheckId::BundleSignature && check.outcome == Outcome::Fail)
}

/// Whether evidence is what a program found, rather than what somebody says of findings.
fn is_scan(evidence: &Evidence) -> bool {
    !matches!(evidence.format, "openvex" | "csaf-vex")
}

/// What other programs found and nobody has closed, from files that the user gave: no check counts it.
pub(super) fn elsewhere(report: &Report) -> Vec<String> {
    let mut out = Vec::new();
    for one in report.evidence.iter().filter(|one| is_scan(one)) {
        let counts = one.open.as_ref().unwrap_or(&one.counts);
        let counts: Vec<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{n} {word}")).collect();
        if !counts.is_empty() {
            out.push(crate::escape::name(&format!("{}: {}", one.tool, counts.join(", "))));
        }
    }
    out
}

/// How many images have results of other programs, and how many there are.
fn covered(sheet: &View<'_>) -> (usize, usize) {
    let about: BTreeSet<&str> = sheet
        .report
        .evidence
        .iter()
        .filter(|one| is_scan(one))
        .flat_map(|one| one.images.iter().map(|image| image.digest.as_str()))
        .collect();
    let images = sheet.facts.map(|facts| facts.images.as_slice()).unwrap_or_default();
    let all: BTreeMap<&str, bool> = images
        .iter()
        .filter(|image| image.runs)
        .map(|image| (image.digest.as_str(), image.listed.iter().any(|digest| about.contains(digest.as_str()))))
        .collect();
    (all.values().filter(|known| **known).count(), all.len())
}

/// With a capital letter.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
