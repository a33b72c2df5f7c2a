//! `mirror-bundle scrub`

use std::ffi::OsString;

use super::answer::{self, Table};
use super::args::{Global, Output, Scrub};
use super::escape::name as named;
use super::term::Terminal;
use super::{inputs, passphrase, verify};
use crate::error::Result;
use crate::ops::observer;
use crate::ops::scrub::{Options, Outcome, Summary, To, scrub};

/// `-o` is the form of the answer everywhere; for `scrub`, people also give the file to write with it. A value that is
/// no form is that file.
pub(super) fn spelled(mut args: Vec<OsString>) -> Vec<OsString> {
    if !args.iter().skip(1).any(|arg| arg == "scrub") {
        return args;
    }
    for at in 1..args.len().saturating_sub(1) {
        let form = args[at + 1].to_str().is_some_and(|value| matches!(value, "text" | "json" | "jsonl"));
        if args[at] == "-o" && !form {
            args[at] = "--out".into();
        }
    }
    args
}

pub(super) fn run(args: &Scrub, global: &Global, term: &Terminal) -> Result<u8> {
    let trust = inputs::trust(&args.trust)?;
    let bundle = std::slice::from_ref(&args.bundle);
    let conditions = inputs::conditions(&args.trust, bundle, false)?;
    let to = match args.to.as_ref().or(args.out.as_ref()) {
        Some(out) => To::File(out.clone()),
        None if args.detach => To::Beside,
        None => To::Bundle,
    };
    let options = Options {
        what: [args.remove.as_slice(), &args.exclude].concat(),
        reason: args.reason.clone(),
        key: Box::new(passphrase::key(&args.sign_key, term)?),
        to,
        force: args.force,
        dry_run: args.dry_run,
        now: inputs::moment(args.trust.at.as_deref())?,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
    };
    match scrub(bundle, &trust, &conditions, &options, term)? {
        Outcome::Refused(report) => {
            verify::refused(&report, global, term, "nothing was written", ("scrub", "scrubbed"));
            Ok(report.exit_code)
        }
        Outcome::Done(summary) => {
            match global.output {
                Output::Json | Output::Jsonl => answer::verified(global, "scrub", "scrubbed", Some(&summary), None, 0),
                Output::Text if global.quiet < 2 => answer::text(&render(&summary)),
                Output::Text => {}
            }
            if let ([first, ..], false) = (summary.written.as_slice(), summary.excluded) {
                term.next(&[
                    "verify it where it is received, with a trust policy that lets this key remove:".to_owned(),
                    format!("mirror-bundle verify {} --trust trust.yaml", answer::quoted(first)),
                ]);
            }
            Ok(0)
        }
    }
}

fn render(summary: &Summary) -> String {
    let mut table = Table::default();
    table.row("index", format!("{} (as before)", summary.index));
    let word = match (summary.dry_run, summary.excluded) {
        (true, _) => "would go",
        (false, true) => "excluded",
        (false, false) => "removed",
    };
    for image in &summary.images {
        let why = if image.asked { "" } else { ", which goes with it" };
        table.row(word, format!("{} {} {}{why}", image.kind, named(&image.name), image.digest));
    }
    for file in &summary.files {
        table.row(word, named(file));
    }
    table.row("blobs", format!("{}, {}", observer::count(summary.blobs, "blob"), observer::size(summary.bytes)));
    table.row("reason", named(&summary.reason));
    table.row("signed", format!("reviewer {}", summary.key));
    for written in &summary.written {
        table.row("written", named(written));
    }
    table.render()
}
