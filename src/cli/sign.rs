//! `mirror-bundle sign`

use std::io::IsTerminal;
use std::path::Path;

use super::answer::{self, Table};
use super::args::{Global, Output, Sign};
use super::escape::escape;
use super::term::Terminal;
use super::{inputs, verify};
use crate::error::{Code, Error, Result};
use crate::host::detached;
use crate::ops::reviewed::{self, Reviewed, Rules};
use crate::ops::sign::{Options, Outcome, What, index_bytes, sign};
use crate::sign::Role;

/// The largest `--record` file, in bytes.
const RECORD: u64 = 512 << 10;

/// The report that `--report` names.
fn reviewed(path: &Path, args: &Sign) -> Result<Reviewed> {
    let max_age = crate::sign::policy::length(&args.max_age).ok_or_else(|| {
        Error::new(Code::Usage, format!("`{}` is not an age", args.max_age)).hint("write 12h, 7d or 2w")
    })?;
    let rules = Rules { max_age, despite: args.despite.clone(), now: inputs::moment(args.trust.at.as_deref())? };
    let bytes = inputs::read(path, reviewed::LIMIT)?;
    reviewed::read(&bytes, &path.display().to_string(), &rules)
}

pub(super) fn run(args: &Sign, global: &Global, term: &Terminal) -> Result<u8> {
    if args.print_index {
        let bytes = index_bytes(&args.bundle)?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::new(Code::Malformed, "the bundle index is not UTF-8 text").source(e))?;
        // A terminal gets it escaped; ssh-keygen gets the exact bytes.
        match std::io::stdout().is_terminal() {
            true => text.lines().for_each(|line| answer::text(&format!("{}\n", escape(line)))),
            false => answer::text(&text),
        }
        return Ok(0);
    }
    let trust = inputs::trust(&args.trust)?;
    let conditions = inputs::conditions(&args.trust, &args.bundle, false)?;
    let role = Role::parse(&args.role).ok_or_else(|| {
        Error::new(Code::Usage, format!("`{}` is not a role", args.role)).hint("builder, reviewer or receiver")
    })?;
    let what = match (&args.attach, &args.sign_key) {
        (Some(path), _) => What::Attach(detached::read(path)?),
        (None, Some(path)) => What::Sign(Box::new(super::passphrase::key(path, term)?), role),
        (None, None) => {
            return Err(Error::new(Code::Usage, "nothing to sign with").hint("--sign-key FILE, or --attach SIG"));
        }
    };
    let details = args.record.as_deref().map(|path| {
        let bytes = inputs::read(path, RECORD)?;
        crate::oci::json::Object::parse(&bytes)
            .map_err(|e| Error::new(Code::Usage, format!("`{}` is not a JSON object: {e}", path.display())))
    });
    let reviewed = args.report.as_deref().map(|path| reviewed(path, args)).transpose()?;
    let (about, details) = match reviewed {
        Some(reviewed) => (Some((reviewed.index, reviewed.removals)), Some(reviewed.details)),
        None => (None, details.transpose()?),
    };
    let options = Options {
        what,
        note: args.note.clone(),
        details,
        about,
        detach: args.detach,
        now: inputs::moment(args.trust.at.as_deref())?,
        jobs: inputs::processors(global.jobs),
    };
    match sign(&args.bundle, &trust, &conditions, &options, term)? {
        Outcome::Refused(report) => {
            verify::refused(&report, global, term, "nothing was signed", ("sign", "signed"));
            Ok(report.exit_code)
        }
        Outcome::Signed(summary) => {
            match global.output {
                Output::Json | Output::Jsonl => answer::verified(global, "sign", "signed", Some(&summary), None, 0),
                Output::Text if global.quiet < 2 => {
                    let mut table = Table::default();
                    table.row("index", &summary.index);
                    table.row("signed", format!("{} {}", summary.role, summary.key));
                    for written in &summary.written {
                        table.row("written", written);
                    }
                    if summary.written.is_empty() {
                        table.row("written", "nothing: this key has already signed it");
                    }
                    answer::text(&table.render());
                }
                Output::Text => {}
            }
            Ok(0)
        }
    }
}
