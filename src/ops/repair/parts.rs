//! The files that are to be mended: a bundle, or volumes of one, each with what it has to be and what it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::identity::{self, Known};
use super::origin::Local;
use crate::bundle::Head;
use crate::bundle::mend::{self, Kind, Mending};
use crate::bundle::reader::Bundle;
use crate::bundle::set::Tally;
use crate::bundle::survey::{Blueprint, Damage, Tail};
use crate::bundle::volume::Volume;
use crate::bundle::writer::partial_path;
use crate::error::{Code, Error, Result};
use crate::fs::dir;
use crate::ops::recovery::called;
use crate::recovery::Sidecar;

/// A file that was named.
pub(super) struct Named {
    /// Its name.
    pub(super) path: PathBuf,
    /// Where its bytes are now.
    pub(super) place: PathBuf,
    /// `None`: there is nothing.
    pub(super) file: Option<File>,
    pub(super) length: u64,
    before: Option<Meta>,
    /// Whether an earlier repair left it under another name.
    pub(super) left: Option<Kind>,
    pub(super) head: Result<Head>,
}

/// What tells that a file is still the one that was looked at.
#[derive(PartialEq, Eq)]
struct Meta {
    length: u64,
    id: (u64, u64),
    changed: (i64, i64),
}

impl Named {
    /// Opens what stands under this name, or what an earlier repair has taken it away from.
    pub(super) fn open(path: &Path) -> Result<Named> {
        let path = real(path)?;
        let mut left = None;
        if let Err(e) = fs::symlink_metadata(&path) {
            if e.kind() != std::io::ErrorKind::NotFound {
                return Err(Error::io("cannot open", &path, e));
            }
            left = mend::left(&path)?;
            if left.is_none() {
                let head = Err(Error::io("cannot open", &path, e));
                return Ok(Named { place: path.clone(), path, file: None, length: 0, before: None, left, head });
            }
        }
        let place = if left.is_some() { partial_path(&path) } else { path.clone() };
        let file = dir::regular(&place)?;
        let before = meta(&file, &place)?;
        let head = Bundle::open(&place).map(|bundle| bundle.head().clone());
        Ok(Named { path, place, file: Some(file), length: before.length, before: Some(before), left, head })
    }

    /// Takes its name away until it is mended; of what is lost, begins it anew.
    pub(super) fn take(&self, blueprint: &Blueprint) -> Result<Mending> {
        if let Some(kind) = self.left {
            return Mending::resume(&self.path, kind);
        }
        let index = blueprint.head.digest();
        if self.file.is_none() {
            return Mending::create(&self.path, blueprint.layout.total(), &index);
        }
        let mending = Mending::take(&self.path, &index)?;
        if Some(meta(mending.file(), &self.path)?) == self.before {
            return Ok(mending);
        }
        mending.give_back()?;
        Err(Error::new(Code::Conflict, format!("`{}` changed while it was read", self.path.display())))
    }
}

/// A file that has to be there, whether it was named or not.
pub(super) struct Part {
    /// Its volume; 1 for a bundle in one file.
    pub(super) number: u32,
    /// `None`: a volume that was not named and is not to be made.
    pub(super) named: Option<Named>,
    pub(super) blueprint: Blueprint,
    /// What is damaged, by member.
    pub(super) damage: Vec<Damage>,
    /// What stands behind the members.
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

    /// Whether there is anything to mend in it, and it is to be mended.
    pub(super) fn is_damaged(&self) -> bool {
        let bad = self.damage.iter().any(|d| d.any()) || !self.tail.whole;
        self.named.as_ref().is_some_and(|named| bad || named.left.is_some())
    }

    /// The name, or what stands for it.
    pub(super) fn name(&self) -> String {
        match &self.named {
            Some(named) => named.path.display().to_string(),
            None => format!("volume {}", self.number),
        }
    }
}

/// Finds out which file has to be what.
///
/// # Errors
/// [`Code::Usage`] for files that do not fit together.
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
                .hint("name the one to be mended, and others with --from")),
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

/// The description in a head, if it is of this division.
fn described(head: &Head, known: &Known, main: &Volume) -> Option<Volume> {
    let volume = Volume::parse(head.volume.as_deref()?).ok()?;
    (head.digest() == known.head.digest() && volume.is_with(main)).then_some(volume)
}

/// What volume `n` has to be. Its own word counts where its `SHA256SUMS` bears it out.
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
    // Of a volume without pieces everything follows from the others.
    let follows = Volume { volume: n, digests: Vec::new(), ..main.clone() };
    let follows = Some(follows).filter(|v| v.own_pieces() == 0);
    Ok(own.map(|(_, volume)| volume).or(follows))
}

/// What a path that is a link leads to: a link is not renamed.
fn real(path: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(|e| Error::io("cannot open", path, e)),
        _ => Ok(path.to_owned()),
    }
}

fn meta(file: &File, path: &Path) -> Result<Meta> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    Ok(Meta { length: meta.len(), id: (meta.dev(), meta.ino()), changed: (meta.mtime(), meta.mtime_nsec()) })
}
