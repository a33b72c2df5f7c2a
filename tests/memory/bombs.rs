//! Members that claim or give much (MB-CAR-06, MB-CAR-13), signed by a builder whom the host trusts: they are refused, in
//! memory that does not depend on what they say.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use mirror_bundle::bundle::carriage::{
    As, CARRIAGE, Carriage, Content, ContentForm, Encoder, Entry as Listed, Gzip as How, GzipForm, Reference,
    SIGNATURE, Tar,
};
use mirror_bundle::bundle::index::{Blob, Index, Kind};
use mirror_bundle::bundle::layout;
use mirror_bundle::oci::{Digest, Hasher, Role};

use crate::forge::archive::Entry;
use crate::forge::cases::{carriage::BUILDER, removals::signed};
use crate::forge::draft::{Draft, LAYER, Stored, noise};
use crate::forge::{self, sshsig};
use crate::{MIB, program, watch};

/// So much comes out of what is followed to its end.
const MUCH: u64 = 96 * MIB;
/// What a run may take: the 64 MiB of everything else, and less than would hold what comes out.
const MOST: u64 = 90 * MIB;

/// The digest of so many zeros.
fn zeros(size: u64) -> Digest {
    let mut hasher = Hasher::new();
    let some = vec![0; MIB as usize];
    (0..size / MIB).for_each(|_| hasher.update(&some));
    hasher.finish()
}

/// A zstd frame of so many MiB of zeros that says `claimed` about itself: four bytes for each 128 KiB.
fn frame_of_zeros(size: u64, claimed: u64) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 13 << 3];
    out.extend(claimed.to_le_bytes());
    let blocks = size >> 17;
    for n in 1..=blocks {
        let header: u32 = 128 << 10 << 3 | 1 << 1 | u32::from(n == blocks);
        out.extend(&header.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}

/// Adds a number as LEB128.
fn put(mut n: u64, out: &mut Vec<u8>) {
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

fn numbers(all: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    all.iter().for_each(|n| put(*n, &mut out));
    out
}

/// A difference whose steps take the same MiB of the reference again and again.
fn repeats(times: u64) -> Vec<u8> {
    let (mut control, mut gaps) = (Vec::new(), Vec::new());
    for n in 0..times {
        put(MIB, &mut control);
        put(0, &mut control);
        // Back to its beginning: -2^20 in zigzag form.
        put(if n == 0 { 0 } else { 2 * MIB - 1 }, &mut control);
    }
    put(times * MIB, &mut gaps);
    put(0, &mut gaps);
    difference([control, gaps, Vec::new(), Vec::new()])
}

/// A member of these streams.
fn difference(streams: [Vec<u8>; 4]) -> Vec<u8> {
    let frames = streams.each_ref().map(|plain| zstd::encode_all(plain.as_slice(), 3).unwrap());
    let mut out = b"MBDELTA1".to_vec();
    for (plain, frame) in streams.iter().zip(&frames) {
        out.extend((frame.len() as u64).to_le_bytes());
        out.extend((plain.len() as u64).to_le_bytes());
    }
    out.extend(frames.concat());
    out
}

fn gzip(size: u64) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let some = vec![0; MIB as usize];
    (0..size / MIB).for_each(|_| encoder.write_all(&some).unwrap());
    encoder.finish().unwrap()
}

/// What the carriage says about the one layer.
struct Claim {
    /// Size of the layer.
    blob: u64,
    tar: u64,
    member: Vec<u8>,
    /// The reference with its bytes, and how large its content is said to be.
    reference: Option<(Vec<u8>, u64)>,
}

/// Writes `bundle.tar`, and the reference into `base`.
fn write(dir: &Path, claim: &Claim) {
    let digest = Digest::of(b"a layer that is nowhere");
    let mut draft = Draft::tiny();
    let image = draft.image("amd64", &[(LAYER, Stored { digest, size: claim.blob, media_type: String::new() })]);
    draft.top(Kind::Additional, "registry.example.com/huge", Some("1"), &image);
    let mut archive = draft.archive_of(|index| {
        index.blobs.push(Blob { digest, size: claim.blob, role: Role::Layer });
        index.sort();
    });
    let bytes = archive.entry("mirror-bundle/index.json").bytes.clone();
    let index = Index::parse(&bytes).unwrap();
    let method = if claim.reference.is_some() { ContentForm::Delta1 } else { ContentForm::Zstd };
    let (encoder, header) = (Encoder::KlauspostB, "1f8b08000000000000ff".to_owned());
    let entry = Listed {
        form: As::Encoded,
        size: Some(claim.member.len() as u64),
        digest: Some(Digest::of(&claim.member)),
        tar: Some(Tar { digest: zeros(claim.tar.min(MUCH)), size: claim.tar }),
        gzip: Some(How { method: GzipForm::Gzip, encoder, level: 1, block_size: None, header }),
        content: Some(Content { method, reference: claim.reference.as_ref().map(|_| 0) }),
        ..Listed::absent(index.blobs.iter().position(|blob| blob.digest == digest).unwrap(), vec![])
    };
    let mut carriage = Carriage::absent(Digest::of(&bytes), vec![], None, vec![entry]);
    if let Some((bytes, size)) = &claim.reference {
        let tar = Tar { digest: zeros(*size), size: *size };
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        carriage.references = vec![Reference { digest, size, tar, repositories: vec![] }];
        let folder = dir.join("base/blobs/sha256");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(digest.hex()), bytes).unwrap();
    }
    let carriage = carriage.to_bytes().unwrap();
    *archive.entry(&format!("blobs/sha256/{}", digest.hex())) =
        Entry::new(&format!("encoded/sha256/{}", digest.hex()), &claim.member);
    let at = archive.at(layout::SUMS);
    archive.entries.insert(at, Entry::new(SIGNATURE, &signed(&sshsig::BUILDER, BUILDER, &carriage)));
    archive.entries.insert(at, Entry::new(CARRIAGE, &carriage));
    archive.sums_again();
    std::fs::write(dir.join("bundle.tar"), archive.bytes()).unwrap();
}

/// Verifies, unpacks and expands it. Each ends with this code, in little memory, and writes nothing.
#[track_caller]
fn ends(code: i32, claim: &Claim) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), claim);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let base = match &claim.reference {
        Some(_) => vec!["--base".to_owned(), path("base")],
        None => vec![],
    };
    let verbs = [
        vec!["verify".to_owned(), path("bundle.tar")],
        vec!["unpack".to_owned(), path("bundle.tar"), "--to-dir".to_owned(), path("tree")],
        vec![
            "expand".to_owned(),
            path("bundle.tar"),
            path("full.tar"),
            "--signer".to_owned(),
            "keys/builder.pub".to_owned(),
        ],
    ];
    for words in verbs {
        let mut command = program::program(dir.path());
        command.current_dir(forge::folder()).args(&words).args(&base).args(["--quiet", "--jobs", "2"]);
        if words[0] != "expand" {
            command.args(forge::vector::ARGS);
        }
        command.env("TMPDIR", dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let (exit, peak) = watch(command.stderr(Stdio::null()).spawn().unwrap());
        println!("{}: exit {exit:?}, peak {} MiB", words[0], peak / MIB);
        assert_eq!(exit, Some(code), "{words:?}");
        assert!(peak <= MOST, "{words:?}: {} MiB", peak / MIB);
    }
    assert!(!dir.path().join("full.tar").exists());
    let tags = walkdir::WalkDir::new(dir.path().join("tree")).into_iter().flatten();
    assert_eq!(tags.filter(|entry| entry.path_is_symlink()).count(), 0);
}

#[test]
fn ten_kilobytes_that_claim_16_gib_are_refused_by_numbers() {
    let member = frame_of_zeros(320 * MIB, 16 << 30);
    assert!(member.len() < 10_500);
    ends(12, &Claim { blob: 10_500, tar: 16 << 30, member, reference: None });
}

#[test]
fn a_reference_that_is_said_to_hold_16_gib_is_refused_by_numbers() {
    let reference = Some((gzip(MIB), 16 << 30));
    ends(12, &Claim { blob: 1 << 20, tar: MIB, member: repeats(1), reference });
}

#[test]
fn a_frame_that_gives_more_than_is_claimed_ends_there() {
    let member = frame_of_zeros(320 * MIB, 320 * MIB);
    ends(31, &Claim { blob: 1 << 20, tar: MIB, member, reference: None });
    // Also one that does not say what is in it.
    let mut member = frame_of_zeros(320 * MIB, 0);
    member[4] = 0;
    member.drain(6..14);
    ends(31, &Claim { blob: 1 << 20, tar: MIB, member, reference: None });
}

#[test]
fn a_frame_that_gives_all_that_it_claims_takes_no_more_memory() {
    ends(31, &Claim { blob: 1 << 20, tar: MUCH, member: frame_of_zeros(MUCH, MUCH), reference: None });
}

#[test]
fn a_difference_that_repeats_a_range_takes_no_more_memory() {
    let claim = Claim { blob: 1 << 20, tar: MUCH, member: repeats(MUCH / MIB), reference: Some((gzip(MIB), MIB)) };
    assert!(claim.member.len() < 1000);
    ends(31, &claim);
}

#[test]
fn a_reference_that_inflates_without_end_is_given_up_where_it_should_end() {
    let reference = Some((gzip(1024 * MIB), MIB));
    ends(31, &Claim { blob: 1 << 20, tar: MIB, member: repeats(1), reference });
}

/// A frame may ask for a window of 128 MiB, and several are read at once.
#[test]
fn a_reference_in_zstd_with_a_large_window_is_not_unpacked() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    // As large as its content needs (MB-CAR-06).
    encoder.write_all(&noise(200 << 10)).unwrap();
    let some = vec![0; MIB as usize];
    (0..MUCH / MIB * 2).for_each(|_| encoder.write_all(&some).unwrap());
    let reference = Some((encoder.finish().unwrap(), MUCH));
    ends(31, &Claim { blob: 1 << 20, tar: MIB, member: repeats(1), reference });
}

/// What no writer writes, signed all the same. `tests/delta_format.rs` has every fault; here the program meets them.
#[test]
fn a_hostile_difference_is_refused_and_ends() {
    let none = Vec::new;
    let zeros = |count: usize| vec![0; count];
    let cases = [
        // A step behind the reference, before it, and so far that numbers overflow.
        difference([numbers(&[MIB, 0, 2]), numbers(&[MIB, 0]), none(), none()]),
        difference([numbers(&[MIB, 0, 1]), numbers(&[MIB, 0]), none(), none()]),
        difference([numbers(&[u64::MAX, 1, 0]), numbers(&[MIB, 0]), none(), none()]),
        difference([numbers(&[0, 0, u64::MAX - 1, 0, 0, u64::MAX - 1]), none(), none(), none()]),
        // A number without end, gaps of nothing without end, and steps of nothing without end.
        difference([vec![0x80; 1000], none(), none(), none()]),
        difference([numbers(&[MIB, 0, 0]), zeros(8 << 20), none(), none()]),
        difference([zeros(48 << 20), none(), none(), none()]),
        // Bytes that nobody asks for.
        difference([numbers(&[MIB, 0, 0]), numbers(&[MIB, 0]), none(), zeros(48 << 20)]),
        difference([numbers(&[MIB, 0, 0]), numbers(&[MIB, 0]), zeros(1), none()]),
        difference([numbers(&[MIB, 0, 0, 0, 0, 0]), numbers(&[0, MIB]), zeros(1 << 20), none()])[..90].to_vec(),
        b"MBDELTA1".to_vec(),
    ];
    for member in cases {
        assert!(member.len() < 20_000, "{}", member.len());
        ends(31, &Claim { blob: 1 << 20, tar: MIB, member, reference: Some((gzip(MIB), MIB)) });
    }
}
