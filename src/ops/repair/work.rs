//! Writes damaged members and nothing else: a member that is right is never written, so no source and no recovery data
//! can make a bundle worse (MB-REC-07).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::identity::Known;
use super::origin::{Origin, Uses};
use super::parts::{Part, PartCopy};
use super::weave::{Budget, weave};
use crate::bundle::Member;
use crate::bundle::repair::RepairFile;
use crate::bundle::survey::{Blueprint, Damage, is_right, moves};
use crate::bundle::writer::BUFFER;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Hasher};
use crate::ops::{Observer, Task, observer};
use crate::recovery::Sidecar;
use crate::source::{Network, Source};

/// How many members an error names.
pub(super) const NAMED: usize = 8;

/// A member that was damaged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repaired {
    /// Its volume, if the bundle is in volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<u32>,
    /// Its path.
    pub member: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it was restored from: `index` (it follows from the index), `recovery data`, or the name of a copy or
    /// source.
    pub from: String,
}

/// A part being repaired, or a copy of one.
pub(super) struct Side<'a> {
    pub(super) blueprint: &'a Blueprint,
    /// The file to write; `None`: it is not written.
    pub(super) target: Option<&'a RepairFile>,
    /// The file to read; `None`: it is not readable.
    pub(super) file: Option<&'a File>,
    pub(super) damage: Vec<Damage>,
    length: u64,
    name: String,
}

/// A member of a part; both are positions.
pub(super) type MemberPlace = (usize, usize);

/// The parts being repaired.
pub(super) struct Work<'a> {
    known: &'a Known,
    pub(super) sides: Vec<Side<'a>>,
    pub(super) observer: &'a dyn Observer,
    /// What was done.
    pub(super) mended: Vec<Repaired>,
    /// Why some sources did not help.
    pub(super) notes: Vec<String>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        known: &'a Known,
        parts: &'a [Part],
        targets: Vec<Option<&'a RepairFile>>,
        observer: &'a dyn Observer,
    ) -> Work<'a> {
        let side = |(part, target): (&'a Part, Option<&'a RepairFile>)| Side {
            blueprint: &part.blueprint,
            target,
            file: target.map(RepairFile::file).or_else(|| part.named.as_ref()?.file.as_ref()),
            damage: part.damage.clone(),
            length: part.named.as_ref().map_or(0, |n| n.length),
            name: part.name(),
        };
        let sides = parts.iter().zip(targets).map(side).collect();
        Work { known, sides, observer, mended: Vec::new(), notes: Vec::new() }
    }

    /// Tries everything that may help, the nearest first.
    pub(super) fn repair_from_all(
        &mut self,
        sidecars: &[Sidecar],
        copies: &mut [PartCopy],
        sources: &[Arc<dyn Source>],
        origins: &[Origin],
        network: Option<&dyn Network>,
    ) -> Result<()> {
        self.derive()?;
        self.repair_from_each_other()?;
        self.repair_from_copies(copies)?;
        self.repair_from_recovery(sidecars, copies)?;
        self.repair_from_parts(copies)?;
        self.repair_from_sources(sources, origins, network)?;
        self.repair_from_recovery(sidecars, copies)?;
        let give = "give more: another copy with --from COPY, a registry with --from REGISTRY/REPO, or --recovery FILE";
        self.complete().map_err(|e| e.hint(give))
    }

    /// The index of the bundle.
    pub(super) fn index(&self) -> &'a crate::bundle::Index {
        &self.known.index
    }

    pub(super) fn member(&self, (part, number): MemberPlace) -> &'a Member {
        &self.sides[part].blueprint.layout.members()[number]
    }

    pub(super) fn digest(&self, place: MemberPlace) -> Digest {
        self.sides[place.0].blueprint.digest(self.member(place))
    }

    pub(super) fn write(&self, part: usize, bytes: &[u8], at: u64) -> Result<()> {
        self.sides[part].target.map_or(Ok(()), |target| target.write(bytes, at))
    }

    /// Members whose content is still damaged, in parts that are written.
    pub(super) fn needed(&self) -> Vec<MemberPlace> {
        let of = |(part, side): (usize, &Side<'_>)| {
            let damage = if side.target.is_some() { side.damage.as_slice() } else { &[] };
            let bad = damage.iter().enumerate().filter(|(_, d)| d.content).map(|(n, _)| (part, n));
            bad.collect::<Vec<_>>()
        };
        self.sides.iter().enumerate().flat_map(of).collect()
    }

    pub(super) fn done(&mut self, place: MemberPlace, from: &str) {
        let member = self.member(place);
        let side = &mut self.sides[place.0];
        side.damage[place.1] = Damage::default();
        let volume = side.blueprint.volume.as_ref().map(|v| v.volume);
        self.mended.push(Repaired { volume, member: member.path.clone(), size: member.size, from: from.to_owned() });
    }

    pub(super) fn begin(&self, needed: &[MemberPlace], times: u64) {
        let bytes: u64 = needed.iter().map(|place| self.member(*place).size).sum();
        self.observer.begin(Task::Repair, needed.len() as u64, bytes * times);
    }

    /// Offset after the last intact member of each part.
    pub(super) fn right_until(&self) -> Vec<u64> {
        let until = |side: &Side<'_>| {
            let right = side.blueprint.layout.members().iter().zip(&side.damage).filter(|(_, d)| !d.any());
            right.map(|(m, _)| m.end()).max().unwrap_or(0)
        };
        self.sides.iter().map(until).collect()
    }

    /// Which images need which blobs.
    pub(super) fn uses(&self) -> Uses {
        let files = self.sides.iter().filter_map(|s| Some((s.file?, s.blueprint, s.damage.as_slice())));
        Uses::read(self.index(), files)
    }

    /// Restores everything that follows from the index: headers, padding, and the content of some members.
    fn derive(&mut self) -> Result<()> {
        for part in 0..self.sides.len() {
            let side = &self.sides[part];
            let (blueprint, Some(target)) = (side.blueprint, side.target) else { continue };
            for (number, member) in blueprint.layout.members().iter().enumerate() {
                let damage = self.sides[part].damage[number];
                if damage.header {
                    target.write(&blueprint.layout.header_of(member), member.header)?;
                }
                if damage.padding {
                    let rest = usize::try_from(member.end() - member.data() - member.size).unwrap_or(0);
                    target.write(&[0; 512][..rest], member.data() + member.size)?;
                }
                if !damage.any() {
                    continue;
                }
                let derived = if damage.content { blueprint.derived(member) } else { None };
                if let Some(bytes) = &derived {
                    target.write(bytes, member.data())?;
                }
                if derived.is_some() || !damage.content {
                    self.done((part, number), "index");
                }
            }
        }
        Ok(())
    }

    /// Restores members that are on several volumes.
    fn repair_from_each_other(&mut self) -> Result<()> {
        if self.sides.len() < 2 {
            return Ok(());
        }
        let mut buffer = vec![0u8; BUFFER];
        for place in self.needed() {
            let digest = self.digest(place);
            let other = self.sides.iter().enumerate().filter(|(part, _)| *part != place.0).find_map(|(_, side)| {
                let members = side.blueprint.layout.members().iter().zip(&side.damage);
                let (member, _) = members.into_iter().find(|(m, d)| m.digest == Some(digest) && !d.content)?;
                Some((side.file?, member.data(), side.name.clone()))
            });
            if let Some((file, data, name)) = other
                && self.copy(file, data, place, &digest, &mut buffer)?
            {
                self.done(place, &name);
            }
        }
        Ok(())
    }

    /// Takes from other copies, member by member.
    fn repair_from_copies(&mut self, copies: &mut [PartCopy]) -> Result<()> {
        let needed = self.needed();
        if needed.is_empty() || copies.is_empty() {
            return Ok(());
        }
        self.begin(&needed, 2);
        let mut buffer = vec![0u8; BUFFER];
        let done = needed.into_iter().try_for_each(|place| {
            let (member, digest) = (self.member(place), self.digest(place));
            for copy in copies.iter_mut().filter(|c| c.part == place.0) {
                let observer = self.observer;
                let mut progress = |n: u64| {
                    observer.advance(n);
                    observer.check()
                };
                let right = match &copy.damage {
                    Some(known) => !known[place.1].content,
                    None => copy.length >= member.end() && is_right(&copy.file, member, &digest, &mut progress)?,
                };
                if right && self.copy(&copy.file, member.data(), place, &digest, &mut buffer)? {
                    self.done(place, &copy.name);
                    break;
                }
                if copy.moves.is_none() {
                    let layout = &self.sides[place.0].blueprint.layout;
                    copy.moves = Some(moves(&copy.file, copy.length, layout, &mut |_| observer.check())?);
                }
                let moved =
                    |delta: &i64| Some(Member { header: member.header.checked_add_signed(*delta)?, ..member.clone() });
                let mut found = None;
                for member in copy.moves.iter().flatten().filter_map(moved) {
                    observer.check()?;
                    if is_right(&copy.file, &member, &digest, &mut |_| observer.check())? {
                        found = Some(member);
                        break;
                    }
                }
                if let Some(found) = found
                    && self.copy(&copy.file, found.data(), place, &digest, &mut buffer)?
                {
                    self.done(place, &copy.name);
                    break;
                }
            }
            self.observer.item();
            Ok(())
        });
        self.observer.end();
        done
    }

    /// Combines blobs that are damaged in every copy from this copy and another.
    fn repair_from_parts(&mut self, copies: &[PartCopy]) -> Result<()> {
        let observer = self.observer;
        let mut buffer = vec![0u8; BUFFER];
        let needed = self.needed();
        let mut budget = Budget::new(needed.iter().map(|place| self.member(*place).size).sum());
        for place in needed {
            let (member, digest) = (self.member(place), self.digest(place));
            let Some(own) = self.sides[place.0].file else { continue };
            for copy in copies.iter().filter(|c| c.part == place.0) {
                let parts = weave(own, &copy.file, member, &digest, &mut budget, &|| observer.check())?;
                for (from, to) in parts.iter().flatten() {
                    let mut at = *from;
                    while at < *to {
                        let n = usize::try_from(to - at).unwrap_or(BUFFER).min(BUFFER);
                        if copy.file.read_exact_at(&mut buffer[..n], member.data() + at).is_err() {
                            break;
                        }
                        self.write(place.0, &buffer[..n], member.data() + at)?;
                        at += n as u64;
                    }
                }
                if parts.is_some() && is_right(own, member, &digest, &mut |_| observer.check())? {
                    self.done(place, &format!("{}, in part", copy.name));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Copies a member's content from a file that has it at `data`; returns false if the bytes read now are not right.
    pub(super) fn copy(
        &self,
        from: &File,
        data: u64,
        to: MemberPlace,
        digest: &Digest,
        buffer: &mut [u8],
    ) -> Result<bool> {
        let member = self.member(to);
        let mut hasher = Hasher::new();
        let mut at = 0;
        while at < member.size {
            self.observer.check()?;
            let n = usize::try_from(member.size - at).unwrap_or(usize::MAX).min(buffer.len());
            if from.read_exact_at(&mut buffer[..n], data + at).is_err() {
                return Ok(false);
            }
            hasher.update(&buffer[..n]);
            self.write(to.0, &buffer[..n], member.data() + at)?;
            at += n as u64;
            self.observer.advance(n as u64);
        }
        Ok(hasher.finish() == *digest)
    }

    /// Returns an error if something is damaged that does not follow from the index.
    pub(super) fn possible(&self) -> Result<()> {
        let mut bad = Vec::new();
        for (part, side) in self.sides.iter().enumerate() {
            let members = side.blueprint.layout.members().iter().zip(&side.damage).enumerate();
            let needs = members.filter(|(_, (m, d))| d.content && side.blueprint.derived(m).is_none());
            bad.extend(needs.map(|(n, _)| (part, n)));
        }
        self.incomplete(&bad)
    }

    /// The error for what could not be restored, if anything is left.
    fn complete(&self) -> Result<()> {
        self.incomplete(&self.needed())
    }

    fn incomplete(&self, bad: &[MemberPlace]) -> Result<()> {
        let Some((first, _)) = bad.first() else { return Ok(()) };
        let short = |part: &usize| self.sides[*part].length < self.sides[*part].blueprint.layout.total();
        let code = if bad.iter().any(|(part, _)| short(part)) { Code::Truncated } else { Code::BlobMismatch };
        let mut files: Vec<usize> = bad.iter().map(|(part, _)| *part).collect();
        files.dedup();
        let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
        let what = observer::count(bad.len(), "member");
        let mut err = Error::new(code, format!("{what} of `{}`{more} cannot be made again", self.sides[*first].name));
        let uses = self.uses();
        for place in bad.iter().take(NAMED) {
            let member = self.member(*place);
            let digest = self.blob(*place).map(|(blob, _)| self.index().blobs[blob].digest);
            let images = digest.map(|d| uses.images(&d, self.index())).unwrap_or_default();
            let whose = match images.as_slice() {
                [] => String::new(),
                [one] => format!(", of {one}"),
                [one, rest @ ..] => format!(", of {one} and {} more", rest.len()),
            };
            let name = digest.map_or_else(|| member.path.clone(), |d| d.to_string());
            err = err.fact(format!("{name}  {}{whose}", observer::size(member.size)));
        }
        if bad.len() > NAMED {
            err = err.fact(format!("and {} more", bad.len() - NAMED));
        }
        Err(self.notes.iter().fold(err, |err, note| err.fact(note)))
    }

    /// The blob that a member holds, by position in the index, and the offset of the member's content in it.
    pub(super) fn blob(&self, (part, number): MemberPlace) -> Option<(usize, u64)> {
        let layout = &self.sides[part].blueprint.layout;
        let extent = layout.extents().get(number.checked_sub(layout.blob_range().start)?)?;
        Some((extent.blob, extent.offset))
    }
}
