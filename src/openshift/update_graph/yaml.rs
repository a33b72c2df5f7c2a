//! The files of graph-data, as the update service reads them: unknown members, comments and every style of YAML are
//! accepted, duplicates of known members and second documents are not.

use serde::Deserialize;

use super::graph::{Query, Rule};

/// `channels/*.yaml`. `feeder` and `tombstones` are for those who write the files.
#[derive(Deserialize)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) versions: Vec<String>,
}

/// `blocked-edges/*.yaml`: a blocked edge, or a conditional one.
#[derive(Deserialize)]
pub(super) struct Edge {
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
    #[serde(rename = "fixedIn")]
    pub(super) fixed_in: Option<String>,
    pub(super) url: Option<String>,
    pub(super) name: Option<String>,
    pub(super) message: Option<String>,
    #[serde(rename = "matchingRules")]
    pub(super) rules: Option<Vec<RuleFile>>,
    /// The names of other members: a blocked edge must have none.
    #[serde(flatten)]
    pub(super) others: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct RuleFile {
    #[serde(default, rename = "type")]
    kind: String,
    promql: Option<Query>,
}

impl RuleFile {
    pub(super) fn rule(self) -> Rule {
        Rule { kind: self.kind, promql: self.promql.filter(|query| !query.promql.is_empty()) }
    }
}

/// Reads one document.
pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 100,
            max_anchors: 100,
            max_depth: 32,
            max_events: 100_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let text = e.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.chars().take(200).collect()
    })
}
