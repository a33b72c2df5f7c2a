//! `scan`: hands everything in a bundle to scanners, in one reading that also verifies.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use serde_json::Value;

use super::reading::{self, Basis, Content, Opened, Visitor, Way};
use super::shelf::{Carried, Shelf, called};
use crate::archive::Reason;
use crate::bundle::index::Index;
use crate::bundle::{Inputs, layout};
use crate::content::facts;
use crate::content::layer::FileKind;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, media_type};
use crate::ops::{Observer, Task};
use crate::report::{Check, CheckId, Finding};
use crate::scan::{self, Origin, Scan, Scanner, Summary, start};
use crate::verify::Report;

/// The check of what layers are.
const LAYERS: CheckId = CheckId::new(130, "layers", "layers");

/// Options of `scan`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Limits and time.
    pub scan: scan::Options,
    /// Verdicts of earlier runs count.
    pub earlier: bool,
    /// Threads that read.
    pub jobs: usize,
}

/// What came of it.
#[derive(Debug)]
pub enum Scanned {
    /// The head of the bundle is bad: nothing was scanned.
    Refused(Box<Report>),
    /// It was scanned.
    Done(Box<Done>),
}

/// A bundle that was scanned.
#[derive(Debug)]
pub struct Done {
    /// What was found.
    pub summary: Summary,
    /// The report of the reading.
    pub report: Report,
    /// Layers that are damaged, or that tar readers read differently.
    pub layers: Check,
    /// Whether the bundle was verified in the same reading.
    pub trusted: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// Scans a bundle.
///
/// # Errors
/// [`Code::IncompleteCheck`] if a scanner cannot be used; failures that prevent the checks.
pub fn scan(
    inputs: Inputs,
    basis: &Basis,
    scanners: Vec<Scanner>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Scanned> {
    let reading = match reading::open(inputs, basis)? {
        Opened::Refused(report) => return Ok(Scanned::Refused(report)),
        Opened::Reading(reading) => *reading,
    };
    let trusted = reading.is_trusted();
    let names = names(reading.shelf(), reading.index());
    let layers = Mutex::new(Check::new(LAYERS));
    let told = |found: &scan::Finding| observer.found(&at_once(found));
    let (fed, summary) = start(scanners, options.earlier, options.scan, observer, &told, |scan| {
        let handing = Handing { scan, names: &names, layers: &layers };
        reading.read(&reading::Wanted::All, &handing, options.jobs, &Scanning(observer))
    })?;
    let finished = fed.map_err(|e| {
        e.interrupted("not everything was scanned; the verdicts so far are kept, and the same command goes on")
    })?;
    let layers = layers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut codes: Vec<u8> = vec![finished.exit_code()];
    codes.extend(layers.findings.iter().map(|finding| finding.code.exit()));
    if summary.found > 0 {
        codes.push(Code::Found.exit());
    }
    if !summary.is_clean() {
        codes.push(Code::IncompleteCheck.exit());
    }
    codes.retain(|code| *code != 0);
    let exit_code = codes.into_iter().min_by_key(|code| (!(10..50).contains(code), *code)).unwrap_or(0);
    let report = finished.report().clone();
    Ok(Scanned::Done(Box::new(Done { summary, report, layers, trusted, exit_code })))
}

/// What was found, for those who follow the run.
fn at_once(found: &scan::Finding) -> Finding {
    let scanner = found.scanner.as_deref().unwrap_or_default();
    let subject = found.sha256.as_deref().map_or_else(String::new, |hex| format!("sha256:{hex}"));
    let text = format!("the scanner `{scanner}` found {}", found.names.join(", "));
    let fact = |spot: &scan::Spot| format!("in {} {} {}", spot.origin.kind, spot.origin.what, spot.path);
    let finding = Finding::new(Code::Found, subject, text);
    found.places.iter().map(fact).fold(finding, |finding, fact| finding.fact(fact.trim_end()))
}

/// Progress of the reading, as that of the scan: it waits for the scanners.
struct Scanning<'o>(&'o dyn Observer);

impl Observer for Scanning<'_> {
    fn say(&self, verb: &str, text: &str) {
        self.0.say(verb, text);
    }
    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
    fn begin(&self, _: Task, items: u64, bytes: u64) {
        self.0.begin(Task::Scan, items, bytes);
    }
    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }
    fn item(&self) {
        self.0.item();
    }
    fn end(&self) {
        self.0.end();
    }
    fn stopped(&self) -> Option<Code> {
        self.0.stopped()
    }
}

/// The images that have each blob and document.
fn names(shelf: &Shelf, index: &Index) -> HashMap<Digest, Vec<String>> {
    let mut out: HashMap<Digest, Vec<String>> = HashMap::new();
    let mut add = |digest: Digest, name: &str| {
        let names = out.entry(digest).or_default();
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    };
    for image in &index.images {
        add(image.digest, &called(image));
    }
    for member in shelf.members() {
        for image in member.images.iter().filter_map(|at| index.images.get(*at)) {
            let list = media_type::is_index(&image.media_type);
            let ending = member.platform.as_ref().filter(|_| list).map(|p| format!(" ({p})"));
            let name = called(image) + ending.as_deref().unwrap_or_default();
            let parts = member.layers.iter().map(|layer| layer.digest).chain([member.config.digest, member.digest]);
            parts.for_each(|digest| add(digest, &name));
        }
    }
    out
}

struct Handing<'s, 'a> {
    scan: &'s Scan<'a>,
    names: &'s HashMap<Digest, Vec<String>>,
    layers: &'s Mutex<Check>,
}

impl Handing<'_, '_> {
    fn origin(&self, kind: &'static str, digest: &Digest) -> u32 {
        let images = self.names.get(digest).cloned().unwrap_or_default();
        self.scan.origin(Origin { kind, what: digest.to_string(), images })
    }

    fn whole(&self, kind: &'static str, path: &str, mut bytes: &[u8]) -> Result<u32> {
        let origin = self.scan.origin(Origin { kind, what: path.to_owned(), images: Vec::new() });
        self.scan.content(origin, b"", Some(bytes.len() as u64), &mut bytes)?;
        Ok(origin)
    }

    fn find(&self, finding: Finding) {
        self.layers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).find(finding);
    }

    fn layer(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        let origin = self.origin("layer", &blob.digest);
        let digest = blob.digest.to_string();
        let end = content.files(&mut |way, entry, stream| {
            if way == Way::Runtime {
                let facts = facts::of_entry(entry).into_iter().filter(|fact| fact.is_finding());
                facts.for_each(|fact| self.scan.fact(origin, &entry.path, fact));
            }
            if !entry.has_content() {
                return Ok(());
            }
            let size = (entry.kind != FileKind::Behind).then_some(entry.size);
            self.scan.content(origin, &entry.path, size, stream)
        })?;
        if let Some(remark) = end.remarks.list().iter().find(|remark| remark.ambiguous) {
            let text = format!("the layer {digest} is read differently by different tar readers: it {}", remark.what);
            let finding = Finding::new(Code::AmbiguousLayer, digest.clone(), text);
            let at = String::from_utf8_lossy(&remark.path).into_owned();
            let finding = if at.is_empty() { finding } else { finding.fact(format!("at {at}")) };
            self.find(match end.both {
                true => finding.fact("both readings were scanned"),
                false => finding.fact("only the reading of container runtimes was scanned"),
            });
            if !end.both {
                self.scan.unread(origin, Reason::Damaged, "was read in one of its two readings only");
            }
        }
        if let Some(broken) = end.broken {
            self.scan.unread(origin, Reason::Damaged, "could not be read to its end");
            self.find(Finding::of(digest, &broken).fact("what came before was scanned"));
        }
        Ok(())
    }
}

impl Visitor for Handing<'_, '_> {
    fn blob(&self, blob: &Carried, content: &mut Content<'_, '_>) -> Result<()> {
        if content.again() && self.scan.is_over() {
            return Ok(());
        }
        match blob.is_layer() {
            true => self.layer(blob, content),
            false => {
                let origin = self.origin("blob", &blob.digest);
                self.scan.content(origin, b"", Some(blob.size), content.bytes())
            }
        }
    }

    fn document(&self, digest: &Digest, mut bytes: &[u8]) -> Result<()> {
        let origin = self.origin("document", digest);
        self.scan.content(origin, b"", Some(bytes.len() as u64), &mut bytes)
    }

    fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let origin = self.whole("file", path, bytes)?;
        // In JSON, values are escaped or in base64: a cluster has them as they are.
        let Ok(Value::Object(object)) = serde_json::from_slice(bytes) else { return Ok(()) };
        let mut rest = Vec::new();
        for (member, value) in &object {
            let coded = member == "binaryData" || member == "data" && object.get("kind") == Some(&"Secret".into());
            match value {
                Value::Object(entries) if coded || member == "data" || member == "stringData" => {
                    for (key, value) in entries {
                        let Value::String(text) = value else { continue };
                        let bytes = if coded { decoded(text) } else { text.clone().into_bytes() };
                        let inside = format!("!{member}/{key}");
                        let size = Some(bytes.len() as u64);
                        self.scan.content(origin, inside.as_bytes(), size, &mut bytes.as_slice())?;
                    }
                }
                other => texts(other, &mut rest),
            }
        }
        self.scan.content(origin, b"!(text)", Some(rest.len() as u64), &mut rest.as_slice())
    }

    fn absent(&self, blob: &Carried) -> Result<()> {
        let origin = self.origin(if blob.is_layer() { "layer" } else { "blob" }, &blob.digest);
        self.scan.unread(
            origin,
            Reason::Missing,
            "is not here: on another volume, or left out of a bundle for a receiver that has it (--base)",
        );
        Ok(())
    }

    fn own(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let signs = path.ends_with(".sig") || path.starts_with(layout::ADDENDA);
        let kind = if signs { "signature" } else { "file" };
        self.whole(kind, path, bytes).map(drop)
    }
}

/// A value in base64 as a cluster decodes it; the text itself if it is none.
fn decoded(text: &str) -> Vec<u8> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(plain).unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// All texts of a value, one per line.
fn texts(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Value::Object(members) => members.values().for_each(|member| texts(member, out)),
        _ => {}
    }
}

/// That no scanner was named.
pub fn no_scanner() -> Error {
    Error::new(Code::Usage, "no scanner is named")
        .hint("--clamd /run/clamav/clamd.ctl, or --scanner yara='yara -w RULES {}', or --scanners FILE")
}
