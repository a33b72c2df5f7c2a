//! The graph as the update service answers it: strict JSON, bounded, versions unique.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::version;
use crate::oci::{Invalid, json};

/// The longest graph, in bytes. The real ones have up to 2 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// The most nodes of a graph. All releases of all architectures are about 15,000.
pub const MAX_NODES: usize = 50_000;

/// Member names whose letter case must be exact. Names in `metadata` are free text.
const KNOWN: &[&str] = &["nodes", "edges", "conditionalEdges", "payload", "risks", "matchingRules", "promql"];

/// A graph of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The releases. Versions are unique.
    pub nodes: Vec<Node>,
    /// The updates without a condition: from and to, as indexes of `nodes`.
    pub edges: Vec<(usize, usize)>,
    /// The updates with conditions. One can also be in `edges`; a cluster then takes it as conditional.
    pub conditional: Vec<Conditional>,
}

/// A release in a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its version; in graphs of one architecture without build metadata.
    pub version: String,
    /// Its image by digest; missing if the service knows only its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What is known of it: channels, the URL of its errata.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// The channels that the release is in.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let all = self.metadata.get(super::CHANNELS).map_or("", String::as_str);
        all.split(',').map(str::trim).filter(|name| !name.is_empty())
    }
}

/// Updates with the same risks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditional {
    /// The updates.
    #[serde(default, deserialize_with = "nullable")]
    pub edges: Vec<ConditionalEdge>,
    /// The risks, each with the clusters that have it.
    #[serde(default, deserialize_with = "nullable")]
    pub risks: Vec<Risk>,
}

/// One update by the versions of its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConditionalEdge {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
}

/// Why an update is not for every cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Risk {
    /// Its name, such as `OVNKubernetesMasquerade`.
    #[serde(default)]
    pub name: String,
    /// What happens, for people.
    #[serde(default)]
    pub message: String,
    /// Where to read more.
    #[serde(default)]
    pub url: String,
    /// Which clusters have the risk.
    #[serde(default, rename = "matchingRules", deserialize_with = "nullable")]
    pub matching_rules: Vec<Rule>,
}

impl Risk {
    /// `risk NAME: message (url)`, on one line.
    pub fn sentence(&self) -> String {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words(&self.message).chars().take(400).collect();
        format!("risk {}: {short} ({})", words(&self.name), words(&self.url))
    }
}

/// A rule by which a cluster finds out whether it has a risk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// `Always` or `PromQL`. Clusters drop rules of other types.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The query of a `PromQL` rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promql: Option<Query>,
}

/// The query of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Query {
    /// PromQL.
    #[serde(default)]
    pub promql: String,
}

impl Graph {
    /// Reads a graph. A missing or `null` list is an empty one. Refuses duplicate versions, edges that lead to no
    /// node, and what is longer than [`MAX_BYTES`] or has more than [`MAX_NODES`] nodes. Cycles are accepted.
    pub fn parse(bytes: &[u8]) -> Result<Graph, Invalid> {
        if bytes.len() > MAX_BYTES {
            return Err(Invalid::new(format!("over {MAX_BYTES} bytes")));
        }
        json::check(bytes, KNOWN)?;
        let raw: RawGraph =
            serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not an update graph: {e}")))?;
        if let Some(other) = raw.version.filter(|v| *v != 1) {
            return Err(Invalid::new(format!("an update graph of version {other}; only version 1 is known")));
        }
        if raw.nodes.len() > MAX_NODES {
            return Err(Invalid::new(format!("{} releases; at most {MAX_NODES} are accepted", raw.nodes.len())));
        }
        let nodes = raw.nodes.into_iter().map(RawNode::read).collect::<Result<Vec<Node>, Invalid>>()?;
        let graph = Graph { edges: raw.edges, conditional: raw.conditional, nodes };
        let index = graph.index()?;
        if let Some((from, to)) = graph.edges.iter().find(|(from, to)| (*from).max(*to) >= graph.nodes.len()) {
            return Err(Invalid::new(format!("edge [{from}, {to}] leads to no release")));
        }
        for edge in graph.conditional.iter().flat_map(|c| &c.edges) {
            if let Some(missing) = [&edge.from, &edge.to].into_iter().find(|end| !index.contains_key(end.as_str())) {
                let missing: String = missing.chars().take(128).collect();
                return Err(Invalid::new(format!(
                    "a conditional edge leads to `{missing}`, which is no release of it"
                )));
            }
        }
        Ok(graph)
    }

    /// The place of each version.
    pub fn index(&self) -> Result<HashMap<&str, usize>, Invalid> {
        let mut index = HashMap::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            if index.insert(node.version.as_str(), at).is_some() {
                return Err(Invalid::new(format!("release {} appears twice", node.version)));
            }
        }
        Ok(index)
    }

    /// The graph as the service writes it, in a fixed order: nodes by version, edges by their ends.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "version": 1,
            "nodes": self.nodes,
            "edges": self.edges,
            "conditionalEdges": self.conditional,
        })
    }
}

#[derive(Deserialize)]
struct RawGraph {
    version: Option<u64>,
    #[serde(default, deserialize_with = "nullable")]
    nodes: Vec<RawNode>,
    #[serde(default, deserialize_with = "nullable")]
    edges: Vec<(usize, usize)>,
    #[serde(default, rename = "conditionalEdges", deserialize_with = "nullable")]
    conditional: Vec<Conditional>,
}

#[derive(Deserialize)]
struct RawNode {
    version: String,
    payload: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

impl RawNode {
    fn read(self) -> Result<Node, Invalid> {
        if version(&self.version).is_none() {
            let shown: String = self.version.chars().take(128).collect();
            return Err(Invalid::new(format!("`{shown}` is not the version of a release")));
        }
        let payload = self.payload.filter(|payload| !payload.is_empty());
        Ok(Node { version: self.version, payload, metadata: self.metadata.unwrap_or_default() })
    }
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
