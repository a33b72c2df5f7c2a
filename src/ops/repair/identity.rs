//! What a damaged bundle has to be. Its own index decides when somebody trusted signed it; else a copy of the index
//! does, from recovery data or another copy, when somebody trusted signed that one, and what is left of the bundle
//! speaks for it (MB-REC-07).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::origin::Local;
use crate::bundle::layout;
use crate::bundle::reader::Bundle;
use crate::bundle::survey::Blueprint;
use crate::bundle::{Head, limits, tar};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::recovery::Sidecar;
use crate::verify::{Settings, Voucher, voucher};

/// The damaged bundle.
pub(super) struct Own<'a> {
    /// Its name.
    pub(super) path: &'a Path,
    /// Where it is now.
    pub(super) place: &'a Path,
    pub(super) file: &'a File,
    pub(super) length: u64,
}

/// What it has to be.
pub(super) struct Known {
    pub(super) blueprint: Blueprint,
    /// Where the head came from, when it was not the bundle itself.
    pub(super) from: Option<String>,
}

#[expect(clippy::large_enum_variant, reason = "one value for each run")]
pub(super) enum Found {
    Known(Known),
    /// Its index can be read and nobody who is trusted vouches for it, or for another one.
    Refused,
}

pub(super) fn find(own: &Own<'_>, sidecar: Option<&Sidecar>, locals: &[Local], settings: &Settings) -> Result<Found> {
    let opened = Bundle::open(own.place).map(|bundle| bundle.head().clone());
    if let Ok(head) = &opened {
        match voucher(head, settings) {
            Voucher::Signer => return Ok(Found::Known(Known { blueprint: Blueprint::new(head.clone())?, from: None })),
            // Unsigned, a damaged index still reads like one: its other witness is asked.
            Voucher::Nobody => {
                if let Ok(blueprint) = Blueprint::new(head.clone())
                    && said(own, &blueprint).is_none_or(|hex| hex == head.digest().hex())
                {
                    return Ok(Found::Known(Known { blueprint, from: None }));
                }
            }
            Voucher::Missing => {}
        }
    }
    let copy = sidecar.and_then(|s| {
        let (index, signature) = s.documents()?;
        Some((s.name().to_owned(), Head::of(Arc::new(index.to_vec()), signature.map(<[u8]>::to_vec), None)))
    });
    let others = locals.iter().filter_map(|local| Some((local.name(), local.head()?)));
    let mut another = None;
    for (name, head) in copy.into_iter().chain(others) {
        if voucher(&head, settings) == Voucher::Missing {
            continue;
        }
        let Ok(blueprint) = Blueprint::new(head) else { continue };
        let expected = settings.expect_index == Some(blueprint.head.digest());
        if expected || speaks_for(own, opened.as_ref().ok(), &blueprint) {
            return Ok(Found::Known(Known { blueprint, from: Some(name) }));
        }
        another.get_or_insert((name, blueprint.head.digest()));
    }
    match (opened, another) {
        (Ok(_), _) => Ok(Found::Refused),
        (Err(_), Some((name, digest))) => {
            let text =
                format!("what is left of `{}` does not say that it is the bundle of `{name}`", own.path.display());
            Err(Error::new(Code::Usage, text)
                .fact(format!("the index there is {digest}"))
                .state("nothing was changed")
                .hint("if you know that it is: --expect-index DIGEST"))
        }
        (Err(e), None) => Err(e
            .state("nothing was changed")
            .hint("its head is damaged: give another copy with --from, or recovery data with --recovery")),
    }
}

/// Whether what is left of the damaged bundle says that it is this one: any of index, signature and `SHA256SUMS` does;
/// where none of them can tell, the headers of blobs.
fn speaks_for(own: &Own<'_>, opened: Option<&Head>, blueprint: &Blueprint) -> bool {
    let is = |path: &str, bytes: Option<&[u8]>| bytes.is_some() && content(own, blueprint, path).as_deref() == bytes;
    if opened.is_some_and(|head| head.digest() == blueprint.head.digest())
        || is(layout::INDEX, Some(&blueprint.head.index))
        || is(layout::SIGNATURE, blueprint.head.signature.as_deref())
    {
        return true;
    }
    match said(own, blueprint) {
        Some(hex) => hex == blueprint.head.digest().hex(),
        None => headers_agree(own.file, own.length, blueprint),
    }
}

/// The digest of the index that `SHA256SUMS` of the damaged bundle names, where this blueprint has it.
fn said(own: &Own<'_>, blueprint: &Blueprint) -> Option<String> {
    let bytes = content(own, blueprint, layout::SUMS)?;
    let text = String::from_utf8_lossy(&bytes);
    let hex = text.lines().find_map(|line| line.strip_suffix(layout::INDEX)?.strip_suffix("  "))?;
    Some(hex.to_owned()).filter(|hex| Digest::from_hex(hex).is_ok())
}

/// What stands where a member's content belongs.
fn content(own: &Own<'_>, blueprint: &Blueprint, path: &str) -> Option<Vec<u8>> {
    let member = blueprint.layout.members().iter().find(|m| m.path == path)?;
    let size = member.size.min(limits::INDEX).min(own.length.checked_sub(member.data())?);
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    own.file.read_exact_at(&mut bytes, member.data()).ok()?;
    Some(bytes)
}

/// Whether the headers of blobs say that a file is this bundle: one is where it belongs, and where others belong there
/// is no header of anything else. Damaged ones say nothing.
pub(super) fn headers_agree(file: &File, length: u64, blueprint: &Blueprint) -> bool {
    let layout = &blueprint.layout;
    let mut right = false;
    for member in layout.blobs().iter().take_while(|m| m.data() <= length) {
        let mut block = [0u8; 512];
        if file.read_exact_at(&mut block, member.header).is_err() {
            continue;
        }
        if block == layout.header_of(member) {
            right = true;
        } else if tar::parse(&block).is_some() {
            return false;
        }
    }
    right
}
