//! Image configurations, as far as they describe an image. They are hints: no trust is based on them.

use std::collections::BTreeMap;

use crate::oci::Platform;

/// The parts of an image configuration that are used.
#[derive(Debug, serde::Deserialize)]
pub struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    /// Go's name of the architecture; empty if none is given.
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
    /// Parses a configuration; `None` if it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Config> {
        serde_json::from_slice(bytes).ok()
    }

    /// The platform of the image, if given.
    pub fn platform(&self) -> Option<Platform> {
        let variant = self.variant.clone().filter(|v| !v.is_empty());
        let text = format!("{}/{}", self.os, self.architecture);
        text.parse::<Platform>().ok().map(|p| Platform { variant, ..p })
    }

    /// The version in the label `io.openshift.release`, which marks a release image.
    pub fn release_version(&self) -> Option<&str> {
        self.config.as_ref()?.labels.as_ref()?.get("io.openshift.release").map(String::as_str)
    }
}
