//! The files to repair: a bundle, or its volumes, each with its expected and its actual content.

use std::fs::File;

use super::identity::{self, Known};
use super::named::{Local, Named};
use crate::bundle::Head;
use crate::bundle::set::Tally;
use crate::bundle::survey::{Blueprint, Damage, Tail};
use crate::bundle::volume::Volume;
use crate::error::{Code, Error, Result};
use crate::ops::recovery::called;
use crate::recovery::Sidecar;

/// A file of the bundle, whether it was named or not.
pub(super) struct Part {
    /// Its volume number; 1 for a bundle in one file.
    pub(super) number: u32,
    /// `None`: a volume that was not named and will not be created.
    pub(super) named: Option<Named>,
    pub(super) blueprint: Blueprint,
    /// The damaged members.
    pub(super) damage: Vec<Damage>,
    /// What follows the members.
    pub(super) tail: Tail,
}

impl Part {
    fn new(number: u32, named: Option<Named>, blueprint: Blueprint) -> Part {
        let damage = vec![Damage::ALL; blueprint.layout.members().len()];
        let tail = match named.as_ref().and_then(|n| Some((n.file.as_ref()?, n.length))) {
            Some((file, length)) => Tail::read(file, length, &blueprint.layout),
            None => Tail { addenda: Vec::new(), whole: false },
        };
        Part { number, named, blueprint, damage, tail }
    }

    /// Whether the part is damaged and is to be repaired.
    pub(super) fn is_damaged(&self) -> bool {
        let bad = self.damage.iter().any(|d| d.any()) || !self.tail.whole;
        self.named.as_ref().is_some_and(|named| bad || named.left.is_some())
    }

    /// Adds what copies have after the members and this part has lost.
    pub(super) fn complete_tail(&mut self, at: usize, copies: &[PartCopy]) {
        for copy in copies.iter().filter(|c| c.part == at) {
            let other = Tail::read(&copy.file, copy.length, &self.blueprint.layout);
            for addendum in other.addenda {
                if self.tail.addenda.iter().all(|a| a.name != addendum.name) {
                    self.tail.addenda.push(addendum);
                }
            }
        }
    }

    /// The file name, or a description of the missing volume.
    pub(super) fn name(&self) -> String {
        match &self.named {
            Some(named) => named.path.display().to_string(),
            None => format!("volume {}", self.number),
        }
    }
}

/// Another copy of a part.
pub(super) struct PartCopy {
    /// The volume it is a copy of.
    pub(super) part: usize,
    pub(super) name: String,
    pub(super) file: File,
    pub(super) length: u64,
    /// Its damage, if all of it has already been read.
    pub(super) damage: Option<Vec<Damage>>,
    /// By how many bytes its content has moved, once that was determined.
    pub(super) moves: Option<Vec<i64>>,
}

/// Determines which file is which part.
///
/// # Errors
/// [`Code::Usage`] for files that do not belong together.
pub(super) fn arrange(
    mut named: Vec<Named>,
    known: &Known,
    sidecars: &[Sidecar],
    locals: &[Local],
) -> Result<Vec<Part>> {
    let usage = |text: String| Error::new(Code::Usage, text).state("nothing was changed");
    let Some(main) = &known.volume else {
        return match (named.pop(), named.is_empty()) {
            (Some(only), true) => Ok(vec![Part::new(1, Some(only), known.blueprint(None)?)]),
            _ => Err(usage("several files are named, and the bundle is in one".to_owned())
                .hint("name the one to repair, and others with --from")),
        };
    };
    let (mut parts, mut tally) = (Vec::new(), Tally::default());
    let mut slots: Vec<Option<Named>> = (0..main.of).map(|_| None).collect();
    let mut rest = Vec::new();
    for one in named {
        let number = match one.head.as_ref().ok().and_then(|head| described(head, known, main)) {
            Some(volume) => Some(volume.volume),
            None => called(&one.path).map(|(_, n)| n).filter(|n| *n <= main.of),
        };
        match number.and_then(|n| slots.get_mut(n as usize - 1)) {
            Some(slot) if slot.is_none() => *slot = Some(one),
            Some(Some(other)) if one.head.is_ok() && other.head.is_ok() => {
                let (a, b) = (other.path.display(), one.path.display());
                return Err(usage(format!("`{a}` and `{b}` are the same volume")).hint("name one of them with --from"));
            }
            _ => rest.push(one),
        }
    }
    for n in 1..=main.of {
        let slot = slots.get_mut(n as usize - 1).and_then(Option::take);
        let Some(volume) = description(n, slot.as_ref(), known, main, sidecars, locals)? else {
            match slot {
                None => continue,
                Some(one) => {
                    let text = format!("what `{}` has to be is not known: its description is lost", one.path.display());
                    return Err(usage(text).hint("recovery data has it, or another copy of the volume (--from)"));
                }
            }
        };
        let blueprint = known.blueprint(Some(volume))?;
        tally.add(&blueprint.layout).map_err(|e| e.state("nothing was changed"))?;
        let agrees =
            |one: &Named| one.file.as_ref().is_some_and(|f| identity::headers_agree(f, one.length, &blueprint));
        let slot = slot.or_else(|| rest.iter().position(agrees).map(|at| rest.remove(at)));
        parts.push(Part::new(n, slot, blueprint));
    }
    match rest.first() {
        Some(one) => {
            Err(usage(format!("`{}` is none of the {} volumes that are not named twice", one.path.display(), main.of)))
        }
        None => Ok(parts),
    }
}

/// The description in a head, if it is one of this division.
fn described(head: &Head, known: &Known, main: &Volume) -> Option<Volume> {
    let volume = Volume::parse(head.volume.as_deref()?).ok()?;
    (head.digest() == known.head.digest() && volume.is_with(main)).then_some(volume)
}

/// The expected layout of volume `n`. Its own description counts if its `SHA256SUMS` confirms it.
fn description(
    n: u32,
    own: Option<&Named>,
    known: &Known,
    main: &Volume,
    sidecars: &[Sidecar],
    locals: &[Local],
) -> Result<Option<Volume>> {
    let is_it = |volume: &Volume| volume.volume == n && volume.is_with(main);
    let own = own.and_then(|o| o.head.as_ref().ok()).and_then(|head| Some((head, described(head, known, main)?)));
    let own = own.filter(|(_, volume)| is_it(volume));
    if let Some((head, volume)) = &own
        && known.blueprint(Some(volume.clone()))?.agrees(head)
    {
        return Ok(Some(volume.clone()));
    }
    let carried = sidecars.iter().flat_map(|s| (0..s.table().files.len()).filter_map(|file| s.volume(file)));
    let mut elsewhere = carried.filter_map(|bytes| Volume::parse(&bytes).ok()).filter(is_it);
    if let Some(volume) = elsewhere.next() {
        return Ok(Some(volume));
    }
    let mut copies = locals.iter().filter_map(|l| described(&l.head()?, known, main));
    if let Some(volume) = copies.find(is_it) {
        return Ok(Some(volume));
    }
    // For a volume without pieces everything follows from the others.
    let follows = Volume { volume: n, digests: Vec::new(), ..main.clone() };
    let follows = Some(follows).filter(|v| v.own_pieces() == 0);
    Ok(own.map(|(_, volume)| volume).or(follows))
}
