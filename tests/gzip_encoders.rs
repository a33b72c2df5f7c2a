//! MB-ENC: the encoders against the vectors of real ones, and against themselves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/recipe.rs"]
mod recipe;

use std::fs;
use std::io::{Read, Write};

use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe, Unknown, candidates, find, header_length};
use proptest::collection::vec;
use proptest::prelude::*;
use recipe::Files;
use sha2::{Digest, Sha256};

/// The encoders of the vectors.
const ENCODERS: [&str; 13] = [
    "kp-a5",
    "kp-b5",
    "kp-a6",
    "kp-b6",
    "pgzip-a5",
    "pgzip-b5",
    "pgzip256k-a5",
    "pgzip256k-b5",
    "pgzip-a1",
    "pgzip-b1",
    "go127-1",
    "go126-6",
    "go126-1",
];

/// The header of a Go program at most levels.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];

/// The recipe that a column of the vectors stands for.
fn encoder(name: &str) -> Recipe {
    use Family::{A, B, Go126};
    use Method::{Gzip, Pgzip};
    let (family, level, method) = match name {
        "kp-a5" => (A, Level::L5, Gzip),
        "kp-b5" => (B, Level::L5, Gzip),
        "kp-a6" => (A, Level::L6, Gzip),
        "kp-b6" | "go127-6" => (B, Level::L6, Gzip),
        "pgzip-a5" => (A, Level::L5, Pgzip(BlockSize::MiB)),
        "pgzip-b5" => (B, Level::L5, Pgzip(BlockSize::MiB)),
        "pgzip256k-a5" => (A, Level::L5, Pgzip(BlockSize::QuarterMiB)),
        "pgzip256k-b5" => (B, Level::L5, Pgzip(BlockSize::QuarterMiB)),
        "pgzip-a1" => (A, Level::L1, Pgzip(BlockSize::MiB)),
        "pgzip-b1" => (B, Level::L1, Pgzip(BlockSize::MiB)),
        "go127-1" => (B, Level::L1, Gzip),
        "go126-6" => (Go126, Level::L6, Gzip),
        "go126-1" => (Go126, Level::L1, Gzip),
        other => panic!("{other}"),
    };
    let mut header = HEADER;
    if level == Level::L1 {
        header[8] = 4;
    }
    if name.starts_with("go") {
        header[4..8].fill(0);
    }
    Recipe::new(family, level, method, &header).unwrap()
}

fn gzip(recipe: &Recipe, input: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new(recipe, Vec::new());
    gzip.write_all(input).unwrap();
    gzip.finish().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// One line of `expected.tsv`.
struct Vector {
    id: String,
    encoder: String,
    input: usize,
    output: usize,
    digest: String,
}

fn vectors() -> Vec<Vector> {
    let text = fs::read_to_string(recipe::folder().join("expected.tsv")).unwrap();
    let lines = text.lines().skip(1).map(|l| l.split('\t').collect::<Vec<_>>());
    lines
        .map(|c| Vector {
            id: c[0].to_owned(),
            encoder: c[1].to_owned(),
            input: c[2].parse().unwrap(),
            output: c[3].parse().unwrap(),
            digest: c[4].to_owned(),
        })
        .collect()
}

/// The vectors of some inputs that are not met, and how many there were.
fn unmet(inputs: &[(String, String)], vectors: &[Vector]) -> (Vec<String>, usize) {
    let files = Files::load();
    let (mut unmet, mut seen) = (Vec::new(), 0);
    for (id, recipe) in inputs {
        let input = files.build(recipe);
        for v in vectors.iter().filter(|v| v.id == *id) {
            assert_eq!(input.len(), v.input, "{id}");
            let out = gzip(&encoder(&v.encoder), &input);
            if hex(&Sha256::digest(&out)) != v.digest {
                unmet.push(format!("{id} {}: {} bytes, expected {}", v.encoder, out.len(), v.output));
            }
            seen += 1;
        }
    }
    (unmet, seen)
}

/// MB-ENC-01 to MB-ENC-09.
#[test]
fn every_vector_of_every_encoder_gives_the_expected_bytes() {
    let (vectors, inputs) = (vectors(), recipe::recipes());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        // The large inputs lie together: each worker gets some of them.
        let shares = (0..workers).map(|w| inputs.iter().skip(w).step_by(workers).cloned().collect::<Vec<_>>());
        let threads: Vec<_> = shares
            .map(|share| {
                scope.spawn({
                    let vectors = &vectors;
                    move || unmet(&share, vectors)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let seen: usize = results.iter().map(|(_, seen)| seen).sum();
    let unmet: Vec<_> = results.into_iter().flat_map(|(unmet, _)| unmet).collect();
    assert_eq!(seen, vectors.len());
    assert!(seen > 4000, "{seen}");
    assert!(unmet.is_empty(), "{} wrong:\n{}", unmet.len(), unmet[..unmet.len().min(40)].join("\n"));
}

fn gunzip(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = flate2::bufread::GzDecoder::new(blob);
    reader.read_to_end(&mut out).unwrap();
    assert!(reader.into_inner().is_empty());
    out
}

/// The same input in writes of these sizes, in turn.
fn gzip_in_pieces(recipe: &Recipe, input: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut gzip = Gzip::new(recipe, Vec::new());
    let (mut rest, mut sizes) = (input, sizes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        gzip.write_all(now).unwrap();
        gzip.flush().unwrap();
        rest = later;
    }
    gzip.finish().unwrap()
}

/// MB-ENC-01: only the content counts.
#[test]
fn the_sizes_of_writes_do_not_matter() {
    let files = Files::load();
    let input = files.build("f:layer.tar:0:204800+w:3:900000+r:4:70000+f:elf.bin:0:364096+z:300000+w:5:400000");
    for name in ENCODERS {
        let recipe = encoder(name);
        let whole = gzip(&recipe, &input);
        for sizes in [&[1usize, 7, 100_000][..], &[65_535], &[65_536, 1], &[512], &[1 << 18, 1 << 20], &[3_000_000]] {
            assert!(gzip_in_pieces(&recipe, &input, sizes) == whole, "{name} {sizes:?}");
        }
        assert!(gunzip(&whole) == input, "{name}");
    }
}

/// MB-ENC-01: the header is kept as it is.
#[test]
fn the_header_is_kept_and_nothing_else_is_one() {
    let named =
        [&[0x1f, 0x8b, 8, 0x1e, 1, 2, 3, 4, 0, 3][..], &[2, 0, 9, 9], b"name\0", b"comment\0", &[1, 2]].concat();
    let recipe = Recipe::new(Family::B, Level::L5, Method::Gzip, &named).unwrap();
    let made = gzip(&recipe, b"content");
    assert!(made.starts_with(&named));
    assert_eq!(made[named.len()..], gzip(&encoder("kp-b5"), b"content")[10..]);
    assert_eq!(header_length(&made), Some(named.len()));
    let longest = [&HEADER[..3], &[8], &HEADER[4..], &[b'n'; 245], &[0]].concat();
    assert_eq!((longest.len(), header_length(&longest)), (256, Some(256)));
    let too_long = [&longest[..255], &[b'n', 0]].concat();
    let mut wrong = vec![too_long, HEADER[..9].to_vec(), [&HEADER[..], &[0]].concat(), Vec::new()];
    for (at, value) in [(0, 0x1e), (1, 0x8a), (2, 7), (3, 0x20), (3, 0x40), (3, 0x80), (3, 4), (3, 8), (3, 16), (3, 2)]
    {
        let mut header = HEADER;
        header[at] = value;
        wrong.push(header.to_vec());
    }
    for header in wrong {
        let refused = Recipe::new(Family::B, Level::L5, Method::Gzip, &header);
        assert_eq!(refused, Err(Unknown::Header), "{header:?}");
    }
}

/// MB-ENC-01: what is not described has no name.
#[test]
fn unknown_encoders_levels_and_blocks_are_refused() {
    for (level, method) in [
        (Level::L5, Method::Gzip),
        (Level::L6, Method::Pgzip(BlockSize::MiB)),
        (Level::L1, Method::Pgzip(BlockSize::QuarterMiB)),
    ] {
        assert_eq!(Recipe::new(Family::Go126, level, method, &HEADER), Err(Unknown::Encoder));
    }
    assert_eq!(["klauspost-c", "zlib", "", "klauspost-A"].map(Family::of), [None; 4]);
    assert_eq!([0, 2, 3, 4, 7, 8, 9, u64::MAX].map(Level::of), [None; 8]);
    assert_eq!([0, 1 << 17, 1 << 19, (1 << 20) + 1].map(BlockSize::of), [None; 4]);
    for family in [Family::A, Family::B, Family::Go126] {
        assert_eq!(Family::of(family.name()), Some(family));
    }
    for level in [Level::L1, Level::L5, Level::L6] {
        assert_eq!(Level::of(level.number()), Some(level));
    }
    for block in [BlockSize::MiB, BlockSize::QuarterMiB] {
        assert_eq!(BlockSize::of(block.bytes() as u64), Some(block));
    }
}

/// MB-ENC-10.
#[test]
fn the_encoder_of_a_blob_is_recognised() {
    let files = Files::load();
    let large = files.build("f:elf.bin:0:364096+w:7:800000+f:layer.tar:0:204800+k:3:200:200000+w:9:300000");
    for (input, size) in [(&large[..], "large"), (&large[..150_000], "small"), (&large[..1_048_576], "one block")] {
        for name in ENCODERS {
            let recipe = encoder(name);
            let blob = gzip(&recipe, input);
            let mut content = input;
            let found = find(&blob, &mut content).unwrap().unwrap_or_else(|| panic!("{name} {size}"));
            // Another name for the same bytes is as good.
            assert!(gzip(&found, input) == blob, "{name} {size}: {found:?}");
            assert!(candidates(&blob, &mut &input[..]).unwrap().any(|c| c == recipe), "{name} {size}");
        }
    }
    // A long blob is recognised by its beginning.
    let blob = gzip(&encoder("pgzip-b5"), &large.repeat(3));
    let found = find(&blob[..1_400_000.min(blob.len())], &mut &large.repeat(3)[..]).unwrap();
    assert_eq!(found, Some(encoder("pgzip-b5")));
}

/// MB-ENC-10: zlib, GNU gzip and stored streams are nobody's.
#[test]
fn other_encoders_are_not_recognised() {
    let input = Files::load().build("f:layer.tar:0:204800+w:1:50000");
    for level in [0, 1, 6, 9] {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        out.write_all(&input).unwrap();
        assert_eq!(find(&out.finish().unwrap(), &mut &input[..]).unwrap(), None, "{level}");
    }
    let blob = gzip(&encoder("pgzip-b5"), &input);
    assert_eq!(find(&blob[..blob.len() - 1], &mut &input[..]).unwrap(), None);
    assert_eq!(find(&[&blob[..], &[0]].concat(), &mut &input[..]).unwrap(), None);
    assert_eq!(find(&blob, &mut &input[1..]).unwrap(), None);
    for other in [&b""[..], b"PK", &[0x1f, 0x8b, 8]] {
        assert_eq!(find(other, &mut &input[..]).unwrap(), None);
    }
}

/// A blob that differs in one byte is not what comes out.
#[test]
fn one_other_byte_of_content_gives_another_blob() {
    let input = Files::load().build("f:layer.tar:0:100000");
    for name in ENCODERS {
        let made = gzip(&encoder(name), &input);
        let mut other = input.clone();
        other[50_000] ^= 1;
        assert!(gzip(&encoder(name), &other) != made, "{name}");
    }
}

/// An operation of a recipe.
fn operation() -> impl Strategy<Value = String> {
    let size = prop_oneof![1usize..300, 1usize..70_000];
    prop_oneof![
        size.clone().prop_map(|n| format!("z:{n}")),
        (any::<u8>(), size.clone()).prop_map(|(b, n)| format!("b:{b:02x}:{n}")),
        (any::<u32>(), size.clone()).prop_map(|(s, n)| format!("r:{s}:{n}")),
        (any::<u32>(), 2u32..220, size.clone()).prop_map(|(s, k, n)| format!("k:{s}:{k}:{n}")),
        (any::<u32>(), size.clone()).prop_map(|(s, n)| format!("g:{s}:{n}")),
        (any::<u32>(), 1u32..256, size.clone()).prop_map(|(s, m, n)| format!("l:{s}:{m}:{n}")),
        (any::<u32>(), size.clone()).prop_map(|(s, n)| format!("w:{s}:{n}")),
        (0usize..290_000, size.clone()).prop_map(|(o, n)| format!("f:elf.bin:{o}:{n}")),
        (0usize..134_000, size.clone()).prop_map(|(o, n)| format!("f:layer.tar:{o}:{n}")),
        (0usize..20_000, size).prop_map(|(o, n)| format!("f:data.json:{o}:{n}")),
    ]
}

/// A recipe of an input, with copies of what was before.
fn composition() -> impl Strategy<Value = String> {
    let copy = (1usize..40_000, 1usize..5_000, 2u32..90, any::<u32>());
    (operation(), vec((operation(), copy, any::<bool>()), 0..5)).prop_map(|(first, more)| {
        let mut recipe = first;
        for (operation, (distance, n, one_in, seed), exact) in more {
            // A copy needs so many bytes before it.
            let copy = if exact { format!("c:{distance}:{n}") } else { format!("m:{distance}:{n}:{one_in}:{seed}") };
            recipe = format!("{recipe}+{operation}+w:{seed}:{distance}+{copy}");
        }
        recipe
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_composition_inflates_to_itself_in_any_writes(
        recipe in composition(), sizes in vec(1usize..90_000, 1..5),
    ) {
        let input = Files::load().build(&recipe);
        for name in ENCODERS {
            let made = gzip_in_pieces(&encoder(name), &input, &sizes);
            prop_assert!(gunzip(&made) == input, "{} {}", name, recipe);
            prop_assert!(made == gzip(&encoder(name), &input), "{} {}", name, recipe);
        }
    }

    #[test]
    fn any_bytes_inflate_to_themselves(input in vec(any::<u8>(), 0..3000)) {
        for name in ENCODERS {
            prop_assert!(gunzip(&gzip(&encoder(name), &input)) == input, "{}", name);
        }
    }
}
