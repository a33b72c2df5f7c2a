//! What was checked, by whom it was signed, what others say, and how to check it without this program.

use super::block::{Block, Line, Span, Table, code, digest, name, small, strong, text};
use super::{LISTED, View, count, grouped, state, time};
use crate::report::{Check, Outcome, Vouched};
use crate::scan::Used;

/// The most vulnerabilities that are named as closed.
const CLOSED: usize = 20;

/// Who removed what, and why.
pub(super) fn removals(sheet: &View<'_>, out: &mut Vec<Block>) {
    if sheet.report.removals.is_empty() {
        return;
    }
    out.push(Block::Heading("What was removed".to_owned()));
    let mut rows = Vec::new();
    for one in &sheet.report.removals {
        let who = one.name.as_deref().map_or_else(|| "not in the policy".to_owned(), crate::escape::name);
        let mut by = vec![strong(who), text(format!(" as {}", one.role))];
        by.extend(one.key.iter().flat_map(|key| [Span::Break, code(key)]));
        by.extend([
            Span::Break,
            small(format!("{}, {}", time(&one.created), if one.obeyed { "obeyed here" } else { "not obeyed here" })),
        ]);
        by.extend(one.detail.iter().flat_map(|why| [Span::Break, small(crate::escape::name(why))]));
        let mut what = vec![text("“"), strong(crate::escape::name(&one.reason)), text("”")];
        for gone in one.images.iter().chain(&one.files).take(LISTED) {
            what.extend([Span::Break, name(gone)]);
        }
        if one.more > 0 {
            what.extend([Span::Break, small(format!("and {} more", one.more))]);
        }
        what.extend([Span::Break, small(format!("{} that nothing else needs", count(one.blobs, "blob")))]);
        rows.push(vec![by, what]);
    }
    out.push(Block::Table(Table { class: "u2", head: &["By whom", "What, and why"], rows }));
}

/// Every check.
pub(super) fn checks(sheet: &View<'_>, out: &mut Vec<Block>) {
    out.push(Block::Heading("Checks".to_owned()));
    let row = |check: &Check| {
        let outcome = match check.outcome {
            Outcome::Pass => text("✓ pass"),
            Outcome::Fail => strong("FAILED"),
        };
        let examined = if check.of > 0 {
            format!("{} of {}", grouped(check.examined), grouped(check.of))
        } else {
            "none".to_owned()
        };
        let details = check.details.iter().map(|d| crate::escape::name(d)).collect::<Vec<_>>().join("; ");
        vec![vec![text(state::capital(check.id.title()))], vec![outcome], vec![text(examined)], vec![small(details)]]
    };
    let mut rows: Vec<Vec<Line>> = sheet.report.checks.iter().map(row).collect();
    for one in state::undone(sheet) {
        let required = if one.required { strong("NOT DONE, required") } else { text("not done") };
        rows.push(vec![vec![text(one.what)], vec![required], vec![], vec![small(one.why.replace('`', ""))]]);
    }
    out.push(Block::Table(Table { class: "k", head: &["Check", "Outcome", "Examined", "Details"], rows }));
    if !sheet.report.exceptions.is_empty() {
        let mut line = vec![strong("Exceptions:")];
        for exception in sheet.report.exceptions.iter().take(LISTED) {
            line.extend([Span::Break, name(exception)]);
        }
        out.push(Block::Text(line));
    }
    scanners(sheet, out);
    if let Some(rules) = &sheet.report.policy {
        out.push(Block::Text(vec![
            text("Rules: "),
            name(&rules.file),
            text(format!(", {}, ", count(rules.rules, "rule"))),
            digest(format!("sha256:{}", rules.sha256.trim_start_matches("sha256:"))),
        ]));
    }
}

fn scanners(sheet: &View<'_>, out: &mut Vec<Block>) {
    let Some(scan) = sheet.scan else { return };
    out.push(Block::Sub("Scanners".to_owned()));
    let row = |used: &Used| {
        let id = &used.identity;
        let database = match (&id.database, id.database_time.and_then(|t| jiff::Timestamp::from_second(t).ok())) {
            (Some(version), Some(time)) => format!("database {version} of {}", time.strftime("%Y-%m-%d")),
            (Some(version), None) => format!("database {version}"),
            (None, _) => "database without a version".to_owned(),
        };
        let proof = match &used.proof {
            None => "not asked in this run: all verdicts are of earlier runs".to_owned(),
            Some(proof) if !proof.made => "no proof was asked of it, so no OK of it counts".to_owned(),
            Some(proof) => {
                let forms: Vec<String> = proof.forms.iter().map(|(form, depth)| format!("{form} {depth}")).collect();
                let opens = if forms.is_empty() {
                    "opens no archive".to_owned()
                } else {
                    format!("opens {} (levels)", forms.join(", "))
                };
                format!("found the test file up to {}; {opens}", crate::report::size(proof.size))
            }
        };
        vec![
            vec![strong(crate::escape::name(&id.name)), text(format!(" {}", crate::escape::name(&id.version)))],
            vec![text(crate::escape::name(&database)), Span::Break, code(crate::escape::name(&id.how))],
            vec![small(proof)],
        ]
    };
    let rows = scan.scanners.iter().map(row).collect();
    out.push(Block::Table(Table {
        class: "e",
        head: &["Scanner", "Data, and how it is asked", "What it has shown"],
        rows,
    }));
    let earlier = match scan.earlier.count {
        0 => String::new(),
        n => {
            format!(" {} from earlier runs on this host, by the same scanners with the same data.", count(n, "verdict"))
        }
    };
    out.push(Block::Text(vec![text(format!(
        "{} in {}, {} in archives: {} clean, {} found, {} not opened, {} failed.{earlier}",
        count(scan.contents, "different content"),
        crate::report::size(scan.bytes),
        count(scan.members, "member"),
        grouped(scan.clean),
        grouped(scan.found),
        grouped(scan.not_opened),
        grouped(scan.failed),
    ))]));
}

/// What others say: evidence that the user gave, and what the sender claims.
pub(super) fn evidence(sheet: &View<'_>, out: &mut Vec<Block>) {
    let report = sheet.report;
    if !report.evidence.is_empty() {
        out.push(Block::Heading("Evidence of other programs".to_owned()));
        let mut rows = Vec::new();
        for one in &report.evidence {
            let version = one.version.as_deref().unwrap_or_default();
            let age = match one.age_days.map(u64::try_from) {
                None => "of unknown age".to_owned(),
                Some(Err(_)) => "data of the FUTURE".to_owned(),
                Some(Ok(days)) => format!("data {} old", count(days, "day")),
            };
            let counts: Vec<String> =
                one.counts.iter().map(|(word, n)| format!("{n} {}", crate::escape::name(word))).collect();
            let counts = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
            let mut found = vec![text(counts)];
            if let Some(open) = &one.open {
                let open: Vec<String> =
                    open.iter().map(|(word, n)| format!("{n} {}", crate::escape::name(word))).collect();
                let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
                let all = one.closed.len() as u64 + one.more_closed;
                found.extend([Span::Break, strong(format!("open: {open}")), text(format!("; {all} closed by VEX:"))]);
                for closed in one.closed.iter().take(CLOSED) {
                    let line = format!("{} {}, says {}", closed.id, closed.status.replace('_', " "), closed.author);
                    found.extend([Span::Break, small(crate::escape::name(&line))]);
                }
                if all > CLOSED as u64 {
                    found.extend([Span::Break, small(format!("and {} more", all - CLOSED as u64))]);
                }
            }
            let mut about: Line = Vec::new();
            for image in one.images.iter().take(8) {
                about.extend([name(&image.image), Span::Break]);
            }
            if one.images.len() > 8 {
                about.push(small(format!("and {} more", one.images.len() - 8)));
            }
            rows.push(vec![
                vec![
                    strong(crate::escape::name(&one.tool)),
                    text(format!(" {}", crate::escape::name(version))),
                    Span::Break,
                    small(format!("{}, {age}", one.format)),
                    Span::Break,
                    name(&one.file),
                    Span::Break,
                    digest(format!("sha256:{}", one.sha256)),
                ],
                found,
                about,
            ]);
        }
        out.push(Block::Table(Table { class: "e", head: &["Program and file", "It found", "About"], rows }));
    }
    claims(sheet, out);
}

/// What the bundle itself brings about its images.
fn claims(sheet: &View<'_>, out: &mut Vec<Block>) {
    let mut rows = Vec::new();
    for one in sheet.report.attestations.iter().take(LISTED) {
        let by = match (&one.signature, &one.key) {
            (Vouched::Verified, Some(key)) => {
                vec![text("signed by a key of this host's policy"), Span::Break, code(key)]
            }
            (Vouched::Unusable, _) => {
                vec![text("not usable: "), text(crate::escape::name(one.detail.as_deref().unwrap_or("?")))]
            }
            _ => vec![text("no key of the policy signed it")],
        };
        rows.push(vec![vec![name(one.predicate_type.as_deref().unwrap_or("?"))], vec![digest(&one.image)], by]);
    }
    let images = sheet.facts.map(|facts| facts.images.as_slice()).unwrap_or_default();
    for image in images {
        for one in image.attached.iter().filter(|one| one.kind != "signature") {
            if rows.len() < LISTED {
                let author = one.author.as_deref().map_or_else(
                    || "it does not say by whom".to_owned(),
                    |a| format!("it says: by {}", crate::escape::name(a)),
                );
                rows.push(vec![
                    vec![text(&one.kind), text(" "), name(&one.r#type)],
                    vec![image.names.first().map_or_else(|| digest(&image.digest), |n| name(n))],
                    vec![text(author)],
                ]);
            }
        }
    }
    if rows.is_empty() {
        return;
    }
    out.push(Block::Heading("What the sender claims".to_owned()));
    out.push(Block::Note(vec![text(
        "SBOMs, VEX and attestations that the bundle carries. They are listed, and fill no check.",
    )]));
    out.push(Block::Table(Table { class: "e", head: &["Claim", "About", "By whom"], rows }));
}

/// All signatures and review records.
pub(super) fn signatures(sheet: &View<'_>, out: &mut Vec<Block>) {
    let report = sheet.report;
    out.push(Block::Heading("Signatures and records".to_owned()));
    let mut rows = Vec::new();
    for one in &report.signatures {
        let mut what = vec![code(one.key.as_deref().unwrap_or("?")), Span::Break, name(&one.origin)];
        what.extend(one.detail.iter().flat_map(|why| [Span::Break, small(crate::escape::name(why))]));
        rows.push(vec![
            vec![text(one.role.as_deref().unwrap_or("?"))],
            vec![text(one.name.as_deref().map_or_else(|| "?".to_owned(), crate::escape::name))],
            what,
            vec![text(one.outcome.to_string())],
        ]);
    }
    for one in report.records.iter().take(LISTED) {
        let mut what = vec![
            code(one.key.as_deref().unwrap_or("?")),
            Span::Break,
            small(format!("record of {}: ", time(&one.created))),
            text(crate::escape::name(&one.note)),
        ];
        what.extend(one.detail.iter().flat_map(|why| [Span::Break, small(crate::escape::name(why))]));
        rows.push(vec![
            vec![text(crate::escape::name(&one.role))],
            vec![text(one.name.as_deref().map_or_else(|| "?".to_owned(), crate::escape::name))],
            what,
            vec![text(one.outcome.to_string())],
        ]);
    }
    if rows.is_empty() {
        out.push(Block::Text(vec![text("There are none.")]));
        return;
    }
    out.push(Block::Note(vec![text(
        "A signature is over the index, and says nothing about this page. A record is never counted.",
    )]));
    out.push(Block::Table(Table { class: "v", head: &["Role", "Name", "Key, where, and note", "Outcome"], rows }));
}

/// How to check this page with tools that everybody has.
pub(super) fn by_hand(sheet: &View<'_>, out: &mut Vec<Block>) {
    if sheet.hex().is_none() {
        return;
    }
    let bundle = crate::escape::shell(&sheet.made.bundle);
    out.push(Block::Heading("How to check this page without this program".to_owned()));
    if sheet.made.bundle == "-" {
        out.push(Block::Text(vec![text(
            "The bundle came from standard input; take the file that it was in for B.tar.",
        )]));
    }
    let bundle = if sheet.made.bundle == "-" { "B.tar".to_owned() } else { bundle };
    out.push(Block::Text(vec![text("The first line must print the index digest of the first page; the second reads every byte; the third, with the builder's public key in "), code("allowed"), text(" as "), code("builder ssh-ed25519 AAAA…"), text(", checks the signature.")]));
    out.push(Block::Commands(vec![
        format!("tar xOf {bundle} mirror-bundle/index.json | sha256sum"),
        format!("mkdir untarred && tar xf {bundle} -C untarred && (cd untarred && sha256sum --quiet -c mirror-bundle/SHA256SUMS)"),
        "ssh-keygen -Y verify -f allowed -I builder -n mirror-bundle.v1.builder -s untarred/mirror-bundle/index.json.sig < untarred/mirror-bundle/index.json".to_owned(),
    ]));
    let signatures = sheet
        .index
        .map(|index| {
            index
                .files
                .iter()
                .filter(|file| file.path.contains("signatures/"))
                .map(|file| file.path.clone())
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    if let Some(one) = signatures.first() {
        out.push(Block::Text(vec![text("The release signature, with the vendor's keys in the keyring of gpg; what it prints names the digest of the release:")]));
        out.push(Block::Commands(vec![format!("gpg --decrypt {}", crate::escape::shell(&format!("untarred/{one}")))]));
    }
}
