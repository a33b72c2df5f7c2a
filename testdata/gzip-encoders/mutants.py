#!/usr/bin/env python3
"""mutants.py CRATE [NAME...]: puts deliberate faults into the gzip encoders, one at a time, and shows which tests notice.

CRATE is a copy of the sources that may be changed (every change is taken back). Prints one line per fault, and ends
with 1 when a fault was not noticed. The faults are those of the list that the encoders came with, and 10 more.
"""
import re
import subprocess
import sys

S, B, H, W, C, L, F, G, Y = (
    "src/regzip/" + n + ".rs" for n in
    ("search", "blocks", "huffman", "write", "chunked", "go_lazy", "go_fast", "go_blocks", "symbols"))
FAULTS = [
    ("skip shift L5 6->7", S, "if SIX { 7 } else { 6 }", "if SIX { 7 } else { 7 }"),
    ("distance < to <=", S, "distance < FAR as u32", "distance <= FAR as u32"),
    ("l<30 -> l<31", S, "l < 30", "l < 31"),
    ("no back extension at t==hist0", S, "*t > chunk.first &&", "*t > chunk.first + 1 &&"),
    ("match limit 258 -> 259", S, "s.wrapping_add(254)", "s.wrapping_add(255)"),
    ("no long continue at 258", S, "} else if l == 258 {", "} else if l == 999 {"),
    ("split 261->260", Y, "len > 261", "len > 260"),
    ("rep check dropped (L6)", S, "if m > l {\n                            (t, l) = (r, m);", "if m > 999 {\n                            (t, l) = (r, m);"),
    ("tail index L6", S, "while i + 8 < end {", "while i + 9 < end {"),
    ("insert every 3 -> start i+=4 to 3", S, "i += 4;", "i += 3;"),
    ("tie leaf first", H, "if double <= single {", "if double < single {"),
    ("limit 15 -> 14", B, "self.lit = Code::of(&counts.lit, 15);", "self.lit = Code::of(&counts.lit, 14);"),
    ("tmp limit", B, "let code = Code::of(&freq, 15);", "let code = Code::of(&freq, 14);"),
    ("codegen limit 7 -> 8", H, "let code = Code::of(&freq, 7);", "let code = Code::of(&freq, 6);"),
    ("penalty >>7 -> >>6", B, "+ (new >> 7)", "+ (new >> 6)"),
    ("250 tokens", B, "total < 250 && fixed + 7 < size", "total < 251 && fixed + 7 < size"),
    ("250 tokens new table", B, "total < 250 && fixed <= size", "total < 249 && fixed <= size"),
    ("+7 dropped", B, "fixed + 7 < size", "fixed < size"),
    ("stored <= to <", B, "            if stored <= size {\n                return self.stored(bytes);\n            }\n        }", "            if stored < size {\n                return self.stored(bytes);\n            }\n        }"),
    ("stored <= size to <", B, "            if stored <= size {\n                return self.stored(bytes);\n            }\n            head", "            if stored < size {\n                return self.stored(bytes);\n            }\n            head"),
    ("pre <= size to <", B, "total < 250 && fixed <= size", "total < 250 && fixed < size"),
    ("new<reuse to <=", B, "if new < reuse {", "if new <= reuse {"),
    ("1024 check", B, "if n <= 1024 {", "if n <= 1023 {"),
    ("560 guess", B, "{ 560 }", "{ 552 }"),
    ("huff 1/16", C, "n - n / 16", "n - n / 17"),
    ("huff 1/16 b", B, "estimated + (estimated >> 7)", "estimated + (estimated >> 4)"),
    ("32 stored", C, "1..=32 =>", "1..=31 =>"),
    ("128 small", C, "n < 128", "n < 129"),
    ("shannon 15", B, "sum += 15.0;", "sum += 14.0;"),
    ("clamp 15", B, "clamp(1.0, 15.0)", "clamp(1.0, 16.0)"),
    ("log const", B, "2.024_665_8", "2.024_665_5"),
    ("fam A EOB", B, "        return (LITS, DISTS);", "        counts.lit[END] = 1;\n        return (LITS, DISTS);"),
    ("tail dict 16384", C, "const DICTIONARY: usize = 16_384;", "const DICTIONARY: usize = 16_383;"),
    ("codegen zero run 138", H, "left.min(138)", "left.min(137)"),
    ("go126 chain", L, "for _ in 0..128 {", "for _ in 0..127 {"),
    ("go126 lazy", L, "before < 16 {", "before < 17 {"),
    ("go126 nice", L, "most.min(128)", "most.min(129)"),
    ("go126 4096", L, "i - p <= 4096", "i - p <= 4095"),
    ("go126 tokens", L, "const TOKENS: usize = 16_384;", "const TOKENS: usize = 16_383;"),
    ("go126 shift", L, "self.i - self.base >= SEEN - AHEAD", "self.i - self.base >= SEEN - AHEAD - 1"),
    ("go126 base limit", L, "if p < oldest {", "if p == 0 {"),
    ("go126 stored nil", L, "if self.from >= self.base {", "if self.from > 0 {"),
    ("go126 L1 skip", F, "(32, s)", "(33, s)"),
    ("go126 L1 16", F, "1..=16 =>", "1..=17 =>"),
    # Not in the list.
    ("stored <= fixed to <", B, "return if stored <= fixed {", "return if stored < fixed {"),
    ("distance 32,768 at level 1", S, "s - c > FAR", "s - c >= FAR"),
    ("second distance at level 6", S, "if SIX && ahead < place(g) + FAR &&", "if SIX &&"),
    ("t2 at the first byte", S, "from + 2 >= first + l", "from + 2 > first + l"),
    ("a tag of more than three bytes", S, "product << 8", "product << 7"),
    ("the second place by its tag alone", S, "(longer || alike(new, older))", "alike(new, older)"),
    ("go126 distance 32,768", L, "if candidate >= oldest &&", "if candidate > oldest &&"),
    ("go126 65,535 bytes stored", L, "b.len() <= 65_535", "b.len() <= 65_536"),
    ("go126 size >> 4", G, "(size >> 4)", "(size >> 5)"),
    ("end of one stream", B, "self.bits.put(3, 10);", "self.bits.put(3, 9);"),
]
TESTS = ["--lib", "--test", "gzip_encoders", "--", "regzip::", "every_vector"]


def run(crate):
    done = subprocess.run(["nice", "cargo", "test", "--locked", "--no-fail-fast", *TESTS], cwd=crate,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out = done.stdout
    if "could not compile" in out:
        return "DOES NOT COMPILE", []
    vectors = re.search(r"^(\d+) wrong:\n(\S+ \S+):", out, re.M)
    names = re.findall(r"^test (\S+) \.\.\. FAILED", out, re.M)
    return (vectors.group(1) + " vectors (" + vectors.group(2) + ")" if vectors else "-"), [n.split("::")[-1] for n in names if "every_vector" not in n or not vectors]


def main():
    crate, only = sys.argv[1], sys.argv[2:]
    missed = 0
    for name, path, old, new in FAULTS:
        if only and name not in only:
            continue
        path = crate + "/" + path
        text = open(path).read()
        if old not in text:
            print(name, "PATTERN IS GONE", sep="\t", flush=True)
            missed += 1
            continue
        open(path, "w").write(text.replace(old, new))
        try:
            vectors, units = run(crate)
        finally:
            open(path, "w").write(text)
        missed += vectors in ("-", "DOES NOT COMPILE") and not units
        print(name, vectors, ", ".join(units) or "-", sep="\t", flush=True)
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
