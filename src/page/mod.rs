//! The sheet about a bundle that a security team files: HTML and Markdown from one set of data (`spec/report-page.md`).
//!
//! Pure: nothing here opens a file, knows the time, or runs anything. What is on a page is blocks; the two writers
//! escape every text of them, whoever it is from.

mod block;
mod contents;
pub mod effects;
mod findings;
mod front;
mod html;
mod markdown;
mod picture;
mod plain;
mod proofs;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Deref;

use crate::bundle::index::{Image, Index};
use crate::observer::count_of as grouped;
use crate::policy::Facts;
use crate::report::{Report, Verdict};
use crate::scan::Summary;
use block::Block;
use findings::Open;

pub use effects::Effect;

/// The most rows of a list on the first page, and of findings, notices, images and other rows behind it.
const FRONT: usize = 5;
const LISTED: usize = 400;
const NOTICES: usize = 120;

/// How the sheet was made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The version of this program.
    pub version: &'static str,
    /// The name of this host.
    pub host: String,
    /// The time of the evaluation.
    pub at: String,
    /// Whether the user gave that time.
    pub given: bool,
    /// The SHA-256 of the document that `-o json` prints.
    pub document: String,
    /// The bundle, as it is given to a command.
    pub bundle: String,
    /// The trust of this run, as it is given to a command: `--signer KEY.pub`.
    pub trust: String,
}

/// The trust policy.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Its roles: how many signatures each requires.
    pub required: Vec<(&'static str, usize)>,
    /// Its reviewers by name, with the fingerprints of their keys.
    pub reviewers: Vec<(String, String)>,
}

/// What is new since an older bundle.
#[derive(Clone, Debug, Default)]
pub struct Since {
    /// The older bundle: its file.
    pub path: String,
    /// Its name and number.
    pub title: String,
    /// The digest of its index.
    pub index: String,
    /// Its releases.
    pub releases: Vec<String>,
    /// Who signed it for this host, or why that is not known.
    pub standing: String,
    /// New and changed images, and those that are no longer there.
    pub images: Vec<Change>,
    /// How many images are the same.
    pub same: u64,
    /// Objects that are new, changed and gone: a word and a name.
    pub objects: Vec<(&'static str, String)>,
    /// Bytes that the older bundle did not have.
    pub bytes: u64,
}

/// An image that is not as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// `new`, `changed` or `gone`.
    pub what: &'static str,
    /// The bytes of its layers that the older bundle did not have.
    pub bytes: u64,
    /// The digests of its manifests.
    pub digests: Vec<String>,
}

/// Everything that a sheet is about.
#[derive(Clone, Debug)]
pub struct Sheet<'a> {
    /// How it was made.
    pub made: Made,
    /// The report.
    pub report: &'a Report,
    /// The exit code of the run.
    pub exit_code: u8,
    /// Whether the bundle was refused, so that its content was not looked at.
    pub refused: bool,
    /// Its index.
    pub index: Option<&'a Index>,
    /// What it holds.
    pub facts: Option<&'a Facts>,
    /// What scanners found; `None`: none was asked.
    pub scan: Option<&'a Summary>,
    /// The trust policy.
    pub trusted: Trusted,
    /// What its Kubernetes objects do.
    pub effects: Vec<Effect>,
    /// What is new in it.
    pub since: Option<Since>,
}

/// What the sheet says at its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// The bundle was refused.
    Refused,
    /// Something speaks against the import.
    Against,
    /// Nothing does, and something that is required was not done.
    Incomplete,
    /// Nothing does, and no scanner was asked.
    NotScanned,
    /// Nothing was found, but by the programs whose results the user gave.
    Others,
    /// Nothing speaks against it but warnings.
    Warned,
    /// What was found is accepted by the policy.
    Accepted,
    /// Nothing was found.
    Clean,
}

impl Saying {
    /// The words.
    pub fn words(self) -> &'static str {
        match self {
            Saying::Refused => "REFUSED: DO NOT IMPORT",
            Saying::Against => "DO NOT IMPORT",
            Saying::Incomplete => "NOT FULLY CHECKED",
            Saying::NotScanned => "VERIFIED; CONTENT NOT SCANNED",
            Saying::Others => "NOTHING FOUND HERE; OTHER PROGRAMS FOUND SOMETHING",
            Saying::Warned => "VERIFIED AND SCANNED: WARNINGS ONLY",
            Saying::Accepted => "VERIFIED AND SCANNED: WHAT WAS FOUND IS ACCEPTED",
            Saying::Clean => "VERIFIED AND SCANNED: NOTHING FOUND",
        }
    }
}

impl Sheet<'_> {
    /// What it says at its head.
    pub fn saying(&self) -> Saying {
        View::new(self).saying
    }
}

/// A sheet, and what all its sections need of it.
struct View<'a> {
    sheet: &'a Sheet<'a>,
    /// The images of the index by name and digest, and by the digests of their platforms.
    images: HashMap<String, &'a Image>,
    /// The findings, the worst first.
    open: Vec<Open>,
    saying: Saying,
}

impl<'a> Deref for View<'a> {
    type Target = Sheet<'a>;

    fn deref(&self) -> &Sheet<'a> {
        self.sheet
    }
}

impl<'a> View<'a> {
    fn new(sheet: &'a Sheet<'a>) -> View<'a> {
        let mut images: HashMap<String, &Image> = HashMap::new();
        for image in sheet.index.iter().flat_map(|index| &index.images) {
            for name in [image.called(), image.display(), image.digest.to_string()] {
                images.entry(name).or_insert(image);
            }
        }
        for member in sheet.facts.iter().flat_map(|facts| &facts.images) {
            if let Some(image) = member.listed.iter().find_map(|digest| images.get(digest).copied()) {
                images.entry(member.digest.clone()).or_insert(image);
            }
        }
        let mut view = View { sheet, images, open: Vec::new(), saying: Saying::Incomplete };
        view.open = findings::all(&view);
        view.saying = view.say();
        view
    }

    fn say(&self) -> Saying {
        let open = self.open.iter().any(|one| one.tag == block::Tag::Error && !one.undone);
        match self.exit_code {
            _ if self.refused => Saying::Refused,
            0 if self.report.verdict != Verdict::Verified => Saying::Incomplete,
            0 if open => Saying::Against,
            0 if !state::elsewhere(self.report).is_empty() => Saying::Others,
            0 if self.scan.is_none() => Saying::NotScanned,
            0 if self.open.iter().any(|one| one.tag == block::Tag::Warning) => Saying::Warned,
            0 if !self.report.accepted.is_empty() => Saying::Accepted,
            0 => Saying::Clean,
            42 if !open => Saying::Incomplete,
            _ => Saying::Against,
        }
    }

    /// Whether something speaks against the import.
    fn is_against(&self) -> bool {
        matches!(self.saying, Saying::Refused | Saying::Against)
    }

    fn title(&self) -> String {
        let bundle = &self.report.bundle;
        numbered(bundle.name.as_deref().unwrap_or(&bundle.path), bundle.sequence)
    }

    /// The 64 digits of the index digest, if it is known.
    fn hex(&self) -> Option<&str> {
        self.report.bundle.index.strip_prefix("sha256:").filter(|hex| hex.len() == 64)
    }

    /// What `scrub --remove` takes for what a finding is about: an image by name or digest, or a Kubernetes file.
    fn removable(&self, what: &str) -> Option<String> {
        let index = self.index?;
        if what.starts_with("manifests/") && index.files.iter().any(|file| file.path == what) {
            return Some(what.to_owned());
        }
        // A name can have a platform behind it: what is removed is the whole image.
        let bare = what.rsplit_once(" (").filter(|(_, end)| end.ends_with(')')).map_or(what, |(name, _)| name);
        let image = self.images.get(what).or_else(|| self.images.get(bare))?;
        let release = image.release.and_then(|digest| index.releases.iter().find(|r| r.digest == digest));
        Some(match (&image.component, release) {
            (Some(component), _) => format!("component:{component}"),
            (None, Some(release)) => format!("release:{}", release.version),
            (None, None) => image.display(),
        })
    }

    /// The command that removes all of these.
    fn scrub(&self, what: &[String]) -> String {
        let quoted = |text: &str| crate::escape::shell(text);
        let mut out = format!("mirror-bundle scrub {} reviewed.tar {}", quoted(&self.made.bundle), self.made.trust);
        for one in what {
            out.push_str(&format!(" --remove {}", quoted(one)));
        }
        out.push_str(" --reason 'TICKET' --sign-key reviewer.key");
        out
    }

    fn blocks(&self) -> Vec<Block> {
        let mut out = front::page(self);
        findings::section(self, &mut out);
        proofs::removals(self, &mut out);
        proofs::checks(self, &mut out);
        contents::since(self, &mut out);
        contents::sizes(self, &mut out);
        effects::section(&self.effects, self.facts.map_or(0, |facts| facts.more_objects), &mut out);
        contents::packages(self, &mut out);
        contents::images(self, &mut out);
        proofs::evidence(self, &mut out);
        proofs::signatures(self, &mut out);
        proofs::by_hand(self, &mut out);
        out
    }
}

/// The sheet as one HTML file.
pub fn html(sheet: &Sheet<'_>) -> String {
    let sheet = &View::new(sheet);
    let foot = sheet.hex().map_or_else(String::new, |hex| format!("index {} {}", &hex[..8], &hex[8..16]));
    let title = format!("Review of {}: {}", sheet.title(), sheet.saying.words().to_lowercase());
    html::write(&title, &foot, &sheet.blocks())
}

/// The sheet as Markdown.
pub fn markdown(sheet: &Sheet<'_>) -> String {
    markdown::write(&View::new(sheet).blocks())
}

/// A name with its number in a series; quoted where the name pretends to have one.
pub fn numbered(name: &str, sequence: Option<u64>) -> String {
    crate::bundle::index::title(&crate::escape::title(name), sequence)
}

/// A count with its noun.
fn count(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    let plural = match noun.strip_suffix('y').filter(|rest| !rest.ends_with(['a', 'e', 'o'])) {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    };
    let digits = grouped(n);
    if n == 1 { format!("1 {noun}") } else { format!("{digits} {plural}") }
}

/// `2026-11-28T11:31:02Z` as `2026-11-28 11:31:02 UTC`; anything else as it is.
fn time(text: &str) -> String {
    let Some(rest) = text.strip_suffix('Z') else { return crate::escape::name(text) };
    let whole = rest.split('.').next().unwrap_or(rest);
    match whole.split_once('T') {
        Some((day, time)) if day.len() == 10 && time.len() == 8 => {
            format!("{} {} UTC", crate::escape::name(day), crate::escape::name(time))
        }
        _ => crate::escape::name(text),
    }
}
