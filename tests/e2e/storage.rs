//! Full disks, read-only media, and the effects of `verify` on its host.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::*;
use crate::support::release::{BIG, world};

/// A small file system for the test; `None`, with the reason printed, if this machine does not allow one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(options: &str) -> Option<Small> {
        let dir = folder();
        let args = args!["-t", "tmpfs", "-o", options, "tmpfs", dir.path()];
        let run = finish(&mut clean(Command::new("mount"), &args));
        if run.code != 0 {
            skip(&format!("cannot mount a tmpfs: {}", run.stderr.trim()));
            return None;
        }
        Some(Small(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount_read_only(&self) {
        tool("mount", &args!["-o", "remount,ro", self.path()]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn bundle(dir: &Path) -> PathBuf {
    let source = world().registry();
    let bundle = dir.join("b.tar");
    ok(&create_release(&bundle, &source.host()));
    bundle
}

#[test]
fn create_on_a_disk_that_is_too_small_says_so_first_and_keeps_the_bundle_that_is_there() {
    let Some(small) = Small::mount("size=4m") else { return };
    let source = world().registry();
    let there = bundle(small.path());
    let before = fs::read(&there).unwrap();
    let big = args!["--image", format!("{}/{BIG}:1", source.host())];
    let run = ends(3, &[create_release(&there, &source.host()), big.clone(), args!["--force"]].concat());
    assert!(run.stderr.contains("not enough room"), "{}", run.stderr);
    assert!(run.stderr.contains("needed") && run.stderr.contains("free"), "{}", run.stderr);
    assert!(fs::read(&there).unwrap() == before);
    // The bundle, and its index, which `create` keeps beside it.
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 2);
    // A dry run only reports.
    ok(&[create_release(&small.path().join("c.tar"), &source.host()), big, args!["--dry-run"]].concat());
}

#[test]
fn unpack_to_a_disk_that_is_too_small_says_so_first() {
    let dir = folder();
    let bundle = bundle(dir.path());
    let Some(small) = Small::mount("size=256k") else { return };
    for flag in ["--to-dir", "--to-layout"] {
        let to = small.path().join("out");
        let run = ends(3, &[args!["unpack", bundle, flag, to], trust()].concat());
        assert!(run.stderr.contains("not enough room") && run.stderr.contains("nothing was written"), "{}", run.stderr);
        assert!(!to.exists(), "{flag}");
    }
}

#[test]
fn a_disk_that_fills_up_during_unpack_leaves_no_tag_and_the_run_can_be_continued() {
    let dir = folder();
    let bundle = bundle(dir.path());
    let Some(small) = Small::mount("size=3m") else { return };
    let bytes = fs::read(&bundle).unwrap();
    let to = small.path().join("out");
    let mut unpack = command(&[args!["unpack", "-", "--to-dir", to], trust()].concat());
    let mut side = Side::start(unpack.stdin(Stdio::piped()));
    let mut pipe = side.0.stdin.take().unwrap();
    // The first half is written, then another process takes the rest of the disk.
    pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
    until("the first blobs", || files(small.path()).len() > 4);
    let filler = small.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let _ = pipe.write_all(&bytes[bytes.len() / 2..]);
    drop(pipe);
    let (code, stderr) = side.end(Duration::from_secs(20));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("no space left") || stderr.contains("not enough room"), "{stderr}");
    assert!(walkdir::WalkDir::new(&to).into_iter().all(|e| !e.unwrap().path_is_symlink()));
    assert!(!to.join("manifests").exists());
    drop(file);
    fs::remove_file(filler).unwrap();
    ok(&[args!["unpack", bundle, "--to-dir", to], trust()].concat());
    assert!(to.join("v2/openshift/release/manifests/4.16.37-x86_64").exists());
}

#[test]
fn a_bundle_on_a_read_only_medium_is_verified_and_unpacked() {
    let Some(medium) = Small::mount("size=4m") else { return };
    let bundle = bundle(medium.path());
    medium.remount_read_only();
    ok(&verify(&bundle));
    let dir = folder();
    ok(&[args!["unpack", bundle, "--to-dir", dir.path().join("out")], trust()].concat());
    // Neither can anything be created there, or in a missing folder; this is detected before any registry is contacted.
    ends(3, &create_release(&medium.path().join("c.tar"), "127.0.0.1:1"));
    ends(3, &create_release(&dir.path().join("none/c.tar"), "127.0.0.1:1"));
}

#[test]
fn verify_opens_no_socket_and_writes_nothing() {
    if !have("strace") {
        return;
    }
    let dir = folder();
    let bundle = bundle(dir.path());
    let log = dir.path().join("strace");
    let mut args = args!["-f", "-o", log, "-e", "trace=network,openat,open,creat,rename,mkdir,unlink"];
    args.push(PROGRAM.into());
    args.extend(verify(&bundle));
    let run = finish(&mut clean(Command::new("strace"), &args));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("b.tar\""), "strace saw it");
    for line in log.lines() {
        let call = line.split(' ').nth(1).unwrap_or("");
        for network in ["socket(", "connect(", "bind(", "sendto("] {
            assert!(!call.starts_with(network), "{line}");
        }
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "creat(", "rename(", "mkdir(", "unlink("];
        assert!(!writes.iter().any(|w| line.contains(w)) || line.contains("/dev/null"), "{line}");
    }
}

#[test]
fn a_bundle_that_is_not_a_file_or_not_there_is_an_input_error() {
    let dir = folder();
    ends(3, &verify(&dir.path().join("none.tar")));
    let run = finish(&mut command(&verify(dir.path())));
    assert!([3, 10].contains(&run.code), "{run:?}");
    let fifo = dir.path().join("fifo");
    tool("mkfifo", &args![fifo]);
    let mut waiting = command(&verify(&fifo));
    let side = Side::start(&mut waiting);
    let (code, stderr) = side.end(Duration::from_secs(5));
    assert!(matches!(code, Some(3 | 10)), "{stderr}");
}
