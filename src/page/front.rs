//! The first page: complete in itself.

use super::block::Tag;
use super::block::{Block, Decision, Line, Span, Table, code, digest, name, prose, small, strong, text};
use super::findings::{Open, counted, unnamed};
use super::state::{self, Undone, undone};
use super::{FRONT, Saying, View, count, grouped, time};
use crate::report::{CheckId, Report, Severity, size};

/// The first page.
pub(super) fn page(sheet: &View<'_>) -> Vec<Block> {
    let (saying, all, undone) = (sheet.saying, &sheet.open, undone(sheet));
    let made = &sheet.made;
    let clock = if made.given { "the time that --at gave" } else { "clock of this host" };
    let mut head = vec![
        text(format!("mirror-bundle {} on host ", made.version)),
        strong(crate::escape::name(&made.host)),
        text(format!(" at {}, {clock}.", time(&made.at))),
    ];
    if !made.document.is_empty() {
        head.extend([text(" Data: the document of -o json, "), digest(format!("sha256:{}", made.document))]);
    }
    let mut out = vec![
        Block::Title(format!("Review of {}", sheet.title())),
        Block::Note(head),
        Block::Verdict {
            bad: sheet.is_against(),
            word: saying.words().to_owned(),
            sentence: sentence(sheet, saying, all, &undone),
            rows: rows(sheet, all, &undone),
        },
        Block::Sub("Index digest: the identity of this bundle".to_owned()),
    ];
    match sheet.hex() {
        Some(hex) => {
            out.push(Block::Aloud(hex.to_owned()));
            out.push(Block::Note(vec![text(
                "Compare it with what the builder tells you by another way than the medium. Signatures, records, removals and \
                 receipts are over this digest.",
            )]));
        }
        None => out.push(Block::Text(vec![strong("It could not be read.")])),
    }
    out.push(Block::Facts(facts(sheet)));
    vouched(sheet, &mut out);
    not_done(undone, &mut out);
    out.push(Block::Heading("Decision".to_owned()));
    let mut about = Vec::new();
    about.extend(sheet.hex().map(|hex| digest(format!("index sha256:{hex}"))));
    about.extend(sheet.report.proof.log.iter().flat_map(|place| [Span::Break, code(place.to_string())]));
    out.push(Block::Decision(Decision {
        choices: vec![
            Span::Tick("import as it is"),
            Span::Tick("import after removal of"),
            Span::Blank(30),
            Span::Tick("do not import"),
        ],
        fields: vec![
            text("Change or ticket: "),
            Span::Blank(20),
            text("Label and serial number of the medium: "),
            Span::Blank(20),
        ],
        persons: ["Reviewer: name, date, signature", "Second person: name, date, signature"],
        about,
    }));
    out.push(Block::NewPage);
    out
}

/// The verdict in a sentence.
fn sentence(sheet: &View<'_>, saying: Saying, all: &[Open], undone: &[Undone]) -> Line {
    let worst = || all.iter().find(|one| one.tag == Tag::Error).map(|one| one.title.clone()).unwrap_or_default();
    let required = undone.iter().filter(|one| one.required).count();
    let mut out = match saying {
        Saying::Refused => vec![
            strong("The bundle was refused, and nothing of its content was looked at: "),
            text(crate::escape::name(&worst())),
            text("."),
        ],
        _ => {
            let bytes = match (state::broken(sheet.report).is_empty(), state::is_signed(sheet.report)) {
                (true, true) if sheet.trusted.required.is_empty() => {
                    "The bytes are what its index says; no signature is required here."
                }
                (true, true) if away(sheet) => "The bytes that are here are what was signed; others are not here.",
                (true, true) => "The bytes are what was signed.",
                (false, true) => "The bytes are NOT what was signed.",
                (_, false) => "Whoever made it is NOT one whom this host trusts.",
            };
            vec![text(format!("{bytes} This run has ")), strong(counted(sheet, all)), text(".")]
        }
    };
    if required > 0 {
        out.push(text(" "));
        out.push(strong(format!(
            "{} not done.",
            if required == 1 { "1 required check was".to_owned() } else { format!("{required} required checks were") }
        )));
    }
    let accepted = sheet.report.accepted.iter().map(|one| one.findings).sum::<u64>();
    if accepted > 0 {
        out.push(text(format!(
            " {} accepted.",
            if accepted == 1 { "1 finding is".to_owned() } else { format!("{accepted} findings are") }
        )));
    }
    out
}

/// The parts of the verdict.
fn rows(sheet: &View<'_>, all: &[Open], undone: &[Undone]) -> Vec<(&'static str, Line)> {
    let report = sheet.report;
    let mut out = vec![("Integrity", integrity(sheet)), ("Signatures", signed(sheet)), ("Release", releases(sheet))];
    out.push(("Content", content(sheet, all)));
    if let Some(rules) = &report.policy {
        let checks = || report.checks.iter().filter(|check| check.id == CheckId::Policy);
        let found = checks().map(|c| c.findings.len() as u64 + c.more).sum::<u64>();
        let undone = report.not_checked.iter().any(|one| one.id == CheckId::Policy && one.required);
        let open = |severity: Severity| checks().flat_map(|check| &check.findings).any(|one| one.severity == severity);
        let word = match undone {
            _ if open(Severity::Error) || checks().next().is_none() => "NOT HELD",
            true => "NOT ALL CHECKED",
            false if open(Severity::Warning) => "HELD, WITH WARNINGS",
            false => "HELD",
        };
        let said = format!(
            " {}; {}, {} accepted",
            count(rules.rules, "rule"),
            count(found, "finding"),
            report.accepted.iter().map(|one| one.findings).sum::<u64>()
        );
        out.push(("Rules", vec![strong(word), text(said)]));
    }
    let elsewhere = state::elsewhere(report);
    if !elsewhere.is_empty() {
        out.push(("Evidence", vec![strong("OTHERS FOUND"), text(format!(" {}", listed(&elsewhere)))]));
    }
    let removed: Vec<&str> = report.removals.iter().filter(|one| one.obeyed).map(|one| one.words.as_str()).collect();
    if !removed.is_empty() {
        out.push(("Removed", vec![strong(removed.join("; ")), text(": see below, and “What was removed”")]));
    }
    let mut required: Vec<&str> = undone.iter().filter(|one| one.required).map(|one| one.what.as_str()).collect();
    let all_required = required.len();
    required.dedup();
    out.push((
        "Not done",
        match required.as_slice() {
            [] => vec![
                strong("NOTHING REQUIRED"),
                text(format!(" {} besides: see below", count(undone.len(), "other thing"))),
            ],
            some => vec![strong(format!("{all_required} REQUIRED")), text(" "), text(listed(some))],
        },
    ));
    out
}

/// The first names, and how many more there are.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let mut out: Vec<String> = names.iter().take(FRONT).map(|name| crate::escape::name(name.as_ref())).collect();
    if names.len() > FRONT {
        out.push(format!("and {} more", names.len() - FRONT));
    }
    out.join("; ")
}

fn integrity(sheet: &View<'_>) -> Line {
    if sheet.refused {
        return vec![strong("NOT LOOKED AT"), text(" the head of the bundle was refused")];
    }
    let digests = sheet.report.checks.iter().find(|check| check.id == CheckId::BlobDigests);
    let read = digests
        .map(|c| format!("{} of {} blobs, {}", grouped(c.examined), grouped(c.of), c.details.join(", ")))
        .unwrap_or_default();
    let failed = state::broken(sheet.report);
    match failed.is_empty() {
        true if away(sheet) => {
            vec![strong("NOT ALL IS HERE"), text(format!(" {read}; others that it does not carry were not checked"))]
        }
        true if digests.is_some_and(|c| c.examined == c.of) => {
            vec![strong("VERIFIED"), text(format!(" {read}; every byte was read"))]
        }
        true => vec![strong("NOT FULLY READ"), text(format!(" {read}"))],
        false => vec![strong("FAILED"), text(format!(" {}", listed(&failed)))],
    }
}

/// Whether blobs that the bundle does not carry were not read from elsewhere either.
fn away(sheet: &View<'_>) -> bool {
    sheet.report.not_checked.iter().any(|one| one.id == CheckId::RestoredBlobs)
}

/// The distinct keys with a good signature in a role.
fn good(report: &Report, role: &str) -> usize {
    let mut keys: Vec<&str> = report
        .signatures
        .iter()
        .filter(|s| s.is_good() && s.role.as_deref() == Some(role))
        .filter_map(|s| s.key.as_deref())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn signed(sheet: &View<'_>) -> Line {
    let report = sheet.report;
    if sheet.trusted.required.is_empty() {
        return vec![strong("NOT REQUIRED"), text(" --allow-unsigned: anyone could have made this bundle")];
    }
    let missing = |(role, need): &(&'static str, usize)| *role != "reviewer" && good(report, role) < *need;
    let word = if sheet.trusted.required.iter().any(missing) { "NOT ENOUGH" } else { "ENOUGH" };
    let part = |(role, need): &(&'static str, usize)| match good(report, role) {
        0 if *role == "reviewer" => "reviewer: not yet".to_owned(),
        have => format!("{have} of {need} {role}"),
    };
    let mut parts: Vec<String> = sheet.trusted.required.iter().map(part).collect();
    if !sheet.trusted.required.iter().any(|(role, _)| *role == "reviewer") {
        parts.push(if good(report, "reviewer") == 0 {
            "reviewer: not yet".to_owned()
        } else {
            count(good(report, "reviewer"), "reviewer")
        });
    }
    if sheet.is_against() {
        // What a reviewer approved was not this.
        parts.retain(|part| !part.contains("reviewer") || part.ends_with("not yet"));
    }
    vec![strong(word), text(format!(" {}", parts.join(", ")))]
}

fn releases(sheet: &View<'_>) -> Line {
    let releases = &sheet.report.releases;
    if sheet.refused {
        return vec![strong("NOT LOOKED AT")];
    }
    if releases.is_empty() {
        return vec![strong("NONE"), text(" there is no OpenShift release in it")];
    }
    let names: Vec<String> = releases.iter().map(|r| format!("{} {}", r.version, r.architecture)).collect();
    let word = if releases.iter().all(|release| release.signed) { "SIGNED" } else { "NOT SIGNED" };
    vec![strong(word), text(format!(" {}", listed(&names)))]
}

fn content(sheet: &View<'_>, all: &[Open]) -> Line {
    if sheet.refused {
        return vec![strong("NOT LOOKED AT")];
    }
    let errors: Vec<&Open> = all.iter().filter(|one| one.tag == Tag::Error).collect();
    let scanners = sheet.scan.map(|scan| {
        let names: Vec<String> = scan.scanners.iter().map(|used| used.identity.name.clone()).collect();
        format!("{} by {}", count(scan.contents, "content"), listed(&names))
    });
    let scanned = scanners.unwrap_or_else(|| "no scanner was asked".to_owned());
    match errors.as_slice() {
        [] if sheet.scan.is_none() => vec![strong("NOT SCANNED"), text(format!(" {scanned}; no errors otherwise"))],
        [] => {
            let accepted = sheet.scan.iter().flat_map(|scan| &scan.findings).any(|one| one.accepted.is_some());
            vec![strong(if accepted { "CLEAN EXCEPT WHAT IS ACCEPTED" } else { "CLEAN" }), text(format!(" {scanned}"))]
        }
        some => {
            let titles: Vec<String> = some.iter().take(2).map(|one| one.title.clone()).collect();
            let all = some.len() as u64 + unnamed(sheet);
            let more = all.saturating_sub(2);
            let more = if more > 0 { format!("; and {} more", grouped(more)) } else { String::new() };
            let word = if all == 1 { "1 ERROR".to_owned() } else { format!("{} ERRORS", grouped(all)) };
            [vec![strong(word), text(" ")], prose(&format!("{}{more} ({scanned})", titles.join("; ")))].concat()
        }
    }
}

/// Which bundle, from where, compared with what.
fn facts(sheet: &View<'_>) -> Vec<(&'static str, Line)> {
    let (report, bundle) = (sheet.report, &sheet.report.bundle);
    let mut out = Vec::new();
    let created = bundle.created.as_deref().map(|at| format!(", created {}", time(at))).unwrap_or_default();
    let number = bundle.sequence.map(|n| format!(", number {n}")).unwrap_or_default();
    if let Some(called) = &bundle.name {
        out.push(("Bundle", vec![strong(crate::escape::title(called)), text(format!("{number}{created}"))]));
    }
    out.push((
        "File",
        vec![name(&bundle.path), text(format!(", {} bytes ({})", grouped(bundle.bytes), size(bundle.bytes)))],
    ));
    out.push((
        "Compared with",
        match &sheet.since {
            None => vec![text("nothing: no older bundle was named (--since OLD)")],
            Some(since) => vec![
                strong(&since.title),
                text(match since.releases.as_slice() {
                    [] => format!("; {}, index ", crate::escape::name(&since.standing)),
                    some => format!(" ({}); {}, index ", listed(some), crate::escape::name(&since.standing)),
                }),
                code(
                    since
                        .index
                        .strip_prefix("sha256:")
                        .unwrap_or(&since.index)
                        .get(..16)
                        .unwrap_or_default()
                        .to_owned()
                        + "…",
                ),
            ],
        },
    ));
    let exceptions: Vec<&String> = report.exceptions.iter().collect();
    out.push((
        "Exceptions",
        match exceptions.as_slice() {
            [] => vec![text("none")],
            some => {
                let mut line: Line = Vec::new();
                for one in some.iter().take(FRONT) {
                    line.extend([name(one), text(" ")]);
                }
                if some.len() > FRONT {
                    line.push(text(format!("and {} more: see “Checks”", some.len() - FRONT)));
                }
                line
            }
        },
    ));
    for removal in report.removals.iter().filter(|one| one.obeyed).take(FRONT) {
        out.push(("Removed", vec![text(crate::escape::name(&removal.sentence()))]));
    }
    if let Some(place) = &report.proof.log {
        out.push(("Log", vec![code(place.to_string()), small(" the line of this run in the log of this host")]));
    }
    out
}

/// Who signed: each with the full fingerprint.
fn vouched(sheet: &View<'_>, out: &mut Vec<Block>) {
    out.push(Block::Heading("Who vouches for it".to_owned()));
    let against = sheet.is_against();
    let mut rows = Vec::new();
    let mut hidden = 0;
    for one in &sheet.report.signatures {
        if against && one.role.as_deref() == Some("reviewer") && one.is_good() {
            hidden += 1;
            continue;
        }
        let outcome = if one.is_good() { "✓ good".to_owned() } else { one.outcome.to_string() };
        rows.push(vec![
            vec![text(one.role.as_deref().unwrap_or("?"))],
            vec![text(one.name.as_deref().map_or_else(|| "not in the policy".to_owned(), crate::escape::name))],
            vec![code(one.key.as_deref().unwrap_or("?"))],
            vec![text(outcome)],
        ]);
    }
    let more = rows.len().saturating_sub(FRONT + 1);
    rows.truncate(FRONT + 1);
    if good(sheet.report, "reviewer") == 0 {
        let names: Vec<String> = sheet.trusted.reviewers.iter().map(|(name, _)| name.clone()).collect();
        let names = if names.is_empty() { "no reviewer is in this host's policy".to_owned() } else { listed(&names) };
        let key = match sheet.trusted.reviewers.as_slice() {
            [(_, key)] => vec![code(key)],
            _ => vec![],
        };
        rows.push(vec![vec![text("reviewer")], vec![text(names)], key, vec![text("not yet")]]);
    }
    for release in sheet.report.releases.iter().take(FRONT) {
        let user =
            release.user_id.as_deref().map_or_else(String::new, |user| format!("{} for ", crate::escape::name(user)));
        let key = release.key.as_deref().map_or_else(Vec::new, |key| vec![code(state::fours(key))]);
        rows.push(vec![
            vec![text("release")],
            vec![text(format!("{user}{} {}", release.version, release.architecture))],
            key,
            vec![if release.signed { text("✓ good") } else { strong("NOT SIGNED") }],
        ]);
    }
    if rows.is_empty() {
        out.push(Block::Text(vec![strong("Nobody."), text(" No signature was found.")]));
    } else {
        let head = &["Role", "Name in the policy", "Key fingerprint", "Outcome"];
        out.push(Block::Table(Table { class: "v", head, rows }));
    }
    let mut note: Line = Vec::new();
    if let Some(digest_of) = &sheet.report.trust_policy {
        note.extend([text("Trust policy "), digest(digest_of)]);
        note.push(text(". "));
    }
    note.push(text("Names are those of this host; nothing is taken from the bundle."));
    if more > 0 {
        note.push(text(format!(" {}: see “Signatures and records”.", count(more, "more signature"))));
    }
    if hidden > 0 {
        note.push(text(format!(
            " {} older than this page, and no approval of what it says: see “Signatures and records”.",
            if hidden == 1 {
                "The signature of a reviewer is".to_owned()
            } else {
                format!("{hidden} signatures of reviewers are")
            }
        )));
    }
    out.push(Block::Note(note));
}

fn not_done(undone: Vec<Undone>, out: &mut Vec<Block>) {
    out.push(Block::Heading("What was not done, and why".to_owned()));
    let most = FRONT + 2;
    let more = undone.len().saturating_sub(most);
    let row = |one: Undone| {
        let required = if one.required { strong("yes") } else { text("no") };
        let what = if one.required { strong(one.what) } else { text(one.what) };
        vec![vec![what], prose(&one.why), vec![required]]
    };
    let rows = undone.into_iter().take(most).map(row).collect();
    out.push(Block::Table(Table { class: "u", head: &["Not done", "Why", "Required"], rows }));
    if more > 0 {
        out.push(Block::Note(vec![text(format!("And {more} more: see “Checks”."))]));
    }
}
