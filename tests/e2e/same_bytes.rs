//! The same content gives the same bytes, whoever creates the bundle and however it travels.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::*;
use crate::support::registry::Registry;
use crate::support::release::{BIG, world};

fn made(bundle: &Path, host: &str, more: &[&str]) -> Run {
    let big = format!("{host}/{BIG}:1");
    let mut args = [create_release(bundle, host), multi(host), args!["--image", big]].concat();
    args.extend(more.iter().map(std::ffi::OsString::from));
    let run = finish(command(&args).env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    run
}

#[test]
fn two_runs_and_any_parallelism_and_a_stream_give_the_same_bytes() {
    let (source, dir) = (world().registry(), folder());
    let first = dir.path().join("first.tar");
    made(&first, &source.host(), &[]);
    let first = fs::read(first).unwrap();
    for (name, more) in [("again", &[][..]), ("one", &["-j1"]), ("eight", &["-j8"])] {
        let bundle = dir.path().join(format!("{name}.tar"));
        made(&bundle, &source.host(), more);
        assert!(fs::read(bundle).unwrap() == first, "{name}");
    }
    let streamed = made(Path::new("-"), &source.host(), &[]);
    assert!(streamed.stdout == first, "stream");
}

#[test]
fn a_bundle_can_be_piped_into_verify() {
    let (source, dir) = (world().registry(), folder());
    let create = [create_release(Path::new("-"), &source.host()), multi(&source.host())].concat();
    let mut create = command(&create).spawn().unwrap();
    let mut verify = command(&verify(Path::new("-")));
    let verified = finish(verify.stdin(create.stdout.take().unwrap()));
    assert!(create.wait().unwrap().success());
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert!(verified.text().starts_with("verdict   VERIFIED"), "{}", verified.text());
    drop(dir);
}

#[test]
fn a_bundle_can_be_unpacked_from_a_pipe() {
    let (source, dir) = (world().registry(), folder());
    let bundle = dir.path().join("b.tar");
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    let piped = |args: Vec<std::ffi::OsString>| {
        let mut cat = Command::new("cat").arg(&bundle).stdout(Stdio::piped()).spawn().unwrap();
        let run = finish(command(&args).stdin(cat.stdout.take().unwrap()));
        assert!(cat.wait().unwrap().success());
        assert_eq!(run.code, 0, "{}", run.stderr);
    };
    let (target, file) = (Registry::start(), Registry::start());
    piped(unpack_to(Path::new("-"), &target.host(), &dir.path().join("m")));
    ok(&unpack_to(&bundle, &file.host(), &dir.path().join("n")));
    assert_eq!(tags(&target, "ocp/mirror"), tags(&file, "ocp/mirror"));
    assert_eq!(repositories(&target), repositories(&file));
    assert_eq!(files(&dir.path().join("m")), files(&dir.path().join("n")));
    let image = world().release.component("etcd");
    assert_eq!(manifest(&target, "ocp/mirror", "4.16.37-x86_64-etcd").unwrap(), image.bytes);

    let (tree, same) = (dir.path().join("tree"), dir.path().join("same"));
    piped([args!["unpack", "-", "--to-dir", tree], trust()].concat());
    ok(&[args!["unpack", bundle, "--to-dir", same], trust()].concat());
    assert_eq!(files(&tree), files(&same));
    let (layout, same) = (dir.path().join("layout"), dir.path().join("same-layout"));
    piped([args!["unpack", "-", "--to-layout", layout], trust()].concat());
    ok(&[args!["unpack", bundle, "--to-layout", same], trust()].concat());
    assert_eq!(files(&layout), files(&same));
    // Onto a complete destination: nothing is missing, and all of the stream is still checked.
    piped(unpack_to(Path::new("-"), &target.host(), &dir.path().join("m")));
    piped([args!["unpack", "-", "--to-dir", tree], trust()].concat());
}

#[test]
fn a_stream_that_is_cut_or_changed_leaves_no_tag() {
    let (source, dir) = (world().registry(), folder());
    let bundle = dir.path().join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    let bytes = fs::read(&bundle).unwrap();
    let mut changed = bytes.clone();
    // In the last blob, whose content ends before the padding and the two blocks at the end.
    let at = changed.iter().rposition(|b| *b != 0).unwrap();
    changed[at] ^= 1;
    for (what, code) in [(&bytes[..bytes.len() - 3000], 11), (&changed[..], 31), (&[&bytes[..], b"x"].concat()[..], 32)]
    {
        let target = Registry::start();
        let mut unpack = command(&unpack_to(Path::new("-"), &target.host(), &dir.path().join("m")));
        let run = fed(&mut unpack, what);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(tags(&target, "ocp/mirror").is_empty());
        assert!(!dir.path().join("m").exists());
    }
}
