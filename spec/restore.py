#!/usr/bin/env python3
"""restore.py ENTRY MEMBER OUT [--reference FILE] [--digest sha256:HEX]

Restores one blob that a bundle carries encoded, with the Python standard library and the program `zstd`. It shares no
code with the program, but had the same author; the numbers of requirements stand beside what they ask for.

ENTRY: an entry of `blobs` of a carriage, as JSON. MEMBER: the member that holds it. FILE: the uncompressed content of
the reference (a tar file). OUT: where the blob goes. Exit code 1 when anything is not what ENTRY says.
"""
import argparse
import hashlib
import json
import math
import struct
import subprocess
import sys
import zlib

CHUNK, FAR = 65535, 32768
LENGTH_EXTRA = [0] * 8 + [i // 4 for i in range(4, 24)] + [0]
DIST_EXTRA = [0, 0, 0, 0] + [i // 2 for i in range(2, 28)]
LENGTH = {}  # length: symbol, extra bits, their value
n = 3
for i, e in enumerate(LENGTH_EXTRA[:28]):
    for k in range(1 << e):
        LENGTH[n] = (257 + i, e, k)
        n += 1
LENGTH[258] = (285, 0, 0)
DIST_BASE, n = [], 1
for e in DIST_EXTRA:
    DIST_BASE.append(n)
    n += 1 << e
FIXED = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 6
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


def dist_symbol(d):
    top = (d - 1).bit_length() - 1
    return d - 1 if d < 5 else 2 * top + (d - 1 >> top - 1 & 1)


def lengths(freq, limit):
    """MB-ENC-06: package-merge; on equal weight a pair comes before a leaf."""
    leaves = sorted((f, s) for s, f in enumerate(freq) if f)
    out = [0] * len(freq)
    if len(leaves) <= 2:
        for _, s in leaves:
            out[s] = 1
        return out
    lists = [[(f, True) for f, _ in leaves]]
    for _ in range(limit - 1):
        last = lists[-1]
        pairs = [(last[i][0] + last[i + 1][0], False) for i in range(0, len(last) - 1, 2)]
        lists.append(sorted(pairs + lists[0]))  # False (a pair) is below True
    take = 2 * len(leaves) - 2
    for items in reversed(lists):
        count = sum(leaf for _, leaf in items[:take])
        for _, s in leaves[:count]:
            out[s] += 1
        take = 2 * (take - count)
    return out


def codes(lens):
    out, code = {}, 0
    for length in range(1, 16):
        for s, l in enumerate(lens):
            if l == length:
                out[s] = (int(format(code, '0%db' % l)[::-1], 2), l)
                code += 1
        code <<= 1
    return out


def weigh(freq, lens):
    return sum(f * l for f, l in zip(freq, lens))


class Bits:
    def __init__(self):
        self.out, self.held, self.count = bytearray(), 0, 0

    def put(self, value, count):
        self.held |= value << self.count
        self.count += count
        n = self.count // 8
        self.out += (self.held & ((1 << 8 * n) - 1)).to_bytes(n, 'little')
        self.held >>= 8 * n
        self.count -= 8 * n

    def stored(self, data, last=0):
        self.put(last, 3)
        self.put(0, -self.count % 8)
        self.out += struct.pack('<HH', len(data), len(data) ^ 0xffff) + data

    def tokens(self, tokens, lit, dist):
        lit, dist = codes(lit), codes(dist)
        for t in tokens:
            if isinstance(t, int):
                self.put(*lit[t])
            else:
                s, e, v = LENGTH[t[0]]
                self.put(*lit[s])
                self.put(v, e)
                s = dist_symbol(t[1])
                self.put(*dist[s])
                self.put(t[1] - DIST_BASE[s], DIST_EXTRA[s])


class Head:
    """MB-ENC-06: the head of a dynamic block."""
    def __init__(self, lit, dist):
        self.lit, self.dist, self.parts, row = lit, dist, [], list(lit) + list(dist)
        while row:
            v, n = row[0], next((i for i, x in enumerate(row) if x != row[0]), len(row))
            row = row[n:]
            if v == 0:
                while n >= 11:
                    self.parts.append((18, 7, min(n, 138) - 11))
                    n -= min(n, 138)
                if n >= 3:
                    self.parts.append((17, 3, n - 3))
                    n = 0
            else:
                self.parts.append((v, 0, 0))
                n -= 1
                while n >= 3:
                    self.parts.append((16, 2, min(n, 6) - 3))
                    n -= min(n, 6)
            self.parts += [(v, 0, 0)] * n
        freq = [sum(p[0] == s for p in self.parts) for s in range(19)]
        self.lens = lengths(freq, 7)
        self.used = max([4] + [i + 1 for i, s in enumerate(ORDER) if self.lens[s]])
        self.size = 17 + 3 * self.used + sum(self.lens[s] + e for s, e, _ in self.parts)

    def write(self, bits):
        for value, count in ((4, 3), (len(self.lit) - 257, 5), (len(self.dist) - 1, 5), (self.used - 4, 4)):
            bits.put(value, count)
        for s in ORDER[:self.used]:
            bits.put(self.lens[s], 3)
        code = codes(self.lens)
        for s, e, v in self.parts:
            bits.put(*code[s])
            bits.put(v, e)


def count(tokens):
    lit, dist = [0] * 286, [0] * 30
    for t in tokens:
        if isinstance(t, int):
            lit[t] += 1
        else:
            lit[LENGTH[t[0]][0]] += 1
            dist[dist_symbol(t[1])] += 1
    return lit, dist


def extra_bits(lit, dist):
    return weigh(lit[257:], LENGTH_EXTRA) + weigh(dist, DIST_EXTRA)


def trim(lit, dist):
    top = [i for i, f in enumerate(dist) if f]
    if not top:
        dist[0] = 1
    return max(i for i, f in enumerate(lit) if f) + 1, (top or [0])[-1] + 1


def f32(x):
    return struct.unpack('<f', struct.pack('<f', x))[0]


def cost(x):
    """MB-ENC-05. (x is never 0 and never subnormal.)"""
    m, e = math.frexp(x)
    m, e = 2 * m, e + 126
    a = f32(f32(f32(-0.34484843) * m) + f32(2.02466578))
    return min(max(-f32((e - 128) + f32(f32(a * m) - f32(0.67487759))), 1.0), 15.0)


def estimate(lit, dist, total):
    s, inverse = 0.0, f32(1 / total)
    for f in filter(None, lit[:256]):
        s = f32(s + f32(cost(f32(f * inverse)) * f))
    s = f32(s + 15)
    for f in filter(None, lit[257:]):
        s = f32(s + f32(cost(f32(f * inverse)) * f))
    matches = sum(lit[257:])
    if matches:
        inverse = f32(1 / matches)
        for f in filter(None, dist):
            s = f32(s + f32(cost(f32(f * inverse)) * f))
    return int(s) + extra_bits(lit, dist)


class Klauspost:
    """MB-ENC-02 to MB-ENC-05."""
    def __init__(self, family, level, bits):
        self.a, self.level, self.bits = family == 'klauspost-a', level, bits
        self.S, self.L, self.open, self.litonly, self.lit, self.dist = {}, {}, 0, False, [], []

    def run(self, data, start):
        """Encodes `data` from `start` on; what is before is the dictionary. The last chunk is synchronised."""
        if start:
            self.find(data, 0, start)
        at = start
        while at < len(data):
            end = min(at + CHUNK, len(data))
            self.chunk(data, at, end, end == len(data))
            at = end

    def chunk(self, data, at, end, last):
        n = end - at
        if last and n < 128:
            return self.stored(data[at:end]) if n <= 32 else self.literals(data[at:end], True)
        tokens = self.find(data, at, end)
        if all(isinstance(t, int) for t in tokens):
            self.stored(data[at:end])
        elif len(tokens) > n - n // 16:
            self.literals(data[at:end], last)
        else:
            self.block(tokens, data[at:end], last)

    def close(self):
        if self.open:
            self.bits.tokens([256], self.lit, [])
            self.open = 0

    def stored(self, data):
        self.close()
        self.bits.stored(data)

    def fixed(self, tokens):
        self.close()
        self.bits.put(2, 3)
        self.bits.tokens(tokens + [256], FIXED, [5] * 30)

    def block(self, tokens, data, sync):
        (F, D), T = count(tokens), len(tokens) + sync
        F[256] = int(sync)
        if self.litonly and self.open:
            self.close()
            self.litonly = False
        if self.open and not all(l or not f for f, l in zip(F + D, self.lit + self.dist)):
            self.close()
        if self.a and not sync:
            HL, HD = 286, 30
        else:
            F[256] = 1
            HL, HD = trim(F, D)
        X, stored = extra_bits(F, D), (len(data) + 5) * 8
        fixed = 3 + weigh(F, FIXED) + 5 * sum(D) + X
        if self.open:
            new = self.open + estimate(F, D, T)
            new = new + self.lit[256] + (new >> 7)
            size = reuse = weigh(F, self.lit) + weigh(D, self.dist) + X
            if new < reuse:
                self.close()
                size = new
            if T < 250 and fixed + 7 < size:
                return self.stored(data) if stored <= size else self.fixed(tokens)
            if stored <= size:
                return self.stored(data)
        if not self.open:
            F[256] = 1
            self.lit, self.dist = lengths(F, 15), lengths(D, 15)
            head = Head(self.lit[:HL], self.dist[:HD])
            size = head.size + weigh(F, self.lit) + weigh(D, self.dist) + X
            fixed = 3 + weigh(F, FIXED) + 5 * sum(D) + X
            if T < 250 and fixed <= size:
                return self.stored(data) if stored <= fixed else self.fixed(tokens)
            if stored <= size:
                return self.stored(data)
            head.write(self.bits)
            self.open, self.litonly = (0 if sync else head.size), False
        self.bits.tokens(tokens + [256] * sync, self.lit, self.dist)
        if sync:
            self.open = 0

    def literals(self, data, sync):
        F, n = count(data)[0], len(data)
        if n > 1024 and sum((256 * f - n) ** 2 for f in F[:256]) < 2 * n * 65536:
            return self.stored(data)
        F[256] = 1
        tmp = lengths(F, 15)
        est = weigh(F, tmp) + (self.open or 560)
        est += est >> 7
        if (n + 5) * 8 <= est:
            return self.stored(data)
        if self.open:
            F[256] = 0
            if any(f and not l for f, l in zip(F, self.lit)) or est < weigh(F, self.lit):
                self.close()
        if not self.open:
            self.lit, head = tmp, Head(tmp[:257], [1])
            head.write(self.bits)
            self.litonly, self.open = True, head.size
        self.bits.tokens(list(data) + [256] * sync, self.lit, self.dist)
        if sync:
            self.open, self.litonly = 0, False

    def find(self, d, start, E):
        """MB-ENC-03."""
        if E - start < 13:
            return list(d[start:E])
        return (self.find_1 if self.level == 1 else self.find_56)(d, start, E)

    def find_56(self, d, start, E):
        S, L, six, limit, out = self.S, self.L, self.level == 6, E - 11, []
        never = -(1 << 40)

        def u4(p):
            return d[p:p + 4]

        def h4(p):
            return int.from_bytes(d[p:p + 4], 'little') * 2654435761 % (1 << 32) >> 17

        def h7(p):
            return int.from_bytes(d[p:p + 7], 'little') * 256 * 58295818150454627 % (1 << 64) >> 49

        def put(p):
            S[h4(p)] = p
            put7(p)

        def put7(p):
            h = h7(p)
            L[h] = (p, L.get(h, (never, never))[0])

        def near(a, b):
            return a - b < FAR and u4(b) == u4(a)

        s = emit = start
        rep = 1
        while True:
            nxt, l = s, 0
            while True:
                s = nxt
                nxt = s + 1 + ((s - emit) >> (7 if six else 6))
                if nxt > limit:
                    return out + list(d[emit:E])
                c, e = S.get(h4(s), never), L.get(h7(s), (never, never))
                put(s)
                if s - e[0] < FAR:
                    if u4(e[0]) == u4(s):
                        put(nxt)
                        t = e[0]
                        if near(s, e[1]):
                            l, l2 = agree(d, s, e[0], E, 258), agree(d, s, e[1], E, 258)
                            if l2 > l:
                                t, l = e[1], l2
                        break
                    if near(s, e[1]):
                        t = e[1]
                        put(nxt)
                        break
                if near(s, c):
                    t, l, f = c, agree(d, s, c, E, 258), L.get(h7(nxt), (never, never))
                    put(nxt)
                    if six and u4(s + 1 - rep) == u4(s + 1):
                        m = agree(d, s + 1, s + 1 - rep, E, 258)
                        if m > l:
                            t, l, s = s + 1 - rep, m, s + 1
                            break
                    if nxt - f[0] < FAR:
                        m = agree(d, nxt, f[0], E, 258) if u4(f[0]) == u4(nxt) else 0
                        if m > l:
                            t, s, l = f[0], nxt, m
                            if not six:
                                break
                        m = agree(d, nxt, f[1], E, 258) if near(nxt, f[1]) else 0
                        if m > l:
                            t, s, l = f[1], nxt, m
                    break
            if l in (0, 258):
                l = agree(d, s, t, E)
            a = s + l
            if a < limit and (six or l < 30):
                g, s2 = L.get(h7(a), (never, never)), s + 2
                for n, from_ in enumerate(g):
                    t2 = from_ - l + 2
                    if s2 - t2 >= FAR and n == 0:
                        break
                    if 0 < s2 - t2 < FAR and t2 >= 0:
                        m = agree(d, s2, t2, E)
                        if m > l:
                            t, l, s = t2, m, s2
                    if not six:
                        break
            while t > 0 and s > emit and d[t - 1] == d[s - 1]:
                s, t, l = s - 1, t - 1, l + 1
            rep = s - t
            out += list(d[emit:s]) + split(l, rep)
            s += l
            emit = s
            if nxt >= s:
                s = nxt + 1
            if s >= limit:
                for i in range(nxt + 1, E - 8, 2) if six else ():
                    put(i)
                return out + list(d[emit:E])
            if six:
                for i in range(nxt + 1, s - 1, 2):
                    put(i)
                    put7(i + 1)
            else:
                i = s - l + 1
                if i < s - 1:
                    put(i)
                    put7(i + 1)
                    S[h4(i + 2)] = i + 2
                    for i in range(i + 4, s - 1, 3):
                        put7(i)
                        S[h4(i + 1)] = i + 1
                put(s - 1)

    def find_1(self, d, start, E):
        S, limit, out, never = self.S, E - 11, [], -(1 << 40)

        def h5(p):
            return int.from_bytes(d[p:p + 5], 'little') * (1 << 24) * 889523592379 % (1 << 64) >> 49

        s = emit = start
        while True:
            while True:
                h = h5(s)
                c = S.get(h, never)
                nxt = s + 2 + ((s - emit) >> 5)
                if nxt > limit:
                    return out + list(d[emit:E])
                S[h] = s
                h = h5(nxt)
                if s - c < FAR and d[c:c + 4] == d[s:s + 4]:
                    S[h] = nxt
                    break
                s, nxt = nxt, nxt + 1
                c = S.get(h, never)
                S[h] = s
                if s - c < FAR and d[c:c + 4] == d[s:s + 4]:
                    S[h] = nxt
                    break
                s = nxt
            t = c
            while True:
                l = agree(d, s, t, E)
                while t > 0 and s > emit and d[t - 1] == d[s - 1]:
                    s, t, l = s - 1, t - 1, l + 1
                out += list(d[emit:s]) + split(l, s - t)
                s += l
                emit = s
                if nxt >= s:
                    s = nxt + 1
                if s >= limit:
                    if s + l + 8 < E:
                        S[h5(s)] = s
                    return out + list(d[emit:E])
                S[h5(s - 2)] = s - 2
                h = h5(s)
                t = S.get(h, never)
                S[h] = s
                if s - t > FAR or d[t:t + 4] != d[s:s + 4]:
                    s += 1
                    break


def agree(d, s, t, E, most=1 << 40):
    n, end = 0, min(E, s + most)
    while s + n < end and d[s + n] == d[t + n]:
        n += 1
    return n


def split(l, d):
    out = []
    while l > 258:
        out.append((258 if l > 261 else 255, d))
        l -= out[-1][0]
    return out + [(l, d)]


def go_lazy(d, bits):
    """MB-ENC-07."""
    head, prev, base, i, pending, length, dist, tokens, began = {}, {}, 0, 0, False, 3, 0, [], 0

    def insert(p):
        h = int.from_bytes(d[p:p + 4], 'big') * 0x1e35a7bd % (1 << 32) >> 15
        c = prev[p % 32768] = head.get(h, -1)
        head[h] = p
        return c

    def flush(full):
        nonlocal tokens, began
        if len(tokens) == full:
            go_block(tokens, d[began:i], began >= base, bits)
            tokens, began = [], i

    while True:
        end = min(base + 65536, len(d))
        last = end == len(d)
        while True:
            look = end - i
            if look < 262:
                if not last:
                    break
                if look == 0:
                    if pending:
                        tokens.append(d[i - 1])
                    flush(len(tokens) or 1)
                    return bits.stored(b'', 1)
            c = insert(i) if i < end - 3 else -1
            plen, pdist, length, dist = length, dist, 3, 0
            if c >= max(i - 32768, base) and look > plen and plen < 16:
                most = min(258, look)
                for _ in range(128):
                    if d[c + length] == d[i + length]:
                        n = agree(d, i, c, i + most)
                        if n > length and (n > 4 or i - c <= 4096):
                            length, dist = n, i - c
                            if n >= min(128, most):
                                break
                    if c == i - 32768:
                        break
                    c = prev[c % 32768]
                    if c < max(i - 32768, base):
                        break
            if plen >= 4 and length <= plen:
                tokens.append((plen, pdist))
                for p in range(i + 1, min(i + plen - 1, end - 3)):
                    insert(p)
                i, pending, length = i + plen - 1, False, 3
                flush(16384)
            else:
                if pending:
                    tokens.append(d[i - 1])
                    flush(16384)
                i, pending = i + 1, True
        if i - base >= 65274:
            base += 32768


def go_block(tokens, data, known, bits):
    """MB-ENC-08."""
    F, D = count(tokens)
    F[256] = 1
    HL, HD = trim(F, D)
    known = known and len(data) <= 65535
    X = extra_bits(F, D) if known else 0
    lit, dist = lengths(F, 15), lengths(D, 15)
    head = Head(lit[:HL], dist[:HD])
    fixed = 3 + weigh(F, FIXED) + 5 * sum(D) + X
    dynamic = head.size + weigh(F, lit) + weigh(D, dist) + X
    if known and (len(data) + 5) * 8 < min(fixed, dynamic):
        bits.stored(data)
    elif dynamic < fixed:
        head.write(bits)
        bits.tokens(tokens + [256], lit, dist)
    else:
        bits.put(2, 3)
        bits.tokens(tokens + [256], FIXED, [5] * 30)


def go_fast(d, bits):
    """MB-ENC-09."""
    table = {}
    for start in range(0, len(d), CHUNK):
        E = min(start + CHUNK, len(d))
        data, n = d[start:E], E - start
        if E == len(d) and n < 128:
            if n <= 16:
                bits.stored(data)
                continue
            tokens = list(data)
        else:
            tokens = go_find(d, start, E, table)
            if len(tokens) > n - n // 16:
                tokens = list(data)
        F, D = count(tokens)
        F[256] = 1
        HL, HD = trim(F, D)
        lit, dist = lengths(F, 15), lengths(D, 15)
        head = Head(lit[:HL], dist[:HD])
        size = head.size + weigh(F, lit) + weigh(D, dist)
        if (n + 5) * 8 < size + (size >> 4):
            bits.stored(data)
        else:
            head.write(bits)
            bits.tokens(tokens + [256], lit, dist)
    bits.stored(b'', 1)


def go_find(d, start, E, table):
    limit, s, emit, out = E - 15, start, start, []

    def h(p):
        return int.from_bytes(d[p:p + 4], 'little') * 0x1e35a7bd % (1 << 32) >> 18

    def swap(p):
        k = h(p)
        c = table.get(k, -(1 << 40))
        table[k] = p
        return c

    def good(c):
        return s - c <= FAR and d[c:c + 4] == d[s:s + 4]

    while True:
        skip, nxt = 32, s
        while True:
            s = nxt
            nxt, skip = s + (skip >> 5), skip + (skip >> 5)
            if nxt > limit:
                return out + list(d[emit:E])
            c = swap(s)
            if good(c):
                break
        out += list(d[emit:s])
        while True:
            l = agree(d, s, c, E, 258)
            out.append((l, s - c))
            s += l
            emit = s
            if s >= limit:
                return out + list(d[emit:E])
            swap(s - 1)
            c = swap(s)
            if not good(c):
                s += 1
                break


def gzip(entry, d):
    """MB-ENC-01."""
    bits, how = Bits(), entry['gzip']
    bits.out += bytes.fromhex(how['header'])
    if how['encoder'] == 'go126':
        {6: go_lazy, 1: go_fast}[how['level']](d, bits)
    elif how['method'] == 'gzip':
        encoder = Klauspost(how['encoder'], how['level'], bits)
        encoder.run(d, 0)
        encoder.close()
        bits.put(3, 10)
    else:
        size = how['blockSize']
        for at in range(0, len(d) + 1, size):
            from_ = max(at - 16384, 0)
            encoder = Klauspost(how['encoder'], how['level'], bits)
            encoder.run(d[from_:at + size], at - from_)
            encoder.stored(b'')
        bits.put(3, 10)
    bits.put(0, -bits.count % 8)
    return bytes(bits.out + struct.pack('<II', zlib.crc32(d), len(d) % (1 << 32)))


def zstd(frame, size, window):
    done = subprocess.run(['zstd', '-dcq', f'--memory={window}'], input=frame, stdout=subprocess.PIPE, check=True)
    assert len(done.stdout) == size, 'a frame has another size'
    return done.stdout


def numbers(data):
    out, value, shift = [], 0, 0
    for b in data:
        value |= (b & 127) << shift
        shift += 7
        assert shift <= 70 and value < 1 << 64, 'a number is too large'
        if b < 128:
            out.append(value)
            value, shift = 0, 0
    assert shift == 0, 'a number is cut off'
    return out


def patch(member, old, size):
    """MB-DLT-01 to MB-DLT-05."""
    assert member[:8] == b'MBDELTA1', 'no delta-1'
    table, at, streams = struct.unpack('<8Q', member[8:72]), 72, []
    for packed, plain in zip(table[::2], table[1::2]):
        streams.append(zstd(member[at:at + packed], plain, 1 << 23))
        at += packed
    assert at == len(member), 'lengths'
    control, gaps, out, place = numbers(streams[0]), numbers(streams[1]), [], 0
    assert len(control) % 3 == len(gaps) % 2 == 0 and len(control) // 3 <= size // 8 + 64, 'steps'
    steps = []
    for add, extra, where in zip(control[::3], control[1::3], control[2::3]):
        place += where >> 1 ^ -(where & 1)
        assert 0 <= place and place + add <= len(old), 'outside'
        steps.append((place, add, extra))
        place += add
    assert sum(add + extra for _, add, extra in steps) == size, 'sum'
    added = bytearray().join(old[p:p + add] for p, add, _ in steps)
    at = value = 0
    for equal, differ in zip(gaps[::2], gaps[1::2]):
        assert equal + differ > 0, 'an empty gap'
        at += equal
        for i in range(differ):
            added[at + i] = (added[at + i] + streams[2][value + i]) & 255
        at, value = at + differ, value + differ
    assert at == len(added) and value == len(streams[2]), 'gaps'
    at = fresh = 0
    for _, add, extra in steps:
        out += [added[at:at + add], streams[3][fresh:fresh + extra]]
        at, fresh = at + add, fresh + extra
    assert fresh == len(streams[3]), 'extra'
    return b''.join(out)


def check(what, data, named):
    assert len(data) == named['size'], '%s: size' % what
    assert 'sha256:' + hashlib.sha256(data).hexdigest() == named['digest'], '%s: digest' % what


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('entry')
    parser.add_argument('member')
    parser.add_argument('out')
    parser.add_argument('--reference')
    parser.add_argument('--digest')
    args = parser.parse_args()
    entry, member = json.load(open(args.entry)), open(args.member, 'rb').read()
    assert entry['as'] == 'encoded', 'not encoded'
    check('member', member, entry)
    if entry['content'] == 'zstd':
        tar = zstd(member, entry['tar']['size'], 1 << 25)
    else:
        tar = patch(member, open(args.reference, 'rb').read(), entry['tar']['size'])
    check('tar', tar, entry['tar'])
    blob = gzip(entry, tar)
    digest = 'sha256:' + hashlib.sha256(blob).hexdigest()
    assert args.digest in (None, digest), 'the blob has another digest'
    open(args.out, 'wb').write(blob)
    print(digest, len(blob))


if __name__ == '__main__':
    try:
        main()
    except (AssertionError, subprocess.CalledProcessError) as error:
        sys.exit('restore.py: %s' % error)
