//! Image configurations, as far as they say what an image is. They are hints: nothing is trusted because of them.

use std::collections::BTreeMap;

use crate::oci::Platform;

/// What is used of an image configuration.
#[derive(Debug, serde::Deserialize)]
pub struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    /// Go's name of the architecture; empty where none is named.
    pub architecture: String,
    variant: Option<String>,
    config: Option<Labels>,
}

#[derive(Debug, serde::Deserialize)]
struct Labels {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl Config {
    /// Reads a configuration; `None` when it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Config> {
        serde_json::from_slice(bytes).ok()
    }

    /// The platform that it is for, if it names one.
    pub fn platform(&self) -> Option<Platform> {
        let variant = self.variant.clone().filter(|v| !v.is_empty());
        let text = format!("{}/{}", self.os, self.architecture);
        text.parse::<Platform>().ok().map(|p| Platform { variant, ..p })
    }

    /// The version in the label `io.openshift.release`: this is a release image.
    pub fn release_version(&self) -> Option<&str> {
        self.config.as_ref()?.labels.as_ref()?.get("io.openshift.release").map(String::as_str)
    }
}
