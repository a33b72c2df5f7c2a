//! Arguments that choose releases from an update graph.

#![allow(rustdoc::bare_urls, reason = "the help shows an address as it is typed")]

use clap::{Args as ClapArgs, ValueEnum};

use crate::openshift::update_graph::ARCHITECTURES;
use crate::select::{GraphSource, Updates};

/// `--channel` of `create`.
#[cfg(feature = "registry")]
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Update path")]
pub struct UpdatePath {
    /// Carry the releases of an update path in this channel, for example stable-4.18
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// The version of the clusters: the path begins there, and its release is carried too [default: only the target]
    #[arg(long, value_name = "VERSION", requires = "channel")]
    pub from: Option<String>,
    /// The target [default: the newest release of the channel]
    #[arg(long, value_name = "VERSION", requires = "channel")]
    pub to: Option<String>,
    /// Architecture of the releases: amd64, arm64, ppc64le, s390x, or multi for those of all [default: amd64]
    #[arg(long, value_name = "ARCH", requires = "channel", value_parser = architecture)]
    pub arch: Option<String>,
    /// Also take updates with this risk (repeatable)
    #[arg(long, value_name = "NAME", requires = "channel")]
    pub accept_risk: Vec<String>,
    /// Take the graph from this update service, or from a file with its answer (repeatable) [default:
    /// https://api.openshift.com/api/upgrades_info/v1/graph]
    #[arg(long, value_name = "URL|FILE", requires = "channel")]
    pub update_graph: Vec<String>,
}

#[cfg(feature = "registry")]
impl UpdatePath {
    /// What was asked for, if anything.
    pub fn updates(&self) -> Option<Updates> {
        Some(Updates {
            graphs: self.update_graph.iter().map(|text| GraphSource::parse(text)).collect(),
            channel: self.channel.clone()?,
            architecture: self.arch.clone().unwrap_or_else(|| ARCHITECTURES[0].to_owned()),
            from: self.from.clone(),
            to: self.to.clone(),
            accepted: self.accept_risk.clone(),
        })
    }
}

/// `list`
#[derive(Debug, ClapArgs)]
pub struct List {
    /// What to list
    #[arg(value_enum, value_name = "releases", hide_possible_values = true)]
    pub what: Listed,
    /// The channel, for example stable-4.18 [default: list the channels that a saved graph names]
    #[arg(long, value_name = "CHANNEL")]
    pub channel: Option<String>,
    /// List what clusters of this version can update to, with the number of updates and the risks
    #[arg(long, value_name = "VERSION", requires = "channel")]
    pub from: Option<String>,
    /// Architecture of the releases: amd64, arm64, ppc64le, s390x, or multi for those of all
    #[arg(long, value_name = "ARCH", default_value = ARCHITECTURES[0], value_parser = architecture)]
    pub arch: String,
    /// Take updates with this risk as updates without (repeatable)
    #[arg(long, value_name = "NAME", requires = "from")]
    pub accept_risk: Vec<String>,
    /// Take the graph from this update service, or from a file with its answer (repeatable) [default:
    /// https://api.openshift.com/api/upgrades_info/v1/graph]
    #[arg(long, value_name = "URL|FILE")]
    pub update_graph: Vec<String>,
    /// How the update service is reached.
    #[cfg(feature = "registry")]
    #[command(flatten)]
    pub registry: super::Registry,
}

/// What `list` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// Releases of an update graph
    Releases,
}

impl List {
    /// What was asked for; the channel is empty if none was.
    pub fn updates(&self) -> Updates {
        Updates {
            graphs: self.update_graph.iter().map(|text| GraphSource::parse(text)).collect(),
            channel: self.channel.clone().unwrap_or_default(),
            architecture: self.arch.clone(),
            from: self.from.clone(),
            to: None,
            accepted: self.accept_risk.clone(),
        }
    }
}

/// An architecture, by the name that Go or Linux gives it.
fn architecture(text: &str) -> Result<String, String> {
    let name = match text {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match ARCHITECTURES.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("one of {}", ARCHITECTURES.join(", "))),
    }
}
