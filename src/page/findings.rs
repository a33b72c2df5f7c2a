//! What was found, the worst first, with room for a decision and the command that removes it.

use std::collections::BTreeSet;

use super::block::{Block, Line, Span, Table, Tag, bold, code, digest, name, prose, small, strong, text};
use super::{LISTED, NOTICES, View, count};
use crate::content::facts::Fact;
use crate::report::{Accepted, Finding, Severity};
use crate::scan::{self, Outcome, Spot};

/// The most places, facts and images that are named of one finding.
const PLACES: usize = 6;
/// From how many findings on those that are alike stand together, and how many of them.
const ALIKE: usize = 4;
const TOGETHER: usize = 20;

/// One finding, wherever it is from.
pub(super) struct Open {
    /// How bad it is.
    pub(super) tag: Tag,
    /// Its order among those that are as bad.
    rank: u8,
    /// Its code.
    pub(super) code: String,
    /// Whether it is about something that was not done, rather than about something that is there.
    pub(super) undone: bool,
    /// What it is, in a sentence.
    pub(super) title: String,
    /// Where it is, and what else is known.
    lines: Vec<Line>,
    /// What can be removed against it.
    remove: Vec<String>,
}

/// All findings, the worst first.
pub(super) fn all(sheet: &View<'_>) -> Vec<Open> {
    let mut out: Vec<Open> = Vec::new();
    for check in &sheet.report.checks {
        for finding in &check.findings {
            let tag = match finding.severity {
                Severity::Error => Tag::Error,
                Severity::Warning => Tag::Warning,
                Severity::Notice => Tag::Notice,
            };
            let mut lines: Vec<Line> = Vec::new();
            if !finding.subject.is_empty() && !finding.message.contains(&finding.subject) {
                lines.push(vec![shown(&finding.subject)]);
            }
            lines.extend(finding.facts.iter().take(PLACES).map(|fact| vec![small(fact)]));
            lines
                .extend(finding.hint.iter().filter(|_| tag == Tag::Error).map(|hint| vec![small(format!("→ {hint}"))]));
            // The last of those of 10 to 49 comes first.
            let exit = finding.code.exit();
            let rank = if finding.code.is_verdict() { exit } else { 99 };
            out.push(Open {
                tag,
                rank,
                code: finding
                    .rule
                    .as_ref()
                    .map_or_else(|| finding.code.to_string(), |rule| format!("rule {}", crate::escape::name(rule))),
                undone: exit == 42,
                title: bare(finding),
                lines,
                remove: against(sheet, finding),
            });
        }
    }
    let open = sheet.scan.iter().flat_map(|scan| &scan.findings).filter(|finding| finding.accepted.is_none());
    for finding in open {
        out.push(of_scan(sheet, finding));
    }
    for (fact, (places, more)) in sheet.scan.iter().flat_map(|scan| &scan.notices) {
        out.push(of_fact(*fact, places, *more));
    }
    out.sort_by_key(|one| (one.tag, one.rank));
    out
}

/// The message; the rule stands beside it.
fn bare(finding: &Finding) -> String {
    let rule = finding.rule.as_ref().map(|rule| format!("rule `{rule}`: ")).unwrap_or_default();
    finding.message.strip_prefix(&rule).unwrap_or(&finding.message).to_owned()
}

/// What can be removed against a finding: its subject, else the images that its facts name.
fn against(sheet: &View<'_>, finding: &Finding) -> Vec<String> {
    let mut out: Vec<String> = sheet.removable(&finding.subject).into_iter().collect();
    if !out.is_empty() {
        return out;
    }
    for fact in &finding.facts {
        if let Some(image) = fact.strip_prefix("image ") {
            out.extend(sheet.removable(image));
        } else if let Some(layer) = fact.strip_prefix("layer ") {
            let has = sheet.facts.iter().flat_map(|facts| &facts.images);
            let has = has.filter(|image| image.layers.iter().any(|one| one.digest == layer));
            let images: BTreeSet<String> = has.filter_map(|image| sheet.removable(&image.digest)).collect();
            // A layer of many images is removed with all of them: that is no proposal.
            out.extend(images.into_iter().take(PLACES + 1));
        }
    }
    out.dedup();
    if out.len() > PLACES { Vec::new() } else { out }
}

/// A digest or a name.
fn shown(subject: &str) -> Span {
    let is_digest = subject.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64);
    if is_digest { digest(subject) } else { name(subject) }
}

fn of_scan(sheet: &View<'_>, finding: &scan::Finding) -> Open {
    let by = finding.scanner.as_deref().unwrap_or("content");
    let files = count(finding.places.len() as u64 + finding.more_places, "place");
    let what = if finding.names.is_empty() {
        let kind = finding.reason.map(|reason| reason.as_str());
        [kind, finding.why.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ")
    } else {
        finding.names.join(", ")
    };
    let title = match finding.outcome {
        Outcome::Found => format!("{by} found {what} in {files}"),
        Outcome::Failed => format!("{by} gave no answer: {what}"),
        Outcome::NotOpened => format!("not opened to its end, so nobody looked at all of it: {what}"),
        Outcome::Warning => format!("{by}: {what}"),
    };
    let mut lines: Vec<Line> = finding.places.iter().take(PLACES).map(place).collect();
    let more = finding.places.len().saturating_sub(PLACES) as u64 + finding.more_places;
    if more > 0 {
        lines.push(vec![small(format!("and {}", count(more, "more place")))]);
    }
    lines.extend(finding.sha256.iter().map(|hex| vec![digest(format!("sha256:{hex}"))]));
    let mut remove: Vec<String> = Vec::new();
    for spot in &finding.places {
        let images = spot.origin.images.iter().map(String::as_str).chain([spot.origin.what.as_str()]);
        for one in images.filter_map(|image| sheet.removable(image)) {
            if !remove.contains(&one) {
                remove.push(one);
            }
        }
    }
    let (tag, rank) = match finding.outcome {
        Outcome::Found => (Tag::Error, 35),
        Outcome::Failed => (Tag::Error, 42),
        Outcome::NotOpened => (Tag::Error, 43),
        Outcome::Warning => (Tag::Warning, 50),
    };
    let undone = matches!(finding.outcome, Outcome::Failed | Outcome::NotOpened);
    Open { tag, rank, code: finding.outcome.as_str().to_owned(), undone, title, lines, remove }
}

/// `IMAGE:/PATH`, or the blob or file.
fn place(spot: &Spot) -> Line {
    let path = spot.path.trim_start_matches('/');
    let path = if path.is_empty() || path.starts_with('!') { path.to_owned() } else { format!("/{path}") };
    let path = crate::escape::name(&path);
    match spot.origin.images.as_slice() {
        [] => vec![name(&spot.origin.what), code(path)],
        [image] => vec![name(image), text(" "), code(path)],
        [image, more @ ..] => {
            vec![name(image), text(" "), code(path), small(format!(" and in {}", count(more.len(), "other image")))]
        }
    }
}

fn of_fact(fact: Fact, places: &[Vec<Spot>], more: u64) -> Open {
    let mut lines: Vec<Line> = places.iter().filter_map(|spots| spots.first()).take(PLACES).map(place).collect();
    let all = places.len() as u64 + more;
    if all > lines.len() as u64 {
        lines.push(vec![small(format!("and {} more", all - lines.len() as u64))]);
    }
    let title = format!("{}: {}", count(all, "file"), fact.sentence());
    let (tag, rank, code) = (Tag::Notice, 60, fact.as_str().to_owned());
    Open { tag, rank, code, undone: false, title, lines, remove: Vec::new() }
}

/// How many errors there are that no finding of the report names.
pub(super) fn unnamed(sheet: &View<'_>) -> u64 {
    sheet.report.checks.iter().map(|check| check.more_errors).sum()
}

/// How many there are of each kind, in words.
pub(super) fn counted(sheet: &View<'_>, all: &[Open]) -> String {
    let unnamed = if sheet.refused { 0 } else { unnamed(sheet) };
    let of =
        |tag: Tag| all.iter().filter(|one| one.tag == tag).count() as u64 + if tag == Tag::Error { unnamed } else { 0 };
    let words = [(Tag::Error, "error"), (Tag::Warning, "warning"), (Tag::Notice, "notice")];
    let parts: Vec<String> = words
        .into_iter()
        .map(|(tag, word)| (of(tag), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| count(n, word))
        .collect();
    match parts.as_slice() {
        [] => "no findings".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The section.
pub(super) fn section(sheet: &View<'_>, out: &mut Vec<Block>) {
    let all = &sheet.open;
    out.push(Block::Heading("Findings, worst first".to_owned()));
    if all.is_empty() && sheet.report.accepted.is_empty() {
        out.push(Block::Text(vec![text("Nothing was found by what ran. What did not run is on the first page.")]));
    }
    let mut rows = Vec::new();
    let (mut notices, mut dropped) = (0, 0u64);
    for group in groups(all) {
        notices += group.iter().filter(|one| one.tag == Tag::Notice).count();
        if rows.len() >= LISTED || notices > NOTICES {
            dropped += group.len() as u64;
            continue;
        }
        rows.push(row(group));
    }
    if !rows.is_empty() {
        out.push(Block::Table(Table { class: "f", head: &["Severity", "What and where", "Decision, initials"], rows }));
    }
    let more =
        dropped + sheet.report.checks.iter().map(|c| c.more).sum::<u64>() + sheet.scan.map_or(0, |s| s.more_findings);
    if more > 0 {
        out.push(Block::Text(vec![
            strong(format!("{} are not on this page.", count(more, "more finding"))),
            text(" So many are not kept one by one; the numbers and the exit code count them all."),
        ]));
    }
    let mut remove: Vec<String> = Vec::new();
    for one in all.iter().filter(|one| one.tag == Tag::Error).flat_map(|one| &one.remove) {
        if !remove.contains(one) {
            remove.push(one.clone());
        }
    }
    if !remove.is_empty() {
        out.push(Block::Note(prose(
            "Against all errors at once; leave out what is accepted. The receiving hosts must allow the removal (`removals` in their trust policy):")));
        out.push(Block::Commands(vec![sheet.scrub(&remove)]));
    }
    accepted(sheet, out);
}

/// Findings in a row that one rule or check has of many things, and that are no errors, are one row.
fn groups(all: &[Open]) -> impl Iterator<Item = &[Open]> {
    let alike = |a: &Open, b: &Open| a.tag != Tag::Error && (a.tag, &a.code) == (b.tag, &b.code);
    all.chunk_by(alike).flat_map(|chunk| chunk.chunks(if chunk.len() >= ALIKE { TOGETHER } else { 1 }))
}

/// One finding, or several that are alike.
fn row(group: &[Open]) -> Vec<Line> {
    let Some(one) = group.first() else { return Vec::new() };
    let mut what: Line = Vec::new();
    for other in group {
        if !what.is_empty() {
            what.push(Span::Break);
        }
        what.extend(bold(&other.title));
        if group.len() > 1 {
            continue;
        }
        for line in &other.lines {
            what.push(Span::Break);
            what.extend(line.iter().cloned());
        }
    }
    let remove: Vec<&String> = group.iter().flat_map(|one| &one.remove).collect();
    if group.len() > 1 {
        let facts = one.lines.first().into_iter().flatten().cloned();
        what.push(Span::Break);
        what.extend(facts);
    } else if !remove.is_empty() {
        what.push(Span::Break);
        what.push(small("removed by "));
        let options: Vec<String> =
            remove.iter().take(PLACES).map(|what| format!("--remove {}", crate::escape::shell(what))).collect();
        what.push(code(options.join(" ")));
    }
    let decision = match one.tag {
        Tag::Notice => vec![Span::Tick("seen")],
        _ => vec![Span::Tick("accept"), Span::Tick("remove"), Span::Break, Span::Blank(90)],
    };
    vec![vec![Span::Tag(one.tag), Span::Break, small(&one.code)], what, decision]
}

fn accepted(sheet: &View<'_>, out: &mut Vec<Block>) {
    let all = &sheet.report.accepted;
    if all.is_empty() {
        return;
    }
    out.push(Block::Sub(format!("Accepted: {}", count(all.iter().map(|one| one.findings).sum::<u64>(), "finding"))));
    let row = |one: &Accepted| {
        let by_what = match (&one.rule, &one.scanner) {
            (Some(rule), _) => format!("rule {}", crate::escape::name(rule)),
            (None, Some(scanner)) => format!("scanner {}", crate::escape::name(scanner)),
            (None, None) => String::new(),
        };
        let mut what = vec![shown(&one.subject), Span::Break, strong(crate::escape::name(&one.decision.reason))];
        for closed in one.closed.iter().take(PLACES) {
            what.push(Span::Break);
            what.extend(prose(closed));
        }
        let by = vec![
            text(crate::escape::name(&one.decision.by)),
            Span::Break,
            small(format!("until {}, {}", crate::escape::name(&one.decision.until), count(one.findings, "finding"))),
        ];
        vec![vec![Span::Tag(Tag::Accepted), Span::Break, small(by_what)], what, by]
    };
    let rows = all.iter().take(LISTED).map(row).collect();
    out.push(Block::Table(Table { class: "f", head: &["By which rule", "What, and why", "By, until"], rows }));
}
