//! Huffman codes as the encoders choose them, and how their lengths are written (MB-ENC-06).

use super::bits::Bits;

/// More items than a list of the construction can have: 2 x 286 - 2.
const ITEMS: usize = 576;

/// A code of `N` symbols: for each, its bits as they are written, and their number.
#[derive(Clone)]
pub(super) struct Code<const N: usize> {
    /// Bits, the first in the lowest place.
    pub(super) bits: [u16; N],
    /// Number of bits; 0: the symbol has no code.
    pub(super) len: [u8; N],
}

impl<const N: usize> Code<N> {
    /// A code without symbols.
    pub(super) const fn none() -> Self {
        Code { bits: [0; N], len: [0; N] }
    }

    /// The code of the symbols that occur; no length is above `max`.
    pub(super) fn of(freq: &[u32; N], max: u8) -> Self {
        let mut code = Self { bits: [0; N], len: lengths(freq, max) };
        code.assign();
        code
    }

    /// Canonical codes for the lengths (RFC 1951, 3.2.2).
    fn assign(&mut self) {
        let mut count = [0u16; 16];
        for len in self.len {
            count[usize::from(len & 15)] += 1;
        }
        count[0] = 0;
        let mut next = [0u16; 16];
        let mut at = 0u16;
        for len in 1..16 {
            at = at.wrapping_add(count[len - 1]).wrapping_shl(1);
            next[len] = at;
        }
        for (bits, len) in self.bits.iter_mut().zip(self.len) {
            if len > 0 {
                let code = &mut next[usize::from(len & 15)];
                *bits = code.reverse_bits() >> (16 - u32::from(len));
                *code = code.wrapping_add(1);
            }
        }
    }

    /// Bits that symbols in this number take.
    pub(super) fn cost(&self, freq: &[u32]) -> u64 {
        freq.iter().zip(self.len).map(|(f, len)| u64::from(*f) * u64::from(len)).sum()
    }

    /// Whether every symbol that occurs has a code.
    pub(super) fn covers(&self, freq: &[u32]) -> bool {
        freq.iter().zip(self.len).all(|(f, len)| *f == 0 || len > 0)
    }
}

/// Lengths by package-merge where a pair comes before a leaf of the same weight.
fn lengths<const N: usize>(freq: &[u32; N], max: u8) -> [u8; N] {
    let mut leaves = [0u64; N];
    let mut n = 0;
    for (symbol, f) in freq.iter().enumerate() {
        if *f > 0 {
            leaves[n] = u64::from(*f) << 16 | symbol as u64;
            n += 1;
        }
    }
    let leaves = leaves.get_mut(..n).unwrap_or_default();
    let mut len = [0; N];
    let symbol = |leaf: &u64| (leaf & 0xffff) as usize;
    if n <= 2 {
        for leaf in leaves {
            len[symbol(leaf)] = 1;
        }
        return len;
    }
    leaves.sort_unstable();
    let counts = unlimited(leaves, max).unwrap_or_else(|| limited(leaves, max));
    for (i, leaf) in leaves.iter().enumerate() {
        len[symbol(leaf)] = counts.iter().filter(|c| usize::from(**c) > i).count() as u8;
    }
    len
}

/// Merges leaves and pairs of `below` into a list of at most `want` items: their weights, and how many of the first
/// items are leaves.
fn merge(leaves: &[u64], below: &[u64], want: usize, weight: &mut [u64; ITEMS], is: &mut [u16; ITEMS]) -> usize {
    let (mut leaf, mut pair, mut at) = (0, 0, 0);
    while at < want {
        let single = leaves.get(leaf).map_or(u64::MAX, |l| l >> 16);
        let double = match below.get(pair..pair + 2) {
            Some(&[a, b]) => a + b,
            _ => u64::MAX,
        };
        if single == u64::MAX && double == u64::MAX {
            break;
        }
        if double <= single {
            weight[at] = double;
            pair += 2;
        } else {
            weight[at] = single;
            leaf += 1;
        }
        at += 1;
        is[at] = leaf as u16;
    }
    at
}

/// How many leaves are at least 1, 2, 3 ... deep, with `max` lists.
fn limited(leaves: &[u64], max: u8) -> [u16; 16] {
    let want = 2 * leaves.len() - 2;
    let levels = usize::from(max).min(15);
    let mut is = [[0u16; ITEMS]; 16];
    let mut weight = [0u64; ITEMS];
    let mut size = 0;
    for level in is.iter_mut().take(levels) {
        let below = weight;
        size = merge(leaves, below.get(..size).unwrap_or_default(), want, &mut weight, level);
    }
    let mut counts = [0u16; 16];
    let mut take = want;
    for (level, count) in is.iter().take(levels).rev().zip(&mut counts) {
        *count = level[take.min(ITEMS - 1)];
        take = 2 * (take - usize::from(*count));
    }
    counts
}

/// The same when no leaf is deeper than `max`: then all lists that matter are beginnings of one, which is its own
/// merge of leaves and pairs; that is Huffman's algorithm with two queues.
fn unlimited(leaves: &[u64], max: u8) -> Option<[u16; 16]> {
    let want = 2 * leaves.len() - 2;
    let mut weight = [0u64; ITEMS];
    let mut is = [0u16; ITEMS];
    let (mut leaf, mut pair) = (0, 0);
    for at in 0..want.min(ITEMS - 1) {
        let single = leaves.get(leaf).map_or(u64::MAX, |l| l >> 16);
        let double = if pair + 2 <= at { weight[pair] + weight[pair + 1] } else { u64::MAX };
        if double <= single {
            weight[at] = double;
            pair += 2;
        } else {
            weight[at] = single;
            leaf += 1;
        }
        is[at + 1] = leaf as u16;
    }
    let mut counts = [0u16; 16];
    let mut take = want;
    for count in counts.iter_mut().take(usize::from(max)) {
        *count = is[take.min(ITEMS - 1)];
        take = 2 * (take - usize::from(*count));
    }
    (take == 0).then_some(counts)
}

/// Order of the code-length code's lengths in a header.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The head of a dynamic block, ready to be written.
pub(super) struct Head {
    lits: usize,
    dists: usize,
    used: usize,
    /// Symbols of the code-length code and the value of their extra bits.
    parts: Vec<(u8, u8)>,
    code: Code<19>,
    /// Its size in bits, block type included.
    pub(super) size: u64,
}

/// Extra bits of a symbol of the code-length code.
const fn extra(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

impl Head {
    /// The head for the first `lits` and `dists` lengths.
    pub(super) fn new(lit: &[u8], dist: &[u8]) -> Self {
        let mut parts = Vec::with_capacity(lit.len() + dist.len());
        let mut lens = lit.iter().chain(dist).copied().peekable();
        while let Some(value) = lens.next() {
            let mut left = 1;
            while lens.next_if_eq(&value).is_some() {
                left += 1;
            }
            run(value, left, &mut parts);
        }
        let mut freq = [0u32; 19];
        for (symbol, _) in &parts {
            freq[usize::from(*symbol)] += 1;
        }
        let code = Code::of(&freq, 7);
        let used = ORDER.iter().rposition(|s| code.len[*s] > 0).map_or(4, |last| (last + 1).max(4));
        let bits: u64 = parts.iter().map(|(s, _)| u64::from(code.len[usize::from(*s)]) + u64::from(extra(*s))).sum();
        let size = 17 + 3 * used as u64 + bits;
        Head { lits: lit.len(), dists: dist.len(), used, parts, code, size }
    }

    /// Writes it as the beginning of a block that is not the last.
    pub(super) fn write(&self, bits: &mut Bits) {
        let mut pen = bits.pen(self.parts.len() * 2 + 32);
        pen.put(4, 3);
        pen.put(self.lits as u64 - 257, 5);
        pen.put(self.dists as u64 - 1, 5);
        pen.put(self.used as u64 - 4, 4);
        for symbol in &ORDER[..self.used] {
            pen.put(u64::from(self.code.len[*symbol]), 3);
        }
        for (symbol, value) in &self.parts {
            let at = usize::from(*symbol);
            let len = u32::from(self.code.len[at]);
            pen.put(u64::from(self.code.bits[at]) | u64::from(*value) << len, len + extra(*symbol));
        }
        let state = pen.lift();
        bits.resume(state);
    }
}

/// `left` times the length `value` as symbols of the code-length code.
fn run(value: u8, mut left: usize, parts: &mut Vec<(u8, u8)>) {
    if value == 0 {
        while left >= 11 {
            let part = left.min(138);
            parts.push((18, (part - 11) as u8));
            left -= part;
        }
        if left >= 3 {
            parts.push((17, (left - 3) as u8));
            left = 0;
        }
    } else {
        parts.push((value, 0));
        left -= 1;
        while left >= 3 {
            let part = left.min(6);
            parts.push((16, (part - 3) as u8));
            left -= part;
        }
    }
    for _ in 0..left {
        parts.push((value, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(freq: &[u32], max: u8) -> Vec<u8> {
        let mut all = [0; 286];
        all[..freq.len()].copy_from_slice(freq);
        lengths(&all, max)[..freq.len()].to_vec()
    }

    /// MB-ENC-06.
    #[test]
    fn of_equal_weights_the_pair_comes_first() {
        assert_eq!(lens(&[1, 1, 2], 15), [2, 2, 1]);
        // The pair of 1 and 1 before the leaves of 2: deep, not flat.
        assert_eq!(lens(&[1, 1, 2, 2], 15), [3, 3, 2, 1]);
        assert_eq!(lens(&[1, 1, 2, 2, 4], 15), [4, 4, 3, 2, 1]);
        assert_eq!(lens(&[1, 1, 2, 2, 4], 3), [3, 3, 3, 3, 1]);
        assert_eq!(lens(&[], 15), [0u8; 0]);
        assert_eq!(lens(&[0, 7], 15), [0, 1]);
        assert_eq!(lens(&[9, 0, 7], 15), [1, 0, 1]);
    }

    /// MB-ENC-06.
    #[test]
    fn no_code_is_longer_than_its_limit() {
        let mut fibonacci = vec![1u32, 1];
        for i in 2..22 {
            fibonacci.push(fibonacci[i - 1] + fibonacci[i - 2]);
        }
        for (max, n) in [(15u8, 16usize), (15, 17), (15, 22), (7, 8), (7, 19)] {
            let all = lens(&fibonacci[..n], max);
            assert_eq!(all.iter().max(), Some(&(n as u8 - 1).min(max)), "{n}");
            let sum: u32 = all.iter().map(|l| 1 << (16 - l)).sum();
            assert_eq!(sum, 1 << 16);
        }
    }

    /// MB-ENC-06: the quick way is the slow one wherever it applies.
    #[test]
    fn two_queues_give_what_package_merge_gives() {
        let mut state = 7u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut applied = 0;
        for round in 0..4000 {
            let n = 3 + next() % 284;
            let spread = [3, 10, 200, 60_000][round % 4];
            let mut leaves: Vec<u64> = (0..n).map(|s| (1 + next() % spread / (1 + next() % 50)) << 16 | s).collect();
            leaves.sort_unstable();
            for max in [15, 9] {
                if let Some(quick) = unlimited(&leaves, max) {
                    assert_eq!(quick, limited(&leaves, max));
                    applied += 1;
                }
            }
        }
        assert!(applied > 4000, "{applied}");
    }

    /// MB-ENC-06: runs of lengths.
    #[test]
    fn runs_are_written_with_the_longest_symbols_first() {
        let parts = |value: u8, n: usize| {
            let mut parts = Vec::new();
            run(value, n, &mut parts);
            parts
        };
        assert_eq!(parts(0, 2), [(0, 0), (0, 0)]);
        assert_eq!(parts(0, 3), [(17, 0)]);
        assert_eq!(parts(0, 10), [(17, 7)]);
        assert_eq!(parts(0, 11), [(18, 0)]);
        assert_eq!(parts(0, 140), [(18, 127), (0, 0), (0, 0)]);
        assert_eq!(parts(0, 149), [(18, 127), (18, 0)]);
        assert_eq!(parts(5, 3), [(5, 0), (5, 0), (5, 0)]);
        assert_eq!(parts(5, 9), [(5, 0), (16, 3), (5, 0), (5, 0)]);
        assert_eq!(parts(5, 10), [(5, 0), (16, 3), (16, 0)]);
        // Runs cross from one code to the other.
        let head = Head::new(&[8; 257], &[8; 3]);
        assert_eq!(head.parts.iter().map(|(s, _)| u32::from(*s)).sum::<u32>(), 8 + 43 * 16 + 8);
    }
}
