//! Finding matches as klauspost and Go from 1.27 on do at levels 1, 5 and 6 (MB-ENC-03).
//!
//! Positions are indexes of a buffer whose content begins at 32,768 or later, or whose first 32,768 bytes were seen
//! before. So the entry 0, which stands for "never", is always too far away.

use super::symbols::Tokens;

/// Entries of each table.
const TABLE: usize = 1 << 15;
/// The first distance that is too large.
pub(super) const FAR: usize = 32_768;

/// Bits of an entry that are a position. Those above are a tag of the three bytes there (levels 5 and 6): so entries are
/// compared without reading what they point to, which is seldom at hand.
const PLACE: u32 = PLACES as u32 - 1;

/// The newest position for each hash of a short piece, and the two newest for each hash of seven bytes; with tags.
pub(super) struct Tables {
    short: Box<[u32; TABLE]>,
    long: Box<[u64; TABLE]>,
}

/// Places in a buffer: a power of two, more than 32 KiB, 16 KiB and 1 MiB together.
const PLACES: usize = 1 << 21;
/// What encoders hold of their input. Behind the last place there is room for one more read.
pub(super) type Buffer = [u8; PLACES + 8];

/// An empty buffer.
pub(super) fn buffer() -> Box<Buffer> {
    // Boxed without passing the stack; pages that are never used cost nothing.
    vec![0u8; PLACES + 8].into_boxed_slice().try_into().unwrap_or_else(|_| Box::new([0; PLACES + 8]))
}

/// A chunk to be searched in the buffer.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    /// The buffer.
    pub(super) buf: &'a Buffer,
    /// Index of the first byte that was ever known, or 0 once that is long ago.
    pub(super) first: usize,
    /// Where the chunk begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// The four bytes at a place. (The mask changes nothing: it shows the compiler that the place exists.)
#[inline(always)]
pub(super) fn u32_at(buf: &Buffer, at: usize) -> u32 {
    let at = at & (PLACES - 1);
    u32::from_le_bytes([buf[at], buf[at + 1], buf[at + 2], buf[at + 3]])
}

/// The eight bytes at a place.
#[inline(always)]
pub(super) fn u64_at(buf: &Buffer, at: usize) -> u64 {
    let at = at & (PLACES - 1);
    buf[at..at + 8].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The byte at a place.
#[inline(always)]
pub(super) fn byte_at(buf: &Buffer, at: usize) -> u8 {
    buf[at & (PLACES - 1)]
}

/// How many bytes agree from `s` and from the earlier `t` on, up to `end`.
#[inline(always)]
pub(super) fn agree(buf: &Buffer, s: usize, t: usize, end: usize) -> usize {
    let mut n = 0usize;
    while s.wrapping_add(n).wrapping_add(8) <= end {
        let differ = u64_at(buf, s.wrapping_add(n)) ^ u64_at(buf, t.wrapping_add(n));
        if differ != 0 {
            return n + (differ.trailing_zeros() >> 3) as usize;
        }
        n = n.wrapping_add(8);
    }
    while s.wrapping_add(n) < end && byte_at(buf, s.wrapping_add(n)) == byte_at(buf, t.wrapping_add(n)) {
        n = n.wrapping_add(1);
    }
    n
}

/// The same, at most 254.
#[inline(always)]
fn agree_254(buf: &Buffer, s: usize, t: usize, end: usize) -> usize {
    agree(buf, s, t, end.min(s.wrapping_add(254)))
}

/// The product that is the hash of four bytes by its 15 highest bits. Its 24 lowest depend on three bytes alone.
#[inline(always)]
fn product(v: u64) -> u32 {
    (v as u32).wrapping_mul(2_654_435_761)
}

#[inline(always)]
fn h4(product: u32) -> usize {
    (product >> 17) as usize
}

/// An entry: a position, and a tag of the three bytes there.
#[inline(always)]
fn tagged(product: u32, at: usize) -> u32 {
    product << 8 & !PLACE | at as u32
}

#[inline(always)]
fn entry(v: u64, at: usize) -> u32 {
    tagged(product(v), at)
}

/// How far the entry `old` lies before `new`; [`FAR`] or more if that is too far or the tags differ. (Two tags differ by
/// 2,097,152 or more. What lies between two positions makes that up to less than `FAR` only if the newer one is below
/// 32,768, which it never is.)
#[inline(always)]
fn before(new: u32, old: u32) -> u32 {
    new.wrapping_sub(old)
}

/// Whether the entry `old` is near enough before `new` and has the same tag.
#[inline(always)]
fn alike(new: u32, old: u32) -> bool {
    near(before(new, old))
}

#[inline(always)]
fn near(distance: u32) -> bool {
    distance < FAR as u32
}

#[inline(always)]
fn h5(v: u64) -> usize {
    ((v << 24).wrapping_mul(889_523_592_379) >> 49) as usize
}

#[inline(always)]
fn h7(v: u64) -> usize {
    ((v << 8).wrapping_mul(58_295_818_150_454_627) >> 49) as usize
}

/// The position of an entry.
#[inline(always)]
fn place(entry: u32) -> usize {
    (entry & PLACE) as usize
}

/// The newest entry of a pair, and the one before.
#[inline(always)]
fn halves(pair: u64) -> (u32, u32) {
    (pair as u32, (pair >> 32) as u32)
}

/// Whether the entry `old` is near enough before `new` and the four bytes there are `v`.
#[inline(always)]
fn hit(buf: &Buffer, new: u32, old: u32, v: u64) -> bool {
    alike(new, old) && u32_at(buf, place(old)) == v as u32
}

/// Bytes before both that agree too; not before `emit`, not before the first byte.
#[inline]
fn back(chunk: Chunk<'_>, emit: usize, s: &mut usize, t: &mut usize, l: &mut usize) {
    while *t > chunk.first && *s > emit && byte_at(chunk.buf, *t - 1) == byte_at(chunk.buf, *s - 1) {
        *s -= 1;
        *t -= 1;
        *l += 1;
    }
}

impl Tables {
    pub(super) fn new() -> Self {
        // Boxed without passing the stack.
        let short = vec![0u32; TABLE].into_boxed_slice();
        let long = vec![0u64; TABLE].into_boxed_slice();
        Self {
            short: short.try_into().unwrap_or_else(|_| Box::new([0; TABLE])),
            long: long.try_into().unwrap_or_else(|_| Box::new([0; TABLE])),
        }
    }

    pub(super) fn clear(&mut self) {
        self.short.fill(0);
        self.long.fill(0);
    }

    /// The buffer was moved down by `by`.
    pub(super) fn shift(&mut self, by: usize) {
        let by = by as u32;
        let moved = |entry: u32| entry & !PLACE | (entry & PLACE).saturating_sub(by);
        for entry in self.short.iter_mut() {
            *entry = moved(*entry);
        }
        for pair in self.long.iter_mut() {
            let (newest, older) = halves(*pair);
            *pair = u64::from(moved(older)) << 32 | u64::from(moved(newest));
        }
    }

    #[inline(always)]
    fn put_short(&mut self, v: u64, at: usize) {
        let product = product(v);
        self.short[h4(product)] = tagged(product, at);
    }

    #[inline(always)]
    fn put_long(&mut self, v: u64, at: usize) {
        let pair = &mut self.long[h7(v)];
        *pair = *pair << 32 | u64::from(entry(v, at));
    }

    /// Finds matches at level 5, or 6 when `SIX`.
    pub(super) fn levels_5_6<const SIX: bool>(&mut self, chunk: Chunk<'_>, found: &mut Tokens) {
        let Chunk { buf, first, start, end } = chunk;
        let shift = if SIX { 7 } else { 6 };
        let (mut s, mut emit, mut rep) = (start, start, 1);
        if end - start < 13 {
            found.end(buf.get(start..end).unwrap_or_default());
            return;
        }
        found.room(end - start);
        let limit = end - 11;
        let mut cv = u64_at(buf, s);
        'chunk: loop {
            let mut next = s;
            let (mut t, mut l);
            loop {
                s = next;
                next = s.wrapping_add(1).wrapping_add(s.wrapping_sub(emit) >> shift);
                if next > limit {
                    break 'chunk;
                }
                let product = product(cv);
                let (at4, at7, new) = (h4(product), h7(cv), tagged(product, s));
                let c = self.short[at4];
                let pair = self.long[at7];
                let (e, older) = halves(pair);
                let nv = u64_at(buf, next);
                self.short[at4] = new;
                self.long[at7] = pair << 32 | u64::from(new);
                // One test for the usual case that nothing agrees.
                let least = before(new, c).min(before(new, e)).min(before(new, older));
                if !near(least) {
                    cv = nv;
                    continue;
                }
                if s.wrapping_sub(place(e)) < FAR {
                    if hit(buf, new, e, cv) {
                        self.put_short(nv, next);
                        self.put_long(nv, next);
                        (t, l) = (place(e), 0);
                        if hit(buf, new, older, cv) {
                            l = agree_254(buf, s + 4, place(e) + 4, end) + 4;
                            let second = agree_254(buf, s + 4, place(older) + 4, end) + 4;
                            if second > l {
                                (t, l) = (place(older), second);
                            }
                        }
                        break;
                    }
                    if hit(buf, new, older, cv) {
                        (t, l) = (place(older), 0);
                        self.put_short(nv, next);
                        self.put_long(nv, next);
                        break;
                    }
                }
                if !hit(buf, new, c, cv) {
                    cv = nv;
                    continue;
                }
                let c = place(c);
                (t, l) = (c, agree_254(buf, s + 4, c + 4, end) + 4);
                let (f, older) = halves(self.long[h7(nv)]);
                self.put_short(nv, next);
                self.put_long(nv, next);
                if SIX {
                    let r = s + 1 - rep;
                    if u32_at(buf, r) == (cv >> 8) as u32 {
                        let m = agree_254(buf, s + 5, r + 4, end) + 4;
                        if m > l {
                            (t, l) = (r, m);
                            s += 1;
                            break;
                        }
                    }
                }
                if next.wrapping_sub(place(f)) < FAR {
                    let new = entry(nv, next);
                    if hit(buf, new, f, nv) {
                        let m = agree_254(buf, next + 4, place(f) + 4, end) + 4;
                        if m > l {
                            (t, l, s) = (place(f), m, next);
                            if !SIX {
                                break;
                            }
                        }
                    }
                    if hit(buf, new, older, nv) {
                        let m = agree_254(buf, next + 4, place(older) + 4, end) + 4;
                        if m > l {
                            (t, l, s) = (place(older), m, next);
                        }
                    }
                }
                break;
            }
            if l == 0 {
                l = agree(buf, s + 4, t + 4, end) + 4;
            } else if l == 258 {
                l += agree(buf, s + 258, t + 258, end);
            }
            // A longer one may end further on.
            let ahead = s + l;
            if ahead < limit && (SIX || l < 30) {
                let v = u64_at(buf, ahead);
                let (g, older) = halves(self.long[h7(v)]);
                let s2 = s + 2;
                let mut better = |from: usize| {
                    let t2 = (from + 2).wrapping_sub(l);
                    let distance = s2.wrapping_sub(t2);
                    if from + 2 >= first + l && distance > 0 && distance < FAR {
                        let m = agree(buf, s2, t2, end);
                        if m > l {
                            (t, l, s) = (t2, m, s2);
                            return true;
                        }
                    }
                    false
                };
                // What is longer has the three bytes that the tag is of.
                let new = entry(v, ahead);
                let longer = alike(new, g) && better(place(g));
                // At level 6 also the one before, unless the newest is too far away.
                if SIX && ahead < place(g) + FAR && (longer || alike(new, older)) {
                    better(place(older));
                }
            }
            back(chunk, emit, &mut s, &mut t, &mut l);
            found.before(buf.get(emit..).unwrap_or_default(), s - emit);
            found.push(s - emit, l, s - t);
            rep = s - t;
            s += l;
            emit = s;
            if next >= s {
                s = next + 1;
            }
            if s >= limit {
                if SIX {
                    let mut i = next + 1;
                    while i + 8 < end {
                        let v = u64_at(buf, i);
                        self.put_short(v, i);
                        self.put_long(v, i);
                        i += 2;
                    }
                }
                break;
            }
            if SIX {
                let mut i = next + 1;
                while i < s - 1 {
                    let v = u64_at(buf, i);
                    self.put_short(v, i);
                    self.put_long(v, i);
                    self.put_long(v >> 8, i + 1);
                    i += 2;
                }
                cv = u64_at(buf, s);
            } else {
                let mut i = s + 1 - l;
                if i < s - 1 {
                    let v = u64_at(buf, i);
                    self.put_short(v, i);
                    self.put_long(v, i);
                    self.put_long(v >> 8, i + 1);
                    self.put_short(v >> 16, i + 2);
                    i += 4;
                    while i < s - 1 {
                        let v = u64_at(buf, i);
                        self.put_long(v, i);
                        self.put_short(v >> 8, i + 1);
                        i += 3;
                    }
                }
                let x = u64_at(buf, s - 1);
                self.put_short(x, s - 1);
                self.put_long(x, s - 1);
                cv = x >> 8;
            }
        }
        found.end(buf.get(emit..end).unwrap_or_default());
    }

    /// Finds matches at level 1. Its entries have no tags.
    pub(super) fn level_1(&mut self, chunk: Chunk<'_>, found: &mut Tokens) {
        let Chunk { buf, start, end, .. } = chunk;
        let (mut s, mut emit) = (start, start);
        if end - start < 13 {
            found.end(buf.get(start..end).unwrap_or_default());
            return;
        }
        found.room(end - start);
        let limit = end - 11;
        let mut cv = u64_at(buf, s);
        'chunk: loop {
            let mut t;
            let mut next;
            loop {
                let at = h5(cv);
                let c = self.short[at];
                next = s.wrapping_add(2).wrapping_add(s.wrapping_sub(emit) >> 5);
                if next > limit {
                    break 'chunk;
                }
                let w = u64_at(buf, next);
                self.short[at] = s as u32;
                let h = h5(w);
                if hit(buf, s as u32, c, cv) {
                    self.short[h] = next as u32;
                    t = place(c);
                    break;
                }
                (cv, s) = (w, next);
                next = next.wrapping_add(1);
                let c = self.short[h];
                self.short[h] = s as u32;
                if hit(buf, s as u32, c, cv) {
                    self.short[h] = next as u32;
                    t = place(c);
                    break;
                }
                (cv, s) = (w >> 8, next);
            }
            loop {
                let mut l = agree(buf, s + 4, t + 4, end) + 4;
                back(chunk, emit, &mut s, &mut t, &mut l);
                found.before(buf.get(emit..).unwrap_or_default(), s - emit);
                found.push(s - emit, l, s - t);
                s += l;
                emit = s;
                if next >= s {
                    s = next + 1;
                }
                if s >= limit {
                    if s + l + 8 < end {
                        self.short[h5(u64_at(buf, s))] = s as u32;
                    }
                    break 'chunk;
                }
                let x = u64_at(buf, s - 2);
                self.short[h5(x)] = (s - 2) as u32;
                let x = x >> 16;
                let at = h5(x);
                let c = self.short[at] as usize;
                self.short[at] = s as u32;
                if s - c > FAR || u32_at(buf, c) != x as u32 {
                    cv = x >> 8;
                    s += 1;
                    break;
                }
                t = c;
            }
        }
        found.end(buf.get(emit..end).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regzip::symbols::Seq;

    const START: usize = 70_000;

    /// A buffer of noise, in which so many of the first bytes of the chunk are also at these places.
    fn noise(copies: &[(usize, usize)]) -> Box<Buffer> {
        let mut buf = buffer();
        let mut state = 1u32;
        for byte in buf.iter_mut().take(START + 400) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        for (place, n) in copies {
            buf.copy_within(START..START + n, *place);
            buf[place + n] = !buf[START + n];
        }
        buf
    }

    /// The first match of the chunk. The search looks at 60,000 first, where its first 8 bytes are. What ends further on
    /// is looked for with these two entries.
    fn first_of<const SIX: bool>(buf: &Buffer, ahead: (u32, u32), first: usize) -> Seq {
        let mut tables = Tables::new();
        tables.put_long(u64_at(buf, START), 60_000);
        tables.long[h7(u64_at(buf, START + 8))] = u64::from(ahead.1) << 32 | u64::from(ahead.0);
        let mut found = Tokens::default();
        tables.levels_5_6::<SIX>(Chunk { buf, first, start: START, end: START + 400 }, &mut found);
        found.seqs[0]
    }

    /// The first match of a chunk whose first 100 bytes are also at 40,000; `ahead` are places with the tag of what is
    /// looked for.
    fn first_match<const SIX: bool>(ahead: (usize, usize), first: usize) -> Seq {
        let buf = noise(&[(40_000, 100), (60_000, 8)]);
        let there = |at| entry(u64_at(&buf, START + 8), at);
        first_of::<SIX>(&buf, (there(ahead.0), there(ahead.1)), first)
    }

    /// MB-ENC-03: a match that ends one byte further on shares three bytes with what is looked for, not four.
    #[test]
    fn what_is_longer_by_one_byte_is_found() {
        let buf = noise(&[(40_000, 11), (60_000, 8)]);
        let at = |place| entry(u64_at(&buf, place), place);
        let longer = Seq { run: 0, len: 11, dist: 30_000 };
        assert_eq!(first_of::<false>(&buf, (at(40_008), 0), 0), longer);
        assert_eq!(first_of::<true>(&buf, (at(40_008), 0), 0), longer);
        assert_eq!(first_of::<true>(&buf, (at(60_008), at(40_008)), 0), longer);
    }

    /// MB-ENC-03: the place before is compared by what the newest one gave.
    #[test]
    fn the_place_before_is_tried_with_the_new_length() {
        let buf = noise(&[(40_000, 22), (50_000, 100), (60_000, 8)]);
        let at = |place| entry(u64_at(&buf, place), place);
        let ahead = (at(40_008), at(50_020));
        assert_eq!(first_of::<true>(&buf, ahead, 0), Seq { run: 0, len: 100, dist: 20_000 });
        assert_eq!(first_of::<false>(&buf, ahead, 0), Seq { run: 0, len: 22, dist: 30_000 });
    }

    /// MB-ENC-03.
    #[test]
    fn the_place_before_counts_only_when_the_newest_is_near() {
        let short = Seq { run: 0, len: 8, dist: 10_000 };
        let long = Seq { run: 0, len: 100, dist: 30_000 };
        assert_eq!(first_match::<true>((40_008, 1), 0), long);
        assert_eq!(first_match::<true>((START + 8 - 32_767, 40_008), 0), long);
        assert_eq!(first_match::<true>((START + 8 - 32_768, 40_008), 0), short);
        // Level 5 looks at the newest alone.
        assert_eq!(first_match::<false>((40_008, 1), 0), long);
        assert_eq!(first_match::<false>((START + 8 - 32_767, 40_008), 0), short);
    }

    /// MB-ENC-03.
    #[test]
    fn a_match_may_begin_at_the_first_byte_and_not_before() {
        let from_there = Seq { run: 2, len: 98, dist: 30_000 };
        assert_eq!(first_match::<false>((40_008, 1), 40_002), from_there);
        assert_eq!(first_match::<false>((40_008, 1), 40_003), Seq { run: 0, len: 8, dist: 10_000 });
    }
}
