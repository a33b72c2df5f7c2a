//! What an update graph means for the releases of a bundle, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use super::{GraphData, ReleaseNode, Risk, Served};
use crate::oci::{Digest, Invalid};
use crate::openshift::payload::ReleaseMetadata;
use crate::version::compare;

/// How many versions a sentence names.
const NAMED: usize = 8;

impl ReleaseNode {
    /// A release of a bundle. `metadata` is that of its payload.
    pub fn new(version: &str, architecture: &str, digest: &Digest, metadata: Option<&ReleaseMetadata>) -> ReleaseNode {
        let metadata = metadata.cloned();
        let (previous, next, metadata) = metadata.map(|m| (m.previous, m.next, m.metadata)).unwrap_or_default();
        let payload = format!("release@{digest}");
        ReleaseNode {
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            payload,
            previous,
            next,
            metadata,
        }
    }
}

impl GraphData {
    /// What a person has to know before the releases are carried with this graph: releases that no cluster is offered,
    /// releases that no update leads to, updates with risks, and versions of the graph that are not carried.
    ///
    /// # Errors
    /// If the graph of the releases is over a limit.
    pub fn remarks(&self, releases: &[ReleaseNode]) -> Result<Vec<String>, Invalid> {
        let served = self.serves(releases)?;
        let mut out = Vec::new();
        for release in &served {
            self.about(release, &served, &mut out);
        }
        out.extend(self.beyond(&served));
        Ok(out)
    }

    fn about(&self, release: &Served, all: &[Served], out: &mut Vec<String>) {
        let name = format!("{} {}", release.version, release.architecture);
        if release.channels.is_empty() {
            out.push(format!(
                "release {name} is in no channel of the update graph, so that no cluster is offered it: the graph is older, or not for it"
            ));
            return;
        }
        let older: Vec<&Served> = all
            .iter()
            .filter(|other| {
                other.architecture == release.architecture && compare(&other.version, &release.version).is_lt()
            })
            .collect();
        let ways: Vec<_> = release.from.iter().filter(|from| from.carried && !from.channels.is_empty()).collect();
        if ways.is_empty() && !older.is_empty() {
            let names: Vec<&str> = older.iter().rev().take(NAMED).map(|other| other.version.as_str()).collect();
            out.push(format!(
                "no update of the graph leads to release {name} from a carried one ({}): clusters of these are not offered it",
                names.join(", ")
            ));
            return;
        }
        if !ways.is_empty() && ways.iter().all(|from| !from.risks.is_empty()) {
            for from in ways.iter().take(NAMED) {
                let risks: Vec<String> = from.risks.iter().map(Risk::sentence).collect();
                out.push(format!("the update from {} to {name} has a known {}", from.version, risks.join("; ")));
            }
        }
    }

    /// Versions of the carried streams that are newer than every carried release.
    fn beyond(&self, served: &[Served]) -> Vec<String> {
        let stream = |text: &str| text.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        let mut newest: BTreeMap<String, &Served> = BTreeMap::new();
        for release in served {
            let slot = newest.entry(stream(&release.version)).or_insert(release);
            if newer(&release.version, &slot.version) {
                *slot = release;
            }
        }
        let mut out = Vec::new();
        for (stream_name, release) in newest {
            let versions: BTreeSet<&str> = self
                .channels
                .iter()
                .filter(|channel| release.channels.contains(&channel.name))
                .flat_map(|channel| channel.versions.iter().map(String::as_str))
                .filter(|text| stream(text) == stream_name && newer(text, &release.version))
                .collect();
            if let Some(last) = versions.iter().copied().reduce(|a, b| if newer(b, a) { b } else { a }) {
                out.push(format!(
                    "the update graph goes on to {last}, and the newest release of {stream_name} here is {} ({} newer not carried)",
                    release.version,
                    versions.len()
                ));
            }
        }
        out
    }
}

fn newer(one: &str, other: &str) -> bool {
    compare(one, other).is_gt()
}
