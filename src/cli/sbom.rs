//! `mirror-bundle sbom`: documents of the packages in images.

use std::path::{Path, PathBuf};

use super::answer::{self, Object};
use super::args::{Global, Output, Sbom as Args, sbom::Format as Word};
use super::term::Terminal;
use super::{inputs, verify};
use crate::bundle::Inputs;
use crate::error::{Code, Error, Result};
use crate::ops::observer::{self, Observer};
use crate::ops::reading::{Opened, open};
use crate::ops::sbom::{Options, Sbom, sbom, to_file};
use crate::packages::document::Format;
use crate::report::Severity;
use crate::verify::Report;

/// The most notices that are shown; all are in the documents.
const NOTICES: usize = 8;

pub(super) fn run(args: &Args, global: &Global, term: &Terminal) -> Result<u8> {
    let global = &Global { output: args.output, ..global.clone() };
    check(args, global)?;
    let basis = inputs::basis(&args.trust, &args.bundle)?;
    let platform = inputs::platform(args.platform.as_deref())?;
    let reading = match open(Inputs::of(&args.bundle)?, &basis)? {
        Opened::Refused(report) => return Ok(refused(&report, report.exit_code, global, term)),
        Opened::Reading(reading) => reading,
    };
    if !reading.is_trusted() {
        term.unverified("only digests are checked; --signer or --trust verifies the bundle");
    }
    let options = Options { images: &args.image, platform: platform.as_ref(), jobs: inputs::processors(global.jobs) };
    let made = sbom(*reading, &options, term)?;
    if made.images.is_empty() {
        return Ok(refused(&made.report, made.exit_code, global, term));
    }
    let format = match args.format {
        Word::Spdx => Format::Spdx,
        Word::Cyclonedx => Format::CycloneDx,
    };
    let written = write(args, &made, format)?;
    show(&made, format, &written, global, term);
    Ok(made.exit_code)
}

/// What cannot be meant.
fn check(args: &Args, global: &Global) -> Result<()> {
    let word = args.file.as_deref().and_then(Path::to_str).unwrap_or_default();
    if matches!(word, "json" | "jsonl" | "text") {
        let text = format!("here -o names the file of the document, and `{word}` is a format of the answer");
        return Err(Error::new(Code::Usage, text)
            .hint(format!("--output {word} for the answer; -o ./{word} for a file of this name")));
    }
    if to_output(args) && global.output != Output::Text {
        return Err(Error::new(Code::Usage, "the document and the answer cannot both go to standard output")
            .hint("give -o FILE for the document"));
    }
    Ok(())
}

/// Whether the document goes to standard output.
fn to_output(args: &Args) -> bool {
    args.file.as_deref().is_none_or(|file| file == Path::new("-"))
}

fn refused(report: &Report, exit_code: u8, global: &Global, term: &Terminal) -> u8 {
    verify::problems(report, term, Some("no document was written"));
    if global.output != Output::Text {
        answer::verified::<()>(global, "sbom", "made", None, Some(report), exit_code);
    }
    exit_code
}

/// Writes the documents. Returns the files, none for standard output.
fn write(args: &Args, made: &Sbom, format: Format) -> Result<Vec<PathBuf>> {
    let document = |image: Option<usize>| {
        let mut out = Vec::new();
        let written = made.write(format, image, &mut out);
        written
            .map(|()| answer::safe(&out))
            .map_err(|e| Error::new(Code::Internal, format!("cannot write a document: {e}")))
    };
    // One image that was asked for: its document. Everything else is the bundle's.
    let main = (args.image.len() == 1 && made.images.len() == 1).then_some(0);
    let Some(path) = args.file.as_ref().filter(|_| !to_output(args)) else {
        answer::document(&document(main)?);
        return Ok(Vec::new());
    };
    let folder = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !folder {
        to_file(path, document(main)?.as_bytes(), args.force)?;
        return Ok(vec![path.clone()]);
    }
    crate::fs::dir::Dir::create(path, Code::Conflict)?;
    let end = match format {
        Format::Spdx => "spdx.json",
        Format::CycloneDx => "cdx.json",
    };
    let mut files = Vec::new();
    for at in (0..made.images.len()).map(Some).chain([None]) {
        let name = match at {
            Some(at) => format!("sha256-{}.{end}", made.images[at].digest.hex()),
            None => format!("bundle.{end}"),
        };
        let file = path.join(name);
        // One image under two names is one document.
        if files.contains(&file) {
            continue;
        }
        to_file(&file, document(at)?.as_bytes(), args.force)?;
        files.push(file);
    }
    Ok(files)
}

fn show(made: &Sbom, format: Format, written: &[PathBuf], global: &Global, term: &Terminal) {
    let notices = made.findings.iter().filter(|f| f.severity == Severity::Notice).count();
    for finding in made.findings.iter().filter(|f| f.severity == Severity::Error) {
        term.finding(finding, None);
    }
    if global.quiet == 0 {
        for finding in made.findings.iter().filter(|f| f.severity == Severity::Notice).take(NOTICES) {
            term.finding(finding, None);
        }
        if notices > NOTICES {
            term.say("Note", &format!("and {} more that are in the document", notices - NOTICES));
        }
        for image in &made.images {
            let inventory = &image.inventory;
            let packages = observer::count(inventory.components.len(), "package");
            let system = inventory.system.as_ref().map_or_else(|| "unknown system".to_owned(), |s| s.distro());
            let none = if inventory.databases == 0 { ", no database of packages" } else { "" };
            term.say("Found", &format!("{packages} in {} ({system}{none})", image.name));
        }
        for file in written {
            term.say("Written", &file.display().to_string());
        }
    }
    if global.output == Output::Text {
        return;
    }
    let image = |image: &crate::ops::sbom::Image| {
        serde_json::json!(Object([
            ("name", image.name.as_str().into()),
            ("digest", image.digest.to_string().into()),
            ("system", image.inventory.system.as_ref().map(|s| s.distro()).into()),
            ("packages", image.inventory.components.len().into()),
            ("databases", image.inventory.databases.into()),
            ("unknown", image.inventory.unknowns.len().into()),
        ]))
    };
    let made_of = serde_json::json!(Object([
        ("format", format.as_str().into()),
        ("verified", made.verified.into()),
        ("files", written.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().into()),
        ("images", made.images.iter().map(image).collect::<Vec<_>>().into()),
        ("findings", serde_json::json!(made.findings)),
    ]));
    answer::verified(global, "sbom", "made", Some(&made_of), Some(&made.report), made.exit_code);
}
