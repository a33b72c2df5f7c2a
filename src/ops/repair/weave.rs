//! Restores a blob that is damaged in two copies at different places, without recovery data: where the copies differ,
//! one of them is right, and the digest confirms the right combination (MB-REC-09).
//!
//! The copies are read twice: to find where they differ, and to hash all combinations at once, side by side.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use crate::bundle::Member;
use crate::bundle::writer::BUFFER;
use crate::error::Result;
use crate::oci::{Digest, Hasher};

/// The unit of comparison, in bytes.
const PIECE: usize = 4096;
/// The most places in which two copies may differ.
const PLACES: usize = 10;
/// The budget for hashing: a base for all blobs, plus this many times their size, in bytes.
const WORK: u64 = 64 << 30;
const TIMES: u64 = 4;

/// The bytes that may still be hashed in one run. This bounds the cost of damage crafted to be expensive in every blob.
pub(super) struct Budget(u64);

impl Budget {
    /// The budget for blobs of this total size.
    pub(super) fn new(bytes: u64) -> Budget {
        Budget(bytes.saturating_mul(TIMES).saturating_add(WORK))
    }

    fn spend(&mut self, work: u64) -> bool {
        let left = self.0.checked_sub(work);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// A stretch of a blob, and which copy is readable there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: u64,
    to: u64,
    kind: Likeness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    Same,
    Differs,
    /// Only the first copy is readable.
    First,
    /// Only the second copy is readable.
    Second,
}

/// The stretches of a blob to take from the second copy to correct the first one: offsets in the blob. `None` when no
/// combination is right, or there would be too many.
pub(super) fn weave(
    first: &File,
    second: &File,
    member: &Member,
    digest: &Digest,
    budget: &mut Budget,
    check: &dyn Fn() -> Result<()>,
) -> Result<Option<Vec<(u64, u64)>>> {
    let Some(stretches) = compare(first, second, member, check)? else { return Ok(None) };
    let (mut states, mut work) = (1u64, 0u64);
    for stretch in &stretches {
        if stretch.kind == Likeness::Differs {
            states *= 2;
        }
        work = work.saturating_add(states * (stretch.to - stretch.from));
    }
    if states > 1 << PLACES || work > WORK || !budget.spend(work) {
        return Ok(None);
    }
    let mut states = vec![(0u32, Hasher::new())];
    let mut buffer = vec![0u8; BUFFER];
    let mut choice = 0;
    for stretch in &stretches {
        let both = stretch.kind == Likeness::Differs;
        let mut taken: Vec<(u32, Hasher)> = Vec::new();
        if both {
            taken = states.iter().map(|(bits, hasher)| (bits | 1 << choice, hasher.clone())).collect();
            choice += 1;
        }
        let one = if stretch.kind == Likeness::Second { second } else { first };
        for (file, states) in [(one, &mut states), (second, &mut taken)] {
            let mut at = stretch.from;
            while at < stretch.to && !states.is_empty() {
                check()?;
                let n = usize::try_from(stretch.to - at).unwrap_or(BUFFER).min(BUFFER);
                if file.read_exact_at(&mut buffer[..n], member.data() + at).is_err() {
                    return Ok(None);
                }
                states.par_iter_mut().for_each(|(_, hasher)| hasher.update(&buffer[..n]));
                at += n as u64;
            }
        }
        states.append(&mut taken);
    }
    let right = states.into_iter().find(|(_, hasher)| hasher.clone().finish() == *digest);
    Ok(right.map(|(bits, _)| {
        let mut choice = 0;
        let mut is_taken = |kind: Likeness| match kind {
            Likeness::Second => true,
            Likeness::Same | Likeness::First => false,
            Likeness::Differs => {
                choice += 1;
                bits & (1 << (choice - 1)) != 0
            }
        };
        stretches.iter().filter(|s| is_taken(s.kind)).map(|s| (s.from, s.to)).collect()
    }))
}

/// Cuts a blob where two copies begin or cease to differ; `None` where neither is readable.
fn compare(
    first: &File,
    second: &File,
    member: &Member,
    check: &dyn Fn() -> Result<()>,
) -> Result<Option<Vec<Stretch>>> {
    let mut out: Vec<Stretch> = Vec::new();
    let (mut a, mut b) = (vec![0u8; BUFFER], vec![0u8; BUFFER]);
    let mut at = 0u64;
    while at < member.size {
        check()?;
        let n = usize::try_from(member.size - at).unwrap_or(BUFFER).min(BUFFER);
        let place = member.data() + at;
        let whole = first.read_exact_at(&mut a[..n], place).is_ok() && second.read_exact_at(&mut b[..n], place).is_ok();
        for from in (0..n).step_by(PIECE) {
            let piece = from..n.min(from + PIECE);
            let there = |file: &File, bytes: &mut [u8]| whole || file.read_exact_at(bytes, place + from as u64).is_ok();
            let kind = match (there(first, &mut a[piece.clone()]), there(second, &mut b[piece.clone()])) {
                (true, true) if a[piece.clone()] == b[piece.clone()] => Likeness::Same,
                (true, true) => Likeness::Differs,
                (true, false) => Likeness::First,
                (false, true) => Likeness::Second,
                (false, false) => return Ok(None),
            };
            let (from, to) = (at + piece.start as u64, at + piece.end as u64);
            match out.last_mut() {
                Some(last) if last.kind == kind => last.to = to,
                _ => out.push(Stretch { from, to, kind }),
            }
            if out.len() > 4 * PLACES + 1 {
                return Ok(None);
            }
        }
        at += n as u64;
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&[0; 512], bytes].concat()).unwrap();
        file
    }

    fn woven(whole: &[u8], a: &[u8], b: &[u8]) -> Option<Vec<(u64, u64)>> {
        let member = Member { path: "x".into(), size: whole.len() as u64, header: 0, digest: None };
        let found = weave(&file(a), &file(b), &member, &Digest::of(whole), &mut Budget::new(0), &|| Ok(())).unwrap()?;
        let mut out = a.to_vec();
        for (from, to) in &found {
            out[*from as usize..*to as usize].copy_from_slice(&b[*from as usize..*to as usize]);
        }
        assert!(out == whole);
        Some(found)
    }

    #[test]
    fn two_copies_damaged_at_different_places_are_put_together_and_others_are_not() {
        let whole: Vec<u8> = (0..3 * BUFFER + 77).map(|n| (n * 7 % 251) as u8).collect();
        let damaged = |places: &[usize]| {
            let mut bytes = whole.clone();
            places.iter().for_each(|at| bytes[*at] ^= 1);
            bytes
        };
        assert_eq!(woven(&whole, &damaged(&[5]), &damaged(&[9000])).unwrap(), [(0, 4096)]);
        let (a, b) = (damaged(&[1, 20_000, BUFFER + 5000, 3 * BUFFER + 76]), damaged(&[8192, BUFFER - 1, 2 * BUFFER]));
        assert_eq!(woven(&whole, &a, &b).unwrap().len(), 4);
        assert!(woven(&whole, &b, &a).is_some());
        // The same piece in both; too many places; a copy that is cut off where the other is damaged.
        assert_eq!(woven(&whole, &damaged(&[5]), &damaged(&[6])), None);
        let many: Vec<usize> = (0..11).map(|n| n * 3 * PIECE).collect();
        assert_eq!(woven(&whole, &damaged(&many), &whole), None);
        assert!(woven(&whole, &damaged(&many[..6]), &whole).is_some());
        assert_eq!(woven(&whole, &damaged(&[3 * BUFFER]), &whole[..2 * BUFFER]), None);
        // Cut off elsewhere: the rest is usable.
        let member = Member { path: "x".into(), size: whole.len() as u64, header: 0, digest: None };
        let again = |budget: &mut Budget| {
            let (first, second) = (file(&damaged(&[5])), file(&whole[..2 * BUFFER]));
            weave(&first, &second, &member, &Digest::of(&whole), budget, &|| Ok(())).unwrap()
        };
        let mut budget = Budget(3 * whole.len() as u64);
        assert_eq!(again(&mut budget).unwrap(), [(0, 4096)]);
        // What one blob uses up is gone for the next.
        assert_eq!(again(&mut budget), None);
    }
}
