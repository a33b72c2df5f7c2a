//! MB-DLT: `delta-1` forward and back, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Cursor, ErrorKind, Read};

use mirror_bundle::delta::{Error, Fault, Frame, Options, Part, Patched, ReadAt, Stream, WINDOW, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use zstd::zstd_safe::CParameter;

const REFERENCE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A number as LEB128.
fn number(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 128 {
        out.push(v as u8 | 128);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

fn numbers(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|v| number(*v)).collect()
}

/// zigzag.
fn to(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

fn frame(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

/// A member: for each stream its frame and the content size that is claimed.
fn packed(streams: [(&[u8], usize); 4]) -> Vec<u8> {
    let mut out = b"MBDELTA1".to_vec();
    for (frame, plain) in streams {
        out.extend((frame.len() as u64).to_le_bytes());
        out.extend((plain as u64).to_le_bytes());
    }
    streams.iter().for_each(|(frame, _)| out.extend(*frame));
    out
}

fn member(control: &[u64], gaps: &[u64], values: &[u8], extra: &[u8]) -> Vec<u8> {
    raw(&numbers(control), &numbers(gaps), values, extra)
}

fn raw(control: &[u8], gaps: &[u8], values: &[u8], extra: &[u8]) -> Vec<u8> {
    let [c, g, v, e] = [control, gaps, values, extra].map(frame);
    packed([(&c, control.len()), (&g, gaps.len()), (&v, values.len()), (&e, extra.len())])
}

fn restore(member: &[u8], size: u64) -> Result<Vec<u8>, Error> {
    restore_from(member, REFERENCE, size)
}

fn restore_from(member: &[u8], reference: &[u8], size: u64) -> Result<Vec<u8>, Error> {
    let (m, r) = (member.to_vec(), reference.to_vec());
    let parts = (Part::whole(&m, m.len() as u64), Part::whole(&r, r.len() as u64));
    let mut out = Vec::new();
    let result = Patched::new(parts.0, parts.1, size).and_then(|mut p| p.read_to_end(&mut out));
    match result {
        Ok(_) => {
            assert_eq!(out.len() as u64, size);
            Ok(out)
        }
        Err(e) => Err(Error::of(&e).unwrap_or_else(|| panic!("{e}")).clone()),
    }
}

fn delta(reference: &[u8], new: &[u8], options: &Options) -> Vec<u8> {
    let (r, n) = (reference.to_vec(), new.to_vec());
    let mut out = Cursor::new(Vec::new());
    let size = encode(Part::whole(&r, r.len() as u64), Part::whole(&n, n.len() as u64), options, &mut out).unwrap();
    assert_eq!(size, out.get_ref().len() as u64);
    assert_eq!(size, out.position());
    out.into_inner()
}

/// What most refusals are a variant of: "ABCDE" + "01X3" + "!" + "vwxyz".
fn good() -> ([u64; 9], [u64; 4], Vec<u8>, Vec<u8>) {
    let control = [0, 5, to(0), 4, 1, to(0), 5, 0, to(27)];
    (control, [2, 1, 1, 0], vec![b'X' - b'2'], b"ABCDE!".to_vec())
}

#[test]
fn steps_add_and_insert() {
    let (mut control, _, values, extra) = good();
    let gaps = [2, 1, 6, 0];
    assert_eq!(restore(&member(&control, &gaps, &values, &extra), 15).unwrap(), b"ABCDE01X3!vwxyz");
    // Steps without bytes are steps, also behind the last byte.
    control[8] = to(0);
    let more = [&control[..], &[0, 0, to(-9), 0, 0, to(36)]].concat();
    assert_eq!(restore(&member(&more, &gaps, &values, &extra), 15).unwrap(), b"ABCDE01X3!45678");
    // Nothing at all.
    assert_eq!(restore(&member(&[], &[], &[], &[]), 0).unwrap(), b"");
}

#[test]
fn a_step_outside_the_reference_is_refused() {
    for control in [
        [5, 0, to(32)],
        [37, 0, to(0)],
        [0, 1, to(37)],
        [1, 0, to(i64::MAX)],
        [1, 0, to(-1)],
        [1, 0, to(i64::MIN)],
        [u64::MAX, 0, to(1)],
    ] {
        assert_eq!(restore(&member(&control, &[1, 0], &[], b"x"), 5), Err(Error::Outside), "{control:?}");
    }
    // Negative from where the step before ended.
    let two = [4, 0, to(0), 1, 0, to(-5)];
    assert_eq!(restore(&member(&two, &[5, 0], &[], &[]), 5), Err(Error::Outside));
}

#[test]
fn a_number_of_more_than_ten_bytes_or_64_bits_is_refused() {
    let ten = [0xff; 9];
    let mut control = [&ten[..], &[2]].concat();
    control.extend([0, 0]);
    assert_eq!(restore(&raw(&control, &[], &[], &[]), 1), Err(Error::Number(Stream::Control)));
    let long = [0x80; 10];
    let control = [&long[..], &[0, 1, 0]].concat();
    assert_eq!(restore(&raw(&control, &[], &[], b"x"), 1), Err(Error::Number(Stream::Control)));
    // Ten bytes for a small number are allowed.
    let control = [&[0][..], &[0x81], &[0x80; 8], &[0], &[0]].concat();
    assert_eq!(restore(&raw(&control, &[], &[], b"x"), 1).unwrap(), b"x");
    let gaps = [&[0xff; 9][..], &[2, 0]].concat();
    assert_eq!(restore(&raw(&numbers(&[1, 0, 0]), &gaps, &[], &[]), 1), Err(Error::Number(Stream::Gaps)));
}

#[test]
fn sums_that_do_not_meet_are_refused() {
    let (control, _, values, extra) = good();
    let gaps = [2, 1, 6, 0];
    let m = member(&control, &gaps, &values, &extra);
    for size in [0, 14, 16, u64::MAX] {
        assert_eq!(restore_size(&m, size), Err(Error::Sum), "{size}");
    }
    let over = [1, u64::MAX, 0];
    assert_eq!(restore(&member(&over, &[1, 0], &[], &[]), 5), Err(Error::Sum));
}

fn restore_size(member: &[u8], size: u64) -> Result<(), Error> {
    let (m, r) = (member.to_vec(), REFERENCE.to_vec());
    let mut patched = Patched::new(Part::whole(&m, m.len() as u64), Part::whole(&r, r.len() as u64), size).unwrap();
    let error = std::io::copy(&mut patched, &mut std::io::sink()).err();
    error.map_or(Ok(()), |e| Err(Error::of(&e).unwrap().clone()))
}

#[test]
fn gaps_that_do_not_cover_the_added_bytes_are_refused() {
    let (control, _, values, extra) = good();
    for gaps in [&[2, 1, 5, 0][..], &[2, 1, 7, 0], &[2, 1], &[], &[2, 1, 0, 0, 6, 0]] {
        assert_eq!(restore(&member(&control, gaps, &values, &extra), 15), Err(Error::Gap), "{gaps:?}");
    }
    assert_eq!(restore(&member(&control, &[2, 1, 6], &values, &extra), 15), Err(Error::Short(Stream::Gaps)));
}

#[test]
fn bytes_left_over_in_any_stream_are_refused() {
    let (control, _, values, extra) = good();
    let parts = [numbers(&control), numbers(&[2, 1, 6, 0]), values, extra];
    let with = |i: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut parts = parts.clone();
        change(&mut parts[i]);
        restore(&raw(&parts[0], &parts[1], &parts[2], &parts[3]), 15)
    };
    for (i, stream) in [Stream::Control, Stream::Gaps, Stream::Values, Stream::Extra].into_iter().enumerate() {
        let more = with(i, &|part| part.push(0));
        let expected = if i == 0 { Error::Short(stream) } else { Error::LeftOver(stream) };
        assert_eq!(more, Err(expected));
        let less = with(i, &|part| part.truncate(part.len() - 1));
        assert_eq!(less, Err(Error::Short(stream)));
    }
}

#[test]
fn too_many_steps_are_refused_before_their_end() {
    // One byte each: 64 + 2 are allowed for 16 bytes.
    let steps: Vec<u64> = (0..16).flat_map(|_| [0, 1, 0]).collect();
    let zero: Vec<u64> = (0..50).flat_map(|_| [0, 0, 0]).collect();
    let content = [b'x'; 16];
    let allowed = [&zero[..], &steps].concat();
    assert_eq!(restore(&member(&allowed, &[], &[], &content), 16).unwrap(), content);
    let one_more = [&zero[..], &[0, 0, 0], &steps].concat();
    assert_eq!(restore(&member(&one_more, &[], &[], &content), 16), Err(Error::Steps));
    // Behind the last byte too.
    let behind = [&steps[..], &zero, &[0, 0, 0]].concat();
    assert_eq!(restore(&member(&behind, &[], &[], &content), 16), Err(Error::Steps));
    // Ten kilobytes that claim steps without end.
    let control = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let e = frame(&[]);
    let bomb = packed([(&control, 64 << 20), (&e, 0), (&e, 0), (&e, 0)]);
    assert!(bomb.len() < 10_000);
    assert_eq!(restore(&bomb, 1), Err(Error::Steps));
}

#[test]
fn a_claimed_size_of_a_stream_costs_nothing() {
    // 2^60 bytes of gaps, values and extra that nothing asks for.
    let long = {
        let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(1 << 26), &mut out).unwrap();
        out.finish().unwrap()
    };
    let (c, e) = (frame(&numbers(&[0, 0, 0])), frame(&[]));
    for i in 1..4 {
        let mut streams = [(&c[..], 3), (&e[..], 0), (&e[..], 0), (&e[..], 0)];
        streams[i] = (&long, 1 << 60);
        assert!(matches!(restore(&packed(streams), 0), Err(Error::LeftOver(_))));
    }
}

/// For each stream, what a frame that is not as it has to be gives.
fn with_frame(change: impl Fn(&[u8]) -> (Vec<u8>, usize), expected: Fault) {
    let values: Vec<u8> = (1..=100).collect();
    let extra: Vec<u8> = (0..200).collect();
    let reference = vec![7; 100];
    let plain = [numbers(&[100, 200, 0]), numbers(&[0, 100]), values, extra];
    for (i, stream) in [Stream::Control, Stream::Gaps, Stream::Values, Stream::Extra].into_iter().enumerate() {
        let frames: Vec<(Vec<u8>, usize)> =
            plain.iter().enumerate().map(|(k, p)| if k == i { change(p) } else { (frame(p), p.len()) }).collect();
        let streams = [0, 1, 2, 3].map(|k| (&frames[k].0[..], frames[k].1));
        let found = restore_from(&packed(streams), &reference, 300);
        assert_eq!(found, Err(Error::Frame(stream, expected)));
    }
}

fn streamed(plain: &[u8], set: &[CParameter]) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), 3).unwrap();
    set.iter().for_each(|p| out.set_parameter(*p).unwrap());
    std::io::copy(&mut &plain[..], &mut out).unwrap();
    out.finish().unwrap()
}

#[test]
fn a_zstd_window_above_the_limit_is_refused() {
    with_frame(|p| (streamed(p, &[CParameter::WindowLog(24)]), p.len()), Fault::Window);
    // 8 MiB and one eighth, by the header alone.
    with_frame(
        |p| {
            let mut frame = streamed(p, &[CParameter::WindowLog(23)]);
            assert_eq!(frame[4] & 0x20, 0);
            frame[5] = 13 << 3 | 1;
            (frame, p.len())
        },
        Fault::Window,
    );
    let frame = streamed(REFERENCE, &[CParameter::WindowLog(23)]);
    let mut out = Vec::new();
    Frame::new(&frame[..], REFERENCE.len() as u64, WINDOW).unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, REFERENCE);
}

#[test]
fn a_zstd_frame_that_makes_one_byte_more_or_less_is_refused() {
    // The header of these says how many bytes there are.
    with_frame(|p| (frame(&[p, &[1]].concat()), p.len()), Fault::Long);
    with_frame(|p| (frame(&p[1..]), p.len()), Fault::Short);
    // The header of these does not.
    with_frame(|p| (streamed(&[p, &[1]].concat(), &[]), p.len()), Fault::Long);
    with_frame(|p| (streamed(&p[..p.len() - 1], &[]), p.len()), Fault::Short);
}

#[test]
fn a_second_zstd_frame_is_refused() {
    with_frame(|p| ([frame(p), frame(&[])].concat(), p.len()), Fault::Trailing);
    with_frame(|p| ([frame(p), frame(p)].concat(), p.len()), Fault::Trailing);
    // The content in two frames.
    with_frame(|p| ([streamed(&p[..1], &[]), streamed(&p[1..], &[])].concat(), p.len()), Fault::Short);
    // A frame to be skipped before it or behind it, and one byte behind it.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0];
    with_frame(|p| ([&skipped[..], &frame(p)].concat(), p.len()), Fault::Damaged);
    with_frame(|p| ([&frame(p)[..], &skipped].concat(), p.len()), Fault::Trailing);
    with_frame(|p| ([&frame(p)[..], &[0]].concat(), p.len()), Fault::Trailing);
}

#[test]
fn a_damaged_or_cut_zstd_frame_is_refused() {
    // The checksum.
    with_frame(
        |p| {
            let mut frame = streamed(p, &[CParameter::ChecksumFlag(true)]);
            *frame.last_mut().unwrap() ^= 1;
            (frame, p.len())
        },
        Fault::Damaged,
    );
    with_frame(|p| (b"BZh9".repeat(8), p.len()), Fault::Damaged);
    with_frame(|p| (Vec::new(), p.len()), Fault::Cut);
    with_frame(
        |p| {
            let mut frame = streamed(p, &[]);
            frame.pop();
            (frame, p.len())
        },
        Fault::Cut,
    );
}

#[test]
fn a_zstd_frame_with_a_dictionary_is_refused() {
    with_frame(
        |p| {
            // The flag for an id of one byte, and the id behind the window.
            let mut frame = streamed(p, &[]);
            frame[4] |= 1;
            frame.insert(6, 9);
            (frame, p.len())
        },
        Fault::Dictionary,
    );
}

#[test]
fn a_member_with_another_head_is_refused() {
    let (control, _, values, extra) = good();
    let m = member(&control, &[2, 1, 6, 0], &values, &extra);
    for n in 0..72 {
        assert_eq!(restore(&m[..n], 15), Err(Error::Magic));
    }
    let mut other = m.clone();
    other[7] = b'2';
    assert_eq!(restore(&other, 15), Err(Error::Magic));
    assert_eq!(restore(&[&m[..], &[0]].concat(), 15), Err(Error::Lengths));
    assert_eq!(restore(&m[..m.len() - 1], 15), Err(Error::Lengths));
    for at in [8, 24, 40, 56] {
        let mut other = m.clone();
        other[at..at + 8].fill(0xff);
        assert_eq!(restore(&other, 15), Err(Error::Lengths));
    }
}

#[test]
fn a_reference_that_is_shorter_than_it_should_be_is_an_error_of_reading() {
    let (m, r) = (member(&[36, 0, 0], &[36, 0], &[], &[]), REFERENCE[..35].to_vec());
    let mut patched = Patched::new(Part::whole(&m, m.len() as u64), Part::whole(&r, 36), 36).unwrap();
    let error = patched.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_changed_file_becomes_a_small_member() {
    let mut mix = 1u64;
    let mut next = || {
        mix = mix.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (mix >> 33) as u8
    };
    let reference: Vec<u8> = (0..1_000_000).map(|_| next()).collect();
    // Moved, changed here and there, something new in the middle, the end gone.
    let mut new = [&reference[500_000..900_000], &reference[100_000..500_000]].concat();
    (0..new.len()).step_by(1000).for_each(|i| new[i] = new[i].wrapping_add(3));
    let fresh: Vec<u8> = (0..2000).map(|_| next()).collect();
    new.splice(300_000..300_000, fresh);
    let m = delta(&reference, &new, &Options::default());
    assert!(m.len() < 5000, "{}", m.len());
    assert_eq!(restore_from(&m, &reference, new.len() as u64).unwrap(), new);
    // The same bytes again; and with little memory, where pages come and go.
    assert_eq!(delta(&reference, &new, &Options::default()), m);
    let small = delta(&reference, &new, &Options { memory: 0, ..Options::default() });
    assert_eq!(restore_from(&small, &reference, new.len() as u64).unwrap(), new);
    // From itself, and from nothing.
    assert!(delta(&new, &new, &Options::default()).len() < 150);
    assert_eq!(restore_from(&delta(&[], &new, &Options::default()), &[], new.len() as u64).unwrap(), new);
}

#[test]
fn a_member_that_gets_too_large_is_given_up() {
    let (r, n) = (vec![0u8; 100], REFERENCE.repeat(100));
    let options = Options { most: 100, ..Options::default() };
    let mut out = Cursor::new(Vec::new());
    let error = encode(Part::whole(&r, 100), Part::whole(&n, n.len() as u64), &options, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert!(out.get_ref().len() <= 100);
}

/// A medium that says no.
struct Broken;

impl ReadAt for Broken {
    fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
        Err(ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn an_error_of_the_medium_stays_what_it_is() {
    let error = Patched::new(Part::whole(&Broken, 100), Part::whole(&Broken, 100), 5).err().unwrap();
    assert_eq!((error.kind(), Error::of(&error)), (ErrorKind::PermissionDenied, None));
}

/// Something made of pieces of a few kinds, as files are.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..3000usize).prop_map(|(b, n)| vec![b; n]),
        vec(0u8..4, 0..300),
        (0u8..6, 1..2000usize).prop_map(|(seed, n)| (0..n).map(|i| (i * i + seed as usize * 7) as u8).collect()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_comes_out_again(reference in file(), new in file(), cut in any::<(u16, u16)>(), memory in 0u64..3) {
        // Half of it is from the reference.
        let n = reference.len();
        let (a, b) = (cut.0 as usize % (n + 1), cut.1 as usize % (n + 1));
        let new = [&new[..], &reference[a.min(b)..a.max(b)]].concat();
        let options = Options { memory: memory << 24, level: 1, ..Options::default() };
        let m = delta(&reference, &new, &options);
        prop_assert_eq!(restore_from(&m, &reference, new.len() as u64).unwrap(), new);
    }

    #[test]
    fn no_member_makes_it_panic_or_give_another_size(
        control in vec(0u64..70, 0..12), gaps in vec(0u64..40, 0..8), values in vec(any::<u8>(), 0..20),
        extra in vec(any::<u8>(), 0..20), size in 0u64..60, flip in any::<(u16, u8)>(),
    ) {
        let m = member(&control, &gaps, &values, &extra);
        let _ = restore(&m, size);
        let mut other = m.clone();
        let at = flip.0 as usize % other.len();
        other[at] ^= flip.1;
        let _ = restore(&other, size);
    }
}
