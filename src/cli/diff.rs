//! `mirror-bundle diff`: what differs between two bundles, or a bundle and a registry.

use super::answer;
use super::args::{Diff, Global, Output};
use super::desk::with_library;
use super::escape::{escape, name};
use super::term::Terminal;
use crate::error::{Code, Error, Result};
use crate::ops::diff::{self, Changed, Difference, Part};
use crate::ops::observer;

/// The exit code of `--exit-code` for a difference.
const DIFFERENT: u8 = 1;
/// The most lines of one kind in text.
const LINES: usize = 500;

pub(super) fn run(args: &Diff, global: &Global, term: &Terminal) -> Result<u8> {
    let path = |path: &std::path::Path| path.display().to_string();
    if [Some(&args.a), args.b.as_ref()].into_iter().flatten().any(|one| one.as_os_str() == "-") {
        return Err(Error::new(Code::Usage, "standard input cannot be compared").hint("write the bundle to a file"));
    }
    let a = std::slice::from_ref(&args.a);
    with_library(a, &args.trust, (Some(global), term), |one| {
        let difference = |difference: Difference| {
            show(&difference, global);
            if args.exit_code && difference.different { DIFFERENT } else { 0 }
        };
        #[cfg(feature = "registry")]
        if let Some(to) = &args.to {
            if args.files {
                return Err(Error::new(Code::Usage, "--files compares two bundles"));
            }
            let target = to.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string()))?;
            let client = super::inputs::client(&args.registry, crate::registry::Side::Destination, term)?;
            let pace = super::inputs::transfers(global.jobs);
            return diff::registry(one, &path(&args.a), &target, &client, &pace).map(difference);
        }
        let b = args.b.as_ref().ok_or_else(|| Error::new(Code::Usage, "name two bundles"))?;
        with_library(std::slice::from_ref(b), &args.trust, (Some(global), term), |other| {
            diff::bundles((one, other), (&path(&args.a), &path(b)), args.files, term).map(difference)
        })
    })
}

fn show(difference: &Difference, global: &Global) {
    match global.output {
        Output::Json | Output::Jsonl => answer::json(global, difference),
        Output::Text if global.quiet < 2 => answer::text(&render(difference)),
        Output::Text => {}
    }
}

fn render(difference: &Difference) -> String {
    let side = |side: &diff::Side| {
        let title = side.name.as_deref().map(|title| format!(" {}", escape(title))).unwrap_or_default();
        let verified = if side.verified { "verified" } else { "contents not verified" };
        format!("{}{title} ({verified})\n", name(&side.path))
    };
    let mut out = format!("--- {}+++ {}", side(&difference.a), side(&difference.b));
    let parts = [
        ("releases", "release", Some(&difference.releases)),
        ("images", "image", Some(&difference.images)),
        ("layers", "layer", difference.layers.as_ref()),
        ("manifests", "manifest", difference.manifests.as_ref()),
        ("signers", "signer", difference.signers.as_ref()),
    ];
    for (plural, one, part) in parts {
        out.push_str(&part.map(|part| lines(plural, one, part)).unwrap_or_default());
    }
    for (word, list) in [("package", &difference.packages), ("file", &difference.files)] {
        for files in list.iter().flatten() {
            out.push_str(&format!("{word}s of {}\n", name(&files.image)));
            out.push_str(&lines(&format!("{word}s"), word, &files.part));
        }
    }
    out.push_str(if difference.different { "different\n" } else { "same\n" });
    out
}

fn lines(plural: &str, one: &str, part: &Part) -> String {
    let count = |n: usize, what: &str| if n == 0 { String::new() } else { format!(", {} {what}", n) };
    let mut out = format!(
        "{plural:9} {} the same{}{}{}\n",
        observer::count_of(part.same),
        count(part.added.len(), "added"),
        count(part.removed.len(), "removed"),
        count(part.changed.len(), "changed"),
    );
    let changed = |changed: &Changed| {
        let places =
            if changed.places.is_empty() { String::new() } else { format!(" at {}", changed.places.join(" ")) };
        format!("{} {} -> {}{places}", changed.name, changed.from, changed.to)
    };
    let removed = part.removed.iter().map(|item| format!("- {one} {} {}", item.name, item.value));
    let added = part.added.iter().map(|item| format!("+ {one} {} {}", item.name, item.value));
    let all = removed.chain(added).chain(part.changed.iter().map(|one_of| format!("~ {one} {}", changed(one_of))));
    for (number, line) in all.enumerate() {
        if number == LINES {
            out.push_str("  and more: -o json lists all\n");
            break;
        }
        out.push_str(&format!("{}\n", escape(&line).trim_end()));
    }
    out
}
