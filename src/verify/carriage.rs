//! MB-CAR: how the file carries the blobs, who says so, and whether what it does not carry comes out right.

use std::collections::{BTreeMap, BTreeSet};

use super::kept::Kept;
use super::report::{Check, CheckId, Finding, NotChecked};
use super::{Admitted, Settings, Trust, lock, release};
use crate::bundle::carriage::{self, SignedCarriage};
use crate::bundle::index::{Blob, Index};
use crate::bundle::set::Set;
use crate::error::{Code, Result};
use crate::oci::Digest;
use crate::sign::MessageHash;
use crate::sign::policy::Outcome;
use jiff::Timestamp;

/// Evaluates the signature over each carriage. Adds nothing for a bundle that carries every blob.
pub(super) fn check(set: &Set, settings: &Settings, skipped: &mut Vec<NotChecked>) -> Option<Check> {
    let carriages = set.carriages();
    if carriages.is_empty() || settings.look {
        return None;
    }
    let mut check = Check::new(CheckId::Carriage);
    check.of = carriages.len() as u64;
    let mut skip = |reason: &str| {
        skipped.push(NotChecked { id: CheckId::Carriage, reason: reason.to_owned(), required: false });
    };
    for (signed, carriage) in carriages {
        let restores = carriage.blobs.iter().any(|entry| entry.form == carriage::As::Encoded);
        match (settings.policy, &signed.signature) {
            (Some(policy), Some(armored)) => {
                let hash = MessageHash::of(&signed.carriage);
                let evaluated = policy.evaluate_carriage(carriage::SIGNATURE, armored, &hash, settings.now);
                if evaluated.outcome == Outcome::Good {
                    check.examined += 1;
                    let role = evaluated.role.map_or("?", |role| role.as_str());
                    let (name, key) = (evaluated.signer.as_deref(), evaluated.key.as_deref());
                    check.details.push(format!("{} as {role} {}", name.unwrap_or("?"), key.unwrap_or("?")));
                    continue;
                }
                let code = match evaluated.outcome {
                    Outcome::Bad | Outcome::Malformed => Code::BadSignature,
                    Outcome::Expired | Outcome::NotYetValid => Code::Expired,
                    _ => Code::Untrusted,
                };
                let text = format!("the signature over the carriage does not count: {}", evaluated.detail);
                let finding = Finding::new(code, carriage::SIGNATURE, text);
                let finding =
                    evaluated.key.iter().fold(finding, |finding, key| finding.fact(format!("signed by {key}")));
                check.find(finding.hint(
                    "builders and carriers of the trust policy may say how a bundle is carried: mirror-bundle explain trust",
                ));
            }
            _ if restores && (signed.signature.is_none() || settings.policy.is_none()) => {
                let text = "the carriage is signed by nobody whom this host trusts, and blobs have to be restored";
                check.find(
                    Finding::new(Code::Unsigned, carriage::SIGNATURE, text)
                        .fact("nothing is given to a decoder before somebody trusted has signed for it")
                        .hint("name the signer: --signer KEY.pub or --trust FILE; or ask for the bundle in full"),
                );
            }
            (_, None) if settings.allow_unsigned => {
                check.find(Finding::notice(Code::Unsigned, carriage::SIGNATURE, "the carriage has no signature"));
                skip("the carriage has no signature, which --allow-unsigned accepts");
            }
            (_, None) => {
                let text = "the carriage has no signature: anyone could have left blobs out";
                check.find(
                    Finding::new(Code::Unsigned, carriage::SIGNATURE, text)
                        .hint("ask for a signed one; to accept it anyway, and have that recorded: --allow-unsigned"),
                );
            }
            (None, Some(_)) => skip("no signer or trust policy was given (--allow-unsigned)"),
        }
    }
    Some(check)
}

/// Whether the policy lets somebody who signed this carriage say how a bundle is carried.
pub fn vouches(trust: &Trust, signed: &SignedCarriage, now: Timestamp) -> bool {
    let (Some(policy), Some(armored)) = (trust.policy(), &signed.signature) else { return false };
    let hash = MessageHash::of(&signed.carriage);
    policy.evaluate_carriage(carriage::SIGNATURE, armored, &hash, now).outcome == Outcome::Good
}

/// The layers that checks read whole, which no form leaves out: signed payloads, and the layer of an update graph.
pub(crate) fn read_whole(index: &Index, documents: &BTreeMap<Digest, Vec<u8>>) -> BTreeSet<Digest> {
    Kept::new(index, documents).wanted()
}

/// The same of a bundle that is here, with the layers that its release payloads are read from.
///
/// # Errors
/// Only failures to read.
pub(crate) fn read_whole_of(set: &Set, documents: &BTreeMap<Digest, Vec<u8>>) -> Result<BTreeSet<Digest>> {
    let mut payloads = release::Payloads::new(set.index(), documents, &BTreeSet::new());
    payloads.read_ahead(set)?;
    let mut all = read_whole(set.index(), documents);
    all.extend(payloads.read);
    Ok(all)
}

impl Admitted<'_> {
    /// The configurations and layers that are on a volume that is not here.
    pub(super) fn on_volumes(&self) -> impl Iterator<Item = &Blob> {
        let blobs = self.index().blobs.iter().enumerate();
        blobs
            .filter(|(at, blob)| !blob.role.is_document() && !self.set.is_absent(*at) && !self.set.has(*at))
            .map(|(_, blob)| blob)
    }

    /// The blobs that the file does not carry and that nothing here has: no part of it, no base.
    pub(crate) fn not_carried(&self) -> Vec<&Blob> {
        self.set.absent().filter(|at| !self.set.has(*at)).map(|at| &self.index().blobs[at]).collect()
    }

    /// What these blobs are differences to, each once: with its repositories.
    pub(crate) fn references(&self, blobs: &BTreeSet<Digest>) -> Vec<(Blob, Vec<String>)> {
        let mut out: BTreeMap<Digest, (Blob, Vec<String>)> = BTreeMap::new();
        for at in self.set.apart().filter(|at| blobs.contains(&self.index().blobs[*at].digest)) {
            if let Some(one) = self.set.reference(at) {
                let blob = Blob { digest: one.digest, size: one.size, role: crate::oci::Role::Layer };
                out.insert(one.digest, (blob, one.repositories.clone()));
            }
        }
        out.into_values().collect()
    }

    /// The differences that cannot be restored with what is here.
    pub(crate) fn apart(&self) -> BTreeSet<Digest> {
        self.set.apart().map(|at| self.index().blobs[at].digest).collect()
    }

    /// All manifests and indexes.
    pub(crate) fn documents(&self) -> &BTreeMap<Digest, Vec<u8>> {
        &self.documents
    }

    /// Where a blob that is not carried was, according to the carriages.
    pub(crate) fn repositories_of(&self, digest: &Digest) -> &[String] {
        let Some(at) = self.set.signed().blobs.iter().position(|blob| blob.digest == *digest) else { return &[] };
        let entry = |carriage: &'_ carriage::Carriage| {
            let at = carriage.blobs.binary_search_by_key(&at, carriage::Entry::position).ok()?;
            Some(at).filter(|at| !carriage.blobs[*at].repositories.is_empty())
        };
        let carriages = self.set.carriages();
        let found = carriages.into_iter().find_map(|(_, carriage)| Some((carriage, entry(carriage)?)));
        found.map_or(&[], |(carriage, at)| carriage.blobs[at].repositories.as_slice())
    }

    /// Reads the member of a difference that cannot be restored here.
    pub(super) fn drain_member(&self, blob: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(replica) = self.set.members(blob).into_iter().next() else { return Ok(()) };
        let mut content = self.set.open(blob, &replica);
        loop {
            match content.next(buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.code() == Code::BlobMismatch => {
                    lock(&self.digests).find(Finding::of(self.index().blobs[blob].digest.to_string(), &e));
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        self.carried(blob);
        Ok(())
    }

    /// Notes that the member of a difference is the one that is signed.
    pub(super) fn carried(&self, blob: usize) {
        if lock(&self.members).insert(blob) {
            lock(&self.digests).examined += 1;
        }
    }

    /// The number of blobs that are not carried and were neither read nor found where they are to be.
    pub(super) fn unrestored(&self) -> usize {
        let (good, left_out) = (lock(&self.good), lock(&self.left_out));
        let digest = |at: usize| self.index().blobs[at].digest;
        self.set.absent().map(digest).filter(|one| !good.contains(one) && !left_out.contains(one)).count()
    }

    /// The first of them.
    pub(crate) fn first_unrestored(&self) -> Option<Digest> {
        let (good, left_out) = (lock(&self.good), lock(&self.left_out));
        self.not_carried()
            .into_iter()
            .map(|blob| blob.digest)
            .find(|one| !good.contains(one) && !left_out.contains(one))
    }

    /// MB-VER-19: draws the conclusion about what is not carried.
    pub(super) fn restored(&mut self, unrestored: usize) {
        let absent: BTreeSet<usize> = self.set.absent().chain(self.set.encoded()).collect();
        if absent.is_empty() {
            return;
        }
        let of = self.index().blobs.len();
        if unrestored > 0 {
            let signers = self.report.checks.iter().find(|check| check.id == CheckId::Carriage);
            let signer = signers.and_then(|check| check.details.first()?.split(" as ").next().map(str::to_owned));
            let says = signer.map_or_else(String::new, |name| format!("{name} says that "));
            let apart = self.set.apart().count().min(unrestored);
            let differences = match apart {
                0 => String::new(),
                n => format!("{n} of {of} blobs are carried as differences to blobs of the receiver"),
            };
            let away = match unrestored - apart {
                0 => String::new(),
                n => format!("{n} of {of} blobs are not carried: {says}the receiver has them"),
            };
            let both = if apart > 0 && unrestored > apart { ", and " } else { "" };
            let reason = format!(
                "{differences}{both}{away}, with {}; their content is checked when the bundle is unpacked, or here with --base",
                self.set.bases()
            );
            return self.report.skip(CheckId::RestoredBlobs, !self.settings.as_carried, reason);
        }
        let mut check = Check::new(CheckId::RestoredBlobs);
        let (mut left_out, mut size) = (0, 0);
        {
            let (good, there) = (lock(&self.good), lock(&self.left_out));
            for blob in absent.iter().map(|at| &self.index().blobs[*at]) {
                let is_there = there.contains(&blob.digest);
                left_out += usize::from(is_there);
                if is_there || good.contains(&blob.digest) {
                    check.examined += 1;
                    size += blob.size;
                }
            }
        }
        check.of = absent.len() as u64;
        if left_out > 0 {
            check.details.push(format!("{left_out} found at the destination"));
        }
        check.details.push(super::report::size(size));
        self.report.add(check);
    }
}
