//! `mirror-bundle ls --files`: every file in every layer.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use serde::Serialize;

use super::args::{Global, Ls, Output};
use super::escape::{escape, escape_json, name};
use super::term::Terminal;
use super::{inputs, verify};
use crate::bundle::Inputs;
use crate::content::cover::State;
use crate::content::layer::{FileEntry, FileKind};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::files::{self, Choice, Heading, Lines, Row, list};
use crate::ops::observer;
use crate::ops::reading::{Opened, Way, open};
use crate::verify::Report;

/// The most images that a heading names.
const NAMED: usize = 8;

pub(super) fn run(args: &Ls, global: &Global, term: &Terminal) -> Result<u8> {
    let (mut bundle, mut what) = (args.bundle.clone(), args.files.as_deref().filter(|what| !what.is_empty()));
    if bundle.is_empty() {
        // `ls --files BUNDLE`
        bundle.extend(what.take().map(Into::into));
    }
    let platform = inputs::platform(args.platform.as_deref())?;
    let basis = inputs::basis(&args.trust, &bundle)?;
    let reading = match open(Inputs::of(&bundle)?, &basis)? {
        Opened::Refused(report) => {
            verify::show(&report, global, term, None);
            return Ok(report.exit_code);
        }
        Opened::Reading(reading) => reading,
    };
    let (trusted, json) = (reading.is_trusted(), global.output != Output::Text);
    let terminal = io::stdout().is_terminal();
    let writer = Writer { json, terminal, quiet: global.quiet > 1, closed: AtomicBool::new(false), trusted };
    writer.head(&reading.report().bundle.index)?;
    let choice = Choice { what, platform: platform.as_ref() };
    let listed = match list(*reading, &choice, &writer, inputs::processors(global.jobs), term) {
        // A closed pipe is not an error. What was not verified then has no verdict.
        Err(_) if writer.closed.load(Ordering::Relaxed) => {
            return Ok(if trusted { Code::IncompleteCheck.exit() } else { 0 });
        }
        listed => listed?,
    };
    let report = listed.finished.report();
    let mut report = Report { checks: report.checks.clone(), ..report.clone() };
    report.add(listed.findings.clone());
    let worst = listed.findings.findings.iter().filter(|f| f.severity == crate::verify::Severity::Error);
    let worst = worst.min_by_key(|finding| finding.code.exit()).map(|finding| finding.code);
    let own = worst.map(Code::exit);
    let exit_code = match (listed.finished.exit_code(), own) {
        (0 | 42, Some(own)) => own,
        (code, Some(own)) if (10..50).contains(&code) => code.min(own),
        (code, _) => code,
    };
    verify::problems(&report, term, None);
    writer.tail((listed.layers, listed.entries), worst, &report, exit_code)?;
    Ok(exit_code)
}

struct Writer {
    json: bool,
    terminal: bool,
    quiet: bool,
    trusted: bool,
    closed: AtomicBool,
}

#[derive(Serialize)]
struct JsonLayer<'j> {
    r#type: &'static str,
    layer: &'j Digest,
    size: u64,
    media_type: &'j str,
    images: &'j [String],
}

#[derive(Serialize)]
struct JsonRow<'j> {
    r#type: &'static str,
    layer: &'j Digest,
    path: std::borrow::Cow<'j, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: i64,
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<std::borrow::Cow<'j, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<std::borrow::Cow<'j, str>>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    whiteout: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_reading: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facts: Vec<&'static str>,
}

impl Writer {
    fn line(&self, value: &impl Serialize, out: &mut Vec<u8>) {
        let start = out.len();
        if serde_json::to_writer(&mut *out, value).is_err() {
            out.truncate(start);
        }
        if out[start..].iter().any(|b| !b.is_ascii() || *b == 0x7f) {
            let safe = escape_json(&String::from_utf8_lossy(&out[start..]));
            out.truncate(start);
            out.extend_from_slice(safe.as_bytes());
        }
        out.push(b'\n');
    }

    fn head(&self, index: &str) -> Result<()> {
        let mut out = Vec::new();
        if self.json {
            let head = serde_json::json!({
                "type": "bundle", "schema": "mirror-bundle/files/v1", "verified": false, "index": index,
            });
            self.line(&head, &mut out);
        } else if self.trusted {
            out.extend_from_slice(b"# verified in this reading: the verdict is the last line\n");
        } else {
            out.extend_from_slice(b"# contents not verified: only digests are checked\n");
        }
        self.write(&out)
    }

    /// `incomplete` is why not everything could be listed.
    fn tail(
        &self,
        (layers, entries): (u64, u64),
        incomplete: Option<Code>,
        report: &Report,
        exit_code: u8,
    ) -> Result<()> {
        let mut out = Vec::new();
        if self.json {
            let verdict = self.trusted.then_some(report.verdict);
            let findings: Vec<_> = report.findings().collect();
            let tail = serde_json::json!({
                "type": "result", "layers": layers, "entries": entries, "verdict": verdict, "exit_code": exit_code,
                "findings": findings,
            });
            self.line(&tail, &mut out);
        } else {
            let text = format!("# {} entries in {} layers\n", observer::count_of(entries), observer::count_of(layers));
            out.extend_from_slice(text.as_bytes());
            if self.trusted {
                let with_code = report.verdict != crate::verify::Verdict::Verified;
                out.extend_from_slice(format!("# {}", verify::verdict_line(report, with_code)).as_bytes());
            }
            if let Some(code) = incomplete {
                out.extend_from_slice(format!("# listing   NOT COMPLETE  {code}\n").as_bytes());
            }
        }
        self.write(&out)
    }
}

impl Lines for Writer {
    fn heading(&self, heading: &Heading<'_>, out: &mut Vec<u8>) {
        let carried = heading.carried;
        if self.json {
            let (layer, size, media_type, images) =
                (&carried.digest, carried.size, carried.media_type.as_str(), heading.images);
            return self.line(&JsonLayer { r#type: "layer", layer, size, media_type, images }, out);
        }
        let mut images: Vec<String> = heading.images.iter().take(NAMED).map(|image| name(image)).collect();
        if heading.images.len() > NAMED {
            images.push(format!("and {} more", heading.images.len() - NAMED));
        }
        let size = observer::size(carried.size);
        out.extend_from_slice(format!("# layer {} {size} of {}\n", carried.digest, images.join(", ")).as_bytes());
    }

    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        let entry = row.entry;
        if self.json {
            return self.line(&json(row), out);
        }
        let blank = if self.terminal { "  " } else { " " };
        let digest = row.digest.map_or_else(|| "-".to_owned(), |digest| digest.hex());
        let digest = if self.terminal { digest.get(..12).unwrap_or("-").to_owned() } else { digest };
        let mut marks: Vec<&str> = row.facts.iter().map(|fact| fact.as_str()).collect();
        marks.extend((row.way == Way::Other).then_some("other-reading"));
        marks.extend(entry.whiteout.is_some().then_some("whiteout"));
        marks.extend((entry.kind == FileKind::Behind).then_some("behind-end"));
        let marks = if marks.is_empty() { "-".to_owned() } else { marks.join(",") };
        let state = if row.state == State::Present { "-" } else { row.state.as_str() };
        let layer = row.layer.hex();
        let (mode, owner) = (mode(entry), format!("{}:{}", entry.uid, entry.gid));
        let layer = layer.get(..12).unwrap_or_default();
        let (size, path) = (row.size, path(&entry.path));
        let columns = match self.terminal {
            true => format!(
                "{layer}{blank}{mode}{blank}{owner:9}{blank}{size:>10}{blank}{digest:12}{blank}{state:8}{blank}{marks:6}{blank}/{path}"
            ),
            false => format!("{layer} {mode} {owner} {size} {digest} {state} {marks} /{path}"),
        };
        out.extend_from_slice(columns.as_bytes());
        if let Some(target) = &entry.target {
            let hard = if entry.kind == FileKind::HardLink { "/" } else { "" };
            out.extend_from_slice(format!(" -> {hard}{}", self::path(target)).as_bytes());
        }
        out.push(b'\n');
    }

    fn write(&self, lines: &[u8]) -> Result<()> {
        if self.quiet || self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if let Err(e) = out.write_all(lines).and_then(|()| out.flush()) {
            // Half a list is not taken for all of it.
            if e.kind() != io::ErrorKind::BrokenPipe {
                return Err(Error::io("cannot write", std::path::Path::new("standard output"), e));
            }
            self.closed.store(true, Ordering::Relaxed);
            if !self.trusted {
                return Err(files::closed());
            }
        }
        Ok(())
    }
}

fn json<'j>(row: &'j Row<'_>) -> JsonRow<'j> {
    let entry = row.entry;
    let text = |bytes: &'j [u8]| String::from_utf8_lossy(bytes);
    let bare = std::str::from_utf8(&entry.path).is_err();
    JsonRow {
        r#type: "file",
        layer: row.layer,
        path: text(&entry.path),
        path_base64: bare.then(|| base64::engine::general_purpose::STANDARD.encode(&entry.path)),
        kind: entry.kind.as_str(),
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        size: row.size,
        mtime: entry.mtime,
        sha256: row.digest.map(|digest| digest.hex()),
        target: entry.target.as_deref().map(text),
        device: entry.device.map(|(major, minor)| [major, minor]),
        xattrs: entry.xattrs.iter().map(|(name, _)| text(name)).collect(),
        state: row.state.as_str(),
        whiteout: entry.whiteout.is_some().then_some(true),
        other_reading: (row.way == Way::Other).then_some(true),
        facts: row.facts.iter().map(|fact| fact.as_str()).collect(),
    }
}

/// As `ls -l` shows it.
fn mode(entry: &FileEntry) -> String {
    let bit = |at: u32, letter: char| if entry.mode & at != 0 { letter } else { '-' };
    let special = |x: u32, s: u32, both: char, alone: char| match (entry.mode & s != 0, entry.mode & x != 0) {
        (true, true) => both,
        (true, false) => alone,
        (false, true) => 'x',
        (false, false) => '-',
    };
    [
        entry.kind.letter(),
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o001, 0o1000, 't', 'T'),
    ]
    .iter()
    .collect()
}

/// A path for a line: escaped, and quoted where it could be taken for more than one word of the line.
pub(super) fn path(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for part in bytes.utf8_chunks() {
        shown.push_str(&escape(part.valid()));
        part.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    let odd = shown.contains(['"', '\\']) || shown.contains(" -> ") || shown.trim() != shown || shown.contains("  ");
    if odd { format!("\"{}\"", shown.replace('"', "\\\"")) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_path_stays_one_word_of_its_line() {
        assert_eq!(path(b"usr/bin/a b"), "usr/bin/a b");
        assert_eq!(path(b"a\n0 clean"), "\"a\\u{a}0 clean\"");
        assert_eq!(path(b"\x1b[2J"), "\"\\u{1b}[2J\"");
        assert_eq!(path(b"a -> b"), "\"a -> b\"");
        assert_eq!(path(b"caf\xe9"), "\"caf\\xe9\"");
    }
}
