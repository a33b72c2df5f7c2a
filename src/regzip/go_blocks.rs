//! Blocks as Go until 1.26 writes them (MB-ENC-08).

use super::bits::Bits;
use super::huffman::{Code, Head};
use super::symbols::{END, Tokens};
use super::write::{Counts, FIXED_DIST, FIXED_LIT, end, tokens as put};

/// The end of the stream: an empty stored block that is the last.
pub(super) fn finish(bits: &mut Bits) {
    bits.put(1, 3);
    bits.align();
    bits.put(0xffff_0000, 32);
}

/// A block at level 6; `bytes` when it could be stored.
pub(super) fn tokens(bits: &mut Bits, found: &Tokens, bytes: Option<&[u8]>) {
    let mut counts = Counts::of(found);
    counts.lit[END] = 1;
    let (lits, dists) = counts.trim();
    let lit = Code::of(&counts.lit, 15);
    let dist = Code::of(&counts.dist, 15);
    let head = Head::new(&lit.len[..lits], &dist.len[..dists]);
    let extra = if bytes.is_some() { counts.extra() } else { 0 };
    let fixed = 3 + counts.fixed() + extra;
    let dynamic = head.size + lit.cost(&counts.lit) + dist.cost(&counts.dist) + extra;
    if let Some(bytes) = bytes
        && (bytes.len() as u64 + 5) * 8 < fixed.min(dynamic)
    {
        return bits.stored(bytes);
    }
    if dynamic < fixed {
        head.write(bits);
        put(bits, found, &lit, &dist);
        end(bits, &lit);
    } else {
        bits.put(2, 3);
        put(bits, found, &FIXED_LIT, &FIXED_DIST);
        end(bits, &FIXED_LIT);
    }
}

/// A chunk at level 1 by its tokens, or by its literals alone when it has no matches.
pub(super) fn chunk(bits: &mut Bits, found: &Tokens, bytes: &[u8]) {
    let mut counts = Counts::of(found);
    counts.lit[END] = 1;
    let (lits, dists) = counts.trim();
    let lit = Code::of(&counts.lit, 15);
    let dist = Code::of(&counts.dist, 15);
    let head = Head::new(&lit.len[..lits], &dist.len[..dists]);
    let size = head.size + lit.cost(&counts.lit) + dist.cost(&counts.dist);
    if (bytes.len() as u64 + 5) * 8 < size + (size >> 4) {
        return bits.stored(bytes);
    }
    head.write(bits);
    put(bits, found, &lit, &dist);
    end(bits, &lit);
}
