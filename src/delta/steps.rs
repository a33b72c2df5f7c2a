//! Finding the steps: the new content is read along the reference until another place fits better.

use std::io;

use super::pages::{Pages, agree, forward, together};
use super::seeds::{SEED, Seeds, hash};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of the reference that are added to.
    pub(super) add: u64,
    /// New bytes behind them.
    pub(super) extra: u64,
    /// Where in the reference it begins.
    pub(super) begin: u64,
}

/// So far another place is looked at before it is compared with the present one.
const SPAN: u64 = 4096;
/// By so many bytes another place has to be better.
const BETTER: u64 = 8;
/// Equal bytes at the present place after which no other one is looked for.
const GOOD: u64 = 16;
/// So many places are looked at in one go.
const LOOK: usize = 32;
/// The present place is good enough when so many bytes of these agree.
const FAIR: u8 = 24;
/// Backward search ends so far below its best score.
const HOPELESS: i64 = 128;

struct Finder<'a, 'b> {
    reference: &'a mut Pages<'b>,
    new: &'a mut Pages<'b>,
    /// Where the step begins, in the new content and in the reference.
    begin: u64,
    begin_reference: u64,
    steps: Vec<Step>,
}

/// The steps that make `new` from `reference`.
pub(super) fn find<'b>(reference: &mut Pages<'b>, new: &mut Pages<'b>, seeds: &Seeds) -> io::Result<Vec<Step>> {
    let size = new.size();
    let mut f = Finder { reference, new, begin: 0, begin_reference: 0, steps: Vec::new() };
    let mut scan = 0;
    while scan < size {
        let here = f.begin_reference + (scan - f.begin);
        let most = f.reference.size().saturating_sub(here).min(size - scan);
        let run = forward((&mut *f.new, scan), (&mut *f.reference, here), most)?;
        if run >= GOOD {
            scan += run;
            continue;
        }
        let (x, y) = (f.new.at(scan)?, if most > 0 { f.reference.at(here)? } else { &[] });
        if let (Some(x), Some(y)) = (x.first_chunk::<LOOK>(), y.first_chunk::<LOOK>()) {
            let same = x.iter().zip(y).map(|(a, b)| u8::from(a == b)).sum::<u8>();
            if same >= FAIR {
                scan += run + 1;
                continue;
            }
        }
        // Many places in one go: the lookups do not wait for each other.
        let places = x.len().saturating_sub(SEED - 1).clamp(1, LOOK);
        let first = (0..places).find_map(|i| {
            let other = x.get(i..).and_then(hash).and_then(|h| seeds.get(h))?;
            Some((i as u64, other))
        });
        let Some((skip, other)) = first else {
            scan += places as u64;
            continue;
        };
        scan += skip;
        let here = here + skip;
        if other == here {
            scan += 1;
            continue;
        }
        let most = (f.reference.size() - other).min(size - scan).min(SPAN);
        let ahead = forward((&mut *f.new, scan), (&mut *f.reference, other), most)?;
        if ahead < SEED as u64 {
            scan += 1;
            continue;
        }
        let back = f.back(scan, other)?;
        let present = f.present(scan - back, back + ahead)?;
        if back + ahead > present + BETTER {
            f.close(scan, Some(other))?;
            scan += ahead;
        } else {
            scan += 1;
        }
    }
    f.close(size, None)?;
    Ok(f.steps)
}

impl Finder<'_, '_> {
    /// Bytes that agree before the two places.
    fn back(&mut self, new: u64, reference: u64) -> io::Result<u64> {
        let most = (new - self.begin).min(reference).min(SPAN);
        let mut sum = 0;
        while sum < most {
            let (x, y) = (self.new.before(new - sum)?, self.reference.before(reference - sum)?);
            let n = (most - sum).min(x.len() as u64).min(y.len() as u64) as usize;
            let same = x.iter().rev().zip(y.iter().rev()).take(n).take_while(|(a, b)| a == b).count();
            sum += same as u64;
            if same < n || n == 0 {
                break;
            }
        }
        Ok(sum)
    }

    /// How many bytes of a span agree at the present place.
    fn present(&mut self, from: u64, span: u64) -> io::Result<u64> {
        let here = self.begin_reference + (from - self.begin);
        let most = self.reference.size().saturating_sub(here).min(span);
        let mut sum = 0;
        together((&mut *self.new, from), (&mut *self.reference, here), most, |x, y| {
            sum += x.iter().zip(y).filter(|(a, b)| a == b).count() as u64;
            true
        })?;
        Ok(sum)
    }

    /// How far forward the present place is of use: where twice the equal bytes less the length is largest.
    fn reach(&mut self, to: u64) -> io::Result<u64> {
        let most = self.reference.size().saturating_sub(self.begin_reference).min(to - self.begin);
        let (mut score, mut i, mut best, mut at_best) = (0i64, 0u64, 0i64, 0u64);
        together((&mut *self.new, self.begin), (&mut *self.reference, self.begin_reference), most, |mut x, mut y| {
            while !x.is_empty() {
                let n = agree(x, y);
                i += n as u64;
                score += n as i64;
                if score > best {
                    (best, at_best) = (score, i);
                }
                (x, y) = (x.get(n..).unwrap_or_default(), y.get(n..).unwrap_or_default());
                let n = x.iter().zip(y).take_while(|(a, b)| a != b).count();
                i += n as u64;
                score -= n as i64;
                (x, y) = (x.get(n..).unwrap_or_default(), y.get(n..).unwrap_or_default());
            }
            true
        })?;
        Ok(at_best)
    }

    /// The same backward from another place.
    fn reach_back(&mut self, new: u64, reference: u64) -> io::Result<u64> {
        let most = (new - self.begin).min(reference);
        let (mut score, mut i, mut best, mut at_best) = (0i64, 0u64, 0i64, 0u64);
        while i < most && score > best - HOPELESS {
            let (x, y) = (self.new.before(new - i)?, self.reference.before(reference - i)?);
            let n = (most - i).min(x.len() as u64).min(y.len() as u64) as usize;
            for (a, b) in x.iter().rev().zip(y.iter().rev()).take(n) {
                i += 1;
                score += if a == b { 1 } else { -1 };
                if score > best {
                    (best, at_best) = (score, i);
                }
                if score <= best - HOPELESS {
                    break;
                }
            }
            if n == 0 {
                break;
            }
        }
        Ok(at_best)
    }

    /// Of `overlap` bytes that both places reach, how many the present one keeps.
    fn split(&mut self, from: u64, overlap: u64, reference: u64) -> io::Result<u64> {
        let here = self.begin_reference + (from - self.begin);
        let (mut score, mut best, mut keep) = (0i64, 0i64, 0u64);
        for i in 0..overlap {
            let byte = self.new.at(from + i)?.first().copied();
            score += i64::from(self.reference.at(here + i)?.first().copied() == byte);
            score -= i64::from(self.reference.at(reference + i)?.first().copied() == byte);
            if score > best {
                (best, keep) = (score, i + 1);
            }
        }
        Ok(keep)
    }

    /// Ends the step where `scan` is; the next one is aligned to `other`.
    fn close(&mut self, scan: u64, other: Option<u64>) -> io::Result<()> {
        let mut add = self.reach(scan)?;
        let mut back = match other {
            Some(other) => self.reach_back(scan, other)?,
            None => 0,
        };
        let (end, start) = (self.begin + add, scan - back);
        if let Some(other) = other
            && end > start
        {
            let overlap = end - start;
            let keep = self.split(start, overlap, other - back)?;
            add -= overlap - keep;
            back -= keep;
        }
        let next = scan - back;
        let step = Step { add, extra: next - self.begin - add, begin: self.begin_reference };
        if step.add + step.extra > 0 {
            self.steps.push(step);
        }
        self.begin = next;
        self.begin_reference = other.map_or(0, |other| other - back);
        Ok(())
    }
}
