//! The updates that a carried update graph offers, without any verdict about its bundle.

use super::kept::Kept;
use super::release::Payloads;
use super::report::{self, Report, Updates};
use super::{cosign, graph_data};
use crate::bundle::index::Kind;
use crate::bundle::limits;
use crate::bundle::set::Set;
use crate::error::Result;

/// The updates that the graph of a bundle offers, without any verdict about the bundle (`inspect`). Only what has the
/// digest in the index is read; `None` if what is needed is not here.
///
/// # Errors
/// Those of reading the medium.
pub(crate) fn updates(set: &Set) -> Result<Option<Vec<Updates>>> {
    let index = set.index();
    if !index.images.iter().any(|image| image.kind == Kind::GraphData) {
        return Ok(None);
    }
    let listed = index.blobs.iter().filter(|blob| blob.role.is_document()).map(|blob| blob.digest).collect();
    let documents = cosign::read(set, &listed, limits::DOCUMENT)?;
    let mut kept = Kept::new(index, &documents);
    kept.read_ahead(set)?;
    let kept = kept.into_bytes();
    let mut payloads = Payloads::new(index, &documents, &Default::default());
    payloads.read_ahead(set)?;
    let mut scratch = Report::new(report::Subject::default(), String::new());
    payloads.conclude(index, &mut scratch);
    graph_data::check(index, &documents, &kept, &payloads.metadata, &mut scratch);
    Ok(Some(scratch.updates))
}
