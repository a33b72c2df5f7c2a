//! `mirror-bundle scrub`

use std::ffi::OsString;
use std::sync::Arc;

use clap::CommandFactory;
use serde_json::Map;

use super::answer::{self, Table};
use super::args::{Args, Global, Output, Scrub};
use super::escape::name as named;
use super::term::Terminal;
use super::{inputs, passphrase, proof, verify};
use crate::error::{Code, Error, Result};
use crate::ops::observer;
use crate::ops::scrub::{Options, Outcome, Summary, To, scrub};

/// `-o` is the form of the answer everywhere; for `scrub`, people also give the file to write with it. A value that is
/// no form is that file.
pub(super) fn spelled(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(verb) = verb(&args).filter(|at| args[*at] == "scrub") else { return args };
    for at in verb..args.len().saturating_sub(1) {
        let form = args[at + 1].to_str().is_some_and(|value| matches!(value, "text" | "json" | "jsonl"));
        if args[at] == "-o" && !form {
            args[at] = "--out".into();
        }
    }
    args
}

/// Where the command stands: the first word that is neither an option nor the value of one.
fn verb(args: &[OsString]) -> Option<usize> {
    // Cheap for every other command.
    args.iter().skip(1).find(|arg| *arg == "scrub")?;
    let command = Args::command();
    let takes = |option: &str| {
        let named = |arg: &&clap::Arg| match option.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| option.ends_with(short)),
        };
        command.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut at = 1;
    while let Some(word) = args.get(at)?.to_str().filter(|word| word.starts_with('-')) {
        at += 1 + usize::from(takes(word));
    }
    Some(at)
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
    let key = Arc::new(passphrase::key(&args.sign_key, term)?);
    let options = Options {
        what: [args.remove.as_slice(), &args.exclude].concat(),
        reason: args.reason.clone(),
        key: key.clone(),
        to,
        force: args.force,
        dry_run: args.dry_run,
        now: inputs::moment(args.trust.at.as_deref())?,
        jobs: inputs::processors(global.jobs),
        read_back: args.read_back,
    };
    let books = proof::open("scrub", &args.proof, Some(key), &trust, args.dry_run)?;
    let outcome = scrub(bundle, &trust, &conditions, &options, term);
    match outcome.map_err(|e| proof::failed(&books, e, bundle, term))? {
        Outcome::Refused(mut report) => {
            report.proof = proof::close(&books, &report, report.exit_code, Map::new())?;
            verify::refused(&report, global, term, "nothing was written", ("scrub", "scrubbed"));
            Ok(report.exit_code)
        }
        Outcome::Done(report, mut summary) => {
            let word = if summary.excluded { "excluded" } else { "scrubbed" };
            let scrubbed = serde_json::to_value(&summary)
                .map_err(|e| Error::new(Code::Internal, "cannot write the receipt").source(e))?;
            let more = Map::from_iter([("scrubbed".to_owned(), scrubbed)]);
            summary.proof = proof::note(&books, &report, word, 0, more)?;
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
    table.render() + &proof::lines(&summary.proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scrub_writes_the_file_that_o_names() {
        let spelled = |text: &str| {
            let args = spelled(text.split(' ').map(OsString::from).collect());
            args.join(std::ffi::OsStr::new(" ")).into_string().unwrap_or_default()
        };
        for (typed, read) in [
            ("mb scrub b -o new.tar", "mb scrub b --out new.tar"),
            (
                "mb -q -o json --color never -j 4 scrub b -o new.tar",
                "mb -q -o json --color never -j 4 scrub b --out new.tar",
            ),
            ("mb --color=never scrub -o new.tar b -o json", "mb --color=never scrub --out new.tar b -o json"),
        ] {
            assert_eq!(spelled(typed), read);
        }
        for same in [
            "mb scrub b -o json",
            "mb sbom b --image scrub -o s.json",
            "mb sbom scrub -o scrub",
            "mb verify scrub -o x",
            "mb -o scrub verify -o x",
            "mb --log-file scrub verify b -o x",
            "mb scrub",
            "mb",
        ] {
            assert_eq!(spelled(same), same);
        }
    }
}
