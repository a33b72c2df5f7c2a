//! `inspect` and `ls`: reads the index of a bundle and believes nothing of it.

use std::io::Read;
use std::path::Path;

use crate::bundle::index::Index;
use crate::bundle::reader::Bundle;
use crate::error::Result;
use crate::oci::Digest;

/// What the head of a bundle says.
#[derive(Debug)]
pub struct Inspected {
    /// The index, well-formed but not verified.
    pub index: Index,
    /// Its digest.
    pub digest: Digest,
    /// Whether there is a signature, good or bad.
    pub signed: bool,
    /// Size that the bundle should have without addenda, in bytes.
    pub bytes: u64,
}

/// Reads the head of the bundle at `path` (`-`: `stdin`).
pub fn inspect(path: &Path, stdin: Option<Box<dyn Read + Send>>) -> Result<Inspected> {
    let bundle = match stdin {
        Some(stdin) => Bundle::stream("standard input", stdin)?,
        None => Bundle::open(path)?,
    };
    let head = bundle.head();
    let index = Index::parse(&head.index)?;
    let layout = crate::bundle::Layout::new(&index, &head.index, head.signature.as_deref())?;
    Ok(Inspected { digest: head.digest(), signed: head.signature.is_some(), bytes: layout.total(), index })
}
