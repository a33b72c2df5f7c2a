//! The graph of a repository: the edges that its releases name, changed by graph-data, as graph-builder computes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use regex::Regex;

use super::graph::{Conditional, ConditionalEdge, Graph, MAX_NODES, Node, Risk};
use super::graph_data::{Effect, GraphData, Remark, compile};
use super::{CHANNELS, MANIFEST_REFERENCE, REMOVE_REGEX, version};
use crate::oci::Invalid;
use crate::version::Version;

/// The most edges.
const MAX_EDGES: usize = 2_000_000;
/// The most comparisons of a version with a regular expression.
const MAX_MATCHES: usize = 20_000_000;
/// The most times that a regular expression is compiled.
const MAX_PATTERNS: usize = 100_000;

/// A release of a repository: what graph-builder reads of it.
#[derive(Clone, Debug, Default)]
pub struct ReleaseNode {
    /// Its version, without build metadata.
    pub version: String,
    /// The architecture: that of the image, or `multi` for a list.
    pub architecture: String,
    /// Its image, by digest.
    pub payload: String,
    /// `previous` of its metadata: from which versions clusters can come.
    pub previous: Vec<String>,
    /// `next` of its metadata.
    pub next: Vec<String>,
    /// `metadata` of its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// The graph of all architectures and channels.
#[derive(Debug)]
pub struct Whole {
    nodes: Vec<Place>,
    edges: BTreeSet<(usize, usize)>,
    conditional: BTreeMap<(usize, usize), Vec<usize>>,
    risks: Vec<Risk>,
    /// What graph-builder fails with, or what has no effect.
    pub remarks: Vec<Remark>,
}

/// A version of one architecture; a release has an image, others are only named by releases.
#[derive(Debug)]
struct Place {
    version: Version,
    architecture: String,
    full: String,
    payload: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// A carried release, and from where clusters can come to it in one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The version.
    pub version: String,
    /// The architecture.
    pub architecture: String,
    /// The channels that it is in.
    pub channels: Vec<String>,
    /// Where clusters can come from, by version.
    pub from: Vec<Origin>,
}

/// A version from which clusters can come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The version.
    pub version: String,
    /// Whether its release is among the given ones. A cluster of another version finds itself in the graph only if
    /// the repository has its release already.
    pub carried: bool,
    /// The channels in which both ends are. In others no cluster sees the update.
    pub channels: Vec<String>,
    /// The risks. None: the update is for every cluster.
    pub risks: Vec<Risk>,
}

impl GraphData {
    /// The graph that the update service answers for a channel and an architecture, if its repository has `releases`.
    pub fn graph(&self, channel: &str, architecture: &str, releases: &[ReleaseNode]) -> Result<Graph, Invalid> {
        Ok(self.whole(releases)?.channel(channel, architecture))
    }

    /// For each of the releases: from where clusters can come to it.
    pub fn serves(&self, releases: &[ReleaseNode]) -> Result<Vec<Served>, Invalid> {
        Ok(self.whole(releases)?.serves(self))
    }

    /// The graph of all channels and architectures.
    pub fn whole(&self, releases: &[ReleaseNode]) -> Result<Whole, Invalid> {
        Build::new(releases)?.finish(self)
    }
}

impl Whole {
    /// The part of a channel and an architecture, sorted.
    pub fn channel(&self, channel: &str, architecture: &str) -> Graph {
        let here = |place: &Place| {
            let node = Node { version: String::new(), payload: None, metadata: place.metadata.clone() };
            place.payload.is_some() && place.architecture == architecture && node.channels().any(|c| c == channel)
        };
        let mut chosen: Vec<usize> = (0..self.nodes.len()).filter(|at| here(&self.nodes[*at])).collect();
        chosen.sort_by(|a, b| self.nodes[*a].version.order(&self.nodes[*b].version));
        let at: HashMap<usize, usize> = chosen.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let node = |old: &usize| {
            let Place { version, payload, metadata, .. } = &self.nodes[*old];
            Node { version: version.as_str().to_owned(), payload: payload.clone(), metadata: metadata.clone() }
        };
        let moved = |edge: &(usize, usize)| Some((*at.get(&edge.0)?, *at.get(&edge.1)?));
        let mut edges: Vec<(usize, usize)> = self.edges.iter().filter_map(moved).collect();
        edges.sort_unstable();
        let mut groups: BTreeMap<&[usize], Vec<(usize, usize)>> = BTreeMap::new();
        for (edge, risks) in &self.conditional {
            if let Some(edge) = moved(edge) {
                groups.entry(risks).or_default().push(edge);
            }
        }
        let nodes: Vec<Node> = chosen.iter().map(node).collect();
        let group = |(risks, mut edges): (&[usize], Vec<(usize, usize)>)| {
            edges.sort_unstable();
            let named = |at: usize| nodes[at].version.clone();
            Conditional {
                edges: edges.iter().map(|e| ConditionalEdge { from: named(e.0), to: named(e.1) }).collect(),
                risks: risks.iter().map(|at| self.risks[*at].clone()).collect(),
            }
        };
        let conditional = groups.into_iter().map(group).collect();
        Graph { nodes, edges, conditional }
    }

    fn serves(&self, data: &GraphData) -> Vec<Served> {
        let mut into: BTreeMap<usize, Vec<(usize, &[usize])>> = BTreeMap::new();
        for (from, to) in self.edges.iter().filter(|edge| !self.conditional.contains_key(edge)) {
            into.entry(*to).or_default().push((*from, &[]));
        }
        for ((from, to), risks) in &self.conditional {
            into.entry(*to).or_default().push((*from, risks));
        }
        let mut carried: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].payload.is_some()).collect();
        let order = |a: &usize, b: &usize| {
            let (a, b) = (&self.nodes[*a], &self.nodes[*b]);
            a.version.order(&b.version).then_with(|| a.architecture.cmp(&b.architecture))
        };
        carried.sort_by(order);
        let one = |at: usize| {
            let place = &self.nodes[at];
            let channels: Vec<String> = data.channels_of_place(place);
            let mut from = into.remove(&at).unwrap_or_default();
            from.sort_by(|a, b| order(&a.0, &b.0));
            let origin = |(from, risks): (usize, &[usize])| {
                let other = &self.nodes[from];
                let shared = data.channels_of_place(other).into_iter().filter(|c| channels.contains(c)).collect();
                Origin {
                    version: other.version.as_str().to_owned(),
                    carried: other.payload.is_some(),
                    channels: shared,
                    risks: risks.iter().map(|at| self.risks[*at].clone()).collect(),
                }
            };
            let from = from.into_iter().map(origin).collect();
            let version = place.version.as_str().to_owned();
            Served { version, architecture: place.architecture.clone(), channels, from }
        };
        carried.into_iter().map(one).collect()
    }
}

impl GraphData {
    fn channels_of_place(&self, place: &Place) -> Vec<String> {
        let full = version(&place.full);
        let channels = full.as_ref().map(|full| self.channels_of(full)).unwrap_or_default();
        channels.into_iter().map(str::to_owned).collect()
    }
}

struct Build {
    nodes: Vec<Place>,
    /// By version and architecture, `4.18.1+amd64`.
    at: HashMap<String, usize>,
    edges: BTreeSet<(usize, usize)>,
    remarks: Vec<Remark>,
    /// The pattern used last, compiled. One is kept: many could take gigabytes.
    last: Option<(String, Option<Regex>)>,
    matches: usize,
    compiled: usize,
}

impl Build {
    fn new(releases: &[ReleaseNode]) -> Result<Build, Invalid> {
        let mut build = Build {
            nodes: Vec::new(),
            at: HashMap::new(),
            edges: BTreeSet::new(),
            remarks: Vec::new(),
            last: None,
            matches: 0,
            compiled: 0,
        };
        for release in releases {
            let at = build.place(&release.version, &release.architecture)?;
            let place = &mut build.nodes[at];
            if place.payload.as_ref().is_some_and(|other| digest(other) != digest(&release.payload)) {
                let why = "two images have this version and architecture, and graph-builder fails with them";
                let remark = Remark::new(Effect::Refused, place.full.clone(), why);
                build.remarks.push(remark);
                continue;
            }
            place.payload = Some(release.payload.clone());
            place.metadata = release.metadata.clone();
            if let Some(digest) = digest(&release.payload) {
                place.metadata.entry(MANIFEST_REFERENCE.to_owned()).or_insert_with(|| digest.to_owned());
            }
        }
        for release in releases {
            let at = build.place(&release.version, &release.architecture)?;
            for previous in &release.previous {
                let from = build.place(previous, &release.architecture)?;
                build.edge(from, at)?;
            }
            for next in &release.next {
                let to = build.place(next, &release.architecture)?;
                build.edge(at, to)?;
            }
        }
        Ok(build)
    }

    fn place(&mut self, text: &str, architecture: &str) -> Result<usize, Invalid> {
        let bad = || {
            Invalid::new(format!("`{}` is not the version of a release", text.chars().take(128).collect::<String>()))
        };
        let version = version(text).ok_or_else(bad)?;
        let plain = Version::parse(version.without_build()).ok_or_else(bad)?;
        let full = format!("{}+{architecture}", plain.as_str());
        if let Some(at) = self.at.get(&full) {
            return Ok(*at);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Invalid::new(format!("over {MAX_NODES} versions")));
        }
        self.at.insert(full.clone(), self.nodes.len());
        self.nodes.push(Place {
            version: plain,
            architecture: architecture.to_owned(),
            full,
            payload: None,
            metadata: BTreeMap::new(),
        });
        Ok(self.nodes.len() - 1)
    }

    fn edge(&mut self, from: usize, to: usize) -> Result<(), Invalid> {
        if self.edges.len() >= MAX_EDGES {
            return Err(Invalid::new(format!("over {MAX_EDGES} edges")));
        }
        self.edges.insert((from, to));
        Ok(())
    }

    fn finish(mut self, data: &GraphData) -> Result<Whole, Invalid> {
        self.raw(data);
        let removed = self.block(data);
        self.put_into_channels(data);
        self.change("previous.add", "next.add", |edges, edge| _ = edges.insert(edge));
        self.cycles();
        let (conditional, risks) = self.condition(data)?;
        self.change("previous.remove", "next.remove", |edges, edge| _ = edges.remove(&edge));
        let into = self.sources();
        for (to, patterns) in removed {
            for pattern in &patterns {
                for from in into.get(&to).into_iter().flatten() {
                    if self.is_match(pattern, *from)? {
                        self.edges.remove(&(*from, to));
                    }
                }
            }
        }
        self.remarks.sort();
        self.remarks.dedup();
        Ok(Whole { nodes: self.nodes, edges: self.edges, conditional, risks, remarks: self.remarks })
    }

    /// Adds `raw/metadata.json` to the metadata of the releases, of all architectures.
    fn raw(&mut self, data: &GraphData) {
        for place in self.nodes.iter_mut().filter(|place| place.payload.is_some()) {
            let plain = place.version.as_str();
            let near = data.raw.range(plain.to_owned()..).take_while(|(key, _)| key.starts_with(plain));
            let same = near.filter(|(key, _)| version(key).is_some_and(|v| v.order(&place.version).is_eq()));
            for (key, value) in same.flat_map(|(_, metadata)| metadata) {
                let old = place.metadata.entry(key.clone()).or_default();
                if !old.is_empty() {
                    old.push(',');
                }
                old.push_str(value);
            }
        }
    }

    /// The patterns of the edges to remove, by the place they lead to.
    fn block(&mut self, data: &GraphData) -> BTreeMap<usize, Vec<String>> {
        let mut out: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (at, place) in self.nodes.iter().enumerate() {
            if let Some(pattern) = place.metadata.get(REMOVE_REGEX) {
                out.insert(at, vec![pattern.clone()]);
            }
        }
        let mut by_version: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, place) in self.nodes.iter().enumerate().filter(|(_, place)| place.payload.is_some()) {
            by_version.entry(place.version.as_str()).or_default().push(at);
        }
        let of = |version: &Version| by_version.get(version.without_build()).cloned().unwrap_or_default();
        let mut blocked: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for edge in &data.blocked {
            // An architecture can be named; `-s390x` is the old way to name that one.
            let named = match (edge.to.build(), edge.to.prerelease()) {
                ("", "s390x") => "s390x",
                (build, _) => build,
            };
            for at in of(&edge.to) {
                if named.is_empty() || self.nodes[at].architecture == named {
                    blocked.entry(at).or_default().push(edge.from.clone());
                }
            }
        }
        out.extend(blocked);
        for edges in &data.conditional {
            for at in of(&edges.to) {
                out.entry(at).or_default().push(edges.from.clone());
            }
        }
        for (at, patterns) in &out {
            self.nodes[*at].metadata.insert(REMOVE_REGEX.to_owned(), patterns.join("|"));
        }
        out
    }

    fn put_into_channels(&mut self, data: &GraphData) {
        for place in self.nodes.iter_mut().filter(|place| place.payload.is_some()) {
            let full = version(&place.full);
            let Some(full) = full.as_ref() else { continue };
            let has = |versions: &BTreeSet<String>| {
                versions.contains(full.as_str()) || versions.contains(full.without_build())
            };
            let mut names: Vec<&str> =
                data.channels.iter().filter(|c| has(&c.versions)).map(|c| c.name.as_str()).collect();
            let old = place.metadata.get(CHANNELS).cloned().unwrap_or_default();
            names.extend(old.split(',').filter(|name| !name.is_empty()));
            names.sort_unstable();
            names.sort_by_key(|name| name.split_once('-').map_or("", |(_, minor)| minor).to_owned());
            if !names.is_empty() {
                let all = names.join(",");
                place.metadata.insert(CHANNELS.to_owned(), all);
            }
        }
    }

    /// Adds or removes the edges that metadata of releases says; `*` is all that lead to a release.
    fn change(&mut self, previous: &str, next: &str, apply: impl Fn(&mut BTreeSet<(usize, usize)>, (usize, usize))) {
        for at in 0..self.nodes.len() {
            for (key, forward) in [(previous, false), (next, true)] {
                let key = format!("io.openshift.upgrades.graph.{key}");
                let Some(list) = self.nodes[at].metadata.get(&key).cloned() else { continue };
                if list.trim() == "*" && key.ends_with("previous.remove") {
                    self.edges.retain(|(_, to)| *to != at);
                    continue;
                }
                for other in list.split(',').map(str::trim) {
                    let plain = other.split('+').next().unwrap_or_default();
                    let full = format!("{plain}+{}", self.nodes[at].architecture);
                    match self.at.get(&full) {
                        Some(other) => apply(&mut self.edges, if forward { (at, *other) } else { (*other, at) }),
                        None if version(other).is_none() => {
                            let why = format!("`{other}` in {key} is not a version, and graph-builder fails");
                            self.remarks.push(Remark::new(Effect::Refused, self.nodes[at].full.clone(), why));
                        }
                        None => {}
                    }
                }
            }
        }
    }

    /// A graph with a cycle makes graph-builder fail.
    fn cycles(&mut self) {
        let mut waits: Vec<usize> = vec![0; self.nodes.len()];
        let mut out: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (from, to) in &self.edges {
            waits[*to] += 1;
            out[*from].push(*to);
        }
        let mut ready: Vec<usize> = (0..waits.len()).filter(|at| waits[*at] == 0).collect();
        while let Some(at) = ready.pop() {
            for to in &out[at] {
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    ready.push(*to);
                }
            }
        }
        if let Some(at) = (0..waits.len()).find(|at| waits[*at] > 0) {
            let why = "its edges lead in a circle, and graph-builder fails with that";
            self.remarks.push(Remark::new(Effect::Refused, self.nodes[at].full.clone(), why));
        }
    }

    /// Where edges come from, by where they lead to.
    fn sources(&self) -> HashMap<usize, Vec<usize>> {
        let mut into: HashMap<usize, Vec<usize>> = HashMap::new();
        for (from, to) in &self.edges {
            into.entry(*to).or_default().push(*from);
        }
        into
    }

    /// The edges with risks, and the different risks.
    #[allow(clippy::type_complexity)]
    fn condition(&mut self, data: &GraphData) -> Result<(BTreeMap<(usize, usize), Vec<usize>>, Vec<Risk>), Invalid> {
        let into = self.sources();
        let mut risks: Vec<Risk> = Vec::new();
        let mut known: BTreeMap<&Risk, usize> = BTreeMap::new();
        let mut conditional: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        let mut by_version: HashMap<&str, Vec<usize>> = HashMap::new();
        let fulls: Vec<(String, String)> =
            self.nodes.iter().map(|p| (p.full.clone(), p.version.as_str().to_owned())).collect();
        for (at, (full, plain)) in fulls.iter().enumerate() {
            by_version.entry(full).or_default().push(at);
            by_version.entry(plain).or_default().push(at);
        }
        for edges in &data.conditional {
            for to in by_version.get(edges.to.as_str()).into_iter().flatten() {
                for from in into.get(to).into_iter().flatten() {
                    if !self.is_match(&edges.from, *from)? {
                        continue;
                    }
                    let risk = *known.entry(&edges.risk).or_insert_with(|| {
                        risks.push(edges.risk.clone());
                        risks.len() - 1
                    });
                    conditional.entry((*from, *to)).or_default().push(risk);
                }
            }
        }
        Ok((conditional, risks))
    }

    fn is_match(&mut self, pattern: &str, at: usize) -> Result<bool, Invalid> {
        self.matches += 1;
        if self.matches > MAX_MATCHES {
            return Err(Invalid::new(format!("over {MAX_MATCHES} comparisons with regular expressions")));
        }
        let full = &self.nodes[at].full;
        if self.last.as_ref().is_none_or(|(last, _)| last != pattern) {
            self.compiled += 1;
            if self.compiled > MAX_PATTERNS {
                return Err(Invalid::new(format!("over {MAX_PATTERNS} regular expressions")));
            }
            let regex = compile(pattern).map_err(|why| {
                self.remarks.push(Remark::new(Effect::Refused, full.clone(), why));
            });
            self.last = Some((pattern.to_owned(), regex.ok()));
        }
        Ok(self.last.as_ref().is_some_and(|(_, regex)| regex.as_ref().is_some_and(|regex| regex.is_match(full))))
    }
}

fn digest(payload: &str) -> Option<&str> {
    payload.split_once('@').map(|(_, digest)| digest)
}
