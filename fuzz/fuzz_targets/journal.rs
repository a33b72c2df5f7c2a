//! The journal and partial file of an interrupted run: whatever they claim, the bundle that comes out is right.
//! First byte: where the partial file is damaged; bit 7: the journal is the input alone, without the right head.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirror_bundle::bundle::writer::{Journal, Partial, Start, journal_path, partial_path};
use mirror_bundle::oci::Digest;
use mirror_bundle_fuzz as host;

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = PathBuf::from(format!("/dev/shm/mirror-bundle-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("b.tar")
    })
}

fuzz_target!(|data: &[u8]| {
    let [mode, text @ ..] = data else { return };
    let made = host::made();
    let (plan, path) = (&made.plan, path());
    let _ = std::fs::remove_file(path);
    let mut partial = made.bytes.clone();
    let at = usize::from(mode & 0x7f) * partial.len() / 128;
    partial[at] ^= mode & 1;
    let mut journal = match mode & 0x80 {
        0 => format!(
            "mirror-bundle partial 2\ncreated {}\nindex {}\ndivision {}\nbytes {}\n",
            plan.index.created,
            plan.digest(),
            Digest::of(b""),
            plan.bytes()
        )
        .into_bytes(),
        _ => Vec::new(),
    };
    let mut text = text.to_vec();
    for (letter, blob) in [b'A', b'B', b'C', b'D'].iter().zip(&plan.index.blobs) {
        text = host::parts::replace(&text, &[b'$', *letter, b'$'], blob.digest.to_string().as_bytes());
    }
    journal.extend_from_slice(&text);
    std::fs::write(partial_path(path), partial).unwrap();
    std::fs::write(journal_path(path), journal).unwrap();
    let journal = Journal::read(path).unwrap();
    let Start::Write(partial) = Partial::start(path, plan, journal.as_ref(), true).unwrap() else { panic!("complete") };
    let mut buffer = [0; 4096];
    for (at, content) in made.blobs.iter().enumerate() {
        loop {
            let mut blob = partial.blob(at, &mut buffer).unwrap();
            let offset = usize::try_from(blob.offset()).unwrap();
            blob.write(&content[offset..]).unwrap();
            match blob.finish() {
                Ok(()) => break,
                Err(_) => assert!(offset > 0),
            }
            // As `create` does: what was claimed and was wrong is fetched anew.
            let mut blob = partial.blob(at, &mut buffer).unwrap();
            blob.restart();
            blob.write(content).unwrap();
            blob.finish().unwrap();
            break;
        }
    }
    partial.finish(true).unwrap();
    assert!(std::fs::read(path).unwrap() == made.bytes);
});
