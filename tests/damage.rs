//! The damage sweep (security F5): damage at any single place of a bundle is found, by the reader of files and by the
//! reader of streams, with the right code and without a panic.
//!
//! By default each sweep checks a seeded sample of the places. All of them: `cargo test --profile sweep --test damage
//! -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::type_complexity)]

mod forge;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use forge::archive::Archive;
use forge::draft::{Draft, LAYER, noise};
use forge::verifier;
use mirror_bundle::bundle::index::Kind;
use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;
use mirror_bundle::oci::Role;
use mirror_bundle::verify::Report;

/// The default tests damage one of this many places.
const SAMPLE: u64 = 256;

#[test]
fn no_damage_in_a_sample_goes_undetected() {
    sweep(SAMPLE);
}

#[test]
#[ignore = "all places: minutes in an optimised build"]
fn no_damage_at_all_goes_undetected() {
    sweep(1);
}

/// About 64 KiB: a release with signature and ConfigMap, a multi-arch image with signature and referrer, manifests.
fn bundle() -> Archive {
    let mut draft = Draft::full();
    let layer = draft.blob(Role::Layer, &noise(11_000));
    let image = draft.image("amd64", &[(LAYER, layer)]);
    draft.top(Kind::Additional, "registry.example.com/big", Some("1"), &image);
    draft.archive()
}

#[test]
fn a_flip_in_any_byte_of_an_addendum_is_refused() {
    let plain = Draft::tiny().archive();
    let builder = forge::archive::signed(&plain.entries[plain.at(layout::INDEX)].bytes);
    // An unsigned bundle whose only signature is appended: every bit of it matters.
    let bare = Draft::tiny().archive_signed(|_| None);
    let name = "signature-builder-0123456789abcdef";
    let archive = bare.with_addendum(name, &builder);
    let good = archive.bytes();
    let bench = Bench::new();
    let whole = Damage { what: "none".into(), bytes: good.clone(), right: vec![0], named: None, same: true };
    assert_eq!(bench.fault(&whole), None);
    let first = archive.offset(&format!("{}{name}", layout::ADDENDA));
    for at in first..good.len() {
        let bit = at % 8;
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        let damage = Damage { what: format!("bit {bit} of {at}"), bytes, right: vec![], named: None, same: false };
        assert_eq!(bench.fault(&damage), None);
    }
}

/// The content at an offset, and the expected code of damage there.
#[derive(Clone, Debug)]
struct Place {
    member: String,
    codes: &'static [Code],
    content: bool,
}

/// For every byte of a bundle.
fn places(archive: &Archive) -> Vec<Place> {
    let mut out = Vec::new();
    for (at, entry) in archive.entries.iter().enumerate() {
        let header: &[Code] = if at == 0 { &[Code::NotABundle] } else { &[Code::Malformed] };
        let content: &[Code] = match entry.name.as_str() {
            layout::OCI_LAYOUT | layout::SUMS => &[Code::Malformed],
            layout::INDEX => &[Code::BadSignature],
            // A key of another type is not trusted. After that the index is still read, and SHA256SUMS no longer has
            // the signature's digest.
            layout::SIGNATURE => &[Code::BadSignature, Code::Untrusted, Code::Malformed],
            _ => &[Code::BlobMismatch],
        };
        let mut put = |codes, content, count| {
            let place = Place { member: entry.name.clone(), codes, content };
            out.resize(out.len() + count, place);
        };
        put(header, false, 512);
        put(content, true, entry.bytes.len());
        put(&[Code::UnlistedContent], false, entry.bytes.len().next_multiple_of(512) - entry.bytes.len());
    }
    let end = Place { member: "the end".into(), codes: &[Code::UnlistedContent], content: false };
    out.resize(out.len() + archive.tail.len(), end);
    out
}

/// One damaged bundle.
struct Damage {
    what: String,
    bytes: Vec<u8>,
    /// The accepted exit codes; empty: any code of a bad bundle.
    right: Vec<u8>,
    /// A word that the report must contain: the damaged object.
    named: Option<String>,
    /// Whether both readers must return the same code.
    same: bool,
}

struct Bench {
    path: PathBuf,
    file: std::fs::File,
    settings: verifier::Host,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = dir.path().join("bundle.tar");
        Bench { file: std::fs::File::create(&path).unwrap(), path, settings: verifier::usual(), _dir: dir }
    }

    /// The error in how the damage is reported, if any.
    fn fault(&self, damage: &Damage) -> Option<String> {
        self.file.set_len(damage.bytes.len() as u64).unwrap();
        self.file.write_all_at(&damage.bytes, 0).unwrap();
        let file = catch_unwind(AssertUnwindSafe(|| verifier::file(&self.path, &self.settings, false, 1)));
        let bytes = Cursor::new(damage.bytes.clone());
        let stream = catch_unwind(AssertUnwindSafe(|| verifier::stream(bytes, &self.settings)));
        let (Ok(file), Ok(stream)) = (file, stream) else { return Some(format!("{}: a panic", damage.what)) };
        let (Ok(file), Ok(stream)) = (&file, &stream) else {
            return Some(format!("{}: could not check: {file:?} {stream:?}", damage.what));
        };
        let right = |exit: u8| match damage.right.as_slice() {
            [] => (10..40).contains(&exit),
            right => right.contains(&exit),
        };
        let agree = !damage.same || file.exit_code == stream.exit_code;
        if !right(file.exit_code) || !(right(stream.exit_code) || (!damage.same && stream.exit_code != 0)) || !agree {
            let (one, two) = (file.exit_code, stream.exit_code);
            return Some(format!(
                "{}: {one} from the file, {two} from the stream, want {:?}",
                damage.what, damage.right
            ));
        }
        let names =
            |report: &Report, word: &str| report.errors().any(|f| f.subject.contains(word) || f.message.contains(word));
        match &damage.named {
            Some(word) if !names(file, word) || !names(stream, word) => Some(format!("{}: not named", damage.what)),
            _ => None,
        }
    }
}

fn sweep(every: u64) {
    let archive = bundle();
    let good = archive.bytes();
    let places = places(&archive);
    assert_eq!(places.len(), good.len());
    let whole = Damage { what: "none".into(), bytes: good.clone(), right: vec![0], named: None, same: true };
    assert_eq!(Bench::new().fault(&whole), None);
    println!("bundle of {} bytes, 1 of {every} places", good.len());

    let at = |place: &Place| place.codes.iter().map(|c| c.exit()).collect::<Vec<u8>>();
    let named = |place: &Place| place.content.then(|| place.member.rsplit('/').next().unwrap().to_owned());
    let changed = |what: String, offset: usize, value: u8| {
        let mut bytes = good.clone();
        let place = &places[offset];
        let word = if place.member.starts_with("blobs/") { named(place) } else { None };
        let same = bytes[offset] == value;
        bytes[offset] = value;
        (!same).then(|| Damage {
            what: format!("{what} of {}", place.member),
            bytes,
            right: at(place),
            named: word,
            same: true,
        })
    };
    let flip = |n: u64| {
        let (offset, bit) = ((n / 8) as usize, n % 8);
        changed(format!("bit {bit} of byte {offset}"), offset, good[offset] ^ 1 << bit)
    };
    run("bit flips", good.len() as u64 * 8, every, &flip);
    for value in [0x00, 0xff] {
        let set = |n: u64| changed(format!("{value:#04x} at byte {n}"), n as usize, value);
        run(&format!("bytes set to {value:#04x}"), good.len() as u64, every, &set);
    }
    let cut = |n: u64| {
        let right = vec![if n < 512 { Code::NotABundle.exit() } else { Code::Truncated.exit() }];
        let bytes = good[..n as usize].to_vec();
        Some(Damage { what: format!("cut to {n} bytes"), bytes, right, named: None, same: true })
    };
    run("truncations", good.len() as u64, every, &cut);
    for fill in [0, b'x'] {
        let append = |n: u64| {
            let mut bytes = good.clone();
            bytes.resize(good.len() + 1 + n as usize, fill);
            let right = vec![Code::UnlistedContent.exit()];
            Some(Damage { what: format!("{} bytes of {fill} appended", n + 1), bytes, right, named: None, same: true })
        };
        run("appended bytes", 4096, every, &append);
    }
    for size in [512, 4096] {
        blocks(&good, size, if every == 1 { 1 } else { 4 });
    }
}

/// Every block zeroed, dropped, doubled, and swapped with the next.
fn blocks(good: &[u8], size: usize, every: u64) {
    let block = |n: usize| n * size..((n + 1) * size).min(good.len());
    let count = good.len().div_ceil(size) as u64;
    let damage = |what: &str, n: u64, bytes: Vec<u8>, same: bool| {
        let what = format!("block {n} of {size} bytes {what}");
        (bytes != good).then_some(Damage { what, bytes, right: vec![], named: None, same })
    };
    run(&format!("blocks of {size} zeroed"), count, every, &|n| {
        let mut bytes = good.to_vec();
        bytes[block(n as usize)].fill(0);
        damage("zeroed", n, bytes, false)
    });
    run(&format!("blocks of {size} dropped"), count, every, &|n| {
        let mut bytes = good.to_vec();
        bytes.drain(block(n as usize));
        damage("dropped", n, bytes, false)
    });
    run(&format!("blocks of {size} doubled"), count, every, &|n| {
        let block = block(n as usize);
        damage("doubled", n, [&good[..block.end], &good[block.start..]].concat(), false)
    });
    run(&format!("blocks of {size} swapped"), count - 1, every, &|n| {
        let (one, two) = (block(n as usize), block(n as usize + 1));
        let parts = [&good[..one.start], &good[two.clone()], &good[one], &good[two.end..]];
        damage("swapped", n, parts.concat(), false)
    });
}

/// Applies damage `0..count`, or a sample of it, and checks how it is reported.
fn run(what: &str, count: u64, every: u64, make: &(dyn Fn(u64) -> Option<Damage> + Sync)) {
    let started = Instant::now();
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let faults: Mutex<BTreeMap<u64, String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let bench = Bench::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    if !chosen(n, every) {
                        continue;
                    }
                    let Some(damage) = make(n) else { continue };
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Some(fault) = bench.fault(&damage) {
                        faults.lock().unwrap().insert(n, fault);
                    }
                }
            });
        }
    });
    let faults: Vec<String> = faults.into_inner().unwrap().into_values().collect();
    let (done, seconds) = (done.into_inner(), started.elapsed().as_secs_f64());
    println!("{what}: {done} of {count} in {seconds:.1} s, {} faults", faults.len());
    assert!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(20)]);
}

/// A sample that is reproducible and has no pattern.
fn chosen(n: u64, every: u64) -> bool {
    let mut mixed = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(every)
}
