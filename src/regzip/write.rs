//! Counting tokens and writing them with given codes.

use super::bits::{Bits, Pen};
use super::huffman::Code;
use super::symbols::{
    DIST_BASE, DIST_EXTRA, DISTS, END, LENGTH_BASE, LENGTH_EXTRA, LENGTH_SYMBOL, LITS, Tokens, dist_of,
};

/// How often each symbol occurs.
pub(super) struct Counts {
    /// Literals and lengths.
    pub(super) lit: [u32; LITS],
    /// Distances.
    pub(super) dist: [u32; DISTS],
}

impl Counts {
    /// Counts tokens.
    pub(super) fn of(tokens: &Tokens) -> Self {
        let mut quarter = [[0u32; 256]; 4];
        let mut lens = [0u32; 256];
        let mut dist = [0u32; 32];
        for seq in &tokens.seqs {
            lens[usize::from(seq.len.wrapping_sub(3) & 255)] += 1;
            dist[dist_of(seq.dist) & 31] += 1;
        }
        literals(tokens.literals(), &mut quarter);
        let mut counts = Counts { lit: [0; LITS], dist: [0; DISTS] };
        for (i, count) in counts.lit.iter_mut().take(256).enumerate() {
            *count = quarter.iter().map(|q| q[i]).sum();
        }
        for (len, count) in lens.iter().enumerate() {
            counts.lit[257 + usize::from(LENGTH_SYMBOL[len])] += count;
        }
        counts.dist.copy_from_slice(&dist[..DISTS]);
        counts
    }

    /// Extra bits of all lengths and distances.
    pub(super) fn extra(&self) -> u64 {
        let sum = |freq: &[u32], extra: &[u8]| -> u64 {
            freq.iter().zip(extra).map(|(f, e)| u64::from(*f) * u64::from(*e)).sum()
        };
        sum(&self.lit[257..], &LENGTH_EXTRA) + sum(&self.dist, &DIST_EXTRA)
    }

    /// Size of a block in the fixed codes, without its end and without extra bits.
    pub(super) fn fixed(&self) -> u64 {
        let dists: u64 = self.dist.iter().map(|f| u64::from(*f)).sum();
        FIXED_LIT.cost(&self.lit) + 5 * dists
    }

    /// How many of the lengths of each code a header holds; a code of distances has at least one symbol.
    pub(super) fn trim(&mut self) -> (usize, usize) {
        let lits = self.lit.iter().rposition(|f| *f > 0).map_or(1, |last| last + 1);
        let Some(last) = self.dist.iter().rposition(|f| *f > 0) else {
            self.dist[0] = 1;
            return (lits, 1);
        };
        (lits, last + 1)
    }
}

#[inline(always)]
fn literals(mut run: &[u8], quarter: &mut [[u32; 256]; 4]) {
    let [a, b, c, d] = quarter;
    let add = |table: &mut [u32; 256], byte: u8| {
        let count = &mut table[usize::from(byte)];
        *count = count.wrapping_add(1);
    };
    while let [w, x, y, z, more @ ..] = run {
        add(a, *w);
        add(b, *x);
        add(c, *y);
        add(d, *z);
        run = more;
    }
    for byte in run {
        add(a, *byte);
    }
}

/// The fixed code of literals and lengths; symbols 286 and 287 are never used.
pub(super) static FIXED_LIT: Code<LITS> = fixed_lit();
/// The fixed code of distances.
pub(super) static FIXED_DIST: Code<DISTS> = fixed_dist();

const fn reversed(code: u16, len: u32) -> u16 {
    code.reverse_bits() >> (16 - len)
}

const fn fixed_lit() -> Code<LITS> {
    let mut code = Code::none();
    let mut i = 0;
    while i < LITS {
        let (bits, len) = match i as u16 {
            n @ 0..=143 => (0x30 + n, 8),
            n @ 144..=255 => (0x190 + n - 144, 9),
            n @ 256..=279 => (n - 256, 7),
            n => (0xc0 + n - 280, 8),
        };
        code.bits[i] = reversed(bits, len);
        code.len[i] = len as u8;
        i += 1;
    }
    code
}

const fn fixed_dist() -> Code<DISTS> {
    let mut code = Code::none();
    let mut i = 0;
    while i < DISTS {
        code.bits[i] = reversed(i as u16, 5);
        code.len[i] = 5;
        i += 1;
    }
    code
}

/// Writes tokens. The end of the block is not written.
pub(super) fn tokens(bits: &mut Bits, tokens: &Tokens, lit: &Code<LITS>, dist: &Code<DISTS>) {
    let mut literal = [0u32; 256];
    for (packed, (b, len)) in literal.iter_mut().zip(lit.bits.iter().zip(lit.len)) {
        *packed = u32::from(*b) | u32::from(len) << 16;
    }
    // For each length: its code and its extra bits, and their number above.
    let mut length = [0u32; 256];
    for (i, packed) in length.iter_mut().enumerate() {
        let symbol = usize::from(LENGTH_SYMBOL[i]);
        let len = u32::from(lit.len[257 + symbol]);
        let more = (i as u32).wrapping_sub(u32::from(LENGTH_BASE[symbol]));
        *packed = u32::from(lit.bits[257 + symbol]) | more << len | (len + u32::from(LENGTH_EXTRA[symbol])) << 24;
    }
    let mut distance = [(0u16, 0u8, 0u8, 0u16); 32];
    for (i, entry) in distance.iter_mut().take(DISTS).enumerate() {
        *entry = (dist.bits[i], dist.len[i], DIST_EXTRA[i], DIST_BASE[i]);
    }
    let mut pen = bits.pen(tokens.seqs.len() * 6 + tokens.literals().len() * 2 + 16);
    let mut rest = tokens.literals();
    for seq in &tokens.seqs {
        rest = run(&mut pen, &literal, rest, seq.run as usize);
        let l = length[usize::from(seq.len.wrapping_sub(3) & 255)];
        let (code, len, extra, base) = distance[dist_of(seq.dist) & 31];
        let more = u64::from(seq.dist.wrapping_sub(1).wrapping_sub(base));
        let d = u64::from(code) | more << (len & 15);
        let first = l >> 24;
        pen.put(u64::from(l & 0xff_ffff) | d << (first & 63), first + u32::from(len) + u32::from(extra));
    }
    run(&mut pen, &literal, rest, rest.len());
    let state = pen.lift();
    bits.resume(state);
}

/// Writes the first `n` literals, three at a time, and gives the rest. Up to three need no decision that depends on
/// their number.
#[inline(always)]
fn run<'a>(pen: &mut Pen<'_>, literal: &[u32; 256], mut lits: &'a [u8], mut n: usize) -> &'a [u8] {
    let code = |byte: u8| literal[usize::from(byte)];
    while let ([x, y, z, more @ ..], true) = (lits, n > 3) {
        put(pen, code(*x), code(*y), code(*z));
        (lits, n) = (more, n - 3);
    }
    if let [x, y, z, ..] = lits {
        let keep = |code: u32, at: usize| if at < n { code } else { 0 };
        put(pen, keep(code(*x), 0), keep(code(*y), 1), keep(code(*z), 2));
        return lits.get(n..).unwrap_or_default();
    }
    let (now, later) = lits.split_at(n.min(lits.len()));
    now.iter().for_each(|byte| put(pen, code(*byte), 0, 0));
    later
}

/// Writes three codes, each with its length above.
#[inline(always)]
fn put(pen: &mut Pen<'_>, x: u32, y: u32, z: u32) {
    let (a, b) = (x >> 16, (x >> 16) + (y >> 16));
    let all = u64::from(x & 0xffff) | u64::from(y & 0xffff) << (a & 63) | u64::from(z & 0xffff) << (b & 63);
    pen.put(all, b + (z >> 16));
}

/// Writes the end of a block.
pub(super) fn end(bits: &mut Bits, lit: &Code<LITS>) {
    bits.put(u64::from(lit.bits[END]), u32::from(lit.len[END]));
}
