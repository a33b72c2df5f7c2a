//! `list releases`: the channels and releases of an update graph.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::openshift::update_graph::{Net, NoPath, Risk, version};
use crate::ops::Observer;
use crate::select::{GraphSource, Graphs, Updates};
use crate::source::Network;

/// What a graph has.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// `mirror-bundle/list-releases/v1`.
    pub schema: &'static str,
    /// Where it comes from.
    pub graphs: Vec<String>,
    /// The channel, if one was named.
    pub channel: Option<String>,
    /// The architecture.
    pub architecture: String,
    /// The version to come from, if one was named.
    pub from: Option<String>,
    /// The channels that saved graphs name, if none was named.
    pub channels: Vec<Channel>,
    /// The releases by version; with `from`, those that can be reached.
    pub releases: Vec<Listed>,
}

/// A channel.
#[derive(Debug, Serialize)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How many releases name it.
    pub releases: usize,
}

/// A release of the channel.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its version.
    pub version: String,
    /// Its image.
    pub payload: Option<String>,
    /// What changed.
    pub url: Option<String>,
    /// Its channels.
    pub channels: Vec<String>,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Way>,
}

/// How a release is reached.
#[derive(Debug, Serialize)]
pub struct Way {
    /// The number of updates.
    pub updates: usize,
    /// The version before it on the way.
    pub via: String,
    /// The risks on the whole way that are not accepted; none: clusters can take it.
    pub risks: Vec<Risk>,
}

/// Lists the releases that the updates name a channel of; without a channel, the channels of saved graphs.
pub fn list(what: &Updates, network: Option<&dyn Network>, observer: &dyn Observer) -> Result<Listing> {
    let graphs = Graphs::open(&what.graphs, &what.architecture, network)?;
    let mut listing = Listing {
        schema: "mirror-bundle/list-releases/v1",
        graphs: what.graphs.iter().map(GraphSource::shown).collect(),
        channel: None,
        architecture: what.architecture.clone(),
        from: what.from.clone(),
        channels: Vec::new(),
        releases: Vec::new(),
    };
    if listing.graphs.is_empty() {
        listing.graphs.push(crate::select::PUBLIC_GRAPH.to_owned());
    }
    if what.channel.is_empty() {
        let mut channels: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, count) in graphs.saved().flat_map(|graph| graph.channels()) {
            let most = channels.entry(name).or_default();
            *most = count.max(*most);
        }
        if channels.is_empty() {
            let why = match graphs.saved().next() {
                None => "an update service answers for one channel",
                Some(_) => "the saved graph does not say its channels",
            };
            return Err(Error::new(Code::Usage, why).hint("name the channel: --channel stable-4.18"));
        }
        let channel = |(name, releases): (&str, usize)| Channel { name: name.to_owned(), releases };
        listing.channels = channels.into_iter().map(channel).collect();
        return Ok(listing);
    }
    listing.channel = Some(what.channel.clone());
    let from = what.from.as_deref();
    if let Some(bad) = from.filter(|text| version(text).is_none()) {
        return Err(Error::new(Code::Usage, format!("`{bad}` is not a version")).hint("such as 4.18.9"));
    }
    let enough = |net: &Net| from.is_none_or(|from| net.node(from).is_some());
    let net = graphs.net(&what.channel, from, observer, &enough)?;
    let ways = from.map(|from| ways(&net, from, what)).transpose()?;
    for node in net.nodes() {
        let reached = ways.as_ref().and_then(|ways| ways.get(&node.version));
        if ways.is_some() && reached.is_none() {
            continue;
        }
        listing.releases.push(Listed {
            version: node.version.clone(),
            payload: node.payload.clone(),
            url: node.metadata.get("url").cloned(),
            channels: node.channels().map(str::to_owned).collect(),
            reached: reached.map(|way| Way { via: way.via.clone(), risks: way.risks.clone(), ..*way }),
        });
    }
    Ok(listing)
}

/// The most updates that are followed back to collect risks.
const LONGEST: usize = 100;

fn ways(net: &Net, from: &str, what: &Updates) -> Result<BTreeMap<String, Way>> {
    let reached = net.reach(from, &what.accepted).map_err(|e| {
        let near = match e {
            NoPath::Unknown { near, .. } => near.join(", "),
            _ => String::new(),
        };
        Error::new(Code::Source, format!("release {from} is not in {} ({})", what.channel, what.architecture))
            .fact(format!("nearest {near}"))
            .hint("leave out --from to list all")
    })?;
    let way = |(version, last): (&String, &crate::openshift::update_graph::Reached)| {
        let (mut risks, mut at) = (Vec::<Risk>::new(), Some(last));
        for _ in 0..LONGEST {
            let Some(here) = at.filter(|_| last.open > 0) else { break };
            for risk in here.risks.iter().filter(|risk| !what.accepted.contains(&risk.name)) {
                if !risks.contains(risk) {
                    risks.push(risk.clone());
                }
            }
            at = reached.get(&here.via);
        }
        (version.clone(), Way { updates: last.updates, via: last.via.clone(), risks })
    };
    Ok(reached.iter().map(way).collect())
}
