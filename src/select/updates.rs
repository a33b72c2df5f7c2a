//! `--channel`: the releases of an update path, from the graph of an update service or from saved graphs.

use std::path::PathBuf;

use super::Options;
use crate::error::{Code, Error, Result};
use crate::observer::{self, Observer};
use crate::oci::{Invalid, Reference};
use crate::openshift::update_graph::{ARCHITECTURES, Graph, MAX_BYTES, Net, NoPath, Step, is_channel, version};
use crate::source::Network;

/// The update service of OpenShift.
pub const PUBLIC_GRAPH: &str = "https://api.openshift.com/api/upgrades_info/v1/graph";

/// The most channels that are joined.
const MAX_CHANNELS: u64 = 20;

/// Where a graph, or the files that it is computed from, come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphSource {
    /// An update service, or an address that serves the files.
    Url(String),
    /// A saved graph; or a folder of the files, or an archive of it.
    File(PathBuf),
}

impl GraphSource {
    /// Reads the value of `--update-graph` or `--graph-data`: a URL, or a path with or without `file://`.
    pub fn parse(text: &str) -> GraphSource {
        match text.strip_prefix("file://") {
            Some(path) => GraphSource::File(path.into()),
            None if text.starts_with("http://") || text.starts_with("https://") => GraphSource::Url(text.to_owned()),
            None => GraphSource::File(text.into()),
        }
    }

    /// As it was given.
    pub fn shown(&self) -> String {
        match self {
            GraphSource::Url(url) => url.clone(),
            GraphSource::File(path) => path.display().to_string(),
        }
    }
}

/// Which releases to take from a graph.
#[derive(Clone, Debug)]
pub struct Updates {
    /// Where graphs come from, all of them; none: [`PUBLIC_GRAPH`].
    pub graphs: Vec<GraphSource>,
    /// The channel of the target.
    pub channel: String,
    /// The architecture of the releases, one of [`ARCHITECTURES`].
    pub architecture: String,
    /// The version of the clusters. `None`: only the target.
    pub from: Option<String>,
    /// The target. `None`: the newest release of the channel.
    pub to: Option<String>,
    /// The names of risks that are acceptable.
    pub accepted: Vec<String>,
}

/// The graphs, as they are asked for.
pub(crate) struct Graphs<'a> {
    sources: Vec<GraphSource>,
    /// Saved graphs, read once.
    saved: Vec<(PathBuf, Graph)>,
    architecture: String,
    network: Option<&'a dyn Network>,
}

impl<'a> Graphs<'a> {
    /// Reads the saved ones.
    pub(crate) fn open(
        sources: &[GraphSource],
        architecture: &str,
        network: Option<&'a dyn Network>,
    ) -> Result<Graphs<'a>> {
        if !ARCHITECTURES.contains(&architecture) {
            let all = ARCHITECTURES.join(", ");
            return Err(Error::new(Code::Usage, format!("`{architecture}` is not an architecture of releases"))
                .hint(format!("one of {all}")));
        }
        let mut saved = Vec::new();
        for source in sources {
            let GraphSource::File(path) = source else { continue };
            let bytes = crate::fs::small::read(path, MAX_BYTES as u64)
                .map_err(|e| e.error("cannot read update graph", path, Code::Source))?;
            let graph = Graph::parse(&bytes).map_err(|e| bad(&source.shown(), &e))?;
            saved.push((path.clone(), graph));
        }
        let mut sources = sources.to_vec();
        if sources.is_empty() {
            sources.push(GraphSource::Url(PUBLIC_GRAPH.to_owned()));
        }
        Ok(Graphs { sources, saved, architecture: architecture.to_owned(), network })
    }

    /// The saved graphs.
    pub(crate) fn saved(&self) -> impl Iterator<Item = &Graph> {
        self.saved.iter().map(|(_, graph)| graph)
    }

    /// Where they come from, for a sentence.
    pub(crate) fn shown(&self) -> String {
        self.sources.iter().map(GraphSource::shown).collect::<Vec<_>>().join(", ")
    }

    /// Adds a channel to the net; whether it has a release.
    fn join(&self, net: &mut Net, channel: &str) -> Result<bool> {
        let mut found = false;
        let mut add = |shown: &str, graph: &Graph| {
            let part = graph.part(channel, &self.architecture).map_err(|e| bad(shown, &e).hint("see --arch"))?;
            found |= !part.nodes.is_empty();
            net.join(channel, &part).map_err(|e| bad(shown, &e))
        };
        for (path, graph) in &self.saved {
            add(&path.display().to_string(), graph)?;
        }
        for source in &self.sources {
            if let GraphSource::Url(base) = source
                && let Some(graph) = self.fetch(base, channel)?
            {
                add(base, &graph)?;
            }
        }
        Ok(found)
    }

    fn fetch(&self, base: &str, channel: &str) -> Result<Option<Graph>> {
        let network =
            self.network.ok_or_else(|| Error::new(Code::Usage, "this build of mirror-bundle has no network code"))?;
        let mark = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{mark}channel={channel}&arch={}", self.architecture);
        let hint = "save the graph where the service can be reached, with curl, and give the file with --update-graph";
        let bytes = network.json(&url, MAX_BYTES as u64).map_err(|e| match e.hint_text() {
            None => e.hint(hint),
            Some(_) => e,
        })?;
        bytes.map(|bytes| Graph::parse(&bytes).map_err(|e| bad(base, &e))).transpose()
    }

    /// The graph of a channel; with `from`, joined with those of the channels before it as far as `enough` is false.
    pub(crate) fn net(
        &self,
        channel: &str,
        from: Option<&str>,
        observer: &dyn Observer,
        enough: &dyn Fn(&Net) -> bool,
    ) -> Result<Net> {
        if !is_channel(channel) {
            return Err(Error::new(Code::Usage, format!("`{channel}` is not a channel")).hint("such as stable-4.18"));
        }
        let mut net = Net::default();
        let read = |channel: &str| {
            observer.say("Reading", &format!("channel {channel} ({}) from {}", self.architecture, self.shown()));
        };
        read(channel);
        if !self.join(&mut net, channel)? {
            return Err(self.empty(channel));
        }
        for before in before(channel, from) {
            observer.check()?;
            if enough(&net) {
                break;
            }
            read(&before);
            self.join(&mut net, &before)?;
        }
        Ok(net)
    }

    fn empty(&self, channel: &str) -> Error {
        let what = format!("channel {channel} has no release for {}", self.architecture);
        let mut err = Error::new(Code::Source, what).fact(format!("asked   {}", self.shown()));
        let mut names: Vec<&str> = self.saved().flat_map(|graph| graph.channels().into_keys()).collect();
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            err = err.fact(format!("there   {}", names.join(", ")));
        }
        err.state("nothing was written").hint("check the name of the channel, and --arch")
    }
}

/// The channels before a channel of a minor version, down to that of `from`.
fn before(channel: &str, from: Option<&str>) -> Vec<String> {
    let (Some((prefix, minor)), Some(from)) = (channel.rsplit_once('-'), from.and_then(version)) else {
        return Vec::new();
    };
    let Some(last) = version(&format!("{minor}.0")) else { return Vec::new() };
    let own = format!("{}.{}.", last.major(), last.minor());
    if !format!("{minor}.").eq(&own) {
        return Vec::new();
    }
    let name = |major: u64, minor: u64| format!("{prefix}-{major}.{minor}");
    if from.major() == last.major() {
        let lowest = from.minor().max(last.minor().saturating_sub(MAX_CHANNELS));
        return (lowest..last.minor()).rev().map(|minor| name(last.major(), minor)).collect();
    }
    // How many minor versions a major version has is in no graph: those of the target's, and two of the other.
    let own = (0..last.minor().min(MAX_CHANNELS)).rev().map(|minor| name(last.major(), minor));
    own.chain([from.minor() + 1, from.minor()].map(|minor| name(from.major(), minor))).collect()
}

fn bad(shown: &str, why: &Invalid) -> Error {
    Error::new(Code::Source, format!("the update graph from `{shown}` cannot be used: {why}"))
        .hint("take the graph from another place")
}

/// A release that a graph names.
pub(super) struct Chosen {
    pub(super) reference: Reference,
    /// The version that the graph says it has.
    pub(super) version: String,
    /// The architecture that was asked for.
    pub(super) architecture: String,
}

/// The releases of the path.
pub(super) fn resolve(
    updates: &Updates,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Vec<Chosen>> {
    for text in [&updates.from, &updates.to].into_iter().flatten() {
        if version(text).is_none() {
            return Err(Error::new(Code::Usage, format!("`{text}` is not a version")).hint("such as 4.18.9"));
        }
    }
    forward(updates.from.as_deref(), updates.to.as_deref().unwrap_or_default())?;
    let graphs = Graphs::open(&updates.graphs, &updates.architecture, network)?;
    let steps = path(updates, &graphs, observer)?;
    say(updates, &steps, observer);
    let mut out = Vec::new();
    for step in &steps {
        let version = step.node.version.clone();
        let of_graph = |why: String| Error::new(Code::Source, why).hint("name the release with --release");
        let payload = step
            .node
            .payload
            .as_deref()
            .ok_or_else(|| of_graph(format!("the update graph has no image for release {version}")))?;
        let reference: Reference = payload
            .parse()
            .map_err(|e: Invalid| of_graph(format!("the update graph names a bad image for {version}: {e}")))?;
        if reference.digest.is_none() {
            return Err(of_graph(format!("the update graph names the image of {version} without a digest")));
        }
        // What a graph names is content: it must not lead into the network of this host.
        let place = format!("https://{}/", reference.repository.registry());
        let mirrored = !options.mirrors.of(&reference.repository).is_empty();
        if !mirrored && network.is_some_and(|network| !network.is_public(&place)) {
            return Err(of_graph(format!("the update graph names an internal registry for {version}: {reference}")));
        }
        out.push(Chosen { reference, version, architecture: updates.architecture.clone() });
    }
    Ok(out)
}

/// Updates lead to newer versions.
fn forward(from: Option<&str>, to: &str) -> Result<()> {
    match (from.and_then(version), version(to)) {
        (Some(from), Some(to)) if from.order(&to).is_gt() => {
            let what = format!("{} is newer than {}: no update leads back", from.as_str(), to.as_str());
            Err(Error::new(Code::Usage, what).hint("--from is the version of the clusters, --to the one they get"))
        }
        _ => Ok(()),
    }
}

fn path(updates: &Updates, graphs: &Graphs<'_>, observer: &dyn Observer) -> Result<Vec<Step>> {
    let Updates { channel, accepted, .. } = updates;
    let target = |net: &Net| -> Option<String> {
        let newest = || {
            net.nodes()
                .into_iter()
                .rev()
                .find(|node| node.channels().next().is_none() || node.channels().any(|c| c == channel))
        };
        updates.to.clone().or_else(|| newest().map(|node| node.version.clone()))
    };
    let way = |net: &Net| -> std::result::Result<Vec<Step>, NoPath> {
        let to = target(net).unwrap_or_default();
        net.path(updates.from.as_deref().unwrap_or(&to), &to, accepted)
    };
    let net = graphs.net(channel, updates.from.as_deref(), observer, &|net| way(net).is_ok())?;
    let to = target(&net).unwrap_or_default();
    forward(updates.from.as_deref(), &to)?;
    let known = net.risks();
    for name in accepted.iter().filter(|name| !known.contains(name.as_str())) {
        observer.warn(&format!("no update in the graph has a risk `{name}`"));
    }
    way(&net).map_err(|e| no_path(e, updates, &to))
}

/// Says the path, update by update.
fn say(updates: &Updates, steps: &[Step], observer: &dyn Observer) {
    let Some((first, rest)) = steps.split_first() else { return };
    let Some(last) = rest.last() else {
        return observer.say("Chosen", &format!("{} of {}", first.node.version, updates.channel));
    };
    let count = observer::count(rest.len(), "update");
    observer.say("Chosen", &format!("{} -> {}, {count}", first.node.version, last.node.version));
    for (before, step) in steps.iter().zip(rest) {
        let (one, two) = (&before.node.version, &step.node.version);
        // The target's channel is the one to say if it shows the update.
        let place = step.channels.iter().find(|name| **name == updates.channel).or(step.channels.first());
        let place = place.map(|name| format!(" in {name}")).unwrap_or_default();
        observer.say("", &format!("{one} -> {two}{place}"));
        for risk in &step.risks {
            observer.warn(&format!("accepted for {one} -> {two}: {}", risk.sentence()));
        }
    }
}

/// A name from a graph, for a command that is shown: it must not end its word.
fn word(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if plain { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

/// The most risks that an error names.
const NAMED: usize = 20;

fn no_path(why: NoPath, updates: &Updates, to: &str) -> Error {
    let Updates { channel, architecture, accepted, .. } = updates;
    let from = updates.from.as_deref().unwrap_or(to);
    let place = format!("in {channel} ({architecture})");
    let error = |text: String| Error::new(Code::Source, text).state("nothing was written");
    match why {
        NoPath::Unknown { version, near } => {
            let err = error(format!("release {version} is not {place}"));
            let fact = |near: Vec<String>| format!("nearest {}", near.join(", "));
            let err = if near.is_empty() { err } else { err.fact(fact(near)) };
            err.hint("list them: mirror-bundle list releases --channel CHANNEL; to carry one without a path, leave out --from")
        }
        NoPath::Risky { steps, reached } => {
            let mut err =
                error(format!("every update path from {from} to {to} {place} has a risk that was not accepted"));
            let all: Vec<&str> = steps.iter().map(|step| step.node.version.as_str()).collect();
            err = err.fact(format!("path    {}", all.join(" -> ")));
            let mut open: Vec<&str> = Vec::new();
            for (before, step) in steps.iter().zip(steps.iter().skip(1)) {
                for risk in step.risks.iter().filter(|risk| !accepted.contains(&risk.name)) {
                    if open.len() < NAMED {
                        let (one, two) = (&before.node.version, &step.node.version);
                        err = err.fact(format!("{one} -> {two}: {}", risk.sentence()));
                    }
                    open.push(&risk.name);
                }
            }
            open.sort_unstable();
            open.dedup();
            let options: Vec<String> =
                open.iter().take(NAMED).map(|name| format!("--accept-risk {}", word(name))).collect();
            let accept = match options.is_empty() {
                true => "the graph does not say the risk, so nobody can accept it".to_owned(),
                false => format!("if your clusters do not have it: {}", options.join(" ")),
            };
            let without = reached.map(|version| format!("; without a risk: --to {version}"));
            err.hint(format!("{accept}{}", without.unwrap_or_default()))
        }
        NoPath::Apart { reached, origin } => {
            let mut err = error(format!("no update path leads from {from} to {to} {place}"));
            if let Some(reached) = &reached {
                err = err.fact(format!("newest version that {from} reaches without a risk: {reached}"));
            }
            if let Some(origin) = &origin {
                err = err.fact(format!("oldest version that reaches {to}: {origin}"));
            }
            if reached.is_none() && origin.is_none() {
                err = err.fact("neither has an update");
            }
            err.hint("choose another version, or carry single releases with --to alone")
        }
    }
}
