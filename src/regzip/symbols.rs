//! Symbols of RFC 1951: length and distance codes with their extra bits, and what a chunk consists of.

/// Number of literal and length symbols.
pub(super) const LITS: usize = 286;
/// Number of distance symbols.
pub(super) const DISTS: usize = 30;
/// The symbol at the end of a block.
pub(super) const END: usize = 256;

/// Extra bits of the length symbols from 257 on.
pub(super) const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// Extra bits of the distance symbols.
pub(super) const DIST_EXTRA: [u8; DISTS] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The smallest length of each length symbol, less 3.
pub(super) const LENGTH_BASE: [u8; 29] = length_base();
/// The smallest distance of each distance symbol, less 1.
pub(super) const DIST_BASE: [u16; DISTS] = dist_base();
/// The length symbol (less 257) of each length less 3.
pub(super) const LENGTH_SYMBOL: [u8; 256] = length_symbol();
/// The distance symbol of distances less 1: below 256 as they are, above by their bits from 7 on.
const DIST_SYMBOL: [u8; 512] = dist_symbol();

const fn length_base() -> [u8; 29] {
    let mut base = [0; 29];
    let (mut i, mut at) = (0, 0u16);
    while i < 28 {
        base[i] = at as u8;
        at += 1 << LENGTH_EXTRA[i];
        i += 1;
    }
    base[28] = 255;
    base
}

const fn dist_base() -> [u16; DISTS] {
    let mut base = [0; DISTS];
    let (mut i, mut at) = (0, 0u32);
    while i < DISTS {
        base[i] = at as u16;
        at += 1 << DIST_EXTRA[i];
        i += 1;
    }
    base
}

const fn length_symbol() -> [u8; 256] {
    let mut symbol = [0; 256];
    let mut i = 0;
    while i < 29 {
        let mut at = LENGTH_BASE[i] as usize;
        while at < 256 {
            symbol[at] = i as u8;
            at += 1;
        }
        i += 1;
    }
    symbol
}

const fn dist_symbol() -> [u8; 512] {
    let mut symbol = [0; 512];
    let mut i = 0;
    while i < DISTS {
        let mut at = DIST_BASE[i] as usize;
        while at < 256 {
            symbol[at] = i as u8;
            at += 1;
        }
        let mut high = DIST_BASE[i] as usize >> 7;
        while high < 256 && DIST_BASE[i] >= 256 {
            symbol[256 + high] = i as u8;
            high += 1;
        }
        i += 1;
    }
    symbol
}

/// The distance symbol of a distance from 1 to 32,768.
#[inline]
pub(super) fn dist_of(distance: u16) -> usize {
    let d = usize::from(distance.wrapping_sub(1));
    let at = if d < 256 { d } else { 256 + (d >> 7 & 255) };
    usize::from(DIST_SYMBOL[at])
}

/// Literals, then one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seq {
    /// How many literals stand before the match.
    pub(super) run: u32,
    /// Length of the match, 3 to 258.
    pub(super) len: u16,
    /// Its distance, 1 to 32,768.
    pub(super) dist: u16,
}

/// Literals that are copied at once, whether they are needed or not.
const WILD: usize = 16;

/// How a chunk is to be written: literals and matches.
#[derive(Default)]
pub(super) struct Tokens {
    /// In their order.
    pub(super) seqs: Vec<Seq>,
    /// Literals behind the last match.
    pub(super) tail: usize,
    /// All literals, one behind the other, with room behind them.
    lits: Vec<u8>,
    /// How many there are.
    count: usize,
}

impl Tokens {
    pub(super) fn clear(&mut self) {
        self.seqs.clear();
        (self.tail, self.count) = (0, 0);
    }

    /// Literals and matches together.
    pub(super) fn count(&self) -> usize {
        self.seqs.len() + self.count
    }

    /// All literals, one behind the other.
    pub(super) fn literals(&self) -> &[u8] {
        self.lits.get(..self.count).unwrap_or_default()
    }

    /// Literals alone.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { seqs: Vec::new(), tail: bytes.len(), lits: bytes.to_vec(), count: bytes.len() }
    }

    /// Adds literals behind the last match.
    pub(super) fn end(&mut self, bytes: &[u8]) {
        self.lits.truncate(self.count);
        self.lits.extend_from_slice(bytes);
        self.count += bytes.len();
        self.tail += bytes.len();
    }

    /// Makes room for the literals of a chunk.
    pub(super) fn room(&mut self, bytes: usize) {
        if self.lits.len() < self.count + bytes + WILD {
            self.lits.resize(self.count + bytes + WILD, 0);
        }
    }

    /// Adds literals before a match; there is room for them. `bytes` has more than the literals where it can.
    #[inline(always)]
    pub(super) fn before(&mut self, bytes: &[u8], run: usize) {
        let to = self.lits.get_mut(self.count..).unwrap_or_default();
        if let (Some(to), Some(from), true) = (to.first_chunk_mut::<WILD>(), bytes.first_chunk::<WILD>(), run <= WILD) {
            *to = *from;
        } else if let (Some(to), Some(from)) = (to.get_mut(..run), bytes.get(..run)) {
            to.copy_from_slice(from);
        }
        self.count += run;
    }

    /// Adds one match of any length from 4 on, as one or more of at most 258; `run` literals stand before it.
    #[inline]
    pub(super) fn push(&mut self, run: usize, mut len: usize, dist: usize) {
        let mut run = run as u32;
        let dist = dist as u16;
        while len > 258 {
            let part = if len > 261 { 258 } else { 255 };
            self.seqs.push(Seq { run, len: part, dist });
            run = 0;
            len -= usize::from(part);
        }
        self.seqs.push(Seq { run, len: len as u16, dist });
    }
}
