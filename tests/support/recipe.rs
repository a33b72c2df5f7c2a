//! Inputs of the vectors of `testdata/gzip-encoders`, made from recipes (the language is in its README).

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// The folder of the vectors.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/gzip-encoders"))
}

/// splitmix64.
pub struct Mix(pub u64);

impl Mix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// The number of the first Fibonacci number that a random number is below.
    fn fibonacci(&mut self) -> u8 {
        let v = self.next() % 46368;
        let (mut a, mut b, mut i) = (1, 2, 0);
        while v >= a {
            (a, b) = (b, a + b);
            i += 1;
        }
        i
    }
}

/// What recipes read.
pub struct Files(HashMap<String, Vec<u8>>);

impl Files {
    pub fn load() -> Self {
        let entries = fs::read_dir(folder().join("inputs")).unwrap().map(|e| e.unwrap());
        Files(entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect())
    }

    /// The input that a recipe describes.
    pub fn build(&self, recipe: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for op in recipe.split('+').filter(|op| !op.is_empty()) {
            self.step(op, &mut out);
        }
        out
    }

    fn step(&self, op: &str, out: &mut Vec<u8>) {
        let parts: Vec<&str> = op.split(':').collect();
        let number = |i: usize| parts[i].parse::<u64>().unwrap();
        let size = |i: usize| number(i) as usize;
        let hex = |s: &str| -> Vec<u8> {
            (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
        };
        let end = out.len();
        match parts[0] {
            "z" => out.resize(end + size(1), 0),
            "b" => out.resize(end + size(2), hex(parts[1])[0]),
            "p" => out.extend(hex(parts[1]).iter().cycle().take(size(2))),
            "r" => {
                let mut mix = Mix(number(1));
                while out.len() < end + size(2) {
                    out.extend(mix.next().to_le_bytes());
                }
                out.truncate(end + size(2));
            }
            "k" => {
                let mut mix = Mix(number(1));
                for _ in 0..size(3) {
                    let (x, y) = (mix.next() % number(2), mix.next() % number(2));
                    out.push((32 + x * y / number(2)) as u8);
                }
            }
            "g" => {
                let mut mix = Mix(number(1));
                out.extend((0..size(2)).map(|_| 65 + mix.fibonacci()));
            }
            "l" => {
                let mut mix = Mix(number(1));
                out.extend((0..size(3)).map(|_| (mix.next() % number(2)) as u8));
            }
            "h" => {
                let mut mix = Mix(number(1));
                for _ in 0..size(3) {
                    let x = mix.next();
                    let rare = x.is_multiple_of(number(2));
                    out.push(if rare { 128 + mix.fibonacci() } else { 32 + ((x >> 32) % 64) as u8 });
                }
            }
            "w" => {
                let mut mix = Mix(number(1));
                let words: Vec<&[u8]> = self.0["words.txt"].split(|b| *b == b'\n').collect();
                while out.len() < end + size(2) {
                    out.extend(words[mix.below(256)]);
                    out.push(b' ');
                }
                out.truncate(end + size(2));
            }
            "f" => out.extend(&self.0[parts[1]][size(2)..size(2) + size(3)]),
            "c" => (0..size(2)).for_each(|_| out.push(out[out.len() - size(1)])),
            "m" => {
                let mut mix = Mix(number(4));
                for _ in 0..size(2) {
                    let other = mix.next().is_multiple_of(number(3));
                    out.push(if other { mix.next() as u8 } else { out[out.len() - size(1)] });
                }
            }
            other => panic!("{other}"),
        }
    }
}

/// The recipes: names and inputs.
pub fn recipes() -> Vec<(String, String)> {
    let text = fs::read_to_string(folder().join("recipes.tsv")).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|l| {
            let mut columns = l.split('\t');
            (columns.next().unwrap().to_owned(), columns.next().unwrap_or_default().to_owned())
        })
        .collect()
}
