//! The update service: its object, and what an administrator does around it.

use std::path::PathBuf;

use super::places::Mirrors;
use crate::bundle::index::{GRAPH_DATA, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::Repository;
use crate::openshift::update_service::{RELEASES, Step, object, steps};
use crate::sink::placement;

/// The file of the object.
pub(super) const FILE: &str = "update-service.yaml";

/// What is written for the update service, and what is left to do by hand.
#[derive(Clone, Debug, serde::Serialize)]
pub struct UpdateService {
    /// The file with the `UpdateService`.
    pub file: PathBuf,
    /// The repository that holds the releases and nothing else.
    pub releases: String,
    /// The graph-data image, by digest.
    pub graph_data: String,
    /// What an administrator does around it.
    pub steps: Vec<Step>,
    #[serde(skip)]
    text: Vec<u8>,
}

impl UpdateService {
    /// The name and content of the file.
    pub(super) fn item(&self) -> (String, Vec<u8>) {
        (FILE.to_owned(), self.text.clone())
    }
}

/// The update service of a bundle with an update graph, at a registry. `folder` is where the object is written.
pub(super) fn update_service(
    index: &Index,
    mirrors: Option<&Mirrors<'_>>,
    elsewhere: bool,
    most: Option<usize>,
    folder: &std::path::Path,
) -> Result<Option<UpdateService>> {
    let Some(mirrors) = mirrors else { return Ok(None) };
    let Some(graph) = index.images.iter().find(|image| image.kind == Kind::GraphData) else { return Ok(None) };
    let below = |path: &str| placement::below(mirrors.target, path).map(|place| place.nested(most));
    let releases: Repository = if elsewhere { mirrors.release.clone() } else { below(RELEASES)? };
    let placed = mirrors.placed.iter().find(|placed| placed.at_registry() && placed.image.kind == Kind::GraphData);
    let repository = placed.and_then(|placed| placed.repository.parse().ok());
    let repository: Repository = repository
        .ok_or_else(|| Error::new(Code::Internal, format!("the image `{GRAPH_DATA}` has no place at the registry")))?;
    Ok(Some(UpdateService {
        file: folder.join(FILE),
        releases: releases.to_string(),
        graph_data: format!("{repository}@{}", graph.digest),
        steps: steps(&releases),
        text: object(&releases, (&repository, &graph.digest)).into_bytes(),
    }))
}
