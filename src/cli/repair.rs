//! `mirror-bundle repair`

use std::path::PathBuf;

use super::answer::{self, Table};
use super::args::{Global, Output, Repair};
use super::escape::name as named;
use super::term::Terminal;
use super::{inputs, verify};
use crate::error::{Code, Error, Result};
use crate::oci::{Reference, Repository};
use crate::ops::observer;
use crate::ops::repair::{Effect, Options, Origin, Outcome, Summary, repair};
use crate::source::Network;
use crate::verify::Verdict;

/// How many members are listed by name.
const LISTED: usize = 8;

pub(super) fn run(args: &Repair, global: &Global, term: &Terminal) -> Result<u8> {
    if args.bundle.iter().chain(&args.to).any(|path| path.as_os_str() == "-") {
        return Err(Error::new(Code::Usage, "a stream cannot be repaired").hint("name a file"));
    }
    // Volumes on other media are not damaged.
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, true)?;
    let mut options = Options {
        local: Vec::new(),
        origins: Vec::new(),
        recovery: args.recovery.clone(),
        to: args.to.clone(),
        jobs: inputs::processors(global.jobs),
    };
    for from in &args.from {
        let path = PathBuf::from(from);
        if crate::fs::dir::exists(&path) {
            options.local.push(path);
        } else {
            options.origins.push(origin(from)?);
        }
    }
    #[cfg(feature = "registry")]
    let client = match options.origins.is_empty() {
        true => None,
        false => Some(inputs::client(&args.registry, crate::registry::Side::Source, term)?),
    };
    #[cfg(feature = "registry")]
    let network = client.as_ref().map(|client| client as &dyn Network);
    #[cfg(not(feature = "registry"))]
    let network: Option<&dyn Network> = None;
    if network.is_none() && !options.origins.is_empty() {
        return Err(Error::new(Code::Usage, "this build of mirror-bundle has no network code"));
    }
    let outcome = match repair(&args.bundle, &trust, &conditions, &options, network, term) {
        Err(err) if (10..50).contains(&err.code().exit()) && global.output != Output::Text => {
            // It is known to be bad: the document is the same one, and the reason follows as the error.
            answer::verified(global, "repair", "repaired", None::<&Summary>, None, err.code().exit());
            return Err(err);
        }
        other => other?,
    };
    #[cfg(feature = "registry")]
    client.iter().for_each(|client| inputs::late_notices(client, term));
    match outcome {
        Outcome::Refused(report) => {
            verify::refused(&report, global, term, "nothing was changed", ("repair", "repaired"));
            Ok(report.exit_code)
        }
        Outcome::Whole(summary, report) => {
            // Of JSON lines the document is the last.
            if global.quiet == 0 && global.output != Output::Text {
                verify::problems(&report, term, None);
            }
            match global.output {
                Output::Json | Output::Jsonl => answer::verified(
                    global,
                    "repair",
                    "repaired",
                    Some(summary.as_ref()),
                    Some(&report),
                    report.exit_code,
                ),
                Output::Text if global.quiet < 2 => answer::text(&render(&summary)),
                Output::Text => {}
            }
            if global.quiet == 0 && global.output == Output::Text {
                verify::problems(&report, term, None);
            }
            Ok(report.exit_code)
        }
    }
}

/// Parses `REGISTRY/REPO`, ignoring a tag or digest, or `REGISTRY`.
fn origin(text: &str) -> Result<Origin> {
    if let Ok(repository) = text.parse::<Repository>() {
        return Ok(Origin::Repository(repository));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        return Ok(Origin::Repository(reference.repository));
    }
    match format!("{text}/x").parse::<Repository>() {
        Ok(repository) if !text.contains('/') => Ok(Origin::Registry(repository.registry().to_owned())),
        _ => Err(Error::new(Code::Usage, format!("`{text}` is neither an existing file nor a repository"))
            .hint("name a copy, a layout, REGISTRY/REPO, or REGISTRY")),
    }
}

fn render(summary: &Summary) -> String {
    let mut table = Table::default();
    let verdict = match summary.verdict {
        Verdict::Verified => "VERIFIED",
        Verdict::NotFullyChecked => "NOT FULLY CHECKED",
        Verdict::Failed => "FAILED",
    };
    table.row(
        "verdict",
        format!(
            "{verdict}  {}{}",
            summary.bundle.iter().map(|path| named(path)).collect::<Vec<_>>().join(" "),
            summary.except.as_deref().map(|text| format!("  complete except {}", named(text))).unwrap_or_default()
        ),
    );
    table.row("index", &summary.index);
    if summary.result == Effect::Intact {
        table.row("repaired", "nothing; nothing was damaged");
        return table.render();
    }
    if let Some(from) = &summary.head_from {
        table.row("head", format!("from {}", named(from)));
    }
    let bytes: u64 = summary.mended.iter().map(|m| m.size).sum();
    table.row("repaired", format!("{}, {}", observer::count(summary.mended.len(), "member"), observer::size(bytes)));
    for mended in summary.mended.iter().take(LISTED) {
        let volume = mended.volume.map(|n| format!("volume {n} ")).unwrap_or_default();
        table.row(
            "",
            format!("{volume}{}  {}  from {}", mended.member, observer::size(mended.size), named(&mended.from)),
        );
    }
    if summary.mended.len() > LISTED {
        table.row("", format!("and {} more; -o json lists all", summary.mended.len() - LISTED));
    }
    table.render()
}
