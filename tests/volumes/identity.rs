//! split, then join: the same bytes, whatever the size (F7).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mirror_bundle::Code;
use mirror_bundle::bundle::{Bundle, Index};
use mirror_bundle::ops::{Silent, join, split};

use crate::bench::*;

/// Splits `b.tar` into `size`, joins that, and compares. `false`: volumes of that size are too small.
fn there_and_back(dir: &Path, size: u64, whole: &[u8]) -> bool {
    let out = tempfile::tempdir_in(dir).unwrap();
    let options = split::Options {
        folder: Some(out.path().to_owned()),
        size,
        only: BTreeSet::new(),
        force: false,
        dry_run: false,
        jobs: 2,
        read_back: false,
    };
    let summary = match split::split(&dir.join("b.tar"), &options, &Silent) {
        Ok(summary) => summary,
        Err(e) => {
            assert_eq!(e.code(), Code::Usage, "{size}: {e:?}");
            assert!(files(out.path()).is_empty(), "{size}");
            return false;
        }
    };
    let there = files(out.path());
    assert_eq!(summary.volumes.is_empty(), whole.len() as u64 <= size, "{size}");
    assert_eq!(there.len(), summary.volumes.len().max(1), "{size}");
    for written in &summary.volumes {
        let name = Path::new(&written.path).file_name().unwrap().to_str().unwrap();
        assert_eq!(there[name].len() as u64, written.bytes, "{size}");
        assert!(written.bytes <= size, "{size}: {}", written.bytes);
    }
    let bundle = out.path().join("joined.tar");
    let mut volumes: Vec<_> = there.keys().map(|name| out.path().join(name)).collect();
    volumes.reverse();
    join::join(&volumes, &join::Options { bundle: bundle.clone(), force: false, jobs: 2, read_back: false }, &Silent)
        .unwrap();
    assert!(fs::read(bundle).unwrap() == whole, "{size}");
    true
}

/// Sizes next to those where something changes: the whole bundle just fits, a blob just fits, nothing fits.
fn sizes(whole: u64, around: u64) -> impl Iterator<Item = u64> {
    let least = 30_000;
    let steps = [whole, whole - 512, whole / 2, whole / 3, least + 25_000, least];
    steps.into_iter().flat_map(move |middle| (0..around).map(move |n| middle + n * 13 - around * 13 / 2))
}

fn all(around: u64) {
    let dir = folder();
    let images: &[&[usize]] = &[&[40_000, 4097, 12_345], &[60_000, 511, 5120], &[25_000, 4096, 0]];
    let whole = fs::read(bundle(dir.path(), images)).unwrap();
    let (mut done, mut small) = (0, 0);
    for size in sizes(whole.len() as u64, around) {
        match there_and_back(dir.path(), size, &whole) {
            true => done += 1,
            false => small += 1,
        }
    }
    assert!(done > small, "{done} were divided, {small} were too small");
}

#[test]
fn split_and_join_give_the_same_bytes_for_sizes_around_each_limit() {
    all(8);
}

#[test]
#[ignore = "1,000 sizes"]
fn split_and_join_give_the_same_bytes_for_a_thousand_sizes_around_each_limit() {
    all(167);
}

#[test]
fn create_with_a_volume_size_writes_what_split_writes_and_verify_takes_it_from_several_folders() {
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[40_000, 9000], &[90_000]]);
    let (split, create) = (make(dir, "split"), make(dir, "create"));
    run(dir, 0, "split b.tar split --volume-size 60kB -qq");
    run(dir, 0, "create create/b.tar --unsigned -qq --from-layout layout --volume-size 60kB");
    assert_eq!(files(&split).len(), 4);
    assert!(files(&split) == files(&create));
    // One volume after the other, each to a medium of its own, in any order.
    for n in [3, 1, 4, 2] {
        make(dir, &format!("medium{n}"));
        run(dir, 0, &format!("split b.tar medium{n} --volume-size 60kB --only {n} -qq"));
        let name = format!("b.{n}of4.tar");
        assert!(files(&dir.join(format!("medium{n}"))) == [(name.clone(), files(&split)[&name].clone())].into());
    }
    run(dir, 0, "verify medium2 medium4 medium1 medium3 --allow-unsigned");
    run(dir, 0, "join j.tar medium4 medium1 medium3 medium2 -qq");
    assert!(fs::read(dir.join("j.tar")).unwrap() == fs::read(dir.join("b.tar")).unwrap());
}

#[test]
fn what_was_appended_goes_with_every_volume_and_comes_back_once() {
    let dir = folder();
    let dir = dir.path();
    layout(&dir.join("layout"), &[&[50_000, 60_000]]);
    for key in ["builder", "reviewer", "receiver"] {
        run(dir, 0, &format!("keygen {key} --no-passphrase -qq"));
    }
    run(dir, 0, "create b.tar --sign-key builder -qq --from-layout layout");
    run(dir, 0, "sign b.tar --signer builder.pub --sign-key reviewer --note CHG-1 -qq");
    let signed = fs::read(dir.join("b.tar")).unwrap();
    let volumes = make(dir, "volumes");
    let run = |code, line: &str| run(dir, code, line);
    run(0, "split b.tar volumes --volume-size 70000 -qq");
    let there = files(&volumes);
    assert!(there.len() > 1 && there.values().all(|v| v.len() <= 70_000), "addenda count too");
    for name in there.keys() {
        let listed = tool(dir, "tar", &["tf", &format!("volumes/{name}")]);
        assert_eq!(String::from_utf8(listed).unwrap().matches("addenda/").count(), 3, "{name}");
    }
    run(0, "join j.tar volumes -qq");
    assert!(fs::read(dir.join("j.tar")).unwrap() == signed);
    // Addenda of the volumes are in the bundle once.
    run(0, "sign volumes --signer builder.pub --sign-key receiver --role receiver -qq");
    run(0, "join k.tar volumes -qq");
    let index = Bundle::open(&dir.join("k.tar")).unwrap();
    let parsed = Index::parse(&index.head().index).unwrap();
    assert_eq!(index.contents(parsed.into()).unwrap().addenda().len(), 4);
    run(0, "verify k.tar --signer builder.pub");
}
