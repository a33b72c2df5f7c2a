//! `delta-1`. First byte even: a member is made of the four streams that the input is cut into, in sound frames, and
//! read: it gives the size that was asked for, or an error. Odd: the input is cut into a reference and a new content,
//! and what is encoded comes out again.
#![no_main]

use std::io::{Cursor, Read};

use libfuzzer_sys::fuzz_target;
use mirror_bundle::delta::{Options, Part, Patched, encode};

const REFERENCE: &[u8] = b"the reference, which is long enough for some steps";

fn cut(data: &[u8], at: u8) -> (&[u8], &[u8]) {
    data.split_at(data.len() * usize::from(at) / 256)
}

fuzz_target!(|data: &[u8]| {
    let [mode, a, b, c, size, rest @ ..] = data else { return };
    if mode % 2 == 0 {
        let (left, right) = cut(rest, *a);
        let ((control, gaps), (values, extra)) = (cut(left, *b), cut(right, *c));
        let mut member = b"MBDELTA1".to_vec();
        let frames = [control, gaps, values, extra].map(|plain| (zstd::bulk::compress(plain, 1).unwrap(), plain.len()));
        for (frame, plain) in &frames {
            member.extend((frame.len() as u64).to_le_bytes());
            member.extend((*plain as u64).to_le_bytes());
        }
        frames.iter().for_each(|(frame, _)| member.extend(frame));
        if mode & 2 == 2 {
            // Damaged somewhere.
            let at = (usize::from(*a) << 8 | usize::from(*b)) % member.len();
            member[at] ^= c | 1;
        }
        let size = u64::from(*size) * (1 + u64::from(mode >> 4) * 100);
        let reference = REFERENCE.to_vec();
        let parts = (Part::whole(&member, member.len() as u64), Part::whole(&reference, REFERENCE.len() as u64));
        let mut out = Vec::new();
        if let Ok(patched) = Patched::new(parts.0, parts.1, size)
            && patched.take(size + 1).read_to_end(&mut out).is_ok()
        {
            assert_eq!(out.len() as u64, size);
        }
        assert!(out.len() as u64 <= size);
        return;
    }
    let (reference, new) = cut(rest, *a);
    let (x, y) = (usize::from(*b) * reference.len() / 256, usize::from(*c) * reference.len() / 256);
    let (reference, new) = (reference.to_vec(), [&reference[x.min(y)..x.max(y)], new].concat());
    let old = || Part::whole(&reference, reference.len() as u64);
    let mut member = Cursor::new(Vec::new());
    let n =
        encode(old(), Part::whole(&new, new.len() as u64), &Options { level: 1, ..Options::default() }, &mut member)
            .unwrap();
    let member = member.into_inner();
    let mut out = Vec::new();
    let mut patched = Patched::new(Part::whole(&member, n), old(), new.len() as u64).unwrap();
    patched.read_to_end(&mut out).unwrap();
    assert!(out == new);
});
