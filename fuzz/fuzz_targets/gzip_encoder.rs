//! Gzip streams made again: any bytes, any encoder, any writes. What comes out inflates to the input. The first two
//! bytes choose the encoder and the sizes of writes; each of the others is a run of copies where its high bits say so,
//! so that inputs get longer than a chunk.
#![no_main]

use std::io::{Read, Write};

use libfuzzer_sys::fuzz_target;
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe, header_length};

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn recipe(number: u8) -> Recipe {
    let family = [Family::A, Family::B, Family::Go126][usize::from(number % 3)];
    let level = [Level::L1, Level::L5, Level::L6][usize::from(number / 3 % 3)];
    let method = [Method::Gzip, Method::Pgzip(BlockSize::QuarterMiB), Method::Pgzip(BlockSize::MiB)];
    Recipe::new(family, level, method[usize::from(number / 9 % 3)], &HEADER)
        .unwrap_or_else(|_| Recipe::new(Family::Go126, Level::L6, Method::Gzip, &HEADER).unwrap())
}

fuzz_target!(|data: &[u8]| {
    let [number, size, rest @ ..] = data else { return };
    let mut input = Vec::new();
    for pair in rest.chunks(2) {
        match *pair {
            [back, n] if n >= 0xf0 && usize::from(back) < input.len() => {
                for _ in 0..usize::from(n & 15) * 600 {
                    input.push(input[input.len() - 1 - usize::from(back)]);
                }
            }
            _ => input.extend(pair),
        }
        if input.len() > 400_000 {
            break;
        }
    }
    let recipe = recipe(*number);
    let mut gzip = Gzip::new(&recipe, Vec::new());
    for piece in input.chunks(1 + usize::from(*size) * 97) {
        gzip.write_all(piece).unwrap();
    }
    let made = gzip.finish().unwrap();
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&made[..]).read_to_end(&mut out).unwrap();
    assert!(out == input, "{recipe:?}");
    // Any bytes as a header.
    if let Some(n) = header_length(data) {
        assert!(Recipe::new(Family::B, Level::L5, Method::Gzip, &data[..n]).is_ok());
    }
});
