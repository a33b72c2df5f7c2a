//! Package databases of images: the first byte chooses the reader, the rest is the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::packages::{Reading, apk, collect, dpkg, language, program, rpm};

fuzz_target!(|data: &[u8]| {
    let [mode, file @ ..] = data else { return };
    let reading: Reading = match mode % 12 {
        0 => rpm::sqlite(file, None),
        1 => {
            // A log behind the file; its first two bytes say where.
            let [a, b, rest @ ..] = file else { return };
            let (data, log) = rest.split_at(usize::from(u16::from_be_bytes([*a, *b])).min(rest.len()));
            rpm::sqlite(data, Some(log))
        }
        2 => rpm::ndb(file),
        3 => rpm::bdb(file),
        4 => dpkg::status(file),
        5 => dpkg::part(file),
        6 => apk::installed(file),
        7 => language::python(file),
        8 => language::npm(file),
        9 => language::java("a-1.0.jar", file),
        10 => program::read(file),
        _ => {
            let head = &file[..file.len().min(4096)];
            let _ = program::large_elf(head, &mut &file[head.len()..]);
            let _ = program::crates(file);
            program::go(file).unwrap_or_default()
        }
    };
    // What is no longer than its input cannot take more memory than some multiple of it.
    assert!(reading.packages.len() <= file.len() + 1);
    let _ = collect::wants(b"sysroot/ostree/repo/objects/0/1.file", file);
});
