//! Unrelated and missing files are named in the error.

use std::fs;

use crate::bench::*;

#[test]
fn join_names_missing_volumes_and_the_images_that_need_them() {
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[40_000], &[41_000], &[42_000]]);
    let volumes = make(dir, "volumes");
    run(dir, 0, "split b.tar volumes --volume-size 60kB -qq");
    assert_eq!(files(&volumes).len(), 3);
    fs::remove_file(volumes.join("b.2of3.tar")).unwrap();
    let output = run(dir, 11, "join j.tar volumes").stderr;
    assert!(output.contains("volume 2 of 3 is not here") && output.contains("quay.io/test/1:1"), "{output}");
    assert!(!output.contains("quay.io/test/0:1") && output.contains("nothing was written"), "{output}");
    fs::remove_file(volumes.join("b.1of3.tar")).unwrap();
    let output = run(dir, 11, "join j.tar volumes").stderr;
    assert!(output.contains("volumes 1, 2 of 3 are not here") && output.contains("quay.io/test/0:1"), "{output}");
    assert!(files(dir).keys().all(|name| !name.starts_with('j')));
    // A volume cannot be split as a bundle either.
    run(dir, 11, "split volumes/b.3of3.tar --volume-size 60kB");
}

#[test]
fn join_names_foreign_stale_damaged_and_doubled_volumes() {
    let dir = folder();
    let dir = dir.path();
    bundle(dir, &[&[40_000], &[41_000], &[42_000]]);
    let volumes = make(dir, "volumes");
    run(dir, 0, "split b.tar volumes --volume-size 60kB -qq");
    let run = |code, line: &str| run(dir, code, line).stderr;
    run(0, "create old.tar --unsigned -qq --from-layout layout --name older --sequence 5");
    make(dir, "old");
    run(0, "split old.tar old --volume-size 60kB --only 2 -qq");
    let output = run(32, "join j.tar volumes old");
    assert!(output.contains("`old/old.2of3.tar` belongs to another bundle: older #5"), "{output}");
    fs::copy(volumes.join("b.2of3.tar"), dir.join("again.tar")).unwrap();
    let output = run(0, "join j.tar volumes again.tar");
    assert!(output.contains("`volumes/b.2of3.tar`") && output.contains("has the same content as"), "{output}");
    run(52, "join j.tar volumes");
    run(0, "join j.tar volumes --force -qq");
    // A bad byte in one of two copies does no harm; in the only one it does.
    let mut bad = fs::read(volumes.join("b.2of3.tar")).unwrap();
    let at = bad.len() - 5000;
    bad[at] ^= 1;
    fs::write(volumes.join("b.2of3.tar"), &bad).unwrap();
    run(0, "join k.tar volumes again.tar -qq");
    assert!(fs::read(dir.join("k.tar")).unwrap() == fs::read(dir.join("b.tar")).unwrap());
    let output = run(31, "join l.tar volumes");
    assert!(output.contains("does not match its digest") && output.contains("b.2of3.tar"), "{output}");
    assert!(!dir.join("l.tar").exists());
    // With a good copy it is resumed.
    run(0, "join l.tar volumes/b.1of3.tar volumes/b.3of3.tar again.tar -qq");
    assert!(fs::read(dir.join("l.tar")).unwrap() == fs::read(dir.join("b.tar")).unwrap());
    fs::write(dir.join("cut.tar"), &bad[..bad.len() - 1]).unwrap();
    let output = run(11, "join m.tar volumes/b.1of3.tar cut.tar volumes/b.3of3.tar");
    assert!(output.contains("`cut.tar` is truncated"), "{output}");
}

#[test]
fn a_damaged_bundle_is_not_split_and_a_size_that_cannot_be_says_which_could() {
    let dir = folder();
    let dir = dir.path();
    let path = bundle(dir, &[&[40_000], &[41_000]]);
    make(dir, "volumes");
    let output = run(dir, 2, "split b.tar volumes --volume-size 5kB").stderr;
    let least = output.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
    run(dir, 0, &format!("split b.tar volumes --volume-size {least} -qq --dry-run"));
    let output = run(dir, 2, "split b.tar volumes --volume-size 60kB --only 3").stderr;
    assert!(output.contains("there is no volume 3 of 2"), "{output}");
    let mut bad = fs::read(&path).unwrap();
    let at = bad.len() - 5000;
    bad[at] ^= 1;
    fs::write(&path, &bad).unwrap();
    run(dir, 31, "split b.tar volumes --volume-size 60kB");
    assert!(files(&dir.join("volumes")).keys().all(|name| name.contains(".partial")));
}
