//! One zstd frame of a known size, in bounded memory: the input as it is, or what it claims changed in the header of a
//! sound frame.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::delta::{CONTENT_WINDOW, Frame};

fn read(frame: &[u8], size: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let result = Frame::new(frame, size, CONTENT_WINDOW).unwrap().take(size + 1).read_to_end(&mut out);
    assert!(out.len() as u64 <= size);
    result.ok().map(|_| out)
}

fuzz_target!(|data: &[u8]| {
    let [mode, size, rest @ ..] = data else { return };
    if let Some(out) = read(rest, u64::from(*size) << (mode & 15)) {
        assert_eq!(out.len() as u64, u64::from(*size) << (mode & 15));
    }
    let mut frame = zstd::encode_all(rest, 1 + i32::from(mode % 4)).unwrap();
    assert_eq!(read(&frame, rest.len() as u64).as_deref(), Some(rest));
    let at = usize::from(*mode) % frame.len().min(20);
    frame[at] ^= size | 1;
    read(&frame, rest.len() as u64);
});
