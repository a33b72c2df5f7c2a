//! Go until 1.26 at level 6: chains of positions with the same hash, and one position of patience (MB-ENC-07).

use std::io::{Result, Write};

use super::bits::Bits;
use super::go_blocks;
use super::search::{Buffer, agree, buffer, byte_at, u32_at};
use super::symbols::Tokens;

const HEADS: usize = 1 << 17;
const WINDOW: usize = 32_768;
/// Bytes that the encoder sees at once.
const SEEN: usize = 2 * WINDOW;
/// What has to be ahead for a step, unless the input ends.
const AHEAD: usize = 262;
/// A block has at most so many tokens.
const TOKENS: usize = 16_384;
/// Bytes in front of the input: so that 0 is never a position.
const FRONT: usize = 8;
/// Room for input.
const ROOM: usize = 16 * WINDOW;

/// An encoder of one stream.
pub(super) struct Lazy {
    head: Box<[u32; HEADS]>,
    prev: Box<[u32; WINDOW]>,
    buf: Box<Buffer>,
    filled: usize,
    bits: Bits,
    found: Tokens,
    /// The first byte that is still seen.
    base: usize,
    /// The present position.
    i: usize,
    /// Where the block began, counted as `i`; below `base` when that is long ago.
    from: usize,
    pending: bool,
    len: usize,
    dist: usize,
}

impl Lazy {
    pub(super) fn new() -> Self {
        let head = vec![0u32; HEADS].into_boxed_slice();
        let prev = vec![0u32; WINDOW].into_boxed_slice();
        Self {
            head: head.try_into().unwrap_or_else(|_| Box::new([0; HEADS])),
            prev: prev.try_into().unwrap_or_else(|_| Box::new([0; WINDOW])),
            buf: buffer(),
            filled: FRONT,
            bits: Bits::default(),
            found: Tokens::default(),
            base: FRONT,
            i: FRONT,
            from: FRONT,
            pending: false,
            len: 3,
            dist: 0,
        }
    }

    /// Takes input and writes what is encoded by now.
    pub(super) fn write(&mut self, mut input: &[u8], out: &mut dyn Write) -> Result<()> {
        while !input.is_empty() {
            let room = FRONT + ROOM - self.filled;
            let (now, later) = input.split_at(input.len().min(room));
            let filled = self.filled + now.len();
            self.buf[self.filled..filled].copy_from_slice(now);
            self.filled = filled;
            input = later;
            while self.filled > self.base + SEEN {
                self.run(self.base + SEEN, false);
                self.slide_window();
                out.write_all(self.bits.whole())?;
                self.bits.clear();
            }
            if self.filled == FRONT + ROOM {
                self.move_down();
            }
        }
        Ok(())
    }

    /// Encodes the rest and ends the stream.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        self.run(self.filled, true);
        go_blocks::finish(&mut self.bits);
        out.write_all(self.bits.whole())
    }

    fn slide_window(&mut self) {
        if self.i - self.base >= SEEN - AHEAD {
            self.base += WINDOW;
        }
    }

    /// Moves the buffer down by whole windows, so that `prev` keeps its places.
    fn move_down(&mut self) {
        let by = (self.base - FRONT) & !(WINDOW - 1);
        self.buf.copy_within(by..self.filled, 0);
        self.filled -= by;
        for at in self.head.iter_mut().chain(self.prev.iter_mut()) {
            *at = at.saturating_sub(by as u32);
        }
        self.base -= by;
        self.i -= by;
        self.from = self.from.saturating_sub(by);
    }

    fn block(&mut self) {
        let bytes = if self.from >= self.base { self.buf.get(self.from..self.i) } else { None };
        let bytes = bytes.filter(|b| b.len() <= 65_535);
        go_blocks::tokens(&mut self.bits, &self.found, bytes);
        self.found.clear();
        self.from = self.i;
    }

    fn literal(&mut self) {
        self.found.end(&[byte_at(&self.buf, self.i - 1)]);
    }

    /// Puts a position into the chains; gives the newest one before it with the same hash.
    #[inline(always)]
    fn insert(&mut self, at: usize) -> usize {
        let v = u32_at(&self.buf, at).swap_bytes();
        let hash = (v.wrapping_mul(0x1e35_a7bd) >> 15) as usize;
        let head = &mut self.head[hash];
        let before = *head;
        self.prev[at & (WINDOW - 1)] = before;
        *head = at as u32;
        before as usize
    }

    /// Encodes up to `end`; `last`: where the input ends.
    fn run(&mut self, end: usize, last: bool) {
        loop {
            let look = end - self.i;
            if look < AHEAD {
                if !last {
                    return;
                }
                if look == 0 {
                    if self.pending {
                        self.literal();
                    }
                    if self.found.count() > 0 {
                        self.block();
                    }
                    return;
                }
            }
            let mut candidate = 0;
            if self.i + 3 < end {
                candidate = self.insert(self.i);
            }
            let (before, at) = (self.len, self.dist);
            (self.len, self.dist) = (3, 0);
            let oldest = self.i.saturating_sub(WINDOW).max(self.base);
            if candidate >= oldest && look > before && before < 16 {
                self.search(candidate, look);
            }
            if before >= 4 && self.len <= before {
                let run = std::mem::take(&mut self.found.tail);
                self.found.push(run, before, at);
                let to = self.i + before - 2;
                for p in self.i + 1..=to {
                    if p + 3 < end {
                        self.insert(p);
                    }
                }
                self.i += before - 1;
                (self.pending, self.len) = (false, 3);
                if self.found.count() == TOKENS {
                    self.block();
                }
            } else {
                if self.pending {
                    self.literal();
                    if self.found.count() == TOKENS {
                        self.block();
                    }
                }
                self.i += 1;
                self.pending = true;
            }
        }
    }

    /// Looks for the longest match at the present position.
    fn search(&mut self, mut p: usize, look: usize) {
        let i = self.i;
        let most = look.min(258);
        let enough = most.min(128);
        let oldest = i.saturating_sub(WINDOW).max(self.base);
        let buf = &self.buf;
        let (mut best, mut dist) = (3, 0);
        // The last four bytes of a match that is longer than the best: best is at least 3, and below most.
        let mut last = u32_at(buf, i + best - 3);
        for _ in 0..128 {
            if u32_at(buf, p + best - 3) == last {
                let n = agree(buf, i, p, i + most);
                if n > best && (n > 4 || i - p <= 4096) {
                    (best, dist) = (n, i - p);
                    if n >= enough {
                        break;
                    }
                    last = u32_at(buf, i + best - 3);
                }
            }
            if p + WINDOW == i {
                break;
            }
            p = self.prev[p & (WINDOW - 1)] as usize;
            if p < oldest {
                break;
            }
        }
        (self.len, self.dist) = (best, dist);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many literals, too random for any code.
    fn random(n: usize) -> Tokens {
        let bytes: Vec<u8> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Tokens::of(&bytes)
    }

    /// Whether a block is stored that has 16,000 literals and began so far before `base`.
    fn stored(before: usize) -> bool {
        let mut lazy = Lazy::new();
        lazy.i = FRONT + 4 * WINDOW;
        lazy.base = lazy.i - 16_000;
        lazy.from = lazy.base - before;
        lazy.found = random(16_000);
        lazy.block();
        lazy.bits.whole().first().is_some_and(|b| b & 7 == 0)
    }

    /// MB-ENC-08: only a block whose bytes are all still seen can be stored.
    #[test]
    fn a_block_that_began_before_the_window_is_not_stored() {
        assert!(stored(0));
        assert!(!stored(1));
    }

    /// MB-ENC-08: 65,536 bytes are one too many.
    #[test]
    fn a_block_of_more_than_65535_bytes_is_not_stored() {
        for (n, first) in [(65_535, Some(0)), (65_536, Some(4))] {
            let mut lazy = Lazy::new();
            (lazy.base, lazy.from, lazy.i) = (FRONT, FRONT, FRONT + n);
            // More literals than a block ever has: so that storing is worth it at all.
            lazy.found = random(n);
            lazy.block();
            assert_eq!(lazy.bits.whole().first().map(|b| b & 7), first, "{n}");
        }
    }

    /// MB-ENC-07: the window goes on by half of it, when fewer than 262 bytes are ahead.
    #[test]
    fn the_window_slides_by_half() {
        let mut lazy = Lazy::new();
        lazy.i = FRONT + 65_273;
        lazy.slide_window();
        assert_eq!(lazy.base, FRONT);
        lazy.i += 1;
        lazy.slide_window();
        assert_eq!(lazy.base, FRONT + 32_768);
    }
}
