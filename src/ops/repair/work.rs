//! Writes what is damaged, and nothing else: a member that is right is never written to, so no source and no recovery
//! data can make a bundle worse than it is (MB-REC-07).

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::origin::{self, Origin, Uses};
use super::weave::weave;
use super::{Copy, Mended, blob_path, remove_blob};
use crate::bundle::Member;
use crate::bundle::mend::Mending;
use crate::bundle::survey::{Blueprint, Damage, is_right};
use crate::bundle::writer::{BUFFER, disk};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::ops::{Observer, Task, observer};
use crate::recovery::table::Span;
use crate::recovery::{self, Decoded, Place, Sidecar};
use crate::source::{Network, Source};

/// A blob up to this size is held in memory until it is known to be right; a larger one in a file. Bytes.
const IN_MEMORY: u64 = 4 << 20;
/// How many members an error names.
const NAMED: usize = 8;

/// A bundle in mending.
pub(super) struct Work<'a> {
    blueprint: &'a Blueprint,
    target: &'a Mending,
    damage: Vec<Damage>,
    observer: &'a dyn Observer,
    /// What was done.
    pub(super) mended: Vec<Mended>,
    /// Why something did not help.
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        blueprint: &'a Blueprint,
        target: &'a Mending,
        damage: Vec<Damage>,
        observer: &'a dyn Observer,
    ) -> Work<'a> {
        Work { blueprint, target, damage, observer, mended: Vec::new(), notes: Vec::new() }
    }

    /// Everything that follows from the index: headers, paddings, and the content of some members.
    pub(super) fn derive(&mut self) -> Result<()> {
        let blueprint = self.blueprint;
        for (number, member) in blueprint.layout.members().iter().enumerate() {
            let damage = self.damage[number];
            if damage.header {
                self.target.write(&blueprint.layout.header_of(member), member.header)?;
            }
            if damage.padding {
                let rest = usize::try_from(member.end() - member.data() - member.size).unwrap_or(0);
                self.target.write(&[0; 512][..rest], member.data() + member.size)?;
            }
            if !damage.any() {
                continue;
            }
            let derived = if damage.content { blueprint.derived(member) } else { None };
            if let Some(bytes) = &derived {
                self.target.write(bytes, member.data())?;
            }
            if derived.is_some() || !damage.content {
                self.done(number, "index");
            }
        }
        Ok(())
    }

    /// What other copies have, member by member.
    pub(super) fn from_copies(&mut self, copies: &mut [Copy]) -> Result<()> {
        let needed = self.needed();
        if needed.is_empty() || copies.is_empty() {
            return Ok(());
        }
        self.begin(&needed, 2);
        let mut buffer = vec![0u8; BUFFER];
        let done = needed.into_iter().try_for_each(|number| {
            let member = &self.blueprint.layout.members()[number];
            let digest = self.blueprint.digest(member);
            for copy in copies.iter_mut() {
                let observer = self.observer;
                let mut progress = |n: u64| {
                    observer.advance(n);
                    observer.check()
                };
                let right = match &copy.damage {
                    Some(known) => !known[number].content,
                    None => copy.length >= member.end() && is_right(&copy.file, member, &digest, &mut progress)?,
                };
                if right && self.copy(&copy.file, member.data(), member, &digest, &mut buffer)? {
                    let name = copy.name.clone();
                    self.done(number, &name);
                    break;
                }
            }
            self.observer.item();
            Ok(())
        });
        self.observer.end();
        done
    }

    /// What recovery data makes again. Slices that are damaged here and whole in a copy are taken from there, so two
    /// copies that are damaged in different places make up for each other even within one blob.
    pub(super) fn from_recovery(&mut self, sidecar: Option<&Sidecar>, copies: &[Copy]) -> Result<()> {
        let (Some(sidecar), needed) = (sidecar, self.needed()) else { return Ok(()) };
        if needed.is_empty() {
            return Ok(());
        }
        let table = sidecar.table();
        let spans = table.spans();
        let members = self.blueprint.layout.members();
        let extents: Vec<(u64, u64)> =
            needed.iter().map(|n| (members[*n].data(), members[*n].data() + members[*n].size)).collect();
        let observer = self.observer;
        let mut progress = |n: u64| {
            observer.advance(n);
            observer.check()
        };
        observer.begin(Task::Mend, needed.len() as u64, table.files.iter().sum());
        // Where no damaged content is, the slice is whole: all of it was compared with the index.
        let mut present: Vec<Option<Place<'_>>> = Vec::with_capacity(spans.len());
        let mut elsewhere = Vec::new();
        for (number, span) in spans.iter().enumerate() {
            let touched = overlaps(&extents, span.at, span.at + span.length).next().is_some();
            let whole = !touched || slice_is(self.target.file(), span, &table.slices[number], table.slice_size)?;
            let mut place = whole.then_some(Place { file: self.target.file(), at: span.at });
            if place.is_none() {
                for copy in copies {
                    observer.check()?;
                    if slice_is(&copy.file, span, &table.slices[number], table.slice_size)? {
                        place = Some(Place { file: &copy.file, at: span.at });
                        elsewhere.push(number);
                        break;
                    }
                }
            }
            present.push(place);
        }
        let result = self.decode(sidecar, &mut present, &elsewhere, &extents, &mut progress);
        observer.end();
        if let Some(note) = result? {
            self.notes.retain(|n| *n != note);
            self.notes.push(note);
        }
        let mut unused = |_| Ok(());
        for number in needed {
            let member = &members[number];
            if is_right(self.target.file(), member, &self.blueprint.digest(member), &mut unused)? {
                self.done(number, "recovery data");
            }
        }
        Ok(())
    }

    /// Writes lost slices; the value says why it did not help.
    fn decode<'p>(
        &self,
        sidecar: &Sidecar,
        present: &mut [Option<Place<'p>>],
        elsewhere: &[usize],
        extents: &[(u64, u64)],
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Option<String>> {
        let spans = sidecar.table().spans();
        let mut buffer = vec![0u8; BUFFER];
        for number in elsewhere {
            let (span, Some(place)) = (&spans[*number], present[*number]) else { continue };
            for (from, to) in overlaps(extents, span.at, span.at + span.length) {
                let mut at = from;
                while at < to {
                    let n = usize::try_from(to - at).unwrap_or(BUFFER).min(BUFFER);
                    if place.file.read_exact_at(&mut buffer[..n], at).is_err() {
                        break;
                    }
                    self.target.write(&buffer[..n], at)?;
                    at += n as u64;
                }
            }
        }
        let mut sound = sidecar.sound(&mut |_| self.observer.check())?;
        loop {
            let lost = present.iter().filter(|p| p.is_none()).count();
            let left = sound.iter().filter(|s| **s).count();
            if lost > left {
                let size = observer::size(sidecar.table().slice_size);
                return Ok(Some(format!(
                    "recovery data: {lost} slices of {size} are lost, and it can make {left} again"
                )));
            }
            let put = &mut |number: usize, at: u64, bytes: &[u8]| {
                let start = spans[number].at + at;
                for (from, to) in overlaps(extents, start, start + bytes.len() as u64) {
                    let range = usize::try_from(from - start).unwrap_or(0)..usize::try_from(to - start).unwrap_or(0);
                    self.target.write(&bytes[range], from)?;
                }
                Ok(())
            };
            match recovery::decode(sidecar, &sound, present, put, progress)? {
                Decoded::Right => return Ok(None),
                Decoded::Unreadable(number) => present[number] = None,
                Decoded::UnreadableRecovery(number) => sound[number] = false,
                Decoded::Wrong(_) => {
                    return Ok(Some(
                        "recovery data: what it makes is not what it says; it belongs to other bytes".to_owned(),
                    ));
                }
            }
        }
    }

    /// Blobs that are damaged in every copy, put together from this one and another.
    pub(super) fn from_parts(&mut self, copies: &[Copy]) -> Result<()> {
        let observer = self.observer;
        let mut buffer = vec![0u8; BUFFER];
        for number in self.needed() {
            let member = &self.blueprint.layout.members()[number];
            let digest = self.blueprint.digest(member);
            for copy in copies {
                let parts = weave(self.target.file(), &copy.file, member, &digest, &|| observer.check())?;
                for (from, to) in parts.iter().flatten() {
                    let mut at = *from;
                    while at < *to {
                        let n = usize::try_from(to - at).unwrap_or(BUFFER).min(BUFFER);
                        if copy.file.read_exact_at(&mut buffer[..n], member.data() + at).is_err() {
                            break;
                        }
                        self.target.write(&buffer[..n], member.data() + at)?;
                        at += n as u64;
                    }
                }
                if parts.is_some() && is_right(self.target.file(), member, &digest, &mut |_| Ok(()))? {
                    self.done(number, &format!("{}, in part", copy.name));
                    break;
                }
            }
        }
        Ok(())
    }

    /// What local sources and registries have. A blob is complete and right before its first byte is written.
    pub(super) fn from_sources(
        &mut self,
        sources: &[Arc<dyn Source>],
        origins: &[Origin],
        network: Option<&dyn Network>,
    ) -> Result<()> {
        if sources.is_empty() && origins.is_empty() {
            return Ok(());
        }
        let index = &self.blueprint.index;
        // Documents first: they tell where the rest belongs.
        for documents in [true, false] {
            let mut needed = self.needed();
            needed.retain(|n| self.role(*n).is_some_and(|(_, is_document)| is_document == documents));
            if needed.is_empty() {
                continue;
            }
            let uses = Uses::read(self.target.file(), self.blueprint, &self.damage);
            self.begin(&needed, 1);
            let done = needed.into_iter().try_for_each(|number| {
                let Some((digest, _)) = self.role(number) else { return Ok(()) };
                let far = origins.iter().flat_map(|o| match network {
                    Some(network) => origin::places(o, &digest, &uses, index, network),
                    None => Vec::new(),
                });
                for source in sources.iter().cloned().chain(far) {
                    match self.fetch(source.as_ref(), number, &digest, documents) {
                        Ok(()) => {
                            self.done(number, &source.describe());
                            break;
                        }
                        Err(e)
                            if matches!(
                                e.code(),
                                Code::Source | Code::BlobMissing | Code::BlobMismatch | Code::Auth
                            ) =>
                        {
                            self.note(&source.describe(), &e);
                        }
                        Err(e) => return Err(e),
                    }
                }
                self.observer.item();
                Ok(())
            });
            self.observer.end();
            remove_blob(self.target);
            done?;
        }
        Ok(())
    }

    fn note(&mut self, source: &str, e: &Error) {
        // What a source does not have is no news when another one has it; how it failed is.
        if e.code() != Code::BlobMissing && self.notes.len() < NAMED {
            self.notes.push(format!("{source}: {}", e.message()));
        }
    }

    fn fetch(&self, source: &dyn Source, number: usize, digest: &Digest, document: bool) -> Result<()> {
        let member = &self.blueprint.layout.members()[number];
        if document
            && let Some(found) = source.manifest(digest)?
            && found.bytes.len() as u64 == member.size
            && Digest::of(&found.bytes) == *digest
        {
            self.observer.advance(member.size);
            return self.target.write(&found.bytes, member.data());
        }
        let what = Descriptor {
            media_type: String::new(),
            digest: *digest,
            size: member.size,
            platform: None,
            annotations: std::collections::BTreeMap::new(),
            artifact_type: None,
        };
        let mut from = source.blob(&what, 0)?;
        if member.size <= IN_MEMORY {
            let mut bytes = Vec::with_capacity(usize::try_from(member.size).unwrap_or(0));
            self.receive(from.as_mut(), source, member, digest, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            return self.target.write(&bytes, member.data());
        }
        let path = blob_path(self.target);
        let mut options = OpenOptions::new();
        let file = disk::open_own(&path, options.read(true).write(true).create(true).truncate(true))?;
        disk::allocate(&file, member.size, &path)?;
        let mut at = 0;
        self.receive(from.as_mut(), source, member, digest, &mut |piece| {
            file.write_all_at(piece, at).map_err(|e| Error::io("cannot write", &path, e))?;
            at += piece.len() as u64;
            Ok(())
        })?;
        let mut buffer = vec![0u8; BUFFER];
        self.copy(&file, 0, member, digest, &mut buffer)?
            .then_some(())
            .ok_or_else(|| Error::new(Code::Io, format!("`{}` reads differently than it was written", path.display())))
    }

    /// Reads a blob to its end, hashing it: an error unless it is right.
    fn receive(
        &self,
        from: &mut dyn Read,
        source: &dyn Source,
        member: &Member,
        digest: &Digest,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0u8; BUFFER];
        let mut hasher = Hasher::new();
        let mut left = member.size;
        while left > 0 {
            self.observer.check()?;
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let n = match from.read(&mut buffer[..want]) {
                Ok(0) => {
                    return Err(Error::new(
                        Code::BlobMismatch,
                        format!("{digest} ended early in {}", source.describe()),
                    ));
                }
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    // A local source that cannot be read is one that does not have it.
                    let e = Error::io("cannot read", source.describe(), e);
                    return Err(if e.code() == Code::Io { Error::new(Code::Source, e.message()) } else { e });
                }
            };
            hasher.update(&buffer[..n]);
            take(&buffer[..n])?;
            left -= n as u64;
            self.observer.advance(n as u64);
        }
        if hasher.finish() == *digest {
            return Ok(());
        }
        Err(Error::new(Code::BlobMismatch, format!("{digest} does not match its digest in {}", source.describe())))
    }

    /// Copies a member's content from a file that has it at `data`; false when what was read this time is not right.
    fn copy(&self, from: &File, data: u64, member: &Member, digest: &Digest, buffer: &mut [u8]) -> Result<bool> {
        let mut hasher = Hasher::new();
        let mut at = 0;
        while at < member.size {
            self.observer.check()?;
            let n = usize::try_from(member.size - at).unwrap_or(usize::MAX).min(buffer.len());
            if from.read_exact_at(&mut buffer[..n], data + at).is_err() {
                return Ok(false);
            }
            hasher.update(&buffer[..n]);
            self.target.write(&buffer[..n], member.data() + at)?;
            at += n as u64;
            self.observer.advance(n as u64);
        }
        Ok(hasher.finish() == *digest)
    }

    /// The error for what could not be made right, if anything is left.
    pub(super) fn complete(&mut self, path: &Path, length: u64) -> Result<()> {
        if self.needed().is_empty() {
            return Ok(());
        }
        let uses = Uses::read(self.target.file(), self.blueprint, &self.damage);
        Err(incomplete(path, self.blueprint, &self.damage, length, &uses, &self.notes)
            .hint("give more: another copy with --from COPY, a registry with --from REGISTRY/REPO, or --recovery FILE"))
    }

    /// Offset after the last member that is right.
    pub(super) fn right_until(&self) -> u64 {
        let right = self.blueprint.layout.members().iter().zip(&self.damage).filter(|(_, d)| !d.any());
        right.map(|(m, _)| m.end()).max().unwrap_or(0)
    }

    /// Members whose content is damaged still.
    fn needed(&self) -> Vec<usize> {
        (0..self.damage.len()).filter(|n| self.damage[*n].content).collect()
    }

    /// The digest of a blob, and whether it is a document.
    fn role(&self, number: usize) -> Option<(Digest, bool)> {
        let first = self.blueprint.layout.blob_range().start;
        let blob = self.blueprint.index.blobs.get(number.checked_sub(first)?)?;
        Some((blob.digest, blob.role.is_document()))
    }

    fn done(&mut self, number: usize, from: &str) {
        let member = &self.blueprint.layout.members()[number];
        self.damage[number] = Damage::default();
        self.mended.push(Mended { member: member.path.clone(), size: member.size, from: from.to_owned() });
    }

    fn begin(&self, needed: &[usize], times: u64) {
        let members = self.blueprint.layout.members();
        let bytes: u64 = needed.iter().map(|n| members[*n].size).sum();
        self.observer.begin(Task::Mend, needed.len() as u64, bytes * times);
    }
}

/// The error that says what is damaged and which images need it.
pub(super) fn incomplete(
    path: &Path,
    blueprint: &Blueprint,
    damage: &[Damage],
    length: u64,
    uses: &Uses,
    notes: &[String],
) -> Error {
    let members = blueprint.layout.members().iter().zip(damage);
    let bad: Vec<&Member> =
        members.filter(|(m, d)| d.content && blueprint.derived(m).is_none()).map(|(m, _)| m).collect();
    let code = if length < blueprint.layout.total() { Code::Truncated } else { Code::BlobMismatch };
    let text = format!("{} of `{}` cannot be made again", observer::count(bad.len(), "member"), path.display());
    let mut err = Error::new(code, text);
    for member in bad.iter().take(NAMED) {
        let images = member.digest.map(|d| uses.images(&d, &blueprint.index)).unwrap_or_default();
        let whose = match images.as_slice() {
            [] => String::new(),
            [one] => format!(", of {one}"),
            [one, rest @ ..] => format!(", of {one} and {} more", rest.len()),
        };
        let name = member.digest.filter(|_| member.path.starts_with("blobs/"));
        let name = name.map_or_else(|| member.path.clone(), |d| d.to_string());
        err = err.fact(format!("{name}  {}{whose}", observer::size(member.size)));
    }
    if bad.len() > NAMED {
        err = err.fact(format!("and {} more", bad.len() - NAMED));
    }
    notes.iter().fold(err, |err, note| err.fact(note))
}

/// The parts of sorted `extents` within `from..to`.
fn overlaps(extents: &[(u64, u64)], from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let first = extents.partition_point(|(_, end)| *end <= from);
    extents[first..]
        .iter()
        .take_while(move |(start, _)| *start < to)
        .map(move |(start, end)| ((*start).max(from), (*end).min(to)))
        .filter(|(from, to)| from < to)
}

/// Whether a slice of a file, filled up with zeros, has this digest. One that cannot be read has not.
fn slice_is(file: &File, span: &Span, digest: &Digest, size: u64) -> Result<bool> {
    let mut buffer = vec![0u8; BUFFER];
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < size {
        let n = usize::try_from(size - at).unwrap_or(BUFFER).min(BUFFER);
        let there = usize::try_from(span.length.saturating_sub(at)).unwrap_or(BUFFER).min(n);
        if file.read_exact_at(&mut buffer[..there], span.at + at).is_err() {
            return Ok(false);
        }
        buffer[there..n].fill(0);
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(hasher.finish() == *digest)
}
