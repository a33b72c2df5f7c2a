//! Restores slices from recovery data. A slice that is damaged here and intact in a copy is taken from the copy, so two
//! copies damaged in different places complement each other even within one blob.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::parts::PartCopy;
use super::work::Work;
use crate::bundle::survey::is_right;
use crate::bundle::volume::Volume;
use crate::bundle::writer::BUFFER;
use crate::error::Result;
use crate::oci::{Digest, Hasher};
use crate::ops::{Observer, Task, observer};
use crate::recovery::table::Span;
use crate::recovery::{self, Decoded, Sidecar, SlicePlace};

impl Work<'_> {
    /// Restores whatever is still damaged, as far as the sidecars reach.
    pub(super) fn repair_from_recovery(&mut self, sidecars: &[Sidecar], copies: &[PartCopy]) -> Result<()> {
        for sidecar in sidecars {
            let needed = self.needed();
            let files = self.files(sidecar);
            let slice = sidecar.table().slice_size;
            // Slices are cut from the whole bundle, as in the signed index; no slice can be larger than it (MB-REC-04).
            let index = self.index();
            let sizes = index.blobs.iter().map(|b| b.size).chain(index.files.iter().map(|f| f.size));
            let most = sizes.chain(self.sides.iter().map(|s| s.blueprint.layout.end())).sum::<u64>();
            // Nor can their sum: a table can name one file, or the bundle, many times.
            let table = sidecar.table();
            let cut = slice.saturating_mul(table.slices.len() as u64);
            let room = recovery::table::GRAIN * table.files.len() as u64;
            let larger = match slice {
                _ if cut > most.saturating_mul(2).saturating_add(room) => Some("the bundle together"),
                _ if slice > most.next_multiple_of(recovery::table::GRAIN) => Some("the bundle"),
                _ if slice > sidecar.lengths().0 => Some("all of it"),
                _ => None,
            };
            if let Some(than) = larger {
                let note = format!("{}: its slices are larger than {than}", sidecar.name());
                self.notes.retain(|n| *n != note);
                self.notes.push(note);
                continue;
            }
            if needed.is_empty() || !needed.iter().any(|(part, _)| files.contains(&Some(*part))) {
                continue;
            }
            self.observer.begin(Task::Repair, needed.len() as u64, sidecar.table().files.iter().sum());
            let note = self.repair_with(sidecar, &files, copies);
            self.observer.end();
            if let Some(note) = note? {
                let note = format!("{}: {note}", sidecar.name());
                self.notes.retain(|n| *n != note);
                self.notes.push(note);
            }
            for place in needed {
                if let Some(file) = self.sides[place.0].file
                    && is_right(file, self.member(place), &self.digest(place), &mut |_| self.observer.check())?
                {
                    self.done(place, "recovery data");
                }
            }
        }
        Ok(())
    }

    /// The part that corresponds to each protected file. A file of another length corresponds to none.
    fn files(&self, sidecar: &Sidecar) -> Vec<Option<usize>> {
        let table = sidecar.table();
        let part = |(file, length): (usize, &u64)| {
            let volume = sidecar.volume(file).and_then(|bytes| Volume::parse(&bytes).ok());
            let is_it = |b: &Option<Volume>| match (b, &volume) {
                (Some(a), Some(b)) => a.volume == b.volume && a.is_with(b),
                (None, None) => table.volumes.is_empty(),
                _ => false,
            };
            let at = self.sides.iter().position(|s| is_it(&s.blueprint.volume))?;
            (self.sides[at].blueprint.layout.end() == *length).then_some(at)
        };
        table.files.iter().enumerate().map(part).collect()
    }

    /// Writes what one sidecar can restore; returns the reason if it did not help.
    fn repair_with(&self, sidecar: &Sidecar, files: &[Option<usize>], copies: &[PartCopy]) -> Result<Option<String>> {
        let table = sidecar.table();
        let spans = table.spans();
        let extents = self.extents();
        // A slice without damaged content is intact: everything was compared with the index.
        let mut present: Vec<Option<SlicePlace<'_>>> = Vec::with_capacity(spans.len());
        let mut elsewhere = Vec::new();
        for (number, (span, digest)) in spans.iter().zip(&table.slices).enumerate() {
            self.observer.check()?;
            let Some(part) = files[span.file] else {
                present.push(None);
                continue;
            };
            let touched = overlaps(&extents[part], span.at, span.at + span.length).next().is_some();
            let own = self.sides[part].file.filter(|_| !touched);
            let own = match (own, self.sides[part].file) {
                (None, Some(file)) if slice_is(file, span, digest, table.slice_size, self.observer)? => Some(file),
                (own, _) => own,
            };
            let mut place = own.map(|file| SlicePlace { file, at: span.at });
            if place.is_none() {
                let others = copies.iter().filter(|c| c.part == part);
                let places = others.flat_map(|copy| {
                    let moved = [0].into_iter().chain(copy.moves.iter().flatten().copied());
                    moved.filter_map(|delta| {
                        Some(SlicePlace { file: &copy.file, at: span.at.checked_add_signed(delta)? })
                    })
                });
                for p in places {
                    let span = Span { at: p.at, ..*span };
                    if slice_is(p.file, &span, digest, table.slice_size, self.observer)? {
                        place = Some(p);
                        break;
                    }
                }
                elsewhere.extend(place.map(|_| number));
            }
            present.push(place);
        }
        for number in elsewhere {
            let (span, place) = (&spans[number], present[number]);
            if let (Some(part), Some(place)) = (files[span.file], place) {
                self.take(part, span, &place, &extents[part])?;
            }
        }
        self.decode(sidecar, files, &mut present, &extents)
    }

    /// The damaged ranges of each part. For a part that does not exist and is not written: all of it.
    fn extents(&self) -> Vec<Vec<(u64, u64)>> {
        let of = |side: &super::work::Side<'_>| {
            let members = side.blueprint.layout.members();
            match (side.file, side.target) {
                (None, _) => vec![(0, side.blueprint.layout.end())],
                // Damaged, but not being repaired: headers and padding count too.
                (_, None) => {
                    let bad = members.iter().zip(&side.damage).filter(|(_, d)| d.any());
                    bad.map(|(m, _)| (m.header, m.end())).collect()
                }
                (_, Some(_)) => {
                    let bad = members.iter().zip(&side.damage).filter(|(_, d)| d.content);
                    bad.map(|(m, _)| (m.data(), m.data() + m.size)).collect()
                }
            }
        };
        self.sides.iter().map(of).collect()
    }

    /// Takes the damaged content of a slice from a copy.
    fn take(&self, part: usize, span: &Span, place: &SlicePlace<'_>, extents: &[(u64, u64)]) -> Result<()> {
        let mut buffer = vec![0u8; BUFFER];
        for (from, to) in overlaps(extents, span.at, span.at + span.length) {
            let mut at = from;
            while at < to {
                let n = usize::try_from(to - at).unwrap_or(BUFFER).min(BUFFER);
                if place.file.read_exact_at(&mut buffer[..n], place.at + (at - span.at)).is_err() {
                    return Ok(());
                }
                self.write(part, &buffer[..n], at)?;
                at += n as u64;
            }
        }
        Ok(())
    }

    /// Writes lost slices; returns the reason if it did not help.
    fn decode(
        &self,
        sidecar: &Sidecar,
        files: &[Option<usize>],
        present: &mut [Option<SlicePlace<'_>>],
        extents: &[Vec<(u64, u64)>],
    ) -> Result<Option<String>> {
        let spans = sidecar.table().spans();
        let mut sound = sidecar.sound(&mut |_| self.observer.check())?;
        let mut progress = |n: u64| {
            self.observer.advance(n);
            self.observer.check()
        };
        loop {
            let lost = present.iter().filter(|p| p.is_none()).count();
            let left = sound.iter().filter(|s| **s).count();
            if lost > left {
                let size = observer::size(sidecar.table().slice_size);
                return Ok(Some(format!("{lost} slices of {size} are lost, and it can make {left} again")));
            }
            let put = &mut |number: usize, at: u64, bytes: &[u8]| {
                let span = &spans[number];
                let Some(part) = files[span.file] else { return Ok(()) };
                let start = span.at + at;
                for (from, to) in overlaps(&extents[part], start, start + bytes.len() as u64) {
                    let range = usize::try_from(from - start).unwrap_or(0)..usize::try_from(to - start).unwrap_or(0);
                    self.write(part, &bytes[range], from)?;
                }
                Ok(())
            };
            match recovery::decode(sidecar, &sound, present, put, &mut progress)? {
                Decoded::Right => return Ok(None),
                Decoded::Unreadable(number) => present[number] = None,
                Decoded::UnreadableRecovery(number) => sound[number] = false,
                Decoded::Wrong(_) => {
                    return Ok(Some(
                        "the data it restores has a wrong digest; it belongs to another bundle".to_owned(),
                    ));
                }
            }
        }
    }
}

/// The parts of the sorted `extents` within `from..to`.
fn overlaps(extents: &[(u64, u64)], from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let first = extents.partition_point(|(_, end)| *end <= from);
    let within = extents[first..].iter().take_while(move |(start, _)| *start < to);
    within.map(move |(start, end)| ((*start).max(from), (*end).min(to))).filter(|(from, to)| from < to)
}

/// Whether a slice of a file, padded with zeros, has this digest. An unreadable slice does not.
fn slice_is(file: &File, span: &Span, digest: &Digest, size: u64, observer: &dyn Observer) -> Result<bool> {
    let mut buffer = vec![0u8; BUFFER];
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < size {
        observer.check()?;
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
