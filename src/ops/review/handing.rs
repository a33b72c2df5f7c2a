//! Hands contents to scanners, and says what came of it.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;

use base64::Engine as _;
use serde_json::Value;

use crate::archive::Reason;
use crate::bundle::index::Index;
use crate::bundle::layout;
use crate::content::facts::Fact;
use crate::content::layer::{FileEntry, FileKind};
use crate::error::{Code, Result};
use crate::oci::{Digest, media_type};
use crate::ops::reading::{LayerEnd, Way};
use crate::ops::shelf::{Carried, Shelf, called};
use crate::ops::{Observer, Task};
use crate::report::{Check, CheckId, Finding};
use crate::scan::{self, Origin, Scan, Summary};

/// The check of what layers are.
pub(super) const LAYERS: CheckId = CheckId::new(130, "layers", "layers");

/// The exit codes of what scanners found and left; what is accepted does not count.
pub(in crate::ops) fn codes(summary: &Summary) -> Vec<u8> {
    let open = |outcome: scan::Outcome, count: u64| {
        let mut listed = summary.findings.iter().filter(|one| one.outcome == outcome).peekable();
        let closed = listed.peek().is_some() && listed.all(|one| one.accepted.is_some()) && summary.more_findings == 0;
        count > 0 && !closed
    };
    let found = open(scan::Outcome::Found, summary.found);
    let unsure = open(scan::Outcome::Failed, summary.failed) || open(scan::Outcome::NotOpened, summary.not_opened);
    let mut codes = Vec::new();
    codes.extend(found.then(|| Code::Found.exit()));
    codes.extend((unsure || summary.left > 0 || summary.ended.is_some()).then(|| Code::IncompleteCheck.exit()));
    codes
}

/// What was found, for those who follow the run.
pub(super) fn at_once(found: &scan::Finding) -> Finding {
    let scanner = found.scanner.as_deref().unwrap_or_default();
    let subject = found.sha256.as_deref().map_or_else(String::new, |hex| format!("sha256:{hex}"));
    let text = format!("the scanner `{scanner}` found {}", found.names.join(", "));
    let fact = |spot: &scan::Spot| format!("in {} {} {}", spot.origin.kind, spot.origin.what, spot.path);
    let finding = Finding::new(Code::Found, subject, text);
    found.places.iter().map(fact).fold(finding, |finding, fact| finding.fact(fact.trim_end()))
}

/// Progress of the reading, as that of the scan: it waits for the scanners.
pub(super) struct Scanning<'o>(pub(super) &'o dyn Observer);

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
pub(super) fn names(shelf: &Shelf, index: &Index) -> HashMap<Digest, Vec<String>> {
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

/// Hands contents to the scanners.
pub(super) struct Handing<'s, 'a> {
    pub(super) scan: &'s Scan<'a>,
    pub(super) names: &'s HashMap<Digest, Vec<String>>,
    pub(super) layers: &'s Mutex<Check>,
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

    /// Whether the run ended early.
    pub(super) fn is_over(&self) -> bool {
        self.scan.is_over()
    }

    /// A layer whose entries follow.
    pub(super) fn begin(&self, blob: &Carried) -> u32 {
        self.origin("layer", &blob.digest)
    }

    /// An entry of a layer, with its content.
    pub(super) fn entry(
        &self,
        origin: u32,
        (way, entry): (Way, &FileEntry),
        facts: &[Fact],
        stream: &mut dyn Read,
    ) -> Result<()> {
        if way == Way::Runtime {
            let facts = facts.iter().filter(|fact| fact.is_finding());
            facts.for_each(|fact| self.scan.fact(origin, &entry.path, *fact));
        }
        if !entry.has_content() {
            return Ok(());
        }
        let size = (entry.kind != FileKind::Behind).then_some(entry.size);
        self.scan.content(origin, &entry.path, size, stream)
    }

    /// How the reading of a layer ended.
    pub(super) fn end(&self, origin: u32, blob: &Carried, end: &LayerEnd) {
        let digest = blob.digest.to_string();
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
        if let Some(broken) = &end.broken {
            self.scan.unread(origin, Reason::Damaged, "could not be read to its end");
            self.find(Finding::of(digest, broken).fact("what came before was scanned"));
        }
    }

    /// A blob that is no layer in tar.
    pub(super) fn blob(&self, blob: &Carried, stream: &mut dyn Read) -> Result<()> {
        let origin = self.origin("blob", &blob.digest);
        self.scan.content(origin, b"", Some(blob.size), stream)
    }

    pub(super) fn document(&self, digest: &Digest, mut bytes: &[u8]) -> Result<()> {
        let origin = self.origin("document", digest);
        self.scan.content(origin, b"", Some(bytes.len() as u64), &mut bytes)
    }

    pub(super) fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
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

    pub(super) fn absent(&self, blob: &Carried) -> Result<()> {
        let origin = self.origin(if blob.is_layer() { "layer" } else { "blob" }, &blob.digest);
        self.scan.unread(
            origin,
            Reason::Missing,
            "is not here: on another volume, or left out of a bundle for a receiver that has it (--base)",
        );
        Ok(())
    }

    pub(super) fn own(&self, path: &str, bytes: &[u8]) -> Result<()> {
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
