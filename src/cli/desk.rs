//! `mirror-bundle cat` and `extract`: single files and images of a bundle.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::answer;
use super::args::{Cat, Extract, Global, Output, Trust};
use super::term::Terminal;
use super::{inputs, verify};
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::ops::observer::{self, Observer};
use crate::ops::reading::{Basis, Library, Opened, open};
use crate::ops::{extract, images};

/// Opens a bundle whose blobs can be read one by one, and calls `act` with it. With trust, it is verified first; a bundle
/// that is not good is only reported.
pub(super) fn with_library(
    bundle: &[std::path::PathBuf],
    trust: &Trust,
    (global, term): (Option<&Global>, &Terminal),
    act: impl FnOnce(&Library<'_>) -> Result<u8>,
) -> Result<u8> {
    let basis: Basis = inputs::basis(trust, bundle)?;
    let refused = |report: &crate::verify::Report| {
        verify::problems(report, term, Some("nothing was written"));
        if let Some(global) = global.filter(|global| global.output != Output::Text) {
            answer::json(global, report);
        }
        report.exit_code
    };
    let reading = match open(Inputs::of(bundle)?, &basis)? {
        Opened::Refused(report) => return Ok(refused(&report)),
        Opened::Reading(reading) => reading,
    };
    if !reading.is_trusted() {
        term.unverified("only digests are checked; --signer or --trust verifies the bundle");
    }
    match reading.library(inputs::processors(None), term)? {
        Err(report) => Ok(refused(&report)),
        Ok(library) => {
            let done = act(&library);
            // What was shown is one of two readings.
            let found = library.findings();
            found.iter().for_each(|finding| term.finding(finding, None));
            let worst = found.iter().map(|finding| finding.code.exit()).min();
            done.map(|code| worst.filter(|_| code <= 1).unwrap_or(code))
        }
    }
}

pub(super) fn cat(args: &Cat, term: &Terminal) -> Result<u8> {
    let platform = inputs::platform(args.platform.as_deref())?;
    let usage = |e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string());
    let layer = args.layer.as_deref().map(|digest| digest.parse().map_err(usage)).transpose()?;
    with_library(&args.bundle, &args.trust, (None, term), |library| {
        let what = images::Cat { what: &args.what, layer, platform: platform.as_ref() };
        let out = io::stdout();
        let guarded = out.is_terminal() && !args.force;
        let mut to = Guarded { to: out.lock(), guarded, closed: false };
        let done = images::cat(library, &what, &mut to, term);
        match done {
            // A closed pipe is not an error.
            Err(_) if to.closed => Ok(0),
            other => other.map(|()| 0),
        }
    })
}

/// Standard output. Lets nothing through to a terminal that could control it.
struct Guarded<W> {
    to: W,
    guarded: bool,
    closed: bool,
}

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let plain = |b: &u8| matches!(*b, b'\n' | b'\t') || (*b >= 0x20 && *b != 0x7f);
        let text = || match std::str::from_utf8(bytes) {
            Ok(text) => text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r')),
            // A character may be cut by the end of a part; C1 controls are not let through.
            Err(e) => e.error_len().is_none() && bytes.iter().all(plain),
        };
        if self.guarded && !text() {
            let err = Error::new(Code::Usage, "the content is not text, and could control this terminal");
            return Err(err.hint("write it to a file, or give --force").into());
        }
        let written = self.to.write(bytes);
        self.closed |= written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

pub(super) fn extract(args: &Extract, global: &Global, term: &Terminal) -> Result<u8> {
    let platform = inputs::platform(args.platform.as_deref())?;
    let piped = args.to_archive.as_deref() == Some(Path::new("-"));
    if piped && io::stdout().is_terminal() {
        return Err(Error::new(Code::Usage, "an archive is not written to a terminal").hint("give --to-archive FILE"));
    }
    with_library(&args.bundle, &args.trust, (Some(global), term), |library| {
        let member = library.shelf().one(library.index(), &args.image, platform.as_ref())?;
        let done = match (&args.to, &args.to_archive) {
            (Some(dir), _) => extract::files(library, member, dir, term)?,
            (None, Some(_)) if piped => {
                return extract::archive(library, member, args.attached, &mut io::stdout().lock(), term).map(|_| 0);
            }
            (None, Some(file)) => {
                let mut done = to_file(file, |to| extract::archive(library, member, args.attached, to, term))?;
                done.to = file.display().to_string();
                done
            }
            (None, None) => return Err(Error::new(Code::Usage, "name a destination: --to DIR or --to-archive FILE")),
        };
        match global.output {
            Output::Json | Output::Jsonl => answer::json(
                global,
                &answer::Object([
                    ("schema", "mirror-bundle/extract/v1".into()),
                    ("verified", library.is_verified().into()),
                    ("image", args.image.as_str().into()),
                    ("extracted", serde_json::json!(done)),
                    ("findings", serde_json::json!(library.findings())),
                ]),
            ),
            Output::Text => {
                let what = if args.to.is_some() { "file" } else { "blob" };
                let count = observer::count(usize::try_from(done.files).unwrap_or(usize::MAX), what);
                term.say("Extracted", &format!("{count}, {}, to {}", observer::size(done.bytes), done.to));
                if let Some(map) = done.map.as_ref().filter(|_| done.left_out > 0) {
                    term.say("Left out", &format!("{} listed in {map}", observer::count_of(done.left_out)));
                }
            }
        }
        Ok(0)
    })
}

/// Writes a new file, which gets its name when it is complete.
fn to_file<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    if crate::fs::dir::exists(path) {
        let err = Error::new(Code::Conflict, format!("`{}` exists already", path.display()));
        return Err(err.state("nothing was written"));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = std::path::PathBuf::from(partial);
    let mut file = crate::fs::partial::replace_own(&partial)?;
    match write(&mut file) {
        Ok(done) => {
            file.sync_all().map_err(|e| Error::io("cannot write", &partial, e))?;
            crate::fs::durable::rename(&partial, path, false)?;
            Ok(done)
        }
        Err(e) => {
            crate::fs::durable::remove_if_there(&partial)?;
            Err(e)
        }
    }
}
