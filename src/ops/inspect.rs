//! `inspect` and `ls`: read the index of a bundle without trusting it.

use crate::bundle::index::Index;
use crate::bundle::{Inputs, Layout, volume::Volume};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

/// The contents of a bundle's head.
#[derive(Debug)]
pub struct Inspected {
    /// The index, well-formed but not verified.
    pub index: Index,
    /// Its digest.
    pub digest: Digest,
    /// Whether there is a signature, good or bad.
    pub signed: bool,
    /// Expected size of the whole bundle without addenda, in bytes.
    pub bytes: u64,
    /// For a bundle in volumes: the volumes at hand (sorted), and their total number.
    pub volumes: Option<(Vec<u32>, u32)>,
}

/// Reads the head of a bundle. With several files, the first that is a bundle counts, and the others must have the same
/// index.
pub fn inspect(inputs: Inputs) -> Result<Inspected> {
    let mut opened = inputs.open()?.into_iter();
    let (first, bundle) = opened.next().ok_or_else(|| Error::new(Code::Usage, "no bundle is named"))?;
    let head = bundle?.head().clone();
    let volume = |description: &Option<Vec<u8>>| description.as_deref().map(Volume::parse).transpose();
    let mut at_hand: Vec<Volume> = volume(&head.volume)?.into_iter().collect();
    for (path, other) in opened {
        let other = other?;
        if other.head().index != head.index {
            let text = format!("`{path}` belongs to another bundle than `{first}`");
            return Err(Error::new(Code::UnlistedContent, text).hint("look at one bundle at a time"));
        }
        at_hand.extend(volume(&other.head().volume)?);
    }
    let index = Index::parse(&head.index)?;
    let layout = Layout::new(&index, &head.index, head.signature.as_deref())?;
    let of = at_hand.first().map(|v| v.of);
    let mut numbers: Vec<u32> = at_hand.into_iter().map(|v| v.volume).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let volumes = of.map(|of| (numbers, of));
    let signed = head.signature.is_some();
    Ok(Inspected { digest: head.digest(), signed, bytes: layout.total(), index, volumes })
}
