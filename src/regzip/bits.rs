//! Bits, least significant first, and the bytes that they become.

/// Room that [`Bits::put`] needs behind the bytes that are done.
const SLACK: usize = 16;

/// A growing row of bits.
#[derive(Default)]
pub(super) struct Bits {
    out: Vec<u8>,
    done: usize,
    held: u64,
    count: u32,
}

/// Bits in registers while many are written; made by [`Bits::pen`].
pub(super) struct Pen<'a> {
    out: &'a mut [u8],
    done: usize,
    held: u64,
    count: u32,
}

impl Pen<'_> {
    /// Adds `count` bits, at most 48 at once.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << (self.count & 63);
        self.count = self.count.wrapping_add(count) & 63;
        if let Some(to) = self.out.get_mut(self.done..self.done.wrapping_add(8)) {
            to.copy_from_slice(&self.held.to_le_bytes());
        }
        let whole = self.count & 56;
        self.done = self.done.wrapping_add((whole >> 3) as usize);
        self.held >>= whole;
        self.count &= 7;
    }

    /// What the row of bits needs to know afterwards.
    pub(super) fn lift(self) -> (usize, u64, u32) {
        (self.done, self.held, self.count)
    }
}

impl Bits {
    /// Makes room for `bytes` more and gives a pen.
    pub(super) fn pen(&mut self, bytes: usize) -> Pen<'_> {
        let needed = self.done + bytes + SLACK;
        if self.out.len() < needed {
            self.out.resize(needed, 0);
        }
        Pen { out: &mut self.out, done: self.done, held: self.held, count: self.count }
    }

    /// Takes over what a pen wrote.
    pub(super) fn resume(&mut self, (done, held, count): (usize, u64, u32)) {
        (self.done, self.held, self.count) = (done, held, count);
    }

    /// Adds `count` bits, at most 48.
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        let mut pen = self.pen(8);
        pen.put(bits, count);
        let state = pen.lift();
        self.resume(state);
    }

    /// Adds zero bits up to the end of the byte.
    pub(super) fn align(&mut self) {
        let rest = (8 - self.count) & 7;
        self.put(0, rest);
    }

    /// Adds whole bytes; the row is at the end of a byte.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.out.truncate(self.done);
        self.out.extend_from_slice(bytes);
        self.done = self.out.len();
    }

    /// A stored block that is not the last: its head and its bytes.
    pub(super) fn stored(&mut self, bytes: &[u8]) {
        self.put(0, 3);
        self.align();
        let n = bytes.len() as u64 & 0xffff;
        self.put(n | ((n ^ 0xffff) << 16), 32);
        self.bytes(bytes);
    }

    /// The whole bytes so far.
    pub(super) fn whole(&self) -> &[u8] {
        self.out.get(..self.done).unwrap_or_default()
    }

    /// Forgets the whole bytes so far; the bits of a byte that is not whole stay.
    pub(super) fn clear(&mut self) {
        self.done = 0;
    }
}
