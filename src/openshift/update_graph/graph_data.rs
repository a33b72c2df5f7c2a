//! The files of graph-data: which channels there are and which edges are blocked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::{Regex, RegexBuilder};

use super::graph::Risk;
use super::{is_channel, version, yaml};
use crate::oci::json;
use crate::version::Version;

/// The most files of graph-data. The real one has 1,717.
pub const MAX_FILES: usize = 20_000;
/// The longest file, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// The most bytes of all files.
const MAX_TOTAL: usize = 64 << 20;
/// The most bytes that one regular expression may take when it is compiled.
const MAX_REGEX: usize = 1 << 20;
/// The longest regular expression. The real ones have up to 200 characters.
const MAX_PATTERN: usize = 4096;
/// The versions of the format: 1.0 to 1.2.
const NEWEST_MINOR: u64 = 2;

/// What the update service does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The service fails, and answers no cluster.
    Refused,
    /// The service leaves it out, and works without.
    Skipped,
    /// It is read, but does less or other than its author may expect.
    Noted,
}

impl Effect {
    /// As it is written: `refused`, `skipped` or `noted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Refused => "refused",
            Effect::Skipped => "skipped",
            Effect::Noted => "noted",
        }
    }
}

/// What is to be known of a file, or of the releases that go with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// What the service does.
    pub effect: Effect,
    /// The file below the top of graph-data, or the release.
    pub file: String,
    /// Why.
    pub why: String,
}

impl Remark {
    pub(super) fn new(effect: Effect, file: impl Into<String>, why: impl Into<String>) -> Remark {
        Remark { effect, file: file.into(), why: why.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// Graph-data with which the update service fails: all remarks, those of [`Effect::Refused`] first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Vec<Remark>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first() {
            Some(remark) => remark.fmt(f),
            None => f.write_str("not graph-data"),
        }
    }
}

impl std::error::Error for Refused {}

/// Graph-data, as the update service reads it.
#[derive(Clone, Debug)]
pub struct GraphData {
    version: String,
    pub(super) channels: Vec<Channel>,
    pub(super) blocked: Vec<BlockedEdge>,
    pub(super) conditional: Vec<ConditionalEdges>,
    pub(super) raw: BTreeMap<String, BTreeMap<String, String>>,
}

/// A channel: one file of `channels/`.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) versions: BTreeSet<String>,
}

/// Edges that are removed.
#[derive(Clone, Debug)]
pub(super) struct BlockedEdge {
    pub(super) to: Version,
    pub(super) from: String,
}

/// Edges that get a risk.
#[derive(Clone, Debug)]
pub(super) struct ConditionalEdges {
    pub(super) to: Version,
    pub(super) from: String,
    pub(super) risk: Risk,
}

/// Compiles a pattern of `from`; a longer one, or one that takes more memory, is refused.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the regular expression has over {MAX_PATTERN} characters"));
    }
    RegexBuilder::new(pattern).size_limit(MAX_REGEX).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => format!("the regular expression takes over {MAX_REGEX} bytes"),
        other => {
            let text = other.to_string();
            let line = text.lines().next_back().unwrap_or_default();
            format!("not a regular expression: {}", line.trim().trim_start_matches("error: "))
        }
    })
}

impl GraphData {
    /// Reads the tree: each file by its path below the top, and its content. A path that ends with `/` is a folder.
    /// The remarks are sorted, those of [`Effect::Skipped`] before those of [`Effect::Noted`].
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(GraphData, Vec<Remark>), Refused> {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            if let Err(remark) = tree.add(path, bytes) {
                return Err(Refused(vec![remark]));
            }
        }
        let mut data = GraphData {
            version: String::new(),
            channels: Vec::new(),
            blocked: Vec::new(),
            conditional: Vec::new(),
            raw: BTreeMap::new(),
        };
        let mut remarks = Vec::new();
        data.read(&tree, &mut remarks);
        remarks.sort();
        if remarks.iter().any(|remark| remark.effect == Effect::Refused) {
            return Err(Refused(remarks));
        }
        Ok((data, remarks))
    }

    /// The version of the format that the tree says it has.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The names of the channels, sorted.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.channels.iter().map(|channel| channel.name.as_str()).collect();
        names.into_iter()
    }

    /// The channels that a version is in, sorted. `version` can have build metadata.
    pub fn channels_of(&self, version: &Version) -> Vec<&str> {
        let plain = version.without_build();
        let has = |c: &&Channel| c.versions.contains(plain) || c.versions.contains(version.as_str());
        let names: BTreeSet<&str> = self.channels.iter().filter(has).map(|c| c.name.as_str()).collect();
        names.into_iter().collect()
    }

    fn read(&mut self, tree: &Tree<'_>, remarks: &mut Vec<Remark>) {
        match tree.files.get("version") {
            None => remarks.push(Remark::new(Effect::Refused, "version", "the file is missing")),
            Some(bytes) => {
                self.version = String::from_utf8_lossy(bytes).trim().to_owned();
                remarks.extend(format_version(&self.version));
            }
        }
        self.metadata(tree, remarks);
        for folder in ["channels/", "blocked-edges/"] {
            if !tree.files.keys().any(|path| path.starts_with(folder)) && !tree.folders.contains(folder) {
                remarks.push(Remark::new(Effect::Refused, folder, "the folder is missing"));
            }
        }
        let mut strange = BTreeSet::new();
        for (path, bytes) in &tree.files {
            let Some((folder, name)) = path.split_once('/') else {
                if !matches!(*path, "version" | "LICENSE") {
                    strange.insert(*path);
                }
                continue;
            };
            let read = match folder {
                "channels" => readable(name).and_then(|()| self.channel(path, bytes, remarks)),
                "blocked-edges" => readable(name).and_then(|()| self.edge(bytes)),
                "raw" if name == "metadata.json" => Ok(()),
                "signatures" => Ok(()),
                _ => {
                    strange.insert(folder);
                    Ok(())
                }
            };
            if let Err(why) = read {
                remarks.push(Remark::new(Effect::Skipped, *path, why));
            }
        }
        let not_read = |name: &str| Remark::new(Effect::Skipped, name, "the update service does not read it");
        remarks.extend(strange.into_iter().map(not_read));
        self.doubtful(remarks);
    }

    fn metadata(&mut self, tree: &Tree<'_>, remarks: &mut Vec<Remark>) {
        const FILE: &str = "raw/metadata.json";
        let Some(bytes) = tree.files.get(FILE) else {
            return remarks.push(Remark::new(Effect::Refused, FILE, "the file is missing; `{}` is enough"));
        };
        match json::check(bytes, &[])
            .map_err(|e| e.to_string())
            .and_then(|()| serde_json::from_slice(bytes).map_err(|e| format!("not metadata of releases: {e}")))
        {
            Ok(raw) => self.raw = raw,
            Err(why) => remarks.push(Remark::new(Effect::Refused, FILE, why)),
        }
        for bad in self.raw.keys().filter(|key| version(key).is_none()) {
            remarks.push(Remark::new(Effect::Skipped, FILE, format!("`{bad}` is not a version")));
        }
    }

    fn channel(&mut self, path: &str, bytes: &[u8], remarks: &mut Vec<Remark>) -> Result<(), String> {
        let file: yaml::Channel = yaml::read(bytes)?;
        if let Some(bad) = file.versions.iter().find(|v| version(v).is_none()) {
            return Err(format!("`{bad}` is not a version"));
        }
        if !file.name.contains('-') {
            let why = format!("channel `{}` has no `-` in its name, and sorting it makes the service fail", file.name);
            remarks.push(Remark::new(Effect::Refused, path, why));
        } else if !is_channel(&file.name) {
            let why = format!("no cluster can ask for channel `{}`: names are of a-z, 0-9, `-` and `.`", file.name);
            remarks.push(Remark::new(Effect::Noted, path, why));
        }
        self.channels.push(Channel { name: file.name, versions: file.versions.into_iter().collect() });
        Ok(())
    }

    fn edge(&mut self, bytes: &[u8]) -> Result<(), String> {
        let file: yaml::Edge = yaml::read(bytes)?;
        let to = file.to.ok_or("`to` is missing")?;
        let to = version(&to).ok_or_else(|| format!("`{to}` is not a version"))?;
        let from = file.from.ok_or("`from` is missing")?;
        compile(&from)?;
        let there = [file.url.is_some(), file.name.is_some(), file.message.is_some(), file.rules.is_some()];
        let mut more: Vec<&str> = file.others.keys().map(String::as_str).take(8).collect();
        more.extend(file.fixed_in.is_some().then_some("fixedIn"));
        let names = ["url", "name", "message", "matchingRules"].into_iter().zip(there);
        let (has, lacks): (Vec<_>, Vec<_>) = names.partition(|(_, there)| *there);
        more.extend(has.into_iter().map(|(name, _)| name));
        let lacks: Vec<&str> = lacks.into_iter().map(|(name, _)| name).collect();
        match (file.url, file.name, file.message, file.rules) {
            (Some(url), Some(name), Some(message), Some(rules)) => {
                let matching_rules = rules.into_iter().map(yaml::RuleFile::rule).collect();
                self.conditional.push(ConditionalEdges { to, from, risk: Risk { name, message, url, matching_rules } });
                Ok(())
            }
            (None, None, None, None) if more.is_empty() => {
                self.blocked.push(BlockedEdge { to, from });
                Ok(())
            }
            _ => {
                let (more, lacks) = (more.join("`, `"), lacks.join("`, `"));
                Err(format!("no edge is blocked: with `{more}` it is a conditional edge, and `{lacks}` is missing"))
            }
        }
    }

    /// What is read, but not as it looks.
    fn doubtful(&self, remarks: &mut Vec<Remark>) {
        let mut blocked: BTreeMap<&str, usize> = BTreeMap::new();
        for edge in &self.blocked {
            *blocked.entry(edge.to.as_str()).or_default() += 1;
        }
        for (to, count) in blocked.into_iter().filter(|(_, count)| *count > 1) {
            let why = format!("{count} files block edges to {to}; the service obeys one of them, and which is chance");
            remarks.push(Remark::new(Effect::Noted, "blocked-edges", why));
        }
        for edges in &self.conditional {
            let known = |kind: &str| matches!(kind, "Always" | "PromQL");
            if !edges.risk.matching_rules.iter().any(|rule| known(&rule.kind)) {
                let why = format!("risk `{}` to {} has no rule that clusters know", edges.risk.name, edges.to.as_str());
                remarks.push(Remark::new(Effect::Noted, "blocked-edges", why));
            }
        }
    }
}

/// What there is to say about the version of the format.
fn format_version(text: &str) -> Option<Remark> {
    let shown: String = text.chars().take(40).collect();
    let Some(parsed) = version(text) else {
        return Some(Remark::new(Effect::Refused, "version", format!("`{shown}` is not a version")));
    };
    if parsed.major() != 1 {
        return Some(Remark::new(Effect::Refused, "version", format!("format {shown}; only 1.0.0 to 1.2.0 are known")));
    }
    let newer = parsed.minor() > NEWEST_MINOR;
    let why = format!("format {shown} is read as 1.2.0: what is new in it has no effect");
    newer.then(|| Remark::new(Effect::Noted, "version", why))
}

/// Whether the service reads a file of this name: not below another folder, and `.yaml` at its end.
fn readable(name: &str) -> Result<(), String> {
    if name.contains('/') {
        return Err("the service does not read folders of folders".to_owned());
    }
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => {
            if extension.contains("yaml") {
                Ok(())
            } else {
                Err("only files that end with `.yaml` are read".to_owned())
            }
        }
        _ => Err("only files that end with `.yaml` are read".to_owned()),
    }
}

/// The files, sorted and bounded.
#[derive(Default)]
struct Tree<'a> {
    files: BTreeMap<&'a str, &'a [u8]>,
    folders: BTreeSet<&'a str>,
    total: usize,
}

impl<'a> Tree<'a> {
    fn add(&mut self, path: &'a str, bytes: &'a [u8]) -> Result<(), Remark> {
        let refuse = |why: String| {
            let shown: String = path.chars().take(200).collect();
            Err(Remark::new(Effect::Refused, shown, why))
        };
        let path = path.strip_prefix("./").unwrap_or(path);
        if self.files.len() + self.folders.len() >= MAX_FILES {
            return refuse(format!("over {MAX_FILES} files"));
        }
        if let Some(folder) = path.strip_suffix('/').map(|_| path) {
            self.folders.insert(folder);
            return Ok(());
        }
        if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("not the path of a file below the top".to_owned());
        }
        if bytes.len() > MAX_FILE {
            return refuse(format!("over {MAX_FILE} bytes"));
        }
        self.total += bytes.len();
        if self.total > MAX_TOTAL {
            return refuse(format!("over {MAX_TOTAL} bytes together"));
        }
        if self.files.insert(path, bytes).is_some() {
            return refuse("it is there twice".to_owned());
        }
        Ok(())
    }
}
