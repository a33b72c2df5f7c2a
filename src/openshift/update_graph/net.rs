//! Graphs of one or more channels, joined; and the way from one version to another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use super::graph::{ConditionalEdge, Graph, MAX_NODES, Node, Risk};
use super::version;
use crate::oci::Invalid;
use crate::version::Version;

/// The most risks that all updates may have together.
const MAX_RISKS: usize = 2_000_000;
/// In the metadata of a node: `multi` for releases that are lists.
const ARCHITECTURE: &str = "release.openshift.io/architecture";

impl Graph {
    /// The part of a channel and an architecture. Versions can name their architecture (`4.18.1+amd64`, as
    /// graph-builder writes them); the part has them without. If no release of the graph says its channels, all are in
    /// the channel.
    pub fn part(&self, channel: &str, architecture: &str) -> Result<Graph, Invalid> {
        let labelled = self.nodes.iter().any(|node| node.channels().next().is_some());
        let mut part = Graph::default();
        let mut moved: HashMap<usize, usize> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let (plain, build) = node.version.split_once('+').unwrap_or((&node.version, architecture));
            if build != architecture || (labelled && !node.channels().any(|name| name == channel)) {
                continue;
            }
            let multi = node.metadata.get(ARCHITECTURE).is_some_and(|text| text == "multi");
            if multi != (architecture == "multi") {
                let what = if multi { "for all architectures: `multi`" } else { "for one architecture, not `multi`" };
                return Err(Invalid::new(format!("release {plain} of the graph is {what}")));
            }
            moved.insert(at, part.nodes.len());
            part.nodes.push(Node { version: plain.to_owned(), ..node.clone() });
        }
        part.index()?;
        part.edges = self.edges.iter().filter_map(|(a, b)| Some((*moved.get(a)?, *moved.get(b)?))).collect();
        let index = self.index()?;
        for group in &self.conditional {
            let here = |text: &str| Some(part.nodes[*moved.get(index.get(text)?)?].version.clone());
            let both = |e: &ConditionalEdge| Some(ConditionalEdge { from: here(&e.from)?, to: here(&e.to)? });
            let edges: Vec<ConditionalEdge> = group.edges.iter().filter_map(both).collect();
            if !edges.is_empty() {
                part.conditional.push(super::Conditional { edges, risks: group.risks.clone() });
            }
        }
        Ok(part)
    }

    /// The channels that releases of this graph say they are in, with how many do.
    pub fn channels(&self) -> BTreeMap<&str, usize> {
        let mut out = BTreeMap::new();
        for name in self.nodes.iter().flat_map(Node::channels) {
            *out.entry(name).or_default() += 1;
        }
        out
    }
}

/// Graphs of channels, joined by their versions.
#[derive(Debug, Default)]
pub struct Net {
    nodes: Vec<Place>,
    at: HashMap<String, usize>,
    edges: BTreeMap<(usize, usize), Edge>,
    /// The risks of all updates together.
    risky: usize,
}

#[derive(Debug)]
struct Place {
    version: Version,
    node: Node,
}

#[derive(Debug, Default)]
struct Edge {
    channels: BTreeSet<String>,
    /// None: for every cluster.
    risks: BTreeSet<Arc<Risk>>,
    conditional: bool,
}

impl Edge {
    fn risks(&self) -> Vec<Risk> {
        self.risks.iter().map(|risk| Risk::clone(risk)).collect()
    }
}

/// One version of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The release.
    pub node: Node,
    /// The channels that show the update to it from the version before. Empty for the first.
    pub channels: Vec<String>,
    /// The risks of the update to it from the version before.
    pub risks: Vec<Risk>,
}

/// Why there is no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPath {
    /// A version is not in the graph.
    Unknown {
        /// The version.
        version: String,
        /// The nearest below and above, of those that are.
        near: Vec<String>,
    },
    /// Each path has a risk that was not accepted.
    Risky {
        /// The path with the fewest of them.
        steps: Vec<Step>,
        /// The newest version that can be reached without.
        reached: Option<String>,
    },
    /// There is no path at all.
    Apart {
        /// The newest version that can be reached from the first without a risk that was not accepted.
        reached: Option<String>,
        /// The oldest version from which the second can be reached.
        origin: Option<String>,
    },
}

/// A version that can be reached from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// How many updates it takes.
    pub updates: usize,
    /// The version before it.
    pub via: String,
    /// The risks of the update from there.
    pub risks: Vec<Risk>,
    /// How many risks on the whole way are not accepted.
    pub open: usize,
}

/// The cost of a path: risks that are not accepted, updates, updates with risks.
type Cost = (usize, usize, usize);

impl Net {
    /// Adds the graph of a channel. An update that is conditional in one channel is so in all. Edges that do not lead to
    /// a newer version are no updates.
    pub fn join(&mut self, channel: &str, graph: &Graph) -> Result<(), Invalid> {
        let mut here = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            here.push(self.place(channel, node)?);
        }
        for (from, to) in &graph.edges {
            let (from, to) = (here[*from], here[*to]);
            if !self.leads_up(from, to) {
                continue;
            }
            let edge = self.edges.entry((from, to)).or_default();
            edge.channels.insert(channel.to_owned());
        }
        for group in &graph.conditional {
            let risks: Vec<Arc<Risk>> = group.risks.iter().cloned().map(Arc::new).collect();
            self.risky += risks.len().saturating_mul(group.edges.len());
            if self.risky > MAX_RISKS {
                return Err(Invalid::new(format!("over {MAX_RISKS} risks of updates")));
            }
            for edge in &group.edges {
                let (Some(from), Some(to)) = (self.at.get(&edge.from), self.at.get(&edge.to)) else { continue };
                if !self.leads_up(*from, *to) {
                    continue;
                }
                let edge = self.edges.entry((*from, *to)).or_default();
                edge.channels.insert(channel.to_owned());
                edge.conditional = true;
                edge.risks.extend(risks.iter().cloned());
            }
        }
        Ok(())
    }

    fn leads_up(&self, from: usize, to: usize) -> bool {
        self.nodes[from].version.order(&self.nodes[to].version).is_lt()
    }

    fn place(&mut self, channel: &str, node: &Node) -> Result<usize, Invalid> {
        let Some(at) = self.at.get(&node.version) else {
            let text = &node.version;
            let version =
                version(text).ok_or_else(|| Invalid::new(format!("`{text}` is not the version of a release")))?;
            if self.nodes.len() >= MAX_NODES {
                return Err(Invalid::new(format!("over {MAX_NODES} releases in all channels")));
            }
            self.at.insert(text.clone(), self.nodes.len());
            self.nodes.push(Place { version, node: node.clone() });
            return Ok(self.nodes.len() - 1);
        };
        let place = &mut self.nodes[*at].node;
        let digest =
            |payload: &Option<String>| payload.as_deref().and_then(|p| p.rsplit('@').next().map(str::to_owned));
        match (digest(&place.payload), digest(&node.payload)) {
            (Some(one), Some(two)) if one != two => {
                return Err(Invalid::new(format!("{} is {one} in one channel and {two} in {channel}", node.version)));
            }
            (None, Some(_)) => *place = node.clone(),
            _ => {}
        }
        Ok(*at)
    }

    /// The releases, by version.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut all: Vec<&Place> = self.nodes.iter().collect();
        all.sort_by(|a, b| a.version.order(&b.version));
        all.into_iter().map(|place| &place.node).collect()
    }

    /// The release of a version.
    pub fn node(&self, version: &str) -> Option<&Node> {
        self.at.get(version).map(|at| &self.nodes[*at].node)
    }

    /// The names of all risks.
    pub fn risks(&self) -> BTreeSet<&str> {
        self.edges.values().flat_map(|edge| &edge.risks).map(|risk| risk.name.as_str()).collect()
    }

    /// The path from one version to another with the fewest updates, over updates for every cluster and those whose
    /// risks are all accepted. Of equal paths: the one with fewer risky updates, then with the newer version first.
    pub fn path(&self, from: &str, to: &str, accepted: &[String]) -> Result<Vec<Step>, NoPath> {
        let find = |text: &str| self.at.get(text).copied().ok_or_else(|| self.unknown(text));
        let (first, last) = (find(from)?, find(to)?);
        let costs = self.costs(last, accepted, false);
        let reached = || {
            let free = self.costs(first, accepted, true).into_iter().filter(|(_, cost)| cost.0 == 0).collect();
            self.newest(&free, last)
        };
        match costs.get(&first) {
            None => {
                let without = |(at, _): &(&usize, &Cost)| **at != last;
                let newer =
                    |(at, _): &(&usize, &Cost)| self.nodes[**at].version.order(&self.nodes[first].version).is_gt();
                let origins = costs.iter().filter(without).filter(newer).map(|(at, _)| &self.nodes[*at].version);
                let origin = origins.min_by(|a, b| a.order(b)).map(|v| v.as_str().to_owned());
                Err(NoPath::Apart { reached: reached(), origin })
            }
            Some((0, ..)) => Ok(self.walk(first, last, &costs, accepted)),
            Some(_) => {
                let steps = self.walk(first, last, &costs, accepted);
                Err(NoPath::Risky { steps, reached: reached() })
            }
        }
    }

    /// What can be reached from a version, by version; with risks that are not accepted where there is no other way.
    pub fn reach(&self, from: &str, accepted: &[String]) -> Result<BTreeMap<String, Reached>, NoPath> {
        let first = self.at.get(from).copied().ok_or_else(|| self.unknown(from))?;
        let costs = self.costs(first, accepted, true);
        let mut via: HashMap<usize, usize> = HashMap::new();
        for ((one, two), edge) in &self.edges {
            let (Some(a), Some(b)) = (costs.get(one), costs.get(two)) else { continue };
            let newer = |old: usize| self.nodes[*one].version.order(&self.nodes[old].version).is_gt();
            if *two != first && plus(*a, edge, accepted) == *b && via.get(two).is_none_or(|old| newer(*old)) {
                via.insert(*two, *one);
            }
        }
        let one = |(two, one): (&usize, &usize)| {
            let cost = costs.get(two).copied().unwrap_or_default();
            let risks = self.edges.get(&(*one, *two)).map(|edge| edge.risks());
            let via = self.nodes[*one].node.version.clone();
            let reached = Reached { updates: cost.1, via, risks: risks.unwrap_or_default(), open: cost.0 };
            (self.nodes[*two].node.version.clone(), reached)
        };
        Ok(via.iter().map(one).collect())
    }

    fn unknown(&self, text: &str) -> NoPath {
        let mut near = Vec::new();
        if let Some(wanted) = version(text) {
            let all: Vec<&Version> = self.nodes.iter().map(|place| &place.version).collect();
            let below = all.iter().filter(|v| v.order(&wanted).is_lt()).max_by(|a, b| a.order(b));
            let above = all.iter().filter(|v| v.order(&wanted).is_gt()).min_by(|a, b| a.order(b));
            near.extend(below.into_iter().chain(above).map(|v| v.as_str().to_owned()));
        }
        NoPath::Unknown { version: text.to_owned(), near }
    }

    /// The newest version of those with a cost that is not above `last`.
    fn newest(&self, costs: &HashMap<usize, Cost>, last: usize) -> Option<String> {
        let upto = |at: &&usize| self.nodes[**at].version.order(&self.nodes[last].version).is_le();
        let moved = costs.iter().filter(|(_, cost)| cost.1 > 0).map(|(at, _)| at);
        let newest = moved.filter(upto).map(|at| &self.nodes[*at].version).max_by(|a, b| a.order(b));
        newest.map(|version| version.as_str().to_owned())
    }

    /// The cost of the cheapest path between `start` and each version that has one; forward from it, or back.
    fn costs(&self, start: usize, accepted: &[String], forward: bool) -> HashMap<usize, Cost> {
        let mut next: HashMap<usize, Vec<(usize, &Edge)>> = HashMap::new();
        for ((from, to), edge) in &self.edges {
            let (here, there) = if forward { (from, to) } else { (to, from) };
            next.entry(*here).or_default().push((*there, edge));
        }
        let mut costs: HashMap<usize, Cost> = HashMap::from([(start, (0, 0, 0))]);
        let mut heap = BinaryHeap::from([Reverse(((0, 0, 0), start))]);
        while let Some(Reverse((cost, at))) = heap.pop() {
            if costs.get(&at).is_some_and(|best| *best < cost) {
                continue;
            }
            for (other, edge) in next.get(&at).into_iter().flatten() {
                let new = plus(cost, edge, accepted);
                if costs.get(other).is_none_or(|old| new < *old) {
                    costs.insert(*other, new);
                    heap.push(Reverse((new, *other)));
                }
            }
        }
        costs
    }

    /// The path along costs that were counted back from `last`.
    fn walk(&self, first: usize, last: usize, costs: &HashMap<usize, Cost>, accepted: &[String]) -> Vec<Step> {
        let step = |at: usize, edge: Option<&Edge>| Step {
            node: self.nodes[at].node.clone(),
            channels: edge.map(|edge| edge.channels.iter().cloned().collect()).unwrap_or_default(),
            risks: edge.map(|edge| edge.risks()).unwrap_or_default(),
        };
        let (mut at, mut steps) = (first, vec![step(first, None)]);
        while at != last {
            let good = |(key, edge): &(&(usize, usize), &Edge)| {
                costs.get(&key.1).is_some_and(|rest| Some(&plus(*rest, edge, accepted)) == costs.get(&at))
            };
            let ways = self.edges.range((at, 0)..(at + 1, 0)).filter(good);
            let best = ways.max_by(|a, b| self.nodes[a.0.1].version.order(&self.nodes[b.0.1].version));
            // Each version with a cost has a way on.
            let Some((key, edge)) = best else { break };
            at = key.1;
            steps.push(step(at, Some(edge)));
        }
        steps
    }
}

fn plus(cost: Cost, edge: &Edge, accepted: &[String]) -> Cost {
    let open = edge.risks.iter().filter(|risk| !accepted.contains(&risk.name)).count();
    // A conditional update without a risk that could be accepted is closed.
    let closed = usize::from(edge.conditional && edge.risks.is_empty());
    (cost.0 + open + closed, cost.1 + 1, cost.2 + usize::from(edge.conditional))
}
