#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::bundle::index::{Blob, tests::sample};
use crate::bundle::{Room, divide};
use crate::error::Code;
use crate::error::Result;
use crate::oci::{Digest, Role};

fn plan(blobs: &[&[u8]]) -> Plan {
    let mut index = sample();
    index.blobs =
        blobs.iter().map(|b| Blob { digest: Digest::of(b), size: b.len() as u64, role: Role::Layer }).collect();
    index.sort();
    Plan::new(index, vec![b"abc".to_vec(); 3], None).unwrap()
}

/// The position of a blob in the index.
fn at(plan: &Plan, content: &[u8]) -> usize {
    plan.index.blobs.iter().position(|b| b.digest == Digest::of(content)).unwrap()
}

fn write_one(partial: &Partial<'_>, content: &[u8]) -> Result<()> {
    write_at(partial, at(partial.plan(), content), content)
}

fn write_at(partial: &Partial<'_>, blob: usize, content: &[u8]) -> Result<()> {
    let mut blob = partial.blob(blob, &mut vec![0; 4096])?;
    let from = blob.offset() as usize;
    blob.write(&content[from..])?;
    blob.finish()
}

fn start<'a>(path: &Path, plan: &'a Plan) -> Partial<'a> {
    let journal = Journal::read(&plan.first(path)).unwrap();
    match Partial::start(path, plan, journal.as_ref(), false).unwrap() {
        Start::Write(partial) => partial,
        Start::Complete(_) => panic!("complete"),
    }
}

#[test]
fn a_journal_that_ends_in_bytes_that_are_no_text_is_continued() {
    let plan = plan(&[b"one"]);
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("b.tar");
    drop(start(&bundle, &plan));
    let torn = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz-regressions/journal-torn-bytes");
    let journal = [fs::read(journal_path(&bundle)).unwrap(), fs::read(torn).unwrap()].concat();
    fs::write(journal_path(&bundle), journal).unwrap();
    let partial = start(&bundle, &plan);
    write_one(&partial, b"one").unwrap();
    partial.finish(false).unwrap();
}

#[test]
fn a_stopped_run_is_continued_and_ends_with_the_same_bytes() {
    let big = vec![7u8; 3 * NOTE_EVERY as usize];
    let plan = plan(&[b"one", &big]);
    let dir = tempfile::tempdir().unwrap();

    let whole = dir.path().join("whole.tar");
    let partial = start(&whole, &plan);
    write_one(&partial, b"one").unwrap();
    write_one(&partial, &big).unwrap();
    partial.finish(false).unwrap();

    let cut = dir.path().join("cut.tar");
    let partial = start(&cut, &plan);
    let large = at(&plan, &big);
    let mut blob = partial.blob(large, &mut vec![0; 4096]).unwrap();
    for chunk in big[..20 << 20].chunks(1 << 20) {
        blob.write(chunk).unwrap();
    }
    drop(blob);
    drop(partial);
    let partial = start(&cut, &plan);
    assert_eq!(partial.claim(large), Claim::Partial(16 << 20));
    assert_eq!(partial.blob(large, &mut vec![0; 4096]).unwrap().offset(), 16 << 20);
    write_one(&partial, b"one").unwrap();
    write_one(&partial, &big).unwrap();
    partial.finish(false).unwrap();
    assert!(fs::read(&whole).unwrap() == fs::read(&cut).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn claims_that_are_not_true_are_found_and_content_that_does_not_match_is_refused() {
    let plan = plan(&[b"first blob"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let partial = start(&path, &plan);
    assert_eq!(write_at(&partial, 0, b"other blob").unwrap_err().code(), Code::BlobMismatch);
    write_one(&partial, b"first blob").unwrap();
    let place = plan.places(0)[0];
    partial.write(&place, b"X", plan.member(&place).data() + 2).unwrap();
    drop(partial);
    let partial = start(&path, &plan);
    assert_eq!(partial.claim(0), Claim::Done);
    assert_eq!(partial.blob(0, &mut [0; 64]).unwrap().offset(), 0);
    let mut blob = partial.blob(0, &mut [0; 64]).unwrap();
    assert_eq!(blob.write(b"far too many bytes").unwrap_err().code(), Code::BlobMismatch);
    assert!(!path.exists());
}

#[test]
fn links_under_the_names_of_temporary_files_are_not_followed() {
    let plan = plan(&[]);
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for suffix in [".partial", ".partial.journal.new"] {
        let path = dir.path().join(format!("b{suffix}.tar"));
        std::os::unix::fs::symlink(&victim, with_suffix(&path, suffix)).unwrap();
        let _ = Partial::start(&path, &plan, None, false);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}

#[test]
fn two_writers_and_an_existing_bundle_are_conflicts() {
    let plan = plan(&[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let first = start(&path, &plan);
    assert_eq!(Partial::start(&path, &plan, None, false).unwrap_err().code(), Code::Conflict);
    first.finish(false).unwrap();
    assert_eq!(Partial::start(&path, &plan, None, false).unwrap_err().code(), Code::Conflict);
    assert!(matches!(Partial::start(&path, &plan, None, true), Ok(Start::Write(_))));
}

/// Blobs of these sizes that no two of are alike, and a plan of the volumes that they are divided into.
fn divided(sizes: &[usize], volume: u64, chosen: impl Fn(u32) -> bool) -> (Vec<Vec<u8>>, Plan) {
    let blobs: Vec<Vec<u8>> = (1u8..)
        .zip(sizes)
        .map(|(n, &size)| (0..size).map(|i| n.wrapping_mul(i as u8) ^ (i >> 8) as u8).collect())
        .collect();
    let whole = plan(&blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let room = Room {
        volume,
        tail: 0,
        order: &[],
        everywhere: &BTreeSet::new(),
        form: crate::bundle::layout::Form::default(),
    };
    let volumes = divide(&whole.index, &whole.index_bytes, None, &room).unwrap();
    (blobs, whole.divided(volumes, chosen).unwrap())
}

fn written(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    out.sort();
    out
}

/// Every volume's bytes, as the rules give them from the blobs alone.
fn expected(plan: &Plan, blobs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let content = |blob: usize| blobs.iter().find(|b| Digest::of(b) == plan.index.blobs[blob].digest).unwrap();
    let slice = |e: &crate::bundle::volume::Extent| &content(e.blob)[e.offset as usize..(e.offset + e.size) as usize];
    plan.archives()
        .iter()
        .map(|archive| {
            let extents = archive.layout.extents();
            let digests = extents.iter().filter(|e| e.piece.is_some()).map(|e| Digest::of(slice(e))).collect();
            let layout = plan.layout_with(archive, digests).unwrap();
            let mut out = plan.head(layout.as_ref().unwrap_or(&archive.layout)).concat();
            for (member, extent) in archive.layout.blobs().iter().zip(extents) {
                out.extend(archive.layout.header_of(member));
                out.extend(slice(extent));
                out.resize(member.end() as usize, 0);
            }
            out.extend(plan.end());
            out
        })
        .collect()
}

const SIZES: &[usize] = &[100, 30_000, 4097, 150_000, 29_000, 0, 70_000];

#[test]
fn volumes_have_exactly_the_bytes_that_their_description_says() {
    let (blobs, plan) = divided(SIZES, 60_000, |_| true);
    assert!(plan.archives().len() > 4);
    let dir = tempfile::tempdir().unwrap();
    let partial = start(&dir.path().join("b.tar"), &plan);
    blobs.iter().for_each(|b| write_one(&partial, b).unwrap());
    partial.finish(false).unwrap();
    let there = written(dir.path());
    let names: Vec<String> =
        (1..=plan.archives().len()).map(|n| format!("b.{n}of{}.tar", plan.archives().len())).collect();
    assert_eq!(there.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
    let expected = expected(&plan, &blobs);
    for ((name, bytes), expected) in there.iter().zip(&expected) {
        assert!(bytes == expected, "{name}");
        assert!(bytes.len() <= 60_000, "{name}: {}", bytes.len());
    }
    // One after the other, each by itself, they are the same.
    let alone = tempfile::tempdir().unwrap();
    for n in 1..=plan.archives().len() as u32 {
        let (_, plan) = divided(SIZES, 60_000, |volume| volume == n);
        let partial = start(&alone.path().join("b.tar"), &plan);
        for blob in plan.blobs() {
            let content = blobs.iter().find(|b| Digest::of(b) == plan.index.blobs[blob].digest).unwrap();
            write_at(&partial, blob, content).unwrap();
        }
        partial.finish(false).unwrap();
    }
    assert!(written(alone.path()) == there);
}

/// Stops after each blob, and after each renaming; damages what is there now and then; and goes on.
#[test]
fn volumes_stopped_at_any_point_are_continued_and_end_with_the_same_bytes() {
    let (blobs, plan) = divided(SIZES, 60_000, |_| true);
    let expected = expected(&plan, &blobs);
    for damage in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("b.tar");
        for blob in &blobs {
            write_one(&start(&bundle, &plan), blob).unwrap();
        }
        // What finish() does, as far as the second renaming.
        let partial = start(&bundle, &plan);
        blobs.iter().for_each(|b| write_one(&partial, b).unwrap());
        drop(partial);
        for (archive, bytes) in plan.archives().iter().zip(&expected).take(2) {
            let path = plan.path(&bundle, archive);
            fs::rename(partial_path(&path), &path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        if damage {
            for archive in &plan.archives()[2..] {
                let file = fs::OpenOptions::new().write(true).open(partial_path(&plan.path(&bundle, archive))).unwrap();
                (0..plan.bytes_of(archive)).step_by(3000).for_each(|at| file.write_all_at(b"?", at).unwrap());
            }
        }
        let partial = start(&bundle, &plan);
        blobs.iter().for_each(|b| write_one(&partial, b).unwrap());
        partial.finish(false).unwrap();
        let there = written(dir.path());
        assert_eq!(there.len(), expected.len());
        assert!(there.iter().zip(&expected).all(|((_, a), b)| a == b), "damage: {damage}");
    }
}

#[test]
fn a_file_under_the_name_of_a_volume_counts_as_finished_only_with_exactly_its_head() {
    let (blobs, plan) = divided(&[150_000], 60_000, |_| true);
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("b.tar");
    let good = expected(&plan, &blobs).remove(0);
    drop(start(&bundle, &plan));
    let path = plan.path(&bundle, &plan.archives()[0]);
    let journal = Journal::read(&bundle).unwrap();
    let again = || Partial::start(&bundle, &plan, journal.as_ref(), false);
    for at in [0, 40, 700, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert_eq!(again().unwrap_err().code(), Code::Conflict, "byte {at}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(again().unwrap_err().code(), Code::Conflict);
    fs::write(&path, &good).unwrap();
    assert!(matches!(again(), Ok(Start::Write(_))));
    // Without the journal of this plan it is a file of somebody else.
    assert_eq!(Partial::start(&bundle, &plan, None, false).unwrap_err().code(), Code::Conflict);
}

#[test]
fn a_file_that_another_writer_finished_before_it_was_locked_is_left_alone() {
    let plan = plan(&[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let first = start(&path, &plan);
    let opened = fs::File::open(partial_path(&path)).unwrap();
    first.finish(false).unwrap();
    assert_eq!(crate::fs::partial::lock(&opened, &partial_path(&path)).unwrap_err().code(), Code::Conflict);
    let other = dir.path().join("other.tar");
    drop(start(&other, &plan));
    assert_eq!(crate::fs::partial::lock(&opened, &partial_path(&other)).unwrap_err().code(), Code::Conflict);
}

#[test]
fn a_damaged_copy_that_is_replaced_is_not_taken_for_the_finished_bundle() {
    let plan = plan(&[b"first blob"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.tar");
    let partial = start(&path, &plan);
    write_one(&partial, b"first blob").unwrap();
    partial.finish(false).unwrap();
    let good = fs::read(&path).unwrap();
    let content = plan.archives()[0].layout.blobs()[0].data() as usize;
    for at in [0, content, content + 10, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        // Interrupted at once: a journal, and nothing else done.
        drop(Partial::start(&path, &plan, None, true).unwrap());
        let journal = Journal::read(&path).unwrap();
        let again = Partial::start(&path, &plan, journal.as_ref(), true).unwrap();
        assert!(matches!(again, Start::Write(_)), "{at}");
    }
    fs::write(&path, &good).unwrap();
    let journal = Journal::read(&path).unwrap();
    assert!(matches!(Partial::start(&path, &plan, journal.as_ref(), false), Ok(Start::Complete(_))));
    forget(&path, &|| Ok(())).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The index is in every volume, and so are small blobs and documents: more volumes than can be read together.
#[test]
fn a_division_that_could_not_be_read_as_one_bundle_is_refused_with_a_size_that_would_do() {
    // Many small blobs on every volume, and many large ones whose places are in each description.
    for (sizes, beside, fact) in [
        ([vec![1; 900], vec![120_000_000]].concat(), 1_400_000, "more than 100000 members"),
        (vec![4097; 14_000], 400_000, "more than 4194304 bytes"),
    ] {
        let mut index = sample();
        let blob =
            |(n, size): (usize, &u64)| Blob { digest: Digest::of(&n.to_be_bytes()), size: *size, role: Role::Layer };
        index.blobs = sizes.iter().enumerate().map(blob).collect();
        index.sort();
        let whole = || Plan::new(index.clone(), vec![b"abc".to_vec(); 3], None).unwrap();
        let attempt = |volume: u64| {
            let plan = whole();
            let room = Room {
                volume,
                tail: 0,
                order: &[],
                everywhere: &BTreeSet::new(),
                form: crate::bundle::layout::Form::default(),
            };
            let volumes = divide(&plan.index, &plan.index_bytes, None, &room).unwrap();
            plan.divided(volumes, |n| n == 1)
        };
        let err = attempt(whole().index_bytes.len() as u64 + beside).map(drop).unwrap_err();
        assert_eq!(err.code(), Code::Usage);
        assert!(err.facts().iter().any(|f| f.contains(fact)), "{:?}", err.facts());
        let hint = err.hint_text().unwrap();
        let size: u64 = hint.split(' ').find_map(|w| w.strip_suffix("MiB")?.parse().ok()).unwrap();
        let plan = attempt(size << 20).unwrap();
        let (of, members) = (plan.archives()[0].volume.as_ref().unwrap().of, plan.archives()[0].layout.members().len());
        assert!(of > 1 && 2 * of as usize * members <= crate::bundle::limits::MEMBERS, "{of} of {members}");
    }
}
