//! Determines what a damaged bundle must be. Its own index decides if a trusted key signed it; otherwise a copy of the
//! index does, from recovery data or another copy, if a trusted key signed that one and the remains of the bundle agree
//! with it (MB-REC-07).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::named::{Local, Named};
use crate::bundle::carriage;
use crate::bundle::layout::{self, Form};
use crate::bundle::removal::SignedRemoval;
use crate::bundle::survey::Blueprint;
use crate::bundle::volume::Volume;
use crate::bundle::{Head, Index, limits, tar};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::recovery::Sidecar;
use crate::sign::{MessageHash, Namespace, Role};
use crate::verify::{Conditions, Endorsement, Trust, endorsement};

/// What the bundle must be.
pub(super) struct Known {
    /// The index.
    pub(super) index: Arc<Index>,
    /// Its bytes and the signature.
    pub(super) head: Head,
    /// Any volume's description, for a bundle in volumes.
    pub(super) volume: Option<Volume>,
    /// Where the head came from, if not from the bundle itself.
    pub(super) from: Option<String>,
}

impl Known {
    fn new(head: Head, from: Option<String>) -> Result<Known> {
        let Blueprint { index, volume, head, .. } = Blueprint::new(head)?;
        Ok(Known { index, head, volume, from })
    }

    /// The expected layout of the whole bundle, or of a volume.
    pub(super) fn blueprint(&self, volume: Option<Volume>) -> Result<Blueprint> {
        let volume = volume.map(|v| v.to_bytes()).transpose()?;
        let head = Head::of(self.head.index.clone(), self.head.signature.clone(), volume)
            .with_removals(self.head.removals.clone())
            .with_carriage(self.head.carriage.clone());
        Blueprint::with(self.index.clone(), head)
    }
}

#[expect(clippy::large_enum_variant, reason = "one value for each run")]
pub(super) enum Identity {
    Known(Known),
    /// An index is readable, but no trusted key vouches for it or for another one.
    Refused,
}

pub(super) fn find(
    named: &[Named],
    sidecars: &[Sidecar],
    locals: &[Local],
    trust: &Trust,
    conditions: &Conditions,
) -> Result<Identity> {
    for one in named {
        let Ok(head) = &one.head else { continue };
        // A damaged statement must not decide what the rest of the bundle is.
        if !head.removals.iter().all(is_signed) || !is_intact(head) {
            continue;
        }
        match endorsement(head, trust, conditions) {
            Endorsement::Signed => match Known::new(head.clone(), None) {
                Ok(known) => return Ok(Identity::Known(known)),
                // The description of a volume, which is not signed, may be the damaged part.
                Err(e) if head.volume.is_none() && head.form() == Form::default() => return Err(e),
                Err(_) => {}
            },
            // Without its signature, a damaged index may still parse: check it against `SHA256SUMS`.
            Endorsement::NotRequired => {
                if let Ok(known) = Known::new(head.clone(), None)
                    && index_in_sums(one, &known.blueprint(known.volume.clone())?)
                        .is_none_or(|hex| hex == head.digest().hex())
                {
                    return Ok(Identity::Known(known));
                }
            }
            Endorsement::None => {}
        }
    }
    let copies = sidecars.iter().filter_map(|s| {
        let (index, signature) = s.documents()?;
        let head = Head::of(Arc::new(index.to_vec()), signature.map(<[u8]>::to_vec), None)
            .with_removals(s.removals()?)
            .with_carriage(s.carriage()?);
        let files = 0..s.table().files.len();
        let volumes: Vec<Vec<u8>> = files.filter_map(|file| s.volume(file)).collect();
        Some((s.name().to_owned(), head, volumes))
    });
    let others = locals.iter().filter_map(|local| {
        let head = local.head()?;
        let volumes = head.volume.clone().into_iter().collect();
        Some((local.name(), head, volumes))
    });
    let mut another = None;
    for (name, head, volumes) in copies.chain(others) {
        if endorsement(&head, trust, conditions) == Endorsement::None {
            continue;
        }
        let expected = conditions.expectations.index == Some(head.digest());
        let (index, signature) = (&head.index, &head.signature);
        let of = |volume| {
            let head = Head::of(index.clone(), signature.clone(), volume)
                .with_removals(head.removals.clone())
                .with_carriage(head.carriage.clone());
            Known::new(head, Some(name.clone()))
        };
        let candidates: Vec<Known> = match volumes.is_empty() {
            true => of(None).into_iter().collect(),
            false => volumes.into_iter().filter_map(|v| of(Some(v)).ok()).collect(),
        };
        for known in candidates {
            let blueprint = known.blueprint(known.volume.clone())?;
            if !named.iter().all(|one| may_be(one, &blueprint)) {
                continue;
            }
            if expected || named.iter().any(|one| speaks_for(one, &blueprint)) {
                return Ok(Identity::Known(known));
            }
        }
        another.get_or_insert((name, head.digest()));
    }
    if named.iter().any(|one| one.head.is_ok()) {
        return Ok(Identity::Refused);
    }
    let path = named.first().map(|one| one.path.display().to_string()).unwrap_or_default();
    if let Some((name, digest)) = another {
        let text = format!("the remains of `{path}` do not show that it is the bundle of `{name}`");
        return Err(Error::new(Code::Usage, text)
            .fact(format!("the index there is {digest}"))
            .state("nothing was changed")
            .hint("if you know that it is: --expect-index DIGEST"));
    }
    let first = named.iter().find_map(|one| one.head.as_ref().err());
    let (code, text) = first.map_or((Code::Usage, "no bundle is named"), |e| (e.code(), e.message()));
    let hint = match code {
        Code::Io => "name the file; of a bundle that is lost there is nothing to repair",
        _ => "its head is damaged: give another copy with --from, or recovery data with --recovery",
    };
    Err(Error::new(code, text).state("nothing was changed").hint(hint))
}

/// Whether the remains of a damaged file say that it is this one: index, signature or `SHA256SUMS`; if none of them is
/// conclusive, the headers of blobs.
fn speaks_for(own: &Named, blueprint: &Blueprint) -> bool {
    let is = |path: &str, bytes: Option<&[u8]>| bytes.is_some() && content(own, blueprint, path).as_deref() == bytes;
    if own.head.as_ref().is_ok_and(|head| head.digest() == blueprint.head.digest())
        || is(layout::INDEX, Some(&blueprint.head.index))
        || is(layout::SIGNATURE, blueprint.head.signature.as_deref())
    {
        return true;
    }
    match index_in_sums(own, blueprint) {
        Some(hex) => hex == blueprint.head.digest().hex(),
        None => own.file.as_ref().is_some_and(|file| headers_agree(file, own.length, blueprint)),
    }
}

/// Whether a statement about a removal is what somebody signed; whether that counts is for the verification to decide.
fn is_signed(one: &SignedRemoval) -> bool {
    crate::sign::verify(&MessageHash::of(&one.statement), &one.signature)
        .is_ok_and(|signature| signature.namespace() == Namespace::Removal.as_str())
}

/// Whether the carriage is what somebody signed; without a signature, whether it is what `SHA256SUMS` lists.
fn is_intact(head: &Head) -> bool {
    let Some(signed) = &head.carriage else { return true };
    let Some(armored) = &signed.signature else {
        return Blueprint::new(head.clone()).is_ok_and(|blueprint| blueprint.agrees(head));
    };
    let hash = MessageHash::of(&signed.carriage);
    crate::sign::verify(&hash, armored).is_ok_and(|signature| {
        let namespace = signature.namespace();
        namespace == Namespace::Carriage.as_str() || namespace == Namespace::Index(Role::Builder).as_str()
    })
}

/// How far from the start of a file the members of a head can be, in bytes.
const HEAD: u64 = 2 * limits::INDEX + limits::CARRIAGE + limits::VOLUME + 2 * limits::REMOVALS as u64 * limits::REMOVAL;

/// Whether a damaged file may be a copy of this one by what was removed from it: nothing that was removed may come back
/// because the statement about it is damaged too (MB-RMV-10).
fn may_be(own: &Named, blueprint: &Blueprint) -> bool {
    let Some(file) = &own.file else { return true };
    if let Ok(head) = &own.head {
        let statements = |head: &Head| (head.removals.len(), head.carriage.is_some());
        return statements(head) == statements(&blueprint.head);
    }
    let (mut block, mut found, mut carried, mut sums) = ([0u8; 512], 0, false, None);
    let mut at = 0;
    while at < own.length.min(HEAD) && file.read_exact_at(&mut block, at).is_ok() {
        if let Some(entry) = tar::parse(&block) {
            carried |= entry.name == carriage::CARRIAGE;
            found += usize::from(entry.name.starts_with("mirror-bundle/removal-"));
            sums = sums.or_else(|| (entry.name == layout::SUMS).then_some(at));
        }
        at += tar::BLOCK;
    }
    let expected = blueprint.layout.members().iter().find(|m| m.path == layout::SUMS).map(|m| m.header);
    if carried && blueprint.head.carriage.is_none() {
        return false;
    }
    match (found > 0, blueprint.head.form() == Form::default()) {
        (true, none) => !none,
        (false, false) => true,
        // No statement is to be seen: what follows the head must be where it is in a bundle without any.
        (false, true) => sums.is_none_or(|at| Some(at) == expected) && !misplaced(file, own.length, blueprint),
    }
}

/// Whether the header of a blob is where another one belongs.
fn misplaced(file: &File, length: u64, blueprint: &Blueprint) -> bool {
    let layout = &blueprint.layout;
    layout.blobs().iter().take_while(|m| m.data() <= length).any(|member| {
        let mut block = [0u8; 512];
        file.read_exact_at(&mut block, member.header).is_ok()
            && block != layout.header_of(member)
            && tar::parse(&block).is_some()
    })
}

/// The digest of the index according to the damaged file's `SHA256SUMS`, at its position in this blueprint.
fn index_in_sums(own: &Named, blueprint: &Blueprint) -> Option<String> {
    let bytes = content(own, blueprint, layout::SUMS)?;
    let text = String::from_utf8_lossy(&bytes);
    let hex = text.lines().find_map(|line| line.strip_suffix(layout::INDEX)?.strip_suffix("  "))?;
    Some(hex.to_owned()).filter(|hex| Digest::from_hex(hex).is_ok())
}

/// The bytes at the position of a member's content.
fn content(own: &Named, blueprint: &Blueprint, path: &str) -> Option<Vec<u8>> {
    let member = blueprint.layout.members().iter().find(|m| m.path == path)?;
    let size = member.size.min(limits::INDEX).min(own.length.checked_sub(member.data())?);
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    own.file.as_ref()?.read_exact_at(&mut bytes, member.data()).ok()?;
    Some(bytes)
}

/// Whether the headers of blobs say that a file is this bundle: at least one is where it belongs, and no expected
/// position holds another header. Damaged headers do not count.
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
