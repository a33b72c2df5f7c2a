//! Blocks as klauspost and Go from 1.27 on write them (MB-ENC-04, MB-ENC-05).

use super::Family;
use super::bits::Bits;
use super::huffman::{Code, Head};
use super::symbols::{DIST_EXTRA, DISTS, END, LENGTH_EXTRA, LITS, Tokens};
use super::write::{Counts, FIXED_DIST, FIXED_LIT, end, tokens};

/// Writer of blocks. A dynamic block may stay open: then its end is owed.
pub(super) struct Blocks {
    /// What is written.
    pub(super) bits: Bits,
    family: Family,
    /// Size of the head of the open block in bits; 0: none is open.
    open: u64,
    /// The open block was begun by literals alone.
    literal: bool,
    lit: Code<LITS>,
    dist: Code<DISTS>,
}

impl Blocks {
    /// A writer for a new stream.
    pub(super) fn new(family: Family) -> Self {
        Self { bits: Bits::default(), family, open: 0, literal: false, lit: Code::none(), dist: Code::none() }
    }

    /// Begins a new block of pgzip, at the end of a byte.
    pub(super) fn restart(&mut self) {
        (self.open, self.literal) = (0, false);
    }

    /// Ends the open block, if there is one.
    fn close(&mut self) {
        if self.open > 0 {
            end(&mut self.bits, &self.lit);
            self.open = 0;
        }
    }

    /// A stored block.
    pub(super) fn stored(&mut self, bytes: &[u8]) {
        self.close();
        self.bits.stored(bytes);
    }

    /// The end of the stream.
    pub(super) fn finish(&mut self) {
        self.close();
        self.bits.put(3, 10);
        self.bits.align();
    }

    /// A block in the fixed codes.
    fn fixed(&mut self, found: &Tokens) {
        self.close();
        self.bits.put(2, 3);
        tokens(&mut self.bits, found, &FIXED_LIT, &FIXED_DIST);
        self.bits.put(0, 7);
    }

    /// A chunk by its tokens; `sync`: it is the last one.
    pub(super) fn tokens(&mut self, found: &Tokens, bytes: &[u8], sync: bool) {
        let mut counts = Counts::of(found);
        let mut total = found.count();
        if sync {
            counts.lit[END] = 1;
            total += 1;
        }
        if self.literal && self.open > 0 {
            self.close();
            self.literal = false;
        }
        if self.open > 0 && !(self.lit.covers(&counts.lit) && self.dist.covers(&counts.dist)) {
            self.close();
        }
        let (lits, dists) = described(&mut counts, self.family, sync);
        let extra = counts.extra();
        let stored = (bytes.len() as u64 + 5) * 8;
        let fixed = 3 + counts.fixed() + extra;
        if self.open > 0 {
            let new = self.open + estimate(&counts, total);
            let new = new + u64::from(self.lit.len[END]) + (new >> 7);
            let reuse = self.lit.cost(&counts.lit) + self.dist.cost(&counts.dist) + extra;
            let mut size = reuse;
            if new < reuse {
                self.close();
                size = new;
            }
            if total < 250 && fixed + 7 < size {
                return if stored <= size { self.stored(bytes) } else { self.fixed(found) };
            }
            if stored <= size {
                return self.stored(bytes);
            }
        }
        if self.open == 0 {
            counts.lit[END] = 1;
            self.lit = Code::of(&counts.lit, 15);
            self.dist = Code::of(&counts.dist, 15);
            let head = Head::new(&self.lit.len[..lits], &self.dist.len[..dists]);
            let size = head.size + self.lit.cost(&counts.lit) + self.dist.cost(&counts.dist) + extra;
            let fixed = 3 + counts.fixed() + extra;
            if total < 250 && fixed <= size {
                return if stored <= fixed { self.stored(bytes) } else { self.fixed(found) };
            }
            if stored <= size {
                return self.stored(bytes);
            }
            head.write(&mut self.bits);
            if !sync {
                self.open = head.size;
            }
            self.literal = false;
        }
        tokens(&mut self.bits, found, &self.lit, &self.dist);
        if sync {
            end(&mut self.bits, &self.lit);
            self.open = 0;
        }
    }

    /// A chunk by its literals alone.
    pub(super) fn literals(&mut self, bytes: &[u8], sync: bool) {
        let found = Tokens::of(bytes);
        let mut freq = Counts::of(&found).lit;
        if even(&freq[..256], bytes.len()) {
            return self.stored(bytes);
        }
        freq[END] = 1;
        let code = Code::of(&freq, 15);
        let estimated = code.cost(&freq) + if self.open > 0 { self.open } else { 560 };
        let estimated = estimated + (estimated >> 7);
        if (bytes.len() as u64 + 5) * 8 <= estimated {
            return self.stored(bytes);
        }
        if self.open > 0 {
            let covered = self.lit.covers(&freq[..256]);
            if !covered || estimated < self.lit.cost(&freq[..256]) {
                self.close();
            }
        }
        if self.open == 0 {
            self.lit = code;
            let head = Head::new(&self.lit.len[..=END], &[1]);
            head.write(&mut self.bits);
            (self.literal, self.open) = (true, head.size);
        }
        tokens(&mut self.bits, &found, &self.lit, &self.dist);
        if sync {
            end(&mut self.bits, &self.lit);
            (self.open, self.literal) = (0, false);
        }
    }
}

/// How many lengths a head describes. Family A describes all of them in a block that may stay open, and does not count
/// its end yet.
fn described(counts: &mut Counts, family: Family, sync: bool) -> (usize, usize) {
    if family == Family::A && !sync {
        return (LITS, DISTS);
    }
    counts.lit[END] = 1;
    counts.trim()
}

/// Whether bytes are so evenly spread that no code helps.
fn even(freq: &[u32], n: usize) -> bool {
    if n <= 1024 {
        return false;
    }
    // All of it times 256 squared, so that it is exact.
    let n = n as i64;
    let sum: i64 = freq.iter().map(|f| (i64::from(*f) * 256 - n).pow(2)).sum();
    sum < 2 * n * 65536
}

/// Guesses the size of a block with a new code, in single precision (MB-ENC-05).
fn estimate(counts: &Counts, total: usize) -> u64 {
    let (mut sum, mut extra, mut matches) = (0f32, 0u64, 0u64);
    let share = |f: u32, inverse: f32| cost(f as f32 * inverse) * f as f32;
    let inverse = 1.0 / total as f32;
    for f in counts.lit[..256].iter().filter(|f| **f > 0) {
        sum += share(*f, inverse);
    }
    sum += 15.0;
    for (f, bits) in counts.lit[257..].iter().zip(LENGTH_EXTRA).filter(|(f, _)| **f > 0) {
        sum += share(*f, inverse);
        extra += u64::from(*f) * u64::from(bits);
        matches += u64::from(*f);
    }
    if matches > 0 {
        let inverse = 1.0 / matches as f32;
        for (f, bits) in counts.dist.iter().zip(DIST_EXTRA).filter(|(f, _)| **f > 0) {
            sum += share(*f, inverse);
            extra += u64::from(*f) * u64::from(bits);
        }
    }
    sum as u64 + extra
}

/// Bits of a symbol of frequency `x`, from 1 to 15.
fn cost(x: f32) -> f32 {
    (-log(x)).clamp(1.0, 15.0)
}

/// About the binary logarithm.
fn log(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 255) as i32;
    let m = f32::from_bits(bits & 0x807f_ffff | 127 << 23);
    (exponent - 128) as f32 + (((-0.344_848_43 * m) + 2.024_665_8) * m - 0.674_877_6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Counts { lit: [0; LITS], dist: [0; DISTS] }
    }

    /// MB-ENC-05. The values were computed with another program, each operation rounded to single precision.
    #[test]
    fn the_cost_of_a_symbol_is_exact_to_the_last_bit() {
        let cost = |n: u16, of: u16| cost(f32::from(n) * (1.0 / f32::from(of))).to_bits();
        assert_eq!(cost(1, 3), 0x3fcb_5044);
        assert_eq!(cost(1, 7), 0x4033_edc8);
        assert_eq!(cost(5, 1_000), 0x40f4_beea);
        assert_eq!(cost(17, 65_535), 0x413e_9b72);
        assert_eq!(cost(11, 13), 0x3f80_0000);
        assert_eq!(cost(7, 40), 0x4021_0a37);
        assert_eq!(super::cost(2f32.powi(-20)), 15.0);
        assert_eq!(super::cost(2f32.powi(-16)), 15.0);
        assert_eq!(super::cost(0.9), 1.0);
    }

    /// MB-ENC-05: the sums in their order, and the end of the block for 15.
    #[test]
    fn an_estimate_is_the_sum_of_its_costs_and_extra_bits() {
        let mut c = counts();
        assert_eq!(estimate(&c, 1), 15);
        (c.lit[65], c.lit[END]) = (1, 1);
        assert_eq!(estimate(&c, 2), 16);
        // 100 matches of length 11 or 12 (one extra bit) at distances of one symbol with three.
        (c.lit[265], c.dist[8]) = (100, 100);
        assert_eq!(estimate(&c, 102), 15 + 6 + 100 + 100 + 100 + 300);
    }

    /// MB-ENC-05.
    #[test]
    fn short_pieces_are_never_even() {
        assert!(!even(&[4; 256], 1024));
        let mut freq = [4; 256];
        freq[0] = 5;
        assert!(even(&freq, 1025));
        // The sum has to be below twice the bytes: exactly at it, it is not.
        let mut freq = [16; 256];
        for pair in freq.chunks_exact_mut(2).take(64) {
            (pair[0], pair[1]) = (16 + 8, 16 - 8);
        }
        assert!(!even(&freq, 4096));
        (freq[0], freq[1]) = (16 + 7, 16 - 7);
        assert!(even(&freq, 4096));
    }

    /// MB-ENC-04.
    #[test]
    fn of_equal_sizes_the_stored_block_is_taken() {
        // 40 bytes, no two the same: 9 bits in the fixed code for those from 144 on, 8 for the others; 15 bits for the
        // head, the end and the distance that a code needs.
        let kind = |high: u8| {
            let bytes: Vec<u8> = (0..high).map(|i| 200 + i).chain(0..40 - high).collect();
            let mut blocks = Blocks::new(Family::B);
            let found = Tokens::of(&bytes);
            blocks.tokens(&found, &bytes, true);
            blocks.bits.whole()[0] & 7
        };
        assert_eq!((kind(24), kind(25), kind(26)), (2, 0, 0));
    }

    /// MB-ENC-04.
    #[test]
    fn family_a_describes_all_symbols_of_a_block_that_may_stay_open() {
        let (mut a, mut b) = (counts(), counts());
        assert_eq!(described(&mut a, Family::A, false), (LITS, DISTS));
        assert_eq!(a.lit[END], 0);
        assert_eq!(described(&mut b, Family::B, false), (257, 1));
        assert_eq!((b.lit[END], b.dist[0]), (1, 1));
        assert_eq!(described(&mut a, Family::A, true), (257, 1));
    }
}
