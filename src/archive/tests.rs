//! Archives made here and by the programs of the system.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// All members of a level: names and contents, and how it ended.
fn members(bytes: &[u8], limits: Limits) -> (Vec<(String, Vec<u8>)>, Option<Trouble>) {
    let mut out = Vec::new();
    let budget = Budget::new(limits);
    let mut visit = |name: &[u8], member: Member<'_>| {
        let mut content = Vec::new();
        let name = String::from_utf8_lossy(name).into_owned();
        match member {
            Member::Content(stream) => stream.read_to_end(&mut content).map(drop)?,
            Member::Closed(trouble) => content = format!("closed: {trouble}").into_bytes(),
        }
        out.push((name, content));
        Ok(())
    };
    let form = detect(bytes).unwrap();
    let ended = match form {
        Form::Zip => open_zip(&bytes, &budget, &mut visit),
        _ => open(form, &mut &bytes[..], &budget, &mut visit),
    };
    let trouble = match ended {
        Ok(()) => None,
        Err(Stop::Trouble(trouble)) => Some(trouble),
        Err(Stop::Fatal(e)) => panic!("{e}"),
    };
    (out, trouble)
}

/// What a program makes of its input in a folder with the files `a` and `b/c`.
fn made(script: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("a"), "first").unwrap();
    std::fs::write(dir.path().join("b/c"), "x".repeat(1000)).unwrap();
    let run = Command::new("sh").args(["-c", script]).current_dir(dir.path()).stderr(Stdio::null()).output().unwrap();
    (run.status.success() && !run.stdout.is_empty()).then_some(run.stdout)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_of_the_usual_programs_show_all_their_members() {
    let scripts = [
        "tar cf - a b/c",
        "tar --format=v7 -cf - a b/c",
        "tar --format=pax -cf - a b/c",
        "printf 'a\\nb/c\\n' | cpio -o -H newc",
        "printf 'a\\nb/c\\n' | cpio -o -H crc",
        "printf 'a\\nb/c\\n' | cpio -o -H odc",
        "printf 'a\\nb/c\\n' | cpio -o -H bin",
        "ar rc x.a a b/c && cat x.a",
        "python3 -c 'import zipfile,sys;z=zipfile.ZipFile(\"x.zip\",\"w\",8);z.write(\"a\");z.write(\"b/c\");z.close()' && cat x.zip",
        "python3 -c 'import zipfile,sys;z=zipfile.ZipFile(\"x.zip\",\"w\",14);z.write(\"a\");z.write(\"b/c\");z.close()' && cat x.zip",
        "python3 -c 'import zipfile,sys;z=zipfile.ZipFile(\"x.zip\",\"w\",12);z.write(\"a\");z.write(\"b/c\");z.close()' && cat x.zip",
    ];
    for script in scripts {
        let Some(bytes) = made(script) else { continue };
        let (seen, trouble) = members(&bytes, Limits::default());
        assert_eq!(trouble, None, "{script}");
        let name = |at: usize| seen[at].0.trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
        assert_eq!((seen.len(), name(0), name(1)), (2, "a".into(), "c".into()), "{script}: {seen:?}");
        assert_eq!((seen[0].1.as_slice(), seen[1].1.len()), (&b"first"[..], 1000), "{script}");
    }
    for script in ["gzip -c a", "bzip2 -c a", "xz -c a", "xz -9c a", "zstd -qc a"] {
        let Some(bytes) = made(script) else { continue };
        assert_eq!(
            members(&bytes, Limits::default()),
            (vec![("(content)".into(), b"first".to_vec())], None),
            "{script}"
        );
    }
}

#[test]
fn several_members_are_one_content_and_what_stands_behind_the_end_is_a_member() {
    for form in ["gzip", "bzip2", "xz", "zstd -q"] {
        let Some(bytes) = made(&format!("(echo 1 | {form} -c; echo 2 | {form} -c)")) else { continue };
        assert_eq!(members(&bytes, Limits::default()).0, [("(content)".into(), b"1\n2\n".to_vec())], "{form}");
        let behind = [bytes, vec![0; 512], b"hidden".to_vec()].concat();
        let (seen, trouble) = members(&behind, Limits::default());
        assert_eq!((seen[1].clone(), trouble), (("(behind the end)".into(), b"hidden".to_vec()), None), "{form}");
    }
    let tar = made("tar cf - a").unwrap();
    let (seen, _) = members(&[tar, b"hidden".to_vec()].concat(), Limits::default());
    assert_eq!(seen[1].1, b"hidden");
}

#[test]
fn a_zip_shows_members_of_one_name_encrypted_ones_and_those_that_are_not_listed() {
    let twice =
        "import zipfile\nz=zipfile.ZipFile('x.zip','w')\nz.writestr('n','one')\nz.writestr('n','two')\nz.close()";
    let Some(bytes) = made(&format!("python3 -W ignore -c \"{twice}\" && cat x.zip")) else { return };
    let (seen, _) = members(&bytes, Limits::default());
    assert_eq!(seen, [("n".into(), b"one".to_vec()), ("n".into(), b"two".to_vec())]);
    // The flag of encryption in the second entry of the directory.
    let at = memchr::memmem::rfind(&bytes, b"PK\x01\x02").unwrap();
    let mut closed = bytes.clone();
    closed[at + 8] |= 1;
    assert_eq!(members(&closed, Limits::default()).0[1].1, b"closed: is encrypted");
    // Without that entry.
    let mut hidden = bytes.clone();
    let entry: Vec<u8> = hidden.drain(at..at + 47).collect();
    assert!(entry.ends_with(b"n"));
    let end = hidden.len() - 22;
    hidden[end + 8] = 1;
    hidden[end + 10] = 1;
    hidden[end + 12] -= 47;
    let (seen, _) = members(&hidden, Limits::default());
    assert!(seen[1].1.starts_with(b"closed: has a member that its directory"), "{seen:?}");
    // Readers begin at the end, whatever stands before.
    let program = [b"#!/bin/sh\n".to_vec(), bytes].concat();
    assert!(detect(&program).is_none() && ends_as_zip(&program));
}

#[test]
fn damage_is_said_and_what_came_before_is_seen() {
    let tar = made("tar cf - b/c a").unwrap();
    let (seen, trouble) = members(&tar[..700], Limits::default());
    assert_eq!(trouble.unwrap().reason, Reason::Damaged);
    assert!(seen.is_empty());
    let (seen, trouble) = members(&tar[..2050], Limits::default());
    assert_eq!((seen.len(), trouble.unwrap().reason), (1, Reason::Damaged));
    let mut packed = gzip(&[b'x'; 5000]);
    let end = packed.len();
    packed[end - 5] ^= 1;
    assert_eq!(members(&packed, Limits::default()).1.unwrap().reason, Reason::Damaged);
    assert_eq!(members(&packed[..end - 12], Limits::default()).1.unwrap().reason, Reason::Damaged);
}

#[test]
fn bombs_end_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    let bomb = gzip(&zeros);
    let trouble = members(&bomb, Limits::default()).1.unwrap();
    assert_eq!((trouble.reason, trouble.text.contains("1000 times")), (Reason::TooLarge, true));
    let limits = Limits { inflated: 1 << 20, ratio: u64::MAX, ..Limits::default() };
    assert_eq!(members(&bomb, limits).1.unwrap().text, "inflates to more than 1048576 bytes");
    let tar = made("tar cf - a b/c").unwrap();
    let few = Limits { members: 1, ..Limits::default() };
    assert_eq!(members(&tar, few).1.unwrap().text, "has more than 1 members");
    let Some(bytes) = made("head -c 200M /dev/zero | zstd -q --ultra -22 --long=27") else { return };
    assert_eq!(members(&bytes, Limits::default()).1.unwrap().reason, Reason::TooLarge);
}

#[test]
fn text_images_and_programs_are_no_archives() {
    let samples: [&[u8]; 5] = [b"", b"hello", b"\x7fELF\x02\x01\x01", b"\x89PNG\r\n\x1a\n", &[0; 600]];
    for sample in samples {
        assert_eq!(detect(sample), None);
    }
    assert_eq!(detect(b"7z\xbc\xaf\x27\x1c\0\x04"), Some(Form::Other("7z")));
    let mut disc = vec![0; HEAD];
    disc[0x8001..0x8006].copy_from_slice(b"CD001");
    assert_eq!(detect(&disc), Some(Form::Other("iso9660")));
}
