//! Go until 1.26 at level 1: one table, chunks of 65,535 bytes (MB-ENC-09).

use std::io::{Result, Write};

use super::bits::Bits;
use super::chunked::CHUNK;
use super::go_blocks;
use super::search::{Buffer, FAR, agree, buffer, u32_at, u64_at};
use super::symbols::Tokens;

const ROOM: usize = 8 * CHUNK;

/// An encoder of one stream.
pub(super) struct Fast {
    /// Position and the four bytes there.
    table: Box<[(u32, u32); 1 << 14]>,
    buf: Box<Buffer>,
    filled: usize,
    bits: Bits,
    found: Tokens,
    next: usize,
}

fn hash(v: u32) -> usize {
    (v.wrapping_mul(0x1e35_a7bd) >> 18) as usize
}

impl Fast {
    pub(super) fn new() -> Self {
        // The content begins where "never" (0) is too far away, also for a distance of 32,768.
        let table = vec![(0, 0); 1 << 14].into_boxed_slice();
        Self {
            table: table.try_into().unwrap_or_else(|_| Box::new([(0, 0); 1 << 14])),
            buf: buffer(),
            filled: FAR + 1,
            bits: Bits::default(),
            found: Tokens::default(),
            next: FAR + 1,
        }
    }

    /// Takes input and writes what is encoded by now.
    pub(super) fn write(&mut self, mut input: &[u8], out: &mut dyn Write) -> Result<()> {
        while !input.is_empty() {
            let room = FAR + 1 + ROOM - self.filled;
            let (now, later) = input.split_at(input.len().min(room));
            let filled = self.filled + now.len();
            self.buf[self.filled..filled].copy_from_slice(now);
            self.filled = filled;
            input = later;
            while self.filled - self.next > CHUNK {
                self.chunk(self.next + CHUNK);
                out.write_all(self.bits.whole())?;
                self.bits.clear();
            }
            if self.filled == FAR + 1 + ROOM {
                let by = self.next - FAR - 1;
                self.buf.copy_within(by..self.filled, 0);
                self.filled -= by;
                for (at, _) in self.table.iter_mut() {
                    *at = at.saturating_sub(by as u32);
                }
                self.next = FAR + 1;
            }
        }
        Ok(())
    }

    /// Encodes the rest and ends the stream.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<()> {
        let bytes = self.buf.get(self.next..self.filled).unwrap_or_default();
        match bytes.len() {
            0 => {}
            1..=16 => self.bits.stored(bytes),
            17..128 => {
                go_blocks::chunk(&mut self.bits, &Tokens::of(bytes), bytes);
            }
            _ => self.chunk(self.filled),
        }
        go_blocks::finish(&mut self.bits);
        out.write_all(self.bits.whole())
    }

    fn chunk(&mut self, end: usize) {
        self.search(end);
        let bytes = self.buf.get(self.next..end).unwrap_or_default();
        let n = bytes.len();
        if self.found.count() > n - n / 16 {
            self.found.clear();
            self.found.end(bytes);
        }
        go_blocks::chunk(&mut self.bits, &self.found, bytes);
        self.next = end;
    }

    fn search(&mut self, end: usize) {
        self.found.clear();
        let buf = &self.buf;
        self.found.room(end - self.next);
        let limit = end - 15;
        let (mut s, mut emit) = (self.next, self.next);
        let mut cv = u32_at(buf, s);
        let mut nh = hash(cv);
        'chunk: loop {
            let (mut skip, mut next) = (32, s);
            let mut t;
            loop {
                s = next;
                let step = skip >> 5;
                next = s + step;
                skip += step;
                if next > limit {
                    break 'chunk;
                }
                let (at, value) = self.table[nh];
                let w = u32_at(buf, next);
                self.table[nh] = (s as u32, cv);
                nh = hash(w);
                t = at as usize;
                if s - t <= FAR && value == cv {
                    break;
                }
                cv = w;
            }
            let mut run = s - emit;
            self.found.before(buf.get(emit..).unwrap_or_default(), run);
            loop {
                let l = agree(buf, s + 4, t + 4, end.min(s + 258)) + 4;
                self.found.push(run, l, s - t);
                run = 0;
                s += l;
                emit = s;
                if s >= limit {
                    break 'chunk;
                }
                let x = u64_at(buf, s - 1);
                self.table[hash(x as u32)] = ((s - 1) as u32, x as u32);
                let x = x >> 8;
                let (at, value) = self.table[hash(x as u32)];
                self.table[hash(x as u32)] = (s as u32, x as u32);
                t = at as usize;
                if s - t > FAR || value != x as u32 {
                    cv = (x >> 8) as u32;
                    nh = hash(cv);
                    s += 1;
                    break;
                }
            }
        }
        self.found.end(buf.get(emit..end).unwrap_or_default());
    }
}
