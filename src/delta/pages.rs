//! Bytes that are read by position, a bounded number of pages of them in memory.

use std::io;

use super::Part;

/// Bytes of a page.
const PAGE: usize = 1 << 16;
/// Bytes of the next page that a page holds too: so that a seed never lies across two.
pub(super) const OVERLAP: usize = 16;

struct Page {
    index: u64,
    bytes: Vec<u8>,
}

/// A file of any size behind a few pages.
pub(super) struct Pages<'a> {
    part: Part<'a>,
    /// A page has its place by its number.
    places: Vec<Page>,
    /// Number of places, less one: it is a power of two.
    mask: u64,
}

impl<'a> Pages<'a> {
    /// At most about `memory` bytes are held; two pages at least.
    pub(super) fn new(part: Part<'a>, memory: u64) -> Self {
        let whole = part.size / PAGE as u64 + 1;
        let fit = (memory / (PAGE + OVERLAP) as u64).max(2);
        let places = if fit >= whole { whole.next_power_of_two() } else { 1 << fit.ilog2() };
        let places = usize::try_from(places).unwrap_or(1 << 20);
        let places: Vec<_> = (0..places).map(|_| Page { index: u64::MAX, bytes: Vec::new() }).collect();
        Self { part, mask: places.len() as u64 - 1, places }
    }

    pub(super) fn size(&self) -> u64 {
        self.part.size
    }

    /// The bytes from `at` on that are in its page: at least one before the end of the file, and at least 16 unless it
    /// ends there.
    #[inline]
    pub(super) fn at(&mut self, at: u64) -> io::Result<&[u8]> {
        let index = at / PAGE as u64;
        let place = (index & self.mask) as usize;
        if self.places.get(place).is_none_or(|page| page.index != index) {
            self.load(index, place)?;
        }
        let bytes = self.places.get(place).map_or(&[][..], |page| &page.bytes);
        Ok(bytes.get((at % PAGE as u64) as usize..).unwrap_or_default())
    }

    /// The bytes before `at` that are in the page of the last one.
    pub(super) fn before(&mut self, at: u64) -> io::Result<&[u8]> {
        let Some(last) = at.checked_sub(1) else { return Ok(&[]) };
        let n = (last % PAGE as u64) as usize + 1;
        Ok(self.at(last / PAGE as u64 * PAGE as u64)?.get(..n).unwrap_or_default())
    }

    #[cold]
    fn load(&mut self, index: u64, place: usize) -> io::Result<()> {
        let Some(page) = self.places.get_mut(place) else { return Ok(()) };
        page.index = u64::MAX;
        let start = index * PAGE as u64;
        let n = self.part.size.saturating_sub(start).min((PAGE + OVERLAP) as u64);
        page.bytes.resize(n as usize, 0);
        self.part.read_exact(&mut page.bytes, start)?;
        page.index = index;
        Ok(())
    }
}

/// Runs over both from the two places on, at most `most` bytes, piece by piece, until `each` says that it is enough.
pub(super) fn together(
    (a, mut at_a): (&mut Pages<'_>, u64),
    (b, mut at_b): (&mut Pages<'_>, u64),
    mut most: u64,
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) -> io::Result<()> {
    while most > 0 {
        let (x, y) = (a.at(at_a)?, b.at(at_b)?);
        let n = usize::try_from(most).unwrap_or(usize::MAX).min(x.len()).min(y.len());
        if n == 0 || !each(x.get(..n).unwrap_or_default(), y.get(..n).unwrap_or_default()) {
            break;
        }
        most -= n as u64;
        at_a += n as u64;
        at_b += n as u64;
    }
    Ok(())
}

/// How many bytes agree at the beginning.
pub(super) fn agree(x: &[u8], y: &[u8]) -> usize {
    let mut n = 0;
    for (a, b) in x.chunks_exact(8).zip(y.chunks_exact(8)) {
        if a != b {
            break;
        }
        n += 8;
    }
    let rest = x.get(n..).unwrap_or_default().iter().zip(y.get(n..).unwrap_or_default());
    n + rest.take_while(|(a, b)| a == b).count()
}

/// How many bytes agree from the two places on, at most `most`.
pub(super) fn forward(a: (&mut Pages<'_>, u64), b: (&mut Pages<'_>, u64), most: u64) -> io::Result<u64> {
    let mut sum = 0;
    together(a, b, most, |x, y| {
        let n = agree(x, y);
        sum += n as u64;
        n == x.len()
    })?;
    Ok(sum)
}
